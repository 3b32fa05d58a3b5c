"""Users over IAM's own API: made, shown, renamed, deleted, and by whom.

Wordings are AWS's. Sources: LocalStack's recordings of AWS, `test_iam_users.snapshot.json` (NoSuchEntity,
EntityAlreadyExists, DeleteConflict of policies, login profiles); what AWS's users quote: DeleteConflict of groups
(go-to-k/delstack issue 40) and of access keys (aws-controllers-k8s/community issue 2229). Names that differ in case only:
IAM user guide, "IAM and AWS STS quotas".
"""

from __future__ import annotations

from typing import Any

import pytest

from testkit.identities import (
    ADMINISTRATOR,
    arn_of,
    document,
    fresh,
    iam_client,
    pages,
    refused,
    statement,
    without_metadata,
)
from testkit.installation import ACCOUNT, Installation
from testkit.raw import User, allow, make_user, policy


@pytest.fixture
def name(iam: Any) -> str:
    """Of a user who is there."""
    user = fresh("u")
    iam.create_user(UserName=user)
    return user


def nobody(user: str) -> Any:
    return refused("NoSuchEntity", f"The user with name {user} cannot be found.")


# ── made and shown ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [None, "/", "/division_abc/sub division/!~/"])
def test_a_user_is_shown_as_it_was_made(iam: Any, path: str | None) -> None:
    if path is not None:
        path = path.replace(" ", "_")
    user = fresh("u")
    made = without_metadata(iam.create_user(UserName=user, **({} if path is None else {"Path": path})))["User"]
    assert made == {
        "Path": path or "/",
        "UserName": user,
        "UserId": made["UserId"],
        "Arn": arn_of("user", user, path or "/"),
        "CreateDate": made["CreateDate"],
    }
    assert (made["UserId"][:4], len(made["UserId"])) == ("AIDA", 20)
    assert iam.get_user(UserName=user)["User"] == made
    assert made in pages(iam.list_users, "Users", 1000)[0]


def test_tags_and_boundary_are_of_a_user_and_not_of_a_list_of_users(iam: Any) -> None:
    user = fresh("u")
    tags = [{"Key": "team", "Value": "blue"}, {"Key": "empty", "Value": ""}]
    made = iam.create_user(UserName=user, Path=f"/{user}/", Tags=tags, PermissionsBoundary=ADMINISTRATOR)["User"]
    assert (made["Tags"], made["PermissionsBoundary"]) == (
        tags,
        {"PermissionsBoundaryType": "PermissionsBoundaryPolicy", "PermissionsBoundaryArn": ADMINISTRATOR},
    )
    assert iam.get_user(UserName=user)["User"] == made
    (listed,) = iam.list_users(PathPrefix=f"/{user}/")["Users"]
    assert set(listed) == {"Path", "UserName", "UserId", "Arn", "CreateDate"}


def test_a_boundary_that_is_not_there_makes_no_user(iam: Any) -> None:
    user, missing = fresh("u"), f"arn:aws:iam::{ACCOUNT}:policy/missing"
    with refused("NoSuchEntity", f"Scope ARN: {missing} does not exist or is not attachable."):
        iam.create_user(UserName=user, PermissionsBoundary=missing)
    with nobody(user):
        iam.get_user(UserName=user)


