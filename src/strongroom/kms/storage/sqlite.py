"""The embedded store: one SQLite file that only the service's user can open, shared by all workers.

Invariants:
- Two connections. Writes go through the writer thread's; reads go through this one, on the event loop's thread: they
  are short, never wait for a writer (WAL) and leave no read transaction open, so the next read sees what is committed.
- `poll_changes` glances at the WAL index (`wal_index`), and asks `PRAGMA data_version` when that moved. When the version
  moved too, version and log are read in one snapshot. A version that moved without an entry in the log was moved by a
  hand that does not keep the log: then everything is forgotten.
- Whatever a query returns is verified, and is what was asked for.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from strongroom.boundary.secret import StoreKey
from strongroom.kms.identities.records import AccessKeyRecord, AccountRecord
from strongroom.kms.repositories import (
    TABLES,
    AliasRecord,
    Change,
    Changed,
    DueKeys,
    GrantRecord,
    InspectedRow,
    KeyRecord,
    KeyState,
    MarkRecord,
    MaterialRecord,
    N,
    P,
    Put,
    R,
    Record,
    RowForgedError,
    StoredKey,
    StoreUnavailableError,
    identity_of,
)
from strongroom.kms.storage import inspection, statements
from strongroom.kms.storage.migrations import migrate
from strongroom.kms.storage.residue import Residue
from strongroom.kms.storage.rows import FORMATS, KINDS_BY_TABLE, RowCodec
from strongroom.kms.storage.wal_index import WalIndex
from strongroom.kms.storage.writer import LOCK_WAIT_MS, StoreBusyError, StoreStats, Write, WriterThread

_NO_MATERIAL: Final = (None,) * (len(FORMATS[MaterialRecord].names) + 1)
CHANGES_TOLD_MAX: Final = 10_000  # beyond this, forgetting everything is cheaper than going through the list
# While opening, and for the rare moments in which SQLite lets a reader wait (recovery after a crash).
BUSY_WAIT_MS: Final = 5_000
OPEN_ATTEMPTS_MAX: Final = 6
OPEN_RETRY_S: Final = 0.05
# Between tries of what somebody's reading or writing is in the way of; then whoever asked comes again later.
_BUSY_PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2, 0.4)

# A large group's savepoints would spill into a temporary file, which a confined service may not open anywhere.
_IN_MEMORY: Final = "temp_store = MEMORY"
_WRITING: Final = (
    _IN_MEMORY,
    "synchronous = FULL",
    "secure_delete = ON",
    "foreign_keys = ON",
    f"busy_timeout = {LOCK_WAIT_MS:d}",
)
_READING: Final = (_IN_MEMORY, "query_only = ON")


class SqliteStore:
    """Implements `kms/repositories.Store`. Open, use and close it on the event loop's thread."""

    def __init__(self, path: Path) -> None:
        self._rows = RowCodec()
        self._path = path
        self._closed = False
        _create_private(path)
        writing = _open(path, _WRITING, check_thread=False)
        try:
            self._reading = _open(path, _READING, check_thread=True)
            self._polling: Final = self._reading.cursor().execute
            self._seen_version: int = self._data_version()
            self._seen_change: int = self._fetch(statements.LAST_CHANGE, ())[0][0]
            self._residue = Residue(path)
        except BaseException:
            writing.close()
            raise
        self._writer = WriterThread(writing)
        self._index: Final = WalIndex(path)

    @property
    def stats(self) -> StoreStats:
        return self._writer.stats

    def unlock(self, store_key: StoreKey) -> None:
        self._rows.unlock(store_key)

    def tag(self, purpose: str, message: bytes) -> bytes:
        return self._rows.tag(purpose, message)

    def poll_changes(self, then: Callable[[Sequence[Changed] | None], None]) -> None:
        if not self._closed and self._index.is_unchanged():
            then(())
            return
        header = b"" if self._closed else self._index.glance()
        changes: Sequence[Changed] | None = ()
        if self._data_version() != self._seen_version:
            changes = self._read_log()
        # Noted only when the log was read, and as it was before: whatever came in between shows at the next glance.
        self._index.note(header)
        then(changes)

    async def get(self, kind: type[R], *identity: object) -> R | None:
        found = self._select(statements.BY_IDENTITY[kind], identity)
        return found[0] if found else None

    async def key_with_materials(self, key_id: str) -> StoredKey | None:
        self._rows.require_open(KeyRecord)
        rows = self._fetch(statements.KEY_WITH_MATERIALS, (key_id,))
        if not rows:
            return None
        width = statements.KEY_COLUMNS
        record = self._rows.to_record(KeyRecord, rows[0][:width])
        parts = [part for row in rows if (part := row[width:-1]) != _NO_MATERIAL]
        materials = [self._rows.to_record(MaterialRecord, part) for part in parts]
        if record.key_id != key_id or any(material.key_id != key_id for material in materials):
            raise RowForgedError("a query of a key with its materials returned what was not asked for")
        if len(materials) > 1:
            materials.sort(key=lambda material: (material.created_at_s, material.hbkid))
        return StoredKey(record, materials, bool(rows[0][-1]))

    async def materials_of(self, key_id: str) -> list[MaterialRecord]:
        return self._select(statements.MATERIALS_OF_KEY, (key_id,))

    async def list_keys(self, account: str, region: str, after: str, limit: int) -> list[KeyRecord]:
        return self._select(statements.KEYS, (account, region, after, limit))

    async def count_keys(self, account: str, region: str) -> int:
        count: int = self._fetch(statements.COUNT_KEYS, (account, region))[0][0]
        return count

    async def keys_due_for_deletion(self, region: str, now_s: float, limit: int) -> DueKeys:
        return self._select_due(statements.KEYS_DUE_FOR_DELETION, (region, now_s, limit))

    async def keys_due_for_rotation(self, region: str, now_s: float, limit: int) -> DueKeys:
        return self._select_due(statements.KEYS_DUE_FOR_ROTATION, (region, KeyState.ENABLED, now_s, limit))

    async def keys_rotating_too_late(self, region: str, now_s: float, limit: int) -> DueKeys:
        return self._select_due(statements.KEYS_ROTATING_TOO_LATE, (region, KeyState.ENABLED, now_s, limit))

    async def list_aliases(
        self, account: str, region: str, key_id: str | None, after: str, limit: int
    ) -> list[AliasRecord]:
        if key_id is None:
            return self._select(statements.ALIASES, (account, region, after, limit))
        return self._select(statements.ALIASES_OF_KEY, (account, region, key_id, after, limit))

    async def count_aliases(self, account: str, region: str, key_id: str) -> int:
        count: int = self._fetch(statements.COUNT_ALIASES_OF_KEY, (account, region, key_id))[0][0]
        return count

    async def list_marks(self, prefix: str, limit: int) -> list[MarkRecord]:
        return self._select(statements.MARKS, (prefix, prefix + "\U0010ffff", limit))

    async def list_named(self, kind: type[N], account: str, after: str, limit: int) -> list[N]:
        return self._select(statements.BY_NAME[kind], (account, after, limit))

    async def count_named(self, kind: type[N], account: str) -> int:
        count: int = self._fetch(statements.COUNT_NAMED[kind], (account,))[0][0]
        return count

    async def list_holding(
        self, kind: type[N], field: str, account: str, value: str, after: str, limit: int
    ) -> list[N]:
        records: list[N] = self._select(statements.HOLDING[kind, field], (account, value, after, limit))
        for record in records:
            held = getattr(record, field)
            if value not in (held if isinstance(held, tuple) else (held,)):
                raise RowForgedError(f"a query of {kind.__name__} returned what was not asked for")
        return records

    async def count_held(self, kind: type[N], field: str, account: str) -> dict[str, int]:
        return dict(self._fetch(statements.COUNT_HELD[kind, field], (account,)))

    async def find_folded(self, kind: type[N], account: str, name: str) -> str | None:
        rows = self._fetch(statements.FOLDED_NAME[kind], (account, name))
        return str(rows[0][0]) if rows else None

    async def with_unique_id(self, kind: type[P], unique_id: str) -> P | None:
        found: list[P] = self._select(statements.WITH_UNIQUE_ID[kind], (unique_id,))
        return found[0] if found else None

    async def list_accounts(self) -> list[AccountRecord]:
        return self._select(statements.ACCOUNTS, ("", -1))

    async def list_grants(self, key_id: str, grantee: str | None, after: str, limit: int) -> list[GrantRecord]:
        if grantee is None:
            return self._select(statements.GRANTS_ON_KEY, (key_id, after, limit))
        return self._select(statements.GRANTS_TO, (key_id, grantee, after, limit))

    async def grants_to(self, key_id: str, grantee: str) -> list[GrantRecord]:
        return self._select(statements.GRANTS_TO, (key_id, grantee, "", -1))

    async def grants_to_predecessors(self, key_id: str, arn: str, grantee: str, limit: int) -> list[GrantRecord]:
        return self._select(statements.GRANTS_TO_PREDECESSORS, (key_id, arn, grantee, limit))

    async def grant_like(self, record: GrantRecord) -> GrantRecord | None:
        row_format, asked = FORMATS[GrantRecord], statements.GRANT_REQUEST
        columns = dict(zip(row_format.names, row_format.to_columns(record), strict=True))
        found = self._select(statements.GRANT_LIKE, tuple(columns[name] for name in asked))
        if any(getattr(one, name) != getattr(record, name) for one in found for name in asked):
            raise RowForgedError("a query of GrantRecord returned what was not asked for")
        return found[0] if found else None

    async def list_grants_to_retire(self, region: str, retiring: str, after: str, limit: int) -> list[GrantRecord]:
        return self._select(statements.GRANTS_TO_RETIRE, (region, retiring, after, limit))

    async def count_grants_to(self, key_id: str, grantee: str) -> int:
        count: int = self._fetch(statements.COUNT_GRANTS_TO, (key_id, grantee))[0][0]
        return count

    async def count_grants(self, key_id: str) -> int:
        count: int = self._fetch(statements.COUNT_GRANTS, (key_id,))[0][0]
        return count

    async def list_access_keys(self, account: str, user_name: str) -> list[AccessKeyRecord]:
        return self._select(statements.ACCESS_KEYS_OF_USER, (account, user_name))

    async def inspect(self, kind: type[Record], after: int, limit: int) -> list[InspectedRow]:
        self._rows.require_open(kind)
        return inspection.inspect_rows(self._fetch, self._rows, kind, after, limit)

    async def inspect_files(self) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(None, inspection.inspect_files, self._path)

    async def commit(self, changes: Sequence[Change]) -> None:
        await self._writer.commit([self._write_of(change) for change in changes])

    async def erase(self, traces: Collection[bytes] | None = None) -> None:
        """1. carry the WAL into the file and cut it to nothing, 2. where a copy is left, or may be, write the file anew."""
        await _persist(self._writer.cut_wal)  # 1
        if traces is None or await self._holds_any(traces):  # 2
            await _persist(self._writer.rewrite)
            await _persist(self._writer.cut_wal)
            if traces is not None and await self._holds_any(traces):
                raise StoreUnavailableError("what was removed is still in the file, though it was written anew")

    async def _holds_any(self, traces: Collection[bytes]) -> bool:
        try:
            return await asyncio.get_running_loop().run_in_executor(None, self._residue.holds_any, traces)
        except OSError as error:
            raise StoreUnavailableError(f"the store's files cannot be read: {error}") from error

    def close(self) -> None:
        # The writer goes last: whoever closes the last connection pays for the final checkpoint.
        self._closed = True
        self._reading.close()
        self._writer.stop()
        self._residue.close()
        self._index.close()

    def _write_of(self, change: Change) -> Write:
        record = change.record
        kind = type(record)
        row_format = FORMATS[kind]
        identity = identity_of(record)
        logged = row_format.format_identity(identity) if TABLES[kind].is_cached else ""
        if not isinstance(change, Put):
            self._rows.require_open(kind)
            return Write(statements.DELETE[kind], (*identity, record.version), row_format.table, logged)
        row = self._rows.to_row(record)
        if change.replaces is None:
            return Write(statements.INSERT[kind], row, row_format.table, logged)
        assert record.version > change.replaces, "a version grows with every change"
        return Write(statements.UPDATE[kind], (*row, change.replaces), row_format.table, logged)

    def _select(self, query: statements.Query[R], parameters: tuple[object, ...]) -> list[R]:
        kind = query.kind
        self._rows.require_open(kind)
        records = [self._rows.to_record(kind, row) for row in self._fetch(query.sql, parameters)]
        for record in records:
            # A view or an index made by a forger could return a good row that was not asked for.
            for field, asked in zip(query.equals, parameters, strict=False):
                if getattr(record, field) != asked:
                    raise RowForgedError(f"a query of {kind.__name__} returned what was not asked for")
        return records

    def _select_due(self, query: statements.Query[KeyRecord], parameters: tuple[object, ...]) -> DueKeys:
        """One that is damaged costs the others nothing: they are read again, each by itself."""
        try:
            return DueKeys(self._select(query, parameters))
        except RowForgedError:
            places = [place for (place,) in self._fetch(query.places, parameters)]
        due = DueKeys([], [])
        for place in places:
            row = inspection.inspect_row(self._fetch, self._rows, KeyRecord, place)
            record = row.record
            if not isinstance(record, KeyRecord):
                due.damaged.append(row.name)
            elif all(getattr(record, field) == asked for field, asked in zip(query.equals, parameters, strict=False)):
                due.keys.append(record)
        return due

    def _fetch(self, sql: str, parameters: tuple[object, ...]) -> list[Any]:
        """All rows at once: a cursor left half read would hold its snapshot."""
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        try:
            return self._reading.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            # The module's own error, for TEXT that is no UTF-8, carries no code of SQLite's.
            if getattr(error, "sqlite_errorcode", None) is None:
                raise RowForgedError("a row does not decode") from error
            raise StoreUnavailableError(f"the store cannot be read: {error}") from error
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            raise StoreUnavailableError(f"the store cannot be read: {error}") from error

    def _data_version(self) -> int:
        """Asked before every batch of requests, so by the shortest way: a cursor of its own, no detours."""
        try:
            version: int = self._polling("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"the store cannot be read: {error}") from error
        return version

    def _read_log(self) -> list[Changed] | None:
        """What was committed since the last poll.

        1. Version and log are read in one snapshot, so that neither is ahead of the other.
        2. No entries, and nothing was committed: a writer began the WAL anew. This is looked at last, so that a commit
           that came since cannot be taken for none.
        3. Too many entries, none at all, or a gap: the list cannot be told.
        """
        # 1.
        self._fetch("BEGIN", ())
        try:
            version = self._data_version()
            entries = self._fetch(statements.CHANGES_SINCE, (self._seen_change, CHANGES_TOLD_MAX + 1))
            last = self._fetch(statements.LAST_CHANGE, ())[0][0]
        finally:
            self._fetch("ROLLBACK", ())
        # Only now: after a failure the next poll must look again.
        expected = self._seen_change + 1
        self._seen_version, self._seen_change = version, last
        # 2.
        if not entries and last == expected - 1 and self._index.has_no_commit():
            return []
        # 3.
        if not 0 < len(entries) <= CHANGES_TOLD_MAX or entries[0][0] != expected:
            return None
        try:
            return [
                Changed(kind, FORMATS[kind].parse_identity(identity))
                for kind, identity in ((KINDS_BY_TABLE[table], identity) for _, table, identity in entries)
                if TABLES[kind].is_cached
            ]
        except (KeyError, ValueError):  # Not an entry of ours.
            return None


async def _persist(ask: Callable[[], Awaitable[None]]) -> None:
    """Ask some times; meanwhile the writer's thread is free.

    Raises:
        StoreUnavailableError: somebody was in the way each time, or the disk refused.
    """
    for pause_s in _BUSY_PAUSES_S:
        with suppress(StoreBusyError):
            await ask()
            return
        await asyncio.sleep(pause_s)
    await ask()


def _create_private(path: Path) -> None:
    """Make sure that only the owner can open the file; SQLite gives its WAL the same mode.

    An existing file is never opened here: closing it would drop the POSIX locks of this process's other connections.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _open(path: Path, pragmas: tuple[str, ...], *, check_thread: bool) -> sqlite3.Connection:
    """A connection in autocommit mode on a migrated store in WAL mode.

    Of several workers that create the store at once, SQLite turns some away without waiting; they try again.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=check_thread)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_WAIT_MS:d}")
        for attempt in range(1, OPEN_ATTEMPTS_MAX + 1):
            try:
                _prepare(connection, pragmas)
                break
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == OPEN_ATTEMPTS_MAX:
                    raise
                time.sleep(OPEN_RETRY_S)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, pragmas: tuple[str, ...]) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreUnavailableError(f"the store's file system does not support a write-ahead log (mode {mode})")
    migrate(connection)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")
