"""What of the audit trail is older than an operator wants to keep goes; without a word of an operator, nothing does.

Evidence is not destroyed by a clock that jumped: while the clock guard holds destructive chores, this one waits too. It
begins some minutes after the start, when the guard has had its look.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from strongroom.kms.chores.clock_guard import held_since_s
from strongroom.kms.head_keeper import HeadKeeper
from strongroom.kms.repositories import Store

INTERVAL_S: Final = 600.0


class AuditRetention:
    """One worker's: its own chain, those of workers that are no more, and the heads where it keeps them."""

    def __init__(
        self, store: Store, region: str, keeper: HeadKeeper, keep_days: float, clock: Callable[[], float]
    ) -> None:
        """`store` and `region` are the home region's, whose clock guard speaks for the machine."""
        self._store = store
        self._region = region
        self._keeper = keeper
        self._keep_days = keep_days
        self._clock = clock

    async def run(self) -> None:
        if await held_since_s(self._store, self._region) is None:
            await self._keeper.retain(self._keep_days, self._clock())
