"""What does not grow: memory, files, trail and log of a service that answers request after request.

Two workers and their HSM answer a mix of every operation over a population that stays (`worlds/mixing.py`). Of the samples
after the warm-up a line is drawn through the memory of each process; its slope is what grew.

How the check was seen to fail: `test_a_service_that_keeps_a_little_of_every_request_is_caught`.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fuzz.campaign import complaints, processes, wait_for_workers
from strongroom.cli.admin_socket import ask_worker
from strongroom.kms.identities.operations.table import TABLE as IAM
from strongroom.kms.identities.sts.table import TABLE as STS
from strongroom.kms.operations.table import TABLE as KMS
from strongroom.kms.storage.writer import CHANGES_KEPT, CHANGES_PRUNED_EACH
from testkit.installation import START_S_MAX, Installation
from testkit.planting import plant
from worlds.enduring import MIB, WORKERS, open_files, resident, wait_until
from worlds.mixing import LIMITS, Mixer, populate

MIXERS = 4
SEGMENT_BYTES = 262_144
KEEP_S = 5.0
# Two segments of each worker are written and signed at any time; the rest is what five seconds bring.
TRAIL_MIB_MAX = 12
# SQLite carries the log over at 4 MiB; readers may hold it up.
WAL_MIB_MAX = 16
FILES_SLACK = 4
# Nobody waits ten minutes here for what is too old. Nothing else of the service is changed.
EARLIER = """
import sys
if "strongroom.kms" in sys.orig_argv:
    from strongroom.kms.chores import audit_retention
    audit_retention.INTERVAL_S = 0.5
