"""AssumeRoleWithWebIdentity: a session of a role for somebody for whom a provider vouches, without any access key.

The caller is who the token says, and nobody else: whatever a request was signed with is not looked at. 1. the token,
2. `sts:AssumeRoleWithWebIdentity` by the role's trust policy alone, with the token's claims as condition keys; as for
AssumeRole, `sts:TagSession` and `sts:SetSourceIdentity` for tags and a source identity, which the provider states in the
token, 3. policies and duration, 4. the session. Sources: STS API reference; IAM user guide, "Pass session tags in AWS STS",
"Monitor and control actions taken with assumed roles".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.calls import Call
from strongroom.kms.iam.evaluate import Documents
from strongroom.kms.iam.principals import web_identity_principal
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import ValidationError
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.sts.assumed import (
    Assumed,
    account_of,
    assumed_user,
    begin_session,
    find_assumed,
    require_duration,
)
from strongroom.kms.identities.sts.issuing import Begun
from strongroom.kms.identities.sts.session_input import require_policies
from strongroom.kms.identities.sts.web_tokens import WebIdentity, verify_web_token
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.kms.service import Service
from strongroom.kms.trail import logged_response
from strongroom.kms.wire.sts_shapes import AssumeRoleWithWebIdentityRequest, AssumeRoleWithWebIdentityResponse

NAME: Final = "AssumeRoleWithWebIdentity"


class WebIdentityEntry(PrincipalEntry):
    """Somebody with a token, before there is a session."""

    __slots__ = ("identity",)

    def __init__(self, identity: WebIdentity, account: str) -> None:
        provider = identity.provider.arn(account)
        principal = msgspec.structs.replace(
            web_identity_principal(provider, identity.subject, account),
            principal_id=f"{provider}:{identity.audience}:{identity.subject}",
            session_name=identity.subject,
        )
        super().__init__(principal, Documents(), AccessKeySecret(b""))
        self.identity: Final = identity


def identify(service: Service, request: AssumeRoleWithWebIdentityRequest) -> WebIdentityEntry:
    """Who asks.

    Raises:
        ValidationError, InvalidIdentityToken, ExpiredTokenException, IDPRejectedClaim: as AWS has it.
    """
    if request.ProviderId is not None:
        raise ValidationError("ProviderId is for OAuth 2.0 access tokens, which are not supported.")
    account = account_of(request.RoleArn)
    identity = verify_web_token(request.WebIdentityToken, service.configured.providers, account, service.clock())
    return WebIdentityEntry(identity, account)


def _identity(call: Call) -> WebIdentity:
    assert isinstance(call.principal_entry, WebIdentityEntry), "somebody else than who holds the token"
    return call.principal_entry.identity


async def _find(service: Service, call: Call, request: AssumeRoleWithWebIdentityRequest) -> Assumed:
    return await find_assumed(service, request.RoleArn)


def _demands(call: Call, request: AssumeRoleWithWebIdentityRequest, found: Assumed) -> list[OnIdentity]:
    identity = _identity(call)
    stated: dict[str, Sequence[str]] = {
        f"{identity.provider.name}:{key}": values for key, values in identity.stated.items()
    }
    stated["sts:RoleSessionName"] = (request.RoleSessionName,)
    actions = ["sts:AssumeRoleWithWebIdentity"]
    if identity.tags:
        actions.append("sts:TagSession")
        stated["aws:TagKeys"] = tuple(identity.tags)
        for key, value in identity.tags.items():
            stated[f"aws:RequestTag/{key}"] = (value,)
    if identity.transitive_tag_keys:
        stated["sts:TransitiveTagKeys"] = identity.transitive_tag_keys
    if identity.source_identity:
        actions.append("sts:SetSourceIdentity")
        stated["sts:SourceIdentity"] = (identity.source_identity,)
    tags = {} if found.record is None else found.record.tags
    return [OnIdentity(action, found.arn, tags, stated, found.trust, found.account) for action in actions]


async def _run(
    service: Service, call: Call, request: AssumeRoleWithWebIdentityRequest, found: Assumed
) -> AssumeRoleWithWebIdentityResponse:
    identity, role = _identity(call), found.require()
    policies = await require_policies(service, role.account, request)
    duration_s = require_duration(role, request.DurationSeconds, is_chained=False)
    begun = Begun(
        request.RoleSessionName,
        identity.source_identity,
        identity.tags,
        identity.transitive_tag_keys,
        policies,
        identity.provider.arn(role.account),
    )
    issued = await begin_session(service, request, role, duration_s, begun)
    response = AssumeRoleWithWebIdentityResponse(
        Credentials=issued.credentials,
        SubjectFromWebIdentityToken=identity.subject,
        AssumedRoleUser=assumed_user(role, request.RoleSessionName),
        PackedPolicySize=issued.packed_percent,
        Provider=identity.provider.issuer,
        Audience=identity.audience,
        SourceIdentity=identity.source_identity or None,
    )
    call.response_elements = logged_response(response)
    return response


ROWS: Final = {NAME: Operation(_find, _demands, _run)}
