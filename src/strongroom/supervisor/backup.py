"""Back up: a copy of a home that a restore begins with, made while the service runs.

    strongroom.toml, limits.toml, domain/, regions/NAME/domain/     from here: they are our own
    organization.toml, identity-providers.toml, with their folders  the same
    service/audit/, service/store.db, service/regions/NAME/store.db from a child, which reads them as the service's user
    SHA256SUMS                                                      of all of these, as sha256sum(1) reads it

Never in it: seal/, hsm/, host/, recovery/ and service/first-access-key; with any of them a backup would be more than
the bundle's other half.

1. whose home, and a place that is free, 2. what it was made for, 3. the service's part, 4. the domains: what is in a
store must open with a token of the copy, so tokens come after stores, 5. sums, everything on stable storage, and then
its name. Until the last step the copy is called `.NAME.….partial`; whatever fails leaves nothing, and nothing else
changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from strongroom.supervisor import children
from strongroom.supervisor.backup_source import HEADS_NAME, SEGMENT_NAME
from strongroom.supervisor.home import Home, HomeError, RegionHome, sync_directory

SUMS_NAME: Final = "SHA256SUMS"
_FILE: Final = re.compile(rf"({re.escape(HEADS_NAME)}|{SEGMENT_NAME.pattern}) ([0-9]{{1,18}})")
_DOMAIN_NAME: Final = re.compile(r"token-[0-9]{6}|in-use")
_PIECE_BYTES: Final = 1 << 20
# Longer than any line that a source says; what is longer is none.
_LINE_BYTES_MAX: Final = 4096
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Report(msgspec.Struct, frozen=True):
    """What was backed up, and where it lies."""

    to: str
    regions: list[str]
    files: int
    bytes: int


def back_up(root: Path, to: Path) -> Report:
    """A whole copy under the name `to`, or none.

    Raises:
        HomeError: there is nothing to back up, no place for it, or something in it is not what it should be.
    """
    home, to = Home(root), to.expanduser().absolute()
    _require_ours(home)  # 1
    _require_place(home, to)
    with _partial(to) as partial:
        copy = _Copy(partial)
        copy.take(home.settings_file)  # 2
        if home.limits_file.exists():
            copy.take(home.limits_file)
        for file in (home.organization_file, home.identity_providers_file):
            _take_operators_files(copy, home, file)
        settings = Home(partial).settings()
        assert settings is not None, "it was copied just now"
        places: list[RegionHome] = [home, *(home.other_region(name) for name in settings.regions)]
        _take_service(copy, home, places)  # 3
        for place in places:  # 4
            _take_domain(copy, home, place)
        report = copy.finish()  # 5
        partial.rename(to)
    sync_directory(to.parent)
    return Report(str(to), [settings.region, *settings.regions], *report)


def _require_ours(home: Home) -> None:
    """What another user could have prepared is not read as ours."""
    if not home.settings_file.exists() or not home.domain_tokens():
        raise HomeError(f"{home.root} is no home of Strongroom: name one with --home")
    owner = home.root.stat().st_uid
    if owner != os.getuid():
        raise HomeError(f"{home.root} belongs to user {owner}: back it up as that user")


def _require_place(home: Home, to: Path) -> None:
    if os.path.lexists(to):
        raise HomeError(f"{to} exists already: a backup replaces nothing")
    if not to.parent.is_dir():
        raise HomeError(f"{to.parent} is no directory: make it, or mount what should be there")
    if to.parent.resolve().is_relative_to(home.root.resolve()):
        raise HomeError(f"{to} lies in the home: a backup belongs elsewhere")


@contextmanager
def _partial(to: Path) -> Iterator[Path]:
    """A directory of ours alone beside the place, which is gone afterwards unless it got its name."""
    partial = Path(tempfile.mkdtemp(prefix=f".{to.name}.", suffix=".partial", dir=to.parent))
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


class _Copy:
    """The files of the copy that is being made."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root

    def place(self, name: str) -> Path:
        """Where a file of this name goes; its directories are there."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def take(self, source: Path, name: str = "", flags: int = 0) -> None:
        """A file of our own."""
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
        with open(descriptor, "rb") as file:  # noqa: PTH123 -- of a descriptor.
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise HomeError(f"{source} is no regular file")
            self.receive(name or source.name, file, found.st_size)

    def receive(self, name: str, source: IO[bytes], size: int) -> None:
        """So many bytes, as a new file."""
        with open(os.open(self.place(name), _NEW, 0o600), "wb") as file:  # noqa: PTH123 -- of a descriptor.
            while size:
                piece = source.read(min(size, _PIECE_BYTES))
                if not piece:
                    raise HomeError(f"{name} ended while it was read")
                file.write(piece)
                size -= len(piece)

    def remove(self, folder: str) -> None:
        shutil.rmtree(self.root / folder, ignore_errors=True)

    def finish(self) -> tuple[int, int]:
        """Sums, and all of it on stable storage; how many files and bytes."""
        sums, total = [], 0
        for path in sorted(path for path in self.root.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                sums.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(self.root)}\n")
                os.fsync(file.fileno())
                total += file.tell()
        with open(os.open(self.root / SUMS_NAME, _NEW, 0o600), "w") as file:  # noqa: PTH123 -- of a descriptor.
            file.write("".join(sums))
            file.flush()
            os.fsync(file.fileno())
        for folder in (*(path for path in self.root.rglob("*") if path.is_dir()), self.root):
            sync_directory(folder)
        return len(sums), total


def _take_operators_files(copy: _Copy, home: Home, file: Path) -> None:
    """A file that an operator wrote, with the documents in the folder of its name."""
    for document in home.operators_files(file).documents:
        copy.take(file.with_suffix("") / document, f"{file.stem}/{document}", os.O_NOFOLLOW)
    if file.exists():
        copy.take(file)


def _take_domain(copy: _Copy, home: Home, place: RegionHome) -> None:
    for path in sorted(place.domain.iterdir()):
        if _DOMAIN_NAME.fullmatch(path.name):
            copy.take(path, str(path.relative_to(home.root)), os.O_NOFOLLOW)


def _take_service(copy: _Copy, home: Home, places: list[RegionHome]) -> None:
    """By a child, which ends as the service's user.

    Raises:
        HomeError: it refused something, or a store is missing that was there once.
    """
    owner = home.service.lstat()
    if not stat.S_ISDIR(owner.st_mode):
        raise HomeError(f"{home.service} is no directory")
    named = {str(place.store.relative_to(home.service)): place for place in places}
    needed = {name for name, place in named.items() if place.store_note.exists()}
    stores = {name: copy.place(f"service/{name}") for name in named}
    for target in stores.values():
        os.close(os.open(target, _NEW, 0o600))
    process = children.start_backup_source(str(home.service), owner.st_uid, stores)
    assert process.stdout is not None
    try:
        stored = _receive(copy, process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    if missing := needed - stored:
        raise HomeError(f"{home.service} has lost {', '.join(sorted(missing))}: there is nothing whole to back up")
    for name in stores.keys() - stored:
        stores[name].unlink()


def _receive(copy: _Copy, stream: IO[bytes]) -> set[str]:
    """What the child says, to its end; the stores that it copied."""
    stored = set()
    while True:
        line = stream.readline(_LINE_BYTES_MAX).decode("ascii", "replace")
        said, _, rest = line.rstrip("\n").partition(" ")
        match said:
            case "file":
                if (file := _FILE.fullmatch(rest)) is None:
                    raise HomeError("what reads service/ sent a file that is none of the trail")
                copy.receive(f"service/audit/{file[1]}", stream, int(file[2]))
            case "stored":
                stored.add(rest)
            case "again":
                copy.remove("service/audit")
            case "refused":
                raise HomeError(f"no backup was made, since service/ is not as the service leaves it: {rest}")
            case "end":
                return stored
            case _:
                raise HomeError("what reads service/ ended before its end")


def print_report(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(report).decode())
        return
    print(f"{report.files} files of {', '.join(report.regions)}, {report.bytes:,} bytes, lie in {report.to}.")
    print("It opens with the newest recovery bundle and its shares, which must lie elsewhere.")
