"""A home's sealed state opened from outside the product, from its documented layouts and nothing else.

Written from the docstrings of hsm/domain/seal.py, hsm/domain/token.py, boundary/domain_token.py, hsm/vault/token.py,
hsm/vault/backing_key.py, hsm/vault/customer_data.py and boundary/blob.py: no line of `strongroom` is imported, so that a
change of a format which nobody wrote down shows here. Whoever holds the seal's secret can do this; that is what the seal
is worth, and why the tests know the keys without a switch in the HSM.

It also forges: `seal_token` makes a token with any metadata under any key, which is what the tampering tests need.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from cryptography.hazmat.primitives.serialization import load_der_private_key

HBK, SESSION, COLUMN = 1, 2, 3

_ZERO_IV = bytes(12)
_TOKEN_MAGIC = b"SRTK\x01"
_STATE_MAGIC = b"SRSS\x01"
_BLOB_MAGIC = b"SRCB\x01"
_pack = msgspec.msgpack.encode
_unpack = msgspec.msgpack.decode


def _hkdf(hash_: Any, secret: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(hash_, 32, salt=salt, info=info).derive(secret)


def derive(key: bytes, label: bytes, context: bytes) -> bytes:
    """SP 800-108 counter mode by the library's own construction, not by ours."""
    kdf = KBKDFHMAC(
        algorithm=SHA256(),
        mode=Mode.CounterMode,
        length=32,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    )
    return kdf.derive(key)


@dataclass(frozen=True)
class EktMetadata:
    """What an EKT vouches for, in the order in which it stands there."""

    domain_id: bytes
    key_id: str
    account: str
    region: str
    hbkid: bytes
    spec: str
    usage: str
    origin: str
    created_at_s: int


@dataclass(frozen=True)
class OpenedToken:
    """A key token with its seal off."""

    kind: int
    domain_key_id: bytes
    metadata: list[Any]
    secret: bytes


@dataclass(frozen=True)
class Ekt:
    """An HBK as the store keeps it, and as it is."""

    key_id: str
    token: bytes
    metadata: EktMetadata
    hbk: bytes


def seal_token(domain_key_id: bytes, domain_key: bytes, kind: int, metadata: list[Any], secret: bytes) -> bytes:
    """A key token as the HSM would make it, or as a forger would who has this domain key."""
    encoded = _pack(metadata)
    iv = os.urandom(12)
    head = _TOKEN_MAGIC + bytes((kind,)) + domain_key_id + iv + len(encoded).to_bytes(2, "big") + encoded
    return head + AESGCM(domain_key).encrypt(iv, secret, head)


def hbkid_of(material: bytes, key_id: str, spec: str) -> bytes:
    return derive(material, b"strongroom key material id", _pack((key_id, spec, len(material))))


def derived_key(hbk: bytes, blob: bytes) -> bytes:
    """The one-time key under which a ciphertext blob was made."""
    assert blob.startswith(_BLOB_MAGIC)
    return derive(hbk, b"strongroom data encryption key", blob[37:53] + blob[5:37])


def canonical_context(context: Mapping[str, str]) -> bytes:
    parts = [len(context).to_bytes(2, "big")]
    for name, value in sorted((name.encode(), value.encode()) for name, value in context.items()):
        parts += [len(name).to_bytes(2, "big"), name, len(value).to_bytes(2, "big"), value]
    return b"".join(parts)


def open_blob(hbk: bytes, key_id: str, blob: bytes, context: Mapping[str, str]) -> bytes:
    """A blob's plaintext: proof that `derived_key` names the key that really served."""
    associated = blob[:65] + len(key_id.encode()).to_bytes(4, "big") + key_id.encode() + canonical_context(context)
    return AESGCM(derived_key(hbk, blob)).decrypt(blob[53:65], blob[65:], associated)


