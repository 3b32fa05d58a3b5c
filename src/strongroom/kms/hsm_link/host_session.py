"""The service host's half of the handshake (protocol: boundary.session), without I/O.

1. `hello` → HELLO            2. `finish` takes CHALLENGE → FINISH       3. `accept` takes GRANT → a `HostSession`
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from strongroom.boundary import session
from strongroom.boundary.domain_token import DomainState
from strongroom.boundary.secret import SessionKey
from strongroom.boundary.statuses import RefusedError, Status

_decode_challenge = msgspec.msgpack.Decoder(session.Challenge).decode
_decode_grant = msgspec.msgpack.Decoder(session.Grant).decode


class HostIdentity:
    """The key by which the domain knows this service host."""

    __slots__ = ("host_id", "private")

    def __init__(self, host_id: str, private: ec.EllipticCurvePrivateKey) -> None:
        self.host_id = host_id
        self.private = private


class HostSession:
    """What any HSM of the domain accepts until `not_after_s`."""

    __slots__ = ("key", "not_after_s", "token")

    def __init__(self, key: SessionKey, token: bytes, not_after_s: float) -> None:
        self.key = key
        self.token = token
        self.not_after_s = not_after_s


class Handshake:
    """One run of the handshake."""

    def __init__(self, identity: HostIdentity, domain: DomainState, random: Callable[[int], bytes]) -> None:
        self._identity = identity
        self._domain = domain
        self._ephemeral = session.new_ephemeral()
        self._hello = session.Hello(
            domain.domain_id,
            identity.host_id,
            session.public_bytes(self._ephemeral.public_key()),
            random(session.RANDOM_BYTES),
        )
        self._challenge: session.Challenge | None = None

    def hello(self) -> bytes:
        return session.encode(self._hello)

    def finish(self, body: bytes) -> bytes:
        """What answers a challenge; there is one to a handshake.

        Raises:
            RefusedError: this is another one.
        """
        if self._challenge is not None:
            raise RefusedError(Status.OUT_OF_ORDER)
        self._challenge = _decode_challenge(body)
        transcript = session.transcript_of(self._hello, self._challenge)
        signature = session.sign_statement(self._identity.private, session.host_statement(transcript))
        return session.encode(session.Finish(signature))

    def accept(self, body: bytes, now_s: float) -> HostSession:
        """The session that a GRANT carries.

        Raises:
            RefusedError: the signer is no member of the domain, the signature does not cover this transcript, or nobody
                was challenged.
        """
        if self._challenge is None:
            raise RefusedError(Status.OUT_OF_ORDER)
        grant = _decode_grant(body)
        transcript = session.transcript_of(self._hello, self._challenge)
        member = next((m for m in self._domain.members if m.member_id == self._challenge.hsm_id), None)
        if member is None or member.offline:
            raise RefusedError(Status.AUTHENTICATION_FAILED)
        statement = session.hsm_statement(transcript, grant.sealed_session_key, grant.session_token)
        session.verify_statement(session.parse_public(member.signing_public), grant.signature, statement)
        negotiated = session.negotiated_key(self._ephemeral, self._challenge.hsm_public, transcript)
        key = session.unseal_session_key(negotiated, grant.sealed_session_key, transcript)
        lifetime_s = min(grant.lifetime_s, session.SESSION_LIFETIME_S)
        return HostSession(SessionKey(key), grant.session_token, now_s + lifetime_s)
