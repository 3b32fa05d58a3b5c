"""Stores of every older schema, which are migrated while they are recorded, and what a cut may leave of one.

A store is written as the release of its schema wrote it: rows without the columns of later ones. Then today's code opens
it and changes a row. Whenever the power is cut, the file has its old schema or today's, and today's code goes on with it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.stores import STORE_KEY, access_key, alias, kms_key, user
from strongroom.boundary.secret import StoreKey
from strongroom.kms.repositories import KeyRecord, Put, Record
from strongroom.kms.storage.migrations import MIGRATIONS
from strongroom.kms.storage.rows import FORMATS, RowCodec
from strongroom.kms.storage.sqlite import SqliteStore

NEWEST: Final = MIGRATIONS[-1].number
OLDER: Final = range(1, NEWEST)
ROWS: Final = 40


def name_of(schema: int) -> str:
    return f"old-{schema}"


def path_of(folder: Path, schema: int) -> Path:
    return folder / f"{name_of(schema)}.db"


def write(folder: Path, schema: int) -> None:
    """A store of this schema, with rows."""
    codec = RowCodec()
    codec.unlock(StoreKey(STORE_KEY))
    with closing(sqlite3.connect(path_of(folder, schema), isolation_level=None)) as connection:
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN IMMEDIATE")
        for migration in MIGRATIONS[:schema]:
            for statement in migration.statements:
                connection.execute(statement)
        for record in _records():
            _insert(connection, codec, record)
        connection.execute(f"PRAGMA user_version = {schema:d}")
        connection.execute("COMMIT")


def _records() -> list[Record]:
    records: list[Record] = []
    for at in range(ROWS):
        key_id = f"key-{at}"
        records += [kms_key(key_id), alias(f"alias/{at}", key_id), user(f"user-{at}"), access_key(f"AKIA{at}")]
    return records


def _insert(connection: sqlite3.Connection, codec: RowCodec, record: Any) -> None:
    row_format = FORMATS[type(record)]
    there = {row[1] for row in connection.execute(f"PRAGMA table_info({row_format.table})")}
    record = msgspec.structs.replace(record, **{name: None for name in row_format.names if name not in there})
    named = dict(zip((*row_format.names, "mac"), codec.to_row(record), strict=True))
    columns = [name for name in named if name in there]
    places = ", ".join("?" * len(columns))
    sql = f"INSERT INTO {row_format.table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 -- our own names.
    connection.execute(sql, [named[name] for name in columns])


def migrate(folder: Path, schema: int, version: int) -> None:
    """Open it by today's code, and give its first key this version."""
    with closing(SqliteStore(path_of(folder, schema))) as store:
        store.unlock(StoreKey(STORE_KEY))
        asyncio.run(_change(store, version))


async def _change(store: SqliteStore, version: int) -> None:
    record = await store.get(KeyRecord, "key-0")
    assert record is not None
    await store.commit([Put(msgspec.structs.replace(record, version=version), record.version)])


def losses(folder: Path, schema: int, allowed: set[int | None]) -> list[str]:
    """What is not as it must be of a store whose first key may have these versions."""
    path, name = path_of(folder, schema), name_of(schema)
    if None in allowed and not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
    wanted = {0, schema, NEWEST} if None in allowed else {schema, NEWEST}
    if found not in wanted:
        return [f"{name} is of schema {found}"]
    if found == 0:
        return []
    with closing(SqliteStore(path)) as store:
        store.unlock(StoreKey(STORE_KEY))
        return asyncio.run(_differences(store, name, allowed))


async def _differences(store: SqliteStore, name: str, allowed: set[int | None]) -> list[str]:
    lost = []
    first = await store.get(KeyRecord, "key-0")
    if first is None or first.version not in allowed:
        lost.append(f"{name}: its first key is {first}, not {allowed}")
    for kind in {type(record) for record in _records()}:
        rows = await store.inspect(kind, 0, 1_000)
        whole = sum(row.record is not None for row in rows)
        if whole != ROWS:
            lost.append(f"{name}: {whole} of {ROWS} rows of {kind.__name__}")
    await store.commit([Put(kms_key("afterwards"), None)])
    return lost
