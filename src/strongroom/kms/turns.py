"""Turns: whoever was beaten to a change of a record tries again alone, in the order in which they were beaten.

Of a crowd that changes one key at once, one wins each round. If all others tried again together, all but one of them would
do their work in vain, round after round, and the last would be beaten as often as there are others.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final


class Turns:
    """One queue per subject, a key id; for one event loop."""

    def __init__(self) -> None:
        self._queues: Final[dict[str, deque[asyncio.Future[None]]]] = {}

    async def take(self, subject: str) -> None:
        """Wait for the turn; it is over with `give`."""
        queue = self._queues.get(subject)
        if queue is None:
            self._queues[subject] = deque()
            return
        # A future, and not a `Deferred`: whoever is next starts from the loop, not from the stack of who was before.
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        await turn

    def give(self, subject: str) -> None:
        queue = self._queues[subject]
        if queue:
            queue.popleft().set_result(None)
        else:
            del self._queues[subject]
