"""Randomness of the HSM: the kernel's generator, health-tested.

`getrandom(2)` mixes every source that the kernel has (hardware generators included) and reseeds after a VM snapshot. Two
health tests of SP 800-90B 4.4 run at the start over 4,096 samples of 8 bits, and the repetition test goes on over every
draw: alpha is 2^-30 at an assumed full entropy of 8 bits per sample.
"""

from __future__ import annotations

import os
from typing import Final

# Repetition count: 1 + ceil(30 / 8). Adaptive proportion over 512 samples: 1 + CRITBINOM(512, 2^-8, 1 - 2^-30).
_REPETITION_CUTOFF: Final = 5
_PROPORTION_WINDOW: Final = 512
_PROPORTION_CUTOFF: Final = 16
_START_UP_SAMPLES: Final = 4096


class EntropyFailureError(Exception):
    """A health test failed: no more random bytes until a restart."""


def verify_samples(samples: bytes) -> None:
    """Both health tests over a run of 8-bit samples (SP 800-90B 4.4.1 and 4.4.2).

    Raises:
        EntropyFailureError: a value repeats too often in a row or within a window.
    """
    for at in range(len(samples) - _REPETITION_CUTOFF + 1):
        if samples[at : at + _REPETITION_CUTOFF] == samples[at : at + 1] * _REPETITION_CUTOFF:
            raise EntropyFailureError
    for at in range(0, len(samples) - _PROPORTION_WINDOW + 1, _PROPORTION_WINDOW):
        if samples.count(samples[at], at, at + _PROPORTION_WINDOW) >= _PROPORTION_CUTOFF:
            raise EntropyFailureError


class Entropy:
    """A source of random bytes that stops at the first sign of repeating itself."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        verify_samples(os.getrandom(_START_UP_SAMPLES))
        self._last = b""

    def draw(self, length: int) -> bytes:
        """`length` bytes; 16 more are drawn in front, to be compared with the last ones and kept in their stead."""
        drawn = os.getrandom(16 + length)
        if drawn[:16] == self._last:
            raise EntropyFailureError
        self._last = drawn[:16]
        return drawn[16:]
