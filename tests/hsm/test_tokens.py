"""Key tokens: what opens where, and only there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.boundary import blob as blob_layout
from strongroom.boundary import session
from strongroom.boundary.domain_token import DomainTokenError, parse_domain_token
from strongroom.boundary.frames import FrameType
from strongroom.boundary.messages import (
    CiphertextAnswer,
    Decrypt,
    Encrypt,
    GenerateDataKey,
    GenerateHbk,
    HbkAnswer,
    KeyBinding,
    PlaintextAnswer,
    ReEncrypt,
    SealColumn,
    SealedAnswer,
    UnsealColumn,
)
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm import commands
from strongroom.hsm.arena import Region
from strongroom.hsm.vault import ring as ring_module
from strongroom.hsm.vault.backing_key import hbkid_of
from strongroom.hsm.vault.ring import Ring
from strongroom.hsm.vault.token import TokenType, open_token, seal_token
from testkit.module import ACCOUNT, KEY_ID, REGION, Hsm, Peer, operational_hsm, status_of_refusal


@pytest.fixture
def peer(shared_hsm: Hsm) -> Peer:
    return shared_hsm.open_peer()


@pytest.fixture
def binding(shared_hsm: Hsm, peer: Peer) -> KeyBinding:
    return shared_hsm.generate_key(peer)


ENCRYPT = Encrypt(1, 0, b"text", {})


# ── EKT ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_ekt_holds_its_key_under_the_active_domain_key(shared_hsm: Hsm, binding: KeyBinding) -> None:
    """Opened here with the domain key alone, by the table of the docstring and not by the product's code."""
    ((domain_key_id, domain_key),) = shared_hsm.domain_keys.items()
    ekt = binding.ekt
    assert ekt[:6] == b"SRTK\x01\x01"
    assert ekt[6:22] == domain_key_id
    sealed_at = 36 + int.from_bytes(ekt[34:36], "big")
    material = AESGCM(domain_key).decrypt(ekt[22:34], ekt[sealed_at:], ekt[:sealed_at])
    assert len(material) == 32
    assert hbkid_of(memoryview(material), KEY_ID, "SYMMETRIC_DEFAULT") == binding.hbkid
    metadata = msgspec.msgpack.decode(ekt[36:sealed_at])
    expected = [
        *(shared_hsm.domain.domain_id, KEY_ID, ACCOUNT, REGION, binding.hbkid),
        *("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS", int(shared_hsm.clock())),
    ]
    assert metadata == expected


def test_an_ekt_opens_only_under_its_domain_key(shared_hsm: Hsm, binding: KeyBinding) -> None:
    stranger = operational_hsm()
    assert stranger.open_peer().status_of(ENCRYPT, binding) is Status.UNKNOWN_DOMAIN_KEY
    # Even with the name of a domain key that the stranger has.
    (own_id,) = stranger.domain_keys
    renamed = msgspec.structs.replace(binding, ekt=binding.ekt[:6] + own_id + binding.ekt[22:])
    assert stranger.open_peer().status_of(ENCRYPT, renamed) is Status.TOKEN_INVALID


def test_every_flipped_byte_of_an_ekt_is_refused(peer: Peer, binding: KeyBinding) -> None:
    allowed = {Status.TOKEN_INVALID, Status.UNKNOWN_DOMAIN_KEY}
    for at in range(len(binding.ekt)):
        for flip in (0x01, 0x80):
            altered = binding.ekt[:at] + bytes((binding.ekt[at] ^ flip,)) + binding.ekt[at + 1 :]
            assert peer.status_of(ENCRYPT, msgspec.structs.replace(binding, ekt=altered)) in allowed
    for length in range(len(binding.ekt)):
        cut = msgspec.structs.replace(binding, ekt=binding.ekt[:length])
        assert peer.status_of(ENCRYPT, cut) in allowed
    assert peer.status_of(ENCRYPT, msgspec.structs.replace(binding, ekt=binding.ekt + b"\x00")) in allowed
    assert peer.status_of(ENCRYPT, binding) is Status.SUCCESS


