"""The composition: the one place that knows which stores, which HSMs and which trail a worker runs with.

1. connect to the home region's HSM, 2. unlock its store, 3. make sure that somebody can log in, and open the other regions,
4. serve, 5. stop: no new requests, heads signed, everything synced.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.admin.commands import AdminCommands
from strongroom.kms.admin.server import AdminServer
from strongroom.kms.audit.events import RANDOM_BYTES, EventIds
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.chores.access_key_flush import INTERVAL_S as KEY_FLUSH_S
from strongroom.kms.chores.access_key_flush import LAST_FLUSH_S_MAX, AccessKeyFlush
from strongroom.kms.chores.audit_retention import INTERVAL_S as RETENTION_S
from strongroom.kms.chores.audit_retention import AuditRetention
from strongroom.kms.chores.region_chores import RegionChores
from strongroom.kms.chores.schedule import repeat
from strongroom.kms.config import KmsConfig, RegionConfig
from strongroom.kms.credentials import Credentials
from strongroom.kms.dispatch import Dispatcher
from strongroom.kms.driver import run
from strongroom.kms.head_keeper import HeadKeeper
from strongroom.kms.hsm_link.host_session import HostIdentity
from strongroom.kms.identities.access_keys import new_access_key_id, new_secret, seal_access_key
from strongroom.kms.identities.administrators import new_administrator
from strongroom.kms.identities.configuration import read_identity_configuration
from strongroom.kms.identities.lookup import Lookup
from strongroom.kms.identities.records import AccessKeyRecord, UserRecord
from strongroom.kms.process import connections_max
from strongroom.kms.region import Region
from strongroom.kms.regions import Regions
from strongroom.kms.repositories import Put, Store
from strongroom.kms.supervision import Supervisor
from strongroom.kms.telemetry.families import Sources
from strongroom.kms.telemetry.lines import LineWriter
from strongroom.kms.telemetry.reporting import Reporting
from strongroom.kms.telemetry.request_log import RequestLog
from strongroom.kms.telemetry.strangers import Strangers
from strongroom.kms.telemetry.tallies import Tallies
from strongroom.kms.telemetry.telemetry import Telemetry
from strongroom.kms.wire.acceptor import Acceptor, Loads
from strongroom.kms.wire.http import CONNECTIONS_MAX, TLS_CONNECTIONS_MAX, Clocks, Edge, HttpConnection

# A start waits this long for regions beside the home region, and then serves without those that are not open.
_REGIONS_S_MAX: Final = 2.0
# A stop waits this long for answers that are under way.
_FINISH_S_MAX: Final = 3.0
# And this long for its turn to sign what was recorded; whoever still keeps the heads then stops later, and signs for all.
_LAST_HEAD_S_MAX: Final = 2.0

_LOG = logging.getLogger("strongroom.kms")


class Inherited(NamedTuple):
    """What the supervisor hands over: sockets on which customers, operators and whoever watches are served.

    Behind `loads_fd` workers tell each other how many customers they have.
    """

    listening: socket.socket
    loads_fd: int
    operators: Sequence[socket.socket]
    metrics: socket.socket | None


class App:
    """One worker."""

    def __init__(self, config: KmsConfig, supervisor: Supervisor, inherited: Inherited, lines: LineWriter) -> None:
        """`lines` is where to log."""
        self._config = config
        self._supervisor = supervisor
        self._clock = time.time
        self._ids = EventIds(os.urandom(RANDOM_BYTES))
        self._log = AuditLog(
            Path(config.audit_directory),
            config.worker,
            clock=self._clock,
            event_ids=EventIds(os.urandom(RANDOM_BYTES)),
            segment_bytes_max=config.audit_segment_bytes,
        )
        self._identity = _load_identity(config)
        self._configured = read_identity_configuration(config)
        home = self._open_files(config.regions[0], None)
        self._home = home
        self._regions = Regions(home, self._make_region, supervisor, on_first_use=config.development)
        service = home.service
        lookup = Lookup(service.identities, service.main_account, self._configured.organization)
        self._credentials = Credentials(service.directory, service.link, service.gate, lookup, self._clock)
        self._key_flush = AccessKeyFlush(service.identities, service.directory.key_uses, self._credentials.is_known)
        strangers = Strangers(self._clock)
        telemetry = Telemetry(Tallies(), RequestLog(lines, config.request_log, config.worker, self._clock), strangers)
        self._dispatcher = Dispatcher(self._regions, self._credentials, self._ids, telemetry)
        wanted = TLS_CONNECTIONS_MAX if config.tls_certificate else CONNECTIONS_MAX
        self._edge = Edge(self._dispatcher.submit, Clocks(self._clock), connections_max(wanted))
        number = int(config.worker.removeprefix("w")) - 1
        loads = Loads(inherited.loads_fd, number, lambda: len(self._edge.connections), len(os.sched_getaffinity(0)))
        self._acceptor = Acceptor(
            inherited.listening, lambda: HttpConnection(self._edge), _tls(config), loads, self._edge.has_room
        )
        self._head_keeper = HeadKeeper(
            Path(config.audit_directory), self._log, service.link, service.gate, home.domain_id
        )
        commands = AdminCommands(self._regions, lookup, self._ids, strangers, config.worker, config.workers)
        self._admin = AdminServer(inherited.operators, {0, os.getuid(), *config.operator_uids}, commands)
        self._tasks: list[asyncio.Task[None]] = []
        self._chores: list[RegionChores] = []
        metrics = inherited.metrics
        self._reporting = None if metrics is None else self._make_reporting(metrics, telemetry.tallies, lines)

    def _make_reporting(self, listening: socket.socket, tallies: Tallies, lines: LineWriter) -> Reporting:
        sources = Sources(
            *(tallies, self._edge, self._log, self._head_keeper, lines),
            *(self._regions, self._chores, self._clock),
        )
        place, worker = Path(self._config.metrics_directory), self._config.worker
        return Reporting(sources, listening, place, worker, is_alone=self._config.workers == 1)

    def _make_region(self, region: RegionConfig) -> Region:
        return self._open_files(region, self._home.store)

    def _open_files(self, region: RegionConfig, identities: Store | None) -> Region:
        parts = self._identity, self._log, self._clock, self._batch
        return Region(self._config, region, *parts, identities, self._configured)

    def _batch(self, work: Callable[[], None]) -> None:
        self._dispatcher.batch(work)

    # ── start ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        await self._home.open()  # 1, 2
        await run(self._require_somebody())  # 3
        self._begin_chores(self._home)
        self._regions.on_open = self._begin_chores
        self._supervisor.listen(self._regions.add, self._regions.not_made)
        await self._regions.open_all(self._config.regions[1:], _REGIONS_S_MAX)
        self._edge.sweep(asyncio.get_running_loop().time())
        self._acceptor.start()  # 4
        self._admin.start()
        chores = [
            repeat(self._config.audit_head_interval_s, "signing the audit head", self._sign_head),
            repeat(1.0, "sweeping", self._sweep),
            repeat(KEY_FLUSH_S, "storing last uses of access keys", self._key_flush.run),
            repeat(KEY_FLUSH_S, "forgetting sessions that are over", self._credentials.forget_ended),
        ]
        if self._config.audit_keep_days:
            guard, days = self._chores[0].guard, self._config.audit_keep_days  # The home region's chores began first.
            retention = AuditRetention(guard, self._head_keeper, days, self._clock)
            chores.append(repeat(RETENTION_S, "audit retention", retention.run))
        if self._reporting is not None:
            self._reporting.start()
            chores.append(repeat(1.0, "telling the metrics", self._reporting.tick))
        self._tasks = [asyncio.create_task(chore) for chore in chores]
        _LOG.info("worker %s serves", self._config.worker)

    def _begin_chores(self, region: Region) -> None:
        chores = RegionChores(region.service, self._log, Path(self._config.audit_directory), self._config.worker)
        chores.start()
        self._chores.append(chores)

    async def _sign_head(self) -> None:
        await self._head_keeper.sign(self._clock())

    async def _sweep(self) -> None:
        self._edge.sweep(asyncio.get_running_loop().time())
        self._acceptor.tell()

    async def _require_somebody(self) -> None:
        """The development credentials, or on the first start an administrator whose key goes into a private file."""
        config, store = self._config, self._home.store
        if config.development:
            if await store.get(AccessKeyRecord, "test") is None:
                await self._add_access_key("test", AccessKeySecret(b"test"), "")
            return
        if config.first_access_key and not await store.list_named(UserRecord, config.account, "", 1):
            user = new_administrator(config.account, self._clock())
            access_key_id, secret = new_access_key_id(), new_secret()
            # The file first: a key that nobody was told is worse than a file whose key does not exist.
            _write_private(
                Path(config.first_access_key),
                b"[default]\naws_access_key_id = %b\naws_secret_access_key = %b\nregion = %b\n"
                % (access_key_id.encode(), secret.expose(), self._home.name.encode()),
            )
            await self._add_access_key(access_key_id, secret, user.name, user)

    async def _add_access_key(
        self, access_key_id: str, secret: AccessKeySecret, user_name: str, user: UserRecord | None = None
    ) -> None:
        permit = self._home.service.gate.chore("FirstAccessKey")
        record = await seal_access_key(
            self._home.link, permit, access_key_id, secret, self._config.account, user_name, self._clock()
        )
        changes = [Put(record, replaces=None)]
        if user is not None:
            changes.insert(0, Put(user, replaces=None))
        await self._home.store.commit(changes)

    # ── stop ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def stop(self) -> None:  # 5
        _LOG.info("worker %s stops", self._config.worker)
        self._acceptor.close()
        self._admin.stop()
        if self._reporting is not None:
            self._reporting.stop()
        for task in self._tasks:
            task.cancel()
        await self._regions.stop_opening()
        await self._edge.finish(_FINISH_S_MAX)
        with suppress(Exception):
            await asyncio.wait_for(self._key_flush.run(), LAST_FLUSH_S_MAX)
        # Before the last head, so that what the chores did to the end is signed for.
        await asyncio.gather(*[chores.stop() for chores in self._chores])
        with suppress(Exception):
            await asyncio.wait_for(self._head_keeper.sign_last(self._clock()), _LAST_HEAD_S_MAX)
        self._regions.close()
        self._log.close()
        self._head_keeper.close()
        self._supervisor.close()


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
