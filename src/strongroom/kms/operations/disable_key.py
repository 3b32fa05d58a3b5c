"""DisableKey: a key may not be used until it is enabled; nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.operations.key_states import set_state
from strongroom.kms.repositories import KeyState
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import DisableKeyRequest


def demands(request: DisableKeyRequest) -> Sequence[Demand]:
    return (OnKey("kms:DisableKey", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: DisableKeyRequest) -> None:
    await set_state(service, call, KeyState.DISABLED)
