"""GetKeyLastUsage, over real HTTP; how notes reach the store is `test_chores_usage`.

Sources: members, errors and what counts the API reference (the model's documentation of GetKeyLastUsage); the refusal of an
alias AWS's words for operations that take none.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import Installation
from testkit.raw import RawKms, allow, assert_allowed, assert_refused, audit_records, b64, key_arn, make_user, policy


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.fixture
def fresh(raw: RawKms) -> str:
    """The id of a new key."""
    return str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])


def usage(raw: RawKms, key_id: str) -> dict[str, Any]:
    return assert_allowed(raw.call("GetKeyLastUsage", {"KeyId": key_id}))


@pytest.mark.parametrize("reference", ["id", "arn"])
def test_a_key_that_was_never_used_has_an_empty_usage(raw: RawKms, fresh: str, reference: str) -> None:
    created_s = assert_allowed(raw.call("DescribeKey", {"KeyId": fresh}))["KeyMetadata"]["CreationDate"]
    answer = usage(raw, fresh if reference == "id" else key_arn(fresh))
    assert answer.pop("TrackingStartDate") >= created_s
    assert answer == {"KeyId": fresh, "KeyLastUsage": {}, "KeyCreationDate": created_s}


def test_every_cryptographic_operation_is_the_last_one_until_the_next(
    installation: Installation, raw: RawKms, fresh: str
) -> None:
    other = str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": fresh, "Plaintext": b64(b"x")}))["CiphertextBlob"]
    for operation, request in (
        ("Decrypt", {"CiphertextBlob": blob}),
        ("GenerateDataKey", {"KeyId": fresh, "KeySpec": "AES_256"}),
        ("GenerateDataKeyWithoutPlaintext", {"KeyId": fresh, "KeySpec": "AES_256"}),
        ("Encrypt", {"KeyId": fresh, "Plaintext": b64(b"x")}),
        ("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": other}),
    ):
        before_s = time.time()
        sent = raw.call(operation, request)
        assert_allowed(sent)
        last = usage(raw, fresh)["KeyLastUsage"]
        assert before_s - 1 <= last.pop("Timestamp") <= time.time() + 1
        assert last.pop("KmsRequestId") == sent.headers["x-amzn-requestid"]
        (event,) = (e for e in audit_records(installation) if e["eventID"] == last["CloudTrailEventId"])
        assert event["eventName"] == operation
        assert last == {"Operation": operation, "CloudTrailEventId": event["eventID"]}
    source, destination = usage(raw, fresh)["KeyLastUsage"], usage(raw, other)["KeyLastUsage"]
    assert source == destination


def test_what_is_refused_a_dry_run_or_no_cryptography_does_not_count(raw: RawKms, fresh: str) -> None:
    for operation, request in (
        ("Encrypt", {"KeyId": fresh, "Plaintext": b64(b"x"), "DryRun": True}),
        ("Encrypt", {"KeyId": fresh, "Plaintext": b64(b"x"), "EncryptionAlgorithm": "RSAES_OAEP_SHA_1"}),
        ("DescribeKey", {"KeyId": fresh}),
        ("RotateKeyOnDemand", {"KeyId": fresh}),
        ("DisableKey", {"KeyId": fresh}),
        ("Encrypt", {"KeyId": fresh, "Plaintext": b64(b"x")}),
        ("ScheduleKeyDeletion", {"KeyId": fresh}),
        ("Encrypt", {"KeyId": fresh, "Plaintext": b64(b"x")}),
    ):
        raw.call(operation, request)
        assert usage(raw, fresh)["KeyLastUsage"] == {}


def test_an_alias_is_no_reference_here(raw: RawKms, fresh: str) -> None:
    name = f"alias/{uuid.uuid4().hex}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": fresh}))
    answer = raw.call("GetKeyLastUsage", {"KeyId": name})
    assert_refused(answer, "InvalidArnException", "Key Aliases are not supported for this operation.")


def test_a_key_that_does_not_exist_is_not_found(raw: RawKms) -> None:
    unknown = str(uuid.uuid4())
    answer = raw.call("GetKeyLastUsage", {"KeyId": unknown})
    assert_refused(answer, "NotFoundException", f"Key '{key_arn(unknown)}' does not exist")


def test_whoever_may_not_is_told_so(installation: Installation, fresh: str) -> None:
    user = make_user(installation, f"usage-{uuid.uuid4().hex[:8]}", policy(allow("kms:DescribeKey")))
    message = (
        f"User: {user.arn} is not authorized to perform: kms:GetKeyLastUsage on resource: {key_arn(fresh)} "
        "because no identity-based policy allows the kms:GetKeyLastUsage action"
    )
    assert_refused(user.kms.call("GetKeyLastUsage", {"KeyId": fresh}), "AccessDeniedException", message)
