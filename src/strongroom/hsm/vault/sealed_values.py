"""Session keys and the service's own column values as key tokens.

A session token tells any HSM of the domain whose session it is and how long; a sealed column opens only for the column
and row that it was sealed for, so a value moved to another user's row stays shut.
"""

from __future__ import annotations

import msgspec

from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Region
from strongroom.hsm.vault.ring import Ring
from strongroom.hsm.vault.token import TokenType, open_token, seal_token


class SessionMetadata(msgspec.Struct, array_like=True, frozen=True):
    """Whose session, and until when."""

    domain_id: bytes
    host_id: str
    not_after_s: int


class ColumnMetadata(msgspec.Struct, array_like=True, frozen=True):
    """Where a value belongs."""

    domain_id: bytes
    column: str
    row: str


_encode = msgspec.msgpack.Encoder().encode
_decode_session = msgspec.msgpack.Decoder(SessionMetadata).decode


def seal_session(ring: Ring, metadata: SessionMetadata, session_key: memoryview, iv: bytes) -> bytes:
    return seal_token(ring, TokenType.SESSION, _encode(metadata), session_key, iv)


def open_session(
    ring: Ring, region: Region, token: bytes, domain_id: bytes, now_s: float
) -> tuple[SessionMetadata, memoryview]:
    """The session of a token.

    Raises:
        RefusedError: TOKEN_INVALID, UNKNOWN_DOMAIN_KEY, UNKNOWN_DOMAIN, SESSION_EXPIRED.
    """
    encoded, session_key = open_token(ring, TokenType.SESSION, token, region)
    metadata = _decode_session(encoded)
    if metadata.domain_id != domain_id:
        raise RefusedError(Status.UNKNOWN_DOMAIN)
    if now_s >= metadata.not_after_s:
        raise RefusedError(Status.SESSION_EXPIRED)
    return metadata, session_key


def seal_column(ring: Ring, metadata: ColumnMetadata, value: bytes, iv: bytes) -> bytes:
    return seal_token(ring, TokenType.COLUMN, _encode(metadata), value, iv)


def open_column(ring: Ring, region: Region, metadata: ColumnMetadata, sealed: bytes) -> bytes:
    """The value, for the service: it left the crypto world's keeping when it was given in.

    Raises:
        RefusedError: TOKEN_INVALID, UNKNOWN_DOMAIN_KEY; TOKEN_MISMATCH for another column, row or domain.
    """
    mark = region.used
    encoded, value = open_token(ring, TokenType.COLUMN, sealed, region)
    opened = bytes(value)
    region.rewind(mark)  # A frame may bring 64 of the longest, which do not fit at once.
    if encoded != _encode(metadata):
        raise RefusedError(Status.TOKEN_MISMATCH)
    return opened
