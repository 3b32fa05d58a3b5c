"""DescribeKey: a key's metadata, in every state."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.operations.metadata import key_metadata
from strongroom.kms.operations.requests import require_no_grant_tokens
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import DescribeKeyRequest, DescribeKeyResponse


def demands(request: DescribeKeyRequest) -> Sequence[Demand]:
    return (OnKey("kms:DescribeKey", request.KeyId),)


async def run(service: Service, call: Call, request: DescribeKeyRequest) -> DescribeKeyResponse:
    require_no_grant_tokens(request.GrantTokens)
    (admission,) = call.admissions
    entry = admission.key
    admission.permit.redeem(entry.record.key_id)
    return DescribeKeyResponse(KeyMetadata=key_metadata(entry))
