"""A home with a thousand things happening to its keys, and a model of what must come of them; the test moves the clock.

Beside the service runs a model that knows the rules from the documentation and nothing of the code: when each key is
rotated, when it is deleted, what holds a deletion. Every blob is kept.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from strongroom.kms.chores.clock_guard import ClockGuard, accept_clock
from strongroom.kms.chores.deletion import KeyDeletion
from strongroom.kms.chores.rotation import KeyRotation
from strongroom.kms.chores.usage_flush import UsageFlush
from strongroom.kms.faults import AccessDeniedException, ConflictException, NotFoundException
from strongroom.kms.repositories import KeyRecord, KeyUsageRecord, MaterialRecord
from testkit.module import REGION, Hsm
from testkit.raw import b64
from testkit.worker import DAY_S, Clocks, Worker

STEP_S = DAY_S / 4
PERIODS = (90, 91, 100, 120, 180, 200, 365)
ON_DEMAND_MAX = 25
MINUTES_20_S = 20 * 60.0


@dataclass
class Blob:
    """Something encrypted in the course of the year."""

    ciphertext: str
    plaintext: str
    material: str


@dataclass
class Key:
    """What the documentation says of a key."""

    key_id: str
    state: str = "Enabled"
    period_s: float | None = None
    due_s: float | None = None
    deletion_s: float | None = None
    rotations: list[tuple[float, str]] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)

    @property
    def exists(self) -> bool:
        return self.state != "Deleted"

    def rotate_if_due(self, now_s: float) -> None:
        if self.state != "Enabled" or self.due_s is None or self.period_s is None or self.due_s > now_s:
            return
        self.rotations.append((now_s, "AUTOMATIC"))
        late = now_s - self.due_s > DAY_S
        self.due_s = (now_s if late else self.due_s) + self.period_s


class Staff:
    """One worker and its chores; after `die` there is another one of the same name."""

    def __init__(self, year: Year, name: str) -> None:
        self.year = year
        self.name = name
        self.start()

    def start(self) -> None:
        self.worker = Worker(self.year.folder, self.year.hsm, self.year.clocks, self.name)
        service = self.worker.service
        self.guard = ClockGuard(self.worker.store, REGION, self.year.clocks.uptime)
        self.rotation = KeyRotation(service, self.guard, self.name)
        self.deletion = KeyDeletion(service, self.guard, self.name)
        self.flush = UsageFlush(service, self.worker.log, self.worker.audit, self.name)

    def die(self) -> None:
        """Killed: what it had noted and not stored is in the trail only."""
        self.worker.close()
        self.start()

    async def do_chores(self) -> None:
        now_s = self.year.clocks()
        await self.guard.run(now_s)
        await self.rotation.run(now_s)
        await self.deletion.run(now_s)
        await self.flush.run(now_s)


class Year:
    """The home, and the model of it."""

    def __init__(self, folder: Path, hsm: Hsm, seed: int, keys: int) -> None:
        self.folder = folder
        self.hsm = hsm
        self.clocks = Clocks()
        self.random = random.Random(seed)
        self.keys_wanted = keys
        self.keys: list[Key] = []
        # For how long the clock ran steadily since it jumped; None while nothing is held.
        self.steady_s: float | None = None
        self.held_deletions = 0
        self.staff = [Staff(self, "w1"), Staff(self, "w2")]

    def close(self) -> None:
        for one in self.staff:
            one.worker.close()

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """By whichever worker."""
        return await self.random.choice(self.staff).worker.call(operation, **request)

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def step(self) -> None:
        """A quarter of a day, and the chores, by all workers in some order."""
        self.clocks.pass_s(STEP_S)
        if self.steady_s is not None:
            self.steady_s += STEP_S
            if self.steady_s >= DAY_S:
                self.steady_s = None
        await self.do_chores()

    async def do_chores(self) -> None:
        self.random.shuffle(self.staff)
        for one in self.staff:
            await one.do_chores()
        now_s = self.clocks()
        for key in self.keys:
            if self.steady_s is None:
                key.rotate_if_due(now_s)
                await self.bring_back(key, now_s)
            if key.state == "PendingDeletion" and key.deletion_s is not None:
                is_due, is_held = key.deletion_s <= now_s, self.steady_s is not None
                key.state = "Deleted" if is_due and not is_held else key.state
                self.held_deletions += is_due and is_held
                record = await self.staff[0].worker.store.get(KeyRecord, key.key_id)
                assert (record is not None) == key.exists, "deleted neither too early nor too late"

    async def bring_back(self, key: Key, now_s: float) -> None:
        """A date that was set while the clock was ahead becomes a period from now, within a day."""
        if key.due_s is None or key.period_s is None or key.due_s <= now_s + key.period_s or not key.exists:
            return
        record = await self.staff[0].worker.store.get(KeyRecord, key.key_id)
        assert record is not None
        assert record.next_rotation_at_s in {key.due_s, now_s + key.period_s}
        key.due_s = record.next_rotation_at_s

    async def be_off(self, days: float) -> None:
        """The machine is switched off for days."""
        self.clocks.now_s += days * DAY_S
        self.clocks.uptime_s = 15.0
        for one in self.staff:
            one.die()
        self.steady_s = 0.0
        await self.do_chores()

    async def set_clock(self, days: float) -> None:
        self.clocks.now_s += days * DAY_S
        self.steady_s = 0.0
        await self.do_chores()

    async def accept_clock(self) -> None:
        service = self.staff[0].worker.service
        held_since_s = await accept_clock(service, service.gate.chore("AcceptClock"))
        assert (held_since_s is None) == (self.steady_s is None)
        self.steady_s = None

    # ── what people do ──────────────────────────────────────────────────────────────────────────────────────────

    async def create(self) -> None:
        key = Key(str((await self.call("CreateKey"))["KeyMetadata"]["KeyId"]))
        self.keys.append(key)
        if self.random.random() < 0.8:
            await self.enable_rotation(key)
        if self.random.random() < 0.5:
            name = f"alias/key-{len(self.keys)}"
            await self.call("CreateAlias", AliasName=name, TargetKeyId=key.key_id)
            key.aliases.append(name)

    async def enable_rotation(self, key: Key) -> None:
        days = self.random.choice(PERIODS)
        if key.state != "Enabled":
            return
        await self.call("EnableKeyRotation", KeyId=key.key_id, RotationPeriodInDays=days)
        if key.period_s != days * DAY_S:
            key.period_s, key.due_s = days * DAY_S, self.clocks() + days * DAY_S
        elif key.due_s is not None:
            key.due_s = min(key.due_s, self.clocks() + key.period_s)

    async def disable_rotation(self, key: Key) -> None:
        if key.state == "Enabled":
            await self.call("DisableKeyRotation", KeyId=key.key_id)
            key.period_s = key.due_s = None

    async def switch(self, key: Key) -> None:
        if key.state == "Enabled":
            await self.call("DisableKey", KeyId=key.key_id)
            key.state = "Disabled"
        elif key.state == "Disabled":
            await self.call("EnableKey", KeyId=key.key_id)
            key.state = "Enabled"

    async def schedule(self, key: Key, days: int | None = None) -> None:
        if key.state in {"Enabled", "Disabled"}:
            days = days or self.random.randint(7, 30)
            await self.call("ScheduleKeyDeletion", KeyId=key.key_id, PendingWindowInDays=days)
            key.state, key.deletion_s = "PendingDeletion", self.clocks() + days * DAY_S

    async def cancel(self, key: Key) -> None:
        if key.state == "PendingDeletion":
            await self.call("CancelKeyDeletion", KeyId=key.key_id)
            key.state, key.deletion_s = "Disabled", None

    async def rotate(self, key: Key) -> None:
        on_demand = sum(kind == "ON_DEMAND" for _, kind in key.rotations)
        if key.state != "Enabled" or on_demand >= ON_DEMAND_MAX:
            return
        if key.due_s is not None and key.due_s - self.clocks() <= MINUTES_20_S:
            with pytest.raises(ConflictException):
                await self.call("RotateKeyOnDemand", KeyId=key.key_id)
            return
        await self.call("RotateKeyOnDemand", KeyId=key.key_id)
        key.rotations.append((self.clocks(), "ON_DEMAND"))

    async def encrypt(self, key: Key) -> None:
        if key.state != "Enabled":
            return
        plaintext = b64(self.random.randbytes(16))
        made = await self.call("Encrypt", KeyId=key.key_id, Plaintext=plaintext)
        material = (await self.call("DescribeKey", KeyId=key.key_id))["KeyMetadata"]["CurrentKeyMaterialId"]
        key.blobs.append(Blob(made["CiphertextBlob"], plaintext, material))

    async def live(self) -> None:
        """What people do in a quarter of a day."""
        if len(self.keys) < self.keys_wanted:
            await self.create()
        deeds: list[tuple[float, Callable[[Key], Awaitable[None]]]] = [
            (0.55, self.encrypt),
            (0.05, self.switch),
            (0.01, self.enable_rotation),
            (0.005, self.disable_rotation),
            (0.05, self.rotate),
            (0.02, self.schedule),
        ]
        for chance, deed in deeds:
            if self.keys and self.random.random() < chance:
                key = self.random.choice(self.keys)
                if key.exists:
                    await deed(key)
                await self.compare(key)
        # Some of what was taken out of use is missed: a disabled key for weeks, a deletion within its waiting period.
        for key in self.keys:
            if key.state == "Disabled" and self.random.random() < 0.01:
                await self.switch(key)
            elif key.state == "PendingDeletion" and self.random.random() < 0.008:
                await self.cancel(key)

    # ── the comparison ──────────────────────────────────────────────────────────────────────────────────────────

    async def compare(self, key: Key) -> None:
        if not key.exists:
            with pytest.raises(NotFoundException):
                await self.call("DescribeKey", KeyId=key.key_id)
            for name in key.aliases:
                with pytest.raises(NotFoundException):
                    await self.call("DescribeKey", KeyId=name)
            store = self.staff[0].worker.store
            assert await store.materials_of(key.key_id) == []
            assert await store.get(KeyUsageRecord, key.key_id) is None
            return
        assert (await self.call("DescribeKey", KeyId=key.key_id))["KeyMetadata"]["KeyState"] == key.state
        listed = (await self.call("ListKeyRotations", KeyId=key.key_id, Limit=1000))["Rotations"]
        told = sorted((entry["RotationDate"], entry["RotationType"]) for entry in listed)
        assert told == sorted(key.rotations), "rotated when it was due, and at no other time"
        status = await self.call("GetKeyRotationStatus", KeyId=key.key_id)
        is_on = key.due_s is not None and key.state != "PendingDeletion"
        assert status["KeyRotationEnabled"] == is_on
        assert status.get("NextRotationDate") == (key.due_s if is_on else None)

    async def compare_usage(self, key: Key) -> None:
        """After the chores: until then one worker need not know what the other did."""
        if key.exists:
            usage = (await self.call("GetKeyLastUsage", KeyId=key.key_id))["KeyLastUsage"]
            assert bool(usage) == bool(key.blobs), "known as used when it was, and not otherwise"

    async def decrypt(self, key: Key) -> None:
        """Every blob of a key, whatever was rotated since."""
        if key.state == "PendingDeletion":
            await self.cancel(key)
        if key.state == "Disabled":
            await self.switch(key)
        for blob in key.blobs:
            if not key.exists:
                hbkid = bytes.fromhex(blob.material)
                assert await self.staff[0].worker.store.get(MaterialRecord, hbkid) is None
                with pytest.raises(AccessDeniedException):
                    await self.call("Decrypt", CiphertextBlob=blob.ciphertext)
                continue
            answer = await self.call("Decrypt", CiphertextBlob=blob.ciphertext)
            assert (answer["Plaintext"], answer["KeyMaterialId"]) == (blob.plaintext, blob.material)

    def service_events(self, name: str) -> list[str]:
        return [
            str(event["serviceEventDetails"]["keyId"])
            for one in self.staff
            for event in one.worker.events()
            if event["eventName"] == name and "phase" not in event
        ]
