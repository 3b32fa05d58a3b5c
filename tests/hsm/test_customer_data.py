"""Encrypt, Decrypt, ReEncrypt, data keys: limits, binding, one-time keys, and who may open what."""

from __future__ import annotations

import os

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.salamander import sealed_under_both
from strongroom.boundary import blob as layout
from strongroom.boundary.context import canonical_context
from strongroom.boundary.derivation import derive
from strongroom.boundary.frames import FrameType
from strongroom.boundary.messages import (
    CiphertextAnswer,
    DataKeyAnswer,
    Decrypt,
    Encrypt,
    GenerateDataKey,
    GenerateHbk,
    GenerateRandom,
    GetHsmStatus,
    HbkAnswer,
    KeyBinding,
    PlaintextAnswer,
    ReEncrypt,
    RefusedAnswer,
    SealColumn,
    SignAuditHead,
    UnsealColumn,
)
from strongroom.boundary.statuses import RefusedError, Status
from testkit.module import ACCOUNT, KEY_ID, REGION, Hsm, Peer, operational_hsm

CONTEXT = {"bucket": "invoices", "object": "2024/1"}


@pytest.fixture
def peer(shared_hsm: Hsm) -> Peer:
    return shared_hsm.open_peer()


@pytest.fixture
def binding(shared_hsm: Hsm, peer: Peer) -> KeyBinding:
    return shared_hsm.generate_key(peer)


def encrypt(peer: Peer, binding: KeyBinding, plaintext: bytes, context: dict[str, str] | None = None) -> bytes:
    (answer,) = peer.ask(Encrypt(1, 0, plaintext, context or {}), keys=(binding,))
    assert isinstance(answer, CiphertextAnswer), answer
    return answer.blob


def decrypt(peer: Peer, binding: KeyBinding, blob: bytes, context: dict[str, str] | None = None) -> bytes | Status:
    (answer,) = peer.ask(Decrypt(1, 0, blob, context or {}), keys=(binding,))
    return answer.plaintext if isinstance(answer, PlaintextAnswer) else Status(answer.status)  # type: ignore[union-attr]


def test_a_blob_is_what_its_layout_says(hsm: Hsm) -> None:
    """Opened here by the layout's tables and the library's KBKDF, with a key that the test knows."""
    material = bytes(range(32))
    binding = hsm.import_key(material)
    blob = encrypt(hsm.open_peer(), binding, b"the text", CONTEXT)
    assert blob[:37] == b"SRCB\x01" + binding.hbkid
    derived_key = derive(material, b"strongroom data encryption key", blob[37:53] + binding.hbkid)
    associated = blob[:65] + len(KEY_ID).to_bytes(4, "big") + KEY_ID.encode() + canonical_context(CONTEXT)
    assert AESGCM(derived_key).decrypt(blob[53:65], blob[65:], associated) == b"the text"


@settings(max_examples=60)
@given(plaintext=st.binary(min_size=1, max_size=4096), context=st.dictionaries(st.text("ab", max_size=3), st.just("v")))
def test_what_was_encrypted_is_decrypted(shared_hsm: Hsm, plaintext: bytes, context: dict[str, str]) -> None:
    peer = shared_hsm.open_peer()
    binding = shared_hsm.generate_key(peer)
    blob = encrypt(peer, binding, plaintext, context)
    assert len(blob) == len(plaintext) + layout.OVERHEAD_BYTES
    assert decrypt(peer, binding, blob, context) == plaintext
    peer.connection.close()


def test_every_flipped_byte_and_every_truncation_of_a_blob_is_refused(peer: Peer, binding: KeyBinding) -> None:
    blob = encrypt(peer, binding, b"some text", CONTEXT)
    for at in range(len(blob)):
        for flip in (0x01, 0x80):
            altered = blob[:at] + bytes((blob[at] ^ flip,)) + blob[at + 1 :]
            assert decrypt(peer, binding, altered, CONTEXT) is Status.INVALID_CIPHERTEXT
    for length in range(1, len(blob)):
        assert decrypt(peer, binding, blob[:length], CONTEXT) is Status.INVALID_CIPHERTEXT
    assert decrypt(peer, binding, blob + b"\x00", CONTEXT) is Status.INVALID_CIPHERTEXT


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"bucket": "invoices"},
        {**CONTEXT, "x": ""},
        {"Bucket": "invoices", "object": "2024/1"},
        {"bucketinvoices": ""},
    ],
)
def test_another_encryption_context_is_refused(peer: Peer, binding: KeyBinding, context: dict[str, str]) -> None:
    blob = encrypt(peer, binding, b"text", CONTEXT)
    assert decrypt(peer, binding, blob, context) is Status.INVALID_CIPHERTEXT


