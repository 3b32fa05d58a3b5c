"""Who reads the memory of a running HSM or service, and what he gets: root, one of the same user, a core file.

Every way that the kernel has is tried by a program of its own (`testkit/memory_reader.py`). What root reads outside of the
arena is `worlds/test_memory.py`'s matter and `worlds/test_memory_of_every_kind.py`'s: no key lies there. What comes to lie
in the swap is `worlds/test_swap.py`'s. That root can have the HSM's own code read the arena for him, by ptrace(2), or change
the kernel, is said in SECURITY.md and not tried here.

How the checks were seen to fail: the tests whose names begin with `test_a_faulty`.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from strongroom.cli.admin_socket import ask
from testkit.installation import START_S_MAX, Installation
from testkit.memory import MappedRegion, Needles, between_frames, mappings, scan_files, scan_process
from testkit.planting import plant
from testkit.sealed_state import SealedState
from worlds.leaks import LEAKS
from worlds.test_two_users import SYSTEM_PYTHON, _as_user, _reach, _uids, _why_not

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be refused although he is root")

READER: Final = Path(__file__).parents[1] / "testkit" / "memory_reader.py"
MEMORY_WAYS: Final = ("/proc/PID/mem", "process_vm_readv", "ptrace")
Change = tuple[str, str, str]
WITHOUT_SECRET_MEMORY: Final[Change] = ("hsm/arena.py", "_LIBC.syscall(_MEMFD_SECRET, 0)", "-1")
WITH_A_DESCRIPTOR: Final[Change] = (
    "hsm/arena.py",
    "mapping = _map_without_descriptor(descriptor, length)",
    "mapping = mmap.mmap(descriptor, length, flags=mmap.MAP_SHARED)",
)
IN_DUMPS: Final[Change] = ("hsm/arena.py", "    mapping.madvise(mmap.MADV_DONTDUMP)\n", "")


@contextmanager
def _installation(*changes: Change) -> Iterator[Installation]:
    """One that has made a key and used it."""
    installation = Installation()
    try:
        for change in changes:
            plant(installation, *change)
        installation.start()
        kms = installation.kms()
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        made = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
        kms.decrypt(CiphertextBlob=made["CiphertextBlob"])
        kms.close()
        yield installation
    finally:
        installation.destroy()


@pytest.fixture(scope="module")
def own() -> Iterator[Installation]:
    with _installation() as installation:
        yield installation


@pytest.fixture(scope="module")
def two() -> Iterator[Installation]:
    """HSM and service as two users, who have no capabilities: those of root's processes would guard them as well."""
    reason = _why_not()
    if reason:
        pytest.skip(reason)
    installation = Installation(python=SYSTEM_PYTHON)
    try:
        installation.root.chmod(0o711)
        installation.environment.update(PYTHONPATH=_reach(), PYTHONDONTWRITEBYTECODE="1")
        yield installation.start()
    finally:
        installation.destroy()


def _user_of(pid: int) -> int:
    (user,) = _uids(pid)
    assert user != 0
    return user


def _needles(installation: Installation) -> Needles:
    """What lies in the arena, or did."""
    state, store = SealedState.open(installation.home), installation.home / "service" / "store.db"
    secrets = {f"domain key {key_id.hex()}": key for key_id, key in state.domain_keys.items()}
    secrets |= {"seal secret": state.seal_secret, **state.private_numbers(), **state.on_the_way}
    return Needles(secrets | {f"HBK of {ekt.key_id}": ekt.hbk for ekt in state.ekts(store)})


def _domain_key(installation: Installation) -> bytes:
    state = SealedState.open(installation.home)
    return state.domain_keys[state.active_id]


def _arena(installation: Installation) -> MappedRegion:
    if ask(installation.home, "status")["hsm"]["measures"]["arena"] != "memfd_secret":
        pytest.skip("this kernel has no memfd_secret(2): root reads the arena")
    (arena,) = [mapping for mapping in mappings(installation.pid_of("hsm")) if "secretmem" in mapping.name]
    return arena


