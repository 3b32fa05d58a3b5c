"""A service in process: the real gate, directory, operations and SQLite store; an HSM link that is not connected.

Its queue shows what would have been sent.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import msgspec

from strongroom.boundary.secret import AccessKeySecret, StoreKey
from strongroom.kms.audit.events import RANDOM_BYTES, EventIds, Origin
from strongroom.kms.calls import Call
from strongroom.kms.driver import run
from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.iam.evaluate import Documents
from strongroom.kms.iam.principals import root_arn, root_principal
from strongroom.kms.keys.directory import Directory, PrincipalEntry
from strongroom.kms.limits import Limits
from strongroom.kms.operations.key_policies import default_policy
from strongroom.kms.operations.table import TABLE
from strongroom.kms.repositories import (
    AliasRecord,
    GrantRecord,
    KeyRecord,
    KeyState,
    MaterialRecord,
    MaterialState,
    Put,
)
from strongroom.kms.service import Service
from strongroom.kms.storage.sqlite import SqliteStore
from strongroom.kms.trail import Trail
from strongroom.kms.wire.validation import decode_request
from testkit.installation import ACCOUNT, REGION
from testkit.raw import b64

KEY, OTHER_KEY, PENDING_KEY = (str(uuid.UUID(int=number)) for number in (0xABCDEF, 2, 3))
HBKID, OTHER_HBKID, PENDING_HBKID = (bytes([number]) * 32 for number in (1, 2, 3))
ALIAS = "alias/one"
GRANT = "0a" * 32
ROOT = root_arn(ACCOUNT)
BLOB = b64(b"SRCB\x01" + HBKID + bytes(100))
NOW_S = 1_700_000_000.0


class Room:
    """A service without an HSM, with two keys, one that waits for its deletion, an alias and a grant."""

    def __init__(self, path: Path, gate: type[Gate] = Gate, limits: Limits | None = None) -> None:
        self.path = path
        self.store = SqliteStore(path)
        self.store.unlock(StoreKey(bytes(32)))
        self.directory = Directory(self.store, REGION)
        self.intents: list[str] = []

        async def record(call: Call) -> None:
            self.intents.append(call.operation)

        self.gate = gate(self.directory, record, lambda: NOW_S)
        self.link = HsmLink("/nowhere", cast("Any", None), cast("Any", None), lambda work: work())
        # Nothing here comes as far as the log.
        log = cast("Any", None)
        trail = Trail(log, REGION, lambda: NOW_S, EventIds(bytes(RANDOM_BYTES)), is_strict=False)
        self.service = Service(
            ACCOUNT, REGION, self.directory, self.store, self.link, self.gate, lambda: NOW_S, trail, limits or Limits()
        )
        self.caller = PrincipalEntry(root_principal(ACCOUNT, "test"), Documents(), AccessKeySecret(b"test"))

    async def fill(self) -> None:
        changes = []
        for key_id, hbkid in ((KEY, HBKID), (OTHER_KEY, OTHER_HBKID), (PENDING_KEY, PENDING_HBKID)):
            pending = key_id == PENDING_KEY
            record = KeyRecord(
                key_id=key_id,
                version=1,
                account=ACCOUNT,
                region=REGION,
                state=KeyState.PENDING_DELETION if pending else KeyState.ENABLED,
                spec="SYMMETRIC_DEFAULT",
                usage="ENCRYPT_DECRYPT",
                origin="AWS_KMS",
                multi_region=False,
                description="",
                key_policy=default_policy(ACCOUNT),
                tags={},
                created_at_s=NOW_S,
                deletion_at_s=NOW_S if pending else None,
            )
            material = MaterialRecord(
                hbkid=hbkid, version=1, key_id=key_id, state=MaterialState.CURRENT, ekt=b"ekt", created_at_s=NOW_S
            )
            changes += [Put(record, replaces=None), Put(material, replaces=None)]
        alias = AliasRecord(
            account=ACCOUNT, region=REGION, name=ALIAS, version=1, key_id=KEY, created_at_s=NOW_S, updated_at_s=NOW_S
        )
        grant = GrantRecord(
            key_id=KEY,
            grant_id=GRANT,
            version=1,
            account=ACCOUNT,
            region=REGION,
            name="",
            grantee=f"arn:aws:iam::{ACCOUNT}:user/somebody",
            retiring="",
            issuing_account=ROOT,
            operations=("DescribeKey",),
            created_at_s=NOW_S,
        )
        await run(self.store.commit([*changes, Put(alias, replaces=None), Put(grant, replaces=None)]))

    async def change(self, key_id: str, **fields: Any) -> None:
        """Change a key's record behind everybody's back, with a right MAC: states that no operation reaches yet."""
        record = await run(self.store.get(KeyRecord, key_id))
        assert record is not None
        changed = msgspec.structs.replace(record, version=record.version + 1, **fields)
        await run(self.store.commit([Put(changed, replaces=record.version)]))

    def dump(self) -> list[str]:
        with closing(sqlite3.connect(self.path)) as connection:
            return list(connection.iterdump())

    async def serve(self, name: str, request: dict[str, Any]) -> tuple[Call, Any, BaseException | None, bool]:
        """The call, its result or its error, and whether it waits for the HSM; changes are seen first, as in a batch."""
        self.directory.refresh(lambda: None)
        row, typed = TABLE[name], decode_request(name, json.dumps(request).encode())
        call = Call("request", name, self.caller, Origin("192.0.2.1", "a client"))

        async def both() -> Any:
            await self.gate.admit(call, row.demands(typed), mutates=row.mutates)
            return await row.run(self.service, call, typed)

        future = run(both())
        for _ in range(400):
            if future.done() or self.link._waiting:
                break
            await asyncio.sleep(0.005)
        if not future.done():
            return call, None, None, True
        error = future.exception()
        return call, None if error else future.result(), error, False
