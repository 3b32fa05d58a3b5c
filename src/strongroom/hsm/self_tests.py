"""Power-on self-tests: every algorithm against a known answer, and the zeroisation of freed memory.

Sources: SHA and AES-GCM: FIPS 180-4 examples, McGrew and Viega "GCM", test case 14; HMAC: RFC 4231 case 1; HKDF: RFC 5869
case 1; ECDSA: RFC 6979 A.2.6; KBKDF: SP 800-108, checked against the library's own construction.
"""

from __future__ import annotations

import ctypes
import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from strongroom.boundary.derivation import derive

_SHA256_ABC: Final = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
_SHA384_ABC: Final = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
_HMAC_ANSWER: Final = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
_GCM_ANSWER: Final = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
_HKDF_ANSWER: Final = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
_ECDSA_X: Final = 0xEC3A4E415B4E19A4568618029F427FA5DA9A8BC4AE92E02E06AAE5286B300C64DEF8F0EA9055866064A254515480BC13
_ECDSA_Y: Final = 0x8015D9B72D7D57244EA8EF9AC0C621896708A59367F9DFB9F54CA84B3F1C9DB1288B231C3AE0D4FE7344FD2533264720
_ECDSA_R: Final = 0x94EDBB92A5ECB8AAD4736E56C691916B3F88140666CE9FA73D64C4EA95AD133C81A648152E44ACF96E36DD1E80FABE46
_ECDSA_S: Final = 0x99EF4AEB15F178CEA1FE40DB2603138F130E740A19624526203B6351D0A3A94FA329C145786E679E7B82C71A38628AC8


class SelfTestError(Exception):
    """A known answer was not met; the module must not serve."""


def _hashes() -> bool:
    return hashlib.sha256(b"abc").hexdigest() == _SHA256_ABC and hashlib.sha384(b"abc").hexdigest() == _SHA384_ABC


def _hmac() -> bool:
    return hmac.digest(b"\x0b" * 20, b"Hi There", "sha256").hex() == _HMAC_ANSWER


def _aes_gcm() -> bool:
    cipher = AESGCM(bytes(32))
    sealed = cipher.encrypt(bytes(12), bytes(16), None)
    if sealed.hex() != _GCM_ANSWER or cipher.decrypt(bytes(12), sealed, None) != bytes(16):
        return False
    try:
        cipher.decrypt(bytes(12), sealed[:-1] + bytes((sealed[-1] ^ 1,)), None)
    except InvalidTag:
        return True
    return False


def _kbkdf() -> bool:
    key, label, context = bytes(range(32)), b"label", b"context"
    reference = KBKDFHMAC(
        algorithm=SHA256(),
        mode=Mode.CounterMode,
        length=32,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    )
    return derive(key, label, context) == reference.derive(key)


def _hkdf() -> bool:
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    return HKDF(SHA256(), 42, salt=salt, info=info).derive(b"\x0b" * 22).hex() == _HKDF_ANSWER


def _ecdsa() -> bool:
    public = ec.EllipticCurvePublicNumbers(_ECDSA_X, _ECDSA_Y, ec.SECP384R1()).public_key()
    public.verify(utils.encode_dss_signature(_ECDSA_R, _ECDSA_S), b"sample", ec.ECDSA(SHA384()))
    try:
        public.verify(utils.encode_dss_signature(_ECDSA_R, _ECDSA_S), b"Sample", ec.ECDSA(SHA384()))
    except InvalidSignature:
        return True
    return False


def _ecdh() -> bool:
    one, other = ec.derive_private_key(3, ec.SECP384R1()), ec.derive_private_key(5, ec.SECP384R1())
    product = ec.derive_private_key(15, ec.SECP384R1()).public_key().public_numbers().x.to_bytes(48, "big")
    shared = one.exchange(ec.ECDH(), other.public_key())
    return shared == other.exchange(ec.ECDH(), one.public_key()) == product


def _freed_memory_is_wiped() -> bool:
    """Free a canary and look: without the launcher's allocator settings (see `rinse`) it would still lie there."""
    canary = os.getrandom(64) * 3
    address, length = id(canary) + bytes.__basicsize__ - 1, len(canary)
    middle = canary[64:96]
    if ctypes.string_at(address, length) != canary:
        return False
    del canary
    return middle not in ctypes.string_at(address, length)


_TESTS: Final[dict[str, Callable[[], bool]]] = {
    "SHA-256, SHA-384": _hashes,
    "HMAC-SHA-256": _hmac,
    "AES-256-GCM": _aes_gcm,
    "KBKDF": _kbkdf,
    "HKDF": _hkdf,
    "ECDSA P-384": _ecdsa,
    "ECDH P-384": _ecdh,
    "zeroisation of freed memory": _freed_memory_is_wiped,
}


def run_self_tests() -> None:
    """All of them; about 10 ms.

    Raises:
        SelfTestError: names the first that failed.
    """
    for name, test in _TESTS.items():
        try:
            passed = test()
        except Exception:  # noqa: BLE001 -- an algorithm may fail by raising as well as by a wrong answer.
            passed = False
        if not passed:
            raise SelfTestError(name)
