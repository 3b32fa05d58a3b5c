"""The allowance of strangers: whoever floods locks himself out, and nobody else."""

from __future__ import annotations

import pytest

from strongroom.kms.identities.sts import allowance as room
from strongroom.kms.identities.sts.allowance import Allowance

HOSTILE, POD, OTHER = "192.0.2.66", "198.51.100.7", "203.0.113.9"
NOW_S = 1_800_000_000.25


def flood(allowance: Allowance, address: str, now_s: float = NOW_S, tries: int = 1_000) -> int:
    """How often somebody could fail."""
    failed = 0
    while failed < tries and not allowance.is_spent(address, now_s):
        allowance.spend(address, now_s, 0)
        failed += 1
    return failed


def test_a_source_that_floods_locks_itself_out_and_nobody_else() -> None:
    allowance = Allowance(10, 4)
    assert flood(allowance, HOSTILE) == 4
    assert allowance.is_spent(HOSTILE, NOW_S)
    assert not allowance.is_spent(POD, NOW_S)
    assert flood(allowance, POD) == 4


def test_a_second_later_everybody_may_fail_again() -> None:
    allowance = Allowance(10, 4)
    assert [flood(allowance, HOSTILE, NOW_S + later) for later in (0, 1, 2)] == [4, 4, 4]


def test_many_sources_together_lock_out_strangers_and_nobody_who_is_known() -> None:
    allowance = Allowance(10, 4)
    allowance.note_known(POD)
    failed = sum(flood(allowance, f"192.0.2.{number}") for number in range(200))
    assert failed == 10
    assert allowance.is_spent(OTHER, NOW_S)
    assert not allowance.is_spent(POD, NOW_S)
    # Not even he without a bound.
    assert flood(allowance, POD) == 4


def test_what_known_sources_fail_is_not_taken_from_the_strangers() -> None:
    allowance = Allowance(4, 4)
    allowance.note_known(POD)
    assert flood(allowance, POD) == 4
    assert not allowance.is_spent(OTHER, NOW_S)


def test_whoever_makes_more_work_has_failed_more() -> None:
    allowance = Allowance(100, 4)
    allowance.spend(HOSTILE, NOW_S, 8_192)
    assert allowance.is_spent(HOSTILE, NOW_S)
    assert not allowance.is_spent(POD, NOW_S)


@pytest.mark.parametrize(
    ("one", "another", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("unix", "unix", True),
    ],
)
def test_a_source_is_what_its_owner_cannot_choose(one: str, another: str, *, is_same: bool) -> None:
    allowance = Allowance(10, 1)
    allowance.spend(one, NOW_S, 0)
    assert allowance.is_spent(another, NOW_S) is is_same


def test_what_is_remembered_of_sources_is_bounded() -> None:
    allowance = Allowance()
    addresses = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(room.KNOWN_MAX + 100)]
    for address in addresses:
        allowance.note_known(address)
    assert list(allowance._known) == addresses[100:]
    for address in addresses[:2_000]:
        flood(allowance, address, tries=1)
    assert len(allowance._failures_of) <= room.FAILURES_PER_S_MAX + room.KNOWN_MAX
    allowance.spend(POD, NOW_S + 1, 0)
    assert list(allowance._failures_of) == [POD]


def test_a_source_that_is_seen_again_is_known_longer() -> None:
    allowance = Allowance()
    allowance.note_known(POD)
    for number in range(room.KNOWN_MAX - 1):
        allowance.note_known(f"10.0.{number >> 8}.{number & 255}")
    allowance.note_known(POD)
    allowance.note_known(OTHER)
    assert POD in allowance._known
