"""The chore that removes what an operator no longer wants to keep: what goes, what stays, and that the rest verifies."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from kms.test_audit_support import DAY_S, DOMAIN_ID, START_S, Clock, SigningHsm, make_event, open_log, verify
from strongroom.boundary.messages import SignatureAnswer, audit_head_statement
from strongroom.boundary.secret import StoreKey
from strongroom.boundary.session import sign_statement
from strongroom.kms import head_keeper
from strongroom.kms.audit.chain import SignedHead
from strongroom.kms.audit.heads import AuditInUseError, HeadLog, lock_file
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.audit.segments import AuditUnavailableError
from strongroom.kms.chores.audit_retention import AuditRetention
from strongroom.kms.chores.clock_guard import ClockGuard
from strongroom.kms.head_keeper import HeadKeeper
from strongroom.kms.repositories import MarkRecord, Put
from strongroom.kms.storage.sqlite import SqliteStore

REGION = "eu-central-1"


class Keeper(HeadKeeper):
    """The real one, but that a known HSM signs at once."""

    def __init__(self, directory: Path, log: AuditLog, hsm: SigningHsm, clock: Clock) -> None:
        super().__init__(directory, log, cast("Any", None), cast("Any", None), DOMAIN_ID)
        self._hsm = hsm
        self._clock = clock

    async def _ask(self, digest: bytes) -> SignatureAnswer:
        now_s = int(self._clock())
        statement = audit_head_statement(DOMAIN_ID, self._hsm.hsm_id, now_s, digest)
        return SignatureAnswer(1, self._hsm.hsm_id, now_s, sign_statement(self._hsm._private, statement))


class Trail:
    """A directory with one writer that runs, days of records in it, and its keeper."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hsm = SigningHsm()
        self.clock = Clock()
        self.log = open_log(directory, clock=self.clock, segment_bytes_max=100)
        self.keeper = Keeper(directory, self.log, self.hsm, self.clock)

    async def fill(self, days: int) -> None:
        for day in range(days):
            self.clock.now_s = START_S + day * DAY_S
            self.log.append([make_event(day, self.clock.now_s)])
            await self.keeper.sign(self.clock.now_s)

    def segments(self, writer: str = "w1") -> int:
        return len(list(self.directory.glob(f"audit-{writer}-*")))

    def assert_verifies(self) -> None:
        assert verify(self.directory, self.hsm).problems == []


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    made = Trail(tmp_path / "audit")
    yield made
    made.keeper.close()
    made.log.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "store.db")) as opened:
        opened.unlock(StoreKey(bytes(32)))
        yield opened


def guard_of(store: SqliteStore) -> ClockGuard:
    return ClockGuard(store, REGION, time.monotonic)


def test_what_is_older_goes_with_its_heads_and_the_rest_verifies(trail: Trail, store: SqliteStore) -> None:
    async def main() -> None:
        await trail.fill(20)
        await AuditRetention(guard_of(store), trail.keeper, 5.0, trail.clock).run()

    asyncio.run(main())
    # Six days, and the records of what went from the chain and from the heads.
    assert trail.segments() == 8
    assert len((trail.directory / "heads.jsonl").read_bytes().splitlines()) == 8
    trail.assert_verifies()
    assert trail.log.total_bytes == sum(path.stat().st_size for path in trail.directory.glob("audit-w1-*"))


def test_nothing_goes_while_the_clock_is_not_trusted(trail: Trail, store: SqliteStore) -> None:
    held = MarkRecord(name=f"clock-hold:{REGION}", version=1, value=START_S)
    ended = MarkRecord(name=f"clock-hold:{REGION}", version=2, value=0.0)
    retention = AuditRetention(guard_of(store), trail.keeper, 5.0, trail.clock)

    async def main() -> tuple[int, int]:
        await trail.fill(20)
        await store.commit([Put(held, None)])
        await retention.run()
        while_held = trail.segments()
        await store.commit([Put(ended, 1)])
        await retention.run()
        return while_held, trail.segments()

    while_held, after = asyncio.run(main())
    assert while_held == 20
    assert after < 10


def test_the_chain_of_a_worker_that_is_no_more_is_shortened_by_another(trail: Trail, store: SqliteStore) -> None:
    async def main() -> None:
        gone = open_log(trail.directory, "w2", clock=trail.clock, segment_bytes_max=100)
        for number in range(5):
            gone.append([make_event(number)])
        gone.close()
        await trail.fill(20)
        await AuditRetention(guard_of(store), trail.keeper, 5.0, trail.clock).run()

    asyncio.run(main())
    # Its newest segment stays: it says where the chain ended.
    assert trail.segments("w2") == 1
    trail.assert_verifies()