def test_the_same_material_under_another_key_id_does_not_decrypt(hsm: Hsm) -> None:
    peer, material = hsm.open_peer(), bytes(range(32))
    one, other = hsm.import_key(material), hsm.import_key(material, "11111111-2222-4333-8444-555566667777")
    blob = encrypt(peer, one, b"text")
    assert decrypt(peer, other, blob) is Status.INVALID_CIPHERTEXT
    renamed = blob[:5] + other.hbkid + blob[37:]
    assert decrypt(peer, other, renamed) is Status.INVALID_CIPHERTEXT


def test_no_key_decrypts_what_another_key_made(shared_hsm: Hsm, peer: Peer) -> None:
    keys = tuple(shared_hsm.generate_key(peer) for _ in range(8))
    for maker in range(8):
        (made,) = peer.ask(Encrypt(1, maker, b"text", {}), keys=keys)
        assert isinstance(made, CiphertextAnswer)
        answers = peer.ask(*(Decrypt(number, number, made.blob, {}) for number in range(8)), keys=keys)
        assert [isinstance(answer, PlaintextAnswer) for answer in answers] == [number == maker for number in range(8)]


def count_crossed_salamanders(hsm: Hsm, salamanders: int) -> int:
    """Of ciphertexts that are valid AES-GCM under two known keys, half of them under each one's own associated data.

    How many open under another key than the one that they name.
    """
    peer = hsm.open_peer()
    materials = bytes(range(32)), bytes(range(32, 64))
    keys = hsm.import_key(materials[0]), hsm.import_key(materials[1])
    crossed = 0
    for number in range(salamanders):
        nonce, iv, body = (number // 20).to_bytes(16, "big"), number.to_bytes(12, "big"), os.urandom(32)
        headers = [layout.MAGIC + key.hbkid + nonce + iv for key in keys]
        if number % 2:  # One blob, one header: the associated data of both are the same bytes.
            headers[1] = headers[0]
        parts = [
            (
                derive(material, b"strongroom data encryption key", nonce + key.hbkid),
                layout.associated_data(header, KEY_ID, canonical_context({})),
            )
            for material, key, header in zip(materials, keys, headers, strict=True)
        ]
        sealed = sealed_under_both(parts[0], parts[1], iv, body)
        for derived_key, associated in parts:  # The attack itself works: plain AES-GCM takes it under both.
            assert len(AESGCM(derived_key).decrypt(iv, sealed, associated)) == 48
        blob = headers[0] + sealed
        assert isinstance(decrypt(peer, keys[0], blob), bytes)
        crossed += decrypt(peer, keys[1], blob) is not Status.INVALID_CIPHERTEXT
        renamed = blob[:5] + keys[1].hbkid + blob[37:]
        if number % 2:
            crossed += decrypt(peer, keys[1], renamed) is not Status.INVALID_CIPHERTEXT
    return crossed


def test_a_salamander_opens_under_no_key_but_the_one_it_names(hsm: Hsm) -> None:
    assert count_crossed_salamanders(hsm, 1_000) == 0


@pytest.mark.long
def test_no_salamander_of_ten_thousand_opens_under_another_key(hsm: Hsm) -> None:
    assert count_crossed_salamanders(hsm, 10_000) == 0


def test_a_salamander_would_open_if_the_hbkid_were_not_compared(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: a vault that takes the blob's word for the header and does not look whose it is."""
    from strongroom.hsm.vault import customer_data

    materials = bytes(range(32)), bytes(range(32, 64))
    keys = hsm.import_key(materials[0]), hsm.import_key(materials[1])
    header = layout.MAGIC + keys[0].hbkid + bytes(28)
    associated = layout.associated_data(header, KEY_ID, canonical_context({}))
    derived = [
        derive(material, b"strongroom data encryption key", bytes(16) + key.hbkid)
        for material, key in zip(materials, keys, strict=True)
    ]
    sealed = sealed_under_both((derived[0], associated), (derived[1], associated), bytes(12), os.urandom(32))

    class Blob(bytes):
        def startswith(self, *_: object) -> bool:
            return True

    real = customer_data.decrypt_data
    peer = hsm.open_peer()
    assert decrypt(peer, keys[1], header + sealed) is Status.INVALID_CIPHERTEXT
    monkeypatch.setattr("strongroom.hsm.commands.decrypt_data", lambda key, blob, rest: real(key, Blob(blob), rest))
    assert isinstance(decrypt(peer, keys[1], header + sealed), bytes)


# ── nothing repeats ─────────────────────────────────────────────────────────────────────────────────────────────────


def count_different(hsm: Hsm, encrypts: int) -> tuple[int, int]:
    """How many different nonces and IVs that many encryptions have."""
    peer = hsm.open_peer()
    binding = hsm.generate_key(peer)
    nonces, ivs = set(), set()
    frame = [Encrypt(number, 0, b"x", {}) for number in range(64)]
    for _ in range(encrypts // 64):
        for answer in peer.ask(*frame, keys=(binding,)):
            assert isinstance(answer, CiphertextAnswer)
            nonces.add(answer.blob[37:53])
            ivs.add(answer.blob[53:65])
    return len(nonces), len(ivs)


def test_no_nonce_and_no_iv_repeats_in_sixteen_thousand_encryptions(shared_hsm: Hsm) -> None:
    assert count_different(shared_hsm, 1 << 14) == (1 << 14, 1 << 14)


@pytest.mark.long
def test_no_nonce_and_no_iv_repeats_in_a_million_encryptions(shared_hsm: Hsm) -> None:
    assert count_different(shared_hsm, 1 << 20) == (1 << 20, 1 << 20)


def test_two_hsms_of_one_state_do_not_repeat_each_other(hsm: Hsm) -> None:
    """Class 13: a restored snapshot or a fork starts from the same state and must not draw the same numbers."""
    one, other = hsm.restart(), hsm.restart()
    drawn = [
        {
            answer.plaintext
            for answer in peer.ask(*(GenerateRandom(n, 16) for n in range(64)))
            if isinstance(answer, PlaintextAnswer)
        }
        for peer in (one.open_peer(), other.open_peer())
    ]
    assert len(drawn[0] | drawn[1]) == 128


def test_data_keys_are_random_and_wrapped(peer: Peer, binding: KeyBinding) -> None:
    answers = peer.ask(*(GenerateDataKey(number, 0, 32, CONTEXT, True) for number in range(64)), keys=(binding,))
    plain = {answer.plaintext for answer in answers if isinstance(answer, DataKeyAnswer)}
    assert len(plain) == 64
    for answer in answers[:5]:
        assert isinstance(answer, DataKeyAnswer)
        assert answer.plaintext is not None
        assert answer.plaintext not in answer.blob
        assert decrypt(peer, binding, answer.blob, CONTEXT) == answer.plaintext
    (hidden,) = peer.ask(GenerateDataKey(1, 0, 32, CONTEXT, False), keys=(binding,))
    assert isinstance(hidden, DataKeyAnswer)
    assert hidden.plaintext is None
    assert len(decrypt(peer, binding, hidden.blob, CONTEXT)) == 32  # type: ignore[arg-type]


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("length", "fits"), [(0, False), (1, True), (4096, True), (4097, False)])
def test_data_has_one_to_4096_bytes(peer: Peer, binding: KeyBinding, length: int, fits: bool) -> None:
    expected = Status.SUCCESS if fits else Status.DATA_LENGTH
    assert peer.status_of(Encrypt(1, 0, bytes(length), {}), binding) is expected
    assert peer.status_of(SealColumn(1, "c", "r", bytes(length))) is expected


@pytest.mark.parametrize(
    ("length", "fits"), [(-1, False), (0, False), (1, True), (1024, True), (1025, False), (1 << 62, False)]
)
def test_random_bytes_and_data_keys_have_one_to_1024_bytes(
    peer: Peer, binding: KeyBinding, length: int, fits: bool
) -> None:
    expected = Status.SUCCESS if fits else Status.DATA_LENGTH
    assert peer.status_of(GenerateRandom(1, length)) is expected
    assert peer.status_of(GenerateDataKey(1, 0, length, {}, False), binding) is expected
    if fits:
        (answer,) = peer.ask(GenerateRandom(1, length))
        assert isinstance(answer, PlaintextAnswer)
        assert len(answer.plaintext) == length


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (0, Status.DATA_LENGTH),
        (1, Status.INVALID_CIPHERTEXT),
        (6144, Status.INVALID_CIPHERTEXT),
        (6145, Status.DATA_LENGTH),
    ],
)
def test_a_blob_has_at_most_6144_bytes(peer: Peer, binding: KeyBinding, length: int, status: Status) -> None:
    assert peer.status_of(Decrypt(1, 0, bytes(length), {}), binding) is status
    assert peer.status_of(ReEncrypt(1, 0, 0, bytes(length), {}, {}), binding) is status


