"""UpdateAlias: an alias pointed at another key."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnAlias, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.aliases import require_alias_name, require_key_target, require_room
from strongroom.kms.operations.key_changes import name_key_in_record
from strongroom.kms.repositories import AliasRecord, ConflictError, Put
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import UpdateAliasRequest


def demands(request: UpdateAliasRequest) -> Sequence[Demand]:
    require_alias_name(request.AliasName)
    require_key_target(request.TargetKeyId)
    return (
        OnAlias("kms:UpdateAlias", request.AliasName, target_action="kms:UpdateAlias"),
        OnKey("kms:UpdateAlias", request.TargetKeyId, aliases=False),
    )


async def run(service: Service, call: Call, request: UpdateAliasRequest) -> None:
    on_alias, on_old, on_new = call.admissions
    require_state(on_new.key, call.operation)
    record = await service.directory.store.get(AliasRecord, call.account, service.region, request.AliasName)
    if record is None or record.key_id != on_old.key.record.key_id:
        raise ConflictError
    if record.key_id != on_new.key.record.key_id:
        await require_room(service, call.account, on_new.key.record.key_id)
    changed = msgspec.structs.replace(
        record, version=record.version + 1, key_id=on_new.key.record.key_id, updated_at_s=service.clock()
    )
    permits = (
        (on_alias.permit, request.AliasName),
        (on_old.permit, on_old.key.record.key_id),
        (on_new.permit, on_new.key.record.key_id),
    )
    await service.directory.commit(permits, [Put(changed, replaces=record.version)])
    name_key_in_record(call)
