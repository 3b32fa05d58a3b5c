"""What `deploy/` says agrees with the product: files that are copied exist, commands and users are the product's own.

No image is built here: that takes an engine. `tests/worlds/test_service_manager.py` runs the product with what the
systemd unit leaves it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from strongroom.supervisor import users
from testkit.installation import Installation

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) with continued lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "docker" / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def only(name: str) -> str:
    (rest,) = [rest for word, rest in instructions() if word == name]
    return rest


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text()))


def test_every_file_that_the_image_takes_from_the_repository_is_there() -> None:
    copied = [rest for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    sources = [source for rest in copied for source in rest.split()[:-1]]
    assert {"requirements.lock", "pyproject.toml", "src"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_image_has_what_the_package_is_built_from(tmp_path: Path) -> None:
    """As the image's second step does it, without what lies beside in the repository."""
    copied = [rest for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    for source in [source for rest in copied[:3] for source in rest.split()[:-1]]:
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / source, tmp_path / source, ignore=ignored)
        else:
            shutil.copy(ROOT / source, tmp_path / source)
    built = subprocess.run(
        [*(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"), "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert built.returncode == 0, built.stderr
    assert len(list(tmp_path.glob("strongroom-*.whl"))) == 1


def test_the_image_runs_as_nobody_special_and_says_how_it_is() -> None:
    assert only("USER") == "58100:58100"
    health = only("HEALTHCHECK")
    command = json.loads(health[health.index("CMD") + 3 :])
    assert command[-1] == "/opt/strongroom/healthcheck.py"
    assert json.loads(only("ENTRYPOINT")) == ["/opt/strongroom/bin/strongroom"]


def test_the_users_of_image_and_unit_are_those_that_the_supervisor_looks_for() -> None:
    shown = dict(re.findall(r"useradd --uid (\d+) .*? (strongroom-\w+) ", only_run()))
    assert {(name, int(number)) for number, name in shown.items()} == set(users._ACCOUNTS)
    made = re.findall(r"^u (\S+) ", (DEPLOY / "systemd" / "strongroom.sysusers").read_text(), re.MULTILINE)
    assert made == [name for name, _ in users._ACCOUNTS]


def only_run() -> str:
    (rest,) = [rest for word, rest in instructions() if word == "RUN" and "useradd" in rest]
    return rest


def test_the_images_command_is_understood_and_wants_its_certificate(tmp_path: Path) -> None:
    arguments = json.loads(only("CMD"))
    arguments[arguments.index("/var/lib/strongroom")] = str(tmp_path / "home")
    idle = Installation()
    try:
        done = idle.cli_program()(*arguments)
    finally:
        idle.destroy()
    assert done.returncode == 1
    assert "/run/secrets/strongroom-tls-cert and /run/secrets/strongroom-tls-key cannot be used for TLS" in done.stderr


def test_the_composition_limits_what_keys_need_limited() -> None:
    (service,) = compose()["services"].values()
    assert service["ulimits"] == {"core": 0, "memlock": -1, "nofile": 65536}
    assert service["mem_limit"] == service["memswap_limit"]
    assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
    assert service["security_opt"] == ["no-new-privileges:true"]
    build = service["build"]
    assert (DEPLOY / "docker" / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()
    assert set(service["secrets"]) == set(compose()["secrets"])


def test_the_two_ways_to_two_users_need_the_same_capabilities() -> None:
    unit = (DEPLOY / "systemd" / "strongroom.service").read_text()
    (line,) = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)
    added = yaml.safe_load((DEPLOY / "docker" / "two-users.yaml").read_text())
    # It changes the service of the composition, and nothing of what limits it.
    assert set(added) == {"services"}
    assert added["services"].keys() == compose()["services"].keys()
    (service,) = added["services"].values()
    assert (service.keys(), service["user"]) == ({"user", "cap_add"}, "0:0")
    assert [f"CAP_{name}" for name in service["cap_add"]] == line.split()
    assert "cap_add" not in (DEPLOY / "docker" / "compose.yaml").read_text()


def test_systemd_understands_the_unit() -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze")
    done = subprocess.run(
        [program, "verify", str(DEPLOY / "systemd" / "strongroom.service")],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    # The program is installed nowhere here; nothing else may be said.
    said = [line for line in (done.stdout + done.stderr).splitlines() if "is not executable" not in line]
    assert said == []


def test_the_health_check_tells_a_service_that_is_ready_from_none(installation: Installation) -> None:
    script = DEPLOY / "docker" / "healthcheck.py"

    def status(port: int) -> int:
        done = subprocess.run([sys.executable, "-I", script, str(port)], check=False, timeout=120, capture_output=True)
        return done.returncode

    assert status(installation.port) == 0
    assert status(1) == 1
