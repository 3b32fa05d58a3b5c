"""VerifyHbk: a stored backing key is what its record says, current or not, and the answer tells nothing more."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest

from strongroom.boundary.messages import Encrypt, KeyBinding, VerifiedAnswer, VerifyHbk
from strongroom.boundary.statuses import Status
from testkit.module import Hsm, Peer, operational_hsm

VERIFY = VerifyHbk(1, 0)


@pytest.fixture
def peer(shared_hsm: Hsm) -> Peer:
    return shared_hsm.open_peer()


@pytest.fixture
def binding(shared_hsm: Hsm, peer: Peer) -> KeyBinding:
    return shared_hsm.generate_key(peer)


@pytest.mark.parametrize("current", [True, False])
def test_a_key_that_is_what_its_record_says_is_verified(peer: Peer, binding: KeyBinding, current: bool) -> None:
    assert peer.ask(VERIFY, keys=(msgspec.structs.replace(binding, current=current),)) == [VerifiedAnswer(1)]


@pytest.mark.parametrize(
    "change",
    [
        {"key_id": "0e5f2d9c-1111-4222-8333-444455556667"},
        {"account": "000000000001"},
        {"region": "us-east-2"},
        {"hbkid": bytes(32)},
        {"spec": "HMAC_256"},
        {"usage": "GENERATE_VERIFY_MAC"},
    ],
)
def test_a_record_that_says_something_else_is_found_out(
    peer: Peer, binding: KeyBinding, change: dict[str, Any]
) -> None:
    assert peer.status_of(VERIFY, msgspec.structs.replace(binding, **change)) is Status.TOKEN_MISMATCH


def test_a_token_that_does_not_open_is_found_out(peer: Peer, binding: KeyBinding) -> None:
    for at in (0, 5, 30, 40, len(binding.ekt) - 1):
        altered = binding.ekt[:at] + bytes((binding.ekt[at] ^ 1,)) + binding.ekt[at + 1 :]
        assert peer.status_of(VERIFY, msgspec.structs.replace(binding, ekt=altered)) is Status.TOKEN_INVALID
    assert operational_hsm().open_peer().status_of(VERIFY, binding) is Status.UNKNOWN_DOMAIN_KEY


def test_material_that_the_hbkid_does_not_name_is_found_out_where_other_commands_would_use_it(hsm: Hsm) -> None:
    """Token and record agree, and both are wrong: only the derivation from the material itself shows it."""
    peer = hsm.open_peer()
    wrong = hsm.import_key(os.urandom(32), hbkid=bytes(32))
    assert peer.status_of(Encrypt(1, 0, b"text", {}), wrong) is Status.SUCCESS
    assert peer.status_of(VERIFY, wrong) is Status.TOKEN_MISMATCH
    assert peer.status_of(VERIFY, hsm.import_key(os.urandom(32))) is Status.SUCCESS


def test_sixty_four_different_keys_are_verified_in_a_frame_and_one_bad_one_fails_alone(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    keys = [hsm.import_key(os.urandom(32), key_id=f"key-{at}") for at in range(64)]
    keys[7] = msgspec.structs.replace(keys[7], region="us-east-2")
    answers = peer.ask(*(VerifyHbk(at, at) for at in range(64)), keys=tuple(keys))
    assert [at for at, answer in enumerate(answers) if answer != VerifiedAnswer(at)] == [7]
    assert hsm.arena.canaries_intact()


def test_the_answer_holds_nothing_of_the_key(hsm: Hsm) -> None:
    peer, material = hsm.open_peer(), os.urandom(32)
    sealed = peer.seal(VERIFY, keys=(hsm.import_key(material),), trace=True)
    frame = peer.exchange(sealed)
    assert (frame.answers, frame.traces) == ([VerifiedAnswer(1)], [])
    assert len(msgspec.msgpack.encode(frame)) < 8