def test_a_context_over_eight_kibibytes_is_refused(peer: Peer, binding: KeyBinding) -> None:
    longest, longer = {"k": "v" * 8185}, {"k": "v" * 8186}
    blob = encrypt(peer, binding, b"x", longest)
    assert decrypt(peer, binding, blob, longest) == b"x"
    for command in (
        Encrypt(1, 0, b"x", longer),
        Decrypt(1, 0, blob, longer),
        GenerateDataKey(1, 0, 32, longer, True),
        ReEncrypt(1, 0, 0, blob, longer, {}),
        ReEncrypt(1, 0, 0, blob, longest, longer),
        Encrypt(1, 0, b"x", {str(number): "" for number in range(70_000)}),
    ):
        assert peer.status_of(command, binding) is Status.DATA_LENGTH


@pytest.mark.parametrize(("length", "fits"), [(0, False), (1, True), (64, True), (65, False)])
def test_an_audit_digest_has_at_most_64_bytes(peer: Peer, length: int, fits: bool) -> None:
    assert peer.status_of(SignAuditHead(1, bytes(length))) is (Status.SUCCESS if fits else Status.DATA_LENGTH)


def test_a_frame_carries_64_commands_and_no_more(shared_hsm: Hsm, peer: Peer) -> None:
    assert len(peer.ask(*(GenerateRandom(number, 1) for number in range(64)))) == 64
    assert peer.ask() == []
    with pytest.raises(RefusedError, match="MALFORMED"):
        peer.ask(*(GenerateRandom(number, 1) for number in range(65)))


