"""The handshake: who gets a session, from both sides, and for how long."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from strongroom.boundary import session
from strongroom.boundary.frames import FrameType
from strongroom.boundary.messages import GenerateRandom
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.vault.sealed_values import ColumnMetadata, SessionMetadata, seal_column, seal_session
from strongroom.kms.hsm_link.host_session import Handshake, HostIdentity
from testkit.module import HOST_ID, Hsm, Peer, operational_hsm, public_of, status_of_refusal

_MALFORMED = [
    b"",
    b"\xc0",
    b"\x90",
    b"\x91\x01",
    b"\xc1",
    b"noise",
    bytes(100),
    b"\x94\xc4\x00\xa0\xc4\x00\xc4\x00",
    b"\x94\xc4\x00\xa1\xff\xc4\x00\xc4\x00",
]


def as_struct(kind: type[Any], body: bytes) -> Any:
    return msgspec.msgpack.decode(body, type=kind)


def refusal(peer: Peer, frame_type: FrameType, message: Any) -> Status:
    return status_of_refusal(peer, frame_type, session.encode(message))


def challenged(peer: Peer) -> tuple[Handshake, bytes]:
    handshake = peer.new_handshake()
    return handshake, peer.send(FrameType.HELLO, handshake.hello(), FrameType.CHALLENGE)


def granted(peer: Peer) -> tuple[Handshake, session.Grant]:
    handshake, challenge = challenged(peer)
    return handshake, as_struct(
        session.Grant, peer.send(FrameType.FINISH, handshake.finish(challenge), FrameType.GRANT)
    )


# ── the HSM refuses ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_honest_host_gets_a_session_of_fifteen_minutes(hsm: Hsm) -> None:
    host_session = hsm.connect().handshake()
    assert host_session.not_after_s == hsm.clock() + 900
    assert len(hsm.connect().open(host_session).ask(GenerateRandom(1, 16))) == 1


def test_a_host_with_another_key_is_refused(hsm: Hsm) -> None:
    peer = hsm.connect()
    impostor = peer.new_handshake(HostIdentity(HOST_ID, session.new_ephemeral()))
    challenge = peer.send(FrameType.HELLO, impostor.hello(), FrameType.CHALLENGE)
    assert status_of_refusal(peer, FrameType.FINISH, impostor.finish(challenge)) is Status.AUTHENTICATION_FAILED


def test_an_unknown_host_is_refused_at_hello(hsm: Hsm) -> None:
    for host_id in ("", "kms-host-2", HOST_ID.upper(), HOST_ID + " ", "hsm-1"):
        handshake = hsm.connect().new_handshake(HostIdentity(host_id, hsm.host.private))
        assert status_of_refusal(hsm.connect(), FrameType.HELLO, handshake.hello()) is Status.AUTHENTICATION_FAILED


def test_an_operator_of_another_role_is_no_service_host(hsm: Hsm) -> None:
    domain = hsm.module.domain()
    operators = [msgspec.structs.replace(operator, role="kms-operator") for operator in domain.state.operators]
    domain.state = msgspec.structs.replace(domain.state, operators=operators)
    hello = hsm.connect().new_handshake().hello()
    assert status_of_refusal(hsm.connect(), FrameType.HELLO, hello) is Status.AUTHENTICATION_FAILED


def test_a_hello_to_another_domain_is_refused(hsm: Hsm) -> None:
    for domain_id in (b"", bytes(16), hsm.domain.domain_id[:-1], hsm.domain.domain_id + b"\x00"):
        foreign = msgspec.structs.replace(hsm.domain, domain_id=domain_id)
        hello = hsm.connect().new_handshake(domain=foreign).hello()
        assert status_of_refusal(hsm.connect(), FrameType.HELLO, hello) is Status.UNKNOWN_DOMAIN


def test_a_replayed_finish_is_refused(hsm: Hsm) -> None:
    peer = hsm.connect()
    handshake, challenge = challenged(peer)
    finish = handshake.finish(challenge)
    peer.send(FrameType.FINISH, finish, FrameType.GRANT)
    assert status_of_refusal(peer, FrameType.FINISH, finish) is Status.OUT_OF_ORDER
    # The whole conversation replayed on a new connection meets another challenge.
    again = hsm.connect()
    again.send(FrameType.HELLO, handshake.hello(), FrameType.CHALLENGE)
    assert status_of_refusal(again, FrameType.FINISH, finish) is Status.AUTHENTICATION_FAILED


def test_a_finish_for_another_challenge_is_refused(hsm: Hsm) -> None:
    one, other = hsm.connect(), hsm.connect()
    handshake = one.new_handshake()
    one.send(FrameType.HELLO, handshake.hello(), FrameType.CHALLENGE)
    challenge = other.send(FrameType.HELLO, handshake.hello(), FrameType.CHALLENGE)
    assert status_of_refusal(one, FrameType.FINISH, handshake.finish(challenge)) is Status.AUTHENTICATION_FAILED


def test_a_finish_signs_every_field_of_the_conversation(hsm: Hsm) -> None:
    """Each field altered on its way: the host signed something else than the HSM heard."""
    for name, value in (("host_public", public_of(session.new_ephemeral())), ("host_random", os.urandom(32))):
        peer = hsm.connect()
        handshake = peer.new_handshake()
        altered = msgspec.structs.replace(as_struct(session.Hello, handshake.hello()), **{name: value})
        challenge = peer.send(FrameType.HELLO, session.encode(altered), FrameType.CHALLENGE)
        assert status_of_refusal(peer, FrameType.FINISH, handshake.finish(challenge)) is Status.AUTHENTICATION_FAILED
    changes: list[tuple[str, Any]] = [
        *(("hsm_id", "hsm-2"), ("state_version", 2)),
        *(("hsm_public", public_of(session.new_ephemeral())), ("hsm_random", bytes(32))),
    ]
    for name, value in changes:
        peer = hsm.connect()
        handshake, challenge = challenged(peer)
        heard = msgspec.structs.replace(as_struct(session.Challenge, challenge), **{name: value})
        finish = handshake.finish(session.encode(heard))
        assert status_of_refusal(peer, FrameType.FINISH, finish) is Status.AUTHENTICATION_FAILED


def test_the_hsms_own_signature_is_no_host_signature(hsm: Hsm) -> None:
    """The two statements differ in a word, so what one side signed is never the other side's."""
    transcript = bytes(48)
    assert session.host_statement(transcript) != session.hsm_statement(transcript, b"", b"")
    assert len({session.hsm_statement(transcript, a, b) for a, b in ((b"ab", b""), (b"a", b"b"), (b"", b"ab"))}) == 3


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_random_of_another_length_is_refused(hsm: Hsm, length: int) -> None:
    peer = hsm.connect()
    handshake = peer.new_handshake()
    hello = msgspec.structs.replace(as_struct(session.Hello, handshake.hello()), host_random=bytes(length))
    peer.send(FrameType.HELLO, session.encode(hello), FrameType.CHALLENGE)
    assert refusal(peer, FrameType.FINISH, session.Finish(b"")) is Status.MALFORMED
    token = hsm.connect().handshake().token
    assert refusal(hsm.connect(), FrameType.OPEN, session.Open(token, bytes(length))) is Status.MALFORMED


