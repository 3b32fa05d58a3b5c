"""Automatic rotation: a key whose date has come gets new material.

Keys that are disabled or wait for their deletion are left alone; the store does not even list them. One that was overdue
when it was enabled again is listed at once, and so rotated in the next run. A rotation that a crash interrupts is done
again, with other material; the one that nobody stored is no key.

While the clock guard holds, nothing is rotated: the next date is set by the same clock. Dates that were set while a clock
was ahead and nobody had noticed are brought back to a period from now: they are looked for once a day, and after a hold.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from strongroom.kms.audit.events import INTENT
from strongroom.kms.chores.clock_guard import ClockGuard
from strongroom.kms.chores.due_keys import DAMAGED, read_entry, sound_keys, tell_damaged
from strongroom.kms.chores.leases import Lease
from strongroom.kms.driver import run
from strongroom.kms.keys.rotation import DAY_S, EVENT_NAME, date_after, is_rotatable, rotate, within_period
from strongroom.kms.repositories import ConflictError, KeyRecord, Put, RotationType
from strongroom.kms.service import Service

# In one run; the next one comes within a minute.
KEYS_PER_RUN_MAX: Final = 500
_LOG = logging.getLogger("strongroom.kms")


class KeyRotation:
    """Rotates the keys of a region that are due, unless the clock guard holds it."""

    def __init__(self, service: Service, guard: ClockGuard, holder: str) -> None:
        self._service = service
        self._store = service.directory.store
        self._guard = guard
        self._lease = Lease(self._store, f"key-rotation:{service.region}", holder)
        # When dates that are too far away were looked for; and whether there may be some, because there was a hold.
        self._searched_at_s: float | None = None

    async def run(self, now_s: float) -> None:
        service = self._service
        due = await self._store.keys_due_for_rotation(service.region, now_s, KEYS_PER_RUN_MAX)
        keys = sound_keys(due, service.region)
        is_search_due = self._searched_at_s is None or abs(now_s - self._searched_at_s) >= DAY_S
        if not (keys or is_search_due):
            return
        if await self._guard.observe(now_s):
            self._searched_at_s = None
            return
        if is_search_due:
            keys += await self._too_late(now_s)
            self._searched_at_s = now_s
        if keys and await self._lease.take(now_s):
            await self._do_all(keys, now_s)

    async def _too_late(self, now_s: float) -> list[KeyRecord]:
        service = self._service
        late = await self._store.keys_rotating_too_late(service.region, now_s, KEYS_PER_RUN_MAX)
        return sound_keys(late, service.region)

    async def _do_all(self, keys: Sequence[KeyRecord], now_s: float) -> None:
        for kms_key in keys:
            try:
                if kms_key.next_rotation_at_s is not None and kms_key.next_rotation_at_s > now_s:
                    await self._bring_back(kms_key, now_s)
                elif is_rotatable(kms_key):
                    await run(self._rotate(kms_key, now_s))
            except ConflictError:
                # Somebody changed the key meanwhile: it comes again in the next run, if it is still due.
                if await self._lease.is_lost():
                    return

    async def _bring_back(self, kms_key: KeyRecord, now_s: float) -> None:
        """A date that was set while the clock was ahead; nobody would live to see it."""
        service, key_id, period_days = self._service, kms_key.key_id, kms_key.rotation_period_days
        assert kms_key.next_rotation_at_s is not None
        assert period_days is not None
        next_s = within_period(kms_key.next_rotation_at_s, now_s, period_days)
        changed = msgspec.structs.replace(kms_key, version=kms_key.version + 1, next_rotation_at_s=next_s)
        fence = self._lease.fence(service.clock())
        permit = service.gate.chore("BringRotationBack", key_id)
        await service.directory.commit(((permit, key_id),), (fence, Put(changed, replaces=kms_key.version)))
        self._lease.passed(fence)
        _LOG.warning("the next rotation of key %s of %s was further away than its period", key_id, service.region)

    async def _rotate(self, kms_key: KeyRecord, now_s: float) -> None:
        service, key_id = self._service, kms_key.key_id
        try:
            entry = await read_entry(self._store, kms_key)
        except DAMAGED:
            tell_damaged(key_id, service.region)
            return
        details = {"rotationType": RotationType.AUTOMATIC.value, "keyOrigin": entry.record.origin}
        await service.trail.service_event(EVENT_NAME, kms_key.account, key_id, details, phase=INTENT)
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
