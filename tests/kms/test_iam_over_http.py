"""Conditions, variables and the words of refusals over real HTTP: what a policy asks for comes from the real request."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import ACCOUNT, Installation
from testkit.raw import (
    RawKms,
    User,
    alias_arn,
    allow,
    assert_allowed,
    assert_refused,
    key_arn,
    make_user,
    policy,
    put_policy,
)

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ROOT_MAY_ALL = allow("kms:*", Principal={"AWS": ROOT})
PLAINTEXT = {"Plaintext": "eA=="}


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def user_with(installation: Installation, *statements: dict[str, Any]) -> User:
    return make_user(installation, f"iam-{uuid.uuid4().hex[:10]}", policy(*statements))


def when(*actions: str, **condition: Any) -> dict[str, Any]:
    """A statement with one condition block per operator; `__` stands for the colon of a set operator."""
    return allow(*actions, Condition={name.replace("__", ":"): keys for name, keys in condition.items()})


def new_key(raw: RawKms, **request: Any) -> str:
    return str(assert_allowed(raw.call("CreateKey", request))["KeyMetadata"]["KeyId"])


def is_allowed(user: User, operation: str, request: dict[str, Any]) -> bool:
    answer = user.kms.call(operation, request)
    assert answer.code in {"", "AccessDeniedException"}, answer
    return answer.status == 200


def test_the_encryption_context_decides_and_is_not_confused_by_what_was_decided_before(
    installation: Installation, key_id: str
) -> None:
    user = user_with(installation, when("kms:Encrypt", StringEquals={"kms:EncryptionContext:App": ["a", "b"]}))
    for _ in range(3):
        for context, expected in (
            ({"App": "a"}, True),
            ({"app": "b", "more": "x"}, True),
            ({"App": "A"}, False),
            ({"App": "c"}, False),
            ({"Other": "a"}, False),
            ({"App": "a", "app": "c"}, False),
            ({}, False),
        ):
            assert is_allowed(user, "Encrypt", {"KeyId": key_id, **PLAINTEXT, "EncryptionContext": context}) == expected


def test_the_refusal_of_a_condition_has_awss_words(installation: Installation, key_id: str) -> None:
    user = user_with(installation, when("kms:Encrypt", StringEquals={"kms:EncryptionContext:App": "a"}))
    sentence = f"User: {user.arn} is not authorized to perform: kms:Encrypt on resource: {key_arn(key_id)}"
    assert_refused(
        user.kms.call("Encrypt", {"KeyId": key_id, **PLAINTEXT}),
        "AccessDeniedException",
        f"{sentence} because no identity-based policy allows the kms:Encrypt action",
    )


def test_a_condition_in_a_key_policy_counts_and_its_change_counts_at_once(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    user = user_with(installation, allow("s3:*"))
    request = {"KeyId": key_id, **PLAINTEXT, "EncryptionContext": {"who": user.name}}
    for _ in range(2):
        for name, expected in ((user.name, True), ("somebody-else", False), ("${aws:username}", True), ("*", False)):
            text = policy(
                ROOT_MAY_ALL,
                when("kms:Encrypt", StringEquals={"kms:EncryptionContext:who": name})
                | {"Principal": {"AWS": user.arn}},
            )
            assert raw.call("PutKeyPolicy", {"KeyId": key_id, "Policy": text}).status == 200
            assert is_allowed(user, "Encrypt", request) == expected, name


def test_variables_bind_a_user_to_his_own_context_whatever_he_is_called(
    installation: Installation, key_id: str
) -> None:
    """Class 20: a user cannot be called `*`, but what a request brings can be."""
    statement = when("kms:Encrypt", StringLike={"kms:EncryptionContext:user": "${aws:username}-*"})
    user = user_with(installation, statement)
    for name, expected in ((f"{user.name}-1", True), ("*-1", False), ("-1", False), (f"x{user.name}-1", False)):
        request = {"KeyId": key_id, **PLAINTEXT, "EncryptionContext": {"user": name}}
        assert is_allowed(user, "Encrypt", request) == expected
    mirror = user_with(
        installation,
        when("kms:Encrypt", StringLike={"kms:EncryptionContext:a": "${kms:EncryptionContext:pattern}"}),
    )
    for pattern, expected in (("x", True), ("*", False), ("?", False), ("${*}", False)):
        request = {"KeyId": key_id, **PLAINTEXT, "EncryptionContext": {"a": "x", "pattern": pattern}}
        assert is_allowed(mirror, "Encrypt", request) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False),
        ({"NumericGreaterThan": {"aws:EpochTime": "1577836800"}}, True),
        ({"StringEquals": {"aws:PrincipalType": "User", "aws:RequestedRegion": "us-east-1"}}, True),
        ({"StringEquals": {"kms:CallerAccount": ACCOUNT, "aws:PrincipalAccount": ACCOUNT}}, True),
        ({"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT", "kms:KeyUsage": "ENCRYPT_DECRYPT"}}, True),
        ({"StringEquals": {"kms:KeyOrigin": "EXTERNAL"}}, False),
        ({"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}, True),
        ({"Bool": {"kms:MultiRegion": "true"}}, False),
        ({"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:user/iam-*"}}, True),
        ({"Null": {"aws:TokenIssueTime": "true", "kms:ViaService": "true"}}, True),
        ({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}, False),
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False),
        ({"StringNotEquals": {"kms:NoSuchKey": "x"}}, True),
        ({"StringEquals": {"aws:ResourceTag/env": "prod"}}, True),
        ({"StringEquals": {"aws:ResourceTag/env": "test"}}, False),
    ],
)
def test_keys_have_the_values_of_the_real_request(
    installation: Installation, raw: RawKms, condition: Any, expected: bool
) -> None:
    key_id = new_key(raw, Tags=[{"TagKey": "env", "TagValue": "prod"}])
    user = user_with(installation, allow("kms:Encrypt", Condition=condition))
    for _ in range(2):
        assert is_allowed(user, "Encrypt", {"KeyId": key_id, **PLAINTEXT}) == expected


def test_a_changed_tag_changes_the_decision_at_once(installation: Installation, raw: RawKms, key_id: str) -> None:
    user = user_with(installation, when("kms:Encrypt", StringEquals={"aws:ResourceTag/env": "prod"}))
    for value, expected in (("prod", True), ("test", False), ("prod", True)):
        tags = [{"TagKey": "env", "TagValue": value}]
        assert raw.call("TagResource", {"KeyId": key_id, "Tags": tags}).status == 200
        assert is_allowed(user, "Encrypt", {"KeyId": key_id, **PLAINTEXT}) == expected


def test_aliases_decide_by_the_request_or_by_the_key(installation: Installation, raw: RawKms, key_id: str) -> None:
    name, other = f"alias/iam-{key_id}", f"alias/other-{key_id}"
    by_request = user_with(installation, when("kms:Encrypt", StringEquals={"kms:RequestAlias": name}))
    by_key = user_with(
        installation, when("kms:Encrypt", ForAnyValue__StringLike={"kms:ResourceAliases": "alias/iam-*"})
    )
    assert not is_allowed(by_key, "Encrypt", {"KeyId": key_id, **PLAINTEXT})
    for alias in (name, other):
        assert raw.call("CreateAlias", {"AliasName": alias, "TargetKeyId": key_id}).status == 200
    references = (key_id, key_arn(key_id), name, alias_arn(name), other)
    for _ in range(2):
        for reference, expected in zip(references, (False, False, True, True, False), strict=True):
            assert is_allowed(by_request, "Encrypt", {"KeyId": reference, **PLAINTEXT}) == expected, reference
            assert is_allowed(by_key, "Encrypt", {"KeyId": reference, **PLAINTEXT})
    assert raw.call("DeleteAlias", {"AliasName": name}).status == 200
    assert not is_allowed(by_key, "Encrypt", {"KeyId": key_id, **PLAINTEXT})


def test_re_encrypt_on_the_same_key_is_known_for_both_halves(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    other = new_key(raw)
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": key_id, **PLAINTEXT}))["CiphertextBlob"]
    for wanted in ("true", "false"):
        user = user_with(installation, when("kms:ReEncrypt*", Bool={"kms:ReEncryptOnSameKey": wanted}))
        for destination in (key_id, other):
            expected = (destination == key_id) == (wanted == "true")
            for _ in range(2):
                request = {"CiphertextBlob": blob, "DestinationKeyId": destination}
                assert is_allowed(user, "ReEncrypt", request) == expected, (wanted, destination)


def test_conditions_on_what_a_request_wants(installation: Installation, raw: RawKms, key_id: str) -> None:
    user = user_with(
        installation,
        when(
            "kms:CreateKey", "kms:TagResource", StringEquals={"aws:RequestTag/team": "x"}, Null={"kms:KeySpec": "false"}
        ),
        when("kms:ScheduleKeyDeletion", NumericGreaterThanEquals={"kms:ScheduleKeyDeletionPendingWindowInDays": "20"}),
        when("kms:EnableKeyRotation", NumericLessThanEquals={"kms:RotationPeriodInDays": 180}),
        when("kms:UntagResource", ForAllValues__StringEquals={"aws:TagKeys": ["a", "b"]}),
    )

    def tag(value: str) -> dict[str, Any]:
        return {"Tags": [{"TagKey": "team", "TagValue": value}]}

    for operation, request, expected in (
        ("CreateKey", {}, False),
        ("CreateKey", tag("y"), False),
        ("TagResource", {"KeyId": key_id, **tag("y")}, False),
        # kms:KeySpec is there when a key is made, and where there is one.
        ("TagResource", {"KeyId": key_id, **tag("x")}, True),
        ("UntagResource", {"KeyId": key_id, "TagKeys": ["a"]}, True),
        ("UntagResource", {"KeyId": key_id, "TagKeys": ["a", "c"]}, False),
        ("EnableKeyRotation", {"KeyId": key_id}, False),
        ("EnableKeyRotation", {"KeyId": key_id, "RotationPeriodInDays": 90}, True),
        ("ScheduleKeyDeletion", {"KeyId": key_id, "PendingWindowInDays": 7}, False),
        ("ScheduleKeyDeletion", {"KeyId": key_id}, True),
    ):
        assert is_allowed(user, operation, request) == expected, (operation, request)


def test_the_lockout_check_sees_the_conditions_of_the_caller(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    elsewhere = ROOT_MAY_ALL | {"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}
    here = ROOT_MAY_ALL | {"Condition": {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}}
    refused = raw.call("PutKeyPolicy", {"KeyId": key_id, "Policy": policy(elsewhere)})
    assert_refused(
        refused,
        "MalformedPolicyDocumentException",
        "The new key policy will not allow you to update the key policy in the future.",
    )
    assert raw.call("PutKeyPolicy", {"KeyId": key_id, "Policy": policy(here)}).status == 200
    assert_allowed(raw.call("Encrypt", {"KeyId": key_id, **PLAINTEXT}))
    assert_refused(raw.call("CreateKey", {"Policy": policy(elsewhere)}), "MalformedPolicyDocumentException")


@pytest.mark.parametrize("member", ["kms:ViaService", "ViaService", "aws:SourceArn", "SourceArn", "kms:CallerAccount"])
def test_nothing_that_a_caller_sends_vouches_for_a_service(
    installation: Installation, key_id: str, member: str
) -> None:
    """Class 5: as members, as headers, as pairs of the encryption context."""
    user = user_with(
        installation,
        when("kms:Encrypt", StringLike={"kms:ViaService": "*"}),
        when("kms:Encrypt", StringLike={"aws:SourceArn": "*"}),
        when("kms:Encrypt", StringLike={"aws:SourceAccount": "*"}),
        when("kms:Encrypt", Bool={"aws:ViaAWSService": "true"}),
        when("kms:Encrypt", StringEquals={"kms:CallerAccount": "444455556666"}),
        when("kms:Encrypt", Bool={"aws:PrincipalIsAWSService": "true"}),
    )
    body = {"KeyId": key_id, **PLAINTEXT, member: "444455556666", "EncryptionContext": {member: "444455556666"}}
    header = member.replace(":", "-").encode()
    headers = [(b"X-Amz-" + header, b"444455556666"), (header, b"444455556666")]
    assert_refused(user.kms.call("Encrypt", body), "AccessDeniedException")
    with_headers = user.kms.send(
        f'{{"KeyId":"{key_id}","Plaintext":"eA=="}}'.encode(),
        [(b"X-Amz-Target", b"TrentService.Encrypt"), *headers],
        access_key_id=user.access_key_id,
        secret=user.secret,
    )
    assert_refused(with_headers, "AccessDeniedException")


def test_a_policy_that_is_put_later_counts_at_the_next_request(installation: Installation, key_id: str) -> None:
    user = user_with(installation, when("kms:Encrypt", StringEquals={"kms:EncryptionContext:app": "a"}))
    request = {"KeyId": key_id, **PLAINTEXT, "EncryptionContext": {"app": "a"}}
    for value, expected in (("a", True), ("b", False), ("a", True)):
        statement = when("kms:Encrypt", StringEquals={"kms:EncryptionContext:app": value})
        put_policy(installation, user.name, policy(statement))
        for _ in range(2):
            assert is_allowed(user, "Encrypt", request) == expected
