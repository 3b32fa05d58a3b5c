"""One peer's connection: handshake, session, sealed frames (protocol: boundary.session).

| state | HELLO | FINISH | OPEN | COMMANDS |
|---|---|---|---|---|
| NEW | → CHALLENGED | refuse | → OPEN | refuse |
| CHALLENGED | refuse | → NEW | refuse | refuse |
| OPEN | refuse | refuse | refuse | stays OPEN |

A refusal is one plain status byte and the end of the connection; it changes nothing else in the HSM.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

import msgspec

from strongroom.boundary import session
from strongroom.boundary.frames import FrameType, format_frame
from strongroom.boundary.messages import UNREADABLE
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.entropy import EntropyFailureError
from strongroom.hsm.module import Module, MuteError
from strongroom.hsm.rinse import rinse
from strongroom.hsm.vault.sealed_values import SessionMetadata, open_session, seal_session
from strongroom.hsm.vault.token import IV_BYTES

_decode_hello = msgspec.msgpack.Decoder(session.Hello).decode
_decode_finish = msgspec.msgpack.Decoder(session.Finish).decode
_decode_open = msgspec.msgpack.Decoder(session.Open).decode


class _State(Enum):
    NEW = auto()
    CHALLENGED = auto()
    OPEN = auto()


class Connection:
    """What the HSM knows of one peer; keys in the arena, nothing shared with other connections."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._state = _State.NEW
        self._pending: tuple[session.Hello, session.Challenge, Any] | None = None
        self._keys: tuple[memoryview, memoryview] | None = None
        self._inbound = session.Direction()
        self._outbound = session.Direction()
        self._not_after_s = 0

    @property
    def counter(self) -> int:
        """Frames accepted so far; a refused frame leaves it as it was."""
        return self._inbound.counter

    def handle(self, frame_type: FrameType, body: bytes) -> bytes:
        """The frame to send back.

        Raises:
            RefusedError: the connection is to be closed after the status byte.
            MuteError: nothing is to be sent.
        """
        self._module.check()  # First of all: a mute module does not even refuse.
        step = _STEPS.get((self._state, frame_type))
        if step is None:
            raise RefusedError(Status.OUT_OF_ORDER)
        try:
            return step(self, body)
        except UNREADABLE:
            raise RefusedError(Status.MALFORMED) from None
        except EntropyFailureError:
            self._module.mute()
        except (RefusedError, MuteError):
            raise
        except Exception:  # noqa: BLE001 -- no peer ends the process by what it sends; see Module._answer.
            raise RefusedError(Status.INTERNAL) from None

    def close(self) -> None:
        """Wipe this connection's keys."""
        if self._keys is not None:
            for slot in self._keys:
                self._module.arena.release_slot(slot)
            self._keys = None
        self._pending = None

    def _hello(self, body: bytes) -> bytes:
        hello = _decode_hello(body)
        domain = self._module.domain()
        if hello.domain_id != domain.state.domain_id:
            raise RefusedError(Status.UNKNOWN_DOMAIN)
        domain.service_host(hello.host_id)
        ephemeral = session.new_ephemeral()
        challenge = session.Challenge(
            domain.identity.member.member_id,
            domain.state.version,
            session.public_bytes(ephemeral.public_key()),
            self._module.entropy.draw(session.RANDOM_BYTES),
        )
        self._pending = (hello, challenge, ephemeral)
        self._state = _State.CHALLENGED
        return format_frame(FrameType.CHALLENGE, session.encode(challenge))

    def _finish(self, body: bytes) -> bytes:
        finish = _decode_finish(body)
        assert self._pending is not None
        hello, challenge, ephemeral = self._pending
        self._pending = None
        self._state = _State.NEW
        module = self._module
        domain = module.domain()
        transcript = session.transcript_of(hello, challenge)
        host = session.parse_public(domain.service_host(hello.host_id).signing_public)
        session.verify_statement(host, finish.signature, session.host_statement(transcript))
        with module.arena.scratch() as scratch:
            session_key = scratch.take(session.SESSION_KEY_BYTES)
            session_key[:] = module.entropy.draw(session.SESSION_KEY_BYTES)
            not_after_s = int(module.clock()) + session.SESSION_LIFETIME_S
            metadata = SessionMetadata(domain.state.domain_id, hello.host_id, not_after_s)
            token = seal_session(domain.ring, metadata, session_key, module.entropy.draw(IV_BYTES))
            negotiated = session.negotiated_key(ephemeral, hello.host_public, transcript)
            sealed = session.seal_session_key(negotiated, session_key, transcript)
        signature = domain.identity.sign(session.hsm_statement(transcript, sealed, token))
        del negotiated, ephemeral
        rinse()
        grant = session.Grant(sealed, token, session.SESSION_LIFETIME_S, signature)
        return format_frame(FrameType.GRANT, session.encode(grant))

    def _open(self, body: bytes) -> bytes:
        opening = _decode_open(body)
        module = self._module
        domain = module.domain()
        with module.arena.scratch() as scratch:
            metadata, session_key = open_session(
                domain.ring, scratch, opening.session_token, domain.state.domain_id, module.clock()
            )
            domain.service_host(metadata.host_id)
            opened = session.Opened(domain.identity.member.member_id, module.entropy.draw(session.RANDOM_BYTES))
            derived = session.direction_keys(session_key, opening, opened, metadata.host_id)
        slots = (module.arena.take_slot(), module.arena.take_slot())
        for slot, key in zip(slots, derived, strict=True):
            slot[:] = key
        del derived
        rinse()
        self._keys = slots
        self._not_after_s = metadata.not_after_s
        self._state = _State.OPEN
        return format_frame(FrameType.OPENED, session.encode(opened))

    def _commands(self, body: bytes) -> bytes:
        assert self._keys is not None
        inbound, outbound = self._keys
        if self._module.clock() >= self._not_after_s:
            raise RefusedError(Status.SESSION_EXPIRED)
        answers = self._module.execute(self._inbound.open(inbound, FrameType.COMMANDS, body))
        return format_frame(FrameType.ANSWERS, self._outbound.seal(outbound, FrameType.ANSWERS, answers))


_STEPS: Final[dict[tuple[_State, FrameType], Callable[[Connection, bytes], bytes]]] = {
    (_State.NEW, FrameType.HELLO): Connection._hello,  # noqa: SLF001
    (_State.CHALLENGED, FrameType.FINISH): Connection._finish,  # noqa: SLF001
    (_State.NEW, FrameType.OPEN): Connection._open,  # noqa: SLF001
    (_State.OPEN, FrameType.COMMANDS): Connection._commands,  # noqa: SLF001
}
