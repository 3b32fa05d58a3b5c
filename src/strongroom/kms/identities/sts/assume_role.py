"""AssumeRole: a session of a role, for a user or another session, of this account or another.

1. nobody whom no permission could help, 2. `sts:AssumeRole` on the role; with tags, set now or handed on, `sts:TagSession`;
with a source identity, new or handed on, `sts:SetSourceIdentity`: by the role's trust policy and, where that names only the
account, or comes from another one, by the caller's policies too, 3. policies, tags and duration, 4. the session.

A source identity stays as it is in a chain of roles, and so do transitive tags. Sources: STS API reference, AssumeRole; IAM
user guide, "Pass session tags in AWS STS", "Monitor and control actions taken with assumed roles".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.iam.principals import PrincipalKind
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import AccessDenied, ValidationError
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.sts.assumed import (
    Assumed,
    assumed_user,
    begin_session,
    find_assumed,
    require_duration,
)
from strongroom.kms.identities.sts.issuing import Begun
from strongroom.kms.identities.sts.session_input import require_no_mfa, require_policies, require_tags
from strongroom.kms.service import Service
from strongroom.kms.trail import logged_response
from strongroom.kms.wire.sts_shapes import AssumeRoleRequest, AssumeRoleResponse


async def _find(service: Service, call: Call, request: AssumeRoleRequest) -> Assumed:
    if call.principal.kind is PrincipalKind.ROOT:
        raise AccessDenied("Roles may not be assumed by root accounts.")
    source_identity = call.principal.source_identity
    if request.SourceIdentity is not None and source_identity not in {"", request.SourceIdentity}:
        raise AccessDenied("The source identity of a session cannot be changed.")
    return await find_assumed(service, request.RoleArn)


def _demands(call: Call, request: AssumeRoleRequest, found: Assumed) -> list[OnIdentity]:
    handed_on = _transitive_keys(call)
    source_identity = request.SourceIdentity or call.principal.source_identity
    stated: dict[str, Sequence[str]] = {"sts:RoleSessionName": (request.RoleSessionName,)}
    if request.ExternalId is not None:
        stated["sts:ExternalId"] = (request.ExternalId,)
    if source_identity:
        stated["sts:SourceIdentity"] = (source_identity,)
    if request.TransitiveTagKeys:
        stated["sts:TransitiveTagKeys"] = tuple(request.TransitiveTagKeys)
    actions = ["sts:AssumeRole"]
    if request.Tags or handed_on:
        actions.append("sts:TagSession")
    if source_identity:
        actions.append("sts:SetSourceIdentity")
    tags = {} if found.record is None else found.record.tags
    return [OnIdentity(action, found.arn, tags, stated, found.trust, found.account) for action in actions]


async def _run(service: Service, call: Call, request: AssumeRoleRequest, found: Assumed) -> AssumeRoleResponse:
    role, principal = found.require(), call.principal
    require_no_mfa(request)
    if request.ProvidedContexts:
        raise ValidationError("ProvidedContexts is not supported.")
    policies = await require_policies(service, role.account, request)
    tags, transitive = require_tags(request, principal.tags, _transitive_keys(call))
    is_chained = call.principal_entry.session is not None
    duration_s = require_duration(role, request.DurationSeconds, is_chained=is_chained)
    begun = Begun(
        request.RoleSessionName,
        request.SourceIdentity or principal.source_identity,
        tags,
        transitive,
        policies,
    )
    issued = await begin_session(service, request, role, duration_s, begun)
    response = AssumeRoleResponse(
        Credentials=issued.credentials,
        AssumedRoleUser=assumed_user(role, request.RoleSessionName),
        PackedPolicySize=issued.packed_percent,
        SourceIdentity=begun.source_identity or None,
    )
    call.response_elements = logged_response(response)
    return response


def _transitive_keys(call: Call) -> tuple[str, ...]:
    """The tags that the caller's session hands on."""
    session = call.principal_entry.session
    return () if session is None else session.claims.transitive_tag_keys


ROWS: Final = {"AssumeRole": Operation(_find, _demands, _run)}
