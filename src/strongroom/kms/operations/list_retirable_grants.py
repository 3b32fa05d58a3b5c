"""ListRetirableGrants: the grants that a principal may retire, on keys of whatever account.

What the caller must be allowed to ask about is the principal itself (API reference, ListRetirableGrants: "The authorized
resource … is the retiring principal specified in the request"). The keys are not asked: "KMS does not evaluate the caller's
permissions to verify their access to any KMS keys or grants".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.faults import ValidationException
from strongroom.kms.gate import Demand, OnAccount
from strongroom.kms.iam.principals import principal_arn
from strongroom.kms.operations.grants import grants_of_any, grants_response, kept_names, not_a_principal, page_limit
from strongroom.kms.operations.requests import parse_marker, require_no_service_principal
from strongroom.kms.permits import KEYLESS
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import ListGrantsResponse, ListRetirableGrantsRequest

# API reference, RetiringPrincipal: accounts, IAM users and roles, federated users, assumed roles.
_PRINCIPAL: Final = re.compile(
    r"arn:aws:(?:iam::([0-9]{12}):(?:root|(?:user|role)/.+)|sts::([0-9]{12}):(?:assumed-role|federated-user)/.+)",
    re.ASCII,
)


def demands(request: ListRetirableGrantsRequest) -> Sequence[Demand]:
    require_no_service_principal(request, "RetiringPrincipal", "RetiringServicePrincipal")
    if request.RetiringPrincipal is None:
        raise ValidationException(
            "You must specify either RetiringPrincipal or RetiringServicePrincipal, but not both."
        )
    return (OnAccount("kms:ListRetirableGrants", principal_arn(request.RetiringPrincipal)),)


async def run(service: Service, call: Call, request: ListRetirableGrantsRequest) -> ListGrantsResponse:
    (admission,) = call.admissions
    admission.permit.redeem(KEYLESS)
    name = request.RetiringPrincipal or ""
    retiring = principal_arn(name)
    found = _PRINCIPAL.fullmatch(retiring)
    # "You must specify a principal in your Amazon Web Services account."
    if found is None or call.account not in found.groups():
        raise not_a_principal(name)
    after, limit = parse_marker(request.Marker), page_limit(request.Limit)
    records = await grants_of_any(
        await kept_names(service, retiring),
        lambda kept: service.directory.store.list_grants_to_retire(service.region, kept, after, limit + 1),
        limit + 1,
    )
    return await grants_response(service, records, limit)
