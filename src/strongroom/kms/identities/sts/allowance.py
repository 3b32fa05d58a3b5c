"""How much strangers may fail in a second: what nobody signed must not take a worker's time from those who sign.

Beyond it, callers without a signature are told to come again, which their SDKs do by themselves.
"""

from __future__ import annotations

from typing import Final

# Ours: a tenth of a worker's time at the costliest, which is one ES256 verification (110 us of CPU).
FAILURES_PER_S_MAX: Final = 1_000
# Taking a form of 64 KiB of escapes apart takes 3.4 ms: so many bytes count as one failure more.
_FORM_BYTES_PER_FAILURE: Final = 2_048


class Allowance:
    """Of one worker."""

    __slots__ = ("_failures", "_max", "_second")

    def __init__(self, failures_per_s_max: int = FAILURES_PER_S_MAX) -> None:
        self._max = failures_per_s_max
        self._second = 0
        self._failures = 0

    def is_spent(self, now_s: float) -> bool:
        return self._failures >= self._max and int(now_s) == self._second

    def spend(self, now_s: float, form_bytes: int) -> None:
        """Note a failure, of a form of so many bytes."""
        second = int(now_s)
        if second != self._second:
            self._second, self._failures = second, 0
        self._failures += 1 + form_bytes // _FORM_BYTES_PER_FAILURE