P384_P = 2**384 - 2**128 - 2**96 + 2**32 - 1
_GENERATOR = public_of(session.ec.derive_private_key(1, session.ec.SECP384R1()))
BAD_POINTS = {
    "nothing": b"",
    "the point at infinity": b"\x00",
    "infinity in full length": bytes(97),
    "x = y = 0": b"\x04" + bytes(96),
    "off the curve": _GENERATOR[:-1] + bytes((_GENERATOR[-1] ^ 1,)),
    "x not below p": b"\x04" + (P384_P + 1).to_bytes(48, "big") + bytes(48),
    "of another curve": session.ec.generate_private_key(session.ec.SECP256R1())
    .public_key()
    .public_bytes(session.Encoding.X962, session.PublicFormat.UncompressedPoint),
    "compressed": b"\x02" + _GENERATOR[1:49],
    "in hybrid form": bytes((6 + (_GENERATOR[-1] & 1),)) + _GENERATOR[1:],
    "one byte too long": _GENERATOR + b"\x00",
    "one byte too short": _GENERATOR[:-1],
}


@pytest.mark.parametrize("name", BAD_POINTS)
def test_a_public_key_is_refused_that_is(hsm: Hsm, name: str) -> None:
    """P-384 has cofactor 1, so there are no points of small order but infinity."""
    with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
        session.parse_public(BAD_POINTS[name])
    peer = hsm.connect()
    host_random = os.urandom(32)
    hello = session.Hello(hsm.domain.domain_id, HOST_ID, BAD_POINTS[name], host_random)
    challenge = as_struct(session.Challenge, peer.send(FrameType.HELLO, session.encode(hello), FrameType.CHALLENGE))
    # Signed by the real host, so that nothing but the point is wrong.
    transcript = session.transcript_of(hello, challenge)
    signature = session.sign_statement(hsm.host.private, session.host_statement(transcript))
    assert refusal(peer, FrameType.FINISH, session.Finish(signature)) is Status.AUTHENTICATION_FAILED


