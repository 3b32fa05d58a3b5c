"""Whoever exhausts connections, answers, bodies, headers, files, disk, clock or HSM stops nobody for longer than it lasts.

Each trouble is brought to two workers under an honest load (`worlds/enduring.py`). How the checks were seen to fail:
`test_a_service_without_its_bounds_is_caught` takes one bound after the other out of a copy of the product.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from testkit.installation import REGION, START_S_MAX, Installation
from testkit.planting import plant
from worlds import troubles
from worlds.enduring import Trouble, endure, prepare

PATIENCE_S = 3 * START_S_MAX
REGIONS = (REGION, "eu-west-1", "ap-southeast-2")


class Fault(NamedTuple):
    """A bound taken out: where, what it says, what it says then, and what is found."""

    module: str
    right: str
    wrong: str
    finding: str
    # Of whoever waits for what the fault prevents; and always as long as some hundred calls take here and now.
    patience_s: float = 10.0


@contextmanager
def _ordinary(fault: Fault | None = None, *options: str, python: str = sys.executable) -> Iterator[Installation]:
    installation = prepare(*options, python=python)
    try:
        if fault is not None:
            plant(installation, fault.module, fault.right, fault.wrong)
        yield installation
    finally:
        installation.destroy()


@contextmanager
def _three_regions(fault: Fault | None = None) -> Iterator[Installation]:
    with _ordinary(fault, *(word for region in REGIONS for word in ("--region", region))) as installation:
        yield installation


@contextmanager
def _with_a_clock(fault: Fault | None = None) -> Iterator[Installation]:
    with _ordinary(fault) as installation:
        troubles.with_a_clock_of_its_own(installation)
        yield installation


@contextmanager
def _short_of_files(fault: Fault | None = None) -> Iterator[Installation]:
    """Each process may have 400 files open, and connections are 144 of them at the most."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "python"
        python.write_text(f'#!/bin/sh\nulimit -n 400\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        with _ordinary(fault, "--audit-segment-bytes", "65536", python=str(python)) as installation:
            yield installation


Place = Callable[..., AbstractContextManager[Installation]]


class Case(NamedTuple):
    """Where a trouble is brought to, and in which size: in the long suite, and in a campaign."""

    place: Place
    long: Trouble
    full: Trouble


CASES = {
    "idle and slow connections": Case(
        _ordinary,
        troubles.idle_and_slow(1000, 50, median_slower_max=10.0),
        troubles.idle_and_slow(5000, 200, wait_for_idle=True, median_slower_max=2.0, slower_max=2.0),
    ),
    "answers that nobody reads": Case(
        _ordinary,
        troubles.answers_never_read(40, 30),
        # Of each connection, sixteen answers and what its buffer holds.
        troubles.answers_never_read(500, 30, wait_for_end=True, memory_mib_max=160),
    ),
    "more connections than files": Case(
        _short_of_files, troubles.more_connections_than_files(1000), troubles.more_connections_than_files(5000)
    ),
    "huge bodies": Case(_ordinary, troubles.huge_bodies(8, 500), troubles.huge_bodies(32, 5000, to_the_end=True)),
    "JSON bombs": Case(_ordinary, troubles.json_bombs(3), troubles.json_bombs(150)),
    "header floods": Case(_ordinary, troubles.header_floods(100), troubles.header_floods(5000)),
    "the home region's HSM, of three, that stands still": Case(
        _three_regions,
        troubles.hsm_stands_still(8, 64, median_slower_max=10.0),
        troubles.hsm_stands_still(60, 500, median_slower_max=2.0, slower_max=2.0),
    ),
    "another region's HSM, of three, that stands still": Case(
        _three_regions,
        troubles.hsm_stands_still(6, 64, REGIONS[1], median_slower_max=10.0),
        troubles.hsm_stands_still(60, 200, REGIONS[1], median_slower_max=2.0, slower_max=2.0),
    ),
    "a clock that jumps": Case(
        _with_a_clock, troubles.clock_jumps(3, -6, 203), troubles.clock_jumps(*[3, -6, 203, -400, 1, 1, -24] * 4)
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_a_trouble_is_endured_and_over_when_it_ends(case: str) -> None:
    with CASES[case].place() as installation:
        endure(installation, CASES[case].long)


@pytest.mark.campaign
@pytest.mark.parametrize("case", CASES)
def test_a_great_trouble_is_endured_and_over_when_it_ends(case: str) -> None:
    with CASES[case].place() as installation:
        endure(installation, CASES[case].full, patience_s=PATIENCE_S)


# ── a disk of its own ───────────────────────────────────────────────────────────────────────────────────────────────────


def _on_a_small_disk(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a mount namespace of its own, which takes the disk along."""
    alone = ["unshare", "--mount"]
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no mount namespace of our own to be had")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [*alone, sys.executable, "-m", "worlds.full_disk", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    print(done.stdout)
    return done


@pytest.mark.long
@pytest.mark.parametrize("what", ["all", "store"])
def test_a_full_disk_is_endured_and_over_when_there_is_room(what: str) -> None:
    done = _on_a_small_disk(what, "2")
    assert done.returncode == 0, done.stderr


@pytest.mark.campaign
@pytest.mark.parametrize("what", ["all", "store"])
def test_a_disk_that_is_full_again_and_again_is_endured(what: str) -> None:
    done = _on_a_small_disk(what, "20")
    assert done.returncode == 0, done.stderr


# ── the check itself ────────────────────────────────────────────────────────────────────────────────────────────────────


FAULTS: dict[str, tuple[Place, Trouble, Fault]] = {
    "requests may take for ever": (
        _ordinary,
        troubles.idle_and_slow(10, 5),
        Fault("kms/wire/http.py", "REQUEST_S_MAX: Final = 20.0", "REQUEST_S_MAX: Final = 2e9", "never whole", 30.0),
    ),
    "connections take every file": (
        _short_of_files,
        troubles.more_connections_than_files(1000),
        Fault("kms/process.py", "DESCRIPTORS_KEPT: Final = 256", "DESCRIPTORS_KEPT: Final = 0", "success"),
    ),
    "bodies have no bound": (
        _ordinary,
        troubles.huge_bodies(1, 1),
        Fault(
            "kms/wire/http.py", "BODY_BYTES_MAX: Final = 512 * 1024", "BODY_BYTES_MAX: Final = 1 << 40", "waited for"
        ),
    ),
    "what all hold has no bound": (
        _ordinary,
        troubles.huge_bodies(1, 1000),
        Fault(
            "kms/wire/http.py",
            "HELD_BYTES_MAX: Final = 64 *",
            "HELD_BYTES_MAX: Final = 64_000 *",
            "more than 160",
            120.0,
        ),
    ),
    "requests are kept": (
        _ordinary,
        troubles.json_bombs(12),
        Fault(
            "kms/wire/http.py",
            "        self._edge.submit(self, request)\n",
            "        self._edge.submit(self, request)\n        self._edge.__dict__.setdefault('all', []).append(request)\n",
            "more than 64",
            START_S_MAX,
        ),
    ),
    "headers have no bound": (
        _ordinary,
        troubles.header_floods(4),
        Fault(
            "kms/wire/http.py",
            "HEADER_BYTES_MAX: Final = 32 *",
            "HEADER_BYTES_MAX: Final = 32_000_000 *",
            "flood|waited",
        ),
    ),
    "a call waits for the HSM as long as it likes": (
        _ordinary,
        troubles.hsm_stands_still(1, 1),
        Fault(
            *("kms/hsm_link/link.py", "ANSWER_S_MAX: Final = 4.75", "ANSWER_S_MAX: Final = 5e9"),
            *("is never refused", 12.0),
        ),
    ),
    "a refusal takes longer than is said": (
        _ordinary,
        troubles.hsm_stands_still(1, 1),
        Fault("kms/hsm_link/link.py", "ANSWER_S_MAX: Final = 4.75", "ANSWER_S_MAX: Final = 6.5", r"after \d+\.", 60.0),
    ),
    "answers are held after a silence": (
        _ordinary,
        troubles.hsm_stands_still(1, 16),
        Fault(
            "kms/hsm_link/link.py",
            "        self._is_silent = False\n        # One frame",
            "        if self._is_silent:\n            time.sleep(4.0)\n        self._is_silent = False\n        # One frame",
            "still waiting",
            60.0,
        ),
    ),
    "nobody is known for long": (
        _three_regions,
        troubles.hsm_stands_still(1, 16),
        Fault(
            "kms/keys/directory.py",
            "        return self._principals.get(access_key_id)\n",
            "        return None\n",
            "refused with what is not said",
            60.0,
        ),
    ),
    "silent connections are dropped": (
        _ordinary,
        troubles.idle_and_slow(100, 5),
        Fault(
            "kms/wire/http.py", "IDLE_S_MAX: Final = 75.0", "IDLE_S_MAX: Final = 2.0", "connections were dropped", 60.0
        ),
    ),
    "who does not read is read": (
        _ordinary,
        troubles.answers_never_read(40, 30),
        Fault(
            "kms/wire/http.py",
            "        if self._transport is not None and not self._transport.is_closing():\n"
            "            self._transport.pause_reading()\n\n",
            "        pass\n\n",
            "more than 48",
            START_S_MAX,
        ),
    ),
    "connections make everybody slow": (
        _ordinary,
        troubles.idle_and_slow(2000, 5, median_slower_max=2.0),
        Fault(
            "kms/wire/http.py",
            "        self._edge.submit(self, request)\n",
            "        time.sleep(len(self._edge.connections) * 1e-5)\n        self._edge.submit(self, request)\n",
            "times as long",
            60.0,
        ),
    ),
    "a region waits for another's HSM": (
        _three_regions,
        troubles.hsm_stands_still(6, 64, REGIONS[1], slower_max=2.0),
        Fault(
            "kms/hsm_link/link.py",
            "        channel = self._active\n        while",
            "        channel = self._active\n"
            "        if self._waiting and self._waiting[0].deadline - time.monotonic() < ANSWER_S_MAX - 0.5:\n"
            "            time.sleep(0.2)\n        while",
            "times as long",
            60.0,
        ),
    ),
    "sessions begin by another clock": (
        _with_a_clock,
        troubles.clock_jumps(20),
        Fault(
            "kms/identities/sts/issuing.py",
            "issued_at_s = int(service.clock())",
            'issued_at_s = int(__import__("time").clock_gettime(0))',
            "20 hours off",
        ),
    ),
    "nobody minds the clock": (
        _with_a_clock,
        troubles.clock_jumps(200),
        Fault("kms/chores/clock_guard.py", "JUMP_S: Final = 86_400.0", "JUMP_S: Final = 1e12", "held", 10),
    ),
}


# The others need longer to be found, and are found in a campaign.
FAULTS_LONG = [
    "connections take every file",
    "what all hold has no bound",
    "requests are kept",
    "nobody minds the clock",
]


def _require_caught(fault: str) -> None:
    place, trouble, planted = FAULTS[fault]
    with place(planted) as installation, pytest.raises(AssertionError, match=planted.finding):
        endure(installation, trouble, patience_s=planted.patience_s)


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS_LONG)
def test_a_service_without_its_bounds_is_caught(fault: str) -> None:
    _require_caught(fault)


@pytest.mark.campaign
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in FAULTS_LONG])
def test_a_service_without_another_of_its_bounds_is_caught(fault: str) -> None:
    _require_caught(fault)


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "fault", "finding"),
    [
        ("all", "a sink that failed is not tried again", "does not serve again"),
        ("all", "the reserve is never used", "calls that end with success"),
        ("store", "a commit that failed is acknowledged", "end with KMSInternalException|refuses nobody"),
    ],
)
def test_a_service_that_does_not_stand_a_full_disk_is_caught(what: str, fault: str, finding: str) -> None:
    done = _on_a_small_disk(what, "2", fault)
    assert done.returncode == 1
    assert re.search(finding, done.stderr), done.stderr
