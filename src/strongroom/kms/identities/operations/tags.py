"""The tags of users, roles and managed policies.

Keys differ by more than case, and keep the case in which they were put last: a second spelling is the same tag. What
CreateUser is told of keys, TagUser is told (IAM user guide, "Tags for IAM resources", rules for tagging). Taking away what
is not there changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import InvalidInput, LimitExceeded
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.changes import change
from strongroom.kms.identities.operations.finding import find_role, find_user, on_found
from strongroom.kms.identities.operations.policy_finding import find_policy_to_change, find_policy_to_read, on_policy
from strongroom.kms.identities.paging import page_of_names
from strongroom.kms.identities.records import ManagedPolicyRecord, RoleRecord, UserRecord
from strongroom.kms.service import Service
from strongroom.kms.wire import iam_shapes
from strongroom.kms.wire.iam_shapes import Tag
from strongroom.kms.wire.model import Shape

# IAM user guide, "IAM and AWS STS quotas"; it cannot be raised.
TAGS_MAX: Final = 50
_RESERVED: Final = "aws:"


def new_tags(tags: Sequence[Tag] | None) -> dict[str, str]:
    """The tags of what is about to be made, or those that are to be put.

    Raises:
        InvalidInput: a key occurs twice, or is one of AWS's own.
    """
    keys = {tag.Key.lower() for tag in tags or ()}
    if len(keys) < len(tags or ()):
        raise InvalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if any(key.startswith(_RESERVED) for key in keys):
        raise InvalidInput("aws: prefixed tag key names are not allowed for external use.")
    return {tag.Key: tag.Value for tag in tags or ()}


def without(tags: Mapping[str, str], keys: Iterable[str]) -> dict[str, str]:
    """The tags but those of these keys, in whatever case."""
    gone = {key.lower() for key in keys}
    return {key: value for key, value in tags.items() if key.lower() not in gone}


def tag_shapes(tags: Mapping[str, str] | None) -> list[Tag]:
    return [Tag(Key=key, Value=value) for key, value in (tags or {}).items()]


_Find = Callable[[Service, Call, Any], Awaitable[Any]]
_Tagged = UserRecord | RoleRecord | ManagedPolicyRecord


class _Kind(msgspec.Struct, frozen=True):
    """What can have tags; what its two ways of finding give has `require`."""

    noun: str
    find: _Find
    find_to_change: _Find
    demands: Callable[[Call, Any, Any], Sequence[OnIdentity]]
    list_answer: type[Shape]


_KINDS: Final = (
    _Kind("User", find_user, find_user, on_found, iam_shapes.ListUserTagsResponse),
    _Kind("Role", find_role, find_role, on_found, iam_shapes.ListRoleTagsResponse),
    _Kind("Policy", find_policy_to_read, find_policy_to_change, on_policy, iam_shapes.ListPolicyTagsResponse),
)


async def _tag(service: Service, call: Call, request: Any, found: Any) -> None:
    record: _Tagged = found.require()
    put = new_tags(request.Tags)
    tags = {**without(record.tags or {}, put), **put}
    if len(tags) > TAGS_MAX:
        raise LimitExceeded("The number of tags has reached the maximum limit.")
    if tags != record.tags:
        await change(service, call, record, tags=tags)


async def _untag(service: Service, call: Call, request: Any, found: Any) -> None:
    record: _Tagged = found.require()
    tags = without(record.tags or {}, request.TagKeys)
    if tags != (record.tags or {}):
        await change(service, call, record, tags=tags)


async def _list(answer: type[Shape], service: Service, call: Call, request: Any, found: Any) -> Shape:
    """Sorted by key. The marker is a place: a key can be longer than a marker."""
    tags = tag_shapes(dict(sorted((found.require().tags or {}).items())))
    page = page_of_names(request, [f"{place:02}" for place in range(len(tags))])
    return answer(Tags=[tags[int(place)] for place in page.items], IsTruncated=page.is_truncated, Marker=page.marker)


def _rows(kind: _Kind) -> dict[str, Operation]:
    return {
        f"Tag{kind.noun}": Operation(kind.find_to_change, kind.demands, _tag, mutates=True),
        f"Untag{kind.noun}": Operation(kind.find_to_change, kind.demands, _untag, mutates=True),
        f"List{kind.noun}Tags": Operation(kind.find, kind.demands, partial(_list, kind.list_answer)),
    }


ROWS: Final = {name: row for kind in _KINDS for name, row in _rows(kind).items()}
