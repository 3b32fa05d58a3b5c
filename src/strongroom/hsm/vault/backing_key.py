"""HBK ⇄ EKT: the backing key of a KMS key, born here, sealed here, opened here.

Invariants: an EKT opens only for the key id, account, region, spec, usage and HBKID that the service's record names, so a
token moved to another row is refused; the HBKID is a keyed derivation from the material itself, so equal ids mean equal
material, and no hash of a guessed key can be compared with it outside.
"""

from __future__ import annotations

from typing import Final

import msgspec

from strongroom.boundary.derivation import derive
from strongroom.boundary.messages import KeyBinding
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.hsm.arena import Region
from strongroom.hsm.vault.ring import Ring
from strongroom.hsm.vault.token import IV_BYTES, TokenType, open_token, seal_token

# Byte length of the material per spec; asymmetric and HMAC specs join here.
MATERIAL_BYTES: Final = {"SYMMETRIC_DEFAULT": 32}
USAGES: Final = {"SYMMETRIC_DEFAULT": frozenset({"ENCRYPT_DECRYPT"})}


class EktMetadata(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an EKT's seal vouches for beside the material."""

    domain_id: bytes
    key_id: str
    account: str
    region: str
    hbkid: bytes
    spec: str
    usage: str
    origin: str
    created_at_s: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(EktMetadata).decode


class BackingKey:
    """An opened HBK; its bytes lie in the arena's scratch region and die with the frame."""

    __slots__ = ("metadata", "view")

    def __init__(self, metadata: EktMetadata, view: memoryview) -> None:
        self.metadata = metadata
        self.view = view


def hbkid_of(material: memoryview, key_id: str, spec: str) -> bytes:
    """32 bytes naming this material for this key; spec and length are in, since HMAC folds long and pads short keys."""
    context = _encode((key_id, spec, len(material)))
    return derive(material, b"strongroom key material id", context)


def seal_backing_key(ring: Ring, metadata: EktMetadata, material: memoryview, iv: bytes) -> bytes:
    return seal_token(ring, TokenType.HBK, _encode(metadata), material, iv)


def generate_backing_key(ring: Ring, region: Region, named: EktMetadata, random: bytes) -> tuple[bytes, bytes]:
    """A new EKT and its HBKID; `named` is the metadata but for the HBKID, `random` gives the material and the IV.

    Raises:
        RefusedError: WRONG_USAGE for a spec or usage that does not exist.
    """
    if named.usage not in USAGES.get(named.spec, ()):
        raise RefusedError(Status.WRONG_USAGE)
    length = MATERIAL_BYTES[named.spec]
    material = region.take(length)
    material[:] = random[:length]
    hbkid = hbkid_of(material, named.key_id, named.spec)
    metadata = msgspec.structs.replace(named, hbkid=hbkid)
    return seal_backing_key(ring, metadata, material, random[length : length + IV_BYTES]), hbkid


def open_backing_key(ring: Ring, region: Region, ekt: bytes) -> BackingKey:
    """What an EKT holds, whoever it belongs to; `require_binding` must follow before use.

    Raises:
        RefusedError: TOKEN_INVALID, UNKNOWN_DOMAIN_KEY.
    """
    metadata, view = open_token(ring, TokenType.HBK, ekt, region)
    return BackingKey(_decode(metadata), view)


def require_binding(key: BackingKey, binding: KeyBinding, domain_id: bytes) -> None:
    """The token is the one that the service's record describes, in every field.

    Raises:
        RefusedError: TOKEN_MISMATCH.
    """
    sealed = key.metadata
    if (
        sealed.hbkid != binding.hbkid
        or sealed.key_id != binding.key_id
        or sealed.account != binding.account
        or sealed.region != binding.region
        or sealed.spec != binding.spec
        or sealed.usage != binding.usage
        or sealed.domain_id != domain_id
    ):
        raise RefusedError(Status.TOKEN_MISMATCH)


def require_named_material(key: BackingKey) -> None:
    """The material is the one that the HBKID names: whoever sealed this token had it in hand, whole.

    Raises:
        RefusedError: TOKEN_MISMATCH.
    """
    if hbkid_of(key.view, key.metadata.key_id, key.metadata.spec) != key.metadata.hbkid:
        raise RefusedError(Status.TOKEN_MISMATCH)
