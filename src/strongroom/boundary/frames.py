"""The outermost form of everything on an HSM connection.

| offset | length | field |
|---|---|---|
| 0 | 4 | length of what follows, big-endian, 1 to 1 MiB |
| 4 | 1 | frame type |
| 5 | n | body |

A frame that breaks these rules ends the connection: there is no resynchronising on a stream.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

FRAME_BYTES_MAX: Final = 1 << 20
HEADER_BYTES: Final = 4


class FrameType(IntEnum):
    """What a frame's body is. Odd numbers come from the peer, even ones from the HSM."""

    HELLO = 1
    CHALLENGE = 2
    FINISH = 3
    GRANT = 4
    OPEN = 5
    OPENED = 6
    COMMANDS = 7
    ANSWERS = 8
    STATUS_REQUEST = 9
    STATUS_REPORT = 10
    CONTROL = 11
    CONTROL_ANSWER = 12
    REFUSED = 14


class FrameError(ValueError):
    """The stream is not a sequence of frames."""


def format_frame(frame_type: FrameType, body: bytes) -> bytes:
    if len(body) >= FRAME_BYTES_MAX:
        raise FrameError(f"a frame body of {len(body)} bytes is over the limit")
    return (len(body) + 1).to_bytes(HEADER_BYTES, "big") + bytes((frame_type,)) + body


class FrameReader:
    """Cuts a byte stream into frames. Holds at most one unfinished frame."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> list[tuple[FrameType, bytes]]:
        """The frames completed by these bytes, in order.

        Raises:
            FrameError: a length or a type outside the table above.
        """
        pending = self._pending + data if self._pending else data
        frames: list[tuple[FrameType, bytes]] = []
        at = 0
        while len(pending) - at >= HEADER_BYTES:
            length = int.from_bytes(pending[at : at + HEADER_BYTES], "big")
            if not 1 <= length <= FRAME_BYTES_MAX:
                raise FrameError(f"a frame of {length} bytes is outside 1 to {FRAME_BYTES_MAX}")
            end = at + HEADER_BYTES + length
            if len(pending) < end:
                break
            try:
                frame_type = FrameType(pending[at + HEADER_BYTES])
            except ValueError:
                raise FrameError("a frame of unknown type") from None
            frames.append((frame_type, pending[at + HEADER_BYTES + 1 : end]))
            at = end
        self._pending = pending[at:]
        return frames
