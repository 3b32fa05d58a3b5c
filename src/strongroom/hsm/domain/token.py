"""Domain tokens from the inside: exporting one for all members, opening one as a member (format: boundary.domain_token).

1. a one-time key (DKEK) seals the ring
2. per member, one-pass ECDH (ephemeral × the member's static agreement key) envelopes the DKEK
3. the exporting member signs state, sealed ring and envelopes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.boundary.domain_token import (
    DomainState,
    DomainToken,
    DomainTokenError,
    Envelope,
    Member,
    encode,
    parse_domain_token,
    signed_statement,
    state_digest,
    verify_domain_token,
)
from strongroom.boundary.session import new_ephemeral, parse_public, public_bytes
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Region
from strongroom.hsm.domain.identity import Identity
from strongroom.hsm.entropy import Entropy
from strongroom.hsm.vault.ring import DOMAIN_KEY_BYTES, Ring

_KEY_BYTES: Final = 32
# Both keys below seal one message in their life.
_IV: Final = bytes(12)


def _envelope_key(shared: bytes, member: Member, ephemeral_public: bytes, digest: bytes) -> bytes:
    """SP 800-56C: HKDF-SHA-384 with party, both publics and the state in the info."""
    info = encode(
        ("strongroom domain key envelope", member.member_id, member.agreement_public, ephemeral_public, digest)
    )
    return HKDF(SHA384(), _KEY_BYTES, salt=None, info=info).derive(shared)


def export_domain_token(state: DomainState, ring: Ring, signer: Identity, entropy: Entropy) -> bytes:
    encoded = encode(state)
    digest = state_digest(encoded)
    one_time_key = entropy.draw(_KEY_BYTES)  # 1
    ring_bytes = b"".join(bytes(view) for _, view in ring.items())
    sealed_ring = AESGCM(one_time_key).encrypt(_IV, ring_bytes, encoded)
    envelopes: list[Envelope] = []
    for member in state.members:  # 2
        ephemeral = new_ephemeral()
        point = public_bytes(ephemeral.public_key())
        shared = ephemeral.exchange(ec.ECDH(), parse_public(member.agreement_public))
        wrapped = AESGCM(_envelope_key(shared, member, point, digest)).encrypt(_IV, one_time_key, digest)
        envelopes.append(Envelope(member.member_id, point, wrapped))
    signer_id = signer.member.member_id
    signature = signer.sign(signed_statement(encoded, sealed_ring, envelopes, signer_id))  # 3
    return encode(DomainToken(msgspec.Raw(encoded), sealed_ring, envelopes, signer_id, signature))


def open_domain_token(
    data: bytes, identity: Identity, region: Region, trusted: Sequence[Member] | None
) -> tuple[DomainState, Ring]:
    """State and ring as a member sees them, the ring in the arena region given.

    The signer must be one of `trusted`; None where something stronger vouches for these very bytes (the seal). Anybody can
    make a token that is addressed to a member and signed by somebody whom it names itself.

    Raises:
        RefusedError: AUTHENTICATION_FAILED for a token that is broken, unsigned, or not addressed to this member.
    """
    try:
        token, state = parse_domain_token(data)
        if trusted is not None:
            verify_domain_token(token, trusted)
        envelope = next(e for e in token.envelopes if e.member_id == identity.member.member_id)
        if identity.member not in state.members:
            raise RefusedError(Status.AUTHENTICATION_FAILED)
        digest = state_digest(token.state)
        shared = identity.agree(envelope.ephemeral_public)
        key = _envelope_key(shared, identity.member, envelope.ephemeral_public, digest)
        one_time_key = AESGCM(key).decrypt(_IV, envelope.wrapped_key, digest)
        view = region.take(DOMAIN_KEY_BYTES * len(state.domain_keys))
        AESGCM(one_time_key).decrypt_into(_IV, token.sealed_ring, bytes(token.state), view)
    except (DomainTokenError, StopIteration, InvalidTag, ValueError):
        raise RefusedError(Status.AUTHENTICATION_FAILED) from None
    keys = [
        (info.domain_key_id, view[at * DOMAIN_KEY_BYTES : (at + 1) * DOMAIN_KEY_BYTES])
        for at, info in enumerate(state.domain_keys)
    ]
    return state, Ring(keys)
