"""RetireGrant: whoever the grant itself lets ends it. The grant is named by a token, or by its key and its id."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import ValidationException
from strongroom.kms.gate import Demand
from strongroom.kms.keys.grants import OnGrant
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.requests import stop_if_dry_run
from strongroom.kms.repositories import Remove
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import RetireGrantRequest


def demands(request: RetireGrantRequest) -> Sequence[Demand]:
    return (_named(request),)


def _named(request: RetireGrantRequest) -> OnGrant:
    by_id = (request.KeyId, request.GrantId)
    if request.GrantToken is not None and by_id == (None, None):
        return OnGrant(request.GrantToken)
    if request.GrantToken is None and request.KeyId is not None and request.GrantId is not None:
        return OnGrant(None, request.KeyId, request.GrantId)
    raise ValidationException("You must specify either GrantToken, or both KeyId and GrantId.")


async def run(service: Service, call: Call, request: RetireGrantRequest) -> None:
    (admission,) = call.admissions
    entry = admission.key
    require_state(entry, call.operation)
    # The same one again, now that the gate has said yes.
    _, record = await service.gate.find_grant(call, _named(request))
    # KMS developer guide, log entry of RetireGrant: where a token named the grant, this alone says which it was.
    call.additional = {"grantId": record.grant_id}
    stop_if_dry_run(request.DryRun, admission)
    await service.directory.commit(((admission.permit, entry.record.key_id),), [Remove(record)])
