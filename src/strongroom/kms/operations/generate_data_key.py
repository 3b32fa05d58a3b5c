"""GenerateDataKey: a fresh data key, plain and wrapped."""

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
    require_no_recipient,
    stop_if_dry_run,
)
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import GenerateDataKeyRequest, GenerateDataKeyResponse


def demands(request: GenerateDataKeyRequest) -> Sequence[Demand]:
    return (OnKey("kms:GenerateDataKey", request.KeyId),)


async def run(service: Service, call: Call, request: GenerateDataKeyRequest) -> GenerateDataKeyResponse:
    length = data_key_length(request)
    context = encryption_context(request.EncryptionContext)
    require_no_grant_tokens(request.GrantTokens)
    require_no_recipient(request.Recipient)
    (admission,) = call.admissions
    entry = admission.key
    require_encryption_key(entry, "GenerateDataKey")
    stop_if_dry_run(request.DryRun, admission)
    answer = await service.link.call(
        (admission.permit,),
        (entry.current.handle,),
        lambda request_id, key: GenerateDataKey(request_id, key, length, context, with_plaintext=True),
        DataKeyAnswer,
    )
    call.key_material_id = material_id = entry.current.material_id
    return GenerateDataKeyResponse(
        CiphertextBlob=answer.blob, Plaintext=answer.plaintext, KeyId=entry.arn, KeyMaterialId=material_id
    )
