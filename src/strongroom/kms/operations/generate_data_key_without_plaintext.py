"""GenerateDataKeyWithoutPlaintext: a fresh data key, wrapped only; the HSM does not even send the plain one."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.boundary.messages import DataKeyAnswer, GenerateDataKey
from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.operations.requests import (
    data_key_length,
    encryption_context,
    require_encryption_key,
    require_no_grant_tokens,
    stop_if_dry_run,
)
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
    length = data_key_length(request)
    context = encryption_context(request.EncryptionContext)
    require_no_grant_tokens(request.GrantTokens)
    (admission,) = call.admissions
    entry = admission.key
    require_encryption_key(entry, "GenerateDataKeyWithoutPlaintext")
    stop_if_dry_run(request.DryRun, admission)
    answer = await service.link.call(
        (admission.permit,),
        (entry.current.handle,),
        lambda request_id, key: GenerateDataKey(request_id, key, length, context, with_plaintext=False),
        DataKeyAnswer,
    )
    call.key_material_id = material_id = entry.current.material_id
    return GenerateDataKeyWithoutPlaintextResponse(
        CiphertextBlob=answer.blob, KeyId=entry.arn, KeyMaterialId=material_id
    )
