"""Looking at a store row by row, for `strongroom doctor --deep`: what a query refuses as a whole is named here.

Rows are read by their place in the table and not through an index, so that a row which an index has lost is seen too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from strongroom.kms.repositories import InspectedRow, Record, RowForgedError, StoreUnavailableError
from strongroom.kms.storage import statements
from strongroom.kms.storage.rows import FORMATS, RowCodec

Fetch = Callable[[str, tuple[object, ...]], list[Any]]
# A report is for people: SQLite stops after so many faults.
_FAULTS_MAX: Final = 100
_LOCK_WAIT_S: Final = 5.0


def inspect_rows(fetch: Fetch, rows: RowCodec, kind: type[Record], after: int, limit: int) -> list[InspectedRow]:
    """A page of rows; one that cannot even be read costs its neighbours nothing."""
    try:
        page = fetch(statements.ROWS[kind], (after, limit))
    except RowForgedError:
        return [inspect_row(fetch, rows, kind, place) for (place,) in fetch(statements.PLACES[kind], (after, limit))]
    return [_inspected(rows, kind, row) for row in page]


def inspect_row(fetch: Fetch, rows: RowCodec, kind: type[Record], place: int) -> InspectedRow:
    """The row at this place, or the next where it is gone by now."""
    try:
        (row,) = fetch(statements.ROWS[kind], (place - 1, 1))
    except RowForgedError as error:
        return InspectedRow(place, f"row {place}", None, str(error))
    return _inspected(rows, kind, row)


def _inspected(rows: RowCodec, kind: type[Record], row: tuple[Any, ...]) -> InspectedRow:
    place, *columns = row
    name = FORMATS[kind].format_name(columns)
    try:
        return InspectedRow(place, name, rows.to_record(kind, columns))
    except RowForgedError as error:
        return InspectedRow(place, name, None, str(error))


def inspect_files(path: Path) -> list[str]:
    """What SQLite itself finds wrong with pages, indexes and references; for a thread, on a connection of its own.

    Raises:
        StoreUnavailableError: the store cannot be read at all.
    """
    try:
        with closing(sqlite3.connect(path, timeout=_LOCK_WAIT_S, isolation_level=None)) as connection:
            for pragma in ("query_only = ON", "temp_store = MEMORY"):
                connection.execute(f"PRAGMA {pragma}")
            faults = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_FAULTS_MAX:d})")]
            orphans = connection.execute("PRAGMA foreign_key_check").fetchmany(_FAULTS_MAX)
    except sqlite3.DatabaseError as error:
        raise StoreUnavailableError(f"the store cannot be read: {error}") from error
    found = [] if faults == ["ok"] else faults
    return [
        *found,
        *(f"row {place} of {table} refers to a missing row of {parent}" for table, place, parent, _ in orphans),
    ]
