"""RevokeGrant: whoever the key's policy lets ends a grant."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.grants import require_grant
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.requests import stop_if_dry_run
from strongroom.kms.repositories import Remove
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import RevokeGrantRequest


def demands(request: RevokeGrantRequest) -> Sequence[Demand]:
    return (OnKey("kms:RevokeGrant", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: RevokeGrantRequest) -> None:
    (admission,) = call.admissions
    entry = admission.key
    require_state(entry, call.operation)
    record = await require_grant(service.directory, entry.record.key_id, request.GrantId)
    stop_if_dry_run(request.DryRun, admission)
    await service.directory.commit(((admission.permit, entry.record.key_id),), [Remove(record)])
