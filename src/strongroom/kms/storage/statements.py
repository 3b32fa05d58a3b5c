"""Every SQL text of the store that names a table, made once, at import, from the registry of tables.

Invariant: a statement is put together from names that our own code declares, never from a value; all values are
parameters. This is the one module with the exemption from that lint.
"""

from __future__ import annotations

from typing import Any, Final, Generic

import msgspec

from strongroom.kms.identities.records import (
    AccessKeyRecord,
    AccountRecord,
    GroupRecord,
    ManagedPolicyRecord,
    RoleRecord,
    UserRecord,
)
from strongroom.kms.repositories import (
    AliasRecord,
    GrantRecord,
    KeyRecord,
    MarkRecord,
    MaterialRecord,
    R,
)
from strongroom.kms.storage.rows import FORMATS, RowFormat


class Query(msgspec.Struct, Generic[R], frozen=True):
    """A reading statement. `equals` names the fields that every answer must share with the first parameters."""

    kind: type[R]
    equals: tuple[str, ...]
    sql: str

    @property
    def places(self) -> str:
        """The same, but only where the rows stand: for those that cannot be read together."""
        return f"SELECT rowid FROM {self.sql.partition(' FROM ')[2]}"  # noqa: S608 - our own text.


def _all_equal(names: tuple[str, ...]) -> str:
    return " AND ".join(f"{name} = ?" for name in names)


def _query(
    kind: type[R],
    equals: tuple[str, ...],
    order: str,
    *,
    after: str | None = None,
    until: str | None = None,
    within: str | None = None,
    unlike: str | None = None,
) -> Query[R]:
    """What is greater than, at most, or not the next parameter, or from that to the one after it; then comes a limit."""
    row_format: RowFormat[R] = FORMATS[kind]
    columns = ", ".join((*row_format.names, "mac"))
    where = _all_equal(equals) or "TRUE"
    sql = f"SELECT {columns} FROM {row_format.table} WHERE {where}"  # noqa: S608 - names from the registry.
    if within is not None:
        sql = f"SELECT {columns} FROM {row_format.table}"  # noqa: S608 - names from the registry.
        return Query(kind, equals, f"{sql} WHERE {within} >= ? AND {within} < ? ORDER BY {order} LIMIT ?")
    if after is not None:
        return Query(kind, equals, f"{sql} AND {after} > ? ORDER BY {order} LIMIT ?")
    if unlike is not None:
        return Query(kind, equals, f"{sql} AND {unlike} <> ? ORDER BY {order} LIMIT ?")
    if until is not None:
        return Query(kind, equals, f"{sql} AND {until} <= ? ORDER BY {order} LIMIT ?")
    return Query(kind, equals, f"{sql} ORDER BY {order}")


def _columns(table: str, kind: type[msgspec.Struct]) -> str:
    return ", ".join(f"{table}.{name}" for name in (*FORMATS[kind].names, "mac"))


