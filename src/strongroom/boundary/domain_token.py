"""The exported domain token: the root of trust of a domain, safe to store anywhere.

It names the members (HSMs), the operators with their roles, the rules and the domain keys, and carries the ring of domain
keys sealed under a one-time key (DKEK) that is enveloped to each member's static agreement key. One member signs it all.
A restart, a join and a recovery are the same act: a member opens the newest token with its own agreement key.

Invariants: the signature covers every field before it; a state version grows by one and names the digest of the state
that it replaces; the offline member of the recovery bundle is a member like any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from strongroom.boundary.messages import UNREADABLE
from strongroom.boundary.session import parse_public, verify_statement
from strongroom.boundary.statuses import RefusedError

FORMAT: Final = "strongroom-domain-token-1"
# Suite 1: ECDSA and ECDH on P-384, SHA-384, AES-256-GCM.
SUITE: Final = 1


class Member(msgspec.Struct, array_like=True, frozen=True):
    """One HSM; `offline` marks the member that lives in a recovery bundle."""

    member_id: str
    signing_public: bytes
    agreement_public: bytes
    offline: bool


class Operator(msgspec.Struct, array_like=True, frozen=True):
    """An identity with a role: `service-host` or `kms-operator`."""

    operator_id: str
    signing_public: bytes
    role: str


class Rule(msgspec.Struct, array_like=True, frozen=True):
    """Who may give a command: any one of the alternatives, each a set of (role, how many)."""

    command: str
    alternatives: list[list[tuple[str, int]]]


class DomainKeyInfo(msgspec.Struct, array_like=True, frozen=True):
    """A domain key by name only; the first of a token is the active one."""

    domain_key_id: bytes
    created_at_s: int


class Envelope(msgspec.Struct, array_like=True, frozen=True):
    """The DKEK for one member: one-pass ECDH, C(1, 2, ECC DH) of SP 800-56A."""

    member_id: str
    ephemeral_public: bytes
    wrapped_key: bytes


class DomainState(msgspec.Struct, array_like=True, frozen=True):
    """The public half of a domain's state."""

    format: str
    suite: int
    domain_id: bytes
    name: str
    region: str
    version: int
    previous_digest: bytes
    created_at_s: int
    members: list[Member]
    operators: list[Operator]
    rules: list[Rule]
    domain_keys: list[DomainKeyInfo]


class DomainToken(msgspec.Struct, array_like=True, frozen=True):
    """State, sealed ring, envelopes and signature, as stored."""

    state: msgspec.Raw
    sealed_ring: bytes
    envelopes: list[Envelope]
    signer_id: str
    signature: bytes


class DomainTokenError(ValueError):
    """Not a domain token, or not one that its signer vouches for."""


encode = msgspec.msgpack.Encoder().encode
_decode_token = msgspec.msgpack.Decoder(DomainToken).decode
_decode_state = msgspec.msgpack.Decoder(DomainState).decode


def parse_domain_token(data: bytes) -> tuple[DomainToken, DomainState]:
    try:
        token = _decode_token(data)
        state = _decode_state(token.state)
    except UNREADABLE:
        raise DomainTokenError("not a domain token") from None
    if state.format != FORMAT or state.suite != SUITE:
        raise DomainTokenError(f"a domain token of format {state.format!r}, suite {state.suite}, is not known here")
    return token, state


def state_digest(state: bytes | msgspec.Raw) -> bytes:
    """SHA-384 of the encoded state: what the next state names as its predecessor."""
    return hashlib.sha384(bytes(state)).digest()


def signed_statement(
    state: bytes | msgspec.Raw, sealed_ring: bytes, envelopes: list[Envelope], signer_id: str
) -> bytes:
    """The bytes under a token's signature."""
    return encode((FORMAT, bytes(state), sealed_ring, envelopes, signer_id))


def verify_domain_token(token: DomainToken, trusted: Sequence[Member]) -> None:
    """One of `trusted` signed this token.

    A token signs for its successor, never for itself: `trusted` are the members of a state that was trusted before (as
    a recovery bundle pins them), for a first token whoever was pinned at the domain's creation.

    Raises:
        DomainTokenError: the signer is no member, or the signature is wrong.
    """
    for member in trusted:
        if member.member_id == token.signer_id:
            statement = signed_statement(token.state, token.sealed_ring, token.envelopes, token.signer_id)
            try:
                verify_statement(parse_public(member.signing_public), token.signature, statement)
            except RefusedError:
                raise DomainTokenError("the domain token's signature is wrong") from None
            return
    raise DomainTokenError("the domain token is signed by nobody known")