def test_without_a_name_the_caller_is_shown(installation: Installation, iam: Any) -> None:
    root = without_metadata(iam.get_user())["User"]
    assert (root["UserId"], root["Arn"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")
    assert not {"UserName", "Path"} & set(root)
    caller = make_user(installation, fresh("u"), policy(allow("iam:GetUser")))
    client = iam_client(installation, caller.access_key_id, caller.secret)
    assert client.get_user()["User"]["UserName"] == caller.name
    client.close()


@pytest.mark.parametrize("change", [str, str.upper, str.title, str.swapcase])
def test_a_name_is_taken_in_whatever_case(iam: Any, name: str, change: Any) -> None:
    with refused("EntityAlreadyExists", f"User with name {change(name)} already exists."):
        iam.create_user(UserName=change(name))


def test_a_name_is_free_again_when_its_user_is_gone_and_belongs_to_another_user_then(iam: Any, name: str) -> None:
    before = iam.get_user(UserName=name)["User"]["UserId"]
    iam.delete_user(UserName=name)
    with nobody(name):
        iam.get_user(UserName=name)
    assert iam.create_user(UserName=name)["User"]["UserId"] != before


@pytest.mark.parametrize(
    "request_",
    [{"UserName": "a b"}, {"UserName": "x" * 65}, {"UserName": "ok", "Path": "no"}, {"UserName": "ok", "Path": "/a"}],
)
def test_what_the_model_does_not_take_is_refused_with_what_is_wrong(iam: Any, request_: dict[str, str]) -> None:
    with refused("ValidationError"):
        iam.create_user(**request_)


# ── lists ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_comes_in_pages_of_what_was_asked_for(iam: Any) -> None:
    path = f"/{fresh('p')}/"
    names = sorted(fresh("u") for _ in range(7))
    for user in names:
        iam.create_user(UserName=user, Path=path)
    found = pages(iam.list_users, "Users", 3, PathPrefix=path)
    assert [user["UserName"] for page in found for user in page] == names
    assert all(len(page) <= 3 for page in found)
    paginated = iam.get_paginator("list_users").paginate(PathPrefix=path, PaginationConfig={"PageSize": 2})
    assert [user["UserName"] for page in paginated for user in page["Users"]] == names


@pytest.mark.parametrize(
    ("prefix", "is_listed"), [("/a", True), ("/a/", True), ("/a/b/", True), ("/b", False), ("/a/b/c", False)]
)
def test_a_prefix_is_the_beginning_of_a_path_and_no_whole_part_of_it(iam: Any, prefix: str, is_listed: bool) -> None:
    top = f"/{fresh('p')}"
    user = fresh("u")
    iam.create_user(UserName=user, Path=f"{top}/a/b/")
    found = [one["UserName"] for page in pages(iam.list_users, "Users", 1000, PathPrefix=top + prefix) for one in page]
    assert found == [user] * is_listed


@pytest.mark.parametrize("marker", ["x", "====", "_-_-", "YQ", "YWJj\u00e4", "YQ==YQ=="])
def test_a_marker_that_is_none_is_refused(iam: Any, marker: str) -> None:
    with refused("ValidationError", "Invalid Marker."):
        iam.list_users(Marker=marker)


# ── renamed ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_renamed_user_keeps_all_that_it_had_and_its_access_keys_work_on(installation: Installation, iam: Any) -> None:
    user = make_user(installation, fresh("u"), policy(allow("kms:ListKeys")))
    group, renamed = fresh("g"), fresh("r")
    iam.create_group(GroupName=group)
    iam.add_user_to_group(GroupName=group, UserName=user.name)
    iam.attach_user_policy(UserName=user.name, PolicyArn=ADMINISTRATOR)
    iam.tag_user(UserName=user.name, Tags=[{"Key": "a", "Value": "b"}])
    before = iam.get_user(UserName=user.name)["User"]
    iam.update_user(UserName=user.name, NewUserName=renamed, NewPath="/new/")
    after = iam.get_user(UserName=renamed)["User"]
    assert after == {**before, "UserName": renamed, "Path": "/new/", "Arn": arn_of("user", renamed, "/new/")}
    with nobody(user.name):
        iam.get_user(UserName=user.name)
    assert iam.list_user_policies(UserName=renamed)["PolicyNames"] == ["inline"]
    assert [one["PolicyArn"] for one in iam.list_attached_user_policies(UserName=renamed)["AttachedPolicies"]] == [
        ADMINISTRATOR
    ]
    assert [one["UserName"] for one in iam.get_group(GroupName=group)["Users"]] == [renamed]
    (key,) = iam.list_access_keys(UserName=renamed)["AccessKeyMetadata"]
    assert (key["AccessKeyId"], key["UserName"]) == (user.access_key_id, renamed)
    sts = installation.sts(user.access_key_id, user.secret)
    assert sts.get_caller_identity()["Arn"] == after["Arn"]
    sts.close()


def test_a_user_can_change_the_case_of_its_name_and_take_nobody_elses(iam: Any, name: str) -> None:
    other = fresh("u")
    iam.create_user(UserName=other)
    with refused("EntityAlreadyExists", f"User with name {other.upper()} already exists."):
        iam.update_user(UserName=name, NewUserName=other.upper())
    iam.update_user(UserName=name, NewUserName=name.upper())
    assert iam.get_user(UserName=name.upper())["User"]["UserName"] == name.upper()
    with nobody(name):
        iam.get_user(UserName=name)


def test_an_update_of_nothing_changes_nothing(iam: Any, name: str) -> None:
    before = iam.get_user(UserName=name)["User"]
    iam.update_user(UserName=name)
    iam.update_user(UserName=name, NewUserName=name)
    assert iam.get_user(UserName=name)["User"] == before


# ── deleted ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_has_something_left_is_not_deleted(iam: Any, name: str) -> None:
    group = fresh("g")
    iam.create_group(GroupName=group)
    key = iam.create_access_key(UserName=name)["AccessKey"]["AccessKeyId"]
    iam.add_user_to_group(GroupName=group, UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document(statement("kms:*")))
    iam.attach_user_policy(UserName=name, PolicyArn=ADMINISTRATOR)
    for to_do, do in (
        ("detach all policies", lambda: iam.detach_user_policy(UserName=name, PolicyArn=ADMINISTRATOR)),
        ("delete policies", lambda: iam.delete_user_policy(UserName=name, PolicyName="p")),
        ("remove users from group", lambda: iam.remove_user_from_group(GroupName=group, UserName=name)),
        ("delete access keys", lambda: iam.delete_access_key(UserName=name, AccessKeyId=key)),
    ):
        with refused("DeleteConflict", f"Cannot delete entity, must {to_do} first."):
            iam.delete_user(UserName=name)
        do()
    iam.delete_user(UserName=name)
    with nobody(name):
        iam.get_user(UserName=name)


def test_whoever_is_not_there_is_missed_by_every_operation(iam: Any) -> None:
    user = fresh("nobody")
    key = "AKIA" + "X" * 16
    for call, more in (
        (iam.get_user, {}),
        (iam.update_user, {"NewPath": "/x/"}),
        (iam.delete_user, {}),
        (iam.create_access_key, {}),
        (iam.list_access_keys, {}),
        (iam.update_access_key, {"AccessKeyId": key, "Status": "Active"}),
        (iam.delete_access_key, {"AccessKeyId": key}),
        (iam.list_groups_for_user, {}),
        (iam.list_mfa_devices, {}),
        (iam.list_ssh_public_keys, {}),
        (iam.list_signing_certificates, {}),
        (iam.list_service_specific_credentials, {}),
        (iam.get_login_profile, {}),
        (iam.delete_login_profile, {}),
    ):
        with nobody(user):
            call(UserName=user, **more)


# ── what nobody has ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_lists_of_what_nobody_has_are_empty(iam: Any, name: str) -> None:
    for call, member in (
        (iam.list_mfa_devices, "MFADevices"),
        (iam.list_ssh_public_keys, "SSHPublicKeys"),
        (iam.list_signing_certificates, "Certificates"),
        (iam.list_service_specific_credentials, "ServiceSpecificCredentials"),
    ):
        answer = without_metadata(call(UserName=name))
        answer.pop("IsTruncated", None)
        assert answer == {member: []}
        without_metadata(call())
    assert iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []
    assert iam.list_account_aliases()["AccountAliases"] == []
    for call in (iam.get_login_profile, iam.delete_login_profile):
        with refused("NoSuchEntity", f"Login Profile for User {name} cannot be found."):
            call(UserName=name)


def test_the_summary_counts_what_there_is(iam: Any) -> None:
    before = iam.get_account_summary()["SummaryMap"]
    iam.create_user(UserName=fresh("u"))
    iam.create_group(GroupName=fresh("g"))
    after = iam.get_account_summary()["SummaryMap"]
    assert (after["Users"], after["Groups"]) == (before["Users"] + 1, before["Groups"] + 1)
    assert (after["AccessKeysPerUserQuota"], after["UsersQuota"], after["GroupsQuota"]) == (2, 5000, 300)
    assert after["AccountAccessKeysPresent"] == 1


# ── by whom ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def caller_with(installation: Installation, *statements: dict[str, Any]) -> tuple[User, Any]:
    user = make_user(installation, fresh("caller"), policy(*statements))
    return user, iam_client(installation, user.access_key_id, user.secret)


def words(caller: User, action: str, arn: str) -> str:
    return (
        f"User: {caller.arn} is not authorized to perform: iam:{action} on resource: {arn} "
        f"because no identity-based policy allows the iam:{action} action"
    )


def test_a_user_without_policies_may_do_nothing_and_learns_nothing(installation: Installation, name: str) -> None:
    caller, client = caller_with(installation, allow("kms:*"))
    missing = fresh("missing")
    for action, call, more in (
        ("CreateUser", client.create_user, {}),
        ("GetUser", client.get_user, {}),
        ("DeleteUser", client.delete_user, {}),
        ("UpdateUser", client.update_user, {"NewPath": "/x/"}),
        ("CreateAccessKey", client.create_access_key, {}),
        ("ListAccessKeys", client.list_access_keys, {}),
        ("ListGroupsForUser", client.list_groups_for_user, {}),
    ):
        for user in (name, missing):
            with refused("AccessDenied", words(caller, action, arn_of("user", user))):
                call(UserName=user, **more)
    with refused("AccessDenied", words(caller, "GetUser", caller.arn)):
        client.get_user()
    with refused("AccessDenied", words(caller, "ListUsers", arn_of("user", ""))):
        client.list_users()
    with refused("AccessDenied", words(caller, "GetAccountSummary", "*")):
        client.get_account_summary()
    client.close()


def test_a_policy_about_a_path_is_about_the_users_below_it(installation: Installation, iam: Any) -> None:
    path = f"/{fresh('p')}/"
    below = f"arn:aws:iam::{ACCOUNT}:user{path}*"
    caller, client = caller_with(installation, allow("iam:*", resource=below))
    user = fresh("u")
    client.create_user(UserName=user, Path=path)
    assert client.get_user(UserName=user)["User"]["Path"] == path
    with refused("AccessDenied", words(caller, "CreateUser", arn_of("user", "x"))):
        client.create_user(UserName="x")
    # Out of the path it may not be moved: the user as it would be is asked about, too.
    with refused("AccessDenied", words(caller, "UpdateUser", arn_of("user", user))):
        client.update_user(UserName=user, NewPath="/")
    client.update_user(UserName=user, NewPath=f"{path}deeper/")
    iam.update_user(UserName=user, NewPath="/")
    with refused("AccessDenied", words(caller, "DeleteUser", arn_of("user", user))):
        client.delete_user(UserName=user)
    client.close()


def test_a_policy_about_tags_sees_those_of_the_request_and_those_of_the_user(
    installation: Installation, iam: Any
) -> None:
    blue = {"StringEquals": {"aws:RequestTag/team": "blue"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}
    own = {"StringEquals": {"iam:ResourceTag/team": "blue"}}
    caller, client = caller_with(
        installation,
        allow("iam:CreateUser", "iam:TagUser", Condition=blue),
        allow("iam:DeleteUser", Condition=own),
    )
    user, red = fresh("u"), fresh("u")
    client.create_user(UserName=user, Tags=[{"Key": "team", "Value": "blue"}])
    iam.create_user(UserName=red, Tags=[{"Key": "team", "Value": "red"}])
    for tags in ([{"Key": "team", "Value": "red"}], [{"Key": "team", "Value": "blue"}, {"Key": "more", "Value": "x"}]):
        with refused("AccessDenied", words(caller, "CreateUser", arn_of("user", "x"))):
            client.create_user(UserName="x", Tags=tags)
    with refused("AccessDenied", words(caller, "DeleteUser", arn_of("user", red))):
        client.delete_user(UserName=red)
    client.delete_user(UserName=user)
    client.close()


def test_a_user_with_tags_is_made_by_who_may_tag(installation: Installation, iam: Any) -> None:
    caller, client = caller_with(installation, allow("iam:CreateUser"))
    user = fresh("u")
    with refused("AccessDenied", words(caller, "TagUser", arn_of("user", user))):
        client.create_user(UserName=user, Tags=[{"Key": "a", "Value": "b"}])
    with nobody(user):
        iam.get_user(UserName=user)
    client.create_user(UserName=user)
    client.close()


def test_who_must_give_a_boundary_gives_it(installation: Installation) -> None:
    must = {"StringEquals": {"iam:PermissionsBoundary": ADMINISTRATOR}}
    caller, client = caller_with(installation, allow("iam:CreateUser", Condition=must))
    user = fresh("u")
    with refused("AccessDenied", words(caller, "CreateUser", arn_of("user", user))):
        client.create_user(UserName=user)
    client.create_user(UserName=user, PermissionsBoundary=ADMINISTRATOR)
    client.close()
