"""What does not grow: memory, files, rows, trail and log of a service that answers request after request.

Two workers, their HSM and their supervisor serve a mix of every operation over a population that stays
(`worlds/mixing.py`). First at full speed, with what fills caches more often than usual: a cache that is still filling
grows, and should. Then come the requests that count, in a campaign a million in an hour. Of the samples from then on a
line is drawn through the memory of each process; its slope is what grew. Beside what a process has of the machine, of
which huge pages take 2 MiB at once, its workers tell what their allocators have handed out: a leak shows in both, what
lies in pieces in the first alone.

How the check was seen to fail: `test_a_service_that_keeps_a_little_of_every_request_is_caught`.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

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
SAMPLES = 400
SEGMENT_BYTES = 262_144
KEEP_S = 5.0
# Two segments of each worker are written and signed at any time; the rest is what five seconds bring.
TRAIL_MIB_MAX = 12
# SQLite carries the log over at 4 MiB; readers may hold it up.
WAL_MIB_MAX = 16
FILES_SLACK = 2
# Rows of sessions, users and grants that are under way.
ROWS_SLACK = 40
# Nobody waits ten minutes here for what is too old. What is kept of decisions is 1 MiB instead of 32, which no hour fills:
# full at once, and full again and again. Nothing else of the service is changed. Each worker tells how many blocks of
# Python's allocator are in use, and how many bytes of the C library's.
OVERLAY = """
import sys
if "strongroom.kms" in sys.orig_argv:
    import ctypes, json, threading, time
    from strongroom.kms.chores import audit_retention
    from strongroom.kms.iam import decisions
    audit_retention.INTERVAL_S = 0.5
    decisions._ROOM._chars_max = 1 << 20
    place = {place!r} + sys.orig_argv[sys.orig_argv.index("--worker") + 1]
    fields = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    class Figures(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in fields.split()]
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = Figures
    def tell():
        with open(place, "wb", buffering=0) as file:
            while True:
                figures = mallinfo2()
                told = {{"blocks": sys.getallocatedblocks(), "bytes": figures.uordblks + figures.hblkhd}}
                file.seek(0)
                file.write(json.dumps(told).ljust(80).encode())
                time.sleep(0.5)
    threading.Thread(target=tell, daemon=True).start()
