"""ReEncrypt: a blob moved to another key or context; the plaintext never leaves the HSM."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.boundary import messages
from strongroom.boundary.blob import parse_hbkid
from strongroom.boundary.messages import CiphertextAnswer
from strongroom.kms.calls import Call
from strongroom.kms.faults import ValidationException
from strongroom.kms.gate import Demand, OnCiphertext, OnKey
from strongroom.kms.operations.grants import require_grant_tokens
from strongroom.kms.operations.requests import (
    SYMMETRIC_DEFAULT,
    encryption_context,
    require_encryption_key,
    require_member,
    stop_if_dry_run,
)
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import ReEncryptRequest, ReEncryptResponse


def demands(request: ReEncryptRequest) -> Sequence[Demand]:
    to = OnKey("kms:ReEncryptTo", request.DestinationKeyId)
    if request.DryRunModifiers:
        if not request.DryRun:
            raise ValidationException("DryRunModifiers can only be specified when DryRun is true.")
        require_member(request.SourceKeyId, "sourceKeyId")
        return (OnKey("kms:ReEncryptFrom", str(request.SourceKeyId)), to)
    require_member(request.CiphertextBlob, "ciphertextBlob")
    return (OnCiphertext("kms:ReEncryptFrom", request.CiphertextBlob or b"", request.SourceKeyId), to)


async def run(service: Service, call: Call, request: ReEncryptRequest) -> ReEncryptResponse:
    source_context = encryption_context(request.SourceEncryptionContext)
    destination_context = encryption_context(request.DestinationEncryptionContext)
    if request.GrantTokens:
        await require_grant_tokens(service, request.GrantTokens)
    source, destination = call.admissions
    require_encryption_key(source.key, "ReEncrypt", request.SourceEncryptionAlgorithm)
    require_encryption_key(destination.key, "ReEncrypt", request.DestinationEncryptionAlgorithm)
    stop_if_dry_run(request.DryRun, source, destination)
    blob = request.CiphertextBlob or b""
    material = source.key.materials[parse_hbkid(blob)]
    current = destination.key.current
    answer = await service.link.call(
        (source.permit, destination.permit),
        (material.handle, current.handle),
        lambda request_id, source_key, destination_key: messages.ReEncrypt(
            request_id, source_key, destination_key, blob, source_context, destination_context
        ),
        CiphertextAnswer,
    )
    call.additional = {
        "sourceKeyMaterialId": material.material_id,
        "destinationKeyMaterialId": current.material_id,
    }
    return ReEncryptResponse(
        CiphertextBlob=answer.blob,
        SourceKeyId=source.key.arn,
        KeyId=destination.key.arn,
        SourceEncryptionAlgorithm=SYMMETRIC_DEFAULT,
        DestinationEncryptionAlgorithm=SYMMETRIC_DEFAULT,
        SourceKeyMaterialId=material.material_id,
        DestinationKeyMaterialId=current.material_id,
    )
