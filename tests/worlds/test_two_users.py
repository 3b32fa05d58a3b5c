"""Two users, or one: who can read what, seen from outside by taking the user ids of the two actors.

Started by root where other users can reach the interpreter, HSM and service run as two users, and the wall between them
is the kernel's. Started by one user, the service gives up the seal by itself (Landlock).
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom
from strongroom.cli.admin_socket import ask
from testkit.installation import START_S_MAX, Installation, client
from testkit.memory import Needles, between_frames, mappings, scan_process
from testkit.sealed_state import SealedState, derived_key

SYSTEM_PYTHON = "/usr/bin/python3.11"
HSM_UID, KMS_UID = 58_101, 58_102
NOBODY = 65_534
LANDLOCK_CREATE_RULESET = 444


def _reach() -> str:
    """PYTHONPATH by which another user's python finds the product and its libraries."""
    packages = [entry for entry in sys.path if entry.endswith("site-packages")]
    return os.pathsep.join([str(Path(strongroom.__path__[0]).parent), *packages])


def _why_not() -> str:
    """Why two users cannot be had here; empty if they can."""
    if os.geteuid() != 0:
        return "only root can start two users"
    if not Path(SYSTEM_PYTHON).exists() or sys.version_info[:2] != (3, 11):
        return "no system python of this version"
    tried = _as_user(NOBODY, "import strongroom, cryptography, msgspec, uvloop, httptools")
    return "" if tried.returncode == 0 else f"other users cannot import the product: {tried.stderr.strip()[-200:]}"


def _as_user(uid: int, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": _reach(), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [SYSTEM_PYTHON, "-c", code, *arguments],
        user=uid,
        group=uid,
        extra_groups=[],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd="/",
        env=environment,
    )


@pytest.fixture(scope="module")
def two_users() -> Iterator[Installation]:
    reason = _why_not()
    if reason:
        pytest.skip(reason)
    running = Installation(python=SYSTEM_PYTHON)
    try:
        running.root.chmod(0o711)
        running.environment["PYTHONPATH"] = _reach()
        running.environment["PYTHONDONTWRITEBYTECODE"] = "1"
        yield running.start()
    finally:
        running.destroy()


def _uids(pid: int) -> set[int]:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")]
    return set(map(int, line.split()[1:]))


def _banner_says(installation: Installation, words: str) -> bool:
    """The banner comes after the service is ready: a moment later than /readyz."""
    deadline = time.monotonic() + START_S_MAX
    while words not in installation.output.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    return words in installation.output.read_text()


# What a user is told about each path and process: "opened", or the name of the error.
_PROBE = """
import ctypes, errno, json, os, sys
told = {}
for path in sys.argv[1:]:
    try:
        os.listdir(path) if os.path.isdir(path) else os.close(os.open(path, os.O_RDONLY))
        told[path] = "opened"
    except OSError as error:
        told[path] = errno.errorcode[error.errno]
print(json.dumps(told))
"""


def _told(uid: int, *paths: Path | str) -> dict[str, str]:
    done = _as_user(uid, _PROBE, *map(str, paths))
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout)
    return told


def _all_refused(told: dict[str, str]) -> bool:
    return bool(told) and all(answer in {"EACCES", "EPERM"} for answer in told.values())


def test_hsm_and_service_run_as_two_users_and_neither_as_root(two_users: Installation) -> None:
    hsm, kms = _uids(two_users.pid_of("hsm")), _uids(two_users.pid_of("kms"))
    assert len(hsm) == len(kms) == 1
    assert hsm.isdisjoint(kms)
    assert 0 not in hsm | kms
    assert _banner_says(two_users, f"HSM and service run as two users ({hsm.pop()} and {kms.pop()})")


def test_two_users_serve_all_the_same(two_users: Installation) -> None:
    kms = two_users.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    made = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256", EncryptionContext={"a": "b"})
    opened = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"a": "b"})
    assert opened["Plaintext"] == made["Plaintext"]
    measures = ask(two_users.home, "status")["hsm"]["measures"]
    assert measures["user id"] == str(*_uids(two_users.pid_of("hsm")))
    assert measures["arena"] in {"memfd_secret", "mlock"}


def test_the_service_user_reads_neither_the_seal_nor_the_hsm(two_users: Installation) -> None:
    home, hsm = two_users.home, two_users.pid_of("hsm")
    (uid,) = _uids(two_users.pid_of("kms"))
    told = _told(uid, home / "seal", home / "seal" / "local.secret", home / "recovery", f"/proc/{hsm}/mem")
    told |= _told(uid, f"/proc/{hsm}/maps", f"/proc/{hsm}/environ", f"/proc/{hsm}/fd")
    assert _all_refused(told), told
    # The check can fail: what is the service's own opens.
    assert set(_told(uid, home / "service" / "store.db", home / "host" / "identity.pem").values()) == {"opened"}


