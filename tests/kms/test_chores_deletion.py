"""The deletion of keys that are due: everything of them goes, at once or not at all, and nothing stays in the files."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strongroom.kms.audit.segments import AuditUnavailableError
from strongroom.kms.chores.clock_guard import ClockGuard
from strongroom.kms.chores.deletion import KeyDeletion
from strongroom.kms.chores.usage_flush import UsageFlush
from strongroom.kms.faults import AccessDeniedException, NotFoundException
from strongroom.kms.repositories import (
    KeyRecord,
    KeyUsageRecord,
    MarkRecord,
    Remove,
    StoreUnavailableError,
)
from testkit.module import ACCOUNT, REGION, Hsm, operational_hsm
from testkit.raw import b64, key_arn
from testkit.worker import DAY_S, Clocks, Worker

OWED = f"erasure-owed:{REGION}"


class PlantedError(Exception):
    """A crash that a test planted."""


class Room:
    """One worker with the chores that this file is about."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.clocks = worker.clocks
        self.guard = ClockGuard(worker.store, REGION, worker.clocks.uptime)
        self.deletion = KeyDeletion(worker.service, self.guard, worker.name)
        self.flush = UsageFlush(worker.service, worker.log, worker.audit, worker.name)

    async def key(self, *, rotations: int = 0) -> str:
        key_id = str((await self.worker.call("CreateKey"))["KeyMetadata"]["KeyId"])
        for _ in range(rotations):
            await self.worker.call("RotateKeyOnDemand", KeyId=key_id)
        return key_id

    async def blob(self, key_id: str) -> str:
        return str((await self.worker.call("Encrypt", KeyId=key_id, Plaintext=b64(b"x")))["CiphertextBlob"])

    async def delete(self, days: float = 7.0) -> None:
        """Let the days pass, looking at the clock as a worker does, and do the chore."""
        for _ in range(int(days * 2)):
            self.clocks.pass_s(DAY_S / 2)
            await self.guard.observe(self.clocks())
        await self.deletion.run(self.clocks())


@pytest.fixture(scope="module")
def hsm() -> Hsm:
    return operational_hsm()


@pytest.fixture
def in_room(tmp_path: Path, hsm: Hsm) -> Callable[[Callable[[Room], Awaitable[None]]], None]:
    def enter(scene: Callable[[Room], Awaitable[None]]) -> None:
        async def main() -> None:
            with Worker(tmp_path, hsm, Clocks()) as worker:
                room = Room(worker)
                await room.guard.observe(room.clocks())
                await scene(room)

        asyncio.run(main())

    return enter


def files_of(worker: Worker) -> bytes:
    """Every byte of the store: the file, and the log of what is not in it yet."""
    return b"".join(path.read_bytes() for path in sorted(worker.path.parent.glob("store.db*")))


# ── what goes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_goes_when_its_waiting_period_has_ended_and_not_a_second_earlier(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key()
        await room.worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        await room.delete(6.5)
        room.clocks.pass_s(DAY_S / 2 - 1)
        await room.deletion.run(room.clocks())
        assert (await room.worker.call("DescribeKey", KeyId=key_id))["KeyMetadata"]["KeyState"] == "PendingDeletion"
        room.clocks.pass_s(1)
        await room.deletion.run(room.clocks())
        with pytest.raises(NotFoundException) as refused:
            await room.worker.call("DescribeKey", KeyId=key_id)
        assert refused.value.message == f"Key '{key_arn(key_id)}' does not exist"

    in_room(scene)


