"""What was stored before unique ids were kept (schema 3): its rows hold, and it goes by names until it is saved again."""

from __future__ import annotations

import asyncio
import hmac
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.driver import run
from strongroom.kms.faults import AccessDeniedException
from strongroom.kms.iam.evaluate import Documents, Question, evaluate
from strongroom.kms.iam.principals import user_principal
from strongroom.kms.identities.lookup import trust_policy
from strongroom.kms.identities.records import RoleRecord, UserRecord
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.kms.repositories import GrantRecord, KeyRecord, KeyState, MaterialRecord, MaterialState, Record
from strongroom.kms.storage.migrations import MIGRATIONS
from strongroom.kms.storage.rows import FORMATS
from testkit.identities import trust
from testkit.installation import ACCOUNT, REGION
from testkit.raw import allow, policy
from testkit.room import GRANT, HBKID, KEY, ROOT, Room

ARN = f"arn:aws:iam::{ACCOUNT}:user/alice"
TODAY, OTHER = "AIDATODAYTODAYTODAY2", "AIDAOTHEROTHEROTHER2"
TEXT = policy(allow("kms:*", Principal={"AWS": ROOT}), allow("kms:DescribeKey", Principal={"AWS": ARN}))
# Without what schema 4 added: at the end of a row, nothing is as if it were not there.
RECORDS: tuple[Record, ...] = (
    KeyRecord(
        key_id=KEY,
        version=1,
        account=ACCOUNT,
        region=REGION,
        state=KeyState.ENABLED,
        spec="SYMMETRIC_DEFAULT",
        usage="ENCRYPT_DECRYPT",
        origin="AWS_KMS",
        multi_region=False,
        description="",
        key_policy=TEXT,
        tags={},
        created_at_s=1.5,
    ),
    MaterialRecord(hbkid=HBKID, version=1, key_id=KEY, state=MaterialState.CURRENT, ekt=b"ekt", created_at_s=1.5),
    UserRecord(
        account=ACCOUNT, name="alice", version=1, user_id=TODAY, identity_policies={}, created_at_s=1.5, path="/"
    ),
    RoleRecord(
        account=ACCOUNT,
        name="app",
        version=1,
        role_id="AROA1",
        path="/",
        description="",
        trust_policy=trust(ARN),
        max_session_s=3600,
        identity_policies={},
        attached_policies=(),
        tags={},
        created_at_s=1.5,
    ),
    GrantRecord(
        key_id=KEY,
        grant_id=GRANT,
        version=1,
        account=ACCOUNT,
        region=REGION,
        name="",
        grantee=ARN,
        retiring=ARN,
        issuing_account=ROOT,
        operations=("GenerateDataKey",),
        created_at_s=1.5,
    ),
)


def write_schema_3(path: Path) -> None:
    """As the release wrote it that knew no ids: fewer columns, and MACs over these."""
    with closing(sqlite3.connect(path)) as connection:
        for migration in MIGRATIONS[:3]:
            for statement in migration.statements:
                connection.execute(statement)
        connection.execute("PRAGMA user_version = 3")
        for record in RECORDS:
            row_format = FORMATS[type(record)]
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({row_format.table})")]
            stored = dict(zip(row_format.names, row_format.to_columns(record), strict=True))
            kept = [stored[name] for name in row_format.names if name in names]
            while kept[-1] is None:
                kept.pop()
            mac = hmac.digest(bytes(32), msgspec.msgpack.encode([row_format.table, *kept]), "sha256")
            values = [mac if name == "mac" else stored[name] for name in names]
            marks = ", ".join("?" * len(names))
            connection.execute(f"INSERT INTO {row_format.table} ({', '.join(names)}) VALUES ({marks})", values)  # noqa: S608 - names from the registry.
        connection.commit()


async def is_refused(room: Room, unique_id: str, operation: str = "DescribeKey", **request: Any) -> bool:
    """Whether alice with this id is refused."""
    was = room.caller
    principal = user_principal(ACCOUNT, "alice", unique_id, "AKIA")
    room.caller = PrincipalEntry(principal, Documents(), AccessKeySecret(b"secret"))
    _, _, error, _ = await room.serve(operation, {"KeyId": KEY, **request})
    room.caller = was
    return isinstance(error, AccessDeniedException)