def test_the_hsm_user_reads_nothing_of_the_service(two_users: Installation) -> None:
    home, kms = two_users.home, two_users.pid_of("kms")
    (uid,) = _uids(two_users.pid_of("hsm"))
    service = home / "service"
    told = _told(
        uid, service, service / "store.db", home / "host" / "identity.pem", service / "audit", home / "recovery"
    )
    told |= _told(uid, f"/proc/{kms}/mem", f"/proc/{kms}/environ", f"/proc/{kms}/fd")
    assert _all_refused(told), told
    assert set(_told(uid, home / "seal" / "local.secret").values()) == {"opened"}


def test_a_third_user_reads_nothing_and_may_not_speak(two_users: Installation) -> None:
    home = two_users.home
    pids = two_users.pid_of("hsm"), two_users.pid_of("kms")
    told = _told(NOBODY, home / "seal", home / "service", home / "recovery", home / "seal" / "local.secret")
    told |= _told(NOBODY, *(f"/proc/{pid}/mem" for pid in pids))
    assert _all_refused(told), told
    hello = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(60)
connection.connect(sys.argv[1])
try:
    connection.sendall(bytes.fromhex(sys.argv[2]))
    print(len(connection.recv(100)))
except (BrokenPipeError, ConnectionResetError):
    print(0)
"""
    # A status request, which the HSM answers to whom it listens to; and an admin command.
    for path, said in (
        (home / "run/hsm/hsm-1.sock", "0000000109"),
        (home / "run/kms/admin.sock", b'{"command":"status"}\n'.hex()),
    ):
        assert _as_user(NOBODY, hello, str(path), said).stdout == "0\n", path
        (uid,) = _uids(two_users.pid_of("kms"))
        assert int(_as_user(uid, hello, str(path), said).stdout) > 0, path


def test_neither_process_can_be_dumped_and_one_of_the_same_user_sees_no_memory(two_users: Installation) -> None:
    for actor in ("hsm", "kms"):
        pid = two_users.pid_of(actor)
        (uid,) = _uids(pid)
        # proc(5): the files of a process that cannot be dumped belong to root.
        assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
        told = _told(uid, f"/proc/{pid}/mem", f"/proc/{pid}/environ", f"/proc/{pid}/maps")
        assert _all_refused(told), told


def test_files_of_two_users_belong_to_who_needs_them(two_users: Installation) -> None:
    home = two_users.home
    (hsm,), (kms,) = _uids(two_users.pid_of("hsm")), _uids(two_users.pid_of("kms"))
    owners = {
        "seal": 0,
        "host": 0,
        "seal/local.secret": hsm,
        "run/hsm": hsm,
        "service": kms,
        "service/store.db": kms,
        "host/identity.pem": kms,
        "run/kms": 0,
        "hsm": 0,
        "domain": 0,
        "recovery": 0,
    }
    assert {name: (home / name).stat().st_uid for name in owners} == owners
    for name, mode in (("seal", 0o711), ("service", 0o700), ("recovery", 0o700)):
        assert stat.S_IMODE((home / name).stat().st_mode) == mode, name


def test_another_regions_files_belong_to_two_users_too(two_users: Installation) -> None:
    """Made on first use: by the supervisor, who is root, in directories that are its own, and by each user in its own."""
    region = "eu-north-1"
    kms = client(
        "kms", two_users.port, region=region, retries={"total_max_attempts": 5}
    )  # A call waits 15 s, no longer.
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    assert kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    kms.close()
    home, place = two_users.home, f"regions/{region}"
    config = str(home / place / "hsm" / "hsm-1.toml")
    (hsm,), (service,) = _uids(two_users.pids_of("hsm")[config]), _uids(two_users.pid_of("kms"))
    assert (hsm, service) == (HSM_UID, KMS_UID)
    owners = {
        "regions": 0,
        place: 0,
        f"{place}/seal": 0,
        f"{place}/seal/local.secret": hsm,
        f"{place}/hsm": 0,
        f"{place}/recovery": 0,
        f"service/regions/{region}": service,
        f"service/regions/{region}/store.db": service,
        f"run/hsm/hsm-1.{region}.sock": hsm,
    }
    assert {name: (home / name).stat().st_uid for name in owners} == owners
    secrets = [home / place / "seal" / "local.secret", home / place / "recovery"]
    assert _all_refused(_told(service, *secrets))
    assert _all_refused(_told(hsm, home / "service", home / place / "recovery"))


def test_the_hsm_of_two_users_leaves_no_key_outside_its_arena_either(two_users: Installation) -> None:
    kms = two_users.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    state = SealedState.open(two_users.home)
    (ekt,) = [e for e in state.ekts(two_users.home / "service" / "store.db") if e.key_id == key_id]
    needles = Needles({"domain key": state.domain_keys[state.active_id], "seal": state.seal_secret, "HBK": ekt.hbk})
    for _ in range(5):
        made = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
        needles.add("data key", made["Plaintext"])
        needles.add("derived key", derived_key(ekt.hbk, made["CiphertextBlob"]))
        kms.decrypt(CiphertextBlob=made["CiphertextBlob"])
        hsm = two_users.pid_of("hsm")
        with between_frames(hsm):
            report = scan_process(hsm, needles)
        assert not report.hits, report.hits
        assert report.bytes_read > 8 << 20
    if ask(two_users.home, "status")["hsm"]["measures"]["arena"] == "memfd_secret":
        assert report.secretmem
        assert any("secretmem" in mapping.name for mapping in mappings(hsm))


# ── one user ────────────────────────────────────────────────────────────────────────────────────────────────────────

_CONFINED = """
import errno, json, os, sys
from strongroom.kms.process import confine
configuration, seal, state, store, beside = sys.argv[1:]
import tomllib
values = tomllib.load(open(configuration, "rb"))
assert open(seal, "rb").read(), "before, it opens"
if not confine(values["confine_reading"], values["confine_writing"]):
    raise SystemExit(77)