# ── roles and failures ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_that_is_not_current_opens_but_seals_nothing_new(peer: Peer, binding: KeyBinding) -> None:
    old = msgspec.structs.replace(binding, current=False)
    blob = encrypt(peer, binding, b"text")
    assert decrypt(peer, old, blob) == b"text"
    assert peer.status_of(Encrypt(1, 0, b"x", {}), old) is Status.NOT_CURRENT
    assert peer.status_of(GenerateDataKey(1, 0, 32, {}, True), old) is Status.NOT_CURRENT
    assert peer.status_of(ReEncrypt(1, 0, 0, blob, {}, {}), old) is Status.NOT_CURRENT
    assert peer.status_of(ReEncrypt(1, 0, 1, blob, {}, {}), old, binding) is Status.SUCCESS
    assert peer.status_of(ReEncrypt(1, 1, 0, blob, {}, {}), old, binding) is Status.NOT_CURRENT


def test_re_encrypt_moves_data_from_key_to_key_and_context_to_context(shared_hsm: Hsm, peer: Peer) -> None:
    source, destination = shared_hsm.generate_key(peer), shared_hsm.generate_key(peer)
    blob = encrypt(peer, source, b"text", CONTEXT)
    (moved,) = peer.ask(ReEncrypt(1, 0, 1, blob, CONTEXT, {"new": "one"}), keys=(source, destination))
    assert isinstance(moved, CiphertextAnswer)
    assert decrypt(peer, destination, moved.blob, {"new": "one"}) == b"text"
    assert decrypt(peer, destination, moved.blob, CONTEXT) is Status.INVALID_CIPHERTEXT
    assert peer.status_of(ReEncrypt(1, 0, 1, blob, {}, {}), source, destination) is Status.INVALID_CIPHERTEXT
    assert peer.status_of(ReEncrypt(1, 1, 0, blob, CONTEXT, {}), source, destination) is Status.INVALID_CIPHERTEXT


@pytest.mark.parametrize("index", [-1, 1, 64, 1 << 40])
def test_a_key_that_the_frame_does_not_bring_is_malformed(peer: Peer, binding: KeyBinding, index: int) -> None:
    for command in (
        Encrypt(1, index, b"x", {}),
        Decrypt(1, index, bytes(100), {}),
        GenerateDataKey(1, index, 32, {}, True),
        ReEncrypt(1, index, 0, bytes(100), {}, {}),
        ReEncrypt(1, 0, index, bytes(100), {}, {}),
    ):
        assert peer.status_of(command, binding) is Status.MALFORMED


