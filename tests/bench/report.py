"""From slices to figures: medians, ratios of slices that ran side by side, the targets, the table.

A ratio is always taken inside one round, of slices that ran within seconds of each other, and the median over the
rounds is reported: the host's speed swings by 1.4 x, so a ratio of two medians would compare different machines.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from tests.bench.children import latencies_ns
from tests.bench.messages import Sample

BARE = "bare"
HEAD = "head"
BASE = "base"


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

    @property
    def product_cpu_us(self) -> float:
        return self.service_cpu_us + self.hsm_cpu_us


@dataclass(frozen=True)
class Side:
    """Whose slices: one of those that take turns in a round."""

    operation: str
    connections: int
    server: str


@dataclass(frozen=True)
class Target:
    """A bound on the ratio of one side's metric to the other side's."""

    text: str
    side: Side
    metric: str
    other: Side
    other_metric: str
    ratio_max: float | None = None
    ratio_min: float | None = None

    @property
    def bound(self) -> str:
        return f"<= {self.ratio_max}" if self.ratio_max is not None else f">= {self.ratio_min}"

    def is_met(self, ratio: float) -> bool:
        if self.ratio_max is not None and ratio > self.ratio_max:
            return False
        return self.ratio_min is None or ratio >= self.ratio_min


def _beside_bare(text: str, connections: int, metric: str, bare_metric: str, ratio_max: float) -> Target:
    sides = [Side("GenerateDataKey", connections, server) for server in (HEAD, BARE)]
    return Target(f"{text}, {connections} conns, times bare's", sides[0], metric, sides[1], bare_metric, ratio_max)


SPINE_TARGETS = (
    _beside_bare("service CPU", 64, "service_cpu_us", "service_cpu_us", 4.5),
    _beside_bare("HSM CPU", 64, "hsm_cpu_us", "service_cpu_us", 2.0),
    _beside_bare("p50", 1, "p50_us", "p50_us", 6.0),
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
        return "pass" if self.target.is_met(self.ratio) else "MISSED"


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
        self._slices = {(Side(m.operation, m.connections, m.server), m.round): m for m in measurements}
        self.sides = list(dict.fromkeys(side for side, _ in self._slices))
        self.cases = list(dict.fromkeys((m.operation, m.connections) for m in measurements))
        self.servers = list(dict.fromkeys(m.server for m in measurements))

    def _rounds(self, side: Side) -> list[Measurement]:
        return [measured for (whose, _), measured in self._slices.items() if whose == side]

    def median(self, side: Side, metric: str) -> float:
        values: list[float] = [getattr(measured, metric) for measured in self._rounds(side)]
        return statistics.median(values)

    def ratios(self, side: Side, metric: str, other: Side, other_metric: str | None = None) -> list[float]:
        """Per round: `side`'s metric over `other`'s, both of that round."""
        found = []
        for slice_ in self._rounds(side):
            beside = self._slices[other, slice_.round]
            divisor: float = getattr(beside, other_metric or metric)
            if divisor:
                found.append(getattr(slice_, metric) / divisor)
        return found

    def verdicts(self, targets: Sequence[Target]) -> list[Verdict]:
        verdicts = []
        for target in targets:
            ratios = self.ratios(target.side, target.metric, target.other, target.other_metric)
            if ratios:
                verdicts.append(Verdict(target, statistics.median(ratios), min(ratios), max(ratios)))
            else:
                verdicts.append(Verdict(target, None, None, None))
        return verdicts

    def summary(self) -> list[dict[str, object]]:
        return [
            asdict(side) | {metric: round(self.median(side, metric), 2) for metric in METRICS} for side in self.sides
        ]


def _median_text(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f}" if ratios else "-"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}"


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
            side = Side(operation, connections, server)
            bare = Side(operation, connections, BARE)
            pairs = (("service_cpu_us", "service_cpu_us"), ("hsm_cpu_us", "service_cpu_us"), ("p50_us", "p50_us"))
            rows.append(
                [
                    operation,
                    server,
                    str(connections),
                    *(_figure(figures.median(side, metric)) for metric in METRICS),
                    "|",
                    *(_figure(figures.median(bare, metric)) for metric in METRICS[:4]),
                    "|",
                    *(_median_text(figures.ratios(side, metric, bare, against)) for metric, against in pairs),
                ]
            )
    return _aligned(rows, 2)


def plain_table(figures: Figures) -> list[str]:
    """One line per side, for runs without a bare server."""
    rows = [["operation", "side", "conns", "req/s", "p50", "p99", "service", "hsm", "load"]]
    for side in figures.sides:
        medians = (_figure(figures.median(side, metric)) for metric in METRICS)
        rows.append([side.operation, side.server, str(side.connections), *medians])
    return _aligned(rows, 2)


def comparison(figures: Figures, before: str, after: str) -> list[str]:
    """This checkout over the other one: below 1 is better, except for requests/s."""
    shown = ("requests_per_s", "p50_us", "p99_us", "service_cpu_us", "hsm_cpu_us")
    rows = [["operation", "conns", *(f"x:{metric}" for metric in shown)]]
    for operation, connections in figures.cases:
        sides = [Side(operation, connections, server) for server in (after, before)]
        cells = [_median_text(figures.ratios(sides[0], metric, sides[1])) for metric in shown]
        rows.append([operation, str(connections), *cells])
    return _aligned(rows, 1)


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    rows = [["ratios of paired slices", "target", "median", "lowest", "highest", ""]]
    for verdict in verdicts:
        figures = [
            "-" if value is None else f"{value:.2f}" for value in (verdict.ratio, verdict.lowest, verdict.highest)
        ]
        rows.append([verdict.target.text, verdict.target.bound, *figures, verdict.word])
    return _aligned(rows, 1)
