"""Room that is held back for the calls in flight when the disk fills up.

A file of allocated, unused blocks. When the disk is full for the first time it is removed, and the records of what was
already done fit into its place; it is made again once there is room for two of it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from strongroom.kms.audit.segments import FILE_MODE, Disk


class Reserve:
    """One writer's reserve."""

    __slots__ = ("_directory", "_disk", "_path", "_size", "held")

    def __init__(self, directory: Path, writer: str, size: int, disk: Disk) -> None:
        self._directory = directory
        self._path = directory / f"reserve-{writer}"
        self._size = size
        self._disk = disk
        self.held = False

    @property
    def missing(self) -> bool:
        return self._size > 0 and not self.held

    def release(self) -> bool:
        """Give the room back; False when there is none to give."""
        if not self.held:
            return False
        self.held = False
        with contextlib.suppress(OSError):
            self._path.unlink()
            return True
        return False

    def make(self) -> None:
        """Take the room; without it the trail works too, only it refuses sooner."""
        if not self.missing:
            return
        try:
            known = self._path.exists()
            if not known and self._disk.free_bytes(self._directory) < 2 * self._size:
                return
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        except OSError:
            return
        try:
            self._disk.allocate(fd, self._size)
            self.held = True
        except OSError:
            with contextlib.suppress(OSError):
                self._path.unlink()
        finally:
            os.close(fd)
