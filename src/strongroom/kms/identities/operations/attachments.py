"""Managed policies attached to users, groups and roles: by reference, so that a new default version counts for all at once.

Attaching what is attached changes nothing. Sources: IAM API reference; wordings as LocalStack recorded them from AWS.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.faults import LimitExceeded, NoSuchEntity
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.attachable import find_attachable, place_of, require_policy_arn
from strongroom.kms.identities.operations.changes import change
from strongroom.kms.identities.operations.finding import Found, on_found
from strongroom.kms.identities.operations.holders import GROUP, ROLE, USER, HolderKind, attached, on_holder
from strongroom.kms.identities.paging import page_of_names
from strongroom.kms.service import Service
from strongroom.kms.wire import iam_shapes
from strongroom.kms.wire.iam_shapes import AttachedPolicy
from strongroom.kms.wire.model import Shape

_LISTS: Final[dict[HolderKind, type[Shape]]] = {
    USER: iam_shapes.ListAttachedUserPoliciesResponse,
    GROUP: iam_shapes.ListAttachedGroupPoliciesResponse,
    ROLE: iam_shapes.ListAttachedRolePoliciesResponse,
}


async def _attach(kind: HolderKind, service: Service, call: Call, request: Any, found: Found[Any]) -> None:
    arn = request.PolicyArn
    require_policy_arn(arn)
    record = found.require()
    if await find_attachable(service, call, arn) is None:
        raise NoSuchEntity(f"Policy {arn} does not exist or is not attachable.")
    arns = attached(record)
    if arn in arns:
        return
    most = service.limits.attached_policies_max
    if len(arns) >= most:
        raise LimitExceeded(f"Cannot exceed quota for PoliciesPer{kind.noun}: {most}")
    await change(service, call, record, attached_policies=(*arns, arn))


async def _detach(kind: HolderKind, service: Service, call: Call, request: Any, found: Found[Any]) -> None:
    arn = request.PolicyArn
    require_policy_arn(arn)
    record = found.require()
    if arn not in attached(record):
        raise NoSuchEntity(f"Policy {arn} was not found.")
    left = tuple(other for other in attached(record) if other != arn)
    await change(service, call, record, attached_policies=left)


async def _list(kind: HolderKind, service: Service, call: Call, request: Any, found: Found[Any]) -> Shape:
    """AWS's first, in the order of the names; a prefix is one of the policies' paths."""
    prefix = request.PathPrefix or "/"
    named = [(require_policy_arn(arn), arn) for arn in attached(found.require())]
    by_place = {place_of(named): (named.name, arn) for named, arn in named if named.path.startswith(prefix)}
    page = page_of_names(request, tuple(by_place))
    policies = [AttachedPolicy(PolicyName=name, PolicyArn=arn) for name, arn in map(by_place.__getitem__, page.items)]
    return _LISTS[kind](AttachedPolicies=policies, IsTruncated=page.is_truncated, Marker=page.marker)


def _rows(kind: HolderKind) -> dict[str, Operation]:
    noun = kind.noun
    return {
        f"Attach{noun}Policy": Operation(kind.find, on_holder, partial(_attach, kind), mutates=True),
        f"Detach{noun}Policy": Operation(kind.find, on_holder, partial(_detach, kind), mutates=True),
        f"ListAttached{noun}Policies": Operation(kind.find, on_found, partial(_list, kind)),
    }


ROWS: Final = {**_rows(USER), **_rows(GROUP), **_rows(ROLE)}
