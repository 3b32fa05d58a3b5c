"""GetKeyPolicy: the key policy, to the byte as it was written, while those whom it names are called as they were then.

Of a user or role that was renamed it shows the new ARN, of one that is gone the unique id (IAM user guide, "AWS JSON policy
elements: Principal").
"""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import NotFoundException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.identities.existence import Existence
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
    existence = Existence(service.identities, service.main_account)
    text = await existence.shown_text(entry.policy, entry.record.key_policy)
    return GetKeyPolicyResponse(Policy=text, PolicyName=DEFAULT_NAME)
