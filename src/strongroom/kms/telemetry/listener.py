"""`GET /metrics` on a port of its own: whoever may ask for numbers need not reach the API, nor the other way round."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from strongroom.kms.telemetry.exposition import CONTENT_TYPE
from strongroom.kms.wire.acceptor import Acceptor
from strongroom.kms.wire.http import Clocks, Edge, HttpConnection
from strongroom.protocol.requests import HttpRequest

# Somebody who watches needs one or two; they must not take the descriptors of those who are served.
_CONNECTIONS_MAX: Final = 32
_TEXT: Final = b"text/plain; charset=utf-8"


class MetricsListener:
    """Listens until stopped; the service's own HTTP edge with its limits, and one resource."""

    def __init__(self, listening: socket.socket, scrape: Callable[[], bytes], clock: Callable[[], float]) -> None:
        self._scrape = scrape
        self._edge = Edge(self._answer, Clocks(clock), _CONNECTIONS_MAX)
        self._acceptor = Acceptor(listening, lambda: HttpConnection(self._edge), has_room=self._edge.has_room)

    def start(self) -> None:
        self._acceptor.start()

    def sweep(self, now_s: float) -> None:
        """Close what is too slow; once a second."""
        self._edge.sweep(now_s)

    def stop(self) -> None:
        self._acceptor.close()
        for connection in list(self._edge.connections):
            connection.close_if_idle()

    def _answer(self, connection: HttpConnection, request: HttpRequest) -> None:
        if request.target.split(b"?", 1)[0] != b"/metrics":
            connection.answer(404, _TEXT, "", b"metrics are at /metrics\n")
        elif request.method != "GET":
            connection.answer(405, _TEXT, "", b"only GET\n")
        else:
            connection.answer(200, CONTENT_TYPE, "", self._scrape())