"""


@dataclass
class Sample:
    """At one moment."""

    at_s: float
    asked: int
    memory: dict[str, int]
    files: dict[str, int | None]
    wal: int
    trail: int


@dataclass
class Grown:
    """What a run showed; slopes are of the samples after the warm-up."""

    samples: list[Sample] = field(default_factory=list)
    outcomes: set[str] = field(default_factory=set)
    cached: list[dict[str, int]] = field(default_factory=list)
    changes: int = 0
    store: int = 0

    def warm(self) -> list[Sample]:
        return self.samples[len(self.samples) // 4 :]

    def slope(self, name: str) -> float:
        """Bytes a request."""
        warm = self.warm()
        return _slope([float(one.asked) for one in warm], [float(one.memory[name]) for one in warm])

    def mib_an_hour(self, name: str) -> float:
        warm = self.warm()
        return _slope([one.at_s for one in warm], [float(one.memory[name]) for one in warm]) * 3600 / MIB

    def __str__(self) -> str:
        first, last = self.warm()[0], self.samples[-1]
        memory = ", ".join(
            f"{Path(name).stem} {first.memory[name] / MIB:.1f} to {last.memory[name] / MIB:.1f} MiB "
            f"({self.slope(name):+.0f} bytes a request, {self.mib_an_hour(name):+.1f} MiB an hour)"
            for name in last.memory
        )
        return (
            f"{last.asked} requests in {last.at_s - self.samples[0].at_s:.0f} s; {memory}; files {last.files}; "
            f"at most: trail {max(one.trail for one in self.samples) / MIB:.1f} MiB, "
            f"WAL {max(one.wal for one in self.samples) / MIB:.1f} MiB; store {self.store / MIB:.1f} MiB, "
            f"{self.changes} changes; cached {self.cached}"
        )


def _slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    return statistics.linear_regression(xs, ys).slope


def _prepare() -> Installation:
    options = ("--audit-segment-bytes", str(SEGMENT_BYTES), "--audit-keep-days", str(KEEP_S / 86_400))
    installation = Installation("--workers", str(WORKERS), *options)
    installation.home.mkdir()
    (installation.home / "limits.toml").write_text(LIMITS)
    return installation


def _hurry_retention(installation: Installation) -> None:
    folder = installation.root / "overlay"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(EARLIER)
    installation.environment["PYTHONPATH"] = str(folder)


def _grow(installation: Installation, requests: int) -> Grown:
    """Ask so many requests, and look now and then."""
    installation.start()
    wait_for_workers(installation, WORKERS)
    key_ids, pids, grown = populate(installation), processes(installation), Grown()
    mixers = [Mixer(installation, key_ids, seed, requests // MIXERS) for seed in range(MIXERS)]
    for mixer in mixers:
        mixer.start()
    next_at = 0
    while any(mixer.is_alive() for mixer in mixers):
        asked = sum(mixer.asked for mixer in mixers)
        if asked >= next_at and all(mixer.asked for mixer in mixers):
            grown.samples.append(_sample(installation, pids, asked))
            next_at = asked + requests // 200
        time.sleep(0.01)
    for mixer in mixers:
        mixer.join()
        if mixer.error is not None:
            raise mixer.error
        grown.outcomes |= {operation for operation, _ in mixer.outcomes}
    assert processes(installation) == pids
    for worker in range(1, WORKERS + 1):
        (region,) = ask_worker(installation.home, f"w{worker}", "status")["regions"]
        grown.cached.append(region["cached"])
    store = installation.home / "service" / "store.db"
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        grown.changes = connection.execute("SELECT count(*) FROM changes").fetchone()[0]
    grown.store = store.stat().st_size
    print(grown)
    return grown


def _sample(installation: Installation, pids: dict[str, int], asked: int) -> Sample:
    service = installation.home / "service"
    return Sample(
        time.monotonic(),
        asked,
        {name: resident(pid) for name, pid in pids.items()},
        {name: open_files(pid) for name, pid in pids.items()},
        (service / "store.db-wal").stat().st_size,
        _trail_bytes(installation),
    )


def _trail_bytes(installation: Installation) -> int:
    total = 0
    for path in (installation.home / "service" / "audit").iterdir():
        try:
            total += 0 if path.name.startswith("reserve") else path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _require_nothing_grew(installation: Installation, grown: Grown, requests: int) -> None:
    """All but the memory, whose bound depends on the size."""
    assert grown.outcomes >= {*KMS, *STS}
    assert len(grown.outcomes & set(IAM)) > len(IAM) * 0.9, set(IAM) - grown.outcomes
    for name in grown.samples[0].memory:
        counts = [one.files[name] for one in grown.warm() if one.files[name] is not None]
        early, late = counts[: len(counts) // 2], counts[len(counts) // 2 :]
        assert max(late, default=0) <= max(early, default=0) + FILES_SLACK, f"files of {name}"
    assert max(one.wal for one in grown.samples) < WAL_MIB_MAX * MIB
    assert grown.changes <= CHANGES_KEPT + (WORKERS + 1) * CHANGES_PRUNED_EACH
    # What is too old goes when a head is signed for it: wait, and it is gone.
    wait_until(
        lambda: _trail_bytes(installation) < TRAIL_MIB_MAX * MIB, START_S_MAX, f"less than {TRAIL_MIB_MAX} MiB of trail"
    )
    for cached in grown.cached:
        assert cached["keys"] <= 60
        assert cached["aliases"] <= 25
        assert cached["references"] <= 200
        assert cached["principals"] <= 2000 + requests // 50
    assert complaints(installation) == []


# At this size the caches of signatures and of parsed documents still fill: what grew in a worker may be twice as much as
# was seen, and half of what the planted fault keeps.
REQUESTS = 20_000
BYTES_A_REQUEST_MAX = 1500


@pytest.mark.long
def test_twenty_thousand_requests_leave_nothing_behind() -> None:
    installation = _prepare()
    try:
        _hurry_retention(installation)
        grown = _grow(installation, REQUESTS)
        _require_nothing_grew(installation, grown, REQUESTS)
        assert {name for name in grown.samples[0].memory if grown.slope(name) > BYTES_A_REQUEST_MAX} == set()
    finally:
        installation.destroy()


CAMPAIGN_REQUESTS = 1_000_000
MIB_AN_HOUR_MAX = 1.0
# A minute of it: what is kept, two intervals of signing, and a slow disk.
CAMPAIGN_TRAIL_MIB_MAX = 128


@pytest.mark.campaign
def test_a_million_requests_leave_nothing_behind() -> None:
    installation = _prepare()
    try:
        _hurry_retention(installation)
        grown = _grow(installation, CAMPAIGN_REQUESTS)
        _require_nothing_grew(installation, grown, CAMPAIGN_REQUESTS)
        assert max(one.trail for one in grown.samples) < CAMPAIGN_TRAIL_MIB_MAX * MIB
        assert {name for name in grown.samples[0].memory if grown.mib_an_hour(name) > MIB_AN_HOUR_MAX} == set()
    finally:
        installation.destroy()


# ── the check itself ────────────────────────────────────────────────────────────────────────────────────────────────────

_HANDLED = "        self._edge.submit(self, request)\n"
_KEPT = "        self._edge.__dict__.setdefault('all', []).append(bytearray(b'x' * 6_000))\n"


@pytest.mark.long
def test_a_service_that_keeps_a_little_of_every_request_is_caught() -> None:
    installation = _prepare()
    try:
        plant(installation, "kms/wire/http.py", _HANDLED, _HANDLED + _KEPT)
        grown = _grow(installation, REQUESTS // 2)
        workers = {name for name in grown.samples[0].memory if name.startswith("w")}
        assert max(grown.slope(name) for name in workers) > BYTES_A_REQUEST_MAX
    finally:
        installation.destroy()
