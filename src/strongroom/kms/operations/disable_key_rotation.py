"""DisableKeyRotation: a key keeps the material that it has, until somebody asks for a rotation."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.keys.rotation import require_rotatable
from strongroom.kms.operations.key_changes import change_key
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import DisableKeyRotationRequest


def demands(request: DisableKeyRotationRequest) -> Sequence[Demand]:
    return (OnKey("kms:DisableKeyRotation", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: DisableKeyRotationRequest) -> None:
    (admission,) = call.admissions
    require_state(admission.key, call.operation)
    require_rotatable(admission.key)
    await change_key(service, call, rotation_period_days=None, next_rotation_at_s=None)
