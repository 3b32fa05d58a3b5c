"""What only the SQLite store promises: its files and pragmas, its migrations, a full disk, the end of what was removed."""

import asyncio
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing

import msgspec
import pytest

from contracts.stores import (
    ACCOUNT,
    REGION,
    STORE_KEY,
    SqliteUnderTest,
    access_key,
    alias,
    kms_key,
    material,
    one_of_each,
    polled,
    put,
    run,
    user,
)
from strongroom.boundary.secret import StoreKey
from strongroom.kms.identities.records import UserRecord
from strongroom.kms.repositories import (
    Changed,
    KeyRecord,
    MaterialState,
    Put,
    Remove,
    RowForgedError,
    StoreUnavailableError,
)
from strongroom.kms.storage import migrations, sqlite, writer
from strongroom.kms.storage.sqlite import SqliteStore


@pytest.fixture
def under_test(tmp_path):
    return SqliteUnderTest(tmp_path)


def pragma(connection, name):
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


# -- Files and connections


def test_only_the_owner_can_open_the_files(under_test, tmp_path):
    previous = os.umask(0)
    try:
        with under_test.open() as store:
            put(store, kms_key())
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(previous)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}


def test_a_store_restored_with_a_wide_mode_is_narrowed(under_test):
    with under_test.open():
        pass
    under_test.path.chmod(0o644)
    with under_test.open():
        assert stat.S_IMODE(under_test.path.stat().st_mode) == 0o600


def test_the_connections_are_set_for_durability_and_erasure(under_test):
    with under_test.open() as store:
        writing, reading = store._writer._connection, store._reading
        assert pragma(writing, "journal_mode") == "wal"
        assert pragma(writing, "synchronous") == 2  # FULL: fsync at each commit; a killed process cannot show this
        assert pragma(writing, "secure_delete") == 1
        assert pragma(writing, "foreign_keys") == 1
        assert pragma(writing, "busy_timeout") == writer.LOCK_WAIT_MS
        assert pragma(reading, "busy_timeout") == sqlite.BUSY_WAIT_MS
        assert pragma(reading, "query_only") == 1
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reading.execute("DELETE FROM settings")


def test_no_read_leaves_a_transaction_open(under_test):
    """The WAL can be cut only when nobody reads an old state; this also fails if a cursor stays half read."""
    with under_test.open() as store:
        put(store, *one_of_each(), kms_key("key-2"))
        for read in (
            lambda s: s.get(KeyRecord, "key-1"),
            lambda s: s.list_keys(ACCOUNT, REGION, "", 1),
            lambda s: s.materials_of("key-1"),
            lambda s: s.key_with_materials("key-1"),
        ):
            run(store, read)
            polled(store)
            put(store, user(f"user-{store.stats.commits}"))
            polled(store)
            polled(store)
            put(store, user(f"user-{store.stats.commits}"))
            with closing(sqlite3.connect(under_test.path, isolation_level=None)) as other:
                assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)


def test_opening_tries_again_when_sqlite_turns_it_away_without_waiting(under_test, monkeypatch):
    """Seen once in 360 simultaneous creations: the switch to WAL answers "locked" at once, whatever the timeout."""
    turned_away = []

    def migrate_busy_twice(connection):
        if len(turned_away) < 2:
            busy = sqlite3.OperationalError("database is locked")
            busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
            turned_away.append(busy)
            raise busy
        migrations.migrate(connection)

    monkeypatch.setattr(sqlite, "migrate", migrate_busy_twice)
    with under_test.open() as store:
        put(store, kms_key())
    assert len(turned_away) == 2


# -- Migrations


def test_a_store_newer_than_the_code_is_refused_untouched(under_test):
    with under_test.open() as store:
        put(store, kms_key())
    newer = migrations.MIGRATIONS[-1].number + 1
    under_test.query(f"PRAGMA user_version = {newer}")
    before = under_test.path.read_bytes()
    with pytest.raises(migrations.StoreTooNewError, match=f"version {newer}"):
        SqliteStore(under_test.path)
    assert under_test.path.read_bytes() == before


