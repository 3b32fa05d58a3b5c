"""What an installation has while it answers request after request, and what of it grew.

Two workers, their HSM and their supervisor serve a mix of every operation over a population that stays
(`worlds/mixing.py`). First at full speed, with what fills caches more often than usual: a cache that is still filling
grows, and should. Then come the requests that count, with a look now and then. Of memory, a line through what was seen
says what grew: the median of the slopes between any two looks, which one look more or less does not move.

Memory is looked at twice: what a process has of the machine, and what its allocators have handed out, which workers and
HSM tell themselves. A leak shows in both, what lies in pieces in the first alone. Huge pages are switched off for all
processes, so that a page more is 4 KiB and not 2 MiB.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from fuzz.campaign import complaints, processes, wait_for_workers
from strongroom.cli.admin_socket import ask_worker
from strongroom.kms.identities.operations.table import TABLE as IAM
from strongroom.kms.identities.sts.table import TABLE as STS
from strongroom.kms.operations.table import TABLE as KMS
from testkit.installation import START_S_MAX, Installation
from testkit.waiting import wait_until
from testkit.web_identities import Issuer
from worlds.enduring import MIB, WORKERS, open_files, resident
from worlds.every_kind import ANSWERS_A_LIFE, NEVER_SUCCEED, with_an_issuer
from worlds.mixing import KEYS_MAX, LIMITS, Client, Founder, Mixer, MortalLives, Walker, populate

_MIXERS: Final = 4
_LOOKS: Final = 400
# Of all requests, those of lives.
_LIVES_SHARE: Final = 0.1
SEGMENT_BYTES: Final = 262_144
KEEP_S: Final = 5.0
# When nobody asks, what each worker writes now and what it wrote last, and as much in heads.
TRAIL_BYTES_MAX: Final = 3 * WORKERS * SEGMENT_BYTES
# SQLite carries the log over at 4 MiB; readers may hold it up.
WAL_MIB_MAX: Final = 16
_FILES_SLACK: Final = 2
# Rows of keys, sessions, users and grants that are under way.
_ROWS_SLACK: Final = 40
CHANGES_KEPT, CHANGES_PRUNED_EACH = 500, 100
# What a block of Python's allocator has, where all sizes are taken together: sixty to a hundred were seen, 512 is the most.
_BLOCK_BYTES: Final = 128
# What a worker caches, by what its status calls it.
_CACHED_MAX: Final = {"keys": KEYS_MAX, "aliases": 25, "references": 200, "principals": 5_000, "key_uses": 5_000}
# What is kept of everything that callers choose, and of changes, is an eighth at the most of what it is elsewhere: full at
# once, and full again and again. What starts over when it is full would otherwise rise and fall by megabytes, a few times
# in an hour, and no line through that tells one megabyte more.
_CACHES: Final = {
    "kms.trail._CACHED_MAX": 256,
    "kms.reasons._KEPT_MAX": 64,
    "kms.telemetry.strangers.KEPT_MAX": 64,
    "kms.keys.directory._DECISIONS_MAX": 64,
    "kms.iam.decisions._COMBINATIONS_MAX": 32,
    "kms.iam.decisions._ROOM._chars_max": 1 << 16,
    "protocol.requests._LISTS_KEPT_MAX": 64,
    "protocol.sigv4.HEADS_KEPT_MAX": 256,
    "kms.storage.writer.CHANGES_KEPT": CHANGES_KEPT,
    "kms.storage.writer.CHANGES_PRUNED_EACH": CHANGES_PRUNED_EACH,
}
# Nobody waits ten minutes here for what is too old, nor a week for a key to go. Workers and HSM tell what their allocators
# handed out (blocks of Python's, bytes of the C library's) and how many files they have open, which nobody but root could
# see from outside.
_OVERLAY: Final = """
import ctypes, json, os, sys, threading, time

