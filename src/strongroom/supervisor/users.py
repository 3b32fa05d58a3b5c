"""Who runs as whom: started by root, HSM and service run as two users; started by a user, both run as that user.

The wall between two processes of one user holds against bugs, not against whoever takes the service over; the banner and
`doctor` say which of the two it is, and why.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

import strongroom

# The accounts that packages make; without them, ids above Debian's ordinary users and below nobody.
_ACCOUNTS: Final = (("strongroom-hsm", 58_101), ("strongroom-kms", 58_102))


class Users(msgspec.Struct, frozen=True):
    """User ids of the two actors, and a sentence about them."""

    hsm: int
    kms: int
    explanation: str

    @property
    def are_separate(self) -> bool:
        return self.hsm != self.kms


def plan_users(home: Path) -> Users:
    own = os.getuid()
    if own != 0:
        return Users(own, own, f"one user ({own}) runs HSM and service: the wall holds against bugs only")
    blocked = _first_blocked((home, Path(sys.executable).resolve(), Path(sys.prefix), *map(Path, strongroom.__path__)))
    if blocked is not None:
        return Users(
            0,
            0,
            f"root runs HSM and service, since other users cannot reach {blocked}: the wall holds against bugs only",
        )
    hsm, kms = (_uid(name, default) for name, default in _ACCOUNTS)
    return Users(hsm, kms, f"HSM and service run as two users ({hsm} and {kms})")


def group_of(uid: int) -> int:
    """The primary group of a user; one that has no account has a group of its own number."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def _uid(name: str, default: int) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return default


def _first_blocked(paths: Iterable[Path]) -> Path | None:
    """The first directory on the way to any of these that other users cannot pass."""
    for path in paths:
        for directory in reversed(path.parents):
            if directory.exists() and not directory.stat().st_mode & stat.S_IXOTH:
                return directory
    return None
