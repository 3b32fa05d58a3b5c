"""Power cuts on a simulated disk: what was acknowledged survives whatever an unsynced write may become.

Store, migrations, audit trail and sealed state work by the product's own code, and so do a home's first start and a
restore; a library that is loaded before all others writes down every write, sync and change of a name. A cut is a moment of
that, and what `worlds/lossy/disk.py` makes of the disk then: half of the time as little as it may.

How the checks were seen to fail: `test_a_sync_that_is_missing_is_caught` leaves out one after the other, or does something
else that a cut does not forgive, and so does `test_a_home_that_a_cut_spoils_is_caught`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from worlds.lossy import homes
from worlds.lossy.cuts import (
    RUN_S_MAX,
    Claims,
    Cut,
    NoCompilerError,
    build_recorder,
    cuts,
    cuts_at,
    cuts_at_changes,
    named,
    record,
    recorded,
)
from worlds.lossy.disk import Event, LossyDisk
from worlds.lossy.victim import FAULTS

CUTS_OF_A_RUN = 20


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build_recorder(tmp_path_factory.mktemp("recorder"))
    except NoCompilerError as error:
        pytest.skip(f"no power cut on the simulated disk was tried: no C compiler builds the recorder here: {error}")


def _told(found: list[Cut], what: str) -> None:
    lost = [cut for cut in found if cut.lost]
    acknowledged = sum(cut.acknowledged for cut in found)
    print(
        f"{len(found)} power cuts ({what}): {acknowledged} times something acknowledged was looked for, "
        f"{sum(len(cut.lost) for cut in lost)} lost in {len(lost)} cuts"
    )


def _require_nothing_lost(recorder: Path, runs: int, seed: int, acts: int) -> None:
    found = []
    for run in range(seed, seed + runs):
        recording = record(recorder, run, acts)
        for at_its_worst in (False, True):
            found += list(cuts(recording, CUTS_OF_A_RUN // 2, run, at_its_worst=at_its_worst))
    _told(found, f"{runs} runs, seed {seed}")
    assert [cut for cut in found if cut.lost] == []
    assert sum(cut.acknowledged for cut in found) > len(found)


def test_twenty_power_cuts_lose_nothing_that_was_acknowledged(recorder: Path) -> None:
    _require_nothing_lost(recorder, runs=1, seed=1, acts=60)


@pytest.mark.long
def test_sixty_power_cuts_lose_nothing_that_was_acknowledged(recorder: Path) -> None:
    _require_nothing_lost(recorder, runs=3, seed=100, acts=240)


@pytest.mark.campaign
def test_a_thousand_power_cuts_lose_nothing_that_was_acknowledged(recorder: Path) -> None:
    _require_nothing_lost(recorder, runs=50, seed=1000, acts=240)


# ── homes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a restore takes, with its recovery files beside it."""
    folder = tmp_path_factory.mktemp("backup")
    homes.make_backup(folder)
    return folder / "backup"


class _Watched:
    """A first start or a restore that was recorded; a process of its own looks at what a cut leaves, and takes the home."""

    def __init__(self, recorder: Path, act: str, backup: Path, fault: str = "") -> None:
        takes = backup if act == "restore" else backup / "nothing"
        self._options = ["--backup", str(takes), *(["--fault", fault] if fault else [])]
        self.recording = recorded(recorder, lambda root: ["worlds.lossy.homes", act, root, *self._options])

    def look(self, left: Path, claims: Claims) -> list[str]:
        told = json.dumps({subject: value for subject, values in claims.allowed.items() for value in values})
        done = subprocess.run(
            [sys.executable, "-m", "worlds.lossy.homes", "look", left, "--told", told, *self._options],
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_S_MAX,
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.environ["PATH"]},
        )
        assert done.returncode == 0, done.stderr
        lost: list[str] = json.loads(done.stdout)
        return lost and [*lost, done.stderr]


