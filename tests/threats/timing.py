"""Whether two acts can be told apart by how long they take, on a machine that has other things to do.

The way of dudect (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017): both acts in turns, the slowest
samples left out, Welch's t. One such t says little here: two runs of the very same act can be far above dudect's limit of
4.5, since where a text lies in memory makes a nanosecond too. So there are rounds, each with its acts made anew and with
shuffled turns. Each has a t of its own, and judged is Student's t of these: a difference that is there in every round grows
with their number, and what one round had of its own does not.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from random import Random
from statistics import fmean, stdev, variance
from time import perf_counter_ns
from typing import Final

Act = Callable[[], object]
# An act that differs from what it is compared with in this place: 0 is the first, -1 the last.
Make = Callable[[int], Act]
# dudect's. Of 12 rounds and more, one look in a thousand is above it by chance, and no three in a row.
T_MAX: Final = 4.5
# How often rounds of nothing are given signs by chance, and how many of a thousand such t are below the limit.
_CHANCES: Final = 5_000
_BELOW: Final = 0.999
# What is slower than nine of ten was interrupted.
_KEPT: Final = 0.9


@dataclass(frozen=True)
class Look:
    """What a run saw: t over its rounds of a first and a last difference, by how many ns, and t of its null run.

    `limit` is what the t of nothing keeps below 999 times of a thousand: of the null run's rounds, their signs by chance.
    """

    t: float
    apart_ns: float
    null: tuple[float, ...]

    def __str__(self) -> str:
        return f"t = {self.t:.2f} ({self.apart_ns:+.1f} ns), null run {self.null_t:.2f}"

    @property
    def null_t(self) -> float:
        return _student(self.null)

    @cached_property
    def limit(self) -> float:
        seeded = Random(len(self.null))
        by_chance = sorted(abs(_student([t * seeded.choice((-1, 1)) for t in self.null])) for _ in range(_CHANCES))
        return by_chance[int(_BELOW * _CHANCES)]

    @property
    def counts(self) -> bool:
        """Not where the same act is told apart from itself."""
        return abs(self.null_t) <= T_MAX


def look(make: Make, rounds: int, samples: int, seed: int = 15) -> Look:
    """Time a first difference, another first one (the null run) and a last one, `samples` times in each round."""
    seeded = Random(seed)
    found, null, apart_ns = [], [], []
    with _without_the_collector():
        for _ in range(rounds):
            first, again, last = _times(make, samples, seeded)
            found.append(_welch(first, last))
            null.append(_welch(first, again))
            apart_ns.append(fmean(last) - fmean(first))
            gc.collect()
    return Look(_student(found), fmean(apart_ns), tuple(null))


def _times(make: Make, samples: int, seeded: Random) -> tuple[list[int], ...]:
    acts = [(place, make(-1 if place == 2 else 0)) for place in seeded.sample(range(3), 3)]
    times: tuple[list[int], ...] = ([], [], [])
    for _ in range(samples):
        seeded.shuffle(acts)
        for place, act in acts:
            started = perf_counter_ns()
            act()
            times[place].append(perf_counter_ns() - started)
    # One limit for all three: a limit for each would cut away what one of them has more of.
    limit = sorted(time for sample in times for time in sample)[int(3 * samples * _KEPT)]
    return tuple([time for time in sample if time <= limit] for sample in times)


def _welch(one: list[int], other: list[int]) -> float:
    spread = variance(one) / len(one) + variance(other) / len(other)
    return float((fmean(one) - fmean(other)) / max(spread, 1e-9) ** 0.5)


def _student(values: Sequence[float]) -> float:
    return float(fmean(values) / max(stdev(values), 1e-9) * len(values) ** 0.5)


@contextmanager
def _without_the_collector() -> Iterator[None]:
    """But between two rounds, for what they left behind and nothing else."""
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()
