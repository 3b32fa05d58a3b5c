"""The recovery bundle's outer form: which domain it opens, and as which member; making and opening it is the HSM's.

What stands outside of `sealed_keys` is no secret: whoever stores a bundle can see what it is for.
"""

from __future__ import annotations

from typing import Final

import msgspec

from strongroom.boundary.domain_token import Member
from strongroom.boundary.messages import UNREADABLE

FORMAT: Final = "strongroom-recovery-bundle-1"


class RecoveryBundle(msgspec.Struct, array_like=True, frozen=True):
    """As stored; every field before `sealed_keys` is additional authenticated data of it."""

    format: str
    bundle_id: bytes
    domain_id: bytes
    needed: int
    total: int
    member: Member
    signers: list[Member]
    sealed_keys: bytes


class RecoveryBundleError(ValueError):
    """Not a recovery bundle."""


_decode = msgspec.msgpack.Decoder(RecoveryBundle).decode


def parse_recovery_bundle(data: bytes) -> RecoveryBundle:
    """What a bundle says of itself; whether that is true shows when its shares open it.

    Raises:
        RecoveryBundleError: it is none, or of another format.
    """
    try:
        bundle = _decode(data)
    except UNREADABLE:
        raise RecoveryBundleError("not a recovery bundle") from None
    if bundle.format != FORMAT:
        raise RecoveryBundleError(f"a recovery bundle of format {bundle.format!r} is not known here")
    return bundle
