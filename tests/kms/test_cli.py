"""The command line as a user meets it: help with examples, identities and accounts, JSON, and errors that say what to do."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from strongroom.cli.iam_actions import ACTIONS
from strongroom.cli.iam_words import ACTION_WORDS, OPTION_WORDS
from testkit.installation import ACCOUNT, Installation

COMMANDS = [
    "up",
    "hsm",
    "kms",
    "restore",
    "iam",
    "iam create-account",
    "iam delete-account",
    "doctor",
    "demo",
    "audit verify",
]
IAM_COMMANDS = [
    *("create-user", "put-user-policy", "list-users", "create-access-key", "list-ssh-public-keys", "list-mfa-devices"),
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


def test_every_action_of_iam_and_every_option_has_a_line_of_help() -> None:
    members = {word.partition(":")[0].removesuffix("!") for spelled in ACTIONS.values() for word in spelled.split()}
    assert (ACTION_WORDS.keys(), OPTION_WORDS.keys()) == (ACTIONS.keys(), members)
    assert len(set(ACTION_WORDS.values())) == len(ACTION_WORDS)
    assert all(0 < len(words) <= 90 for words in (*ACTION_WORDS.values(), *OPTION_WORDS.values()))


def test_the_help_of_an_action_says_what_it_does_and_of_what_kind_and_how_needed_its_options_are(
    idle: Installation,
) -> None:
    text = " ".join(idle.cli("iam", "create-role", "--help").stdout.split())
    assert "CreateRole of the IAM API: make a role, which those whom its trust policy names may assume." in text
    options, _, required = text.partition(" required: ")
    assert "--role-name TEXT the role" in required
    assert "FILE the trust policy: who may assume the role; a file, or the JSON itself" in required
    assert "--max-session-duration NUMBER how many seconds a session may last" in options
    assert "--tags Key=…,Value=… [Key=…,Value=… ...] tags that are set; several" in options
    assert "--path" not in required
    text = " ".join(idle.cli("iam", "update-access-key", "--help").stdout.split())
    assert "--status Active|Inactive|Expired whether it works" in text
    text = " ".join(idle.cli("iam", "get-account-authorization-details", "--help").stdout.split())
    assert "User|Role|Group|LocalManagedPolicy|AWSManagedPolicy" in text
    listed = idle.cli("iam", "--help").stdout
    assert " ".join(listed.split()).count("of the IAM API") == 0
    assert "delete an access key for good" in listed


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("iam",), ("iam", "create-user"), ("doctor", "--nonsense"), ("iam", "list-users", "--js")],
)
def test_a_command_that_is_none_is_answered_with_the_usage(idle: Installation, arguments: tuple[str, ...]) -> None:
    done = idle.cli(*arguments, check=False)
    assert done.returncode == 2
    assert "usage: strongroom" in done.stderr
    assert "Traceback" not in done.stderr


# ── identities ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_user_is_made_given_a_key_listed_and_shut_out(
    installation: Installation, user: str, policy_file: str
) -> None:
    made = iam(installation, "create-user", "--user-name", user)["User"]
    iam(installation, "put-user-policy", "--user-name", user, "--policy-name", "p", "--policy-document", policy_file)
    assert {row["UserName"]: row for row in iam(installation, "list-users")["Users"]}[user] == made
    key = iam(installation, "create-access-key", "--user-name", user)["AccessKey"]
    access_key_id, secret = key["AccessKeyId"], key["SecretAccessKey"]
    assert (len(access_key_id), access_key_id[:4], len(secret)) == (20, "AKIA", 40)
    of_user = ("--user-name", user)
    (listed,) = iam(installation, "list-access-keys", *of_user)["AccessKeyMetadata"]
    assert (listed["AccessKeyId"], listed["Status"]) == (access_key_id, "Active")
    sts, kms = installation.sts(access_key_id, secret), installation.kms(access_key_id, secret)
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/{user}"
    assert len(kms.generate_random(NumberOfBytes=8)["Plaintext"]) == 8
    with pytest.raises(ClientError, match="AccessDenied"):
        kms.list_keys()
    of_key = (*of_user, "--access-key-id", access_key_id)
    assert iam(installation, "update-access-key", *of_key, "--status", "Inactive") == {}
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        kms.generate_random(NumberOfBytes=8)
    iam(installation, "update-access-key", *of_key, "--status", "Active")
    assert len(kms.generate_random(NumberOfBytes=8)["Plaintext"]) == 8
    sts.close()
    kms.close()


@pytest.mark.parametrize("spell", [str, "file://{}".format, lambda name: Path(name).read_text(encoding="utf-8")])
def test_a_document_is_given_by_the_name_of_its_file_or_as_it_is(
    installation: Installation, user: str, policy_file: str, spell: Callable[[str], str]
) -> None:
    iam(installation, "create-user", "--user-name", user)
    named = ("--user-name", user, "--policy-name", "p")
    iam(installation, "put-user-policy", *named, "--policy-document", spell(policy_file))
    assert iam(installation, "get-user-policy", *named)["PolicyDocument"] == MAY_MAKE_RANDOM
    shown = installation.cli("iam", "get-user-policy", *named, "--home", str(installation.home)).stdout
    assert shown.startswith(f"UserName={user}  PolicyName=p\n{{")


def test_tags_lists_and_flags_reach_the_service_as_they_are_meant(installation: Installation, user: str) -> None:
    tagged = ("--user-name", user, "--tags", "Key=team,Value=a=b c", "Key=empty,Value=")
    assert iam(installation, "create-user", *tagged)["User"]["Tags"] == [
        {"Key": "team", "Value": "a=b c"},
        {"Key": "empty", "Value": ""},
    ]
    iam(installation, "untag-user", "--user-name", user, "--tag-keys", "empty", "missing")
    assert iam(installation, "list-user-tags", "--user-name", user)["Tags"] == [{"Key": "team", "Value": "a=b c"}]
    said = refused(installation, "iam", "tag-user", "--user-name", user, "--tags", "team=x")
    assert "'team=x' is not of the form Key=…,Value=…" in said


def test_a_list_is_whole_however_many_pages_it_has(installation: Installation, user: str) -> None:
    names = [f"{user}-{number}" for number in range(102)]
    root = installation.client("iam")
    for name in names:
        root.create_user(UserName=name, Path=f"/{user}/")
    root.close()
    prefixed = ("list-users", "--path-prefix", f"/{user}/")
    assert {row["UserName"] for row in iam(installation, *prefixed)["Users"]} == set(names)
    page = iam(installation, *prefixed, "--max-items", "3")
    assert (len(page["Users"]), page["IsTruncated"]) == (3, True)
    rest = iam(installation, *prefixed, "--max-items", "3", "--marker", page["Marker"])
    assert not {row["UserName"] for row in page["Users"]} & {row["UserName"] for row in rest["Users"]}


def test_for_people_the_answer_is_a_line_per_thing(installation: Installation, user: str) -> None:
    home = ("--home", str(installation.home))
    made = installation.cli("iam", "create-user", "--user-name", user, *home).stdout
    assert made.startswith(f"Path=/  UserName={user}  UserId=AIDA")
    line = installation.cli("iam", "create-access-key", "--user-name", user, *home).stdout.strip()
    told = [part.split("=")[0] for part in line.split("  ")]
    assert told == ["UserName", "AccessKeyId", "Status", "SecretAccessKey", "CreateDate"]
    lines = installation.cli("iam", "list-users", *home).stdout.splitlines()
    assert len([line for line in lines if f"  UserName={user}  " in line]) == 1
    assert installation.cli("iam", "list-groups-for-user", "--user-name", user, *home).stdout == ""


def test_a_secret_is_told_once_and_by_no_other_command(installation: Installation, user: str) -> None:
    iam(installation, "create-user", "--user-name", user)
    secret = iam(installation, "create-access-key", "--user-name", user)["AccessKey"]["SecretAccessKey"]
    for command in (("list-users",), ("list-access-keys", "--user-name", user)):
        assert secret not in json.dumps(iam(installation, *command))


def test_what_cannot_be_done_is_said_in_words(installation: Installation, user: str, tmp_path: Path) -> None:
    iam(installation, "create-user", "--user-name", user)
    for _ in range(2):
        key = iam(installation, "create-access-key", "--user-name", user)["AccessKey"]
    broken = tmp_path / "broken.json"
    statement = {"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": {"NoSuch": {}}}
    broken.write_text(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    of_key = ("--user-name", user, "--access-key-id")
    put = ("put-user-policy", "--user-name", user, "--policy-name", "p", "--policy-document")
    for arguments, says in (
        (("create-user", "--user-name", user), f"EntityAlreadyExists: User with name {user} already exists."),
        (("create-user", "--user-name", "no good"), "ValidationError: 1 validation error detected"),
        (("create-access-key", "--user-name", user), "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2"),
        (("create-access-key", "--user-name", "nobody"), "NoSuchEntity: The user with name nobody cannot be found."),
        (("create-access-key",), "ValidationError: Must specify userName"),
        (("update-access-key", *of_key, key["AccessKeyId"], "--status", "Sleeping"), "ValidationError: "),
        (("delete-access-key", *of_key, "AKIA" + "X" * 16), "NoSuchEntity: The Access Key with id AKIAXXX"),
        ((*put, str(broken)), "MalformedPolicyDocument: "),
        ((*put, str(tmp_path / "missing")), "No such file"),
        (("list-users", "--account", "999999999999"), "NoSuchEntity: There is no account 999999999999."),
    ):
        assert f"strongroom: {says}" in refused(installation, "iam", *arguments) or says == "No such file"


def test_an_account_is_made_and_listed_and_has_users_of_its_own(installation: Installation, user: str) -> None:
    account = f"{uuid.uuid4().int % 10**11 + 10**11:012}"
    home = ("--home", str(installation.home), "--json")
    made = json.loads(
        installation.cli("iam", "create-account", "--account", account, "--name", "payroll", *home).stdout
    )
    assert (made["account"], made["name"], made["user"]) == (account, "payroll", "admin")
    accounts = json.loads(installation.cli("iam", "list-accounts", *home).stdout)
    assert accounts[0] == {"account": ACCOUNT, "name": "main"}
    assert {"account": account, "name": "payroll"} in accounts
    iam(installation, "create-user", "--user-name", user, "--account", account)
    assert user in {row["UserName"] for row in iam(installation, "list-users", "--account", account)["Users"]}
    assert user not in {row["UserName"] for row in iam(installation, "list-users")["Users"]}
    assert "EntityAlreadyExists" in refused(installation, "iam", "create-account", "--account", account, "--name", "x")
    assert f"is not empty: users admin, {user}." in refused(installation, "iam", "delete-account", "--account", account)


# ── nobody at home ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_service_every_command_says_so(idle: Installation) -> None:
    for arguments in (
        ("iam", "list-users"),
        ("iam", "create-user", "--user-name", "alice"),
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


@pytest.mark.parametrize("folder", ["", "l" * 120])
def test_the_home_is_found_where_only_a_development_one_exists_however_long_its_path(
    installation: Installation, tmp_path: Path, folder: str
) -> None:
    user_home = tmp_path / folder
    user_home.mkdir(exist_ok=True)
    (user_home / ".strongroom-dev").symlink_to(installation.home)
    environment = installation.environment
    installation.environment = {**os.environ, "HOME": str(user_home)}
    try:
        done = installation.cli("iam", "list-users", "--json", check=False)
    finally:
        installation.environment = environment
    assert done.returncode == 0, done.stderr
