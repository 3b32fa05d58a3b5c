"""Roles, policies, boundaries and tags of two accounts in one home: the same names, and nothing of each other's.

Another account's principals can be named, in key policies and trust policies; its policies can be used nowhere else.
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from testkit.identities import arn_of, document, fresh, iam_client, refused, statement, trust
from testkit.installation import ACCOUNT, Installation
from testkit.raw import RawKms, allow, ask_admin, assert_allowed, assert_refused, policy

TEXT = document(statement("kms:Decrypt"))
PRINCIPALS = "Policy contains a statement with one or more invalid principals."


@pytest.fixture(scope="module")
def account() -> str:
    return f"{uuid.uuid4().int % 10**11 + 10**11:012}"


@pytest.fixture(scope="module")
def other(installation: Installation, account: str) -> Any:
    """The other account's administrator."""
    made = ask_admin(installation, "create-account", account=account, name="other")
    return iam_client(installation, made["access_key_id"], made["secret_access_key"])


def make_policy(iam: Any, name: str) -> str:
    return str(iam.create_policy(PolicyName=name, PolicyDocument=TEXT)["Policy"]["Arn"])


def test_the_same_names_are_two_in_two_accounts(iam: Any, other: Any, account: str) -> None:
    name = fresh("same")
    for client in (iam, other):
        client.create_role(RoleName=name, AssumeRolePolicyDocument=trust(ACCOUNT))
        client.attach_role_policy(RoleName=name, PolicyArn=make_policy(client, name))
    own, theirs = arn_of("policy", name), arn_of("policy", name, account=account)
    assert other.get_role(RoleName=name)["Role"]["Arn"] == arn_of("role", name, account=account)
    for client, arn in ((iam, own), (other, theirs)):
        assert client.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == [
            {"PolicyName": name, "PolicyArn": arn}
        ]
        assert client.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
        listed = client.list_policies(Scope="Local", MaxItems=1000)["Policies"]
        assert [one["Arn"] for one in listed if one["PolicyName"] == name] == [arn]
        assert len(client.list_entities_for_policy(PolicyArn=arn)["PolicyRoles"]) == 1
    iam.detach_role_policy(RoleName=name, PolicyArn=own)
    iam.delete_role(RoleName=name)
    assert other.get_role(RoleName=name)["Role"]["RoleName"] == name


def test_a_policy_of_another_account_can_be_used_nowhere_and_is_not_said_to_exist(
    iam: Any, other: Any, account: str
) -> None:
    role, group = fresh("role"), fresh("group")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust())
    iam.create_group(GroupName=group)
    there, nowhere = make_policy(other, fresh("policy")), arn_of("policy", fresh("none"), account=account)
    for arn in (there, nowhere):
        with refused("NoSuchEntity", f"Policy {arn} does not exist or is not attachable."):
            iam.attach_role_policy(RoleName=role, PolicyArn=arn)
        with refused("NoSuchEntity", f"Policy {arn} does not exist or is not attachable."):
            iam.attach_group_policy(GroupName=group, PolicyArn=arn)
        with refused("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable."):
            iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=arn)
        with refused("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable."):
            iam.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=trust(), PermissionsBoundary=arn)
        with refused("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable."):
            iam.create_user(UserName=fresh("user"), PermissionsBoundary=arn)
        for call, more in (
            (iam.get_policy, {}),
            (iam.get_policy_version, {"VersionId": "v1"}),
            (iam.list_policy_versions, {}),
            (iam.list_entities_for_policy, {}),
            (iam.list_policy_tags, {}),
            (iam.create_policy_version, {"PolicyDocument": TEXT}),
            (iam.set_default_policy_version, {"VersionId": "v1"}),
            (iam.delete_policy_version, {"VersionId": "v1"}),
            (iam.delete_policy, {}),
            (iam.tag_policy, {"Tags": [{"Key": "k", "Value": "v"}]}),
            (iam.untag_policy, {"TagKeys": ["k"]}),
        ):
            with refused("AccessDenied", "Policy is outside your own account."):
                call(PolicyArn=arn, **more)
    assert other.get_policy(PolicyArn=there)["Policy"]["AttachmentCount"] == 0


def test_principals_of_the_other_account_can_be_trusted_as_far_as_they_exist(
    iam: Any, other: Any, account: str
) -> None:
    user, worker = fresh("user"), fresh("role")
    other.create_user(UserName=user, Path="/x/")
    other.create_role(RoleName=worker, AssumeRolePolicyDocument=trust(ACCOUNT))
    for principal in (
        account,
        f"arn:aws:iam::{account}:root",
        arn_of("user", user, "/x/", account),
        arn_of("role", worker, account=account),
        f"arn:aws:sts::{account}:assumed-role/{worker}/s",
    ):
        iam.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=trust(principal))
    for principal in (arn_of("user", user, account=account), arn_of("user", user, "/x/"), arn_of("role", worker)):
        with refused("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{principal}"'):
            iam.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=trust(principal))


def test_principals_of_the_other_account_can_be_named_by_key_policies(
    installation: Installation, other: Any, account: str
) -> None:
    user, worker = fresh("user"), fresh("role")
    other.create_user(UserName=user)
    made = other.create_role(RoleName=worker, AssumeRolePolicyDocument=trust(ACCOUNT))["Role"]
    kms = RawKms(installation)
    root = allow("kms:*", Principal={"AWS": ACCOUNT})
    theirs = [account, arn_of("user", user, account=account), arn_of("role", worker, account=account)]
    text = policy(root, allow("kms:Encrypt", Principal={"AWS": theirs}))
    key = assert_allowed(kms.call("CreateKey", {"Policy": text}))["KeyMetadata"]["KeyId"]
    other.delete_role(RoleName=worker)
    # What named somebody who is gone stays, and shows his unique id; it cannot be written again.
    shown = assert_allowed(kms.call("GetKeyPolicy", {"KeyId": key}))["Policy"]
    assert shown == text.replace(theirs[2], made["RoleId"])
    assert_refused(
        kms.call("PutKeyPolicy", {"KeyId": key, "Policy": text}), "MalformedPolicyDocumentException", PRINCIPALS
    )
    kms.close()
