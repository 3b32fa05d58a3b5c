"""Classes 1, 16, 23 and 24: there is one way in, and it asks who comes.

The Query services share the port with KMS: whatever IAM or STS call itself, nobody is let in unsigned, and no name
from inside is an action there. (KMS's own 56 operations, its targets and its paths: `tests/kms/test_operations_refused.py`.)
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import botocore.session
import pytest

from kms.test_operations_refused import internal_names
from testkit.installation import Installation
from testkit.raw import RawKms, amz_date, b64, nothing_breaks, signed_headers, table_dump

FORM = b"application/x-www-form-urlencoded; charset=utf-8"
VERSIONS = {"iam": "2010-05-08", "sts": "2011-06-15"}


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def actions(service: str) -> list[str]:
    """Every action that the service has in AWS's model, whether or not it is here."""
    return list(botocore.session.get_session().get_service_model(service).operation_names)


def form_of(service: str, action: str) -> bytes:
    """With whatever an action may want, so that a name that is missing is not what refuses it."""
    members = {"UserName": "nobody", "RoleName": "nobody", "GroupName": "nobody", "PolicyName": "p", "Name": "n"}
    return urlencode({"Action": action, "Version": VERSIONS[service], **members}).encode()


@pytest.mark.parametrize("service", VERSIONS)
def test_no_action_of_iam_or_sts_answers_a_caller_who_is_nobody(
    installation: Installation, raw: RawKms, service: str
) -> None:
    host = f"127.0.0.1:{installation.port}"
    before = table_dump(installation)
    scope = f"test%2F{amz_date()[:8]}%2Fus-east-1%2F{service}%2Faws4_request"
    query = (
        f"/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Date={amz_date()}&X-Amz-SignedHeaders=host"
    )
    names = actions(service)
    assert len(names) > {"iam": 150, "sts": 8}[service]
    with nothing_breaks(installation):
        for action in names:
            body = form_of(service, action)
            good = signed_headers(host, body, [(b"Content-Type", FORM)], service=service)
            unsigned = [header for header in good if header[0] not in {b"Authorization", b"X-Amz-Date"}]
            for headers, target in (
                (unsigned, "/"),
                ([(n, v[:-1] + b"g" if n == b"Authorization" else v) for n, v in good], "/"),
                ([*good, *(header for header in good if header[0] == b"Authorization")], "/"),
                (unsigned, query),
                (unsigned, f"{query}&X-Amz-Signature={'0' * 64}"),
                (good, query),
                (good, "/?Action=" + action),
            ):
                answer = raw.send_as_is(headers, body, target=target)
                assert answer.status in {400, 403}, (action, target, answer)
                assert b"<Error>" in answer.body, (action, answer)
            # Signed for another service than the one that has the action.
            for other in ("kms", "s3"):
                answer = raw.send(body, [(b"Content-Type", FORM)], service=other)
                assert answer.status in {400, 403}, (action, other, answer)
    assert table_dump(installation) == before


@pytest.mark.parametrize("service", VERSIONS)
def test_no_name_from_inside_is_an_action(installation: Installation, raw: RawKms, service: str) -> None:
    before = table_dump(installation)
    known = set(actions(service))
    with nothing_breaks(installation):
        for name in internal_names():
            spellings = {name, name.lower(), "".join(part.title() for part in name.split("-")), f"strongroom:{name}"}
            for spelling in spellings - known:
                answer = raw.send(form_of(service, spelling), [(b"Content-Type", FORM)], service=service)
                assert (answer.status, b"<Code>InvalidAction</Code>" in answer.body) == (400, True), (spelling, answer)
    assert table_dump(installation) == before


# ── class 16 ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def files_of(pid: int) -> list[str]:
    """What a process has open; sockets by their kind, for connections come and go."""
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(descriptor.readlink()).partition("[")[0])
        except FileNotFoundError:
            continue
    return sorted(name for name in found if not name.startswith("socket:"))


def opened_paths(pid: int) -> list[str]:
    """Files that are mapped: a library or a module that was loaded since would show."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return sorted({line.split(None, 5)[5] for line in lines if len(line.split(None, 5)) > 5})


def test_the_hsm_opens_no_file_whatever_is_asked_of_it(installation: Installation, raw: RawKms, key_id: str) -> None:
    """Nothing that a caller sends names a file, and if it did, the HSM opens none. A filter of system calls comes later."""
    if os.geteuid() != 0:
        pytest.skip("only root sees what a process that cannot be dumped has open")
    pid = installation.pid_of("hsm")
    raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
    before = files_of(pid), opened_paths(pid)
    odd = ["../../etc/passwd", "/etc/shadow", "file:///etc/passwd", "\0", "%2e%2e%2f", "..\\..\\x", "/proc/self/mem"]
    with nothing_breaks(installation):
        for text in odd:
            context = {text: text}
            made = raw.call("Encrypt", {"KeyId": key_id, "Plaintext": b64(text.encode()), "EncryptionContext": context})
            opened = raw.call("Decrypt", {"CiphertextBlob": made.json["CiphertextBlob"], "EncryptionContext": context})
            assert opened.status == 200
            assert raw.call("Decrypt", {"CiphertextBlob": b64(text.encode() * 10)}).status == 400
            assert raw.call("CreateKey", {"Description": text}).status == 200
    assert (files_of(pid), opened_paths(pid)) == before


# ── class 23 ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_operators_do_is_not_to_be_had_on_the_customers_port(installation: Installation, raw: RawKms) -> None:
    """The admin socket's lines, as bodies and as bytes; who may speak on the socket itself: `tests/kms/test_admin.py`."""
    before = table_dump(installation)
    line = json.dumps({"command": "create-access-key", "arguments": {"user": "root"}}).encode()
    with nothing_breaks(installation):
        for target in ("/", "/admin", "/run/kms/admin.sock", "/ceremony"):
            answer = raw.send_as_is(
                [(b"Host", b"x"), (b"Content-Length", str(len(line)).encode())], line, target=target
            )
            assert answer.status in {400, 403, 404}
        with socket.create_connection(("127.0.0.1", installation.port), 10) as plain:
            plain.sendall(line + b"\n\n")
            received = b""
            while chunk := plain.recv(1 << 16):
                received += chunk
        assert b"access_key_id" not in received
        for service in VERSIONS:
            answer: Any = raw.send(line, [(b"Content-Type", b"application/json")], service=service)
            assert answer.status == 400
    assert table_dump(installation) == before
