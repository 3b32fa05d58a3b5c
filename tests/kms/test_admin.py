"""Operators' commands over the admin socket: what they do and refuse, who may ask, and that every change is recorded."""

from __future__ import annotations

import asyncio
import json
import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from strongroom.kms.admin.commands import _TABLE
from strongroom.kms.admin.server import AdminServer
from testkit.installation import ACCOUNT, REGION, Installation
from testkit.raw import (
    RawKms,
    admin_line,
    allow,
    ask_admin,
    ask_iam,
    assert_allowed,
    audit_records,
    make_user,
    nothing_breaks,
    policy,
    set_access_key,
)


def name() -> str:
    return f"op-{uuid.uuid4().hex[:10]}"


def refusal(installation: Installation, command: str, **arguments: Any) -> str:
    answer = admin_line(installation, json.dumps({"command": command, "arguments": arguments}).encode())
    assert set(answer) == {"error"}, answer
    return str(answer["error"])


def iam_refusal(installation: Installation, action: str, account: str = "", /, **form: str) -> str:
    return refusal(installation, "iam", account=account, action=action, form=json.dumps(form))


def test_users_and_access_keys_are_made_and_listed(installation: Installation) -> None:
    user = make_user(installation, name(), policy(allow("kms:ListKeys")))
    listed = ask_iam(installation, "ListAccessKeys", UserName=user.name)["AccessKeyMetadata"]
    assert [(key["AccessKeyId"], key["Status"]) for key in listed] == [(user.access_key_id, "Active")]
    assert (user.access_key_id[:4], len(user.access_key_id), len(user.secret)) == ("AKIA", 20, 40)
    assert_allowed(user.kms.call("ListKeys"))
    found = ask_iam(installation, "GetUser", UserName=user.name)["User"]
    assert (found["UserId"][:4], found["Arn"], found["Path"]) == ("AIDA", user.arn, "/")
    assert found["CreateDate"].endswith("Z")
    shown = ask_iam(installation, "GetUserPolicy", UserName=user.name, PolicyName="inline")
    assert shown["PolicyDocument"]["Statement"] == [allow("kms:ListKeys")]


@pytest.mark.parametrize("user", ["", "a b", "a/b", "ä", "x" * 65, "*", "${*}", "a\n", "a:b"])
def test_a_user_name_is_refused(installation: Installation, user: str) -> None:
    assert iam_refusal(installation, "CreateUser", UserName=user).startswith("ValidationError: ")


@pytest.mark.parametrize("extra", ["+=,.@-_", "A" * 40])
def test_a_user_name_is_taken(installation: Installation, extra: str) -> None:
    ask_iam(installation, "CreateUser", UserName=name() + extra)


def test_what_does_not_exist_or_exists_is_said(installation: Installation) -> None:
    user = name()
    ask_iam(installation, "CreateUser", UserName=user)
    taken = f"EntityAlreadyExists: User with name {user} already exists."
    assert iam_refusal(installation, "CreateUser", UserName=user) == taken
    nobody = f"NoSuchEntity: The user with name {user}-x cannot be found."
    for action in ("CreateAccessKey", "DeleteUser", "GetUser", "ListAccessKeys"):
        assert iam_refusal(installation, action, UserName=f"{user}-x") == nobody
    key = {"UserName": user, "AccessKeyId": "AKIA" + "X" * 16}
    words = f"NoSuchEntity: The Access Key with id {key['AccessKeyId']} cannot be found."
    assert iam_refusal(installation, "DeleteAccessKey", **key) == words
    assert iam_refusal(installation, "UpdateAccessKey", **key, Status="Inactive") == words
    for status in ("active", "", "Deleted", "Expired"):
        assert iam_refusal(installation, "UpdateAccessKey", **key, Status=status).startswith("ValidationError: ")


@pytest.mark.parametrize(
    "action", ["", "Encrypt", "AssumeRole", "createUser", "create-user", "__init__", "DeleteAccount"]
)
def test_what_is_no_action_of_iam_is_refused(installation: Installation, action: str) -> None:
    assert iam_refusal(installation, action) == f"ValidationError: there is no action {action!r}"


@pytest.mark.parametrize("form", ["", "nothing", "[]", '{"UserName":1}', '{"UserName":["x"]}', "[" * 100_000])
def test_parameters_that_are_no_texts_are_refused(installation: Installation, form: str) -> None:
    with nothing_breaks(installation):
        said = refusal(installation, "iam", account="", action="CreateUser", form=form)
    assert said == "MalformedInput: The parameters are no object of texts."


def test_a_policy_that_would_not_be_evaluated_is_refused_and_leaves_nothing(installation: Installation) -> None:
    user = name()
    ask_iam(installation, "CreateUser", UserName=user)
    bad = policy(allow("kms:*", Condition={"Equals": {}}))
    said = iam_refusal(installation, "PutUserPolicy", UserName=user, PolicyName="p", PolicyDocument=bad)
    assert said.startswith("MalformedPolicyDocument: ")
    assert ask_iam(installation, "ListUserPolicies", UserName=user)["PolicyNames"] == []


