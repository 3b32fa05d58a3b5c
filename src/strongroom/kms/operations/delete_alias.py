"""DeleteAlias: a name taken away; the key stays."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnAlias
from strongroom.kms.operations.aliases import require_alias_name
from strongroom.kms.operations.key_changes import name_key_in_record
from strongroom.kms.repositories import AliasRecord, ConflictError, Remove
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import DeleteAliasRequest


def demands(request: DeleteAliasRequest) -> Sequence[Demand]:
    require_alias_name(request.AliasName)
    return (OnAlias("kms:DeleteAlias", request.AliasName, target_action="kms:DeleteAlias"),)


async def run(service: Service, call: Call, request: DeleteAliasRequest) -> None:
    on_alias, on_key = call.admissions
    record = await service.directory.store.get(AliasRecord, call.account, service.region, request.AliasName)
    if record is None or record.key_id != on_key.key.record.key_id:
        raise ConflictError
    permits = ((on_alias.permit, request.AliasName), (on_key.permit, record.key_id))
    await service.directory.commit(permits, [Remove(record)])
    name_key_in_record(call)