BY_IDENTITY: Final[dict[type[msgspec.Struct], Query[Any]]] = {
    kind: _query(kind, row_format.key, row_format.key[-1]) for kind, row_format in FORMATS.items()
}
MATERIALS_OF_KEY: Final = _query(MaterialRecord, ("key_id",), "created_at_s, hbkid")
# One row per material with the key in front, or one row with NULLs behind the key; last, whether there are grants.
KEY_WITH_MATERIALS: Final = (
    f"SELECT {_columns('k', KeyRecord)}, {_columns('m', MaterialRecord)}, "  # noqa: S608 - names from the registry.
    "EXISTS (SELECT 1 FROM grants AS g WHERE g.key_id = k.key_id) "
    "FROM kms_keys AS k LEFT JOIN materials AS m ON m.key_id = k.key_id WHERE k.key_id = ?"
)
KEY_COLUMNS: Final = len(FORMATS[KeyRecord].names) + 1
KEYS: Final = _query(KeyRecord, ("account", "region"), "key_id", after="key_id")
COUNT_KEYS: Final = "SELECT count(*) FROM kms_keys WHERE account = ? AND region = ?"
KEYS_DUE_FOR_DELETION: Final = _query(KeyRecord, ("region",), "deletion_at_s", until="deletion_at_s")
KEYS_DUE_FOR_ROTATION: Final = _query(KeyRecord, ("region", "state"), "next_rotation_at_s", until="next_rotation_at_s")
# With a minute's grace: what a date may be ahead because a clock was corrected.
KEYS_ROTATING_TOO_LATE: Final = _query(
    KeyRecord,
    ("region", "state"),
    "next_rotation_at_s",
    after="next_rotation_at_s - 86400.0 * rotation_period_days - 60.0",
)
MARKS: Final = _query(MarkRecord, (), "name", within="name")
ALIASES: Final = _query(AliasRecord, ("account", "region"), "name", after="name")
ALIASES_OF_KEY: Final = _query(AliasRecord, ("account", "region", "key_id"), "name", after="name")
COUNT_ALIASES_OF_KEY: Final = "SELECT count(*) FROM aliases WHERE account = ? AND region = ? AND key_id = ?"
_NAMED: Final[tuple[type[msgspec.Struct], ...]] = (UserRecord, GroupRecord, RoleRecord, ManagedPolicyRecord)
BY_NAME: Final[dict[type[msgspec.Struct], Query[Any]]] = {
    kind: _query(kind, ("account",), "name", after="name") for kind in _NAMED
}
FOLDED_NAME: Final = {
    kind: f"SELECT name FROM {FORMATS[kind].table} WHERE account = ? AND name = ? COLLATE NOCASE"  # noqa: S608 - as above.
    for kind in _NAMED
}
COUNT_NAMED: Final = {
    kind: f"SELECT count(*) FROM {FORMATS[kind].table} WHERE account = ?"  # noqa: S608 - as above.
    for kind in _NAMED
}
_LISTS: Final = ("groups", "attached_policies")


def _holding(kind: type[msgspec.Struct], field: str) -> Query[Any]:
    """Rows of an account whose field is, or as a list holds, the next parameter; a NULL holds nothing."""
    held = f"(SELECT one.value FROM json_each({field}) AS one)" if field in _LISTS else f"({field})"  # noqa: S608 - as above.
    columns, table = ", ".join((*FORMATS[kind].names, "mac")), FORMATS[kind].table
    sql = f"SELECT {columns} FROM {table} WHERE account = ? AND ? IN {held} AND name > ? ORDER BY name LIMIT ?"  # noqa: S608 - as above.
    return Query(kind, ("account",), sql)


HOLDING: Final[dict[tuple[type[msgspec.Struct], str], Query[Any]]] = {
    (kind, field): _holding(kind, field)
    for kind in _NAMED
    for field in (*_LISTS, "boundary_arn")
    if field in FORMATS[kind].names
}


def _count_held(kind: type[msgspec.Struct], field: str) -> str:
    """Each value that is, or is in a list, in a field of an account's rows, with their number."""
    if field not in _LISTS:
        return f"SELECT {field}, count(*) FROM {FORMATS[kind].table} WHERE account = ? AND {field} NOTNULL GROUP BY 1"  # noqa: S608 - as above.
    rows = f"{FORMATS[kind].table} AS holder, json_each(holder.{field}) AS one"
    return f"SELECT one.value, count(*) FROM {rows} WHERE holder.account = ? GROUP BY 1"  # noqa: S608 - as above.


