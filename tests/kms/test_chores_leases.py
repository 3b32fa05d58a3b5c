"""Leases and their fences: two workers on one store, and neither undoes the other's work or does it twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.kms.chores.clock_guard import ClockGuard
from strongroom.kms.chores.deletion import KeyDeletion
from strongroom.kms.chores.leases import LEASE_S, Lease
from strongroom.kms.chores.rotation import KeyRotation
from strongroom.kms.repositories import ConflictError, KeyRecord, LeaseRecord, MarkRecord, Put
from testkit.module import REGION, Hsm, operational_hsm
from testkit.worker import DAY_S, START_S, Clocks, Worker

NAME = "a-chore"


@pytest.fixture(scope="module")
def hsm() -> Hsm:
    return operational_hsm()


@pytest.fixture
def in_room(tmp_path: Path, hsm: Hsm) -> Callable[[Callable[[Worker, Worker], Awaitable[None]]], None]:
    """Two workers of one home."""

    def enter(scene: Callable[[Worker, Worker], Awaitable[None]]) -> None:
        async def main() -> None:
            clocks = Clocks()
            with Worker(tmp_path, hsm, clocks, "w1") as one, Worker(tmp_path, hsm, clocks, "w2") as other:
                await scene(one, other)

        asyncio.run(main())

    return enter


def mark(value: float, version: int = 1) -> MarkRecord:
    return MarkRecord(name="work", version=version, value=value)


# ── the lease ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_of_two_workers_holds_a_lease_until_it_expires(in_room: Any) -> None:
    async def scene(one: Worker, other: Worker) -> None:
        mine, theirs = Lease(one.store, NAME, "w1"), Lease(other.store, NAME, "w2")
        assert await mine.take(START_S)
        assert not await theirs.take(START_S)
        assert not await theirs.take(START_S + LEASE_S - 0.001)
        assert await mine.take(START_S + 30)
        assert not await theirs.take(START_S + LEASE_S)
        assert await theirs.take(START_S + 30 + LEASE_S)
        assert not await mine.take(START_S + 30 + LEASE_S)

    in_room(scene)


def test_of_workers_that_ask_at_once_one_gets_it(in_room: Any) -> None:
    async def scene(one: Worker, other: Worker) -> None:
        leases = [Lease(worker.store, NAME, f"{number}") for number, worker in enumerate([one, other] * 4)]
        taken = await asyncio.gather(*[lease.take(START_S) for lease in leases])
        assert sum(taken) == 1

    in_room(scene)


def test_a_worker_that_was_started_anew_goes_on_at_once(in_room: Any) -> None:
    async def scene(one: Worker, _: Worker) -> None:
        predecessor, successor = Lease(one.store, NAME, "w1"), Lease(one.store, NAME, "w1")
        assert await predecessor.take(START_S)
        assert await successor.take(START_S + 1)
        # And the predecessor, should it still live somewhere, is out.
        with pytest.raises(ConflictError):
            await one.store.commit([predecessor.fence(START_S + 2)])

    in_room(scene)


def test_a_lease_from_a_clock_that_was_ahead_binds_nobody(in_room: Any) -> None:
    async def scene(one: Worker, other: Worker) -> None:
        assert await Lease(one.store, NAME, "w1").take(START_S + 3 * DAY_S)
        assert await Lease(other.store, NAME, "w2").take(START_S)

    in_room(scene)


# ── the fence ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_holder_that_was_stopped_and_lost_its_lease_cannot_commit(in_room: Any) -> None:
    async def scene(one: Worker, other: Worker) -> None:
        mine, theirs = Lease(one.store, NAME, "w1"), Lease(other.store, NAME, "w2")
        assert await mine.take(START_S)
        # Here it stands still for longer than its lease; the other goes on.
        later_s = START_S + LEASE_S + 1
        assert await theirs.take(later_s)
        fence = theirs.fence(later_s)
        await other.store.commit([fence, Put(mark(2.0), replaces=None)])
        theirs.passed(fence)
        # It wakes up, and believes that no time has passed.
        with pytest.raises(ConflictError):
            await one.store.commit([mine.fence(START_S), Put(mark(1.0, 2), replaces=1)])
        assert await mine.is_lost()
        assert (await one.store.get(MarkRecord, "work")) == mark(2.0)
        fence = theirs.fence(later_s)
        await other.store.commit([fence, Put(mark(3.0, 2), replaces=1)])

    in_room(scene)


def test_a_holder_that_was_stopped_but_kept_its_lease_goes_on(in_room: Any) -> None:
    """Nobody wanted the lease meanwhile: nothing depends on its expiry."""

    async def scene(one: Worker, _: Worker) -> None:
        mine = Lease(one.store, NAME, "w1")
        assert await mine.take(START_S)
        fence = mine.fence(START_S + 100 * LEASE_S)
        await one.store.commit([fence])
        mine.passed(fence)
        assert not await mine.is_lost()

    in_room(scene)


def test_every_commit_renews_the_lease_by_one_version(in_room: Any) -> None:
    async def scene(one: Worker, other: Worker) -> None:
        mine = Lease(one.store, NAME, "w1")
        assert await mine.take(START_S)
        for number in range(1, 6):
            fence = mine.fence(START_S + number)
            await one.store.commit([fence])
            mine.passed(fence)
            record = await other.store.get(LeaseRecord, NAME)
            assert record == LeaseRecord(
                name=NAME, version=1 + number, holder="w1", expires_at_s=START_S + number + LEASE_S
            )

    in_room(scene)


# ── the chores under it ─────────────────────────────────────────────────────────────────────────────────────────────────


async def stop_before_commit(worker: Worker, chore: Awaitable[None], meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Run a chore; when it is about to change a key, it stands still while something else happens."""
    commit = worker.store.commit

    async def stand_still(changes: Any) -> None:
        if any(isinstance(change.record, KeyRecord) for change in changes):
            worker.store.commit = commit  # type: ignore[method-assign]
            await meanwhile()
        await commit(changes)

    worker.store.commit = stand_still  # type: ignore[method-assign]
    await chore


