"""The recovery bundle: an offline member of the domain, shut under a secret that people hold as shares.

Bundle, a MessagePack array: format, bundle id (16 bytes), domain id, shares needed, shares total, member, the signers whose
domain tokens it trusts (else whoever keeps the token could slip in a ring of his own), and the member's two private keys
sealed with AES-256-GCM (IV zero: the bundle key seals once) under a random bundle key; all fields before
are additional authenticated data. The bundle key is what the shares give.

Share, a MessagePack array: format, bundle id, shares needed, number (1 to 255), value. One needed of one is the smallest
ceremony; k of n has the same form.

The bundle holds no domain key: it is an envelope's address. The newest domain token together with it opens the ring.
"""

from __future__ import annotations

from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.boundary.domain_token import Member
from strongroom.boundary.messages import UNREADABLE
from strongroom.boundary.recovery_bundle import FORMAT, RecoveryBundle, parse_recovery_bundle
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Region
from strongroom.hsm.domain.identity import Identity
from strongroom.hsm.domain.shares import combine_shares, split_secret
from strongroom.hsm.entropy import Entropy

_SHARE_FORMAT: Final = "strongroom-recovery-share-1"
_KEY_BYTES: Final = 32
_BUNDLE_ID_BYTES: Final = 16
_IV: Final = bytes(12)


class Recovered(msgspec.Struct, frozen=True):
    """What an opened bundle gives."""

    offline: Identity
    domain_id: bytes
    signers: list[Member]
    shares: tuple[int, int]


class _Share(msgspec.Struct, array_like=True, frozen=True):
    format: str
    bundle_id: bytes
    needed: int
    number: int
    value: bytes


class _Keys(msgspec.Struct, array_like=True, frozen=True):
    signing: bytes
    agreement: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_share = msgspec.msgpack.Decoder(_Share).decode
_decode_keys = msgspec.msgpack.Decoder(_Keys).decode


def _associated(bundle: RecoveryBundle) -> bytes:
    return _encode(msgspec.structs.astuple(bundle)[:-1])


def make_bundle(
    offline: Identity, domain_id: bytes, signers: list[Member], total: int, needed: int, entropy: Entropy
) -> tuple[bytes, list[bytes]]:
    """The bundle and its shares, for the supervisor to hand to people. The shares are the only way back in."""
    bundle_id = entropy.draw(_BUNDLE_ID_BYTES)
    bundle_key = entropy.draw(_KEY_BYTES)
    bundle = RecoveryBundle(FORMAT, bundle_id, domain_id, needed, total, offline.member, signers, b"")
    sealed = AESGCM(bundle_key).encrypt(_IV, _encode(_Keys(*offline.private_parts())), _associated(bundle))
    random = entropy.draw((needed - 1) * _KEY_BYTES) if needed > 1 else b""
    values = split_secret(bundle_key, total, needed, random)
    shares = [
        _encode(_Share(_SHARE_FORMAT, bundle_id, needed, number, value)) for number, value in enumerate(values, 1)
    ]
    return _encode(msgspec.structs.replace(bundle, sealed_keys=sealed)), shares


def open_bundle(data: bytes, shares: list[bytes], region: Region) -> Recovered:
    """The offline member, in the arena region given, its domain and signers, and (shares total, shares needed).

    Raises:
        RefusedError: AUTHENTICATION_FAILED for too few, foreign or wrong shares, or an altered bundle.
    """
    try:
        bundle = parse_recovery_bundle(data)
        held = [_decode_share(share) for share in shares]
        if any(share.bundle_id != bundle.bundle_id for share in held):
            raise RefusedError(Status.AUTHENTICATION_FAILED)
        bundle_key = combine_shares([(share.number, share.value) for share in held])
        keys = _decode_keys(AESGCM(bundle_key).decrypt(_IV, bundle.sealed_keys, _associated(bundle)))
    except (*UNREADABLE, ValueError, IndexError, InvalidTag):
        raise RefusedError(Status.AUTHENTICATION_FAILED) from None
    identity = Identity.load(bundle.member, keys.signing, keys.agreement, region)
    return Recovered(identity, bundle.domain_id, bundle.signers, (bundle.total, bundle.needed))
