"""A year of a home, day by day: two workers, real HSM module, store, operations and chores, and a clock of our own.

Beside the service runs a model that knows the rules from the documentation and nothing of the code: when each key is
rotated, when it is deleted, what holds a deletion. Every blob of the year is kept. At the end the two are compared to the
last rotation's date, and every blob decrypts, with the material that the model expects, or answers as that of an unknown
key.

What happens in the year, beside what chance does with the keys: workers are killed; the machine is off for four days and for
ten; the clock is set 45 days ahead, and right again half a day later.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from testkit.module import operational_hsm
from testkit.worker import DAY_S, START_S
from worlds.simulation import Year

DAYS = 365


async def live_through(year: Year) -> None:
    """The year, with its jumps."""
    for day in range(DAYS):
        for _ in range(4):
            await year.step()
            await year.live()
        match day:
            case 55 | 246:
                # Due while the machine is off.
                await year.schedule(next(key for key in year.keys if key.state == "Enabled"), 7)
            case 60:
                await year.be_off(4)
            case 150:
                await year.set_clock(45)
                for _ in range(2):
                    await year.step()
                await year.set_clock(-45)
            case 250:
                await year.be_off(10)
                await year.live()
                await year.accept_clock()
                await year.do_chores()
            case _ if day % 50 == 17:
                year.random.choice(year.staff).die()


def run_year(folder: Path, seed: int, keys: int) -> Year:
    async def main() -> Year:
        year = Year(folder, operational_hsm(), seed, keys)
        try:
            await year.do_chores()
            await live_through(year)
            await year.do_chores()
            for key in year.keys:
                await year.compare(key)
                await year.compare_usage(key)
            rotated = sorted(key_id for key_id in year.service_events("RotateKey"))
            assert rotated == sorted(key.key_id for key in year.keys for _ in key.rotations)
            deleted = sorted(key.key_id for key in year.keys if not key.exists)
            assert sorted(year.service_events("DeleteKey")) == deleted
            for key in year.keys:
                await year.decrypt(key)
        finally:
            year.close()
        return year

    return asyncio.run(main())


def assert_much_happened(year: Year) -> None:
    """A simulation in which nothing happens agrees with everything."""
    kinds = [kind for key in year.keys for _, kind in key.rotations]
    assert kinds.count("AUTOMATIC") > 30
    assert kinds.count("ON_DEMAND") > 20
    assert sum(not key.exists for key in year.keys) > 3
    assert sum(len(key.blobs) for key in year.keys) > 400
    assert year.held_deletions > 0
    assert year.clocks() > START_S + DAYS * DAY_S


def test_a_year_passes_and_every_key_is_what_the_documentation_says(tmp_path: Path) -> None:
    assert_much_happened(run_year(tmp_path, seed=1, keys=40))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 8))
def test_other_years_pass_with_more_keys(tmp_path: Path, seed: int) -> None:
    assert_much_happened(run_year(tmp_path, seed=seed, keys=200))
