"""With `--one-core`, one connection is measured on one core.

With one connection at most one process works at a time, so a second core adds no work done; it adds a coin toss. If the
scheduler keeps client and server on one core, a bare answer takes 21 us; if it spreads them, each hand-over
wakes an idle (virtual) core, and the same answer takes 65-90 us and twice the CPU. Ratios of slices that fell on
different sides swung between 1 and 8. On one core the figures hold, which is what comparing two commits wants; but the
bare server gains more by it than a product that hands over to its HSM as well, whose three processes then share one
core's caches. The targets are judged as users run it: free.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path


def threads(pids: Sequence[int]) -> list[int]:
    return [int(entry.name) for pid in pids for entry in Path(f"/proc/{pid}/task").iterdir()]


@contextlib.contextmanager
def on_one_core(pids: Sequence[int]) -> Iterator[None]:
    """Move every thread of these processes to one core of ours, and back afterwards."""
    before = {thread: os.sched_getaffinity(thread) for thread in threads(pids)}
    ours = os.sched_getaffinity(0)
    core = {max(ours)}
    try:
        for thread in before:
            os.sched_setaffinity(thread, core)
        yield
    finally:
        # Threads that were started meanwhile inherited the one core: they get what we may use.
        with contextlib.suppress(OSError):
            for thread in threads(pids):
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(thread, before.get(thread, ours))
