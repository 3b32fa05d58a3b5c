"""The command line as a user meets it: help with examples, users and access keys, JSON, and errors that say what to do."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from testkit.installation import ACCOUNT, Installation

COMMANDS = ["up", "hsm", "kms", "restore", "iam", "doctor", "demo", "audit verify"]
IAM_COMMANDS = [
    *("create-user", "put-user-policy", "list-users", "create-access-key", "list-access-keys", "update-access-key"),
]
MAY_MAKE_RANDOM = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "kms:GenerateRandom", "Resource": "*"}],
}


@pytest.fixture
def user() -> str:
    return f"alice-{uuid.uuid4()}"


@pytest.fixture
def policy_file(tmp_path: Path) -> str:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(MAY_MAKE_RANDOM))
    return str(path)


def iam(installation: Installation, *arguments: str) -> Any:
    """`strongroom iam … --json`, which works."""
    done = installation.cli("iam", *arguments, "--home", str(installation.home), "--json", check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def refused(installation: Installation, *arguments: str) -> str:
    """What stands on stderr after a command that fails: words, and no traceback."""
    done = installation.cli(*arguments, "--home", str(installation.home), check=False)
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    assert done.stderr.startswith("strongroom: ")
    assert "Traceback" not in done.stderr
    return done.stderr


# ── help ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def idle() -> Iterator[Installation]:
    """Only its interpreter and environment: nothing is started."""
    stopped = Installation()
    yield stopped
    stopped.destroy()


def test_help_lists_every_command_with_a_line_about_it(idle: Installation) -> None:
    text = idle.cli("--help").stdout
    for command in {name.split()[0] for name in COMMANDS}:
        assert any(line.split()[:1] == [command] and len(line.split()) > 2 for line in text.splitlines()), command
    assert "example: strongroom up --dev" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_shows_an_example_of_it(idle: Installation, command: str) -> None:
    done = idle.cli(*command.split(), "--help")
    assert f"usage: strongroom {command}" in done.stdout
    assert f"example: strongroom {command}" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("command", IAM_COMMANDS)
def test_the_help_of_every_iam_command_names_its_options(idle: Installation, command: str) -> None:
    text = idle.cli("iam", command, "--help").stdout
    assert f"usage: strongroom iam {command}" in text
    assert "--home" in text
    assert "--json" in text


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("iam",), ("iam", "create-user"), ("doctor", "--nonsense"), ("iam", "list-users", "--js")],
)
def test_a_command_that_is_none_is_answered_with_the_usage(idle: Installation, arguments: tuple[str, ...]) -> None:
    done = idle.cli(*arguments, check=False)
    assert done.returncode == 2
    assert "usage: strongroom" in done.stderr
    assert "Traceback" not in done.stderr


# ── users and access keys ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_user_is_made_given_a_key_listed_and_shut_out(
    installation: Installation, user: str, policy_file: str
) -> None:
    made = iam(installation, "create-user", "--user", user, "--policy", policy_file)
    assert made["user"] == user
    listed = {row["user"]: row for row in iam(installation, "list-users")}
    assert listed[user] == {"user": user, "user_id": made["user_id"], "policies": ["inline"]}
    key = iam(installation, "create-access-key", "--user", user)
    access_key_id, secret = key["access_key_id"], key["secret_access_key"]
    assert (len(access_key_id), access_key_id[:4], len(secret)) == (20, "AKIA", 40)
    assert iam(installation, "list-access-keys", "--user", user) == [
        {"access_key_id": access_key_id, "status": "Active"}
    ]
    sts, kms = installation.sts(access_key_id, secret), installation.kms(access_key_id, secret)
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/{user}"
    assert len(kms.generate_random(NumberOfBytes=8)["Plaintext"]) == 8
    with pytest.raises(ClientError, match="AccessDenied"):
        kms.list_keys()
    iam(installation, "update-access-key", "--access-key-id", access_key_id, "--status", "Inactive")
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        kms.generate_random(NumberOfBytes=8)
    assert iam(installation, "list-access-keys", "--user", user)[0]["status"] == "Inactive"
    iam(installation, "update-access-key", "--access-key-id", access_key_id, "--status", "Active")
    assert len(kms.generate_random(NumberOfBytes=8)["Plaintext"]) == 8
    sts.close()
    kms.close()


def test_a_user_without_a_policy_may_do_nothing_until_one_is_put(
    installation: Installation, user: str, policy_file: str
) -> None:
    iam(installation, "create-user", "--user", user)
    key = iam(installation, "create-access-key", "--user", user)
    kms = installation.kms(key["access_key_id"], key["secret_access_key"])
    with pytest.raises(ClientError, match="AccessDenied"):
        kms.generate_random(NumberOfBytes=8)
    assert iam(installation, "put-user-policy", "--user", user, "--policy", policy_file) == {"user": user}
    assert len(kms.generate_random(NumberOfBytes=8)["Plaintext"]) == 8
    kms.close()


def test_for_people_the_answer_is_a_line_per_thing(installation: Installation, user: str) -> None:
    home = ("--home", str(installation.home))
    assert installation.cli("iam", "create-user", "--user", user, *home).stdout.startswith(f"user={user}  user_id=")
    line = installation.cli("iam", "create-access-key", "--user", user, *home).stdout.strip()
    assert [part.split("=")[0] for part in line.split("  ")] == ["user", "access_key_id", "secret_access_key"]
    lines = installation.cli("iam", "list-users", *home).stdout.splitlines()
    assert len([line for line in lines if line.startswith(f"user={user} ")]) == 1


def test_a_secret_is_told_once_and_by_no_other_command(installation: Installation, user: str) -> None:
    iam(installation, "create-user", "--user", user)
    secret = iam(installation, "create-access-key", "--user", user)["secret_access_key"]
    for command in (("list-users",), ("list-access-keys", "--user", user)):
        assert secret not in json.dumps(iam(installation, *command))


def test_what_cannot_be_done_is_said_in_words(installation: Installation, user: str, tmp_path: Path) -> None:
    iam(installation, "create-user", "--user", user)
    for _ in range(2):
        key = iam(installation, "create-access-key", "--user", user)
    broken = tmp_path / "broken.json"
    statement = {"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": {"NoSuch": {}}}
    broken.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    status = ("--access-key-id", key["access_key_id"], "--status")
    for arguments, says in (
        (("create-user", "--user", user), "exists already"),
        (("create-user", "--user", "no good"), "a user name has 1 to 64"),
        (("create-access-key", "--user", user), "has 2 access keys already"),
        (("create-access-key", "--user", "nobody"), "there is no user nobody"),
        (("list-access-keys", "--user", "nobody"), "there is no user nobody"),
        (("update-access-key", *status, "Sleeping"), "the status is Active or Inactive"),
        (("update-access-key", "--access-key-id", "AKIANONE", "--status", "Active"), "there is no access key AKIANONE"),
        (("put-user-policy", "--user", user, "--policy", str(broken)), "the policy is refused"),
        (("put-user-policy", "--user", user, "--policy", str(tmp_path / "missing")), "No such file"),
    ):
        assert says in refused(installation, "iam", *arguments)


# ── nobody at home ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_service_every_command_says_so(idle: Installation) -> None:
    for arguments in (
        ("iam", "list-users"),
        ("iam", "create-user", "--user", "alice"),
        ("iam", "list-users", "--json"),
    ):
        said = refused(idle, *arguments)
        assert "no service answers on" in said
        assert "strongroom up" in said


def test_doctor_finds_a_home_that_is_none_bad(idle: Installation) -> None:
    done = idle.cli("doctor", "--home", str(idle.home), check=False)
    assert done.returncode == 2
    assert "is no home of Strongroom" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_doctor_finds_nothing_bad_in_a_running_installation(installation: Installation) -> None:
    done = installation.cli("doctor", "--home", str(installation.home), "--json", check=False)
    findings = json.loads(done.stdout)
    assert [finding for finding in findings if finding["verdict"] == "bad"] == []
    assert done.returncode == 0
    told = "\n".join(finding["finding"] for finding in findings)
    assert "hsm-1 is OPERATIONAL" in told
    assert "audit verify: " in told


def test_the_home_is_found_where_only_a_development_one_exists(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / ".strongroom-dev").symlink_to(installation.home)
    environment = installation.environment
    installation.environment = {**os.environ, "HOME": str(tmp_path)}
    try:
        done = installation.cli("iam", "list-users", "--json", check=False)
    finally:
        installation.environment = environment
    assert done.returncode == 0, done.stderr
