"""Takes connections from a listening socket that several workers share.

Whoever has the fewest connections takes the next one; the others leave it to that worker for a moment, and take it
themselves when it does not, because it is busy or stands still. Without this the kernel would wake the same worker first
each time, and clients, which keep their connections, would all sit with one worker (docs/adr/0015).

Workers beyond the number of cores stand by: they count as having more than they have. Many workers with few connections
each would make small batches, and small batches cost more than a second core gives.

A connection counts from when it is taken: those that are beginning, in TLS's handshake above all, cost memory and a
descriptor like any other. Where there is no room, the kernel's queue holds them, and another worker may take them.

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
from functools import partial
from typing import Final

# What passes by itself, or when others close something (accept(2)); until then every try would fail.
_SHORT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S: Final = 0.5
# How long a connection is left to a worker that has fewer; a busy machine wakes it later.
_LEFT_TO_OTHERS_S: Final = 0.015
# How many a worker takes at once that were left by the others: a worker that stands still must not make them slow.
_LEFT_OVER_MAX: Final = 16
# Whoever has a key to show needs milliseconds. Beyond so many at once the oldest is given up: a flood that says nothing
# keeps nobody out who does.
_HANDSHAKE_S_MAX: Final = 10.0
_HANDSHAKES_MAX: Final = 512
# Every connection is owed an answer: some of them leave soon.
_FULL_PAUSE_S: Final = 0.02
_NOBODY: Final = -1
# By how many connections a worker that stands by counts as fuller: about as many as keep a core busy.
STAND_BY: Final = 32
_LOG = logging.getLogger("strongroom.kms")


class Loads:
    """How many connections each worker has, in memory that all of them and their supervisor share: 8 bytes a worker.

    A place with -1 has no worker. Each worker writes its own place only; what it reads of the others may be old, which
    costs a connection a better place and nothing else.
    """

    def __init__(self, descriptor: int, own: int, count: Callable[[], int], cores: int) -> None:
        """`own` is this worker's number, from 0; `count` tells its connections."""
        self._places = memoryview(mmap.mmap(descriptor, 0)).cast("q")
        self._own = own
        self._count = count
        self._more = 0 if own < cores else STAND_BY

    def tell(self) -> None:
        self._places[self._own] = self._count() + self._more

    def leave(self) -> None:
        self._places[self._own] = _NOBODY

    def fewer(self) -> list[tuple[int, int]]:
        """The workers that have fewer, and how many each has."""
        own = self._places[self._own]
        return [(number, load) for number, load in enumerate(self._places) if _NOBODY < load < own]


class Acceptor:
    """One worker's part in a listening socket, which is its own to close."""

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
        loads: Loads | None = None,
        has_room: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """Without `loads`, connections are taken as they come; `has_room` hears how many are beginning."""
        listening.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        self._listening = listening
        self._make_protocol = make_protocol
        self._tls = tls
        self._loads = loads
        self._has_room = has_room
        self._is_tcp = listening.family != socket.AF_UNIX
        # In the order of their coming.
        self._beginning: dict[asyncio.Task[None], None] = {}
        self._closed = False

    def start(self) -> None:
        self.tell()
        self._listen()

    def tell(self) -> None:
        """Connections that ended are seen by the others when the next one comes, or at the next call of this."""
        if self._loads is not None and not self._closed:
            self._loads.tell()

    def close(self) -> None:
        """Take no more; connections that were taken go on, also those that still begin.

        To cancel one that has sent its first request already would close it without a word to its protocol, which would
        write an answer to it all the same.
        """
        if self._closed:
            return
        self._closed = True
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        if self._loads is not None:
            self._loads.leave()

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
            if fewer := self._loads.fewer():
                self._listen_again_in(_LEFT_TO_OTHERS_S, partial(self._take_what_is_left, fewer))
                return
        self._take()

    def _take_what_is_left(self, left_to: list[tuple[int, int]]) -> None:
        """Nothing, as long as those who have fewer go on taking."""
        if self._closed:
            return
        fewer = [] if self._loads is None else self._loads.fewer()
        if fewer and fewer != left_to:
            asyncio.get_running_loop().call_later(_LEFT_TO_OTHERS_S, self._take_what_is_left, fewer)
            return
        self._listen()
        for _ in range(_LEFT_OVER_MAX):
            if not self._take():
                break

    def _take(self) -> bool:
        """Whether one was taken."""
        if not self._has_room(len(self._beginning)):
            self._listen_again_in(_FULL_PAUSE_S, self._listen)
            return False
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
        if self._tls is not None and len(self._beginning) >= _HANDSHAKES_MAX:
            oldest = next(iter(self._beginning))
            del self._beginning[oldest]
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._begin(accepted))
        self._beginning[task] = None
        task.add_done_callback(self._begun)
        return True

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._beginning.pop(task, None)

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
