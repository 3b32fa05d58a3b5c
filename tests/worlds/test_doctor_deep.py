"""`strongroom doctor --deep` on a running home: nothing to say about a sound one, and every kind of damage by its name.

Each test plants one damage as an intruder or a failing disk would, sees it named, and takes it out again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.boundary.domain_token import parse_domain_token
from testkit.installation import ACCOUNT, Installation
from testkit.raw import allow, make_user, policy
from testkit.tampering import Row, StoreEditor, edited_store, flipped, open_secrets

KEYS = 70  # More than a page.


@pytest.fixture(scope="module")
def home() -> Iterator[Installation]:
    """An installation of its own with keys, an alias, a grant and a user."""
    running = Installation()
    try:
        running.start()
        kms = running.kms()
        keys = [kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(KEYS)]
        kms.create_alias(AliasName="alias/looked-at", TargetKeyId=keys[0])
        root = f"arn:aws:iam::{ACCOUNT}:root"
        kms.create_grant(KeyId=keys[0], GranteePrincipal=root, Operations=["Decrypt"])
        kms.close()
        make_user(running, "alice", policy(allow("kms:*")))
        yield running
    finally:
        running.destroy()


def deep(home: Installation, *options: str) -> tuple[int, list[str]]:
    """Exit status and what is bad."""
    done = home.cli("doctor", "--deep", "--json", "--home", str(home.home), *options, check=False)
    findings = json.loads(done.stdout)
    return done.returncode, [finding["finding"] for finding in findings if finding["verdict"] == "bad"]


def test_a_sound_home_gives_no_cause_for_complaint(home: Installation) -> None:
    assert deep(home) == (0, [])
    shown = home.cli("doctor", "--deep", "--home", str(home.home)).stdout
    for line in (
        f"kms_keys: {KEYS} rows hold",
        f"materials: {KEYS} rows hold",
        "aliases: 1 rows hold",
        "grants: 1 rows hold",
    ):
        assert f"ok    {line}\n" in shown
    assert "ok    the store's files are whole\n" in shown
    assert "1 of 1 shares open it" in shown


def test_a_bundle_can_be_named_with_a_deep_look_only(home: Installation) -> None:
    done = home.cli("doctor", "--home", str(home.home), "--recovery-bundle", "x", check=False)
    assert (done.returncode, done.stderr) == (2, "strongroom: --recovery-bundle goes with --deep\n")


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

# What an editor without the store key, or with it, does to a row, and what is then said. `{}` is the key's id.
Damage = Callable[[StoreEditor, Installation], tuple[str, str]]


def _changed(table: str, column: str, value: Any, said: str, where: str = "") -> Damage:
    """The first row's column becomes another; the finding names its table, or `where`, and says this."""

    def damage(store: StoreEditor, _: Installation) -> tuple[str, str]:
        row = store.rows(table)[0]
        store.change(table, row, **{column: value(row[column]) if callable(value) else value})
        return where or table, said.format(row.get("key_id", ""))

    return damage


def _removed(table: str, where: str, said: str) -> Damage:
    def damage(store: StoreEditor, _: Installation) -> tuple[str, str]:
        row = store.rows(table)[0]
        store.delete(table, row)
        return where, said.format(row.get("key_id", ""))

    return damage


def _swapped(store: StoreEditor, _: Installation) -> tuple[str, str]:
    """A key's material is replaced by another key's: a good token in the wrong place."""
    one, other = store.rows("materials")[:2]
    store.change("materials", one, ekt=other["ekt"])
    return "materials", f"the HSM refuses it for the key {one['key_id']}: TOKEN_MISMATCH"


def _older(change: Callable[[Any, Row], bytes]) -> Damage:
    """A key gets one more material, not current, whose token is bad."""

    def damage(store: StoreEditor, home: Installation) -> tuple[str, str]:
        state, _ = open_secrets(home.home)
        row = store.rows("materials")[-1]
        older = {**row, "hbkid": os.urandom(32), "state": "NON_CURRENT", "ekt": change(state, row)}
        store.insert("materials", older)
        return "materials", f"the HSM refuses it for the key {row['key_id']}: TOKEN_"

    return damage


def _named_wrongly(state: Any, row: Row) -> bytes:
    """The right token of the domain for this key, but its material is not what its id says."""
    ekt = state.open_ekt(row["ekt"])
    return bytes(state.seal_ekt(replace(ekt.metadata, hbkid=bytes(32)), os.urandom(32)))


