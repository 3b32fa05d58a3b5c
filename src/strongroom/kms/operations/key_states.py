"""The change of state that EnableKey and DisableKey share."""

from __future__ import annotations

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.repositories import KeyState, Put
from strongroom.kms.service import Service


async def set_state(service: Service, call: Call, state: KeyState) -> None:
    """Put the admitted key into a state; a key that is in it already is left alone, as AWS leaves it."""
    (admission,) = call.admissions
    record = admission.key.record
    require_state(admission.key, call.operation)
    changes = []
    if record.state is not state:
        changed = msgspec.structs.replace(record, version=record.version + 1, state=state)
        changes.append(Put(changed, replaces=record.version))
    await service.directory.commit(((admission.permit, record.key_id),), changes)
