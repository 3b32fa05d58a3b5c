"""Encrypt: up to 4,096 bytes under a KMS key."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.boundary import messages
from strongroom.boundary.messages import CiphertextAnswer
from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand, OnKey
from strongroom.kms.operations.grants import require_grant_tokens
from strongroom.kms.operations.requests import (
    SYMMETRIC_DEFAULT,
    encryption_context,
    require_encryption_key,
    stop_if_dry_run,
)
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import EncryptRequest, EncryptResponse


def demands(request: EncryptRequest) -> Sequence[Demand]:
    return (OnKey("kms:Encrypt", request.KeyId),)


async def run(service: Service, call: Call, request: EncryptRequest) -> EncryptResponse:
    context = encryption_context(request.EncryptionContext)
    if request.GrantTokens:
        await require_grant_tokens(service, request.GrantTokens)
    (admission,) = call.admissions
    entry = admission.key
    require_encryption_key(entry, "Encrypt", request.EncryptionAlgorithm)
    stop_if_dry_run(request.DryRun, admission)
    plaintext = request.Plaintext
    answer = await service.link.call(
        (admission.permit,),
        (entry.current.handle,),
        lambda request_id, key: messages.Encrypt(request_id, key, plaintext, context),
        CiphertextAnswer,
    )
    call.key_material_id = entry.current.material_id
    return EncryptResponse(CiphertextBlob=answer.blob, KeyId=entry.arn, EncryptionAlgorithm=SYMMETRIC_DEFAULT)
