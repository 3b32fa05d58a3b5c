"""`aws iam …` as a user types it: documents from files, shorthand tags, pages that the command line puts together."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testkit.clients import client_environment, program_beside_python, run
from testkit.identities import document, fresh, statement, trust
from testkit.installation import ACCOUNT, Installation

# Two dozen starts of the command line.
pytestmark = pytest.mark.long

Aws = Callable[..., Any]


@pytest.fixture
def done(installation: Installation, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    program = program_beside_python("aws")
    environment = client_environment(installation.port, tmp_path)
    return lambda *arguments: run(
        program, "iam", *arguments, "--output", "json", environment=environment, folder=tmp_path
    )


@pytest.fixture
def aws(done: Callable[..., subprocess.CompletedProcess[str]]) -> Aws:
    """What a command printed, read."""

    def say(*arguments: str) -> Any:
        said = done(*arguments)
        assert said.returncode == 0, said.stderr
        return json.loads(said.stdout) if said.stdout.strip() else None

    return say


def test_a_role_with_its_policies_from_the_command_line(
    aws: Aws, done: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    role, policy, text = fresh("role"), fresh("policy"), document(statement("kms:Decrypt"), indent=2)
    (tmp_path / "trust.json").write_text(trust())
    (tmp_path / "policy.json").write_text(text)
    made = aws(
        *("create-role", "--role-name", role, "--assume-role-policy-document", "file://trust.json"),
        *("--tags", "Key=team,Value=a", "--max-session-duration", "7200"),
    )["Role"]
    assert made["AssumeRolePolicyDocument"] == json.loads(trust())
    arn = aws(*("create-policy", "--policy-name", policy, "--policy-document", "file://policy.json"))["Policy"]["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/{policy}"
    aws(*("attach-role-policy", "--role-name", role, "--policy-arn", arn))
    aws(*("put-role-policy", "--role-name", role, "--policy-name", "own", "--policy-document", "file://policy.json"))
    assert aws("get-role-policy", "--role-name", role, "--policy-name", "own")["PolicyDocument"] == json.loads(text)
    aws(*("create-policy-version", "--policy-arn", arn, "--policy-document", "file://policy.json", "--set-as-default"))
    version = aws("get-policy-version", "--policy-arn", arn, "--version-id", "v2")["PolicyVersion"]
    assert (version["Document"], version["IsDefaultVersion"]) == (json.loads(text), True)
    assert aws("list-entities-for-policy", "--policy-arn", arn)["PolicyRoles"][0]["RoleName"] == role
    aws("put-role-permissions-boundary", "--role-name", role, "--permissions-boundary", arn)
    shown = aws("get-role", "--role-name", role)["Role"]
    assert shown["PermissionsBoundary"]["PermissionsBoundaryArn"] == arn
    assert (shown["Tags"], shown["MaxSessionDuration"]) == ([{"Key": "team", "Value": "a"}], 7200)
    refused = done("delete-policy", "--policy-arn", arn)
    assert refused.returncode != 0
    assert "(DeleteConflict) when calling the DeletePolicy operation" in refused.stderr
    aws("delete-role-permissions-boundary", "--role-name", role)
    aws("detach-role-policy", "--role-name", role, "--policy-arn", arn)
    aws("delete-role-policy", "--role-name", role, "--policy-name", "own")
    aws("delete-policy-version", "--policy-arn", arn, "--version-id", "v1")
    aws("delete-policy", "--policy-arn", arn)
    aws("delete-role", "--role-name", role)
    assert "cannot be found" in done("get-role", "--role-name", role).stderr


def test_pages_are_put_together(aws: Aws, tmp_path: Path) -> None:
    (tmp_path / "policy.json").write_text(document(statement("kms:Decrypt")))
    path, names = f"/{fresh('path')}/", sorted(fresh("policy") for _ in range(3))
    for name in names:
        aws(*("create-policy", "--policy-name", name, "--path", path, "--policy-document", "file://policy.json"))
    listed = aws("list-policies", "--path-prefix", path, "--page-size", "1")["Policies"]
    assert [policy["PolicyName"] for policy in listed] == names
    first = aws("list-policies", "--scope", "Local", "--path-prefix", path, "--max-items", "2")
    assert len(first["Policies"]) == 2
    rest = aws(*("list-policies", "--scope", "Local", "--path-prefix", path, "--starting-token", first["NextToken"]))
    assert [policy["PolicyName"] for policy in (*first["Policies"], *rest["Policies"])] == names
