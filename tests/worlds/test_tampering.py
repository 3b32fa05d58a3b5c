"""Whatever somebody changes in a blob, a context, a request or a row, no plaintext comes
out, and the answer is AWS's.

Three places of attack: the blob in the customer's hands, the row in the store (with and without the store key), and the
binding that the service host sends to the HSM. Each has a table of (what was changed, what must be answered).
"""

from __future__ import annotations

import json
import os
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import pytest

from strongroom.boundary.messages import (
    Decrypt,
    Encrypt,
    GenerateDataKey,
    GenerateRandom,
    KeyBinding,
    PlaintextAnswer,
    ReEncrypt,
    RefusedAnswer,
    UnsealColumn,
)
from strongroom.boundary.statuses import Status
from testkit.installation import Installation
from testkit.raw import make_user
from testkit.sealed_state import COLUMN, SESSION, seal_token
from testkit.tampering import HsmPeer, Row, StoreEditor, edited_store, flipped, open_secrets, outcome_of

PLAINTEXT = b"thirty-two bytes of a secret key"
CONTEXT = {"tenant": "Anna", "straße": "é"}
_NO_KEY = (
    "User: arn:aws:iam::000000000000:root is not authorized to perform: kms:{} on the resource associated with this "
    "ciphertext because the resource does not exist in this Region, no resource-based policies allow access, or a "
    "resource-based policy explicitly denies access"
)
INVALID = ("InvalidCiphertextException", 400, "")
UNKNOWN_KEY = ("AccessDeniedException", 400, _NO_KEY.format("Decrypt"))
UNKNOWN_SOURCE = ("AccessDeniedException", 400, _NO_KEY.format("ReEncryptFrom"))
INCORRECT_KEY = (
    "IncorrectKeyException",
    400,
    "The key ID in the request does not identify a CMK that can perform this operation.",
)
INTERNAL = ("KMSInternalException", 500, "")

# Field of boundary/blob.py, its first and last byte, and what a change of it answers. A changed HBKID names a key that
# nobody has: the blob is well formed, so AWS says "no such key or not yours" and not "garbled".
BLOB_FIELDS = (
    ("magic", 0, 3, INVALID),
    ("version", 4, 4, INVALID),
    ("HBKID", 5, 36, UNKNOWN_KEY),
    ("nonce", 37, 52, INVALID),
    ("IV", 53, 64, INVALID),
    ("ciphertext", 65, 96, INVALID),
    ("tag", 97, 112, INVALID),
)


def _expected_at(offset: int) -> tuple[str, int, str]:
    (expected,) = [answer for _, first, last, answer in BLOB_FIELDS if first <= offset <= last]
    return expected


@pytest.fixture(scope="module")
def blob(kms: Any, module_key: str) -> bytes:
    return bytes(kms.encrypt(KeyId=module_key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)["CiphertextBlob"])


@pytest.fixture(scope="module")
def module_key(kms: Any) -> str:
    return str(kms.create_key()["KeyMetadata"]["KeyId"])


def _decrypt(kms: Any, blob: bytes, context: dict[str, str] | None = None, **more: Any) -> Any:
    answer = outcome_of(
        kms.decrypt, CiphertextBlob=blob, EncryptionContext=CONTEXT if context is None else context, **more
    )
    return answer["Plaintext"] if isinstance(answer, dict) else answer


# ── the blob ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_of_blob_fields_covers_a_blob_of_32_bytes_without_gaps(kms: Any, blob: bytes) -> None:
    ends = [(first, last) for _, first, last, _ in BLOB_FIELDS]
    assert [offset for first, last in ends for offset in range(first, last + 1)] == list(range(len(blob)))
    assert _decrypt(kms, blob) == PLAINTEXT


