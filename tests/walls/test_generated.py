"""What is generated from the code, and what repeats numbers of it, is what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from strongroom.kms.keys import lifecycle
from strongroom.kms.limits import Limits
from strongroom.kms.repositories import KeyState

ROOT = Path(__file__).parents[2]
KEY_STATES = (ROOT / "docs" / "key-states.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("script", ["generate_key_states.py", "generate_iam_actions.py"])
def test_what_a_script_writes_is_what_stands_there(script: str) -> None:
    asked = [sys.executable, ROOT / "scripts" / script, "--check"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_document_of_key_states_has_every_operation_state_and_refusal() -> None:
    rows = [line.strip("| ").split(" | ") for line in KEY_STATES.splitlines() if line.startswith("| ")]
    head, *operations = rows
    assert head[1:] == [state.value for state in KeyState]
    assert [row[0] for row in operations] == list(lifecycle.STATE_TABLE)
    notes = dict(re.findall(r"^(\d+)\. `(\w+): <key ARN> [^`]+`$", KEY_STATES, re.MULTILINE))
    for operation, *cells in operations:
        for state, cell in zip(KeyState, cells, strict=True):
            outcome = lifecycle.STATE_TABLE[operation][state]
            if outcome is lifecycle.Outcome.OK:
                assert cell == "ok"
            else:
                name, number = re.fullmatch(r"(\w+) \[(\d+)\]", cell).groups()  # type: ignore[union-attr]
                assert name == notes[number] == outcome.value[0].__name__


def test_the_document_of_limits_has_every_limit_and_its_default() -> None:
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    shown = {
        name: int(default.replace(",", ""))
        for name, default in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text, re.MULTILINE)
    }
    assert shown == msgspec.to_builtins(Limits())
