"""The change of state that EnableKey and DisableKey share."""

from __future__ import annotations

from strongroom.kms.calls import Call
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.key_changes import change_key, name_key_in_record
from strongroom.kms.repositories import KeyState
from strongroom.kms.service import Service


async def set_state(service: Service, call: Call, state: KeyState) -> None:
    """Put the admitted key into a state; a key that is in it already is left alone, as AWS leaves it."""
    (admission,) = call.admissions
    require_state(admission.key, call.operation)
    await change_key(service, call, state=state)
    name_key_in_record(call)
