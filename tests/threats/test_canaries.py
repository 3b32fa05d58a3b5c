"""Class 18: whatever fails, and however much is logged, nothing that is secret is written down.

OpenBao's audit repeated raw bodies (CVE-2025-62513), an error echoed one (CVE-2025-4166). Here every handler fails twice,
before and after its work, with an exception whose text quotes all that it had, and the service logs all that Python can log.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from kms.test_audit_of_calls import spellings
from kms.test_operations_refused import valid_requests
from strongroom.kms.operations.table import TABLE
from strongroom.kms.wire.model import Rule, structure_rule
from strongroom.kms.wire.shapes import OPERATIONS
from testkit.installation import Installation
from testkit.planting import plant, plant_after
from testkit.raw import Answer, RawKms, User, allow, assert_allowed, b64, call_headers, make_user, policy
from threats.test_forms_of_text import a_request

# What raises is the handler of whoever says so in its user agent; its text holds the request and the response in full.
FORCED = """
import logging as _logging

import msgspec as _msgspec


def _forced(run):
    async def failing(service, call, request):
        agent = call.origin.user_agent
        if not agent.startswith("forced"):
            return await run(service, call, request)
        _logging.getLogger("strongroom.kms").debug("%r %r", call, request)
        response = await run(service, call, request) if agent == "forced after" else None
        quoted = _msgspec.json.encode([request, response]).decode()
        try:
            raise ValueError(quoted, request, response, call)
        except ValueError as error:
            raise RuntimeError(f"{quoted} {request!r}") from error

    return failing


for _name, _row in list(TABLE.items()):
    TABLE[_name] = _msgspec.structs.replace(_row, run=_forced(_row.run))
"""
WHEN = ("forced before", "forced after")


@pytest.fixture(scope="module")
def own() -> Iterator[Installation]:
    """At DEBUG, in asyncio's debug mode, with every request a line, and with handlers that fail when they are told to."""
    running = Installation("--request-log", "all")
    try:
        plant_after(running, "kms/operations/table.py", FORCED)
        plant(running, "kms/telemetry/service_log.py", "super().__init__(logging.INFO)", "super().__init__(0)")
        plant(running, "kms/__main__.py", "root.setLevel(logging.WARNING)", "root.setLevel(1)")
        plant(
            running,
            "kms/__main__.py",
            'logging.getLogger("strongroom").setLevel(logging.INFO)',
            'logging.getLogger("strongroom").setLevel(1)',
        )
        running.environment.update(PYTHONASYNCIODEBUG="1", PYTHONDEVMODE="1", PYTHONFAULTHANDLER="1")
        yield running.start()
    finally:
        running.destroy()


class Canaries:
    """Each is used once, so that what is found says where it came from."""

    def __init__(self) -> None:
        self._number = count()
        self.all: dict[bytes, str] = {}

    def new(self, use: str, size: int = 24) -> bytes:
        canary = f"{next(self._number):04d}".encode() + os.urandom(size).hex().encode()[: size - 4]
        self.all[canary] = use
        return canary


def in_place_of_secrets(rule: Rule, value: Any, canaries: Canaries, use: str) -> Any:
    """A request with a canary in every blob and in every string that AWS's model calls sensitive."""
    match rule.kind:
        case "structure":
            members = {member.name: member.rule for member in rule.members}
            return {
                name: in_place_of_secrets(members[name], found, canaries, f"{use}.{name}") if name in members else found
                for name, found in value.items()
            }
        case "list" if rule.element is not None:
            return [in_place_of_secrets(rule.element, found, canaries, use) for found in value]
        case "blob":
            return b64(canaries.new(use))
        case "string" if rule.sensitive:
            return canaries.new(use, max(24, rule.minimum or 0)).decode()
    return value


def contents(installation: Installation) -> dict[str, bytes]:
    files = (*installation.home.rglob("*"), installation.output)
    return {str(path): path.read_bytes() for path in files if path.is_file() and not path.is_symlink()}


