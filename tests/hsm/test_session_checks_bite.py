"""Every check of the session is taken out once, and the attack that it stops then succeeds: these tests can fail.

Each row: an attack, which says whether it got through, and the check whose removal lets it through.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hsm.session_attacks import sealed_at
from hsm.test_handshake import FalseHsm, with_known_keys
from strongroom.boundary import session
from strongroom.boundary.frames import FrameType
from strongroom.boundary.messages import GenerateRandom
from strongroom.boundary.statuses import RefusedError
from strongroom.hsm import connection
from strongroom.hsm.domain.domain import Domain
from strongroom.hsm.vault import sealed_values
from strongroom.hsm.vault import token as vault_token
from strongroom.hsm.vault.sealed_values import ColumnMetadata, seal_column
from strongroom.kms.hsm_link.host_session import HostIdentity
from testkit.module import HOST_ID, Hsm, Peer, operational_hsm

Attack = Callable[[Hsm], bool]
Plant = Callable[[pytest.MonkeyPatch, Hsm], None]


def taken(peer: Peer, sealed: bytes) -> bool:
    """Whether the frame opened: that is when the counter moves, whatever the commands inside were worth."""
    before = peer.connection.counter
    with contextlib.suppress(RefusedError):
        peer.connection.handle(FrameType.COMMANDS, sealed)
    return peer.connection.counter != before


def succeeds(step: Callable[[], Any]) -> bool:
    try:
        step()
    except RefusedError:
        return False
    return True


# ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def replay(hsm: Hsm) -> bool:
    peer = hsm.open_peer()
    sealed = sealed_at(peer, 0)
    assert taken(peer, sealed)
    return taken(peer, sealed)


def reorder(hsm: Hsm) -> bool:
    peer = hsm.open_peer()
    return taken(peer, sealed_at(peer, 1))


def flip_a_bit_of_the_tag(hsm: Hsm) -> bool:
    peer = hsm.open_peer()
    sealed = sealed_at(peer, 0)
    return taken(peer, sealed[:-1] + bytes((sealed[-1] ^ 1,)))


def truncate(hsm: Hsm) -> bool:
    peer = hsm.open_peer()
    return taken(peer, sealed_at(peer, 0)[:-1])


def splice_from_another_connection(hsm: Hsm) -> bool:
    host_session = hsm.connect().handshake()
    return taken(hsm.connect().open(host_session), sealed_at(hsm.connect().open(host_session), 0))


def splice_from_another_session(hsm: Hsm) -> bool:
    return taken(hsm.open_peer(), sealed_at(hsm.open_peer(), 0))


def reflect(hsm: Hsm) -> bool:
    """An ANSWERS frame sent back as COMMANDS; the type is corrected by the attacker, as it travels in the clear."""
    peer, other = hsm.open_peer(), session.Direction()
    return taken(peer, other.seal(peer.keys[1], FrameType.COMMANDS, b"whatever the hsm said"))


def pass_off_another_type(hsm: Hsm) -> bool:
    peer = hsm.open_peer()
    return taken(peer, sealed_at(peer, 0, FrameType.OPEN))


def one_iv(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    patch.setattr(session.Direction, "_iv", lambda _: bytes(12))


def type_unbound(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    sealing, opening = session.Direction.seal, session.Direction.open
    patch.setattr(session.Direction, "seal", lambda self, key, _, text: sealing(self, key, FrameType.COMMANDS, text))
    patch.setattr(session.Direction, "open", lambda self, key, _, text: opening(self, key, FrameType.COMMANDS, text))


def keys_from(**ignored: Any) -> Plant:
    """Key derivation with some of its inputs held constant."""

    def plant(patch: pytest.MonkeyPatch, _: Hsm) -> None:
        derived = session.direction_keys

        def weak(session_key: bytes, opening: session.Open, opened: session.Opened, host_id: str) -> Any:
            if "randoms" in ignored:
                opening = msgspec.structs.replace(opening, host_random=bytes(32))
                opened = msgspec.structs.replace(opened, hsm_random=bytes(32))
            if "session" in ignored:
                session_key, opening = bytes(32), msgspec.structs.replace(opening, session_token=b"")
            keys = derived(session_key, opening, opened, host_id)
            return (keys[0], keys[0]) if "direction" in ignored else keys

        patch.setattr(session, "direction_keys", weak)

    return plant


# ── handshake ───────────────────────────────────────────────────────────────────────────────────────────────────────


def come_with_another_key(hsm: Hsm) -> bool:
    return succeeds(lambda: hsm.connect().handshake(HostIdentity(HOST_ID, session.new_ephemeral())))


def come_as_an_unknown_host(hsm: Hsm) -> bool:
    return succeeds(lambda: hsm.connect().handshake(HostIdentity("kms-host-2", hsm.host.private)))


def ask_for_another_domain(hsm: Hsm) -> bool:
    hello = hsm.connect().new_handshake(domain=msgspec.structs.replace(hsm.domain, domain_id=bytes(16))).hello()
    return succeeds(lambda: hsm.connect().send(FrameType.HELLO, hello, FrameType.CHALLENGE))


def say_hello_twice(hsm: Hsm) -> bool:
    peer = hsm.connect()
    hello = peer.new_handshake().hello()
    peer.send(FrameType.HELLO, hello, FrameType.CHALLENGE)
    return succeeds(lambda: peer.send(FrameType.HELLO, hello, FrameType.CHALLENGE))


def replay_a_conversation(hsm: Hsm) -> bool:
    first, second = hsm.connect(), hsm.connect()
    handshake = first.new_handshake()
    finish = handshake.finish(first.send(FrameType.HELLO, handshake.hello(), FrameType.CHALLENGE))
    second.send(FrameType.HELLO, handshake.hello(), FrameType.CHALLENGE)
    return succeeds(lambda: second.send(FrameType.FINISH, finish, FrameType.GRANT))


def use_a_session_after_its_end(hsm: Hsm) -> bool:
    peer = hsm.open_peer()
    hsm.clock.now_s += 900
    return succeeds(lambda: peer.ask(GenerateRandom(1, 16)))


def open_a_session_after_its_end(hsm: Hsm) -> bool:
    host_session = hsm.connect().handshake()
    hsm.clock.now_s += 900
    return succeeds(lambda: hsm.connect().open(host_session))


def open_an_altered_session_token(hsm: Hsm) -> bool:
    """The expiry, moved by one bit, as whoever holds a session would like it."""
    host_session = hsm.connect().handshake()
    token = bytearray(host_session.token)
    metadata_end = 36 + int.from_bytes(token[34:36], "big")
    token[metadata_end - 4] ^= 0x10
    host_session.token = bytes(token)
    return succeeds(lambda: hsm.connect().open(host_session))


def open_with_a_token_of_another_type(hsm: Hsm) -> bool:
    """The service can have any 32 bytes sealed as a column; as a session they would be a session key that it chose."""
    domain = hsm.module.domain()
    metadata = ColumnMetadata(domain.state.domain_id, HOST_ID, "1999999999")
    sealed = seal_column(domain.ring, metadata, bytes(32), os.urandom(12))
    return succeeds(lambda: connection.open_session(domain.ring, hsm.arena.lasting, sealed, domain.state.domain_id, 0))


def play_the_hsm_without_its_key(hsm: Hsm) -> bool:
    return succeeds(lambda: FalseHsm("hsm-1", session.new_ephemeral()).talk_to(hsm.connect().new_handshake()))


def play_the_hsm_with_the_offline_members_key(hsm: Hsm) -> bool:
    handshake, keys = with_known_keys(hsm)
    if hsm.domain_says_nobody_is_offline:  # type: ignore[attr-defined]
        members = [msgspec.structs.replace(member, offline=False) for member in handshake._domain.members]
        handshake._domain = msgspec.structs.replace(handshake._domain, members=members)
    return succeeds(lambda: FalseHsm("hsm-1-offline-1", keys["hsm-1-offline-1"]).talk_to(handshake))


def no_signatures(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    patch.setattr(session, "verify_statement", lambda *_: None)


def any_host(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    patch.setattr(Domain, "service_host", lambda self, _: self.state.operators[0])


class _EqualToAll(bytes):
    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = bytes.__hash__


def any_domain(patch: pytest.MonkeyPatch, hsm: Hsm) -> None:
    domain = hsm.module.domain()
    domain.state = msgspec.structs.replace(domain.state, domain_id=_EqualToAll(domain.state.domain_id))


def any_order(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    state = connection._State
    patch.setitem(connection._STEPS, (state.CHALLENGED, FrameType.HELLO), connection.Connection._hello)


def transcript_without_challenge(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    patch.setattr(session, "transcript_of", lambda hello, _: session.encode(hello))


def no_end_of_frames(patch: pytest.MonkeyPatch, hsm: Hsm) -> None:
    commands = connection.Connection._commands

    def endless(self: connection.Connection, body: bytes) -> bytes:
        self._not_after_s = 1 << 60
        return commands(self, body)

    patch.setitem(connection._STEPS, (connection._State.OPEN, FrameType.COMMANDS), endless)


def no_end_of_tokens(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    opening = connection.open_session
    patch.setattr(connection, "open_session", lambda *arguments: opening(*arguments[:-1], 0))


class _NoTag:
    """AES-GCM that forgot to compare the tag."""

    def __init__(self, key: Any) -> None:
        self.key = bytes(key)

    def encrypt(self, iv: bytes, data: Any, _: bytes | None) -> bytes:
        return self._stream(iv, bytes(data)) + bytes(16)

    def decrypt(self, iv: bytes, data: bytes, _: bytes | None) -> bytes:
        return self._stream(iv, data[:-16])

    def decrypt_into(self, iv: bytes, data: bytes, associated: bytes | None, out: memoryview) -> None:
        out[:] = self.decrypt(iv, data, associated)

    def _stream(self, iv: bytes, data: bytes) -> bytes:
        return Cipher(algorithms.AES(self.key), modes.CTR(iv + b"\x00\x00\x00\x02")).encryptor().update(data)


def frames_without_tag(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    patch.setattr(session, "AESGCM", _NoTag)


def tokens_without_tag(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    patch.setattr(vault_token, "AESGCM", _NoTag)


def any_token_type(patch: pytest.MonkeyPatch, _: Hsm) -> None:
    opening = vault_token.open_token
    patch.setattr(
        sealed_values,
        "open_token",
        lambda ring, _, token, region: opening(ring, vault_token.TokenType(token[5]), token, region),
    )
    # A decoder as lax as a careless one would be: a number is a number, be it written as text.
    patch.setattr(
        sealed_values,
        "_decode_session",
        lambda data: msgspec.convert(msgspec.msgpack.decode(data), sealed_values.SessionMetadata, strict=False),
    )


def nobody_is_offline(patch: pytest.MonkeyPatch, hsm: Hsm) -> None:
    hsm.domain_says_nobody_is_offline = True  # type: ignore[attr-defined]


ROWS: dict[str, tuple[Attack, Plant]] = {
    "the counter: replay": (replay, one_iv),
    "the counter: reorder": (reorder, one_iv),
    "the tag: bit flip": (flip_a_bit_of_the_tag, frames_without_tag),
    "the tag: truncation": (truncate, frames_without_tag),
    "both randoms in the keys": (splice_from_another_connection, keys_from(randoms=True)),
    "the session key in the keys": (splice_from_another_session, keys_from(randoms=True, session=True)),
    "a key per direction": (reflect, keys_from(direction=True)),
    "the frame type under the tag": (pass_off_another_type, type_unbound),
    "the host's signature": (come_with_another_key, no_signatures),
    "the list of hosts": (come_as_an_unknown_host, any_host),
    "the domain id": (ask_for_another_domain, any_domain),
    "the state table": (say_hello_twice, any_order),
    "the challenge in the transcript": (replay_a_conversation, transcript_without_challenge),
    "the end of a session, for frames": (use_a_session_after_its_end, no_end_of_frames),
    "the end of a session, for tokens": (open_a_session_after_its_end, no_end_of_tokens),
    "the seal of a session token": (open_an_altered_session_token, tokens_without_tag),
    "the type of a token": (open_with_a_token_of_another_type, any_token_type),
    "the HSM's signature": (play_the_hsm_without_its_key, no_signatures),
    "the offline member": (play_the_hsm_with_the_offline_members_key, nobody_is_offline),
}


@pytest.mark.parametrize("check", ROWS)
def test_an_attack_fails_and_succeeds_once_its_check_is_gone(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, plant = ROWS[check]

    def fresh() -> Hsm:
        hsm = operational_hsm()
        hsm.domain_says_nobody_is_offline = False  # type: ignore[attr-defined]
        return hsm

    assert not attack(fresh())
    hsm = fresh()
    plant(monkeypatch, hsm)
    assert attack(hsm)
