"""Terraform with the AWS provider: make, change and destroy; after each apply a plan finds nothing left to do.

It is long because the provider waits: after each change it asks every second or two until what it wrote was read five to
fifteen times in a row, and so waits up to half a minute for each kind of change, however quick the service is.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from testkit.clients import CLIENTS, client_environment
from testkit.installation import Installation
from testkit.terraform import Terraform, require_terraform

pytestmark = pytest.mark.long

FOLDER = CLIENTS / "terraform"
STAGES = ("first", "second", "third")


@pytest.fixture
def terraform(installation: Installation, tmp_path: Path) -> Terraform:
    program, mirror = require_terraform()
    for path in FOLDER.iterdir():
        shutil.copy(path, tmp_path)
    return Terraform(program, mirror, client_environment(installation.port, tmp_path), tmp_path)


@pytest.fixture(scope="module", autouse=True)
def alice(installation: Installation) -> None:
    """The second stage's policy names a user: a policy that names nobody is refused, here as with AWS."""
    installation.cli("iam", "create-user", "--home", str(installation.home), "--user-name", "terraform-alice")


def values_of(stage: str) -> str:
    return f"-var-file={stage}.tfvars.json"


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
    require_grants(kms, found, stage)


def require_grants(kms: Any, found: dict[str, Any], stage: dict[str, Any]) -> None:
    listed = {grant["GrantId"]: grant for grant in kms.list_grants(KeyId=found["plain_arn"])["Grants"]}
    assert set(listed) == set(found["grants"].values())
    named, retired = (listed[found["grants"][name]] for name in ("named", "retired"))
    assert (named["Name"], named["Constraints"]) == ("terraform", {"EncryptionContextSubset": stage["context"]})
    assert set(named["Operations"]) == {"GenerateDataKey", "Decrypt", "DescribeKey"}
    assert (retired["Name"], "Constraints" in retired) == ("", False)


def require_gone(kms: Any, arn: str, within_days: int) -> None:
    metadata = kms.describe_key(KeyId=arn)["KeyMetadata"]
    assert metadata["KeyState"] == "PendingDeletion"
    remaining = metadata["DeletionDate"] - datetime.now(UTC)
    assert within_days - 1 <= remaining.days <= within_days


def test_keys_aliases_policies_grants_tags_and_ciphertexts_are_made_changed_and_destroyed(
    terraform: Terraform, kms: Any
) -> None:
    for stage in STAGES:
        terraform("apply", "-auto-approve", values_of(stage))
        terraform.require_nothing_to_do(values_of(stage))
        require_managed_key(kms, terraform.outputs(), stage_values(stage))
    found = terraform.outputs()["found"]
    # What Terraform does not know of, it finds: a plan is not 0 just because nothing was looked at.
    kms.tag_resource(KeyId=found["plain_arn"], Tags=[{"TagKey": "by", "TagValue": "hand"}])
    assert terraform.run("plan", "-detailed-exitcode", values_of("third")).returncode == 2
    terraform("destroy", "-auto-approve", values_of("third"))
    require_gone(kms, found["managed_arn"], stage_values("third")["deletion_window"])
    require_gone(kms, found["governed_arn"], 7)
    require_gone(kms, found["plain_arn"], 30)
    assert kms.list_grants(KeyId=found["plain_arn"])["Grants"] == []
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.describe_key(KeyId=stage_values("third")["alias"])


def test_a_key_that_was_there_before_is_imported_as_it_is(terraform: Terraform, kms: Any, key_id: str) -> None:
    terraform("import", values_of("first"), "aws_kms_key.plain", key_id)
    terraform.require_nothing_to_do(values_of("first"), "-target=aws_kms_key.plain")
    before = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    terraform("apply", "-auto-approve", values_of("first"), "-target=aws_kms_key.plain")
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"] == before
