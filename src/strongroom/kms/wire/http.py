"""HTTP/1.1 as this service speaks it: bytes to requests, answers to bytes, and every limit on the way.

Invariants: one request per connection is under way, answered in order; what a client may make us hold is bounded by the
numbers below; a request that breaks the protocol is answered 4xx, or 503 where memory is short, and ends its connection;
nothing of a body is parsed here. Transfer codings are refused: no KMS client uses them, and two lengths for one body are
how requests are smuggled.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from operator import attrgetter
from typing import Final, cast

import httptools

from strongroom.protocol.requests import HeaderNames, HttpRequest, header_names

# 262,144 bytes of attestation document in base64, the largest member of the model, and the rest of its request.
BODY_BYTES_MAX: Final = 512 * 1024
HEADER_BYTES_MAX: Final = 32 * 1024
HEADERS_MAX: Final = 64
TARGET_BYTES_MAX: Final = 8 * 1024
# Of all connections' unfinished requests together: nobody needs a credential to begin one.
HELD_BYTES_MAX: Final = 64 * 1024 * 1024
# Requests that a client may send ahead of answers.
PIPELINED_MAX: Final = 16
# A request must be whole this long after its first byte; a silent connection is closed after the second figure.
REQUEST_S_MAX: Final = 20.0
IDLE_S_MAX: Final = 75.0
# Fewer where the process may not have as many files open (`kms/process.py`).
CONNECTIONS_MAX: Final = 10_000
# A TLS connection holds 55 KiB, and 310 when it has received much at once: 110 MB, and 620 at the worst.
TLS_CONNECTIONS_MAX: Final = 2_000
# How many of those that are silent are hung up on together: looking for them costs a walk over all connections.
_ROOM_SHARE: Final = 16

_REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    409: b"Conflict",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}
# RFC 9112 2.3; the parser also takes 0.9, without any version in the line, and 2.0.
_VERSIONS: Final = frozenset(("1.0", "1.1"))
JSON_TYPE: Final = b"application/x-amz-json-1.1"


class _BrokenError(Exception):
    """The request breaks a limit; `status` answers it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Clocks:
    """The Date header, made once a second."""

    __slots__ = ("_date", "_now", "_second")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = -1
        self._date = b""

    def date(self) -> bytes:
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode()
        return self._date