def test_a_rotation_whose_worker_stood_still_is_done_once_by_another(in_room: Any) -> None:
    async def scene(one: Worker, other: Worker) -> None:
        keys = [str((await one.call("CreateKey"))["KeyMetadata"]["KeyId"]) for _ in range(5)]
        for key_id in keys:
            await one.call("EnableKeyRotation", KeyId=key_id, RotationPeriodInDays=90)
        one.clocks.pass_s(90 * DAY_S)
        due_s = one.clocks()
        mine, theirs = (
            KeyRotation(worker.service, ClockGuard(worker.store, REGION, one.clocks.uptime), worker.name)
            for worker in (one, other)
        )

        async def take_over() -> None:
            one.clocks.pass_s(LEASE_S + 1)
            await theirs.run(one.clocks())

        await stop_before_commit(one, mine.run(due_s), take_over)
        for key_id in keys:
            materials = await one.store.materials_of(key_id)
            assert len(materials) == 2, "rotated once, by the other"
        assert {event["eventName"] for event in one.events() if "phase" not in event} >= {"CreateKey"}
        done = [e for e in [*one.events(), *other.events()] if e["eventName"] == "RotateKey" and "phase" not in e]
        assert len(done) == len(keys)

    in_room(scene)


def test_a_deletion_whose_worker_stood_still_is_done_once_by_another(in_room: Any) -> None:
    async def scene(one: Worker, other: Worker) -> None:
        keys = [str((await one.call("CreateKey"))["KeyMetadata"]["KeyId"]) for _ in range(5)]
        guards = [ClockGuard(worker.store, REGION, one.clocks.uptime) for worker in (one, other)]
        for guard in guards:
            await guard.observe(one.clocks())
        for key_id in keys:
            await one.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        one.clocks.pass_s(7 * DAY_S)
        due_s = one.clocks()
        mine, theirs = (
            KeyDeletion(worker.service, guard, worker.name) for worker, guard in zip((one, other), guards, strict=True)
        )

        async def take_over() -> None:
            one.clocks.pass_s(LEASE_S + 1)
            await theirs.run(one.clocks())

        await stop_before_commit(one, mine.run(due_s), take_over)
        for key_id in keys:
            assert await one.store.get(KeyRecord, key_id) is None
        done = [e for e in [*one.events(), *other.events()] if e["eventName"] == "DeleteKey" and "phase" not in e]
        assert len(done) == len(keys)

    in_room(scene)


def test_two_workers_that_run_at_once_rotate_each_key_once(in_room: Any) -> None:
    async def scene(one: Worker, other: Worker) -> None:
        keys = [str((await one.call("CreateKey"))["KeyMetadata"]["KeyId"]) for _ in range(10)]
        for key_id in keys:
            await one.call("EnableKeyRotation", KeyId=key_id, RotationPeriodInDays=90)
        one.clocks.pass_s(90 * DAY_S)
        guards = [ClockGuard(worker.store, REGION, one.clocks.uptime) for worker in (one, other)]
        for guard in guards:
            await guard.observe(one.clocks())
        chores = [
            KeyRotation(worker.service, guard, worker.name) for worker, guard in zip((one, other), guards, strict=True)
        ]
        await asyncio.gather(*[chore.run(one.clocks()) for chore in chores])
        for key_id in keys:
            assert len(await one.store.materials_of(key_id)) == 2

    in_room(scene)
