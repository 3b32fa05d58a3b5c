"""Log lines on their way out: a thread writes them, so that a reader which does not read stops nobody.

Lines gather for a moment and leave in few writes. A write is at most a pipe's atomic unit and ends with a line: several
workers share one standard error, and no line of one stands inside another's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

# PIPE_BUF of pipe(7) on Linux.
_WRITE_BYTES_MAX: Final = 4_096
# What waits for a reader; beyond it lines are dropped.
PENDING_BYTES_MAX: Final = 4 << 20
_GATHER_S: Final = 0.02


class LineWriter:
    """Owns no descriptor: whoever gave it closes it after `close`."""

    def __init__(self, descriptor: int, *, pending_bytes_max: int = PENDING_BYTES_MAX) -> None:
        self.dropped = 0
        self._descriptor = descriptor
        self._pending_bytes_max = pending_bytes_max
        self._lock = threading.Lock()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Take whole lines, each with its line feed; never waits."""
        with self._lock:
            if self._closing or self._pending_bytes + len(lines) > self._pending_bytes_max:
                self.dropped += lines.count(b"\n")
                return
            self._pending.append(lines)
            self._pending_bytes += len(lines)
        self._wake.set()

    def close(self, within_s: float = 1.0) -> None:
        """Write what was taken, as far as the reader takes it in this time."""
        with self._lock:
            self._closing = True
        self._wake.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            if not self._closing:
                time.sleep(_GATHER_S)
            self._wake.clear()
            with self._lock:
                taken, self._pending = b"".join(self._pending), []
            for piece in pieces_of(taken):
                self._write_out(piece)
            with self._lock:
                self._pending_bytes -= len(taken)

    def _write_out(self, piece: bytes) -> None:
        rest = memoryview(piece)
        with suppress(OSError):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            return
        self.dropped += piece.count(b"\n")


def pieces_of(lines: bytes) -> Iterator[bytes]:
    """Cut after line feeds into writes that no other writer's can split; a longer line goes alone."""
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + _WRITE_BYTES_MAX) + 1
        if not end:
            end = lines.find(b"\n", start) + 1 or len(lines)
        yield lines[start:end]
        start = end
