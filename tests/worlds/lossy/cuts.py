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
from collections.abc import Iterator
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
from worlds.lossy.victim import STATE_NAMES, WRITERS

RUN_S_MAX: Final = 240.0
_HERE: Final = Path(__file__).parent


def build_recorder(folder: Path) -> Path:
    """The library for LD_PRELOAD.

    Raises:
        FileNotFoundError: there is no C compiler.
    """
    library = folder / "recorder.so"
    options = ("-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o")
    subprocess.run(["cc", *options, library, _HERE / "recorder.c", "-ldl", "-lpthread"], check=True)
    return library


class Recording(NamedTuple):
    """What happened below `root`, which had only empty directories at first."""

    root: str
    events: list[Event]


def record(recorder: Path, seed: int, acts: int, fault: str = "") -> Recording:
    """A run of `victim.py`."""
    root = Path(tempfile.mkdtemp(prefix="sr-disk-"))
    log = root.with_name(f"{root.name}.log")
    try:
        for name in ("audit", "hsm"):
            (root / name).mkdir(mode=0o700)
        options = ["--seed", str(seed), "--acts", str(acts), *(["--fault", fault] if fault else [])]
        environment = {
            **os.environ,
            "LD_PRELOAD": str(recorder),
            "RECORDER_ROOT": str(root),
            "RECORDER_LOG": str(log),
            "PYTHONPATH": str(_HERE.parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "worlds.lossy.victim", root, *options],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=RUN_S_MAX,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
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


def cuts(recording: Recording, count: int, seed: int, *, at_its_worst: bool = False) -> Iterator[Cut]:
    """At moments by chance, every other one right after something was acknowledged, whatever it was as often.

    At its worst, the disk keeps nothing that was not synced, and something was acknowledged just now.
    """
    chance = random.Random(seed)
    told = _told(recording)
    moments = sorted(
        chance.choice(chance.choice(told)) if at_its_worst or at % 2 else chance.randrange(len(recording.events))
        for at in range(count)
    )
    disk, after = LossyDisk(recording.root), 0
    for moment in moments:
        for event in recording.events[after : moment + 1]:
            disk.after(event)
        after = max(after, moment + 1)
        claims = Claims(bytes(disk.words))
        with tempfile.TemporaryDirectory(prefix="sr-cut-") as name:
            left = Path(name)
            for folder in ("audit", "hsm"):
                (left / folder).mkdir(mode=0o700)
            disk.lose(chance, left, at_its_worst=at_its_worst)
            yield Cut(moment, claims.acknowledged, losses(left, claims))


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
    directory, hsm = left / "audit", SigningHsm("hsm-2")
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
