"""The service's own words, as JSON lines of the request log's form.

Of an exception they tell its type and where it was raised, and never its text: a text may quote what it stumbled over.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from pathlib import Path
from typing import Any, Final

import msgspec

from strongroom.kms.telemetry.lines import LineWriter
from strongroom.kms.telemetry.request_log import LineTimes

_LOG: Final = logging.getLogger("strongroom.kms")
_FRAMES_MAX: Final = 20


class ServiceLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """Members in this order; the last two of exceptions only."""

    time: str
    level: str
    event: str
    logger: str
    message: str
    worker: str
    exception: str = ""
    raised_at: list[str] = []


_encode: Final = msgspec.json.Encoder().encode


class ServiceLog(logging.Handler):
    """The handler of the root logger."""

    def __init__(self, writer: LineWriter, worker: str) -> None:
        super().__init__(logging.INFO)
        self._writer = writer
        self._worker = worker
        self._times = LineTimes()

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        line = ServiceLine(
            self._times.format(record.created),
            record.levelname.lower(),
            "log",
            record.name,
            record.getMessage(),
            self._worker,
            "" if error is None else type(error).__name__,
            [] if error is None else _places_of(error),
        )
        self._writer.write(_encode(line) + b"\n")


def _places_of(error: BaseException) -> list[str]:
    """Innermost last, as tracebacks have it: file, line and function."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MAX:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def log_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The event loop's exception handler: its own would show values in full."""
    error = context.get("exception")
    info = (type(error), error, error.__traceback__) if isinstance(error, BaseException) else None
    _LOG.error("%s", context.get("message", "an exception that nobody took"), exc_info=info)
