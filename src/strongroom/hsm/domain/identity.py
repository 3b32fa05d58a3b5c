"""A member's two static P-384 key pairs: one signs, one agrees on keys. Private halves lie in the arena as PKCS#8 DER.

A private key object lives for one call: it is loaded from the arena, used and dropped, since the library keeps copies in
the heap while it lives.
"""

from __future__ import annotations

from typing import Self, cast

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from strongroom.boundary.domain_token import Member
from strongroom.boundary.session import new_ephemeral, parse_public, public_bytes, sign_statement, verify_statement
from strongroom.hsm.arena import Region, wipe


class Identity:
    """One member as only it knows itself."""

    __slots__ = ("_agreement", "_signing", "member")

    def __init__(self, member: Member, signing: memoryview, agreement: memoryview) -> None:
        self.member = member
        self._signing = signing
        self._agreement = agreement

    @classmethod
    def generate(cls, member_id: str, region: Region, *, offline: bool = False) -> Self:
        """New key pairs; their DER forms go straight into the arena region."""
        signing, signing_public = _new_pair(region)
        agreement, agreement_public = _new_pair(region)
        return cls(Member(member_id, signing_public, agreement_public, offline), signing, agreement)

    @classmethod
    def load(cls, member: Member, signing: bytes, agreement: bytes, region: Region) -> Self:
        """An identity from its unsealed parts."""
        return cls(member, _into(region, signing), _into(region, agreement))

    def private_parts(self) -> tuple[bytes, bytes]:
        """Signing and agreement key in DER, to be sealed and dropped at once."""
        return bytes(self._signing), bytes(self._agreement)

    def sign(self, statement: bytes) -> bytes:
        return sign_statement(_load(self._signing), statement)

    def agree(self, peer_public: bytes) -> bytes:
        """The raw ECDH secret with a peer's ephemeral key."""
        return _load(self._agreement).exchange(ec.ECDH(), parse_public(peer_public))

    def wipe(self) -> None:
        wipe(self._signing)
        wipe(self._agreement)


def _load(der: memoryview) -> ec.EllipticCurvePrivateKey:
    return cast("ec.EllipticCurvePrivateKey", load_der_private_key(der, None))


def _into(region: Region, value: bytes) -> memoryview:
    view = region.take(len(value))
    view[:] = value
    return view


def _new_pair(region: Region) -> tuple[memoryview, bytes]:
    private = new_ephemeral()
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    # Pairwise consistency (FIPS 140-3 IG 10.3.A): what this key signs, its public half accepts.
    statement = b"strongroom pairwise consistency"
    verify_statement(private.public_key(), sign_statement(private, statement), statement)
    return _into(region, der), public_bytes(private.public_key())
