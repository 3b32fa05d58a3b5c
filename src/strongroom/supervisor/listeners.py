"""The sockets on which customers and operators are served: made once, and handed to every worker.

A connection that arrives waits in the kernel's queue until some worker takes it. So a worker that starts again refuses
nobody, and one that hangs holds back only what it has taken already (docs/adr/0015).

The operators' sockets lie in a directory of the supervisor's own; their mode lets everybody connect, for the kernel tells
the worker who it is.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from strongroom.supervisor.home import Home, HomeError

_BACKLOG: Final = 1024
# Whoever may connect needs leave to write.
_MODE_OF_ALL: Final = 0o666


class Listeners:
    """Open until `close`; `listen` lets the first connection in."""

    def __init__(
        self, address: str, port: int, home: Home, workers: Sequence[str], metrics: tuple[str, int] | None = None
    ) -> None:
        """Bind everything; `metrics` is where whoever watches may ask for numbers.

        Raises:
            HomeError: somebody else listens there, or this machine has no such address.
        """
        self.public: Final = _bind_public(address, port)
        self.metrics: Final = None if metrics is None else _bind_public(*metrics)
        self.operators: Final = _bind_unix(home.admin_socket)
        for left in home.run_kms.glob("w*.sock"):
            left.unlink()
        self.operators_of: Final = {name: _bind_unix(home.worker_socket(name)) for name in workers}

    def _all(self) -> list[socket.socket]:
        metrics = [] if self.metrics is None else [self.metrics]
        return [self.public, *metrics, self.operators, *self.operators_of.values()]

    def listen(self) -> None:
        for listening in self._all():
            listening.listen(_BACKLOG)
            listening.setblocking(False)  # noqa: FBT003 -- the socket's own interface.

    def close(self) -> None:
        for listening in self._all():
            listening.close()


def _bind_public(address: str, port: int) -> socket.socket:
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
