"""TagResource: tags added to a key, or given other values."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.key_changes import change_key
from strongroom.kms.operations.tags import add_tags
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import TagResourceRequest


def demands(request: TagResourceRequest) -> Sequence[Demand]:
    return (OnKey("kms:TagResource", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: TagResourceRequest) -> None:
    (admission,) = call.admissions
    entry = admission.key
    require_state(entry, call.operation)
    await change_key(service, call, tags=add_tags(entry.record.tags, request.Tags, service.limits))