def test_the_chain_of_a_worker_that_runs_is_its_own_to_shorten(trail: Trail, store: SqliteStore) -> None:
    running = open_log(trail.directory, "w2", clock=trail.clock, segment_bytes_max=100)

    async def main() -> None:
        for number in range(5):
            running.append([make_event(number)])
        await trail.fill(20)
        await AuditRetention(guard_of(store), trail.keeper, 5.0, trail.clock).run()

    asyncio.run(main())
    running.close()
    assert trail.segments("w2") == 5


def test_a_worker_that_does_not_keep_the_heads_waits_until_they_cover_what_it_recorded(
    trail: Trail, store: SqliteStore
) -> None:
    other = open_log(trail.directory, "w2", clock=trail.clock, segment_bytes_max=100)
    keeper = Keeper(trail.directory, other, trail.hsm, trail.clock)

    def left() -> int:
        return trail.segments("w2")

    async def main() -> tuple[int, int]:
        for number in range(5):
            other.append([make_event(number)])
        await trail.fill(20)
        retention = asyncio.ensure_future(AuditRetention(guard_of(store), keeper, 5.0, trail.clock).run())
        await asyncio.sleep(0.7)
        while_waiting = left()
        trail.assert_verifies()
        await trail.keeper.sign(trail.clock())
        await retention
        return while_waiting, left()

    # What was the newest segment stays, and the record of what goes begins another.
    assert asyncio.run(main()) == (6, 2)
    keeper.close()
    other.close()
    trail.assert_verifies()


def test_nothing_goes_that_nobody_signs_for(trail: Trail, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_keeper, "_SIGNED_TRIES", 2)

    async def silent(*_: object) -> bool:
        return True

    async def main() -> None:
        await trail.fill(20)
        monkeypatch.setattr(trail.keeper, "sign", silent)
        with pytest.raises(AuditUnavailableError, match="nobody signed"):
            await AuditRetention(guard_of(store), trail.keeper, 5.0, trail.clock).run()

    asyncio.run(main())
    assert trail.segments() == 21
    trail.assert_verifies()


def test_heads_that_are_signed_meanwhile_are_not_lost(
    trail: Trail, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head lines are removed by writing a new file: a head signed in between would stand in the old one only."""
    replace, replacing = HeadLog.replace, threading.Event()

    def take_time(heads: HeadLog, temporary: Path, last: SignedHead, size: int) -> None:
        replacing.set()
        time.sleep(0.3)
        replace(heads, temporary, last, size)

    monkeypatch.setattr(HeadLog, "replace", take_time)

    async def sign_meanwhile() -> None:
        await asyncio.get_running_loop().run_in_executor(None, replacing.wait)
        trail.log.append([make_event(21, trail.clock.now_s)])
        await trail.keeper.sign(trail.clock())

    async def main() -> None:
        await trail.fill(20)
        await asyncio.gather(AuditRetention(guard_of(store), trail.keeper, 5.0, trail.clock).run(), sign_meanwhile())

    asyncio.run(main())
    report = verify(trail.directory, trail.hsm)
    assert (report.problems, report.records_after_last_head) == ([], 0)
    assert len((trail.directory / "heads.jsonl").read_bytes().splitlines()) < 10


def test_a_jump_that_nobody_has_written_down_yet_keeps_everything(trail: Trail, store: SqliteStore) -> None:
    """The guard looks twice a minute; retention may come in between."""
    uptime_s = 1000.0
    guard = ClockGuard(store, REGION, lambda: uptime_s)

    async def main() -> None:
        await trail.fill(20)
        await guard.observe(trail.clock())
        trail.clock.now_s += 400 * DAY_S
        await AuditRetention(guard, trail.keeper, 5.0, trail.clock).run()

    asyncio.run(main())
    assert trail.segments() == 20


def test_a_worker_that_comes_back_while_its_chain_is_signed_for_is_not_kept_out(trail: Trail) -> None:
    """And then its segments are its own to remove."""
    gone = open_log(trail.directory, "w2", clock=trail.clock, segment_bytes_max=100)
    for number in range(5):
        gone.append([make_event(number)])
    gone.close()
    asyncio.run(trail.fill(20))
    back: list[AuditLog] = []

    def come_back() -> None:
        asyncio.run(trail.keeper.sign(trail.clock()))
        back.append(open_log(trail.directory, "w2", clock=trail.clock))

    begun_s = time.monotonic()
    removed = trail.log._retain_chain("w1", "9999", lambda: asyncio.run(trail.keeper.sign(trail.clock())) and None)
    assert removed
    with pytest.raises(AuditInUseError):
        trail.log._retain_chain("w2", "9999", come_back)
    # Less than it waits for a lock that somebody keeps, by far; a machine may be late.
    assert time.monotonic() - begun_s < 30
    assert trail.segments("w2") == 5
    back[0].close()
    trail.assert_verifies()


def test_a_worker_that_starts_waits_a_moment_for_who_shortens_its_chain(trail: Trail) -> None:
    held = lock_file(trail.directory / "w2.lock")
    threading.Timer(0.3, os.close, [held]).start()
    open_log(trail.directory, "w2", clock=trail.clock).close()
