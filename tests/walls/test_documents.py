"""The documents say what the code does: commands, files, targets, layouts, labels and numbers are compared."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.boundary import (
    blob,
    context,
    control,
    derivation,
    domain_token,
    frames,
    messages,
    recovery_bundle,
    session,
)
from strongroom.boundary.statuses import Status
from strongroom.hsm import rinse
from strongroom.hsm.domain import recovery, seal
from strongroom.hsm.vault import backing_key, ring, sealed_values
from strongroom.hsm.vault import token as key_token
from strongroom.kms import trail
from strongroom.kms.audit import chain, events
from strongroom.kms.hsm_link import link
from strongroom.kms.identities.sts.table import TABLE as STS
from strongroom.kms.keys import grant_tokens
from strongroom.kms.operations.table import TABLE
from strongroom.kms.repositories import TABLES
from strongroom.kms.telemetry.families import FAMILIES
from strongroom.kms.wire import http
from strongroom.kms.wire.shapes import OPERATIONS
from strongroom.supervisor.banner import print_banner
from strongroom.supervisor.home import Home, HomeSettings
from strongroom.supervisor.users import Users

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "strongroom"
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "operate").glob("*.md")),
    *DECISIONS,
]
# Signed and thrown away by a self-test: no format.
LABELS_OF_NO_FORMAT = {"strongroom pairwise consistency"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


FORMATS = flat(text_of("docs/formats.md"))
NAMES = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]


def section(text: str, heading: str) -> str:
    """What stands under a heading, to the next heading of any level."""
    return re.split(r"^#+ ", text.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def first_column(table: str) -> list[str]:
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")]
    return rows[1:]


def code_in(text: str) -> Iterator[str]:
    """Every line of a fenced block, and every piece of inline code."""
    for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL):
        yield from (line.strip() for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def invocations(text: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(command words, options) of every use of our command line."""
    for code in code_in(text):
        words = code.split()
        if words[:1] == ["strongroom"]:
            rest = words[1:]
            # An argument of an option looks like a command word, but stands behind an option.
            options_at = next((at for at, word in enumerate(rest) if word.startswith("-")), len(rest))
            command = tuple(word for word in rest[:options_at] if re.fullmatch(r"[a-z][a-z-]*", word))
            yield command, tuple(word for word in rest[options_at:] if word.startswith("--"))


