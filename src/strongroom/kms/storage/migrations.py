"""The schema of the SQLite store, as numbered forward migrations.

Invariants:
- `PRAGMA user_version` holds the number of the last migration applied; a store newer than the code is refused.
- All missing migrations are applied in one transaction: a store is at its old version or at the newest.
- A published migration never changes; a new one is appended.
- An operator can read the tables with the sqlite3 shell: text is TEXT, bytes are BLOB, maps are JSON, times are REAL
  seconds since 1970. Whoever *writes* with it breaks the row's MAC.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec


class StoreTooNewError(Exception):
    """The store was written by a later release than this one."""


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    number: int
    title: str
    statements: tuple[str, ...]


MIGRATIONS: Final[tuple[Migration, ...]] = (
    Migration(
        1,
        "keys, materials, aliases, principals, settings and the log of changes",
        (
            """
            CREATE TABLE kms_keys (
                key_id TEXT NOT NULL PRIMARY KEY,
                version INTEGER NOT NULL,
                account TEXT NOT NULL,
                region TEXT NOT NULL,
                state TEXT NOT NULL,
                spec TEXT NOT NULL,
                usage TEXT NOT NULL,
                origin TEXT NOT NULL,
                multi_region INTEGER NOT NULL,
                description TEXT NOT NULL,
                key_policy TEXT NOT NULL,
                tags TEXT NOT NULL,
                created_at_s REAL NOT NULL,
                mac BLOB NOT NULL
            ) STRICT
            """,
            "CREATE INDEX kms_keys_by_region ON kms_keys (account, region, key_id)",
            """
            CREATE TABLE materials (
                hbkid BLOB NOT NULL PRIMARY KEY,
                version INTEGER NOT NULL,
                key_id TEXT NOT NULL REFERENCES kms_keys (key_id),
                state TEXT NOT NULL,
                ekt BLOB NOT NULL,
                created_at_s REAL NOT NULL,
                mac BLOB NOT NULL
            ) STRICT
            """,
            "CREATE INDEX materials_by_key ON materials (key_id, created_at_s)",
            "CREATE UNIQUE INDEX materials_one_current ON materials (key_id) WHERE state = 'CURRENT'",
            """
            CREATE TABLE aliases (
                account TEXT NOT NULL,
                region TEXT NOT NULL,
                name TEXT NOT NULL,
                version INTEGER NOT NULL,
                key_id TEXT NOT NULL REFERENCES kms_keys (key_id),
                created_at_s REAL NOT NULL,
                updated_at_s REAL NOT NULL,
                mac BLOB NOT NULL,
                PRIMARY KEY (account, region, name)
            ) STRICT
            """,
            "CREATE INDEX aliases_by_key ON aliases (key_id, name)",
            """
            CREATE TABLE users (
                account TEXT NOT NULL,
                name TEXT NOT NULL,
                version INTEGER NOT NULL,
                user_id TEXT NOT NULL,
                identity_policies TEXT NOT NULL,
                created_at_s REAL NOT NULL,
                mac BLOB NOT NULL,
                PRIMARY KEY (account, name)
            ) STRICT
            """,
            """
            CREATE TABLE access_keys (
                access_key_id TEXT NOT NULL PRIMARY KEY,
                version INTEGER NOT NULL,
                account TEXT NOT NULL,
                user_name TEXT NOT NULL,
                status TEXT NOT NULL,
                sealed_secret BLOB NOT NULL,
                created_at_s REAL NOT NULL,
                mac BLOB NOT NULL
            ) STRICT
            """,
            "CREATE INDEX access_keys_by_user ON access_keys (account, user_name, access_key_id)",
            """
            CREATE TABLE settings (
                name TEXT NOT NULL PRIMARY KEY,
                version INTEGER NOT NULL,
                value BLOB NOT NULL,
                mac BLOB NOT NULL
            ) STRICT
            """,
            # `identity` is a JSON array of the identifying fields, bytes in base64. AUTOINCREMENT never gives a number
            # twice and leaves no gaps, so a reader knows when the part that it needed was pruned.
            """
            CREATE TABLE changes (
                seq INTEGER PRIMARY KEY AUTOINCREMENT,
                kind TEXT NOT NULL,
                identity TEXT NOT NULL
            ) STRICT
            """,
        ),
    ),
    Migration(
        2,
        "deletion, rotation, last usage, leases and marks of the chores",
        (
            "ALTER TABLE kms_keys ADD COLUMN deletion_at_s REAL",
            "ALTER TABLE kms_keys ADD COLUMN rotation_period_days INTEGER",
            "ALTER TABLE kms_keys ADD COLUMN next_rotation_at_s REAL",
            "ALTER TABLE materials ADD COLUMN rotation TEXT",
            """
            CREATE INDEX kms_keys_by_deletion ON kms_keys (account, region, deletion_at_s)
            WHERE deletion_at_s IS NOT NULL
            """,
            """
            CREATE INDEX kms_keys_by_rotation ON kms_keys (account, region, state, next_rotation_at_s)
            WHERE next_rotation_at_s IS NOT NULL
            """,
            """
            CREATE TABLE key_usage (
                key_id TEXT NOT NULL PRIMARY KEY REFERENCES kms_keys (key_id),
                version INTEGER NOT NULL,
                operation TEXT NOT NULL,
                used_at_s REAL NOT NULL,
                event_id TEXT NOT NULL,
                request_id TEXT NOT NULL,
                mac BLOB NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE leases (
                name TEXT NOT NULL PRIMARY KEY,
                version INTEGER NOT NULL,
                holder TEXT NOT NULL,
                expires_at_s REAL NOT NULL,
                mac BLOB NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE marks (
                name TEXT NOT NULL PRIMARY KEY,
                version INTEGER NOT NULL,
                value REAL NOT NULL,
                mac BLOB NOT NULL
            ) STRICT
            """,
        ),
    ),
    Migration(
        3,
        "accounts, groups, roles, managed policies, grants and the last use of access keys",
        (
            # Chores look after the keys of all accounts at once.
            "DROP INDEX kms_keys_by_deletion",
            "CREATE INDEX kms_keys_by_deletion ON kms_keys (region, deletion_at_s) WHERE deletion_at_s IS NOT NULL",
            "DROP INDEX kms_keys_by_rotation",
            """
            CREATE INDEX kms_keys_by_rotation ON kms_keys (region, state, next_rotation_at_s)
            WHERE next_rotation_at_s IS NOT NULL
            """,
            "ALTER TABLE users ADD COLUMN path TEXT",
            "ALTER TABLE users ADD COLUMN tags TEXT",
            "ALTER TABLE users ADD COLUMN groups TEXT",
            "ALTER TABLE users ADD COLUMN attached_policies TEXT",
            "ALTER TABLE users ADD COLUMN boundary_arn TEXT",
            """
            CREATE TABLE accounts (
                account TEXT NOT NULL PRIMARY KEY,
                version INTEGER NOT NULL,
                name TEXT NOT NULL,
                created_at_s REAL NOT NULL,
                mac BLOB NOT NULL
            ) STRICT
            """,
            """
            CREATE TABLE groups (
                account TEXT NOT NULL,
                name TEXT NOT NULL,
                version INTEGER NOT NULL,
                group_id TEXT NOT NULL,
                path TEXT NOT NULL,
                identity_policies TEXT NOT NULL,
                attached_policies TEXT NOT NULL,
                created_at_s REAL NOT NULL,
                mac BLOB NOT NULL,
                PRIMARY KEY (account, name)
            ) STRICT
            """,
            """
            CREATE TABLE roles (
                account TEXT NOT NULL,
                name TEXT NOT NULL,
                version INTEGER NOT NULL,
                role_id TEXT NOT NULL,
                path TEXT NOT NULL,
                description TEXT NOT NULL,
                trust_policy TEXT NOT NULL,
                max_session_s INTEGER NOT NULL,
                identity_policies TEXT NOT NULL,
                attached_policies TEXT NOT NULL,
                tags TEXT NOT NULL,
                created_at_s REAL NOT NULL,
                boundary_arn TEXT,
                mac BLOB NOT NULL,
                PRIMARY KEY (account, name)
            ) STRICT
            """,
            """
            CREATE TABLE policies (
                account TEXT NOT NULL,
                name TEXT NOT NULL,
                version INTEGER NOT NULL,
                policy_id TEXT NOT NULL,
                path TEXT NOT NULL,
                description TEXT NOT NULL,
                versions TEXT NOT NULL,
                default_number INTEGER NOT NULL,
                last_number INTEGER NOT NULL,
                tags TEXT NOT NULL,
                created_at_s REAL NOT NULL,
                updated_at_s REAL NOT NULL,
                mac BLOB NOT NULL,
                PRIMARY KEY (account, name)
            ) STRICT
            """,
            # Users that differ in case only may be there from before.
            "CREATE INDEX users_by_folded_name ON users (account, name COLLATE NOCASE)",
            "CREATE UNIQUE INDEX groups_by_folded_name ON groups (account, name COLLATE NOCASE)",
            "CREATE UNIQUE INDEX roles_by_folded_name ON roles (account, name COLLATE NOCASE)",
            "CREATE UNIQUE INDEX policies_by_folded_name ON policies (account, name COLLATE NOCASE)",
            """
            CREATE TABLE access_key_usage (
                access_key_id TEXT NOT NULL PRIMARY KEY REFERENCES access_keys (access_key_id) ON DELETE CASCADE,
                version INTEGER NOT NULL,
                used_at_s REAL NOT NULL,
                service TEXT NOT NULL,
                region TEXT NOT NULL,
                mac BLOB NOT NULL
            ) STRICT
            """,
            # A key may have 50,000: they go with it.
            """
            CREATE TABLE grants (
                key_id TEXT NOT NULL REFERENCES kms_keys (key_id) ON DELETE CASCADE,
                grant_id TEXT NOT NULL,
                version INTEGER NOT NULL,
                account TEXT NOT NULL,
                region TEXT NOT NULL,
                name TEXT NOT NULL,
                grantee TEXT NOT NULL,
                retiring TEXT NOT NULL,
                issuing_account TEXT NOT NULL,
                operations TEXT NOT NULL,
                created_at_s REAL NOT NULL,
                context_equals TEXT,
                context_subset TEXT,
                source_arn TEXT,
                mac BLOB NOT NULL,
                PRIMARY KEY (key_id, grant_id)
            ) STRICT
            """,
            "CREATE INDEX grants_by_grantee ON grants (key_id, grantee, grant_id)",
            # Of several requests for one grant under one name, one makes it.
            """
            CREATE UNIQUE INDEX grants_by_request ON grants (
                key_id, name, grantee, retiring, issuing_account, operations,
                coalesce(context_equals, ''), coalesce(context_subset, ''), coalesce(source_arn, '')
            ) WHERE name <> ''
            """,
            "CREATE INDEX grants_by_retiring ON grants (region, retiring, grant_id)",
        ),
    ),
    Migration(
        4,
        "the unique ids of those whom key policies, trust policies and grants name",
        (
            "ALTER TABLE kms_keys ADD COLUMN principal_ids TEXT",
            "ALTER TABLE roles ADD COLUMN principal_ids TEXT",
            "ALTER TABLE grants ADD COLUMN grantee_arn TEXT",
            "ALTER TABLE grants ADD COLUMN retiring_arn TEXT",
            "CREATE INDEX users_by_id ON users (user_id)",
            "CREATE INDEX roles_by_id ON roles (role_id)",
            """
            CREATE INDEX grants_by_grantee_arn ON grants (key_id, grantee_arn, grant_id)
            WHERE grantee_arn IS NOT NULL
            """,
        ),
    ),
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the newest version.

    1. A store that is newer than the last migration known here is refused, untouched.
    2. What is missing is applied under the write lock; whoever waited for it looks again.

    Raises:
        StoreTooNewError: the store needs a later release.
    """
    newest = MIGRATIONS[-1].number
    # 1.
    if _require_known(_version_of(connection), newest) == newest:
        return
    # 2.
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _require_known(_version_of(connection), newest)
        for migration in MIGRATIONS:
            if migration.number > version:
                for statement in migration.statements:
                    connection.execute(statement)
        # A PRAGMA takes no parameters; the number is our own constant.
        connection.execute(f"PRAGMA user_version = {newest:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _version_of(connection: sqlite3.Connection) -> int:
    row: tuple[int] = connection.execute("PRAGMA user_version").fetchone()
    return row[0]


def _require_known(version: int, newest: int) -> int:
    if version > newest:
        raise StoreTooNewError(
            f"the store has schema version {version}, this release knows versions up to {newest}: "
            "start the release that wrote it, or a later one"
        )
    return version
