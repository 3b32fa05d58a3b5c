"""What the service hears from its HSM, or from whoever has taken its place on the socket."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Final, cast

from hostile.case import Case, require
from strongroom.boundary import messages, session
from strongroom.boundary.frames import FrameReader, FrameType, format_frame
from strongroom.kms.hsm_link.channel import Channel
from testkit.module import Hsm, operational_hsm


class _Transport:
    """Keeps what the channel says."""

    def __init__(self) -> None:
        self.frames: list[tuple[FrameType, bytes]] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.frames += FrameReader().feed(data)

    def close(self) -> None:
        self.closed = True


class _Host:
    """A channel of the service, and what it told its owner."""

    def __init__(self, hsm: Hsm) -> None:
        self.transport, self.answers, self.is_open = _Transport(), list[messages.AnswerFrame](), False
        self.channel = Channel(
            hsm.host, hsm.domain, None, self._opened, lambda _, frame: self.answers.append(frame), self._lost
        )
        self.channel.connection_made(cast("asyncio.BaseTransport", self.transport))

    def _opened(self, _: Channel) -> None:
        self.is_open = True

    def _lost(self, *_: object) -> None:
        return

    def end(self) -> None:
        self.channel.connection_lost(None)

    def hear(self, data: bytes) -> None:
        if not self.transport.closed:
            self.channel.data_received(data)

    @property
    def said(self) -> list[FrameType]:
        return [frame_type for frame_type, _ in self.transport.frames]


def hosts() -> Case:
    """Whatever an HSM's place is taken by, it opens no session and its answers are none; the first byte chooses when.

    A challenge is signed once; nothing else is said, and what is out of order or unreadable ends the connection.
    """
    hsm = operational_hsm()
    loop = asyncio.new_event_loop()
    challenge = session.Challenge(
        "hsm-1", hsm.domain.version, session.public_bytes(session.new_ephemeral().public_key()), bytes(32)
    )
    challenged = format_frame(FrameType.CHALLENGE, session.encode(challenge))

    async def speak(data: bytes) -> None:
        host = _Host(hsm)
        before = [challenged] if data[0] % 2 else []
        try:
            for said in (*before, data[1:]):
                host.hear(said)
        finally:
            host.end()
        require(not host.is_open and not host.answers and host.channel.session is None, "a stranger's session is open")
        require(host.said in ([FrameType.HELLO], [FrameType.HELLO, FrameType.FINISH]), host.said)

    def check(data: bytes) -> None:
        if data:
            loop.run_until_complete(speak(data))

    # Nobody ends a case; a loop that is dropped open would be told of in some later test.
    weakref.finalize(check, loop.close)
    grant = format_frame(FrameType.GRANT, session.encode(session.Grant(bytes(48), b"token", 900, bytes(104))))
    opened = format_frame(FrameType.OPENED, session.encode(session.Opened("hsm-1", bytes(32))))
    answers = format_frame(FrameType.ANSWERS, bytes(100))
    refused = format_frame(FrameType.REFUSED, b"\x01")
    nested = format_frame(FrameType.CHALLENGE, b"\x95\xa0\x00\xc4\x00\xc4\x00" + b"\x91" * 2000)
    frames = [
        challenged,
        grant,
        opened,
        answers,
        refused,
        format_frame(FrameType.REFUSED, b""),
        nested,
        challenged + grant,
    ]
    return Case([bytes((number,)) + frame for number in (0, 1) for frame in frames], check)


CASES: Final[dict[str, Callable[[], Case]]] = {"hosts": hosts}
