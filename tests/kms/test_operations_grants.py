"""CreateGrant, ListGrants, ListRetirableGrants, RetireGrant and RevokeGrant, over real HTTP, between users of one account.

What decides is tested in `test_iam_grants.py`; tokens bit by bit in `test_grant_tokens.py`. Sources: KMS API reference of
each operation; KMS developer guide, "Creating grants", "Retiring and revoking grants". Wordings: `test_wording.py`.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from strongroom.kms.faults import Fault
from strongroom.kms.limits import Limits
from testkit.installation import ACCOUNT, Installation
from testkit.raw import (
    Answer,
    RawKms,
    User,
    allow,
    assert_allowed,
    assert_refused,
    audit_records,
    key_arn,
    make_user,
    policy,
    table_dump,
)
from testkit.room import GRANT, KEY, OTHER_KEY, Room

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
NOBODY = f"arn:aws:iam::{ACCOUNT}:user/nobody-of-this-name"
CONTEXT = {"Department": "Finance", "Classification": "Public"}
ABSENT = "0" * 64


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def new_user(installation: Installation, *statements: dict[str, Any]) -> User:
    return make_user(installation, f"grant-{uuid.uuid4().hex[:10]}", policy(*statements) if statements else None)


@pytest.fixture(scope="module")
def users(installation: Installation) -> list[User]:
    """Three whom nothing lets but grants."""
    return [new_user(installation) for _ in range(3)]


def give(kms: RawKms, key_id: str, grantee: str, *operations: str, **members: Any) -> dict[str, Any]:
    request = {"KeyId": key_id, "GranteePrincipal": grantee, "Operations": list(operations), **members}
    made = assert_allowed(kms.call("CreateGrant", request))
    assert set(made) == {"GrantId", "GrantToken"}
    return made


def refused_grant(kms: RawKms, key_id: str, code: str, message: str | None = None, **members: Any) -> None:
    request = {"KeyId": key_id, "GranteePrincipal": ROOT, "Operations": ["Encrypt"], **members}
    assert_refused(kms.call("CreateGrant", {name: value for name, value in request.items() if value}), code, message)


def grants_of(raw: RawKms, key_id: str, **more: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = assert_allowed(raw.call("ListGrants", {"KeyId": key_id, **more}))["Grants"]
    return listed


def encrypt(user: User, key_id: str, context: dict[str, str] | None = None, **more: Any) -> Answer:
    return user.kms.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA==", "EncryptionContext": context or {}, **more})


# ── a grant lets its grantee do its operations ──────────────────────────────────────────────────────────────────────────


def test_a_grant_lets_its_grantee_and_nobody_else_do_its_operations_and_no_others(
    raw: RawKms, users: list[User], key_id: str
) -> None:
    alice, bob, _ = users
    assert_refused(encrypt(alice, key_id), "AccessDeniedException")
    made = give(raw, key_id, alice.arn, "Encrypt")
    blob = assert_allowed(encrypt(alice, key_id))["CiphertextBlob"]
    assert_refused(encrypt(bob, key_id), "AccessDeniedException")
    assert_refused(alice.kms.call("Decrypt", {"CiphertextBlob": blob}), "AccessDeniedException")
    assert_refused(alice.kms.call("DescribeKey", {"KeyId": key_id}), "AccessDeniedException")
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    assert_refused(encrypt(alice, other), "AccessDeniedException")
    give(raw, key_id, alice.arn, "Decrypt", "DescribeKey")
    assert_allowed(alice.kms.call("Decrypt", {"CiphertextBlob": blob}))
    assert_allowed(alice.kms.call("DescribeKey", {"KeyId": key_arn(key_id)}))
    assert_allowed(raw.call("RevokeGrant", {"KeyId": key_id, "GrantId": made["GrantId"]}))
    assert_refused(encrypt(alice, key_id), "AccessDeniedException")
    assert_allowed(alice.kms.call("Decrypt", {"CiphertextBlob": blob}))


def test_every_cryptographic_operation_can_be_given(raw: RawKms, users: list[User], key_id: str) -> None:
    alice = users[0]
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))["CiphertextBlob"]
    requests = {
        "Decrypt": {"CiphertextBlob": blob},
        "DescribeKey": {"KeyId": key_id},
        "Encrypt": {"KeyId": key_id, "Plaintext": "eA=="},
        "GenerateDataKey": {"KeyId": key_id, "KeySpec": "AES_256"},
        "GenerateDataKeyWithoutPlaintext": {"KeyId": key_id, "KeySpec": "AES_256"},
    }
    for operation, request in requests.items():
        assert_refused(alice.kms.call(operation, request), "AccessDeniedException")
        give(raw, key_id, alice.arn, operation)
        assert_allowed(alice.kms.call(operation, request))
    moved = {"CiphertextBlob": blob, "DestinationKeyId": other}
    for key, operation in ((key_id, "ReEncryptFrom"), (other, "ReEncryptTo")):
        assert_refused(alice.kms.call("ReEncrypt", moved), "AccessDeniedException")
        give(raw, key, alice.arn, operation)
    assert_allowed(alice.kms.call("ReEncrypt", moved))


def test_a_deny_is_stronger_than_a_grant(installation: Installation, raw: RawKms, key_id: str) -> None:
    denied = new_user(installation, allow("kms:Encrypt", effect="Deny"))
    give(raw, key_id, denied.arn, "Encrypt")
    assert_refused(encrypt(denied, key_id), "AccessDeniedException")


@pytest.mark.parametrize(
    ("kind", "met", "unmet"),
    [
        (
            "EncryptionContextEquals",
            [CONTEXT, {"classification": "Public", "DEPARTMENT": "Finance"}],
            [{}, {"Department": "Finance"}, {**CONTEXT, "more": ""}, {**CONTEXT, "Department": "finance"}],
        ),
        (
            "EncryptionContextSubset",
            [CONTEXT, {**CONTEXT, "more": ""}, {"department": "Finance", "cLASSIFICATION": "Public"}],
            [{}, {"Department": "Finance"}, {"Department": "FINANCE", "Classification": "Public"}],
        ),
    ],
)
def test_a_constraint_is_met_by_names_in_whatever_case_and_by_values_as_they_are(
    raw: RawKms, users: list[User], key_id: str, kind: str, met: list[Any], unmet: list[Any]
) -> None:
    alice = users[0]
    give(raw, key_id, alice.arn, "Encrypt", "DescribeKey", Constraints={kind: CONTEXT})
    for context in met:
        assert_allowed(encrypt(alice, key_id, context))
    for context in unmet:
        assert_refused(encrypt(alice, key_id, context), "AccessDeniedException")
    # What has no encryption context is not bound by one.
    assert_allowed(alice.kms.call("DescribeKey", {"KeyId": key_id}))


def test_a_source_arn_is_met_by_no_caller_who_calls_for_himself(raw: RawKms, users: list[User], key_id: str) -> None:
    alice = users[0]
    give(raw, key_id, alice.arn, "Encrypt", Constraints={"SourceArn": f"arn:aws:s3:us-east-1:{ACCOUNT}:bucket"})
    assert_refused(encrypt(alice, key_id), "AccessDeniedException")


# ── how a grant is shown ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_grant_is_listed_as_it_was_asked_for(raw: RawKms, users: list[User], key_id: str) -> None:
    alice, bob, _ = users
    source = f"arn:aws:s3:us-east-1:{ACCOUNT}:bucket"
    before_s = time.time()
    full = give(
        *(raw, key_arn(key_id), alice.arn, "RetireGrant", "Encrypt", "Encrypt"),
        RetiringPrincipal=bob.arn,
        Name="of:all/members_-1",
        Constraints={"EncryptionContextSubset": CONTEXT, "SourceArn": source},
        GrantTokens=[],
        DryRun=False,
    )
    plain = give(raw, key_id, ACCOUNT, "DescribeKey", Constraints={"EncryptionContextEquals": {}})
    service = assert_allowed(
        raw.call(
            "CreateGrant",
            {
                "KeyId": key_id,
                "GranteeServicePrincipal": "s3.us-east-1.amazonaws.com",
                "RetiringServicePrincipal": "backup.us-east-1.amazonaws.com",
                "Operations": ["Decrypt"],
                "Constraints": {"SourceArn": source},
            },
        )
    )
    listed = {grant["GrantId"]: grant for grant in grants_of(raw, key_id)}
    assert list(listed) == sorted(listed)
    for grant in listed.values():
        assert before_s - 1 < grant.pop("CreationDate") < time.time() + 1
    always = {"KeyId": key_arn(key_id), "IssuingAccount": ROOT}
    assert listed == {
        full["GrantId"]: {
            **always,
            "GrantId": full["GrantId"],
            "Name": "of:all/members_-1",
            "GranteePrincipal": alice.arn,
            "RetiringPrincipal": bob.arn,
            "Operations": ["Encrypt", "RetireGrant"],
            "Constraints": {"EncryptionContextSubset": CONTEXT, "SourceArn": source},
        },
        plain["GrantId"]: {
            **always,
            "GrantId": plain["GrantId"],
            "Name": "",
            "GranteePrincipal": ROOT,
            "Operations": ["DescribeKey"],
        },
        service["GrantId"]: {
            **always,
            "GrantId": service["GrantId"],
            "Name": "",
            "GranteeServicePrincipal": "s3.us-east-1.amazonaws.com",
            "RetiringServicePrincipal": "backup.us-east-1.amazonaws.com",
            "Operations": ["Decrypt"],
            "Constraints": {"SourceArn": source},
        },
    }


def test_a_list_of_grants_can_be_narrowed_to_a_grant_or_a_grantee(raw: RawKms, users: list[User], key_id: str) -> None:
    alice, bob, carol = users
    made = {user.arn: give(raw, key_id, user.arn, "Encrypt")["GrantId"] for user in (alice, bob)}
    of_root = give(raw, key_id, ROOT, "Encrypt")["GrantId"]

    def ids(**more: Any) -> list[str]:
        return [grant["GrantId"] for grant in grants_of(raw, key_id, **more)]

    assert ids() == sorted([*made.values(), of_root])
    assert ids(GranteePrincipal=alice.arn) == [made[alice.arn]]
    assert ids(GranteePrincipal=ACCOUNT) == ids(GranteePrincipal=ROOT) == [of_root]
    assert ids(GranteePrincipal=carol.arn) == ids(GranteePrincipal=NOBODY) == []
    assert ids(GrantId=made[bob.arn]) == [made[bob.arn]]
    assert ids(GrantId=made[bob.arn], GranteePrincipal=bob.arn) == [made[bob.arn]]
    assert ids(GrantId=made[bob.arn], GranteePrincipal=alice.arn) == []
    for absent in (ABSENT, "0", made[bob.arn].upper(), "\u0660" * 64):
        assert_refused(raw.call("ListGrants", {"KeyId": key_id, "GrantId": absent}), "InvalidGrantIdException", "")
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    assert_refused(raw.call("ListGrants", {"KeyId": other, "GrantId": made[bob.arn]}), "InvalidGrantIdException", "")


def pages(kms: RawKms, operation: str, **request: Any) -> list[list[str]]:
    """The grant ids of each page, one after the other."""
    found: list[list[str]] = []
    marker: dict[str, str] = {}
    while True:
        answer = assert_allowed(kms.call(operation, {**request, **marker}))
        found.append([grant["GrantId"] for grant in answer["Grants"]])
        assert answer["Truncated"] is ("NextMarker" in answer)
        if not answer["Truncated"]:
            return found
        marker = {"Marker": answer["NextMarker"]}


def test_120_grants_come_in_pages_each_once(raw: RawKms, installation: Installation, key_id: str) -> None:
    alice, bob = new_user(installation), new_user(installation)
    made = [give(raw, key_id, alice.arn, "Encrypt", RetiringPrincipal=bob.arn)["GrantId"] for _ in range(120)]
    mine = [give(raw, key_id, bob.arn, "Encrypt")["GrantId"] for _ in range(3)]
    everything = sorted([*made, *mine])
    by_key = {"operation": "ListGrants", "KeyId": key_id}
    by_retiring = {"operation": "ListRetirableGrants", "RetiringPrincipal": bob.arn}
    for request, wanted in (
        (by_key, everything),
        ({**by_key, "GranteePrincipal": alice.arn}, sorted(made)),
        ({**by_key, "GranteePrincipal": bob.arn}, sorted(mine)),
        (by_retiring, sorted(made)),
    ):
        for limit, size in (({}, 50), ({"Limit": 1000}, 100), ({"Limit": 37}, 37)):
            found = pages(raw, **request, **limit)
            assert [grant_id for page in found for grant_id in page] == wanted
            assert {len(page) for page in found[:-1]} <= {size}
            assert 0 < len(found[-1]) <= size


# ── once per name ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_name_and_parameters_are_the_same_grant_with_another_token(
    raw: RawKms, users: list[User], key_id: str
) -> None:
    alice, bob, _ = users
    asked = {
        "RetiringPrincipal": bob.arn,
        "Name": "once",
        "Constraints": {"EncryptionContextEquals": {"a": "1", "b": "2"}},
    }
    first = give(raw, key_id, alice.arn, "Encrypt", "Decrypt", **asked)
    # In whatever order sets are written, and by whatever reference the key is named.
    again = give(raw, key_arn(key_id), alice.arn, "Decrypt", "Encrypt", **asked)
    reordered = {**asked, "Constraints": {"EncryptionContextEquals": {"b": "2", "a": "1"}}}
    third = give(raw, key_id, alice.arn, "Encrypt", "Decrypt", "Decrypt", **reordered)
    assert first["GrantId"] == again["GrantId"] == third["GrantId"]
    assert len({made["GrantToken"] for made in (first, again, third)}) == 3
    (listed,) = grants_of(raw, key_id)
    others = [
        give(raw, key_id, alice.arn, "Encrypt", **asked),
        give(raw, key_id, bob.arn, "Encrypt", "Decrypt", **asked),
        give(raw, key_id, alice.arn, "Encrypt", "Decrypt", **{**asked, "Name": "Once"}),
        give(raw, key_id, alice.arn, "Encrypt", "Decrypt", **{**asked, "RetiringPrincipal": alice.arn}),
        give(raw, key_id, alice.arn, "Encrypt", "Decrypt", RetiringPrincipal=bob.arn, Name="once"),
        give(
            *(raw, key_id, alice.arn, "Encrypt", "Decrypt"),
            **{**asked, "Constraints": {"EncryptionContextSubset": {"a": "1", "b": "2"}}},
        ),
        give(
            *(raw, key_id, alice.arn, "Encrypt", "Decrypt"),
            **{**asked, "Constraints": {"EncryptionContextEquals": {"A": "1", "b": "2"}}},
        ),
    ]
    assert len({made["GrantId"] for made in (first, *others)}) == 8
    # The one that was there is as it was.
    assert listed in grants_of(raw, key_id)
    # When it is gone, the name makes another.
    assert_allowed(raw.call("RevokeGrant", {"KeyId": key_id, "GrantId": first["GrantId"]}))
    assert give(raw, key_id, alice.arn, "Encrypt", "Decrypt", **asked)["GrantId"] != first["GrantId"]


def test_without_a_name_every_request_makes_a_grant(raw: RawKms, users: list[User], key_id: str) -> None:
    made = [give(raw, key_id, users[0].arn, "Encrypt") for _ in range(3)]
    assert {grant["GrantId"] for grant in grants_of(raw, key_id)} == {one["GrantId"] for one in made}
    assert len(grants_of(raw, key_id)) == 3


def test_of_16_who_ask_for_one_name_at_once_one_makes_the_grant(
    installation: Installation, raw: RawKms, users: list[User], key_id: str
) -> None:
    alice = users[0]

    def ask(number: int) -> dict[str, Any]:
        kms = RawKms(installation)
        try:
            return give(kms, key_id, alice.arn, "Encrypt", Name=f"race-{number % 2}")
        finally:
            kms.close()

    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(ask, range(32)))
    assert len({one["GrantId"] for one in made}) == 2
    assert len({one["GrantToken"] for one in made}) == 32
    assert len(grants_of(raw, key_id)) == 2


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_operation_that_takes_tokens_takes_ten_that_are_and_none_that_is_not(
    raw: RawKms, users: list[User], key_id: str
) -> None:
    alice = users[0]
    made = [give(raw, key_id, alice.arn, "Encrypt", "CreateGrant", Name="ten") for _ in range(10)]
    tokens = [one["GrantToken"] for one in made]
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))["CiphertextBlob"]
    requests: list[tuple[str, dict[str, Any]]] = [
        ("CreateGrant", {"KeyId": key_id, "GranteePrincipal": ROOT, "Operations": ["Encrypt"]}),
        ("Decrypt", {"CiphertextBlob": blob}),
        ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}),
        ("GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256"}),
        ("GenerateDataKeyWithoutPlaintext", {"KeyId": key_id, "KeySpec": "AES_256"}),
        ("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": key_id}),
    ]
    for operation, request in requests:
        assert_allowed(raw.call(operation, {**request, "GrantTokens": []}))
        assert_allowed(raw.call(operation, {**request, "GrantTokens": tokens}))
        too_many = raw.call(operation, {**request, "GrantTokens": [*tokens, tokens[0]]})
        assert_refused(too_many, "ValidationException")
        assert tokens[0] not in too_many.message
        for bad in ("x", tokens[0][:-1], tokens[0] + "=", tokens[0].swapcase(), blob):
            answer = raw.call(operation, {**request, "GrantTokens": [*tokens[:9], bad]})
            assert_refused(answer, "InvalidGrantTokenException", "The provided grant token is not valid.")
    # A token of another key's grant is one too: clients send all that they have with every request.
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    assert_allowed(raw.call("Encrypt", {"KeyId": other, "Plaintext": "eA==", "GrantTokens": tokens}))


def test_a_token_lets_nobody_who_is_not_let_without_it(raw: RawKms, users: list[User], key_id: str) -> None:
    alice, bob, _ = users
    made = give(raw, key_id, alice.arn, "Encrypt", RetiringPrincipal=ROOT)
    tokens = {"GrantTokens": [made["GrantToken"]]}
    assert_allowed(encrypt(alice, key_id, **tokens))
    assert_refused(encrypt(bob, key_id, **tokens), "AccessDeniedException")
    for user in (alice, bob):
        assert_refused(user.kms.call("RetireGrant", {"GrantToken": made["GrantToken"]}), "AccessDeniedException")
        # Neither is he told whether a token is one.
        assert_refused(user.kms.call("DescribeKey", {"KeyId": key_id, "GrantTokens": ["x"]}), "AccessDeniedException")
    assert_refused(encrypt(bob, key_id, GrantTokens=["x"]), "AccessDeniedException")


def test_a_token_of_a_grant_that_is_gone_is_none(raw: RawKms, key_id: str) -> None:
    made = give(raw, key_id, ROOT, "Encrypt")
    assert_allowed(raw.call("RevokeGrant", {"KeyId": key_id, "GrantId": made["GrantId"]}))
    used = {"KeyId": key_id, "Plaintext": "eA==", "GrantTokens": [made["GrantToken"]]}
    assert_refused(raw.call("Encrypt", used), "InvalidGrantTokenException")
    assert_refused(raw.call("RetireGrant", {"GrantToken": made["GrantToken"]}), "InvalidGrantTokenException")


def test_a_token_of_another_region_is_none(raw: RawKms, key_id: str) -> None:
    made = give(raw, key_id, ROOT, "Encrypt")
    elsewhere = assert_allowed(raw.call("CreateKey", {}, region="eu-west-1"))["KeyMetadata"]["KeyId"]
    used = {"KeyId": elsewhere, "Plaintext": "eA==", "GrantTokens": [made["GrantToken"]]}
    assert_refused(raw.call("Encrypt", used, region="eu-west-1"), "InvalidGrantTokenException")
    retired = raw.call("RetireGrant", {"GrantToken": made["GrantToken"]}, region="eu-west-1")
    assert_refused(retired, "InvalidGrantTokenException")
    assert len(grants_of(raw, key_id)) == 1


def test_no_token_is_written_down(installation: Installation, raw: RawKms, users: list[User], key_id: str) -> None:
    alice = users[0]
    made = give(raw, key_id, alice.arn, "Encrypt")
    token = made["GrantToken"]
    assert_allowed(encrypt(alice, key_id, GrantTokens=[token]))
    assert_refused(alice.kms.call("RetireGrant", {"GrantToken": token}), "AccessDeniedException")
    assert_refused(encrypt(alice, key_id, GrantTokens=[token, token[:-2]]), "InvalidGrantTokenException")
    assert_allowed(raw.call("RetireGrant", {"GrantToken": token}))
    # Of the token's own part: what it says of key and grant may stand anywhere.
    secret = token[-60:]
    for path in (installation.home / "service").rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    assert secret not in json.dumps(audit_records(installation))


# ── whoever has CreateGrant only by a grant ─────────────────────────────────────────────────────────────────────────────


def test_a_chain_of_three_gives_on_no_more_than_each_link_has(raw: RawKms, users: list[User], key_id: str) -> None:
    alice, bob, carol = users
    subset = {"EncryptionContextSubset": {"Department": "Finance"}}
    give(raw, key_id, alice.arn, "Encrypt", "Decrypt", "CreateGrant", Constraints=subset)
    narrower = {"EncryptionContextSubset": CONTEXT}
    equals = {"EncryptionContextEquals": CONTEXT}
    no = "AccessDeniedException"

    def refused(user: User, *operations: str, **members: Any) -> None:
        refused_grant(user.kms, key_id, no, GranteePrincipal=bob.arn, Operations=list(operations), **members)

    # More operations, or looser constraints, or none.
    refused(alice, "Encrypt", "DescribeKey", Constraints=subset)
    refused(alice, "GenerateDataKey", Constraints=subset)
    refused(alice, "Encrypt")
    refused(alice, "Encrypt", Constraints={"EncryptionContextSubset": {"Classification": "Public"}})
    refused(alice, "Encrypt", Constraints={"EncryptionContextEquals": {"Department": "finance"}})
    # As narrow, or narrower.
    give(alice.kms, key_id, carol.arn, "Encrypt", Constraints=subset)
    give(alice.kms, key_id, bob.arn, "Encrypt", "CreateGrant", Constraints=narrower)
    refused_grant(bob.kms, key_id, no, GranteePrincipal=carol.arn, Operations=["Decrypt"], Constraints=narrower)
    refused_grant(bob.kms, key_id, no, GranteePrincipal=carol.arn, Constraints=subset)
    last = give(bob.kms, key_id, carol.arn, "Encrypt", Constraints=equals)
    assert_allowed(encrypt(bob, key_id, {**CONTEXT, "x": "y"}))
    assert_allowed(encrypt(carol, key_id, {"Department": "Finance"}))
    # Carol cannot give at all, and nobody of them may list or revoke.
    refused_grant(carol.kms, key_id, no, GranteePrincipal=carol.arn, Constraints=equals)
    for user in users:
        assert_refused(user.kms.call("ListGrants", {"KeyId": key_id}), no)
        assert_refused(user.kms.call("RevokeGrant", {"KeyId": key_id, "GrantId": last["GrantId"]}), no)
    # A grant that somebody gave stays when his own goes.
    for grant in grants_of(raw, key_id, GranteePrincipal=bob.arn):
        assert_allowed(raw.call("RevokeGrant", {"KeyId": key_id, "GrantId": grant["GrantId"]}))
    refused_grant(bob.kms, key_id, no, GranteePrincipal=carol.arn, Constraints=equals)
    assert grants_of(raw, key_id, GrantId=last["GrantId"])


def test_one_grant_must_allow_the_whole_of_what_is_given_on(raw: RawKms, users: list[User], key_id: str) -> None:
    """Two that each allow a part allow nothing more together; a second one that allows all of it does."""
    alice, bob, _ = users
    for operation in ("Encrypt", "Decrypt"):
        give(raw, key_id, alice.arn, operation, "CreateGrant")
    both = {"GranteePrincipal": bob.arn, "Operations": ["Encrypt", "Decrypt"]}
    refused_grant(alice.kms, key_id, "AccessDeniedException", **both)
    give(raw, key_id, alice.arn, "Encrypt", "Decrypt", "CreateGrant")
    give(alice.kms, key_id, bob.arn, "Encrypt", "Decrypt")


def test_whoever_may_by_policy_gives_anything_whatever_grants_he_has(
    installation: Installation, raw: RawKms, users: list[User], key_id: str
) -> None:
    by_policy = new_user(installation, allow("kms:CreateGrant", resource=key_arn(key_id)))
    give(raw, key_id, by_policy.arn, "Encrypt", "CreateGrant")
    give(by_policy.kms, key_id, users[0].arn, "Decrypt", "GenerateDataKey")


def test_a_refused_delegation_says_in_the_record_which_grant_gives_too_little(
    installation: Installation, raw: RawKms, users: list[User], key_id: str
) -> None:
    alice = users[0]
    made = give(raw, key_id, alice.arn, "Encrypt", "CreateGrant")
    refused_grant(alice.kms, key_id, "AccessDeniedException", Operations=["Decrypt"])
    refusal = audit_records(installation)[-1]["additionalEventData"]["refusal"]
    assert f"The grant {made['GrantId']} would allow if the new one gave no more than it." in refusal["trace"]


# ── conditions on making grants ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("condition", "members", "others"),
    [
        (
            {"ForAllValues:StringEquals": {"kms:GrantOperations": ["Encrypt", "Decrypt"]}},
            {"Operations": ["Encrypt"]},
            {"Operations": ["Encrypt", "DescribeKey"]},
        ),
        (
            {"StringEquals": {"kms:GranteePrincipal": ROOT}},
            {"GranteePrincipal": ROOT},
            {"GranteePrincipal": "the grantee"},
        ),
        ({"StringEquals": {"kms:RetiringPrincipal": ROOT}}, {"RetiringPrincipal": ROOT}, {}),
        (
            {"StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset"}},
            {"Constraints": {"EncryptionContextSubset": CONTEXT}},
            {"Constraints": {"EncryptionContextEquals": CONTEXT}},
        ),
        (
            {"StringEquals": {"kms:GrantConstraintType": "EncryptionContextSubset"}},
            None,
            {"Constraints": {"EncryptionContextSubset": {}}},
        ),
        ({"StringNotEquals": {"kms:GranteePrincipal": ROOT}}, None, {"GranteePrincipal": ACCOUNT}),
        (
            {"StringEquals": {"kms:EncryptionContext:Department": "Finance"}},
            {"Constraints": {"EncryptionContextSubset": CONTEXT}},
            {"Constraints": {"EncryptionContextSubset": {"Department": "IT"}}},
        ),
        ({"Bool": {"kms:GrantIsForAWSResource": "false"}}, {}, None),
        ({"Bool": {"kms:GrantIsForAWSResource": "true"}}, None, {}),
    ],
)
def test_conditions_ask_what_the_grant_would_be(
    installation: Installation, users: list[User], key_id: str, condition: Any, members: Any, others: Any
) -> None:
    giver = new_user(installation, allow("kms:CreateGrant", Condition=condition))
    request = {"KeyId": key_id, "GranteePrincipal": ROOT, "Operations": ["Encrypt"]}
    if members is not None:
        assert_allowed(giver.kms.call("CreateGrant", {**request, **members}))
    if others is not None:
        if others.get("GranteePrincipal") == "the grantee":
            others = {"GranteePrincipal": users[0].arn}
        assert_refused(giver.kms.call("CreateGrant", {**request, **others}), "AccessDeniedException")


# ── retiring ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_may_retire_a_grant_says_the_grant(
    installation: Installation, raw: RawKms, users: list[User], key_id: str
) -> None:
    grantee, retiring, third = users
    delegate = new_user(installation, allow("kms:RetireGrant", resource=key_arn(key_id)))
    elsewhere = new_user(installation, allow("kms:RetireGrant", resource=key_arn(str(uuid.uuid4()))))
    # A key policy has no say in it, for or against.
    mine = {"Effect": "Allow", "Principal": {"AWS": third.arn}, "Action": "kms:RetireGrant", "Resource": "*"}
    against = {**mine, "Effect": "Deny", "Principal": {"AWS": retiring.arn}}
    text = policy(allow("kms:*", Principal={"AWS": ROOT}), mine, against)
    assert_allowed(raw.call("PutKeyPolicy", {"KeyId": key_id, "Policy": text}))

    def make(*operations: str, **members: Any) -> dict[str, Any]:
        return give(raw, key_id, grantee.arn, *operations, **members)

    def retire(kms: RawKms, made: dict[str, Any], *, by_token: bool) -> Answer:
        by_id = {"KeyId": key_arn(key_id), "GrantId": made["GrantId"]}
        return kms.call("RetireGrant", {"GrantToken": made["GrantToken"]} if by_token else by_id)

    for by_token in (True, False):
        made = make("Encrypt", RetiringPrincipal=retiring.arn)
        for user in (grantee, third, elsewhere):
            answer = retire(user.kms, made, by_token=by_token)
            assert_refused(
                answer,
                "AccessDeniedException",
                f"User: {user.arn} is not authorized to perform: kms:RetireGrant on resource: {key_arn(key_id)} "
                "because no identity-based policy allows the kms:RetireGrant action",
            )
        for kms in (retiring.kms, delegate.kms, raw):
            assert_allowed(retire(kms, make("Encrypt", RetiringPrincipal=retiring.arn), by_token=by_token))
        constrained = {"Constraints": {"EncryptionContextEquals": CONTEXT}}
        assert_allowed(retire(grantee.kms, make("Encrypt", "RetireGrant", **constrained), by_token=by_token))
        # The account as retiring principal: its policies say who of it.
        made = make("Encrypt", RetiringPrincipal=ROOT)
        assert_refused(retire(third.kms, made, by_token=by_token), "AccessDeniedException")
        assert_allowed(retire(delegate.kms, made, by_token=by_token))
    assert len(grants_of(raw, key_id)) == 2


def test_a_deny_of_retiring_holds_against_whom_the_grant_names(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    finance = {"StringEquals": {"kms:EncryptionContext:Department": "Finance"}}
    denied = new_user(installation, allow("kms:RetireGrant", effect="Deny", Condition=finance))
    for context, code in (({"Department": "Finance"}, "AccessDeniedException"), ({"Department": "IT"}, "")):
        constraints = {"EncryptionContextSubset": context}
        made = give(raw, key_id, ROOT, "Encrypt", RetiringPrincipal=denied.arn, Constraints=constraints)
        assert denied.kms.call("RetireGrant", {"GrantToken": made["GrantToken"]}).code == code


def test_a_grant_is_retired_once(raw: RawKms, key_id: str) -> None:
    made = give(raw, key_id, ROOT, "Encrypt")
    by_id = {"KeyId": key_id, "GrantId": made["GrantId"]}
    assert_allowed(raw.call("RetireGrant", by_id))
    gone = f"Grant ID {made['GrantId']} not found"
    assert_refused(raw.call("RetireGrant", by_id), "NotFoundException", gone)
    assert_refused(raw.call("RevokeGrant", by_id), "NotFoundException", gone)
    assert_refused(raw.call("RetireGrant", {"KeyId": key_id, "GrantId": "0"}), "InvalidGrantIdException", "")
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    second = give(raw, key_id, ROOT, "Encrypt")["GrantId"]
    for operation in ("RetireGrant", "RevokeGrant"):
        assert_refused(raw.call(operation, {"KeyId": other, "GrantId": second}), "NotFoundException")


def test_of_8_who_end_a_grant_at_once_one_does(installation: Installation, raw: RawKms, key_id: str) -> None:
    made = give(raw, key_id, ROOT, "Encrypt")

    def end(number: int) -> str:
        kms = RawKms(installation)
        try:
            operation = ("RetireGrant", "RevokeGrant")[number % 2]
            return kms.call(operation, {"KeyId": key_id, "GrantId": made["GrantId"]}).code
        finally:
            kms.close()

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(end, range(8))) == ["", *["NotFoundException"] * 7]


def test_a_dry_run_says_what_would_come_of_it_and_does_nothing(
    installation: Installation, raw: RawKms, users: list[User], key_id: str
) -> None:
    alice = users[0]
    made = give(raw, key_id, alice.arn, "Encrypt", Name="dry")
    by_id = {"KeyId": key_id, "GrantId": made["GrantId"]}
    granted = {"KeyId": key_id, "GranteePrincipal": alice.arn, "Operations": ["Encrypt"]}
    before = table_dump(installation)
    would = ("DryRunOperationException", "The request would have succeeded, but the DryRun option is set.")
    for operation, request in (
        ("CreateGrant", granted),
        ("CreateGrant", {**granted, "Name": "dry"}),
        ("RetireGrant", {"GrantToken": made["GrantToken"]}),
        ("RetireGrant", by_id),
        ("RevokeGrant", by_id),
    ):
        assert_refused(raw.call(operation, {**request, "DryRun": True}), *would)
        assert_refused(alice.kms.call(operation, {**request, "DryRun": True}), "AccessDeniedException")
    for operation in ("RetireGrant", "RevokeGrant"):
        absent = {"KeyId": key_id, "GrantId": ABSENT, "DryRun": True}
        assert_refused(raw.call(operation, absent), "NotFoundException")
    assert table_dump(installation) == before


# ── retirable grants ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_retires_is_listed_with_the_grants_of_every_key(
    installation: Installation, raw: RawKms, key_id: str
) -> None:
    own = new_user(installation)
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    made = {give(raw, key, ROOT, "Encrypt", RetiringPrincipal=own.arn)["GrantId"] for key in (key_id, other, other)}
    give(raw, key_id, own.arn, "Encrypt", "RetireGrant")
    answer = assert_allowed(raw.call("ListRetirableGrants", {"RetiringPrincipal": own.arn}))
    assert {grant["GrantId"] for grant in answer["Grants"]} == made
    assert {grant["KeyId"] for grant in answer["Grants"]} == {key_arn(key_id), key_arn(other)}
    assert_refused(own.kms.call("ListRetirableGrants", {"RetiringPrincipal": own.arn}), "AccessDeniedException")
    assert pages(raw, "ListRetirableGrants", RetiringPrincipal=NOBODY) == [[]]


# ── the life of a key ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_disabled_key_takes_no_new_grant_and_gives_up_those_it_has(
    raw: RawKms, users: list[User], key_id: str
) -> None:
    made = [give(raw, key_id, users[0].arn, "Encrypt") for _ in range(2)]
    for operation, code in (("DisableKey", "DisabledException"), ("ScheduleKeyDeletion", "KMSInvalidStateException")):
        assert_allowed(raw.call(operation, {"KeyId": key_id}))
        refused_grant(raw, key_id, code)
        assert_refused(encrypt(users[0], key_id), code)
    assert len(grants_of(raw, key_id)) == 2
    assert_allowed(raw.call("RevokeGrant", {"KeyId": key_id, "GrantId": made[0]["GrantId"]}))
    assert_allowed(raw.call("RetireGrant", {"GrantToken": made[1]["GrantToken"]}))
    assert grants_of(raw, key_id) == []


# ── how many ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_has_no_more_grants_than_its_limit_and_one_that_goes_makes_room(tmp_path: Path) -> None:
    """The key of the room has one grant already. A name that is known takes no place, and other keys are others."""

    async def scene(room: Room) -> None:
        async def create(key_id: str, name: str) -> str:
            request = {"KeyId": key_id, "GranteePrincipal": ROOT, "Operations": ["Encrypt"], "Name": name}
            _, answer, error, _ = await room.serve("CreateGrant", request)
            return f"{error.code}: {error.message}" if isinstance(error, Fault) else str(answer.GrantId)

        full = "LimitExceededException: Grants per key quota for this account in this region is 3, current usage is 3."
        first = await create(KEY, "a")
        await create(KEY, "b")
        for _ in range(2):
            assert await create(KEY, "c") == full
        assert await create(KEY, "a") == first
        assert await create(OTHER_KEY, "c") != full
        assert (await room.serve("RevokeGrant", {"KeyId": KEY, "GrantId": GRANT}))[2] is None
        assert await create(KEY, "c") != full
        assert await create(KEY, "d") == full

    async def main() -> None:
        room = Room(tmp_path / "store.db", limits=Limits(grants_per_key_max=3))
        try:
            await room.fill()
            await scene(room)
        finally:
            room.store.close()

    asyncio.run(main())


def test_a_grantee_has_no_more_grants_on_a_key_than_the_limit(tmp_path: Path) -> None:
    """All of them are read when he asks: without a bound, one request could hold a worker for a second."""

    async def main() -> None:
        room = Room(tmp_path / "store.db", limits=Limits(grants_per_grantee_max=2))
        await room.fill()

        async def create(key_id: str, grantee: str) -> str:
            request = {"KeyId": key_id, "GranteePrincipal": grantee, "Operations": ["Decrypt"]}
            _, _, error, _ = await room.serve("CreateGrant", request)
            return "" if error is None else str(error)

        elsewhere = "arn:aws:iam::000000000000:root"
        assert [await create(KEY, elsewhere) for _ in range(2)] == ["", ""]
        assert await create(KEY, elsewhere) == "Grants per grantee on this key quota is 2, current usage is 2."
        assert await create(OTHER_KEY, elsewhere) == ""
        room.store.close()

    asyncio.run(main())