# ── accounts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def account_number() -> str:
    return f"{uuid.uuid4().int % 10**11 + 10**11:012}"


def test_an_account_is_made_with_an_administrator_who_may_do_everything_in_it_and_nothing_elsewhere(
    installation: Installation,
) -> None:
    account = account_number()
    made = ask_admin(installation, "create-account", account=account, name="payroll")
    assert {"account": account, "name": "payroll"} in ask_admin(installation, "list-accounts")
    administrator = RawKms(installation, made["access_key_id"], made["secret_access_key"])
    key = assert_allowed(administrator.call("CreateKey"))["KeyMetadata"]
    assert key["AWSAccountId"] == account
    users = ask_iam(installation, "ListUsers", account)["Users"]
    assert [user["Arn"] for user in users] == [f"arn:aws:iam::{account}:user/admin"]
    assert made["user"] == "admin"
    assert "admin" not in {user["UserName"] for user in ask_iam(installation, "ListUsers")["Users"]}


@pytest.mark.parametrize(
    "account", ["", "1", "12345678901", "1234567890123", "12345678901x", "１２３４５６７８９０１２", "main"]
)
def test_what_is_no_account_number_makes_no_account(installation: Installation, account: str) -> None:
    said = refusal(installation, "create-account", account=account, name="x")
    assert said == "ValidationError: an account has a number of 12 digits"


@pytest.mark.parametrize("called", ["", "x" * 51, "a\nb", "ä"])
def test_a_name_that_nobody_can_read_makes_no_account(installation: Installation, called: str) -> None:
    said = refusal(installation, "create-account", account=account_number(), name=called)
    assert said == "ValidationError: the name of an account has 1 to 50 printable ASCII characters"


def test_an_account_is_made_once_and_the_main_account_never(installation: Installation) -> None:
    account = account_number()
    ask_admin(installation, "create-account", account=account, name="one")
    for taken in (account, ACCOUNT):
        said = refusal(installation, "create-account", account=taken, name="two")
        assert said == f"EntityAlreadyExists: There is an account {taken} already."


def emptied(installation: Installation, account: str) -> None:
    """Without the administrator with whom it was made."""
    for key in ask_iam(installation, "ListAccessKeys", account, UserName="admin")["AccessKeyMetadata"]:
        ask_iam(installation, "DeleteAccessKey", account, UserName="admin", AccessKeyId=key["AccessKeyId"])
    for policy_name in ask_iam(installation, "ListUserPolicies", account, UserName="admin")["PolicyNames"]:
        ask_iam(installation, "DeleteUserPolicy", account, UserName="admin", PolicyName=policy_name)
    ask_iam(installation, "DeleteUser", account, UserName="admin")


def test_an_empty_account_is_deleted_for_good_and_its_number_is_not_given_again(installation: Installation) -> None:
    account = account_number()
    made = ask_admin(installation, "create-account", account=account, name="short-lived")
    kms = RawKms(installation, made["access_key_id"], made["secret_access_key"])
    assert_allowed(kms.call("ListKeys"))
    emptied(installation, account)
    assert ask_admin(installation, "delete-account", account=account) == {"account": account, "name": "short-lived"}
    assert account not in {row["account"] for row in ask_admin(installation, "list-accounts")}
    assert kms.call("ListKeys").code == "UnrecognizedClientException"
    assert refusal(installation, "delete-account", account=account) == f"NoSuchEntity: There is no account {account}."
    assert (
        iam_refusal(installation, "CreateUser", account, UserName="x")
        == f"NoSuchEntity: There is no account {account}."
    )
    said = refusal(installation, "create-account", account=account, name="again")
    assert (
        said == f"EntityAlreadyExists: There was an account {account}, and others' policies may name it: take another."
    )
    deletions = [event for event in audit_records(installation) if event["eventName"] == "delete-account"]
    mine = [event for event in deletions if event["requestParameters"] == {"account": account}]
    assert [(event.get("phase"), event["responseElements"] if "phase" not in event else None) for event in mine] == [
        ("intent", None),
        (None, {"account": account, "name": "short-lived"}),
    ]


