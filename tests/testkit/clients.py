"""What the tests of real clients share: the environment that points a client here, and clients that pip does not bring.

A client is never part of the repository. One that is not on the machine is skipped with the reason.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from testkit.installation import REGION

CLIENTS = Path(__file__).parents[1] / "clients"
_INSTALL_S_MAX = 240


def client_environment(port: int, home: Path) -> dict[str, str]:
    """What docs/clients.md tells a user to export, and a home that holds nobody's configuration."""
    return {
        **os.environ,
        "HOME": str(home),
        "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{port}",
        "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{port}",
        "AWS_ENDPOINT_URL_IAM": f"http://127.0.0.1:{port}",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def run(
    *command: str | Path, environment: Mapping[str, str], folder: Path, within_s: float = 240.0
) -> subprocess.CompletedProcess[str]:
    """Run a client; what it says is for the caller to judge."""
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=folder, timeout=within_s
    )


def program_beside_python(name: str) -> Path:
    """A program that pip installed with the tests' requirements; skips where it is not."""
    program = Path(sys.executable).parent / name
    if not program.exists():
        pytest.skip(f"{name} is not installed (`make test-long` installs it)")
    return program


def node_modules() -> Path:
    """The JavaScript SDK as its lock file pins it, installed once per lock file beside the tests' Python packages."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not on this machine")
    manifests = [CLIENTS / "js" / name for name in ("package.json", "package-lock.json")]
    pinned = hashlib.sha256(b"".join(path.read_bytes() for path in manifests)).hexdigest()[:16]
    place = Path(sys.prefix) / "javascript-clients" / pinned
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two test processes must not install at the same time.
        if not (place / "installed").exists():
            _install(Path(npm), manifests, place)
    return place / "node_modules"


def _install(npm: Path, manifests: list[Path], place: Path) -> None:
    for path in manifests:
        shutil.copy(path, place)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = run(*command, environment=os.environ, folder=place, within_s=_INSTALL_S_MAX)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install the JavaScript SDK within {_INSTALL_S_MAX} s")
    if done.returncode != 0:
        # A package that is not what the lock file pins is a failure; a registry that is not there is a circumstance.
        assert "EINTEGRITY" not in done.stderr, done.stderr
        pytest.skip(f"npm could not install the JavaScript SDK: {done.stderr.strip()[-200:]}")
    (place / "installed").touch()
