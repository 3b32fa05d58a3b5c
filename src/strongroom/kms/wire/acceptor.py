"""Takes connections from a listening socket that several workers share.

One connection per turn: whoever is idle takes the next, so that connections spread by how busy the workers are. What the
kernel wakes for nothing, because another worker was faster, goes back to sleep (docs/adr/0015).
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

# What passes by itself, or when others close something (accept(2)); until then every try would fail.
_SHORT_OF: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_S: Final = 0.5
# A client that begins TLS and does not go on is a request that does not become whole.
_HANDSHAKE_S_MAX: Final = 20.0
_LOG = logging.getLogger("strongroom.kms")


class Acceptor:
    """One worker's part in a listening socket, which is its own to close."""

    def __init__(
        self,
        listening: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        listening.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        self._listening = listening
        self._make_protocol = make_protocol
        self._tls = tls
        self._is_tcp = listening.family != socket.AF_UNIX
        self._beginning: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self) -> None:
        if not self._closed:
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Take no more; connections that were taken go on."""
        if not self._closed:
            self._closed = True
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            for task in self._beginning:
                task.cancel()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # Another worker has it, or nobody wants it any more.
        except OSError as error:
            if error.errno not in _SHORT_OF:
                _LOG.warning("a connection could not be taken: %s", error)
                return
            _LOG.warning("no connection is taken for %s s: %s", _PAUSE_S, error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listening)
            loop.call_later(_PAUSE_S, self.start)
            return
        accepted.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        task = asyncio.get_running_loop().create_task(self._begin(accepted))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

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
