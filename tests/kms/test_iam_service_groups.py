"""Groups over IAM's own API: who is in them, what that gives, and what stands in the way of their end.

Wordings are AWS's. Sources: LocalStack's recordings of AWS, `test_iam_groups.snapshot.json` and
`test_iam_users.snapshot.json`; DeleteConflict as AWS's users quote it (go-to-k/delstack issue 40).
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
from testkit.installation import Installation
from testkit.raw import RawKms, allow, assert_allowed, assert_refused, make_user, policy


@pytest.fixture
def group(iam: Any) -> str:
    """The name of one that is there."""
    name = fresh("g")
    iam.create_group(GroupName=name)
    return name


def no_group(name: str) -> Any:
    return refused("NoSuchEntity", f"The group with name {name} cannot be found.")


def no_user(name: str) -> Any:
    return refused("NoSuchEntity", f"The user with name {name} cannot be found.")


def members_of(iam: Any, group: str) -> list[str]:
    return [one["UserName"] for one in iam.get_group(GroupName=group)["Users"]]


def groups_of(iam: Any, user: str) -> list[str]:
    return [one["GroupName"] for one in iam.list_groups_for_user(UserName=user)["Groups"]]


@pytest.mark.parametrize("path", ["/", "/some/location/"])
def test_a_group_is_shown_as_it_was_made(iam: Any, path: str) -> None:
    name = fresh("g")
    made = without_metadata(iam.create_group(GroupName=name, Path=path))["Group"]
    shown = {"Path": path, "GroupName": name, "Arn": arn_of("group", name, path)}
    assert made == {**shown, "GroupId": made["GroupId"], "CreateDate": made["CreateDate"]}
    assert (made["GroupId"][:4], len(made["GroupId"])) == ("AGPA", 20)
    assert without_metadata(iam.get_group(GroupName=name)) == {"Group": made, "Users": [], "IsTruncated": False}
    assert made in [one for page in pages(iam.list_groups, "Groups", 100) for one in page]


@pytest.mark.parametrize("change", [str, str.upper])
def test_a_name_is_taken_in_whatever_case(iam: Any, group: str, change: Any) -> None:
    with refused("EntityAlreadyExists", f"Group with name {change(group)} already exists."):
        iam.create_group(GroupName=change(group))


def test_a_group_that_is_not_there_is_missed_by_every_operation(iam: Any, user: str) -> None:
    name = fresh("missing")
    for call, more in (
        (iam.get_group, {}),
        (iam.update_group, {"NewPath": "/x/"}),
        (iam.delete_group, {}),
        (iam.add_user_to_group, {"UserName": user}),
        (iam.remove_user_from_group, {"UserName": user}),
    ):
        with no_group(name):
            call(GroupName=name, **more)


def test_of_a_user_and_a_group_that_are_not_there_the_user_is_missed_first(iam: Any, group: str) -> None:
    nobody = fresh("nobody")
    for name in (group, fresh("missing")):
        for call in (iam.add_user_to_group, iam.remove_user_from_group):
            with no_user(nobody):
                call(GroupName=name, UserName=nobody)


def test_whoever_joins_is_in_it_once_and_whoever_leaves_is_out(iam: Any, group: str, user: str) -> None:
    for _ in range(2):
        iam.add_user_to_group(GroupName=group, UserName=user)
        assert (members_of(iam, group), groups_of(iam, user)) == ([user], [group])
    for _ in range(2):
        iam.remove_user_from_group(GroupName=group, UserName=user)
        assert (members_of(iam, group), groups_of(iam, user)) == ([], [])


def test_members_and_groups_come_in_pages(iam: Any, group: str, user: str) -> None:
    users = sorted(fresh("u") for _ in range(5))
    for name in users:
        iam.create_user(UserName=name)
        iam.add_user_to_group(GroupName=group, UserName=name)
    found = pages(iam.get_group, "Users", 2, GroupName=group)
    assert [one["UserName"] for page in found for one in page] == users
    names = sorted(fresh("g") for _ in range(5))
    for name in names:
        iam.create_group(GroupName=name)
        iam.add_user_to_group(GroupName=name, UserName=user)
    found = pages(iam.list_groups_for_user, "Groups", 2, UserName=user)
    assert [[one["GroupName"] for one in page] for page in found] == [names[:2], names[2:4], names[4:]]


def test_nobody_is_in_more_than_ten_groups(iam: Any, user: str) -> None:
    names = [fresh("g") for _ in range(11)]
    for name in names:
        iam.create_group(GroupName=name)
    for name in names[:10]:
        iam.add_user_to_group(GroupName=name, UserName=user)
    with refused("LimitExceeded", "Cannot exceed quota for GroupsPerUser: 10"):
        iam.add_user_to_group(GroupName=names[10], UserName=user)
    # Whoever is in it already is not added.
    iam.add_user_to_group(GroupName=names[0], UserName=user)


def test_a_renamed_group_keeps_its_members_and_what_it_gives_them(
    installation: Installation, iam: Any, group: str
) -> None:
    member = make_user(installation, fresh("u"))
    iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=document(statement("kms:ListKeys")))
    iam.add_user_to_group(GroupName=group, UserName=member.name)
    before = iam.get_group(GroupName=group)["Group"]
    renamed = fresh("r")
    iam.update_group(GroupName=group, NewGroupName=renamed, NewPath="/new/")
    after = iam.get_group(GroupName=renamed)["Group"]
    assert after == {**before, "GroupName": renamed, "Path": "/new/", "Arn": arn_of("group", renamed, "/new/")}
    assert (members_of(iam, renamed), groups_of(iam, member.name)) == ([member.name], [renamed])
    assert_allowed(member.kms.call("ListKeys"))
    with no_group(group):
        iam.get_group(GroupName=group)


def test_a_group_can_change_the_case_of_its_name_and_take_no_other_groups(iam: Any, group: str, user: str) -> None:
    other = fresh("g")
    iam.create_group(GroupName=other)
    iam.add_user_to_group(GroupName=group, UserName=user)
    with refused("EntityAlreadyExists", f"Group with name {other.upper()} already exists."):
        iam.update_group(GroupName=group, NewGroupName=other.upper())
    iam.update_group(GroupName=group, NewGroupName=group.upper())
    assert groups_of(iam, user) == [group.upper()]


def test_a_group_with_something_left_is_not_deleted(iam: Any, group: str, user: str) -> None:
    iam.add_user_to_group(GroupName=group, UserName=user)
    iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=document(statement("kms:*")))
    iam.attach_group_policy(GroupName=group, PolicyArn=ADMINISTRATOR)
    for to_do, do in (
        ("detach all policies", lambda: iam.detach_group_policy(GroupName=group, PolicyArn=ADMINISTRATOR)),
        ("delete policies", lambda: iam.delete_group_policy(GroupName=group, PolicyName="p")),
        ("remove users from group", lambda: iam.remove_user_from_group(GroupName=group, UserName=user)),
    ):
        with refused("DeleteConflict", f"Cannot delete entity, must {to_do} first."):
            iam.delete_group(GroupName=group)
        do()
    iam.delete_group(GroupName=group)
    with no_group(group):
        iam.get_group(GroupName=group)


def test_what_a_group_gives_counts_from_the_next_request_on(installation: Installation, iam: Any, group: str) -> None:
    member = make_user(installation, fresh("u"))
    iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=document(statement("kms:ListKeys")))
    for _ in range(3):
        assert_refused(member.kms.call("ListKeys"), "AccessDeniedException")
        iam.add_user_to_group(GroupName=group, UserName=member.name)
        assert_allowed(member.kms.call("ListKeys"))
        iam.remove_user_from_group(GroupName=group, UserName=member.name)


def test_who_may_fill_a_group_is_asked_about_the_group(
    installation: Installation, iam: Any, group: str, user: str
) -> None:
    caller = make_user(
        installation,
        fresh("caller"),
        policy(allow("iam:AddUserToGroup", "iam:RemoveUserFromGroup", resource=arn_of("group", group))),
    )
    client = iam_client(installation, caller.access_key_id, caller.secret)
    client.add_user_to_group(GroupName=group, UserName=user)
    client.remove_user_from_group(GroupName=group, UserName=user)
    other = fresh("g")
    iam.create_group(GroupName=other)
    message = (
        f"User: {caller.arn} is not authorized to perform: iam:AddUserToGroup on resource: {arn_of('group', other)} "
        "because no identity-based policy allows the iam:AddUserToGroup action"
    )
    with refused("AccessDenied", message):
        client.add_user_to_group(GroupName=other, UserName=user)
    assert members_of(iam, other) == []
    client.close()


def test_groups_are_no_callers_and_nobody_is_called_by_one(installation: Installation, group: str) -> None:
    key = assert_allowed(RawKms(installation).call("CreateKey"))["KeyMetadata"]["KeyId"]
    named = policy(
        allow("kms:*", Principal={"AWS": arn_of("user", "x").replace(":user/x", ":root")}),
        allow("kms:Encrypt", Principal={"AWS": arn_of("group", group)}),
    )
    answer = RawKms(installation).call("PutKeyPolicy", {"KeyId": key, "PolicyName": "default", "Policy": named})
    assert_refused(answer, "MalformedPolicyDocumentException")
