"""Automatic rotation: on its day, once, on a schedule that does not drift; and what the operations say near that day.

Dates: KMS developer guide, "Rotating AWS KMS keys"; API reference, EnableKeyRotation, RotateKeyOnDemand (ConflictException).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from strongroom.kms.audit.segments import AuditUnavailableError
from strongroom.kms.chores.clock_guard import ClockGuard
from strongroom.kms.chores.rotation import KeyRotation
from strongroom.kms.faults import (
    ConflictException,
    DependencyTimeoutException,
    LimitExceededException,
    UnsupportedOperationException,
)
from strongroom.kms.keys.rotation import date_after, is_rotatable, require_rotatable
from strongroom.kms.limits import Limits
from strongroom.kms.repositories import KeyRecord, MaterialState
from testkit.module import REGION, Hsm, operational_hsm
from testkit.raw import b64, key_arn
from testkit.worker import DAY_S, START_S, Clocks, Worker


class PlantedError(Exception):
    """A crash that a test planted."""


class Room:
    """One worker with the chore."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.clocks = worker.clocks
        self.guard = ClockGuard(worker.store, REGION, worker.clocks.uptime)
        self.rotation = KeyRotation(worker.service, self.guard, worker.name)

    async def key(self, period: int | None = 90) -> str:
        key_id = str((await self.worker.call("CreateKey"))["KeyMetadata"]["KeyId"])
        if period is not None:
            await self.worker.call("EnableKeyRotation", KeyId=key_id, RotationPeriodInDays=period)
        return key_id

    async def run(self, days: float = 0.0) -> None:
        """Let days pass and do the chore."""
        self.clocks.pass_s(days * DAY_S)
        await self.rotation.run(self.clocks())

    async def rotations(self, key_id: str) -> list[float]:
        """After how many days the key was rotated."""
        listed = (await self.worker.call("ListKeyRotations", KeyId=key_id))["Rotations"]
        return [round((entry["RotationDate"] - START_S) / DAY_S, 3) for entry in listed]

    async def next_day(self, key_id: str) -> float:
        status = await self.worker.call("GetKeyRotationStatus", KeyId=key_id)
        return float(round((status["NextRotationDate"] - START_S) / DAY_S, 3))


@pytest.fixture(scope="module")
def hsm() -> Hsm:
    return operational_hsm()


@pytest.fixture
def in_room(tmp_path: Path, hsm: Hsm) -> Callable[..., None]:
    def enter(scene: Callable[[Room], Awaitable[None]], limits: Limits | None = None) -> None:
        async def main() -> None:
            with Worker(tmp_path, hsm, Clocks(), limits=limits) as worker:
                await scene(Room(worker))

        asyncio.run(main())

    return enter


# ── the day ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_rotated_on_its_day_and_not_a_second_earlier(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        await room.run(90 - 1 / 86_400)
        assert await room.rotations(key_id) == []
        await room.run(1 / 86_400)
        assert await room.rotations(key_id) == [90]
        assert await room.next_day(key_id) == 180
        await room.run()
        assert await room.rotations(key_id) == [90]

    in_room(scene)


