"""Key tokens: a secret sealed under the active domain key, with metadata that the seal vouches for.

| offset | length | field |
|---|---|---|
| 0 | 4 | magic `SRTK` |
| 4 | 1 | version, 1 |
| 5 | 1 | type: 1 HBK (an EKT), 2 session key, 3 column of the service's store |
| 6 | 16 | domain key id |
| 22 | 12 | IV |
| 34 | 2 | length of the metadata, big-endian |
| 36 | m | metadata: a MessagePack array that begins with the domain id |
| 36 + m | n + 16 | AES-256-GCM ciphertext and tag; everything before it is additional authenticated data |

A token of one type never opens as another: the type is asked for, and authenticated.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.boundary.messages import DATA_BYTES_MAX
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Region
from strongroom.hsm.vault.ring import Ring

_MAGIC: Final = b"SRTK\x01"
_METADATA_AT: Final = 36
IV_BYTES: Final = 12
_TAG_BYTES: Final = 16
# The longest secret that anything seals (a column's value); more would use up the scratch region.
_SECRET_BYTES_MAX: Final = DATA_BYTES_MAX


class TokenType(IntEnum):
    """What is sealed."""

    HBK = 1
    SESSION = 2
    COLUMN = 3


def seal_token(ring: Ring, kind: TokenType, metadata: bytes, secret: bytes | memoryview, iv: bytes) -> bytes:
    key = ring.key_for_sealing()
    head = b"%b%c%b%b%b%b" % (_MAGIC, kind, ring.active_id, iv, len(metadata).to_bytes(2, "big"), metadata)
    return head + AESGCM(key).encrypt(iv, secret, head)


def domain_key_id_of(token: bytes) -> bytes:
    return token[6:22]


def open_token(ring: Ring, kind: TokenType, token: bytes, region: Region) -> tuple[bytes, memoryview]:
    """Metadata and secret, the latter in the arena region given.

    Raises:
        RefusedError: TOKEN_INVALID (not a token of this type, or altered), UNKNOWN_DOMAIN_KEY.
    """
    sealed_at = _METADATA_AT + int.from_bytes(token[34:36], "big")
    length = len(token) - sealed_at - _TAG_BYTES
    if not 1 <= length <= _SECRET_BYTES_MAX or not token.startswith(_MAGIC) or token[5] != kind:
        raise RefusedError(Status.TOKEN_INVALID)
    key = ring.key(domain_key_id_of(token))
    mark = region.used
    secret = region.take(length)
    try:
        AESGCM(key).decrypt_into(token[22:34], token[sealed_at:], token[:sealed_at], secret)
    except InvalidTag:
        region.rewind(mark)  # Else a few wrong tokens would use up the room of the right ones in their frame.
        raise RefusedError(Status.TOKEN_INVALID) from None
    return token[_METADATA_AT:sealed_at], secret
