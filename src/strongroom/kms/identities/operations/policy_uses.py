"""Who uses a managed policy, and as what: attached, or as a permissions boundary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.identities.arns import path_of
from strongroom.kms.identities.faults import ValidationError
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.policy_finding import FoundPolicy, find_policy_to_read, on_policy
from strongroom.kms.identities.paging import ITEMS_DEFAULT, format_marker, parse_marker
from strongroom.kms.identities.records import GroupRecord, RoleRecord, UserRecord
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import (
    ListEntitiesForPolicyRequest,
    ListEntitiesForPolicyResponse,
    PolicyGroup,
    PolicyRole,
    PolicyUser,
)

_ATTACHED: Final = "attached_policies"
_BOUNDARY: Final = "boundary_arn"
_Kind = type[UserRecord | GroupRecord | RoleRecord]
# In the order in which a list names them: EntityFilter, the kind, and in which fields it holds a policy.
_ENTITIES: Final[tuple[tuple[str, _Kind, tuple[str, ...]], ...]] = (
    ("Group", GroupRecord, (_ATTACHED,)),
    ("User", UserRecord, (_ATTACHED, _BOUNDARY)),
    ("Role", RoleRecord, (_ATTACHED, _BOUNDARY)),
)
_FIELD_OF_USAGE: Final = {"PermissionsPolicy": _ATTACHED, "PermissionsBoundary": _BOUNDARY}


class Uses(msgspec.Struct, frozen=True):
    """How often each policy is used, by its ARN; one that is not used is not in here."""

    attachments: Mapping[str, int]
    boundaries: Mapping[str, int]


async def find_uses(service: Service, account: str) -> Uses:
    """What all identities of an account use."""
    uses: dict[str, dict[str, int]] = {_ATTACHED: {}, _BOUNDARY: {}}
    for _, kind, fields in _ENTITIES:
        for field in fields:
            for arn, count in (await service.identities.count_held(kind, field, account)).items():
                uses[field][arn] = uses[field].get(arn, 0) + count
    return Uses(uses[_ATTACHED], uses[_BOUNDARY])


def is_used(uses: Uses, arn: str, usage: str | None, *, only_attached: bool) -> bool:
    """Whether a policy is one of those that ListPolicies was asked for."""
    if usage is not None:
        field = _FIELD_OF_USAGE[usage]
        return arn in (uses.attachments if field == _ATTACHED else uses.boundaries)
    return not only_attached or arn in uses.attachments


# ── ListEntitiesForPolicy ───────────────────────────────────────────────────────────────────────────────────────────────


async def _list(
    service: Service, call: Call, request: ListEntitiesForPolicyRequest, found: FoundPolicy
) -> ListEntitiesForPolicyResponse:
    """Groups, then users, then roles, each by name; a page ends where enough were looked at."""
    found.require()
    place, after = _parse_place(request.Marker)
    left, marker = request.MaxItems or ITEMS_DEFAULT, None
    listed: dict[str, list[Any]] = {name: [] for name, _, _ in _ENTITIES}
    for at, (name, kind, fields) in enumerate(_ENTITIES[place:], place):
        if request.EntityFilter in {None, name}:
            records = await _users_of(service, call.account, request, kind, fields, after, left + 1)
            listed[name] = records[:left]
            if len(records) > left:
                marker = format_marker(f"{at}{records[left - 1].name if left else ''}")
                break
            left -= len(records)
        after = ""
    prefix = request.PathPrefix or "/"
    shown = {name: [one for one in records if path_of(one).startswith(prefix)] for name, records in listed.items()}
    return ListEntitiesForPolicyResponse(
        PolicyGroups=[PolicyGroup(GroupName=one.name, GroupId=one.group_id) for one in shown["Group"]],
        PolicyUsers=[PolicyUser(UserName=one.name, UserId=one.user_id) for one in shown["User"]],
        PolicyRoles=[PolicyRole(RoleName=one.name, RoleId=one.role_id) for one in shown["Role"]],
        IsTruncated=marker is not None,
        Marker=marker,
    )


async def _users_of(
    service: Service,
    account: str,
    request: ListEntitiesForPolicyRequest,
    kind: _Kind,
    fields: tuple[str, ...],
    after: str,
    limit: int,
) -> list[Any]:
    """Those of one kind that use the policy in a way that was asked for, by name."""
    usage = request.PolicyUsageFilter
    found: dict[str, Any] = {}
    for field in fields:
        if usage is None or _FIELD_OF_USAGE[usage] == field:
            for one in await service.identities.list_holding(kind, field, account, request.PolicyArn, after, limit):
                found[one.name] = one
    return [found[name] for name in sorted(found)][:limit]


def _parse_place(marker: str | None) -> tuple[int, str]:
    """Which kind comes next, and after which name.

    Raises:
        ValidationError: the marker is none of ours.
    """
    text = parse_marker(marker) or "0"
    if text[0] not in "012":
        raise ValidationError("Invalid Marker.")
    return int(text[0]), text[1:]


ROWS: Final = {"ListEntitiesForPolicy": Operation(find_policy_to_read, on_policy, _list)}
