"""Locked memory: the only place where key material lies in plain form.

Invariants: pages come from `memfd_secret` (outside the kernel's direct map, unreadable through /proc even for root), or,
where the kernel has none, from private anonymous memory under `mlock`; `kind` says which. They are in no core dump and
in no child. Memory is constant: a fixed region for keys that stay, and a scratch region that is wiped after every frame.
Canary words stand around both regions.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_MEMFD_SECRET: Final = 447  # The system call's number on x86_64 and aarch64.
_CANARY_BYTES: Final = 32
_MADV_WIPEONFORK: Final = 18
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class ArenaFullError(MemoryError):
    """A region of the arena is used up."""


def wipe(view: memoryview) -> None:
    view[:] = bytes(len(view))


class Region:
    """A bump allocator over a part of the arena."""

    __slots__ = ("_view", "used")

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.used = 0

    def take(self, length: int) -> memoryview:
        """`length` zero bytes of the arena.

        Raises:
            ArenaFullError: the region has no room for them.
        """
        start = self.used
        if start + length > len(self._view):
            raise ArenaFullError
        self.used = start + length
        return self._view[start : start + length]

    def rewind(self, mark: int) -> None:
        """Zero and give back what was taken since `used` was `mark`."""
        wipe(self._view[mark : self.used])
        self.used = mark


class Arena:
    """One locked mapping, cut into canary, lasting keys, canary, scratch, canary."""

    __slots__ = ("_canaries", "_map", "_scratch", "_slots", "_view", "kind", "lasting")

    def __init__(self, lasting_bytes: int = 48 * 1024, scratch_bytes: int = 16 * 1024) -> None:
        total = lasting_bytes + scratch_bytes
        self._map, self.kind = _locked_map(total)
        self._view = memoryview(self._map)
        cuts = (0, lasting_bytes - _CANARY_BYTES, total - _CANARY_BYTES)
        word = os.getrandom(_CANARY_BYTES)
        self._canaries = tuple((self._view[at : at + _CANARY_BYTES], word) for at in cuts)
        for view, value in self._canaries:
            view[:] = value
        self.lasting = Region(self._view[_CANARY_BYTES : lasting_bytes - _CANARY_BYTES])
        self._scratch = Region(self._view[lasting_bytes : total - _CANARY_BYTES])
        self._slots: list[memoryview] = []

    @contextmanager
    def scratch(self) -> Iterator[Region]:
        """Room for the keys of one frame, wiped on the way out, whatever happened."""
        try:
            yield self._scratch
        finally:
            self._scratch.rewind(0)

    def take_slot(self) -> memoryview:
        """32 bytes for a key that outlives a frame but not its connection; give it back with `release_slot`."""
        return self._slots.pop() if self._slots else self.lasting.take(32)

    def release_slot(self, slot: memoryview) -> None:
        wipe(slot)
        self._slots.append(slot)

    def canaries_intact(self) -> bool:
        return all(view == value for view, value in self._canaries)

    def zeroize(self) -> None:
        """Overwrite everything, canaries included: the module is not usable afterwards."""
        wipe(self._view)


def _locked_map(length: int) -> tuple[mmap.mmap, str]:
    descriptor = _LIBC.syscall(_MEMFD_SECRET, 0)
    if descriptor >= 0:
        os.ftruncate(descriptor, length)
        try:
            mapping = _map_without_descriptor(descriptor, length)
            kind = "memfd_secret"
        except OSError:  # More than RLIMIT_MEMLOCK allows.
            mapping, kind = _mlocked_map(length)
        finally:
            os.close(descriptor)
    else:
        mapping, kind = _mlocked_map(length)
    mapping.madvise(mmap.MADV_DONTFORK)
    mapping.madvise(mmap.MADV_DONTDUMP)
    return mapping, kind


def _map_without_descriptor(descriptor: int, length: int) -> mmap.mmap:
    """Memory whose descriptor nobody has: with one, root can map it elsewhere (pidfd_getfd(2)), and `mmap` keeps a copy."""
    copy = os.dup(descriptor)
    os.close(copy)
    mapping = mmap.mmap(descriptor, length, flags=mmap.MAP_SHARED)
    # The lowest number that is free is taken, so it is this one again; what the mapping closes at its end is nothing.
    assert os.path.samestat(os.fstat(copy), os.fstat(descriptor))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, copy, inheritable=False)
    os.close(nothing)
    return mapping


def _mlocked_map(length: int) -> tuple[mmap.mmap, str]:
    mapping = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    locked = _LIBC.mlock(ctypes.c_void_p(address), ctypes.c_size_t(length)) == 0
    mapping.madvise(_MADV_WIPEONFORK)
    return mapping, "mlock" if locked else "unlocked"