PR_SET_THP_DISABLE = 41
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
words = sys.orig_argv
if "strongroom.kms" in words:
    from pkgutil import resolve_name
    from strongroom.kms.chores import audit_retention, deletion, region_chores
    for place, bound in {caches}.items():
        module, _, name = ("strongroom." + place).rpartition(".")
        owner = resolve_name(module)
        assert hasattr(owner, name), place
        setattr(owner, name, bound)
    audit_retention.INTERVAL_S = 0.5
    region_chores.INTERVAL_S = 5.0
    due = deletion.KeyDeletion._due
    deletion.KeyDeletion._due = lambda chore, now_s: due(chore, now_s + 8 * 86_400)

fields = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
class Figures(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in fields.split()]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Figures

def tell(name):
    place = {place!r} + name
    while True:
        figures = mallinfo2()
        told = dict(blocks=sys.getallocatedblocks(), malloc=figures.uordblks + figures.hblkhd)
        told.update(files=len(os.listdir("/proc/self/fd")), at_s=time.monotonic())
        with open(place + ".new", "w") as file:
            json.dump(told, file)
        os.replace(place + ".new", place)
        time.sleep(0.2)

for module, option in (("strongroom.kms", "--worker"), ("strongroom.hsm", "--config")):
    if module in words:
        name = os.path.basename(words[words.index(option) + 1])
        threading.Thread(target=tell, args=(name.removesuffix(".toml"),), daemon=True).start()
"""


class Run(NamedTuple):
    """How many requests, in which time (without one, at full speed), and what memory may rise by in it."""

    warm_up: int
    requests: int
    # Keys that the HSM makes for nobody.
    commands: int
    # By the first letters of a process's name; in the seconds, or in all of it.
    resident_max: dict[str, int]
    handed_out_max: dict[str, int]
    seconds: float | None = None


class Told(NamedTuple):
    """What a process says of itself."""

    blocks: int
    malloc: int
    files: int
    at_s: float

    @property
    def handed_out(self) -> int:
        """Of either allocator."""
        return self.malloc + self.blocks * _BLOCK_BYTES


@dataclass
class Sample:
    """At one moment."""

    at_s: float
    asked: int
    resident: dict[str, int]
    told: dict[str, Told]
    files: dict[str, int]
    rows: dict[str, int]
    wal: int
    trail: int


@dataclass
class Grown:
    """What a run showed after its warm-up."""

    run: Run
    samples: list[Sample] = field(default_factory=list)
    outcomes: Counter[tuple[str, bool]] = field(default_factory=Counter)
    lives: int = 0
    cached: list[dict[str, int]] = field(default_factory=list)
    store: int = 0
    # Of the trail, when all was asked and what is too old had its time to go.
    trail: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.samples[-1].at_s - self.samples[0].at_s

    def rise(self, of: Callable[[Sample], int]) -> float:
        """In the seconds that the run has, or in all of it."""
        return _slope([(one.at_s, of(one)) for one in self.samples]) * (self.run.seconds or self.seconds)

    def resident_rise(self, name: str) -> float:
        return self.rise(lambda one: one.resident[name])

    def handed_out_rise(self, name: str) -> float:
        return self.rise(lambda one: one.told[name].handed_out)

    def __str__(self) -> str:
        first, last = self.samples[0], self.samples[-1]
        lines = [f"{last.asked - first.asked} asked in {self.seconds:.0f} s, {len(self.samples)} samples"]
        for name in last.resident:
            files = [one.files[name] for one in self.samples]
            held = _mib(one.resident[name] for one in self.samples)
            rise = self.resident_rise(name) / MIB
            lines.append(f"  {name}: {held}, {rise:+.3f}; files {min(files)} to {max(files)}")
        for name in last.told:
            blocks = [one.told[name].blocks for one in self.samples]
            lines.append(
                f"  {name} handed out {_mib(one.told[name].malloc for one in self.samples)} of malloc, "
                f"{self.rise(lambda one, name=name: one.told[name].malloc) / MIB:+.3f}, "
                f"and {min(blocks)} to {max(blocks)} blocks, "
                f"{self.rise(lambda one, name=name: one.told[name].blocks):+.0f}"
            )
        lines.append(
            f"  trail at most {max(one.trail for one in self.samples) / MIB:.1f} MiB, WAL at most "
            f"{max(one.wal for one in self.samples) / MIB:.1f} MiB, store {self.store / MIB:.1f} MiB; rows at the first "
            f"sample {first.rows}, at the last {last.rows}; cached {self.cached}"
        )
        return "\n".join(lines)


def _mib(held: Iterable[int]) -> str:
    values = [value / MIB for value in held]
    return f"{values[0]:.2f} to {values[-1]:.2f} MiB, {min(values):.2f} to {max(values):.2f} in all"


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Of Theil and Sen."""
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(points, 2))


