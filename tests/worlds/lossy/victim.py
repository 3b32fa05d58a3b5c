"""What is recorded: the store, older stores that are migrated, an audit trail and a sealed state at work, each by the
product's own code.

Before something is asked for, a line says that it may happen; when it was acknowledged, a line says that it did
(`words.py`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from contracts.stores import STORE_KEY, kms_key
from kms.test_audit_support import SigningHsm
from strongroom.boundary.secret import StoreKey
from strongroom.kms.audit import heads as audit_heads
from strongroom.kms.audit import log as audit_log
from strongroom.kms.audit.events import own_event
from strongroom.kms.audit.heads import HeadLog
from strongroom.kms.repositories import Change, Put
from strongroom.kms.storage import migrations, sqlite
from strongroom.supervisor import home
from worlds.lossy import older, subjects
from worlds.lossy.words import Words

STATE_NAMES: Final = ("hsm-1.state.a", "hsm-1.state.b")
# In a directory of its own, which nobody else syncs.
AUDIT: Final = Path("service/audit")
SEGMENT_BYTES: Final = 4096
WRITERS: Final = ("w1", "w2")
_CUSTOMERS: Final = 4


# ── the store ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def customer(store: sqlite.SqliteStore, words: Words, chance: random.Random, name: str, acts: int) -> None:
    """Makes, changes and removes keys, grants and identities; a subject's value is its version, or none."""
    mine: list[tuple[str, str, int]] = []
    for act in range(acts):
        does = chance.choice(("make", "make", "change", "change", "change", "remove")) if len(mine) > 2 else "make"
        old: int | None = None
        new: int | None = 1
        if does == "make":
            kind = chance.choice(list(subjects.KINDS))
            subject = f"{kind}-{name}-{act}"
        else:
            kind, subject, old = mine.pop(chance.randrange(len(mine)))
            new = old + 1 if does == "change" else None
        mine += [] if new is None else [(kind, subject, new)]
        words.say("may", subject, new)
        await store.commit(subjects.change(kind, subject, old, new, "x" * chance.randrange(4000)))
        words.say("did", subject, new)
        if chance.random() < 0.02:
            await store.erase()  # Carries the log into the file, and cuts it.


