"""Last usages on their way into the store, from several workers, and after a crash out of the audit trail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.kms.chores import usage_flush
from strongroom.kms.chores.usage_flush import UsageFlush
from strongroom.kms.chores.usage_recovery import recorded_uses
from strongroom.kms.keys.last_usage import TRACKED_OPERATIONS, LastUsage, is_newer
from strongroom.kms.operations.table import TABLE
from strongroom.kms.repositories import KeyUsageRecord, MarkRecord, StoreUnavailableError
from testkit.module import REGION, Hsm, operational_hsm
from testkit.raw import b64
from testkit.worker import DAY_S, START_S, Clocks, Worker


class Home:
    """A folder in which workers start, work and die."""

    def __init__(self, folder: Path, hsm: Hsm) -> None:
        self.folder = folder
        self.hsm = hsm
        self.clocks = Clocks()
        self.workers: list[Worker] = []

    def start(self, name: str = "w1") -> Worker:
        worker = Worker(self.folder, self.hsm, self.clocks, name)
        self.workers.append(worker)
        return worker

    def die(self, worker: Worker) -> None:
        """As a killed process: what is in the files stays, what is in memory goes."""
        worker.close()
        self.workers.remove(worker)

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


def flush_of(worker: Worker) -> UsageFlush:
    return UsageFlush(worker.service, worker.log, worker.audit, worker.name)


async def new_key(worker: Worker) -> str:
    return str((await worker.call("CreateKey"))["KeyMetadata"]["KeyId"])


async def use(worker: Worker, key_id: str) -> str:
    """Encrypt something a second later; the id of the event that records it."""
    worker.clocks.pass_s(1.25)
    await worker.call("Encrypt", KeyId=key_id, Plaintext=b64(b"x"))
    return str(worker.trail.usage.notes[key_id][2])


async def told(worker: Worker, key_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await worker.call("GetKeyLastUsage", KeyId=key_id))["KeyLastUsage"]
    return answer


async def stored(worker: Worker, key_id: str) -> str | None:
    record = await worker.store.get(KeyUsageRecord, key_id)
    return None if record is None else record.event_id


@pytest.fixture(scope="module")
def hsm() -> Hsm:
    return operational_hsm()


@pytest.fixture
def in_home(tmp_path: Path, hsm: Hsm) -> Callable[[Callable[[Home], Awaitable[None]]], None]:
    def enter(scene: Callable[[Home], Awaitable[None]]) -> None:
        async def main() -> None:
            home = Home(tmp_path, hsm)
            try:
                await scene(home)
            finally:
                home.close()

        asyncio.run(main())

    return enter


# ── what is noted ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_operations_that_count_are_the_models() -> None:
    there = {"Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt"}
    assert there == TRACKED_OPERATIONS & set(TABLE)


def test_a_use_is_told_at_once_before_and_after_and_during_its_flush(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        key_id = await new_key(worker)
        flush = flush_of(worker)
        await flush.run(home.clocks())
        event_id = await use(worker, key_id)
        expected = await told(worker, key_id)
        assert expected["CloudTrailEventId"] == event_id
        assert expected["Timestamp"] == START_S + 1.25
        assert await stored(worker, key_id) is None
        worker.trail.usage.take()
        assert await told(worker, key_id) == expected
        worker.trail.usage.take_back()
        await flush.run(home.clocks())
        assert await stored(worker, key_id) == event_id
        assert worker.trail.usage.find(key_id) is None
        assert await told(worker, key_id) == expected

    in_home(scene)


def test_what_was_noted_during_a_flush_that_failed_is_newer() -> None:
    usage = LastUsage()
    usage.notes.update(one=("Encrypt", 1.0, "e1", "r1"), two=("Encrypt", 1.0, "e2", "r2"))
    usage.take()
    usage.notes["one"] = ("Decrypt", 2.0, "e3", "r3")
    usage.take_back()
    assert usage.notes == {"one": ("Decrypt", 2.0, "e3", "r3"), "two": ("Encrypt", 1.0, "e2", "r2")}
    assert usage.find("one") == ("Decrypt", 2.0, "e3", "r3")


@pytest.mark.parametrize(
    ("noted_s", "recorded_s", "expected"),
    [(5.5, 5.25, True), (5.25, 5.5, False), (5.5, 5.5, True), (5.0, 5.75, True), (5.0, 6.0, False), (6.0, 5.75, True)],
)
def test_a_note_from_the_trail_wins_within_its_second(*, noted_s: float, recorded_s: float, expected: bool) -> None:
    assert is_newer(("Encrypt", noted_s, "e", "r"), recorded_s) == expected


# ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_newest_use_of_two_workers_is_the_one_that_stays(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        one, other = home.start("w1"), home.start("w2")
        key_id = await new_key(one)
        flushes = [flush_of(one), flush_of(other)]
        for flush in flushes:
            await flush.run(home.clocks())
        for order in ((0, 1), (1, 0)):
            older = await use(one, key_id)
            newer = await use(other, key_id)
            assert (await told(one, key_id))["CloudTrailEventId"] == older, "what the other did is not stored yet"
            for place in order:
                await flushes[place].run(home.clocks())
            for worker in (one, other):
                assert await stored(worker, key_id) == newer
                assert (await told(worker, key_id))["CloudTrailEventId"] == newer

    in_home(scene)


def test_two_workers_that_flush_many_keys_at_once_lose_nothing(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        one, other = home.start("w1"), home.start("w2")
        keys = [await new_key(one) for _ in range(120)]
        flushes = [flush_of(one), flush_of(other)]
        for _ in range(3):
            newest = {}
            for number, key_id in enumerate(keys):
                for worker in (one, other) if number % 2 else (other, one):
                    newest[key_id] = await use(worker, key_id)
            await asyncio.gather(*[flush.run(home.clocks()) for flush in flushes])
            # What was in the other's way goes with the next one.
            await asyncio.gather(*[flush.run(home.clocks()) for flush in flushes])
            assert {key_id: await stored(one, key_id) for key_id in keys} == newest

    in_home(scene)


def test_a_flush_that_the_store_refuses_is_done_again(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        key_id = await new_key(worker)
        flush = flush_of(worker)
        await flush.run(home.clocks())
        event_id = await use(worker, key_id)
        commit = worker.store.commit

        async def refuse(_: Any) -> None:
            raise StoreUnavailableError("the disk is full")

        worker.store.commit = refuse  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailableError):
            await flush.run(home.clocks())
        worker.store.commit = commit  # type: ignore[method-assign]
        assert (await told(worker, key_id))["CloudTrailEventId"] == event_id
        await flush.run(home.clocks())
        assert await stored(worker, key_id) == event_id

    in_home(scene)


def test_a_key_that_was_deleted_meanwhile_stands_in_no_others_way(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        key_id = await new_key(worker)
        flush = flush_of(worker)
        await flush.run(home.clocks())
        event_id = await use(worker, key_id)
        worker.trail.usage.notes["0e5f2d9c-1111-4222-8333-444455556666"] = ("Encrypt", 1.0, "e", "r")
        await flush.run(home.clocks())
        assert await stored(worker, key_id) == event_id
        assert worker.trail.usage.notes == {}

    in_home(scene)


def test_an_idle_worker_writes_nothing(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        flush = flush_of(worker)
        await flush.run(home.clocks())
        written = worker.store.stats.commits
        for _ in range(20):
            home.clocks.pass_s(30)
            await worker.call("ListKeys")
            await flush.run(home.clocks())
        assert worker.store.stats.commits == written

    in_home(scene)


# ── after a crash ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_killed_worker_had_not_stored_comes_back_from_the_trail(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        keys = [await new_key(worker) for _ in range(4)]
        await flush_of(worker).run(home.clocks())
        for key_id in keys[:3]:
            await use(worker, key_id)
        await flush_of(worker).run(home.clocks())
        first = await stored(worker, keys[0])
        last = {keys[1]: await use(worker, keys[1]), keys[2]: await use(worker, keys[2])}
        last[keys[1]] = await use(worker, keys[1])
        expected_s = (await told(worker, keys[1]))["Timestamp"]
        home.die(worker)

        successor = home.start()
        assert await stored(successor, keys[1]) != last[keys[1]]
        await flush_of(successor).run(home.clocks())
        for key_id, event_id in last.items():
            assert await stored(successor, key_id) == event_id
        assert await stored(successor, keys[0]) == first
        assert await stored(successor, keys[3]) is None
        answer = await told(successor, keys[1])
        # A record's time has whole seconds.
        assert answer["Timestamp"] == int(expected_s)
        assert answer["Operation"] == "Encrypt"

    in_home(scene)


def test_both_keys_of_re_encrypt_come_back(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        source, destination = await new_key(worker), await new_key(worker)
        blob = (await worker.call("Encrypt", KeyId=source, Plaintext=b64(b"x")))["CiphertextBlob"]
        await flush_of(worker).run(home.clocks())
        home.clocks.pass_s(5)
        await worker.call("ReEncrypt", CiphertextBlob=blob, DestinationKeyId=destination)
        home.die(worker)
        successor = home.start()
        await flush_of(successor).run(home.clocks())
        answers = [await told(successor, key_id) for key_id in (source, destination)]
        assert answers[0] == answers[1]
        assert answers[0]["Operation"] == "ReEncrypt"

    in_home(scene)


def test_what_was_refused_or_no_cryptography_does_not_come_back(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        key_id = await new_key(worker)
        await flush_of(worker).run(home.clocks())
        await worker.call("DescribeKey", KeyId=key_id)
        await worker.call("DisableKey", KeyId=key_id)
        for request in (
            {"KeyId": key_id, "Plaintext": b64(b"x")},
            {"KeyId": key_id, "Plaintext": b64(b"x"), "DryRun": True},
        ):
            with pytest.raises(Exception, match="disabled"):
                await worker.call("Encrypt", **request)
        home.die(worker)
        successor = home.start()
        await flush_of(successor).run(home.clocks())
        assert await told(successor, key_id) == {}

    in_home(scene)


def test_a_crash_in_the_middle_of_a_flush_costs_nothing(in_home: Any, monkeypatch: Any) -> None:
    async def scene(home: Home) -> None:
        monkeypatch.setattr(usage_flush, "KEYS_PER_COMMIT_MAX", 3)
        worker = home.start()
        keys = [await new_key(worker) for _ in range(10)]
        await flush_of(worker).run(home.clocks())
        last = {key_id: await use(worker, key_id) for key_id in keys}
        commit = worker.store.commit
        commits = 0

        async def die_at_the_third(changes: Any) -> None:
            nonlocal commits
            commits += 1
            if commits == 3:
                raise asyncio.CancelledError
            await commit(changes)

        worker.store.commit = die_at_the_third  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await flush_of(worker).run(home.clocks())
        home.die(worker)
        successor = home.start()
        await flush_of(successor).run(home.clocks())
        assert {key_id: await stored(successor, key_id) for key_id in keys} == last

    in_home(scene)


def test_only_what_lies_beyond_the_mark_is_read(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        key_id = await new_key(worker)
        await flush_of(worker).run(home.clocks())
        before = worker.log.head().seq
        event_id = await use(worker, key_id)
        after = worker.log.head().seq
        home.die(worker)
        found = recorded_uses(home.folder / "audit", "w1", REGION, before, after)
        assert [use[2] for use in found.values()] == [event_id]
        assert recorded_uses(home.folder / "audit", "w1", REGION, after, after) == {}
        assert recorded_uses(home.folder / "audit", "w1", REGION, 0, before) == {}
        assert recorded_uses(home.folder / "audit", "w2", REGION, 0, after) == {}
        assert recorded_uses(home.folder / "audit", "w1", "eu-west-1", 0, after) == {}

    in_home(scene)


def test_a_trail_that_was_tampered_with_tells_what_can_be_read(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        key_id = await new_key(worker)
        event_ids = [await use(worker, key_id) for _ in range(3)]
        last = worker.log.head().seq
        home.die(worker)
        (segment,) = (home.folder / "audit").glob("audit-w1-*.jsonl")
        lines = segment.read_bytes().splitlines(keepends=True)
        lines[-1] = b'{"writer":"w1","seq":nonsense}\n'
        segment.write_bytes(b"".join([*lines, b"\xff\xfe\n", b'{"torn']))
        found = recorded_uses(home.folder / "audit", "w1", REGION, 0, last + 5)
        assert found[key_id][2] == event_ids[1]

    in_home(scene)


def test_a_clean_stop_leaves_nothing_to_bring_back(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        key_id = await new_key(worker)
        flush = flush_of(worker)
        await flush.run(home.clocks())
        await use(worker, key_id)
        await flush.run(home.clocks())
        mark = await worker.store.get(MarkRecord, f"usage-flushed:w1:{REGION}")
        assert mark is not None
        # GetKeyLastUsage itself, and nothing else, may have been recorded since.
        assert mark.value == worker.log.head().seq

    in_home(scene)


# ── since when ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tracking_begins_with_the_first_flush_or_with_the_key(in_home: Any) -> None:
    async def scene(home: Home) -> None:
        worker = home.start()
        older = await new_key(worker)
        home.clocks.pass_s(10 * DAY_S)
        await flush_of(worker).run(home.clocks())
        began_s = home.clocks()
        home.clocks.pass_s(DAY_S)
        younger = await new_key(worker)
        answer = await worker.call("GetKeyLastUsage", KeyId=older)
        assert (answer["TrackingStartDate"], answer["KeyCreationDate"]) == (began_s, START_S)
        answer = await worker.call("GetKeyLastUsage", KeyId=younger)
        assert answer["TrackingStartDate"] == answer["KeyCreationDate"] == began_s + DAY_S
        home.die(worker)
        successor = home.start()
        home.clocks.pass_s(DAY_S)
        await flush_of(successor).run(home.clocks())
        assert (await successor.call("GetKeyLastUsage", KeyId=older))["TrackingStartDate"] == began_s

    in_home(scene)
