"""One region in a worker: a domain of its own with its own HSM, its own store and its own store key.

`open` connects to the HSM and unlocks the store; whoever opens a region's store first has the HSM make the store key.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from strongroom.boundary.domain_token import parse_domain_token
from strongroom.boundary.messages import GenerateRandom, PlaintextAnswer, SealColumn, SealedAnswer, UnsealColumn
from strongroom.boundary.secret import StoreKey
from strongroom.kms.audit.events import RANDOM_BYTES, EventIds
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.audit.segments import sync_directory
from strongroom.kms.config import KmsConfig, RegionConfig
from strongroom.kms.driver import run
from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.host_session import HostIdentity
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.identities.configuration import NOTHING_CONFIGURED, IdentityConfiguration
from strongroom.kms.keys.directory import Directory
from strongroom.kms.repositories import ConflictError, Put, SettingRecord, Store
from strongroom.kms.service import Service
from strongroom.kms.storage.sqlite import SqliteStore
from strongroom.kms.trail import Trail

_STORE_KEY: Final = "store-key"
_STORE_KEY_COLUMN: Final = "settings.value"
_STORE_KEY_BYTES: Final = 32

Batch = Callable[[Callable[[], None]], None]


class Region:
    """What a worker has of one region, from the start to `close`."""

    def __init__(
        self,
        config: KmsConfig,
        region: RegionConfig,
        identity: HostIdentity,
        log: AuditLog,
        clock: Callable[[], float],
        batch: Batch,
        identities: Store | None = None,
        configured: IdentityConfiguration = NOTHING_CONFIGURED,
    ) -> None:
        """Open the files; `batch` does what a frame of answers resumes. Without `identities`, this is the home region.

        Raises:
            DomainTokenError: the domain's token is not one.
            OSError, sqlite3.DatabaseError, StoreTooNewError, StoreUnavailableError: the store cannot be used.
        """
        self.name: Final = region.name
        _, domain = parse_domain_token(region.domain_token)
        self.domain_id: Final = domain.domain_id
        path = Path(region.store)
        for folder in (path.parent.parent, path.parent):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
                sync_directory(folder.parent)
        self.store: Final = SqliteStore(path)
        self.link: Final = HsmLink(region.hsm_socket, identity, domain, batch)
        directory = Directory(self.store, region.name, configured.organization)
        ids = EventIds(os.urandom(RANDOM_BYTES))
        trail = Trail(log, region.name, clock, ids, is_strict=config.strict_audit)
        gate = Gate(directory, trail.intent, clock, is_secure=bool(config.tls_certificate))
        self.service: Final = Service(
            main_account=config.account,
            region=region.name,
            directory=directory,
            identities=identities or self.store,
            link=self.link,
            gate=gate,
            clock=clock,
            trail=trail,
            limits=config.limits,
            configured=configured,
        )

    async def open(self) -> None:
        """Connect, and unlock the store.

        Raises:
            Fault: the HSM did not answer, or refused.
            RowForgedError, StoreUnavailableError: the store key cannot be had.
        """
        self.link.start()
        self.store.unlock(await run(self._store_key()))

    async def _store_key(self) -> StoreKey:
        setting = await self.store.get(SettingRecord, _STORE_KEY)
        if setting is None:
            setting = await self._make_store_key()
        value = setting.value
        opened = await self.link.call(
            (self.service.gate.chore("UnsealStoreKey"),),
            (),
            lambda request_id: UnsealColumn(request_id, _STORE_KEY_COLUMN, _STORE_KEY, value),
            PlaintextAnswer,
        )
        return StoreKey(opened.plaintext)

    async def _make_store_key(self) -> SettingRecord:
        gate = self.service.gate
        drawn = await self.link.call(
            (gate.chore("DrawStoreKey"),),
            (),
            lambda request_id: GenerateRandom(request_id, _STORE_KEY_BYTES),
            PlaintextAnswer,
        )
        sealed = await self.link.call(
            (gate.chore("SealStoreKey"),),
            (),
            lambda request_id: SealColumn(request_id, _STORE_KEY_COLUMN, _STORE_KEY, drawn.plaintext),
            SealedAnswer,
        )
        setting = SettingRecord(name=_STORE_KEY, version=1, value=sealed.sealed)
        try:
            await self.store.commit([Put(setting, replaces=None)])
        except ConflictError:
            # Another worker was faster: its key is the store's.
            made = await self.store.get(SettingRecord, _STORE_KEY)
            assert made is not None, "a setting is never removed"
            return made
        return setting

    def close(self) -> None:
        self.link.close()
        self.store.close()