@cache
def help_of(command: tuple[str, ...]) -> str | None:
    """What `--help` says; None for a command that does not exist."""
    asked = [sys.executable, "-m", "strongroom.cli", *command, "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def wrong_invocations(text: str) -> list[str]:
    wrong = []
    for command, options in invocations(text):
        known = help_of(command)
        if known is None:
            wrong.append(" ".join(command))
        else:
            wrong += [f"{' '.join(command)} {option}" for option in options if f"{option} " not in f"{known} "]
    return wrong


def missing_files(text: str) -> list[str]:
    named = re.findall(r"`([\w./-]+\.py)`", text)
    return [name for name in named if not any((base / name).is_file() for base in (ROOT, SOURCE))]


def unknown_targets(text: str) -> set[str]:
    known = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    return {target for code in code_in(text) for target in re.findall(r"^make ([a-z-]+)", code)} - known


# ── every document ──────────────────────────────────────────────────────────────────────────────────────────────────


# The labels of formats.md begin with the word, too, and are no commands.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "docs/formats.md"])
def test_every_command_and_option_that_a_document_names_is_in_the_help(name: str) -> None:
    assert wrong_invocations(text_of(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_source_file_that_a_document_names_exists(name: str) -> None:
    assert missing_files(text_of(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_that_a_document_names_exists(name: str) -> None:
    assert unknown_targets(text_of(name)) == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=NAMES)
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_a_document_that_is_wrong_is_caught() -> None:
    assert wrong_invocations("`strongroom unlock`, `strongroom doctor --repair`") == ["unlock", "doctor --repair"]
    assert wrong_invocations("```\nstrongroom iam create-user --home H --user-name doctor\n```") == []
    assert missing_files("`kms/gate.py` and `kms/gates.py`") == ["kms/gates.py"]
    assert unknown_targets("`make up` and `make money`") == {"money"}


# ── operating ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_about_monitoring_lists_every_metric_as_it_is_told() -> None:
    shown = re.findall(
        r"^\| `strongroom_(\w+)` \| (.*?) ?\| (.*) \|$", text_of("docs/operate/monitor.md"), re.MULTILINE
    )
    told = [
        (
            family.name + ("_total" if family.kind == "counter" else ""),
            ", ".join(family.labels),
            family.help.rstrip("."),
        )
        for family in FAMILIES
    ]
    made = {"requests_total", "request_duration_seconds", "worker_age_seconds"}
    assert [row for row in shown if row[0] not in made] == told
    assert made <= {row[0] for row in shown}


def test_every_metric_that_an_alert_names_exists() -> None:
    alerts = section(text_of("docs/operate/monitor.md"), "## What to alert on")
    named = set(re.findall(r"strongroom_(\w+)", alerts))
    totals = {family.name + "_total" for family in FAMILIES if family.kind == "counter"}
    known = totals | {family.name for family in FAMILIES} | {"requests_total", "worker_age_seconds"}
    assert named - known == set()


def test_the_page_about_settings_lists_every_option_of_a_start() -> None:
    table = section(text_of("docs/operate/settings.md"), "# Settings")
    listed = [option for cell in first_column(table) for option in re.findall(r"--[a-z-]+", cell)]
    known = help_of(("up",))
    assert known is not None
    assert sorted(listed) == sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", known)) - {"--help"})


# ── README, changelog, architecture ─────────────────────────────────────────────────────────────────────────────────


def test_the_readme_lists_the_operations_that_exist_and_counts_the_others() -> None:
    readme = text_of("README.md")
    listed = re.findall(
        r"`([A-Z][A-Za-z]+)`", section(section_tail(readme), "### Operations that work").split("Keys are")[0]
    )
    assert sorted(listed) == sorted([*TABLE, *STS])
    assert f"The other {len(OPERATIONS) - len(TABLE)} operations" in readme


def section_tail(readme: str) -> str:
    return readme.split("## Status\n", 1)[1]


def test_the_readme_shows_the_lines_that_a_start_prints(capsys: pytest.CaptureFixture[str]) -> None:
    settings = HomeSettings(format=1, account="000000000000", region="us-east-1", development=True)
    print_banner(Home(Path("~/.strongroom-dev")), settings, "http://127.0.0.1:4599", Users(1, 1, ""))
    printed = [line.strip() for line in capsys.readouterr().out.splitlines() if "export" in line]
    assert printed
    assert [line for line in printed if line not in text_of("README.md").splitlines()] == []


def test_readme_and_changelog_know_the_version() -> None:
    version = tomllib.loads(text_of("pyproject.toml"))["project"]["version"]
    assert f"Version {version}." in text_of("README.md")
    assert f"## [{version}]" in text_of("CHANGELOG.md")


def test_the_house_has_the_folders_that_the_architecture_shows() -> None:
    shown = first_column(section(text_of("ARCHITECTURE.md"), "## The house"))
    packages = {path.parent.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("__init__.py")} - {"."}
    assert sorted(shown) == sorted(f"`{name}/`" for name in packages)


def test_the_architecture_names_every_import_contract() -> None:
    shown = first_column(section(text_of("ARCHITECTURE.md"), "## Who may import whom"))
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    assert shown == [contract["name"] for contract in contracts]


LIMITS = {
    "a body": (http.BODY_BYTES_MAX, 512 * 1024, "a body of 512 KiB"),
    "headers": (http.HEADER_BYTES_MAX, 32 * 1024, "headers of 32 KiB"),
    "requests ahead": (http.PIPELINED_MAX, 16, "16 requests ahead of their answers"),
    "connections": (http.CONNECTIONS_MAX, 10_000, "10,000 connections"),
    "a request's time": (http.REQUEST_S_MAX, 20.0, "20 seconds for a request to be whole"),
    "unfinished bodies": (http.HELD_BYTES_MAX, 64 * 1024 * 1024, "a budget of 64 MiB"),
    "a frame of commands": (link._FRAME_BYTES_MAX, 900_000, "up to 64 commands and 900,000 bytes"),
    "silence": (link.SILENCE_S_MAX, 1.0, "unanswered for a second"),
    "the rinse": (rinse._DEEP_BYTES, 16 * 1024, "then 16 KiB"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_of_the_architecture_is_the_codes(limit: str) -> None:
    in_code, expected, shown = LIMITS[limit]
    assert in_code == expected
    assert shown in flat(text_of("ARCHITECTURE.md"))


# ── decisions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_decisions_are_numbered_without_gaps_and_have_one_form() -> None:
    assert [path.name[:4] for path in DECISIONS] == [f"{number:04d}" for number in range(1, len(DECISIONS) + 1)]
    for path in DECISIONS:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]}: "), path.name
        headings = re.findall(r"^(?:## )?(Status|Context|Decision|Consequences)\b", text, re.MULTILINE)
        assert headings == ["Status", "Context", "Decision", "Consequences"], path.name


def imports_of(folder: Path) -> set[str]:
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").split(".")[0])
    return found


def test_the_hsm_imports_what_its_decision_lists() -> None:
    (decision,) = (ROOT / "docs" / "adr").glob("0008-*.md")
    paragraph = section(decision.read_text(encoding="utf-8"), "## Decision").split("\n\n")[1]
    listed = re.findall(r"`(\w+)`", paragraph)
    found = imports_of(SOURCE / "hsm") | imports_of(SOURCE / "boundary")
    assert sorted(listed) == sorted(found - {"strongroom", "cryptography", "msgspec"})


# ── formats ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def structs_of(module: Any) -> Iterator[type[msgspec.Struct]]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == module.__name__:
            yield value


def shown_form(kind: type[msgspec.Struct]) -> str:
    tag = kind.__struct_config__.tag
    fields = ([] if tag is None else [str(tag)]) + list(kind.__struct_fields__)
    return f"`{kind.__name__}` [{', '.join(fields)}]"


ARRAYS = [
    kind
    for module in (session, domain_token, recovery_bundle, messages, control, backing_key, sealed_values)
    for kind in structs_of(module)
]


@pytest.mark.parametrize("kind", ARRAYS, ids=lambda kind: kind.__name__)
def test_every_array_has_the_members_that_the_formats_show(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.array_like
    assert shown_form(kind) in FORMATS


def test_a_share_has_the_members_that_the_formats_show() -> None:
    assert f"array [{', '.join(recovery._Share.__struct_fields__)}]" in FORMATS
    assert f"array [{', '.join(recovery._Keys.__struct_fields__)}]" in FORMATS


@pytest.mark.parametrize("member", list(frames.FrameType), ids=lambda member: member.name)
def test_every_frame_type_is_in_the_formats(member: IntEnum) -> None:
    assert f"| {member.value} | {member.name} |" in FORMATS


@pytest.mark.parametrize("member", list(Status), ids=lambda member: member.name)
def test_every_status_is_in_the_formats(member: IntEnum) -> None:
    assert f"| 0x{member.value:02x} | {member.name} |" in FORMATS


@pytest.mark.parametrize("member", list(key_token.TokenType), ids=lambda member: member.name)
def test_every_type_of_key_token_is_in_the_formats(member: IntEnum) -> None:
    assert f"| {member.value} | {member.name}:" in FORMATS


def test_every_label_of_the_code_is_in_the_formats_and_the_other_way_round() -> None:
    files = [
        *(SOURCE / "hsm").rglob("*.py"),
        *(SOURCE / "boundary").rglob("*.py"),
        SOURCE / "kms" / "audit" / "chain.py",
    ]
    literal = re.compile(r'"(strongroom[ -][a-z0-9 -]+)(?:\\0)?"')
    used = {label for path in files for label in literal.findall(path.read_text(encoding="utf-8"))}
    shown = set(re.findall(r'[`"](strongroom[ -][a-z0-9 -]+)[`"]', FORMATS))
    assert shown == used - LABELS_OF_NO_FORMAT


FACTS = {
    "a blob's magic": (blob.MAGIC, b"SRCB\x01", "| 0 | 4 | magic `SRCB` | | 4 | 1 | version, 1 | | 5 | 32 | HBKID"),
    "a blob's nonce": (len(blob.MAGIC) + blob.HBKID_BYTES, 37, "| 37 | 16 | nonce"),
    "a nonce's length": (blob.NONCE_BYTES, 16, "| 37 | 16 | nonce"),
    "a blob's header": (blob.HEADER_BYTES, 65, "bytes 0 to 64 of the blob"),
    "a blob's overhead": (blob.OVERHEAD_BYTES, 81, "A blob is 81 bytes longer"),
    "a key token's magic": (key_token._MAGIC, b"SRTK\x01", "| 0 | 4 | magic `SRTK` | | 4 | 1 | version, 1 |"),
    "a key token's metadata": (key_token._METADATA_AT, 36, "| 36 | m | metadata, an array |"),
    "a domain key's id": (ring.DOMAIN_KEY_ID_BYTES, 16, "| 6 | 16 | domain key id |"),
    "a key token's IV": (key_token.IV_BYTES, 12, "| 22 | 12 | IV, random |"),
    "a sealed state's magic": (seal._MAGIC, b"SRSS\x01", "| 0 | 4 | magic `SRSS` | | 4 | 1 | version, 1 |"),
    "a sealed state's header": (seal._HEADER_BYTES, 42, "| 42 | n | AES-256-GCM (seal key, IV zero)"),
    "the kind of seal": (seal.LOCAL_SECRET, 1, "kind of seal: 1, a local secret"),
    "the longest context": (context.CONTEXT_BYTES_MAX, 8192, "At most 8,192 bytes in all"),
    "the longest frame": (frames.FRAME_BYTES_MAX, 1048576, "1 to 1,048,576"),
    "commands in a frame": (messages.COMMANDS_PER_FRAME_MAX, 64, "at most 64 commands"),
    "data in a command": (messages.DATA_BYTES_MAX, 4096, "data 4,096 bytes"),
    "random bytes": (messages.RANDOM_BYTES_MAX, 1024, "random bytes and data keys 1,024"),
    "the longest blob": (messages.BLOB_BYTES_MAX, 6144, "a blob 6,144"),
    "a session's life": (session.SESSION_LIFETIME_S, 900, "A session lives 900 seconds at most"),
    "frames in a direction": (session.FRAMES_PER_DIRECTION_MAX, 16777216, "at most 16,777,216 frames"),
    "a point": (session.POINT_BYTES, 97, "in uncompressed form, 97 bytes"),
    "randoms": (session.RANDOM_BYTES, 32, "Host and HSM randoms have 32 bytes"),
    "the longest event": (chain.EVENT_BYTES_MAX, 262144, "at most 262,144 bytes"),
    "the longest text of an event": (events.TEXT_CHARS_MAX, 1024, "are cut at 1,024 characters"),
    "the longest parameters": (trail._PARAMETERS_BYTES_MAX, 100000, "`requestParameters` of more than 100,000 bytes"),
    "a grant token's magic": (
        grant_tokens._MAGIC,
        b"SRGT\x01",
        "magic `SRGT` | | 4 | 1 | version, 1 | | 5 | 36 |",
    ),
    "a grant token's key": (grant_tokens._KEY_ID, slice(5, 41), "| 5 | 36 | key id, ASCII |"),
    "a grant token's grant": (grant_tokens._GRANT_ID, slice(41, 73), "| 41 | 32 | grant id |"),
    "a grant token's nonce": (grant_tokens.NONCE_BYTES, 18, "| 73 | 18 | nonce, random |"),
    "a grant token's tag": (grant_tokens._TAG_AT, 91, "| 91 | 32 | tag over bytes 0 to 90 |"),
    "a grant token's length": (grant_tokens.TOKEN_BYTES * 4 // 3, 164, "164 characters, no padding"),
    "the purpose of a grant token's tag": (grant_tokens.TAG_PURPOSE, "grant tokens", "‖ 00 ‖ `grant tokens`)"),
    "the suite": (domain_token.SUITE, 1, "`suite` is 1"),
    "the token's format": (domain_token.FORMAT, "strongroom-domain-token-1", "`format` is `strongroom-domain-token-1`"),
}


@pytest.mark.parametrize("fact", FACTS)
def test_a_number_of_the_formats_is_the_codes(fact: str) -> None:
    in_code, expected, shown = FACTS[fact]
    assert in_code == expected
    assert shown in FORMATS


def test_the_derivation_is_the_formula_that_the_formats_show() -> None:
    import hmac

    assert "HMAC-SHA-256(key, 00 00 00 01 ‖ label ‖ 00 ‖ context ‖ 00 00 01 00)" in FORMATS
    formula = b"\0\0\0\x01" + b"label" + b"\0" + b"context" + b"\0\0\x01\0"
    assert derivation.derive(b"k" * 32, b"label", b"context") == hmac.digest(b"k" * 32, formula, "sha256")


def test_the_lines_of_the_audit_trail_have_the_form_that_the_formats_show() -> None:
    (record,), head = chain.extend(chain.first_head("w1"), [b'{"a":1}'])
    signed = chain.SignedHead((head,), chain.NO_DIGEST, bytes(32), b"\1", "hsm-1", 7, b"\2")
    shown = re.findall(r"\| `(\{\"[^`]+\})` \|", FORMATS)
    assert len(shown) == 3
    for form, line in zip(
        shown, (chain.format_segment_start(head), record, chain.format_signed_head(signed)), strict=True
    ):
        pattern = re.sub(r"<[a-z]+>", "@", form).replace(",…", "")
        expected = re.escape(pattern).replace("@", r"[^,]*?")
        assert re.fullmatch(expected, line.decode().removesuffix("\n"))


def test_the_formats_show_where_everything_lies_in_a_home() -> None:
    home = Home(Path("/h"))
    paths = [
        *(home.settings_file, home.seal_secret, *home.sealed_states("hsm-1"), home.hsm_config("hsm-1")),
        *(home.domain_token(1), home.store, home.identity_key, home.first_access_key, home.hsm_socket("hsm-1")),
        *(home.admin_socket, home.kms_config, home.tls_certificate, home.tls_key, home.store_note, home.domain_note),
    ]
    names = [path.relative_to(home.root).as_posix() for path in paths]
    names += [f"{path.relative_to(home.root).as_posix()}/" for path in (home.audit, home.recovery)]
    assert [name for name in names if f"`{name}`" not in FORMATS] == []


def test_the_formats_list_every_sealed_column() -> None:
    columns = {f"{table.name}.{field}" for table in TABLES.values() for field in table.sealed}
    line = FORMATS.split("Sealed columns:")[1].split("##", 1)[0]
    assert set(re.findall(r"`([a-z_.]+)`", line)) == columns
