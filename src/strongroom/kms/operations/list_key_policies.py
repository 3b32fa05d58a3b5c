"""ListKeyPolicies: the names of a key's policies, of which there is one."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import InvalidMarkerException, ValidationException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.key_policies import DEFAULT_NAME
from strongroom.kms.operations.requests import parse_marker
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import ListKeyPoliciesRequest, ListKeyPoliciesResponse


def demands(request: ListKeyPoliciesRequest) -> Sequence[Demand]:
    return (OnKey("kms:ListKeyPolicies", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: ListKeyPoliciesRequest) -> ListKeyPoliciesResponse:
    (admission,) = call.admissions
    admission.permit.redeem(admission.key.record.key_id)
    require_state(admission.key, call.operation)
    try:
        after = parse_marker(request.Marker)
    except InvalidMarkerException as invalid:  # The model gives this operation no such exception.
        raise ValidationException(invalid.message) from None
    # One name fits on every page, since a limit is at least 1.
    return ListKeyPoliciesResponse(PolicyNames=[name for name in (DEFAULT_NAME,) if name > after], Truncated=False)
