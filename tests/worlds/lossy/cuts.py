"""Record a run, cut the power at moments of it, and look at what is left with the product's own code."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

from contracts.stores import STORE_KEY, SqliteUnderTest, kms_key
from kms.test_audit_support import DOMAIN_ID, SigningHsm
from strongroom.boundary.secret import StoreKey
from strongroom.kms.audit.chain import parse_record, parse_signed_head
from strongroom.kms.audit.heads import HEADS_NAME, HeadLog
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.audit.segments import lines_of, segments_by_writer
from strongroom.kms.audit.verify import verify_directory
from strongroom.kms.repositories import Put
from strongroom.kms.storage.sqlite import SqliteStore
from worlds.lossy import older, subjects
from worlds.lossy.disk import WORDS, Event, LossyDisk, events
from worlds.lossy.victim import AUDIT, STATE_NAMES, WRITERS

RUN_S_MAX: Final = 240.0
_HERE: Final = Path(__file__).parent


class NoCompilerError(Exception):
    """There is no C compiler, or it lacks something of its own."""


def build_recorder(folder: Path) -> Path:
    """The library for LD_PRELOAD.

    Raises:
        NoCompilerError: nothing can be compiled here, not even an empty library.
    """
    library, empty = folder / "recorder.so", folder / "empty.c"
    compiler = ("cc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library)
    empty.write_text("#include <pthread.h>\n#include <stdio.h>\n")
    try:
        subprocess.run([*compiler, empty], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NoCompilerError(str(error)) from error
    except subprocess.CalledProcessError as error:
        raise NoCompilerError(error.stderr) from error
    subprocess.run([*compiler, _HERE / "recorder.c", "-ldl", "-lpthread"], check=True)
    return library


class Recording(NamedTuple):
    """What happened below `root`, which was empty at first."""

    root: str
    events: list[Event]


def record(recorder: Path, seed: int, acts: int, fault: str = "") -> Recording:
    """A run of `victim.py`."""
    options = ["--seed", str(seed), "--acts", str(acts), *(["--fault", fault] if fault else [])]
    return recorded(recorder, lambda root: ["worlds.lossy.victim", root, *options])


def recorded(recorder: Path, module_and_options: Callable[[str], list[str]]) -> Recording:
    """A run of a module that works in the directory that it is given."""
    root = Path(tempfile.mkdtemp(prefix="sr-disk-"))
    log = root.with_name(f"{root.name}.log")
    try:
        environment = {
            **os.environ,
            "LD_PRELOAD": str(recorder),
            "RECORDER_ROOT": str(root),
            "RECORDER_LOG": str(log),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", *module_and_options(str(root))],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=RUN_S_MAX,
        )
        assert done.returncode == 0, done.stderr
        recording = Recording(str(root), events(log.read_bytes()))
        assert (root / WORDS).read_bytes().endswith(b'["end", "", null]\n')
    finally:
        shutil.rmtree(root, ignore_errors=True)
        log.unlink(missing_ok=True)
    return recording


class Claims:
    """What each subject may be, by the words that were said before the cut."""

    def __init__(self, words: bytes) -> None:
        self.allowed: dict[str, set[Any]] = {}
        self.signers: dict[str, bytes] = {}
        self.acknowledged = 0
        for word, subject, value in map(json.loads, words.splitlines()):
            if word == "may":
                self.allowed.setdefault(subject, {None}).add(value)
            elif word == "did":
                self.allowed[subject] = {value}
                self.acknowledged += 1
            elif word == "signer":
                self.signers[subject] = bytes.fromhex(value)

    def of(self, *prefixes: str) -> dict[str, set[Any]]:
        return {subject: values for subject, values in self.allowed.items() if subject.startswith(prefixes)}


class Cut(NamedTuple):
    """A power cut: after which event, how much had been acknowledged, and what of it is not there."""

    event: int
    acknowledged: int
    lost: list[str]


Look = Callable[[Path, Claims], list[str]]


def cuts(recording: Recording, count: int, seed: int, *, at_its_worst: bool = False) -> Iterator[Cut]:
    """At moments by chance, every other one right after something was acknowledged, whatever it was as often.

    At its worst, the disk keeps nothing that was not synced, and something was acknowledged just now.
    """
    chance = random.Random(seed)
    told, others = _told(recording), range(len(recording.events))
    moments = [
        chance.choice(chance.choice(told)) if at_its_worst or at % 2 else chance.choice(others) for at in range(count)
    ]
    return cuts_at(recording, moments, seed, losses, at_its_worst=at_its_worst)


def cuts_at_changes(
    recording: Recording, count: int, seed: int, look: Look, *, at_its_worst: bool = False
) -> Iterator[Cut]:
    """Of each kind by turns: something was acknowledged, a name was made, given, taken away, something was synced."""
    chance = random.Random(seed)
    kinds = [[at for at, event in enumerate(recording.events) if event.operation == kind] for kind in "mrue"]
    kinds = [*_told(recording), *(moments for moments in kinds if moments)]
    moments = [chance.choice(kinds[at % len(kinds)]) for at in range(seed, seed + count)]
    return cuts_at(recording, moments, seed, look, at_its_worst=at_its_worst)


def named(recording: Recording, name: str) -> int:
    """The moment at which a file's new name was synced."""
    events = recording.events
    given = next(at for at, one in enumerate(events) if one.operation == "r" and one.two.endswith(name.encode()))
    return next(at for at in range(given, len(events)) if events[at].operation == "e")


