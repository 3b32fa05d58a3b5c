"""Waiting for what must come to be, with a limit that only a fault or a machine that stands still reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from testkit.installation import START_S_MAX


def wait_until(
    condition: Callable[[], bool], within_s: float = START_S_MAX, what: str = "what must be", *, pause_s: float = 0.02
) -> None:
    """A `pause_s` between two looks: shorter where the moment counts."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"there were not, within {within_s:.0f} s: {what}"
        time.sleep(pause_s)


def is_alive(pid: int) -> bool:
    """A zombie is not: its sockets are closed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
