"""A store on a disk that runs full; a test runs this in a mount namespace of its own, which takes the disk along."""

import asyncio
import subprocess
import sys
from pathlib import Path

from contracts.stores import ACCOUNT, REGION, SqliteUnderTest, kms_key, put, run
from strongroom.kms.repositories import Put, StoreUnavailableError


async def fill(store, written):
    """Until the disk is full; then a whole group meets the full disk."""
    while len(written) < 1_000:
        names = [f"key-{len(written) + number}" for number in range(8)]
        puts = [store.commit([Put(kms_key(name, key_policy="x" * 10_000), None)]) for name in names]
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        written |= {name for name, outcome in zip(names, outcomes, strict=True) if outcome is None}
        refused = [outcome for outcome in outcomes if outcome is not None]
        if refused:
            assert {type(outcome) for outcome in refused} == {StoreUnavailableError}
            return
    raise AssertionError("the disk never ran full")


def kept(store):
    return {one.key_id for one in run(store, lambda s: s.list_keys(ACCOUNT, REGION, "", 10_000))}


def require_refused(store, record):
    try:
        put(store, record)
    except StoreUnavailableError:
        return
    raise AssertionError("a full disk took a commit")


def main(disk):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    under_test = SqliteUnderTest(disk)
    written = set()
    with under_test.open() as store:
        run(store, lambda s: fill(s, written))
        assert len(written) > 20
        # Reads go on, and again nothing is kept of what is refused.
        assert kept(store) == written
        before = store.stats
        require_refused(store, kms_key("refused", key_policy="x" * 200_000))
        assert store.stats == before
        assert kept(store) == written
        subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
        put(store, kms_key("after", key_policy="x" * 200_000))
        assert kept(store) == written | {"after"}
    with under_test.open() as store:
        assert kept(store) == written | {"after"}
        assert under_test.query("PRAGMA integrity_check") == [("ok",)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
