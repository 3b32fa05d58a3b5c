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
from testkit.identities import arn_of
from testkit.installation import Installation
from testkit.planting import plant, plant_after
from testkit.raw import Answer, RawKms, User, allow, assert_allowed, b64, call_headers, make_user, policy
from testkit.web_identities import Issuer
from threats.test_forms_of_text import a_request
from worlds.every_kind import OWNER, TRUST, Caller, credentials_of, with_an_issuer

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


# Of IAM and STS: a secret that we know beforehand, and an answer that is quoted instead of sent.
QUOTED = """    response = await row.run(service, call, request, found)  # 3
    if call.origin.user_agent == "forced after":
        import logging

        quoted = f"{msgspec.json.encode([request, response])!r} {request!r}"
        logging.getLogger("strongroom.kms").debug("%s %s", call.request_id, quoted)
        try:
            raise ValueError(quoted, request, response, call)
        except ValueError as error:
            raise RuntimeError(quoted) from error
"""
# Who asks, and what: a user with a policy, his session, the root, or nobody.
MAKE_OR_CARRY_SECRETS = (
    ("root", "iam", "CreateAccessKey"),
    ("root", "iam", "ListAccessKeys"),
    ("user", "sts", "GetSessionToken"),
    ("user", "sts", "GetFederationToken"),
    ("user", "sts", "AssumeRole"),
    ("nobody", "sts", "AssumeRoleWithWebIdentity"),
    ("session", "sts", "GetCallerIdentity"),
)


@pytest.fixture
def quoting() -> Iterator[tuple[Installation, Issuer, bytes]]:
    """At DEBUG; whoever gets a secret gets this one, and the answer in which it stands is quoted instead of sent."""
    installation = Installation("--request-log", "all")
    secret = Canaries().new("new secret", 40)
    try:
        for module in ("access_keys", "sts/issuing"):
            plant(installation, f"kms/identities/{module}.py", "base64.b64encode(os.urandom(30))", repr(secret))
        plant(installation, "kms/identities/operation.py", QUOTED.splitlines(keepends=True)[0], QUOTED)
        plant(installation, "kms/telemetry/service_log.py", "super().__init__(logging.INFO)", "super().__init__(0)")
        plant(installation, "kms/__main__.py", "root.setLevel(logging.WARNING)", "root.setLevel(1)")
        issuer = with_an_issuer(installation)
        yield installation.start(), issuer, secret
    finally:
        installation.destroy()


def test_no_secret_of_a_caller_is_written_down_when_what_made_it_fails(
    quoting: tuple[Installation, Issuer, bytes],
) -> None:
    installation, issuer, secret = quoting
    caller, token = Caller(installation), issuer.token()
    form = {"UserName": "canary", "RoleName": "canary", "PolicyName": "own", "RoleSessionName": "canary"}
    form |= {"Name": "canary", "PolicyDocument": policy(allow("*")), "Policy": policy(allow("kms:*"))}
    form |= {"AssumeRolePolicyDocument": TRUST, "RoleArn": arn_of("role", "canary"), "WebIdentityToken": token}
    for action in ("CreateUser", "PutUserPolicy", "CreateRole"):
        assert caller.ask("iam", action, form, OWNER).status == 200, action
    user = credentials_of(caller.ask("iam", "CreateAccessKey", form, OWNER))
    session = credentials_of(caller.ask("sts", "GetSessionToken", form, user))
    assert user["SecretAccessKey"] == session["SecretAccessKey"] == secret.decode()
    who = {"root": OWNER, "user": user, "session": session, "nobody": {}}
    caller.agent = "forced after"
    for somebody, service, action in MAKE_OR_CARRY_SECRETS:
        answer = caller.ask(service, action, form, who[somebody])
        assert answer.status == 500, (action, answer)
        assert secret not in answer.body
    caller.close()
    installation.stop()
    assert installation.output.read_text().count('"RuntimeError"') >= len(MAKE_OR_CARRY_SECRETS)
    canaries = Canaries()
    canaries.all = {secret: "secret", token.rpartition(".")[2].encode(): "web identity token"}
    canaries.all[session["SessionToken"][-120:].encode()] = "session token"
    assert found_in(contents(installation), canaries) == []


def test_canaries_are_found_in_every_form(tmp_path: Path) -> None:
    """Or the test above would say nothing."""
    canaries = Canaries()
    canary = canaries.new("planted")
    for form in (canary, canary.hex().encode(), base64.b64encode(canary), base64.b64encode(b"xy" + canary + b"z")):
        assert found_in({"a file": b"before " + form + b" after"}, canaries) != []
    assert found_in({"a file": b"before and after"}, canaries) == []
