"""Takes connections from a listening socket that several workers share.

Whoever has the fewest connections takes the next one; the others leave it to that worker for a moment, and take it
themselves when it does not, because it is busy or stands still. Without this the kernel would wake the same worker first
each time, and clients, which keep their connections, would all sit with one worker (docs/adr/0015).

One connection per turn. What a worker was woken for in vain, because another one was faster, costs it a system call.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import mmap
import socket
import ssl
from collections.abc import Callable
from typing import Final

# What passes by itself, or when others close something (accept(2)); until then every try would fail.
_SHORT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S: Final = 0.5
# How long a connection is left to a worker that has fewer; a loop's turn under load is shorter.
_LEFT_TO_OTHERS_S: Final = 0.005
# How many a worker takes at once that were left by the others: a worker that stands still must not make them slow.
_LEFT_OVER_MAX: Final = 16
# A client that begins TLS and does not go on is a request that does not become whole.
_HANDSHAKE_S_MAX: Final = 20.0
_NOBODY: Final = -1
_LOG = logging.getLogger("strongroom.kms")


class Loads:
    """How many connections each worker has, in memory that all of them and their supervisor share: 8 bytes a worker.

    A place with -1 has no worker. Each worker writes its own place only; what it reads of the others may be old, which
    costs a connection a better place and nothing else.
    """

    def __init__(self, descriptor: int, own: int, count: Callable[[], int]) -> None:
        self._places = memoryview(mmap.mmap(descriptor, 0)).cast("q")
        self._own = own
        self._count = count

    def tell(self) -> None:
        self._places[self._own] = self._count()

    def leave(self) -> None:
        self._places[self._own] = _NOBODY

    def others_have_fewer(self) -> bool:
        own = self._places[self._own]
        return any(_NOBODY < load < own for load in self._places)


class Acceptor:
    """One worker's part in a listening socket, which is its own to close."""

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
        loads: Loads | None = None,
    ) -> None:
        """Without `loads`, connections are taken as they come."""
        listening.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        self._listening = listening
        self._make_protocol = make_protocol
        self._tls = tls
        self._loads = loads
        self._is_tcp = listening.family != socket.AF_UNIX
        self._beginning: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self) -> None:
        self.tell()
        self._listen()

    def tell(self) -> None:
        """Connections that ended are seen by the others when the next one comes, or at the next call of this."""
        if self._loads is not None and not self._closed:
            self._loads.tell()

    def close(self) -> None:
        """Take no more; connections that were taken go on."""
        if self._closed:
            return
        self._closed = True
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        if self._loads is not None:
            self._loads.leave()
        for task in self._beginning:
            task.cancel()

    def _listen(self) -> None:
        if not self._closed:
            asyncio.get_running_loop().add_reader(self._listening, self._on_connection)

    def _listen_again_in(self, seconds: float, then: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening)
        loop.call_later(seconds, then)

    def _on_connection(self) -> None:
        if self._loads is not None:
            self._loads.tell()
            if self._loads.others_have_fewer():
                self._listen_again_in(_LEFT_TO_OTHERS_S, self._take_what_is_left)
                return
        self._take()

    def _take_what_is_left(self) -> None:
        if self._closed:
            return
        self._listen()
        for _ in range(_LEFT_OVER_MAX):
            if not self._take():
                break

    def _take(self) -> bool:
        """Whether there was one."""
        try:
            accepted, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # Another worker has it, or nobody wants it any more.
        except OSError as error:
            if error.errno in _SHORT_OF:
                _LOG.warning("no connection is taken for %s s: %s", _PAUSE_S, error)
                self._listen_again_in(_PAUSE_S, self._listen)
            else:
                _LOG.warning("a connection could not be taken: %s", error)
            return False
        accepted.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        task = asyncio.get_running_loop().create_task(self._begin(accepted))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)
        return True

    async def _begin(self, accepted: socket.socket) -> None:
        try:
            if self._is_tcp:
                # An answer is written at once and whole: nothing is gained by holding back its last packet.
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE_S_MAX,
            )
        except (OSError, asyncio.CancelledError):  # Its client hung up, or speaks no TLS.
            accepted.close()
        self.tell()
