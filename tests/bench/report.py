"""From slices to figures: medians, ratios of slices that ran side by side, the targets, the table.

A ratio is always taken inside one round, of slices that ran within seconds of each other, and the median over the
rounds is reported: the host's speed swings by 1.4 x, so a ratio of two medians would compare different machines.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.bench.children import latencies_ns
from tests.bench.messages import Sample

BARE = "bare"


@dataclass(frozen=True)
class Measurement:
    """One slice in figures; the CPU figures are microseconds per request."""

    operation: str
    connections: int
    server: str
    round: int
    requests: int
    requests_per_s: float
    p50_us: float
    p99_us: float
    service_cpu_us: float
    hsm_cpu_us: float
    load_cpu_us: float


@dataclass(frozen=True)
class Target:
    text: str
    operation: str
    connections: int
    metric: str
    against: str
    ratio_max: float


TARGETS = (
    Target("service CPU, 64 connections", "GenerateDataKey", 64, "service_cpu_us", "service_cpu_us", 4.5),
    Target("HSM CPU, 64 connections", "GenerateDataKey", 64, "hsm_cpu_us", "service_cpu_us", 2.0),
    Target("p50, 1 connection", "GenerateDataKey", 1, "p50_us", "p50_us", 6.0),
)
METRICS = ("requests_per_s", "p50_us", "p99_us", "service_cpu_us", "hsm_cpu_us", "load_cpu_us")


@dataclass(frozen=True)
class Verdict:
    target: Target
    ratio: float | None
    lowest: float | None
    highest: float | None

    @property
    def word(self) -> str:
        if self.ratio is None:
            return "not measured"
        return "pass" if self.ratio <= self.target.ratio_max else "MISSED"


def measurement(
    operation: str, connections: int, server: str, round_number: int, sample: Sample, pids: dict[str, tuple[int, ...]]
) -> Measurement:
    """`pids` is role → processes; the bare server's one process has the role of the service."""
    ordered = latencies_ns(sample)
    count = len(ordered)

    def cpu_us(role: str) -> float:
        return sum(sample.cpu_ns[pid] for pid in pids.get(role, ())) / count / 1e3

    return Measurement(
        operation=operation,
        connections=connections,
        server=server,
        round=round_number,
        requests=count,
        requests_per_s=count / (sample.elapsed_ns / 1e9),
        p50_us=ordered[count // 2] / 1e3,
        p99_us=ordered[count * 99 // 100] / 1e3,
        service_cpu_us=cpu_us("service"),
        hsm_cpu_us=cpu_us("hsm"),
        load_cpu_us=sample.load_cpu_ns / count / 1e3,
    )


class Figures:
    """All slices of a run, asked by what was measured."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        self._slices = {(m.operation, m.connections, m.server, m.round): m for m in measurements}
        self.cases = list(dict.fromkeys((m.operation, m.connections) for m in measurements))
        self.servers = list(dict.fromkeys(m.server for m in measurements))

    def _rounds(self, operation: str, connections: int, server: str) -> list[Measurement]:
        return [m for key, m in self._slices.items() if key[:3] == (operation, connections, server)]

    def median(self, operation: str, connections: int, server: str, metric: str) -> float:
        values: list[float] = [getattr(m, metric) for m in self._rounds(operation, connections, server)]
        return statistics.median(values)

    def ratios(
        self, operation: str, connections: int, server: str, metric: str, other: str, other_metric: str | None = None
    ) -> list[float]:
        """Per round: `server`'s metric over `other`'s, both of that round."""
        found = []
        for slice_ in self._rounds(operation, connections, server):
            beside = self._slices[operation, connections, other, slice_.round]
            divisor: float = getattr(beside, other_metric or metric)
            if divisor:
                found.append(getattr(slice_, metric) / divisor)
        return found

    def verdicts(self, server: str) -> list[Verdict]:
        verdicts = []
        for target in TARGETS:
            ratios = self.ratios(target.operation, target.connections, server, target.metric, BARE, target.against)
            if ratios:
                verdicts.append(Verdict(target, statistics.median(ratios), min(ratios), max(ratios)))
            else:
                verdicts.append(Verdict(target, None, None, None))
        return verdicts

    def summary(self) -> list[dict[str, object]]:
        return [
            {"operation": operation, "connections": connections, "server": server}
            | {metric: round(self.median(operation, connections, server, metric), 2) for metric in METRICS}
            for operation, connections in self.cases
            for server in self.servers
        ]


def _median_text(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f}" if ratios else "-"


def _aligned(rows: Iterable[Sequence[str]], text_columns: int) -> list[str]:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def table(figures: Figures) -> list[str]:
    """One line per case and product, the bare server's figures beside it; `x` columns are ratios to the bare server."""
    header = "operation server conns req/s p50 p99 service hsm load | bare:req/s p50 p99 cpu | x:service x:hsm x:p50"
    rows = [header.split(" ")]
    for operation, connections in figures.cases:
        for server in figures.servers:
            if server == BARE:
                continue

            def median(metric: str, server: str = server, case: tuple[str, int] = (operation, connections)) -> str:
                value = figures.median(*case, server, metric)
                return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"

            def times(
                metric: str, against: str, server: str = server, case: tuple[str, int] = (operation, connections)
            ) -> str:
                return _median_text(figures.ratios(*case, server, metric, BARE, against))

            rows.append(
                [
                    operation,
                    server,
                    str(connections),
                    *(median(metric) for metric in METRICS),
                    "|",
                    *(median(metric, BARE) for metric in METRICS[:4]),
                    "|",
                    times("service_cpu_us", "service_cpu_us"),
                    times("hsm_cpu_us", "service_cpu_us"),
                    times("p50_us", "p50_us"),
                ]
            )
    return _aligned(rows, 2)


def comparison(figures: Figures, before: str, after: str) -> list[str]:
    """This checkout over the other one: below 1 is better, except for requests/s."""
    shown = ("requests_per_s", "p50_us", "p99_us", "service_cpu_us", "hsm_cpu_us")
    rows = [["operation", "conns", *(f"x:{metric}" for metric in shown)]]
    for operation, connections in figures.cases:
        cells = [_median_text(figures.ratios(operation, connections, after, metric, before)) for metric in shown]
        rows.append([operation, str(connections), *cells])
    return _aligned(rows, 1)


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    rows = [["GenerateDataKey, times the bare server's", "target", "measured", "lowest", "highest", ""]]
    for verdict in verdicts:
        figures = [
            "-" if value is None else f"{value:.2f}" for value in (verdict.ratio, verdict.lowest, verdict.highest)
        ]
        rows.append([verdict.target.text, f"<= {verdict.target.ratio_max}", *figures, verdict.word])
    return _aligned(rows, 1)
