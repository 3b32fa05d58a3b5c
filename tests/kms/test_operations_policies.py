"""GetKeyPolicy, PutKeyPolicy and ListKeyPolicies, over real HTTP: what was written comes back, and counts at once.

What CreateKey refuses in a policy, PutKeyPolicy refuses: `test_operations_keys.py` has the cases, one piece of code both
operations. Wordings and their sources: `test_wording.py`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import ACCOUNT, Installation
from testkit.raw import (
    RawKms,
    User,
    allow,
    assert_allowed,
    assert_refused,
    audit_records,
    delete_user,
    key_arn,
    make_user,
    policy,
)

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ROOT_MAY_ALL = allow("kms:*", Principal={"AWS": ROOT})
LOCKOUT = "The new key policy will not allow you to update the key policy in the future."
PRINCIPALS = "Policy contains a statement with one or more invalid principals."


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def new_user(installation: Installation, *statements: dict[str, Any]) -> User:
    return make_user(installation, f"pol-{uuid.uuid4().hex[:10]}", policy(*statements) if statements else None)


def put(kms: RawKms, key_id: str, text: str, **more: Any) -> None:
    answer = kms.call("PutKeyPolicy", {"KeyId": key_id, "Policy": text, **more})
    assert (answer.status, answer.body) == (200, b""), answer


def policy_of(raw: RawKms, key_id: str) -> str:
    answer = assert_allowed(raw.call("GetKeyPolicy", {"KeyId": key_id}))
    assert set(answer) == {"Policy", "PolicyName"}
    assert answer["PolicyName"] == "default"
    return str(answer["Policy"])


# ── what was written comes back ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_made_without_a_policy_has_awss_default_policy(raw: RawKms, key_id: str) -> None:
    assert json.loads(policy_of(raw, key_id)) == {
        "Version": "2012-10-17",
        "Id": "key-default-1",
        "Statement": [
            {
                "Sid": "Enable IAM User Permissions",
                "Effect": "Allow",
                "Principal": {"AWS": ROOT},
                "Action": "kms:*",
                "Resource": "*",
            }
        ],
    }


@pytest.mark.parametrize(
    "form",
    [
        json.dumps({"Statement": [ROOT_MAY_ALL]}),
        json.dumps({"Statement": [ROOT_MAY_ALL]}, indent=7),
        " \t\r\n" + json.dumps({"Statement": ROOT_MAY_ALL}) + "\n\n",
        json.dumps({"Statement": [ROOT_MAY_ALL], "Version": "2012-10-17", "Id": "\u00ff\u00fc\\ \"'"}),
        json.dumps({"Statement": [ROOT_MAY_ALL], "Id": "\u00ff"}, ensure_ascii=False),
        json.dumps({"Statement": [ROOT_MAY_ALL]}).replace("kms", "\\u006bms"),
        json.dumps({"Statement": [ROOT_MAY_ALL] * 150}),
    ],
)
def test_a_policy_comes_back_to_the_byte(raw: RawKms, key_id: str, form: str) -> None:
    put(raw, key_id, form)
    assert policy_of(raw, key_id) == form
    made = assert_allowed(raw.call("CreateKey", {"Policy": form}))["KeyMetadata"]["KeyId"]
    assert policy_of(raw, made) == form


def test_the_only_policy_is_called_default_and_is_listed(raw: RawKms, key_id: str) -> None:
    one = {"PolicyNames": ["default"], "Truncated": False}
    for reference in (key_id, key_arn(key_id)):
        for more in ({}, {"Limit": 1}, {"Limit": 1000}):
            assert assert_allowed(raw.call("ListKeyPolicies", {"KeyId": reference, **more})) == one
    text = json.dumps({"Statement": ROOT_MAY_ALL})
    put(raw, key_arn(key_id), text, PolicyName="default")
    named = assert_allowed(raw.call("GetKeyPolicy", {"KeyId": key_arn(key_id), "PolicyName": "default"}))
    assert named == {"Policy": text, "PolicyName": "default"}


def test_a_policy_that_is_refused_leaves_the_old_one_in_force(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    before = policy_of(raw, key_id)
    absent = f"arn:aws:iam::{ACCOUNT}:user/nobody-of-this-name"
    for text, code, message in (
        ("no policy", "MalformedPolicyDocumentException", None),
        (policy(ROOT_MAY_ALL | {"Condition": {"x": {}}}), "MalformedPolicyDocumentException", None),
        (policy(allow("kms:Encrypt", Principal={"AWS": ROOT})), "MalformedPolicyDocumentException", LOCKOUT),
        (
            policy(ROOT_MAY_ALL, allow("kms:*", Principal={"AWS": absent})),
            "MalformedPolicyDocumentException",
            PRINCIPALS,
        ),
        (
            policy(ROOT_MAY_ALL) + " " * 32768,
            "LimitExceededException",
            "The key policy exceeds the length limit of 32768 bytes.",
        ),
        ("\u0100", "ValidationException", None),
    ):
        assert_refused(raw.call("PutKeyPolicy", {"KeyId": key_id, "Policy": text}), code, message)
    assert policy_of(raw, key_id) == before


def test_the_same_policy_again_changes_nothing(installation: Installation, raw: RawKms, key_id: str) -> None:
    from testkit.raw import table_dump

    text = policy(ROOT_MAY_ALL)
    put(raw, key_id, text)
    before = [line for line in table_dump(installation) if key_id in line]
    put(raw, key_id, text)
    assert [line for line in table_dump(installation) if key_id in line] == before


# ── what was decided does not outlive the policy ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reference", ["KeyId", "Arn", "alias"])
def test_who_loses_the_permission_is_refused_at_the_very_next_request(
    installation: Installation, raw: RawKms, reference: str
) -> None:
    """However the key is named, and however often the decision was taken before."""
    key = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    alias = f"alias/policy-{key['KeyId']}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": alias, "TargetKeyId": key["KeyId"]}))
    user = new_user(installation)
    request = {"KeyId": {**key, "alias": alias}[reference], "KeySpec": "AES_256"}
    with_user = policy(ROOT_MAY_ALL, allow("kms:GenerateDataKey", Principal={"AWS": user.arn}))
    refusal = (
        f"User: {user.arn} is not authorized to perform: kms:GenerateDataKey on resource: {key['Arn']} "
        "because no resource-based policy allows the kms:GenerateDataKey action"
    )
    for _ in range(3):
        put(raw, key["KeyId"], with_user)
        for _ in range(3):
            assert_allowed(user.kms.call("GenerateDataKey", request))
        put(raw, key["KeyId"], policy(allow("kms:*", Principal={"AWS": [ROOT]})))
        # The default delegates to IAM, where this user has nothing.
        assert_refused(user.kms.call("GenerateDataKey", request), "AccessDeniedException")
        put(raw, key["KeyId"], policy(allow("kms:PutKeyPolicy", Principal={"AWS": ROOT})))
        assert_refused(user.kms.call("GenerateDataKey", request), "AccessDeniedException", refusal)
        assert_refused(raw.call("GetKeyPolicy", {"KeyId": key["KeyId"]}), "AccessDeniedException")


def test_a_refusal_does_not_outlive_the_policy_either(installation: Installation, raw: RawKms, key_id: str) -> None:
    user = new_user(installation)
    request = {"KeyId": key_id, "Plaintext": "eA=="}
    for _ in range(3):
        assert_refused(user.kms.call("Encrypt", request), "AccessDeniedException")
        put(raw, key_id, policy(ROOT_MAY_ALL, allow("kms:Encrypt", Principal={"AWS": user.arn})))
        assert_allowed(user.kms.call("Encrypt", request))
        put(raw, key_id, policy(ROOT_MAY_ALL))


def test_a_deny_in_the_key_policy_counts_even_for_an_administrator(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    user = new_user(installation, allow("kms:*"))
    request = {"KeyId": key_id, "Plaintext": "eA=="}
    assert_allowed(user.kms.call("Encrypt", request))
    put(raw, key_id, policy(ROOT_MAY_ALL, allow("kms:Encrypt", effect="Deny", Principal={"AWS": user.arn})))
    assert_refused(
        user.kms.call("Encrypt", request),
        "AccessDeniedException",
        f"User: {user.arn} is not authorized to perform: kms:Encrypt on resource: {key_arn(key_id)} "
        "with an explicit deny in a resource-based policy",
    )


def test_a_policy_may_lock_its_author_out_only_when_the_check_is_bypassed(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    user = new_user(installation, allow("kms:*"))
    without_user = policy(ROOT_MAY_ALL, allow("kms:*", effect="Deny", Principal={"AWS": user.arn}))
    assert_refused(
        user.kms.call("PutKeyPolicy", {"KeyId": key_id, "Policy": without_user}),
        "MalformedPolicyDocumentException",
        LOCKOUT,
    )
    put(user.kms, key_id, without_user, BypassPolicyLockoutSafetyCheck=True)
    assert_refused(user.kms.call("PutKeyPolicy", {"KeyId": key_id, "Policy": without_user}), "AccessDeniedException")
    assert policy_of(raw, key_id) == without_user


def test_a_policy_whose_user_is_gone_still_opens_the_key_to_everybody_else(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    """The principals were looked at when the policy was put, and a stored policy stays readable."""
    user = new_user(installation)
    put(raw, key_id, policy(ROOT_MAY_ALL, allow("kms:Encrypt", Principal={"AWS": user.arn})))
    delete_user(installation, user)
    assert_allowed(raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))
    text = policy_of(raw, key_id)
    # Putting it again is putting a policy that names nobody.
    assert_refused(
        raw.call("PutKeyPolicy", {"KeyId": key_id, "Policy": text + " "}),
        "MalformedPolicyDocumentException",
        PRINCIPALS,
    )


def test_a_policy_is_intended_before_it_is_put_and_the_outcome_says_whether_it_was(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    user = new_user(installation, allow("kms:DescribeKey"))
    good, bad = policy(ROOT_MAY_ALL), policy(allow("kms:Encrypt", Principal={"AWS": ROOT}))
    for kms, text, code, intents in (
        (raw, good, "", 1),
        # Allowed to put a policy, but not this one: the intent was recorded before the policy was read.
        (raw, bad, "MalformedPolicyDocumentException", 1),
        # What is not allowed is never intended.
        (user.kms, good, "AccessDeniedException", 0),
    ):
        answer = kms.call("PutKeyPolicy", {"KeyId": key_id, "Policy": text})
        assert answer.code == code
        found = [e for e in audit_records(installation) if e["requestID"] == answer.headers["x-amzn-requestid"]]
        assert [event.get("phase") for event in found] == ["intent"] * intents + [None]
        for event in found:
            assert event["eventName"] == "PutKeyPolicy"
            assert event["requestParameters"] == {"keyId": key_id, "policy": text}
            assert event["resources"] == [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key_arn(key_id)}]
            assert event["readOnly"] is False
        assert found[-1].get("errorCode", "") == code
        assert found[-1].get("errorMessage", "") == (answer.message if code else "")
