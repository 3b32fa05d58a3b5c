"""Which managed policy a request is about: found before anything is decided, and missed only afterwards.

A policy is named by its ARN. One of another account is nobody's business here: it is not even looked up. One of AWS can be
read and attached, and not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.identities.aws_policies import AWS
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import AccessDenied, NoSuchEntity
from strongroom.kms.identities.operations.attachable import find_attachable, require_policy_arn
from strongroom.kms.identities.operations.finding import own_action
from strongroom.kms.identities.records import ManagedPolicyRecord
from strongroom.kms.service import Service


class FoundPolicy(msgspec.Struct, frozen=True):
    """What an ARN names for a caller of this account, if it names anything."""

    arn: str
    account: str
    record: ManagedPolicyRecord | None
    is_to_change: bool = False

    def require(self) -> ManagedPolicyRecord:
        """The record.

        Raises:
            InvalidInput: this is no managed policy's ARN.
            AccessDenied: it is another account's, or AWS's where it is to change.
            NoSuchEntity: there is none.
        """
        owners = {self.account} if self.is_to_change else {self.account, AWS}
        if require_policy_arn(self.arn).account not in owners:
            raise AccessDenied("Policy is outside your own account.")
        if self.record is None:
            raise NoSuchEntity(f"Policy {self.arn} was not found.")
        return self.record


async def find_policy_to_read(service: Service, call: Call, request: Any) -> FoundPolicy:
    record = await find_attachable(service, call, request.PolicyArn)
    return FoundPolicy(request.PolicyArn, call.account, record)


async def find_policy_to_change(service: Service, call: Call, request: Any) -> FoundPolicy:
    return msgspec.structs.replace(await find_policy_to_read(service, call, request), is_to_change=True)


def on_policy(call: Call, request: Any, found: FoundPolicy) -> Sequence[OnIdentity]:
    return (OnIdentity(own_action(call), found.arn, {} if found.record is None else found.record.tags),)
