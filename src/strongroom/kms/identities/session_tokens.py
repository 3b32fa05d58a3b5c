"""Session tokens: everything that a session is, carried by its holder, so that no row is written when one begins.

A token is URL-safe base64 of these bytes:

| offset | length | field |
|---|---|---|
| 0 | 1 | version, 1 |
| 1 | 32 | tag: `Store.tag` over the access key id, a zero byte, and all that follows |
| 33 | 2 | length of the claims, big-endian |
| 35 | | the claims, MessagePack |
| | 2 | length of what follows |
| | | what the HSM sealed for this access key id: the secret access key, and SHA-256 of the claims |
| | | zeros, where the caller wanted a longer token |

Invariants:
- The tag comes first: an unauthenticated caller costs one HMAC, never a command to the HSM. Whoever has a token that opens
  costs one command per worker, and then the session is known.
- The tag alone lets nobody in. Only the HSM opens the secret, for the access key id that it was sealed for, and the claims
  must be those that it was sealed with: whoever got the store's key, but not the HSM, can make no token.
- One token has one spelling, so that a bit that changed is a token that was never issued.
- A token is of one home: another's has another store key, and another domain.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final, Literal

import msgspec

from strongroom.boundary.messages import UNREADABLE
from strongroom.boundary.secret import AccessKeySecret

# Not in `TABLES`: nobody keeps these, and none lives longer than 36 hours, so that no change of domain keys rewraps them.
COLUMN: Final = "session_tokens"
PURPOSE: Final = "session tokens"
CLAIMS_BYTES_MAX: Final = 4096
# The claims' maximum, what the HSM sealed, and base64.
TOKEN_CHARS_MAX: Final = 8192

_VERSION: Final = b"\x01"
_TAG_END: Final = 33
_CLAIMS_START: Final = 35
_SECRET_CHARS: Final = 40
_HASH_BYTES: Final = 32

Tag = Callable[[bytes], bytes]


class Claims(msgspec.Struct, array_like=True, frozen=True, omit_defaults=True):
    """What a session is. New members stand last and have a default: sessions outlive an update of the service."""

    kind: Literal["role", "user", "federated"]
    account: str
    # The role's or the user's, who got it; empty for the root.
    name: str
    # Whoever has the same name later is somebody else.
    unique_id: str
    issued_at_s: int
    expires_at_s: int
    session_name: str = ""
    source_identity: str = ""
    tags: dict[str, str] = {}
    transitive_tag_keys: tuple[str, ...] = ()
    policy: str | None = None
    policy_arns: tuple[str, ...] = ()
    federated_provider: str = ""


class Session(msgspec.Struct, frozen=True, eq=False):
    """A session in use: its claims, and the token that its holder must send with every request."""

    claims: Claims
    token: bytes


class SessionTokenError(Exception):
    """Not a token of this home for this access key."""


class Opened(msgspec.Struct, frozen=True):
    """What a token holds whose tag is right; the secret is still sealed."""

    claims: Claims
    encoded_claims: bytes
    sealed: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Claims).decode


def encode_claims(claims: Claims) -> bytes:
    return _encode(claims)


def sealed_value(secret: AccessKeySecret, encoded_claims: bytes) -> bytes:
    """What the HSM is asked to seal."""
    return secret.expose() + sha256(encoded_claims).digest()


def parse_value(value: bytes, encoded_claims: bytes) -> AccessKeySecret:
    """The secret of what the HSM opened.

    Raises:
        SessionTokenError: it was sealed with other claims.
    """
    secret, claims_hash = value[:-_HASH_BYTES], value[-_HASH_BYTES:]
    if len(secret) != _SECRET_CHARS or not hmac.compare_digest(claims_hash, sha256(encoded_claims).digest()):
        raise SessionTokenError
    return AccessKeySecret(secret)


def format_token(access_key_id: str, encoded_claims: bytes, sealed: bytes, tag: Tag, minimum_chars: int = 0) -> bytes:
    body = len(encoded_claims).to_bytes(2) + encoded_claims + len(sealed).to_bytes(2) + sealed
    body = body.ljust(-(-minimum_chars * 3 // 4) - _TAG_END, b"\0")
    return base64.urlsafe_b64encode(_VERSION + tag(_tagged(access_key_id, body)) + body)


def parse_token(access_key_id: str, token: bytes, tag: Tag) -> Opened:
    """1. its spelling, 2. its tag, 3. its parts.

    Raises:
        SessionTokenError: it was not issued here, or not for this access key.
    """
    if len(token) > TOKEN_CHARS_MAX:  # 1
        raise SessionTokenError
    try:
        data = base64.b64decode(token, b"-_", validate=True)
    except binascii.Error:
        raise SessionTokenError from None
    if base64.urlsafe_b64encode(data) != token or data[:1] != _VERSION or len(data) < _CLAIMS_START:
        raise SessionTokenError
    body = data[_TAG_END:]
    if not hmac.compare_digest(data[1:_TAG_END], tag(_tagged(access_key_id, body))):  # 2
        raise SessionTokenError
    claims_end = 2 + int.from_bytes(body[:2])  # 3
    encoded_claims = body[2:claims_end]
    sealed_start = claims_end + 2
    sealed = body[sealed_start : sealed_start + int.from_bytes(body[claims_end:sealed_start])]
    try:
        return Opened(_decode(encoded_claims), encoded_claims, sealed)
    except UNREADABLE:  # Of a later version of the service, which could say more.
        raise SessionTokenError from None


def _tagged(access_key_id: str, body: bytes) -> bytes:
    return access_key_id.encode() + b"\0" + body