def test_migrations_are_numbered_without_a_gap():
    assert [one.number for one in migrations.MIGRATIONS] == list(range(1, len(migrations.MIGRATIONS) + 1))


def test_only_missing_migrations_are_applied_and_a_failing_one_leaves_nothing_behind(under_test, monkeypatch):
    with under_test.open() as store:
        put(store, kms_key())
    newest = migrations.MIGRATIONS[-1].number
    second = migrations.Migration(
        newest + 1, "more", ("CREATE TABLE more (a TEXT) STRICT", "CREATE TABLE kms_keys (a TEXT)")
    )
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, second))
    with pytest.raises(sqlite3.OperationalError, match="kms_keys already exists"):
        SqliteStore(under_test.path)
    assert under_test.query("PRAGMA user_version") == [(newest,)]
    assert under_test.query("SELECT name FROM sqlite_schema WHERE name = 'more'") == []
    fixed = msgspec.structs.replace(second, statements=second.statements[:1])
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS[:-1], fixed))
    with under_test.open() as store:
        assert under_test.query("PRAGMA user_version") == [(newest + 1,)]
        assert run(store, lambda s: s.get(KeyRecord, "key-1")) == kms_key()


# -- The log of changes


def test_a_change_that_is_not_in_the_log_makes_readers_forget_everything(under_test):
    with under_test.open() as store:
        put(store, kms_key())
        polled(store)
        under_test.query("DELETE FROM kms_keys")
        assert polled(store) is None
        assert polled(store) == []


def test_a_log_pruned_beyond_what_was_seen_makes_readers_forget_everything(under_test, monkeypatch):
    monkeypatch.setattr(writer, "CHANGES_KEPT", 10)
    monkeypatch.setattr(writer, "CHANGES_PRUNED_EACH", 5)
    with under_test.open() as store, under_test.open() as late:
        for number in range(40):
            put(store, user(f"user-{number}"))
            assert polled(store) == [Changed(UserRecord, (ACCOUNT, f"user-{number}"))]
        assert 10 <= under_test.query("SELECT count(*) FROM changes")[0][0] < 15
        assert polled(late) is None
        put(store, user())
        assert polled(late) == [Changed(UserRecord, (ACCOUNT, "alice"))]


@pytest.mark.parametrize(("kind", "identity"), [("no_table", '["a"]'), ("users", "not JSON"), ("users", '["one"]')])
def test_an_entry_of_the_log_that_is_not_ours_makes_readers_forget_everything(under_test, kind, identity):
    with under_test.open() as store:
        under_test.query("INSERT INTO changes (kind, identity) VALUES (?, ?)", (kind, identity))
        assert polled(store) is None


def test_a_poll_that_failed_looks_again_the_next_time(under_test, monkeypatch):
    with under_test.open() as store:
        put(store, user())
        with monkeypatch.context() as broken:
            broken.setattr(sqlite.statements, "CHANGES_SINCE", "SELECT no_such_column FROM changes WHERE ? < ?")
            with pytest.raises(StoreUnavailableError):
                polled(store)
        assert polled(store) == [Changed(UserRecord, (ACCOUNT, "alice"))]


# -- Forgeries that only this kind of store makes possible


def test_text_that_is_no_utf_8_is_a_forgery(under_test):
    with under_test.open() as store:
        put(store, kms_key())
        under_test.query("UPDATE kms_keys SET description = CAST(x'ff00fe' AS TEXT)")
        with pytest.raises(RowForgedError):
            run(store, lambda s: s.get(KeyRecord, "key-1"))


