"""ListGrants: the grants on a key, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import InvalidGrantIdException, NotFoundException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.iam.principals import principal_arn
from strongroom.kms.keys.grants import require_grant
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.grants import grants_response, page_limit
from strongroom.kms.operations.requests import parse_marker, require_no_service_principal
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
    after = parse_marker(request.Marker)
    grantee = None if request.GranteePrincipal is None else principal_arn(request.GranteePrincipal)
    limit = page_limit(request.Limit)
    if request.GrantId is None:
        records = await service.directory.store.list_grants(key_id, grantee, after, limit + 1)
        return grants_response(records, limit)
    try:
        record = await require_grant(service.directory, key_id, request.GrantId)
    except NotFoundException:
        raise InvalidGrantIdException from None
    is_listed = grantee in {None, record.grantee} and record.grant_id > after
    return grants_response([record] if is_listed else [], limit)
