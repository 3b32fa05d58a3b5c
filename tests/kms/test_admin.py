"""Operators' commands over the admin socket: what they do and refuse, who may ask, and that every change is recorded."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from pathlib import Path
from typing import Any, cast

import pytest

from strongroom.kms.admin.commands import _TABLE
from strongroom.kms.admin.server import AdminServer
from testkit.installation import ACCOUNT, REGION, Installation
from testkit.raw import RawKms, admin_line, allow, ask_admin, assert_allowed, audit_records, nothing_breaks, policy


def name() -> str:
    return f"op-{uuid.uuid4().hex[:10]}"


def refusal(installation: Installation, command: str, **arguments: Any) -> str:
    answer = admin_line(installation, json.dumps({"command": command, "arguments": arguments}).encode())
    assert set(answer) == {"error"}, answer
    return str(answer["error"])


def test_users_and_access_keys_are_made_and_listed(installation: Installation) -> None:
    user = name()
    made = ask_admin(installation, "create-user", user=user, policy=policy(allow("kms:ListKeys")))
    assert made == {"user": user, "user_id": made["user_id"]}
    assert made["user_id"].startswith("AIDA")
    listed = {row["user"]: row for row in ask_admin(installation, "list-users")}
    assert listed[user] == {**made, "policies": ["inline"]}
    keys = [ask_admin(installation, "create-access-key", user=user) for _ in range(2)]
    assert ask_admin(installation, "list-access-keys", user=user) == sorted(
        [{"access_key_id": key["access_key_id"], "status": "Active"} for key in keys], key=lambda k: k["access_key_id"]
    )
    for key in keys:
        assert (key["access_key_id"][:4], len(key["access_key_id"]), len(key["secret_access_key"])) == ("AKIA", 20, 40)
        assert_allowed(RawKms(installation, key["access_key_id"], key["secret_access_key"]).call("ListKeys"))
    assert refusal(installation, "create-access-key", user=user) == f"the user {user} has 2 access keys already"


@pytest.mark.parametrize("user", ["", "a b", "a/b", "ä", "x" * 65, "*", "${*}", "a\n", "a:b"])
def test_a_user_name_is_refused(installation: Installation, user: str) -> None:
    words = "a user name has 1 to 64 letters, digits and _+=,.@-"
    assert refusal(installation, "create-user", user=user, policy="") == words


@pytest.mark.parametrize("extra", ["+=,.@-_", "A" * 40])
def test_a_user_name_is_taken(installation: Installation, extra: str) -> None:
    ask_admin(installation, "create-user", user=name() + extra, policy="")


def test_what_does_not_exist_or_exists_is_said(installation: Installation) -> None:
    user = name()
    ask_admin(installation, "create-user", user=user, policy="")
    assert refusal(installation, "create-user", user=user, policy="") == f"the user {user} exists already"
    nobody = f"there is no user {user}-x"
    assert refusal(installation, "put-user-policy", user=f"{user}-x", policy=policy(allow("*"))) == nobody
    assert refusal(installation, "create-access-key", user=f"{user}-x") == nobody
    assert refusal(installation, "list-access-keys", user=f"{user}-x") == nobody
    assert refusal(installation, "update-access-key", access_key_id="AKIAX", status="Active") == (
        "there is no access key AKIAX"
    )
    key = ask_admin(installation, "create-access-key", user=user)["access_key_id"]
    for status in ("active", "", "Deleted"):
        words = "the status is Active or Inactive"
        assert refusal(installation, "update-access-key", access_key_id=key, status=status) == words


def test_a_policy_that_would_not_be_evaluated_is_refused_and_leaves_nothing(installation: Installation) -> None:
    user = name()
    bad = policy(allow("kms:*", Condition={"Equals": {}}))
    words = "the policy is refused: Statement[0].Condition: there is no condition operator 'Equals'"
    before = len(audit_records(installation))
    assert refusal(installation, "create-user", user=user, policy=bad) == words
    assert len(audit_records(installation)) == before
    ask_admin(installation, "create-user", user=user, policy="")
    before = len(audit_records(installation))
    assert refusal(installation, "put-user-policy", user=user, policy=bad) == words
    assert refusal(installation, "put-user-policy", user=user, policy="").startswith("the policy is refused")
    assert len(audit_records(installation)) == before


@pytest.mark.parametrize("command", sorted(_TABLE))
def test_a_command_takes_its_arguments_and_no_others(installation: Installation, command: str) -> None:
    for arguments in ({"odd": "x"}, {"self": "x"}, {"call": "x"}, {"user": 7, "policy": None}, {"user": ["x"]}):
        assert refusal(installation, command, **arguments).startswith(f"{command} takes ")


@pytest.mark.parametrize(
    "command", ["", "nothing", "create_user", "CREATE-USER", "run", "__init__", "Encrypt", "../status"]
)
def test_an_unknown_command_is_refused(installation: Installation, command: str) -> None:
    assert refusal(installation, command) == f"unknown command {command!r}"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nothing",
        b"{}",
        b"[]",
        b'{"command":7}',
        b'{"command":"status","arguments":[]}',
        b'{"command":"status","more":1}',
        b'{"command":"status"} trailing',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_request_is_refused(installation: Installation, line: bytes) -> None:
    with nothing_breaks(installation):
        assert admin_line(installation, line) == {"error": "not a request"}


def test_a_line_without_end_is_hung_up_on(installation: Installation) -> None:
    with nothing_breaks(installation):
        assert admin_line(installation, b"x" * (1 << 20)) is None


def test_every_change_is_recorded_with_intent_and_outcome_and_its_operator(installation: Installation) -> None:
    user = name()
    before = len(audit_records(installation))
    ask_admin(installation, "create-user", user=user, policy=policy(allow("*")))
    key = ask_admin(installation, "create-access-key", user=user)
    ask_admin(installation, "put-user-policy", user=user, policy=policy(allow("kms:*")))
    ask_admin(installation, "update-access-key", access_key_id=key["access_key_id"], status="Inactive")
    events = [event for event in audit_records(installation)[before:] if event["sourceIPAddress"] == "admin-socket"]
    assert [(event["eventName"], event.get("phase")) for event in events] == [
        (command, phase)
        for command in ("create-user", "create-access-key", "put-user-policy", "update-access-key")
        for phase in ("intent", None)
    ]
    for event in events:
        assert (event["userIdentity"]["type"], event["readOnly"]) == ("StrongroomOperator", False)
        assert "policy" not in event["requestParameters"]
        assert key["secret_access_key"] not in str(event)


def test_the_status_says_how_hsm_and_audit_are(installation: Installation) -> None:
    status = ask_admin(installation, "status")
    assert (status["account"], status["region"]) == (ACCOUNT, REGION)
    assert status["audit"]["takes records"] is True
    (region,) = [region for region in status["regions"] if region["region"] == REGION]
    assert 0 < region["store"]["transactions"] <= region["store"]["commits"] <= region["store"]["mutations"]
    assert region["cached"].keys() >= {"keys", "references", "principals"}
    assert set(status["hsm"]) >= {"state", "id", "domain", "domain_id", "state_version", "measures", "commands"}


def test_a_trace_tells_of_commands_and_of_no_data(installation: Installation) -> None:
    kms = RawKms(installation)
    key = assert_allowed(kms.call("CreateKey"))["KeyMetadata"]
    ask_admin(installation, "trace", switch="on")
    assert_allowed(kms.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": "eA=="}))
    ask_admin(installation, "trace", switch="read")
    assert_allowed(kms.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": "eA=="}))
    (trace,) = ask_admin(installation, "trace", switch="read")
    assert trace["hbkid"] == key["CurrentKeyMaterialId"]
    assert ask_admin(installation, "trace", switch="read") == []
    ask_admin(installation, "trace", switch="off")
    assert_allowed(kms.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": "eA=="}))
    assert ask_admin(installation, "trace", switch="read") == []


def test_a_user_id_that_is_not_on_the_list_is_hung_up_on_before_a_byte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def main() -> bytes:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen()
        server = AdminServer([listening], {4711}, cast("Any", None))
        server.start()
        reader, writer = await asyncio.open_unix_connection(str(path))
        received = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        server.stop()
        return received

    assert asyncio.run(main()) == b""


def test_the_socket_is_no_http(installation: Installation) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(installation.home / "run" / "kms" / "admin.sock"))
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1000) == b'{"error":"not a request"}\n'
