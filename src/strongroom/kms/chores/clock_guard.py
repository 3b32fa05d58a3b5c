"""The clock guard: nothing is destroyed by a clock that jumped.

What is destroyed on a date (keys that wait for their deletion) depends on the clock alone. So the last time seen is kept in
the store, and a jump of more than a day holds every destructive chore: the machine was off, a backup was restored, or
somebody set the clock, forwards or backwards; which of these it was only a person can say. The hold ends when the clock then
ran steadily for a day, or when an operator accepts it. Automatic rotation
destroys nothing, but sets its next date by the clock, and is held too.

Within a process the wall clock is compared with the clock of the machine's uptime (CLOCK_BOOTTIME, which goes on while the
machine sleeps); from one process to the next, with the last time seen. Three marks of a region's store, changed in one
commit, so that any worker may write them and none counts a minute twice:

| mark | value |
|---|---|
| `clock-seen:<region>`   | the last time seen, at most a minute ago while a worker runs |
| `clock-hold:<region>`   | since when destructive chores are held, 0 while they are not; its version counts holds and ends |
| `clock-steady:<region>` | for how many seconds the clock ran steadily since |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from strongroom.kms.permits import KEYLESS, Permit
from strongroom.kms.repositories import Change, ConflictError, MarkRecord, Put, Store
from strongroom.kms.service import Service

# Design: "a jump of more than a day holds them and alarms".
JUMP_S: Final = 86_400.0
STEADY_S: Final = 86_400.0
# The last time seen is written once a minute at most.
SEEN_EVERY_S: Final = 60.0
# What a clock may differ from the uptime between two looks and still run steadily: corrections over the network are
# seconds at the most.
_DRIFT_S_MAX: Final = 60.0
_ACCEPTANCE_ATTEMPTS_MAX: Final = 5
_LOG = logging.getLogger("strongroom.kms")


class _Marks(msgspec.Struct, frozen=True):
    """What the store says; None where nobody wrote it yet."""

    seen: MarkRecord | None
    hold: MarkRecord | None
    steady: MarkRecord | None

    @property
    def held_since_s(self) -> float | None:
        return self.hold.value if self.hold is not None and self.hold.value else None


def _names(region: str) -> tuple[str, str, str]:
    return f"clock-seen:{region}", f"clock-hold:{region}", f"clock-steady:{region}"


async def _read(store: Store, region: str) -> _Marks:
    return _Marks(*[await store.get(MarkRecord, name) for name in _names(region)])


def _changes(marks: _Marks, region: str, *, seen_s: float, hold: float | None, steady_s: float | None) -> list[Change]:
    """The marks with new values; None leaves a mark as it is, and the last time seen is always written."""
    changes: list[Change] = []
    values = ((marks.seen, seen_s), (marks.hold, hold), (marks.steady, steady_s))
    for name, (mark, value) in zip(_names(region), values, strict=True):
        if value is None:
            continue
        version = 0 if mark is None else mark.version
        changed = MarkRecord(name=name, version=version + 1, value=value)
        changes.append(Put(changed, replaces=None if mark is None else version))
    return changes


async def held_since_s(store: Store, region: str) -> float | None:
    """Since when the destructive chores of a region are held, as the store says; None while they are not."""
    return (await _read(store, region)).held_since_s


async def accept_clock(service: Service, permit: Permit) -> float | None:
    """An operator says that the clock is right: since when destructive chores were held, and are no longer.

    Raises:
        ConflictError: workers look at the clock all the time; ask again.
    """
    permit.redeem(KEYLESS)
    store, region = service.directory.store, service.region
    for attempt in range(_ACCEPTANCE_ATTEMPTS_MAX):
        marks = await _read(store, region)
        hold = None if marks.held_since_s is None else 0.0
        changes = _changes(marks, region, seen_s=service.clock(), hold=hold, steady_s=hold)
        try:
            await store.commit(changes)
            break
        except ConflictError:
            if attempt + 1 == _ACCEPTANCE_ATTEMPTS_MAX:
                raise
    return marks.held_since_s


class _Memory(msgspec.Struct, frozen=True):
    """What one worker knows of the clock from one look to the next."""

    # Wall clock and uptime at the last look; None until one came to its end.
    last: tuple[float, float] | None = None
    # What the wall clock was ahead of the uptime when somebody last dealt with the clock, and which hold that was.
    trusted_offset_s: float = 0.0
    hold_version: int = -1
    # Since when, by the uptime, this worker vouches for the clock; and whether it strayed since that was written.
    vouched_since_s: float = 0.0
    has_strayed: bool = False

    def looked(self, now_s: float, uptime_s: float) -> _Memory:
        changed = msgspec.structs.replace(self, last=(now_s, uptime_s))
        if self.last is None:
            return msgspec.structs.replace(changed, vouched_since_s=uptime_s)
        last_s, last_uptime_s = self.last
        if abs((now_s - last_s) - (uptime_s - last_uptime_s)) > _DRIFT_S_MAX:
            return msgspec.structs.replace(changed, vouched_since_s=uptime_s, has_strayed=True)
        return changed

    def followed(self, marks: _Marks, offset_s: float) -> _Memory:
        """Where somebody dealt with the clock since the last look, trust it as it is, and forget how it came to be so."""
        version = 0 if marks.hold is None else marks.hold.version
        if version == self.hold_version:
            return self
        return msgspec.structs.replace(self, hold_version=version, trusted_offset_s=offset_s, has_strayed=False)


class ClockGuard:
    """One worker's eye on the clock, for one region.

    A look that does not come to its end, because the store did not take it or another worker was faster, is as if it had
    not been: the next one compares with what was known before, and so a jump is not forgotten.
    """

    def __init__(self, store: Store, region: str, uptime: Callable[[], float]) -> None:
        """`uptime` gives seconds that no setting of the clock changes."""
        self._store = store
        self._region = region
        self._uptime = uptime
        self._held_since_s: float | None = None
        self._memory = _Memory()
        # Every chore that asks looks; two looks at once would each forget the other.
        self._looking = asyncio.Lock()

    @property
    def held_since_s(self) -> float | None:
        """As of the last look."""
        return self._held_since_s

    async def run(self, now_s: float) -> None:
        await self.observe(now_s)

    async def observe(self, now_s: float) -> bool:
        """Look at the clock; True while destructive chores are held.

        1. a hold that began or ended anywhere makes the clock as it is the trusted one, 2. a jump begins a hold,
        3. otherwise the time is noted, and what was steady counts, 4. only what is written is remembered.
        """
        async with self._looking:
            return await self._observe(now_s)

    async def _observe(self, now_s: float) -> bool:
        uptime_s = self._uptime()
        marks = await _read(self._store, self._region)
        is_first = self._memory.last is None
        memory = self._memory.looked(now_s, uptime_s).followed(marks, now_s - uptime_s)  # 1
        jump_s = now_s - uptime_s - memory.trusted_offset_s
        if is_first and marks.seen is not None:
            jump_s = now_s - marks.seen.value
        if abs(jump_s) > JUMP_S:  # 2
            self._alarm(jump_s)
            changes: Sequence[Change] = _changes(marks, self._region, seen_s=now_s, hold=now_s, steady_s=0.0)
        else:  # 3
            changes = self._steady(memory, marks, now_s, uptime_s)
        if changes:
            try:
                await self._store.commit(changes)
            except ConflictError:
                # Whatever it saw, nothing is destroyed on the word of a look that came too late.
                self._held_since_s = (await _read(self._store, self._region)).held_since_s
                return True
            marks = await _read(self._store, self._region)
            memory = msgspec.structs.replace(memory.followed(marks, now_s - uptime_s), has_strayed=False)
        self._memory = memory  # 4
        self._held_since_s = marks.held_since_s
        return self._held_since_s is not None

    def _steady(self, memory: _Memory, marks: _Marks, now_s: float, uptime_s: float) -> Sequence[Change]:
        """The changes of a look at a clock that did not jump; none within a minute of anybody's look before."""
        seen_s = now_s if marks.seen is None else marks.seen.value
        if marks.seen is not None and 0 <= now_s - seen_s < SEEN_EVERY_S:
            return ()
        if marks.held_since_s is None:
            return _changes(marks, self._region, seen_s=now_s, hold=None, steady_s=None)
        # Since anybody's last look, and of that only what this worker's uptime vouches for.
        counted_s = max(0.0, min(now_s - seen_s, uptime_s - memory.vouched_since_s))
        before_s = 0.0 if marks.steady is None or memory.has_strayed else marks.steady.value
        if before_s + counted_s < STEADY_S:
            return _changes(marks, self._region, seen_s=now_s, hold=None, steady_s=before_s + counted_s)
        _LOG.warning("the clock of %s ran steadily for a day: keys are deleted again when they are due", self._region)
        return _changes(marks, self._region, seen_s=now_s, hold=0.0, steady_s=0.0)

    def _alarm(self, jump_s: float) -> None:
        _LOG.warning(
            "the clock of %s jumped by %.1f hours: no key is deleted until it ran steadily for a day, "
            "or an operator says `strongroom clock accept`",
            self._region,
            jump_s / 3600,
        )
