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
from strongroom.kms.identities.sts.callers import on_nothing
from strongroom.kms.identities.sts.issuing import Begun, Holder, Issued, begin
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


async def _begin(
    service: Service, call: Call, request: Any, kind: Literal["user", "federated"], begun: Begun
) -> Issued:
    """The root's sessions are an hour at most, whatever is asked for."""
    principal = call.principal
    duration_s = request.DurationSeconds or _DURATION_S_DEFAULT
    is_root = principal.kind is PrincipalKind.ROOT
    if is_root:
        duration_s = min(duration_s, _ROOT_DURATION_S_MAX)
    unique_id = "" if is_root else principal.principal_id
    return await begin(
        service, request, Holder(kind, principal.account, principal.user_name, unique_id), duration_s, begun
    )


async def _get_session_token(
    service: Service, call: Call, request: GetSessionTokenRequest, _: None
) -> GetSessionTokenResponse:
    require_no_mfa(request)
    issued = await _begin(service, call, request, "user", Begun())
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
    begun = Begun(session_name=request.Name, tags=tags, policies=policies)
    issued = await _begin(service, call, request, "federated", begun)
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