def test_a_view_in_the_place_of_a_table_cannot_answer_with_another_row(under_test):
    with under_test.open() as store:
        put(store, kms_key(), kms_key("key-2"))
        under_test.query("ALTER TABLE kms_keys RENAME TO hidden")
        columns = ", ".join(name for name in under_test.columns_of("hidden") if name != "key_id")
        # Every row claims in WHERE to be key-2, and shows the true key_id of another one.
        under_test.query(
            f"CREATE VIEW kms_keys AS SELECT key_id, {columns} FROM hidden WHERE key_id = 'key-1' "  # noqa: S608
            f"UNION ALL SELECT 'key-2', {columns} FROM hidden WHERE key_id = 'key-1'"
        )
        with pytest.raises(RowForgedError):
            run(store, lambda s: s.get(KeyRecord, "key-2"))
        with pytest.raises(RowForgedError):
            run(store, lambda s: s.key_with_materials("key-2"))
        under_test.query("DROP VIEW kms_keys")
        under_test.query("CREATE TABLE kms_keys AS SELECT * FROM hidden WHERE key_id = 'key-1'")
        assert run(store, lambda s: s.get(KeyRecord, "key-1")) == kms_key()


def test_an_answer_that_was_not_asked_for_is_refused(under_test):
    """No text of ours can ask for this: the statement itself is swapped for one that ignores the account."""
    with under_test.open() as store:
        put(store, access_key(account="999999999999"))
        query = msgspec.structs.replace(
            sqlite.statements.ACCESS_KEYS_OF_USER,
            sql=sqlite.statements.ACCESS_KEYS_OF_USER.sql.replace("account = ?", "account <> ?"),
        )
        with pytest.raises(RowForgedError, match="not asked for"):
            store._select(query, (ACCOUNT, "alice"))


