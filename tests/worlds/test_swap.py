"""A machine that is short of memory swaps both processes out, and none of the keys of the arena lies on its disk.

What the service passes on, and copies of keys while an operation runs, may be swapped: whoever minds turns swap off for
this service (docs/operate/install.md). So the HSM is swapped out where it stands between two frames.

How the checks were seen to fail: with an arena that is not locked.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from testkit.memory import Needles, between_frames, scan_files
from testkit.swap import RefusedError, forget_cached, page_out, swap_file
from worlds.test_memory_readers import WITHOUT_SECRET_MEMORY, Change, _installation, _needles, _status

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root turns swap on, and reads all of it"),
]

_SWAP_BYTES: Final = 128 << 20
# What was touched just now the kernel may leave where it is, and what it sends needs a moment.
_TRIES: Final = 50
_PAUSE_S: Final = 0.2
NOT_LOCKED: Final[Change] = (
    "hsm/arena.py",
    "_LIBC.mlock(ctypes.c_void_p(address), ctypes.c_size_t(length)) == 0",
    "False",
)
# Keeps what it is given.
_KEEPER: Final = """
import sys
kept = sys.stdin.buffer.read(32)
print("ready", flush=True)
sys.stdin.buffer.read()
"""


@pytest.fixture
def swap(tmp_path: Path) -> Iterator[Path]:
    """A file to which this machine swaps, which was seen."""
    path = tmp_path / "swap"
    try:
        with swap_file(path, _SWAP_BYTES):
            if not _reaches(path):
                pytest.skip("what this machine swaps out does not reach the file: it keeps it in memory, or elsewhere")
            yield path
    except RefusedError as refused:
        pytest.skip(f"this machine does not let us swap, so nothing is said of the swap: {refused}")


def _reaches(path: Path) -> bool:
    """Whether what a process has that is swapped out now comes to lie in the file."""
    canary = secrets.token_bytes(32)
    with subprocess.Popen([sys.executable, "-c", _KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        try:
            keeper.stdin.write(canary)
            keeper.stdin.flush()
            assert keeper.stdout.readline() == b"ready\n"
            for _ in range(_TRIES):
                page_out(keeper.pid)
                time.sleep(_PAUSE_S)
                if _status(keeper.pid, "VmSwap") and _lying_in(path, Needles({"canary": canary}, deep=False)):
                    return True
            return False
        finally:
            keeper.kill()


def _lying_in(path: Path, needles: Needles) -> set[str]:
    forget_cached(path)
    return {hit.secret for hit in scan_files([path], needles).hits}


def _found_of(swap: Path, changes: tuple[Change, ...]) -> set[str]:
    """Which secrets of an installation that was swapped out lie in the swap."""
    with _installation(*changes) as installation:
        hsm, service, needles = installation.pid_of("hsm"), installation.pid_of("kms"), _needles(installation)
        with between_frames(hsm):
            for _ in range(5):
                page_out(hsm)
                page_out(service)
                time.sleep(_PAUSE_S)
            swapped = {"HSM": _status(hsm, "VmSwap"), "service": _status(service, "VmSwap")}
            # What was sent before it is there when it is.
            assert _reaches(swap)
            lying = _lying_in(swap, needles)
        print(f"swapped out, in KiB: {swapped}; found in {_SWAP_BYTES >> 20} MiB of swap: {lying or 'nothing'}")
        assert min(swapped.values()) > 1024
        return {" ".join(name.split()[:2]) for name in lying}


def test_no_key_of_the_arena_lies_in_the_swap(swap: Path) -> None:
    """One after the other: of two such files at once, what is swapped out goes to either."""
    assert _found_of(swap, ()) == set()
    assert _found_of(swap, (WITHOUT_SECRET_MEMORY,)) == set()
    # The same search, where there is something to find.
    assert "domain key" in _found_of(swap, (WITHOUT_SECRET_MEMORY, NOT_LOCKED))
