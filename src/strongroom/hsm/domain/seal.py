"""Sealed state: how a restarted HSM finds itself again.

| offset | length | field |
|---|---|---|
| 0 | 4 | magic `SRSS` |
| 4 | 1 | version, 1 |
| 5 | 1 | kind of seal: 1 local secret |
| 6 | 32 | salt |
| 38 | 4 | length of the sealed identity, big-endian |
| 42 | n | AES-256-GCM (IV zero, key HKDF-SHA-256 of secret and salt) of [member, signing key, agreement key] |
| 42 + n | m | the domain token, which only this identity (or another member) opens |

Bytes 0 to 41 and the domain token are additional authenticated data: identity and token belong together. `SealKey` is the
seam for other seals (systemd credential, PKCS#11 token, TPM2): they differ in where the secret comes from.
"""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.boundary.domain_token import Member
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Region
from strongroom.hsm.domain.identity import Identity

_MAGIC: Final = b"SRSS\x01"
LOCAL_SECRET: Final = 1
SALT_BYTES: Final = 32
SECRET_BYTES: Final = 32
_HEADER_BYTES: Final = 42
_IV: Final = bytes(12)


class _Parts(msgspec.Struct, array_like=True, frozen=True):
    member: Member
    signing: bytes
    agreement: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Parts).decode


def _key(secret: memoryview, salt: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=salt, info=b"strongroom sealed state").derive(secret)


def seal_identity(secret: memoryview, identity: Identity, domain_token: bytes, salt: bytes) -> bytes:
    plaintext = _encode(_Parts(identity.member, *identity.private_parts()))
    length = len(plaintext) + 16
    header = b"%b%c%b%b" % (_MAGIC, LOCAL_SECRET, salt, length.to_bytes(4, "big"))
    return header + AESGCM(_key(secret, salt)).encrypt(_IV, plaintext, header + domain_token) + domain_token


def unseal_identity(secret: memoryview, sealed_state: bytes, region: Region) -> tuple[Identity, bytes]:
    """The identity, in the arena region given, and the domain token that came with it.

    Raises:
        RefusedError: AUTHENTICATION_FAILED for another secret, or a state that was altered.
    """
    if not sealed_state.startswith(_MAGIC) or len(sealed_state) < _HEADER_BYTES or sealed_state[5] != LOCAL_SECRET:
        raise RefusedError(Status.AUTHENTICATION_FAILED)
    header = sealed_state[:_HEADER_BYTES]
    end = _HEADER_BYTES + int.from_bytes(header[38:], "big")
    domain_token = sealed_state[end:]
    try:
        plaintext = AESGCM(_key(secret, header[6:38])).decrypt(
            _IV, sealed_state[_HEADER_BYTES:end], header + domain_token
        )
    except (InvalidTag, ValueError):
        raise RefusedError(Status.AUTHENTICATION_FAILED) from None
    parts = _decode(plaintext)
    return Identity.load(parts.member, parts.signing, parts.agreement, region), domain_token
