"""Snapshots of all workers in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from strongroom.kms.telemetry.families import FAMILIES, Family
from strongroom.kms.telemetry.snapshots import FRESH_S_MAX, Snapshot
from strongroom.kms.telemetry.tallies import BOUNDS_S, Tally

# Version 0.0.4 of the text form, which every Prometheus reads.
CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "strongroom_"
_SUCCESS: Final = "OK"


def format_metrics(snapshots: Sequence[Snapshot], now_s: float) -> bytes:
    """Everything that the workers tell; of one that stands still, only for how long."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(snapshots, now_s))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, snapshots: Sequence[Snapshot], now_s: float) -> None:
        self._snapshots = snapshots
        self._now_s = now_s

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        fresh = [snapshot for snapshot in self._snapshots if self._now_s - snapshot.taken_at_s <= FRESH_S_MAX]
        yield from _requests(fresh)
        for family in FAMILIES:
            yield _family(family, fresh)
        age = GaugeMetricFamily(
            f"{_PREFIX}worker_age_seconds",
            "How old a worker's numbers are; it grows when one stands still.",
            labels=["worker"],
        )
        for snapshot in self._snapshots:
            age.add_metric([snapshot.worker], max(0.0, self._now_s - snapshot.taken_at_s))
        yield age


def _family(family: Family, snapshots: Sequence[Snapshot]) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(_PREFIX + family.name, family.help, labels=["worker", *family.labels])
    for snapshot in snapshots:
        for labels, value in snapshot.samples.get(family.name, ()):
            metric.add_metric([snapshot.worker, *labels], value)
    return metric


def _requests(snapshots: Sequence[Snapshot]) -> Iterator[Metric]:
    count = CounterMetricFamily(
        f"{_PREFIX}requests",
        "Requests of somebody known, by operation and AWS's code of the outcome.",
        labels=["worker", "region", "operation", "code"],
    )
    duration = HistogramMetricFamily(
        f"{_PREFIX}request_duration_seconds",
        "From the turn in which a request was whole to the one in which its answer left.",
        labels=["worker", "region", "operation"],
    )
    for snapshot in snapshots:
        merged: dict[tuple[str, str], Tally] = {}
        for (region, operation, code), tally in snapshot.requests:
            count.add_metric([snapshot.worker, region, operation, code or _SUCCESS], sum(tally[:-1]))
            known = merged.get((region, operation))
            merged[region, operation] = tally if known is None else [a + b for a, b in zip(known, tally, strict=True)]
        for (region, operation), (*buckets, seconds) in merged.items():
            bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
            cumulated = list(zip(bounds, accumulate(buckets), strict=True))
            duration.add_metric([snapshot.worker, region, operation], cumulated, seconds)
    yield count
    yield duration
