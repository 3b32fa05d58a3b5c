"""Rotation: a key gets new material, and keeps the old for ever; nothing that was encrypted changes.

1. the HSM makes the material, 2. one commit: the old material is NON_CURRENT, the new one CURRENT, the record one version
on, 3. the event `RotateKey` is in the trail. A crash before 2 leaves an EKT that nobody stored, which is no key.

Where dates come from: KMS developer guide, "Rotating AWS KMS keys": automatic rotation counts from the day on which it was
most recently enabled, on-demand rotation moves no date, a key that is overdue when it is enabled again rotates at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from strongroom.kms.faults import UnsupportedOperationException
from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.keys.material import make_material
from strongroom.kms.permits import Permit
from strongroom.kms.repositories import Change, KeyRecord, MaterialState, Put, RotationType
from strongroom.kms.service import Service

DAY_S: Final = 86_400.0
# KMS API reference, EnableKeyRotation: the default of RotationPeriodInDays.
PERIOD_DAYS_DEFAULT: Final = 365
# KMS API reference, RotateKeyOnDemand: ConflictException.
AUTOMATIC_IS_NEAR_S: Final = 20 * 60.0
EVENT_NAME: Final = "RotateKey"
_SYMMETRIC: Final = "SYMMETRIC_DEFAULT"
_OWN_ORIGIN: Final = "AWS_KMS"


def is_rotatable(kms_key: KeyRecord) -> bool:
    """Whether the key is of a kind whose material the service may replace by itself."""
    return kms_key.spec == _SYMMETRIC and kms_key.origin == _OWN_ORIGIN


def require_rotatable(entry: KeyEntry) -> None:
    """Raise UnsupportedOperationException; AWS names a foreign origin, and says nothing about another spec."""
    if entry.record.spec != _SYMMETRIC:
        raise UnsupportedOperationException
    if entry.record.origin != _OWN_ORIGIN:
        raise UnsupportedOperationException(
            f"{entry.arn} origin is {entry.record.origin} which is not valid for this operation."
        )


def date_after(kms_key: KeyRecord, now_s: float) -> float | None:
    """When an automatic rotation that happens now is followed by the next one; None while rotation is off.

    The schedule is kept, so that it does not drift with the minutes by which a chore comes late. A rotation that is late by
    more than a day, because the key was disabled or the machine was off, starts the schedule anew.
    """
    if kms_key.rotation_period_days is None or kms_key.next_rotation_at_s is None:
        return None
    is_late = now_s - kms_key.next_rotation_at_s > DAY_S
    next_s = (now_s if is_late else kms_key.next_rotation_at_s) + kms_key.rotation_period_days * DAY_S
    return within_period(next_s, now_s, kms_key.rotation_period_days)


def within_period(next_rotation_at_s: float, now_s: float, period_days: int) -> float:
    """The date of the next rotation, which is a period away at the most: one beyond was set while the clock was ahead."""
    return min(next_rotation_at_s, now_s + period_days * DAY_S)


async def rotate(
    service: Service,
    entry: KeyEntry,
    permit: Permit,
    rotation: RotationType,
    *,
    next_rotation_at_s: float | None,
    together_with: Sequence[Change] = (),
) -> None:
    """Give the key new material; `together_with` is committed with it or not at all.

    Raises:
        ConflictError: the key changed meanwhile; nothing was changed.
    """
    kms_key, old = entry.record, entry.current.record
    making, storing = service.gate.rotation(permit, kms_key.key_id)
    new = await make_material(service, making, kms_key, service.clock(), rotation)  # 1
    retired = msgspec.structs.replace(old, version=old.version + 1, state=MaterialState.NON_CURRENT)
    changed = msgspec.structs.replace(kms_key, version=kms_key.version + 1, next_rotation_at_s=next_rotation_at_s)
    # The old one steps down first: at no moment may a key have two that are current.
    changes = (
        *together_with,
        Put(retired, replaces=old.version),
        Put(new, replaces=None),
        Put(changed, replaces=kms_key.version),
    )
    await service.directory.commit(((storing, kms_key.key_id),), changes)  # 2
    details = {
        "rotationType": rotation.value,
        "keyOrigin": kms_key.origin,
        "previousKeyMaterialId": old.hbkid.hex(),
        "currentKeyMaterialId": new.hbkid.hex(),
    }
    await service.trail.service_event(EVENT_NAME, kms_key.account, kms_key.key_id, details)  # 3
