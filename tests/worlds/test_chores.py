"""What the service does by itself, in real processes: rotation and deletion when their day has come, holds, last usages.

A day that has come is made while nothing runs: the store is opened with its own key, and the dates of its records are moved.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from strongroom.boundary.secret import StoreKey
from strongroom.kms.repositories import KeyRecord, MarkRecord, Put, Record
from strongroom.kms.storage.sqlite import SqliteStore
from testkit.installation import REGION, START_S_MAX, Installation
from testkit.raw import audit_records
from testkit.sealed_state import SealedState

DAY_S = 86_400.0
# The chores begin at once when a region is open; what such a machine may be late is no matter here.
SOON_S = START_S_MAX


@pytest.fixture
def own() -> Iterator[Installation]:
    running = Installation().start()
    yield running
    running.destroy()


def restart(installation: Installation, meanwhile: Callable[[SqliteStore], Any] | None = None) -> None:
    """Stop; do something with the store; start."""
    installation.stop()
    if meanwhile is not None:
        path = installation.home / "service" / "store.db"
        store = SqliteStore(path)
        try:
            store.unlock(StoreKey(SealedState.open(installation.home).store_key(path)))
            asyncio.run(meanwhile(store))
        finally:
            store.close()
    installation.start()


async def change(store: SqliteStore, kind: type[Record], identity: str, **fields: Any) -> None:
    """Give a stored record other fields."""
    record: Any = await store.get(kind, identity)
    assert record is not None, identity
    changed = msgspec.structs.replace(record, version=record.version + 1, **fields)
    await store.commit([Put(changed, replaces=record.version)])


def eventually(condition: Callable[[], bool], within_s: float = SOON_S) -> None:
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < within_s, "it did not happen"
        time.sleep(0.05)


def rotation_types(kms: Any, key_id: str) -> list[str]:
    return [entry["RotationType"] for entry in kms.list_key_rotations(KeyId=key_id)["Rotations"]]


def exists(kms: Any, key_id: str) -> bool:
    try:
        kms.describe_key(KeyId=key_id)
    except kms.exceptions.NotFoundException:
        return False
    return True


def clock(installation: Installation, command: str) -> list[dict[str, Any]]:
    answer = json.loads(installation.cli("clock", command, "--home", str(installation.home), "--json").stdout)
    assert isinstance(answer, list)
    return answer


def test_a_home_that_was_off_for_days_rotates_and_deletes_when_its_clock_was_accepted(
    own: Installation,
) -> None:
    kms = own.kms()
    rotating, doomed = (kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2))
    kms.enable_key_rotation(KeyId=rotating, RotationPeriodInDays=90)
    kms.rotate_key_on_demand(KeyId=doomed)
    kms.create_alias(AliasName="alias/doomed", TargetKeyId=doomed)
    old_blob = kms.encrypt(KeyId=rotating, Plaintext=b"old")["CiphertextBlob"]
    lost_blob = kms.encrypt(KeyId=doomed, Plaintext=b"lost")["CiphertextBlob"]
    kms.schedule_key_deletion(KeyId=doomed, PendingWindowInDays=7)
    assert clock(own, "show") == [{"region": REGION, "held_since_s": None}]
    ekts: list[bytes] = []

    async def be_off_for_days(store: SqliteStore) -> None:
        now_s = time.time()
        await change(store, KeyRecord, rotating, next_rotation_at_s=now_s - 1.0)
        await change(store, KeyRecord, doomed, deletion_at_s=now_s - 1.0)
        await change(store, MarkRecord, f"clock-seen:{REGION}", value=now_s - 3 * DAY_S)
        ekts.extend(material.ekt for material in await store.materials_of(doomed))

    restart(own, be_off_for_days)
    kms = own.kms()
    # 1. What would be destroyed is held, and says so.
    eventually(lambda: clock(own, "show")[0]["held_since_s"] is not None)
    held_since_s = clock(own, "show")[0]["held_since_s"]
    assert abs(held_since_s - time.time()) < 600
    words = own.cli("clock", "show", "--home", str(own.home)).stdout
    assert words.startswith(f"{REGION}: deletions are held since 20")
    assert "weak  the clock jumped, and deletions are held" in own.cli("doctor", "--home", str(own.home)).stdout
    restart(own)
    kms = own.kms()
    time.sleep(0.5)
    assert exists(kms, doomed)
    # 2. Nor is anything rotated: its next date would be set by the clock.
    assert rotation_types(kms, rotating) == []
    # 3. An operator accepts the clock.
    assert clock(own, "accept") == [{"region": REGION, "held_since_s": held_since_s}]
    assert own.cli("clock", "show", "--home", str(own.home)).stdout == f"{REGION}: deletions are not held\n"
    assert own.cli("clock", "accept", "--home", str(own.home)).stdout == f"{REGION}: deletions were not held\n"
    restart(own)
    kms = own.kms()
    eventually(lambda: not exists(kms, doomed))
    eventually(lambda: rotation_types(kms, rotating) == ["AUTOMATIC"])
    assert kms.decrypt(CiphertextBlob=old_blob)["Plaintext"] == b"old"
    # 4. Everything of the key is gone, and the trail says by whom.
    assert not exists(kms, "alias/doomed")
    with pytest.raises(kms.exceptions.ClientError, match="AccessDeniedException"):
        kms.decrypt(CiphertextBlob=lost_blob)
    eventually(lambda: not files_hold(own, ekts))
    eventually(lambda: [event.get("phase", "") for event in named(own, "DeleteKey")] == ["intent", ""])
    assert [event.get("phase", "") for event in named(own, "accept-clock")] == ["intent", ""] * 2
    assert "the clock jumped" not in own.cli("doctor", "--deep", "--home", str(own.home)).stdout
    own.cli("audit", "verify", "--home", str(own.home))


def files_hold(installation: Installation, needles: list[bytes]) -> bool:
    content = b"".join(path.read_bytes() for path in (installation.home / "service").glob("store.db*"))
    assert needles
    return any(needle in content for needle in needles)


def named(installation: Installation, name: str) -> list[dict[str, Any]]:
    return [event for event in audit_records(installation) if event["eventName"] == name]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_deletion_that_no_clock_holds_happens_by_itself(workers: int) -> None:
    own = Installation("--workers", str(workers)).start()
    try:
        delete_by_itself(own)
    finally:
        own.destroy()


def delete_by_itself(own: Installation) -> None:
    kms = own.kms()
    doomed = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.schedule_key_deletion(KeyId=doomed, PendingWindowInDays=7)
    ekts: list[bytes] = []

    async def come_due(store: SqliteStore) -> None:
        await change(store, KeyRecord, doomed, deletion_at_s=time.time() - 1.0)
        ekts.extend(material.ekt for material in await store.materials_of(doomed))

    restart(own, come_due)
    kms = own.kms()
    eventually(lambda: not exists(kms, doomed))
    # While every worker has the store open and reads it.
    eventually(lambda: not files_hold(own, ekts))
    eventually(lambda: [event.get("phase", "") for event in named(own, "DeleteKey")] == ["intent", ""])
    assert not any(exists(own.kms(), doomed) for _ in range(20))


def test_last_usages_outlive_a_killed_service_and_a_clean_stop(own: Installation) -> None:
    kms = own.kms()
    keys = [kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(3)]

    def told(key_id: str) -> Any:
        return own.kms().get_key_last_usage(KeyId=key_id)["KeyLastUsage"]

    for key_id in keys:
        kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    before = {key_id: told(key_id) for key_id in keys}
    assert all(usage["Operation"] == "GenerateDataKey" for usage in before.values())
    killed = own.pid_of("kms")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: is_replaced(own, killed))
    own.wait_until_ready()
    for key_id in keys:
        # Only the fraction of the second is gone.
        eventually(lambda key_id=key_id: bool(told(key_id)))  # type: ignore[misc]
        after = told(key_id)
        assert after["CloudTrailEventId"] == before[key_id]["CloudTrailEventId"]
        assert after["KmsRequestId"] == before[key_id]["KmsRequestId"]
        assert 0 <= (before[key_id]["Timestamp"] - after["Timestamp"]).total_seconds() < 1
    own.kms().encrypt(KeyId=keys[0], Plaintext=b"x")
    last = told(keys[0])
    restart(own)
    assert told(keys[0]) == last


def is_replaced(installation: Installation, killed: int) -> bool:
    try:
        return installation.pid_of("kms") != killed
    except LookupError:
        return False
