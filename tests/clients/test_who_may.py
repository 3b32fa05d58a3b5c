"""docs/who-may.md, as a stranger follows it: every command in one shell, and what each prints."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from testkit.clients import run
from testkit.installation import Installation

DOCUMENT = Path(__file__).parents[2] / "docs" / "who-may.md"
PORT = 4599
_END = "end of a step"


def steps() -> list[tuple[str, str]]:
    """Each command with what it prints; nothing where the page shows nothing."""
    blocks = re.findall(r"^```(sh|text)\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    found: list[tuple[str, str]] = []
    for language, text in blocks:
        if language == "sh":
            found.append((text, ""))
        else:
            found[-1] = (found[-1][0], text)
    return found


def pattern_of(shown: str) -> str:
    return ".*".join(map(re.escape, shown.strip().split("…")))


def test_every_command_of_the_page_prints_what_the_page_shows(tmp_path: Path) -> None:
    """A home of its own: the page makes an account with a number, and asks for the newest refusal."""
    running = Installation()
    try:
        running.start()
        (tmp_path / ".strongroom-dev").symlink_to(running.home)
        script = "".join(f"{command}\necho '{_END}'\n" for command, _ in steps())
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "HOME": str(tmp_path), "PATH": path, "AWS_PAGER": ""}
        words = ("bash", "-euo", "pipefail", "-c", f"exec 2>&1\n{script.replace(f':{PORT}', f':{running.port}')}")
        done = run(*words, environment=environment, folder=tmp_path)
        printed = done.stdout.split(f"{_END}\n")
        for (command, shown), told in zip(steps(), printed, strict=False):
            assert re.fullmatch(pattern_of(shown), told.strip(), re.DOTALL), f"{command}\n{told}\n{done.stderr}"
        assert len(printed) == len(steps()) + 1, done.stdout
    finally:
        running.destroy()
