"""Users: made, shown, renamed, deleted.

A rename keeps the id, the policies, the groups and the access keys; key policies, trust policies and grants that name the
user know it by the id, and show the new ARN (IAM user guide, "Rename an IAM user"). Sources: IAM API reference; wordings as
LocalStack recorded them from AWS (`test_iam_users.snapshot.json`).
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.identities.arns import ROOT_PATH, arn_of, identity_arn, path_of
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import DeleteConflict, LimitExceeded
from strongroom.kms.identities.ids import USER, new_id
from strongroom.kms.identities.operation import Operation, commit
from strongroom.kms.identities.operations.boundaries import boundary_shape, require_boundary, stated_boundary
from strongroom.kms.identities.operations.finding import (
    Found,
    demand_on,
    find_nothing,
    find_user,
    find_user_or_caller,
    on_found,
    own_action,
    require_free_name,
)
from strongroom.kms.identities.operations.tags import new_tags, tag_shapes
from strongroom.kms.identities.paging import page_of_records
from strongroom.kms.identities.records import UserRecord
from strongroom.kms.repositories import Change, Put, Remove
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import (
    CreateUserRequest,
    CreateUserResponse,
    DeleteUserRequest,
    GetUserRequest,
    GetUserResponse,
    ListUsersRequest,
    ListUsersResponse,
    UpdateUserRequest,
    User,
)


def user_shape(user: UserRecord, *, is_whole: bool = True) -> User:
    """Lists leave tags and boundary out (API reference, ListUsers)."""
    return User(
        Path=path_of(user),
        UserName=user.name,
        UserId=user.user_id,
        Arn=arn_of(user),
        CreateDate=user.created_at_s,
        PermissionsBoundary=boundary_shape(user.boundary_arn) if is_whole else None,
        Tags=tag_shapes(user.tags) or None if is_whole else None,
    )


# ── CreateUser ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def on_new_user(call: Call, request: CreateUserRequest, _: Found[UserRecord]) -> tuple[OnIdentity, ...]:
    """Tags of a new user need leave to tag, too (IAM user guide, "Tag IAM users")."""
    arn = identity_arn(UserRecord, call.account, request.UserName, request.Path)
    making = OnIdentity(own_action(call), arn, stated=stated_boundary(request.PermissionsBoundary))
    return (making, OnIdentity("iam:TagUser", arn)) if request.Tags else (making,)


async def create_user(service: Service, call: Call, request: CreateUserRequest, _: Any) -> CreateUserResponse:
    tags = new_tags(request.Tags)
    if request.PermissionsBoundary is not None:
        await require_boundary(service, call, request.PermissionsBoundary)
    await require_free_name(service, UserRecord, call.account, request.UserName)
    users_max = service.limits.users_max
    if await service.identities.count_named(UserRecord, call.account) >= users_max:
        raise LimitExceeded(f"Cannot exceed quota for UsersPerAccount: {users_max}")
    user = UserRecord(
        account=call.account,
        name=request.UserName,
        version=1,
        user_id=new_id(USER),
        identity_policies={},
        created_at_s=service.clock(),
        path=request.Path or ROOT_PATH,
        tags=tags,
        boundary_arn=request.PermissionsBoundary,
    )
    await commit(service, call, [Put(user, replaces=None)])
    return CreateUserResponse(User=user_shape(user))


# ── GetUser, ListUsers ──────────────────────────────────────────────────────────────────────────────────────────────────


async def get_user(service: Service, call: Call, request: GetUserRequest, found: Found[UserRecord]) -> GetUserResponse:
    return GetUserResponse(User=_root_shape(call.account) if found.is_root else user_shape(found.require()))


def _root_shape(account: str) -> User:
    """The root has neither name nor path, though the model says that users have."""
    nothing = cast("str", None)
    return User(Path=nothing, UserName=nothing, UserId=account, Arn=f"arn:aws:iam::{account}:root", CreateDate=0.0)


def on_users(call: Call, request: ListUsersRequest, _: None) -> tuple[OnIdentity, ...]:
    return (OnIdentity(own_action(call), identity_arn(UserRecord, call.account, "", request.PathPrefix)),)


async def list_users(service: Service, call: Call, request: ListUsersRequest, _: None) -> ListUsersResponse:
    prefix = request.PathPrefix or ROOT_PATH
    page = await page_of_records(
        request,
        lambda after, limit: service.identities.list_named(UserRecord, call.account, after, limit),
        lambda user: user.name,
        lambda user: path_of(user).startswith(prefix),
    )
    users = [user_shape(user, is_whole=False) for user in page.items]
    return ListUsersResponse(Users=users, IsTruncated=page.is_truncated, Marker=page.marker)


# ── UpdateUser ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def on_both_users(call: Call, request: UpdateUserRequest, found: Found[UserRecord]) -> tuple[OnIdentity, ...]:
    """The user as it is and as it is to be (API reference, UpdateUser)."""
    path = request.NewPath or (ROOT_PATH if found.record is None else path_of(found.record))
    to_be = identity_arn(UserRecord, call.account, request.NewUserName or found.name, path)
    own = demand_on(call, found)
    return (own,) if to_be == own.arn else (own, OnIdentity(own_action(call), to_be, found.tags))


async def update_user(service: Service, call: Call, request: UpdateUserRequest, found: Found[UserRecord]) -> None:
    """A record is found by its name, so that a rename is another record with all that was in the old one."""
    user = found.require()
    changed = msgspec.structs.replace(
        user,
        name=request.NewUserName or user.name,
        path=request.NewPath or path_of(user),
        version=user.version + 1,
    )
    if changed.name == user.name:
        await commit(service, call, [Put(changed, replaces=user.version)])
        return
    await require_free_name(service, UserRecord, call.account, changed.name, own=user.name)
    changes: list[Change] = [Remove(user), Put(changed, replaces=None)]
    for key in await service.identities.list_access_keys(user.account, user.name):
        moved = msgspec.structs.replace(key, user_name=changed.name, version=key.version + 1)
        changes.append(Put(moved, replaces=key.version))
    await commit(service, call, changes)


# ── DeleteUser ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def delete_user(service: Service, call: Call, request: DeleteUserRequest, found: Found[UserRecord]) -> None:
    user = found.require()
    access_keys = await service.identities.list_access_keys(user.account, user.name)
    require_nothing_left(
        ("detach all policies", user.attached_policies),
        ("delete policies", user.identity_policies),
        ("remove users from group", user.groups),
        ("delete access keys", access_keys),
    )
    await commit(service, call, [Remove(user)])


def require_nothing_left(*left: tuple[str, object]) -> None:
    """Whoever has something may not go; each with what has to be done about it.

    Raises:
        DeleteConflict: with the first thing that is there.
    """
    for to_do, things in left:
        if things:
            raise DeleteConflict(f"Cannot delete entity, must {to_do} first.")


ROWS: Final = {
    "CreateUser": Operation(find_user, on_new_user, create_user, mutates=True),
    "DeleteUser": Operation(find_user, on_found, delete_user, mutates=True),
    "GetUser": Operation(find_user_or_caller, on_found, get_user),
    "ListUsers": Operation(find_nothing, on_users, list_users),
    "UpdateUser": Operation(find_user, on_both_users, update_user, mutates=True),
}
