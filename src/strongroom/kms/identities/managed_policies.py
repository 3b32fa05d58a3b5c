"""Managed policies by their ARNs: those of an account, which the store keeps, and those of AWS, which a table holds.

    arn:aws:iam::ACCOUNT:policy/PATH/NAME       of an account
    arn:aws:iam::aws:policy/NAME                of AWS

An ARN names a policy only with the path that the policy has.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from strongroom.kms.identities.aws_policies import AWS, AWS_POLICIES
from strongroom.kms.identities.records import ManagedPolicyRecord, PolicyVersion
from strongroom.kms.repositories import Store

_ARN: Final = re.compile(
    r"arn:aws:iam::(?P<account>[0-9]{12}|aws):policy(?P<path>/(?:[\x21-\x7e]{1,510}/)?)(?P<name>[\w+=,.@-]{1,128})",
    re.ASCII,
)


class PolicyName(NamedTuple):
    """What an ARN says of a managed policy."""

    account: str
    path: str
    name: str


def policy_arn(policy: ManagedPolicyRecord) -> str:
    return f"arn:aws:iam::{policy.account}:policy{policy.path}{policy.name}"


def parse_policy_arn(arn: str) -> PolicyName | None:
    """The parts of a managed policy's ARN; None for every other text."""
    parsed = _ARN.fullmatch(arn)
    return None if parsed is None else PolicyName(parsed["account"], parsed["path"], parsed["name"])


async def find_policy(store: Store, arn: str) -> ManagedPolicyRecord | None:
    """The policy of this ARN, whosever it is; `store` is the home region's."""
    named = parse_policy_arn(arn)
    if named is None:
        return None
    if named.account == AWS:
        policy = AWS_POLICIES.get(named.name)
    else:
        policy = await store.get(ManagedPolicyRecord, named.account, named.name)
    return policy if policy is not None and policy.path == named.path else None


def version_of(policy: ManagedPolicyRecord, number: int) -> PolicyVersion | None:
    return next((version for version in policy.versions if version.number == number), None)


async def policy_text(store: Store, arn: str) -> str | None:
    """The text of a policy that is in force: of its default version. None where there is no policy of this ARN."""
    policy = await find_policy(store, arn)
    version = None if policy is None else version_of(policy, policy.default_number)
    return None if version is None else version.document