async def shown(room: Room, operation: str, **request: Any) -> Any:
    _, answer, error, _ = await room.serve(operation, request)
    assert error is None
    return answer


def test_what_was_stored_before_goes_by_names_until_it_is_saved_again(tmp_path: Path) -> None:
    write_schema_3(tmp_path / "store.db")

    async def main() -> None:
        room = Room(tmp_path / "store.db")
        generate = {"operation": "GenerateDataKey", "KeySpec": "AES_256", "DryRun": True}
        # By name: whoever has it.
        for unique_id in (TODAY, OTHER):
            assert not await is_refused(room, unique_id)
            assert not await is_refused(room, unique_id, **generate)
            assert not await is_refused(room, unique_id, "RetireGrant", GrantId=GRANT, DryRun=True)
        assert (await shown(room, "GetKeyPolicy", KeyId=KEY)).Policy == TEXT
        listed = await shown(room, "ListGrants", KeyId=KEY, GranteePrincipal=ARN)
        (of_then,) = listed.Grants
        assert (of_then.GranteePrincipal, of_then.RetiringPrincipal) == (ARN, ARN)
        assert (await shown(room, "ListRetirableGrants", RetiringPrincipal=ARN)).Grants == listed.Grants
        # Saved again: whoever has it then.
        await shown(room, "PutKeyPolicy", KeyId=KEY, Policy=TEXT)
        assert [await is_refused(room, unique_id) for unique_id in (TODAY, OTHER)] == [False, True]
        assert (await shown(room, "GetKeyPolicy", KeyId=KEY)).Policy == TEXT
        made = await shown(room, "CreateGrant", KeyId=KEY, GranteePrincipal=ARN, Operations=["Encrypt", "Decrypt"])
        encrypt = {"operation": "Encrypt", "Plaintext": "eA==", "DryRun": True}
        assert [await is_refused(room, unique_id, **encrypt) for unique_id in (TODAY, OTHER)] == [False, True]
        # Both kinds are listed by the name, in order.
        both = (await shown(room, "ListGrants", KeyId=KEY, GranteePrincipal=ARN)).Grants
        assert [one.GrantId for one in both] == sorted([GRANT, made.GrantId])
        assert {one.GranteePrincipal for one in both} == {ARN}
        first = await shown(room, "ListGrants", KeyId=KEY, GranteePrincipal=ARN, Limit=1)
        rest = await shown(room, "ListGrants", KeyId=KEY, GranteePrincipal=ARN, Limit=1, Marker=first.NextMarker)
        assert ([*first.Grants, *rest.Grants], first.Truncated, rest.Truncated) == (both, True, False)
        for grant in both:
            named = await shown(room, "ListGrants", KeyId=KEY, GranteePrincipal=ARN, GrantId=grant.GrantId)
            assert named.Grants == [grant]
        assert not await is_refused(room, OTHER, **generate)
        await shown(room, "RevokeGrant", KeyId=KEY, GrantId=GRANT)
        assert await is_refused(room, OTHER, **generate)
        room.store.close()

    asyncio.run(main())


def test_a_trust_policy_of_before_goes_by_names(tmp_path: Path) -> None:
    write_schema_3(tmp_path / "store.db")

    async def main() -> None:
        room = Room(tmp_path / "store.db")
        role = await run(room.store.get(RoleRecord, ACCOUNT, "app"))
        assert role is not None
        assert role.principal_ids is None
        bound = msgspec.structs.replace(role, principal_ids={ARN: TODAY})
        for unique_id, of_then, of_now in ((TODAY, True, True), (OTHER, True, False)):
            who = user_principal(ACCOUNT, "alice", unique_id, "AKIA")
            asked = Question(who, Documents(), "sts:AssumeRole", "arn:aws:iam::1:role/app", resource_account=ACCOUNT)
            for record, expected in ((role, of_then), (bound, of_now)):
                question = msgspec.structs.replace(asked, resource_policy=trust_policy(record))
                assert evaluate(question).allowed == expected
        room.store.close()

    asyncio.run(main())
