"""CreateAlias: a name for a key."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import AlreadyExistsException, InvalidAliasNameException
from strongroom.kms.gate import Demand, OnAlias, OnKey
from strongroom.kms.keys.directory import PARTITION
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.aliases import require_alias_name, require_key_target, require_room
from strongroom.kms.operations.key_changes import name_key_in_record
from strongroom.kms.repositories import AliasRecord, Put
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import CreateAliasRequest
from strongroom.protocol.arn import format_alias_arn, is_alias_name


def demands(request: CreateAliasRequest) -> Sequence[Demand]:
    require_alias_name(request.AliasName)
    require_key_target(request.TargetKeyId)
    if not is_alias_name(request.AliasName):
        # A prefix and no name; an alias that is called so is simply not found by the other operations.
        raise InvalidAliasNameException
    return (
        OnAlias("kms:CreateAlias", request.AliasName),
        OnKey("kms:CreateAlias", request.TargetKeyId, aliases=False),
    )


async def run(service: Service, call: Call, request: CreateAliasRequest) -> None:
    on_alias, on_key = call.admissions
    entry = on_key.key
    require_state(entry, call.operation)
    if await service.directory.key_id_of_alias(call.account, request.AliasName) is not None:
        arn = format_alias_arn(PARTITION, service.region, call.account, request.AliasName)
        raise AlreadyExistsException(f"An alias with the name {arn} already exists")
    await require_room(service, call.account, entry.record.key_id)
    now_s = service.clock()
    record = AliasRecord(
        account=call.account,
        region=service.region,
        name=request.AliasName,
        version=1,
        key_id=entry.record.key_id,
        created_at_s=now_s,
        updated_at_s=now_s,
    )
    permits = ((on_alias.permit, request.AliasName), (on_key.permit, entry.record.key_id))
    await service.directory.commit(permits, [Put(record, replaces=None)])
    name_key_in_record(call)
