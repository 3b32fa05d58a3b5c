"""The sockets on which customers and operators are served: made once, and handed to every worker.

A connection that arrives waits in the kernel's queue until some worker takes it. So a worker that starts again refuses
nobody, and one that hangs holds back only what it has taken already (docs/adr/0015).

The operators' sockets lie in a directory of the supervisor's own; their mode lets everybody connect, for the kernel tells
the worker who it is.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from strongroom.supervisor.home import Home, HomeError

_BACKLOG: Final = 1024
_NO_WORKER: Final = struct.Struct("=q")
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
# Whoever may connect needs leave to write.
_MODE_OF_ALL: Final = 0o666


class Listeners:
    """Open until `close`; `listen` lets the first connection in."""

    def __init__(
        self, public: socket.socket, metrics: socket.socket | None, home: Home, workers: Sequence[str]
    ) -> None:
        """Bind the operators' sockets; `public` and `metrics`, where whoever watches may ask for numbers, are bound."""
        self.public: Final = public
        self.metrics: Final = metrics
        self.operators: Final = _bind_unix(home.admin_socket)
        for left in home.run_kms.glob("w*.sock"):
            left.unlink()
        self.operators_of: Final = {name: _bind_unix(home.worker_socket(name)) for name in workers}
        # How many connections each worker has (kms/wire/acceptor.py); a place without a worker holds -1.
        self.loads: Final = os.memfd_create("loads", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(self.loads, len(workers) * _NO_WORKER.size)
        # A worker that went bad may lie about its load; made shorter, this memory would kill all others who look at it.
        fcntl.fcntl(self.loads, fcntl.F_ADD_SEALS, _SEALS)
        for number in range(len(workers)):
            self.forget_load(number)

    def _all(self) -> list[socket.socket]:
        metrics = [] if self.metrics is None else [self.metrics]
        return [self.public, *metrics, self.operators, *self.operators_of.values()]

    def listen(self) -> None:
        for listening in self._all():
            listening.listen(_BACKLOG)
            listening.setblocking(False)  # noqa: FBT003 -- the socket's own interface.

    def handed_to(self, worker: str) -> list[tuple[str, int]]:
        """What a worker inherits, each with the option that names it."""
        own = self.operators_of[worker]
        handed = [("--listen-fd", self.public.fileno()), ("--loads-fd", self.loads)]
        handed += [("--operators-fd", sock.fileno()) for sock in (self.operators, own)]
        return handed if self.metrics is None else [*handed, ("--metrics-fd", self.metrics.fileno())]

    def forget_load(self, number: int) -> None:
        """Of a worker that is gone, so that nobody leaves it a connection."""
        os.pwrite(self.loads, _NO_WORKER.pack(-1), number * _NO_WORKER.size)

    def close(self) -> None:
        """The sockets; the workers that are told to stop still write into their places."""
        for listening in self._all():
            listening.close()


def bind_public(address: str, port: int) -> socket.socket:
    """A bound socket that lets nobody in yet.

    Raises:
        HomeError: somebody else listens there, or this machine has no such address.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        # A port whose last connections have not timed out yet is still ours to take.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
    except OSError as error:
        listening.close()
        raise HomeError(f"{address} port {port} cannot be served on: {os.strerror(error.errno or 0)}") from None
    return listening


def _bind_unix(path: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        path.unlink()  # Left by a killed predecessor.
    listening = socket.socket(socket.AF_UNIX)
    # The socket's own mode becomes the file's, so that no name has to be trusted a second time.
    os.fchmod(listening.fileno(), _MODE_OF_ALL)
    mask = os.umask(0)
    try:
        listening.bind(str(path))
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(mask)
    return listening