COUNT_HELD: Final = {(kind, field): _count_held(kind, field) for kind, field in HOLDING}
WITH_UNIQUE_ID: Final[dict[type[msgspec.Struct], Query[Any]]] = {
    UserRecord: _query(UserRecord, ("user_id",), "name"),
    RoleRecord: _query(RoleRecord, ("role_id",), "name"),
}
ACCOUNTS: Final = _query(AccountRecord, (), "account", after="account")
GRANTS_ON_KEY: Final = _query(GrantRecord, ("key_id",), "grant_id", after="grant_id")
GRANTS_TO: Final = _query(GrantRecord, ("key_id", "grantee"), "grant_id", after="grant_id")
# The index is of those alone that have such an ARN, which SQLite sees from the comparison with a value.
GRANTS_TO_PREDECESSORS: Final = _query(GrantRecord, ("key_id", "grantee_arn"), "grant_id", unlike="grantee")
GRANTS_TO_RETIRE: Final = _query(GrantRecord, ("region", "retiring"), "grant_id", after="grant_id")
# What CreateGrant was asked for; the index `grants_by_request` holds that no two grants with a name share it.
GRANT_REQUEST: Final = (
    *("key_id", "name", "grantee", "retiring", "issuing_account", "operations"),
    *("context_equals", "context_subset", "source_arn"),
)


def _grant_like() -> Query[GrantRecord]:
    """NULLs are compared as the index has them, which the literal condition lets SQLite use."""
    columns = ", ".join((*FORMATS[GrantRecord].names, "mac"))
    same = " AND ".join(f"coalesce({name}, '') = coalesce(?, '')" for name in GRANT_REQUEST[6:])
    sql = f"SELECT {columns} FROM grants WHERE {_all_equal(GRANT_REQUEST[:6])} AND {same} AND name <> ''"  # noqa: S608 - as above.
    return Query(GrantRecord, (), sql)


GRANT_LIKE: Final = _grant_like()
COUNT_GRANTS_TO: Final = "SELECT count(*) FROM grants WHERE key_id = ? AND grantee = ?"
COUNT_GRANTS: Final = "SELECT count(*) FROM grants WHERE key_id = ?"
ACCESS_KEYS_OF_USER: Final = _query(AccessKeyRecord, ("account", "user_name"), "access_key_id")


def _insert(row_format: RowFormat[Any]) -> str:
    names = (*row_format.names, "mac")
    marks = ", ".join("?" for _ in names)
    return f"INSERT INTO {row_format.table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608 - names from the registry.


def _update(row_format: RowFormat[Any]) -> str:
    """Takes all columns and the MAC as an insert does, then the expected version."""
    names = (*row_format.names, "mac")
    sets = ", ".join(f"{name} = ?{place}" for place, name in enumerate(names, 1) if name not in row_format.key)
    same = " AND ".join(f"{name} = ?{names.index(name) + 1}" for name in row_format.key)
    return f"UPDATE {row_format.table} SET {sets} WHERE {same} AND version = ?{len(names) + 1}"  # noqa: S608 - as above.


def _delete(row_format: RowFormat[Any]) -> str:
    return f"DELETE FROM {row_format.table} WHERE {_all_equal((*row_format.key, 'version'))}"  # noqa: S608 - as above.


INSERT: Final = {kind: _insert(row_format) for kind, row_format in FORMATS.items()}
UPDATE: Final = {kind: _update(row_format) for kind, row_format in FORMATS.items()}
DELETE: Final = {kind: _delete(row_format) for kind, row_format in FORMATS.items()}

LOG_CHANGE: Final = "INSERT INTO changes (kind, identity) VALUES (?, ?)"
PRUNE_CHANGES: Final = "DELETE FROM changes WHERE seq <= ?"
CHANGES_SINCE: Final = "SELECT seq, kind, identity FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
LAST_CHANGE: Final = "SELECT coalesce(max(seq), 0) FROM changes"

# Inspection reads tables by their rowid: whatever became of a row, it has one.
PLACES: Final = {
    kind: f"SELECT rowid FROM {row_format.table} WHERE rowid > ? ORDER BY rowid LIMIT ?"  # noqa: S608 - as above.
    for kind, row_format in FORMATS.items()
}
ROWS: Final = {
    kind: f"SELECT rowid, {', '.join((*row_format.names, 'mac'))} FROM {row_format.table} "  # noqa: S608 - as above.
    "WHERE rowid > ? ORDER BY rowid LIMIT ?"
    for kind, row_format in FORMATS.items()
}
