"""What must be so before an actor is started: a home that is ours and whole, directories, secrets, configuration files.

Everything that could make a start go wrong for good is checked before anything is written: a home of another user, of
another mode, of another account, or one that has lost a part which its other parts depend on.

1. whose home, and who runs as whom   2. nobody else runs it, and a restore that was cut off is undone
3. nothing is lost, TLS can be served, limits can be read
4. what it was made for   5. directories and secrets   6. configuration files
"""

from __future__ import annotations

import base64
import fcntl
import os
import ssl
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

import strongroom
from strongroom.supervisor import unfinished
from strongroom.supervisor.home import (
    HSM_ID,
    Home,
    HomeError,
    HomeSettings,
    OperatorsFiles,
    RegionHome,
    format_toml,
    make_directory,
    sync_directory,
    write_durably,
)
from strongroom.supervisor.hsm_control import SERVICE_HOST, make_seal_secret, require_nothing_lost
from strongroom.supervisor.users import Users, group_of, plan_users

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
    # The first is the home region of a home that is made now.
    regions: tuple[str, ...]
    development: bool
    actors: tuple[str, ...]
    workers: int = 1
    tls_certificate: str = ""
    tls_key: str = ""
    strict_audit: bool = False
    audit_segment_bytes: int = 64 << 20
    audit_keep_days: float = 0.0
    request_log: str = "errors"
    # Address and port on which whoever watches may ask for numbers.
    metrics: tuple[str, int] | None = None

    @property
    def url(self) -> str:
        """What clients on this machine connect to."""
        listen = "localhost" if self.listen in {"0.0.0.0", "::"} else self.listen  # noqa: S104 -- no bind: a name to print.
        host = f"[{listen}]" if ":" in listen else listen
        return f"{'https' if self.tls_certificate else 'http'}://{host}:{self.port}"


class Prepared(msgspec.Struct, frozen=True):
    """What a start found out: who runs as whom, what the home was made for, what its operator wrote beside it."""

    users: Users
    settings: HomeSettings
    limits: dict[str, int]
    organization: OperatorsFiles
    identity_providers: OperatorsFiles


def prepare(home: Home, options: Options, *, restoring: bool = False) -> Prepared:
    """Make the home ready for its actors; nothing of an existing one is lost.

    Raises:
        HomeError: the home is in use, somebody else's, made for something else, or has lost a part of itself.
    """
    home.require_short_paths(options.regions)  # 1
    _make_root(home.root)
    _require_own_root(home.root)
    users = plan_users(home.root)
    if not restoring:
        _require_same_users(home, users)
    _lock(home, ("hsm", "kms") if restoring else options.actors)  # 2
    if restoring or "hsm" in options.actors:
        unfinished.undo(home)
    if not restoring:
        require_nothing_lost(home, HSM_ID)  # 3
    tls = _read_tls(options)
    limits = home.limits()
    organization = home.operators_files(home.organization_file)
    identity_providers = home.operators_files(home.identity_providers_file)
    settings = home.require_settings(  # 4
        account=options.account, regions=options.regions, development=options.development
    )
    _make_directories(home, users)  # 5
    if restoring:
        _give(home.service, users.kms)
    if "hsm" in options.actors:
        make_seal_secret(home, users.hsm)
    _write_hsm_config(home, users)  # 6
    if tls is not None:
        # Where the service's user can read them: root's own copies stay root's.
        write_durably(home.tls_certificate, tls[0], 0o644)
        write_durably(home.tls_key, tls[1], 0o400, users.kms)
    return Prepared(users, settings, limits, organization, identity_providers)


def prepare_region(place: RegionHome, users: Users, *, was_made: bool, restoring: bool = False) -> None:
    """The same for a region beside the home's own.

    Raises:
        HomeError: its files are somebody else's, or it has lost a part of itself.
    """
    unfinished.undo(place)
    if not restoring:
        _require_same_users(place, users)
        require_nothing_lost(place, HSM_ID, was_made=was_made)
    own = os.getuid()
    for path in (place.base.parent, place.base):
        make_directory(path, 0o711 if users.are_separate else 0o700, own)
    _make_domain_directories(place, users)
    make_seal_secret(place, users.hsm)
    _write_hsm_config(place, users)


def _make_root(root: Path) -> None:
    if not root.exists():
        _make_root(root.parent)
        root.mkdir(exist_ok=True)
        sync_directory(root.parent)


def _require_own_root(root: Path) -> None:
    """Root takes an empty directory of another user over, as a container's image or an unpacked volume may bring one.

    One that is not empty may hold what its owner prepared for a root that follows it. The owner could still add to it
    until it is taken: so it is looked at again afterwards.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        owner = os.fstat(folder).st_uid
        if owner == os.getuid():
            return
        may_take = os.getuid() == 0 and _is_empty(folder)
        if may_take:
            os.fchown(folder, 0, 0)
            os.fchmod(folder, 0o700)
        if not may_take or not _is_empty(folder):
            raise HomeError(f"{root} belongs to user {owner}: start it as that user")
    finally:
        os.close(folder)


def _is_empty(folder: int) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _require_same_users(place: RegionHome, users: Users) -> None:
    """A home made for two users cannot be started as one's, nor the other way round: its files belong to somebody."""
    for path, uid, actor in ((place.seal_secret, users.hsm, "HSM"), (place.store, users.kms, "service")):
        try:
            owner = path.stat().st_uid
        except (FileNotFoundError, PermissionError):
            continue
        if owner != uid:
            # A backup that was only copied into place belongs to whoever copied it: a restore gives it to its users.
            require_nothing_lost(place, HSM_ID)
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
    _make_domain_directories(home, users)
    make_directory(home.service, 0o700, users.kms)
    make_directory(home.run, 0o755, own)
    make_directory(home.run_hsm, 0o755, users.hsm)
    make_directory(home.run_kms, 0o755, own)
    make_directory(home.run_metrics, 0o700, users.kms)


