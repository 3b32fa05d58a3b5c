"""UpdateKeyDescription: other words about a key; nothing else of it changes."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.key_changes import change_key
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import UpdateKeyDescriptionRequest


def demands(request: UpdateKeyDescriptionRequest) -> Sequence[Demand]:
    return (OnKey("kms:UpdateKeyDescription", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: UpdateKeyDescriptionRequest) -> None:
    (admission,) = call.admissions
    require_state(admission.key, call.operation)
    await change_key(service, call, description=request.Description)
