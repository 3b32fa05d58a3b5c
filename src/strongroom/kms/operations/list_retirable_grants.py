"""ListRetirableGrants: the grants that a principal may retire. There are none until CreateGrant is there to make one.

What the caller must be allowed to ask about is the principal itself (API reference, ListRetirableGrants: "The authorized
resource … is the retiring principal specified in the request").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.faults import InvalidArnException, ValidationException
from strongroom.kms.gate import Demand, OnAccount
from strongroom.kms.operations.requests import parse_marker, require_no_service_principal
from strongroom.kms.permits import KEYLESS
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import ListGrantsResponse, ListRetirableGrantsRequest

# API reference, RetiringPrincipal: accounts, IAM users and roles, federated users, assumed roles.
_PRINCIPAL: Final = re.compile(
    r"([0-9]{12})|arn:aws:(?:iam::([0-9]{12}):(?:root|(?:user|role)/.+)|sts::([0-9]{12}):(?:assumed-role|federated-user)/.+)",
    re.ASCII,
)


def demands(request: ListRetirableGrantsRequest) -> Sequence[Demand]:
    require_no_service_principal(request, "RetiringPrincipal", "RetiringServicePrincipal")
    if request.RetiringPrincipal is None:
        raise ValidationException(
            "You must specify either RetiringPrincipal or RetiringServicePrincipal, but not both."
        )
    return (OnAccount("kms:ListRetirableGrants", request.RetiringPrincipal),)


async def run(service: Service, call: Call, request: ListRetirableGrantsRequest) -> ListGrantsResponse:
    (admission,) = call.admissions
    admission.permit.redeem(KEYLESS)
    principal = request.RetiringPrincipal or ""
    found = _PRINCIPAL.fullmatch(principal)
    # "You must specify a principal in your Amazon Web Services account."
    if found is None or call.account not in found.groups():
        raise InvalidArnException(f"ARN does not refer to a valid principal: {principal}")
    parse_marker(request.Marker)
    return ListGrantsResponse(Grants=[], Truncated=False)
