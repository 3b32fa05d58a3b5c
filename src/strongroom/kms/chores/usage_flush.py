"""The flush of last usages: every minute at the most, at a clean stop, and after a crash from the audit trail.

Per flush: 1. the last record of this worker's chain is looked up, and then the notes are taken, so that whatever a record up
to there tells is noted; 2. the notes are stored, some keys at a time, the newest of note and record; 3. a mark of this
writer says how far its chain is in the store.

Before the first flush: 0. what the chain holds beyond the mark was noted by a worker that did not live to store it, and is
noted again. A writer without a mark begins with what comes: since when usage is known at all says a mark of the region.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from strongroom.kms.audit.log import AuditLog
from strongroom.kms.chores.usage_recovery import recorded_uses
from strongroom.kms.keys.last_usage import Use, is_newer, tracking_mark
from strongroom.kms.repositories import Change, ConflictError, KeyRecord, KeyUsageRecord, MarkRecord, Put
from strongroom.kms.service import Service

# Keys per commit: reading their records takes the event loop less than a millisecond.
KEYS_PER_COMMIT_MAX: Final = 50
# Where nothing was noted, the mark may lag by as many records: reading them at a start takes a moment.
RECORDS_UNMARKED_MAX: Final = 10_000
_ATTEMPTS_MAX: Final = 3


class UsageFlush:
    """One worker's, for one region."""

    def __init__(self, service: Service, log: AuditLog, directory: Path, writer: str) -> None:
        """`directory` holds the audit trail, in which `writer` is this worker."""
        self._service = service
        self._store = service.directory.store
        self._usage = service.trail.usage
        self._log = log
        self._directory = directory
        self._writer = writer
        self._mark_name = f"usage-flushed:{writer}:{service.region}"
        self._is_recovered = False
        # A stop flushes too, perhaps while a flush is under way.
        self._lock = asyncio.Lock()

    async def run(self, now_s: float) -> None:
        async with self._lock:
            if not self._is_recovered:
                await self._recover(now_s)  # 0
                self._is_recovered = True
            seq = self._log.head().seq  # 1
            taken = self._usage.take()
            try:
                for batch in _batches(taken.items(), KEYS_PER_COMMIT_MAX):  # 2
                    await self._store_batch(batch)
            except BaseException:
                self._usage.take_back()
                raise
            self._usage.taken_is_stored()
            await self._mark(seq, is_due=bool(taken))  # 3

    async def _recover(self, now_s: float) -> None:
        if await self._store.get(MarkRecord, tracking_mark(self._service.region)) is None:
            start = MarkRecord(name=tracking_mark(self._service.region), version=1, value=now_s)
            await self._try_commit([Put(start, replaces=None)])
        mark = await self._store.get(MarkRecord, self._mark_name)
        head = self._log.head().seq
        if mark is None:
            await self._mark(head, is_due=True)
        elif mark.value < head:
            loop = asyncio.get_running_loop()
            uses = await loop.run_in_executor(
                None, recorded_uses, self._directory, self._writer, self._service.region, int(mark.value), head
            )
            self._usage.note_again(uses)

    async def _store_batch(self, batch: Sequence[tuple[str, Use]]) -> None:
        for _ in range(_ATTEMPTS_MAX):
            if await self._try_commit([change for item in batch for change in await self._change(*item)]):
                return
        # One of them is in the way: its key was deleted, or another worker stores it all the time.
        for key_id, use in batch:
            stored = await self._try_commit(await self._change(key_id, use))
            if not stored and await self._store.get(KeyRecord, key_id) is not None:
                self._usage.note_again({key_id: use})

    async def _change(self, key_id: str, use: Use) -> list[Change]:
        """At most one: none where the record is as new."""
        record = await self._store.get(KeyUsageRecord, key_id)
        operation, used_at_s, event_id, request_id = use
        if record is not None and (record.event_id == event_id or not is_newer(use, record.used_at_s)):
            return []
        version = 0 if record is None else record.version
        changed = KeyUsageRecord(
            key_id=key_id,
            version=version + 1,
            operation=operation,
            used_at_s=used_at_s,
            event_id=event_id,
            request_id=request_id,
        )
        return [Put(changed, replaces=version or None)]

    async def _mark(self, seq: int, *, is_due: bool) -> None:
        mark = await self._store.get(MarkRecord, self._mark_name)
        marked = 0 if mark is None else int(mark.value)
        if mark is not None and (seq == marked or (not is_due and 0 < seq - marked < RECORDS_UNMARKED_MAX)):
            return
        version = 0 if mark is None else mark.version
        changed = MarkRecord(name=self._mark_name, version=version + 1, value=float(seq))
        await self._try_commit([Put(changed, replaces=version or None)])

    async def _try_commit(self, changes: Sequence[Change]) -> bool:
        if not changes:
            # Whoever waits for the event loop gets it between two batches.
            await asyncio.sleep(0)
            return True
        try:
            await self._store.commit(changes)
        except ConflictError:
            return False
        return True


def _batches(items: Iterable[tuple[str, Use]], size: int) -> Iterator[list[tuple[str, Use]]]:
    """The items in lists of at most `size`."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