def test_one_bad_command_fails_alone(peer: Peer, binding: KeyBinding) -> None:
    blob = encrypt(peer, binding, b"text")
    broken = msgspec.structs.replace(binding, ekt=b"garbage")
    frame = [
        Encrypt(10, 0, b"x", {}),
        Encrypt(11, 0, b"", {}),
        Encrypt(12, 1, b"x", {}),
        Encrypt(13, 9, b"x", {}),
        Decrypt(14, 0, blob[:-1], {}),
        Decrypt(15, 0, blob, {}),
        UnsealColumn(16, "c", "r", b""),
        GenerateHbk(17, KEY_ID, ACCOUNT, REGION, "none", "none"),
        SealColumn(18, "c" * 70_000, "r", b"v"),
        GenerateHbk(19, KEY_ID, ACCOUNT, REGION, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
    ]
    answers = peer.ask(*frame, keys=(binding, broken))
    assert [answer.request_id for answer in answers] == list(range(10, 20))
    refused = {answer.request_id: Status(answer.status) for answer in answers if isinstance(answer, RefusedAnswer)}
    assert refused == {
        11: Status.DATA_LENGTH,
        12: Status.TOKEN_INVALID,
        13: Status.MALFORMED,
        14: Status.INVALID_CIPHERTEXT,
        16: Status.TOKEN_INVALID,
        17: Status.WRONG_USAGE,
        18: Status.INTERNAL,
    }
    assert answers[5] == PlaintextAnswer(15, b"text")
    assert isinstance(answers[9], HbkAnswer)


def test_traces_are_given_only_where_they_are_asked_for_and_hold_no_secret(hsm: Hsm) -> None:
    peer, material = hsm.open_peer(), bytes(range(100, 132))
    binding = hsm.import_key(material)
    commands = (Encrypt(1, 0, b"canary plaintext", {}), GenerateDataKey(2, 0, 32, {}, True), GetHsmStatus(3))
    assert peer.exchange(peer.seal(*commands, keys=(binding,))).traces == []
    frame = peer.exchange(peer.seal(*commands, keys=(binding,), trace=True))
    assert [(trace.request_id, trace.command) for trace in frame.traces] == [(1, "Encrypt"), (2, "GenerateDataKey")]
    (made, data_key, _) = frame.answers
    assert isinstance(made, CiphertextAnswer)
    assert isinstance(data_key, DataKeyAnswer)
    assert frame.traces[0].nonce == made.blob[37:53]
    encoded = msgspec.msgpack.encode(frame.traces)
    assert data_key.plaintext is not None
    for secret in (material, b"canary plaintext", data_key.plaintext, *hsm.domain_keys.values()):
        assert secret not in encoded


def test_no_answer_holds_a_canary_of_the_arena(hsm: Hsm) -> None:
    """Class 17: bytes that stand around the key regions, and the keys, never appear in any reply."""
    peer, material = hsm.open_peer(), os.urandom(32)
    binding = hsm.import_key(material)
    words = [bytes(view) for view, _ in hsm.arena._canaries] + [material, *hsm.domain_keys.values(), hsm.seal_secret]
    frame = [
        *(Encrypt(n, 0, bytes(n + 1), {}) for n in range(20)),
        *(Decrypt(n, 0, bytes(n + 1), {}) for n in range(20)),
        *(GenerateDataKey(n, 0, n + 1, {}, True) for n in range(20)),
        *(GetHsmStatus(1), SignAuditHead(2, bytes(32)), UnsealColumn(3, "c", "r", binding.ekt)),
    ]
    sealed = peer.seal(*frame, keys=(binding,), trace=True)
    answer = peer.inbound.open(
        peer.keys[1], FrameType.ANSWERS, peer.send(FrameType.COMMANDS, sealed, FrameType.ANSWERS)
    )
    assert not any(word in answer for word in words)


def test_an_hsm_without_the_domain_key_decrypts_nothing(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    binding = hsm.generate_key(peer)
    blob = encrypt(peer, binding, b"text")
    assert decrypt(operational_hsm().open_peer(), binding, blob) is Status.UNKNOWN_DOMAIN_KEY
    assert decrypt(hsm.restart().open_peer(), binding, blob) == b"text"