told = {}
def attempt(name, act):
    try:
        act()
        told[name] = "done"
    except OSError as error:
        told[name] = errno.errorcode[error.errno]
attempt("seal", lambda: open(seal, "rb").close())
attempt("seal directory", lambda: os.listdir(os.path.dirname(seal)))
attempt("sealed state", lambda: open(state, "rb").close())
attempt("recovery", lambda: os.listdir(os.path.dirname(os.path.dirname(seal)) + "/recovery"))
attempt("write to the seal", lambda: open(seal, "wb").close())
attempt("link the seal", lambda: os.link(seal, beside))
attempt("rename the seal", lambda: os.rename(seal, beside))
attempt("store", lambda: open(store, "r+b").close())
attempt("new file beside the store", lambda: open(beside + ".new", "wb").close())
attempt("library", lambda: open(os.__file__, "rb").close())
# A child is as confined as its parent.
if os.fork() == 0:
    try:
        open(seal, "rb")
    except PermissionError:
        os._exit(0)
    os._exit(1)
told["seal, by a child"] = "done" if os.wait()[1] == 0 else "opened"
print(json.dumps(told))
"""


def test_the_service_of_one_user_confines_itself_off_seal_state_and_recovery() -> None:
    made = Installation()
    try:
        made.start()
        assert _uids(made.pid_of("hsm")) == _uids(made.pid_of("kms")), "one user"
        made.stop()
        home = made.home
        seal_before = (home / "seal" / "local.secret").read_bytes()
        # The very trees that the service was started with, in a process that we can ask.
        done = subprocess.run(
            [
                *(sys.executable, "-c", _CONFINED, str(home / "host" / "kms.toml"), str(home / "seal/local.secret")),
                *(str(home / "hsm/hsm-1.state.a"), str(home / "service/store.db"), str(home / "service/beside")),
            ],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if done.returncode == 77:
            pytest.skip("this kernel has no Landlock")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        free = {"store", "new file beside the store", "library", "seal, by a child"}
        assert {name for name, answer in told.items() if answer == "done"} == free, told
        assert {told[name] for name in told.keys() - free} <= {"EACCES", "EXDEV"}, told
        assert (home / "seal" / "local.secret").read_bytes() == seal_before
    finally:
        made.destroy()


# Loaded by the service's own python: what it says when it begins to serve, which is after it confined itself.
_ASK_THE_SERVICE = """
import sys
if "strongroom.kms" in sys.orig_argv:
    import os, uvloop
    serve, home = uvloop.run, {home!r}
    def ask_and_serve(coroutine):
        told = []
        for path in ("seal/local.secret", "hsm/hsm-1.state.a", "host/identity.pem"):
            try:
                os.close(os.open(os.path.join(home, path), os.O_RDONLY))
                told.append("opened")
            except OSError as error:
                told.append(type(error).__name__)
        with open(os.path.join(home, "service", "told"), "w") as file:
            file.write(" ".join(told))
        return serve(coroutine)
    uvloop.run = ask_and_serve
"""


def test_the_running_service_of_one_user_does_not_open_the_seal(tmp_path: Path) -> None:
    made = Installation()
    (tmp_path / "sitecustomize.py").write_text(_ASK_THE_SERVICE.replace("{home!r}", repr(str(made.home))))
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    made.environment["PYTHONPATH"] = os.pathsep.join(path)
    try:
        made.start()
        told = (made.home / "service" / "told").read_text().split()
        if told[0] == "opened" and not _has_landlock():
            pytest.skip("this kernel has no Landlock")
        assert told == ["PermissionError", "PermissionError", "opened"]
    finally:
        made.destroy()


def _has_landlock() -> bool:
    """landlock(7): asking for the ABI's version."""
    return int(ctypes.CDLL(None, use_errno=True).syscall(LANDLOCK_CREATE_RULESET, None, 0, 1)) > 0


def test_one_user_is_called_one_user_by_the_banner(installation: Installation) -> None:
    if len(_uids(installation.pid_of("hsm")) | _uids(installation.pid_of("kms"))) > 1:
        pytest.skip("this installation runs as two users")
    assert _banner_says(installation, "the wall holds against bugs only")
