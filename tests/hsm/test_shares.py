"""Secret sharing against a naive implementation of the field and of Lagrange's formula."""

from __future__ import annotations

import functools
import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.hsm.domain.shares import _divide, _multiply, combine_shares, split_secret


def naive_multiply(a: int, b: int) -> int:
    """Russian peasants modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197 4.2)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = (a << 1) ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


@functools.cache
def naive_inverse(a: int) -> int:
    return next(b for b in range(1, 256) if naive_multiply(a, b) == 1)


def naive_combine(shares: list[tuple[int, bytes]]) -> bytes:
    secret = []
    for at in range(len(shares[0][1])):
        value = 0
        for x, share in shares:
            term = share[at]
            for other, _ in shares:
                if other != x:
                    term = naive_multiply(term, naive_multiply(other, naive_inverse(other ^ x)))
            value ^= term
        secret.append(value)
    return bytes(secret)


def test_the_field_is_the_naive_field() -> None:
    for a, b in itertools.product(range(256), repeat=2):
        assert _multiply(a, b) == naive_multiply(a, b)


def test_division_is_the_inverse_of_multiplication() -> None:
    for a, b in itertools.product(range(256), range(1, 256)):
        assert _multiply(_divide(a, b), b) == a
    assert naive_multiply(0x57, 0x83) == 0xC1  # FIPS 197's own example.


@given(secret=st.binary(min_size=1, max_size=8), total=st.integers(1, 8), data=st.data())
def test_enough_shares_give_the_secret_both_ways(secret: bytes, total: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, total))
    shares = list(enumerate(split_secret(secret, total, needed, os.urandom((needed - 1) * len(secret))), 1))
    chosen = data.draw(st.permutations(shares))[: data.draw(st.integers(needed, total))]
    assert combine_shares(chosen) == naive_combine(chosen) == secret


def test_one_share_too_few_says_nothing_of_the_secret() -> None:
    """For two of three: whatever the secret, every value of a share is equally likely — counted over all coefficients."""
    for secret in (0x00, 0x53, 0xFF):
        values = {split_secret(bytes((secret,)), 3, 2, bytes((coefficient,)))[1] for coefficient in range(256)}
        assert len(values) == 256


def test_255_shares_are_the_most() -> None:
    shares = list(enumerate(split_secret(b"secret", 255, 3, os.urandom(12)), 1))
    assert combine_shares([shares[0], shares[100], shares[254]]) == b"secret"
    with pytest.raises(ValueError, match="1 <= needed"):
        split_secret(b"secret", 256, 3, os.urandom(12))


@pytest.mark.parametrize(
    ("total", "needed", "random"), [(0, 0, 0), (1, 0, 0), (1, 2, 6), (3, 2, 5), (3, 2, 7), (3, 2, 0)]
)
def test_impossible_splits_are_refused(total: int, needed: int, random: int) -> None:
    with pytest.raises(ValueError, match="1 <= needed"):
        split_secret(b"secret", total, needed, bytes(random))


@pytest.mark.parametrize("numbers", [(1, 1), (0, 1), (1, 256), (-1, 1)])
def test_impossible_share_numbers_are_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="different numbers"):
        combine_shares([(number, b"x") for number in numbers])
