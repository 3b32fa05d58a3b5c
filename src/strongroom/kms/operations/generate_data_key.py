"""GenerateDataKey: a fresh data key, plain and wrapped."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.operations import data_keys
from strongroom.kms.operations.requests import require_no_recipient
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import GenerateDataKeyRequest, GenerateDataKeyResponse


def demands(request: GenerateDataKeyRequest) -> Sequence[Demand]:
    return (OnKey("kms:GenerateDataKey", request.KeyId),)


async def run(service: Service, call: Call, request: GenerateDataKeyRequest) -> GenerateDataKeyResponse:
    require_no_recipient(request.Recipient)
    answer = await data_keys.generate(service, call, request, with_plaintext=True)
    return GenerateDataKeyResponse(
        CiphertextBlob=answer.blob,
        Plaintext=answer.plaintext,
        KeyId=call.touched[0].arn,
        KeyMaterialId=call.key_material_id,
    )
