"""Who can have policies: users, groups and roles, by one mechanism for all three.

What is said and answered differs only in the words of this table. Sources: IAM API reference; IAM user guide, "IAM and AWS
STS quotas"; Service Authorization Reference (`iam:PermissionsBoundary` and `iam:PolicyARN`: a group has no boundary).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.operations.finding import Found, demand_on, find_group, find_role, find_user
from strongroom.kms.identities.records import GroupRecord, RoleRecord, UserRecord
from strongroom.kms.service import Service

Holder = UserRecord | GroupRecord | RoleRecord


class HolderKind(msgspec.Struct, frozen=True):
    """`noun` as operations are called by it; `inline_chars_max` is for all inline policies together, without white space."""

    noun: str
    find: Callable[[Service, Call, Any], Awaitable[Found[Any]]]
    inline_chars_max: int

    @property
    def member(self) -> str:
        """The member of requests and answers that names one."""
        return f"{self.noun}Name"


USER: Final = HolderKind("User", find_user, 2_048)
GROUP: Final = HolderKind("Group", find_group, 5_120)
ROLE: Final = HolderKind("Role", find_role, 10_240)
KINDS: Final = (USER, GROUP, ROLE)


def on_holder(call: Call, request: Any, found: Found[Any]) -> Sequence[OnIdentity]:
    """With the boundary that whoever is found has, and the managed policy that the request names."""
    stated = {}
    boundary_arn = getattr(found.record, "boundary_arn", None)
    if boundary_arn is not None:
        stated["iam:PermissionsBoundary"] = (boundary_arn,)
    policy_arn = getattr(request, "PolicyArn", None)
    if policy_arn is not None:
        stated["iam:PolicyARN"] = (policy_arn,)
    return (demand_on(call, found, stated),)


def attached(holder: Holder) -> tuple[str, ...]:
    """Users of the first versions have nothing in their records where others have an empty list."""
    return holder.attached_policies or ()
