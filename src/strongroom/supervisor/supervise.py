"""The supervisor's loop: start HSM, then service; restart what dies, with back-off; stop everything on SIGTERM.

A mute HSM does not die, and is not restarted (design 12): silence is its answer, and its operators' business.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

import strongroom
from strongroom.supervisor import children
from strongroom.supervisor.banner import print_banner
from strongroom.supervisor.home import Home, HomeError, HomeSettings, format_toml, make_directory, write_durably
from strongroom.supervisor.hsm_control import ControlChannel, bring_up, make_seal_secret, require_nothing_lost
from strongroom.supervisor.users import Users, plan_users

HSM_ID: Final = "hsm-1"
WORKER: Final = "w1"
_READY_S_MAX: Final = 20.0
# What a confined service may still read: its interpreter, its libraries, the system's configuration and devices.
_SYSTEM_TREES: Final = ("/usr", "/lib", "/lib64", "/etc", "/proc", "/dev", "/sys")


class Options(msgspec.Struct, frozen=True):
    """What `strongroom up` was asked for."""

    home: Path
    listen: str
    port: int
    account: str
    region: str
    development: bool
    actors: tuple[str, ...]
    tls_certificate: str = ""
    tls_key: str = ""
    strict_audit: bool = False

    @property
    def url(self) -> str:
        """What clients connect to."""
        host = f"[{self.listen}]" if ":" in self.listen else self.listen
        return f"{'https' if self.tls_certificate else 'http'}://{host}:{self.port}"


class Supervisor:
    """One home, one HSM, one service."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.home: Final = Home(options.home)
        self._users: Users | None = None
        self._settings: HomeSettings | None = None
        self._hsm: subprocess.Popen[bytes] | None = None
        self._kms: subprocess.Popen[bytes] | None = None
        self._channel: ControlChannel | None = None
        self._back_off = {"hsm": children.BackOff(), "kms": children.BackOff()}
        self._stopping = False

    @property
    def users(self) -> Users:
        assert self._users is not None, "prepare first"
        return self._users

    # ── preparation ─────────────────────────────────────────────────────────────────────────────────────────────

    def prepare(self, *, restoring: bool = False) -> None:
        """Directories, secrets and configuration files; nothing of an existing home is lost.

        Raises:
            HomeError: the home is in use, was made for something else, or has lost its seal or sealed state.
        """
        options, home = self._options, self.home
        home.require_short_paths()
        home.root.mkdir(parents=True, exist_ok=True)
        self._users = users = plan_users(home.root)
        home.root.chmod(0o711 if users.are_separate else 0o700)
        self._lock()
        self._settings = settings = home.require_settings(
            account=options.account, region=options.region, development=options.development
        )
        if "hsm" in options.actors and not restoring:
            require_nothing_lost(home, HSM_ID)
        own = os.getuid()
        make_directory(home.seal, 0o700, users.hsm)
        make_directory(home.hsm, 0o755, own)
        make_directory(home.domain, 0o755, own)
        make_directory(home.recovery, 0o700, own)
        make_directory(home.service, 0o700, users.kms)
        make_directory(home.run_hsm, 0o755, users.hsm)
        make_directory(home.run_kms, 0o755, users.kms)
        make_seal_secret(home, users.hsm)
        write_durably(home.hsm_config(HSM_ID), self._hsm_config(users).encode(), 0o644)
        if "kms" in options.actors:
            write_durably(home.service / "kms.toml", self._kms_config(users, settings).encode(), 0o600, users.kms)

    def _lock(self) -> None:
        """Held until this process ends, by whatever end."""
        for actor in self._options.actors:
            descriptor = os.open(self.home.root / f".{actor}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeError(f"{self.home.root} is in use by another supervisor") from None

    def _hsm_config(self, users: Users) -> str:
        home = self.home
        return format_toml(
            {
                "hsm_id": HSM_ID,
                "socket": str(home.hsm_socket(HSM_ID)),
                "allowed_uids": sorted({users.kms, os.getuid()}),
                "sealed_states": [str(path) for path in home.sealed_states(HSM_ID)],
                "seal_secret": str(home.seal_secret),
            }
        )

    def _kms_config(self, users: Users, settings: HomeSettings) -> str:
        home, options = self.home, self._options
        tokens = home.domain_tokens()
        values: dict[str, object] = {
            "account": settings.account,
            "region": settings.region,
            "listen": options.listen,
            "port": options.port,
            "hsm_socket": str(home.hsm_socket(HSM_ID)),
            "domain_token": str(tokens[-1] if tokens else home.domain_token(1)),
            "host_id": "service-1",
            "identity_key": str(home.identity_key),
            "store": str(home.store),
            "audit_directory": str(home.audit),
            "admin_socket": str(home.admin_socket),
            "operator_uids": [os.getuid()],
            "first_access_key": "" if settings.development else str(home.first_access_key),
            "development": settings.development,
            "tls_certificate": options.tls_certificate,
            "tls_key": options.tls_key,
            "worker": WORKER,
            "strict_audit": options.strict_audit,
        }
        if not users.are_separate:
            trees = [*_SYSTEM_TREES, sys.prefix, sys.base_prefix, *strongroom.__path__, *sys.path]
            reading = [tree for tree in trees if tree and not home.root.is_relative_to(tree)]
            values["confine_reading"] = sorted(
                {*reading, str(home.domain), options.tls_certificate, options.tls_key} - {""}
            )
            values["confine_writing"] = [str(home.service), str(home.run_kms)]
        return format_toml(values)

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Until SIGTERM or SIGINT.

        Raises:
            HomeError: an actor could not be started at all.
        """
        wake, signals = socket.socketpair()
        signals.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        signal.set_wakeup_fd(signals.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        try:
            with wake, signals:
                self._start_all()
                self._watch(wake)
        finally:
            signal.set_wakeup_fd(-1)
            self._stop_all()

    def _on_signal(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD:
            self._stopping = True

    def _start_all(self) -> None:
        files: list[Path] = []
        assert self._settings is not None
        if "hsm" in self._options.actors:
            files = self._start_hsm()
        if "kms" in self._options.actors:
            self._start_kms()
        print_banner(self.home, self._settings, self._options.url, self.users, files)

    def _start_hsm(self) -> list[Path]:
        self._back_off["hsm"].started()
        self._hsm, control = children.start_hsm(str(self.home.hsm_config(HSM_ID)), self.users.hsm)
        self._channel = ControlChannel(control)
        region = self._settings.region if self._settings else ""
        return bring_up(self._channel, self.home, HSM_ID, region, self.users.kms)

    def _start_kms(self) -> None:
        self._back_off["kms"].started()
        self._kms, ready = children.start_kms(str(self.home.service / "kms.toml"), self.users.kms)
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(ready, selectors.EVENT_READ)
                if not selector.select(_READY_S_MAX) or os.read(ready, 16) != b"ready\n":
                    raise HomeError("the service did not start; its own words are above")
        finally:
            os.close(ready)

    def _watch(self, wake: socket.socket) -> None:
        due: list[tuple[float, str]] = []
        with selectors.DefaultSelector() as selector:
            selector.register(wake, selectors.EVENT_READ)
            while not self._stopping:
                timeout = max(0.0, min(at for at, _ in due) - time.monotonic()) if due else None
                if selector.select(timeout):
                    wake.recv(4096)
                due += self._deaths()
                for at, actor in list(due):
                    if at <= time.monotonic() and not self._stopping:
                        due.remove((at, actor))
                        due += self._restart(actor)

    def _deaths(self) -> list[tuple[float, str]]:
        """Actors that have ended, each with the time to start it again."""
        due = []
        for actor in ("hsm", "kms"):
            process = self._hsm if actor == "hsm" else self._kms
            if process is not None and process.poll() is not None and not self._stopping:
                delay = self._back_off[actor].delay_s()
                print(
                    f"strongroom: {actor} ended ({process.returncode}); starting it again", file=sys.stderr, flush=True
                )
                due.append((time.monotonic() + delay, actor))
                if actor == "hsm":
                    self._hsm = None
                else:
                    self._kms = None
        return due

    def _restart(self, actor: str) -> list[tuple[float, str]]:
        start: Callable[[], object] = self._start_hsm if actor == "hsm" else self._start_kms
        try:
            start()
        except (HomeError, OSError) as error:
            print(f"strongroom: {actor}: {error}", file=sys.stderr, flush=True)
            half_started = self._hsm if actor == "hsm" else self._kms
            if half_started is not None:  # Never two of a kind: the next try must find the place empty.
                children.stop(half_started)
            return self._deaths() or [(time.monotonic() + self._back_off[actor].delay_s(), actor)]
        return []

    def _stop_all(self) -> None:
        """The service first: it still wants a last audit head signed."""
        for process in (self._kms, self._hsm):
            if process is not None:
                children.stop(process)
        if self._channel is not None:
            self._channel.close()