def store_at_work(root: Path, words: Words, chance: random.Random, acts: int) -> None:
    """Opened three times: the last to close carries the log into the file and removes it."""
    for opened in range(3):
        store = sqlite.SqliteStore(root / "store.db")
        store.unlock(StoreKey(STORE_KEY))
        if not opened:
            asyncio.run(store.commit([Put(kms_key(subjects.HELD), None)]))
        asyncio.run(_all_customers(store, words, chance, str(opened), acts // 3))
        store.close()


async def _all_customers(
    store: sqlite.SqliteStore, words: Words, chance: random.Random, opened: str, acts: int
) -> None:
    await asyncio.gather(
        *[
            customer(store, words, random.Random(chance.random()), f"{opened}-{at}", acts // _CUSTOMERS)
            for at in range(_CUSTOMERS)
        ]
    )


# ── the trail and the sealed state ──────────────────────────────────────────────────────────────────────────────────


def audit_at_work(root: Path, words: Words, chance: random.Random, acts: int) -> None:
    """Two workers record, and the first one keeps the heads of both."""
    hsm = SigningHsm()
    words.say("signer", hsm.hsm_id, hsm.public.hex())
    home.make_directory((root / AUDIT).parent, 0o700, os.getuid())
    heads = HeadLog(root / AUDIT)

    def sign(act: int) -> None:
        if chance.random() < 0.1 and (signed := hsm.sign(heads, act)) is not None:
            words.say("did", f"head-{signed.digest.hex()}", True)

    keeper, other = WRITERS
    second = threading.Thread(target=writer_at_work, args=(root, words, random.Random(chance.random()), other, acts))
    second.start()
    writer_at_work(root, words, random.Random(chance.random()), keeper, acts, sign)
    second.join()
    heads.close()


def writer_at_work(
    root: Path,
    words: Words,
    chance: random.Random,
    writer: str,
    acts: int,
    after_each: Callable[[int], None] = lambda _act: None,
) -> None:
    """Every record is a subject of its own; those that nobody waited for may be there or not."""
    names = iter(range(1_000_000))
    log = audit_log.AuditLog(
        *(root / AUDIT, writer),
        clock=time.time,
        event_ids=lambda: f"own-{next(names)}",
        segment_bytes_max=SEGMENT_BYTES,
        reserve_bytes=0,
    )
    for act in range(acts):
        name = f"event-{writer}-{act}"
        event = own_event("Worked", "2026-01-01T00:00:00.000Z", name, {"filler": "z" * chance.randrange(600)})
        if chance.random() < 0.6:
            log.append_durable([event]).result()
            words.say("did", name, True)
        else:
            log.append([event])
        after_each(act)
    log.close()


def migration_at_work(root: Path, words: Words, chance: random.Random, _: int) -> None:
    """Each older store: written, then migrated and changed."""
    for schema in chance.sample(older.OLDER, len(older.OLDER)):
        subject = older.name_of(schema)
        words.say("may", subject, 1)
        older.write(root, schema)
        words.say("did", subject, 1)
        words.say("may", subject, 2)
        older.migrate(root, schema, 2)
        words.say("did", subject, 2)


def state_at_work(root: Path, words: Words, chance: random.Random, acts: int) -> None:
    """As the supervisor keeps what the HSM returned: both copies, then the acknowledgement."""
    home.make_directory(root / "hsm", 0o755, os.getuid())
    for version in range(1, acts + 1):
        content = json.dumps({"version": version, "filler": "s" * chance.randrange(3000)}).encode()
        words.say("may", "state", version)
        for name in STATE_NAMES:
            home.write_durably(root / "hsm" / name, content, 0o644)
        words.say("did", "state", version)


# ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _commit_without_a_sync() -> None:
    sqlite._WRITING = tuple("synchronous = NORMAL" if "synchronous" in one else one for one in sqlite._WRITING)  # type: ignore[misc]


def _migration_step_by_step() -> None:
    def migrate(connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for migration in migrations.MIGRATIONS[version:]:
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {migration.number:d}")

    sqlite.migrate = migrate


def _revocation_without_its_commit() -> None:
    """What is taken away is answered at once, and kept at the next change."""
    commit, owed = sqlite.SqliteStore.commit, []

    async def later(store: sqlite.SqliteStore, changes: Sequence[Change]) -> None:
        owed.extend(changes)
        if isinstance(changes[0], Put):
            due = list(owed)
            owed.clear()
            await commit(store, due)

    sqlite.SqliteStore.commit = later  # type: ignore[method-assign,assignment]


def _state_renamed_before_it_is_synced() -> None:
    def write(path: Path, content: bytes, mode: int) -> None:
        descriptor = os.open(path.with_name("new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        os.write(descriptor, content)
        os.close(descriptor)
        path.with_name("new").replace(path)
        home.sync_directory(path.parent)

    home.write_durably = write  # type: ignore[assignment]


def _state_without_a_sync_of_its_directory() -> None:
    home.sync_directory = lambda _path: None


def _trail_in_a_directory_that_is_not_synced() -> None:
    def open_directory(directory: Path) -> None:
        directory.mkdir(exist_ok=True)

    audit_heads.open_directory = audit_log.open_directory = open_directory  # type: ignore[attr-defined]


def _segment_without_a_sync_of_its_directory() -> None:
    audit_log.sync_directory = lambda _directory: None  # type: ignore[attr-defined]


FAULTS: Final[dict[str, Callable[[], None]]] = {
    "synchronous-normal": _commit_without_a_sync,
    "migration-step-by-step": _migration_step_by_step,
    "revocation-not-committed": _revocation_without_its_commit,
    "state-renamed-before-it-is-synced": _state_renamed_before_it_is_synced,
    "state-directory-not-synced": _state_without_a_sync_of_its_directory,
    "audit-directory-not-synced": _trail_in_a_directory_that_is_not_synced,
    "segment-directory-not-synced": _segment_without_a_sync_of_its_directory,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--acts", type=int, required=True)
    parser.add_argument("--fault", choices=FAULTS)
    arguments = parser.parse_args()
    if arguments.fault:
        FAULTS[arguments.fault]()
    words = Words(arguments.root)
    works = [store_at_work, migration_at_work, audit_at_work, state_at_work]
    chances = [random.Random(f"{arguments.seed} {work.__name__}") for work in works]
    parts = [
        threading.Thread(target=work, args=(arguments.root, words, chance, arguments.acts))
        for work, chance in zip(works, chances, strict=True)
    ]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    words.say("end", "", None)


if __name__ == "__main__":
    main()
