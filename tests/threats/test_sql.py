"""Class 28: whatever a text holds, it is a value: no statement is ever made of it.

OpenBao's PostgreSQL backend put names between quotes by itself (CVE-2026-39946). The store's contract holds that every field
keeps every text (`tests/contracts/test_store_contract.py`); here the texts come through the API, and the code is read.
PostgreSQL is not there yet.
"""

from __future__ import annotations

import ast
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom
from testkit.installation import Installation
from testkit.raw import RawKms, assert_allowed, nothing_breaks, table_dump

SOURCE = Path(strongroom.__path__[0])

TEXTS = [
    "' OR '1'='1",
    "'; DROP TABLE kms_keys; --",
    '"; DELETE FROM materials; --',
    "x' UNION SELECT sealed_secret FROM access_keys --",
    "%' ESCAPE '%",
    "_%*?[a-z]",
    "\\'; SELECT 1; /*",
    "a\0b'; --",
    "\U0001f511 \U0010ffff '",
    "${jndi:x} {{7*7}} %s %n :name ?1 @p $1",
    "\u02bc OR \uff07a\uff07=\uff07a",
]


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_kept_or_refused_and_touches_nothing_else(installation: Installation, raw: RawKms, text: str) -> None:
    tables = schema_of(installation)
    with nothing_breaks(installation):
        bystander = str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])
        others = [line for line in table_dump(installation) if bystander in line]
        request = {"Description": text, "Tags": [{"TagKey": "a", "TagValue": text}, {"TagKey": text, "TagValue": "b"}]}
        answer = raw.call("CreateKey", request)
        if answer.status != 200:  # A tag may not be everything; a description may.
            assert answer.code in {"TagException", "ValidationException"}, answer
            answer = raw.call("CreateKey", {"Description": text})
        key_id = str(assert_allowed(answer)["KeyMetadata"]["KeyId"])
        assert assert_allowed(raw.call("DescribeKey", {"KeyId": key_id}))["KeyMetadata"]["Description"] == text
        found = assert_allowed(raw.call("ListResourceTags", {"KeyId": key_id}))["Tags"]
        assert found in ([], [{"TagKey": "a", "TagValue": text}, {"TagKey": text, "TagValue": "b"}]) or {
            (tag["TagKey"], tag["TagValue"]) for tag in found
        } == {("a", text), (text, "b")}
        context = {text: text}
        sealed = {"KeyId": key_id, "Plaintext": "eA==", "EncryptionContext": context}
        blob = assert_allowed(raw.call("Encrypt", sealed))["CiphertextBlob"]
        opened = raw.call("Decrypt", {"CiphertextBlob": blob, "EncryptionContext": context})
        assert assert_allowed(opened)["Plaintext"] == "eA=="
        # As the name of something: none of these is a name.
        for operation, members in (
            ("CreateAlias", {"AliasName": "alias/" + text, "TargetKeyId": key_id}),
            ("DeleteAlias", {"AliasName": "alias/" + text}),
            ("UpdateAlias", {"AliasName": "alias/" + text, "TargetKeyId": key_id}),
            ("DescribeKey", {"KeyId": text}),
            ("DescribeKey", {"KeyId": "alias/" + text}),
            ("ListKeys", {"Marker": text}),
            ("ListAliases", {"KeyId": text}),
            ("ListAliases", {"Marker": text}),
            ("GetKeyPolicy", {"KeyId": key_id, "PolicyName": text}),
            ("ListRetirableGrants", {"RetiringPrincipal": text}),
        ):
            assert raw.call(operation, members).status == 400, (operation, members)
        assert [line for line in table_dump(installation) if bystander in line] == others
    assert schema_of(installation) == tables


def schema_of(installation: Installation) -> list[str]:
    return [line for line in table_dump(installation) if line.startswith("CREATE")]


def test_a_list_shows_no_more_than_its_own_whatever_marker_and_filter_say(raw: RawKms) -> None:
    key_id = str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])
    name = f"alias/sql-{uuid.uuid4().hex[:8]}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key_id}))
    shown = assert_allowed(raw.call("ListAliases", {"KeyId": key_id}))["Aliases"]
    assert [alias["AliasName"] for alias in shown] == [name]
    for text in ("%", "_" * 36, key_id[:-1] + "_", key_id[:-1] + "%", f"{key_id}' OR '1'='1"):
        assert raw.call("ListAliases", {"KeyId": text}).code in {"NotFoundException", "ValidationException"}


# ── the lint ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_SQL = re.compile(
    r"^\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|CREATE|DROP|ALTER|PRAGMA|ATTACH|WITH|BEGIN|COMMIT|ROLLBACK|VACUUM)\b"
)
# The only file that puts statements together: from the names of tables and columns, which are its own.
BUILD_SQL = {"kms/storage/statements.py"}
# A PRAGMA takes no parameters; these fill in constants of their own.
BUILD_PRAGMAS = {
    "kms/storage/inspection.py",
    "kms/storage/migrations.py",
    "kms/storage/sqlite.py",
    "supervisor/backup_source.py",
}


def sql_put_together(text: str) -> list[str]:
    """The beginnings of the statements that are made by a format, an addition or a method of a string."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.JoinedStr(values=[ast.Constant(value=str(value)), *_]) if _SQL.match(value):
                found.append(value)
            case ast.BinOp(left=ast.Constant(value=str(value))) if _SQL.match(value):
                found.append(value)
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(value)), attr=attr)) if _SQL.match(value):
                if attr in {"format", "join", "replace", "format_map"}:
                    found.append(value)
            case ast.Call(func=ast.Attribute(attr="execute" | "executemany" | "executescript"), args=[first, *_]):
                starts = isinstance(first, ast.JoinedStr) and isinstance(first.values[0], ast.Constant)
                if isinstance(first, ast.BinOp) or (isinstance(first, ast.JoinedStr) and not starts):
                    found.append("?")
    return found


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield path.relative_to(SOURCE).as_posix(), path.read_text(encoding="utf-8")


def test_no_sql_is_put_together_from_strings() -> None:
    found = {name: statements for name, text in modules() if (statements := sql_put_together(text))}
    pragmas = {name for name, statements in found.items() if all(text.startswith("PRAGMA ") for text in statements)}
    assert pragmas <= BUILD_PRAGMAS
    assert set(found) - pragmas == BUILD_SQL


@pytest.mark.parametrize(
    "line",
    [
        'x = f"SELECT * FROM t WHERE a = {a}"',
        'x = "SELECT * FROM t WHERE a = " + a',
        'x = "DELETE FROM t WHERE a = %s" % a',
        'x = "UPDATE t SET a = {}".format(a)',
        'c.execute(f"{verb} FROM t")',
        'c.execute(verb + " FROM t")',
        'x = (\n    "INSERT INTO t "\n    f"VALUES ({a})"\n)',
    ],
)
def test_the_lint_sees_each_way_of_putting_sql_together(line: str) -> None:
    assert sql_put_together(line) != []
    assert sql_put_together('c.execute("SELECT * FROM t WHERE a = ?", (a,))') == []
