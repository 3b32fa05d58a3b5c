"""Swap for a while: a file that the kernel swaps to, and processes of others whose memory is sent there.

The file is written out in full and then forgotten by the page cache: what the kernel swaps goes to the disk past the file,
and a page of it that was kept, or an extent that was never written, would show zeros.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from testkit.memory import mappings

_PROCESS_MADVISE: Final = 440  # The system call's number on x86_64 and aarch64.
_MADV_PAGEOUT: Final = 21
_BEFORE_OTHERS: Final = 0x8000 | 0x7FFF  # SWAP_FLAG_PREFER, with the highest priority.
_CHUNK_BYTES: Final = 1 << 20
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class RefusedError(OSError):
    """This machine does not swap, or not for us."""


@contextmanager
def swap_file(path: Path, size: int) -> Iterator[None]:
    """Swapped to until the end, whatever happens.

    Raises:
        RefusedError: swapon(2) was refused.
    """
    _format(path, size)
    try:
        if _LIBC.swapon(os.fsencode(path), _BEFORE_OTHERS) != 0:
            raise RefusedError(ctypes.get_errno(), "swapon(2)")
        try:
            yield
        finally:
            assert _LIBC.swapoff(os.fsencode(path)) == 0, os.strerror(ctypes.get_errno())
    finally:
        path.unlink()


def _format(path: Path, size: int) -> None:
    """As mkswap(8) does: version, last page, and the signature at the end of the first page."""
    with path.open("xb") as file:
        path.chmod(0o600)
        for _ in range(0, size, _CHUNK_BYTES):
            file.write(bytes(_CHUNK_BYTES))
        file.seek(1024)
        file.write(struct.pack("=II", 1, size // mmap.PAGESIZE - 1))
        file.seek(mmap.PAGESIZE - 10)
        file.write(b"SWAPSPACE2")
        file.flush()
        os.fsync(file.fileno())
    forget_cached(path)


def forget_cached(path: Path) -> None:
    """Have the next reader read what lies on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


class _Range(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("length", ctypes.c_size_t))


def page_out(pid: int) -> None:
    """Send a process's writable memory to the swap, as a machine would that is short of it.

    Raises:
        RefusedError: process_madvise(2) was refused for all of it.
    """
    process = os.pidfd_open(pid)
    try:
        done = [_page_out(process, at.start, at.end - at.start) for at in mappings(pid) if "w" in at.permissions]
    finally:
        os.close(process)
    if not any(done):
        raise RefusedError(ctypes.get_errno(), "process_madvise(2)")


def _page_out(process: int, start: int, length: int) -> bool:
    """What is locked, or nobody's memory, is refused."""
    whole = _Range(start, length)
    arguments = (process, ctypes.byref(whole), ctypes.c_size_t(1), _MADV_PAGEOUT, 0)
    return bool(_LIBC.syscall(_PROCESS_MADVISE, *arguments) == length)
