"""Starting and ending the actors' processes.

Neither the working directory nor a user's own packages are on a child's module path (`-P`, `-s`): what lies where an
operator happens to stand must not run as the HSM. A child knows its supervisor's process id and asks the kernel to be
killed when it ends; so nothing is left behind, however the supervisor dies, and a next start needs no cleaning.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from strongroom.supervisor.users import group_of

# Huge pages for the heap, where the kernel gives them: 4 to 5 % of CPU in either process.
_HUGE_PAGES: Final = "glibc.malloc.hugetlb=1"
# Without these a freed block keeps its bytes; glibc reads them at exec, so only a launcher can set them.
_HSM_ENVIRONMENT: Final = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": f"glibc.malloc.perturb=170:glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0:{_HUGE_PAGES}",
}
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "PYTHONPATH", "HOME")
_STOP_S_MAX: Final = 8.0
_BACKOFF_S: Final = (0.05, 0.1, 0.3, 1.0, 2.0, 5.0)
# A child that served this long did not die of its start.
_STABLE_S: Final = 1.0


def _environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed, "PYTHONDONTWRITEBYTECODE": "1"}


def start_hsm(config: str, uid: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """An HSM process and the control socket that only its supervisor has."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 -- our own interpreter, our own module.
            [
                *(sys.executable, "-P", "-s", "-m", "strongroom.hsm", "--config", config),
                *("--control-fd", str(theirs.fileno()), "--parent", str(os.getpid())),
            ],
            env={**_environment(), **_HSM_ENVIRONMENT},
            pass_fds=(theirs.fileno(),),
            user=_other(uid),
            group=None if _other(uid) is None else group_of(uid),
            cwd="/",
            extra_groups=None if _other(uid) is None else [],
        )
    return process, ours


def start_kms(
    config: str, uid: int, worker: str, handed: Sequence[tuple[str, int]]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A worker and its channel to us; `handed` are descriptors that it inherits, each with the option that names it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        inherited = [("--channel-fd", theirs.fileno()), *handed]
        process = subprocess.Popen(  # noqa: S603 -- our own interpreter, our own module.
            [
                *(sys.executable, "-P", "-s", "-m", "strongroom.kms", "--config", config, "--worker", worker),
                *("--parent", str(os.getpid())),
                *(word for option, descriptor in inherited for word in (option, str(descriptor))),
            ],
            env={**_environment(), "GLIBC_TUNABLES": _HUGE_PAGES},
            pass_fds=[descriptor for _, descriptor in inherited],
            user=_other(uid),
            group=None if _other(uid) is None else group_of(uid),
            cwd="/",
            extra_groups=None if _other(uid) is None else [],
        )
    return process, ours


def start_backup_source(service: str, uid: int, stores: Mapping[str, Path]) -> subprocess.Popen[bytes]:
    """What reads a home's `service/` for a backup; it becomes that user by itself, once it holds the files to fill."""
    return subprocess.Popen(  # noqa: S603 -- our own interpreter, our own module.
        [
            *(sys.executable, "-P", "-s", "-m", "strongroom.supervisor.backup_source"),
            *("--service", service, "--uid", str(uid)),
            *(word for name, copy in stores.items() for word in ("--store", name, str(copy))),
        ],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd="/",
    )


def _other(uid: int) -> int | None:
    """The user to become; None to stay who we are."""
    return None if uid == os.getuid() else uid


def stop(*processes: subprocess.Popen[bytes]) -> None:
    """SIGTERM to all of them at once, and SIGKILL to those that do not end in time."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline_s = time.monotonic() + _STOP_S_MAX
    for process in processes:
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class BackOff:
    """How long to wait before the next start of a child that keeps dying: one that served a while starts over."""

    def __init__(self) -> None:
        self._deaths = 0
        self._serves_since: float | None = None

    def serves(self) -> None:
        self._serves_since = time.monotonic()

    def delay_s(self) -> float:
        if self._serves_since is not None and time.monotonic() - self._serves_since > _STABLE_S:
            self._deaths = 0
        self._serves_since = None
        delay = _BACKOFF_S[min(self._deaths, len(_BACKOFF_S) - 1)]
        self._deaths += 1
        return delay
