"""The chores of one region in one worker: started when the region is open, stopped before its store is closed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from strongroom.kms.audit.log import AuditLog
from strongroom.kms.chores.clock_guard import ClockGuard
from strongroom.kms.chores.deletion import KeyDeletion
from strongroom.kms.chores.rotation import KeyRotation
from strongroom.kms.chores.schedule import repeat
from strongroom.kms.chores.usage_flush import UsageFlush
from strongroom.kms.service import Service

# Half of what GetKeyLastUsage promises, so that a slow flush keeps the promise.
INTERVAL_S: Final = 30.0
# A stop waits this long for the last flush; what it does not store comes back from the trail.
_LAST_FLUSH_S_MAX: Final = 2.0


def uptime() -> float:
    """Seconds since the machine started, those that it slept included; nobody can set it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class RegionChores:
    """Clock guard, deletion, rotation and the flush of usages."""

    def __init__(self, service: Service, log: AuditLog, audit_directory: Path, worker: str) -> None:
        self.guard: Final = ClockGuard(service.directory.store, service.region, uptime)
        self._clock = service.clock
        self._flush = UsageFlush(service, log, audit_directory, worker)
        self._runs: Final[dict[str, Callable[[float], Awaitable[None]]]] = {
            "looking at the clock": self.guard.run,
            "deleting keys": KeyDeletion(service, self.guard, worker).run,
            "rotating keys": KeyRotation(service, self.guard, worker).run,
            "storing last usages": self._flush.run,
        }
        self.region: Final = service.region
        # When each last came to its end.
        self.ended_at_s: Final[dict[str, float]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; the first look at the clock and the way back of last usages come at once."""
        loop = asyncio.get_running_loop()
        for name, run in self._runs.items():
            chore = partial(self._do, name, run)
            self._tasks.append(loop.create_task(repeat(INTERVAL_S, f"{name} of {self.region}", chore, at_once=True)))

    async def _do(self, name: str, run: Callable[[float], Awaitable[None]]) -> None:
        await run(self._clock())
        self.ended_at_s[name] = self._clock()

    async def stop(self) -> None:
        """End, and store what was noted."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(Exception):
            await asyncio.wait_for(self._flush.run(self._clock()), _LAST_FLUSH_S_MAX)