@dataclass(frozen=True)
class SealedState:
    """What one HSM knows of its domain."""

    domain_id: bytes
    member_id: str
    domain_keys: dict[bytes, bytes]
    active_id: bytes
    seal_secret: bytes
    signing_der: bytes
    agreement_der: bytes
    # What opening it derived on the way, by name.
    on_the_way: dict[str, bytes]

    @classmethod
    def open(cls, home: Path, hsm_id: str = "hsm-1", copy: str = "a") -> Self:
        """Open a home's sealed state with the secret of its seal."""
        secret = (home / "seal" / "local.secret").read_bytes()
        sealed = (home / "hsm" / f"{hsm_id}.state.{copy}").read_bytes()
        assert sealed.startswith(_STATE_MAGIC)
        assert sealed[5] == 1, "a local secret"
        end = 42 + int.from_bytes(sealed[38:42], "big")
        token = sealed[end:]
        key = _hkdf(SHA256(), secret, sealed[6:38], b"strongroom sealed state")
        member, signing, agreement = _unpack(AESGCM(key).decrypt(_ZERO_IV, sealed[42:end], sealed[:42] + token))
        state, ring, on_the_way = _open_ring(token, member, agreement)
        ids = [key_id for key_id, _ in state[11]]
        keys = {key_id: ring[32 * at : 32 * at + 32] for at, key_id in enumerate(ids)}
        assert len(ring) == 32 * len(ids)
        on_the_way["key of the sealed state"] = key
        return cls(state[2], member[0], keys, ids[0], secret, signing, agreement, on_the_way)

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────

    def open_token(self, token: bytes, domain_key: bytes | None = None) -> OpenedToken:
        assert token.startswith(_TOKEN_MAGIC)
        at = 36 + int.from_bytes(token[34:36], "big")
        key = domain_key if domain_key is not None else self.domain_keys[token[6:22]]
        secret = AESGCM(key).decrypt(token[22:34], token[at:], token[:at])
        return OpenedToken(token[5], token[6:22], _unpack(token[36:at]), secret)

    def open_ekt(self, token: bytes) -> Ekt:
        opened = self.open_token(token)
        assert opened.kind == HBK
        metadata = EktMetadata(*opened.metadata)
        return Ekt(metadata.key_id, token, metadata, opened.secret)

    def ekts(self, store: Path) -> list[Ekt]:
        """Every backing key of a store."""
        return [
            self.open_ekt(row[0]) for row in _rows(store, "SELECT ekt FROM materials ORDER BY key_id, created_at_s")
        ]

    def ekts_of(self, store: Path, key_id: str) -> list[Ekt]:
        """The backing keys of one key, which is quicker."""
        return [self.open_ekt(row[0]) for row in _rows(store, "SELECT ekt FROM materials WHERE key_id = ?", key_id)]

    def open_column(self, sealed: bytes, column: str, row: str) -> bytes:
        opened = self.open_token(sealed)
        assert opened.kind == COLUMN
        assert opened.metadata == [self.domain_id, column, row], opened.metadata
        return opened.secret

    def store_key(self, store: Path) -> bytes:
        ((value,),) = _rows(store, "SELECT value FROM settings WHERE name = 'store-key'")
        return self.open_column(value, "settings.value", "store-key")

    def access_key_secret(self, store: Path, access_key_id: str) -> bytes:
        ((value,),) = _rows(store, "SELECT sealed_secret FROM access_keys WHERE access_key_id = ?", access_key_id)
        return self.open_column(value, "access_keys.sealed_secret", access_key_id)

    def private_numbers(self) -> dict[str, bytes]:
        """The HSM's own two private keys as numbers of 48 bytes."""
        ders = {"signing key": self.signing_der, "agreement key": self.agreement_der}
        return {name: _private_number(der) for name, der in ders.items()}

    # ── forging ─────────────────────────────────────────────────────────────────────────────────────────────────

    def seal_ekt(
        self,
        metadata: EktMetadata,
        hbk: bytes,
        *,
        kind: int = HBK,
        domain_key_id: bytes | None = None,
        domain_key: bytes | None = None,
    ) -> bytes:
        """An EKT with any metadata, under the active domain key, another of the ring, or any key at all."""
        key_id = self.active_id if domain_key_id is None else domain_key_id
        key = self.domain_keys[key_id] if domain_key is None else domain_key
        return seal_token(key_id, key, kind, list(astuple(metadata)), hbk)

    def seal_column(self, column: str, row: str, value: bytes) -> bytes:
        metadata = [self.domain_id, column, row]
        return seal_token(self.active_id, self.domain_keys[self.active_id], COLUMN, metadata, value)


def _private_number(der: bytes) -> bytes:
    private = load_der_private_key(der, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return private.private_numbers().private_value.to_bytes(48, "big")


def recovery_secrets(bundle: Path, share: Path) -> dict[str, bytes]:
    """What people hold after a ceremony with one share, and what it opens (hsm/domain/recovery.py)."""
    *head, sealed = _unpack(bundle.read_bytes())
    bundle_key = _unpack(share.read_bytes())[4]
    signing, agreement = _unpack(AESGCM(bundle_key).decrypt(_ZERO_IV, sealed, _pack(head)))
    ders = {"offline signing key": signing, "offline agreement key": agreement}
    return {"bundle key": bundle_key} | {name: _private_number(der) for name, der in ders.items()}


def _open_ring(token: bytes, member: list[Any], agreement_der: bytes) -> tuple[list[Any], bytes, dict[str, bytes]]:
    """The state of a domain token, its ring as the member sees it, and the keys on the way there."""
    raw, sealed_ring, envelopes, _, _ = _unpack(token, type=tuple[msgspec.Raw, bytes, list[Any], str, bytes])
    state = _unpack(bytes(raw))
    assert state[0] == "strongroom-domain-token-1"
    assert member in state[8], "the token knows its reader"
    digest = hashlib.sha384(bytes(raw)).digest()
    ((point, wrapped),) = [(point, wrapped) for member_id, point, wrapped in envelopes if member_id == member[0]]
    private = load_der_private_key(agreement_der, None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    shared = private.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point))
    info = _pack(("strongroom domain key envelope", member[0], member[2], point, digest))
    envelope_key = _hkdf(SHA384(), shared, None, info)
    one_time_key = AESGCM(envelope_key).decrypt(_ZERO_IV, wrapped, digest)
    on_the_way = {"secret of the envelope": shared, "envelope key": envelope_key, "DKEK": one_time_key}
    return state, AESGCM(one_time_key).decrypt(_ZERO_IV, sealed_ring, bytes(raw)), on_the_way


def _rows(store: Path, sql: str, *parameters: str) -> Iterator[tuple[Any, ...]]:
    """Read beside the running service; a WAL reader disturbs nobody."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10)) as connection:
        return iter(connection.execute(sql, parameters).fetchall())
