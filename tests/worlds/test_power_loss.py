"""Power cuts of a whole installation under load lose nothing that was acknowledged: see `worlds/power_cuts.py`.

Takes root and loop devices; where these are missing, the simulated disk of `test_lossy_disk.py` is what there is.

How the check was seen to fail: `test_what_does_not_wait_for_the_disk_is_caught` plants a commit, a backup and a restore
that do not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Of its own: mounts, which nobody else sees, and processes, which all end with it.
ALONE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
CYCLE_S_MAX = 240


def _why_not() -> str:
    """Why the power of an installation cannot be cut here; empty if it can."""
    if os.geteuid() != 0:
        return "only root can mount a disk"
    missing = [tool for tool in ("mkfs.ext4", "unshare", "findmnt", "cp") if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)}"
    if not Path("/dev/loop-control").exists():
        return "no loop devices"
    tried = subprocess.run([*ALONE, "true"], check=False, capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"no namespaces: {tried.stderr.strip()}"


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    reason = _why_not()
    if reason:
        pytest.skip(f"no power of an installation was cut: {reason}")


def _cut(cycles: int, seed: int, *options: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "worlds.power_cuts", str(cycles), str(seed), *options],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        timeout=(cycles + 3) * CYCLE_S_MAX,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    reports: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    for report in reports:
        starts = sorted(report["starts_s"])
        print(
            f"{report['births']} first starts, {report['restores']} restores and {report['cuts']} loads cut off "
            f"(seed {seed}), {report['backups']} backups whole: "
            f"{report['acknowledged']} acknowledged, {report['ciphertexts']} ciphertexts, {len(report['lost'])} lost; "
            f"{report['audit_records']} audit records; "
            f"starts {starts[len(starts) // 2]:.2f} s (median), {starts[-1]:.2f} s (longest)"
        )
    return reports


def _require_nothing_lost(cycles: int, births: int, seed: int) -> None:
    reports = _cut(cycles, seed, "--births", str(births))
    assert [report["lost"] for report in reports] == [[]] * births
    assert [report["restores"] for report in reports] == [1] * births
    assert reports[-1]["backups"] > 0
    assert reports[-1]["cuts"] == cycles
    assert reports[-1]["acknowledged"] > cycles


@pytest.mark.long
def test_six_power_cuts_of_an_installation_lose_nothing_that_was_acknowledged() -> None:
    _require_nothing_lost(6, births=2, seed=1)


@pytest.mark.campaign
def test_two_hundred_power_cuts_of_an_installation_lose_nothing_that_was_acknowledged() -> None:
    _require_nothing_lost(200, births=20, seed=2)


@pytest.mark.long
@pytest.mark.parametrize("fault", ["synchronous-normal", "backup-not-synced", "restored-files-not-synced"])
def test_what_does_not_wait_for_the_disk_is_caught(fault: str) -> None:
    # Most cuts lose something; a checkpoint a moment before would have saved it. The first loss ends the run.
    reports = _cut(10, 3, "--fault", fault)
    assert reports[-1]["lost"] != []
