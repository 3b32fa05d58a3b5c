"""GetAccountAuthorizationDetails: everybody of an account with every document about him, a page at a time.

Users come first, then groups, roles, the account's own policies and those of AWS that somebody uses; each by name. A page
ends where enough was asked for, or where its documents are long enough.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.identities.arns import arn_of
from strongroom.kms.identities.aws_policies import AWS_POLICIES
from strongroom.kms.identities.faults import ValidationError
from strongroom.kms.identities.managed_policies import policy_arn
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.account_summary import on_account
from strongroom.kms.identities.operations.finding import find_nothing
from strongroom.kms.identities.operations.policies import policy_shape
from strongroom.kms.identities.operations.policy_uses import Uses, find_uses
from strongroom.kms.identities.operations.policy_versions import version_shape
from strongroom.kms.identities.operations.roles import role_shape
from strongroom.kms.identities.operations.users import user_shape
from strongroom.kms.identities.paging import ITEMS_DEFAULT, format_marker, parse_marker
from strongroom.kms.identities.records import GroupRecord, ManagedPolicyRecord, RoleRecord, UserRecord
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import (
    AttachedPolicy,
    GetAccountAuthorizationDetailsRequest,
    GetAccountAuthorizationDetailsResponse,
    GroupDetail,
    ManagedPolicyDetail,
    PolicyDetail,
    RoleDetail,
    UserDetail,
)
from strongroom.kms.wire.query_codec import encode_document

# Ours: with everything escaped, an answer has at most three times as many bytes, and one record more.
_CHARS_MAX: Final = 1_000_000


def _inline(policies: dict[str, str]) -> list[PolicyDetail]:
    return [PolicyDetail(PolicyName=name, PolicyDocument=encode_document(policies[name])) for name in sorted(policies)]


def _attached(arns: tuple[str, ...] | None) -> list[AttachedPolicy]:
    return [AttachedPolicy(PolicyName=arn.rpartition("/")[2], PolicyArn=arn) for arn in arns or ()]


async def _user(_service: Service, user: UserRecord, _uses: Uses) -> UserDetail:
    shown = user_shape(user)
    return UserDetail(
        Path=shown.Path,
        UserName=user.name,
        UserId=user.user_id,
        Arn=shown.Arn,
        CreateDate=user.created_at_s,
        UserPolicyList=_inline(user.identity_policies),
        GroupList=sorted(user.groups or ()),
        AttachedManagedPolicies=_attached(user.attached_policies),
        PermissionsBoundary=shown.PermissionsBoundary,
        Tags=shown.Tags,
    )


async def _group(_service: Service, group: GroupRecord, _uses: Uses) -> GroupDetail:
    return GroupDetail(
        Path=group.path,
        GroupName=group.name,
        GroupId=group.group_id,
        Arn=arn_of(group),
        CreateDate=group.created_at_s,
        GroupPolicyList=_inline(group.identity_policies),
        AttachedManagedPolicies=_attached(group.attached_policies),
    )


async def _role(service: Service, role: RoleRecord, _uses: Uses) -> RoleDetail:
    shown = await role_shape(service, role)
    return RoleDetail(
        Path=role.path,
        RoleName=role.name,
        RoleId=role.role_id,
        Arn=shown.Arn,
        CreateDate=role.created_at_s,
        AssumeRolePolicyDocument=shown.AssumeRolePolicyDocument,
        InstanceProfileList=[],
        RolePolicyList=_inline(role.identity_policies),
        AttachedManagedPolicies=_attached(role.attached_policies),
        PermissionsBoundary=shown.PermissionsBoundary,
        Tags=shown.Tags,
    )


async def _policy(_service: Service, policy: ManagedPolicyRecord, uses: Uses) -> ManagedPolicyDetail:
    shown = policy_shape(policy, uses, description=True)
    return ManagedPolicyDetail(
        PolicyName=policy.name,
        PolicyId=policy.policy_id,
        Arn=shown.Arn,
        Path=policy.path,
        DefaultVersionId=shown.DefaultVersionId,
        AttachmentCount=shown.AttachmentCount,
        PermissionsBoundaryUsageCount=shown.PermissionsBoundaryUsageCount,
        IsAttachable=shown.IsAttachable,
        Description=shown.Description,
        CreateDate=policy.created_at_s,
        UpdateDate=policy.updated_at_s,
        PolicyVersionList=[
            version_shape(policy, version, encode_document(version.document)) for version in policy.versions
        ],
    )


_Named = UserRecord | GroupRecord | RoleRecord | ManagedPolicyRecord
_Read = Callable[[Service, str, Uses, str, int], Awaitable[list[Any]]]


class _Part(msgspec.Struct, frozen=True):
    """What the filter calls a kind, the member of the answer, and how its records are read and shown."""

    entity: str
    member: str
    read: _Read
    show: Callable[[Service, Any, Uses], Awaitable[Any]]


def _stored(kind: type[_Named]) -> _Read:
    async def read(service: Service, account: str, _: Uses, after: str, limit: int) -> list[Any]:
        return await service.identities.list_named(kind, account, after, limit)

    return read


async def _of_aws(_: Service, account: str, uses: Uses, after: str, limit: int) -> list[Any]:
    used = {*uses.attachments, *uses.boundaries}
    found = [AWS_POLICIES[name] for name in sorted(AWS_POLICIES) if name > after]
    return [policy for policy in found if policy_arn(policy) in used][:limit]


_PARTS: Final = (
    _Part("User", "UserDetailList", _stored(UserRecord), _user),
    _Part("Group", "GroupDetailList", _stored(GroupRecord), _group),
    _Part("Role", "RoleDetailList", _stored(RoleRecord), _role),
    _Part("LocalManagedPolicy", "Policies", _stored(ManagedPolicyRecord), _policy),
    _Part("AWSManagedPolicy", "Policies", _of_aws, _policy),
)


async def get_account_authorization_details(
    service: Service, call: Call, request: GetAccountAuthorizationDetailsRequest, found: None
) -> GetAccountAuthorizationDetailsResponse:
    place, after = _parse_place(request.Marker)
    uses = await find_uses(service, call.account)
    items_left, chars_left = request.MaxItems or ITEMS_DEFAULT, _CHARS_MAX
    lists: dict[str, list[Any]] = {part.member: [] for part in _PARTS}
    for at, part in enumerate(_PARTS[place:], place):
        if request.Filter is None or part.entity in request.Filter:
            for record in await part.read(service, call.account, uses, after, items_left + 1):
                if items_left == 0 or chars_left <= 0:
                    return _answer(lists, format_marker(f"{at}{after}"))
                lists[part.member].append(await part.show(service, record, uses))
                items_left -= 1
                chars_left -= _chars_of(record)
                after = record.name
        after = ""
    return _answer(lists, None)


def _answer(lists: dict[str, list[Any]], marker: str | None) -> GetAccountAuthorizationDetailsResponse:
    return GetAccountAuthorizationDetailsResponse(**lists, IsTruncated=marker is not None, Marker=marker)


def _chars_of(record: _Named) -> int:
    """Of its documents."""
    if isinstance(record, ManagedPolicyRecord):
        return sum(len(version.document) for version in record.versions)
    return sum(map(len, record.identity_policies.values())) + len(getattr(record, "trust_policy", ""))


def _parse_place(marker: str | None) -> tuple[int, str]:
    """Which kind comes next, and after which name.

    Raises:
        ValidationError: the marker is none of ours.
    """
    text = parse_marker(marker) or "0"
    if text[0] not in "01234":
        raise ValidationError("Invalid Marker.")
    return int(text[0]), text[1:]


ROWS: Final = {"GetAccountAuthorizationDetails": Operation(find_nothing, on_account, get_account_authorization_details)}
