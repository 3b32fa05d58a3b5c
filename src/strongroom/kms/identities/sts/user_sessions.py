"""GetSessionToken and GetFederationToken: sessions that a user, or the root, begins with a permanent key.

The first has what its user has, the second at most that: a federated user without session policies may nothing of itself.
Nobody needs a permission for GetSessionToken, and no policy can forbid it. Source: STS API reference.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from strongroom.kms.calls import Call
from strongroom.kms.iam.principals import PrincipalKind, federated_user_arn
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.finding import find_nothing
from strongroom.kms.identities.session_tokens import Claims
from strongroom.kms.identities.sts.callers import on_nothing
from strongroom.kms.identities.sts.issuing import issue
from strongroom.kms.identities.sts.session_input import require_no_mfa, require_policies, require_tags
from strongroom.kms.service import Service
from strongroom.kms.trail import logged_response
from strongroom.kms.wire.sts_shapes import (
    FederatedUser,
    GetFederationTokenRequest,
    GetFederationTokenResponse,
    GetSessionTokenRequest,
    GetSessionTokenResponse,
)

_DURATION_S_DEFAULT: Final = 43_200
_ROOT_DURATION_S_MAX: Final = 3_600


def _claims(
    service: Service, call: Call, kind: Literal["user", "federated"], asked_s: int | None, **more: Any
) -> Claims:
    """The root's sessions are an hour at most, whatever is asked for."""
    principal = call.principal
    duration_s = asked_s or _DURATION_S_DEFAULT
    is_root = principal.kind is PrincipalKind.ROOT
    if is_root:
        duration_s = min(duration_s, _ROOT_DURATION_S_MAX)
    issued_at_s = int(service.clock())
    return Claims(
        kind,
        principal.account,
        principal.user_name,
        "" if is_root else principal.principal_id,
        issued_at_s,
        issued_at_s + duration_s,
        **more,
    )


async def _get_session_token(
    service: Service, call: Call, request: GetSessionTokenRequest, _: None
) -> GetSessionTokenResponse:
    require_no_mfa(request)
    claims = _claims(service, call, "user", request.DurationSeconds)
    issued = await issue(service, claims, request.MinimumSessionTokenSize)
    response = GetSessionTokenResponse(Credentials=issued.credentials)
    call.response_elements = logged_response(response)
    return response


def _on_federated(call: Call, request: GetFederationTokenRequest, _: None) -> list[OnIdentity]:
    arn = federated_user_arn(call.account, request.Name)
    actions = ["sts:GetFederationToken", *(["sts:TagSession"] if request.Tags else [])]
    return [OnIdentity(action, arn) for action in actions]


async def _get_federation_token(
    service: Service, call: Call, request: GetFederationTokenRequest, _: None
) -> GetFederationTokenResponse:
    policies = await require_policies(service, call.account, request)
    tags, _transitive = require_tags(request, {}, ())
    claims = _claims(
        service,
        call,
        "federated",
        request.DurationSeconds,
        session_name=request.Name,
        tags=tags,
        policy=policies.inline,
        policy_arns=policies.arns,
    )
    issued = await issue(service, claims, request.MinimumSessionTokenSize)
    user = FederatedUser(
        FederatedUserId=f"{call.account}:{request.Name}", Arn=federated_user_arn(call.account, request.Name)
    )
    response = GetFederationTokenResponse(
        Credentials=issued.credentials, FederatedUser=user, PackedPolicySize=issued.packed_percent
    )
    call.response_elements = logged_response(response)
    return response


ROWS: Final = {
    "GetSessionToken": Operation(find_nothing, on_nothing, _get_session_token),
    "GetFederationToken": Operation(find_nothing, _on_federated, _get_federation_token),
}
