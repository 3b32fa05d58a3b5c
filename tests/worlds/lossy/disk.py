"""What a power cut may leave of what `recorder.c` wrote down.

Durable is what a finished sync covers, and no more: a file's bytes by a sync of the file, a name, a directory's too, by a
sync of the directory that it stands in (POSIX promises no more, though ext4 does more). Of the rest a cut keeps nothing, or
all of it, or what chance leaves: of unsynced writes any 512-byte sectors, in whatever order they were made, of the changes
of names in a directory the first few.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

SECTOR_BYTES: Final = 512
# What a file of this name receives is no part of the disk: it is what the program tells its watchers.
WORDS: Final = "words"

_HEAD: Final = struct.Struct("=ciQII")


class Event(NamedTuple):
    """One record of the recorder."""

    operation: str
    descriptor: int
    number: int
    one: bytes
    two: bytes


class _Change(NamedTuple):
    """A write at an offset, or with no data a new size."""

    offset: int
    data: bytes | None


@dataclass(eq=False)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[_Change] = field(default_factory=list)
    # How many changes ever became durable: a sync that ends covers those before it began.
    settled: int = 0

    def settle(self, count: int) -> None:
        done = max(0, count - self.settled)
        for change in self.pending[:done]:
            _apply(self.durable, change.offset, change.data)
        del self.pending[:done]
        self.settled += done


class _Name(NamedTuple):
    """In a directory a name came to mean this file or directory, or none."""

    name: str
    file: _File | _Directory | None


@dataclass(eq=False)
class _Directory:
    durable: dict[str, _File | _Directory] = field(default_factory=dict)
    pending: list[_Name] = field(default_factory=list)
    settled: int = 0

    def settle(self, count: int) -> None:
        done = max(0, count - self.settled)
        for change in self.pending[:done]:
            _rename(self.durable, change)
        del self.pending[:done]
        self.settled += done


def events(log: bytes) -> list[Event]:
    found, at = [], 0
    while at < len(log):
        operation, descriptor, number, one, two = _HEAD.unpack_from(log, at)
        at += _HEAD.size
        parts = log[at : at + one], log[at + one : at + one + two]
        found.append(Event(operation.decode(), descriptor, number, *parts))
        at += one + two
    return found


class LossyDisk:
    """The disk below `root` as it was after some of the events; `lose` says what a cut at this moment leaves."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self.words = bytearray()
        # Those that were made, and the root, which was there.
        self._directories: dict[Path, _Directory] = {self._root: _Directory()}
        self._now: dict[Path, _File] = {}
        self._open: dict[int, _File | _Directory] = {}
        # Syncs under way: what they are of, and how many changes it had seen when they began.
        self._syncs: dict[int, tuple[_File | _Directory, int]] = {}

    def after(self, event: Event) -> None:
        """One event more."""
        acts: dict[str, Callable[[Event], None]] = {
            "o": self._opened,
            "d": self._opened_directory,
            "m": self._made,
            "c": self._closed,
            "r": self._renamed,
            "u": self._unlinked,
            "w": self._written,
            "t": self._cut,
            "b": self._sync_began,
            "e": self._sync_ended,
        }
        acts[event.operation](event)

    def _opened(self, event: Event) -> None:
        path = Path(os.fsdecode(event.one))
        file = self._now.get(path)
        if file is None:
            assert event.number & os.O_CREAT, f"{path} was there before the recording"
            file = self._now[path] = _File()
            self._name(path, file)
        if event.number & os.O_TRUNC:
            file.pending.append(_Change(0, None))
        self._open[event.descriptor] = file

    def _opened_directory(self, event: Event) -> None:
        self._open[event.descriptor] = self._directories[Path(os.fsdecode(event.one))]

    def _made(self, event: Event) -> None:
        path = Path(os.fsdecode(event.one))
        directory = self._directories[path] = _Directory()
        self._name(path, directory)

    def _closed(self, event: Event) -> None:
        del self._open[event.descriptor]

    def _written(self, event: Event) -> None:
        file = self._file(event)
        if file is self._now.get(self._root / WORDS):
            self.words += event.one
        else:
            file.pending.append(_Change(event.number, event.one))

    def _cut(self, event: Event) -> None:
        self._file(event).pending.append(_Change(event.number, None))

    def _sync_began(self, event: Event) -> None:
        synced = self._open[event.descriptor]
        self._syncs[event.number] = synced, synced.settled + len(synced.pending)

    def _sync_ended(self, event: Event) -> None:
        synced, count = self._syncs.pop(event.number)
        synced.settle(count)

    def _renamed(self, event: Event) -> None:
        source, target = Path(os.fsdecode(event.one)), Path(os.fsdecode(event.two))
        assert source.parent == target.parent, "a rename within a directory is one change of it"
        file = self._now[target] = self._now.pop(source)
        self._name(target, file)

    def _unlinked(self, event: Event) -> None:
        path = Path(os.fsdecode(event.one))
        del self._now[path]
        self._name(path, None)

    def _name(self, path: Path, file: _File | _Directory | None) -> None:
        self._directories[path.parent].pending.append(_Name(path.name, file))

    def _file(self, event: Event) -> _File:
        file = self._open[event.descriptor]
        assert isinstance(file, _File)
        return file

    def lose(self, chance: random.Random, to: Path, *, at_its_worst: bool = False) -> None:
        """Write down what a cut at this moment leaves; at its worst, nothing but what is durable."""
        keep = _nothing if at_its_worst else chance.choice((_nothing, _everything, _some))
        _write_down(self._directories[self._root], to, keep, chance)


_Keep = Callable[[random.Random], bool]


def _nothing(_chance: random.Random) -> bool:
    return False


def _everything(_chance: random.Random) -> bool:
    return True


def _some(chance: random.Random) -> bool:
    return chance.random() < 0.5


def _kept_names(keep: _Keep, count: int, chance: random.Random) -> int:
    return {_nothing: 0, _everything: count}.get(keep, chance.randint(0, count))


def _write_down(directory: _Directory, to: Path, keep: _Keep, chance: random.Random) -> None:
    names = dict(directory.durable)
    for change in directory.pending[: _kept_names(keep, len(directory.pending), chance)]:
        _rename(names, change)
    for name, file in names.items():
        if isinstance(file, _Directory):
            (to / name).mkdir(mode=0o700)
            _write_down(file, to / name, keep, chance)
        elif name != WORDS:
            (to / name).write_bytes(_left(file, keep, chance))


def _rename(names: dict[str, _File | _Directory], change: _Name) -> None:
    """What held the file before is another name of it, and goes."""
    for name in [name for name, file in names.items() if file is change.file]:
        del names[name]
    names.pop(change.name, None)
    if change.file is not None:
        names[change.name] = change.file


def _left(file: _File, keep: _Keep, chance: random.Random) -> bytes:
    content = bytearray(file.durable)
    for change in file.pending:
        for offset, data in _sectors(change):
            if keep(chance):
                _apply(content, offset, data)
    return bytes(content)


def _sectors(change: _Change) -> Iterator[tuple[int, bytes | None]]:
    if change.data is None:
        yield change
        return
    at, end = change.offset, change.offset + len(change.data)
    while at < end:
        boundary = min(end, at - at % SECTOR_BYTES + SECTOR_BYTES)
        yield at, change.data[at - change.offset : boundary - change.offset]
        at = boundary


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        content[offset:] = bytes(max(0, offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data
