"""Rotation on schedule and on demand, over real HTTP; what the chore does when a date comes is `test_chores_rotation`.

Where codes and wordings come from: states and their words the KMS developer guide, "Key states"; the limit's sentence and
the ARN in the answer of RotateKeyOnDemand LocalStack's AWS-validated tests (test_key_rotations_limits,
test_rotate_on_demand_returns_arn_for_key_id); periods, dates, and what a pending deletion shows the API reference; entries
of ListKeyRotations, oldest first, and the bare id in GetKeyRotationStatus the guide's and the CLI's examples; the event
RotateKey the guide's log entry. Ours, because nothing was found: the sentence of ConflictException is its description in
the model, and the order of limit and conflict.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import ACCOUNT, Installation
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
OPERATIONS = [
    "EnableKeyRotation",
    "DisableKeyRotation",
    "GetKeyRotationStatus",
    "ListKeyRotations",
    "RotateKeyOnDemand",
]
CHANGING = ["EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"]


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.fixture
def fresh(raw: RawKms) -> str:
    """The id of a new key."""
    return str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])


def do(raw: RawKms, operation: str, key_id: str, **members: Any) -> dict[str, Any]:
    return assert_allowed(raw.call(operation, {"KeyId": key_id, **members}))


def encrypt(raw: RawKms, key_id: str, plaintext: bytes) -> str:
    return str(do(raw, "Encrypt", key_id, Plaintext=b64(plaintext))["CiphertextBlob"])


# ── the schedule ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rotation_is_off_until_somebody_enables_it(raw: RawKms, fresh: str) -> None:
    assert do(raw, "GetKeyRotationStatus", fresh) == {"KeyId": fresh, "KeyRotationEnabled": False}


@pytest.mark.parametrize("reference", ["id", "arn"])
@pytest.mark.parametrize("period", [None, 90, 91, 2559, 2560])
def test_an_enabled_rotation_shows_its_period_and_date(
    raw: RawKms, fresh: str, reference: str, period: int | None
) -> None:
    members = {} if period is None else {"RotationPeriodInDays": period}
    before_s = time.time()
    assert do(raw, "EnableKeyRotation", fresh if reference == "id" else key_arn(fresh), **members) == {}
    status = do(raw, "GetKeyRotationStatus", fresh if reference == "id" else key_arn(fresh))
    days = period or 365
    date_s = status.pop("NextRotationDate")
    assert before_s + days * DAY_S - 1 <= date_s <= time.time() + days * DAY_S + 1
    assert status == {"KeyId": fresh, "KeyRotationEnabled": True, "RotationPeriodInDays": days}


def test_enabling_again_keeps_the_date_and_another_period_counts_from_now(raw: RawKms, fresh: str) -> None:
    do(raw, "EnableKeyRotation", fresh, RotationPeriodInDays=200)
    first = do(raw, "GetKeyRotationStatus", fresh)
    time.sleep(0.01)
    do(raw, "EnableKeyRotation", fresh, RotationPeriodInDays=200)
    assert do(raw, "GetKeyRotationStatus", fresh) == first
    do(raw, "EnableKeyRotation", fresh, RotationPeriodInDays=201)
    second = do(raw, "GetKeyRotationStatus", fresh)
    assert second["RotationPeriodInDays"] == 201
    assert 0 < second["NextRotationDate"] - first["NextRotationDate"] - DAY_S < 120
    do(raw, "EnableKeyRotation", fresh)
    assert do(raw, "GetKeyRotationStatus", fresh)["RotationPeriodInDays"] == 365


def test_a_rotation_that_was_disabled_counts_anew_when_it_is_enabled(raw: RawKms, fresh: str) -> None:
    do(raw, "EnableKeyRotation", fresh)
    first_s = do(raw, "GetKeyRotationStatus", fresh)["NextRotationDate"]
    assert do(raw, "DisableKeyRotation", fresh) == {}
    assert do(raw, "DisableKeyRotation", fresh) == {}
    assert do(raw, "GetKeyRotationStatus", fresh) == {"KeyId": fresh, "KeyRotationEnabled": False}
    time.sleep(0.01)
    do(raw, "EnableKeyRotation", fresh)
    assert do(raw, "GetKeyRotationStatus", fresh)["NextRotationDate"] > first_s


def test_a_disabled_key_keeps_its_rotation_status(raw: RawKms, fresh: str) -> None:
    do(raw, "EnableKeyRotation", fresh, RotationPeriodInDays=100)
    status = do(raw, "GetKeyRotationStatus", fresh)
    do(raw, "DisableKey", fresh)
    assert do(raw, "GetKeyRotationStatus", fresh) == status
    do(raw, "EnableKey", fresh)
    assert do(raw, "GetKeyRotationStatus", fresh) == status


def test_a_key_that_waits_for_its_deletion_shows_no_rotation_until_it_is_had_back(raw: RawKms, fresh: str) -> None:
    do(raw, "EnableKeyRotation", fresh, RotationPeriodInDays=100)
    status = do(raw, "GetKeyRotationStatus", fresh)
    do(raw, "ScheduleKeyDeletion", fresh)
    assert do(raw, "GetKeyRotationStatus", fresh) == {"KeyId": fresh, "KeyRotationEnabled": False}
    do(raw, "CancelKeyDeletion", fresh)
    assert do(raw, "GetKeyRotationStatus", fresh) == status


@pytest.mark.parametrize(
    ("period", "bound"),
    [(89, "greater than or equal to 90"), (0, "greater than or equal to 90"), (2561, "less than or equal to 2560")],
)
def test_a_period_outside_of_its_bounds_changes_nothing(
    installation: Installation, raw: RawKms, fresh: str, period: int, bound: str
) -> None:
    before = table_dump(installation)
    assert_refused(
        raw.call("EnableKeyRotation", {"KeyId": fresh, "RotationPeriodInDays": period}),
        "ValidationException",
        f"1 validation error detected: Value '{period}' at 'rotationPeriodInDays' failed to satisfy constraint: "
        f"Member must have value {bound}",
    )
    assert table_dump(installation) == before


# ── on demand ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rotated_key_encrypts_with_new_material_and_decrypts_with_the_old(raw: RawKms, fresh: str) -> None:
    blobs = [encrypt(raw, fresh, b"before")]
    materials = [do(raw, "DescribeKey", fresh)["KeyMetadata"]["CurrentKeyMaterialId"]]
    for number in range(3):
        assert do(raw, "RotateKeyOnDemand", fresh) == {"KeyId": key_arn(fresh)}
        blobs.append(encrypt(raw, fresh, b"after %d" % number))
        materials.append(do(raw, "DescribeKey", fresh)["KeyMetadata"]["CurrentKeyMaterialId"])
    assert len(set(materials)) == 4
    for blob, plaintext, material in zip(
        blobs, (b"before", b"after 0", b"after 1", b"after 2"), materials, strict=True
    ):
        answer = assert_allowed(raw.call("Decrypt", {"CiphertextBlob": blob}))
        assert (answer["Plaintext"], answer["KeyMaterialId"]) == (b64(plaintext), material)
    made = do(raw, "GenerateDataKey", fresh, KeySpec="AES_256")
    assert made["KeyMaterialId"] == materials[-1]
    made = do(raw, "GenerateDataKeyWithoutPlaintext", fresh, KeySpec="AES_256")
    assert made["KeyMaterialId"] == materials[-1]
    moved = assert_allowed(raw.call("ReEncrypt", {"CiphertextBlob": blobs[0], "DestinationKeyId": fresh}))
    assert (moved["SourceKeyMaterialId"], moved["DestinationKeyMaterialId"]) == (materials[0], materials[-1])


def test_rotating_on_demand_moves_no_date(raw: RawKms, fresh: str) -> None:
    do(raw, "EnableKeyRotation", fresh)
    status = do(raw, "GetKeyRotationStatus", fresh)
    do(raw, "RotateKeyOnDemand", fresh)
    assert do(raw, "GetKeyRotationStatus", fresh) == status


def test_twenty_five_rotations_on_demand_are_the_limit(installation: Installation, raw: RawKms, fresh: str) -> None:
    for _ in range(25):
        do(raw, "RotateKeyOnDemand", fresh)
    before = table_dump(installation)
    message = (
        "The on-demand rotations limit has been reached for the given keyId. "
        f"No more on-demand rotations can be performed for this key: {key_arn(fresh)}"
    )
    assert_refused(raw.call("RotateKeyOnDemand", {"KeyId": fresh}), "LimitExceededException", message)
    assert table_dump(installation) == before


def test_the_trail_names_the_materials_of_a_rotation(installation: Installation, raw: RawKms, fresh: str) -> None:
    old = do(raw, "DescribeKey", fresh)["KeyMetadata"]["CurrentKeyMaterialId"]
    do(raw, "RotateKeyOnDemand", fresh)
    new = do(raw, "DescribeKey", fresh)["KeyMetadata"]["CurrentKeyMaterialId"]
    arn = key_arn(fresh)
    events = [e for e in audit_records(installation) if [r["ARN"] for r in e.get("resources") or ()] == [arn]]
    rotations = [event for event in events if event["eventName"].startswith("Rotate")]
    assert [(event["eventName"], event.get("phase")) for event in rotations] == [
        ("RotateKeyOnDemand", "intent"),
        ("RotateKey", None),
        ("RotateKeyOnDemand", None),
    ]
    _, service_event, call = rotations
    assert call["responseElements"] == {"keyId": arn}
    assert service_event["userIdentity"] == {"accountId": ACCOUNT, "invokedBy": "AWS Internal"}
    assert (service_event["sourceIPAddress"], service_event["userAgent"]) == ("AWS Internal", "AWS Internal")
    assert (service_event["eventType"], service_event["readOnly"]) == ("AwsServiceEvent", False)
    assert service_event["serviceEventDetails"] == {
        "rotationType": "ON_DEMAND",
        "keyOrigin": "AWS_KMS",
        "previousKeyMaterialId": old,
        "currentKeyMaterialId": new,
        "keyId": fresh,
    }


# ── the list ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_that_was_never_rotated_has_only_its_first_material(raw: RawKms, fresh: str) -> None:
    assert do(raw, "ListKeyRotations", fresh) == {"Rotations": [], "Truncated": False}
    first = do(raw, "DescribeKey", fresh)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert do(raw, "ListKeyRotations", fresh, IncludeKeyMaterial="ALL_KEY_MATERIAL") == {
        "Rotations": [{"KeyId": fresh, "KeyMaterialId": first, "KeyMaterialState": "CURRENT"}],
        "Truncated": False,
    }


def test_rotations_are_listed_oldest_first_to_their_last_member(raw: RawKms, fresh: str) -> None:
    materials = [do(raw, "DescribeKey", fresh)["KeyMetadata"]["CurrentKeyMaterialId"]]
    before_s = time.time()
    for _ in range(3):
        do(raw, "RotateKeyOnDemand", key_arn(fresh))
        materials.append(do(raw, "DescribeKey", fresh)["KeyMetadata"]["CurrentKeyMaterialId"])
    listed = do(raw, "ListKeyRotations", key_arn(fresh), IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    dates = [entry.pop("RotationDate") for entry in listed[1:]]
    assert dates == sorted(dates)
    assert before_s - 1 <= dates[0] <= dates[-1] <= time.time() + 1
    rotated = {"KeyId": fresh, "RotationType": "ON_DEMAND", "KeyMaterialState": "NON_CURRENT"}
    assert listed == [
        {"KeyId": fresh, "KeyMaterialId": materials[0], "KeyMaterialState": "NON_CURRENT"},
        {**rotated, "KeyMaterialId": materials[1]},
        {**rotated, "KeyMaterialId": materials[2]},
        {**rotated, "KeyMaterialId": materials[3], "KeyMaterialState": "CURRENT"},
    ]
    for members in ({}, {"IncludeKeyMaterial": "ROTATIONS_ONLY"}):
        only = do(raw, "ListKeyRotations", fresh, **members)
        assert [entry["KeyMaterialId"] for entry in only["Rotations"]] == materials[1:]
        assert only["Truncated"] is False


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 1000])
def test_pages_of_rotations_are_the_list(raw: RawKms, fresh: str, limit: int) -> None:
    for _ in range(3):
        do(raw, "RotateKeyOnDemand", fresh)
    members = {"IncludeKeyMaterial": "ALL_KEY_MATERIAL"}
    whole = do(raw, "ListKeyRotations", fresh, **members)["Rotations"]
    pages: list[dict[str, Any]] = []
    page = do(raw, "ListKeyRotations", fresh, Limit=limit, **members)
    while True:
        assert len(page["Rotations"]) <= limit
        assert page["Truncated"] == ("NextMarker" in page)
        pages += page["Rotations"]
        if not page["Truncated"]:
            break
        page = do(raw, "ListKeyRotations", fresh, Limit=limit, Marker=page["NextMarker"], **members)
    assert pages == whole
    assert len(whole) == 4


def test_a_marker_of_something_else_is_none(raw: RawKms, fresh: str) -> None:
    other = str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])
    do(raw, "RotateKeyOnDemand", other)
    marker = do(raw, "ListKeyRotations", other, Limit=1, IncludeKeyMaterial="ALL_KEY_MATERIAL")["NextMarker"]
    for wrong in (marker, "nothing", "eA==", "AAAA"):
        answer = raw.call("ListKeyRotations", {"KeyId": fresh, "Marker": wrong})
        assert_refused(answer, "InvalidMarkerException")
    # Of this key, but not in this list.
    assert_refused(raw.call("ListKeyRotations", {"KeyId": other, "Marker": marker}), "InvalidMarkerException")


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        (
            {"Limit": 0},
            "Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        (
            {"Limit": 1001},
            "Value '1001' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 1000",
        ),
        (
            {"IncludeKeyMaterial": "NONE"},
            (
                "Value 'NONE' at 'includeKeyMaterial' failed to satisfy constraint: Member must satisfy enum value set: "
                "[ALL_KEY_MATERIAL, ROTATIONS_ONLY]"
            ),
        ),
    ],
)
def test_members_outside_of_the_model_are_refused(
    raw: RawKms, fresh: str, members: dict[str, Any], complaint: str
) -> None:
    answer = raw.call("ListKeyRotations", {"KeyId": fresh, **members})
    assert_refused(answer, "ValidationException", f"1 validation error detected: {complaint}")


# ── who, what and in which state ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_key_that_does_not_exist_is_not_found(raw: RawKms, operation: str) -> None:
    unknown = str(uuid.uuid4())
    message = f"Key '{key_arn(unknown)}' does not exist"
    assert_refused(raw.call(operation, {"KeyId": unknown}), "NotFoundException", message)


@pytest.mark.parametrize("operation", CHANGING)
@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion"])
def test_a_key_that_is_not_enabled_is_not_rotated_by_anybody(
    installation: Installation, raw: RawKms, fresh: str, operation: str, state: str
) -> None:
    do(raw, "DisableKey" if state == "Disabled" else "ScheduleKeyDeletion", fresh)
    before = table_dump(installation)
    answer = raw.call(operation, {"KeyId": fresh})
    if state == "Disabled":
        assert_refused(answer, "DisabledException", f"{key_arn(fresh)} is disabled.")
    else:
        assert_refused(answer, "KMSInvalidStateException", f"{key_arn(fresh)} is pending deletion.")
    assert table_dump(installation) == before
    do(raw, "ListKeyRotations", fresh)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_whoever_may_not_is_told_so(installation: Installation, raw: RawKms, fresh: str, operation: str) -> None:
    user = make_user(installation, f"rotation-{uuid.uuid4().hex[:8]}", policy(allow("kms:DescribeKey")))
    do(raw, "DisableKey", fresh)
    message = (
        f"User: {user.arn} is not authorized to perform: kms:{operation} on resource: {key_arn(fresh)} "
        f"because no identity-based policy allows the kms:{operation} action"
    )
    assert_refused(user.kms.call(operation, {"KeyId": fresh}), "AccessDeniedException", message)
