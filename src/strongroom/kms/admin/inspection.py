"""Is everything that the store holds what it should be? The service's half of `strongroom doctor --deep`.

Section `files` is the store's own check of itself; each other section is a table, looked at in pages: between two pages
the service answers its customers. Of every row

1. the MAC holds and it decodes,   2. what it refers to exists,   3. a key has exactly one current material,
4. a material opens in the HSM, whichever state it is in, and is the one that its record names.

A page is no snapshot: what looks wrong between two rows is looked at again, and counts when it still is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import msgspec

from strongroom.boundary.messages import KeyBinding, VerifiedAnswer, VerifyHbk
from strongroom.boundary.statuses import RefusedError
from strongroom.kms.driver import Deferred
from strongroom.kms.faults import DependencyTimeoutException, Fault
from strongroom.kms.hsm_link.link import KeyHandle
from strongroom.kms.identities.records import AccessKeyRecord, UserRecord
from strongroom.kms.repositories import (
    TABLES,
    AliasRecord,
    GrantRecord,
    InspectedRow,
    KeyRecord,
    KeyUsageRecord,
    MaterialRecord,
    MaterialState,
    Record,
    RowForgedError,
)
from strongroom.kms.service import Service

FILES: Final = "files"
_KINDS: Final = {table.name: cast("type[Record]", kind) for kind, table in TABLES.items()}
SECTIONS: Final = (FILES, *_KINDS)
# One frame to the HSM, and a few milliseconds of the event loop.
PAGE_ROWS: Final = 64


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be: in which section, which row, and what."""

    section: str
    row: str
    what: str


class Page(msgspec.Struct, frozen=True):
    """What a page of a section showed; `after` is where the next one begins, 0 after the last."""

    rows: int
    after: int
    findings: list[Finding]


class Inspection:
    """Of one account in one region."""

    def __init__(self, service: Service) -> None:
        self._store = service.directory.store
        self._link = service.link
        self._gate = service.gate

    async def page(self, section: str, after: int) -> Page:
        """The page of a section that follows `after`.

        Raises:
            Fault: the HSM does not answer.
            StoreUnavailableError: the store cannot be read.
        """
        if section == FILES:
            faults = await self._store.inspect_files()
            return Page(0, 0, [Finding(FILES, "", fault) for fault in faults])
        kind = _KINDS[section]
        rows = await self._store.inspect(kind, after, PAGE_ROWS)
        findings = [Finding(section, row.name, row.damage) for row in rows if row.damage]  # 1
        for row in rows:
            what = row.record and await self._relation(row.record)  # 2, 3
            if row.record is not None and what and what == await self._again(kind, row):
                findings.append(Finding(section, row.name, what))
        if kind is MaterialRecord:
            findings += await self._materials(rows)  # 4
        return Page(len(rows), rows[-1].place if len(rows) == PAGE_ROWS else 0, findings)

    # ── 2. references, 3. current materials ─────────────────────────────────────────────────────────────────────

    async def _again(self, kind: type[Record], row: InspectedRow) -> str:
        """What is wrong with the row at a second look; nothing with one that has gone or changed."""
        second = await self._store.inspect(kind, row.place - 1, 1)
        if not second or second[0].record != row.record:
            return ""
        assert row.record is not None
        return await self._relation(row.record)

    async def _relation(self, record: Record) -> str:
        try:
            match record:
                case KeyRecord():
                    return await self._currents(record)
                case AliasRecord() | MaterialRecord() | KeyUsageRecord() | GrantRecord():
                    key = await self._store.get(KeyRecord, record.key_id)
                    return "" if key is not None else f"its key {record.key_id} does not exist"
                case AccessKeyRecord() if record.user_name:
                    user = await self._store.get(UserRecord, record.account, record.user_name)
                    return "" if user is not None else f"its user {record.user_name} does not exist"
                case _:
                    return ""
        except RowForgedError:
            return ""  # The other row is a finding of its own.

    async def _currents(self, key: KeyRecord) -> str:
        materials = await self._store.materials_of(key.key_id)
        current = sum(material.state is MaterialState.CURRENT for material in materials)
        return "" if current == 1 else f"{current} of its {len(materials)} key materials are current, not one"

    # ── 4. what the HSM says ────────────────────────────────────────────────────────────────────────────────────

    async def _materials(self, rows: Sequence[InspectedRow]) -> list[Finding]:
        asked: list[tuple[InspectedRow, Deferred[VerifiedAnswer]]] = []
        findings = []
        for row in rows:
            if isinstance(row.record, MaterialRecord):
                try:
                    asked += [(row, call) for call in await self._ask(row.record)]
                except Fault:
                    findings.append(_refused(row, "it is longer than any key token"))
        for row, call in asked:
            try:
                await call
            except DependencyTimeoutException:
                raise
            except Fault as fault:
                cause = fault.__cause__
                findings.append(_refused(row, cause.status.name if isinstance(cause, RefusedError) else fault.code))
        return findings

    async def _ask(self, material: MaterialRecord) -> list[Deferred[VerifiedAnswer]]:
        """Ask the HSM; of a material without a readable key there is nothing to ask."""
        try:
            key = await self._store.get(KeyRecord, material.key_id)
        except RowForgedError:
            return []
        if key is None:
            return []
        binding = KeyBinding(
            *(material.ekt, key.key_id, key.account, key.region, material.hbkid, key.spec, key.usage),
            current=material.state is MaterialState.CURRENT,
        )
        permit = self._gate.chore("VerifyHbk", key.key_id)
        return [self._link.call((permit,), (KeyHandle(binding),), VerifyHbk, VerifiedAnswer)]


def _refused(row: InspectedRow, why: str) -> Finding:
    assert isinstance(row.record, MaterialRecord)
    return Finding(TABLES[MaterialRecord].name, row.name, f"the HSM refuses it for the key {row.record.key_id}: {why}")
