"""CancelKeyDeletion: a key that waits for its deletion is had back, disabled; its rotation schedule counts again."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.key_changes import change_key
from strongroom.kms.repositories import KeyState
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import CancelKeyDeletionRequest, CancelKeyDeletionResponse


def demands(request: CancelKeyDeletionRequest) -> Sequence[Demand]:
    return (OnKey("kms:CancelKeyDeletion", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: CancelKeyDeletionRequest) -> CancelKeyDeletionResponse:
    (admission,) = call.admissions
    require_state(admission.key, call.operation)
    await change_key(service, call, state=KeyState.DISABLED, deletion_at_s=None)
    call.response_elements = {"keyId": admission.key.arn}
    return CancelKeyDeletionResponse(KeyId=admission.key.arn)
