"""The demo: its story happens against a running installation, tells no secret, and leaves nothing behind."""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from strongroom.cli import demo
from strongroom.cli.__main__ import add_home
from strongroom.cli.admin_socket import ask
from strongroom.cli.envelope import CHUNK_BYTES, EnvelopeError, decrypt_file, encrypt_file, wipe
from strongroom.cli.kms_client import KmsClient
from testkit.installation import Installation, free_port

TITLES = [
    "Create a KMS key",
    "How it does not work: send the file to KMS",
    "GenerateDataKey",
    "Encrypt the file where it is",
    "Wipe the plain data key",
    "Store the wrapped key beside the encrypted file",
    "Decrypt the wrapped key",
    "Decrypt the file and compare",
    "The wrong context is refused",
]


def run(
    installation: Installation, *options: str, home: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """The demo as a user runs it: the endpoint by environment, everything else by default."""
    return subprocess.run(
        [sys.executable, "-m", "strongroom.cli", "demo", "--home", home or str(installation.home), *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "AWS_ENDPOINT_URL_KMS": f"http://127.0.0.1:{installation.port}", **environment},
    )


def steps_of(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return {step["title"]: step for step in json.loads(done.stdout)["steps"]}


# ── as a user ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_story_is_told_with_50_megabytes_and_no_file_is_left(installation: Installation, tmp_path: Path) -> None:
    done = run(installation, TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    text = " ".join(done.stdout.split())
    for number, title in enumerate(TITLES, 1):
        assert f"{number}. {title}" in text
    assert "All 50,000,000 bytes to Encrypt are refused: HTTP 413" in text
    assert "4,097 bytes to Encrypt are refused: HTTP 400 Bad Request: ValidationException: 1 validation error" in text
    assert "Member must have length less than or equal to 4096" in text
    assert ": equal." in text
    assert "HTTP 400 Bad Request: InvalidCiphertextException" in text
    assert text.count("who holds what") == len(TITLES)
    assert "data (50 MB) <- data key <- derived key (nonce " in text
    assert "\x1b" not in done.stdout
    assert "trace is not available" not in text
    assert list(tmp_path.iterdir()) == []


def test_json_tells_the_same_and_the_real_names_of_every_key(installation: Installation, kms: Any) -> None:
    steps = steps_of(run(installation, "--json", "--size-mb", "2"))
    assert list(steps) == TITLES
    made = steps["Create a KMS key"]["facts"]
    described = kms.describe_key(KeyId=made["key_arn"])["KeyMetadata"]
    assert made["hbkid"] == described["CurrentKeyMaterialId"]
    assert described["KeyState"] == "Disabled"
    refused = steps["How it does not work: send the file to KMS"]["facts"]
    assert (refused["whole_file"]["bytes"], refused["whole_file"]["status"]) == (2_000_000, 413)
    assert (refused["over_the_limit"]["bytes"], refused["over_the_limit"]["code"]) == (4097, "ValidationException")
    wrapping, unwrapping = steps["GenerateDataKey"]["trace"], steps["Decrypt the wrapped key"]["trace"]
    assert wrapping["hbkid"] == unwrapping["hbkid"] == made["hbkid"]
    assert wrapping["nonce"] == unwrapping["nonce"]
    assert (wrapping["command"], unwrapping["command"]) == ("GenerateDataKey", "Decrypt")
    for name in (wrapping["nonce"], made["hbkid"], wrapping["domain_key_id"]):
        assert name[:8] in steps["GenerateDataKey"]["hierarchy"]
    compared = steps["Decrypt the file and compare"]["facts"]
    assert (
        compared["sha256_before"]
        == compared["sha256_after"]
        == steps["Encrypt the file where it is"]["facts"]["plaintext_sha256"]
    )
    assert steps["Wipe the plain data key"]["facts"] == {"wiped_bytes": 32, "is_zero": True}
    assert steps["The wrong context is refused"]["facts"]["code"] == "InvalidCiphertextException"


def test_the_tables_say_who_holds_what(installation: Installation) -> None:
    steps = steps_of(run(installation, "--json", "--size-mb", "1"))
    generated = steps["GenerateDataKey"]["holdings"]
    hbkid, trace = steps["Create a KMS key"]["facts"]["hbkid"], steps["GenerateDataKey"]["trace"]
    ekt, wrapped = f"{trace['ekt_length']} B", f"{trace['output_length']} B"
    domain_key = trace["domain_key_id"][:8]
    assert generated["client"] == {"plain data key": "32 B", "wrapped data key": wrapped, "plaintext file": "1 MB"}
    assert generated["KMS service"] == {
        "plain data key": "(32 B)",
        "wrapped data key": f"({wrapped})",
        "EKT": f"({ekt})",
    }
    assert generated["HSM"] == {**generated["KMS service"], "HBK": f"({hbkid[:8]})", "domain key": domain_key}
    assert generated["storage"] == {"EKT": ekt}
    stored = steps["Store the wrapped key beside the encrypted file"]["holdings"]
    assert (stored["client"], stored["KMS service"], stored["HSM"]) == ({}, {}, {"domain key": domain_key})
    assert stored["storage"] == {"EKT": ekt, "wrapped data key": wrapped, "ciphertext file": "1,000,016 B"}
    for step in steps.values():
        assert not {"HBK", "domain key"} & set(step["holdings"]["client"]) | {"domain key"} & set(
            step["holdings"]["KMS service"]
        )
        assert not {"plain data key", "HBK", "domain key"} & set(step["holdings"]["storage"])


def test_without_the_admin_socket_the_story_goes_on_and_the_table_says_what_is_missing(
    installation: Installation, tmp_path: Path
) -> None:
    done = run(installation, "--size-mb", "1", home=str(tmp_path / "elsewhere"))
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert text.count("HSM the trace is not available: no service answers on") == len(TITLES)
    assert ": equal." in text
    assert "nonce not told without a trace" in text


def test_the_trace_of_another_installation_is_not_taken_for_this_one(installation: Installation) -> None:
    other = Installation().start()
    try:
        steps = steps_of(run(installation, "--size-mb", "1", "--json", home=str(other.home)))
    finally:
        other.destroy()
    assert all(step["trace"] is None for step in steps.values())
    assert "is not the one at this endpoint" in steps["GenerateDataKey"]["trace_missing"]
    assert steps["GenerateDataKey"]["holdings"]["HSM"] == {}


def test_other_clients_commands_in_the_trace_are_passed_over(installation: Installation, kms: Any) -> None:
    ours, theirs = (kms.create_key()["KeyMetadata"] for _ in range(2))
    trace = demo.HsmTrace(installation.home)
    try:
        for metadata in (ours, theirs):
            blob = kms.generate_data_key(KeyId=metadata["KeyId"], KeySpec="AES_256")["CiphertextBlob"]
            kms.decrypt(CiphertextBlob=blob)
        read = trace.read(ours["CurrentKeyMaterialId"], "GenerateDataKey")
    finally:
        trace.off()
    assert read is not None
    assert (read["hbkid"], read["command"]) == (ours["CurrentKeyMaterialId"], "GenerateDataKey")


def test_the_trace_is_off_afterwards(installation: Installation, kms: Any, key_id: str) -> None:
    steps_of(run(installation, "--size-mb", "1", "--json"))
    kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    assert ask(installation.home, "trace", switch="read") == []


def test_where_no_service_runs_it_says_how_to_start_one(installation: Installation) -> None:
    done = run(installation, AWS_ENDPOINT_URL_KMS=f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "no service answers on http://127.0.0.1:" in done.stderr
    assert "make up" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--access-key-id", "test", "--secret", "wrong"), "InvalidSignatureException"),
        (("--access-key-id", "test"), "--access-key-id and --secret are given together"),
        (("--endpoint", "localhost:4599"), "is no endpoint: http://HOST:PORT"),
        (("--size-mb", "0"), "a size is a number from 1 to 500"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(installation: Installation, options: tuple[str, ...], says: str) -> None:
    done = run(installation, *options)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_credentials_come_from_the_environment_before_the_development_ones(installation: Installation) -> None:
    done = run(installation, "--size-mb", "1", AWS_ACCESS_KEY_ID="nobody", AWS_SECRET_ACCESS_KEY="test")
    assert done.returncode == 1
    assert "UnrecognizedClientException" in done.stderr


# ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class _ListeningClient(KmsClient):
    """The demo's client, with an ear for the plain data keys that go through it."""

    heard: list[bytes]

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        answer = super().call(operation, **members)
        if "Plaintext" in answer:
            self.heard.append(base64.b64decode(answer["Plaintext"]))
        return answer


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_plain_data_key_is_in_the_output(
    installation: Installation, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[bytes] = []
    monkeypatch.setattr(_ListeningClient, "heard", heard, raising=False)
    monkeypatch.setattr(demo, "KmsClient", _ListeningClient)
    parser = argparse.ArgumentParser()
    demo.add_parser(parser.add_subparsers(), add_home)
    endpoint = f"http://127.0.0.1:{installation.port}"
    parsed = parser.parse_args(["demo", "--endpoint", endpoint, "--size-mb", "1", *options])
    assert parsed.run(parsed, installation.home) == 0
    output = capsys.readouterr().out
    # GenerateDataKey and Decrypt each told the same key.
    assert len(heard) == 2
    assert heard[0] == heard[1]
    key = heard[0]
    forms = [
        key.hex(),
        key.hex().upper(),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode(),
        repr(key),
    ]
    assert not [form for form in forms if form.strip("=") in output]
    assert len(output) > 1000


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_a_file_of_any_length_comes_back(tmp_path: Path, size: int) -> None:
    plain, encrypted, again = tmp_path / "plain", tmp_path / "encrypted", tmp_path / "again"
    data_key = bytearray(os.urandom(32))
    plain.write_bytes(os.urandom(size))
    encrypt_file(data_key, plain, encrypted)
    assert encrypted.stat().st_size == size + 16 * max(1, -(-size // CHUNK_BYTES))
    decrypt_file(data_key, encrypted, again)
    assert again.read_bytes() == plain.read_bytes()


def test_a_file_cut_off_lengthened_reordered_or_changed_does_not_open(tmp_path: Path) -> None:
    plain, encrypted = tmp_path / "plain", tmp_path / "encrypted"
    data_key, other_key = bytearray(os.urandom(32)), bytearray(os.urandom(32))
    plain.write_bytes(os.urandom(3 * CHUNK_BYTES))
    encrypt_file(data_key, plain, encrypted)
    whole, size = encrypted.read_bytes(), CHUNK_BYTES + 16
    first, second, third = whole[:size], whole[size : 2 * size], whole[2 * size :]
    changed = [
        *(b"".join(chunks) for n in range(5) for chunks in itertools.product((first, second, third), repeat=n)),
        *(whole[:-1], whole + b"\0", b"\1" + whole[1:], whole[:-1] + bytes([whole[-1] ^ 1])),
    ]
    refused = 0
    for content in changed:
        if content == whole:
            continue
        encrypted.write_bytes(content)
        with pytest.raises(EnvelopeError):
            decrypt_file(data_key, encrypted, tmp_path / "again")
        assert not (tmp_path / "again").exists()
        refused += 1
    assert refused == len(changed) - 1
    encrypted.write_bytes(whole)
    with pytest.raises(EnvelopeError):
        decrypt_file(other_key, encrypted, tmp_path / "again")


def test_wiping_overwrites_the_buffer_itself() -> None:
    data_key = bytearray(b"secret")
    view = memoryview(data_key)
    wipe(data_key)
    assert bytes(view) == bytes(6)
