"""A week of a home with many keys: everything due is done, and what the service holds stays within its bounds.

Two workers with real HSM module, store, operations and chores, and a clock of our own (`worlds/simulation.py`). The week is
the one in which the first keys' rotations are due, and in which a twentieth of the keys wait for their deletion.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.kms.chores.usage_flush import UsageFlush
from testkit.module import operational_hsm
from testkit.worker import DAY_S
from worlds.simulation import Year

DAYS_BEFORE = 86
STEPS = 8 * 4
DELETED_SHARE = 20
USED_SHARE = 10


async def _live(year: Year, keys: int) -> None:
    await year.do_chores()
    for _ in range(keys):
        await year.create()
    year.clocks.pass_s(DAYS_BEFORE * DAY_S)
    await year.do_chores()
    for key in year.keys[::DELETED_SHARE]:
        await year.schedule(key, 7)
    for _ in range(STEPS):
        await year.step()
        for key in year.random.sample(year.keys, keys // USED_SHARE):
            await year.encrypt(key)
    await year.step()


def _rows(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 -- our own names.


def run_week(folder: Path, keys: int) -> Year:
    async def main() -> Year:
        year = Year(folder, operational_hsm(), seed=1, keys=keys)
        try:
            await _live(year, keys)
            for key in year.keys:
                await year.compare(key)
                await year.compare_usage(key)
            for one in year.staff:
                sizes = one.worker.directory.sizes()
                print(one.name, sizes)
                assert sizes["keys"] <= keys
                assert sizes["materials"] <= sum(1 + len(key.rotations) for key in year.keys)
            for key in year.keys[:: keys // 20]:
                await year.decrypt(key)
        finally:
            year.close()
        return year

    year = asyncio.run(main())
    deleted = sum(not key.exists for key in year.keys)
    rotated = sum(len(key.rotations) for key in year.keys)
    used = sum(bool(key.blobs) for key in year.keys if key.exists)
    print(f"{keys} keys: {rotated} rotated, {deleted} deleted, {used} used")
    assert rotated > keys // 20
    assert deleted == len(year.keys[::DELETED_SHARE])
    assert _rows(folder, "key_usage") == used
    assert _rows(folder, "kms_keys") == keys - deleted
    return year


def test_a_week_of_fifty_keys_leaves_what_the_documentation_says(tmp_path: Path) -> None:
    run_week(tmp_path, keys=50)


@pytest.mark.campaign
def test_a_week_of_a_thousand_keys_leaves_what_the_documentation_says(tmp_path: Path) -> None:
    run_week(tmp_path, keys=1000)


def test_a_week_without_the_flush_of_usages_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(UsageFlush, "run", nothing)
    with pytest.raises(AssertionError):
        run_week(tmp_path, keys=50)