"""


class Run(NamedTuple):
    """How many requests, in which time; without one, at full speed."""

    warm_up: int
    requests: int
    seconds: float | None = None


@dataclass
class Sample:
    """At one moment."""

    at_s: float
    asked: int
    memory: dict[str, int]
    # Of workers: what their allocators handed out.
    blocks: dict[str, int]
    malloc: dict[str, int]
    files: dict[str, int | None]
    rows: dict[str, int]
    wal: int
    trail: int


@dataclass
class Grown:
    """What a run showed after its warm-up."""

    samples: list[Sample] = field(default_factory=list)
    outcomes: set[str] = field(default_factory=set)
    cached: list[dict[str, int]] = field(default_factory=list)
    store: int = 0

    def per_request(self, of: Callable[[Sample], int]) -> float:
        return _slope([float(one.asked) for one in self.samples], [float(of(one)) for one in self.samples])

    def per_hour(self, of: Callable[[Sample], int]) -> float:
        return _slope([one.at_s for one in self.samples], [float(of(one)) for one in self.samples]) * 3600

    def bytes_a_request(self, name: str) -> float:
        return self.per_request(lambda one: one.memory[name])

    def mib_an_hour(self, name: str) -> float:
        return self.per_hour(lambda one: one.memory[name]) / MIB

    def higher_mib(self, name: str) -> float:
        """By how much the second half's peak is above the first half's."""
        half = len(self.samples) // 2
        first, second = (max(one.memory[name] for one in part) for part in (self.samples[:half], self.samples[half:]))
        return (second - first) / MIB

    def __str__(self) -> str:
        first, last = self.samples[0], self.samples[-1]
        lines = [f"{last.asked - first.asked} requests in {last.at_s - first.at_s:.0f} s, {len(self.samples)} samples"]
        for name in last.memory:
            held = [one.memory[name] / MIB for one in self.samples]
            lines.append(
                f"  {Path(name).stem}: {held[0]:.1f} to {held[-1]:.1f} MiB, {min(held):.1f} to {max(held):.1f} in all: "
                f"{self.mib_an_hour(name):+.2f} MiB an hour, {self.higher_mib(name):+.1f} MiB higher, "
                f"{self.bytes_a_request(name) * 1e6 / MIB:+.2f} MiB a million; "
                f"files {min(one.files[name] or 0 for one in self.samples)} to "
                f"{max(one.files[name] or 0 for one in self.samples)}"
            )
        for name in last.blocks:
            blocks, malloc = [one.blocks[name] for one in self.samples], [one.malloc[name] for one in self.samples]
            lines.append(
                f"  {name}: {min(blocks)} to {max(blocks)} blocks in use, "
                f"{self.per_request(lambda one, name=name: one.blocks[name]) * 1e6:+.0f} a million; "
                f"{min(malloc) / MIB:.1f} to {max(malloc) / MIB:.1f} MiB of malloc in use, "
                f"{self.per_request(lambda one, name=name: one.malloc[name]) * 1e6 / MIB:+.2f} MiB a million"
            )
        lines.append(
            f"  trail at most {max(one.trail for one in self.samples) / MIB:.1f} MiB, WAL at most "
            f"{max(one.wal for one in self.samples) / MIB:.1f} MiB, store {self.store / MIB:.1f} MiB; rows at the first "
            f"sample {first.rows}, at the last {last.rows}; cached {self.cached}"
        )
        return "\n".join(lines)


def _slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    return statistics.linear_regression(xs, ys).slope


def _prepare() -> Installation:
    options = ("--audit-segment-bytes", str(SEGMENT_BYTES), "--audit-keep-days", str(KEEP_S / 86_400))
    installation = Installation("--workers", str(WORKERS), *options)
    installation.home.mkdir()
    (installation.home / "limits.toml").write_text(LIMITS)
    return installation


def _look_inside(installation: Installation) -> None:
    folder = installation.root / "overlay"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(OVERLAY.format(place=str(installation.root / "held-")))
    installation.environment["PYTHONPATH"] = str(folder)


def _grow(installation: Installation, run: Run) -> Grown:
    """Ask so many requests, and look now and then."""
    _look_inside(installation)
    installation.start()
    wait_for_workers(installation, WORKERS)
    assert installation.process is not None
    key_ids, pids, grown = populate(installation), processes(installation), Grown()
    everybody = pids | {"supervisor": installation.process.pid}
    _mix(_mixers(installation, key_ids, run.warm_up), grown, lambda _: None)
    asked_before = run.warm_up
    _mix(
        _mixers(installation, key_ids, run.requests, run.seconds),
        grown,
        lambda asked: grown.samples.append(_sample(installation, everybody, asked_before + asked)),
    )
    assert processes(installation) == pids
    for worker in range(1, WORKERS + 1):
        (region,) = ask_worker(installation.home, f"w{worker}", "status")["regions"]
        grown.cached.append(region["cached"])
    grown.store = (installation.home / "service" / "store.db").stat().st_size
    print(grown)
    return grown


def _mixers(installation: Installation, key_ids: list[str], requests: int, seconds: float | None = None) -> list[Mixer]:
    share = requests // MIXERS
    return [Mixer(installation, key_ids, seed, share, share / seconds if seconds else None) for seed in range(MIXERS)]


def _mix(mixers: list[Mixer], grown: Grown, look: Callable[[int], None]) -> None:
    """All of it, with a look now and then, at how many were asked."""
    requests = sum(mixer.requests for mixer in mixers)
    for mixer in mixers:
        mixer.start()
    next_at = 0
    while any(mixer.is_alive() for mixer in mixers):
        asked = sum(mixer.asked for mixer in mixers)
        if asked >= next_at and all(mixer.asked for mixer in mixers):
            look(asked)
            next_at = asked + requests // SAMPLES
        time.sleep(0.01)
    for mixer in mixers:
        mixer.join()
        if mixer.error is not None:
            raise mixer.error
        grown.outcomes |= {operation for operation, _ in mixer.outcomes}


def _sample(installation: Installation, pids: dict[str, int], asked: int) -> Sample:
    service = installation.home / "service"
    told = {path.name.removeprefix("held-"): json.loads(path.read_bytes()) for path in installation.root.glob("held-*")}
    return Sample(
        time.monotonic(),
        asked,
        {name: resident(pid) for name, pid in pids.items()},
        {name: one["blocks"] for name, one in sorted(told.items())},
        {name: one["bytes"] for name, one in sorted(told.items())},
        {name: open_files(pid) for name, pid in pids.items()},
        _rows(service / "store.db"),
        (service / "store.db-wal").stat().st_size,
        _trail_bytes(installation),
    )


def _rows(store: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for (name,) in tables}  # noqa: S608 -- the store's own names.


def _trail_bytes(installation: Installation) -> int:
    total = 0
    for path in (installation.home / "service" / "audit").iterdir():
        try:
            total += 0 if path.name.startswith("reserve") else path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _require_nothing_grew(installation: Installation, grown: Grown) -> None:
    """All but the memory, whose bound depends on the size."""
    assert grown.outcomes >= {*KMS, *STS}
    assert len(grown.outcomes & set(IAM)) > len(IAM) * 0.9, set(IAM) - grown.outcomes
    early, late = grown.samples[: len(grown.samples) // 2], grown.samples[len(grown.samples) // 2 :]
    for name in grown.samples[0].memory:
        most = [max(one.files[name] or 0 for one in half) for half in (early, late)]
        assert most[1] <= most[0] + FILES_SLACK, f"files of {name}"
    for table in grown.samples[0].rows:
        most = [max(one.rows[table] for one in half) for half in (early, late)]
        assert table == "changes" or most[1] <= most[0] + ROWS_SLACK, f"rows of {table}"
    assert grown.samples[-1].rows["changes"] <= CHANGES_KEPT + (WORKERS + 1) * CHANGES_PRUNED_EACH
    assert max(one.wal for one in grown.samples) < WAL_MIB_MAX * MIB
    # What is too old goes when a head is signed for it: wait, and it is gone.
    wait_until(
        lambda: _trail_bytes(installation) < TRAIL_MIB_MAX * MIB, START_S_MAX, f"less than {TRAIL_MIB_MAX} MiB of trail"
    )
    for cached in grown.cached:
        assert cached["keys"] <= 60
        assert cached["aliases"] <= 25
        assert cached["references"] <= 200
        assert cached["principals"] <= 5000
        assert cached["key_uses"] <= 5000
    assert complaints(installation) == []


# At this size caches still fill, and one huge page more is 140 bytes a request: what grew may be twice as much as was
# seen, and half of what the planted fault keeps.
RUN = Run(warm_up=15_000, requests=15_000)
BYTES_A_REQUEST_MAX = 1500


@pytest.mark.long
def test_thirty_thousand_requests_leave_nothing_behind() -> None:
    installation = _prepare()
    try:
        grown = _grow(installation, RUN)
        _require_nothing_grew(installation, grown)
        assert {name for name in grown.samples[0].memory if grown.bytes_a_request(name) > BYTES_A_REQUEST_MAX} == set()
    finally:
        installation.destroy()


HOUR = Run(warm_up=400_000, requests=1_000_000, seconds=3600.0)
MIB_AN_HOUR_MAX = 1.0
# As much in Python's blocks, of a hundred bytes.
BLOCKS_AN_HOUR_MAX = 10_000
# The C library takes huge pages and gives them back, one or two at a time: of what is resident in an hour, a line cannot
# tell a mebibyte. What is handed out can; and what is resident must not rise by more than one such page.
HIGHER_MIB_MAX = 2.5
# A minute of it: what is kept, two intervals of signing, and a slow disk.
CAMPAIGN_TRAIL_MIB_MAX = 128


@pytest.mark.campaign
def test_a_million_requests_in_an_hour_leave_nothing_behind() -> None:
    installation = _prepare()
    try:
        grown = _grow(installation, HOUR)
        _require_nothing_grew(installation, grown)
        assert max(one.trail for one in grown.samples) < CAMPAIGN_TRAIL_MIB_MAX * MIB
        for name in grown.samples[0].blocks:
            assert grown.per_request(lambda one, name=name: one.malloc[name]) * HOUR.requests < MIB_AN_HOUR_MAX * MIB
            assert grown.per_request(lambda one, name=name: one.blocks[name]) * HOUR.requests < BLOCKS_AN_HOUR_MAX
        assert {name for name in grown.samples[0].memory if grown.higher_mib(name) > HIGHER_MIB_MAX} == set()
        others = set(grown.samples[0].memory) - set(grown.samples[0].blocks)
        assert {name for name in others if grown.mib_an_hour(name) > MIB_AN_HOUR_MAX} == set()
    finally:
        installation.destroy()


# ── the check itself ────────────────────────────────────────────────────────────────────────────────────────────────────

_HANDLED = "        self._edge.submit(self, request)\n"
_KEPT = "        self._edge.__dict__.setdefault('all', []).append(bytearray(%d))\n"


def _grown_with_fault(run: Run, kept_bytes: int) -> Grown:
    installation = _prepare()
    try:
        plant(installation, "kms/wire/http.py", _HANDLED, _HANDLED + _KEPT % kept_bytes)
        return _grow(installation, run)
    finally:
        installation.destroy()


@pytest.mark.long
def test_a_service_that_keeps_a_little_of_every_request_is_caught() -> None:
    grown = _grown_with_fault(Run(5_000, 10_000), 6_000)
    assert max(grown.bytes_a_request(name) for name in grown.samples[0].blocks) > BYTES_A_REQUEST_MAX


# Of a million requests, a hundred times what is allowed; the workers share them.
KEPT_BYTES = 200


@pytest.mark.campaign
def test_a_service_that_keeps_hardly_anything_of_every_request_is_caught() -> None:
    grown = _grown_with_fault(Run(150_000, 150_000), KEPT_BYTES)
    for name in grown.samples[0].blocks:
        assert grown.bytes_a_request(name) > KEPT_BYTES / 4, name
        assert grown.per_request(lambda one, name=name: one.blocks[name]) > 0.5, name
