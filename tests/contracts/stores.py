"""What the contract suite needs of each implementation of `Store`, and records to fill it with."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from strongroom.boundary.secret import StoreKey
from strongroom.kms.identities.records import (
    AccessKeyRecord,
    AccessKeyStatus,
    AccessKeyUsageRecord,
    AccountRecord,
    GroupRecord,
    ManagedPolicyRecord,
    PolicyVersion,
    RoleRecord,
    UserRecord,
)
from strongroom.kms.repositories import (
    TABLES,
    AliasRecord,
    Changed,
    GrantRecord,
    KeyRecord,
    KeyState,
    KeyUsageRecord,
    LeaseRecord,
    MarkRecord,
    MaterialRecord,
    MaterialState,
    Put,
    Record,
    RotationType,
    SettingRecord,
    Store,
)
from strongroom.kms.storage.sqlite import SqliteStore

STORE_KEY = bytes(range(32))
ACCOUNT = "111122223333"
REGION = "eu-central-1"

T = TypeVar("T")


class SqliteUnderTest:
    """One store on disk: opened as a worker opens it, and touched from outside as a forger touches it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "store.db"

    @contextmanager
    def open(self, *, unlock: bool = True) -> Iterator[SqliteStore]:
        store = SqliteStore(self.path)
        try:
            if unlock:
                store.unlock(StoreKey(STORE_KEY))
            yield store
        finally:
            store.close()

    def columns_of(self, table: str) -> list[str]:
        return [row[1] for row in self.query(f"PRAGMA table_info({table})")]

    def hold_write_lock(self, held: threading.Event, release: threading.Event) -> None:
        """For a thread: write as another process would, and take one's time."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            held.set()
            release.wait()
            connection.execute("ROLLBACK")

    # Names cannot be parameters; those here come from the tests. Constraints do not bind a forger.

    def read_raw(self, table: str, column: str) -> Any:
        """A column of the only row of a table."""
        return self.query(f"SELECT {column} FROM {table}")[0][0]  # noqa: S608

    def tamper(self, table: str, column: str, value: Any) -> None:
        """Set a column of every row."""
        self.query(f"UPDATE {table} SET {column} = ?", (value,))  # noqa: S608

    def swap(self, table: str, columns: Sequence[str]) -> None:
        """Exchange columns between the only two rows of a table."""
        names = ", ".join(columns)
        (one, *values), (other, *others) = self.query(f"SELECT rowid, {names} FROM {table}")  # noqa: S608
        sets = ", ".join(f"{name} = ?" for name in columns)
        for rowid, new in (
            (one, [f"aside {value!r}" if isinstance(value, str) else b"aside" for value in values]),
            (other, values),
            (one, others),
        ):
            self.query(f"UPDATE {table} SET {sets} WHERE rowid = ?", [*new, rowid])  # noqa: S608

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            return connection.execute(sql, parameters).fetchall()


IMPLEMENTATIONS = {"sqlite": SqliteUnderTest}


def run(store: Store, do: Callable[[Store], Awaitable[T]]) -> T:
    async def main() -> T:
        return await do(store)

    return asyncio.run(main())


def put(store: Store, *records: Record) -> None:
    asyncio.run(store.commit([Put(record, None) for record in records]))


def polled(store: Store) -> list[Changed] | None:
    told: list[Any] = []
    store.poll_changes(told.append)
    assert len(told) == 1, "poll_changes calls `then` exactly once, before it returns"
    return None if told[0] is None else list(told[0])


def kms_key(key_id: str = "key-1", **fields: Any) -> KeyRecord:
    standard = KeyRecord(
        key_id=key_id,
        version=1,
        account=ACCOUNT,
        region=REGION,
        state=KeyState.ENABLED,
        spec="SYMMETRIC_DEFAULT",
        usage="ENCRYPT_DECRYPT",
        origin="AWS_KMS",
        multi_region=False,
        description="of the payroll",
        key_policy='{"Version":"2012-10-17"}',
        tags={"team": "red", "stage": "test"},
        created_at_s=1_750_000_000.25,
        deletion_at_s=1_760_000_000.5,
        rotation_period_days=365,
        next_rotation_at_s=1_781_536_000.25,
        principal_ids={"arn:aws:iam::111122223333:user/alice": "AIDA1"},
    )
    return msgspec.structs.replace(standard, **fields)


def material(hbkid: bytes = b"\x01" * 32, key_id: str = "key-1", **fields: Any) -> MaterialRecord:
    standard = MaterialRecord(
        hbkid=hbkid,
        version=1,
        key_id=key_id,
        state=MaterialState.CURRENT,
        ekt=b"sealed key material of " + hbkid,
        created_at_s=1_750_000_001.5,
        rotation=RotationType.ON_DEMAND,
    )
    return msgspec.structs.replace(standard, **fields)


def alias(name: str = "alias/payroll", key_id: str = "key-1", **fields: Any) -> AliasRecord:
    standard = AliasRecord(
        account=ACCOUNT, region=REGION, name=name, version=1, key_id=key_id, created_at_s=1.0, updated_at_s=2.0
    )
    return msgspec.structs.replace(standard, **fields)


def user(name: str = "alice", **fields: Any) -> UserRecord:
    standard = UserRecord(
        account=ACCOUNT,
        name=name,
        version=1,
        user_id="AIDA1",
        identity_policies={"own": "{}"},
        created_at_s=3.0,
        path="/staff/",
        tags={"team": "red"},
        groups=("readers", "writers"),
        attached_policies=("arn:aws:iam::aws:policy/AdministratorAccess",),
        boundary_arn="arn:aws:iam::111122223333:policy/limit",
    )
    return msgspec.structs.replace(standard, **fields)


def account(account_id: str = "444455556666", **fields: Any) -> AccountRecord:
    return msgspec.structs.replace(AccountRecord(account=account_id, version=1, name="lab", created_at_s=8.5), **fields)


def group(name: str = "readers", **fields: Any) -> GroupRecord:
    standard = GroupRecord(
        account=ACCOUNT,
        name=name,
        version=1,
        group_id="AGPA1",
        path="/",
        identity_policies={"own": "{}"},
        attached_policies=("arn:aws:iam::111122223333:policy/reading",),
        created_at_s=9.5,
    )
    return msgspec.structs.replace(standard, **fields)


def role(name: str = "reader", **fields: Any) -> RoleRecord:
    standard = RoleRecord(
        account=ACCOUNT,
        name=name,
        version=1,
        role_id="AROA1",
        path="/",
        description="who reads",
        trust_policy='{"Version":"2012-10-17"}',
        max_session_s=3600,
        identity_policies={"own": "{}"},
        attached_policies=(),
        tags={"team": "red"},
        created_at_s=10.5,
        boundary_arn="arn:aws:iam::111122223333:policy/limit",
        principal_ids={"arn:aws:iam::111122223333:user/alice": "AIDA1"},
    )
    return msgspec.structs.replace(standard, **fields)


def policy(name: str = "reading", **fields: Any) -> ManagedPolicyRecord:
    standard = ManagedPolicyRecord(
        account=ACCOUNT,
        name=name,
        version=1,
        policy_id="ANPA1",
        path="/",
        description="what readers may",
        versions=(PolicyVersion(1, '{"Version":"2012-10-17"}', 11.5), PolicyVersion(3, "{}", 12.5)),
        default_number=1,
        last_number=4,
        tags={},
        created_at_s=11.5,
        updated_at_s=12.5,
    )
    return msgspec.structs.replace(standard, **fields)


def access_key_usage(access_key_id: str = "AKIA1", **fields: Any) -> AccessKeyUsageRecord:
    standard = AccessKeyUsageRecord(
        access_key_id=access_key_id, version=1, used_at_s=13.5, service="kms", region="eu-central-1"
    )
    return msgspec.structs.replace(standard, **fields)


def grant(grant_id: str = "0f" * 32, key_id: str = "key-1", **fields: Any) -> GrantRecord:
    standard = GrantRecord(
        key_id=key_id,
        grant_id=grant_id,
        version=1,
        account=ACCOUNT,
        region=REGION,
        name="of the gateway",
        grantee="AROA1",
        retiring="AIDA1",
        issuing_account="arn:aws:iam::111122223333:root",
        operations=("Decrypt", "GenerateDataKey"),
        created_at_s=14.5,
        context_equals={"volume": "1"},
        context_subset={"tenant": "red"},
        source_arn="arn:aws:s3:::bucket",
        grantee_arn="arn:aws:iam::444455556666:role/gateway",
        retiring_arn="arn:aws:iam::111122223333:user/alice",
    )
    return msgspec.structs.replace(standard, **fields)


def access_key(access_key_id: str = "AKIA1", **fields: Any) -> AccessKeyRecord:
    standard = AccessKeyRecord(
        access_key_id=access_key_id,
        version=1,
        account=ACCOUNT,
        user_name="alice",
        status=AccessKeyStatus.ACTIVE,
        sealed_secret=b"sealed secret",
        created_at_s=4.0,
    )
    return msgspec.structs.replace(standard, **fields)


def setting(name: str = "audit-head", **fields: Any) -> SettingRecord:
    return msgspec.structs.replace(SettingRecord(name=name, version=1, value=b"sealed value"), **fields)


def key_usage(key_id: str = "key-1", **fields: Any) -> KeyUsageRecord:
    standard = KeyUsageRecord(
        key_id=key_id, version=1, operation="Encrypt", used_at_s=5.5, event_id="event-1", request_id="request-1"
    )
    return msgspec.structs.replace(standard, **fields)


def lease(name: str = "rotation", **fields: Any) -> LeaseRecord:
    return msgspec.structs.replace(LeaseRecord(name=name, version=1, holder="w1", expires_at_s=6.5), **fields)


def mark(name: str = "clock", **fields: Any) -> MarkRecord:
    return msgspec.structs.replace(MarkRecord(name=name, version=1, value=7.25), **fields)


def one_of_each() -> list[Record]:
    """In an order in which they can be written: a material, an alias and a usage belong to a key."""
    records: list[Record] = [
        *(kms_key(), material(), alias(), grant(), account(), user(), group(), role(), policy(), access_key()),
        *(access_key_usage(), key_usage(), lease(), mark(), setting()),
    ]
    assert {type(record) for record in records} == set(TABLES)
    return records
