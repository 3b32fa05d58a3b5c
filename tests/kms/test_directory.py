"""The caches of the directory: bounded by what their entries weigh, and each text kept once."""

from __future__ import annotations

import asyncio
import uuid
import weakref
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.iam.evaluate import Documents
from strongroom.kms.keys import directory as directory_module
from strongroom.kms.keys.directory import KeyEntry, PrincipalEntry
from strongroom.kms.operations.key_policies import default_policy
from strongroom.kms.repositories import KeyRecord, MaterialRecord, MaterialState, Put
from testkit.installation import ACCOUNT
from testkit.room import KEY, Room

WEIGHT_MAX = 6


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(directory_module, "_WEIGHT_MAX", WEIGHT_MAX)
    monkeypatch.setattr(directory_module, "_POLICY_CHARS_PER_WEIGHT", 1_024)
    room = Room(tmp_path / "store.db")
    asyncio.run(room.fill())
    room.directory.refresh(lambda: None)
    return room


async def make(room: Room, *, policy_chars: int = 0, materials: int = 1) -> str:
    """A key whose policy is the default one and blanks, and which was rotated."""
    record = await room.store.get(KeyRecord, KEY)
    assert record is not None
    key_id = str(uuid.uuid4())
    made = msgspec.structs.replace(record, key_id=key_id, key_policy=record.key_policy.ljust(policy_chars))
    stored = [
        MaterialRecord(
            hbkid=uuid.uuid4().bytes * 2,
            version=1,
            key_id=key_id,
            state=MaterialState.NON_CURRENT if number else MaterialState.CURRENT,
            ekt=b"ekt",
            created_at_s=float(number),
        )
        for number in range(materials)
    ]
    await room.store.commit([Put(made, None), *(Put(material, None) for material in stored)])
    room.directory.refresh(lambda: None)
    return key_id


async def look_up(room: Room, key_id: str) -> KeyEntry:
    entry = await room.directory.key(key_id)
    assert entry is not None
    room.directory.keep_reference(ACCOUNT, entry.arn, entry, room.directory.generation)
    return entry


def test_the_oldest_keys_are_forgotten_when_there_are_too_many(room: Room) -> None:
    async def scene() -> None:
        keys = [await make(room) for _ in range(WEIGHT_MAX + 2)]
        entries = [await look_up(room, key_id) for key_id in keys]
        assert room.directory.sizes()["keys"] == room.directory.sizes()["references"] == WEIGHT_MAX
        known = [room.directory.known_reference(ACCOUNT, entry.arn) is entry for entry in entries]
        assert known == [False] * 2 + [True] * WEIGHT_MAX

    asyncio.run(scene())


@pytest.mark.parametrize("large", [{"policy_chars": 4 * 1_024}, {"materials": 5}])
def test_a_key_with_a_long_policy_or_many_materials_takes_the_room_of_several(
    room: Room, large: dict[str, int]
) -> None:
    async def scene() -> None:
        large_key, *keys = [await make(room, **large), *[await make(room) for _ in range(WEIGHT_MAX)]]
        for key_id in (*keys, large_key):
            await look_up(room, key_id)
        assert room.directory.sizes()["keys"] == 2
        # It makes room again when it goes.
        for key_id in keys:
            await look_up(room, key_id)
        assert room.directory.sizes()["keys"] == WEIGHT_MAX

    asyncio.run(scene())


def test_what_was_changed_no_longer_counts(room: Room) -> None:
    async def scene() -> None:
        key_id = await make(room)
        for version in range(2, 4 * WEIGHT_MAX):
            entry = await look_up(room, key_id)
            changed = msgspec.structs.replace(entry.record, version=version)
            await room.store.commit([Put(changed, version - 1)])
            room.directory.refresh(lambda: None)
        for key_id in [await make(room) for _ in range(WEIGHT_MAX)]:
            await look_up(room, key_id)
        assert room.directory.sizes()["keys"] == room.directory.sizes()["references"] == WEIGHT_MAX

    asyncio.run(scene())


def test_keys_with_the_same_policy_share_its_text_and_its_document(room: Room) -> None:
    async def scene() -> None:
        one, other = [await look_up(room, await make(room)) for _ in range(2)]
        assert one.record.key_policy == default_policy(ACCOUNT)
        assert one.record.key_policy is other.record.key_policy
        assert one.policy is other.policy
        assert one.record.region is other.record.region

    asyncio.run(scene())


def test_long_policies_are_remembered_by_few_and_their_decisions_die_with_their_keys(room: Room) -> None:
    async def scene() -> None:
        short, other_short, long = await make(room), await make(room), await make(room, policy_chars=4 * 1_024)
        first, second, third = [await look_up(room, key_id) for key_id in (short, other_short, long)]
        assert first.policy is second.policy
        for entry in (first, third):
            entry.remember(room.caller, "kms:Encrypt", cast("Any", "decided"))
        assert second.decision(room.caller, "kms:Encrypt") == "decided"
        assert third.decision(room.caller, "kms:Encrypt") == "decided"
        assert len(room.caller.decisions) == 1, "a long document is not kept alive by its callers"

    asyncio.run(scene())


class Watched(PrincipalEntry):
    """A caller whose end can be seen."""

    __slots__ = ("__weakref__",)


def test_a_key_keeps_no_caller_alive_whose_decisions_it_keeps(room: Room) -> None:
    async def scene() -> None:
        entry = await look_up(room, await make(room, policy_chars=4 * 1_024))
        caller = Watched(room.caller.principal, Documents(), AccessKeySecret(b"secret"))
        gone = weakref.ref(caller)
        entry.remember(caller, "kms:Encrypt", cast("Any", "decided"))
        assert entry.decision(caller, "kms:Encrypt") == "decided"
        del caller
        assert gone() is None
        another = PrincipalEntry(room.caller.principal, Documents(), AccessKeySecret(b"secret"))
        assert entry.decision(another, "kms:Encrypt") is None

    asyncio.run(scene())
