"""One connection to one HSM: opens a session if it has none, then carries sealed frames in order.

Frames are answered in the order in which they were sent; anything else, or a frame that does not open, ends the channel.
Whoever owns it decides what to do with the commands that were under way.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final, cast

import msgspec

from strongroom.boundary import session
from strongroom.boundary.domain_token import DomainState
from strongroom.boundary.frames import FrameError, FrameReader, FrameType, format_frame
from strongroom.boundary.messages import UNREADABLE, AnswerFrame, decode_answer_frame
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.kms.hsm_link.host_session import Handshake, HostIdentity, HostSession

_decode_opened = msgspec.msgpack.Decoder(session.Opened).decode
# An opening is a few milliseconds; a peer that takes longer is treated as gone.
OPENING_S_MAX: Final = 2.0


class Channel(asyncio.Protocol):
    """An asyncio protocol; `on_open`, `on_answers` and `on_lost` tell its owner."""

    def __init__(
        self,
        identity: HostIdentity,
        domain: DomainState,
        host_session: HostSession | None,
        on_open: Callable[[Channel], None],
        on_answers: Callable[[Channel, AnswerFrame], None],
        on_lost: Callable[[Channel, Status | None], None],
    ) -> None:
        self.session = host_session
        self.frames_under_way = 0
        self.is_open = False
        self._identity = identity
        self._domain = domain
        self._on_open = on_open
        self._on_answers = on_answers
        self._on_lost = on_lost
        self._refused: Status | None = None
        self._reader = FrameReader()
        self._handshake: Handshake | None = None
        self._opening: session.Open | None = None
        self._keys = (b"", b"")
        self._inbound = session.Direction()
        self._outbound = session.Direction()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._steps: Final = {
            FrameType.CHALLENGE: self._on_challenge,
            FrameType.GRANT: self._on_grant,
            FrameType.OPENED: self._on_opened,
            FrameType.ANSWERS: self._on_answer_frame,
            FrameType.REFUSED: self._on_refused,
        }

    # ── asyncio ─────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(OPENING_S_MAX, self.close)
        if self.session is None:
            self._handshake = Handshake(self._identity, self._domain, os.urandom)
            self._send(FrameType.HELLO, self._handshake.hello())
        else:
            self._open_session()

    def data_received(self, data: bytes) -> None:
        try:
            for frame_type, body in self._reader.feed(data):
                step = self._steps.get(frame_type)
                if step is None:
                    raise RefusedError(Status.OUT_OF_ORDER)
                step(body)
        except (FrameError, RefusedError, ValueError, *UNREADABLE):
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        self._on_lost(self, self._refused)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self, frame_type: FrameType, body: bytes) -> None:
        assert self._transport is not None
        self._transport.write(format_frame(frame_type, body))

    def _on_challenge(self, body: bytes) -> None:
        if self._handshake is None:
            raise RefusedError(Status.OUT_OF_ORDER)
        self._send(FrameType.FINISH, self._handshake.finish(body))

    def _on_grant(self, body: bytes) -> None:
        if self._handshake is None:
            raise RefusedError(Status.OUT_OF_ORDER)
        self.session = self._handshake.accept(body, time.time())
        self._handshake = None
        self._open_session()

    def _open_session(self) -> None:
        assert self.session is not None
        self._opening = session.Open(self.session.token, os.urandom(session.RANDOM_BYTES))
        self._send(FrameType.OPEN, session.encode(self._opening))

    def _on_opened(self, body: bytes) -> None:
        if self._opening is None or self.session is None or self.is_open:
            raise RefusedError(Status.OUT_OF_ORDER)
        opened = _decode_opened(body)
        self._keys = session.direction_keys(self.session.key.expose(), self._opening, opened, self._identity.host_id)
        self.is_open = True
        if self._timer is not None:
            self._timer.cancel()
        self._on_open(self)

    # ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────

    def send_commands(self, plaintext: bytes) -> None:
        """Seal and send one encoded `CommandFrame`."""
        self._send(FrameType.COMMANDS, self._outbound.seal(self._keys[0], FrameType.COMMANDS, plaintext))
        self.frames_under_way += 1

    def _on_answer_frame(self, body: bytes) -> None:
        plaintext = self._inbound.open(self._keys[1], FrameType.ANSWERS, body)
        self.frames_under_way -= 1
        self._on_answers(self, decode_answer_frame(plaintext))

    def _on_refused(self, body: bytes) -> None:
        self._refused = Status(body[0]) if body else Status.MALFORMED
        self.close()
