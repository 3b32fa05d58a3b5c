"""Automatic rotation: a key whose date has come gets new material.

Keys that are disabled or wait for their deletion are left alone; the store does not even list them. One that was overdue
when it was enabled again is listed at once, and so rotated in the next run. A rotation that a crash interrupts is done
again, with other material; the one that nobody stored is no key.
"""

from __future__ import annotations

import logging
from typing import Final

from strongroom.kms.audit.events import INTENT
from strongroom.kms.chores.leases import Lease
from strongroom.kms.driver import run
from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.keys.rotation import EVENT_NAME, date_after, is_rotatable, rotate
from strongroom.kms.repositories import ConflictError, RotationType
from strongroom.kms.service import Service

# In one run; the next one comes within a minute.
KEYS_PER_RUN_MAX: Final = 500
_LOG = logging.getLogger("strongroom.kms")


class KeyRotation:
    """Rotates the keys of a region that are due."""

    def __init__(self, service: Service, holder: str) -> None:
        self._service = service
        self._lease = Lease(service.directory.store, f"key-rotation:{service.region}", holder)

    async def run(self, now_s: float) -> None:
        service = self._service
        store = service.directory.store
        due = await store.keys_due_for_rotation(service.account, service.region, now_s, KEYS_PER_RUN_MAX)
        if not due or not await self._lease.take(now_s):
            return
        for kms_key in due:
            entry = KeyEntry(kms_key, await store.materials_of(kms_key.key_id))
            if not is_rotatable(kms_key):
                continue
            try:
                await run(self._rotate(entry, now_s))
            except ConflictError:
                # Somebody changed the key meanwhile: it comes again in the next run, if it is still due.
                if await self._lease.is_lost():
                    return

    async def _rotate(self, entry: KeyEntry, now_s: float) -> None:
        service, key_id = self._service, entry.record.key_id
        details = {"rotationType": RotationType.AUTOMATIC.value, "keyOrigin": entry.record.origin}
        await service.trail.service_event(EVENT_NAME, entry, details, phase=INTENT)
        fence = self._lease.fence(service.clock())
        await rotate(
            service,
            entry,
            service.gate.chore(EVENT_NAME, key_id),
            RotationType.AUTOMATIC,
            next_rotation_at_s=date_after(entry.record, now_s),
            together_with=(fence,),
        )
        self._lease.passed(fence)
        _LOG.info("key %s of %s was rotated", key_id, service.region)
