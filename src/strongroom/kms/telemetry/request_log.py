"""One JSON line a request: who asked for what, and how it ended.

The audit trail has every request already, chained and signed; this log is for whoever watches a service with the tools
that read lines. It holds names and numbers only: no body, no encryption context, no policy, no secret. Requests of nobody
known are bounded in number, because anybody can send them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from strongroom.kms.telemetry.lines import LineWriter

Level = Literal["all", "errors", "off"]

# Lines about requests of nobody known: so many at once, and then so many in a second.
_REFUSALS_AT_ONCE: Final = 50
_REFUSALS_PER_S: Final = 10.0


class RequestLine(msgspec.Struct, frozen=True, gc=False):
    """Members in this order; `code` is empty for a success, `principal` and `access_key_id` for nobody known."""

    time: str
    level: str
    event: str
    request_id: str
    operation: str
    status: int
    code: str
    region: str
    principal: str
    access_key_id: str
    source_ip: str
    duration_ms: float
    worker: str
    # Of a refusal: how many like it were not logged since the last one that was.
    suppressed: int = 0


_encode: Final = msgspec.json.Encoder().encode


class LineTimes:
    """Times of lines: UTC to the millisecond; the second's text is made once."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def format(self, now_s: float) -> str:
        second = int(now_s)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{int((now_s - second) * 1000):03d}Z"


class RequestLog:
    """One worker's; `add` gathers, `flush` hands over what a batch gathered."""

    def __init__(self, writer: LineWriter, level: Level, worker: str, clock: Callable[[], float]) -> None:
        self.logs_all: Final = level == "all"
        self.logs_errors: Final = level != "off"
        self._writer = writer
        self._worker = worker
        self._clock = clock
        self._times = LineTimes()
        self._gathered: list[bytes] = []
        self._refusals_left = float(_REFUSALS_AT_ONCE)
        self._refusal_at_s = clock()
        self._suppressed = 0

    def add(
        self,
        request_id: str,
        operation: str,
        status: int,
        code: str,
        *,
        region: str,
        principal: str,
        access_key_id: str,
        source_ip: str,
        duration_s: float,
        suppressed: int = 0,
    ) -> None:
        line = RequestLine(
            self._times.format(self._clock()),
            "error" if status >= 500 else "info",
            "request",
            request_id,
            operation,
            status,
            code,
            region,
            principal,
            access_key_id,
            source_ip,
            round(duration_s * 1000, 3),
            self._worker,
            suppressed,
        )
        self._gathered.append(_encode(line))

    def add_refusal(self, request_id: str, status: int, code: str, source_ip: str) -> None:
        """A request of nobody known, if its turn has come."""
        now_s = self._clock()
        # A clock that was set back gives nothing and takes nothing.
        grown = self._refusals_left + max(0.0, now_s - self._refusal_at_s) * _REFUSALS_PER_S
        self._refusals_left, self._refusal_at_s = min(grown, float(_REFUSALS_AT_ONCE)), now_s
        if self._refusals_left < 1:
            self._suppressed += 1
            return
        self._refusals_left -= 1
        suppressed, self._suppressed = self._suppressed, 0
        self.add(
            request_id,
            "",
            status,
            code,
            region="",
            principal="",
            access_key_id="",
            source_ip=source_ip,
            duration_s=0.0,
            suppressed=suppressed,
        )
        self.flush()

    def flush(self) -> None:
        """One write for all that was gathered."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._writer.write(b"\n".join(gathered) + b"\n")
