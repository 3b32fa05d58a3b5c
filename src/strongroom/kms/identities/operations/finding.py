"""Whom a request is about: found before anything is decided, and missed only afterwards.

`find_…` are for a table's `find`, `on_…` for its `demands`; `require_…` are what `run` begins with.
"""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.iam.principals import PrincipalKind, root_arn
from strongroom.kms.identities.arns import Named, arn_of, identity_arn
from strongroom.kms.identities.demands import OnIdentity, Stated
from strongroom.kms.identities.faults import EntityAlreadyExists, NoSuchEntity, ValidationError
from strongroom.kms.identities.records import GroupRecord, RoleRecord, UserRecord
from strongroom.kms.service import Service

N = TypeVar("N", bound=Named)
# How AWS's messages call them.
_CALLED: Final[dict[type[msgspec.Struct], str]] = {UserRecord: "user", GroupRecord: "group", RoleRecord: "role"}


class Found(msgspec.Struct, Generic[N], frozen=True):
    """Who has a name in the caller's account, if anybody; the root, where a caller who is the root names nobody."""

    kind: type[N]
    account: str
    name: str
    record: N | None

    @property
    def is_root(self) -> bool:
        return not self.name

    @property
    def arn(self) -> str:
        if self.is_root:
            return root_arn(self.account)
        if self.record is None:
            return identity_arn(self.kind, self.account, self.name)
        return arn_of(self.record)

    @property
    def tags(self) -> dict[str, str]:
        """Groups have none."""
        return getattr(self.record, "tags", None) or {}

    def require(self) -> N:
        """The record.

        Raises:
            NoSuchEntity: there is none.
        """
        if self.record is None:
            raise NoSuchEntity(f"The {_CALLED[self.kind]} with name {self.name} cannot be found.")
        return self.record


async def find_named(service: Service, call: Call, kind: type[N], name: str) -> Found[N]:
    return Found(kind, call.account, name, await service.identities.get(kind, call.account, name))


async def find_user(service: Service, call: Call, request: Any) -> Found[UserRecord]:
    return await find_named(service, call, UserRecord, request.UserName)


async def find_group(service: Service, call: Call, request: Any) -> Found[GroupRecord]:
    return await find_named(service, call, GroupRecord, request.GroupName)


async def find_role(service: Service, call: Call, request: Any) -> Found[RoleRecord]:
    return await find_named(service, call, RoleRecord, request.RoleName)


async def find_user_or_caller(service: Service, call: Call, request: Any) -> Found[UserRecord]:
    """Without a name, whoever signed.

    Raises:
        ValidationError: nobody is named, and the caller has no access keys of its own.
    """
    if request.UserName is not None:
        return await find_user(service, call, request)
    match call.principal.kind:
        case PrincipalKind.USER:
            return await find_named(service, call, UserRecord, call.principal.user_name)
        case PrincipalKind.ROOT:
            return Found(UserRecord, call.account, "", None)
        case _:
            raise ValidationError("Must specify userName when calling with non-User credentials")


async def find_nothing(service: Service, call: Call, request: Any) -> None:
    """For operations about nobody in particular."""


def on_found(call: Call, request: Any, found: Found[Any]) -> tuple[OnIdentity, ...]:
    return (demand_on(call, found),)


def demand_on(call: Call, found: Found[Any], stated: Stated | None = None, action: str = "") -> OnIdentity:
    """The operation's own action, or another one, on whom was found."""
    return OnIdentity(action or own_action(call), found.arn, found.tags, stated or {})


def own_action(call: Call) -> str:
    return f"iam:{call.operation}"


async def require_free_name(service: Service, kind: type[Named], account: str, name: str, own: str = "") -> None:
    """Nobody of this kind has the name in whatever case, except `own`, who may change the case of it.

    Raises:
        EntityAlreadyExists: somebody has.
    """
    taken = await service.identities.find_folded(kind, account, name)
    if taken is not None and taken != own:
        raise EntityAlreadyExists(f"{_CALLED[kind].capitalize()} with name {name} already exists.")
