"""Replayed, reordered, truncated, altered and spliced frames: none is accepted, none moves a counter."""

from __future__ import annotations

import msgspec
import pytest

from hsm.session_attacks import Attacker, sealed_at
from strongroom.boundary import session
from strongroom.boundary.frames import FrameType
from strongroom.boundary.messages import GenerateRandom, PlaintextAnswer
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.module import ModuleState
from testkit.module import Hsm, status_of_refusal


def test_ten_thousand_attacked_frames_are_all_refused(hsm: Hsm) -> None:
    tried = Attacker(hsm, seed=1).run(10_000)
    assert sum(tried.values()) == 10_000
    assert len(tried) == 10
    assert min(tried.values()) == 1_000
    assert hsm.module.state is ModuleState.OPERATIONAL


@pytest.mark.long
def test_a_hundred_thousand_attacked_frames_are_all_refused(hsm: Hsm) -> None:
    for seed in range(10):
        assert sum(Attacker(hsm, seed=100 + seed).run(10_000).values()) == 10_000


def test_every_flipped_bit_of_a_frame_is_refused(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    sealed = sealed_at(peer, 0)
    for bit in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        assert status_of_refusal(peer, FrameType.COMMANDS, bytes(altered)) is Status.AUTHENTICATION_FAILED
    assert peer.connection.counter == 0
    assert status_of_refusal(peer, FrameType.COMMANDS, sealed) is Status.SUCCESS
    assert peer.connection.counter == 1


def test_every_truncation_of_a_frame_is_refused(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    sealed = sealed_at(peer, 0)
    for length in range(len(sealed)):
        assert status_of_refusal(peer, FrameType.COMMANDS, sealed[:length]) is Status.AUTHENTICATION_FAILED


def test_a_dropped_frame_is_noticed(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    peer.seal(GenerateRandom(1, 16))
    with pytest.raises(RefusedError):
        peer.ask(GenerateRandom(2, 16))


def test_an_answer_opens_once_and_only_for_its_own_host_session(hsm: Hsm) -> None:
    one, other = hsm.open_peer(), hsm.open_peer()
    answer = one.send(FrameType.COMMANDS, one.seal(GenerateRandom(1, 16)), FrameType.ANSWERS)
    with pytest.raises(RefusedError):
        other.inbound.open(other.keys[1], FrameType.ANSWERS, answer)
    with pytest.raises(RefusedError):
        one.inbound.open(one.keys[0], FrameType.ANSWERS, answer)
    with pytest.raises(RefusedError):
        one.inbound.open(one.keys[1], FrameType.COMMANDS, answer)
    assert one.inbound.counter == 0
    one.inbound.open(one.keys[1], FrameType.ANSWERS, answer)
    with pytest.raises(RefusedError):
        one.inbound.open(one.keys[1], FrameType.ANSWERS, answer)


def test_the_two_directions_have_different_keys_and_every_connection_its_own(hsm: Hsm) -> None:
    token = hsm.connect().handshake()
    keys = {key for _ in range(5) for key in hsm.connect().open(token).keys}
    assert len(keys) == 10


def test_a_captured_opening_with_its_frames_is_of_no_use_on_a_new_connection(hsm: Hsm) -> None:
    host_session = hsm.connect().handshake()
    opening = session.encode(session.Open(host_session.token, bytes(32)))
    peer = hsm.connect()
    opened = msgspec.msgpack.decode(peer.send(FrameType.OPEN, opening, FrameType.OPENED), type=session.Opened)
    peer.keys = session.direction_keys(
        host_session.key.expose(), session.Open(host_session.token, bytes(32)), opened, hsm.host.host_id
    )
    sealed = peer.seal(GenerateRandom(1, 16))
    assert isinstance(peer.exchange(sealed).answers[0], PlaintextAnswer)
    replay = hsm.connect()
    replay.send(FrameType.OPEN, opening, FrameType.OPENED)
    assert status_of_refusal(replay, FrameType.COMMANDS, sealed) is Status.AUTHENTICATION_FAILED


def test_a_direction_ends_before_its_counter_could_repeat(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    peer.connection._inbound._counter = peer.outbound._counter = session.FRAMES_PER_DIRECTION_MAX - 1
    assert len(peer.ask(GenerateRandom(1, 16))) == 1
    peer.outbound._counter -= 1
    sealed = peer.seal(GenerateRandom(1, 16))
    assert status_of_refusal(peer, FrameType.COMMANDS, sealed) is Status.SESSION_EXPIRED
    peer.outbound._counter = session.FRAMES_PER_DIRECTION_MAX
    with pytest.raises(RefusedError, match="SESSION_EXPIRED"):
        peer.seal(GenerateRandom(1, 16))


def test_a_closed_connection_leaves_no_key_in_the_arena(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    keys = peer.keys
    assert all(key in bytes(hsm.arena._view) for key in keys)
    peer.connection.close()
    assert not any(key in bytes(hsm.arena._view) for key in keys)
    used = hsm.arena.lasting.used
    hsm.open_peer().connection.close()
    assert hsm.arena.lasting.used == used
