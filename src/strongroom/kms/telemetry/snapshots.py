"""A worker's numbers at one moment, and how workers tell each other theirs: a file each, in the service's run directory.

Whichever worker is asked answers for all. A file is replaced as a whole; one that is old says that its worker stands
still, and one much older that there is no such worker any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from strongroom.kms.telemetry.families import FAMILIES, Sample, Sources
from strongroom.kms.telemetry.tallies import Tally

INTERVAL_S: Final = 1.0
# Beyond it a worker's numbers are shown no more; its age still is, for as long as it may come back.
FRESH_S_MAX: Final = 60.0
FORGOTTEN_S_MIN: Final = 600.0
_PREFIX: Final = "metrics-"


class Snapshot(msgspec.Struct, frozen=True):
    """Samples by the name of their family, and requests by (region, operation, code)."""

    worker: str
    taken_at_s: float
    samples: dict[str, list[Sample]]
    requests: list[tuple[tuple[str, str, str], Tally]]


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Snapshot).decode


def take_snapshot(worker: str, sources: Sources) -> Snapshot:
    samples = {family.name: list(family.read(sources)) for family in FAMILIES}
    return Snapshot(worker, sources.clock(), samples, list(sources.tallies.requests()))


class SnapshotFiles:
    """The files of all workers; `worker` is this one."""

    def __init__(self, directory: Path, worker: str) -> None:
        self._directory = directory
        self._worker = worker
        self._path = directory / f"{_PREFIX}{worker}.json"

    def write(self, snapshot: Snapshot) -> None:
        """Nothing needs to survive a power cut: no sync."""
        temporary = self._path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encode(snapshot))
        temporary.replace(self._path)

    def read_others(self, now_s: float) -> Iterator[Snapshot]:
        """What the other workers wrote; files of workers that are no more are removed."""
        for path in sorted(self._directory.glob(f"{_PREFIX}*.json")):
            if path == self._path:
                continue
            with suppress(OSError, msgspec.MsgspecError, ValueError):
                snapshot = _decode(path.read_bytes())
                if now_s - snapshot.taken_at_s > FORGOTTEN_S_MIN:
                    path.unlink()
                else:
                    yield snapshot

    def remove(self) -> None:
        """At a clean stop: this worker is no more."""
        with suppress(OSError):
            self._path.unlink()
