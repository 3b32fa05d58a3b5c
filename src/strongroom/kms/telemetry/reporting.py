"""One worker's part in the metrics: its numbers for the others every second, and everybody's for whoever asks it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Final

from strongroom.kms.telemetry.exposition import format_metrics
from strongroom.kms.telemetry.families import Sources
from strongroom.kms.telemetry.listener import MetricsListener
from strongroom.kms.telemetry.snapshots import SnapshotFiles, take_snapshot

# Whoever asks again sooner is told the same: a scrape stops the loop for milliseconds, which no stranger shall use.
_TEXT_KEPT_S: Final = 1.0


class Reporting:
    """From `start` to `stop`; a worker alone writes no file."""

    def __init__(
        self, sources: Sources, listening: socket.socket, directory: Path, worker: str, *, is_alone: bool
    ) -> None:
        """`listening` is where whoever watches asks; several workers share it, and `directory`."""
        self._sources = sources
        self._worker = worker
        self._files = None if is_alone else SnapshotFiles(directory, worker)
        self._text = b""
        self._text_at_s = float("-inf")
        self._listener = MetricsListener(listening, self.scrape, sources.clock)

    def start(self) -> None:
        """Tell the others first: a worker that stands still right after it was seen is one that they know."""
        if self._files is not None:
            self._files.write(take_snapshot(self._worker, self._sources))
        self._listener.start()

    def scrape(self) -> bytes:
        """This worker's numbers, a second old at most, and the others' as they told them last."""
        now_s = self._sources.clock()
        # A clock that was set back must not keep an old text.
        if not 0.0 <= now_s - self._text_at_s < _TEXT_KEPT_S:
            self._text, self._text_at_s = self._format(now_s), now_s
        return self._text

    def _format(self, now_s: float) -> bytes:
        others = [] if self._files is None else self._files.read_others(now_s)
        return format_metrics([take_snapshot(self._worker, self._sources), *others], now_s)

    async def tick(self) -> None:
        """Once a second."""
        loop = asyncio.get_running_loop()
        self._listener.sweep(loop.time())
        if self._files is not None:
            await loop.run_in_executor(None, self._files.write, take_snapshot(self._worker, self._sources))

    def stop(self) -> None:
        self._listener.stop()
        if self._files is not None:
            self._files.remove()
