"""What this process takes away from itself before it holds a key, and what could not be taken.

Each measure reports one word, shown by `strongroom doctor` and the HSM's status; a measure that is missing is never
silent. Sources: prctl(2), setrlimit(2).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38


def _prctl(option: int, value: int) -> int:
    return int(_LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def harden(parent_pid: int) -> dict[str, str]:
    """Apply every measure and say how each went.

    Raises:
        SystemExit: the parent is gone already, or core dumps cannot be ruled out.
    """
    measures: dict[str, str] = {}
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        raise SystemExit("the supervisor is gone")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)
    if not is_undumpable():
        raise SystemExit("this process can be dumped, and that cannot be switched off")
    measures["core dumps"] = "off"
    measures["no new privileges"] = "on" if _prctl(_PR_SET_NO_NEW_PRIVS, 1) == 0 else "absent"
    measures["user id"] = str(os.getuid())
    return measures


def is_undumpable() -> bool:
    """Also checked before every frame: a debugger that wants in would first have to change it."""
    return int(_LIBC.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)) == 0