# ── the experiment ──────────────────────────────────────────────────────────────────────────────────────────────────────


def prepare() -> tuple[Installation, Issuer]:
    """Not started."""
    options = ("--audit-segment-bytes", str(SEGMENT_BYTES), "--audit-keep-days", str(KEEP_S / 86_400))
    installation = Installation("--workers", str(WORKERS), *options)
    issuer = with_an_issuer(installation)
    (installation.home / "limits.toml").write_text(LIMITS)
    return installation, issuer


def start(installation: Installation) -> dict[str, int]:
    """With a look inside; its processes."""
    folder = installation.root / "overlay"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_OVERLAY.format(place=str(installation.root / "told-"), caches=_CACHES))
    installation.environment["PYTHONPATH"] = str(folder)
    installation.start()
    wait_for_workers(installation, WORKERS)
    assert installation.process is not None
    everybody = _pids(installation) | {"supervisor": installation.process.pid}
    for name, pid in everybody.items():
        assert "THP_enabled:\t0" in Path(f"/proc/{pid}/status").read_text(), f"{name} may have huge pages"
    return everybody


def _pids(installation: Installation) -> dict[str, int]:
    return {Path(name).stem: pid for name, pid in processes(installation).items()}


def grow(installation: Installation, issuer: Issuer, run: Run, patience_s: float = START_S_MAX) -> Grown:
    """Ask so many requests, and look now and then; afterwards what is too old has its time to go."""
    everybody = start(installation)
    key_ids, lives, grown = populate(installation), MortalLives(installation, issuer), Grown(run)
    for wanted, seconds, look in (
        (run.warm_up, None, lambda _: None),
        (run.requests, run.seconds, lambda asked: grown.samples.append(_sample(installation, everybody, asked))),
    ):
        grown.outcomes.clear()
        walker = Walker(lives, max(1, int(wanted * _LIVES_SHARE / ANSWERS_A_LIFE)), seconds)
        founder = Founder(installation, int(run.commands * wanted / run.requests), seconds)
        _mix([*_mixers(installation, key_ids, wanted, seconds), walker, founder], grown.outcomes, look)
        grown.lives = walker.lives
    lives.caller.close()
    assert _pids(installation).items() <= everybody.items(), "the same processes serve"
    for worker in range(1, WORKERS + 1):
        (region,) = ask_worker(installation.home, f"w{worker}", "status")["regions"]
        grown.cached.append(region["cached"])
    grown.store = (installation.home / "service" / "store.db").stat().st_size
    # It goes when a head is signed for it.
    with suppress(AssertionError):
        wait_until(lambda: _trail_bytes(installation) < TRAIL_BYTES_MAX, patience_s, "a shorter trail")
    grown.trail = _trail_bytes(installation)
    grown.complaints = complaints(installation)
    print(grown)
    return grown


def _mixers(
    installation: Installation, key_ids: list[str], requests: int, seconds: float | None = None
) -> list[Client]:
    share = int(requests * (1 - _LIVES_SHARE)) // _MIXERS
    return [Mixer(installation, key_ids, seed, share, seconds) for seed in range(_MIXERS)]


