"""EnableKeyRotation: from now on a key gets new material every so many days, without anybody asking.

Asked again with the period that counts already, nothing changes: a tool that asks every day would otherwise put the rotation
off for ever. Another period counts from now; a date that is further away than the period was set by a clock that was ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.keys.rotation import DAY_S, PERIOD_DAYS_DEFAULT, require_rotatable, within_period
from strongroom.kms.operations.key_changes import change_key, name_key_in_record
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import EnableKeyRotationRequest


def demands(request: EnableKeyRotationRequest) -> Sequence[Demand]:
    return (OnKey("kms:EnableKeyRotation", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: EnableKeyRotationRequest) -> None:
    (admission,) = call.admissions
    record = admission.key.record
    require_state(admission.key, call.operation)
    require_rotatable(admission.key)
    period_days = request.RotationPeriodInDays or PERIOD_DAYS_DEFAULT
    now_s = service.clock()
    next_rotation_at_s = record.next_rotation_at_s
    if next_rotation_at_s is None or record.rotation_period_days != period_days:
        next_rotation_at_s = now_s + period_days * DAY_S
    next_rotation_at_s = within_period(next_rotation_at_s, now_s, period_days)
    await change_key(service, call, rotation_period_days=period_days, next_rotation_at_s=next_rotation_at_s)
    name_key_in_record(call)