ORDER = {
    "NEW": [FrameType.FINISH, FrameType.COMMANDS],
    "CHALLENGED": [FrameType.HELLO, FrameType.OPEN, FrameType.COMMANDS],
    "OPEN": [FrameType.HELLO, FrameType.FINISH, FrameType.OPEN],
}


@pytest.mark.parametrize("state", ORDER)
def test_what_is_not_in_the_state_table_is_refused(hsm: Hsm, state: str) -> None:
    token = hsm.connect().handshake()
    never = [
        frame_type
        for frame_type in FrameType
        if frame_type not in {FrameType.HELLO, FrameType.FINISH, FrameType.OPEN, FrameType.COMMANDS}
    ]
    for frame_type in ORDER[state] + never:
        peer = hsm.connect()
        hello = peer.new_handshake().hello()
        if state == "CHALLENGED":
            peer.send(FrameType.HELLO, hello, FrameType.CHALLENGE)
        if state == "OPEN":
            peer.open(token)
        for body in (b"", hello, session.encode(session.Open(token.token, bytes(32)))):
            assert status_of_refusal(peer, frame_type, body) is Status.OUT_OF_ORDER, frame_type


@pytest.mark.parametrize("body", _MALFORMED)
def test_bytes_that_are_no_message_are_malformed(hsm: Hsm, body: bytes) -> None:
    allowed = {Status.MALFORMED, Status.UNKNOWN_DOMAIN, Status.TOKEN_INVALID, Status.AUTHENTICATION_FAILED}
    assert status_of_refusal(hsm.connect(), FrameType.HELLO, body) in allowed
    assert status_of_refusal(hsm.connect(), FrameType.OPEN, body) in allowed
    peer = hsm.connect()
    challenged(peer)
    assert status_of_refusal(peer, FrameType.FINISH, body) in allowed


# ── session tokens ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_ends_at_nine_hundred_seconds_of_the_hsms_clock(hsm: Hsm) -> None:
    started_s = hsm.clock.now_s
    host_session = hsm.connect().handshake()
    peer = hsm.connect().open(host_session)
    hsm.clock.now_s = started_s + 899.999
    assert len(peer.ask(GenerateRandom(1, 16))) == 1
    hsm.connect().open(host_session)
    hsm.clock.now_s = started_s + 900
    with pytest.raises(RefusedError, match="SESSION_EXPIRED"):
        peer.ask(GenerateRandom(2, 16))
    with pytest.raises(RefusedError, match="SESSION_EXPIRED"):
        hsm.connect().open(host_session)
    assert peer.connection.counter == 1


