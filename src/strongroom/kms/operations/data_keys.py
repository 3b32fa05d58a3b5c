"""A fresh data key under an admitted key: what GenerateDataKey and GenerateDataKeyWithoutPlaintext share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from strongroom.boundary.messages import DataKeyAnswer, GenerateDataKey
from strongroom.kms.calls import Call
from strongroom.kms.faults import ValidationException
from strongroom.kms.operations.grants import require_grant_tokens
from strongroom.kms.operations.requests import (
    encryption_context,
    require_encryption_key,
    stop_if_dry_run,
)
from strongroom.kms.service import Service

# KMS API reference, request parameter KeySpec of GenerateDataKey.
_DATA_KEY_BYTES: Final[Mapping[str, int]] = {"AES_128": 16, "AES_256": 32}


class DataKeyRequest(Protocol):
    """What both requests have in common, under AWS's names."""

    @property
    def KeySpec(self) -> str | None: ...  # noqa: N802
    @property
    def NumberOfBytes(self) -> int | None: ...  # noqa: N802
    @property
    def EncryptionContext(self) -> dict[str, str] | None: ...  # noqa: N802
    @property
    def GrantTokens(self) -> list[str] | None: ...  # noqa: N802
    @property
    def DryRun(self) -> bool | None: ...  # noqa: N802


def _length(request: DataKeyRequest) -> int:
    """How many bytes the data key has: exactly one of the two members says so."""
    if (request.KeySpec is None) == (request.NumberOfBytes is None):
        raise ValidationException("Please specify either number of bytes or key spec.")
    return request.NumberOfBytes if request.NumberOfBytes is not None else _DATA_KEY_BYTES[str(request.KeySpec)]


async def generate(service: Service, call: Call, request: DataKeyRequest, *, with_plaintext: bool) -> DataKeyAnswer:
    """The wrapped data key, and the plain one where it is asked for; the HSM does not even send it otherwise."""
    length = _length(request)
    context = encryption_context(request.EncryptionContext)
    if request.GrantTokens:
        await require_grant_tokens(service, request.GrantTokens)
    (admission,) = call.admissions
    entry = admission.key
    require_encryption_key(entry, call.operation)
    stop_if_dry_run(request.DryRun, admission)
    current = entry.current
    answer = await service.link.call(
        (admission.permit,),
        (current.handle,),
        lambda request_id, key: GenerateDataKey(request_id, key, length, context, with_plaintext),
        DataKeyAnswer,
    )
    call.key_material_id = current.material_id
    return answer
