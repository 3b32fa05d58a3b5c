"""Who signed, and whose an access key is.

Nobody needs a permission to hear who he is (STS API reference, GetCallerIdentity).
"""

from __future__ import annotations

from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import ValidationError
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.finding import find_nothing
from strongroom.kms.identities.records import AccessKeyRecord
from strongroom.kms.service import Service
from strongroom.kms.wire.sts_shapes import (
    GetAccessKeyInfoRequest,
    GetAccessKeyInfoResponse,
    GetCallerIdentityRequest,
    GetCallerIdentityResponse,
)


def on_nothing(call: Call, request: object, _: None) -> tuple[OnIdentity, ...]:
    """What everybody may."""
    return ()


async def get_caller_identity(
    service: Service, call: Call, request: GetCallerIdentityRequest, _: None
) -> GetCallerIdentityResponse:
    principal = call.principal
    return GetCallerIdentityResponse(UserId=principal.principal_id, Account=principal.account, Arn=principal.arn)


def _on_any_key(call: Call, request: GetAccessKeyInfoRequest, _: None) -> tuple[OnIdentity, ...]:
    return (OnIdentity("sts:GetAccessKeyInfo", "*"),)


async def _get_access_key_info(
    service: Service, call: Call, request: GetAccessKeyInfoRequest, _: None
) -> GetAccessKeyInfoResponse:
    """Of temporary keys nothing is kept: the caller's own is the only one that is known."""
    if request.AccessKeyId == call.principal.access_key_id:
        return GetAccessKeyInfoResponse(Account=call.account)
    record = await service.identities.get(AccessKeyRecord, request.AccessKeyId)
    if record is None:
        raise ValidationError(f"The access key {request.AccessKeyId} does not exist.")
    return GetAccessKeyInfoResponse(Account=record.account)


ROWS: Final = {
    "GetCallerIdentity": Operation(find_nothing, on_nothing, get_caller_identity),
    "GetAccessKeyInfo": Operation(find_nothing, _on_any_key, _get_access_key_info),
}