def test_every_flipped_bit_at_every_offset_of_a_blob_is_refused_as_its_field_says(kms: Any, blob: bytes) -> None:
    answers = {bit: _decrypt(kms, flipped(blob, bit)) for bit in range(len(blob) * 8)}
    assert answers == {bit: _expected_at(bit // 8) for bit in answers}
    assert len(answers) == 113 * 8


def test_every_flipped_byte_of_a_data_keys_blob_is_refused_by_re_encrypt_too(kms: Any, module_key: str) -> None:
    made = kms.generate_data_key(KeyId=module_key, KeySpec="AES_256", EncryptionContext=CONTEXT)["CiphertextBlob"]
    answers = {
        offset: outcome_of(
            kms.re_encrypt,
            CiphertextBlob=flipped(made, offset * 8 + offset % 8),
            SourceEncryptionContext=CONTEXT,
            DestinationKeyId=module_key,
        )
        for offset in range(len(made))
    }
    of_source = {UNKNOWN_KEY: UNKNOWN_SOURCE}
    expected = {offset: _expected_at(offset) for offset in answers}
    assert answers == {offset: of_source.get(one, one) for offset, one in expected.items()}


def test_a_blob_that_is_cut_or_lengthened_anywhere_is_garbled(kms: Any, blob: bytes) -> None:
    cut = {length: _decrypt(kms, blob[:length]) for length in range(1, len(blob))}
    assert cut == dict.fromkeys(cut, INVALID)
    beheaded = {length: _decrypt(kms, blob[length:]) for length in range(1, len(blob))}
    assert beheaded == dict.fromkeys(beheaded, INVALID)
    for more in (b"\0", b"\xff", bytes(16), blob, bytes(6144 - len(blob))):
        assert _decrypt(kms, blob + more) == INVALID
        assert _decrypt(kms, more + blob) == INVALID or more == blob
    for at in (5, 37, 53, 65, 97):
        assert _decrypt(kms, blob[:at] + b"\0" + blob[at:]) in {INVALID, UNKNOWN_KEY}


def test_parts_of_two_blobs_of_one_key_do_not_make_a_third(kms: Any, module_key: str, blob: bytes) -> None:
    other = kms.encrypt(KeyId=module_key, Plaintext=PLAINTEXT[::-1], EncryptionContext=CONTEXT)["CiphertextBlob"]
    spliced = {
        name: _decrypt(kms, blob[:first] + other[first : last + 1] + blob[last + 1 :])
        for name, first, last, _ in BLOB_FIELDS[3:]
    }
    assert spliced == dict.fromkeys(spliced, INVALID)
    assert _decrypt(kms, blob[:65] + other[65:]) == INVALID


def test_well_formed_bytes_that_name_no_key_are_denied_and_noise_is_garbled(kms: Any, blob: bytes) -> None:
    assert _decrypt(kms, blob[:5] + os.urandom(32) + blob[37:]) == UNKNOWN_KEY
    assert _decrypt(kms, b"SRCB\x01" + os.urandom(108)) == UNKNOWN_KEY
    for length in (1, 4, 5, 81, 82, 113, 6144):
        assert _decrypt(kms, os.urandom(length)) == INVALID


def test_a_blob_names_its_key_and_no_other_key_opens_it(kms: Any, module_key: str, key_id: str, blob: bytes) -> None:
    other = kms.encrypt(KeyId=key_id, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)["CiphertextBlob"]
    assert _decrypt(kms, blob, KeyId=module_key) == PLAINTEXT
    assert _decrypt(kms, blob, KeyId=key_id) == INCORRECT_KEY
    assert _decrypt(kms, other, KeyId=module_key) == INCORRECT_KEY
    # A header of the other key before this key's ciphertext: found, opened by the wrong key, refused.
    assert _decrypt(kms, blob[:5] + other[5:37] + blob[37:]) == INVALID
    assert _decrypt(kms, blob[:5] + other[5:37] + blob[37:], KeyId=module_key) == INCORRECT_KEY
    re_encrypted = outcome_of(
        kms.re_encrypt,
        CiphertextBlob=blob,
        SourceKeyId=key_id,
        SourceEncryptionContext=CONTEXT,
        DestinationKeyId=key_id,
    )
    assert re_encrypted == INCORRECT_KEY
    assert _decrypt(kms, flipped(blob, 8 * 100), KeyId=key_id) == INCORRECT_KEY
    assert _decrypt(kms, blob, KeyId=str(uuid.uuid4()))[:2] == ("NotFoundException", 400)


# ── the encryption context ──────────────────────────────────────────────────────────────────────────────────────


WRONG_CONTEXTS: dict[str, dict[str, str]] = {
    "empty": {},
    "a pair is missing": {"tenant": "Anna"},
    "a pair too many": {**CONTEXT, "more": ""},
    "key in other case": {"Tenant": "Anna", "straße": "é"},
    "value in other case": {"tenant": "anna", "straße": "é"},
    "value in upper case": {"tenant": "ANNA", "straße": "é"},
    "key folded": {"tenant": "Anna", "strasse": "é"},
    "value decomposed": {"tenant": "Anna", "straße": unicodedata.normalize("NFD", "é")},
    "value fullwidth": {"tenant": "\uff21nna", "straße": "é"},
    "values swapped": {"tenant": "é", "straße": "Anna"},
    "keys and values swapped": {"Anna": "tenant", "é": "straße"},
    "trailing blank": {"tenant": "Anna ", "straße": "é"},
    "trailing zero": {"tenant": "Anna\0", "straße": "é"},
    "boundary moved": {"tenantA": "nna", "straße": "é"},
    "one value in another's place": {"tenant": "Anna", "straße": ""},
}


def test_every_other_encryption_context_is_a_garbled_blob(kms: Any, module_key: str, blob: bytes) -> None:
    answers = {name: _decrypt(kms, blob, context) for name, context in WRONG_CONTEXTS.items()}
    assert answers == dict.fromkeys(WRONG_CONTEXTS, INVALID)
    moved = {
        name: outcome_of(
            kms.re_encrypt, CiphertextBlob=blob, SourceEncryptionContext=context, DestinationKeyId=module_key
        )
        for name, context in WRONG_CONTEXTS.items()
    }
    assert moved == dict.fromkeys(WRONG_CONTEXTS, INVALID)


def test_the_order_of_a_context_is_free_and_an_empty_one_equals_none(kms: Any, module_key: str, blob: bytes) -> None:
    assert _decrypt(kms, blob, dict(reversed(CONTEXT.items()))) == PLAINTEXT
    without = kms.encrypt(KeyId=module_key, Plaintext=PLAINTEXT)["CiphertextBlob"]
    empty = kms.encrypt(KeyId=module_key, Plaintext=PLAINTEXT, EncryptionContext={})["CiphertextBlob"]
    for made in (without, empty):
        assert kms.decrypt(CiphertextBlob=made)["Plaintext"] == PLAINTEXT
        assert kms.decrypt(CiphertextBlob=made, EncryptionContext={})["Plaintext"] == PLAINTEXT
        assert _decrypt(kms, made, {"tenant": ""}) == INVALID


def test_both_unicode_forms_of_a_context_are_kept_apart_in_both_directions(kms: Any, module_key: str) -> None:
    forms = [unicodedata.normalize(form, "Å\u1e9b\u0323é") for form in ("NFC", "NFD", "NFKC", "NFKD")]
    assert len(set(forms)) == 4
    blobs = [kms.encrypt(KeyId=module_key, Plaintext=b"x", EncryptionContext={f: f})["CiphertextBlob"] for f in forms]
    opened = [[_decrypt(kms, made, {form: form}) for form in forms] for made in blobs]
    assert opened == [[b"x" if made == form else INVALID for form in range(4)] for made in range(4)]


# ── the store's rows ────────────────────────────────────────────────────────────────────────────────────────────


class Victim(NamedTuple):
    """A key of its own for one case, with what was encrypted under it."""

    key_id: str
    blob: bytes
    alias: str


class World:
    """An installation whose store is edited, and what the edits need to know."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.kms = installation.kms()
        self.control = self.victim()
        self.donor = self.victim()
        self.state, self.store_key = open_secrets(installation.home)
        with HsmPeer(installation.home) as peer:
            # A real one, as the HSM hands it to the service host.
            self.session_token = peer.session_token

    def close(self) -> None:
        self.kms.close()

    def victim(self) -> Victim:
        key_id = self.kms.create_key()["KeyMetadata"]["KeyId"]
        alias = f"alias/{key_id}"
        self.kms.create_alias(AliasName=alias, TargetKeyId=key_id)
        return Victim(key_id, self.kms.encrypt(KeyId=key_id, Plaintext=PLAINTEXT)["CiphertextBlob"], alias)

    def edit_rows(self, edits: Callable[[StoreEditor], None], store_key: bytes | None, *, running: bool) -> None:
        """Edit under the running service, or between its end and its next start."""
        if not running:
            self.installation.stop()
        with edited_store(self.installation.home, store_key) as editor:
            edits(editor)
        if not running:
            self.installation.start()

    def outcomes(self, victim: Victim) -> dict[str, Any]:
        """What every operation that needs the key's material answers; never may a plaintext be among it."""
        kms, key_id = self.kms, victim.key_id
        answers = {
            "Decrypt": outcome_of(kms.decrypt, CiphertextBlob=victim.blob),
            "DecryptNamed": outcome_of(kms.decrypt, CiphertextBlob=victim.blob, KeyId=key_id),
            "ReEncryptFrom": outcome_of(
                kms.re_encrypt, CiphertextBlob=victim.blob, DestinationKeyId=self.control.key_id
            ),
            "ReEncryptTo": outcome_of(kms.re_encrypt, CiphertextBlob=self.control.blob, DestinationKeyId=key_id),
            "Encrypt": outcome_of(kms.encrypt, KeyId=key_id, Plaintext=PLAINTEXT),
            "EncryptByAlias": outcome_of(kms.encrypt, KeyId=victim.alias, Plaintext=PLAINTEXT),
            "GenerateDataKey": outcome_of(kms.generate_data_key, KeyId=key_id, KeySpec="AES_256"),
        }
        assert not [name for name, answer in answers.items() if isinstance(answer, dict) and "Plaintext" in answer]
        return answers

    def require_unharmed(self) -> None:
        """Another key, the process and the HSM go on as before."""
        assert self.kms.decrypt(CiphertextBlob=self.control.blob)["Plaintext"] == PLAINTEXT
        data_key = self.kms.generate_data_key(KeyId=self.control.key_id, KeySpec="AES_256")
        assert self.kms.decrypt(CiphertextBlob=data_key["CiphertextBlob"])["Plaintext"] == data_key["Plaintext"]
        assert self.kms.create_key()["KeyMetadata"]["Enabled"]


@pytest.fixture
def world() -> Iterator[World]:
    installation = Installation()
    try:
        opened = World(installation.start())
        yield opened
        opened.close()
    finally:
        installation.destroy()


_FAILS = ("Decrypt", "DecryptNamed", "ReEncryptFrom", "ReEncryptTo", "Encrypt", "EncryptByAlias", "GenerateDataKey")
ALL_INTERNAL = dict.fromkeys(_FAILS, INTERNAL)

_STATEMENT = {"Effect": "Allow", "Action": "*", "Resource": "*"}
_EVERYTHING = json.dumps({"inline": json.dumps({"Version": "2012-10-17", "Statement": [_STATEMENT]})})
RAW_KEY_CHANGES: dict[str, dict[str, Any]] = {
    "version": {"version": 7},
    "state": {"state": "Disabled"},
    "spec": {"spec": "RSA_2048"},
    "usage": {"usage": "SIGN_VERIFY"},
    "origin": {"origin": "EXTERNAL"},
    "multi_region": {"multi_region": 1},
    "description": {"description": "changed"},
    "key_policy": {"key_policy": "{}"},
    "principal_ids": {"principal_ids": '{"arn:aws:iam::000000000000:user/a":"AIDA1"}'},
    "tags": {"tags": '{"a":"b"}'},
    "created_at_s": {"created_at_s": 1.0},
    "account": {"account": "111111111111"},
    "region": {"region": "eu-west-1"},
    "mac flipped": {"mac": bytes(32)},
    "mac gone": {"mac": b""},
}
RAW_MATERIAL_CHANGES: dict[str, dict[str, Any]] = {
    "version": {"version": 7},
    "ekt": {"ekt": b"SRTK" + bytes(200)},
    "created_at_s": {"created_at_s": 1.0},
    "mac flipped": {"mac": bytes(32)},
    "mac gone": {"mac": b""},
    "mac as text": {"mac": b"0" * 64},
}


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_a_row_changed_without_the_store_key_is_refused_and_spares_every_other(world: World, running: bool) -> None:
    keys = {name: world.victim() for name in RAW_KEY_CHANGES}
    materials = {name: world.victim() for name in RAW_MATERIAL_CHANGES}
    swapped, retargeted = world.victim(), world.victim()

    def edits(editor: StoreEditor) -> None:
        for name, victim in keys.items():
            editor.change("kms_keys", editor.row("kms_keys", key_id=victim.key_id), **RAW_KEY_CHANGES[name])
        for name, victim in materials.items():
            editor.change("materials", editor.row("materials", key_id=victim.key_id), **RAW_MATERIAL_CHANGES[name])
        donor = editor.row("materials", key_id=world.donor.key_id)
        own = editor.row("materials", key_id=swapped.key_id)
        # The donor's token together with the donor's MAC: each is genuine, the row is not.
        editor.change("materials", own, ekt=donor["ekt"], mac=donor["mac"])
        alias = editor.row("aliases", name=retargeted.alias)
        editor.change("aliases", alias, key_id=world.donor.key_id)

    for _ in range(2):
        world.edit_rows(edits, None, running=running)
        outcomes = {name: world.outcomes(victim) for name, victim in (keys | {"swapped": swapped}).items()}
        assert outcomes == dict.fromkeys(outcomes, ALL_INTERNAL)
        outcomes = {name: world.outcomes(victim) for name, victim in materials.items()}
        assert outcomes == dict.fromkeys(outcomes, ALL_INTERNAL)
        assert outcome_of(world.kms.encrypt, KeyId=retargeted.alias, Plaintext=PLAINTEXT) == INTERNAL
        world.require_unharmed()
        if not running:
            break
        # Once more after a restart, with nothing edited: the rows are read again from the file.
        world.installation.stop()
        world.installation.start()
        running, edits = True, lambda _: None


class Scene(NamedTuple):
    """What one forgery is made with: the victim's own rows, and everybody else's."""

    editor: StoreEditor
    world: World
    victim: Victim
    key: Row
    material: Row

    @property
    def ekt(self) -> bytes:
        return bytes(self.material["ekt"])

    def change(self, **changes: Any) -> None:
        self.editor.change("materials", self.material, **changes)

    def change_key(self, **changes: Any) -> None:
        self.editor.change("kms_keys", self.key, **changes)

    def resealed(self, metadata: dict[str, Any] | None = None, **how: Any) -> bytes:
        """The victim's own backing key, sealed again as a forger would who knows it."""
        opened = self.world.state.open_ekt(self.ekt)
        return self.world.state.seal_ekt(replace(opened.metadata, **(metadata or {})), opened.hbk, **how)

    @property
    def donors_ekt(self) -> bytes:
        return bytes(self.editor.row("materials", key_id=self.world.donor.key_id, state="CURRENT")["ekt"])

    @property
    def column(self) -> bytes:
        return bytes(self.editor.row("settings", name="store-key")["value"])


Token = Callable[[Scene], bytes]
Forgery = Callable[[Scene], None]


def _retyped(token: bytes) -> bytes:
    """A token with the type byte of an EKT."""
    return token[:5] + b"\x01" + token[6:]


def _forged_session(scene: Scene) -> bytes:
    state = scene.world.state
    metadata = [state.domain_id, "service-1", 1 << 40]
    return seal_token(state.active_id, state.domain_keys[state.active_id], SESSION, metadata, os.urandom(32))


# What an attacker puts in place of an EKT who has the store key, so that every MAC holds: the HSM alone can refuse it.
TOKENS: dict[str, Token] = {
    "EKT of another key": lambda s: s.donors_ekt,
    "EKT that says another key id": lambda s: s.resealed({"key_id": s.world.donor.key_id}),
    "EKT that says another account": lambda s: s.resealed({"account": "111111111111"}),
    "EKT that says another region": lambda s: s.resealed({"region": "eu-west-1"}),
    "EKT that says another HBKID": lambda s: s.resealed({"hbkid": bytes(32)}),
    "EKT that says another spec": lambda s: s.resealed({"spec": "HMAC_256"}),
    "EKT that says another usage": lambda s: s.resealed({"usage": "SIGN_VERIFY"}),
    "EKT that says another domain": lambda s: s.resealed({"domain_id": bytes(16)}),
    "EKT under a domain key that is not in the ring": lambda s: s.resealed(
        domain_key_id=os.urandom(16), domain_key=os.urandom(32)
    ),
    "EKT under another key with the ring's id": lambda s: s.resealed(domain_key=os.urandom(32)),
    "EKT with one bit changed": lambda s: flipped(s.ekt, len(s.ekt) * 8 - 1),
    "EKT cut short": lambda s: s.ekt[:-1],
    "EKT lengthened": lambda s: s.ekt + b"\0",
    "nothing": lambda _: b"",
    "one byte": lambda _: b"S",
    "noise": lambda _: os.urandom(300),
    "noise after an EKT's head": lambda s: s.ekt[:36] + os.urandom(400),
    "12 kB of noise after an EKT's head": lambda s: s.ekt[:36] + os.urandom(12_000),
    "200 kB of noise after an EKT's head": lambda s: s.ekt[:36] + os.urandom(200_000),
    "2 MB of noise after an EKT's head": lambda s: s.ekt[:36] + os.urandom(2_000_000),
    "column token": lambda s: s.column,
    "column token called an EKT": lambda s: _retyped(s.column),
    "access key's secret": lambda s: s.editor.row("access_keys", access_key_id="test")["sealed_secret"],
    "session token": lambda s: s.world.session_token,
    "session token called an EKT": lambda s: _retyped(s.world.session_token),
    "session token of a forger": _forged_session,
    "the same key as a column token": lambda s: s.resealed(kind=COLUMN),
    "the same key as a session token": lambda s: s.resealed(kind=SESSION),
    "a ciphertext blob": lambda s: s.victim.blob,
    "the domain token": lambda s: max((s.world.installation.home / "domain").glob("token-*")).read_bytes(),
}


def _material_of_another_key(scene: Scene) -> None:
    """The victim's row claimed by the donor: a blob of the victim now leads to that key."""
    scene.change(key_id=scene.world.donor.key_id, state="NON_CURRENT")
    donors = scene.editor.row("materials", key_id=scene.world.donor.key_id, state="CURRENT")
    scene.editor.insert("materials", donors | {"hbkid": os.urandom(32), "key_id": scene.victim.key_id})


def _record_of_another_key_id(scene: Scene) -> None:
    """A second record that claims the victim's material for a key id of its own."""
    name = str(uuid.uuid4())
    scene.editor.insert("kms_keys", scene.key | {"key_id": name})
    scene.change(key_id=name)
    scene.editor.change("aliases", scene.editor.row("aliases", name=scene.victim.alias), key_id=name)


# Forged records; where the service itself refuses before the HSM is asked, it says what such a record means.
_GONE = ("NotFoundException", 400)
_FOREIGN = {
    "Decrypt": UNKNOWN_KEY,
    "ReEncryptFrom": UNKNOWN_SOURCE,
    "Encrypt": _GONE,
    "EncryptByAlias": _GONE,
    "GenerateDataKey": _GONE,
}
RECORDS: dict[str, tuple[Forgery, dict[str, Any]]] = {
    # Its policy lets the account in that it had: what names no key of that account comes as far as the HSM.
    "record of another account": (
        lambda s: s.change_key(account="111111111111"),
        _FOREIGN | {"Decrypt": INTERNAL, "ReEncryptFrom": INTERNAL},
    ),
    "record of another region": (lambda s: s.change_key(region="eu-west-1"), _FOREIGN),
    "record of another usage": (
        lambda s: s.change_key(usage="SIGN_VERIFY"),
        dict.fromkeys(_FAILS, ("InvalidKeyUsageException", 400)),
    ),
    "record of another spec": (lambda s: s.change_key(spec="RSA_2048"), ALL_INTERNAL),
    "record of another key id": (
        _record_of_another_key_id,
        {"Decrypt": INTERNAL, "ReEncryptFrom": INTERNAL, "EncryptByAlias": INTERNAL},
    ),
    "no material is current": (lambda s: s.change(state="NON_CURRENT"), ALL_INTERNAL),
    "HBKID of nobody": (
        lambda s: s.change(hbkid=bytes(range(32))),
        {"Decrypt": UNKNOWN_KEY, "ReEncryptFrom": UNKNOWN_SOURCE, "Encrypt": INTERNAL, "GenerateDataKey": INTERNAL},
    ),
    "material of another key": (
        _material_of_another_key,
        {"Decrypt": INTERNAL, "ReEncryptFrom": INTERNAL, "DecryptNamed": INCORRECT_KEY, "Encrypt": INTERNAL},
    ),
}


def _short(answers: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """The answers that a row of the table speaks of, as long as it speaks of them."""
    return {name: answers[name][: len(value)] for name, value in expected.items()}


@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_a_row_forged_with_the_store_key_is_refused_by_the_hsm_and_spares_every_other(
    world: World, running: bool
) -> None:
    victims = {name: world.victim() for name in (*TOKENS, *RECORDS)}

    def edits(editor: StoreEditor) -> None:
        for name, victim in victims.items():
            key, material = editor.row("kms_keys", key_id=victim.key_id), editor.row("materials", key_id=victim.key_id)
            scene = Scene(editor, world, victim, key, material)
            if name in TOKENS:
                scene.change(ekt=TOKENS[name](scene))
            else:
                RECORDS[name][0](scene)

    world.edit_rows(edits, world.store_key, running=running)
    actors = [world.installation.pid_of(actor) for actor in ("hsm", "kms")]
    outcomes = {name: world.outcomes(victim) for name, victim in victims.items()}
    assert {name: outcomes[name] for name in TOKENS} == dict.fromkeys(TOKENS, ALL_INTERNAL)
    for name, (_, expected) in RECORDS.items():
        assert _short(outcomes[name], expected) == expected, name
    world.require_unharmed()
    assert actors == [world.installation.pid_of(actor) for actor in ("hsm", "kms")]


def test_a_row_rewritten_by_the_forger_with_nothing_wrong_in_it_still_works(world: World) -> None:
    """The forger's own tools are right: what is refused above is refused for what was changed, and for nothing else."""
    victim = world.victim()

    def edits(editor: StoreEditor) -> None:
        key, material = editor.row("kms_keys", key_id=victim.key_id), editor.row("materials", key_id=victim.key_id)
        scene = Scene(editor, world, victim, key, material)
        scene.change_key(description="rewritten")
        scene.change(ekt=scene.resealed(), version=9)

    world.edit_rows(edits, world.store_key, running=True)
    assert world.kms.describe_key(KeyId=victim.key_id)["KeyMetadata"]["Description"] == "rewritten"
    assert world.kms.decrypt(CiphertextBlob=victim.blob)["Plaintext"] == PLAINTEXT


def test_a_token_too_large_for_any_frame_holds_nobody_else_up(world: World) -> None:
    started = time.monotonic()
    world.require_unharmed()
    usual_s = time.monotonic() - started
    victim = world.victim()

    def edits(editor: StoreEditor) -> None:
        material = editor.row("materials", key_id=victim.key_id)
        editor.change("materials", material, ekt=material["ekt"] + bytes(1 << 21))

    world.edit_rows(edits, world.store_key, running=True)
    started = time.monotonic()
    assert world.outcomes(victim) == ALL_INTERNAL
    world.require_unharmed()
    # It once closed the connection to the HSM again and again, until its own request timed out after 5 s.
    assert time.monotonic() - started < 2.0 + 8 * usual_s


def test_users_and_access_keys_rewritten_without_the_store_key_open_nothing(world: World) -> None:
    edits: dict[str, Callable[[StoreEditor, str], None]] = {
        "becomes-root": lambda editor, access_key_id: editor.change(
            "access_keys", editor.row("access_keys", access_key_id=access_key_id), user_name=""
        ),
        "borrows-a-secret": lambda editor, access_key_id: editor.change(
            "access_keys",
            editor.row("access_keys", access_key_id=access_key_id),
            sealed_secret=editor.row("access_keys", access_key_id="test")["sealed_secret"],
        ),
        "gets-a-policy": lambda editor, _: editor.change(
            "users", editor.row("users", name="gets-a-policy"), identity_policies=_EVERYTHING
        ),
    }
    for user, edit in edits.items():
        made = make_user(world.installation, user)
        kms = world.installation.kms(made.access_key_id, made.secret)
        try:
            assert outcome_of(kms.list_keys)[:2] == ("AccessDeniedException", 400), user
            with edited_store(world.installation.home, None) as editor:
                edit(editor, made.access_key_id)
            assert outcome_of(kms.list_keys) == INTERNAL, user
            assert outcome_of(kms.decrypt, CiphertextBlob=world.control.blob) == INTERNAL, user
        finally:
            kms.close()
    world.require_unharmed()


def test_a_sealed_secret_moved_to_another_access_key_with_the_store_key_still_opens_for_neither(world: World) -> None:
    made = make_user(world.installation, "mallory")
    # The store notices a hand that keeps no log when nothing else was committed since its last look: let it look.
    world.kms.list_keys()
    with edited_store(world.installation.home, world.store_key) as editor:
        theirs = editor.row("access_keys", access_key_id=made.access_key_id)
        roots = editor.row("access_keys", access_key_id="test")
        # Root's key id with a secret that the attacker knows.
        editor.change("access_keys", roots, sealed_secret=theirs["sealed_secret"])
    root = world.installation.kms("test", made.secret)
    try:
        assert outcome_of(root.list_keys) == INTERNAL
    finally:
        root.close()
    assert outcome_of(world.kms.list_keys) == INTERNAL


# ── the wall itself ─────────────────────────────────────────────────────────────────────────────────────────────


class Bound(NamedTuple):
    """Two keys as the service's own records bind them, and a blob of the first."""

    own: KeyBinding
    other: KeyBinding
    blob: bytes
    column: bytes


@pytest.fixture
def bound(installation: Installation, kms: Any, key_id: str) -> Bound:
    second = kms.create_key()["KeyMetadata"]["KeyId"]
    made = kms.encrypt(KeyId=key_id, Plaintext=PLAINTEXT)["CiphertextBlob"]
    with edited_store(installation.home, None) as editor:
        bindings = [_binding(editor, key) for key in (key_id, second)]
        column = editor.row("settings", name="store-key")["value"]
    return Bound(*bindings, made, column)


def _binding(editor: StoreEditor, key_id: str) -> KeyBinding:
    key, material = editor.row("kms_keys", key_id=key_id), editor.row("materials", key_id=key_id)
    return KeyBinding(
        material["ekt"], key_id, key["account"], key["region"], material["hbkid"], key["spec"], key["usage"], True
    )


@pytest.fixture
def peer(installation: Installation) -> Iterator[HsmPeer]:
    with HsmPeer(installation.home) as opened:
        yield opened


def _refusals(peer: HsmPeer, keys: list[KeyBinding], commands: list[Any]) -> list[Any]:
    answers = peer.ask(keys, commands)
    return [
        Status(answer.status) if isinstance(answer, RefusedAnswer) else Status.SUCCESS
        for answer in (answers[command.request_id] for command in commands)
    ]


def _four_uses(blob: bytes) -> list[Any]:
    """Each way to use key 0; key 1 is a good one."""
    return [
        Decrypt(1, 0, blob, {}),
        Encrypt(2, 0, b"x", {}),
        GenerateDataKey(3, 0, 32, {}, True),
        ReEncrypt(4, 1, 0, blob, {}, {}),
    ]


def test_every_field_of_a_binding_is_compared_with_the_token(peer: HsmPeer, bound: Bound) -> None:
    own, other, blob, column = bound
    all_of = [Status.SUCCESS] * 4
    changes: dict[str, tuple[dict[str, Any], Status]] = {
        "ekt of another key": ({"ekt": other.ekt}, Status.TOKEN_MISMATCH),
        "ekt empty": ({"ekt": b""}, Status.TOKEN_INVALID),
        "ekt a column token": ({"ekt": column}, Status.TOKEN_INVALID),
        "ekt a column token called an EKT": ({"ekt": _retyped(column)}, Status.TOKEN_INVALID),
        "ekt a session token": ({"ekt": peer.session_token}, Status.TOKEN_INVALID),
        "ekt a session token called an EKT": ({"ekt": _retyped(peer.session_token)}, Status.TOKEN_INVALID),
        "ekt of no domain key": ({"ekt": own.ekt[:6] + bytes(16) + own.ekt[22:]}, Status.UNKNOWN_DOMAIN_KEY),
        "key id of another key": ({"key_id": other.key_id}, Status.TOKEN_MISMATCH),
        "key id in other case": ({"key_id": own.key_id.upper()}, Status.TOKEN_MISMATCH),
        "account": ({"account": "111111111111"}, Status.TOKEN_MISMATCH),
        "region": ({"region": "eu-west-1"}, Status.TOKEN_MISMATCH),
        "hbkid of another key": ({"hbkid": other.hbkid}, Status.TOKEN_MISMATCH),
        "hbkid empty": ({"hbkid": b""}, Status.TOKEN_MISMATCH),
        "spec": ({"spec": "HMAC_256"}, Status.TOKEN_MISMATCH),
        "usage": ({"usage": "SIGN_VERIFY"}, Status.TOKEN_MISMATCH),
        "usage empty": ({"usage": ""}, Status.TOKEN_MISMATCH),
    }
    assert _refusals(peer, [own, own], _four_uses(blob)) == all_of
    for name, (change, expected) in changes.items():
        assert _refusals(peer, [msgspec.structs.replace(own, **change), own], _four_uses(blob)) == [expected] * 4, name
    # A retired backing key still opens what it made, and makes nothing new.
    retired = msgspec.structs.replace(own, current=False)
    assert _refusals(peer, [retired, own], _four_uses(blob)) == [Status.SUCCESS, *[Status.NOT_CURRENT] * 3]
    for key in (2, -1, 1 << 40):
        assert _refusals(peer, [own, own], [Decrypt(1, key, blob, {})]) == [Status.MALFORMED]
    assert _refusals(peer, [other, own], [Decrypt(1, 0, blob, {})]) == [Status.INVALID_CIPHERTEXT]


def test_every_flipped_bit_of_an_ekt_is_refused_at_the_wall(peer: HsmPeer, bound: Bound) -> None:
    own = bound.own
    bits = range(len(own.ekt) * 8)
    for start in range(0, len(bits), 32):
        part = list(bits[start : start + 32])
        keys = [msgspec.structs.replace(own, ekt=flipped(own.ekt, bit)) for bit in part]
        commands = [Decrypt(at, at, bound.blob, {}) for at in range(len(part))]
        # Bytes 6 to 21 are the domain key's id (hsm/vault/token.py).
        expected = [Status.UNKNOWN_DOMAIN_KEY if 6 <= bit // 8 <= 21 else Status.TOKEN_INVALID for bit in part]
        assert _refusals(peer, keys, commands) == expected


def test_one_bad_command_fails_alone_within_a_full_frame(peer: HsmPeer, bound: Bound) -> None:
    own, other, blob, column = bound
    keys = [own, msgspec.structs.replace(own, ekt=other.ekt), msgspec.structs.replace(own, ekt=flipped(own.ekt, 999))]
    bad: dict[int, tuple[Any, Status]] = {
        0: (Decrypt(0, 1, blob, {}), Status.TOKEN_MISMATCH),
        7: (Decrypt(7, 2, blob, {}), Status.TOKEN_INVALID),
        13: (Decrypt(13, 99, blob, {}), Status.MALFORMED),
        21: (Decrypt(21, 0, flipped(blob, 8 * 100), {}), Status.INVALID_CIPHERTEXT),
        22: (Decrypt(22, 0, blob, {"a": "b"}), Status.INVALID_CIPHERTEXT),
        30: (Encrypt(30, 0, bytes(4097), {}), Status.DATA_LENGTH),
        31: (GenerateRandom(31, 0), Status.DATA_LENGTH),
        40: (UnsealColumn(40, "settings.value", "another row", column), Status.TOKEN_MISMATCH),
        41: (UnsealColumn(41, "settings.value", "store-key", own.ekt), Status.TOKEN_INVALID),
        63: (ReEncrypt(63, 0, 1, blob, {}, {}), Status.TOKEN_MISMATCH),
    }
    commands = [bad[at][0] if at in bad else Decrypt(at, 0, blob, {}) for at in range(64)]
    answers = peer.ask(keys, commands)
    for at in range(64):
        answer = answers[at]
        if at in bad:
            assert isinstance(answer, RefusedAnswer)
            assert Status(answer.status) is bad[at][1], at
        else:
            assert isinstance(answer, PlaintextAnswer)
            assert answer.plaintext == PLAINTEXT


@pytest.mark.parametrize("length", [100, 4_000, 16_000, 100_000])
def test_a_bad_token_of_any_length_fails_alone_within_its_frame(peer: HsmPeer, bound: Bound, length: int) -> None:
    own = bound.own
    keys = [msgspec.structs.replace(own, ekt=own.ekt[:36] + os.urandom(length)), own]
    commands = [Decrypt(at, 1 if at else 0, bound.blob, {}) for at in range(64)]
    refused, *others = _refusals(peer, keys, commands)
    assert refused is not Status.SUCCESS
    assert others == [Status.SUCCESS] * 63


def test_no_other_kind_of_sealed_thing_is_a_ciphertext(
    installation: Installation, kms: Any, peer: HsmPeer, bound: Bound
) -> None:
    home = installation.home
    things = {
        "EKT": bound.own.ekt,
        "EKT with a blob's magic": b"SRCB\x01" + bound.own.ekt[5:],
        "column token": bound.column,
        "session token": peer.session_token,
        "domain token": max((home / "domain").glob("token-*")).read_bytes(),
        "recovery bundle": next((home / "recovery").glob("recovery-bundle-*")).read_bytes(),
        "share": next((home / "recovery").glob("recovery-share-*")).read_bytes(),
        "sealed state": (home / "hsm" / "hsm-1.state.a").read_bytes(),
    }
    answers = {name: _decrypt(kms, thing[:6144], {}) for name, thing in things.items()}
    assert answers == dict.fromkeys(things, INVALID) | {"EKT with a blob's magic": UNKNOWN_KEY}


def test_the_column_of_one_row_does_not_open_for_another(peer: HsmPeer, bound: Bound) -> None:
    expected = {
        ("settings.value", "store-key"): Status.SUCCESS,
        ("settings.value", "Store-Key"): Status.TOKEN_MISMATCH,
        ("access_keys.sealed_secret", "store-key"): Status.TOKEN_MISMATCH,
        ("", ""): Status.TOKEN_MISMATCH,
    }
    commands = [UnsealColumn(at, *where, bound.column) for at, where in enumerate(expected)]
    assert _refusals(peer, [], commands) == list(expected.values())
    foreign = [
        UnsealColumn(at, "settings.value", "store-key", token)
        for at, token in enumerate(
            (bound.own.ekt, peer.session_token, bound.own.ekt[:5] + b"\x03" + bound.own.ekt[6:], b"", bound.blob)
        )
    ]
    assert _refusals(peer, [], foreign) == [Status.TOKEN_INVALID] * len(foreign)
