"""ListGrants: the grants of a key. There are none until CreateGrant is there to make one."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import InvalidGrantIdException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.requests import parse_marker, require_no_service_principal
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import ListGrantsRequest, ListGrantsResponse


def demands(request: ListGrantsRequest) -> Sequence[Demand]:
    require_no_service_principal(request, "GranteePrincipal", "GranteeServicePrincipal")
    return (OnKey("kms:ListGrants", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: ListGrantsRequest) -> ListGrantsResponse:
    (admission,) = call.admissions
    admission.permit.redeem(admission.key.record.key_id)
    require_state(admission.key, call.operation)
    parse_marker(request.Marker)
    if request.GrantId is not None:
        raise InvalidGrantIdException
    return ListGrantsResponse(Grants=[], Truncated=False)
