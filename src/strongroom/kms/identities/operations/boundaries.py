"""Permissions boundaries of users and roles: managed policies that limit and allow nothing.

Policies may ask for `iam:PermissionsBoundary`: where one is put it is the new boundary, anywhere else the one that is there
(IAM user guide, "Permissions boundaries for IAM entities", delegating responsibility). Taking away what is not there changes
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.demands import OnIdentity, Stated
from strongroom.kms.identities.faults import NoSuchEntity
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.attachable import find_attachable, require_policy_arn
from strongroom.kms.identities.operations.changes import change
from strongroom.kms.identities.operations.finding import Found, demand_on
from strongroom.kms.identities.operations.holders import ROLE, USER, HolderKind, on_holder
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import AttachedPermissionsBoundary


def boundary_shape(arn: str | None) -> AttachedPermissionsBoundary | None:
    if arn is None:
        return None
    return AttachedPermissionsBoundary(PermissionsBoundaryType="PermissionsBoundaryPolicy", PermissionsBoundaryArn=arn)


def stated_boundary(arn: str | None) -> Stated:
    """What policies can ask of a request that puts this boundary."""
    return {} if arn is None else {"iam:PermissionsBoundary": (arn,)}


async def require_boundary(service: Service, call: Call, arn: str) -> None:
    """The managed policy exists, in the caller's account or among AWS's.

    Raises:
        InvalidInput: this is no managed policy's ARN.
        NoSuchEntity: there is none that can be attached.
    """
    require_policy_arn(arn)
    if await find_attachable(service, call, arn) is None:
        raise NoSuchEntity(f"Scope ARN: {arn} does not exist or is not attachable.")


def _on_new_boundary(call: Call, request: Any, found: Found[Any]) -> Sequence[OnIdentity]:
    return (demand_on(call, found, stated_boundary(request.PermissionsBoundary)),)


async def _put(service: Service, call: Call, request: Any, found: Found[Any]) -> None:
    record = found.require()
    await require_boundary(service, call, request.PermissionsBoundary)
    if record.boundary_arn != request.PermissionsBoundary:
        await change(service, call, record, boundary_arn=request.PermissionsBoundary)


async def _delete(service: Service, call: Call, request: Any, found: Found[Any]) -> None:
    record = found.require()
    if record.boundary_arn is not None:
        await change(service, call, record, boundary_arn=None)


def _rows(kind: HolderKind) -> dict[str, Operation]:
    return {
        f"Put{kind.noun}PermissionsBoundary": Operation(kind.find, _on_new_boundary, _put, mutates=True),
        f"Delete{kind.noun}PermissionsBoundary": Operation(kind.find, on_holder, _delete, mutates=True),
    }


ROWS: Final = {**_rows(USER), **_rows(ROLE)}
