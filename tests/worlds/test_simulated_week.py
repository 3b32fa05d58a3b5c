"""A week of a home with many keys: everything due is done, and what the service holds stays within its bounds.

Two workers with real HSM module, store, operations and chores, and a clock of our own (`worlds/simulation.py`). The week is
the one in which the first keys' rotations are due, and in which a twentieth of the keys wait for their deletion.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.kms.chores.deletion import KeyDeletion
from strongroom.kms.chores.rotation import KeyRotation
from strongroom.kms.chores.usage_flush import UsageFlush
from strongroom.kms.faults import AccessDeniedException
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
        await year.encrypt(key)
        await year.schedule(key, 7)
    for _ in range(STEPS):
        await year.step()
        for key in year.random.sample(year.keys, keys // USED_SHARE):
            await year.encrypt(key)
    await year.step()


def _rows(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 -- our own names.


def run_week(folder: Path, keys: int, live: Callable[[Year, int], Awaitable[None]] = _live) -> Year:
    async def main() -> Year:
        year = Year(folder, operational_hsm(), seed=1, keys=keys)
        try:
            await live(year, keys)
            for key in year.keys:
                await year.compare(key)
                await year.compare_usage(key)
            for key in year.keys:
                await year.decrypt(key)
            for one in year.staff:
                sizes = one.worker.directory.sizes()
                print(one.name, sizes)
                assert sizes["keys"] <= keys
                assert sizes["materials"] <= sum(1 + len(key.rotations) for key in year.keys)
        finally:
            year.close()
        return year

    year = asyncio.run(main())
    deleted = sum(not key.exists for key in year.keys)
    rotated = sum(len(key.rotations) for key in year.keys)
    used = sum(bool(key.blobs) for key in year.keys if key.exists)
    blobs = sum(len(key.blobs) for key in year.keys)
    print(f"{keys} keys: {rotated} rotated, {deleted} deleted, {used} used, {blobs} ciphertexts tried")
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


# ── the week itself ─────────────────────────────────────────────────────────────────────────────────────────────────


async def _nothing(*_: object) -> None: ...


@pytest.mark.parametrize(
    ("chore", "said"),
    [
        (UsageFlush, "known as used when it was"),
        (KeyRotation, "rotated when it was due"),
        (KeyDeletion, "deleted neither too early nor too late"),
    ],
)
def test_a_week_without_one_of_the_chores_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chore: type, said: str
) -> None:
    monkeypatch.setattr(chore, "run", _nothing)
    with pytest.raises(AssertionError, match=said):
        run_week(tmp_path, keys=20)


async def _live_and_lose_one(year: Year, keys: int) -> None:
    """In the end, the last key that was rotated has lost what it was made with."""
    await _live(year, keys)
    lost = [key.blobs[0].material for key in year.keys if key.rotations and key.blobs][-1]
    with closing(sqlite3.connect(year.folder / "store.db")) as connection:
        connection.execute("DELETE FROM materials WHERE hbkid = ?", (bytes.fromhex(lost),))
        connection.commit()


def test_a_week_after_which_one_key_does_not_open_what_it_closed_is_caught(tmp_path: Path) -> None:
    with pytest.raises(AccessDeniedException):
        run_week(tmp_path, keys=20, live=_live_and_lose_one)