def test_an_account_that_has_something_is_not_deleted_and_it_is_said_what(installation: Installation) -> None:
    account = account_number()
    made = ask_admin(installation, "create-account", account=account, name="full")
    kms = RawKms(installation, made["access_key_id"], made["secret_access_key"])
    keys = sorted(assert_allowed(kms.call("CreateKey"))["KeyMetadata"]["KeyId"] for _ in range(2))
    text = policy(allow("kms:*"))
    trust = policy({"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"})
    for number in range(12):
        ask_iam(installation, "CreateUser", account, UserName=f"u{number:02}")
    ask_iam(installation, "CreateGroup", account, GroupName="g")
    ask_iam(installation, "CreateRole", account, RoleName="r", AssumeRolePolicyDocument=trust)
    arn = ask_iam(installation, "CreatePolicy", account, PolicyName="p", PolicyDocument=text)["Policy"]["Arn"]
    users = ", ".join(["admin", *[f"u{number:02}" for number in range(9)]])
    said = refusal(installation, "delete-account", account=account)
    assert said == (
        f"DeleteConflict: The account {account} is not empty: keys in {REGION} {', '.join(keys)}; "
        f"users {users} and more; groups g; roles r; policies p."
    )
    assert {"account": account, "name": "full"} in ask_admin(installation, "list-accounts")
    # A key that waits for its deletion is there.
    for key in keys:
        assert_allowed(kms.call("ScheduleKeyDeletion", {"KeyId": key}))
    for number in range(12):
        ask_iam(installation, "DeleteUser", account, UserName=f"u{number:02}")
    ask_iam(installation, "DeleteGroup", account, GroupName="g")
    ask_iam(installation, "DeleteRole", account, RoleName="r")
    ask_iam(installation, "DeletePolicy", account, PolicyArn=arn)
    emptied(installation, account)
    said = refusal(installation, "delete-account", account=account)
    assert said == f"DeleteConflict: The account {account} is not empty: keys in {REGION} {', '.join(keys)}."


def test_the_main_account_is_never_deleted(installation: Installation) -> None:
    said = refusal(installation, "delete-account", account=ACCOUNT)
    assert said == f"ValidationError: {ACCOUNT} is the main account, which stays as long as the home."
    assert ask_iam(installation, "GetAccountSummary")


def test_whoever_makes_somebody_while_the_account_is_deleted_makes_nobody_or_keeps_the_account(
    installation: Installation,
) -> None:
    for _ in range(3):
        account = account_number()
        ask_admin(installation, "create-account", account=account, name="contested")
        emptied(installation, account)
        form = json.dumps({"UserName": "late"})
        asked = [
            ("delete-account", {"account": account}),
            ("iam", {"account": account, "action": "CreateUser", "form": form}),
        ]
        with ThreadPoolExecutor(2) as pool:
            lines = [json.dumps({"command": command, "arguments": words}).encode() for command, words in asked]
            deleted, created = pool.map(lambda line: admin_line(installation, line), lines)
        is_there = account in {row["account"] for row in ask_admin(installation, "list-accounts")}
        assert ("result" in deleted, "result" in created) in {(True, False), (False, True)}, (deleted, created)
        assert is_there is ("result" in created)


def test_in_an_account_that_is_not_there_nothing_is_done(installation: Installation) -> None:
    account = account_number()
    assert iam_refusal(installation, "ListUsers", account) == f"NoSuchEntity: There is no account {account}."
    assert iam_refusal(installation, "CreateUser", account, UserName="x").startswith("NoSuchEntity: ")


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────


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
        b'{"command":"\xff"}',
        b'{"command":"status","command":"sections"}',
        b"[" * 100_000,
        b'{"command":"status","arguments":{"a":' + b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_request_is_refused(installation: Installation, line: bytes) -> None:
    with nothing_breaks(installation):
        assert admin_line(installation, line) == {"error": "not a request"}


def test_a_line_without_end_is_hung_up_on(installation: Installation) -> None:
    with nothing_breaks(installation):
        assert admin_line(installation, b"x" * (1 << 20)) is None


def test_every_change_is_recorded_with_intent_and_outcome_and_its_operator(installation: Installation) -> None:
    before = len(audit_records(installation))
    user = make_user(installation, name(), policy(allow("*")))
    set_access_key(installation, user, "Inactive")
    iam_refusal(installation, "DeleteUser", UserName=user.name)
    ask_iam(installation, "GetUser", UserName=user.name)
    made = ask_admin(installation, "create-account", account=account_number(), name="recorded")
    events = [event for event in audit_records(installation)[before:] if event["sourceIPAddress"] == "admin-socket"]
    actions = ("CreateUser", "PutUserPolicy", "CreateAccessKey", "UpdateAccessKey", "DeleteUser")
    assert [
        (event["eventName"], event["eventSource"], event.get("phase"), event.get("errorCode")) for event in events
    ] == [
        *(
            (action, "iam.amazonaws.com", phase, "DeleteConflict" if action == "DeleteUser" and phase is None else None)
            for action in actions
            for phase in ("intent", None)
        ),
        *(("create-account", "kms.amazonaws.com", phase, None) for phase in ("intent", None)),
    ]
    for event in events:
        assert (event["userIdentity"]["type"], event["readOnly"]) == ("StrongroomOperator", False)
        assert not any(secret in str(event) for secret in (user.secret, made["secret_access_key"]))
    created = events[5]["responseElements"]["accessKey"]
    assert (created["accessKeyId"], created["userName"]) == (user.access_key_id, user.name)
    assert events[-1]["responseElements"]["access_key_id"] == made["access_key_id"]


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
