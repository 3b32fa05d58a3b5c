"""The home directory: what lies where, who may read it, and how files that must survive a power cut are written.

    strongroom.toml        account, home region, development or not: decided at the first start; the other regions
    limits.toml            an operator's, or not there: what an account may have (`kms/limits.py`); read at every start
    organization.toml      an operator's, or not there: limits of the whole organisation, with the documents that it names in
                           organization/ (`kms/identities/organization.py`); read at every start
    identity-providers.toml  the same for web identities, with key sets in identity-providers/
    seal/local.secret      opens the sealed state; the HSM's user only; never in a backup
    hsm/hsm-1.state.{a,b}  sealed state, two copies
    hsm/hsm-1.toml         the HSM's configuration
    host/                  the service host's identity key, configuration, TLS files; a note that the store was made
    domain/token-000001    domain tokens by state version; public
    domain/restoring       while a restore runs, or was cut off (`unfinished.py`)
    service/               the KMS service's own: store and audit
    recovery/              bundle and shares, until somebody takes them away
    run/{hsm,kms}/         sockets
    run/metrics/           the workers' numbers, for each other
    regions/NAME/          every other region's seal/, hsm/, host/, domain/ and recovery/, by the same names;
                           its store is service/regions/NAME/store.db, its HSM's socket run/hsm/hsm-1.NAME.sock

The supervisor, who may be root, writes only into directories of its own: what another user could plant there, a root
that follows it would give away. Seal and sealed state lie outside `service/`, so that a backup of the service's
directory holds neither.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from strongroom.supervisor.users import group_of

HSM_ID: Final = "hsm-1"
_FORMAT: Final = 1
# Ours: hundreds of the longest policies.
_DOCUMENT_BYTES_MAX: Final = 4 << 20
_DOCUMENT_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,127}\.json", re.ASCII)
# sun_path of unix(7), with its terminating zero.
_SOCKET_PATH_BYTES_MAX: Final = 107


class HomeError(Exception):
    """The home cannot be used as asked; the text says why and what to do."""


class HomeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the first start decided for good, and which other regions were made since."""

    format: int
    account: str
    region: str
    development: bool
    regions: list[str] = []


class OperatorsFiles(msgspec.Struct, frozen=True):
    """A TOML file that an operator wrote, and the JSON documents in the folder of its name; the service knows them."""

    text: str = ""
    documents: dict[str, str] = {}


class RegionHome:
    """Where one region's domain keeps its own."""

    def __init__(self, base: Path, service: Path, hsm_sockets: Path, name: str = "") -> None:
        """`name` is empty for the home region, whose parts lie where they lay before there were others."""
        self.base: Final = base
        self.seal: Final = base / "seal"
        self.seal_secret: Final = self.seal / "local.secret"
        self.hsm: Final = base / "hsm"
        self.domain: Final = base / "domain"
        self.host: Final = base / "host"
        # Says that the store was there once: an empty one must never quietly take its place.
        self.store_note: Final = self.host / "store-was-made"
        # Says that the domain's sealed state was acknowledged: from then on keys may depend on it.
        self.domain_note: Final = self.domain / "in-use"
        # Says that a restore was begun, and what there was before it.
        self.restore_note: Final = self.domain / "restoring"
        self.recovery: Final = base / "recovery"
        self.store: Final = service / "store.db"
        self._hsm_sockets = hsm_sockets
        self._suffix = f".{name}" if name else ""

    def hsm_socket(self, hsm_id: str) -> Path:
        return self._hsm_sockets / f"{hsm_id}{self._suffix}.sock"

    def hsm_config(self, hsm_id: str) -> Path:
        return self.hsm / f"{hsm_id}.toml"

    def sealed_states(self, hsm_id: str) -> tuple[Path, Path]:
        return self.hsm / f"{hsm_id}.state.a", self.hsm / f"{hsm_id}.state.b"

    def domain_tokens(self) -> list[Path]:
        """Oldest first; the last is the newest."""
        return sorted(self.domain.glob("token-*"))

    def domain_token(self, version: int) -> Path:
        return self.domain / f"token-{version:06d}"

    def note_store(self) -> None:
        _note(self.store_note)

    def note_domain(self) -> None:
        _note(self.domain_note)


