"""Ansible's amazon.aws.kms_key: the first run of a play changes the key, the second one changes nothing.

The collection comes with the package `ansible`, which is large: `make test-long` installs it.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from testkit.clients import CLIENTS, client_environment, program_beside_python, run
from testkit.installation import ACCOUNT, Installation

pytestmark = pytest.mark.long

PLAY = CLIENTS / "ansible" / "key.yml"


def policy(*actions: str) -> dict[str, Any]:
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Resource": "*"}
    return {
        "Version": "2012-10-17",
        "Statement": [{**root, "Action": "kms:*"}, *({**root, "Action": a} for a in actions)],
    }


class Ansible:
    """Runs the play and reads what its tasks returned."""

    def __init__(self, port: int, folder: Path) -> None:
        self._program = program_beside_python("ansible-playbook")
        self._folder = folder
        self._environment = client_environment(port, folder)
        self._environment.update(
            ANSIBLE_STDOUT_CALLBACK="ansible.posix.json",
            ANSIBLE_LOCALHOST_WARNING="false",
            ANSIBLE_INVENTORY_UNPARSED_WARNING="false",
            ANSIBLE_DEPRECATION_WARNINGS="false",
            ANSIBLE_NOCOLOR="true",
            LC_ALL="C.UTF-8",
        )

    def __call__(self, stage: dict[str, Any], *options: str) -> dict[str, Any]:
        """Results by task."""
        variables = self._folder / "stage.json"
        variables.write_text(json.dumps({"stage": stage}), encoding="utf-8")
        command = (self._program, "-i", "localhost,", "-e", f"@{variables}", *options, PLAY)
        done = run(*command, environment=self._environment, folder=self._folder)
        assert done.returncode == 0, done.stdout + done.stderr
        (play,) = json.loads(done.stdout)["plays"]
        return {task["task"]["name"]: task["hosts"]["localhost"] for task in play["tasks"]}


@pytest.fixture
def ansible(installation: Installation, tmp_path: Path) -> Ansible:
    return Ansible(installation.port, tmp_path)


@pytest.fixture
def stage() -> dict[str, Any]:
    return {
        "alias": f"alias/ansible/{uuid.uuid4()}",
        "state": "present",
        "description": "made by ansible ✓",
        "enabled": True,
        "enable_key_rotation": True,
        "policy": policy(),
        "tags": {"team": "blue", "empty": ""},
        "pending_window": 7,
    }


def require_changed_once(ansible: Ansible, stage: dict[str, Any]) -> dict[str, Any]:
    """A run changes the key, another finds nothing left to do."""
    assert ansible(stage)["The key"]["changed"]
    again = ansible(stage)
    assert not again["The key"]["changed"]
    (found,) = again["What the facts module says of it"]["kms_keys"]
    assert isinstance(found, dict)
    return found


def test_a_key_is_made_changed_and_deleted_and_each_second_run_changes_nothing(
    ansible: Ansible, stage: dict[str, Any], kms: Any
) -> None:
    assert ansible(stage, "--check")["The key"]["changed"]
    found = require_changed_once(ansible, stage)
    assert not ansible(stage, "--check")["The key"]["changed"]
    assert found["description"] == stage["description"]
    assert found["tags"] == stage["tags"]
    assert found["enable_key_rotation"] is True
    assert found["aliases"] == [stage["alias"].removeprefix("alias/")]
    assert found["customer_master_key_spec"] == "SYMMETRIC_DEFAULT"

    changed = {**stage, "description": "changed", "tags": {"team": "green"}, "policy": policy("kms:List*")}
    found = require_changed_once(ansible, changed)
    assert (found["description"], found["tags"]) == ("changed", {"team": "green"})
    assert len(found["key_policies"][0]["Statement"]) == 2

    unrotated = {**changed, "enable_key_rotation": False}
    assert require_changed_once(ansible, unrotated)["enable_key_rotation"] is False

    disabled = {**unrotated, "enabled": False}
    assert require_changed_once(ansible, disabled)["key_state"] == "Disabled"

    deleted = {**disabled, "state": "absent"}
    assert require_changed_once(ansible, deleted)["key_state"] == "PendingDeletion"
    # The alias still names the key, so the same play has it back.
    assert require_changed_once(ansible, unrotated)["key_state"] == "Enabled"
    metadata = kms.describe_key(KeyId=stage["alias"])["KeyMetadata"]
    assert (metadata["KeyState"], metadata["Description"]) == ("Enabled", "changed")
