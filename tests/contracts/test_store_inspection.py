"""The part of the store's contract that `doctor --deep` uses: every row is looked at by itself, whatever became of it."""

import sqlite3
from contextlib import closing

import pytest

from contracts.stores import (
    IMPLEMENTATIONS,
    SqliteUnderTest,
    alias,
    kms_key,
    mark,
    material,
    one_of_each,
    put,
    run,
    setting,
)
from strongroom.boundary.secret import StoreKey
from strongroom.kms.repositories import TABLES, AliasRecord, KeyRecord, MarkRecord, MaterialRecord, Put, SettingRecord

STORE_KEY = bytes(range(32))


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def under_test(request, tmp_path):
    return IMPLEMENTATIONS[request.param](tmp_path)


def all_rows(store, kind, limit=2):
    """Everything, in pages of two."""
    rows, after = [], 0
    while page := run(store, lambda s, after=after: s.inspect(kind, after, limit)):
        rows += page
        after = page[-1].place
    return rows


def test_every_kind_of_record_is_inspected(under_test):
    with under_test.open() as store:
        put(store, *one_of_each())
        for record in one_of_each():
            (row,) = all_rows(store, type(record))
            assert (row.record, row.damage) == (record, "")
        assert run(store, lambda s: s.inspect_files()) == []


def test_pages_follow_each_other_and_leave_nothing_out(under_test):
    keys = [kms_key(f"key-{number}") for number in range(7)]
    with under_test.open() as store:
        put(store, *keys)
        rows = all_rows(store, KeyRecord)
        assert [row.record for row in rows] == keys
        assert [row.name for row in rows] == [key.key_id for key in keys]


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_a_changed_row_is_named_and_its_neighbours_are_read(under_test, kind):
    with under_test.open() as store:
        put(store, *one_of_each())
    under_test.tamper(TABLES[kind].name, "version", 7)
    with under_test.open() as store:
        (row,) = all_rows(store, kind)
        assert row.record is None
        assert row.damage == f"the MAC of a row of {TABLES[kind].name} does not hold"
        for other in set(TABLES) - {kind}:
            (good,) = all_rows(store, other)
            assert good.damage == ""


def test_a_row_that_is_not_even_text_costs_its_neighbours_nothing(under_test):
    with under_test.open() as store:
        put(store, *(kms_key(f"key-{number}") for number in range(5)))
    under_test.query("UPDATE kms_keys SET description = CAST(X'ff' AS TEXT) WHERE key_id = 'key-2'")
    with under_test.open() as store:
        rows = all_rows(store, KeyRecord, 3)
        assert [row.name for row in rows] == ["key-0", "key-1", "row 3", "key-3", "key-4"]
        assert [row.damage for row in rows] == ["", "", "a row does not decode", "", ""]


def test_a_row_without_a_mac_is_named(under_test):
    with under_test.open() as store:
        put(store, kms_key(), alias())
    under_test.tamper("aliases", "mac", b"")
    with under_test.open() as store:
        (row,) = all_rows(store, AliasRecord)
        assert (row.name, row.damage) == (
            f"{alias().account} {alias().region} {alias().name}",
            "a row of aliases carries no MAC",
        )


def test_the_setting_that_was_needed_before_the_store_key_passes_without_a_mac(under_test):
    with under_test.open(unlock=False) as store:
        run(store, lambda s: s.commit([Put(setting("store-key"), None)]))
        store.unlock(StoreKey(STORE_KEY))
        (row,) = all_rows(store, SettingRecord)
        assert row.record == setting("store-key")


def test_a_row_that_an_index_has_lost_is_seen_and_the_index_is_named(tmp_path):
    under_test = SqliteUnderTest(tmp_path)
    with under_test.open() as store:
        put(store, kms_key(), material(), alias())
    forge = "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = 'materials_by_key'"
    # An index over other columns than those that its pages hold: as after a torn write.
    with closing(sqlite3.connect(under_test.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(forge, ("(key_id, created_at_s)", "(created_at_s, key_id)"))
    with under_test.open() as store:
        (row,) = all_rows(store, MaterialRecord)
        assert row.record == material()
        faults = run(store, lambda s: s.inspect_files())
    assert any("materials_by_key" in fault for fault in faults), faults


def test_a_reference_to_nothing_is_named(tmp_path):
    under_test = SqliteUnderTest(tmp_path)
    with under_test.open() as store:
        put(store, kms_key(), material(), alias(), mark())
    under_test.query("DELETE FROM kms_keys")
    with under_test.open() as store:
        faults = run(store, lambda s: s.inspect_files())
        assert sorted(faults) == [
            "row 1 of aliases refers to a missing row of kms_keys",
            "row 1 of materials refers to a missing row of kms_keys",
        ]
        assert all_rows(store, KeyRecord) == []
        assert [row.record for row in all_rows(store, MarkRecord)] == [mark()]
