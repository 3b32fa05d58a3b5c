"""Counts of requests, by region, operation and outcome, with a histogram of how long they took."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

# Seconds: a data key takes a third of a millisecond here, an HSM that is silent for five is given up.
BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
# Refusal codes are names of our own code; the bound is for the day when one is not.
_SERIES_MAX: Final = 4_096

# Per bound the requests that took at most that long and longer than the bound before; then the slower ones; then all
# their seconds.
Tally = list[float]


class Tallies:
    """One worker's, since it started."""

    __slots__ = ("_refusals", "_requests", "batches")

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str], Tally] = {}
        self._refusals: dict[str, int] = {}
        self.batches = 0

    def count(self, key: tuple[str, str, str], seconds: float) -> None:
        """A request of somebody known was answered: region, operation, code (empty for a success)."""
        tally = self._requests.get(key)
        if tally is None:
            if len(self._requests) >= _SERIES_MAX:
                return
            tally = self._requests[key] = [0.0] * (len(BOUNDS_S) + 2)
        tally[bisect_left(BOUNDS_S, seconds)] += 1
        tally[-1] += seconds

    def count_refusal(self, code: str) -> None:
        """A request of nobody known was refused."""
        if code in self._refusals or len(self._refusals) < _SERIES_MAX:
            self._refusals[code] = self._refusals.get(code, 0) + 1

    def requests(self) -> Iterator[tuple[tuple[str, str, str], Tally]]:
        """(region, operation, code) and its tally, copied."""
        return ((key, list(tally)) for key, tally in self._requests.items())

    def refusals(self) -> Iterator[tuple[tuple[str], float]]:
        return (((code,), float(count)) for code, count in self._refusals.items())
