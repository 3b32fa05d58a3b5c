"""Decrypt: a blob back to its plaintext; the key is found from the blob."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.boundary import messages
from strongroom.boundary.blob import parse_hbkid
from strongroom.boundary.messages import PlaintextAnswer
from strongroom.kms.calls import Call
from strongroom.kms.faults import ValidationException
from strongroom.kms.gate import Demand, OnCiphertext, OnKey
from strongroom.kms.operations.grants import require_grant_tokens
from strongroom.kms.operations.requests import (
    SYMMETRIC_DEFAULT,
    encryption_context,
    require_encryption_key,
    require_member,
    require_no_recipient,
    stop_if_dry_run,
)
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import DecryptRequest, DecryptResponse


def _ignores_ciphertext(request: DecryptRequest) -> bool:
    """A dry run may ask about a key without having a blob of it."""
    if not request.DryRunModifiers:
        return False
    if not request.DryRun:
        raise ValidationException("DryRunModifiers can only be specified when DryRun is true.")
    return True


def demands(request: DecryptRequest) -> Sequence[Demand]:
    if _ignores_ciphertext(request):
        require_member(request.KeyId, "keyId")
        return (OnKey("kms:Decrypt", str(request.KeyId)),)
    require_member(request.CiphertextBlob, "ciphertextBlob")
    return (OnCiphertext("kms:Decrypt", request.CiphertextBlob or b"", request.KeyId),)


async def run(service: Service, call: Call, request: DecryptRequest) -> DecryptResponse:
    context = encryption_context(request.EncryptionContext)
    if request.GrantTokens:
        await require_grant_tokens(service, request.GrantTokens)
    require_no_recipient(request.Recipient)
    (admission,) = call.admissions
    entry = admission.key
    require_encryption_key(entry, "Decrypt", request.EncryptionAlgorithm)
    stop_if_dry_run(request.DryRun, admission)
    blob = request.CiphertextBlob or b""
    material = entry.materials[parse_hbkid(blob)]
    answer = await service.link.call(
        (admission.permit,),
        (material.handle,),
        lambda request_id, key: messages.Decrypt(request_id, key, blob, context),
        PlaintextAnswer,
    )
    call.key_material_id = material.material_id
    return DecryptResponse(
        KeyId=entry.arn,
        Plaintext=answer.plaintext,
        EncryptionAlgorithm=SYMMETRIC_DEFAULT,
        KeyMaterialId=material.material_id,
    )
