"""Who signed: nobody needs a permission to hear who he is (STS API reference, GetCallerIdentity)."""

from __future__ import annotations

from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.finding import find_nothing
from strongroom.kms.service import Service
from strongroom.kms.wire.sts_shapes import GetCallerIdentityRequest, GetCallerIdentityResponse


def on_nothing(call: Call, request: object, _: None) -> tuple[OnIdentity, ...]:
    """What everybody may."""
    return ()


async def get_caller_identity(
    service: Service, call: Call, request: GetCallerIdentityRequest, _: None
) -> GetCallerIdentityResponse:
    principal = call.principal
    return GetCallerIdentityResponse(UserId=principal.principal_id, Account=principal.account, Arn=principal.arn)


ROWS: Final = {"GetCallerIdentity": Operation(find_nothing, on_nothing, get_caller_identity)}
