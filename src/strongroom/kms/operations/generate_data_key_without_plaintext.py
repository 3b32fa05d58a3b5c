"""GenerateDataKeyWithoutPlaintext: a fresh data key, wrapped only."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.operations import data_keys
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import (
    GenerateDataKeyWithoutPlaintextRequest,
    GenerateDataKeyWithoutPlaintextResponse,
)


def demands(request: GenerateDataKeyWithoutPlaintextRequest) -> Sequence[Demand]:
    return (OnKey("kms:GenerateDataKeyWithoutPlaintext", request.KeyId),)


async def run(
    service: Service, call: Call, request: GenerateDataKeyWithoutPlaintextRequest
) -> GenerateDataKeyWithoutPlaintextResponse:
    answer = await data_keys.generate(service, call, request, with_plaintext=False)
    return GenerateDataKeyWithoutPlaintextResponse(
        CiphertextBlob=answer.blob, KeyId=call.admissions[0].key.arn, KeyMaterialId=call.key_material_id
    )
