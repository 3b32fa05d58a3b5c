"""Groups of users: made, shown, renamed, deleted, joined and left.

Who is in a group, the users' records say: so a rename changes those too. Sources: IAM API reference; wordings as LocalStack
recorded them from AWS (`test_iam_groups.snapshot.json`, `test_iam_users.snapshot.json`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.identities.arns import ROOT_PATH, arn_of, identity_arn
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import LimitExceeded
from strongroom.kms.identities.ids import GROUP, new_id
from strongroom.kms.identities.operation import Operation, commit
from strongroom.kms.identities.operations.changes import change
from strongroom.kms.identities.operations.finding import (
    Found,
    demand_on,
    find_group,
    find_named,
    find_nothing,
    find_user,
    on_found,
    own_action,
    require_free_name,
)
from strongroom.kms.identities.operations.users import require_nothing_left, user_shape
from strongroom.kms.identities.paging import page_of_names, page_of_records
from strongroom.kms.identities.records import GroupRecord, UserRecord
from strongroom.kms.repositories import Change, Put, Remove
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import (
    AddUserToGroupRequest,
    CreateGroupRequest,
    CreateGroupResponse,
    DeleteGroupRequest,
    GetGroupRequest,
    GetGroupResponse,
    Group,
    ListGroupsForUserRequest,
    ListGroupsForUserResponse,
    ListGroupsRequest,
    ListGroupsResponse,
    RemoveUserFromGroupRequest,
    UpdateGroupRequest,
)

# IAM user guide, "IAM and AWS STS quotas"; it cannot be raised.
GROUPS_PER_USER_MAX: Final = 10
# More than an account can have: all of them.
_EVERYBODY: Final = -1


def _shape(group: GroupRecord) -> Group:
    return Group(
        Path=group.path,
        GroupName=group.name,
        GroupId=group.group_id,
        Arn=arn_of(group),
        CreateDate=group.created_at_s,
    )


# ── CreateGroup, GetGroup, ListGroups ───────────────────────────────────────────────────────────────────────────────────


def on_new_group(call: Call, request: CreateGroupRequest, _: Any) -> tuple[OnIdentity, ...]:
    return (OnIdentity(own_action(call), identity_arn(GroupRecord, call.account, request.GroupName, request.Path)),)


async def create_group(service: Service, call: Call, request: CreateGroupRequest, _: Any) -> CreateGroupResponse:
    await require_free_name(service, GroupRecord, call.account, request.GroupName)
    groups_max = service.limits.groups_max
    if await service.identities.count_named(GroupRecord, call.account) >= groups_max:
        raise LimitExceeded(f"Cannot exceed quota for GroupsPerAccount: {groups_max}")
    group = GroupRecord(
        account=call.account,
        name=request.GroupName,
        version=1,
        group_id=new_id(GROUP),
        path=request.Path or ROOT_PATH,
        identity_policies={},
        attached_policies=(),
        created_at_s=service.clock(),
    )
    await commit(service, call, [Put(group, replaces=None)])
    return CreateGroupResponse(Group=_shape(group))


async def get_group(
    service: Service, call: Call, request: GetGroupRequest, found: Found[GroupRecord]
) -> GetGroupResponse:
    group = found.require()
    page = await page_of_records(
        request,
        lambda after, limit: service.identities.list_holding(
            UserRecord, "groups", group.account, group.name, after, limit
        ),
        lambda user: user.name,
    )
    users = [user_shape(user, is_whole=False) for user in page.items]
    return GetGroupResponse(Group=_shape(group), Users=users, IsTruncated=page.is_truncated, Marker=page.marker)


def on_groups(call: Call, request: ListGroupsRequest, _: None) -> tuple[OnIdentity, ...]:
    return (OnIdentity(own_action(call), identity_arn(GroupRecord, call.account, "", request.PathPrefix)),)


async def list_groups(service: Service, call: Call, request: ListGroupsRequest, _: None) -> ListGroupsResponse:
    prefix = request.PathPrefix or ROOT_PATH
    page = await page_of_records(
        request,
        lambda after, limit: service.identities.list_named(GroupRecord, call.account, after, limit),
        lambda group: group.name,
        lambda group: group.path.startswith(prefix),
    )
    return ListGroupsResponse(
        Groups=[_shape(group) for group in page.items], IsTruncated=page.is_truncated, Marker=page.marker
    )


# ── UpdateGroup, DeleteGroup ────────────────────────────────────────────────────────────────────────────────────────────


def on_both_groups(call: Call, request: UpdateGroupRequest, found: Found[GroupRecord]) -> tuple[OnIdentity, ...]:
    """The group as it is and as it is to be (API reference, UpdateGroup)."""
    path = request.NewPath or (ROOT_PATH if found.record is None else found.record.path)
    to_be = identity_arn(GroupRecord, call.account, request.NewGroupName or found.name, path)
    own = demand_on(call, found)
    return (own,) if to_be == own.arn else (own, OnIdentity(own_action(call), to_be))


async def update_group(service: Service, call: Call, request: UpdateGroupRequest, found: Found[GroupRecord]) -> None:
    """Its members stay: they are in the group of the new name then."""
    group = found.require()
    name, path = request.NewGroupName or group.name, request.NewPath or group.path
    if name == group.name:
        await change(service, call, group, path=path)
        return
    await require_free_name(service, GroupRecord, call.account, name, own=group.name)
    changed = msgspec.structs.replace(group, name=name, path=path, version=group.version + 1)
    changes: list[Change] = [Remove(group), Put(changed, replaces=None)]
    for user in await _members(service, group, _EVERYBODY):
        groups = tuple(name if held == group.name else held for held in user.groups or ())
        moved = msgspec.structs.replace(user, groups=groups, version=user.version + 1)
        changes.append(Put(moved, replaces=user.version))
    await commit(service, call, changes)


async def delete_group(service: Service, call: Call, request: DeleteGroupRequest, found: Found[GroupRecord]) -> None:
    group = found.require()
    require_nothing_left(
        ("detach all policies", group.attached_policies),
        ("delete policies", group.identity_policies),
        ("remove users from group", await _members(service, group, 1)),
    )
    await commit(service, call, [Remove(group)])


async def _members(service: Service, group: GroupRecord, limit: int) -> list[UserRecord]:
    return await service.identities.list_holding(UserRecord, "groups", group.account, group.name, "", limit)


# ── who is in them ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Membership(msgspec.Struct, frozen=True):
    """A user and a group that a request puts together, or apart."""

    user: Found[UserRecord]
    group: Found[GroupRecord]

    def require(self) -> tuple[UserRecord, GroupRecord]:
        """Both; AWS misses the user first."""
        return self.user.require(), self.group.require()


async def find_membership(service: Service, call: Call, request: Any) -> Membership:
    return Membership(
        await find_named(service, call, UserRecord, request.UserName), await find_group(service, call, request)
    )


def on_membership(call: Call, request: Any, found: Membership) -> tuple[OnIdentity, ...]:
    """The group alone is acted on (Service Authorization Reference)."""
    return (demand_on(call, found.group),)


async def add_user_to_group(service: Service, call: Call, request: AddUserToGroupRequest, found: Membership) -> None:
    """Whoever is in it already stays in it."""
    user, group = found.require()
    groups = user.groups or ()
    if group.name in groups:
        return
    if len(groups) >= GROUPS_PER_USER_MAX:
        raise LimitExceeded(f"Cannot exceed quota for GroupsPerUser: {GROUPS_PER_USER_MAX}")
    await change(service, call, user, groups=(*groups, group.name))


async def remove_user_from_group(
    service: Service, call: Call, request: RemoveUserFromGroupRequest, found: Membership
) -> None:
    """Whoever is not in it need not be taken out."""
    user, group = found.require()
    groups = user.groups or ()
    if group.name in groups:
        await change(service, call, user, groups=tuple(name for name in groups if name != group.name))


async def list_groups_for_user(
    service: Service, call: Call, request: ListGroupsForUserRequest, found: Found[UserRecord]
) -> ListGroupsForUserResponse:
    page = page_of_names(request, found.require().groups or ())
    groups = [await find_named(service, call, GroupRecord, name) for name in page.items]
    return ListGroupsForUserResponse(
        Groups=[_shape(group.record) for group in groups if group.record is not None],
        IsTruncated=page.is_truncated,
        Marker=page.marker,
    )


ROWS: Final = {
    "AddUserToGroup": Operation(find_membership, on_membership, add_user_to_group, mutates=True),
    "CreateGroup": Operation(find_nothing, on_new_group, create_group, mutates=True),
    "DeleteGroup": Operation(find_group, on_found, delete_group, mutates=True),
    "GetGroup": Operation(find_group, on_found, get_group),
    "ListGroups": Operation(find_nothing, on_groups, list_groups),
    "ListGroupsForUser": Operation(find_user, on_found, list_groups_for_user),
    "RemoveUserFromGroup": Operation(find_membership, on_membership, remove_user_from_group, mutates=True),
    "UpdateGroup": Operation(find_group, on_both_groups, update_group, mutates=True),
}
