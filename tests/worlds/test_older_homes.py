"""A home that an older release wrote is whole after its migration; one that a newer release wrote is left alone."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strongroom.kms.storage.migrations import MIGRATIONS
from testkit.installation import Installation

HOMES = Path(__file__).parent / "homes"
HELD: dict[str, Any] = json.loads((HOMES / "schema-1.json").read_text())


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Installation]:
    """The home that schema 1 wrote, not started yet."""
    running = Installation()
    try:
        shutil.unpack_archive(HOMES / "schema-1.tar.gz", tmp_path)
        shutil.copytree(tmp_path / "home", running.home)
        (running.home / "seal" / "local.secret").chmod(0o400)
        yield running
    finally:
        running.destroy()


def schema_of(home: Path) -> int:
    with closing(sqlite3.connect(home / "service" / "store.db")) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return version


def deep(home: Installation) -> tuple[int, list[dict[str, str]]]:
    done = home.cli("doctor", "--deep", "--json", "--home", str(home.home), check=False)
    return done.returncode, json.loads(done.stdout)


def test_the_home_in_the_repository_is_of_schema_1(old: Installation) -> None:
    assert schema_of(old.home) == 1


def test_a_home_of_schema_1_is_migrated_and_nothing_is_wrong_with_it(old: Installation) -> None:
    old.start()
    assert schema_of(old.home) == MIGRATIONS[-1].number
    status, findings = deep(old)
    assert (status, [finding for finding in findings if finding["verdict"] == "bad"]) == (0, [])
    said = [finding["finding"] for finding in findings]
    keys, aliases = len(HELD["keys"]), len(HELD["aliases"])
    for line in (f"kms_keys: {keys} rows hold", f"materials: {keys} rows hold", f"aliases: {aliases} rows hold"):
        assert line in said
    assert any("is a member of this domain" in line for line in said)


def test_what_schema_1_wrote_can_be_changed_rotated_and_still_opens(old: Installation) -> None:
    """Old rows, rows changed since, and new rows beside them: all of them hold."""
    old.start()
    kms = old.kms()
    for key in HELD["keys"]:
        if key["state"] == "Disabled":
            kms.enable_key(KeyId=key["key_id"])
        kms.rotate_key_on_demand(KeyId=key["key_id"])
    kms.create_key()
    for key in HELD["keys"]:
        opened = kms.decrypt(CiphertextBlob=base64.b64decode(key["blob"]), EncryptionContext=key["context"])
        assert opened["Plaintext"].decode() == key["plaintext"]
    kms.close()
    status, findings = deep(old)
    assert (status, [finding for finding in findings if finding["verdict"] == "bad"]) == (0, [])
    said = [finding["finding"] for finding in findings]
    assert f"materials: {2 * len(HELD['keys']) + 1} rows hold" in said


def test_a_home_of_a_newer_schema_is_refused_in_words_and_left_as_it_was(old: Installation) -> None:
    newer = MIGRATIONS[-1].number + 1
    store = old.home / "service" / "store.db"
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    before = store.read_bytes()
    done = old.cli_program()("up", "--dev", "--home", str(old.home), "--port", str(old.port))
    assert done.returncode == 1
    assert f"the store has schema version {newer}, this release knows versions up to {newer - 1}" in done.stderr
    assert "start the release that wrote it, or a later one" in done.stderr
    assert "Traceback" not in done.stderr
    assert store.read_bytes() == before
    assert not list(store.parent.glob("store.db-wal"))
