"""Every parser that reads what somebody else wrote, fuzzed: guided by coverage where atheris runs, and blindly everywhere.

What was found once is among the seeds of its case, which every run begins with.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from random import Random

import pytest

from hostile import engine
from hostile.case import Watch, mutated
from hostile.planted_faults import FAULTS

TESTS = Path(__file__).parents[1]
CASES = sorted(engine.cases())
BLIND_INPUTS = 200
# Of each case: 22,800 inputs in all.
INPUTS = 1_200
LONG_S = 10
CAMPAIGN_S = int(os.environ.get("STRONGROOM_FUZZ_SECONDS", "3600"))
# What campaigns found stays there, and the next one begins with it.
KEPT = TESTS.parent / "build" / "fuzz"
# Far more than any planted fault takes.
PLANTED_INPUTS = 60_000

guided = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris has no wheel for this machine: nothing guides the fuzzing",
)


def run_engine(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, whose hashes are the same each time."""
    return subprocess.run(
        [sys.executable, "-m", "hostile.engine", "--folder", str(folder), *options],
        cwd=TESTS,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", CASES)
def test_a_parser_refuses_as_documented_whatever_blind_changes_do(name: str) -> None:
    watch = Watch(engine.cases()[name]())
    random = Random(zlib.crc32(name.encode()))
    for _ in range(BLIND_INPUTS):
        watch(mutated(random, watch.case.seeds, watch.case.bytes_max))


@guided
def test_no_parser_is_broken_by_what_coverage_leads_to(tmp_path: Path) -> None:
    done = run_engine(tmp_path, "--runs", str(INPUTS), "--jobs", "2")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert done.stdout.count(f"{INPUTS} inputs") == len(CASES), done.stdout


def test_a_report_tells_what_the_last_third_of_the_inputs_reached() -> None:
    log = "".join(
        f"#{number}\tNEW    cov: {edges} ft: {features} corp: {corpus}/9b exec/s: 0 rss: 60Mb\n"
        for number, edges, features, corpus in ((2, 5, 7, 1), (60, 6, 9, 2), (70, 8, 12, 3))
    )
    said = "8 edges, {} features ({} and {} of them in the last third), a corpus of 3"
    assert engine._grown(log, 90) == ", " + said.format(12, 2, 3)
    assert engine._grown(log, 105) == ", " + said.format(12, 0, 0)
    assert engine._grown("", 90) == ""


@guided
def test_a_check_that_a_parser_forgets_is_found(tmp_path: Path) -> None:
    assert sorted(FAULTS) == CASES
    done = run_engine(tmp_path, "--runs", str(PLANTED_INPUTS), "--jobs", "2", "--planted")
    missed = [name for name in CASES if not re.search(rf"^{name}: FOUND something in [1-9]", done.stdout, re.MULTILINE)]
    assert missed == [], done.stdout + done.stderr
    # What was found is kept, and does it again.
    again = run_engine(tmp_path, "--planted", "--replay", str(tmp_path / "frames" / "finding"), "frames")
    assert "FindingError" in again.stderr, again.stdout + again.stderr


@guided
@pytest.mark.long
def test_no_parser_is_broken_by_ten_seconds_each(tmp_path: Path) -> None:
    done = run_engine(tmp_path, "--seconds", str(LONG_S), "--jobs", "2")
    print(done.stdout)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


@guided
@pytest.mark.campaign
@pytest.mark.parametrize("name", CASES)
def test_no_parser_is_broken_by_an_hour_each(name: str) -> None:
    done = run_engine(KEPT, "--seconds", str(CAMPAIGN_S), "--seed", "0", name)
    print(done.stdout)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
