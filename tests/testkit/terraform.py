"""Terraform (or OpenTofu) in a working folder, with the AWS provider from a folder of the machine: nothing is fetched.

The provider is looked for where STRONGROOM_TERRAFORM_MIRROR says, where the command line's configuration names a
`filesystem_mirror`, and where Terraform looks by itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from testkit.clients import run

APPLY_S_MAX = 400.0
NOTHING_TO_DO = 0


def _mirrors() -> Iterator[Path]:
    """Folders that may hold providers, by the rules of Terraform's documentation ("Provider Installation")."""
    named = os.environ.get("STRONGROOM_TERRAFORM_MIRROR")
    if named:
        yield Path(named)
    configuration = Path(os.environ.get("TF_CLI_CONFIG_FILE", Path.home() / ".terraformrc"))
    if configuration.is_file():
        text = configuration.read_text(encoding="utf-8")
        yield from map(Path, re.findall(r'filesystem_mirror\s*\{[^}]*?path\s*=\s*"([^"]+)"', text))
    yield Path.home() / ".terraform.d" / "plugins"
    data_folders = os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(":")
    for data_folder in (Path.home() / ".local" / "share", *map(Path, data_folders)):
        yield data_folder / "terraform" / "plugins"
    # Machine images often bring one of their own.
    yield from sorted(Path("/opt").glob("*"))


def _mirror() -> Path | None:
    """A folder in which `<host>/hashicorp/aws` lies, unpacked or packed."""
    for folder in _mirrors():
        try:
            if any(folder.glob("*/hashicorp/aws/*")):
                return folder
        except OSError:
            continue
    return None


def require_terraform() -> tuple[str, Path]:
    """The program and the folder with its provider; skips where one of them is missing."""
    program = shutil.which("terraform") or shutil.which("tofu")
    if program is None:
        pytest.skip("neither terraform nor tofu is on this machine")
    mirror = _mirror()
    if mirror is None:
        pytest.skip(
            "no folder with the provider hashicorp/aws is on this machine (STRONGROOM_TERRAFORM_MIRROR names one)"
        )
    return program, mirror


class Terraform:
    """One working folder with its configuration and its state."""

    def __init__(self, program: str, mirror: Path, environment: Mapping[str, str], folder: Path) -> None:
        self._program = program
        self._folder = folder
        quiet = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "TF_CLI_CONFIG_FILE": ""}
        self._environment = {**environment, **quiet}
        self("init", f"-plugin-dir={mirror}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = (self._program, *arguments[:1], "-no-color", *arguments[1:])
        return run(*command, environment=self._environment, folder=self._folder, within_s=APPLY_S_MAX)

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def require_nothing_to_do(self, *options: str) -> None:
        """`plan -detailed-exitcode` is 0 for no changes, 1 for an error, 2 for changes."""
        done = self.run("plan", "-detailed-exitcode", *options)
        assert done.returncode == NOTHING_TO_DO, done.stdout + done.stderr

    def outputs(self) -> dict[str, Any]:
        return {name: output["value"] for name, output in json.loads(self("output", "-json")).items()}
