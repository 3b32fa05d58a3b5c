"""The writer thread: the only place where the store is changed, and where fsync is waited for.

Invariants:
- One transaction holds all requests that waited (group commit); each stands in a savepoint of its own, so one that
  conflicts fails alone and the others do not notice.
- A request is answered after COMMIT returned, and COMMIT returns after fsync (`synchronous=FULL`).
- When COMMIT or the disk fails, every request of the group fails and nothing of it was kept. The thread goes on.
- Another process that writes is waited for; the wait ends in `StoreUnavailableError` only after half a minute.
- Upkeep (cutting the WAL, rewriting the file) is tried once per request, and changes come before it: whoever asks waits
  between two tries, not the thread. Cutting holds the write lock for some hundredths of a second at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from queue import Empty, SimpleQueue
from typing import Any, Final

import msgspec

from strongroom.kms.repositories import ConflictError, StoreUnavailableError
from strongroom.kms.storage import statements

# Half a minute in all, in short waits: within one wait SQLite pauses ever longer, and whoever came late would win.
LOCK_WAIT_MS: Final = 20
LOCK_ATTEMPTS_MAX: Final = 1_500
GROUP_REQUESTS_MAX: Final = 1_024  # bounds how long the first of a group waits for the last

CHANGES_KEPT: Final = 100_000
CHANGES_PRUNED_EACH: Final = 1_000  # the log is longer than CHANGES_KEPT by at most this and one group

# What a constraint says when somebody else was faster: the row is there, its key is gone, another one is CURRENT.
_LOST_RACES: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY}
)


class Write(msgspec.Struct, frozen=True):
    """One change, ready to execute; it must hit exactly one row. Without an `identity`, nobody caches such a record."""

    sql: str
    parameters: Sequence[Any]
    table: str
    identity: str


class StoreStats(msgspec.Struct, frozen=True):
    """What the writer did since it started."""

    transactions: int = 0
    commits: int = 0
    mutations: int = 0
    # In committed transactions, their sync included.
    seconds: float = 0.0


class StoreBusyError(StoreUnavailableError):
    """Somebody reads or writes: what was asked for may go at the next try."""


class _Upkeep(Enum):
    """What is done with the files and not with rows."""

    CUT_WAL = auto()
    REWRITE = auto()


class _Waiting:
    """Somebody who awaits an answer: to a commit, or to upkeep."""

    __slots__ = ("future", "loop", "upkeep", "writes")

    def __init__(self, writes: Sequence[Write], upkeep: _Upkeep | None = None) -> None:
        self.writes = writes
        self.upkeep = upkeep
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()


class WriterThread:
    """Owns the write connection from its start to its end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._stopped = False
        self._pruned_to = 0
        self._last_change = 0
        self._uncached_is_logged = False
        self.stats = StoreStats()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def commit(self, writes: Sequence[Write]) -> None:
        await self._ask(_Waiting(writes))

    async def cut_wal(self) -> None:
        """Carry the WAL into the file and cut it to nothing, if nobody is in the way.

        Raises:
            StoreBusyError: somebody reads, or writes.
        """
        await self._ask(_Waiting((), _Upkeep.CUT_WAL))

    async def rewrite(self) -> None:
        """Write every page anew, with nothing in it but rows; other writers wait meanwhile.

        Raises:
            StoreBusyError: somebody writes.
        """
        await self._ask(_Waiting((), _Upkeep.REWRITE))

    def stop(self) -> None:
        """Answer everything that waits, then close the connection."""
        if not self._stopped:
            self._stopped = True
            self._queue.put(None)
        self._thread.join()

    async def _ask(self, waiting: _Waiting) -> None:
        if self._stopped:
            raise StoreUnavailableError("the store is closed")
        self._queue.put(waiting)
        await waiting.future

    # -- From here on, the thread.

    def _run(self) -> None:
        going_on = True
        while going_on:
            taken = self._take()
            going_on = None not in taken
            group = [one for one in taken if one is not None and one.upkeep is None]
            if group:
                _answer(group, self._commit_group(group))
            for upkeep, do in ((_Upkeep.REWRITE, self._rewrite), (_Upkeep.CUT_WAL, self._cut_wal)):
                asking = [one for one in taken if one is not None and one.upkeep is upkeep]
                if asking:
                    _answer(asking, [_try_once(do)] * len(asking))
        self._connection.close()

    def _take(self) -> list[_Waiting | None]:
        """All that waits, at least one. Nothing follows a None."""
        taken = [self._queue.get()]
        with contextlib.suppress(Empty):
            while len(taken) < GROUP_REQUESTS_MAX:
                taken.append(self._queue.get_nowait())
        return taken

    def _commit_group(self, group: Sequence[_Waiting]) -> list[Exception | None]:
        started_s = time.perf_counter()
        try:
            self._begin()
            self._uncached_is_logged = False
            outcomes = [self._apply(one.writes) for one in group]
            kept = [one for one, outcome in zip(group, outcomes, strict=True) if outcome is None]
            if kept:
                self._prune_changes()
                self._connection.execute("COMMIT")
                self._count(kept, time.perf_counter() - started_s)
            else:
                # An empty COMMIT could still write pages that a savepoint touched.
                self._connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - the thread outlives whatever happens; all are told.
            self._roll_back()
            return [_unavailable(error) for _ in group]
        return outcomes

    def _begin(self) -> None:
        for attempt in range(1, LOCK_ATTEMPTS_MAX + 1):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                # The low byte is the primary code; the rest says which kind of busy.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == LOCK_ATTEMPTS_MAX:
                    raise
            else:
                return

    def _apply(self, writes: Sequence[Write]) -> Exception | None:
        """Do all of a request or nothing of it; what concerns the whole group is raised."""
        execute = self._connection.execute
        execute("SAVEPOINT request")
        try:
            for write in writes:
                self._execute(write)
        except sqlite3.IntegrityError as error:
            outcome: Exception = error
            if error.sqlite_errorcode in _LOST_RACES:
                outcome = ConflictError(f"{write.table} {write.identity}: {error}")
        except (ConflictError, OverflowError) as error:
            outcome = error
        else:
            execute("RELEASE request")
            return None
        execute("ROLLBACK TO request")
        self._uncached_is_logged = False
        execute("RELEASE request")
        return outcome

    def _execute(self, write: Write) -> None:
        if self._connection.execute(write.sql, write.parameters).rowcount != 1:
            raise ConflictError(f"{write.table} {write.identity} is not at the expected version")
        if not write.identity:
            if self._uncached_is_logged:
                return
            # One entry per transaction: a data version that moves without any would have everything forgotten.
            self._uncached_is_logged = True
        logged = self._connection.execute(statements.LOG_CHANGE, (write.table, write.identity))
        self._last_change = logged.lastrowid or 0

    def _prune_changes(self) -> None:
        prunable_to = self._last_change - CHANGES_KEPT
        if prunable_to - self._pruned_to >= CHANGES_PRUNED_EACH:
            self._connection.execute(statements.PRUNE_CHANGES, (prunable_to,))
            self._pruned_to = prunable_to

    def _count(self, kept: Sequence[_Waiting], seconds: float) -> None:
        self.stats = StoreStats(
            transactions=self.stats.transactions + 1,
            commits=self.stats.commits + len(kept),
            mutations=self.stats.mutations + sum(len(one.writes) for one in kept),
            seconds=self.stats.seconds + seconds,
        )

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself after some errors, such as a full disk.
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _cut_wal(self) -> None:
        """Cutting takes the write lock, so it is begun only when carrying over, which takes none, came to the end."""
        busy, in_wal, carried_over = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if not busy and in_wal == carried_over:
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if not busy:
                return
        raise StoreBusyError("somebody keeps reading an old state of the store")

    def _rewrite(self) -> None:
        self._connection.execute("VACUUM")


def _try_once(do: Callable[[], None]) -> Exception | None:
    try:
        do()
    except StoreBusyError as error:
        return error
    except sqlite3.OperationalError as error:
        is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
        return StoreBusyError(f"the store is busy: {error}") if is_busy else _unavailable(error)
    except sqlite3.Error as error:
        return _unavailable(error)
    return None


def _unavailable(error: Exception) -> StoreUnavailableError:
    unavailable = StoreUnavailableError(f"the store cannot write: {error}")
    unavailable.__cause__ = error
    return unavailable


def _answer(group: Sequence[_Waiting], outcomes: Sequence[Exception | None]) -> None:
    """Wake each event loop once for all of its answers."""
    for loop in {one.loop for one in group}:
        mine = [(one.future, outcome) for one, outcome in zip(group, outcomes, strict=True) if one.loop is loop]
        # A loop that was closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, mine)


def _resolve(answers: Iterable[tuple[asyncio.Future[None], Exception | None]]) -> None:
    for future, outcome in answers:
        if future.done():  # The waiting task was cancelled; its changes may have been kept all the same.
            continue
        if outcome is None:
            future.set_result(None)
        else:
            future.set_exception(outcome)