def test_everything_of_a_key_goes_and_nothing_of_another(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        worker, store = room.worker, room.worker.store
        gone, kept = await room.key(rotations=3), await room.key(rotations=3)
        for number, key_id in enumerate((gone, kept, gone, kept)):
            await worker.call("CreateAlias", AliasName=f"alias/{number}", TargetKeyId=key_id)
        lost, still = await room.blob(gone), await room.blob(kept)
        await room.flush.run(room.clocks())
        assert await store.get(KeyUsageRecord, gone) is not None
        await worker.call("ScheduleKeyDeletion", KeyId=gone)
        await room.delete(30)
        for kind in (KeyRecord, KeyUsageRecord):
            assert await store.get(kind, gone) is None
            assert await store.get(kind, kept) is not None
        assert await store.materials_of(gone) == []
        assert len(await store.materials_of(kept)) == 4
        aliases = (await worker.call("ListAliases"))["Aliases"]
        assert [(entry["AliasName"], entry["TargetKeyId"]) for entry in aliases] == [
            ("alias/1", kept),
            ("alias/3", kept),
        ]
        assert [entry["KeyId"] for entry in (await worker.call("ListKeys"))["Keys"]] == [kept]
        with pytest.raises(NotFoundException):
            await worker.call("DescribeKey", KeyId="alias/0")
        # As the blob of a key that nobody ever had.
        words = []
        for blob in (lost, b64(b"SRCB\x01" + bytes(132))):
            with pytest.raises(AccessDeniedException) as refused:
                await worker.call("Decrypt", CiphertextBlob=blob)
            words.append(refused.value.message)
        assert words[0] == words[1]
        assert (await worker.call("Decrypt", CiphertextBlob=still))["Plaintext"] == b64(b"x")

    in_room(scene)


def test_nothing_of_a_deleted_keys_material_is_left_in_the_files(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        worker, store = room.worker, room.worker.store
        keys = [await room.key(rotations=number % 4) for number in range(120)]
        doomed = [material for key_id in keys[::2] for material in await store.materials_of(key_id)]
        others = [material for key_id in keys[1::2] for material in await store.materials_of(key_id)]
        before = files_of(worker)
        assert all(material.ekt in before and material.hbkid in before for material in doomed)
        for key_id in keys[::2]:
            await worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        await room.delete()
        after = files_of(worker)
        left = [m for m in doomed if m.ekt in after or m.hbkid in after or m.ekt[8:40] in after or m.ekt[-32:] in after]
        assert left == []
        assert all(material.ekt in after for material in others)
        assert await store.get(MarkRecord, OWED) is None

    in_room(scene)


def test_a_cancelled_deletion_is_not_done(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key()
        await room.worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        await room.worker.call("CancelKeyDeletion", KeyId=key_id)
        await room.delete(40)
        assert (await room.worker.call("DescribeKey", KeyId=key_id))["KeyMetadata"]["KeyState"] == "Disabled"

    in_room(scene)


def test_the_trail_tells_of_a_deletion_as_cloudtrail_does(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key()
        await room.worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        await room.delete()
        intent, event = (event for event in room.worker.events() if event["eventName"] == "DeleteKey")
        assert intent["phase"] == "intent"
        assert event.pop("eventID") != intent["eventID"]
        assert event == {
            "eventVersion": "1.11",
            "userIdentity": {"accountId": ACCOUNT, "invokedBy": "AWS Internal"},
            "eventTime": event["eventTime"],
            "eventSource": "kms.amazonaws.com",
            "eventName": "DeleteKey",
            "awsRegion": REGION,
            "sourceIPAddress": "AWS Internal",
            "userAgent": "AWS Internal",
            "requestParameters": None,
            "responseElements": {"keyId": key_arn(key_id)},
            "requestID": "",
            "readOnly": False,
            "resources": [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key_arn(key_id)}],
            "eventType": "AwsServiceEvent",
            "managementEvent": True,
            "eventCategory": "Management",
            "recipientAccountId": ACCOUNT,
            "serviceEventDetails": {"keyId": key_id},
        }

    in_room(scene)


# ── what is interrupted ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", ["intent", "commit", "event", "erase", "note"])
def test_a_crash_between_two_steps_is_made_good_by_the_next_run(in_room: Any, step: str) -> None:
    """And nobody ever sees half a key: it is there with all its materials, or it is gone."""

    async def scene(room: Room) -> None:
        worker, store = room.worker, room.worker.store
        key_id = await room.key(rotations=2)
        materials = await store.materials_of(key_id)
        await worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        mended = crash_at(room, step)
        with pytest.raises(PlantedError):
            await room.delete()
        mended()
        is_gone = step not in {"intent", "commit"}
        assert (await store.get(KeyRecord, key_id) is None) == is_gone
        assert len(await store.materials_of(key_id)) == (0 if is_gone else 3)
        # Another process starts where this one ended.
        room.clocks.pass_s(61)
        successor = KeyDeletion(worker.service, room.guard, "w2")
        await successor.run(room.clocks())
        assert await store.get(KeyRecord, key_id) is None
        assert await store.get(MarkRecord, OWED) is None
        left = files_of(worker)
        assert not any(material.ekt in left for material in materials)
        told = [e for e in worker.events() if e["eventName"] == "DeleteKey" and "phase" not in e]
        assert [event["responseElements"] for event in told] == [{"keyId": key_arn(key_id)}]
        assert await store.list_marks("deletion-untold:", 10) == []

    in_room(scene)


def crash_at(room: Room, step: str) -> Callable[[], None]:
    """Plant a crash before a step; what is given back takes it out."""
    worker, store = room.worker, room.worker.store
    event, commit, erase = worker.trail.service_event, store.commit, store.erase

    async def crash_event(name: str, *arguments: Any, **more: Any) -> None:
        if (more.get("phase") == "intent") == (step == "intent"):
            raise PlantedError
        await event(name, *arguments, **more)

    async def crash_commit(changes: Any) -> None:
        removes_key = any(isinstance(change.record, KeyRecord) for change in changes)
        removes_note = any(isinstance(c, Remove) and getattr(c.record, "name", "") == OWED for c in changes)
        if (step == "commit" and removes_key) or (step == "note" and removes_note):
            raise PlantedError
        await commit(changes)

    async def crash_erase(*_: Any) -> None:
        raise PlantedError

    planted: Any = {
        "intent": (worker.trail, "service_event", crash_event),
        "event": (worker.trail, "service_event", crash_event),
        "commit": (store, "commit", crash_commit),
        "note": (store, "commit", crash_commit),
        "erase": (store, "erase", crash_erase),
    }[step]
    target, name, crash = planted
    setattr(target, name, crash)

    def mend() -> None:
        worker.trail.service_event = event  # type: ignore[method-assign]
        store.commit = commit  # type: ignore[method-assign]
        store.erase = erase  # type: ignore[method-assign]

    return mend


def test_what_cannot_be_erased_now_is_erased_later(in_room: Any) -> None:
    """Somebody reads an old state of the store: the key is gone all the same."""

    async def scene(room: Room) -> None:
        store = room.worker.store
        key_id = await room.key()
        await room.worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        erase = store.erase

        async def refuse(*_: Any) -> None:
            raise StoreUnavailableError("somebody keeps reading an old state of the store")

        store.erase = refuse  # type: ignore[method-assign]
        await room.delete()
        assert await store.get(KeyRecord, key_id) is None
        assert await store.get(MarkRecord, OWED) is not None
        store.erase = erase  # type: ignore[method-assign]
        await room.deletion.run(room.clocks())
        assert await store.get(MarkRecord, OWED) is None

    in_room(scene)


def test_a_key_whose_deletion_cannot_be_recorded_stays(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key()
        await room.worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)

        async def refuse(*_: Any, **__: Any) -> None:
            raise AuditUnavailableError("the disk is full")

        room.worker.trail.record = refuse  # type: ignore[method-assign]
        with pytest.raises(AuditUnavailableError):
            await room.delete()
        assert await room.worker.store.get(KeyRecord, key_id) is not None

    in_room(scene)


def test_a_key_that_changes_under_the_chore_waits_for_the_next_run_and_stops_no_other(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        worker, store = room.worker, room.worker.store
        first, second = sorted([await room.key(), await room.key()])
        await worker.call("CreateAlias", AliasName="alias/in-the-way", TargetKeyId=first)
        for key_id in (first, second):
            await worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        listing = store.list_aliases

        async def list_and_interfere(*arguments: Any) -> Any:
            aliases = await listing(*arguments)
            if aliases:
                store.list_aliases = listing  # type: ignore[method-assign]
                await worker.call("DeleteAlias", AliasName="alias/in-the-way")
            return aliases

        store.list_aliases = list_and_interfere  # type: ignore[method-assign]
        await room.delete()
        assert await store.get(KeyRecord, first) is not None
        assert await store.get(KeyRecord, second) is None
        await room.deletion.run(room.clocks())
        assert await store.get(KeyRecord, first) is None

    in_room(scene)


def test_an_event_that_a_crash_swallowed_is_told_though_the_files_were_erased(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        worker = room.worker
        key_id = await room.key()
        await worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        mended = crash_at(room, "event")
        with pytest.raises(PlantedError):
            await room.delete()
        mended()
        assert await worker.store.get(MarkRecord, OWED) is None, "a run that failed erases all the same"
        await room.deletion.run(room.clocks())
        await room.deletion.run(room.clocks())
        told = [e for e in worker.events() if e["eventName"] == "DeleteKey" and "phase" not in e]
        assert [event["resources"][0]["ARN"] for event in told] == [key_arn(key_id)]

    in_room(scene)


def test_an_erasure_that_fails_again_and_again_is_tried_ever_more_rarely(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        store = room.worker.store
        key_id = await room.key()
        await room.worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        runs, tried = [0], []

        async def refuse(*_: Any) -> None:
            tried.append(runs[-1])
            raise StoreUnavailableError("somebody keeps reading an old state of the store")

        store.erase = refuse  # type: ignore[method-assign]
        await room.delete()
        for run in range(1, 65):
            runs.append(run)
            await room.deletion.run(room.clocks())
        assert tried == [0, 1, 3, 7, 15, 31, 47, 63]

    in_room(scene)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE kms_keys SET mac = x'00' WHERE key_id = ?",
        "UPDATE kms_keys SET description = CAST(x'ff' AS TEXT) WHERE key_id = ?",
        "UPDATE materials SET mac = x'00' WHERE key_id = ?",
        "UPDATE aliases SET mac = x'00' WHERE key_id = ?",
        "DELETE FROM materials WHERE key_id = ?",
    ],
)
def test_a_damaged_row_keeps_its_own_key_and_no_other(in_room: Any, caplog: Any, damage: str) -> None:
    async def scene(room: Room) -> None:
        worker, store = room.worker, room.worker.store
        created = [await room.key() for _ in range(3)]
        keys = sorted(created)
        for number, key_id in enumerate(keys):
            await worker.call("CreateAlias", AliasName=f"alias/{number}", TargetKeyId=key_id)
            await worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        doomed = [material for key_id in keys[1:] for material in await store.materials_of(key_id)]
        with closing(sqlite3.connect(worker.path, isolation_level=None)) as hand:
            hand.execute(damage, (keys[0],))
        await room.delete()
        assert [await store.get(KeyRecord, key_id) for key_id in keys[1:]] == [None, None]
        left = files_of(worker)
        assert not any(material.ekt in left for material in doomed)
        assert await store.get(MarkRecord, OWED) is None
        with closing(sqlite3.connect(worker.path)) as hand:
            assert hand.execute("SELECT count(*) FROM kms_keys WHERE key_id = ?", (keys[0],)).fetchone() == (1,)
        # A row that does not decode has no name but its place.
        named = keys[0] if "CAST" not in damage else f"row {created.index(keys[0]) + 1}"
        assert f"key {named} of {REGION} is due and left alone" in caplog.text

    in_room(scene)


# ── what is held ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_clock_that_jumps_deletes_nothing(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key()
        blob = await room.blob(key_id)
        await room.worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=30)
        room.clocks.now_s += 40 * DAY_S
        # Whoever comes first sees the jump: the chore does not depend on the guard's having looked before.
        await room.deletion.run(room.clocks())
        assert await room.worker.store.get(KeyRecord, key_id) is not None
        # Nothing was lost: the clock is put right, and the key is had back.
        await room.worker.call("CancelKeyDeletion", KeyId=key_id)
        await room.worker.call("EnableKey", KeyId=key_id)
        assert (await room.worker.call("Decrypt", CiphertextBlob=blob))["Plaintext"] == b64(b"x")

    in_room(scene)


def test_what_is_held_is_deleted_when_the_clock_ran_steadily_for_a_day(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key()
        await room.worker.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
        room.clocks.now_s += 40 * DAY_S
        minutes = 0
        while await room.worker.store.get(KeyRecord, key_id) is not None:
            await room.guard.run(room.clocks())
            await room.deletion.run(room.clocks())
            room.clocks.pass_s(60)
            minutes += 1
            assert minutes < 1500
        assert minutes >= 1440

    in_room(scene)
