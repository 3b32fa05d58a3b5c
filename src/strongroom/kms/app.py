"""The composition: the one place that knows which store, which HSM and which trail a worker runs with.

1. open the store and connect to the HSM, 2. unseal the store key (or make one, on the first start), 3. make sure that
somebody can log in, 4. serve, 5. stop: no new requests, heads signed, everything synced.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from strongroom.boundary.domain_token import DomainState, parse_domain_token
from strongroom.boundary.messages import GenerateRandom, PlaintextAnswer, SealColumn, SealedAnswer, UnsealColumn
from strongroom.boundary.secret import AccessKeySecret, StoreKey
from strongroom.kms.admin.commands import AdminCommands
from strongroom.kms.admin.server import AdminServer
from strongroom.kms.audit.events import RANDOM_BYTES, EventIds
from strongroom.kms.audit.heads import HeadLog
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.chores import AuditHeads, repeat
from strongroom.kms.config import KmsConfig
from strongroom.kms.credentials import Credentials, new_access_key_id, new_secret, new_user_id
from strongroom.kms.dispatch import Dispatcher
from strongroom.kms.driver import run
from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.host_session import HostIdentity
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.keys.directory import Directory
from strongroom.kms.repositories import AccessKeyRecord, Put, SettingRecord, UserRecord
from strongroom.kms.service import Service
from strongroom.kms.storage.sqlite import SqliteStore
from strongroom.kms.trail import Trail
from strongroom.kms.wire.http import Clocks, Edge, HttpConnection

_STORE_KEY: Final = "store-key"
_STORE_KEY_COLUMN: Final = "settings.value"
_STORE_KEY_BYTES: Final = 32
# A stop waits this long for answers that are under way.
_FINISH_S_MAX: Final = 3.0
_ADMINISTRATOR: Final = "admin"
_ADMINISTRATOR_POLICY: Final = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'


class App:
    """One worker."""

    def __init__(self, config: KmsConfig) -> None:
        self._config = config
        self._clock = time.time
        self._domain = _load_domain(config)
        self._store = SqliteStore(Path(config.store))
        self._ids = EventIds(os.urandom(RANDOM_BYTES))
        self._log = AuditLog(
            Path(config.audit_directory), config.worker, clock=self._clock, event_ids=EventIds(os.urandom(RANDOM_BYTES))
        )
        self._heads = HeadLog(Path(config.audit_directory))
        self._directory = Directory(self._store, config.account, config.region)
        self._trail = Trail(
            self._log,
            config.region,
            config.account,
            self._clock,
            EventIds(os.urandom(RANDOM_BYTES)),
            is_strict=config.strict_audit,
        )
        self._gate = Gate(self._directory, self._trail.intent)
        self._link = HsmLink(config.hsm_socket, _load_identity(config), self._domain, self._batch)
        self._credentials = Credentials(self._directory, self._link, self._gate)
        service = Service(
            config.account,
            config.region,
            self._directory,
            self._link,
            self._gate,
            self._clock,
            self._trail,
            config.limits,
        )
        self._dispatcher = Dispatcher(
            service,
            self._credentials,
            self._trail,
            self._ids,
            lambda: self._link.is_answering,
        )
        self._edge = Edge(self._dispatcher.submit, Clocks(self._clock))
        self._audit_heads = AuditHeads(self._heads, self._log, self._link, self._gate, self._domain.domain_id)
        commands = AdminCommands(service, self._credentials, self._store, self._trail, self._ids)
        self._admin = AdminServer(config.admin_socket, {0, os.getuid(), *config.operator_uids}, commands)
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    def _batch(self, work: Callable[[], None]) -> None:
        self._dispatcher.batch(work)

    # ── start ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        self._link.start()  # 1
        self._store.unlock(await run(self._store_key()))  # 2
        await run(self._require_somebody())  # 3
        config = self._config
        self._edge.sweep(asyncio.get_running_loop().time())
        self._server = await asyncio.get_running_loop().create_server(  # 4
            lambda: HttpConnection(self._edge), config.listen, config.port, ssl=_tls(config), backlog=1024
        )
        await self._admin.start()
        heads = partial(repeat, config.audit_head_interval_s, "signing the audit head", self._sign_head)
        self._tasks = [asyncio.create_task(chore) for chore in (heads(), repeat(1.0, "sweeping", self._sweep))]

    async def _sign_head(self) -> None:
        await self._audit_heads.sign(self._clock())

    async def _sweep(self) -> None:
        self._edge.sweep(asyncio.get_running_loop().time())

    async def _store_key(self) -> StoreKey:
        setting = await self._store.get(SettingRecord, _STORE_KEY)
        if setting is None:
            drawn = await self._link.call(
                (self._gate.chore("DrawStoreKey"),),
                (),
                lambda request_id: GenerateRandom(request_id, _STORE_KEY_BYTES),
                PlaintextAnswer,
            )
            sealed = await self._link.call(
                (self._gate.chore("SealStoreKey"),),
                (),
                lambda request_id: SealColumn(request_id, _STORE_KEY_COLUMN, _STORE_KEY, drawn.plaintext),
                SealedAnswer,
            )
            setting = SettingRecord(name=_STORE_KEY, version=1, value=sealed.sealed)
            await self._store.commit([Put(setting, replaces=None)])
        value = setting.value
        opened = await self._link.call(
            (self._gate.chore("UnsealStoreKey"),),
            (),
            lambda request_id: UnsealColumn(request_id, _STORE_KEY_COLUMN, _STORE_KEY, value),
            PlaintextAnswer,
        )
        return StoreKey(opened.plaintext)

    async def _require_somebody(self) -> None:
        """The development credentials, or on the first start an administrator whose key goes into a private file."""
        config, store = self._config, self._store
        if config.development:
            if await store.get(AccessKeyRecord, "test") is None:
                await self._add_access_key("test", AccessKeySecret(b"test"), "")
            return
        if config.first_access_key and not await store.list_users(config.account, "", 1):
            policies = {"AdministratorAccess": _ADMINISTRATOR_POLICY}
            user = UserRecord(
                account=config.account,
                name=_ADMINISTRATOR,
                version=1,
                user_id=new_user_id(),
                identity_policies=policies,
                created_at_s=self._clock(),
            )
            access_key_id, secret = new_access_key_id(), new_secret()
            # The file first: a key that nobody was told is worse than a file whose key does not exist.
            _write_private(
                Path(config.first_access_key),
                b"[default]\naws_access_key_id = %b\naws_secret_access_key = %b\nregion = %b\n"
                % (access_key_id.encode(), secret.expose(), config.region.encode()),
            )
            await self._add_access_key(access_key_id, secret, _ADMINISTRATOR, user)

    async def _add_access_key(
        self, access_key_id: str, secret: AccessKeySecret, user_name: str, user: UserRecord | None = None
    ) -> None:
        permit = self._gate.chore("FirstAccessKey")
        record = await self._credentials.seal_access_key(permit, access_key_id, secret, user_name, self._clock())
        changes = [Put(record, replaces=None)]
        if user is not None:
            changes.insert(0, Put(user, replaces=None))
        await self._store.commit(changes)

    # ── stop ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def stop(self) -> None:  # 5
        if self._server is not None:
            self._server.close()
        await self._admin.stop()
        for task in self._tasks:
            task.cancel()
        await self._edge.finish(_FINISH_S_MAX)
        with suppress(Exception):
            await asyncio.wait_for(self._sign_head(), 2.0)
        self._link.close()
        self._store.close()
        self._log.close()
        self._heads.close()


def _load_domain(config: KmsConfig) -> DomainState:
    _, state = parse_domain_token(Path(config.domain_token).read_bytes())
    return state


def _load_identity(config: KmsConfig) -> HostIdentity:
    private = load_pem_private_key(Path(config.identity_key).read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return HostIdentity(config.host_id, private)


def _tls(config: KmsConfig) -> ssl.SSLContext | None:
    if not config.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(config.tls_certificate, config.tls_key)
    return context


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