def _told(pid: int, start: int, length: int) -> dict[str, str]:
    """By each way: bytes in hexadecimal, or the name of an error."""
    return _parsed(
        subprocess.run(
            [sys.executable, READER, str(pid), str(start), str(length)],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    )


def _told_to(user: int, pid: int, start: int, length: int) -> dict[str, str]:
    """The same, to another user."""
    return _parsed(_as_user(user, READER.read_text(), str(pid), str(start), str(length)))


def _parsed(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    told: dict[str, str] = json.loads(done.stdout)
    return told


def _read(told: dict[str, str]) -> dict[str, bytes]:
    """What was read, by the ways that read anything."""
    return {way: bytes.fromhex(found) for way, found in told.items() if found and not found.startswith("E")}


# ── root, and one of the same user ──────────────────────────────────────────────────────────────────────────────────


def test_root_reads_no_byte_of_the_arena_by_any_way(own: Installation) -> None:
    pid, arena = own.pid_of("hsm"), _arena(own)
    told = _told(pid, arena.start, arena.end - arena.start)
    assert _read(told) == {}, {way: len(read) for way, read in _read(told).items()}
    assert {told[way] for way in MEMORY_WAYS} == {"EIO", "EFAULT"}
    # The same program reads what is no secret memory: these are refusals, and not its own failures.
    (heap, *_) = [mapping for mapping in mappings(pid) if mapping.name == "[heap]"]
    assert set(_read(_told(pid, heap.start, 4096))) == set(MEMORY_WAYS)


@pytest.mark.parametrize("actor", ["hsm", "kms"])
def test_one_of_the_same_user_reads_no_byte_of_either_process_by_any_way(two: Installation, actor: str) -> None:
    pid = two.pid_of(actor)
    places = [mapping for mapping in mappings(pid) if mapping.name == "[heap]" or "secretmem" in mapping.name]
    assert places
    for place in places:
        told = _told_to(_user_of(pid), pid, place.start, 4096)
        assert _read(told) == {}
        assert {told[way] for way in MEMORY_WAYS} <= {"EACCES", "EPERM"}, told


def test_one_of_the_same_user_reads_a_process_that_did_not_guard_itself(two: Installation) -> None:
    """Or the test above would say nothing."""
    if Path("/proc/sys/kernel/yama/ptrace_scope").exists():
        pytest.skip("Yama keeps everybody from the processes of others")
    user = _user_of(two.pid_of("hsm"))
    with subprocess.Popen([SYSTEM_PYTHON, "-c", "input()"], stdin=subprocess.PIPE, user=user, group=user) as unguarded:
        try:
            (heap, *_) = [mapping for mapping in _mappings_of_a_started(unguarded.pid) if mapping.name == "[heap]"]
            assert set(_read(_told_to(user, unguarded.pid, heap.start, 4096))) == set(MEMORY_WAYS)
        finally:
            unguarded.kill()


def _mappings_of_a_started(pid: int) -> list[MappedRegion]:
    """Once it has a heap, which its program made."""
    given_up = time.monotonic() + START_S_MAX
    while not any(mapping.name == "[heap]" for mapping in mappings(pid)):
        assert time.monotonic() < given_up
        time.sleep(0.01)
    return mappings(pid)


def test_a_faulty_arena_of_ordinary_memory_is_read_by_root_in_every_way() -> None:
    with _installation(WITHOUT_SECRET_MEMORY) as faulty:
        pid, key = faulty.pid_of("hsm"), _domain_key(faulty)
        with between_frames(pid):
            (hit, *_) = [hit for hit in scan_process(pid, Needles({"domain key": key})).hits if hit.form == "raw"]
        read = _read(_told(pid, hit.offset, 32))
        assert read == dict.fromkeys(MEMORY_WAYS, key)


def test_a_faulty_arena_with_a_descriptor_is_mapped_by_root() -> None:
    with _installation(WITH_A_DESCRIPTOR) as faulty:
        arena = _arena(faulty)
        read = _read(_told(faulty.pid_of("hsm"), arena.start, arena.end - arena.start))
        assert set(read) == {"pidfd_getfd"}
        assert _domain_key(faulty) in read["pidfd_getfd"]


# ── core files ──────────────────────────────────────────────────────────────────────────────────────────────────────

ACTORS: Final = ("hsm", "kms")
_HARDENING: Final = {"hsm": "hsm/hardening.py", "kms": "kms/process.py"}
_EVERYTHING: Final = "0x1ff"  # Every kind of mapping (core(5), coredump_filter).


def _require_core_files() -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if not pattern.startswith("core"):
        pytest.skip(f"core files go elsewhere here: {pattern}")


def _unlimited(actor: str) -> list[Change]:
    """And where a core file goes, if one is written: where the service may write."""
    limit = "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
    unlimited = 'os.chdir("CORES"); resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)'
    return [(_HARDENING[actor], limit, unlimited)]


def _dumpable(actor: str) -> list[Change]:
    """An actor that leaves a core file."""
    module = _HARDENING[actor]
    changes = [*_unlimited(actor), (module, "prctl(_PR_SET_DUMPABLE, 0", "prctl(_PR_SET_DUMPABLE, 1")]
    return [*changes, (module, "0, 0, 0, 0)) == 0", "0, 0, 0, 0)) == 1")] if actor == "hsm" else changes


def _abort(installation: Installation, actor: str) -> None:
    """As root would who wants to see all of it."""
    pid = installation.pid_of(actor)
    with contextlib.suppress(PermissionError):  # Not every root may.
        resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    Path(f"/proc/{pid}/coredump_filter").write_text(_EVERYTHING)
    if actor == "hsm":
        with between_frames(pid):
            os.kill(pid, signal.SIGABRT)
    else:
        os.kill(pid, signal.SIGABRT)
    given_up = time.monotonic() + START_S_MAX
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < given_up
        time.sleep(0.01)


def _cores(folder: Path) -> set[Path]:
    return {path for path in folder.glob("core*") if path.is_file()}


@pytest.mark.parametrize("actor", ACTORS)
def test_neither_process_leaves_a_core_file(actor: str) -> None:
    _require_core_files()
    with _installation() as installation:
        folder = Path(f"/proc/{installation.pid_of(actor)}/cwd").resolve()
        before = _cores(folder)
        _abort(installation, actor)
        installation.wait_until_ready()
        assert _cores(folder) == before


@pytest.mark.long
@pytest.mark.parametrize("actor", ACTORS)
def test_whose_limit_was_raised_leaves_no_core_file_either(actor: str) -> None:
    with _leaving_cores(_unlimited(actor)) as (installation, folder):
        _abort(installation, actor)
        installation.wait_until_ready()
        assert _cores(folder) == set()


def _core_of(installation: Installation, actor: str, folder: Path) -> set[str]:
    """The secrets in a core file that the kernel wrote."""
    needles = _needles(installation)
    _abort(installation, actor)
    (core,) = _cores(folder)
    report = scan_files([core], needles)
    assert report.bytes_read > 8 << 20
    return {hit.secret for hit in report.hits}


@contextmanager
def _leaving_cores(changes: list[Change], leak: str = "") -> Iterator[tuple[Installation, Path]]:
    _require_core_files()
    installation = Installation()
    folder = installation.home / "service"
    try:
        for module, right, wrong in changes:
            plant(installation, module, right, wrong.replace("CORES", str(folder)))
        if leak:
            LEAKS[leak].plant(installation)
        installation.start()
        kms = installation.kms()
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        for _ in range(20):
            made = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
            kms.decrypt(CiphertextBlob=made["CiphertextBlob"])
        kms.close()
        yield installation, folder
    finally:
        installation.destroy()


@pytest.mark.parametrize("actor", ["hsm", pytest.param("kms", marks=pytest.mark.long)])
def test_a_core_file_that_is_written_all_the_same_holds_no_key(actor: str) -> None:
    with _leaving_cores(_dumpable(actor)) as (installation, folder):
        assert _core_of(installation, actor, folder) == set()


@pytest.mark.long
def test_a_faulty_hsm_that_keeps_a_key_leaves_it_in_a_core_file() -> None:
    with _leaving_cores(_dumpable("hsm"), "a backing key that the HSM keeps") as (installation, folder):
        assert {secret.split(" of ")[0] for secret in _core_of(installation, "hsm", folder)} == {"HBK"}


@pytest.mark.long
def test_a_faulty_arena_that_may_be_dumped_is_in_a_core_file() -> None:
    with _leaving_cores([*_dumpable("hsm"), WITHOUT_SECRET_MEMORY, IN_DUMPS]) as (installation, folder):
        found = _core_of(installation, "hsm", folder)
        assert {"seal secret", "signing key", "agreement key"} <= found
        assert any(secret.startswith("domain key") for secret in found)


# ── locked ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _status(pid: int, name: str) -> int:
    """A number of /proc/PID/status, in KiB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1])


def test_the_arena_is_locked_and_in_no_dump_and_in_no_child(own: Installation) -> None:
    hsm, arena = own.pid_of("hsm"), _arena(own)
    assert _status(hsm, "VmLck") * 1024 >= arena.end - arena.start
    (fields,) = [block for block in _smaps(hsm) if block["start"] == arena.start]
    assert {"lo", "dd", "dc"} <= set(fields["VmFlags"])  # Locked, in no dump, in no child (proc(5)).


def _smaps(pid: int) -> list[dict[str, object]]:
    blocks: list[dict[str, object]] = []
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *values = line.split()
        if not name.endswith(":"):
            blocks.append({"start": int(name.split("-")[0], 16)})
        else:
            blocks[-1][name[:-1]] = values
    return blocks
