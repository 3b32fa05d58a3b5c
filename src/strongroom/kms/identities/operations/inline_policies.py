"""Inline policies of users, groups and roles: documents under names of their own, kept as they were written.

Sources: IAM API reference; wordings as LocalStack and moto recorded them from AWS.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.identities.faults import LimitExceeded, NoSuchEntity
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.changes import change
from strongroom.kms.identities.operations.documents import chars_of, require_document
from strongroom.kms.identities.operations.finding import Found, on_found
from strongroom.kms.identities.operations.holders import GROUP, ROLE, USER, HolderKind, on_holder
from strongroom.kms.identities.paging import page_of_names
from strongroom.kms.service import Service
from strongroom.kms.wire import iam_shapes
from strongroom.kms.wire.model import Shape
from strongroom.kms.wire.query_codec import encode_document


class _Answers(msgspec.Struct, frozen=True):
    get: type[Shape]
    list: type[Shape]


_ANSWERS: Final = {
    USER: _Answers(iam_shapes.GetUserPolicyResponse, iam_shapes.ListUserPoliciesResponse),
    GROUP: _Answers(iam_shapes.GetGroupPolicyResponse, iam_shapes.ListGroupPoliciesResponse),
    ROLE: _Answers(iam_shapes.GetRolePolicyResponse, iam_shapes.ListRolePoliciesResponse),
}


async def _put(kind: HolderKind, service: Service, call: Call, request: Any, found: Found[Any]) -> None:
    """Under a name that is there already it takes the place of what was there."""
    record = found.require()
    require_document(request.PolicyDocument)
    policies = {**record.identity_policies, request.PolicyName: request.PolicyDocument}
    if sum(chars_of(text) for text in policies.values()) > kind.inline_chars_max:
        whose = f"{kind.noun.lower()} {record.name}"
        raise LimitExceeded(f"Maximum policy size of {kind.inline_chars_max} bytes exceeded for {whose}")
    await change(service, call, record, identity_policies=policies)


async def _get(kind: HolderKind, service: Service, call: Call, request: Any, found: Found[Any]) -> Shape:
    record = found.require()
    text = _require(kind, record.identity_policies, request.PolicyName)
    answer = {kind.member: record.name, "PolicyName": request.PolicyName, "PolicyDocument": encode_document(text)}
    return _ANSWERS[kind].get(**answer)


async def _delete(kind: HolderKind, service: Service, call: Call, request: Any, found: Found[Any]) -> None:
    record = found.require()
    _require(kind, record.identity_policies, request.PolicyName)
    policies = {name: text for name, text in record.identity_policies.items() if name != request.PolicyName}
    await change(service, call, record, identity_policies=policies)


async def _list(kind: HolderKind, service: Service, call: Call, request: Any, found: Found[Any]) -> Shape:
    page = page_of_names(request, tuple(found.require().identity_policies))
    return _ANSWERS[kind].list(PolicyNames=page.items, IsTruncated=page.is_truncated, Marker=page.marker)


def _require(kind: HolderKind, policies: dict[str, str], name: str) -> str:
    text = policies.get(name)
    if text is None:
        raise NoSuchEntity(f"The {kind.noun.lower()} policy with name {name} cannot be found.")
    return text


def _rows(kind: HolderKind) -> dict[str, Operation]:
    noun = kind.noun
    return {
        f"Put{noun}Policy": Operation(kind.find, on_holder, partial(_put, kind), mutates=True),
        f"Get{noun}Policy": Operation(kind.find, on_found, partial(_get, kind)),
        f"Delete{noun}Policy": Operation(kind.find, on_holder, partial(_delete, kind), mutates=True),
        f"List{noun}Policies": Operation(kind.find, on_found, partial(_list, kind)),
    }


ROWS: Final = {**_rows(USER), **_rows(GROUP), **_rows(ROLE)}
