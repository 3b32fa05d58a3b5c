"""Roles over IAM's API: made, shown, listed, changed, deleted.

Wordings that are AWS's: `EntityAlreadyExists`, `NoSuchEntity` and `DeleteConflict` as LocalStack recorded them
(`tests/aws/services/iam/test_iam.snapshot.json`); "Invalid principal in policy" opstrace/opstrace#88; ACLSizePerRole
cloudposse's module `aws-teams`; "may only specify STS AssumeRole actions" and "Has prohibited field" versitygw's tests.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

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
from testkit.installation import ACCOUNT


def make(iam: Any, name: str | None = None, **more: Any) -> str:
    name = name or fresh("role")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(), **more)
    return name


# ── made and shown ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_role_is_shown_as_it_was_made(iam: Any) -> None:
    name, text = fresh("role"), json.dumps(json.loads(trust()), indent=3) + "\n"
    boundary = ADMINISTRATOR
    made = iam.create_role(
        RoleName=name,
        Path="/team/a/",
        AssumeRolePolicyDocument=text,
        Description="Keys & <more>",
        MaxSessionDuration=7200,
        PermissionsBoundary=boundary,
        Tags=[{"Key": "team", "Value": "a"}],
    )["Role"]
    assert made["Arn"] == arn_of("role", name, "/team/a/")
    assert made["RoleId"].startswith("AROA")
    assert (made["Path"], made["Description"], made["MaxSessionDuration"]) == ("/team/a/", "Keys & <more>", 7200)
    assert text_of(made["AssumeRolePolicyDocument"]) == text
    assert made["Tags"] == [{"Key": "team", "Value": "a"}]
    assert made["PermissionsBoundary"] == {
        "PermissionsBoundaryType": "PermissionsBoundaryPolicy",
        "PermissionsBoundaryArn": boundary,
    }
    assert iam.get_role(RoleName=name)["Role"] == made


def test_a_role_made_with_no_more_than_its_name_has_awss_defaults(iam: Any) -> None:
    name = make(iam)
    role = iam.get_role(RoleName=name)["Role"]
    assert set(role) == {
        *("Path", "RoleName", "RoleId", "Arn", "CreateDate"),
        *("AssumeRolePolicyDocument", "MaxSessionDuration"),
    }
    assert (role["Path"], role["MaxSessionDuration"]) == ("/", 3600)


def test_a_name_is_taken_in_whatever_case(iam: Any) -> None:
    name = make(iam, fresh("Role"))
    for taken in (name, name.upper(), name.lower()):
        with refused("EntityAlreadyExists", f"Role with name {taken} already exists."):
            make(iam, taken)


def test_a_role_that_is_not_there_is_missed_by_every_operation(iam: Any) -> None:
    name = fresh("nobody")
    for call, more in (
        (iam.get_role, {}),
        (iam.delete_role, {}),
        (iam.update_role, {}),
        (iam.update_role_description, {"Description": "x"}),
        (iam.update_assume_role_policy, {"PolicyDocument": trust()}),
        (iam.list_instance_profiles_for_role, {}),
        (iam.list_role_policies, {}),
        (iam.list_attached_role_policies, {}),
        (iam.list_role_tags, {}),
        (iam.tag_role, {"Tags": []}),
        (iam.untag_role, {"TagKeys": []}),
        (iam.put_role_policy, {"PolicyName": "p", "PolicyDocument": document(statement("kms:*"))}),
        (iam.get_role_policy, {"PolicyName": "p"}),
        (iam.delete_role_policy, {"PolicyName": "p"}),
        (iam.attach_role_policy, {"PolicyArn": ADMINISTRATOR}),
        (iam.detach_role_policy, {"PolicyArn": ADMINISTRATOR}),
        (iam.put_role_permissions_boundary, {"PermissionsBoundary": ADMINISTRATOR}),
        (iam.delete_role_permissions_boundary, {}),
    ):
        with refused("NoSuchEntity", f"The role with name {name} cannot be found."):
            call(RoleName=name, **more)


@pytest.mark.parametrize("duration", [0, 3599, 43201])
def test_a_session_lasts_one_to_twelve_hours(iam: Any, duration: int) -> None:
    name = make(iam)
    with refused("ValidationError"):
        make(iam, MaxSessionDuration=duration)
    with refused("ValidationError"):
        iam.update_role(RoleName=name, MaxSessionDuration=duration)
    assert iam.get_role(RoleName=name)["Role"]["MaxSessionDuration"] == 3600


# ── trust policies ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everybody_who_exists_can_be_trusted(iam: Any) -> None:
    user, role = fresh("user"), make(iam, fresh("role"), Path="/p/")
    iam.create_user(UserName=user, Path="/q/")
    for principal in (
        "*",
        ACCOUNT,
        f"arn:aws:iam::{ACCOUNT}:root",
        arn_of("user", user, "/q/"),
        arn_of("role", role, "/p/"),
        f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/anything",
        f"arn:aws:sts::{ACCOUNT}:federated-user/anybody",
    ):
        made = fresh("role")
        text = trust(principal)
        iam.create_role(RoleName=made, AssumeRolePolicyDocument=text)
        assert text_of(iam.get_role(RoleName=made)["Role"]["AssumeRolePolicyDocument"]) == text
    service = document({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"})
    iam.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=service)


def test_nobody_who_does_not_exist_can_be_trusted(iam: Any) -> None:
    user, role = fresh("user"), make(iam)
    iam.create_user(UserName=user, Path="/q/")
    for principal in (
        "111122223333",
        "arn:aws:iam::111122223333:root",
        arn_of("user", fresh("nobody")),
        arn_of("role", fresh("nobody")),
        arn_of("user", user),
        arn_of("user", user, "/Q/"),
        arn_of("role", user, "/q/"),
        arn_of("user", user.upper(), "/q/"),
        arn_of("user", user, "/q/", account="111122223333"),
        f"arn:aws:sts::{ACCOUNT}:assumed-role/{fresh('nobody')}/anything",
        "arn:aws:sts::111122223333:federated-user/anybody",
    ):
        with refused("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{principal}"'):
            iam.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=trust(principal))
        with refused("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{principal}"'):
            iam.update_assume_role_policy(RoleName=role, PolicyDocument=trust(ACCOUNT, principal))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no policy", None),
        ("{}", None),
        (document(), None),
        (document({"Effect": "Allow", "Action": "sts:AssumeRole"}), None),
        (document({"Effect": "Allow", "Principal": "*"}), "Statement[0]: Policy statement must contain actions."),
        (
            document(statement("sts:AssumeRole", Principal="*")),
            "Statement[0]: Has prohibited field Resource",
        ),
        (trust(action="kms:Decrypt"), "AssumeRole policy may only specify STS AssumeRole actions."),
        (trust(action="*"), "AssumeRole policy may only specify STS AssumeRole actions."),
        (trust("arn:aws:iam::000000000000:group/x"), None),
        (trust().replace('"sts:AssumeRole"', '"sts:AssumeRole", "Extra": 1'), None),
    ],
)
def test_a_trust_policy_that_would_not_be_understood_is_refused_with_the_place(
    iam: Any, text: str, message: str | None
) -> None:
    name = make(iam)
    with refused("MalformedPolicyDocument", message):
        iam.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=text)
    with refused("MalformedPolicyDocument", message):
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=text)
    assert text_of(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]) == trust()


def test_of_a_trust_policy_white_space_does_not_count(iam: Any) -> None:
    def padded(chars: int, white: int = 0) -> str:
        text = document({"Sid": "", "Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"})
        missing = chars - len("".join(text.split()))
        return text.replace('"Sid": ""', '"Sid": "' + "a" * missing + '"') + " \n\t" * white

    name = fresh("role")
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=padded(2048, 5000))
    assert text_of(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]) == padded(2048, 5000)
    for call in (
        lambda: iam.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=padded(2049)),
        lambda: iam.update_assume_role_policy(RoleName=name, PolicyDocument=padded(2049)),
    ):
        with refused("LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048"):
            call()


# ── listed ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_roles_are_listed_by_path_and_in_pages(iam: Any) -> None:
    path = f"/{fresh('path')}/"
    names = sorted(make(iam, Path=path, Tags=[{"Key": "k", "Value": "v"}]) for _ in range(5))
    make(iam, Path="/other/")
    found = pages(iam.list_roles, "Roles", 2, PathPrefix=path)
    assert [role["RoleName"] for page in found for role in page] == names
    assert max(map(len, found)) == 2
    assert all({"Tags", "PermissionsBoundary"}.isdisjoint(role) for page in found for role in page)
    assert {role["RoleName"] for role in iam.list_roles(MaxItems=1000)["Roles"]} >= set(names)
    with refused("ValidationError"):
        iam.list_roles(Marker="none of ours")


def test_no_role_is_in_an_instance_profile(iam: Any) -> None:
    answer = without_metadata(iam.list_instance_profiles_for_role(RoleName=make(iam)))
    assert answer == {"InstanceProfiles": [], "IsTruncated": False}


# ── changed and deleted ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_update_without_a_duration_brings_the_default_back_and_keeps_the_description(iam: Any) -> None:
    name = make(iam, Description="first", MaxSessionDuration=43200)
    iam.update_role(RoleName=name)
    role = iam.get_role(RoleName=name)["Role"]
    assert (role["Description"], role["MaxSessionDuration"]) == ("first", 3600)
    iam.update_role(RoleName=name, Description="second", MaxSessionDuration=3601)
    changed = iam.update_role_description(RoleName=name, Description="third")["Role"]
    assert (changed["Description"], changed["MaxSessionDuration"]) == ("third", 3601)
    iam.update_role_description(RoleName=name, Description="")
    assert "Description" not in iam.get_role(RoleName=name)["Role"]


def test_another_trust_policy_takes_the_place_of_the_old_one(iam: Any) -> None:
    name, text = make(iam), trust(ACCOUNT) + "\n"
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=text)
    assert text_of(iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]) == text


def test_a_role_goes_when_nothing_of_it_is_left(iam: Any) -> None:
    name = make(iam, PermissionsBoundary=ADMINISTRATOR)
    iam.attach_role_policy(RoleName=name, PolicyArn=ADMINISTRATOR)
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(statement("kms:*")))
    with refused("DeleteConflict", "Cannot delete entity, must detach all policies first."):
        iam.delete_role(RoleName=name)
    iam.detach_role_policy(RoleName=name, PolicyArn=ADMINISTRATOR)
    with refused("DeleteConflict", "Cannot delete entity, must delete policies first."):
        iam.delete_role(RoleName=name)
    iam.delete_role_policy(RoleName=name, PolicyName="p")
    iam.delete_role(RoleName=name)
    with refused("NoSuchEntity", f"The role with name {name} cannot be found."):
        iam.get_role(RoleName=name)
    first = make(iam, name)
    assert iam.get_role(RoleName=first)["Role"]["Path"] == "/"
