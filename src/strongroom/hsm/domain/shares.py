"""Shamir's secret sharing over GF(2^8), byte by byte (Shamir, "How to share a secret", 1979).

Any `needed` of `total` shares give the secret; fewer give nothing. With one needed, every share's value is the secret.
The field is the one of AES (polynomial 0x11b); a share's x is its number, 1 to 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_POLYNOMIAL: Final = 0x11B
SHARES_MAX: Final = 255


def _tables() -> tuple[list[int], list[int]]:
    exponent, logarithm = [0] * 510, [0] * 256
    value = 1
    for power in range(255):
        exponent[power] = exponent[power + 255] = value
        logarithm[value] = power
        value ^= value << 1  # The generator 3.
        if value & 0x100:
            value ^= _POLYNOMIAL
    return exponent, logarithm


_EXPONENT, _LOGARITHM = _tables()


def _multiply(a: int, b: int) -> int:
    return _EXPONENT[_LOGARITHM[a] + _LOGARITHM[b]] if a and b else 0


def _divide(a: int, b: int) -> int:
    return _EXPONENT[_LOGARITHM[a] - _LOGARITHM[b] + 255] if a else 0


def split_secret(secret: bytes, total: int, needed: int, random: bytes) -> list[bytes]:
    """`total` shares, number 1 first; `random` is (needed - 1) × len(secret) bytes, used for nothing else."""
    if not 1 <= needed <= total <= SHARES_MAX or len(random) != (needed - 1) * len(secret):
        raise ValueError("shares must satisfy 1 <= needed <= total <= 255")
    shares = []
    for x in range(1, total + 1):
        share = bytearray()
        for at, byte in enumerate(secret):
            value = 0
            for degree in range(needed - 2, -1, -1):
                value = _multiply(value, x) ^ random[degree * len(secret) + at]
            share.append(_multiply(value, x) ^ byte)
        shares.append(bytes(share))
    return shares


def combine_shares(shares: Sequence[tuple[int, bytes]]) -> bytes:
    """The secret behind (number, share) pairs: Lagrange interpolation at zero. Wrong shares give a wrong secret."""
    numbers = [x for x, _ in shares]
    if len(set(numbers)) != len(numbers) or not all(1 <= x <= SHARES_MAX for x in numbers):
        raise ValueError("shares must have different numbers from 1 to 255")
    secret = bytearray(len(shares[0][1]))
    for x, share in shares:
        weight = 1
        for other in numbers:
            if other != x:
                weight = _multiply(weight, _divide(other, other ^ x))
        for at, byte in enumerate(share):
            secret[at] ^= _multiply(weight, byte)
    return bytes(secret)
