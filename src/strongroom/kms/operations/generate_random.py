"""GenerateRandom: 1 to 1,024 bytes from the HSM."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.boundary import messages
from strongroom.boundary.messages import PlaintextAnswer
from strongroom.kms.calls import Call
from strongroom.kms.faults import CustomKeyStoreNotFoundException, ValidationException
from strongroom.kms.gate import Demand, OnAccount
from strongroom.kms.operations.requests import require_no_recipient
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import GenerateRandomRequest, GenerateRandomResponse


def demands(request: GenerateRandomRequest) -> Sequence[Demand]:
    if request.NumberOfBytes is None:
        raise ValidationException("NumberOfBytes is required.")
    return (OnAccount("kms:GenerateRandom"),)


async def run(service: Service, call: Call, request: GenerateRandomRequest) -> GenerateRandomResponse:
    require_no_recipient(request.Recipient)
    if request.CustomKeyStoreId is not None:
        raise CustomKeyStoreNotFoundException
    length = request.NumberOfBytes or 0
    (admission,) = call.admissions
    answer = await service.link.call(
        (admission.permit,), (), lambda request_id: messages.GenerateRandom(request_id, length), PlaintextAnswer
    )
    return GenerateRandomResponse(Plaintext=answer.plaintext)
