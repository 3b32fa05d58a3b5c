"""An invisible salamander: one AES-GCM ciphertext that opens under two known keys (Dodis et al., 2018).

Tags are linear over GF(2^128) in the ciphertext blocks, so one free block makes both tags equal. Written from SP 800-38D.
"""

from __future__ import annotations

import functools
import operator

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_R = 0xE1 << 120


def _times_x(value: int, times: int = 1) -> int:
    for _ in range(times):
        value = (value >> 1) ^ (_R if value & 1 else 0)
    return value


_REDUCED = [_times_x(nibble, 4) for nibble in range(16)]


@functools.lru_cache(maxsize=64)
def _table(y: int) -> list[int]:
    """The multiples of y by every polynomial of degree below 4; its constant term is a nibble's highest bit."""
    table = []
    for nibble in range(16):
        terms = [_times_x(y, power) for power in range(4) if nibble >> (3 - power) & 1]
        table.append(functools.reduce(operator.xor, terms, 0))
    return table


def multiply(x: int, y: int) -> int:
    """The product in GCM's field, bit 0 first (SP 800-38D 6.3), four bits at a time."""
    table, z = _table(y), 0
    for shift in range(0, 128, 4):
        z = (z >> 4) ^ _REDUCED[z & 15] ^ table[x >> shift & 15]
    return z


def inverse(x: int) -> int:
    """By Euclid over polynomials; the field's bit order is turned round for it."""
    modulus = (1 << 128) | 0x87
    old, new, old_factor, factor = modulus, int(f"{x:0128b}"[::-1], 2), 0, 1
    while new != 1:
        shift = old.bit_length() - new.bit_length()
        if shift < 0:
            old, new, old_factor, factor = new, old, factor, old_factor
            continue
        old, old_factor = old ^ (new << shift), old_factor ^ (factor << shift)
        if old.bit_length() < new.bit_length():
            old, new, old_factor, factor = new, old, factor, old_factor
    return int(f"{factor:0128b}"[::-1], 2)


def _block(key: bytes, data: bytes) -> int:
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 -- one block: the cipher itself.
    return int.from_bytes(encryptor.update(data), "big")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 16)


def _tag(key: bytes, iv: bytes, associated: bytes, ciphertext: bytes) -> int:
    h, y = _block(key, bytes(16)), 0
    lengths = (len(associated) * 8).to_bytes(8, "big") + (len(ciphertext) * 8).to_bytes(8, "big")
    data = _padded(associated) + _padded(ciphertext) + lengths
    for at in range(0, len(data), 16):
        y = multiply(y ^ int.from_bytes(data[at : at + 16], "big"), h)
    return y ^ _block(key, iv + b"\x00\x00\x00\x01")


def sealed_under_both(one: tuple[bytes, bytes], other: tuple[bytes, bytes], iv: bytes, body: bytes) -> bytes:
    """Ciphertext and tag that open under (key, associated data) `one` and under `other`; `body` is whole blocks."""
    draft = body + bytes(16)
    difference = _tag(one[0], iv, one[1], draft) ^ _tag(other[0], iv, other[1], draft)
    # The last ciphertext block stands before the length block: it counts H^2 times.
    hashes = _block(one[0], bytes(16)), _block(other[0], bytes(16))
    factor = multiply(hashes[0], hashes[0]) ^ multiply(hashes[1], hashes[1])
    free = multiply(difference, inverse(factor))
    ciphertext = body + free.to_bytes(16, "big")
    return ciphertext + _tag(one[0], iv, one[1], ciphertext).to_bytes(16, "big")
