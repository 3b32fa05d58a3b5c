"""Every authenticated call leaves exactly one outcome in the trail, in CloudTrail's form, and no secret leaves any trace.

The form is CloudTrail's; `encryptionAlgorithm` that nobody named, `dryRun` and the order of ReEncrypt's resources are
those of the log entries in the KMS developer guide.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from strongroom.kms.operations.table import TABLE
from testkit.installation import ACCOUNT, REGION, Installation
from testkit.raw import (
    Answer,
    RawKms,
    allow,
    ask_iam,
    assert_allowed,
    assert_refused,
    audit_records,
    b64,
    call_headers,
    make_user,
    policy,
)

COMMON = {
    "eventVersion": "1.11",
    "eventSource": "kms.amazonaws.com",
    "awsRegion": REGION,
    "sourceIPAddress": "127.0.0.1",
    "eventType": "AwsApiCall",
    "managementEvent": True,
    "eventCategory": "Management",
    "recipientAccountId": ACCOUNT,
}


ROOT = f"arn:aws:iam::{ACCOUNT}:root"
# Whose log entries in the KMS developer guide say so ("recorded on or after December 2022").
NAME_THE_KEY = {
    *("CancelKeyDeletion", "CreateAlias", "DeleteAlias", "DisableKey", "EnableKey", "EnableKeyRotation"),
    *("RotateKeyOnDemand", "UntagResource", "UpdateAlias"),
}
ANSWERED_IN_RECORD = {"ScheduleKeyDeletion"}


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def records_of(installation: Installation, answer: Answer) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The intents and the outcomes of the call that was answered so; they were there before the answer."""
    found = [e for e in audit_records(installation) if e["requestID"] == answer.headers["x-amzn-requestid"]]
    intents = [event for event in found if event.get("phase") == "intent"]
    outcomes = [event for event in found if "phase" not in event]
    assert found == [*intents, *outcomes]
    return intents, outcomes


