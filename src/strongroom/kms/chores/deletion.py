"""Deletion: when its waiting period has ended, a key is gone for ever, and nothing of its material is left in the store.

Per key, in this order; whatever is interrupted is done again from its start, and harms nothing:

1. the intent is in the trail, 2. one commit removes the key's record, every material, alias and last usage, renews the
lease, and notes that an erasure is owed, 3. the event `DeleteKey` is in the trail.

When all that are due are gone: 4. the store's files are erased of what was removed, 5. the note goes.

The HSM has no part in this: a key is destroyed by destroying every copy of its EKTs. Copies in backups can be opened as long
as somebody has a domain token and what opens it: the honest erasure time is the retention of backups and tokens.
"""

from __future__ import annotations

import logging
from typing import Final

from strongroom.kms.audit.events import INTENT
from strongroom.kms.chores.clock_guard import ClockGuard
from strongroom.kms.chores.leases import Lease
from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.repositories import (
    Change,
    ConflictError,
    KeyRecord,
    KeyState,
    KeyUsageRecord,
    MarkRecord,
    Put,
    Remove,
    StoreUnavailableError,
)
from strongroom.kms.service import Service

EVENT_NAME: Final = "DeleteKey"
# In one run; the next one comes within a minute.
KEYS_PER_RUN_MAX: Final = 500
_ALIASES_PAGE: Final = 1_000
_LOG = logging.getLogger("strongroom.kms")


class KeyDeletion:
    """Deletes the keys of a region that are due, unless the clock guard holds it."""

    def __init__(self, service: Service, guard: ClockGuard, holder: str) -> None:
        self._service = service
        self._store = service.directory.store
        self._guard = guard
        self._lease = Lease(self._store, f"key-deletion:{service.region}", holder)
        self._owed = f"erasure-owed:{service.region}"

    async def run(self, now_s: float) -> None:
        due = await self._due(now_s)
        if due and await self._guard.observe(now_s):
            due = []
        owed = await self._store.get(MarkRecord, self._owed)
        if (not due and owed is None) or not await self._lease.take(now_s):
            return
        for kms_key in due:
            try:
                await self._delete(kms_key, now_s)
            except ConflictError:
                # Somebody changed the key, an alias or the usage: it comes again in the next run. Or the lease is gone.
                if await self._lease.is_lost():
                    return
        await self._erase(now_s)

    async def _due(self, now_s: float) -> list[KeyRecord]:
        service = self._service
        return [
            kms_key
            for kms_key in await self._store.keys_due_for_deletion(
                service.account, service.region, now_s, KEYS_PER_RUN_MAX
            )
            if kms_key.state is KeyState.PENDING_DELETION
        ]

    async def _delete(self, kms_key: KeyRecord, now_s: float) -> None:
        service = self._service
        entry = KeyEntry(kms_key, await self._store.materials_of(kms_key.key_id))
        changes = await self._removals(entry)
        await service.trail.service_event(EVENT_NAME, entry, {}, phase=INTENT)  # 1
        owed = await self._store.get(MarkRecord, self._owed)
        version = 0 if owed is None else owed.version
        note = MarkRecord(name=self._owed, version=version + 1, value=now_s)
        fence = self._lease.fence(service.clock())
        permit = service.gate.chore(EVENT_NAME, kms_key.key_id)
        await service.directory.commit(  # 2
            ((permit, kms_key.key_id),), [fence, Put(note, replaces=version or None), *changes]
        )
        self._lease.passed(fence)
        _LOG.info("key %s of %s was deleted", kms_key.key_id, service.region)
        await service.trail.service_event(EVENT_NAME, entry, {}, response={"keyId": entry.arn})  # 3

    async def _removals(self, entry: KeyEntry) -> list[Change]:
        """Everything that belongs to the key, and then the key: the store keeps no part of a key without it."""
        kms_key = entry.record
        changes: list[Change] = []
        after = ""
        while True:
            page = await self._store.list_aliases(kms_key.account, kms_key.region, kms_key.key_id, after, _ALIASES_PAGE)
            changes += map(Remove, page)
            if len(page) < _ALIASES_PAGE:
                break
            after = page[-1].name
        usage = await self._store.get(KeyUsageRecord, kms_key.key_id)
        if usage is not None:
            changes.append(Remove(usage))
        changes += [Remove(material.record) for material in entry.materials.values()]
        changes.append(Remove(kms_key))
        return changes

    async def _erase(self, now_s: float) -> None:
        owed = await self._store.get(MarkRecord, self._owed)
        if owed is None:
            return
        try:
            await self._store.erase()  # 4
        except StoreUnavailableError as error:
            _LOG.warning("what was deleted is not erased from the files yet: %s", error)
            return
        fence = self._lease.fence(now_s)
        try:
            await self._store.commit([fence, Remove(owed)])  # 5
        except ConflictError:
            return
        self._lease.passed(fence)
