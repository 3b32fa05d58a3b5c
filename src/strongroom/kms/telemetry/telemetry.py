"""What the dispatcher tells: which requests a batch answered, and which it refused. Two calls, and all of it counts."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Final, Protocol

from strongroom.kms.calls import Call
from strongroom.kms.telemetry.request_log import RequestLog
from strongroom.kms.telemetry.strangers import Strangers
from strongroom.kms.telemetry.tallies import Tallies

# What a caller is told whose request could not be recorded.
_NOT_RECORDED: Final = "KMSInternalException"


class Arrival(Protocol):
    """A connection, as far as time is concerned."""

    arrived_s: float


class Settled(Protocol):
    """An answer that has left; `code` is empty for a success, `arrived_s` on `time.perf_counter`."""

    @property
    def call(self) -> Call: ...

    @property
    def connection(self) -> Arrival: ...

    @property
    def region(self) -> str: ...

    @property
    def code(self) -> str: ...

    @property
    def status(self) -> int: ...


class Telemetry:
    """One worker's."""

    def __init__(self, tallies: Tallies, request_log: RequestLog, strangers: Strangers) -> None:
        self.tallies: Final = tallies
        self._strangers = strangers
        self._log = request_log
        self._logs_all = request_log.logs_all

    def settled(self, answered: Sequence[Settled], *, recorded: bool) -> None:
        """Count a batch, and gather its lines for one write."""
        now_s = perf_counter()
        self.tallies.batches += 1
        count, logs_all, has_lines = self.tallies.count, self._logs_all, False
        for done in answered:
            code = done.code if recorded else _NOT_RECORDED
            duration_s = now_s - done.connection.arrived_s
            count((done.region, done.call.operation, code), duration_s)
            if code or logs_all:
                self._log_one(done, code, duration_s, recorded=recorded)
                has_lines = True
        if has_lines:
            self._log.flush()

    def _log_one(self, done: Settled, code: str, duration_s: float, *, recorded: bool) -> None:
        if not self._log.logs_errors:
            return
        call = done.call
        principal = call.principal
        self._log.add(
            call.request_id,
            call.operation,
            done.status if recorded else 500,
            code,
            region=done.region,
            principal=principal.arn,
            access_key_id=principal.access_key_id,
            source_ip=call.origin.source_ip,
            duration_s=duration_s,
        )

    def refused(
        self, request_id: str, status: int, code: str, message: str, source_ip: str, authorization: bytes | None
    ) -> None:
        """A request of nobody known, with the header by which he claims to be somebody."""
        self.tallies.count_refusal(code)
        self._strangers.note(request_id, code, message, source_ip, authorization)
        if self._log.logs_errors:
            self._log.add_refusal(request_id, status, code, source_ip)
