"""What one caller can do to the others: nothing. Each case here once stopped a whole service."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from testkit.installation import Installation
from testkit.raw import RawKms, b64


@pytest.fixture
def own() -> Iterator[Installation]:
    running = Installation().start()
    yield running
    running.destroy()


@pytest.fixture
def short_of_files() -> Iterator[Installation]:
    """Where each process may have 400 files open, and 100 of these connections are many."""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "python"
        python.write_text(f'#!/bin/sh\nulimit -n 400\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        running = Installation("--audit-segment-bytes", "65536", python=str(python)).start()
        yield running
        running.destroy()


def test_idle_connections_keep_nobody_out_and_leave_the_trail_its_files(short_of_files: Installation) -> None:
    kms = raw_client(short_of_files)
    key_id = kms.call("CreateKey").json["KeyMetadata"]["KeyId"]
    with ExitStack() as idle:
        for _ in range(500):
            idle.enter_context(socket.create_connection(("127.0.0.1", short_of_files.port), 60))
        short_of_files.wait_until_ready()  # A health check is answered.
        # More than two files of the trail.
        answers = [raw_client(short_of_files).call("DescribeKey", {"KeyId": key_id}).status for _ in range(200)]
        assert answers == [200] * 200
        assert len(list((short_of_files.home / "service" / "audit").glob("audit-w1-*.jsonl"))) > 2


def raw_client(installation: Installation) -> RawKms:
    return RawKms(installation)


def test_a_request_too_long_for_the_trail_costs_nobody_else_an_answer(own: Installation) -> None:
    raw = raw_client(own)
    key_id = raw.call("CreateKey").json["KeyMetadata"]["KeyId"]
    long = "x" * 300_000
    hostile: list[tuple[str, dict[str, Any]]] = [
        ("DescribeKey", {"KeyId": long}),
        ("Encrypt", {"KeyId": key_id, "Plaintext": "eA==", "EncryptionContext": {"a": long}}),
        ("CreateKey", {"Policy": "\n" * 131_000}),
        ("CreateAlias", {"AliasName": "alias/" + long, "TargetKeyId": key_id}),
    ]
    answers: list[int] = []

    def honest() -> None:
        client = raw_client(own)
        answers.extend(client.call("DescribeKey", {"KeyId": key_id}).status for _ in range(20))

    threads = [threading.Thread(target=honest) for _ in range(4)]
    for thread in threads:
        thread.start()
    for operation, request in hostile * 5:
        assert raw.call(operation, request).status == 400, operation
    for thread in threads:
        thread.join(240)
    assert answers == [200] * 80


def test_sixty_four_of_the_largest_requests_at_once_fit_into_frames(own: Installation) -> None:
    raw = raw_client(own)
    key_id = raw.call("CreateKey").json["KeyMetadata"]["KeyId"]
    context = {str(number): "v" * 1000 for number in range(8)}
    blob = raw.call("Encrypt", {"KeyId": key_id, "Plaintext": b64(os.urandom(4096)), "EncryptionContext": context})
    request = {
        "CiphertextBlob": blob.json["CiphertextBlob"],
        "SourceEncryptionContext": context,
        "DestinationKeyId": key_id,
        "DestinationEncryptionContext": context,
    }

    def move(_: int) -> int:
        return raw_client(own).call("ReEncrypt", request).status

    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(move, range(192))) == {200}
    assert raw.call("GenerateRandom", {"NumberOfBytes": 8}).status == 200


def test_a_store_that_cannot_tell_what_changed_fails_only_while_it_cannot(own: Installation) -> None:
    raw = raw_client(own)
    key_id = raw.call("CreateKey").json["KeyMetadata"]["KeyId"]
    path = own.home / "service" / "store.db"
    with closing(sqlite3.connect(path)) as store:
        store.execute("INSERT INTO changes (kind, identity) VALUES (?, CAST(X'FF' AS TEXT))", ("kms_keys",))
        store.commit()
        during = raw.call("DescribeKey", {"KeyId": key_id}).status
        store.execute("DELETE FROM changes WHERE seq = (SELECT max(seq) FROM changes)")
        store.commit()
    assert during in {200, 500}
    for _ in range(3):
        assert raw.call("DescribeKey", {"KeyId": key_id}).status == 200
    own.wait_until_ready()


def test_a_module_in_the_working_directory_is_not_run(own: Installation, tmp_path: Path) -> None:
    planted = tmp_path / "argparse.py"
    planted.write_text("open(__file__ + '.ran', 'w').close()\nraise SystemExit('planted')\n")
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        command = own.cli_program()
        assert command("audit", "verify", "--home", str(own.home)).returncode == 0
        assert command("doctor", "--home", str(own.home)).returncode == 0
    finally:
        os.chdir(here)
    assert not planted.with_name("argparse.py.ran").exists()