def test_a_chore_that_comes_late_does_not_move_the_schedule(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        for _ in range(4):
            await room.run(90.01)
        assert await room.rotations(key_id) == [90.01, 180.02, 270.03, 360.04]
        assert await room.next_day(key_id) == 450

    in_room(scene)


def test_a_machine_that_was_off_for_years_rotates_once(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        await room.run(1000)
        await room.run()
        await room.run()
        assert await room.rotations(key_id) == [1000]
        assert await room.next_day(key_id) == 1090

    in_room(scene)


def test_every_material_decrypts_for_ever(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        blobs = []
        for number in range(6):
            answer = await room.worker.call("Encrypt", KeyId=key_id, Plaintext=b64(b"%d" % number))
            material = (await room.worker.call("DescribeKey", KeyId=key_id))["KeyMetadata"]["CurrentKeyMaterialId"]
            blobs.append((answer["CiphertextBlob"], b64(b"%d" % number), material))
            await room.run(90)
        assert len({material for _, _, material in blobs}) == 6
        for blob, plaintext, material in blobs:
            answer = await room.worker.call("Decrypt", CiphertextBlob=blob)
            assert (answer["Plaintext"], answer["KeyMaterialId"]) == (plaintext, material)

    in_room(scene)


def test_materials_are_current_one_at_a_time_and_say_what_made_them(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        await room.run(90)
        room.clocks.pass_s(1)
        await room.worker.call("RotateKeyOnDemand", KeyId=key_id)
        await room.run(90)
        listed = (await room.worker.call("ListKeyRotations", KeyId=key_id, IncludeKeyMaterial="ALL_KEY_MATERIAL"))[
            "Rotations"
        ]
        assert [entry.get("RotationType") for entry in listed] == [None, "AUTOMATIC", "ON_DEMAND", "AUTOMATIC"]
        assert [entry["KeyMaterialState"] for entry in listed] == ["NON_CURRENT"] * 3 + ["CURRENT"]

    in_room(scene)


# ── disabled, pending, overdue ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["DisableKey", "ScheduleKeyDeletion"])
def test_a_key_that_is_not_enabled_is_not_rotated_and_an_overdue_one_is_as_soon_as_it_is(
    in_room: Any, how: str
) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        await room.worker.call(how, KeyId=key_id)
        await room.run(100)
        assert await room.rotations(key_id) == []
        if how == "ScheduleKeyDeletion":
            await room.worker.call("CancelKeyDeletion", KeyId=key_id)
        await room.worker.call("EnableKey", KeyId=key_id)
        await room.run()
        assert await room.rotations(key_id) == [100]
        assert await room.next_day(key_id) == 190

    in_room(scene)


def test_a_key_that_was_disabled_and_is_not_overdue_keeps_its_schedule(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        await room.worker.call("DisableKey", KeyId=key_id)
        await room.run(60)
        await room.worker.call("EnableKey", KeyId=key_id)
        await room.run()
        assert await room.rotations(key_id) == []
        await room.run(30)
        assert await room.rotations(key_id) == [90]

    in_room(scene)


def test_a_rotation_that_was_switched_off_does_not_come(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        await room.worker.call("DisableKeyRotation", KeyId=key_id)
        await room.run(400)
        assert await room.rotations(key_id) == []

    in_room(scene)


# ── on demand, near the day ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("minutes_before", "is_refused"), [(21, False), (20, True), (1, True), (0, True), (-5, True)])
def test_twenty_minutes_before_an_automatic_rotation_nobody_rotates_on_demand(
    in_room: Any, minutes_before: float, *, is_refused: bool
) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        room.clocks.pass_s(90 * DAY_S - minutes_before * 60)
        if not is_refused:
            await room.worker.call("RotateKeyOnDemand", KeyId=key_id)
            return
        before = await room.worker.store.get(KeyRecord, key_id)
        with pytest.raises(ConflictException) as refused:
            await room.worker.call("RotateKeyOnDemand", KeyId=key_id)
        assert refused.value.message == (
            "The request was rejected because an automatic rotation of this key is currently in progress or scheduled "
            "to begin within the next 20 minutes."
        )
        assert await room.worker.store.get(KeyRecord, key_id) == before
        await room.run(0.1)
        await room.worker.call("RotateKeyOnDemand", KeyId=key_id)
        assert len(await room.rotations(key_id)) == 2

    in_room(scene)


def test_automatic_rotations_do_not_count_towards_the_limit(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        for _ in range(2):
            await room.run(90)
            await room.worker.call("RotateKeyOnDemand", KeyId=key_id)
        with pytest.raises(LimitExceededException) as refused:
            await room.worker.call("RotateKeyOnDemand", KeyId=key_id)
        assert refused.value.message == (
            "The on-demand rotations limit has been reached for the given keyId. "
            f"No more on-demand rotations can be performed for this key: {key_arn(key_id)}"
        )
        await room.run(90)
        assert len(await room.rotations(key_id)) == 5

    in_room(scene, Limits(on_demand_rotations_max=2))


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", ["intent", "hsm", "commit", "event"])
def test_a_crash_between_two_steps_leaves_one_current_material_and_is_made_good(in_room: Any, step: str) -> None:
    async def scene(room: Room) -> None:
        worker = room.worker
        key_id = await room.key(90)
        answer = await worker.call("Encrypt", KeyId=key_id, Plaintext=b64(b"x"))
        mended = crash_at(worker, step)
        with pytest.raises((PlantedError, DependencyTimeoutException, AuditUnavailableError)):
            await room.run(90)
        mended()
        states = [material.state for material in await worker.store.materials_of(key_id)]
        assert states.count(MaterialState.CURRENT) == 1
        assert len(states) == (2 if step == "event" else 1)
        room.clocks.pass_s(61)
        await KeyRotation(worker.service, room.guard, "w2").run(room.clocks())
        assert len(await room.rotations(key_id)) == 1
        assert (await worker.call("Decrypt", CiphertextBlob=answer["CiphertextBlob"]))["Plaintext"] == b64(b"x")
        assert await room.next_day(key_id) == 180

    in_room(scene)


def crash_at(worker: Worker, step: str) -> Callable[[], None]:
    """Plant a crash at a step; what is given back takes it out."""
    event, commit, call = worker.trail.service_event, worker.store.commit, worker.link.call

    async def crash_event(*arguments: Any, **more: Any) -> None:
        if (more.get("phase") == "intent") == (step == "intent"):
            raise AuditUnavailableError("the disk is full")
        await event(*arguments, **more)

    async def crash_commit(changes: Any) -> None:
        if any(isinstance(change.record, KeyRecord) for change in changes):
            raise PlantedError
        await commit(changes)

    def crash_call(*_: Any) -> Any:
        raise DependencyTimeoutException

    if step == "commit":
        worker.store.commit = crash_commit  # type: ignore[method-assign]
    elif step == "hsm":
        worker.link.call = crash_call  # type: ignore[method-assign]
    else:
        worker.trail.service_event = crash_event  # type: ignore[method-assign]

    def mend() -> None:
        worker.trail.service_event = event  # type: ignore[method-assign]
        worker.store.commit = commit  # type: ignore[method-assign]
        worker.link.call = call  # type: ignore[method-assign]

    return mend


def test_a_key_that_is_disabled_while_the_hsm_works_is_not_rotated_and_stops_no_other(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        worker = room.worker
        keys = {await room.key(90), await room.key(90)}
        commit = worker.store.commit
        disabled: list[str] = []

        async def disable_first(changes: Any) -> None:
            rotated = [change.record.key_id for change in changes if isinstance(change.record, KeyRecord)]
            if rotated:
                worker.store.commit = commit  # type: ignore[method-assign]
                disabled.extend(rotated)
                await worker.call("DisableKey", KeyId=rotated[0])
            await commit(changes)

        worker.store.commit = disable_first  # type: ignore[method-assign]
        await room.run(90)
        (key_id,) = disabled
        assert (await worker.call("DescribeKey", KeyId=key_id))["KeyMetadata"]["KeyState"] == "Disabled"
        assert await room.rotations(key_id) == []
        (other,) = keys - {key_id}
        assert await room.rotations(other) == [90]

    in_room(scene)


def test_the_trail_names_the_materials_of_an_automatic_rotation(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        old = (await room.worker.call("DescribeKey", KeyId=key_id))["KeyMetadata"]["CurrentKeyMaterialId"]
        await room.run(90)
        new = (await room.worker.call("DescribeKey", KeyId=key_id))["KeyMetadata"]["CurrentKeyMaterialId"]
        intent, event = (event for event in room.worker.events() if event["eventName"] == "RotateKey")
        assert intent["phase"] == "intent"
        assert intent["serviceEventDetails"] == {"rotationType": "AUTOMATIC", "keyOrigin": "AWS_KMS", "keyId": key_id}
        assert event["eventType"] == "AwsServiceEvent"
        assert event["serviceEventDetails"] == {
            "rotationType": "AUTOMATIC",
            "keyOrigin": "AWS_KMS",
            "previousKeyMaterialId": old,
            "currentKeyMaterialId": new,
            "keyId": key_id,
        }

    in_room(scene)


# ── the rules by themselves ─────────────────────────────────────────────────────────────────────────────────────────────


def record(**fields: Any) -> KeyRecord:
    standard = KeyRecord(
        key_id="0e5f2d9c-1111-4222-8333-444455556666",
        version=1,
        account="000000000000",
        region="us-east-1",
        state="Enabled",  # type: ignore[arg-type]
        spec="SYMMETRIC_DEFAULT",
        usage="ENCRYPT_DECRYPT",
        origin="AWS_KMS",
        multi_region=False,
        description="",
        key_policy="",
        tags={},
        created_at_s=0.0,
        rotation_period_days=90,
        next_rotation_at_s=1000.0,
    )
    return msgspec.structs.replace(standard, **fields)


@pytest.mark.parametrize(
    ("now_s", "expected_s"),
    [
        (1000.0, 1000 + 90 * DAY_S),
        (1000 + DAY_S, 1000 + 90 * DAY_S),
        (1000 + DAY_S + 1, 1000 + DAY_S + 1 + 90 * DAY_S),
    ],
)
def test_a_rotation_late_by_more_than_a_day_starts_its_schedule_anew(now_s: float, expected_s: float) -> None:
    assert date_after(record(), now_s) == expected_s


def test_a_key_without_a_schedule_gets_none() -> None:
    assert date_after(record(rotation_period_days=None, next_rotation_at_s=None), 5.0) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spec": "RSA_2048"}, ""),
        ({"spec": "HMAC_256"}, ""),
        ({"origin": "EXTERNAL"}, "{arn} origin is EXTERNAL which is not valid for this operation."),
        ({"origin": "AWS_CLOUDHSM"}, "{arn} origin is AWS_CLOUDHSM which is not valid for this operation."),
    ],
)
def test_a_key_of_another_kind_is_not_rotated(fields: dict[str, str], message: str) -> None:
    """Wording: KMS developer guide, "Key states", footnote 6; none for another spec, as AWS gives none."""

    entry: Any = SimpleNamespace(record=record(**fields), arn="arn:aws:kms:us-east-1:000000000000:key/x")
    assert not is_rotatable(entry.record)
    with pytest.raises(UnsupportedOperationException) as refused:
        require_rotatable(entry)
    assert refused.value.message == message.format(arn=entry.arn)
    assert is_rotatable(record())


# ── a clock that jumps, and rows that are damaged ───────────────────────────────────────────────────────────────────────


def test_a_clock_that_jumps_rotates_nothing_and_moves_no_date(in_room: Any) -> None:
    """Ten years ahead for a minute: the next rotation would be ten years away."""

    async def scene(room: Room) -> None:
        key_id = await room.key(90)
        await room.guard.observe(room.clocks())
        room.clocks.now_s += 3650 * DAY_S
        await room.run()
        assert await room.rotations(key_id) == []
        room.clocks.now_s -= 3650 * DAY_S
        assert await room.next_day(key_id) == 90
        # Back where it was it is a jump again; when it ran steadily for a day, rotations go on.
        for _ in range(25):
            room.clocks.pass_s(3600)
            await room.rotation.run(room.clocks())
            await room.guard.observe(room.clocks())
        for _ in range(178):
            room.clocks.pass_s(DAY_S / 2)
            await room.guard.observe(room.clocks())
        await room.run()
        assert await room.rotations(key_id) == [pytest.approx(90, abs=0.1)]

    in_room(scene)


def test_a_date_that_was_set_while_the_clock_was_ahead_is_brought_back(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        await room.run()
        room.clocks.now_s += 400 * DAY_S
        far, near = await room.key(90), await room.key(180)
        room.clocks.now_s -= 400 * DAY_S
        assert await room.next_day(far) == 490
        # Asking for the period that counts already brings it back as well.
        await room.worker.call("EnableKeyRotation", KeyId=near, RotationPeriodInDays=180)
        assert await room.next_day(near) == 180
        await room.run(1)
        assert await room.next_day(far) == 91
        assert await room.next_day(near) == 180
        assert await room.rotations(far) == []

    in_room(scene)


def test_the_date_after_a_rotation_is_a_period_away_at_the_most() -> None:
    key: Any = SimpleNamespace(rotation_period_days=90, next_rotation_at_s=3740 * DAY_S)
    assert date_after(key, 100 * DAY_S) == 190 * DAY_S


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE kms_keys SET mac = x'00' WHERE key_id = ?",
        "UPDATE materials SET mac = x'00' WHERE key_id = ?",
        "DELETE FROM materials WHERE key_id = ?",
    ],
)
def test_a_damaged_row_keeps_its_own_key_from_rotating_and_no_other(in_room: Any, caplog: Any, damage: str) -> None:
    async def scene(room: Room) -> None:
        keys = sorted([await room.key(90) for _ in range(3)])
        with closing(sqlite3.connect(room.worker.path, isolation_level=None)) as hand:
            hand.execute(damage, (keys[0],))
        await room.run(90)
        assert [await room.rotations(key_id) for key_id in keys[1:]] == [[90], [90]]
        assert f"key {keys[0]} of {REGION} is due and left alone" in caplog.text

    in_room(scene)
