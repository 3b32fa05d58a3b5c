"""What is recorded: the store, an audit trail and a sealed state at work, each by the product's own code.

Before something is asked for, a line says that it may happen; when it was acknowledged, a line says that it did. Both
go to a file that the recorder sees too, so what was acknowledged has its place among the writes and syncs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from contracts.stores import STORE_KEY, kms_key
from kms.test_audit_support import SigningHsm
from strongroom.boundary.secret import StoreKey
from strongroom.kms.audit import log as audit_log
from strongroom.kms.audit.events import own_event
from strongroom.kms.audit.heads import HeadLog
from strongroom.kms.repositories import KeyRecord, Put, Remove
from strongroom.kms.storage import sqlite
from strongroom.supervisor import home

STATE_NAMES: Final = ("hsm-1.state.a", "hsm-1.state.b")
SEGMENT_BYTES: Final = 4096
WRITERS: Final = ("w1", "w2")
_CUSTOMERS: Final = 4


class Words:
    """Tells what may have happened and what was acknowledged: for each subject, a value."""

    def __init__(self, root: Path) -> None:
        self._file = os.open(root / "words", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, word: str, subject: str, value: Any) -> None:
        os.write(self._file, f"{json.dumps([word, subject, value])}\n".encode())


# ── the store ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def customer(store: sqlite.SqliteStore, words: Words, chance: random.Random, name: str, acts: int) -> None:
    """Makes keys, changes and removes them; a key's value is its version, or none."""
    mine: list[KeyRecord] = []
    for act in range(acts):
        kind = chance.choice(("make", "make", "change", "change", "change", "remove")) if len(mine) > 2 else "make"
        if kind == "make":
            record = kms_key(f"key-{name}-{act}", key_policy="x" * chance.randrange(4000))
            change: Put | Remove = Put(record, None)
            mine.append(record)
        else:
            old = mine.pop(chance.randrange(len(mine)))
            record = kms_key(old.key_id, version=old.version + 1, key_policy="y" * chance.randrange(4000))
            change = Put(record, old.version) if kind == "change" else Remove(old)
            mine += [record] if kind == "change" else []
        value = None if kind == "remove" else record.version
        words.say("may", record.key_id, value)
        await store.commit([change])
        words.say("did", record.key_id, value)
        if chance.random() < 0.02:
            await store.erase()  # Carries the log into the file, and cuts it.


def store_at_work(root: Path, words: Words, chance: random.Random, acts: int) -> None:
    """Opened three times: the last to close carries the log into the file and removes it."""
    for opened in range(3):
        store = sqlite.SqliteStore(root / "store.db")
        store.unlock(StoreKey(STORE_KEY))
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
    heads = HeadLog(root / "audit")

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
        *(root / "audit", writer),
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


def state_at_work(root: Path, words: Words, chance: random.Random, acts: int) -> None:
    """As the supervisor keeps what the HSM returned: both copies, then the acknowledgement."""
    for version in range(1, acts + 1):
        content = json.dumps({"version": version, "filler": "s" * chance.randrange(3000)}).encode()
        words.say("may", "state", version)
        for name in STATE_NAMES:
            home.write_durably(root / "hsm" / name, content, 0o644)
        words.say("did", "state", version)


# ── faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _commit_without_a_sync() -> None:
    sqlite._WRITING = tuple("synchronous = NORMAL" if "synchronous" in one else one for one in sqlite._WRITING)  # type: ignore[misc]


def _state_without_a_sync_of_its_directory() -> None:
    home.sync_directory = lambda _path: None


def _segment_without_a_sync_of_its_directory() -> None:
    audit_log.sync_directory = lambda _directory: None  # type: ignore[attr-defined]


FAULTS: Final[dict[str, Callable[[], None]]] = {
    "synchronous-normal": _commit_without_a_sync,
    "state-directory-not-synced": _state_without_a_sync_of_its_directory,
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
    works = [store_at_work, audit_at_work, state_at_work]
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