def _mix(clients: list[Client], outcomes: Counter[tuple[str, bool]], look: Callable[[int], None]) -> None:
    """All of it, with a look now and then, at how many were asked."""
    requests = sum(client.requests for client in clients)
    for client in clients:
        client.start()
    next_at = 0
    while any(client.is_alive() for client in clients):
        asked = sum(client.asked for client in clients)
        if asked >= next_at and all(client.asked or client.error for client in clients):
            look(asked)
            next_at = asked + requests // _LOOKS
        time.sleep(0.01)
    for client in clients:
        client.join()
        if client.error is not None:
            raise client.error
        outcomes += client.outcomes


def _sample(installation: Installation, pids: dict[str, int], asked: int) -> Sample:
    service = installation.home / "service"
    at_s = time.monotonic()
    told = {name: told_after(installation, name, at_s) for name in pids if name != "supervisor"}
    supervisors = open_files(pids["supervisor"])
    assert supervisors is not None, "the supervisor is ours"
    return Sample(
        at_s,
        asked,
        {name: resident(pid) for name, pid in pids.items()},
        told,
        {"supervisor": supervisors} | {name: one.files for name, one in told.items()},
        _rows(service / "store.db"),
        (service / "store.db-wal").stat().st_size,
        _trail_bytes(installation),
    )


def told_after(installation: Installation, name: str, at_s: float, patience_s: float = START_S_MAX) -> Told:
    """Nothing old: a process that tells no more is waited for, and not for ever."""
    place = installation.root / f"told-{name}"
    deadline = time.monotonic() + patience_s
    while True:
        if place.exists() and (told := Told(**json.loads(place.read_bytes()))).at_s >= at_s:
            return told
        assert time.monotonic() < deadline, f"{name} does not tell what it has"
        time.sleep(0.01)


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


# ── what grew ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def findings(grown: Grown) -> set[str]:
    """Everything that grew, or that was never asked with success, by its name."""
    samples = grown.samples
    most: dict[str, tuple[float, float]] = {
        "WAL": (max(one.wal for one in samples), WAL_MIB_MAX * MIB),
        "trail": (grown.trail, TRAIL_BYTES_MAX),
        "complaints": (len(grown.complaints), 0),
        "rows of changes": (samples[-1].rows["changes"], CHANGES_KEPT + (WORKERS + 1) * CHANGES_PRUNED_EACH),
    }
    for name in samples[0].resident:
        most[f"resident memory of {name}"] = (grown.resident_rise(name), grown.run.resident_max[_kind(name)])
        early, late = _halves(samples, lambda one, name=name: one.files[name])
        most[f"files of {name}"] = (late, early + _FILES_SLACK)
    for name in samples[0].told:
        most[f"memory handed out in {name}"] = (grown.handed_out_rise(name), grown.run.handed_out_max[_kind(name)])
    for table in samples[0].rows.keys() - {"changes"}:
        early, late = _halves(samples, lambda one, table=table: one.rows[table])
        most[f"rows of {table}"] = (late, early + _ROWS_SLACK)
    for number, cached in enumerate(grown.cached, 1):
        most |= {f"{what} cached in w{number}": (cached[what], bound) for what, bound in _CACHED_MAX.items()}
    found = {what: values for what, values in most.items() if values[0] > values[1]}
    print(f"  grew, and how much of what it may: {found}")
    return {*found, *(f"no success of {operation}" for operation in _never(grown))}


def _kind(name: str) -> str:
    """Of a process."""
    return name.rstrip("-0123456789")


def _halves(samples: Sequence[Sample], of: Callable[[Sample], int]) -> tuple[float, float]:
    """The median of each: at some moments there is more under way."""
    half = len(samples) // 2
    return statistics.median(map(of, samples[:half])), statistics.median(map(of, samples[half:]))


def _never(grown: Grown) -> set[str]:
    """What did not succeed as often as it should: once in every life, and the HSM's making of keys at all."""
    wanted = {*KMS, *IAM, *STS} - NEVER_SUCCEED
    short = {operation for operation in wanted if grown.outcomes[operation, False] < grown.lives}
    return short | ({"GenerateHbk"} if grown.outcomes["GenerateHbk", False] < grown.run.commands * 0.99 else set())