def _make_domain_directories(place: RegionHome, users: Users) -> None:
    own = os.getuid()
    make_directory(place.seal, 0o711 if users.are_separate else 0o700, own)
    for path in (place.hsm, place.host, place.domain):
        make_directory(path, 0o755, own)
    make_directory(place.recovery, 0o700, own)


def _give(tree: Path, uid: int) -> None:
    """A backup may have come back as somebody else's.

    What is given is what was looked at: a link, or a second name of a file, would give away what lies elsewhere.
    """
    for folder, names, files, descriptor in os.fwalk(tree):
        for name in (*names, *files):
            path = Path(folder) / name
            if not path.is_symlink() and (path.is_dir() or path.is_file()):
                _give_one(path, name, descriptor, uid)
            else:
                raise HomeError(f"{path} is a link or no file, and no backup holds it: delete it")


def _give_one(path: Path, name: str, folder: int, uid: int) -> None:
    given = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        found = os.fstat(given)
        if not stat.S_ISDIR(found.st_mode) and (not stat.S_ISREG(found.st_mode) or found.st_nlink > 1):
            raise HomeError(f"{path} has {found.st_nlink} names, and no backup holds it: delete it")
        os.fchown(given, uid, group_of(uid))
    finally:
        os.close(given)


def _read_tls(options: Options) -> tuple[bytes, bytes] | None:
    """Certificate and key, tried out."""
    if not options.tls_certificate:
        return None
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(options.tls_certificate, options.tls_key)
        return Path(options.tls_certificate).read_bytes(), Path(options.tls_key).read_bytes()
    except OSError as error:
        raise HomeError(f"{options.tls_certificate} and {options.tls_key} cannot be used for TLS: {error}") from None


def _write_hsm_config(place: RegionHome, users: Users) -> None:
    config = {
        "hsm_id": HSM_ID,
        "socket": str(place.hsm_socket(HSM_ID)),
        "allowed_uids": sorted({users.kms, os.getuid()}),
        "sealed_states": [str(path) for path in place.sealed_states(HSM_ID)],
        "seal_secret": str(place.seal_secret),
    }
    write_durably(place.hsm_config(HSM_ID), format_toml(config).encode(), 0o644)


def describe_region(place: RegionHome, name: str) -> dict[str, object]:
    """What a worker is told of a region: in its configuration, or later over its channel.

    The domain token is public, and comes along: a confined service may not open the file.
    """
    tokens = place.domain_tokens()
    token = tokens[-1].read_bytes() if tokens else b""
    return {
        "name": name,
        "hsm_socket": str(place.hsm_socket(HSM_ID)),
        "domain_token": base64.b64encode(token).decode(),
        "store": str(place.store),
    }


def write_kms_config(home: Home, options: Options, prepared: Prepared, regions: Sequence[dict[str, object]]) -> None:
    """The workers' configuration; the home region comes first."""
    users, settings = prepared.users, prepared.settings
    with_tls = bool(options.tls_certificate)
    values: dict[str, object] = {
        "account": settings.account,
        "host_id": SERVICE_HOST,
        "identity_key": str(home.identity_key),
        "audit_directory": str(home.audit),
        "operator_uids": [os.getuid()],
        "first_access_key": "" if settings.development else str(home.first_access_key),
        "development": settings.development,
        "tls_certificate": str(home.tls_certificate) if with_tls else "",
        "tls_key": str(home.tls_key) if with_tls else "",
        "workers": options.workers,
        "strict_audit": options.strict_audit,
        "audit_segment_bytes": options.audit_segment_bytes,
        "audit_keep_days": options.audit_keep_days,
        "request_log": options.request_log,
        "metrics_directory": str(home.run_metrics),
        "organization": prepared.organization.text,
        "identity_providers": prepared.identity_providers.text,
    }
    if not users.are_separate:
        trees = [*_SYSTEM_TREES, sys.prefix, sys.base_prefix, *strongroom.__path__, *sys.path]
        reading = {tree for tree in trees if tree and not home.root.is_relative_to(tree)}
        values["confine_reading"] = sorted({*reading, str(home.domain), str(home.host)})
        values["confine_writing"] = [str(home.service), str(home.run_metrics)]
    text = f"{format_toml(values)}\n[limits]\n{format_toml(prepared.limits)}"
    for table, files in (
        ("organization_documents", prepared.organization),
        ("identity_provider_documents", prepared.identity_providers),
    ):
        named = {f'"{name}"': content for name, content in files.documents.items()}
        text += f"\n[{table}]\n{format_toml(named)}"
    text += "".join(f"\n[[regions]]\n{format_toml(region)}" for region in regions)
    write_durably(home.kms_config, text.encode(), 0o644)
