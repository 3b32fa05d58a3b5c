"""The role that a request wants to assume, and what a session of it may be.

Whoever may not assume a role is not told whether there is one: a role that does not exist is trusted by nobody.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from strongroom.kms.iam.documents import PolicyDocument
from strongroom.kms.iam.evaluate import NO_TRUST
from strongroom.kms.iam.principals import session_arn
from strongroom.kms.identities.arns import arn_of
from strongroom.kms.identities.faults import ValidationError
from strongroom.kms.identities.lookup import trust_policy
from strongroom.kms.identities.records import RoleRecord
from strongroom.kms.identities.sts.issuing import Begun, Holder, Issued, begin
from strongroom.kms.service import Service
from strongroom.kms.wire.sts_shapes import AssumedRoleUser

DURATION_S_DEFAULT: Final = 3600
CHAIN_S_MAX: Final = 3600
_ROLE_ARN: Final = re.compile(r"arn:aws:iam::([0-9]{12}):role/(?:[\x21-\x7e]+/)?([\w+=,.@-]{1,64})", re.ASCII)


class Assumed(msgspec.Struct, frozen=True):
    """`record` is None where there is no such role."""

    arn: str
    account: str
    record: RoleRecord | None
    trust: PolicyDocument

    def require(self) -> RoleRecord:
        assert self.record is not None, "a role that does not exist was assumed"
        return self.record


def account_of(role_arn: str) -> str:
    """Whose role it would be.

    Raises:
        ValidationError: it is no role's ARN.
    """
    parsed = _ROLE_ARN.fullmatch(role_arn)
    if parsed is None:
        raise ValidationError(f"{role_arn} is invalid")
    return parsed[1]


async def find_assumed(service: Service, arn: str) -> Assumed:
    """The role of an ARN, in whatever account.

    Raises:
        ValidationError: it is no role's ARN.
    """
    parsed = _ROLE_ARN.fullmatch(arn)
    if parsed is None:
        raise ValidationError(f"{arn} is invalid")
    account, name = parsed.groups()
    record = await service.identities.get(RoleRecord, account, name)
    if record is None or arn_of(record) != arn:
        return Assumed(arn, account, None, NO_TRUST)
    return Assumed(arn, account, record, trust_policy(record))


def require_duration(role: RoleRecord, asked_s: int | None, *, is_chained: bool) -> int:
    """How long a session of the role will be.

    Raises:
        ValidationError: longer than it may be.
    """
    duration_s = DURATION_S_DEFAULT if asked_s is None else asked_s
    if duration_s > role.max_session_s:
        raise ValidationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    if is_chained and duration_s > CHAIN_S_MAX:
        raise ValidationError(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        )
    return duration_s


async def begin_session(service: Service, request: Any, role: RoleRecord, duration_s: int, begun: Begun) -> Issued:
    """A session of a role, which somebody may assume.

    Raises:
        PackedPolicyTooLarge: its policies and tags do not fit.
    """
    return await begin(service, request, Holder("role", role.account, role.name, role.role_id), duration_s, begun)


def assumed_user(role: RoleRecord, session_name: str) -> AssumedRoleUser:
    return AssumedRoleUser(
        AssumedRoleId=f"{role.role_id}:{session_name}", Arn=session_arn(role.account, role.name, session_name)
    )
