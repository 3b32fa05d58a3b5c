"""The table of metrics: name, kind, what it says, its labels, and where its numbers are read.

A scrape reads; nothing here runs while a request does. No label holds a key's id, an alias, a principal or an address.
Every sample gets the label `worker` beside those of its row. Requests with their durations are no row: `exposition`
makes them of `Tallies`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

import msgspec

from strongroom.kms.audit.log import AuditLog
from strongroom.kms.chores.region_chores import RegionChores
from strongroom.kms.head_keeper import HeadKeeper
from strongroom.kms.region import Region
from strongroom.kms.regions import Regions
from strongroom.kms.telemetry.lines import LineWriter
from strongroom.kms.telemetry.tallies import Tallies
from strongroom.kms.wire.http import Edge

Kind = Literal["counter", "gauge"]
Sample = tuple[tuple[str, ...], float]

_STARTED_AT_S: Final = time.time()
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Sources(msgspec.Struct, frozen=True):
    """Where one worker's numbers are."""

    tallies: Tallies
    edge: Edge
    audit: AuditLog
    # Only the worker that keeps the heads knows how old they are.
    keeper: HeadKeeper
    lines: LineWriter
    regions: Regions
    chores: Sequence[RegionChores]
    clock: Callable[[], float]


class Family(msgspec.Struct, frozen=True):
    """A row: `name` without the prefix, and without the `_total` that a counter's samples get."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    read: Callable[[Sources], Iterable[Sample]]


def _one(read: Callable[[Sources], float]) -> Callable[[Sources], Iterable[Sample]]:
    return lambda sources: [((), float(read(sources)))]


def _per_region(read: Callable[[Region], float]) -> Callable[[Sources], Iterable[Sample]]:
    return lambda sources: [((region.name,), float(read(region))) for region in sources.regions.opened()]


def _cached(sources: Sources) -> Iterator[Sample]:
    for region in sources.regions.opened():
        for cache, entries in region.service.directory.sizes().items():
            yield (region.name, cache), float(entries)


def _head_age(sources: Sources) -> Iterator[Sample]:
    heads = sources.keeper.heads
    if heads is not None and heads.last is not None:
        yield (), max(0.0, sources.clock() - heads.last.signed_at_s)


def _chore_ends(sources: Sources) -> Iterator[Sample]:
    for chores in sources.chores:
        for chore, ended_at_s in chores.ended_at_s.items():
            yield (chores.region, chore), ended_at_s


def _held(sources: Sources) -> Iterator[Sample]:
    for chores in sources.chores:
        yield (chores.region,), float(chores.guard.held_since_s is not None)


def _resident_bytes(_: Sources) -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES


def _build(_: Sources) -> Iterator[Sample]:
    yield (version("strongroom"), ".".join(map(str, sys.version_info[:3]))), 1.0


FAMILIES: Final[tuple[Family, ...]] = (
    Family(
        "unauthenticated_requests",
        "counter",
        "Requests refused before it was known who asks, by the code of the refusal.",
        ("code",),
        lambda sources: sources.tallies.refusals(),
    ),
    Family(
        "request_batches",
        "counter",
        "Groups of requests that were recorded and answered together.",
        (),
        _one(lambda sources: sources.tallies.batches),
    ),
    Family("connections", "gauge", "Open client connections.", (), _one(lambda sources: len(sources.edge.connections))),
    Family(
        "held_body_bytes",
        "gauge",
        "Bytes of unfinished requests.",
        (),
        _one(lambda sources: sources.edge.held_bytes),
    ),
    # ── HSM
    Family(
        "hsm_answering",
        "gauge",
        "1 while the HSM answers in time, 0 while it is silent or not connected.",
        ("region",),
        _per_region(lambda region: region.link.is_answering),
    ),
    Family(
        "hsm_frames",
        "counter",
        "Frames answered by the HSM.",
        ("region",),
        _per_region(lambda region: region.link.stats.frames),
    ),
    Family(
        "hsm_commands",
        "counter",
        "Commands sent to the HSM; divided by frames it is the size of a batch.",
        ("region",),
        _per_region(lambda region: region.link.stats.commands),
    ),
    Family(
        "hsm_round_trip_seconds",
        "counter",
        "Seconds between a frame and its answers, in all; divided by frames it is a round trip.",
        ("region",),
        _per_region(lambda region: region.link.stats.round_trips_s),
    ),
    Family(
        "hsm_connections_lost",
        "counter",
        "Connections to the HSM that ended while they were in use.",
        ("region",),
        _per_region(lambda region: region.link.stats.lost),
    ),
    Family(
        "hsm_timeouts",
        "counter",
        "Commands given up because the HSM did not answer.",
        ("region",),
        _per_region(lambda region: region.link.stats.timeouts),
    ),
    # ── store
    Family(
        "store_transactions",
        "counter",
        "Transactions committed by this worker's writer.",
        ("region",),
        _per_region(lambda region: region.store.stats.transactions),
    ),
    Family(
        "store_commits",
        "counter",
        "Requests for a change that were committed; divided by transactions it is the size of a group.",
        ("region",),
        _per_region(lambda region: region.store.stats.commits),
    ),
    Family(
        "store_mutations",
        "counter",
        "Records written or removed.",
        ("region",),
        _per_region(lambda region: region.store.stats.mutations),
    ),
    Family(
        "store_commit_seconds",
        "counter",
        "Seconds spent in committed transactions, their sync included.",
        ("region",),
        _per_region(lambda region: region.store.stats.seconds),
    ),
    Family("cached_entries", "gauge", "Entries of the caches.", ("region", "cache"), _cached),
    # ── audit
    Family(
        "audit_records", "gauge", "Records in this writer's chain.", (), _one(lambda sources: sources.audit.head().seq)
    ),
    Family(
        "audit_bytes", "gauge", "Bytes of this writer's segments.", (), _one(lambda sources: sources.audit.total_bytes)
    ),
    Family(
        "audit_unsynced_bytes",
        "gauge",
        "Bytes written and not yet synced.",
        (),
        _one(lambda sources: sources.audit.unsynced_bytes),
    ),
    Family(
        "audit_available",
        "gauge",
        "1 while the trail takes records, 0 while calls are refused for it.",
        (),
        _one(lambda sources: sources.audit.is_available),
    ),
    Family(
        "audit_reserve_held",
        "gauge",
        "1 while the reserve for a full disk is held, 0 while it is used up.",
        (),
        _one(lambda sources: not sources.audit.on_reserve),
    ),
    Family(
        "audit_head_age_seconds", "gauge", "Since the newest head was signed; only where heads are kept.", (), _head_age
    ),
    # ── chores
    Family(
        "chore_last_end_timestamp_seconds",
        "gauge",
        "When a chore last came to its end.",
        ("region", "chore"),
        _chore_ends,
    ),
    Family(
        "destructive_chores_held",
        "gauge",
        "1 while nothing is destroyed because the clock jumped: see `strongroom clock`.",
        ("region",),
        _held,
    ),
    # ── process
    Family(
        "log_lines_dropped", "counter", "Log lines that nobody took.", (), _one(lambda sources: sources.lines.dropped)
    ),
    Family("resident_memory_bytes", "gauge", "Resident memory of the worker.", (), _one(_resident_bytes)),
    Family("open_fds", "gauge", "Open file descriptors.", (), _one(lambda _: len(os.listdir("/proc/self/fd")))),  # noqa: PTH208 -- a count.
    Family("cpu_seconds", "counter", "CPU time of the worker.", (), _one(lambda _: time.process_time())),
    Family("start_timestamp_seconds", "gauge", "When the worker started.", (), _one(lambda _: _STARTED_AT_S)),
    Family("build_info", "gauge", "Always 1; the versions are labels.", ("version", "python"), _build),
)
