"""What the service's process takes away from itself: it holds credentials and passes plaintext data keys on.

Nothing here replaces two users (`SECURITY.md`): Landlock keeps a one-user service off the seal by its own choice, against
bugs, not against somebody who runs as the same user outside of it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import stat
from collections.abc import Sequence
from typing import Final

# What a worker with sixteen regions has open besides connections is about 150 files; the rest is for the moment in which
# connections that were given up are not closed yet.
DESCRIPTORS_KEPT: Final = 256

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_THP_DISABLE: Final = 41
# System calls and access rights of landlock(7); the numbers are the same on every architecture.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_RULE_PATH_BENEATH: Final = 1
# How many rights each ABI knows: 2 added linking elsewhere, 3 truncation, 5 device control.
_RIGHTS_OF_ABI: Final = {1: 13, 2: 14, 3: 15, 4: 15}
_RIGHTS_NEWEST: Final = 16
_VERSION_FLAG: Final = 1
_READ_RIGHTS: Final = (1 << 0) | (1 << 2) | (1 << 3)
_FILE_RIGHTS: Final = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14)


class _Ruleset(ctypes.Structure):
    _fields_ = [("handled_access_fs", ctypes.c_uint64)]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


def harden(parent_pid: int) -> None:
    """End with the supervisor, leave no core file, gain no privileges.

    Raises:
        SystemExit: the supervisor is gone already.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise SystemExit("the supervisor is gone")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def use_small_pages() -> None:
    """From now on; what lies in huge pages stays there (`supervisor/children.py` asks for them).

    uvloop makes a buffer of 256 KiB for each TLS connection. In small pages it takes what is used of it: 52 KiB for a
    silent connection with all that OpenSSL holds, instead of 236.
    """
    _LIBC.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def connections_max(wanted: int) -> int:
    """How many connections, `wanted` at the most, leave descriptors for all else: the audit trail must open its next file.

    The soft limit is for programs that use select(2); we may go up to the hard one.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + DESCRIPTORS_KEPT
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - DESCRIPTORS_KEPT))


def is_confined() -> bool:
    """Whether this process keeps itself off the file system, for status: it asks what it may still open."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY))
    except PermissionError:
        return True
    return False


def confine(reading: Sequence[str], writing: Sequence[str]) -> bool:
    """See nothing of the file system but these trees from now on; False where the kernel has no Landlock."""
    abi = int(_LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG))
    if abi < 1:
        return False
    all_rights = (1 << _RIGHTS_OF_ABI.get(abi, _RIGHTS_NEWEST)) - 1
    ruleset = _LIBC.syscall(_CREATE_RULESET, ctypes.byref(_Ruleset(all_rights)), ctypes.sizeof(_Ruleset), 0)
    if ruleset < 0:
        return False
    try:
        for rights, paths in ((_READ_RIGHTS, reading), (all_rights, writing)):
            for path in paths:
                _allow(ruleset, path, rights)
        return int(_LIBC.syscall(_RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _FILE_RIGHTS
        rule = _PathBeneath(rights, descriptor)
        if _LIBC.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0) != 0:
            raise OSError(ctypes.get_errno(), "landlock_add_rule", path)
    finally:
        os.close(descriptor)
