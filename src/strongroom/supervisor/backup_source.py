r"""What lies in `service/`, read as the service's user: `python -m strongroom.supervisor.backup_source`, for `backup`.

Whoever has taken the service over can plant links in its directory: root, who follows one, would carry the seal out.
So the files in which the stores' copies are to lie are opened first, and then this process becomes the service's user,
for good: what it reads from there on, the service could read anyway. Where one user runs everything there is nobody to
become; therefore it also follows no link and takes nothing but regular files of its own that have one name.

1. open the copies of the stores, 2. become the service's user, 3. the signed heads, 4. the stores, 5. the segments of
the trail; and from 3 again without 4, if retention removed a segment meanwhile.

So the records that a head names are there, and so is the record of every change that a store holds: an intent is
recorded before it is carried out.

On standard output, for the parent:

    file NAME SIZE\n        and then so many bytes: a file of service/audit
    stored NAME\n           a store was copied, and its pages are whole
    again\n                 the files so far do not count
    refused WORDS\n         why there will be no backup; the last line
    end\n                   the last line
"""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from strongroom.supervisor.users import group_of

HEADS_NAME: Final = "heads.jsonl"
# As the service names the files of its trail, and nothing else in that directory.
SEGMENT_NAME: Final = re.compile(r"audit-[a-z0-9_]{1,32}-[0-9]{20}\.jsonl")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Nor does it wait for whoever would write into a planted pipe.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE_BYTES: Final = 1 << 20
# Retention runs every ten minutes: a second attempt is rare, a third is something else.
_ATTEMPTS_MAX: Final = 5
# SQLite lets a reader wait while it recovers after a crash; longer than this, somebody holds the store on purpose.
_BUSY_S_MAX: Final = 30.0
# SQLite's file format, 1.3: read and write version 1 means that the file is all there is.
_LOG_OFFSET: Final = 18
_NO_LOG: Final = b"\1\1"


class RefusedError(Exception):
    """Something in `service/` is not what the service puts there."""


class _Copy:
    """The copy of one store; all is opened before this process becomes somebody who could not open it."""

    def __init__(self, name: str, target: Path) -> None:
        self.name: Final = name
        uri = f"file:{quote(str(target))}"
        self._target = sqlite3.connect(f"{uri}?mode=rw", uri=True, isolation_level=None)
        # A copy that fails is thrown away: it needs no journal. It is synced by the parent.
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = OFF", "synchronous = OFF", "temp_store = MEMORY"):
            self._target.execute(f"PRAGMA {pragma}").fetchall()
        self._check = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
        self._file = os.open(target, os.O_WRONLY | os.O_CLOEXEC)

    def make(self, service: Path) -> None:
        """With SQLite's own means: what was committed last lies in the write-ahead log."""
        uri = f"file:{quote(str(service / self.name))}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S_MAX, isolation_level=None)) as source:
            source.execute("PRAGMA query_only = ON")
            give_up_s = time.monotonic() + _BUSY_S_MAX

            def watch(status: int, _remaining: int, _pages: int) -> None:
                if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} and time.monotonic() > give_up_s:
                    raise RefusedError(f"{self.name} is locked by somebody")

            source.backup(self._target, progress=watch)
        self._target.close()
        # Else whoever opens the copy looks for a log beside it; the service sets its own mode at each start.
        os.pwrite(self._file, _NO_LOG, _LOG_OFFSET)
        os.close(self._file)
        found = [row[0] for row in self._check.execute("PRAGMA quick_check(3)")]
        self._check.close()
        if found != ["ok"]:
            raise RefusedError(f"{self.name} is damaged: {'; '.join(map(str, found))}")


def _become(uid: int) -> None:
    """For good: no user, no group and no capability of before is left."""
    if uid != os.getuid():
        group = group_of(uid)
        os.setgroups([])
        os.setresgid(group, group, group)
        os.setresuid(uid, uid, uid)


def _require_own(descriptor: int, name: str) -> os.stat_result:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError(f"{name} is no regular file")
    if found.st_uid != os.getuid() or found.st_nlink > 1:
        raise RefusedError(
            f"{name} belongs to user {found.st_uid} and has {found.st_nlink} names: it is not the service's"
        )
    return found


@contextmanager
def _opened(name: str, flags: int, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_there(folder: int, name: str) -> bool:
    """Whether there is a store by this name; its directories and itself are no links."""
    first, _, rest = name.partition("/")
    try:
        with _opened(first, _DIRECTORY if rest else _FILE, folder) as descriptor:
            if rest:
                return _is_there(descriptor, rest)
            _require_own(descriptor, name)
            return True
    except FileNotFoundError:
        return False


class Source:
    """Sends what is to be backed up."""

    def __init__(self, service: Path, out: IO[bytes]) -> None:
        self._service = service
        self._out = out

    def send(self, copies: list[_Copy]) -> None:
        """See above.

        Raises:
            RefusedError: something is not as the service leaves it.
        """
        with _opened(str(self._service), _DIRECTORY) as folder, _opened("audit", _DIRECTORY, folder) as audit:
            for attempt in range(_ATTEMPTS_MAX):
                before = self._segments(audit)
                self._send_file(audit, HEADS_NAME)  # 3
                if attempt == 0:
                    for copy in copies:  # 4
                        if _is_there(folder, copy.name):
                            self._make(copy)
                sent = {name for name in sorted(self._segments(audit)) if self._send_file(audit, name)}  # 5
                if before <= sent:
                    return
                self._say("again")
        raise RefusedError("the audit trail loses files faster than they are read")

    def _make(self, copy: _Copy) -> None:
        try:
            copy.make(self._service)
        except sqlite3.Error as error:
            raise RefusedError(f"{copy.name}: {error}") from None
        self._say(f"stored {copy.name}")

    def _segments(self, audit: int) -> set[str]:
        return {name for name in os.listdir(audit) if SEGMENT_NAME.fullmatch(name)}

    def _send_file(self, audit: int, name: str) -> bool:
        """As long as it is now; False if it is not there."""
        try:
            with _opened(name, _FILE, audit) as descriptor:
                left = _require_own(descriptor, name).st_size
                self._say(f"file {name} {left}")
                while left:
                    piece = os.read(descriptor, min(left, _PIECE_BYTES))
                    if not piece:
                        raise RefusedError(f"{name} became shorter while it was read")
                    self._out.write(piece)
                    left -= len(piece)
        except FileNotFoundError:
            return False
        return True

    def _say(self, line: str) -> None:
        self._out.write(f"{line}\n".encode())
        self._out.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="strongroom.supervisor.backup_source", allow_abbrev=False)
    parser.add_argument("--service", type=Path, required=True, help="the service's directory")
    parser.add_argument("--uid", type=int, required=True, help="whose it is")
    parser.add_argument("--store", nargs=2, action="append", default=[], metavar=("NAME", "COPY"))
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    try:
        copies = [_Copy(name, Path(target)) for name, target in arguments.store]  # 1
        _become(arguments.uid)  # 2
        Source(arguments.service, sys.stdout.buffer).send(copies)
        last = "end"
    except (OSError, sqlite3.Error, RefusedError) as error:
        # What somebody named a file must not speak to a terminal, nor end this line.
        last = f"refused {ascii(str(error))[1:-1]}"
    sys.stdout.buffer.write(f"{last}\n".encode())
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
