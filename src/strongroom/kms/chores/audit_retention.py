"""What of the audit trail is older than an operator wants to keep goes; without a word of an operator, nothing does.

Evidence is not destroyed by a clock that jumped: while the clock guard holds destructive chores, this one waits too. It
has the guard look first: what the guard wrote before is older than a jump may be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from strongroom.kms.chores.clock_guard import ClockGuard
from strongroom.kms.head_keeper import HeadKeeper

INTERVAL_S: Final = 600.0


class AuditRetention:
    """One worker's: its own chain, those of workers that are no more, and the heads where it keeps them."""

    def __init__(self, guard: ClockGuard, keeper: HeadKeeper, keep_days: float, clock: Callable[[], float]) -> None:
        """`guard` is the home region's, which speaks for the machine."""
        self._guard = guard
        self._keeper = keeper
        self._keep_days = keep_days
        self._clock = clock

    async def run(self) -> None:
        now_s = self._clock()
        if not await self._guard.observe(now_s):
            await self._keeper.retain(self._keep_days, now_s)