def found_in(contents_: dict[str, bytes], canaries: Canaries) -> list[tuple[str, str]]:
    return [
        (use, name)
        for canary, use in canaries.all.items()
        for spelling in spellings(canary)
        for name, content in contents_.items()
        if spelling in content
    ]


def forced(user: User, operation: str, body: Any, when: str, *more: tuple[bytes, bytes]) -> Answer:
    return user.kms.send(
        json.dumps(body).encode(),
        [*call_headers(operation), (b"User-Agent", when.encode()), *more],
        access_key_id=user.access_key_id,
        secret=user.secret,
    )


def test_no_secret_is_written_down_whatever_fails_in_any_handler(own: Installation) -> None:
    canaries = Canaries()
    root = RawKms(own)
    valid = valid_requests(root)
    user = make_user(own, f"canary-{uuid.uuid4().hex[:8]}", policy(allow("kms:*")))
    canaries.all[user.secret.encode()] = "secret access key"
    plain = canaries.new("Decrypt's answer")
    blob = assert_allowed(root.call("Encrypt", {"KeyId": valid["DescribeKey"]["KeyId"], "Plaintext": b64(plain)}))
    failed = dict.fromkeys(WHEN, 0)
    for operation in OPERATIONS:
        rule = structure_rule(OPERATIONS[operation].request)
        _, whole = a_request(operation)
        requests = [in_place_of_secrets(rule, whole, canaries, operation)]
        if operation in TABLE:
            sound = valid[operation]
            if operation == "Encrypt":
                sound = sound | {"Plaintext": b64(canaries.new("Encrypt.Plaintext"))}
            if "CiphertextBlob" in sound:
                sound = sound | {"CiphertextBlob": blob["CiphertextBlob"]}
            requests.append(sound)
        for request in requests:
            for when in WHEN:
                answer = forced(user, operation, request, when)
                assert answer.status in {400, 500}, (operation, when, answer)
                failed[when] += answer.status == 500
                assert not [use for canary, use in canaries.all.items() if canary in answer.body], (operation, answer)
    # Every handler failed before its work, and nearly all of them after it (a deleted alias cannot be deleted again).
    assert failed["forced before"] >= len(TABLE)
    assert failed["forced after"] >= len(TABLE) * 3 // 4
    # Credentials where they do not belong.
    token = canaries.new("session token", 200)
    for header in (b"X-Amz-Security-Token", b"X-Amz-Meta-Secret", b"Cookie"):
        forced(user, "DescribeKey", valid["DescribeKey"], "forced before", (header, token))
    wrong = canaries.new("wrong secret", 40).decode()
    user.kms.call("ListKeys", access_key_id=user.access_key_id, secret=wrong)
    user.kms.call("ListKeys", access_key_id=canaries.new("secret as an id", 40).decode(), secret=wrong)
    fresh = assert_allowed(root.call("CreateKey"))["KeyMetadata"]["KeyId"]
    generated = assert_allowed(root.call("GenerateDataKey", {"KeyId": fresh, "KeySpec": "AES_256"}))
    canaries.all[base64.b64decode(generated["Plaintext"])] = "data key"
    own.stop()
    written = contents(own)
    said = own.output.read_text()
    assert said.count('"RuntimeError"') >= sum(failed.values()), "each failure is told, by its type"
    assert '"level":"debug","event":"log","logger":"strongroom.kms"' in said, "the service did log at DEBUG"
    assert len(canaries.all) > 40
    # An access key's id is not secret, even when somebody puts a secret in its place: but nobody writes it down either.
    assert found_in(written, canaries) == []


def test_canaries_are_found_in_every_form(tmp_path: Path) -> None:
    """Or the test above would say nothing."""
    canaries = Canaries()
    canary = canaries.new("planted")
    for form in (canary, canary.hex().encode(), base64.b64encode(canary), base64.b64encode(b"xy" + canary + b"z")):
        assert found_in({"a file": b"before " + form + b" after"}, canaries) != []
    assert found_in({"a file": b"before and after"}, canaries) == []
