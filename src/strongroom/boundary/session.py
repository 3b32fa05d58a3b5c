"""The session between the service host and an HSM: handshake, key schedule, sealed frames.

1. HELLO      host → HSM   domain, host id, the host's ephemeral public key and random
2. CHALLENGE  HSM → host   HSM id, state version, the HSM's ephemeral public key and random
3. FINISH     host → HSM   the host's signature over the transcript of 1 and 2
4. GRANT      HSM → host   the session key under the negotiated key, the session token, the HSM's signature over
                           the transcript and both of them

The host's identity key is in the domain state, the HSM's in the domain token. The session token is the session key
sealed under the domain key, with host id and expiry: any HSM of the domain opens it, and none keeps a session table.

5. OPEN       host → HSM   the session token and a fresh random           (per connection, to any HSM of the domain)
6. OPENED     HSM → host   the HSM's id and a fresh random

After that each direction has a key of its own (derived from the session key, both randoms, both ids and the token) and
a counter that is never sent: a frame that is replayed, dropped, reordered or brought from elsewhere does not open, and
ends the connection. Elliptic curve: P-384 (points uncompressed, checked by the library); signatures: ECDSA SHA-384;
key agreement to key: HKDF-SHA-384 with the transcript as salt (SP 800-56C).
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroom.boundary.derivation import derive
from strongroom.boundary.frames import FrameType
from strongroom.boundary.statuses import RefusedError, Status

# A stolen session key is worth this long at most.
SESSION_LIFETIME_S: Final = 900
RANDOM_BYTES: Final = 32
POINT_BYTES: Final = 97
SESSION_KEY_BYTES: Final = 32
# Far below the 2^32 of SP 800-38D 8.3 for one key; a connection that reaches it is opened anew.
FRAMES_PER_DIRECTION_MAX: Final = 1 << 24
_PROTOCOL: Final = b"strongroom-session-1"
_CURVE: Final = ec.SECP384R1()
_ECDSA: Final = ec.ECDSA(SHA384())


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """Frame 1."""

    domain_id: bytes
    host_id: str
    host_public: bytes
    host_random: bytes


class Challenge(msgspec.Struct, array_like=True, frozen=True):
    """Frame 2."""

    hsm_id: str
    state_version: int
    hsm_public: bytes
    hsm_random: bytes


class Finish(msgspec.Struct, array_like=True, frozen=True):
    """Frame 3."""

    signature: bytes


class Grant(msgspec.Struct, array_like=True, frozen=True):
    """Frame 4."""

    sealed_session_key: bytes
    session_token: bytes
    lifetime_s: int
    signature: bytes


class Open(msgspec.Struct, array_like=True, frozen=True):
    """Frame 5."""

    session_token: bytes
    host_random: bytes


class Opened(msgspec.Struct, array_like=True, frozen=True):
    """Frame 6."""

    hsm_id: str
    hsm_random: bytes


encode = msgspec.msgpack.Encoder().encode


def _joined(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """A P-384 point, uncompressed: 97 bytes."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def parse_public(point: bytes) -> ec.EllipticCurvePublicKey:
    """Full public-key validation as SP 800-56A 5.6.2.3 asks: the library refuses points off the curve or at infinity."""
    if len(point) != POINT_BYTES:  # One form per point: a compressed one is refused.
        raise RefusedError(Status.AUTHENTICATION_FAILED)
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)
    except ValueError:
        raise RefusedError(Status.AUTHENTICATION_FAILED) from None


def transcript_of(hello: Hello, challenge: Challenge) -> bytes:
    """SHA-384 over everything that either side said before it signed."""
    for random in (hello.host_random, challenge.hsm_random):
        if len(random) != RANDOM_BYTES:
            raise RefusedError(Status.MALFORMED)
    if not 0 <= challenge.state_version < 1 << 64:
        raise RefusedError(Status.MALFORMED)
    return hashlib.sha384(
        _joined(
            _PROTOCOL,
            hello.domain_id,
            challenge.state_version.to_bytes(8, "big"),
            hello.host_id.encode(),
            challenge.hsm_id.encode(),
            hello.host_public,
            challenge.hsm_public,
            hello.host_random,
            challenge.hsm_random,
        )
    ).digest()