FORGED_WITHOUT_THE_STORE_KEY = {
    "a key row that was changed": _changed(
        "kms_keys", "description", "x", "the MAC of a row of kms_keys does not hold"
    ),
    "a material row that was changed": _changed("materials", "created_at_s", 1.0, "the MAC of a row of materials"),
    "an alias that points elsewhere": _changed("aliases", "updated_at_s", 1.0, "the MAC of a row of aliases"),
    "a grant that gives more": _changed(
        "grants", "operations", '["Decrypt","CreateGrant"]', "the MAC of a row of grants"
    ),
    "a user with other policies": _changed("users", "identity_policies", "{}", "the MAC of a row of users"),
    "an access key made active": _changed("access_keys", "status", "x", "the MAC of a row of access_keys"),
    "a key row without a MAC": _changed("kms_keys", "mac", b"", "a row of kms_keys carries no MAC"),
}
FORGED_WITH_THE_STORE_KEY = {
    "a token with one bit flipped": _changed(
        "materials", "ekt", lambda ekt: flipped(ekt, 8 * 60), "the HSM refuses it for the key {}: TOKEN_INVALID"
    ),
    "a token cut short": _changed("materials", "ekt", lambda ekt: ekt[:40], "TOKEN_INVALID"),
    "a token too long to send": _changed("materials", "ekt", bytes(20_000), "it is longer than any key token"),
    "a token under a domain key that nobody has": _changed(
        "materials", "ekt", lambda ekt: ekt[:6] + bytes(16) + ekt[22:], "UNKNOWN_DOMAIN_KEY"
    ),
    "another key's token": _swapped,
    "an older material that does not open": _older(lambda _, row: flipped(row["ekt"], 8 * 70)),
    "an older material that is not what it is named": _older(_named_wrongly),
    "a key without material": _removed("materials", "kms_keys", "0 of its 0 key materials are current, not one"),
    "a key without current material": _changed(
        "materials", "state", "NON_CURRENT", "0 of its 1 key materials are current, not one", "kms_keys"
    ),
    "a material without its key": _removed("kms_keys", "materials", "its key {} does not exist"),
    "an alias without its key": _changed("aliases", "key_id", "nobody", "its key nobody does not exist"),
    "a grant without its key": _changed("grants", "key_id", "nobody", "its key nobody does not exist"),
    "an access key without its user": _removed("users", "access_keys", "its user alice does not exist"),
}


@contextmanager
def damaged(home: Installation, damage: Damage, store_key: bytes | None) -> Iterator[tuple[str, str]]:
    """The store as it was before, afterwards: rows are put back with the MACs that they had."""
    tables = ("kms_keys", "materials", "aliases", "grants", "users", "access_keys")
    with edited_store(home.home, None) as store:
        before = {table: store.rows(table) for table in tables}
    try:
        with edited_store(home.home, store_key) as store:
            expected = damage(store, home)
        yield expected
    finally:
        with edited_store(home.home, None) as store:
            for table in tables:
                for row in store.rows(table):
                    store.delete(table, row)
                for row in before[table]:
                    store.insert(table, row)


@pytest.mark.parametrize("name", FORGED_WITHOUT_THE_STORE_KEY)
def test_a_row_that_was_changed_from_outside_is_named(home: Installation, name: str) -> None:
    with damaged(home, FORGED_WITHOUT_THE_STORE_KEY[name], None) as (where, says):
        status, bad = deep(home)
        assert status == 1
        assert [finding for finding in bad if finding.startswith(f"{where} ") and says in finding], bad
    assert deep(home) == (0, [])


@pytest.mark.parametrize("name", FORGED_WITH_THE_STORE_KEY)
def test_damage_behind_a_good_mac_is_named(home: Installation, name: str) -> None:
    _, store_key = open_secrets(home.home)
    with damaged(home, FORGED_WITH_THE_STORE_KEY[name], store_key) as (where, says):
        status, bad = deep(home)
        assert status == 1
        assert [finding for finding in bad if finding.startswith(f"{where} ") and says in finding], bad
    assert deep(home) == (0, [])


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def changed_file(path: Path, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """In place, so that a process which has it open sees it too."""
    before = path.read_bytes()
    try:
        path.write_bytes(change(before))
        yield
    finally:
        path.write_bytes(before)


def _audit_record(home: Installation) -> AbstractContextManager[None]:
    (path,) = (home.home / "service" / "audit").glob("audit-*-*.jsonl")

    @contextmanager
    def change() -> Iterator[None]:
        at = path.read_bytes().index(b'"CreateKey"') + 1
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"D")
            file.flush()
            try:
                yield
            finally:
                file.seek(at)
                file.write(b"C")

    return change()