class Edge:
    """What all connections share: who handles requests, and which connections there are."""

    def __init__(
        self,
        submit: Callable[[HttpConnection, HttpRequest], None],
        clocks: Clocks,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self.submit: Final = submit
        self.clocks: Final = clocks
        self.connections_max: Final = connections_max
        self.connections: set[HttpConnection] = set()
        self.held_bytes = 0
        # The clock of the time-outs, in seconds of the event loop: exact to a second, and costs a request nothing.
        self.tick_s = time.monotonic()

    def has_room(self, beginning: int) -> bool:
        """Whether another connection may be taken beside the open ones and those that are `beginning`.

        Who is silent makes room: strangers who hold connections must not keep out those who have something to ask, a
        health check first of all. Those go first whose last answer, or else whose beginning, is longest ago.
        """
        if len(self.connections) + beginning < self.connections_max:
            return True
        silent = sorted(
            (connection for connection in self.connections if not connection.awaits_answer), key=attrgetter("last_s")
        )
        for connection in silent[: max(1, self.connections_max // _ROOM_SHARE)]:
            # It is told of its end in a later turn, and must not be counted until then.
            self.connections.discard(connection)
            connection.abort()
        return bool(silent)

    async def finish(self, within_s: float) -> None:
        """Close every connection once its answer has left, at the latest after `within_s`."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        while self.connections and loop.time() < deadline_s:
            for connection in list(self.connections):
                connection.close_if_idle()
            await asyncio.sleep(0.02)

    def sweep(self, now_s: float) -> None:
        """Close what is too slow; once a second."""
        self.tick_s = now_s
        for connection in list(self.connections):
            connection.close_if_late(now_s)


_NO_NAMES: Final = header_names(())


def _status_of(error: httptools.HttpParserCallbackError) -> int:
    """A function of its own: in a variable of the caller's the error would hold the frame that holds it, and the request."""
    broken = error.__context__
    return broken.status if isinstance(broken, _BrokenError) else 400


def _require_length(value: bytes) -> None:
    """A Content-Length is digits, and not more than we take."""
    if not value.isdigit():
        raise _BrokenError(400)
    if len(value) > 10 or int(value) > BODY_BYTES_MAX:
        raise _BrokenError(413)


class HttpConnection(asyncio.Protocol):
    """One client. The parser calls the `on_…` methods."""

    __slots__ = (
        "_body",
        "_body_length",
        "_broken",
        "_busy",
        "_edge",
        "_header_bytes",
        "_held",
        "_in_head",
        "_keep_alive",
        "_names",
        "_parser",
        "_queue",
        "_read_bytes",
        "_request_names",
        "_started_s",
        "_stays_open",
        "_target",
        "_transport",
        "_values",
        "arrived_s",
        "last_s",
        "peer",
    )

    def __init__(self, edge: Edge) -> None:
        self._edge: Final = edge
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: deque[tuple[HttpRequest, bool]] = deque()
        self._busy = False
        self._keep_alive = True
        # The status for a request that broke the protocol while another one's answer was due.
        self._broken = 0
        self._started_s = 0.0
        # When the last answer left; before the first, when the connection was taken.
        self.last_s = 0.0
        # When the request under way was begun, on the clock of whoever handles it.
        self.arrived_s = 0.0
        self.peer = ""
        self._target = b""
        self._names: list[bytes] = []
        self._values: list[bytes] = []
        # How much came with the last read.
        self._read_bytes = 0
        self._request_names = _NO_NAMES
        self._header_bytes = 0
        self._in_head = False
        # What the headers of the request under way say of the connection.
        self._stays_open = True
        self._body: bytes | list[bytes] = b""
        self._body_length = 0
        # Bytes of an unfinished request, counted in the edge's budget.
        self._held = 0

    # ── asyncio ─────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.last_s = self._edge.tick_s
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if address else "unix"
        self._edge.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._edge.connections.discard(self)
        self._edge.held_bytes -= self._held
        self._held = 0
        self._transport = None
        self._queue.clear()
        # Each holds the other: without this, connections that come and go would stay until the collector's next run.
        del self._parser

    def data_received(self, data: bytes) -> None:
        self._read_bytes = len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._break(_status_of(error))
        except httptools.HttpParserError:
            self._break(400)
        else:
            if self._in_head:
                self._hold_head(len(data))

    def eof_received(self) -> bool:
        """A client that has stopped sending still gets its answers: True keeps the connection open for them."""
        if self._queue:
            request, _ = self._queue.pop()
            self._queue.append((request, False))
        else:
            self._keep_alive = False
        return self._busy

    def _hold_head(self, received: int) -> None:
        """The parser and we hold what came of a head that has not ended."""
        self._header_bytes += received
        self._held += received
        self._edge.held_bytes += received
        if self._header_bytes > HEADER_BYTES_MAX + TARGET_BYTES_MAX or len(self._values) > HEADERS_MAX:
            self._break(431)
        elif self._edge.held_bytes > HELD_BYTES_MAX:
            self._break(503)

    # ── parser ──────────────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._in_head = True
        self._started_s = self._edge.tick_s

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > TARGET_BYTES_MAX:
            raise _BrokenError(400)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._names.append(name)
        self._values.append(value)

    def on_headers_complete(self) -> None:
        if self._parser.get_method() in {b"HEAD", b"CONNECT"}:
            # Their answers have no body, and what follows them may be no request: nobody here answers so.
            raise _BrokenError(405)
        self._in_head = False
        values = self._values
        if len(values) > HEADERS_MAX:
            raise _BrokenError(431)
        self._request_names = names = header_names(tuple(self._names))
        # What came with one read, and this alone, is measured exactly only where it could be too much.
        could_be_long = self._header_bytes + self._read_bytes > HEADER_BYTES_MAX
        if could_be_long and names.size_bytes + sum(map(len, values)) > HEADER_BYTES_MAX:
            raise _BrokenError(431)
        self._stays_open = stays_open = self._parser.should_keep_alive()
        # Only 1.1 keeps a connection unasked: of the others, the parser takes versions that are not spoken here.
        if (not stays_open or b"connection" in names.place_of) and self._parser.get_http_version() not in _VERSIONS:
            raise _BrokenError(400)
        if names.length_place is not None:
            _require_length(values[names.length_place])
        if not names.are_plain:
            self._require_framing(names)

    def _require_framing(self, names: HeaderNames) -> None:
        hosts = 0
        for name, value in zip(names.spelled, self._values, strict=True):
            lower = name.lower()
            hosts += lower == b"host"
            if lower == b"content-length":
                _require_length(value)
        # RFC 9112 3.2: one, so that nobody on the way reads another than we do. A client of 1.0 need not name any.
        if hosts > 1 or (not hosts and self._parser.get_http_version() == "1.1"):
            raise _BrokenError(400)
        # The parser would take an upgrade's body for the other protocol's first bytes.
        if b"transfer-encoding" in names.place_of or b"upgrade" in names.place_of:
            raise _BrokenError(400)
        # Behind an answer that is still due it would be read as that one's; such a client sends its body anyway.
        if b"expect" in names.place_of and not self._busy and self._awaits_leave(names):
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _awaits_leave(self, names: HeaderNames) -> bool:
        """Whether a client sends its body once it is told to: who did not ask would take that for the answer.

        RFC 9110 10.1.1: there is one thing to expect, a client of 1.0 cannot, and without a body nobody does.
        """
        expected = self._values[names.place_of[b"expect"]].lower()
        length = b"" if names.length_place is None else self._values[names.length_place].strip(b"0")
        return bool(length) and expected == b"100-continue" and self._parser.get_http_version() == "1.1"

    def on_body(self, body: bytes) -> None:
        self._body_length += len(body)
        if self._body_length > BODY_BYTES_MAX:
            raise _BrokenError(413)
        self._held += len(body)
        self._edge.held_bytes += len(body)
        if self._edge.held_bytes > HELD_BYTES_MAX:
            raise _BrokenError(503)
        if not self._body:
            self._body = body
        elif isinstance(self._body, list):
            self._body.append(body)
        else:
            self._body = [self._body, body]

    def on_message_complete(self) -> None:
        self._started_s = 0.0
        self._edge.held_bytes -= self._held
        self._held = 0
        received = self._parser.get_method()
        method = "POST" if received == b"POST" else received.decode("ascii", "replace")
        body = b"".join(self._body) if isinstance(self._body, list) else self._body
        request = HttpRequest(method, self._target, self._request_names, self._values, body)
        self._forget()
        keep_alive = self._stays_open
        if self._busy:
            if len(self._queue) >= PIPELINED_MAX:
                raise _BrokenError(400)
            self._queue.append((request, keep_alive))
        else:
            self._handle(request, keep_alive)

    def _forget(self) -> None:
        """Whoever keeps a connection must not keep its last request here."""
        self._target = b""
        self._names = []
        self._values = []
        self._request_names = _NO_NAMES
        self._header_bytes = 0
        self._body = b""
        self._body_length = 0

    def _handle(self, request: HttpRequest, keep_alive: bool) -> None:  # noqa: FBT001 -- private, from the queue.
        self._busy = True
        self._keep_alive = keep_alive
        self._edge.submit(self, request)

    @property
    def awaits_answer(self) -> bool:
        return self._busy

    # ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, status: int, content_type: bytes, request_id: str, body: bytes) -> None:
        """Answer the request under way; to a client that has gone this does nothing."""
        if self._transport is None:
            return
        self._write(
            b"HTTP/1.1 %d %b\r\nx-amzn-RequestId: %b\r\nContent-Type: %b\r\nDate: %b\r\nContent-Length: %d\r\n%b\r\n%b"
            % (
                status,
                _REASONS[status],
                request_id.encode(),
                content_type,
                self._edge.clocks.date(),
                len(body),
                b"" if self._keep_alive else b"Connection: close\r\n",
                body,
            )
        )
        self._busy = False
        self.last_s = self._edge.tick_s
        if not self._keep_alive:
            self._transport.close()
        elif self._queue:
            self._handle(*self._queue.popleft())
        elif self._broken:
            self._break(self._broken)

    def _break(self, status: int) -> None:
        """Answer a request that is none, after those before it, and stop listening."""
        if self._transport is None or self._transport.is_closing():
            return
        self._forget()
        if self._busy:
            self._broken = status
            self._transport.pause_reading()
            return
        self._write(b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % (status, _REASONS[status]))
        self._transport.close()

    def pause_writing(self) -> None:
        """Whoever does not read its answers is not read either: what waits for it stays bounded."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        ends = self._broken or not self._keep_alive
        if self._transport is not None and not self._transport.is_closing() and not ends:
            self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def close_if_late(self, now_s: float) -> None:
        if self._transport is None or self._busy:
            return
        late = now_s - self._started_s > REQUEST_S_MAX if self._started_s else now_s - self.last_s > IDLE_S_MAX
        if late:
            self.abort()

    def abort(self) -> None:
        """Not `close`, which would wait for as long as this client does not read."""
        if self._transport is not None:
            self._transport.abort()

    def close_if_idle(self) -> None:
        """For a stop: whoever waits for an answer still gets it."""
        self._keep_alive = False
        if self._transport is not None and not self._busy:
            self._transport.close()
