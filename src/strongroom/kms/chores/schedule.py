"""When chores are done: each in a task of its own, again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

_LOG = logging.getLogger("strongroom.kms")


async def repeat(interval_s: float, name: str, chore: Callable[[], Awaitable[None]], *, at_once: bool = False) -> None:
    """Do a chore again and again; one that fails is logged and done again at its time."""
    pause_s = 0.0 if at_once else interval_s
    while True:
        await asyncio.sleep(pause_s)
        pause_s = interval_s
        try:
            await chore()
        except Exception as error:  # noqa: BLE001 -- a chore that ended would end silently.
            _LOG.warning("%s failed and will be done again: %s", name, type(error).__name__)
