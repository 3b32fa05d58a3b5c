"""GetKeyRotationStatus: whether, how often and when next a key is rotated without anybody asking.

A rotation on demand is done before its answer, so `OnDemandRotationStartDate`, which tells of one that is under way, never
shows. While a key waits for its deletion its status is false; a cancelled deletion brings the status back.
"""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.repositories import KeyState
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import GetKeyRotationStatusRequest, GetKeyRotationStatusResponse


def demands(request: GetKeyRotationStatusRequest) -> Sequence[Demand]:
    return (OnKey("kms:GetKeyRotationStatus", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: GetKeyRotationStatusRequest) -> GetKeyRotationStatusResponse:
    (admission,) = call.admissions
    record = admission.key.record
    require_state(admission.key, call.operation)
    admission.permit.redeem(record.key_id)
    waits_for_deletion = record.state in {KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION}
    if record.rotation_period_days is None or waits_for_deletion:
        return GetKeyRotationStatusResponse(KeyId=record.key_id, KeyRotationEnabled=False)
    return GetKeyRotationStatusResponse(
        KeyId=record.key_id,
        KeyRotationEnabled=True,
        RotationPeriodInDays=record.rotation_period_days,
        NextRotationDate=record.next_rotation_at_s,
    )