def test_every_call_leaves_one_outcome_and_every_mutation_an_intent_before_it(
    installation: Installation, raw: RawKms
) -> None:
    key = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    key_id, arn = key["KeyId"], key["Arn"]
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    alias = f"alias/audit-{key_id}"
    key_policy = policy(allow("kms:*", Principal={"AWS": ROOT}))
    context = {"a": "b"}
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA==", "EncryptionContext": context}))[
        "CiphertextBlob"
    ]
    algorithm = {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    both = {"sourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT", "destinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    target = {"AliasName": alias, "TargetKeyId": key_id}
    target_logged = {"aliasName": alias, "targetKeyId": key_id}
    granted = {"KeyId": key_id, "GranteePrincipal": ROOT, "Operations": ["Encrypt"]}
    grants = [assert_allowed(raw.call("CreateGrant", granted))["GrantId"] for _ in range(2)]
    # Operation, request, what is logged of it, the keys it names, and whether there is more to say of it.
    table: list[tuple[str, dict[str, Any], dict[str, Any], list[str], bool]] = [
        ("CreateAlias", target, target_logged, [arn], False),
        (
            "CreateKey",
            {"Description": "d", "Tags": [{"TagKey": "a", "TagValue": "b"}]},
            {"description": "d", "tags": [{"tagKey": "a", "tagValue": "b"}]},
            [],
            False,
        ),
        (
            "Decrypt",
            {"CiphertextBlob": blob, "EncryptionContext": context},
            {"encryptionContext": context, **algorithm},
            [arn],
            True,
        ),
        ("DescribeKey", {"KeyId": alias, "GrantTokens": ["x"]}, {"keyId": alias}, [arn], False),
        (
            "Encrypt",
            {"KeyId": arn, "Plaintext": "eA==", "GrantTokens": []},
            {"keyId": arn, **algorithm},
            [arn],
            True,
        ),
        (
            "GenerateDataKey",
            {"KeyId": key_id, "KeySpec": "AES_256", "EncryptionContext": context},
            {"keyId": key_id, "keySpec": "AES_256", "encryptionContext": context},
            [arn],
            True,
        ),
        (
            "GenerateDataKeyWithoutPlaintext",
            {"KeyId": key_id, "NumberOfBytes": 5},
            {"keyId": key_id, "numberOfBytes": 5},
            [arn],
            True,
        ),
        ("GenerateRandom", {"NumberOfBytes": 5}, {"numberOfBytes": 5}, [], False),
        ("ListAliases", {"KeyId": key_id, "Limit": 5}, {"keyId": key_id, "limit": 5}, [], False),
        (
            "ListGrants",
            {"KeyId": key_id, "GranteePrincipal": ROOT},
            {"keyId": key_id, "granteePrincipal": ROOT},
            [arn],
            False,
        ),
        ("ListKeyPolicies", {"KeyId": arn}, {"keyId": arn}, [arn], False),
        ("ListKeys", {"Limit": 5}, {"limit": 5}, [], False),
        ("ListResourceTags", {"KeyId": key_id}, {"keyId": key_id}, [arn], False),
        ("ListRetirableGrants", {"RetiringPrincipal": ROOT}, {"retiringPrincipal": ROOT}, [], False),
        (
            "PutKeyPolicy",
            {
                "KeyId": key_id,
                "PolicyName": "default",
                "Policy": key_policy,
                "BypassPolicyLockoutSafetyCheck": False,
            },
            {
                "keyId": key_id,
                "policyName": "default",
                "policy": key_policy,
                "bypassPolicyLockoutSafetyCheck": False,
            },
            [arn],
            False,
        ),
        (
            "GetKeyPolicy",
            {"KeyId": key_id, "PolicyName": "default"},
            {"keyId": key_id, "policyName": "default"},
            [arn],
            False,
        ),
        (
            "ReEncrypt",
            {"CiphertextBlob": blob, "SourceEncryptionContext": context, "DestinationKeyId": other["KeyId"]},
            {"sourceEncryptionContext": context, "destinationKeyId": other["KeyId"], **both},
            [arn, other["Arn"]],
            True,
        ),
        (
            "TagResource",
            {"KeyId": arn, "Tags": [{"TagKey": "Department", "TagValue": "IT"}]},
            {"keyId": arn, "tags": [{"tagKey": "Department", "tagValue": "IT"}]},
            [arn],
            False,
        ),
        (
            "UntagResource",
            {"KeyId": arn, "TagKeys": ["Dept"]},
            {"keyId": arn, "tagKeys": ["Dept"]},
            [arn],
            False,
        ),
        ("UpdateAlias", target, target_logged, [arn, arn], False),
        (
            "UpdateKeyDescription",
            {"KeyId": key_id, "Description": "New key description"},
            {"keyId": key_id, "description": "New key description"},
            [arn],
            False,
        ),
        (
            "EnableKeyRotation",
            {"KeyId": key_id, "RotationPeriodInDays": 90},
            {"keyId": key_id, "rotationPeriodInDays": 90},
            [arn],
            False,
        ),
        ("GetKeyRotationStatus", {"KeyId": key_id}, {"keyId": key_id}, [arn], False),
        ("DisableKeyRotation", {"KeyId": key_id}, {"keyId": key_id}, [arn], False),
        ("RotateKeyOnDemand", {"KeyId": key_id}, {"keyId": key_id}, [arn], False),
        ("ListKeyRotations", {"KeyId": key_id}, {"keyId": key_id}, [arn], False),
        ("GetKeyLastUsage", {"KeyId": key_id}, {"keyId": key_id}, [arn], False),
        ("DeleteAlias", {"AliasName": alias}, {"aliasName": alias}, [arn], False),
        (
            "ScheduleKeyDeletion",
            {"KeyId": key_id, "PendingWindowInDays": 7},
            {"keyId": key_id, "pendingWindowInDays": 7},
            [arn],
            False,
        ),
        ("CancelKeyDeletion", {"KeyId": key_id}, {"keyId": key_id}, [arn], False),
        ("DisableKey", {"KeyId": key_id}, {"keyId": key_id}, [arn], False),
        ("EnableKey", {"KeyId": key_id}, {"keyId": key_id}, [arn], False),
        (
            "CreateGrant",
            {**granted, "Constraints": {"EncryptionContextSubset": {"Department": "IT"}}},
            {
                "keyId": key_id,
                "granteePrincipal": ROOT,
                "operations": ["Encrypt"],
                "constraints": {"encryptionContextSubset": {"Department": "IT"}},
            },
            [arn],
            False,
        ),
        (
            "RetireGrant",
            {"KeyId": key_id, "GrantId": grants[0]},
            {"keyId": key_id, "grantId": grants[0]},
            [arn],
            True,
        ),
        (
            "RevokeGrant",
            {"KeyId": key_id, "GrantId": grants[1]},
            {"keyId": key_id, "grantId": grants[1]},
            [arn],
            False,
        ),
    ]
    assert {row[0] for row in table} == set(TABLE)
    for operation, request, logged, touched, uses_material in table:
        keys = touched
        answer = raw.call(operation, request)
        body = assert_allowed(answer)
        intents, (outcome,) = records_of(installation, answer)
        mutates = TABLE[operation].mutates
        assert len(intents) == int(mutates), operation
        assert {name: outcome[name] for name in COMMON} == COMMON
        assert outcome["eventName"] == operation
        assert outcome["readOnly"] is not mutates
        assert outcome["requestParameters"] == logged
        if operation == "CreateKey":
            made = body["KeyMetadata"]
            assert outcome["responseElements"]["keyMetadata"]["arn"] == made["Arn"]
            keys = [made["Arn"]]
        elif operation == "CreateGrant":
            assert outcome["responseElements"] == {"grantId": body["GrantId"]}
        elif operation in NAME_THE_KEY:
            assert outcome["responseElements"] == {"keyId": arn}
        elif operation not in ANSWERED_IN_RECORD:
            assert outcome["responseElements"] is None
        wanted = [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": one} for one in keys]
        assert outcome.get("resources", []) == wanted, operation
        assert ("additionalEventData" in outcome) == uses_material
        if operation == "ReEncrypt":
            assert outcome["additionalEventData"] == {
                "sourceKeyMaterialId": body["SourceKeyMaterialId"],
                "destinationKeyMaterialId": body["DestinationKeyMaterialId"],
            }
        if operation == "RetireGrant":
            assert outcome["additionalEventData"] == {"grantId": grants[0]}
        assert outcome["userIdentity"] == {
            "type": "Root",
            "principalId": ACCOUNT,
            "arn": f"arn:aws:iam::{ACCOUNT}:root",
            "accountId": ACCOUNT,
            "accessKeyId": "test",
        }
        assert not {"errorCode", "errorMessage"} & set(outcome)
        for intent in intents:
            assert (intent["eventName"], intent["requestParameters"]) == (operation, logged)


def test_key_material_is_named_as_the_answer_names_it(installation: Installation, raw: RawKms) -> None:
    key_id = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    answer = raw.call("GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256"})
    _, (outcome,) = records_of(installation, answer)
    assert outcome["additionalEventData"] == {"keyMaterialId": answer.json["KeyMaterialId"]}


def test_every_refusal_leaves_one_outcome_with_its_code_and_words(installation: Installation, raw: RawKms) -> None:
    key = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    user = make_user(installation, f"audit-{uuid.uuid4().hex[:8]}")
    encrypt = {"KeyId": key["KeyId"], "Plaintext": "eA=="}
    for kms, operation, request, code in (
        (raw, "Encrypt", {**encrypt, "KeyId": str(uuid.uuid4())}, "NotFoundException"),
        (raw, "Encrypt", {**encrypt, "Plaintext": ""}, "ValidationException"),
        (raw, "Encrypt", {**encrypt, "Plaintext": 1}, "SerializationException"),
        (raw, "Encrypt", b"no JSON", "SerializationException"),
        (raw, "Encrypt", {**encrypt, "DryRun": True}, "DryRunOperationException"),
        (raw, "Decrypt", {"CiphertextBlob": "eA=="}, "InvalidCiphertextException"),
        (raw, "CreateKey", {"Policy": "x"}, "MalformedPolicyDocumentException"),
        (raw, "CreateAlias", {"AliasName": "alias/aws/x", "TargetKeyId": key["KeyId"]}, "NotAuthorizedException"),
        (raw, "Sign", {}, "UnsupportedOperationException"),
        (raw, "Nothing", {}, "UnknownOperationException"),
        (user.kms, "Encrypt", encrypt, "AccessDeniedException"),
        (user.kms, "CreateKey", {}, "AccessDeniedException"),
    ):
        answer = kms.call(operation, request)
        assert_refused(answer, code)
        intents, (outcome,) = records_of(installation, answer)
        assert outcome["errorCode"] == code
        assert outcome.get("errorMessage", "") == answer.message
        assert outcome["responseElements"] is None
        # What is not allowed is never intended; what turns out to be malformed afterwards may be.
        assert len(intents) <= int(code == "MalformedPolicyDocumentException")
        if operation == "Nothing":
            assert outcome["eventName"] == "UnknownOperation"
    identity = outcome["userIdentity"]
    assert (identity["type"], identity["userName"], identity["arn"]) == ("IAMUser", user.name, user.arn)
    assert (identity["accessKeyId"], identity["accountId"]) == (user.access_key_id, ACCOUNT)
    assert identity["principalId"].startswith("AIDA")


def test_noise_is_not_recorded_one_by_one(installation: Installation, raw: RawKms) -> None:
    def ours() -> int:
        return sum(event["eventSource"] == "kms.amazonaws.com" for event in audit_records(installation))

    before = ours()
    for _ in range(50):
        assert raw.call("ListKeys", secret="wrong").status == 400
        assert raw.call("ListKeys", access_key_id="AKIANOBODY").status == 400
        assert (
            raw.send_as_is([(b"Host", b"x"), *call_headers("ListKeys"), (b"Content-Length", b"2")], b"{}").status == 400
        )
    assert ours() == before


def spellings(secret: bytes) -> list[bytes]:
    """Raw, hexadecimal, written as bytes or as a list, and base64, wherever in a longer text the base64 begins."""
    found = [secret, secret.hex().encode(), secret.hex().upper().encode(), secret[::-1]]
    shown = repr(secret)[2:-1]
    found += [shown.encode(), json.dumps(shown)[1:-1].encode()]
    found += [separator.join(map(str, secret)).encode() for separator in (",", ", ")]
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + secret)
        # Characters that also hold bits of the neighbours are left out.
        inner = encoded[(0, 2, 3)[offset] + (offset > 0) : -4]
        found += [inner, inner.replace(b"+", b"-").replace(b"/", b"_")]
    return found


def traces(installation: Installation, secrets: list[bytes]) -> list[tuple[str, bytes]]:
    contents = {
        str(path): path.read_bytes() for path in (*installation.home.rglob("*"), installation.output) if path.is_file()
    }
    return [
        (name, secret[:8])
        for secret in secrets
        for spelling in spellings(secret)
        for name, content in contents.items()
        if spelling in content
    ]


def test_no_secret_leaves_a_trace_in_any_file(installation: Installation, raw: RawKms) -> None:
    key_id = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    user = make_user(installation, f"canary-{uuid.uuid4().hex[:8]}", policy(allow("kms:*")))
    secrets = [os.urandom(30) for _ in range(4)]
    plain, refused, token, wrong_secret = secrets
    blob = assert_allowed(user.kms.call("Encrypt", {"KeyId": key_id, "Plaintext": b64(plain)}))["CiphertextBlob"]
    assert assert_allowed(user.kms.call("Decrypt", {"CiphertextBlob": blob}))["Plaintext"] == b64(plain)
    moved = assert_allowed(user.kms.call("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": key_id}))
    data_key = assert_allowed(user.kms.call("GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256"}))
    random = assert_allowed(user.kms.call("GenerateRandom", {"NumberOfBytes": 32}))
    # Refused in every way that could repeat what was sent.
    for request in (
        {"KeyId": "no-such-key", "Plaintext": b64(refused)},
        {"KeyId": key_id, "Plaintext": b64(refused * 200)},
        {"KeyId": key_id, "Plaintext": b64(refused) + "!"},
        {"KeyId": key_id, "Plaintext": [b64(refused)]},
        {"KeyId": key_id, "Plaintext": b64(refused), "GrantTokens": [b64(token)]},
        {"KeyId": key_id, "Plaintext": b64(refused), "GrantTokens": [b64(token)] * 11},
        {"KeyId": key_id, "Plaintext": b64(refused), "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"},
        json.dumps({"KeyId": key_id, "Plaintext": b64(refused)}).encode()[:-1],
    ):
        assert user.kms.call("Encrypt", request).status == 400
    assert user.kms.call("Encrypt", {"KeyId": key_id}, secret=b64(wrong_secret)).status == 400
    ask_iam(installation, "ListAccessKeys", UserName=user.name)
    secrets += [base64.b64decode(answer["Plaintext"]) for answer in (data_key, random)]
    secrets += [base64.b64decode(answer["CiphertextBlob"])[-40:] for answer in (moved, data_key)]
    secrets.append(user.secret.encode())
    assert traces(installation, secrets) == []


def test_the_search_for_traces_finds_what_is_there(installation: Installation, raw: RawKms) -> None:
    """Or the test above would say nothing."""
    forms = (bytes.hex, b64, lambda text: b64(b"x" + text + b"y"), lambda text: b64(b"xy" + text + b"z"), repr)
    lists = (lambda text: str(list(text)), lambda text: msgspec.json.encode(list(text)).decode())
    for form in (bytes.decode, *forms, *lists):
        planted = uuid.uuid4().hex.encode() if form is bytes.decode else os.urandom(30)
        assert traces(installation, [planted]) == []
        assert_allowed(raw.call("CreateKey", {"Description": form(planted)}))
        assert traces(installation, [planted]) != [], form
