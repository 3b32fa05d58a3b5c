"""What must never be in the repository, and what must."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_lock_files_hold_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-test.lock", "requirements-clients.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        pins = re.findall(r"^[a-z0-9._-]+==\S+", text, re.MULTILINE | re.IGNORECASE)
        assert pins
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in text


def test_the_lock_file_of_the_javascript_client_holds_hashes_and_no_addresses() -> None:
    text = (ROOT / "tests" / "clients" / "js" / "package-lock.json").read_text(encoding="utf-8")
    packages = [entry for name, entry in json.loads(text)["packages"].items() if name]
    assert packages
    assert [entry for entry in packages if not entry["integrity"].startswith("sha512-")] == []
    assert "://" not in text


def test_no_file_names_a_registry_or_a_path_of_some_machine() -> None:
    forbidden = re.compile(
        r"files\.python" + r"hosted|pypi\.or" + r"g/|registry\.npmj" + r"s|deb\.debia" + r"n|"
        r"(?<![A-Za-z.\w])/(?:wor" + r"k|ro" + r"ot|hom" + r"e)/[a-z]"
    )
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in forbidden.finditer(text)]
    assert found == []


def test_the_shapes_are_what_the_script_generates() -> None:
    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .venv")
    subprocess.run([python, "scripts/generate_shapes.py", "--check"], cwd=ROOT, check=True, capture_output=True)


def test_continuous_integration_runs_both_suites_and_fails_with_them() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "set -euo pipefail" in script
    assert "make test\n" in script
    assert "make test-long" in script
