"""Roles: who may assume one says its trust policy, what its sessions may do say its policies.

Whom a trust policy names must exist, and is known by his unique id from then on (`identities/existence.py`). There are no
instances here and so no instance profiles, and no services whose roles nobody else may change. Sources: IAM API reference;
wordings as LocalStack and moto recorded them from AWS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.arns import ROOT_PATH, arn_of, identity_arn
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.existence import Existence
from strongroom.kms.identities.faults import LimitExceeded
from strongroom.kms.identities.ids import ROLE, new_id
from strongroom.kms.identities.lookup import trust_policy
from strongroom.kms.identities.operation import Operation, commit
from strongroom.kms.identities.operations.boundaries import boundary_shape, require_boundary, stated_boundary
from strongroom.kms.identities.operations.changes import change
from strongroom.kms.identities.operations.documents import require_trust_policy
from strongroom.kms.identities.operations.finding import (
    Found,
    find_nothing,
    find_role,
    on_found,
    own_action,
    require_free_name,
)
from strongroom.kms.identities.operations.holders import on_holder
from strongroom.kms.identities.operations.tags import new_tags, tag_shapes
from strongroom.kms.identities.operations.users import require_nothing_left
from strongroom.kms.identities.paging import page_of_names, page_of_records
from strongroom.kms.identities.records import RoleRecord
from strongroom.kms.repositories import Put, Remove
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import (
    CreateRoleRequest,
    CreateRoleResponse,
    DeleteRoleRequest,
    GetRoleRequest,
    GetRoleResponse,
    ListInstanceProfilesForRoleRequest,
    ListInstanceProfilesForRoleResponse,
    ListRolesRequest,
    ListRolesResponse,
    Role,
    UpdateAssumeRolePolicyRequest,
    UpdateRoleDescriptionRequest,
    UpdateRoleDescriptionResponse,
    UpdateRoleRequest,
    UpdateRoleResponse,
)
from strongroom.kms.wire.query_codec import encode_document

# API reference, CreateRole: what a role has that was made without MaxSessionDuration.
_SESSION_S_DEFAULT: Final = 3_600
_Found = Found[RoleRecord]


async def role_shape(service: Service, role: RoleRecord, *, is_whole: bool = True) -> Role:
    """Lists leave tags and boundary out (API reference, ListRoles)."""
    existence = Existence(service.identities, service.main_account)
    return Role(
        Path=role.path,
        RoleName=role.name,
        RoleId=role.role_id,
        Arn=arn_of(role),
        CreateDate=role.created_at_s,
        AssumeRolePolicyDocument=encode_document(await existence.shown_text(trust_policy(role), role.trust_policy)),
        Description=role.description or None,
        MaxSessionDuration=role.max_session_s,
        PermissionsBoundary=boundary_shape(role.boundary_arn) if is_whole else None,
        Tags=tag_shapes(role.tags) or None if is_whole else None,
    )


# ── CreateRole ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _on_new_role(call: Call, request: CreateRoleRequest, _: _Found) -> Sequence[OnIdentity]:
    """Tags of a new role need leave to tag, too (IAM user guide, "Tag IAM roles")."""
    arn = identity_arn(RoleRecord, call.account, request.RoleName, request.Path)
    making = OnIdentity(own_action(call), arn, stated=stated_boundary(request.PermissionsBoundary))
    return (making, OnIdentity("iam:TagRole", arn)) if request.Tags else (making,)


async def _create(service: Service, call: Call, request: CreateRoleRequest, _: _Found) -> CreateRoleResponse:
    tags = new_tags(request.Tags)
    if request.PermissionsBoundary is not None:
        await require_boundary(service, call, request.PermissionsBoundary)
    await require_free_name(service, RoleRecord, call.account, request.RoleName)
    principal_ids = await require_trust_policy(service, request.AssumeRolePolicyDocument)
    roles_max = service.limits.roles_max
    if await service.identities.count_named(RoleRecord, call.account) >= roles_max:
        raise LimitExceeded(f"Cannot exceed quota for RolesPerAccount: {roles_max}")
    role = RoleRecord(
        account=call.account,
        name=request.RoleName,
        version=1,
        role_id=new_id(ROLE),
        path=request.Path or ROOT_PATH,
        description=request.Description or "",
        trust_policy=request.AssumeRolePolicyDocument,
        max_session_s=request.MaxSessionDuration or _SESSION_S_DEFAULT,
        identity_policies={},
        attached_policies=(),
        tags=tags,
        created_at_s=service.clock(),
        boundary_arn=request.PermissionsBoundary,
        principal_ids=principal_ids,
    )
    await commit(service, call, [Put(role, replaces=None)])
    return CreateRoleResponse(Role=await role_shape(service, role))


# ── GetRole, ListRoles ──────────────────────────────────────────────────────────────────────────────────────────────────


async def _get(service: Service, call: Call, request: GetRoleRequest, found: _Found) -> GetRoleResponse:
    return GetRoleResponse(Role=await role_shape(service, found.require()))


def _on_roles(call: Call, request: ListRolesRequest, _: None) -> Sequence[OnIdentity]:
    return (OnIdentity(own_action(call), identity_arn(RoleRecord, call.account, "", request.PathPrefix)),)


async def _list(service: Service, call: Call, request: ListRolesRequest, _: None) -> ListRolesResponse:
    prefix = request.PathPrefix or ROOT_PATH
    page = await page_of_records(
        request,
        lambda after, limit: service.identities.list_named(RoleRecord, call.account, after, limit),
        lambda role: role.name,
        lambda role: role.path.startswith(prefix),
    )
    roles = [await role_shape(service, role, is_whole=False) for role in page.items]
    return ListRolesResponse(Roles=roles, IsTruncated=page.is_truncated, Marker=page.marker)


async def _list_instance_profiles(
    service: Service, call: Call, request: ListInstanceProfilesForRoleRequest, found: _Found
) -> ListInstanceProfilesForRoleResponse:
    """Clients ask before they delete a role."""
    found.require()
    page = page_of_names(request, ())
    return ListInstanceProfilesForRoleResponse(InstanceProfiles=[], IsTruncated=page.is_truncated)


# ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _update(service: Service, call: Call, request: UpdateRoleRequest, found: _Found) -> UpdateRoleResponse:
    """Without a duration it is the default again (API reference, UpdateRole); a description that is not named stays."""
    role = found.require()
    description = role.description if request.Description is None else request.Description
    await change(
        service,
        call,
        role,
        description=description,
        max_session_s=request.MaxSessionDuration or _SESSION_S_DEFAULT,
    )
    return UpdateRoleResponse()


async def _update_description(
    service: Service, call: Call, request: UpdateRoleDescriptionRequest, found: _Found
) -> UpdateRoleDescriptionResponse:
    changed = await change(service, call, found.require(), description=request.Description)
    return UpdateRoleDescriptionResponse(Role=await role_shape(service, changed))


async def _update_trust(service: Service, call: Call, request: UpdateAssumeRolePolicyRequest, found: _Found) -> None:
    role = found.require()
    principal_ids = await require_trust_policy(service, request.PolicyDocument)
    await change(service, call, role, trust_policy=request.PolicyDocument, principal_ids=principal_ids)


async def _delete(service: Service, call: Call, request: DeleteRoleRequest, found: _Found) -> None:
    role = found.require()
    require_nothing_left(("detach all policies", role.attached_policies), ("delete policies", role.identity_policies))
    await commit(service, call, [Remove(role)])


ROWS: Final = {
    "CreateRole": Operation(find_role, _on_new_role, _create, mutates=True),
    "DeleteRole": Operation(find_role, on_holder, _delete, mutates=True),
    "GetRole": Operation(find_role, on_holder, _get),
    "ListInstanceProfilesForRole": Operation(find_role, on_found, _list_instance_profiles),
    "ListRoles": Operation(find_nothing, _on_roles, _list),
    "UpdateAssumeRolePolicy": Operation(find_role, on_found, _update_trust, mutates=True),
    "UpdateRole": Operation(find_role, on_found, _update, mutates=True),
    "UpdateRoleDescription": Operation(find_role, on_found, _update_description, mutates=True),
}
