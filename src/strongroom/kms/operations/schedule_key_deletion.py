"""ScheduleKeyDeletion: a key is out of use at once and gone after a waiting period; until then it can be had back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.faults import ValidationException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.keys.rotation import DAY_S
from strongroom.kms.operations.key_changes import change_key
from strongroom.kms.repositories import KeyState
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import ScheduleKeyDeletionRequest, ScheduleKeyDeletionResponse

# KMS API reference, ScheduleKeyDeletion: "it must be between 7 and 30, inclusive"; the model itself takes 1 to 365.
_WINDOW_DAYS_MIN: Final = 7
_WINDOW_DAYS_MAX: Final = 30


def demands(request: ScheduleKeyDeletionRequest) -> Sequence[Demand]:
    _require_window(request.PendingWindowInDays)
    return (OnKey("kms:ScheduleKeyDeletion", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: ScheduleKeyDeletionRequest) -> ScheduleKeyDeletionResponse:
    (admission,) = call.admissions
    require_state(admission.key, call.operation)
    window_days = request.PendingWindowInDays or _WINDOW_DAYS_MAX
    deletion_at_s = service.clock() + window_days * DAY_S
    # The rotation schedule stays in the record: a cancelled deletion restores it.
    await change_key(service, call, state=KeyState.PENDING_DELETION, deletion_at_s=deletion_at_s)
    call.response_elements = {
        "keyId": admission.key.arn,
        "keyState": KeyState.PENDING_DELETION.value,
        "deletionDate": _format_date(deletion_at_s),
        "pendingWindowInDays": window_days,
    }
    return ScheduleKeyDeletionResponse(
        KeyId=admission.key.arn,
        DeletionDate=deletion_at_s,
        KeyState=KeyState.PENDING_DELETION.value,
        PendingWindowInDays=window_days,
    )


def _require_window(days: int | None) -> None:
    """What the model lets pass and the service does not."""
    if days is None or _WINDOW_DAYS_MIN <= days <= _WINDOW_DAYS_MAX:
        return
    limit = (
        f"greater than or equal to {_WINDOW_DAYS_MIN}"
        if days < _WINDOW_DAYS_MIN
        else (f"less than or equal to {_WINDOW_DAYS_MAX}")
    )
    raise ValidationException(
        f"1 validation error detected: Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint: "
        f"Member must have value {limit}"
    )


def _format_date(at_s: float) -> str:
    """As the log entry of ScheduleKeyDeletion in the KMS developer guide shows it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%b %d, %Y %H:%M:%S %p")