def test_after_the_end_a_new_session_is_negotiated(hsm: Hsm) -> None:
    old = hsm.connect().handshake()
    hsm.clock.now_s += 900
    peer = hsm.connect()
    new = peer.handshake()
    assert new.key.expose() != old.key.expose()
    assert len(hsm.connect().open(new).ask(GenerateRandom(1, 16))) == 1
    # The same connection may be opened after its handshake: it went back to NEW.
    assert len(peer.open(new).ask(GenerateRandom(1, 16))) == 1


def test_a_session_outlives_a_restart_of_the_hsm(hsm: Hsm) -> None:
    host_session = hsm.connect().handshake()
    restarted = hsm.restart()
    assert len(restarted.connect().open(host_session).ask(GenerateRandom(1, 16))) == 1


def test_the_session_token_of_another_domain_is_refused(hsm: Hsm) -> None:
    other = operational_hsm(host=hsm.host)
    token = other.connect().handshake().token
    assert refusal(hsm.connect(), FrameType.OPEN, session.Open(token, bytes(32))) is Status.UNKNOWN_DOMAIN_KEY


def test_every_flipped_byte_of_a_session_token_is_refused(hsm: Hsm) -> None:
    token = hsm.connect().handshake().token
    allowed = {Status.TOKEN_INVALID, Status.UNKNOWN_DOMAIN_KEY}
    for at in range(len(token)):
        altered = token[:at] + bytes((token[at] ^ 0x80,)) + token[at + 1 :]
        assert refusal(hsm.connect(), FrameType.OPEN, session.Open(altered, bytes(32))) in allowed
    for length in range(len(token)):
        assert refusal(hsm.connect(), FrameType.OPEN, session.Open(token[:length], bytes(32))) in allowed


def test_a_session_token_names_its_domain_and_a_host_that_still_exists(hsm: Hsm) -> None:
    domain = hsm.module.domain()
    end_s = int(hsm.clock()) + 900
    for domain_id, host_id, status in (
        (domain.state.domain_id, HOST_ID, Status.SUCCESS),
        (bytes(16), HOST_ID, Status.UNKNOWN_DOMAIN),
        (domain.state.domain_id, "a former host", Status.AUTHENTICATION_FAILED),
    ):
        metadata = SessionMetadata(domain_id, host_id, end_s)
        token = seal_session(domain.ring, metadata, memoryview(bytes(32)), os.urandom(12))
        assert refusal(hsm.connect(), FrameType.OPEN, session.Open(token, bytes(32))) is status


def test_a_column_is_no_session(hsm: Hsm) -> None:
    domain = hsm.module.domain()
    metadata = ColumnMetadata(domain.state.domain_id, "column", "row")
    sealed = seal_column(domain.ring, metadata, bytes(32), os.urandom(12))
    assert refusal(hsm.connect(), FrameType.OPEN, session.Open(sealed, bytes(32))) is Status.TOKEN_INVALID


def test_a_token_longer_than_the_arena_is_refused_like_any_other(hsm: Hsm) -> None:
    """The domain key id is public, so a stranger can make a token that gets as far as the arena."""
    (domain_key_id,) = hsm.domain_keys
    for length in (4096 + 17, 20_000, 500_000):
        token = b"SRTK\x01\x02" + domain_key_id + bytes(12) + b"\x00\x00" + bytes(length)
        assert refusal(hsm.connect(), FrameType.OPEN, session.Open(token, bytes(32))) is Status.TOKEN_INVALID
    assert hsm.arena._scratch.used == 0


