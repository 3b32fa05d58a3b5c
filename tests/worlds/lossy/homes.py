"""What the supervisor does of its own, recorded: a home's first start, and a restore; and a look at what a cut left of it.

A home without a service: the store is bytes, which nobody opens. The HSM is a real process, and writes nothing.

    python -m worlds.lossy.homes first-start ROOT        recorded
    python -m worlds.lossy.homes restore ROOT            recorded; what it takes, `make_backup` made
    python -m worlds.lossy.homes look ROOT               on standard output what is lost, as JSON
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from strongroom.supervisor import children, home, preparation, restore, unfinished
from strongroom.supervisor.home import HSM_ID, Home, HomeError
from strongroom.supervisor.hsm_control import ControlChannel, bring_up, service_host_public
from strongroom.supervisor.preparation import Options, prepare
from worlds.lossy.words import Words

STARTED: Final = "started"
RESTORED: Final = "restored"
_SERVICE: Final = {"store.db": 40_000, "audit/heads.jsonl": 900, "audit/audit-w1-00000000000000000001.jsonl": 9_000}
_OPERATORS: Final = {
    "limits.toml": "aliases_per_key_max = 100\n",
    "organization.toml": "[root]\n",
    "organization/only.json": "{}\n",
}


def start(place: Home) -> bool:
    """Start the HSM, and end it; whether the domain was there before."""
    prepared = prepare(place, Options(place.root, "127.0.0.1", 0, "", (), development=True, actors=("hsm",)))
    public = service_host_public(place, prepared.users.kms)
    process, control = children.start_hsm(str(place.hsm_config(HSM_ID)), prepared.users.hsm)
    channel = ControlChannel(control)
    try:
        return bring_up(channel, place, HSM_ID, prepared.settings.region, public) == []
    finally:
        channel.close()
        children.stop(process)


def make_backup(folder: Path) -> None:
    """`backup/` of a home that was started, and its recovery files."""
    place = Home(folder / "h")
    start(place)
    backup = folder / "backup"
    shutil.copytree(place.domain, backup / "domain")
    shutil.copy(place.settings_file, backup)
    chance = random.Random(1)
    for name, size in _SERVICE.items():
        (backup / "service" / name).parent.mkdir(parents=True, exist_ok=True)
        (backup / "service" / name).write_bytes(chance.randbytes(size))
    (backup / "organization").mkdir()
    for name, text in _OPERATORS.items():
        (backup / name).write_text(text)
    for kind in ("bundle", "share"):
        (path,) = place.recovery.glob(f"recovery-{kind}-*")
        shutil.copy(path, folder / kind)


def _put_back(backup: Path, place: Home) -> None:
    """As `cp -rp` does it, which syncs nothing."""
    for path in sorted(backup.rglob("*")):
        to = place.root / path.relative_to(backup)
        if path.is_dir():
            to.mkdir(exist_ok=True, parents=True)
        else:
            to.write_bytes(path.read_bytes())


def _restore(backup: Path, place: Home) -> None:
    _put_back(backup, place)
    with contextlib.redirect_stdout(sys.stderr):
        restore.restore(place.root, backup.parent / "bundle", [backup.parent / "share"])


def _digest(place: Home) -> str:
    """Of what must not be lost once it was told: the newest token, and what people take away."""
    names = [place.domain_tokens()[-1], *sorted(place.recovery.iterdir())]
    return hashlib.sha256(b"".join(path.read_bytes() for path in names)).hexdigest()


# ── what is recorded ────────────────────────────────────────────────────────────────────────────────────────────────


def first_start(place: Home, words: Words, _: Path) -> None:
    assert not start(place)
    words.say("did", STARTED, _digest(place))


def restored(place: Home, words: Words, backup: Path) -> None:
    place.root.mkdir()
    _restore(backup, place)
    words.say("did", RESTORED, _digest(place))


# ── what is left ────────────────────────────────────────────────────────────────────────────────────────────────────


def look(place: Home, told: dict[str, str], backup: Path) -> list[str]:
    """What was told is there, and the home starts. What was not told is done once more, and goes then.

    A start makes a domain where none was told of; a restore is given by the same commands, unless it had come to its end.
    """
    is_restore = (backup / "domain").exists()
    try:
        if is_restore and RESTORED not in told:
            _restore_once_more(backup, place)
        lost = [] if not told or [_digest(place)] == list(told.values()) else ["what was told"]
        if is_restore:
            files = [path for path in backup.rglob("*") if path.is_file()]
            lost += [str(path) for path in files if not _is_there(path, place.root / path.relative_to(backup))]
        if not start(place) and (told or is_restore):
            lost.append("the domain")
    except (HomeError, OSError, IndexError) as error:
        lost = [f"{type(error).__name__}: {error}"]
    return lost


def _restore_once_more(backup: Path, place: Home) -> None:
    """In another process: who takes a home keeps it to his end. One that was over names the new bundle.

    Raises:
        HomeError: it failed; its own words are on standard error.
    """
    pid = os.fork()
    if not pid:
        try:
            _restore(backup, place)
        except HomeError as error:
            traceback.print_exc()
            os._exit(f"{place.recovery}/recovery-bundle-000002" not in str(error))
        except BaseException:  # noqa: BLE001 -- this process ends here, by whatever.
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise HomeError("a restore, given once more")


def _is_there(path: Path, restored_path: Path) -> bool:
    return restored_path.exists() and restored_path.read_bytes() == path.read_bytes()


# ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _directories_not_synced() -> None:
    def make(path: Path, mode: int, _: int) -> None:
        path.mkdir(mode=mode, exist_ok=True)

    preparation.make_directory = make  # type: ignore[attr-defined]


def _restored_files_not_synced() -> None:
    restore.sync_tree = lambda _root: None  # type: ignore[attr-defined]


def _restore_not_undone() -> None:
    unfinished.undo = lambda _place: None


# In which act, and after which file it is cut: at the end of all, or half-way.
FAULTS: Final[dict[str, tuple[str, str, Callable[[], None]]]] = {
    "directories-not-synced": ("first-start", "", _directories_not_synced),
    "restored-files-not-synced": ("restore", "", _restored_files_not_synced),
    "restore-not-undone": ("restore", "token-000002", _restore_not_undone),
}
ACTS: Final = {"first-start": first_start, "restore": restored}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("act", choices=[*ACTS, "look"])
    parser.add_argument("root", type=Path)
    parser.add_argument("--backup", type=Path, required=True)
    parser.add_argument("--told", default="{}")
    parser.add_argument("--fault", choices=FAULTS)
    arguments = parser.parse_args()
    if arguments.fault:
        FAULTS[arguments.fault][2]()
    place = home.Home(arguments.root / "h")
    if arguments.act == "look":
        print(json.dumps(look(place, json.loads(arguments.told), arguments.backup)))
        return
    words = Words(arguments.root)
    ACTS[arguments.act](place, words, arguments.backup)
    words.say("end", "", None)


if __name__ == "__main__":
    main()
