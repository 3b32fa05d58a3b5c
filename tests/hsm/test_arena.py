"""Locked memory: bounds, wiping, canaries, and what a child process sees."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
from pathlib import Path

import pytest

from strongroom.hsm import arena as arena_module
from strongroom.hsm.arena import Arena, ArenaFullError, Region


def test_the_kind_of_memory_is_told_truly(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena()
    kind = arena.kind
    assert kind in {"memfd_secret", "mlock", "unlocked"}
    if kind == "memfd_secret":
        assert "secretmem" in Path("/proc/self/maps").read_text()
    # A kernel without memfd_secret: the call fails, and the fallback says what it is.
    monkeypatch.setattr(arena_module, "_MEMFD_SECRET", -1)
    fallback = Arena()
    assert fallback.kind in {"mlock", "unlocked"}
    assert fallback.canaries_intact()


def test_no_descriptor_of_the_arena_stays_open() -> None:
    """By one, root maps the arena into another process (pidfd_getfd(2)), and Python's `mmap` keeps a copy of its own."""
    arena = Arena()
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # The listing's own.
            assert "secretmem" not in str(entry.readlink())
    arena.lasting.take(32)[:] = b"k" * 32
    assert arena.canaries_intact()


def test_a_region_gives_no_more_than_it_has_and_no_byte_twice() -> None:
    region = Region(memoryview(bytearray(64)))
    one, other = region.take(40), region.take(24)
    one[:] = b"\x01" * 40
    assert bytes(other) == bytes(24)
    with pytest.raises(ArenaFullError):
        region.take(1)
    region.rewind(40)
    assert bytes(one) == b"\x01" * 40
    assert bytes(region.take(24)) == bytes(24)


def test_the_scratch_region_is_wiped_whatever_happened() -> None:
    arena = Arena()
    views = []

    def work() -> None:
        with arena.scratch() as scratch:
            views.append(scratch.take(32))
            views[0][:] = b"k" * 32
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert bytes(views[0]) == bytes(32)
    assert arena.canaries_intact()


def test_full_regions_do_not_touch_a_canary() -> None:
    arena = Arena(4096, 4096)
    lasting = arena.lasting.take(4096 - 64)
    lasting[:] = b"\xff" * len(lasting)
    with arena.scratch() as scratch:
        view = scratch.take(4096 - 32)
        view[:] = b"\xff" * len(view)
        assert arena.canaries_intact()
    for exhausted in (arena.lasting.take, arena.take_slot):
        with pytest.raises(ArenaFullError):
            exhausted(*((1,) if exhausted == arena.lasting.take else ()))


def test_every_byte_of_every_canary_counts() -> None:
    arena = Arena()
    for view, _ in arena._canaries:
        for at in range(len(view)):
            view[at] ^= 0x10
            assert not arena.canaries_intact()
            view[at] ^= 0x10
    assert arena.canaries_intact()


def test_two_arenas_have_different_canaries() -> None:
    assert Arena()._canaries[0][1] != Arena()._canaries[0][1]


def test_a_slot_is_wiped_and_used_again() -> None:
    arena = Arena()
    slot = arena.take_slot()
    slot[:] = b"s" * 32
    arena.release_slot(slot)
    used = arena.lasting.used
    assert bytes(arena.take_slot()) == bytes(32)
    assert arena.lasting.used == used


def test_zeroize_leaves_nothing() -> None:
    arena = Arena()
    arena.lasting.take(100)[:] = b"k" * 100
    arena.zeroize()
    assert not any(arena._view)
    assert not arena.canaries_intact()


@pytest.mark.parametrize("kernel", ["as it is", "without memfd_secret"])
def test_a_child_has_none_of_it(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Class 13: the arena is not inherited, so a forked child that touches it dies instead of reading keys."""
    if kernel != "as it is":
        monkeypatch.setattr(arena_module, "_MEMFD_SECRET", -1)
    arena = Arena()
    view = arena.lasting.take(32)
    view[:] = b"k" * 32
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        try:
            seen = bytes(view)
        except BaseException:  # noqa: BLE001 -- the child must not come back into the test runner.
            os._exit(3)
        os._exit(1 if any(seen) else 2)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) in {signal.SIGSEGV, signal.SIGBUS}
    assert bytes(view) == b"k" * 32


def flags_of(address: int) -> set[str]:
    """The VmFlags of the mapping that holds an address (proc(5))."""
    holds = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first:
            start, end = (int(part, 16) for part in first.split("-"))
            holds = start <= address < end
        elif holds and first == "VmFlags:":
            return set(line.split()[1:])
    raise LookupError(hex(address))


@pytest.mark.parametrize("kernel", ["as it is", "without memfd_secret"])
def test_the_arena_is_in_no_core_dump_and_no_child(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernel != "as it is":
        monkeypatch.setattr(arena_module, "_MEMFD_SECRET", -1)
    arena = Arena()
    flags = flags_of(ctypes.addressof(ctypes.c_char.from_buffer(arena._map)))
    assert flags >= {"dd", "dc"}  # Not in a dump, not copied on fork.
    if arena.kind != "unlocked":
        assert "lo" in flags
