"""ScheduleKeyDeletion and CancelKeyDeletion, over real HTTP; the deletion itself is `test_chores_deletion`.

Where codes and wordings come from: `… is pending deletion.` and `… is not pending deletion.` the KMS developer guide, "Key
states"; the answer's members and CloudTrail's `responseElements` the API reference and the guide's log entry of
ScheduleKeyDeletion; the state after a cancellation and DescribeKey's members LocalStack's AWS-validated tests
(tests/aws/services/kms/test_kms.py); the model's own bounds AWS's pattern for constraints. Ours, because nothing was found:
the words for a window that the model takes and the service does not.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import Installation
from testkit.raw import (
    RawKms,
    allow,
    assert_allowed,
    assert_refused,
    audit_records,
    b64,
    key_arn,
    make_user,
    policy,
    table_dump,
)

DAY_S = 86_400.0


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.fixture
def fresh(raw: RawKms) -> str:
    """The id of a new key."""
    return str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])


def described(raw: RawKms, key_id: str) -> dict[str, Any]:
    metadata = assert_allowed(raw.call("DescribeKey", {"KeyId": key_id}))["KeyMetadata"]
    assert isinstance(metadata, dict)
    return metadata


@pytest.mark.parametrize("reference", ["id", "arn"])
@pytest.mark.parametrize("window", [None, 7, 8, 29, 30])
def test_a_scheduled_deletion_answers_when_it_will_be(
    raw: RawKms, fresh: str, reference: str, window: int | None
) -> None:
    before_s = time.time()
    request = {"KeyId": fresh if reference == "id" else key_arn(fresh)}
    answer = assert_allowed(
        raw.call("ScheduleKeyDeletion", request if window is None else {**request, "PendingWindowInDays": window})
    )
    days = window or 30
    date_s = answer.pop("DeletionDate")
    assert before_s + days * DAY_S - 1 <= date_s <= time.time() + days * DAY_S + 1
    assert answer == {"KeyId": key_arn(fresh), "KeyState": "PendingDeletion", "PendingWindowInDays": days}
    metadata = described(raw, fresh)
    assert (metadata["KeyState"], metadata["Enabled"], metadata["DeletionDate"]) == ("PendingDeletion", False, date_s)
    # Only a primary key with replicas has it.
    assert "PendingDeletionWindowInDays" not in metadata


def test_a_key_that_waits_for_its_deletion_encrypts_and_decrypts_nothing(raw: RawKms, fresh: str) -> None:
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": fresh, "Plaintext": b64(b"x")}))["CiphertextBlob"]
    assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": fresh}))
    message = f"{key_arn(fresh)} is pending deletion."
    for operation, request in (
        ("Encrypt", {"KeyId": fresh, "Plaintext": b64(b"x")}),
        ("GenerateDataKey", {"KeyId": fresh, "KeySpec": "AES_256"}),
        ("Decrypt", {"CiphertextBlob": blob}),
        ("EnableKey", {"KeyId": fresh}),
        ("DisableKey", {"KeyId": fresh}),
        ("ScheduleKeyDeletion", {"KeyId": fresh}),
    ):
        assert_refused(raw.call(operation, request), "KMSInvalidStateException", message)


def test_a_cancelled_deletion_leaves_a_disabled_key_that_decrypts_again_when_enabled(raw: RawKms, fresh: str) -> None:
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": fresh, "Plaintext": b64(b"x")}))["CiphertextBlob"]
    assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": fresh}))
    assert assert_allowed(raw.call("CancelKeyDeletion", {"KeyId": key_arn(fresh)})) == {"KeyId": key_arn(fresh)}
    metadata = described(raw, fresh)
    assert metadata["KeyState"] == "Disabled"
    assert "DeletionDate" not in metadata
    assert_refused(raw.call("Decrypt", {"CiphertextBlob": blob}), "DisabledException", f"{key_arn(fresh)} is disabled.")
    assert_allowed(raw.call("EnableKey", {"KeyId": fresh}))
    assert assert_allowed(raw.call("Decrypt", {"CiphertextBlob": blob}))["Plaintext"] == b64(b"x")


def test_a_disabled_key_can_be_scheduled_and_is_had_back_disabled(raw: RawKms, fresh: str) -> None:
    assert_allowed(raw.call("DisableKey", {"KeyId": fresh}))
    assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": fresh, "PendingWindowInDays": 7}))
    assert_allowed(raw.call("CancelKeyDeletion", {"KeyId": fresh}))
    assert described(raw, fresh)["KeyState"] == "Disabled"


@pytest.mark.parametrize("disabled", [False, True])
def test_a_deletion_that_nobody_scheduled_cannot_be_cancelled(raw: RawKms, fresh: str, disabled: bool) -> None:
    if disabled:
        assert_allowed(raw.call("DisableKey", {"KeyId": fresh}))
    answer = raw.call("CancelKeyDeletion", {"KeyId": fresh})
    assert_refused(answer, "KMSInvalidStateException", f"{key_arn(fresh)} is not pending deletion.")


MODEL_BOUNDS = [
    (0, "greater than or equal to 1"),
    (-1, "greater than or equal to 1"),
    (366, "less than or equal to 365"),
]
SERVICE_BOUNDS = [
    (1, "greater than or equal to 7"),
    (6, "greater than or equal to 7"),
    (31, "less than or equal to 30"),
    (365, "less than or equal to 30"),
]


@pytest.mark.parametrize(("window", "bound"), MODEL_BOUNDS + SERVICE_BOUNDS)
def test_a_window_outside_of_its_bounds_changes_nothing(
    installation: Installation, raw: RawKms, fresh: str, window: int, bound: str
) -> None:
    before = table_dump(installation)
    assert_refused(
        raw.call("ScheduleKeyDeletion", {"KeyId": fresh, "PendingWindowInDays": window}),
        "ValidationException",
        f"1 validation error detected: Value '{window}' at 'pendingWindowInDays' failed to satisfy constraint: "
        f"Member must have value {bound}",
    )
    assert table_dump(installation) == before


@pytest.mark.parametrize("operation", ["ScheduleKeyDeletion", "CancelKeyDeletion"])
def test_a_key_that_does_not_exist_is_not_found(raw: RawKms, operation: str) -> None:
    unknown = str(uuid.uuid4())
    message = f"Key '{key_arn(unknown)}' does not exist"
    assert_refused(raw.call(operation, {"KeyId": unknown}), "NotFoundException", message)
    assert_refused(raw.call(operation, {"KeyId": "no-uuid"}), "NotFoundException", "Invalid keyId 'no-uuid'")


@pytest.mark.parametrize("operation", ["ScheduleKeyDeletion", "CancelKeyDeletion"])
def test_whoever_may_not_is_told_so_before_the_state(
    installation: Installation, raw: RawKms, fresh: str, operation: str
) -> None:
    user = make_user(installation, f"deletion-{uuid.uuid4().hex[:8]}", policy(allow("kms:DescribeKey")))
    assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": fresh}))
    answer = user.kms.call(operation, {"KeyId": fresh})
    message = (
        f"User: {user.arn} is not authorized to perform: kms:{operation} on resource: {key_arn(fresh)} "
        f"because no identity-based policy allows the kms:{operation} action"
    )
    assert_refused(answer, "AccessDeniedException", message)


def test_aliases_of_a_key_that_waits_can_be_moved_away(raw: RawKms, fresh: str) -> None:
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    name = f"alias/{uuid.uuid4().hex}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": fresh}))
    assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": fresh}))
    (entry,) = assert_allowed(raw.call("ListAliases", {"KeyId": fresh}))["Aliases"]
    assert entry["AliasName"] == name
    assert_allowed(raw.call("UpdateAlias", {"AliasName": name, "TargetKeyId": other}))
    message = f"{key_arn(fresh)} is pending deletion."
    assert_refused(
        raw.call("UpdateAlias", {"AliasName": name, "TargetKeyId": fresh}), "KMSInvalidStateException", message
    )


def test_the_trail_says_what_was_scheduled_and_cancelled(installation: Installation, raw: RawKms, fresh: str) -> None:
    assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": fresh, "PendingWindowInDays": 9}))
    assert_allowed(raw.call("CancelKeyDeletion", {"KeyId": fresh}))
    events = [
        event for event in audit_records(installation) if (event["requestParameters"] or {}).get("keyId") == fresh
    ]
    assert [(event["eventName"], event.get("phase")) for event in events] == [
        ("ScheduleKeyDeletion", "intent"),
        ("ScheduleKeyDeletion", None),
        ("CancelKeyDeletion", "intent"),
        ("CancelKeyDeletion", None),
    ]
    scheduled, cancelled = (event["responseElements"] for event in events if "phase" not in event)
    time.strptime(scheduled.pop("deletionDate"), "%b %d, %Y %H:%M:%S %p")
    assert scheduled == {"keyId": key_arn(fresh), "keyState": "PendingDeletion", "pendingWindowInDays": 9}
    assert cancelled == {"keyId": key_arn(fresh)}
    assert events[0]["requestParameters"] == {"keyId": fresh, "pendingWindowInDays": 9}
