"""GetKeyPolicy: the key policy, to the byte as it was written."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import NotFoundException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.key_policies import DEFAULT_NAME
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import GetKeyPolicyRequest, GetKeyPolicyResponse


def demands(request: GetKeyPolicyRequest) -> Sequence[Demand]:
    return (OnKey("kms:GetKeyPolicy", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: GetKeyPolicyRequest) -> GetKeyPolicyResponse:
    (admission,) = call.admissions
    entry = admission.key
    admission.permit.redeem(entry.record.key_id)
    require_state(entry, call.operation)
    if request.PolicyName not in {None, DEFAULT_NAME}:
        raise NotFoundException("No such policy exists")
    return GetKeyPolicyResponse(Policy=entry.record.key_policy, PolicyName=DEFAULT_NAME)
