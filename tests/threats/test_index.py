"""`docs/threats.md` is the index of the 28 classes: every class has its row, and every test that a row names is run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLASSES = 28
# A test, or a whole file of them.
_NAMED = re.compile(r"`(tests/[\w/]+/test_\w+\.py)(?:::(test_\w+))?`")


def rows() -> dict[int, str]:
    """The column of tests of each class."""
    text = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8").partition("\n## ")[0]
    cells = [line.strip("|").split(" | ") for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert {len(row) for row in cells} == {4}
    return {int(number): tests for number, _, _, tests in cells}


def collected(files: set[str]) -> set[tuple[str, str]]:
    """(file, test) of everything that pytest would run of these files, whatever its parameters."""
    asked = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--no-header", "-p", "no:xdist", *sorted(files)]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:]
    found = set(re.findall(r"^(tests/\S+\.py)::(test_\w+)", done.stdout, re.MULTILINE))
    for file in files - {file for file, _ in found}:
        # Where the vectors from outside are not, their tests are left out as a whole; they are there all the same.
        text = (ROOT / file).read_text(encoding="utf-8")
        assert "allow_module_level=True" in text, f"{file} has no test"
        found |= {(file, name) for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    return found


def test_every_class_has_its_row_in_order() -> None:
    assert list(rows()) == list(range(1, CLASSES + 1))


def test_every_test_that_the_index_names_is_collected() -> None:
    named = {number: _NAMED.findall(tests) for number, tests in rows().items()}
    assert [number for number, tests in named.items() if not tests] == []
    # Nothing else stands in the column: a name that was spelled wrongly would else be no name.
    assert [number for number, tests in rows().items() if _NAMED.sub("", tests).strip()] == []
    run = collected({file for tests in named.values() for file, _ in tests})
    missing = [
        (number, file, test)
        for number, tests in named.items()
        for file, test in tests
        if (file, test) not in run and (test or file not in {found for found, _ in run})
    ]
    assert missing == []


def test_every_test_of_this_room_is_in_the_index() -> None:
    """But for those that hold a test of the room itself to account, and tables."""
    here = Path(__file__).parent
    files = {f"tests/threats/{path.name}" for path in here.glob("test_*.py")} - {"tests/threats/test_index.py"}
    named = {file for tests in rows().values() for file, _ in _NAMED.findall(tests)}
    assert files <= named