# ── the host refuses ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_grant_with_a_wrong_signature_is_refused(hsm: Hsm) -> None:
    handshake, grant = granted(hsm.connect())
    for changes in (
        {"signature": b""},
        {"signature": grant.signature[:-1] + bytes((grant.signature[-1] ^ 1,))},
        {"sealed_session_key": bytes(48)},
        {"session_token": grant.session_token + b"x"},
    ):
        with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
            handshake.accept(session.encode(msgspec.structs.replace(grant, **changes)), 0.0)
    assert handshake.accept(session.encode(grant), 0.0).not_after_s == 900


class FalseHsm:
    """Answers a HELLO with all the right forms, under an id and with a signing key of the attacker's choice."""

    def __init__(self, hsm_id: str, signing: session.ec.EllipticCurvePrivateKey) -> None:
        self.hsm_id = hsm_id
        self.signing = signing

    def talk_to(self, handshake: Handshake, **changes: Any) -> None:
        hello = as_struct(session.Hello, handshake.hello())
        ephemeral = session.new_ephemeral()
        challenge = session.Challenge(self.hsm_id, 1, public_of(ephemeral), os.urandom(32))
        challenge = msgspec.structs.replace(challenge, **changes)
        handshake.finish(session.encode(challenge))
        transcript = session.transcript_of(hello, challenge)
        negotiated = session.negotiated_key(ephemeral, hello.host_public, transcript)
        sealed = session.seal_session_key(negotiated, bytes(32), transcript)
        signature = session.sign_statement(self.signing, session.hsm_statement(transcript, sealed, b"token"))
        handshake.accept(session.encode(session.Grant(sealed, b"token", 900, signature)), 0.0)


def with_known_keys(hsm: Hsm) -> tuple[Handshake, dict[str, session.ec.EllipticCurvePrivateKey]]:
    """A handshake of a host whose domain has members with keys that the test holds."""
    keys = {member.member_id: session.new_ephemeral() for member in hsm.domain.members}
    members = [
        msgspec.structs.replace(member, signing_public=public_of(keys[member.member_id]))
        for member in hsm.domain.members
    ]
    return hsm.connect().new_handshake(domain=msgspec.structs.replace(hsm.domain, members=members)), keys


def test_a_member_is_believed(hsm: Hsm) -> None:
    handshake, keys = with_known_keys(hsm)
    FalseHsm("hsm-1", keys["hsm-1"]).talk_to(handshake)


def test_a_stranger_is_not_believed_under_any_name(hsm: Hsm) -> None:
    for name in ("hsm-1", "hsm-2", "hsm-1-offline-1", ""):
        handshake, _ = with_known_keys(hsm)
        with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
            FalseHsm(name, session.new_ephemeral()).talk_to(handshake)


def test_the_offline_member_grants_no_sessions(hsm: Hsm) -> None:
    """Its key lies in the recovery bundle; whoever stole that must not be able to play the HSM."""
    handshake, keys = with_known_keys(hsm)
    with pytest.raises(RefusedError, match="AUTHENTICATION_FAILED"):
        FalseHsm("hsm-1-offline-1", keys["hsm-1-offline-1"]).talk_to(handshake)


@pytest.mark.parametrize("state_version", [-1, 1 << 64])
def test_a_challenge_with_an_impossible_version_is_refused(hsm: Hsm, state_version: int) -> None:
    if state_version >= 0:
        challenge = session.Challenge("hsm-1", state_version, b"", bytes(32))
        hello = as_struct(session.Hello, hsm.connect().new_handshake().hello())
        with pytest.raises(RefusedError, match="MALFORMED"):
            session.transcript_of(hello, challenge)
        return
    handshake, keys = with_known_keys(hsm)
    with pytest.raises(RefusedError, match="MALFORMED"):
        FalseHsm("hsm-1", keys["hsm-1"]).talk_to(handshake, state_version=state_version)


def test_a_longer_lifetime_than_fifteen_minutes_is_not_believed(hsm: Hsm) -> None:
    handshake, grant = granted(hsm.connect())
    longer = msgspec.structs.replace(grant, lifetime_s=1 << 40)
    assert handshake.accept(session.encode(longer), 1000.0).not_after_s == 1900