def cuts_at(
    recording: Recording, moments: list[int], seed: int, look: Look, *, at_its_worst: bool = False
) -> Iterator[Cut]:
    """What look finds of what cuts at these moments leave."""
    chance = random.Random(seed)
    disk, after = LossyDisk(recording.root), 0
    for moment in sorted(moments):
        for event in recording.events[after : moment + 1]:
            disk.after(event)
        after = max(after, moment + 1)
        claims = Claims(bytes(disk.words))
        with tempfile.TemporaryDirectory(prefix="sr-cut-") as name:
            left = Path(name)
            disk.lose(chance, left, at_its_worst=at_its_worst)
            yield Cut(moment, claims.acknowledged, look(left, claims))


def _told(recording: Recording) -> list[list[int]]:
    """Moments of acknowledgements: of each kind of subject, and of what was taken away of it."""
    told: dict[tuple[str, bool], list[int]] = {}
    for at, event in enumerate(recording.events):
        if event.one.startswith(b'["did"'):
            _, subject, value = json.loads(event.one)
            told.setdefault((subject.partition("-")[0], value is None), []).append(at)
    return list(told.values())


# ── what is left ────────────────────────────────────────────────────────────────────────────────────────────────────


def losses(left: Path, claims: Claims) -> list[str]:
    """What was acknowledged and is not there, or what cannot be used any more."""
    found = []
    for folder in (AUDIT, "hsm"):
        (left / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    for look in (_lost_in_the_store, _lost_of_older_stores, _lost_in_the_trail, _lost_of_the_state):
        try:
            found += look(left, claims)
        except Exception as error:  # noqa: BLE001 -- whatever the product says of the disk is a finding.
            found.append(f"{look.__name__}: {type(error).__name__}: {error}")
    return found


def _lost_in_the_store(left: Path, claims: Claims) -> list[str]:
    """Keys, grants and identities as they must be; and the store takes more."""
    expected = claims.of(*subjects.PREFIXES)
    store = SqliteStore(left / "store.db")
    with closing(store):
        store.unlock(StoreKey(STORE_KEY))
        there, lost = asyncio.run(subjects.versions(store))
        asyncio.run(store.commit([Put(kms_key("afterwards"), None)]))
    lost += [
        f"{name} is {there.get(name)}, not {values}"
        for name, values in expected.items()
        if there.get(name) not in values
    ]
    lost += [f"{name} was never asked for" for name in there.keys() - expected.keys()]
    checked = SqliteUnderTest(left).query("PRAGMA integrity_check")
    return lost + ([] if checked == [("ok",)] else [f"integrity: {checked}"])


def _lost_of_older_stores(left: Path, claims: Claims) -> list[str]:
    return [
        one
        for schema in older.OLDER
        for one in older.losses(left, schema, claims.allowed.get(older.name_of(schema), {None}))
    ]


def _lost_in_the_trail(left: Path, claims: Claims) -> list[str]:
    """As at a start: the first worker signs for all chains before the next one is there. Then the trail is whole, with
    every record that somebody waited for, and every signed head.
    """
    directory, hsm = left / AUDIT, SigningHsm("hsm-2")
    heads = None
    for writer in WRITERS:
        _log_of(directory, writer).close()
        if heads is None:
            heads = HeadLog(directory)
            hsm.sign(heads, 1_000_000)
    assert heads is not None
    heads.close()
    report = verify_directory(directory, {**claims.signers, hsm.hsm_id: hsm.public}, [DOMAIN_ID])
    with (directory / HEADS_NAME).open("rb") as file:
        there = {f"head-{parse_signed_head(line).digest.hex()}" for line in lines_of(file)}
    for segments in segments_by_writer(directory).values():
        for _, path in segments:
            with path.open("rb") as file:
                next(lines_of(file))
                there |= {json.loads(parse_record(line)[1])["eventID"] for line in lines_of(file)}
    wanted = claims.of("event-") | claims.of("head-")
    lost = [f"{one} of the trail" for one in wanted if one not in there]
    return lost + [str(problem) for problem in report.problems]


def _log_of(directory: Path, writer: str) -> AuditLog:
    return AuditLog(directory, writer, clock=lambda: 0.0, event_ids=lambda: "afterwards", reserve_bytes=0)


def _lost_of_the_state(left: Path, claims: Claims) -> list[str]:
    """Each copy is a whole one, and the newest is what was acknowledged, or newer."""
    copies = [left / "hsm" / name for name in STATE_NAMES if (left / "hsm" / name).exists()]
    newest = max((json.loads(copy.read_bytes())["version"] for copy in copies), default=None)
    allowed = claims.allowed.get("state", {None})
    return [] if newest in allowed else [f"the state is {newest}, not {allowed}"]
