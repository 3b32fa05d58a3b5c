"""One worker's part in the metrics: its numbers for the others every second, and everybody's for whoever asks it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from strongroom.kms.telemetry.exposition import format_metrics
from strongroom.kms.telemetry.families import Sources
from strongroom.kms.telemetry.listener import MetricsListener
from strongroom.kms.telemetry.snapshots import SnapshotFiles, take_snapshot


class Reporting:
    """From `start` to `stop`; a worker alone writes no file."""

    def __init__(
        self, sources: Sources, listening: socket.socket, directory: Path, worker: str, *, is_alone: bool
    ) -> None:
        """`listening` is where whoever watches asks; several workers share it, and `directory`."""
        self._sources = sources
        self._worker = worker
        self._files = None if is_alone else SnapshotFiles(directory, worker)
        self._listener = MetricsListener(listening, self.scrape, sources.clock)

    def start(self) -> None:
        self._listener.start()

    def scrape(self) -> bytes:
        """This worker's numbers as they are, and the others' as they told them last."""
        now_s = self._sources.clock()
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