def _require_a_whole_home(recorder: Path, backup: Path, act: str, count: int) -> int:
    """How often something acknowledged was looked for."""
    watched = _Watched(recorder, act, backup)
    found = []
    for seed, at_its_worst in enumerate((False, True), count):
        found += list(cuts_at_changes(watched.recording, count // 2, seed, watched.look, at_its_worst=at_its_worst))
    _told(found, act)
    assert [cut for cut in found if cut.lost] == []
    return sum(cut.acknowledged for cut in found)


@pytest.mark.parametrize("act", homes.ACTS)
def test_two_power_cuts_of_a_first_start_or_restore_leave_a_home_that_goes_on(
    recorder: Path, backup: Path, act: str
) -> None:
    _require_a_whole_home(recorder, backup, act, 2)


@pytest.mark.long
@pytest.mark.parametrize("act", homes.ACTS)
def test_eight_power_cuts_of_a_first_start_or_restore_leave_a_home_that_goes_on(
    recorder: Path, backup: Path, act: str
) -> None:
    assert _require_a_whole_home(recorder, backup, act, 8) > 0


@pytest.mark.campaign
@pytest.mark.parametrize("act", homes.ACTS)
def test_a_hundred_power_cuts_of_a_first_start_or_restore_leave_a_home_that_goes_on(
    recorder: Path, backup: Path, act: str
) -> None:
    assert _require_a_whole_home(recorder, backup, act, 100) > 0


# ── the checks themselves ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sync_that_is_missing_is_caught(recorder: Path, fault: str) -> None:
    found = cuts(record(recorder, 1, 120, fault), 20, 1, at_its_worst=True)
    assert any(cut.lost for cut in found)


@pytest.mark.parametrize("fault", homes.FAULTS)
def test_a_home_that_a_cut_spoils_is_caught(recorder: Path, backup: Path, fault: str) -> None:
    act, file, _ = homes.FAULTS[fault]
    watched = _Watched(recorder, act, backup, fault)
    moment = named(watched.recording, file) if file else len(watched.recording.events) - 1
    (cut,) = cuts_at(watched.recording, [moment], 1, watched.look, at_its_worst=True)
    assert cut.lost != []


def _played(tmp_path: Path, *events: Event) -> list[dict[str, bytes]]:
    """What forty cuts after these events leave."""
    disk = LossyDisk("/disk")
    for event in events:
        disk.after(event)
    left = []
    for seed in range(40):
        to = tmp_path / str(seed)
        to.mkdir()
        disk.lose(random.Random(seed), to)
        left.append({path.name: path.read_bytes() for path in to.rglob("*") if path.is_file()})
    return left


_CREATE = 0o100
_DIRECTORY = [Event("d", 9, 0, b"/disk", b""), Event("b", 9, 1, b"", b""), Event("e", 9, 1, b"", b"")]
_NEW = [Event("o", 8, _CREATE, b"/disk/a", b""), Event("w", 8, 0, b"A" * 1024, b"")]
_SYNCED = [Event("b", 8, 0, b"", b""), Event("e", 8, 0, b"", b"")]


def test_the_simulated_disk_keeps_what_was_synced(tmp_path: Path) -> None:
    assert _played(tmp_path, *_NEW, *_SYNCED, *_DIRECTORY) == [{"a": b"A" * 1024}] * 40


def test_the_simulated_disk_loses_a_name_whose_directory_was_not_synced(tmp_path: Path) -> None:
    left = _played(tmp_path, *_NEW, *_SYNCED)
    assert {} in left
    assert all(one in ({}, {"a": b"A" * 1024}) for one in left)


def test_the_simulated_disk_loses_any_sector_of_what_was_not_synced(tmp_path: Path) -> None:
    over = Event("w", 8, 256, b"B" * 512, b"")
    left = {one["a"] for one in _played(tmp_path, *_NEW, *_SYNCED, *_DIRECTORY, over, _SYNCED[0])}
    new, kept = b"B" * 256, b"A" * 256
    assert left == {b"A" * 256 + one + other + b"A" * 256 for one in (new, kept) for other in (new, kept)}


def test_the_simulated_disk_has_the_old_or_the_new_file_after_a_rename(tmp_path: Path) -> None:
    other = [Event("o", 7, _CREATE, b"/disk/b", b""), Event("w", 7, 0, b"B", b"")]
    synced = [Event("b", 7, 2, b"", b""), Event("e", 7, 2, b"", b"")]
    rename = Event("r", -1, 0, b"/disk/b", b"/disk/a")
    left = _played(tmp_path, *_NEW, *_SYNCED, *_DIRECTORY, *other, *synced, rename)
    assert {one["a"] for one in left} == {b"A" * 1024, b"B"}
