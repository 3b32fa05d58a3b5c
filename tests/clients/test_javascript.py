"""The AWS SDK for JavaScript v3: `js/lifecycle.test.mjs`, run by Node's own test runner."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testkit.clients import CLIENTS, client_environment, node_modules, run
from testkit.installation import Installation

SUITE = CLIENTS / "js" / "lifecycle.test.mjs"


@pytest.fixture(scope="module")
def modules() -> Path:
    return node_modules()


def run_suite(suite: Path, modules: Path, installation: Installation, folder: Path) -> tuple[str, dict[str, int]]:
    """What Node printed, and its counts."""
    copy = folder / "suite.test.mjs"
    copy.write_bytes(suite.read_bytes())
    (folder / "node_modules").symlink_to(modules)
    environment = client_environment(installation.port, folder)
    done = run("node", "--test", "--test-reporter=tap", copy, environment=environment, folder=folder)
    counts = {
        name: int(count)
        for name, count in re.findall(r"^# (tests|pass|fail|skipped) (\d+)$", done.stdout, re.MULTILINE)
    }
    assert (done.returncode == 0) == (counts.get("fail") == 0), done.stdout + done.stderr
    return done.stdout, counts


def test_the_javascript_sdk_lives_a_keys_whole_life(modules: Path, installation: Installation, tmp_path: Path) -> None:
    output, counts = run_suite(SUITE, modules, installation, tmp_path)
    expected = len(re.findall(r"^test\(", SUITE.read_text(encoding="utf-8"), re.MULTILINE))
    assert expected >= 10
    assert counts == {"tests": expected, "pass": expected, "fail": 0, "skipped": 0}, output


def test_a_suite_that_fails_is_seen_to_fail(modules: Path, installation: Installation, tmp_path: Path) -> None:
    planted = tmp_path / "planted.mjs"
    planted.write_text(
        SUITE.read_text(encoding="utf-8").replace('"is disabled."', "").replace("PendingDeletion", "Gone")
    )
    folder = tmp_path / "run"
    folder.mkdir()
    output, counts = run_suite(planted, modules, installation, folder)
    assert counts["fail"] == 1
    assert "not ok" in output
