"""Which managed policies a caller's identities can have: those of the account, and AWS's."""

from __future__ import annotations

from strongroom.kms.calls import Call
from strongroom.kms.identities.aws_policies import AWS
from strongroom.kms.identities.faults import InvalidInput
from strongroom.kms.identities.managed_policies import PolicyName, find_policy, parse_policy_arn
from strongroom.kms.identities.records import ManagedPolicyRecord
from strongroom.kms.service import Service


def require_policy_arn(arn: str) -> PolicyName:
    """What the ARN of a managed policy says, whether or not there is one.

    Raises:
        InvalidInput: it is none.
    """
    named = parse_policy_arn(arn)
    if named is None:
        raise InvalidInput(f"ARN {arn} is not valid.")
    return named


async def find_attachable(service: Service, call: Call, arn: str) -> ManagedPolicyRecord | None:
    """None too for another account's: nobody is told whether there is one."""
    named = parse_policy_arn(arn)
    if named is None or named.account not in {call.account, AWS}:
        return None
    return await find_policy(service.identities, arn)


def place_of(policy: PolicyName | ManagedPolicyRecord) -> str:
    """Where a policy stands in lists: AWS's first, each by its name, which is shorter than an ARN and fits a marker."""
    return f"{'0' if policy.account == AWS else '1'}{policy.name}"
