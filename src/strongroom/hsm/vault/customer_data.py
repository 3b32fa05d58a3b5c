"""Customer data and data keys under a one-time key derived from a backing key.

A symmetric backing key never encrypts anything: with a fresh nonce it derives a key (SP 800-108) that encrypts once. The
layout of what comes out is `boundary.blob`'s; on the way back the nonce derives the same key again.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.boundary import blob as layout
from strongroom.boundary.derivation import derive
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.vault.backing_key import BackingKey

_LABEL: Final = b"strongroom data encryption key"
# What one encryption draws: the nonce, and an IV although the derived key serves once (a VM snapshot may repeat a nonce).
RANDOM_BYTES: Final = layout.NONCE_BYTES + layout.IV_BYTES
_NONCE_AT: Final = len(layout.MAGIC) + layout.HBKID_BYTES
_IV_AT: Final = _NONCE_AT + layout.NONCE_BYTES


def require_encryption_key(key: BackingKey) -> None:
    """Usage is enforced here, in the crypto world, and not only in the service.

    Raises:
        RefusedError: WRONG_USAGE.
    """
    if key.metadata.spec != "SYMMETRIC_DEFAULT" or key.metadata.usage != "ENCRYPT_DECRYPT":
        raise RefusedError(Status.WRONG_USAGE)


def encrypt_data(key: BackingKey, plaintext: bytes, canonical: bytes, random: bytes) -> bytes:
    """A ciphertext blob; `random` is RANDOM_BYTES long and never used again, `canonical` the encryption context."""
    require_encryption_key(key)
    hbkid = key.metadata.hbkid
    header = b"%b%b%b" % (layout.MAGIC, hbkid, random)
    derived_key = derive(key.view, _LABEL, random[: layout.NONCE_BYTES] + hbkid)
    associated = layout.associated_data(header, key.metadata.key_id, canonical)
    return header + AESGCM(derived_key).encrypt(random[layout.NONCE_BYTES :], plaintext, associated)


def decrypt_data(key: BackingKey, blob: bytes, canonical: bytes) -> bytes:
    """The plaintext of a blob made by this key under this context.

    Raises:
        RefusedError: INVALID_CIPHERTEXT for any other blob or context; the reason is not told.
    """
    require_encryption_key(key)
    hbkid = key.metadata.hbkid
    if len(blob) <= layout.OVERHEAD_BYTES or not blob.startswith(layout.MAGIC + hbkid):
        raise RefusedError(Status.INVALID_CIPHERTEXT)
    header = blob[: layout.HEADER_BYTES]
    derived_key = derive(key.view, _LABEL, header[_NONCE_AT:_IV_AT] + hbkid)
    associated = layout.associated_data(header, key.metadata.key_id, canonical)
    try:
        return AESGCM(derived_key).decrypt(header[_IV_AT:], blob[layout.HEADER_BYTES :], associated)
    except InvalidTag:
        raise RefusedError(Status.INVALID_CIPHERTEXT) from None


def nonce_of(blob: bytes) -> bytes:
    """For traces: the nonce is no secret, it stands in the blob."""
    return blob[_NONCE_AT:_IV_AT]