def _sealed_copy(home: Installation) -> AbstractContextManager[None]:
    return changed_file(home.home / "hsm" / "hsm-1.state.b", lambda data: data[:-1])


def _newer_token(home: Installation) -> AbstractContextManager[None]:
    """A token of a later state, which neither the sealed states nor the HSM have."""
    token = (home.home / "domain" / "token-000001").read_bytes()
    parsed, state = parse_domain_token(token)
    later = msgspec.structs.replace(state, version=state.version + 1)
    raw = msgspec.Raw(msgspec.msgpack.encode(later))

    @contextmanager
    def change() -> Iterator[None]:
        path = home.home / "domain" / "token-000002"
        path.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(parsed, state=raw)))
        try:
            yield
        finally:
            path.unlink()

    return change()


def _no_token(home: Installation) -> AbstractContextManager[None]:
    return changed_file(home.home / "domain" / "token-000001", lambda data: data[:100])


def _broken_bundle(home: Installation) -> AbstractContextManager[None]:
    return changed_file(home.home / "recovery" / "recovery-bundle-000001", lambda data: data[:50])


def _foreign_bundle(home: Installation) -> AbstractContextManager[None]:
    def change(data: bytes) -> bytes:
        bundle = msgspec.msgpack.decode(data)
        bundle[2] = bytes(16)
        return msgspec.msgpack.encode(bundle)

    return changed_file(home.home / "recovery" / "recovery-bundle-000001", change)


def _bundle_of_a_member_that_left(home: Installation) -> AbstractContextManager[None]:
    def change(data: bytes) -> bytes:
        bundle = msgspec.msgpack.decode(data)
        bundle[5][0] = "recovery-0"
        return msgspec.msgpack.encode(bundle)

    return changed_file(home.home / "recovery" / "recovery-bundle-000001", change)


FILES = {
    "a changed audit record": (_audit_record, "audit verify: "),
    "copies of the sealed state that differ": (_sealed_copy, "2 copies of the HSM's sealed state, different"),
    "a sealed state with another token": (_sealed_copy, "hsm-1.state.b does not carry the newest domain token"),
    "a token that the HSM does not know": (_newer_token, "the HSM is not in the state of the newest domain token"),
    "a token that is none": (_no_token, "token-000001: not a domain token"),
    "a bundle that is none": (_broken_bundle, "recovery-bundle-000001: not a recovery bundle"),
    "another domain's bundle": (_foreign_bundle, "is not a member of this domain, so it recovers nothing"),
    "an older bundle": (_bundle_of_a_member_that_left, "is not a member of this domain, so it recovers nothing"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_does_not_fit_is_named(home: Installation, name: str) -> None:
    change, says = FILES[name]
    with change(home):
        status, bad = deep(home)
        assert status == 1
        assert [finding for finding in bad if says in finding], bad
    assert deep(home) == (0, [])


def test_a_bundle_that_was_taken_away_is_asked_for_and_compared_when_it_is_named(
    home: Installation, tmp_path: Path
) -> None:
    bundle = home.home / "recovery" / "recovery-bundle-000001"
    kept = tmp_path / "kept"
    kept.write_bytes(bundle.read_bytes())
    bundle.unlink()
    try:
        assert "weak  no recovery bundle was looked at" in home.cli("doctor", "--deep", "--home", str(home.home)).stdout
        assert deep(home, "--recovery-bundle", str(kept)) == (0, [])
        status, bad = deep(home, "--recovery-bundle", str(tmp_path / "none"))
        assert (status, len(bad)) == (1, 1)
        assert "No such file" in bad[0]
    finally:
        bundle.write_bytes(kept.read_bytes())


def test_a_service_that_is_not_there_is_said_and_is_no_crash(home: Installation) -> None:
    idle = Installation()
    try:
        idle.start()
        idle.stop()
        status, bad = deep(idle)
        assert status == 1
        assert any("no service answers on" in finding for finding in bad)
    finally:
        idle.destroy()
