"""RotateKeyOnDemand: new material now, whatever the schedule; the schedule does not move.

The rotation is done before the answer: whoever got one encrypts with the new material, in every worker, and
GetKeyRotationStatus never shows `OnDemandRotationStartDate`.
"""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import ConflictException, LimitExceededException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.keys.rotation import AUTOMATIC_IS_NEAR_S, require_rotatable, rotate
from strongroom.kms.repositories import RotationType
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import RotateKeyOnDemandRequest, RotateKeyOnDemandResponse


def demands(request: RotateKeyOnDemandRequest) -> Sequence[Demand]:
    return (OnKey("kms:RotateKeyOnDemand", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: RotateKeyOnDemandRequest) -> RotateKeyOnDemandResponse:
    (admission,) = call.admissions
    entry = admission.key
    require_state(entry, call.operation)
    require_rotatable(entry)
    on_demand = sum(material.record.rotation is RotationType.ON_DEMAND for material in entry.materials.values())
    if on_demand >= service.limits.on_demand_rotations_max:
        raise LimitExceededException(
            "The on-demand rotations limit has been reached for the given keyId. "
            f"No more on-demand rotations can be performed for this key: {entry.arn}"
        )
    next_rotation_at_s = entry.record.next_rotation_at_s
    if next_rotation_at_s is not None and next_rotation_at_s - service.clock() <= AUTOMATIC_IS_NEAR_S:
        raise ConflictException(
            "The request was rejected because an automatic rotation of this key is currently in progress or scheduled to "
            "begin within the next 20 minutes."
        )
    await rotate(service, entry, admission.permit, RotationType.ON_DEMAND, next_rotation_at_s=next_rotation_at_s)
    call.response_elements = {"keyId": entry.arn}
    return RotateKeyOnDemandResponse(KeyId=entry.arn)
