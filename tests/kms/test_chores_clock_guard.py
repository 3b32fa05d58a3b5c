"""The clock guard: a jump of more than a day holds what destroys, in every worker and over every restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.boundary.secret import StoreKey
from strongroom.kms.chores.clock_guard import ClockGuard, held_since_s
from strongroom.kms.repositories import MarkRecord, StoreUnavailableError
from strongroom.kms.storage.sqlite import SqliteStore
from testkit.module import REGION
from testkit.worker import DAY_S, START_S, Clocks

HOUR_S = 3600.0
MINUTE_S = 60.0


class Room:
    """A store with as many workers' guards as a test likes; all share the clocks, as processes of one machine do."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.clocks = Clocks()
        self.guard = self.another()

    def another(self) -> ClockGuard:
        return ClockGuard(self.store, REGION, self.clocks.uptime)

    async def look(self, *guards: ClockGuard) -> bool:
        """Let the guards look; whether the last of them holds."""
        held = False
        for guard in guards or (self.guard,):
            held = await guard.observe(self.clocks())
        return held

    async def run(self, hours: float, *guards: ClockGuard, every_s: float = MINUTE_S) -> bool:
        """The clock runs steadily, with a look at every minute; whether the last look holds."""
        held = False
        for _ in range(round(hours * HOUR_S / every_s)):
            self.clocks.pass_s(every_s)
            held = await self.look(*guards)
        return held

    async def hold(self) -> None:
        """A jump that holds."""
        await self.look()
        self.clocks.now_s += 2 * DAY_S
        assert await self.look()

    def reboot(self, off_s: float) -> None:
        """The machine is off; then its uptime begins anew, and so does the worker."""
        self.clocks.now_s += off_s
        self.clocks.uptime_s = 20.0
        self.guard = self.another()

    async def accept(self) -> float | None:
        """What the operator's command does, without an operator."""
        from strongroom.kms.chores import clock_guard

        marks = await clock_guard._read(self.store, REGION)
        hold = None if marks.held_since_s is None else 0.0
        await self.store.commit(clock_guard._changes(marks, REGION, seen_s=self.clocks(), hold=hold, steady_s=hold))
        return marks.held_since_s

    async def mark(self, name: str) -> float | None:
        record = await self.store.get(MarkRecord, f"clock-{name}:{REGION}")
        return None if record is None else record.value


@pytest.fixture
def in_room(tmp_path: Path) -> Callable[[Callable[[Room], Awaitable[None]]], None]:
    def enter(scene: Callable[[Room], Awaitable[None]]) -> None:
        async def main() -> None:
            store = SqliteStore(tmp_path / "store.db")
            store.unlock(StoreKey(bytes(32)))
            try:
                await scene(Room(store))
            finally:
                store.close()

        asyncio.run(main())

    return enter


# ── no jump ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clock_that_runs_holds_nothing(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        assert not await room.look()
        assert not await room.run(72, every_s=HOUR_S)
        assert room.guard.held_since_s is None
        assert await room.mark("hold") is None

    in_room(scene)


