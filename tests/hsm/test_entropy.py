"""The health tests of the random source catch a source that sticks or leans."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from fractions import Fraction
from math import comb

import pytest

from strongroom.hsm import entropy
from strongroom.hsm.entropy import Entropy, EntropyFailureError, verify_samples


def test_a_good_source_passes() -> None:
    for _ in range(50):
        verify_samples(os.urandom(4096))


@pytest.mark.parametrize("value", [0x00, 0x55, 0xFF])
def test_a_stuck_source_is_caught(value: int) -> None:
    with pytest.raises(EntropyFailureError):
        verify_samples(bytes((value,)) * 4096)


def test_a_source_that_sticks_for_five_samples_is_caught_wherever_it_does() -> None:
    good = bytes(range(256)) * 16
    verify_samples(good)
    for at in range(0, 4092, 31):
        verify_samples(good[:at] + bytes((good[at] ^ 0x80,)) * 4 + good[at + 4 :])
        with pytest.raises(EntropyFailureError):
            verify_samples(good[:at] + bytes((good[at] ^ 0x80,)) * 5 + good[at + 5 :])


def test_a_leaning_source_is_caught() -> None:
    """One value in eight is the same: no five in a row, but far too many in a window."""
    source = random.Random(3)
    samples = bytes(0xAA if at % 8 == 0 else source.randrange(256) for at in range(4096))
    with pytest.raises(EntropyFailureError):
        verify_samples(samples)


def test_a_source_with_sixteen_values_is_caught() -> None:
    source = random.Random(4)
    with pytest.raises(EntropyFailureError):
        verify_samples(bytes(source.randrange(16) for _ in range(4096)))


def test_the_window_holds_its_first_value_at_most_fifteen_times() -> None:
    def window(times: int) -> bytes:
        fill = [at % 255 + 1 for at in range(512)]
        for at in range(times):
            fill[at * 20] = 0
        return bytes(fill)

    verify_samples(window(15))
    with pytest.raises(EntropyFailureError):
        verify_samples(window(16))


def test_the_cutoffs_are_those_of_the_standard() -> None:
    """SP 800-90B 4.4.1 and 4.4.2 with alpha 2^-30 and 8 bits per sample, in exact arithmetic."""
    alpha, p = Fraction(1, 2**30), Fraction(1, 256)
    assert entropy._REPETITION_CUTOFF == 1 + -(-30 // 8)

    exactly = [comb(512, k) * p**k * (1 - p) ** (512 - k) for k in range(40)]
    critical = next(count for count in range(40) if 1 - sum(exactly[: count + 1]) <= alpha)
    assert 1 + critical == entropy._PROPORTION_CUTOFF


SOURCES: dict[str, Callable[[int], bytes]] = {
    "zeros": bytes,
    "ones": lambda length: b"\xff" * length,
    "four values": lambda length: bytes(random.Random(1).choice(b"abcd") for _ in range(length)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_hsm_does_not_start_on_a_bad_source(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy.os, "getrandom", SOURCES[name])
    with pytest.raises(EntropyFailureError):
        Entropy()


def test_the_same_sixteen_bytes_twice_in_a_row_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Entropy()
    for length in (1, 12, 16, 40):
        monkeypatch.setattr(entropy.os, "getrandom", os.urandom)
        source.draw(length)
        monkeypatch.setattr(entropy.os, "getrandom", lambda length: bytes(range(length)))
        source.draw(length)
        with pytest.raises(EntropyFailureError):
            source.draw(length)


@pytest.mark.parametrize("length", [1, 8, 12, 15, 16, 17, 32, 1024])
def test_a_draw_has_the_length_that_was_asked_for(length: int) -> None:
    source = Entropy()
    drawn = {source.draw(length) for _ in range(3)}
    assert {len(one) for one in drawn} == {length}
