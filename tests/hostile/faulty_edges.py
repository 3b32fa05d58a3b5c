"""Edges with a fault in them, in this process and on real sockets: what the experiments on the wire must notice.

Behind them is a service that knows one thing: who signed, and which key they named. Nothing here ever runs in the product.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import parse_qsl

import httptools

from strongroom.kms.wire.http import Clocks, Edge, HttpConnection
from strongroom.protocol.requests import HeaderNames, HttpRequest
from strongroom.protocol.sigv4 import Refused, Verifier


class AcceptsCodings(HttpConnection):
    """A body may have two lengths: whatever the parser thinks of them counts."""

    def _require_framing(self, _: HeaderNames) -> None:
        return


class GoesOn(HttpConnection):
    """After a request that is none it listens for the next one."""

    def _break(self, status: int) -> None:
        self._forget()
        self._write(b"HTTP/1.1 %d Bad\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
        self._parser = httptools.HttpRequestParser(self)


class KeepsBodies(HttpConnection):
    """What was the body of one request begins the next one's."""

    def _forget(self) -> None:
        body = self._body
        super()._forget()
        self._body = body


class AnswersTwice(HttpConnection):
    """One answer too many, now and then."""

    def answer(self, status: int, content_type: bytes, request_id: str, body: bytes) -> None:
        if self._keep_alive and b"tag" in body and len(self._queue):
            self._write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        super().answer(status, content_type, request_id, body)


class AnswersWhoeverIsThere(HttpConnection):
    """An answer goes to the connection that came last."""

    def answer(self, status: int, content_type: bytes, request_id: str, body: bytes) -> None:
        newest = list(self._edge.connections)[-1]
        assert isinstance(newest, HttpConnection)
        if newest._transport is not None and newest._busy:
            HttpConnection.answer(newest, status, content_type, request_id, body)
        else:
            super().answer(status, content_type, request_id, body)


class TellsEverybodyToGoOn(HttpConnection):
    """Whatever a client expects, it is told to send its body, be there one or not."""

    def _awaits_leave(self, _: HeaderNames) -> bool:
        return True


class IsSurprised(HttpConnection):
    """An exception is answered as one."""

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if b"*" in url:
            self._write(b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            assert self._transport is not None
            self._transport.close()


class TakesAnyVersion(HttpConnection):
    """What the parser takes for a version is one."""

    def on_headers_complete(self) -> None:
        parser: Any = self._parser
        self._parser = _AlwaysNew(parser)
        try:
            super().on_headers_complete()
        finally:
            self._parser = parser


class _AlwaysNew:
    def __init__(self, parser: Any) -> None:
        self.get_method = parser.get_method
        self.should_keep_alive = parser.should_keep_alive
        self._version = parser.get_http_version()

    def get_http_version(self) -> str:
        return self._version if self._version == "1.0" else "1.1"


# Each with what must be said of it.
FAULTY: Final[dict[type[HttpConnection], str]] = {
    AcceptsCodings: "a request that was not asked",
    GoesOn: "not closed",
    KeepsBodies: "an honest request was not answered",
    AnswersTwice: "answers were asked for",
    # What is wrong first hangs on where objects lie: whoever was due that answer may also wait for it.
    AnswersWhoeverIsThere: "somebody else|answers were|was not answered|not asked|not as it was signed|not closed",
    TellsEverybodyToGoOn: "nobody asked whether to go on|'100', '403', 'tag'] instead of",
    IsSurprised: "an answer of 500 or above",
    TakesAnyVersion: "a request that was not asked",
}


@asynccontextmanager
async def serving(connection: type[HttpConnection]) -> AsyncIterator[int]:
    """An edge of such connections; its port."""
    loop = asyncio.get_running_loop()
    verifier = Verifier()

    def submit(asked: HttpConnection, request: HttpRequest) -> None:
        loop.call_soon(lambda: asked.answer(*_answer(verifier, request)))

    edge = Edge(submit, Clocks(time.time))
    server = await loop.create_server(lambda: connection(edge), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for open_one in list(edge.connections):
            open_one.abort()
        await server.wait_closed()


def _answer(verifier: Verifier, request: HttpRequest) -> tuple[int, bytes, str, bytes]:
    if request.target == b"/livez" and request.method == "GET":
        return 200, b"text/plain", "id", b"yes\n"
    try:
        verified = verifier.verify(request, time.time(), lambda _: "test", frozenset(_WORDS))
        wording, read_name = _WORDS[verified.service]
        named = read_name(request.body)
    except (Refused, ValueError, KeyError, TypeError):
        # As the two protocols have it.
        return 403 if request.value_of(b"x-amz-target") is None else 400, b"text/plain", "id", b"refused"
    return 400, b"text/plain", "id", wording.format(named).encode()


# Of each service: how it says that it does not know what was named, and where the name stands.
_WORDS: Final[dict[str, tuple[str, Callable[[bytes], str]]]] = {
    "kms": ("Invalid keyId '{}'", lambda body: str(json.loads(body)["KeyId"])),
    "iam": ("The user with name {} cannot be found", lambda body: dict(parse_qsl(body.decode()))["UserName"]),
}
