"""PutKeyPolicy: another key policy, in force from the next request on.

What was decided under the old one lives in the key's entry, and dies with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.faults import UnsupportedOperationException, ValidationException
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.key_changes import change_key
from strongroom.kms.operations.key_policies import DEFAULT_NAME, require_no_lockout, require_policy
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import PutKeyPolicyRequest

_RAM_NAME: Final = "AWS_RAM"


def demands(request: PutKeyPolicyRequest) -> Sequence[Demand]:
    return (OnKey("kms:PutKeyPolicy", request.KeyId, aliases=False),)


async def run(service: Service, call: Call, request: PutKeyPolicyRequest) -> None:
    (admission,) = call.admissions
    entry = admission.key
    require_state(entry, call.operation)
    if request.PolicyName == _RAM_NAME:
        raise ValidationException("The AWS_RAM policy can only be managed by the RAM service.")
    if request.PolicyName not in {None, DEFAULT_NAME}:
        raise UnsupportedOperationException("Only default policy is supported")
    document, principal_ids = await require_policy(service, request.Policy)
    if not request.BypassPolicyLockoutSafetyCheck:
        require_no_lockout(service, call, document, entry.record)
    await change_key(service, call, key_policy=request.Policy, principal_ids=principal_ids)