FIELDS: dict[str, Any] = {
    "key_id": "0e5f2d9c-1111-4222-8333-444455556667",
    "account": "000000000001",
    "region": "us-east-2",
    "hbkid": bytes(32),
    "spec": "HMAC_256",
    "usage": "GENERATE_VERIFY_MAC",
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_token_that_does_not_fit_its_record_is_refused(peer: Peer, binding: KeyBinding, field: str) -> None:
    wrong = msgspec.structs.replace(binding, **{field: FIELDS[field]})
    for command in (ENCRYPT, Decrypt(1, 0, bytes(100), {}), GenerateDataKey(1, 0, 32, {}, True)):
        assert peer.status_of(command, wrong) is Status.TOKEN_MISMATCH


def test_case_and_blanks_of_a_record_count(peer: Peer, binding: KeyBinding) -> None:
    for field, value in (("key_id", KEY_ID.upper()), ("region", "US-EAST-1"), ("account", f"{ACCOUNT} ")):
        assert peer.status_of(ENCRYPT, msgspec.structs.replace(binding, **{field: value})) is Status.TOKEN_MISMATCH


def test_every_field_of_a_binding_is_compared_but_the_token_and_current() -> None:
    assert {field.name for field in msgspec.structs.fields(KeyBinding)} - set(FIELDS) == {"ekt", "current"}


def test_the_domain_of_a_token_is_compared_too(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    foreign = hsm.import_key(bytes(range(32)), domain_id=bytes(16))
    assert peer.status_of(ENCRYPT, foreign) is Status.TOKEN_MISMATCH
    assert peer.status_of(ENCRYPT, hsm.import_key(bytes(range(32)))) is Status.SUCCESS


def test_swapped_rows_are_refused_both_ways(shared_hsm: Hsm, peer: Peer) -> None:
    """Token rows swapped between two keys of the database."""
    one = shared_hsm.generate_key(peer)
    other = shared_hsm.generate_key(peer, "11111111-2222-4333-8444-555566667777")
    for record, token in ((one, other), (other, one)):
        swapped = msgspec.structs.replace(record, ekt=token.ekt)
        assert peer.status_of(ENCRYPT, swapped) is Status.TOKEN_MISMATCH
    # An older version of the same key: only the HBKID tells them apart.
    rotated = shared_hsm.generate_key(peer)
    assert peer.status_of(ENCRYPT, msgspec.structs.replace(one, ekt=rotated.ekt)) is Status.TOKEN_MISMATCH


# ── HBKID ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_hbkid_depends_on_key_id_spec_length_and_material() -> None:
    material = bytes(range(32))
    base = hbkid_of(memoryview(material), KEY_ID, "SYMMETRIC_DEFAULT")
    others = {
        hbkid_of(memoryview(material[:-1] + b"\x00"), KEY_ID, "SYMMETRIC_DEFAULT"),
        hbkid_of(memoryview(material), KEY_ID[:-1] + "7", "SYMMETRIC_DEFAULT"),
        hbkid_of(memoryview(material), KEY_ID, "HMAC_256"),
        # HMAC pads short keys with zeros: without the length in, these two would be equal.
        hbkid_of(memoryview(material + b"\x00"), KEY_ID, "SYMMETRIC_DEFAULT"),
    }
    assert len(others | {base}) == 5
    assert hbkid_of(memoryview(bytes(material)), KEY_ID, "SYMMETRIC_DEFAULT") == base


def test_padded_and_folded_keys_have_different_hbkids() -> None:
    import hashlib

    long = bytes(100)
    folded = hashlib.sha256(long).digest()
    ids = {hbkid_of(memoryview(key), KEY_ID, "HMAC_512") for key in (long, folded, folded + b"\x00", folded + bytes(2))}
    assert len(ids) == 4


def test_no_two_generated_keys_share_an_hbkid_or_an_iv(shared_hsm: Hsm, peer: Peer) -> None:
    named = ("k", ACCOUNT, REGION, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    answers = [a for _ in range(16) for a in peer.ask(*(GenerateHbk(number, *named) for number in range(64)))]
    assert all(isinstance(answer, HbkAnswer) for answer in answers)
    assert len({answer.hbkid for answer in answers if isinstance(answer, HbkAnswer)}) == 1024
    assert len({answer.ekt[22:34] for answer in answers if isinstance(answer, HbkAnswer)}) == 1024


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        ("SYMMETRIC_DEFAULT", "SIGN_VERIFY"),
        ("SYMMETRIC_DEFAULT", "encrypt_decrypt"),
        ("SYMMETRIC_DEFAULT", ""),
        ("symmetric_default", "ENCRYPT_DECRYPT"),
        ("RSA_1024", "ENCRYPT_DECRYPT"),
        ("", ""),
    ],
)
def test_a_key_of_no_spec_or_usage_is_not_made(peer: Peer, spec: str, usage: str) -> None:
    assert peer.status_of(GenerateHbk(1, KEY_ID, ACCOUNT, REGION, spec, usage)) is Status.WRONG_USAGE


@pytest.mark.parametrize(
    "change", [{"usage": "SIGN_VERIFY"}, {"usage": "GENERATE_VERIFY_MAC"}, {"spec": "HMAC_256"}, {"spec": "RSA_2048"}]
)
def test_a_key_of_another_spec_or_usage_encrypts_nothing(hsm: Hsm, change: dict[str, str]) -> None:
    """The record agrees with the token: it is the crypto world that refuses."""
    peer = hsm.open_peer()
    wrong, right = hsm.import_key(bytes(range(32)), **change), hsm.import_key(bytes(32))
    (made,) = peer.ask(ENCRYPT, keys=(right,))
    assert isinstance(made, CiphertextAnswer)
    assert peer.status_of(ENCRYPT, wrong) is Status.WRONG_USAGE
    assert peer.status_of(Decrypt(1, 0, made.blob, {}), wrong) is Status.WRONG_USAGE
    assert peer.status_of(GenerateDataKey(1, 0, 32, {}, True), wrong) is Status.WRONG_USAGE
    assert peer.status_of(ReEncrypt(1, 0, 1, made.blob, {}, {}), right, wrong) is Status.WRONG_USAGE
    assert peer.status_of(ReEncrypt(1, 1, 0, made.blob, {}, {}), right, wrong) is Status.WRONG_USAGE


# ── columns ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sealed_column_opens_for_its_own_column_and_row_only(peer: Peer) -> None:
    (answer,) = peer.ask(SealColumn(1, "access_keys.secret", "AKIA1", b"a secret"))
    assert isinstance(answer, SealedAnswer)
    assert b"a secret" not in answer.sealed
    assert peer.ask(UnsealColumn(2, "access_keys.secret", "AKIA1", answer.sealed)) == [PlaintextAnswer(2, b"a secret")]
    for column, row in (("access_keys.secret", "AKIA2"), ("access_keys.name", "AKIA1"), ("", ""), ("AKIA1", "x")):
        assert peer.status_of(UnsealColumn(2, column, row, answer.sealed)) is Status.TOKEN_MISMATCH


def test_a_frame_may_unseal_64_of_the_longest_columns(peer: Peer) -> None:
    """They do not fit into the arena's scratch region all at once."""
    value = os.urandom(4096)
    sealed = [peer.ask(SealColumn(1, "c", str(row), value))[0] for row in range(64)]
    commands_of_frame = [
        UnsealColumn(row, "c", str(row), answer.sealed)
        for row, answer in enumerate(sealed)
        if isinstance(answer, SealedAnswer)
    ]
    assert peer.ask(*commands_of_frame) == [PlaintextAnswer(row, value) for row in range(64)]


def test_wrong_tokens_do_not_use_up_the_room_of_right_ones(shared_hsm: Hsm, peer: Peer, binding: KeyBinding) -> None:
    (domain_key_id,) = shared_hsm.domain_keys
    forged = b"SRTK\x01\x01" + domain_key_id + bytes(12) + b"\x00\x00" + bytes(4096)
    wrong = msgspec.structs.replace(binding, ekt=forged)
    answers = peer.ask(
        *(Encrypt(number, 0, b"x", {}) for number in range(63)), Encrypt(63, 1, b"x", {}), keys=(wrong, binding)
    )
    assert {getattr(answer, "status", None) for answer in answers[:63]} == {Status.TOKEN_INVALID}
    assert isinstance(answers[63], CiphertextAnswer)


# ── every blob kind at every consumer ───────────────────────────────────────────────────────────


class Kinds:
    """One honest specimen of each kind of blob, all of one HSM."""

    def __init__(self) -> None:
        self.hsm = operational_hsm()
        self.peer = self.hsm.open_peer()
        self.binding = self.hsm.generate_key(self.peer)
        (made,) = self.peer.ask(ENCRYPT, keys=(self.binding,))
        (sealed,) = self.peer.ask(SealColumn(1, "c", "r", bytes(32)))
        assert isinstance(made, CiphertextAnswer)
        assert isinstance(sealed, SealedAnswer)
        assert self.hsm.created is not None
        self.blobs: dict[str, bytes] = {
            "ciphertext blob": made.blob,
            "EKT": self.binding.ekt,
            "session token": self.hsm.connect().handshake().token,
            "column token": sealed.sealed,
            "domain token": self.hsm.created.domain_token,
            "sealed frame": self.peer.seal(ENCRYPT, keys=(self.binding,)),
        }
        self.consumers: dict[str, Callable[[bytes], bool]] = {
            "ciphertext blob": self.decrypts,
            "EKT": self.is_a_key,
            "session token": self.opens_a_session,
            "column token": self.unseals,
            "domain token": self.is_a_domain,
            "sealed frame": self.is_a_frame,
        }

    def _does(self, command: Any, *keys: KeyBinding) -> bool:
        # A peer per try, since the sealed frame above has its number on the first one.
        return self.hsm.open_peer().status_of(command, *keys) is Status.SUCCESS

    def decrypts(self, data: bytes) -> bool:
        return self._does(Decrypt(1, 0, data, {}), self.binding)

    def is_a_key(self, data: bytes) -> bool:
        return self._does(ENCRYPT, msgspec.structs.replace(self.binding, ekt=data))

    def opens_a_session(self, data: bytes) -> bool:
        opening = session.encode(session.Open(data, bytes(32)))
        return status_of_refusal(self.hsm.connect(), FrameType.OPEN, opening) is Status.SUCCESS

    def unseals(self, data: bytes) -> bool:
        return self._does(UnsealColumn(1, "c", "r", data))

    def is_a_domain(self, data: bytes) -> bool:
        try:
            parse_domain_token(data)
        except DomainTokenError:
            return False
        return True

    def is_a_frame(self, data: bytes) -> bool:
        return status_of_refusal(self.peer, FrameType.COMMANDS, data) is Status.SUCCESS


def test_of_six_kinds_and_six_consumers_only_the_diagonal_is_accepted() -> None:
    kinds = Kinds()
    assert len(kinds.blobs) == len(kinds.consumers) == 6
    accepted = {
        (kind, consumer)
        for consumer, accepts in kinds.consumers.items()
        for kind, data in kinds.blobs.items()
        if accepts(data)
    }
    assert accepted == {(kind, kind) for kind in kinds.blobs}


@pytest.mark.parametrize("kind", TokenType)
def test_a_token_opens_as_its_own_type_only_even_with_its_type_byte_rewritten(kind: TokenType) -> None:
    ring = Ring([(bytes(16), memoryview(bytearray(os.urandom(32))))])
    region = Region(memoryview(bytearray(4096)))
    token = seal_token(ring, kind, b"metadata", b"secret", os.urandom(12))
    for asked in TokenType:
        rewritten = token[:5] + bytes((asked,)) + token[6:]
        if asked is kind:
            metadata, secret = open_token(ring, asked, token, region)
            assert (metadata, bytes(secret)) == (b"metadata", b"secret")
            continue
        for candidate in (token, rewritten):
            with pytest.raises(RefusedError, match="TOKEN_INVALID"):
                open_token(ring, asked, candidate, region)


def test_a_blob_layout_and_a_token_never_begin_alike() -> None:
    assert blob_layout.MAGIC[:4] not in {b"SRTK", b"SRSS"}


# ── once per frame ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_token_that_occurs_twice_in_a_frame_is_opened_once(
    shared_hsm: Hsm, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = shared_hsm.generate_key(peer), shared_hsm.generate_key(peer)
    opened: list[bytes] = []
    opening = commands.open_backing_key

    def counting(ring: Ring, region: Region, ekt: bytes) -> Any:
        opened.append(ekt)
        return opening(ring, region, ekt)

    monkeypatch.setattr(commands, "open_backing_key", counting)
    old_one = msgspec.structs.replace(one, current=False)
    frame = [Encrypt(number, number % 2, b"x", {}) for number in range(60)]
    answers = peer.ask(*frame, Encrypt(60, 2, b"x", {}), Encrypt(61, 3, b"x", {}), keys=(one, other, one, old_one))
    assert opened == [one.ekt, other.ekt]
    # Sharing the token does not share the record: the same key, called not current, still seals nothing new.
    assert all(isinstance(answer, CiphertextAnswer) for answer in answers[:61])
    assert getattr(answers[61], "status", None) == Status.NOT_CURRENT
    peer.ask(Encrypt(1, 0, b"x", {}), keys=(one,))
    assert opened == [one.ekt, other.ekt, one.ekt], "nothing outlives a frame"


def test_a_binding_that_no_command_uses_is_not_opened(peer: Peer, binding: KeyBinding) -> None:
    unused = msgspec.structs.replace(binding, ekt=b"no token at all")
    assert isinstance(peer.ask(Encrypt(1, 1, b"x", {}), keys=(unused, binding))[0], CiphertextAnswer)


def test_the_scratch_region_is_empty_after_each_frame(shared_hsm: Hsm, peer: Peer, binding: KeyBinding) -> None:
    peer.ask(ENCRYPT, Decrypt(2, 0, b"bad", {}), keys=(binding,))
    assert shared_hsm.arena._scratch.used == 0
    assert not any(shared_hsm.arena._scratch._view)


# ── the domain key's limit ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_domain_key_seals_no_more_often_than_its_limit(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = hsm.open_peer()
    binding = hsm.generate_key(peer)
    ring = hsm.module.domain().ring
    monkeypatch.setattr(ring_module, "_SEALS_MAX", ring._seals + 1)
    assert peer.status_of(SealColumn(1, "c", "r", b"v")) is Status.SUCCESS
    assert peer.status_of(SealColumn(1, "c", "r", b"v")) is Status.DOMAIN_KEY_EXHAUSTED
    assert peer.status_of(ENCRYPT, binding) is Status.SUCCESS, "opening and customer data go on"


def test_the_seal_limit_is_half_of_what_the_standard_allows() -> None:
    assert ring_module._SEALS_MAX == 1 << 31


def test_a_ring_opens_with_old_keys_and_seals_with_the_first() -> None:
    old, new = os.urandom(32), os.urandom(32)
    before = Ring([(b"o" * 16, memoryview(bytearray(old)))])
    token = seal_token(before, TokenType.HBK, b"m", b"s", bytes(12))
    ring = Ring([(b"n" * 16, memoryview(bytearray(new))), (b"o" * 16, memoryview(bytearray(old)))])
    region = Region(memoryview(bytearray(64)))
    assert bytes(open_token(ring, TokenType.HBK, token, region)[1]) == b"s"
    assert seal_token(ring, TokenType.HBK, b"m", b"s", bytes(12))[6:22] == b"n" * 16
    with pytest.raises(RefusedError, match="UNKNOWN_DOMAIN_KEY"):
        open_token(Ring([(b"n" * 16, memoryview(bytearray(new)))]), TokenType.HBK, token, region)
