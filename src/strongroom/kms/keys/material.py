"""Material for a key: made in the HSM, and no key until somebody stores it."""

from __future__ import annotations

from strongroom.boundary.messages import GenerateHbk, HbkAnswer
from strongroom.kms.permits import Permit
from strongroom.kms.repositories import KeyRecord, MaterialRecord, MaterialState, RotationType
from strongroom.kms.service import Service


async def make_material(
    service: Service, permit: Permit, kms_key: KeyRecord, made_at_s: float, rotation: RotationType | None = None
) -> MaterialRecord:
    """A fresh backing key for this record, sealed; `rotation` is None for a key's first material."""
    answer = await service.link.call(
        (permit,),
        (),
        lambda request_id: GenerateHbk(
            request_id, kms_key.key_id, kms_key.account, kms_key.region, kms_key.spec, kms_key.usage
        ),
        HbkAnswer,
    )
    return MaterialRecord(
        hbkid=answer.hbkid,
        version=1,
        key_id=kms_key.key_id,
        state=MaterialState.CURRENT,
        ekt=answer.ekt,
        created_at_s=made_at_s,
        rotation=rotation,
    )
