"""Deletion: when its waiting period has ended, a key is gone for ever, and nothing of its material is left in the store.

Per key, in this order; whatever is interrupted is done again from its start, and harms nothing:

1. the intent is in the trail, 2. one commit removes the key's record, every material, alias and last usage, renews the
lease, and notes that an erasure is owed and that the event is, 3. the event `DeleteKey` is in the trail, 4. its note goes.
A crash between 3 and 4 leaves the event there twice.

When all that are due are gone: 5. the store's files are erased of what was removed, 6. that note goes. A run that fails
erases all the same. While somebody reads an old state of the store, it is tried again, ever more rarely.

The HSM has no part in this: a key is destroyed by destroying every copy of its EKTs. Copies in backups can be opened as long
as somebody has a domain token and what opens it: the honest erasure time is the retention of backups and tokens.
"""

from __future__ import annotations

import logging
from typing import Final

from strongroom.kms.audit.events import INTENT
from strongroom.kms.chores.clock_guard import ClockGuard
from strongroom.kms.chores.due_keys import DAMAGED, read_entry, sound_keys, tell_damaged
from strongroom.kms.chores.leases import Lease
from strongroom.kms.keys.directory import PARTITION, KeyEntry
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
from strongroom.protocol.arn import format_key_arn

EVENT_NAME: Final = "DeleteKey"
# In one run; the next one comes within a minute.
KEYS_PER_RUN_MAX: Final = 500
_ALIASES_PAGE: Final = 1_000
# Runs that pass before an erasure that failed again and again is tried: some minutes in the end.
_RUNS_SKIPPED_MAX: Final = 15
# Where an EKT says how long its metadata is, and where that begins (`hsm/vault/token.py`): the sealed secret follows.
_METADATA_LENGTH_AT: Final = slice(34, 36)
_METADATA_AT: Final = 36
_LOG = logging.getLogger("strongroom.kms")


def _sealed_part(ekt: bytes) -> bytes:
    """The part of an EKT without which the rest is worth nothing; what stands before it, other EKTs hold too."""
    return ekt[_METADATA_AT + int.from_bytes(ekt[_METADATA_LENGTH_AT], "big") :]


class KeyDeletion:
    """Deletes the keys of a region that are due, unless the clock guard holds it."""

    def __init__(self, service: Service, guard: ClockGuard, holder: str) -> None:
        self._service = service
        self._store = service.directory.store
        self._guard = guard
        self._lease = Lease(self._store, f"key-deletion:{service.region}", holder)
        self._owed = f"erasure-owed:{service.region}"
        self._untold = f"deletion-untold:{service.region}:"
        # What this worker removed since the files were erased, and the note that says so: with another note, who knows.
        self._traces: list[bytes] = []
        self._traced: MarkRecord | None = None
        self._failed_erasures = 0
        self._runs_to_skip = 0

    async def run(self, now_s: float) -> None:
        try:
            await self._delete_due(now_s)
        except Exception:
            await self._erase(now_s)
            raise
        await self._erase(now_s)

    async def _delete_due(self, now_s: float) -> None:
        untold = await self._store.list_marks(self._untold, KEYS_PER_RUN_MAX)
        due = await self._due(now_s)
        if due and await self._guard.observe(now_s):
            due = []
        if not (due or untold) or not await self._lease.take(now_s):
            return
        for note in untold:
            await self._tell(note)
        for kms_key in due:
            try:
                await self._delete(kms_key, now_s)
            except ConflictError:
                # Somebody changed the key, an alias or the usage: it comes again in the next run. Or the lease is gone.
                if await self._lease.is_lost():
                    return

    async def _due(self, now_s: float) -> list[KeyRecord]:
        service = self._service
        due = await self._store.keys_due_for_deletion(service.region, now_s, KEYS_PER_RUN_MAX)
        return [kms_key for kms_key in sound_keys(due, service.region) if kms_key.state is KeyState.PENDING_DELETION]

    async def _delete(self, kms_key: KeyRecord, now_s: float) -> None:
        service, key_id = self._service, kms_key.key_id
        try:
            entry = await read_entry(self._store, kms_key)
            changes = await self._removals(entry)
        except DAMAGED:
            tell_damaged(key_id, service.region)
            return
        await service.trail.service_event(EVENT_NAME, kms_key.account, key_id, {}, phase=INTENT)  # 1
        owed = await self._store.get(MarkRecord, self._owed)
        version = 0 if owed is None else owed.version
        note = MarkRecord(name=self._owed, version=version + 1, value=now_s)
        untold = MarkRecord(name=f"{self._untold}{kms_key.account}:{key_id}", version=1, value=now_s)
        fence = self._lease.fence(service.clock())
        permit = service.gate.chore(EVENT_NAME, key_id)
        notes = (Put(note, replaces=version or None), Put(untold, replaces=None))
        await service.directory.commit(((permit, key_id),), [fence, *notes, *changes])  # 2
        self._lease.passed(fence)
        self._trace(entry, owed, note)
        _LOG.info("key %s of %s was deleted", key_id, service.region)
        await self._tell(untold)

    async def _tell(self, untold: MarkRecord) -> None:
        service = self._service
        # A note from before there were several accounts names none.
        account, _, key_id = untold.name.removeprefix(self._untold).rpartition(":")
        account = account or service.main_account
        response = {"keyId": format_key_arn(PARTITION, service.region, account, key_id)}
        await service.trail.service_event(EVENT_NAME, account, key_id, {}, response=response)  # 3
        fence = self._lease.fence(service.clock())
        await self._store.commit([fence, Remove(untold)])  # 4
        self._lease.passed(fence)

    def _trace(self, entry: KeyEntry, owed: MarkRecord | None, note: MarkRecord) -> None:
        """Remember what was removed; not where somebody else removed something that is not erased yet."""
        if owed is None:
            self._traces.clear()
        elif owed != self._traced:
            self._traced = None
            return
        self._traces += [_sealed_part(material.record.ekt) for material in entry.materials.values()]
        self._traced = note

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
        if self._runs_to_skip:
            self._runs_to_skip -= 1
            return
        if not await self._lease.take(now_s):
            return
        try:
            await self._store.erase(self._traces if owed == self._traced else None)  # 5
        except StoreUnavailableError as error:
            self._runs_to_skip = min(2**self._failed_erasures - 1, _RUNS_SKIPPED_MAX)
            self._failed_erasures += 1
            _LOG.warning("what was deleted is not erased from the files yet: %s", error)
            return
        self._failed_erasures = 0
        fence = self._lease.fence(now_s)
        try:
            await self._store.commit([fence, Remove(owed)])  # 6
        except ConflictError:
            return
        self._lease.passed(fence)
