"""Managed policies over IAM's API: versions, uses, what AWS provides, and what is another account's.

Wordings that are AWS's: "does not exist or is not attachable", "was not found" and "A policy called …" as LocalStack and
Terraform's users recorded them; versions getmoto/moto and AWS's own error in awslabs' documents; "Policy is outside your own
account." and PolicySize from users' reports. Order of the checks is ours.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.identities.aws_policies import AWS_POLICIES
from strongroom.kms.identities.managed_policies import parse_policy_arn, policy_arn
from testkit.identities import (
    ADMINISTRATOR,
    arn_of,
    document,
    fresh,
    pages,
    refused,
    statement,
    text_of,
    trust,
    without_metadata,
)

TEXT = document(statement("kms:Decrypt"))


def make(iam: Any, name: str | None = None, **more: Any) -> str:
    """The ARN of a new policy."""
    made = iam.create_policy(PolicyName=name or fresh("policy"), **{"PolicyDocument": TEXT, **more})
    return str(made["Policy"]["Arn"])


def make_role(iam: Any, **more: Any) -> str:
    name = fresh("role")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(), **more)
    return name


# ── made and shown ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_policy_is_shown_as_it_was_made(iam: Any) -> None:
    name, text = fresh("policy"), document(statement("kms:*"), indent="\t") + "\r\n"
    made = iam.create_policy(
        PolicyName=name, Path="/a/b/", PolicyDocument=text, Description="<all>", Tags=[{"Key": "k", "Value": ""}]
    )["Policy"]
    arn = arn_of("policy", name, "/a/b/")
    assert (made["Arn"], made["PolicyName"], made["Path"]) == (arn, name, "/a/b/")
    assert made["PolicyId"].startswith("ANPA")
    assert made["CreateDate"] == made["UpdateDate"]
    assert (made["DefaultVersionId"], made["IsAttachable"]) == ("v1", True)
    assert (made["AttachmentCount"], made["PermissionsBoundaryUsageCount"]) == (0, 0)
    assert made["Tags"] == [{"Key": "k", "Value": ""}]
    assert iam.get_policy(PolicyArn=arn)["Policy"] == {**made, "Description": "<all>"}
    version = iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert text_of(version["Document"]) == text
    assert (version["VersionId"], version["IsDefaultVersion"]) == ("v1", True)


def test_a_policys_name_is_taken_in_whatever_case_and_path(iam: Any) -> None:
    name = fresh("Policy")
    make(iam, name)
    for taken in (name, name.swapcase()):
        with refused(
            "EntityAlreadyExists", f"A policy called {taken} already exists. Duplicate names are not allowed."
        ):
            make(iam, taken, Path="/other/")


@pytest.mark.parametrize(
    "text",
    [
        "no policy",
        "[]",
        document(),
        document({"Effect": "Allow", "Resource": "*"}),
        document({"Effect": "Allow", "Action": "kms:*"}),
        document(statement("kms:*", Principal="*")),
        document(statement("kms:*", Condition={"StringNearly": {"kms:ViaService": "x"}})),
        TEXT.replace('"Effect"', '"effect"'),
        TEXT.replace('"Version"', '"Version": "2012-10-17", "Version"'),
    ],
)
def test_what_would_not_be_understood_is_refused_wherever_a_policy_is_taken(iam: Any, text: str) -> None:
    arn, role = make(iam), make_role(iam)
    for call in (
        lambda: make(iam, PolicyDocument=text),
        lambda: iam.create_policy_version(PolicyArn=arn, PolicyDocument=text),
        lambda: iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=text),
    ):
        with refused("MalformedPolicyDocument"):
            call()
    assert len(iam.list_policy_versions(PolicyArn=arn)["Versions"]) == 1
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == []


def test_of_a_policy_white_space_does_not_count(iam: Any) -> None:
    def padded(chars: int, white: int = 0) -> str:
        text = document(statement("kms:*", Sid=""))
        missing = chars - len("".join(text.split()))
        return text.replace('"Sid": ""', '"Sid": "' + "a" * missing + '"') + " " * white

    arn = make(iam, PolicyDocument=padded(6144, 9000))
    for call in (
        lambda: make(iam, PolicyDocument=padded(6145)),
        lambda: iam.create_policy_version(PolicyArn=arn, PolicyDocument=padded(6145)),
    ):
        with refused("LimitExceeded", "Cannot exceed quota for PolicySize: 6144"):
            call()


def test_what_is_not_there_is_missed_under_its_arn(iam: Any) -> None:
    there = make(iam, "Path-" + fresh(), Path="/a/")
    for arn in (arn_of("policy", fresh("none")), there.replace("/a/", "/"), there.replace("/a/", "/A/"), there + "x"):
        for call, more in (
            (iam.get_policy, {}),
            (iam.delete_policy, {}),
            (iam.list_policy_versions, {}),
            (iam.get_policy_version, {"VersionId": "v1"}),
            (iam.create_policy_version, {"PolicyDocument": TEXT}),
            (iam.set_default_policy_version, {"VersionId": "v1"}),
            (iam.delete_policy_version, {"VersionId": "v1"}),
            (iam.list_entities_for_policy, {}),
            (iam.list_policy_tags, {}),
            (iam.tag_policy, {"Tags": []}),
            (iam.untag_policy, {"TagKeys": []}),
        ):
            with refused("NoSuchEntity", f"Policy {arn} was not found."):
                call(PolicyArn=arn, **more)


def test_what_is_no_policys_arn_is_refused_as_such(iam: Any) -> None:
    role = make_role(iam)
    for arn in (
        "arn:aws:iam::aws:policy",
        "arn:aws:iam::000000000000:role/some-role",
        "arn:aws-cn:iam::aws:policy/AdministratorAccess",
        "arn:aws:iam:us-east-1:aws:policy/AdministratorAccess",
        "{" + "x" * 30,
    ):
        message = f"ARN {arn} is not valid."
        with refused("InvalidInput", message):
            iam.get_policy(PolicyArn=arn)
        with refused("InvalidInput", message):
            iam.attach_role_policy(RoleName=role, PolicyArn=arn)
        with refused("InvalidInput", message):
            iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=arn)


def test_another_accounts_policy_is_outside_whether_or_not_it_exists(iam: Any) -> None:
    role, arn = make_role(iam), arn_of("policy", "any", account="111122223333")
    for call, more in ((iam.get_policy, {}), (iam.delete_policy, {}), (iam.list_policy_versions, {})):
        with refused("AccessDenied", "Policy is outside your own account."):
            call(PolicyArn=arn, **more)
    with refused("NoSuchEntity", f"Policy {arn} does not exist or is not attachable."):
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    with refused("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable."):
        iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=arn)


# ── versions ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def version_ids(iam: Any, arn: str) -> list[tuple[str, bool]]:
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert all("Document" not in version for version in versions)
    return [(version["VersionId"], version["IsDefaultVersion"]) for version in versions]


def test_a_policy_has_up_to_five_versions_and_never_the_same_number_twice(iam: Any) -> None:
    arn = make(iam)
    for number in range(2, 6):
        text = document(statement(f"kms:Version{number}"))
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=number == 3)["PolicyVersion"]
        assert (made["VersionId"], made["IsDefaultVersion"]) == (f"v{number}", number == 3)
        assert "Document" not in made
    with refused(
        "LimitExceeded",
        "A managed policy can have up to 5 versions. "
        "Before you create a new version, you must delete an existing version.",
    ):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=TEXT, SetAsDefault=True)
    assert version_ids(iam, arn) == [("v5", False), ("v4", False), ("v3", True), ("v2", False), ("v1", False)]
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v3"
    iam.delete_policy_version(PolicyArn=arn, VersionId="v5")
    made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=TEXT)["PolicyVersion"]
    assert made["VersionId"] == "v6"
    assert [page[0]["VersionId"] for page in pages(iam.list_policy_versions, "Versions", 1, PolicyArn=arn)] == [
        *("v6", "v4", "v3", "v2", "v1")
    ]
    four = iam.get_policy_version(PolicyArn=arn, VersionId="v4")["PolicyVersion"]
    assert text_of(four["Document"]) == document(statement("kms:Version4"))


def test_the_default_version_stays_until_another_one_is_the_default(iam: Any) -> None:
    arn = make(iam)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=TEXT)
    with refused("DeleteConflict", "Cannot delete the default version of a policy."):
        iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    assert version_ids(iam, arn) == [("v2", True)]


@pytest.mark.parametrize("version_id", ["v9", "v2.1", "v1.", "v" + "1" * 6000])
def test_a_version_that_is_not_there_is_missed(iam: Any, version_id: str) -> None:
    arn = make(iam)
    for call in (iam.get_policy_version, iam.set_default_policy_version, iam.delete_policy_version):
        with refused("NoSuchEntity", f"Policy {arn} version {version_id} does not exist or is not attachable."):
            call(PolicyArn=arn, VersionId=version_id)


# ── who uses it ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def counts(iam: Any, arn: str) -> tuple[int, int]:
    policy = iam.get_policy(PolicyArn=arn)["Policy"]
    return policy["AttachmentCount"], policy["PermissionsBoundaryUsageCount"]


def entities(iam: Any, arn: str, **more: Any) -> dict[str, list[str]]:
    answer = iam.list_entities_for_policy(PolicyArn=arn, **more)
    assert answer["IsTruncated"] is False
    kinds = (("PolicyGroups", "GroupName"), ("PolicyUsers", "UserName"), ("PolicyRoles", "RoleName"))
    return {name: [one[name] for one in answer[kind]] for kind, name in kinds if answer[kind]}


def test_uses_are_counted_and_listed_by_what_they_are(iam: Any) -> None:
    arn, user, role, group = make(iam), fresh("user"), make_role(iam, Path="/r/"), fresh("group")
    iam.create_user(UserName=user, PermissionsBoundary=arn)
    iam.create_group(GroupName=group)
    assert counts(iam, arn) == (0, 1)
    iam.attach_user_policy(UserName=user, PolicyArn=arn)
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    assert counts(iam, arn) == (3, 1)
    everybody = {"GroupName": [group], "UserName": [user], "RoleName": [role]}
    assert entities(iam, arn) == everybody
    assert entities(iam, arn, EntityFilter="Role") == {"RoleName": [role]}
    assert entities(iam, arn, EntityFilter="AWSManagedPolicy") == {}
    assert entities(iam, arn, PathPrefix="/r/") == {"RoleName": [role]}
    assert entities(iam, arn, PolicyUsageFilter="PermissionsPolicy") == everybody
    assert entities(iam, arn, PolicyUsageFilter="PermissionsBoundary") == {"UserName": [user]}
    listed = [policy["Arn"] for policy in iam.list_policies(OnlyAttached=True, MaxItems=1000)["Policies"]]
    assert arn in listed
    iam.detach_user_policy(UserName=user, PolicyArn=arn)
    iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    iam.detach_group_policy(GroupName=group, PolicyArn=arn)
    assert counts(iam, arn) == (0, 1)
    iam.delete_user_permissions_boundary(UserName=user)
    assert counts(iam, arn) == (0, 0)
    assert entities(iam, arn) == {}


def test_entities_come_in_pages_across_their_kinds(iam: Any) -> None:
    arn = make(iam)
    groups, users = [sorted(fresh(kind) for _ in range(3)) for kind in ("group", "user")]
    roles = sorted(make_role(iam) for _ in range(3))
    for name in groups:
        iam.create_group(GroupName=name)
        iam.attach_group_policy(GroupName=name, PolicyArn=arn)
    for name in users:
        iam.create_user(UserName=name, PermissionsBoundary=arn)
    iam.attach_user_policy(UserName=users[1], PolicyArn=arn)
    for name in roles:
        iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    for items_max in (1, 2, 3, 4, 9, 100):
        found, marker = [], {}
        while True:
            answer = iam.list_entities_for_policy(PolicyArn=arn, MaxItems=items_max, **marker)
            page = [one["GroupName"] for one in answer["PolicyGroups"]]
            page += [one["UserName"] for one in answer["PolicyUsers"]]
            page += [one["RoleName"] for one in answer["PolicyRoles"]]
            assert len(page) <= items_max
            found += page
            if not answer["IsTruncated"]:
                break
            marker = {"Marker": answer["Marker"]}
        assert found == [*groups, *users, *roles]
    for marker in ("x", "OQ==", "MA", "\u00ff"):
        with refused("ValidationError", "Invalid Marker."):
            iam.list_entities_for_policy(PolicyArn=arn, Marker=marker)


def test_a_policy_that_is_used_cannot_be_deleted(iam: Any) -> None:
    arn, role = make(iam), make_role(iam)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=TEXT)
    conflict = "Cannot delete a policy attached to entities."
    iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    with refused("DeleteConflict", conflict):
        iam.delete_policy(PolicyArn=arn)
    iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    iam.put_role_permissions_boundary(RoleName=role, PermissionsBoundary=arn)
    with refused("DeleteConflict", conflict):
        iam.delete_policy(PolicyArn=arn)
    iam.delete_role_permissions_boundary(RoleName=role)
    with refused(
        "DeleteConflict",
        "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
        "The default version is deleted with the policy.",
    ):
        iam.delete_policy(PolicyArn=arn)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy(PolicyArn=arn)
    with refused("NoSuchEntity", f"Policy {arn} was not found."):
        iam.get_policy(PolicyArn=arn)


# ── listed ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_policies_are_listed_by_scope_path_and_use(iam: Any) -> None:
    path = f"/{fresh('path')}/"
    arns = sorted(make(iam, Path=path, Description="d", Tags=[{"Key": "k", "Value": "v"}]) for _ in range(4))
    user = fresh("user")
    iam.create_user(UserName=user, PermissionsBoundary=arns[1])
    iam.attach_user_policy(UserName=user, PolicyArn=arns[2])

    def listed(**more: Any) -> list[str]:
        return [policy["Arn"] for page in pages(iam.list_policies, "Policies", 3, **more) for policy in page]

    assert listed(PathPrefix=path) == listed(PathPrefix=path, Scope="Local") == arns
    assert listed(PathPrefix=path, OnlyAttached=True) == [arns[2]]
    assert listed(PathPrefix=path, PolicyUsageFilter="PermissionsBoundary") == [arns[1]]
    assert listed(PathPrefix=path, PolicyUsageFilter="PermissionsPolicy") == [arns[2]]
    assert listed(PathPrefix=path, Scope="AWS") == []
    of_aws = [policy_arn(policy) for policy in AWS_POLICIES.values()]
    assert listed(Scope="AWS") == of_aws
    assert listed()[: len(of_aws)] == listed(Scope="All")[: len(of_aws)] == of_aws
    assert set(listed(Scope="All")) >= {*of_aws, *arns}
    policies = iam.list_policies(PathPrefix=path)["Policies"]
    assert all({"Tags", "Description"}.isdisjoint(policy) for policy in policies)


# ── of AWS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_awss_policies_are_understood_and_found_under_their_arns() -> None:
    assert list(AWS_POLICIES) == sorted(AWS_POLICIES)
    for name, policy in AWS_POLICIES.items():
        assert policy.name == name
        (version,) = policy.versions
        assert version.number == policy.default_number
        parse_policy(version.document, PolicyKind.IDENTITY)
        assert parse_policy_arn(policy_arn(policy)) == ("aws", "/", name)
        assert policy.created_at_s <= policy.updated_at_s


def test_awss_policies_can_be_read_and_attached_but_not_changed(iam: Any) -> None:
    role = make_role(iam)
    policy = iam.get_policy(PolicyArn=ADMINISTRATOR)["Policy"]
    assert (policy["PolicyId"], policy["DefaultVersionId"]) == ("ANPAIWMBCKSKIEE64ZLYK", "v1")
    version = iam.get_policy_version(PolicyArn=ADMINISTRATOR, VersionId="v1")["PolicyVersion"]
    assert json.loads(text_of(version["Document"]))["Statement"] == [
        {"Effect": "Allow", "Action": "*", "Resource": "*"}
    ]
    assert without_metadata(iam.list_policy_tags(PolicyArn=ADMINISTRATOR)) == {"Tags": [], "IsTruncated": False}
    iam.attach_role_policy(RoleName=role, PolicyArn=ADMINISTRATOR)
    assert role in entities(iam, ADMINISTRATOR, EntityFilter="Role")["RoleName"]
    for call, more in (
        (iam.delete_policy, {}),
        (iam.create_policy_version, {"PolicyDocument": TEXT}),
        (iam.set_default_policy_version, {"VersionId": "v1"}),
        (iam.delete_policy_version, {"VersionId": "v1"}),
        (iam.tag_policy, {"Tags": [{"Key": "k", "Value": "v"}]}),
        (iam.untag_policy, {"TagKeys": ["k"]}),
    ):
        with refused("AccessDenied", "Policy is outside your own account."):
            call(PolicyArn=ADMINISTRATOR, **more)
    absent = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    with refused("NoSuchEntity", f"Policy {absent} was not found."):
        iam.get_policy(PolicyArn=absent)
