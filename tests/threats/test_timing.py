"""Class 15: how long a comparison takes says nothing of where the two texts differ.

A fixed limit for Welch's t would be wrong: on a machine that others use, two runs of the very same act differ by more than
4.5. So each pair of acts is measured beside a null pair, the same act twice, in turns; what is told apart is more than the
null run tells apart. The comparison that stops at the first difference is measured too, and must be found.
(`tests/walls/test_tidiness.py`: `compare_digest` alone compares them. `tests/protocol/test_sigv4_cache.py`: an unknown
access key takes the steps of a wrong signature.)
"""

from __future__ import annotations

import gc
import hmac
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from statistics import fmean, variance
from time import perf_counter_ns

import pytest

from protocol.signed_requests import NOW_S, SECRETS, SERVICES, header, signed_request, with_header
from strongroom.boundary.secret import StoreKey
from strongroom.kms.repositories import AliasRecord, RowForgedError
from strongroom.kms.storage.rows import RowCodec
from strongroom.protocol.sigv4 import Refused, Verifier

Act = Callable[[], object]
# An act that differs from what it is compared with in this place.
Make = Callable[[int], Act]
ROUNDS, SAMPLES = 8, 250
LONG_ROUNDS, LONG_SAMPLES = 100, 3_400
# What is slower than nine of ten was interrupted.
KEPT = 0.9


@contextmanager
def without_the_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def welch(one: list[int], other: list[int]) -> float:
    """Welch's t of two samples without their slowest."""
    one, other = (sorted(sample)[: int(len(sample) * KEPT)] for sample in (one, other))
    spread = variance(one) / len(one) + variance(other) / len(other)
    return float((fmean(one) - fmean(other)) / max(spread, 1e-9) ** 0.5)


def told_apart(make: Make, rounds: int, samples: int) -> tuple[float, float]:
    """The mean t, over the rounds, of a difference at the beginning and one at the end; the largest t of the null run.

    The null run is of two differences at the beginning. Each round makes all three anew, for where a text lies in memory
    makes a nanosecond too; they are done in turns, in an order that is shuffled: what else the machine does hits all alike.
    """
    seeded = Random(15)
    found, null = [], []
    for _ in range(rounds):
        order = [(place, make(-1 if place == 2 else 0)) for place in seeded.sample(range(3), 3)]
        times: tuple[list[int], ...] = ([], [], [])
        with without_the_collector():
            for _ in range(samples):
                seeded.shuffle(order)
                for place, act in order:
                    started = perf_counter_ns()
                    act()
                    times[place].append(perf_counter_ns() - started)
        found.append(welch(times[0], times[2]))
        null.append(abs(welch(times[0], times[1])))
    return abs(fmean(found)), max(null)


def refused(act: Act, error: type[Exception]) -> Act:
    def refusing() -> None:
        try:
            act()
        except error:
            return
        raise AssertionError("it was accepted")

    return refusing


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


# ── what is compared ────────────────────────────────────────────────────────────────────────────────────────────────────


def signatures(*, known: bool) -> Make:
    """Of a client that was seen before, and of one whose header is new each time."""
    request = signed_request()
    prefix, word, signature = header(request, b"Authorization").rpartition(b"Signature=")
    verifier = Verifier(cached_max=1024 if known else 0)
    if known:
        verifier.verify(request, NOW_S, SECRETS.get, SERVICES)

    def make(at: int) -> Act:
        bent = with_header(request, b"Authorization", prefix + word + flipped(signature, at))
        return refused(lambda: verifier.verify(bent, NOW_S, SECRETS.get, SERVICES), Refused)

    return make


def row_macs() -> Make:
    rows = RowCodec()
    rows.unlock(StoreKey(os.urandom(32)))
    alias = AliasRecord(
        account="000000000000",
        region="us-east-1",
        name="alias/x",
        version=1,
        key_id="key",
        created_at_s=1.0,
        updated_at_s=1.0,
    )
    *columns, mac = rows.to_row(alias)
    assert rows.to_record(AliasRecord, [*columns, mac]) == alias

    def make(at: int) -> Act:
        forged = [*columns, flipped(mac, at)]
        return refused(lambda: rows.to_record(AliasRecord, forged), RowForgedError)

    return make


def digests() -> Make:
    """The comparison itself, as everybody calls it."""
    right = os.urandom(32).hex().encode()

    def make(at: int) -> Act:
        wrong = flipped(right, at)
        return lambda: hmac.compare_digest(right, wrong)

    return make


COMPARED: dict[str, Callable[[], Make]] = {
    "signature of a known client": lambda: signatures(known=True),
    "signature, verified in full": lambda: signatures(known=False),
    "MAC of a row": row_macs,
    "compare_digest": digests,
}


def require_alike(name: str, rounds: int, samples: int) -> None:
    """One look in three is enough: what leaks leaks in each."""
    seen = []
    for _ in range(3):
        found, limit = told_apart(COMPARED[name](), rounds, samples)
        seen.append(f"t = {found:.2f}, null run {limit:.2f}")
        if found <= limit:
            print(f"{name}: {seen[-1]}")
            return
    pytest.fail(f"{name}: {'; '.join(seen)}")


@pytest.mark.parametrize("name", COMPARED)
def test_a_difference_at_the_end_takes_as_long_as_one_at_the_beginning(name: str) -> None:
    require_alike(name, ROUNDS, SAMPLES)


@pytest.mark.long
@pytest.mark.parametrize("name", COMPARED)
def test_a_difference_takes_as_long_anywhere_over_a_million_samples(name: str) -> None:
    require_alike(name, LONG_ROUNDS, LONG_SAMPLES)


def stops_at_the_first_difference(one: bytes, other: bytes) -> bool:
    return all(left == right for left, right in zip(one, other, strict=True))


def test_a_comparison_that_stops_early_is_found() -> None:
    """Or the tests above would say nothing."""
    right = os.urandom(32).hex().encode()

    def make(at: int) -> Act:
        wrong = flipped(right, at)
        return lambda: stops_at_the_first_difference(right, wrong)

    found, limit = told_apart(make, ROUNDS, SAMPLES)
    assert found > 2 * limit, (found, limit)
