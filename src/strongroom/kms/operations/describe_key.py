"""DescribeKey: a key's metadata, in every state.

Grant tokens that are none are ignored: the model gives this operation no exception for them, and they open nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.operations.metadata import key_metadata
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import DescribeKeyRequest, DescribeKeyResponse


def demands(request: DescribeKeyRequest) -> Sequence[Demand]:
    return (OnKey("kms:DescribeKey", request.KeyId),)


async def run(service: Service, call: Call, request: DescribeKeyRequest) -> DescribeKeyResponse:
    (admission,) = call.admissions
    entry = admission.key
    admission.permit.redeem(entry.record.key_id)
    return DescribeKeyResponse(KeyMetadata=key_metadata(entry))