def host_statement(transcript: bytes) -> bytes:
    """What the host signs in FINISH."""
    return _joined(_PROTOCOL, b"host", transcript)


def hsm_statement(transcript: bytes, sealed_session_key: bytes, session_token: bytes) -> bytes:
    """What the HSM signs in GRANT."""
    return _joined(_PROTOCOL, b"hsm", transcript, sealed_session_key, session_token)


def verify_statement(public: ec.EllipticCurvePublicKey, signature: bytes, statement: bytes) -> None:
    try:
        public.verify(signature, statement, _ECDSA)
    except InvalidSignature:
        raise RefusedError(Status.AUTHENTICATION_FAILED) from None


def sign_statement(private: ec.EllipticCurvePrivateKey, statement: bytes) -> bytes:
    return private.sign(statement, _ECDSA)


def new_ephemeral() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(_CURVE)


def negotiated_key(private: ec.EllipticCurvePrivateKey, peer_public: bytes, transcript: bytes) -> bytes:
    """The key that carries the session key once (ephemeral ECDH on both sides)."""
    shared = private.exchange(ec.ECDH(), parse_public(peer_public))
    return HKDF(SHA384(), SESSION_KEY_BYTES, salt=transcript, info=b"strongroom negotiated key").derive(shared)


def seal_session_key(negotiated: bytes, session_key: bytes | memoryview, transcript: bytes) -> bytes:
    """IV 0 is right here: a negotiated key seals one message in its life."""
    return AESGCM(negotiated).encrypt(bytes(12), session_key, transcript)


def unseal_session_key(negotiated: bytes, sealed: bytes, transcript: bytes) -> bytes:
    try:
        return AESGCM(negotiated).decrypt(bytes(12), sealed, transcript)
    except InvalidTag:
        raise RefusedError(Status.AUTHENTICATION_FAILED) from None


def direction_keys(session_key: bytes | memoryview, opening: Open, opened: Opened, host_id: str) -> tuple[bytes, bytes]:
    """The keys of one connection: (host to HSM, HSM to host)."""
    if len(opening.host_random) != RANDOM_BYTES or len(opened.hsm_random) != RANDOM_BYTES:
        raise RefusedError(Status.MALFORMED)
    context = _joined(
        hashlib.sha256(opening.session_token).digest(),
        opening.host_random,
        opened.hsm_random,
        host_id.encode(),
        opened.hsm_id.encode(),
    )
    return derive(session_key, b"strongroom host to hsm", context), derive(
        session_key, b"strongroom hsm to host", context
    )


class Direction:
    """One direction of one connection: strict counters as IVs, the frame type as additional data."""

    __slots__ = ("_counter",)

    def __init__(self) -> None:
        self._counter = 0

    @property
    def counter(self) -> int:
        """How many frames went through; unchanged by a frame that was refused."""
        return self._counter

    def _iv(self) -> bytes:
        if self._counter >= FRAMES_PER_DIRECTION_MAX:
            raise RefusedError(Status.SESSION_EXPIRED)
        return self._counter.to_bytes(12, "big")

    def seal(self, key: bytes | memoryview, frame_type: FrameType, plaintext: bytes) -> bytes:
        sealed = AESGCM(key).encrypt(self._iv(), plaintext, bytes((frame_type,)))
        self._counter += 1
        return sealed

    def open(self, key: bytes | memoryview, frame_type: FrameType, sealed: bytes) -> bytes:
        """The frame's plaintext.

        Raises:
            RefusedError: replayed, reordered, altered, or sealed for another direction or connection.
        """
        try:
            plaintext = AESGCM(key).decrypt(self._iv(), sealed, bytes((frame_type,)))
        except InvalidTag:
            raise RefusedError(Status.AUTHENTICATION_FAILED) from None
        self._counter += 1
        return plaintext
