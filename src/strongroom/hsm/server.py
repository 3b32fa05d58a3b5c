"""The HSM's one loop: a Unix socket for peers, an inherited socket for the supervisor, nothing else.

Single-threaded on purpose: one frame is answered at a time, and when it is answered nothing of it is left. The HSM never
speaks first. A muted module leaves its connections open and says nothing.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
from contextlib import suppress
from typing import Final

from strongroom.boundary.control import encode
from strongroom.boundary.frames import FrameError, FrameReader, FrameType, format_frame
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import wipe
from strongroom.hsm.connection import Connection
from strongroom.hsm.module import Module, MuteError

# One buffer for all reads: a fresh one of this size would be overwritten by the allocator at every read.
_READ_BYTES: Final = 64 * 1024
# Each of 64 workers has one connection, and a second one while it renews its session.
_CONNECTIONS_MAX: Final = 160
_BACKLOG: Final = 160


def listen(path: str) -> socket.socket:
    """The HSM's socket; whoever may connect is decided by the uid list, so the file mode lets everybody try."""
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 -- a socket left by a killed predecessor.
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(path)
    os.chmod(path, 0o666)  # noqa: PTH101, S103 -- see above: SO_PEERCRED is the check.
    listening.listen(_BACKLOG)
    listening.setblocking(False)  # noqa: FBT003
    return listening


class _Peer:
    """A socket, its unfinished frame and its unsent answers."""

    def __init__(self, sock: socket.socket, connection: Connection | None) -> None:
        self.socket = sock
        self.connection = connection
        self.reader = FrameReader()
        self.unsent = b""
        self.closing = False


class Server:
    """Runs until the supervisor hangs up."""

    def __init__(
        self, module: Module, listening: socket.socket, control: socket.socket, allowed_uids: set[int]
    ) -> None:
        self._module = module
        self._listening = listening
        self._allowed_uids = allowed_uids
        self._selector = selectors.EpollSelector()
        self._peers: set[_Peer] = set()
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._control = _Peer(control, None)
        control.setblocking(False)  # noqa: FBT003
        self._selector.register(listening, selectors.EVENT_READ, None)
        self._selector.register(control, selectors.EVENT_READ, self._control)
        self._running = True

    def run(self) -> None:
        while self._running:
            for key, events in self._selector.select():
                peer: _Peer | None = key.data
                if peer is None:
                    self._accept()
                elif events & selectors.EVENT_WRITE:
                    self._send(peer, b"")
                else:
                    self._read(peer)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listening.accept()
        except OSError:  # The peer has hung up already, or descriptors are short: there is nothing to do for it.
            return
        credentials = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        if uid not in self._allowed_uids or len(self._peers) >= _CONNECTIONS_MAX:
            accepted.close()
            return
        accepted.setblocking(False)  # noqa: FBT003
        peer = _Peer(accepted, Connection(self._module))
        self._peers.add(peer)
        self._selector.register(accepted, selectors.EVENT_READ, peer)

    def _read(self, peer: _Peer) -> None:
        try:
            data = bytes(self._buffer[: peer.socket.recv_into(self._buffer)])
            frames = peer.reader.feed(data) if data else []
        except BlockingIOError:
            return
        except (OSError, FrameError):
            data, frames = b"", []
        if not data:
            self._close(peer)
            return
        answers = []
        for frame_type, body in frames:
            try:
                answers.append(self._answer(peer, frame_type, body))
            except MuteError:
                continue
            except RefusedError as refused:
                answers.append(format_frame(FrameType.REFUSED, bytes((refused.status,))))
                peer.closing = True
                break
        if answers:
            self._send(peer, b"".join(answers))

    def _answer(self, peer: _Peer, frame_type: FrameType, body: bytes) -> bytes:
        if peer.connection is None:
            wipe(self._buffer)  # No session seals what comes here, and shares of a bundle key come here.
            self._module.check()
            if frame_type is not FrameType.CONTROL:
                raise RefusedError(Status.OUT_OF_ORDER)
            return format_frame(FrameType.CONTROL_ANSWER, self._module.answer_control(body))
        if frame_type is FrameType.STATUS_REQUEST:
            self._module.check()
            return format_frame(FrameType.STATUS_REPORT, encode(self._module.report()))
        return peer.connection.handle(frame_type, body)

    def _send(self, peer: _Peer, data: bytes) -> None:
        """Send what fits; a peer that does not read is not read from until it does."""
        peer.unsent += data
        try:
            peer.unsent = peer.unsent[peer.socket.send(peer.unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._close(peer)
            return
        if peer.closing and not peer.unsent:
            self._close(peer)
        else:
            wanted = selectors.EVENT_WRITE if peer.unsent else selectors.EVENT_READ
            if self._selector.get_key(peer.socket).events != wanted:
                self._selector.modify(peer.socket, wanted, peer)

    def _close(self, peer: _Peer) -> None:
        if peer.connection is None:
            self._running = False
            return
        self._selector.unregister(peer.socket)
        peer.socket.close()
        peer.connection.close()
        self._peers.discard(peer)
