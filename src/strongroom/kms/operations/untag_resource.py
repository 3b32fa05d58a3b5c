"""UntagResource: tags taken off a key; those that it does not have are passed over in silence."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.key_changes import change_key, name_key_in_record
from strongroom.kms.operations.tags import remove_tags
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import UntagResourceRequest


def demands(request: UntagResourceRequest) -> Sequence[Demand]:
    return (OnKey("kms:UntagResource", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: UntagResourceRequest) -> None:
    (admission,) = call.admissions
    entry = admission.key
    require_state(entry, call.operation)
    await change_key(service, call, tags=remove_tags(entry.record.tags, request.TagKeys))
    name_key_in_record(call)
