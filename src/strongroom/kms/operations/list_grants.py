"""ListGrants: the grants on a key, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import InvalidGrantIdException, NotFoundException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.grants import require_grant
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.grants import grants_of_any, grants_response, kept_names, page_limit
from strongroom.kms.operations.requests import parse_marker, require_no_service_principal
from strongroom.kms.repositories import GrantRecord
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import ListGrantsRequest, ListGrantsResponse


def demands(request: ListGrantsRequest) -> Sequence[Demand]:
    require_no_service_principal(request, "GranteePrincipal", "GranteeServicePrincipal")
    return (OnKey("kms:ListGrants", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: ListGrantsRequest) -> ListGrantsResponse:
    (admission,) = call.admissions
    key_id = admission.key.record.key_id
    admission.permit.redeem(key_id)
    require_state(admission.key, call.operation)
    after, limit = parse_marker(request.Marker), page_limit(request.Limit)
    name, store = request.GranteePrincipal, service.directory.store
    grantees = None if name is None else await kept_names(service, name)
    if request.GrantId is not None:
        record = await _named(service, key_id, request.GrantId)
        is_listed = (grantees is None or record.grantee in grantees) and record.grant_id > after
        records = [record] if is_listed else []
    elif grantees is None:
        records = await store.list_grants(key_id, None, after, limit + 1)
    else:
        records = await grants_of_any(
            grantees, lambda grantee: store.list_grants(key_id, grantee, after, limit + 1), limit + 1
        )
    return await grants_response(service, records, limit)


async def _named(service: Service, key_id: str, grant_id: str) -> GrantRecord:
    try:
        return await require_grant(service.directory, key_id, grant_id)
    except NotFoundException:
        raise InvalidGrantIdException from None
