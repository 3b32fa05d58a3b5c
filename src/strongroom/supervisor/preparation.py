"""What must be so before an actor is started: a home that is ours and whole, directories, secrets, configuration files.

Everything that could make a start go wrong for good is checked before anything is written: a home of another user, of
another mode, of another account, or one that has lost a part which its other parts depend on.

1. whose home, and who runs as whom   2. nobody else runs it   3. nothing is lost, TLS can be served, limits can be read
4. what it was made for   5. directories and secrets   6. configuration files
"""

from __future__ import annotations

import fcntl
import os
import ssl
import sys
from pathlib import Path
from typing import Final

import msgspec

import strongroom
from strongroom.supervisor.home import Home, HomeError, HomeSettings, format_toml, make_directory, write_durably
from strongroom.supervisor.hsm_control import SERVICE_HOST, make_seal_secret, require_nothing_lost
from strongroom.supervisor.users import Users, group_of, plan_users

HSM_ID: Final = "hsm-1"
WORKER: Final = "w1"
# What a confined service may still read: its libraries, names and time zone, harmless devices, what it is itself.
_SYSTEM_TREES: Final = (
    *("/usr", "/lib", "/lib64", "/proc/self", "/dev/null", "/dev/urandom"),
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/nsswitch.conf", "/etc/hosts", "/etc/ssl"),
)


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
        """What clients on this machine connect to."""
        listen = "localhost" if self.listen in {"0.0.0.0", "::"} else self.listen  # noqa: S104 -- no bind: a name to print.
        host = f"[{listen}]" if ":" in listen else listen
        return f"{'https' if self.tls_certificate else 'http'}://{host}:{self.port}"


def prepare(home: Home, options: Options, *, restoring: bool = False) -> tuple[Users, HomeSettings]:
    """Make the home ready for its actors; nothing of an existing one is lost.

    Raises:
        HomeError: the home is in use, somebody else's, made for something else, or has lost a part of itself.
    """
    home.require_short_paths()  # 1
    if home.root.exists() and home.root.stat().st_uid != os.getuid():
        raise HomeError(f"{home.root} belongs to user {home.root.stat().st_uid}: start it as that user")
    home.root.mkdir(parents=True, exist_ok=True)
    users = plan_users(home.root)
    if not restoring:
        _require_same_users(home, users)
    _lock(home, ("hsm", "kms") if restoring else options.actors)  # 2
    if not restoring:
        require_nothing_lost(home, HSM_ID)  # 3
    tls = _read_tls(options)
    limits = home.limits()
    settings = home.require_settings(  # 4
        account=options.account, region=options.region, development=options.development
    )
    _make_directories(home, users)  # 5
    if restoring:
        _give(home.service, users.kms)
    if "hsm" in options.actors:
        make_seal_secret(home, users.hsm)
    write_durably(home.hsm_config(HSM_ID), _hsm_config(home, users).encode(), 0o644)  # 6
    if "kms" in options.actors:
        if tls is not None:
            # Where the service's user can read them: root's own copies stay root's.
            write_durably(home.tls_certificate, tls[0], 0o644)
            write_durably(home.tls_key, tls[1], 0o400, users.kms)
        config = _kms_config(home, options, users, settings) + f"\n[limits]\n{format_toml(limits)}"
        write_durably(home.kms_config, config.encode(), 0o644)
    return users, settings


def _require_same_users(home: Home, users: Users) -> None:
    """A home made for two users cannot be started as one's, nor the other way round: its files belong to somebody."""
    for path, uid, actor in ((home.seal_secret, users.hsm, "HSM"), (home.store, users.kms, "service")):
        try:
            owner = path.stat().st_uid
        except (FileNotFoundError, PermissionError):
            continue
        if owner != uid:
            raise HomeError(
                f"{path} belongs to user {owner}, but the {actor} would run as user {uid} now ({users.explanation}): "
                "start this home as it was started before, or give its files to the new users"
            )


def _lock(home: Home, actors: tuple[str, ...]) -> None:
    """Held until this process ends, by whatever end."""
    for actor in actors:
        descriptor = os.open(home.root / f".{actor}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeError(f"{home.root} is in use by another supervisor") from None


def _make_directories(home: Home, users: Users) -> None:
    own = os.getuid()
    home.root.chmod(0o711 if users.are_separate else 0o700)
    make_directory(home.seal, 0o711 if users.are_separate else 0o700, own)
    for path in (home.hsm, home.host, home.domain, home.run):
        make_directory(path, 0o755, own)
    make_directory(home.recovery, 0o700, own)
    make_directory(home.service, 0o700, users.kms)
    make_directory(home.run_hsm, 0o755, users.hsm)
    make_directory(home.run_kms, 0o755, users.kms)


def _give(tree: Path, uid: int) -> None:
    """A backup may have come back as somebody else's."""
    for folder, names, files in os.walk(tree):
        for name in (*names, *files):
            os.chown(Path(folder) / name, uid, group_of(uid), follow_symlinks=False)


def _read_tls(options: Options) -> tuple[bytes, bytes] | None:
    """Certificate and key, tried out."""
    if not options.tls_certificate:
        return None
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(options.tls_certificate, options.tls_key)
        return Path(options.tls_certificate).read_bytes(), Path(options.tls_key).read_bytes()
    except OSError as error:
        raise HomeError(f"{options.tls_certificate} and {options.tls_key} cannot be used for TLS: {error}") from None


def _hsm_config(home: Home, users: Users) -> str:
    return format_toml(
        {
            "hsm_id": HSM_ID,
            "socket": str(home.hsm_socket(HSM_ID)),
            "allowed_uids": sorted({users.kms, os.getuid()}),
            "sealed_states": [str(path) for path in home.sealed_states(HSM_ID)],
            "seal_secret": str(home.seal_secret),
        }
    )


def _kms_config(home: Home, options: Options, users: Users, settings: HomeSettings) -> str:
    tokens = home.domain_tokens()
    with_tls = bool(options.tls_certificate)
    values: dict[str, object] = {
        "account": settings.account,
        "region": settings.region,
        "listen": options.listen,
        "port": options.port,
        "hsm_socket": str(home.hsm_socket(HSM_ID)),
        "domain_token": str(tokens[-1] if tokens else home.domain_token(1)),
        "host_id": SERVICE_HOST,
        "identity_key": str(home.identity_key),
        "store": str(home.store),
        "audit_directory": str(home.audit),
        "admin_socket": str(home.admin_socket),
        "operator_uids": [os.getuid()],
        "first_access_key": "" if settings.development else str(home.first_access_key),
        "development": settings.development,
        "tls_certificate": str(home.tls_certificate) if with_tls else "",
        "tls_key": str(home.tls_key) if with_tls else "",
        "worker": WORKER,
        "strict_audit": options.strict_audit,
    }
    if not users.are_separate:
        trees = [*_SYSTEM_TREES, sys.prefix, sys.base_prefix, *strongroom.__path__, *sys.path]
        reading = {tree for tree in trees if tree and not home.root.is_relative_to(tree)}
        values["confine_reading"] = sorted({*reading, str(home.domain), str(home.host)})
        values["confine_writing"] = [str(home.service), str(home.run_kms)]
    return format_toml(values)