def test_the_last_time_seen_is_written_once_a_minute_at_most(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.look()
        written = room.store.stats.commits
        for _ in range(59):
            room.clocks.pass_s(1)
            await room.look()
        assert room.store.stats.commits == written
        assert await room.mark("seen") == START_S
        room.clocks.pass_s(1)
        await room.look()
        assert room.store.stats.commits == written + 1
        assert await room.mark("seen") == START_S + 60

    in_room(scene)


@pytest.mark.parametrize("jump_s", [DAY_S - 1, 1 - DAY_S, HOUR_S, -HOUR_S])
def test_a_jump_of_less_than_a_day_holds_nothing(in_room: Any, jump_s: float) -> None:
    """Summer time, or a machine in the wrong time zone."""

    async def scene(room: Room) -> None:
        await room.look()
        room.clocks.now_s += jump_s
        assert not await room.look()

    in_room(scene)


def test_a_machine_that_slept_did_not_jump(in_room: Any) -> None:
    """CLOCK_BOOTTIME goes on while it sleeps; the worker was stopped for days, and its clock is right."""

    async def scene(room: Room) -> None:
        await room.look()
        room.clocks.pass_s(5 * DAY_S)
        assert not await room.look()

    in_room(scene)


def test_a_short_restart_holds_nothing(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.look()
        room.reboot(DAY_S - 1)
        assert not await room.look()

    in_room(scene)


# ── a jump ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("jump_s", [DAY_S + 1, -DAY_S - 1, 400 * DAY_S, -400 * DAY_S])
def test_a_jump_of_more_than_a_day_holds_and_alarms(in_room: Any, caplog: Any, jump_s: float) -> None:
    async def scene(room: Room) -> None:
        await room.look()
        room.clocks.now_s += jump_s
        with caplog.at_level(logging.WARNING, "strongroom.kms"):
            assert await room.look()
        assert room.guard.held_since_s == room.clocks()
        assert await held_since_s(room.store, REGION) == room.clocks()
        assert f"jumped by {jump_s / HOUR_S:.1f} hours" in caplog.text
        assert await room.run(1)
        assert caplog.text.count("jumped") == 1

    in_room(scene)


@pytest.mark.parametrize("off_s", [DAY_S + 1, 90 * DAY_S, -DAY_S - 1])
def test_a_machine_that_was_off_for_more_than_a_day_holds(in_room: Any, off_s: float) -> None:
    """Or a backup was restored, or the clock was set while nobody looked."""

    async def scene(room: Room) -> None:
        await room.look()
        room.reboot(off_s)
        assert await room.look()

    in_room(scene)


def test_jumps_that_add_up_to_more_than_a_day_hold(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.look()
        held = []
        for _ in range(4):
            room.clocks.pass_s(MINUTE_S)
            room.clocks.now_s += 10 * HOUR_S
            held.append(await room.look())
        assert held == [False, False, True, True]

    in_room(scene)


def test_another_worker_that_sees_the_same_jump_begins_no_second_hold(in_room: Any, caplog: Any) -> None:
    async def scene(room: Room) -> None:
        guards = [room.guard, room.another(), room.another()]
        await room.look(*guards)
        room.clocks.now_s += 3 * DAY_S
        for guard in guards:
            assert await guard.observe(room.clocks())
        assert caplog.text.count("jumped") == 1
        # And none of them begins one when the operator has accepted the clock before it looked again.
        room.clocks.now_s += 3 * DAY_S
        assert await room.look(guards[0])
        await room.accept()
        assert not await room.look(guards[1])
        assert not await room.look(guards[2])
        assert not await room.look(guards[0])

    in_room(scene)


# ── the end of a hold ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_ends_when_the_clock_ran_steadily_for_a_day(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.hold()
        assert await room.run(23.9)
        assert not await room.run(0.2)
        assert room.guard.held_since_s is None
        assert not await room.run(48, every_s=HOUR_S)

    in_room(scene)


def test_looking_more_often_makes_a_day_neither_longer_nor_shorter(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.hold()
        assert await room.run(23.9, every_s=17.0)
        assert not await room.run(0.2, every_s=17.0)

    in_room(scene)


def test_three_workers_do_not_count_a_minute_three_times(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.hold()
        guards = [room.guard, room.another(), room.another()]
        assert await room.run(23.8, *guards, every_s=50.0)
        assert not await room.run(0.4, *guards, every_s=50.0)

    in_room(scene)


def test_workers_that_all_saw_the_jump_count_one_day_and_not_one_each(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        guards = [room.guard, room.another(), room.another()]
        await room.look(*guards)
        room.clocks.now_s -= 2 * DAY_S
        assert await room.look(*guards)
        for quarter in range(4):
            room.clocks.pass_s(DAY_S / 4)
            first = guards[quarter % 3]
            held = await room.look(first, *guards)
        assert not held

    in_room(scene)


def test_a_restart_does_not_end_a_hold_and_what_was_steady_before_it_counts(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.hold()
        assert await room.run(12)
        room.reboot(6 * HOUR_S)
        # While the machine was off, nobody vouched for the clock.
        assert await room.look()
        assert await room.run(11.9)
        assert not await room.run(0.2)

    in_room(scene)


def test_a_clock_that_strays_during_a_hold_begins_its_day_again(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.hold()
        assert await room.run(23)
        room.clocks.now_s += 2 * HOUR_S
        assert await room.run(23.9)
        assert not await room.run(0.3)

    in_room(scene)


def test_an_operator_ends_a_hold_at_once(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.hold()
        since_s = room.guard.held_since_s
        assert since_s is not None
        assert await room.accept() == since_s
        assert not await room.look()
        assert await room.accept() is None
        # The next jump is one again.
        room.clocks.now_s -= 2 * DAY_S
        assert await room.look()

    in_room(scene)


def test_a_look_that_came_too_late_holds_until_the_next(in_room: Any) -> None:
    """Two workers look at the same moment: the one whose word does not count destroys nothing on it."""

    async def scene(room: Room) -> None:
        other = room.another()
        await room.look(room.guard, other)
        room.clocks.pass_s(MINUTE_S)
        commit = room.store.commit

        async def come_second(changes: Any) -> None:
            room.store.commit = commit  # type: ignore[method-assign]
            await room.look(other)
            await commit(changes)

        room.store.commit = come_second  # type: ignore[method-assign]
        assert await room.look(room.guard)
        assert not await room.look(room.guard)

    in_room(scene)


@pytest.mark.parametrize("restart", [True, False])
def test_a_jump_that_could_not_be_written_is_seen_again(in_room: Any, restart: bool) -> None:
    """The disk is full at the moment of the first look after the jump."""

    async def scene(room: Room) -> None:
        await room.look()
        if restart:
            room.reboot(40 * DAY_S)
        else:
            room.clocks.now_s += 40 * DAY_S
        commit = room.store.commit

        async def refuse(_: Any) -> None:
            raise StoreUnavailableError("the disk is full")

        room.store.commit = refuse  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailableError):
            await room.look()
        room.store.commit = commit  # type: ignore[method-assign]
        room.clocks.pass_s(MINUTE_S)
        assert await room.look()
        assert await held_since_s(room.store, REGION) == room.clocks()

    in_room(scene)


def test_two_chores_that_look_at_once_see_one_jump(in_room: Any, caplog: Any) -> None:
    async def scene(room: Room) -> None:
        await room.look()
        room.clocks.now_s += 40 * DAY_S
        assert await asyncio.gather(*[room.guard.observe(room.clocks()) for _ in range(3)]) == [True] * 3
        assert caplog.text.count("jumped") == 1

    in_room(scene)
