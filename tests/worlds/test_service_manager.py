"""Under a service manager: what it is told, and that the product runs with what the systemd unit leaves it."""

from __future__ import annotations

import configparser
import ctypes
import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.installation import Installation
from worlds.test_two_users import HSM_UID, KMS_UID, SYSTEM_PYTHON, _reach, _uids, _why_not

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "strongroom.service"
SETPRIV = Path("/usr/bin/setpriv")
# The user of deploy/docker/Dockerfile.
IMAGE_UID = 58_100


class Manager:
    """Listens as systemd does."""

    def __init__(self, address: str | bytes) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)

    def next(self, within_s: float) -> str:
        self._socket.settimeout(within_s)
        try:
            return self._socket.recv(4096).decode()
        except TimeoutError:
            return ""

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("kind", ["a path", "an abstract name"])
def test_the_manager_is_told_when_everything_serves_and_when_it_stops(kind: str) -> None:
    running = Installation("--workers", "2")
    abstract = f"strongroom-test-{os.getpid()}"
    path = str(running.root / "notify")
    manager = Manager(path if kind == "a path" else f"\0{abstract}")
    running.environment["NOTIFY_SOCKET"] = path if kind == "a path" else f"@{abstract}"
    try:
        running.start()
        assert manager.next(20) == "READY=1"
        assert running.is_ready()
        assert running.kms().generate_random(NumberOfBytes=8)["Plaintext"]
        assert manager.next(0.3) == ""
        running.stop()
        assert manager.next(1) == "STOPPING=1"
    finally:
        manager.close()
        running.destroy()


def test_a_manager_that_is_not_there_stops_nobody() -> None:
    running = Installation()
    running.environment["NOTIFY_SOCKET"] = str(running.root / "nobody")
    try:
        running.start()
        assert running.is_ready()
    finally:
        running.destroy()


# ── the unit ────────────────────────────────────────────────────────────────────────────────────────────────────────


def unit() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign] -- names are spelled in capitals and small letters.
    parser.read_string(UNIT.read_text())
    return dict(parser["Service"])


def test_the_unit_asks_for_what_keys_need() -> None:
    service = unit()
    wanted = {"Type": "notify", "LimitCORE": "0", "LimitMEMLOCK": "infinity", "MemorySwapMax": "0"}
    assert {name: service.get(name) for name in wanted} == wanted


def test_the_unit_starts_a_command_that_exists() -> None:
    """Its own words, but for where things lie; the start is refused only for the home, which would lie below a file."""
    program, *arguments = shlex.split(unit()["ExecStart"])
    assert program == "/opt/strongroom/bin/strongroom"
    idle = Installation()
    idle.output.write_text("")
    arguments[arguments.index("/var/lib/strongroom")] = str(idle.output / "home")
    try:
        done = idle.cli_program()(*arguments)
    finally:
        idle.destroy()
    assert (done.returncode, "Not a directory" in done.stderr) == (1, True), done.stderr


@pytest.fixture
def restricted() -> Iterator[Installation]:
    """Started by root with the unit's capabilities, without new privileges, and without memory that becomes code."""
    reason = _why_not() or ("" if SETPRIV.exists() else "no setpriv")
    if reason:
        pytest.skip(reason)
    names = [f"+{name.removeprefix('CAP_').lower()}" for name in unit()["CapabilityBoundingSet"].split()]
    command = f"{SETPRIV} --bounding-set=-all,{','.join(names)} --inh-caps=-all --no-new-privs"
    running = Installation(development=False)
    try:
        running.root.chmod(0o711)
        python = running.root / "python"
        # PR_SET_MDWE (65) since Linux 6.3, as MemoryDenyWriteExecute= does it; passed on to children and through exec.
        python.write_text(
            f"#!/bin/sh\nexec {SYSTEM_PYTHON} -c 'import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); "
            f'os.execv(sys.argv[1], sys.argv[1:])\' {command} {SYSTEM_PYTHON} "$@"\n'
        )
        python.chmod(0o755)
        running._python = str(python)
        running.environment["PYTHONPATH"] = _reach()
        running.environment["PYTHONDONTWRITEBYTECODE"] = "1"
        yield running
    finally:
        running.destroy()


def _capabilities(pid: int) -> tuple[int, int]:
    """Bounding and effective set."""
    lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return int(lines["CapBnd"], 16), int(lines["CapEff"], 16)


def test_the_product_runs_with_what_the_unit_leaves_it(restricted: Installation) -> None:
    running = restricted.start()
    assert running.process is not None
    bounding, effective = _capabilities(running.process.pid)
    assert bounding == effective == sum(1 << number for number in (0, 2, 3, 5, 6, 7))
    for actor, uid in (("hsm", HSM_UID), ("kms", KMS_UID)):
        pid = running.pid_of(actor)
        assert _uids(pid) == {uid}
        assert _capabilities(pid) == (bounding, 0)
    text = (running.home / "service" / "first-access-key").read_text()
    access_key_id, secret = (line.split(" = ")[1] for line in text.splitlines()[1:3])
    kms = running.kms(access_key_id, secret)
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"before")["CiphertextBlob"]
    running.stop()
    running.start()  # What was made before is found again, by the same restricted root.
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"before"
    kms.close()
    done = running.cli("doctor", "--home", str(running.home), check=False)
    assert done.returncode == 0, done.stdout
    assert "keys lie in memfd_secret memory" in done.stdout or ctypes.CDLL(None).syscall(447, 0) < 0


def test_root_takes_an_empty_home_over_as_a_container_brings_it_and_no_other(restricted: Installation) -> None:
    """A named volume begins as the image's directory, which belongs to the user of the image."""
    home = restricted.home
    home.mkdir(mode=0o711)
    (home / "prepared").symlink_to("/etc")
    os.chown(home, IMAGE_UID, IMAGE_UID)
    refused = restricted.cli("up", "--home", str(home), check=False)
    assert (refused.returncode, f"belongs to user {IMAGE_UID}" in refused.stderr) == (1, True), refused.stderr
    assert ([path.name for path in home.iterdir()], home.stat().st_uid) == (["prepared"], IMAGE_UID)
    (home / "prepared").unlink()
    restricted.start()
    assert (home.stat().st_uid, home.stat().st_mode & 0o777) == (0, 0o711)
    assert (_uids(restricted.pid_of("hsm")), _uids(restricted.pid_of("kms"))) == ({HSM_UID}, {KMS_UID})
    # Such a root may also back it up.
    done = restricted.cli("backup", "--home", str(home), "--to", str(restricted.root / "backup"), check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (restricted.root / "backup" / "service" / "store.db").stat().st_uid == 0
