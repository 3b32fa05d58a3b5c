"""The files of one writer's chain: names, writing, what a crash left behind.

`audit-<writer>-<first seq, 20 digits>.jsonl`, mode 0600. A segment is written at offsets that it counts itself, so a
write that failed half-way is overwritten or cut, never followed. What was written since the last successful sync is
also kept in memory: after a failed sync the kernel may have dropped those pages while calling them clean, and only
writing them again makes the next sync mean something.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from strongroom.kms.audit.chain import (
    LINE_BYTES_MAX,
    Head,
    format_segment_start,
    require_writer,
)

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
# A quota that is used up is a full disk to us.
DISK_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
_NAME: Final = re.compile(r"audit-([a-z0-9_]{1,32})-([0-9]{20})\.jsonl")


class AuditUnavailableError(Exception):
    """The sink cannot take these events: the calls that they record must be refused.

    `recorded` says how many of the events came into the chain before the sink gave out; their calls fail too.
    """

    def __init__(self, reason: str, recorded: int = 0) -> None:
        super().__init__(reason)
        self.recorded = recorded


class AuditDamagedError(Exception):
    """The chain on disk is not what it was when an HSM signed its head: no recovery, a person must look."""


class PartialWriteError(Exception):
    """Only the first `whole` bytes, all whole lines, are in the file."""

    def __init__(self, whole: int, error: OSError) -> None:
        super().__init__(str(error))
        self.whole = whole
        self.error = error


class Disk:
    """The system calls by which the audit trail changes files; a test's disk fails where it likes."""

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def cut(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def allocate(self, fd: int, size: int) -> None:
        os.posix_fallocate(fd, 0, size)

    def free_bytes(self, path: Path) -> int:
        state = os.statvfs(path)
        return state.f_bavail * state.f_frsize


def segment_path(directory: Path, writer: str, first: int) -> Path:
    return directory / f"audit-{require_writer(writer)}-{first:020d}.jsonl"


def segments_by_writer(directory: Path) -> dict[str, list[tuple[int, Path]]]:
    """Every writer's segments as (first seq, path), oldest first; writers in order."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in sorted(directory.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found.setdefault(match[1], []).append((int(match[2]), path))
    return found


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Lines with their line feeds, in constant memory: a line that is too long comes in pieces without one."""
    while line := file.readline(LINE_BYTES_MAX):
        yield line


def sync_directory(directory: Path) -> None:
    """Make new and removed names durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Segment:
    """An open segment; not thread-safe by itself: the log holds its lock, except around `sync`."""

    __slots__ = ("_disk", "_fd", "_rewrite", "_torn", "_unsynced", "first", "path", "size", "synced_size")

    def __init__(self, path: Path, fd: int, first: int, size: int, disk: Disk) -> None:
        self.path = path
        self.first = first
        self.size = size
        self.synced_size = size
        self._fd = fd
        self._disk = disk
        self._unsynced: list[bytes] = []
        self._torn = False
        self._rewrite = False

    @classmethod
    def create(cls, directory: Path, before: Head, disk: Disk) -> Segment:
        """A new segment that goes on after `before`; an OSError leaves no file behind."""
        path = segment_path(directory, before.writer, before.seq + 1)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        segment = cls(path, fd, before.seq + 1, 0, disk)
        try:
            os.fchmod(fd, FILE_MODE)
            segment.write(format_segment_start(before), lambda: False)
        except (OSError, PartialWriteError):
            segment.close()
            path.unlink()
            raise
        return segment

    @classmethod
    def reopen(cls, path: Path, first: int, size: int, disk: Disk) -> Segment:
        """The writer's last segment; whatever lies behind `size` is cut off."""
        segment = cls(path, os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), first, size, disk)
        try:
            if os.fstat(segment._fd).st_size > size:
                disk.cut(segment._fd, size)
        except OSError:
            segment.close()
            raise
        return segment

    @property
    def unsynced_bytes(self) -> int:
        return self.size - self.synced_size

    def write(self, data: bytes, on_full: Callable[[], bool]) -> None:
        """Append all of it; `on_full` is asked for room when the disk is full.

        Raises:
            PartialWriteError: not all of it came into the file, which ends after the last whole line again.
        """
        written = 0
        try:
            self.mend()
            while written < len(data):
                rest = memoryview(data)[written:] if written else data
                written += self._write_some(rest, self.size + written, on_full)
        except OSError as error:
            whole = data.rfind(b"\n", 0, written) + 1
            self._keep(data[:whole])
            self._torn = True
            with contextlib.suppress(OSError):
                self.mend()
            raise PartialWriteError(whole, error) from error
        self._keep(data)

    def mend(self) -> None:
        """Cut what a failed write left behind the last whole line; an OSError means that it is still there."""
        if self._torn:
            self._disk.cut(self._fd, self.size)
            self._torn = False

    def _write_some(self, data: bytes | memoryview, offset: int, on_full: Callable[[], bool]) -> int:
        while True:
            try:
                count = self._disk.write(self._fd, data, offset)
            except OSError as error:
                if error.errno not in DISK_FULL or not on_full():
                    raise
            else:
                if count == 0:
                    raise OSError(errno.EIO, "the disk took no bytes")
                return count

    def _keep(self, data: bytes) -> None:
        self.size += len(data)
        self._unsynced.append(data)

    def begin_sync(self) -> list[bytes]:
        """Under the lock: what the sync that follows will make durable."""
        batch, self._unsynced = self._unsynced, []
        return batch

    def sync(self, batch: list[bytes]) -> None:
        """Without the lock: may take as long as the disk likes. Nobody else writes below `synced_size` + batch."""
        if self._rewrite:
            data = memoryview(b"".join(batch))
            done = 0
            while done < len(data):
                done += self._disk.write(self._fd, data[done:], self.synced_size + done)
        self._disk.sync(self._fd)

    def end_sync(self, batch: list[bytes], *, synced: bool) -> None:
        """Under the lock: what came of it. What was not synced is written again by the next attempt."""
        if synced:
            self.synced_size += sum(map(len, batch))
        else:
            self._unsynced = batch + self._unsynced
        self._rewrite = not synced

    def close(self) -> None:
        os.close(self._fd)