class Home(RegionHome):
    """Paths of one home, which is also where its home region keeps its own."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root.expanduser().absolute()
        self.service: Final = self.root / "service"
        self.run: Final = self.root / "run"
        self.run_hsm: Final = self.run / "hsm"
        self.run_kms: Final = self.run / "kms"
        # Where workers tell each other their numbers.
        self.run_metrics: Final = self.run / "metrics"
        super().__init__(self.root, self.service, self.run_hsm)
        self.settings_file: Final = self.root / "strongroom.toml"
        self.limits_file: Final = self.root / "limits.toml"
        self.organization_file: Final = self.root / "organization.toml"
        self.identity_providers_file: Final = self.root / "identity-providers.toml"
        self.regions: Final = self.root / "regions"
        self.audit: Final = self.service / "audit"
        self.identity_key: Final = self.host / "identity.pem"
        self.kms_config: Final = self.host / "kms.toml"
        self.tls_certificate: Final = self.host / "tls-certificate.pem"
        self.tls_key: Final = self.host / "tls-key.pem"
        self.first_access_key: Final = self.service / "first-access-key"
        self.admin_socket: Final = self.run_kms / "admin.sock"

    def worker_socket(self, worker: str) -> Path:
        """Where one worker answers operators; `admin_socket` is answered by any."""
        return self.run_kms / f"{worker}.sock"

    def other_region(self, name: str) -> RegionHome:
        return RegionHome(self.regions / name, self.service / "regions" / name, self.run_hsm, name)

    def require_short_paths(self, regions: Iterable[str] = ()) -> None:
        sockets = [self.hsm_socket("hsm-1"), self.admin_socket]
        sockets += [self.other_region(name).hsm_socket("hsm-1") for name in regions]
        if max(len(os.fsencode(path)) for path in sockets) > _SOCKET_PATH_BYTES_MAX:
            raise HomeError(
                f"{self.root} is too long a path: sockets below it would exceed {_SOCKET_PATH_BYTES_MAX} bytes"
            )

    def settings(self) -> HomeSettings | None:
        """What the first start decided; None before it.

        Raises:
            HomeError: written by another version, or not by us.
        """
        if not self.settings_file.exists():
            return None
        try:
            settings = msgspec.convert(tomllib.loads(self.settings_file.read_text(encoding="utf-8")), HomeSettings)
        except (ValueError, msgspec.ValidationError) as error:
            raise HomeError(f"{self.settings_file} is not readable: {error}") from None
        if settings.format != _FORMAT:
            raise HomeError(f"{self.root} has format {settings.format}; this version knows {_FORMAT}")
        return settings

    def limits(self) -> dict[str, int]:
        """What the operator set otherwise than it is by default; which names there are, the service knows.

        Raises:
            HomeError: the file is no TOML of names and whole numbers.
        """
        if not self.limits_file.exists():
            return {}
        try:
            limits = msgspec.convert(tomllib.loads(self.limits_file.read_text(encoding="utf-8")), dict[str, int])
        except (ValueError, msgspec.ValidationError) as error:
            raise HomeError(f"{self.limits_file} is not readable: {error}") from None
        # They are written into another file: a name must be one there, too.
        if not all(name.isidentifier() for name in limits):
            raise HomeError(f"{self.limits_file} names limits that cannot be any")
        return limits

    def operators_files(self, file: Path) -> OperatorsFiles:
        """One of `organization_file` and `identity_providers_file` with its folder; empty where neither is there.

        Raises:
            HomeError: something of it cannot be read, or has a name that no document has.
        """
        folder = file.with_suffix("")
        if not file.exists():
            if folder.exists():
                raise HomeError(f"{folder} is there, but {file} is not, which says what it is for")
            return OperatorsFiles()
        documents: dict[str, str] = {}
        try:
            text = file.read_text(encoding="utf-8")
            for path in sorted(folder.iterdir()) if folder.exists() else ():
                if _DOCUMENT_NAME.fullmatch(path.name) is None or path.is_symlink() or not path.is_file():
                    raise HomeError(f"{path} is no document: a file whose name ends with .json")
                documents[path.name] = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise HomeError(f"{file}, or what belongs to it, is not readable: {error}") from None
        if sum(map(len, (text, *documents.values()))) > _DOCUMENT_BYTES_MAX:
            raise HomeError(f"{file} and its documents have more than {_DOCUMENT_BYTES_MAX} characters")
        return OperatorsFiles(text, documents)

    def require_settings(self, *, account: str, regions: Sequence[str], development: bool) -> HomeSettings:
        """The settings, made now if this is the first start.

        Raises:
            HomeError: the home was made for something else.
        """
        found = self.settings()
        if found is None:
            if self.domain_tokens():
                raise HomeError(
                    f"{self.settings_file} is gone, which says whose keys these are: put it back from a backup"
                )
            region = regions[0] if regions else "us-east-1"
            wanted = HomeSettings(_FORMAT, account or "000000000000", region, development)
            self._write_settings(wanted)
            return wanted
        if found.development and not development:
            raise HomeError(f"{self.root} is a development home with well-known credentials: it starts with --dev only")
        if development and not found.development:
            raise HomeError(f"{self.root} is not a development home: --dev would add well-known credentials to it")
        if account and found.account != account:
            raise HomeError(f"{self.root} belongs to account {found.account}, not to {account}")
        new = [name for name in regions if name not in (found.region, *found.regions)]
        if new and regions[0] != found.region:
            raise HomeError(
                f"{self.root} belongs to region {found.region}, not to {new[0]} "
                f"(to add it: --region {found.region} --region {new[0]})"
            )
        return found

    def add_region(self, name: str) -> HomeSettings:
        """Note that the home has this region from now on; to be called when its domain was made and is in use."""
        settings = self.settings()
        assert settings is not None, "a region is added to a home that was made"
        if name in (settings.region, *settings.regions):
            return settings
        settings = msgspec.structs.replace(settings, regions=[*settings.regions, name])
        self._write_settings(settings)
        return settings

    def _write_settings(self, settings: HomeSettings) -> None:
        write_durably(self.settings_file, format_toml(msgspec.to_builtins(settings)).encode(), 0o644)


def _note(path: Path) -> None:
    if not path.exists():
        write_durably(path, b"", 0o644)


def format_toml(values: Mapping[str, object]) -> str:
    """Flat TOML: strings, numbers, booleans and lists of them (JSON's forms of these are TOML's too, but for DEL)."""
    lines = (f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in values.items())
    return "".join(lines).replace("\x7f", "\\u007f")


def write_durably(path: Path, content: bytes, mode: int, owner: int | None = None) -> None:
    """Either the old content or the new one survives a power cut: temporary file, fsync, rename, fsync of the directory."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        os.fchmod(descriptor, mode)
        if owner is not None:
            os.fchown(descriptor, owner, group_of(owner))
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Make durable what somebody else put here, and how `root` is called."""
    for _, folders, files, descriptor in os.fwalk(root, topdown=False):
        for name in (*folders, *files):
            if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)
        os.fsync(descriptor)
    sync_directory(root.parent)


def make_directory(path: Path, mode: int, owner: int) -> None:
    if path.is_symlink():
        raise HomeError(f"{path} is a symbolic link, and may lead anywhere")
    if not path.is_dir():
        path.mkdir(mode=mode)
        # What will lie in it is synced there; how it is called, here.
        sync_directory(path.parent)
    path.chmod(mode)
    if path.stat().st_uid != owner:
        os.chown(path, owner, group_of(owner), follow_symlinks=False)