# -- A full disk, a lock that stays


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk takes root")
def test_a_full_disk_refuses_commits_keeps_nothing_of_them_and_works_again_after_room_was_made(tmp_path):
    alone = ["unshare", "--mount"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no mount namespace of our own to be had")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    child = subprocess.run(
        [*alone, sys.executable, "-m", "contracts.full_disk", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert child.returncode == 0, child.stderr


def test_a_write_lock_that_is_never_released_ends_in_unavailable_and_then_all_is_well(under_test, monkeypatch):
    monkeypatch.setattr(writer, "LOCK_ATTEMPTS_MAX", 3)
    held, release = threading.Event(), threading.Event()
    with under_test.open() as store:
        holder = threading.Thread(target=under_test.hold_write_lock, args=(held, release))
        holder.start()
        held.wait()
        with pytest.raises(StoreUnavailableError, match="locked"):
            put(store, kms_key())
        release.set()
        holder.join()
        put(store, kms_key())
        assert store.stats.commits == 1


def test_a_failure_that_nobody_foresaw_fails_its_group_and_not_the_thread(under_test):
    with under_test.open() as store:
        under_test.query("ALTER TABLE users RENAME TO hidden")
        with pytest.raises(StoreUnavailableError):
            put(store, user())
        put(store, kms_key())
        with pytest.raises(OverflowError):
            put(store, kms_key("key-2", version=2**63))
        put(store, kms_key("key-2"))


def test_a_file_that_cannot_be_read_is_unavailable_and_not_a_missing_record(under_test):
    with under_test.open() as store:
        put(store, kms_key())
        under_test.query("ALTER TABLE kms_keys RENAME TO hidden")
        with pytest.raises(StoreUnavailableError):
            run(store, lambda s: s.get(KeyRecord, "key-1"))


# -- The end of what was removed


def test_the_wal_is_cut_to_nothing(under_test):
    wal = under_test.path.with_name("store.db-wal")
    with under_test.open() as store, under_test.open() as other:
        put(store, kms_key())
        polled(other)
        assert wal.stat().st_size > 0
        run(store, lambda s: s.erase())
        assert wal.stat().st_size == 0
        assert run(other, lambda s: s.get(KeyRecord, "key-1")) == kms_key()


def test_a_wal_begun_anew_makes_nobody_forget_anything(under_test):
    """The version moves when a writer begins the WAL anew, which is before it commits; here it never does."""
    with under_test.open() as store:
        put(store, *[kms_key(f"key-{number}", description="x" * 3_000) for number in range(50)])
        assert len(polled(store) or ()) == 50
        with closing(sqlite3.connect(under_test.path, isolation_level=None)) as other:
            other.execute("PRAGMA cache_size = 1")  # What does not fit goes into the WAL before its commit.
            for ending, told in (("ROLLBACK", []), ("COMMIT", None)):
                put(store, user(ending))
                polled(store)
                assert other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[0] == 0
                other.execute("BEGIN IMMEDIATE")
                other.execute("UPDATE kms_keys SET description = description || 'y'")
                assert store._data_version() != store._seen_version
                assert polled(store) == []
                other.execute(ending)
                # A hand that keeps no log has everything forgotten.
                assert polled(store) == told


def test_a_wal_that_somebody_still_reads_is_not_reported_as_cut(under_test):
    with under_test.open() as store:
        put(store, kms_key())
        with closing(sqlite3.connect(under_test.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM kms_keys").fetchall()
            put(store, kms_key("key-2"))
            with pytest.raises(StoreUnavailableError):
                run(store, lambda s: s.erase())
        run(store, lambda s: s.erase())


@pytest.mark.parametrize("seed", range(3))
def test_no_bytes_of_removed_or_replaced_tokens_stay_in_the_files(under_test, tmp_path, seed):
    """With tokens of many sizes, so that pages split, merge and overflow, and with rewraps between the removals."""
    source = random.Random(seed)
    sizes = [300, 330, 700, 2_500, 6_000]
    ever, live = [], []

    def token():
        ever.append(source.randbytes(source.choice(sizes)))
        return ever[-1]

    async def churn(store):
        for turn in range(150):
            state = MaterialState.NON_CURRENT
            one = material(source.randbytes(32), f"key-{source.randrange(20)}", state=state, ekt=token())
            await store.commit([Put(one, None)])
            live.append(one)
            if turn % 3 == 0:
                place = source.randrange(len(live))
                old = live[place]
                live[place] = msgspec.structs.replace(old, version=old.version + 1, ekt=token())
                await store.commit([Put(live[place], old.version)])
            if turn % 4 == 3:
                await store.commit([Remove(live.pop(source.randrange(len(live))))])
        await store.erase()

    with under_test.open() as store:
        put(store, *[kms_key(f"key-{number}") for number in range(20)], alias(key_id="key-0"))
        run(store, churn)
        files = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
        tokens_alive = {one.ekt for one in live}
        assert all(token[:16] in files for token in tokens_alive), "the search would find what is there"
        dead = [token for token in ever if token not in tokens_alive]
        assert len(dead) > 50
        # Any 31 bytes in a row of a dead token contain one of these pieces.
        left = [token for token in dead if any(token[at : at + 16] in files for at in range(0, len(token) - 15, 16))]
        assert left == []


def test_the_store_key_is_exposed_nowhere_but_in_the_mac(under_test):
    class CountedKey(StoreKey):
        exposed = 0

        def expose(self):
            CountedKey.exposed += 1
            return super().expose()

    with under_test.open(unlock=False) as store:
        store.unlock(CountedKey(STORE_KEY))
        assert CountedKey.exposed == 0
        put(store, kms_key())
        assert CountedKey.exposed == 1
    files = b"".join(path.read_bytes() for path in under_test.path.parent.iterdir())
    assert STORE_KEY not in files


def plant_copy(path, beside, part):
    """Write into the free room of the page that holds a row, right before its cells: what a rebalancing leaves there."""
    content = bytearray(path.read_bytes())
    page = content.index(beside) // 4096 * 4096
    cells = page + int.from_bytes(content[page + 5 : page + 7], "big")
    assert content[page] == 13, "a table's leaf"
    assert not any(content[cells - 40 : cells]), "room that is free"
    content[cells - 40 : cells - 40 + len(part)] = part
    path.write_bytes(content)


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("part", [slice(0, 31), slice(7, 38), slice(-31, None)])
def test_a_copy_that_rebalancing_left_in_free_room_goes_too(under_test, is_known, part):
    """Whether the store is told what to look for or, after a crash, is not; any 31 bytes of it."""
    token = random.Random(1).randbytes(48)
    with under_test.open() as store:
        put(store, kms_key(), material(b"h" * 32, ekt=b"t" * 330))
    plant_copy(under_test.path, b"t" * 330, token[part])
    with under_test.open() as store:
        put(store, kms_key("key-2"))
        run(store, lambda s: s._writer.cut_wal())
        assert token[part] in under_test.path.read_bytes()
        run(store, lambda s: s.erase([b"other" * 10, token] if is_known else None))
        assert token[part] not in under_test.path.read_bytes()
        assert run(store, lambda s: s.materials_of("key-1")) == [material(b"h" * 32, ekt=b"t" * 330)]


def test_a_copy_that_is_carried_over_with_its_page_is_found_in_the_wal(under_test):
    token = random.Random(1).randbytes(31)
    with under_test.open() as store:
        put(store, kms_key(), material(b"h" * 32, ekt=b"t" * 330))
    plant_copy(under_test.path, b"t" * 330, token)
    with under_test.open() as store:
        assert store._residue.holds_any([token])
        run(store, lambda s: s.commit([Put(material(b"h" * 32, version=2, ekt=b"t" * 330), 1)]))
        # The page is in the WAL too; the file is made to look as if a later state of it had been carried over.
        under_test.path.write_bytes(under_test.path.read_bytes().replace(token, bytes(31)))
        assert store._residue.holds_any([token])
        assert not store._residue.holds_any([random.Random(2).randbytes(48)])


def test_a_file_without_such_a_copy_is_not_written_anew(under_test):
    with under_test.open() as store:
        put(store, kms_key(), material(b"h" * 32, "key-1", ekt=b"t" * 330))
        run(store, lambda s: s.commit([Remove(material(b"h" * 32, "key-1", ekt=b"t" * 330))]))
        store._writer.rewrite = None
        run(store, lambda s: s.erase([b"t" * 330]))


def test_a_long_reader_holds_up_the_erasure_and_no_change(under_test, monkeypatch):
    """Of this worker or another: carrying over takes no lock, and cutting is not begun."""
    monkeypatch.setattr(sqlite, "_BUSY_PAUSES_S", (0.4,) * 5)

    async def change(number, waits, *stores):
        for one in stores:
            begun_s = time.monotonic()
            await one.commit([Put(kms_key(f"key-{number}-{len(waits)}"), None)])
            waits.append(time.monotonic() - begun_s)

    with under_test.open() as store, under_test.open() as other:
        put(store, kms_key())
        with closing(sqlite3.connect(under_test.path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM kms_keys").fetchall()
            put(store, kms_key("key-2"))

            async def change_meanwhile(_):
                before, waits = [], []
                for number in range(10):
                    await change(number, before, store, other)
                erasing = asyncio.ensure_future(store.erase())
                while not erasing.done():
                    await change("x", waits, store, other)
                    await asyncio.sleep(0.01)
                with pytest.raises(StoreUnavailableError, match="keeps reading"):
                    await erasing
                return before, waits

            before, waits = run(store, change_meanwhile)
        assert len(waits) > 5
        # How slow the disk and how busy the machine is, shows without an erasure, too.
        assert max(waits) < 0.5 + 5 * max(before)
        run(store, lambda s: s.erase())


def test_a_damaged_key_is_named_and_the_others_are_due_all_the_same(under_test):
    """Also one whose text is none, with which SQLite gives back no row at all."""
    with under_test.open() as store:
        put(store, *[kms_key(f"key-{n}", deletion_at_s=float(n)) for n in range(1, 5)])
        under_test.query("UPDATE kms_keys SET mac = x'00' WHERE key_id = 'key-1'")
        under_test.query("UPDATE kms_keys SET description = CAST(x'ff' AS TEXT) WHERE key_id = 'key-3'")
        due = run(store, lambda s: s.keys_due_for_deletion(REGION, 9.0, 10))
        assert [key.key_id for key in due.keys] == ["key-2", "key-4"]
        assert len(due.damaged) == 2
        assert due.damaged[0] == "key-1"
