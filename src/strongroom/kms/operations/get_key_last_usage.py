"""GetKeyLastUsage: the last successful cryptographic operation with a key, in every state of it.

What other workers did shows within a minute; what this one did, at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.last_usage import last_use, tracking_mark
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.repositories import MarkRecord
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import (
    GetKeyLastUsageRequest,
    GetKeyLastUsageResponse,
    KeyLastUsageData,
    KeyLastUsageTrackingOperationShape,
)


def demands(request: GetKeyLastUsageRequest) -> Sequence[Demand]:
    return (OnKey("kms:GetKeyLastUsage", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: GetKeyLastUsageRequest) -> GetKeyLastUsageResponse:
    (admission,) = call.admissions
    record = admission.key.record
    require_state(admission.key, call.operation)
    admission.permit.redeem(record.key_id)
    store = service.directory.store
    tracking = await store.get(MarkRecord, tracking_mark(service.region))
    use = await last_use(service.trail.usage, store, record.key_id)
    data = KeyLastUsageData()
    if use is not None:
        operation, used_at_s, event_id, request_id = use
        data = KeyLastUsageData(
            Operation=cast("KeyLastUsageTrackingOperationShape", operation),
            Timestamp=used_at_s,
            CloudTrailEventId=event_id,
            KmsRequestId=request_id,
        )
    return GetKeyLastUsageResponse(
        KeyId=record.key_id,
        KeyLastUsage=data,
        # "or the date the KMS key was created, whichever is later" (API reference).
        TrackingStartDate=max(record.created_at_s, service.clock() if tracking is None else tracking.value),
        KeyCreationDate=record.created_at_s,
    )
