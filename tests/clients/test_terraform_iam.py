"""Terraform with the AWS provider manages users, groups, roles and policies; after each apply a plan finds nothing to do.

What it makes decides: the access key that it made uses a key as far as its policies go.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from testkit.clients import CLIENTS, client_environment
from testkit.installation import Installation, client
from testkit.terraform import Terraform, require_terraform

pytestmark = pytest.mark.long

FOLDER = CLIENTS / "terraform_iam"


@pytest.fixture
def terraform(installation: Installation, tmp_path: Path) -> Terraform:
    program, mirror = require_terraform()
    for path in FOLDER.iterdir():
        shutil.copy(path, tmp_path)
    return Terraform(program, mirror, client_environment(installation.port, tmp_path), tmp_path)


@pytest.fixture(scope="module")
def iam(installation: Installation) -> Any:
    return client("iam", installation.port)


def values_of(stage: str) -> str:
    return f"-var-file={stage}.tfvars.json"


def stage_values(stage: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / f"{stage}.tfvars.json").read_text(encoding="utf-8"))["stage"])


def tags_of(shape: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in shape.get("Tags", [])}


def require_as_written(iam: Any, outputs: dict[str, Any], stage: dict[str, Any]) -> None:
    """What IAM says is what the stage's file says."""
    found = outputs["found"]
    limit = iam.get_policy(PolicyArn=found["policy_arn"].replace("terraform/terraform-use", "terraform-limit"))[
        "Policy"
    ]
    boundary = {"PermissionsBoundaryArn": limit["Arn"], "PermissionsBoundaryType": "PermissionsBoundaryPolicy"}
    assert limit["PermissionsBoundaryUsageCount"] == (3 if stage["boundary"] else 0)
    for name, arn in found["users"].items():
        user = iam.get_user(UserName=name)["User"]
        assert user["Arn"] == arn
        assert (user["Path"], tags_of(user)) == (stage["path"], stage["tags"])
        assert user.get("PermissionsBoundary") == (boundary if stage["boundary"] else None)
    role = iam.get_role(RoleName="terraform-worker")["Role"]
    assert (role["Arn"], role["Description"]) == (found["role"], stage["description"])
    assert (role["MaxSessionDuration"], tags_of(role)) == (stage["duration"], stage["tags"])
    assert role.get("PermissionsBoundary") == (boundary if stage["boundary"] else None)
    trusted = role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["AWS"]
    trusted = {trusted} if isinstance(trusted, str) else set(trusted)
    assert trusted == {found["users"][who] for who in stage["trusted"]}
    group = iam.get_group(GroupName="terraform-users")
    assert [user["UserName"] for user in group["Users"]] == sorted(stage["members"])
    assert group["Group"]["Arn"] == found["group"]
    policy = iam.get_policy(PolicyArn=found["policy_arn"])["Policy"]
    assert policy["AttachmentCount"] == 3
    version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])["PolicyVersion"]
    actions = version["Document"]["Statement"][0]["Action"]
    assert sorted([actions] if isinstance(actions, str) else actions) == sorted(stage["actions"])
    assert json.loads(found["policy"]) == version["Document"]
    attached = iam.list_attached_role_policies(RoleName="terraform-worker")["AttachedPolicies"]
    assert len(attached) == (2 if stage["administered"] else 1)
    inline = (
        iam.get_user_policy(UserName="terraform-bob", PolicyName="own"),
        iam.get_group_policy(GroupName="terraform-users", PolicyName="own"),
        iam.get_role_policy(RoleName="terraform-worker", PolicyName="own"),
    )
    assert all(one["PolicyDocument"] == version["Document"] for one in inline)


def require_decided(kms: Any, key_id: str, stage: dict[str, Any]) -> None:
    """The user whom Terraform gave an access key may what the policies say."""
    assert kms.describe_key(KeyId=key_id)["KeyMetadata"]["KeyId"] == key_id
    if "kms:GenerateDataKey" in stage["actions"]:
        kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    else:
        with pytest.raises(ClientError, match="no identity-based policy allows"):
            kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")


def test_users_groups_roles_and_policies_are_made_changed_and_destroyed(
    installation: Installation, terraform: Terraform, iam: Any, key_id: str
) -> None:
    for name in ("first", "second", "first"):
        stage = stage_values(name)
        terraform("apply", "-auto-approve", values_of(name))
        terraform.require_nothing_to_do(values_of(name))
        outputs = terraform.outputs()
        require_as_written(iam, outputs, stage)
        made = outputs["access_key"]
        require_decided(installation.kms(made["id"], made["secret"]), key_id, stage)
    # What Terraform does not know of, it finds: a plan is not 0 just because nothing was looked at.
    iam.update_role_description(RoleName="terraform-worker", Description="by hand")
    assert terraform.run("plan", "-detailed-exitcode", values_of("first")).returncode == 2
    terraform("destroy", "-auto-approve", values_of("first"))
    for gone in (
        lambda: iam.get_user(UserName="terraform-anna"),
        lambda: iam.get_group(GroupName="terraform-users"),
        lambda: iam.get_role(RoleName="terraform-worker"),
        lambda: iam.get_policy(PolicyArn=outputs["found"]["policy_arn"]),
    ):
        with pytest.raises(iam.exceptions.NoSuchEntityException):
            gone()
