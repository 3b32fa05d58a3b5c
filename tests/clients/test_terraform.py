"""Terraform with the AWS provider: make, change and destroy; after each apply a plan finds nothing left to do.

Needs `terraform` (or `tofu`) and the provider in a folder, because nothing is fetched here: one that the command line's
configuration names as `filesystem_mirror`, one of those where Terraform looks by itself, or STRONGROOM_TERRAFORM_MIRROR.

It is long because the provider waits: after each change it asks every two seconds until what it wrote was read up to
fifteen times in a row, and so waits half a minute for each kind of change, however quick the service is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from testkit.clients import CLIENTS, client_environment, run
from testkit.installation import Installation

pytestmark = pytest.mark.long

FOLDER = CLIENTS / "terraform"
STAGES = ("first", "second", "third")
APPLY_S_MAX = 400.0
NOTHING_TO_DO = 0


def _mirrors() -> Iterator[Path]:
    """Folders that may hold providers, by the rules of Terraform's documentation ("Provider Installation")."""
    named = os.environ.get("STRONGROOM_TERRAFORM_MIRROR")
    if named:
        yield Path(named)
    configuration = Path(os.environ.get("TF_CLI_CONFIG_FILE", Path.home() / ".terraformrc"))
    if configuration.is_file():
        text = configuration.read_text(encoding="utf-8")
        yield from map(Path, re.findall(r'filesystem_mirror\s*\{[^}]*?path\s*=\s*"([^"]+)"', text))
    yield Path.home() / ".terraform.d" / "plugins"
    data_folders = os.environ.get("XDG_DATA_DIRS", "/usr/local/share:/usr/share").split(":")
    for data_folder in (Path.home() / ".local" / "share", *map(Path, data_folders)):
        yield data_folder / "terraform" / "plugins"
    # Machine images often bring one of their own.
    yield from sorted(Path("/opt").glob("*"))


def _mirror() -> Path | None:
    """A folder in which `<host>/hashicorp/aws` lies, unpacked or packed."""
    for folder in _mirrors():
        try:
            if any(folder.glob("*/hashicorp/aws/*")):
                return folder
        except OSError:
            continue
    return None


class Terraform:
    """One working folder with its state."""

    def __init__(self, program: str, mirror: Path, port: int, folder: Path) -> None:
        self._program = program
        self.folder = folder
        for path in FOLDER.iterdir():
            shutil.copy(path, folder)
        self._environment = client_environment(port, folder)
        self._environment.update(CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1", TF_INPUT="0", TF_CLI_CONFIG_FILE="")
        self("init", f"-plugin-dir={mirror}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = (self._program, *arguments[:1], "-no-color", *arguments[1:])
        return run(*command, environment=self._environment, folder=self.folder, within_s=APPLY_S_MAX)

    def __call__(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def apply(self, stage: str) -> str:
        return self("apply", "-auto-approve", f"-var-file={stage}.tfvars.json")

    def require_nothing_to_do(self, stage: str, *options: str) -> None:
        """`plan -detailed-exitcode` is 0 for no changes, 1 for an error, 2 for changes."""
        done = self.run("plan", "-detailed-exitcode", f"-var-file={stage}.tfvars.json", *options)
        assert done.returncode == NOTHING_TO_DO, done.stdout + done.stderr

    def outputs(self) -> dict[str, Any]:
        return {name: output["value"] for name, output in json.loads(self("output", "-json")).items()}


@pytest.fixture
def terraform(installation: Installation, tmp_path: Path) -> Terraform:
    program = shutil.which("terraform") or shutil.which("tofu")
    if program is None:
        pytest.skip("neither terraform nor tofu is on this machine")
    mirror = _mirror()
    if mirror is None:
        pytest.skip("no provider mirror with hashicorp/aws is on this machine (STRONGROOM_TERRAFORM_MIRROR names one)")
    return Terraform(program, mirror, installation.port, tmp_path)


@pytest.fixture(scope="module", autouse=True)
def alice(installation: Installation) -> None:
    """The second stage's policy names a user: a policy that names nobody is refused, here as with AWS."""
    installation.cli("iam", "create-user", "--home", str(installation.home), "--user", "terraform-alice")


def stage_values(stage: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / f"{stage}.tfvars.json").read_text(encoding="utf-8"))["stage"])


def require_managed_key(kms: Any, outputs: dict[str, Any], stage: dict[str, Any]) -> None:
    """What KMS says is what the stage's file says."""
    found = outputs["found"]
    arn = found["managed_arn"]
    metadata = kms.describe_key(KeyId=arn)["KeyMetadata"]
    assert (metadata["Description"], metadata["Enabled"]) == (stage["description"], stage["enabled"])
    tags = {tag["TagKey"]: tag["TagValue"] for tag in kms.list_resource_tags(KeyId=arn)["Tags"]}
    assert tags == stage["tags"]
    rotation = kms.get_key_rotation_status(KeyId=arn)
    assert rotation["KeyRotationEnabled"] is stage["rotation"]
    assert rotation.get("RotationPeriodInDays") == stage["rotation_period"]
    policy = kms.get_key_policy(KeyId=arn)["Policy"]
    assert json.loads(policy) == json.loads(found["managed_policy"])
    assert len(json.loads(policy)["Statement"]) == 1 + len(stage["administrators"])
    assert json.loads(kms.get_key_policy(KeyId=found["governed_arn"])["Policy"]) == json.loads(policy)
    target = found[f"{stage['alias_target']}_arn"]
    assert kms.describe_key(KeyId=stage["alias"])["KeyMetadata"]["Arn"] == target
    assert found["alias_target"] == found["by_alias"]["arn"] == target
    assert (found["by_arn"]["arn"], found["by_arn"]["description"]) == (arn, stage["description"])
    assert outputs["opened"] == stage["secret"]


def require_gone(kms: Any, arn: str, within_days: int) -> None:
    metadata = kms.describe_key(KeyId=arn)["KeyMetadata"]
    assert metadata["KeyState"] == "PendingDeletion"
    remaining = metadata["DeletionDate"] - datetime.now(UTC)
    assert within_days - 1 <= remaining.days <= within_days


def test_keys_aliases_policies_tags_and_ciphertexts_are_made_changed_and_destroyed(
    terraform: Terraform, kms: Any
) -> None:
    for stage in STAGES:
        terraform.apply(stage)
        terraform.require_nothing_to_do(stage)
        require_managed_key(kms, terraform.outputs(), stage_values(stage))
    found = terraform.outputs()["found"]
    # What Terraform does not know of, it finds: a plan is not 0 just because nothing was looked at.
    kms.tag_resource(KeyId=found["plain_arn"], Tags=[{"TagKey": "by", "TagValue": "hand"}])
    assert terraform.run("plan", "-detailed-exitcode", "-var-file=third.tfvars.json").returncode == 2
    terraform("destroy", "-auto-approve", "-var-file=third.tfvars.json")
    require_gone(kms, found["managed_arn"], stage_values("third")["deletion_window"])
    require_gone(kms, found["governed_arn"], 7)
    require_gone(kms, found["plain_arn"], 30)
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.describe_key(KeyId=stage_values("third")["alias"])


def test_a_key_that_was_there_before_is_imported_as_it_is(terraform: Terraform, kms: Any, key_id: str) -> None:
    terraform("import", "-var-file=first.tfvars.json", "aws_kms_key.plain", key_id)
    terraform.require_nothing_to_do("first", "-target=aws_kms_key.plain")
    before = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    terraform("apply", "-auto-approve", "-var-file=first.tfvars.json", "-target=aws_kms_key.plain")
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"] == before
