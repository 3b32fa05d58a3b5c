"""What IAM's operations change counts at the very next request, in every worker; and who may use these operations.

A change is made with one worker; when its answer is there, all workers are asked at once. The wording of refusals is AWS's
(`test_wording.py`); the condition keys of each action are those of the Service Authorization Reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from testkit.identities import (
    ADMINISTRATOR,
    arn_of,
    document,
    fresh,
    iam_client,
    refused,
    statement,
    trust,
)
from testkit.installation import Installation
from testkit.raw import RawKms, User, assert_allowed, make_user
from testkit.workers import Workers

WORKERS = 2
MAY = document(statement("kms:GenerateDataKey"))
MAY_NOT = document(statement("kms:GenerateDataKey", effect="Deny"))
MAY_OTHER = document(statement("kms:DescribeKey"))


@pytest.fixture(scope="module")
def two() -> Iterator[Installation]:
    running = Installation("--workers", str(WORKERS))
    yield running.start()
    running.destroy()


@pytest.fixture(scope="module")
def workers(two: Installation) -> Iterator[Workers]:
    with Workers(two, WORKERS) as pinned:
        yield pinned


@pytest.fixture(scope="module")
def iam(two: Installation) -> Any:
    return iam_client(two)


@pytest.fixture(scope="module")
def key(two: Installation) -> str:
    """With the default policy: the account's identity policies decide."""
    kms = RawKms(two)
    made = str(assert_allowed(kms.call("CreateKey"))["KeyMetadata"]["KeyId"])
    kms.close()
    return made


class Asking:
    """A user who asks every worker for a data key."""

    def __init__(self, installation: Installation, workers: Workers, key: str) -> None:
        self.user: User = make_user(installation, fresh("asks"))
        self._workers, self._key = workers, key

    @property
    def name(self) -> str:
        return self.user.name

    def answers(self) -> set[tuple[int, str]]:
        asked = self._workers.ask_all(
            "GenerateDataKey",
            {"KeyId": self._key, "KeySpec": "AES_256"},
            access_key_id=self.user.access_key_id,
            secret=self.user.secret,
        )
        return {(answer.status, answer.message) for answer in asked}

    def may(self) -> None:
        """Twice: what was decided is kept, too."""
        for _ in range(2):
            assert self.answers() == {(200, "")}

    def may_not(self, because: str) -> None:
        for _ in range(2):
            ((status, message),) = self.answers()
            assert status == 400
            assert f"User: {self.user.arn} is not authorized to perform: kms:GenerateDataKey" in message
            assert message.endswith(because), message


@pytest.fixture
def asking(two: Installation, workers: Workers, key: str) -> Asking:
    return Asking(two, workers, key)


NOTHING_ALLOWS = "because no identity-based policy allows the kms:GenerateDataKey action"
DENIED = "with an explicit deny in an identity-based policy"
NO_BOUNDARY = "because no permissions boundary allows the kms:GenerateDataKey action"


def make_policy(iam: Any, text: str = MAY) -> str:
    return str(iam.create_policy(PolicyName=fresh("policy"), PolicyDocument=text)["Policy"]["Arn"])


# ── what counts, and from when on ───────────────────────────────────────────────────────────────────────────────────────


def test_a_managed_policy_counts_for_a_user_from_attaching_to_detaching(iam: Any, asking: Asking) -> None:
    arn = make_policy(iam)
    asking.may_not(NOTHING_ALLOWS)
    for _ in range(3):
        iam.attach_user_policy(UserName=asking.name, PolicyArn=arn)
        asking.may()
        iam.detach_user_policy(UserName=asking.name, PolicyArn=arn)
        asking.may_not(NOTHING_ALLOWS)


def test_a_policy_of_awss_counts_as_well(iam: Any, asking: Asking) -> None:
    iam.attach_user_policy(UserName=asking.name, PolicyArn=ADMINISTRATOR)
    asking.may()
    iam.detach_user_policy(UserName=asking.name, PolicyArn=ADMINISTRATOR)
    asking.may_not(NOTHING_ALLOWS)


def test_a_groups_policies_count_for_who_is_in_it(iam: Any, asking: Asking) -> None:
    arn, group = make_policy(iam), fresh("group")
    iam.create_group(GroupName=group)
    iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    asking.may_not(NOTHING_ALLOWS)
    iam.add_user_to_group(GroupName=group, UserName=asking.name)
    asking.may()
    iam.detach_group_policy(GroupName=group, PolicyArn=arn)
    asking.may_not(NOTHING_ALLOWS)
    iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=MAY)
    asking.may()
    iam.put_group_policy(GroupName=group, PolicyName="q", PolicyDocument=MAY_NOT)
    asking.may_not(DENIED)
    iam.delete_group_policy(GroupName=group, PolicyName="q")
    asking.may()
    iam.delete_group_policy(GroupName=group, PolicyName="p")
    asking.may_not(NOTHING_ALLOWS)
    iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    asking.may()
    iam.remove_user_from_group(GroupName=group, UserName=asking.name)
    asking.may_not(NOTHING_ALLOWS)


def test_the_default_version_is_the_one_that_counts(iam: Any, asking: Asking) -> None:
    arn, group = make_policy(iam), fresh("group")
    iam.create_group(GroupName=group)
    iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    iam.add_user_to_group(GroupName=group, UserName=asking.name)
    asking.may()
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=MAY_NOT)
    asking.may()
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
    asking.may_not(DENIED)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=MAY_OTHER, SetAsDefault=True)
    asking.may_not(NOTHING_ALLOWS)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v1")
    asking.may()


def test_inline_policies_of_a_user_count_until_they_are_replaced_or_deleted(iam: Any, asking: Asking) -> None:
    iam.put_user_policy(UserName=asking.name, PolicyName="p", PolicyDocument=MAY)
    asking.may()
    iam.put_user_policy(UserName=asking.name, PolicyName="p", PolicyDocument=MAY_OTHER)
    asking.may_not(NOTHING_ALLOWS)
    iam.put_user_policy(UserName=asking.name, PolicyName="p", PolicyDocument=MAY)
    asking.may()
    iam.delete_user_policy(UserName=asking.name, PolicyName="p")
    asking.may_not(NOTHING_ALLOWS)


def test_a_boundary_limits_and_does_not_allow(iam: Any, asking: Asking) -> None:
    allows, others = make_policy(iam), make_policy(iam, MAY_OTHER)
    iam.put_user_permissions_boundary(UserName=asking.name, PermissionsBoundary=allows)
    asking.may_not(NOTHING_ALLOWS)
    iam.attach_user_policy(UserName=asking.name, PolicyArn=allows)
    asking.may()
    iam.put_user_permissions_boundary(UserName=asking.name, PermissionsBoundary=others)
    asking.may_not(NO_BOUNDARY)
    iam.create_policy_version(PolicyArn=others, PolicyDocument=MAY, SetAsDefault=True)
    asking.may()
    iam.set_default_policy_version(PolicyArn=others, VersionId="v1")
    asking.may_not(NO_BOUNDARY)
    iam.delete_user_permissions_boundary(UserName=asking.name)
    asking.may()


def test_a_users_tags_count_as_the_principals(iam: Any, asking: Asking) -> None:
    condition = {"StringEquals": {"aws:PrincipalTag/team": "crypto"}}
    iam.put_user_policy(
        UserName=asking.name,
        PolicyName="p",
        PolicyDocument=document(statement("kms:GenerateDataKey", Condition=condition)),
    )
    asking.may_not(NOTHING_ALLOWS)
    iam.tag_user(UserName=asking.name, Tags=[{"Key": "Team", "Value": "crypto"}])
    asking.may()
    iam.tag_user(UserName=asking.name, Tags=[{"Key": "team", "Value": "other"}])
    asking.may_not(NOTHING_ALLOWS)
    iam.tag_user(UserName=asking.name, Tags=[{"Key": "team", "Value": "crypto"}])
    asking.may()
    iam.untag_user(UserName=asking.name, TagKeys=["TEAM"])
    asking.may_not(NOTHING_ALLOWS)


# ── who may ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Delegate:
    """A user with these identity policies, as a client of IAM."""

    def __init__(self, installation: Installation, *statements: dict[str, Any]) -> None:
        self.user = make_user(installation, fresh("delegate"), document(*statements))
        self.iam = iam_client(installation, self.user.access_key_id, self.user.secret)


def test_nobody_who_may_not_ask_is_told_what_exists(two: Installation, iam: Any) -> None:
    role, arn = fresh("role"), make_policy(iam)
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust())
    nobody = Delegate(two, statement("kms:*"))
    for name in (role, fresh("none")):
        for action, call, more in (
            ("GetRole", nobody.iam.get_role, {}),
            ("DeleteRole", nobody.iam.delete_role, {}),
            ("AttachRolePolicy", nobody.iam.attach_role_policy, {"PolicyArn": arn}),
            ("PutRolePolicy", nobody.iam.put_role_policy, {"PolicyName": "p", "PolicyDocument": "{}"}),
            ("CreateRole", nobody.iam.create_role, {"AssumeRolePolicyDocument": "{}"}),
        ):
            with refused(
                "AccessDenied",
                f"User: {nobody.user.arn} is not authorized to perform: iam:{action} on resource: "
                f"{arn_of('role', name)} because no identity-based policy allows the iam:{action} action",
            ):
                call(RoleName=name, **more)
    for policy in (arn, arn_of("policy", fresh("none")), ADMINISTRATOR):
        with refused("AccessDenied"):
            nobody.iam.get_policy(PolicyArn=policy)


def test_a_path_is_part_of_what_is_asked_for(two: Installation, iam: Any) -> None:
    team = Delegate(two, {"Effect": "Allow", "Action": "iam:*", "Resource": arn_of("*", "*", "/team/")})
    inside, outside = fresh("role"), fresh("role")
    team.iam.create_role(RoleName=inside, Path="/team/", AssumeRolePolicyDocument=trust())
    iam.create_role(RoleName=outside, AssumeRolePolicyDocument=trust())
    assert team.iam.get_role(RoleName=inside)["Role"]["Arn"] == arn_of("role", inside, "/team/")
    with refused("AccessDenied"):
        team.iam.get_role(RoleName=outside)
    with refused("AccessDenied"):
        team.iam.create_role(RoleName=fresh("role"), Path="/", AssumeRolePolicyDocument=trust())
    own = team.iam.create_policy(PolicyName=fresh("policy"), Path="/team/", PolicyDocument=MAY)["Policy"]["Arn"]
    assert team.iam.get_policy(PolicyArn=own)["Policy"]["Arn"] == own
    with refused("AccessDenied"):
        team.iam.get_policy(PolicyArn=ADMINISTRATOR)


def test_which_policy_is_attached_and_detached_can_be_a_condition(two: Installation, iam: Any) -> None:
    good, bad, user = make_policy(iam), make_policy(iam), fresh("user")
    iam.create_user(UserName=user)
    condition = {"ArnEquals": {"iam:PolicyARN": good}}
    delegate = Delegate(two, statement("iam:AttachUserPolicy", "iam:DetachUserPolicy", Condition=condition))
    delegate.iam.attach_user_policy(UserName=user, PolicyArn=good)
    iam.attach_user_policy(UserName=user, PolicyArn=bad)
    for call in (delegate.iam.attach_user_policy, delegate.iam.detach_user_policy):
        for arn in (bad, ADMINISTRATOR):
            with refused("AccessDenied"):
                call(UserName=user, PolicyArn=arn)
    delegate.iam.detach_user_policy(UserName=user, PolicyArn=good)


def test_a_delegate_can_be_held_to_a_boundary(two: Installation, iam: Any) -> None:
    """IAM user guide, "Delegating responsibility to others using permissions boundaries"."""
    limit, other = make_policy(iam), make_policy(iam)
    condition = {"StringEquals": {"iam:PermissionsBoundary": limit}}
    changing = [f"iam:{verb}UserPolicy" for verb in ("Attach", "Detach", "Put", "Delete")]
    delegate = Delegate(
        two,
        statement("iam:CreateUser", "iam:PutUserPermissionsBoundary", *changing, Condition=condition),
        statement("iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRole", Condition=condition),
        statement("iam:GetUser"),
    ).iam
    user, role, free = fresh("user"), fresh("role"), fresh("user")
    for more in ({}, {"PermissionsBoundary": other}):
        with refused("AccessDenied"):
            delegate.create_user(UserName=user, **more)
        with refused("AccessDenied"):
            delegate.create_role(RoleName=role, AssumeRolePolicyDocument=trust(), **more)
    delegate.create_user(UserName=user, PermissionsBoundary=limit)
    delegate.create_role(RoleName=role, AssumeRolePolicyDocument=trust(), PermissionsBoundary=limit)
    delegate.attach_user_policy(UserName=user, PolicyArn=ADMINISTRATOR)
    delegate.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=MAY)
    delegate.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=MAY)
    for call, more in (
        (delegate.put_user_permissions_boundary, {"PermissionsBoundary": other}),
        (delegate.delete_user_permissions_boundary, {}),
    ):
        with refused("AccessDenied"):
            call(UserName=user, **more)
    iam.create_user(UserName=free)
    for call, more in (
        (delegate.attach_user_policy, {"PolicyArn": ADMINISTRATOR}),
        (delegate.put_user_policy, {"PolicyName": "p", "PolicyDocument": MAY}),
        (delegate.delete_user_policy, {"PolicyName": "p"}),
    ):
        with refused("AccessDenied"):
            call(UserName=free, **more)
    delegate.put_user_permissions_boundary(UserName=free, PermissionsBoundary=limit)
    delegate.put_user_policy(UserName=free, PolicyName="p", PolicyDocument=MAY)


def tags(**values: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


def test_the_tags_of_a_request_can_be_a_condition(two: Installation, iam: Any) -> None:
    conditions = {
        "StringEquals": {"aws:RequestTag/team": "a"},
        "ForAllValues:StringEquals": {"aws:TagKeys": ["team", "note"]},
    }
    delegate = Delegate(
        two,
        statement("iam:CreateRole", "iam:TagRole", "iam:CreatePolicy", "iam:TagPolicy", Condition=conditions),
        statement("iam:UntagRole", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["note"]}}),
    ).iam

    def make(**more: Any) -> str:
        name = fresh("role")
        delegate.create_role(RoleName=name, AssumeRolePolicyDocument=trust(), **more)
        return name

    role = make(Tags=tags(team="a", note="n"))
    for refusing in ({}, {"Tags": tags(team="b")}, {"Tags": tags(team="a", other="o")}, {"Tags": tags(note="n")}):
        with refused("AccessDenied"):
            make(**refusing)
        with refused("AccessDenied"):
            delegate.create_policy(PolicyName=fresh("policy"), PolicyDocument=MAY, **refusing)
    delegate.create_policy(PolicyName=fresh("policy"), PolicyDocument=MAY, Tags=tags(team="a"))
    with refused("AccessDenied"):
        delegate.tag_role(RoleName=role, Tags=tags(team="b"))
    delegate.untag_role(RoleName=role, TagKeys=["note"])
    with refused("AccessDenied"):
        delegate.untag_role(RoleName=role, TagKeys=["note", "team"])


def test_making_something_with_tags_needs_leave_to_tag(two: Installation, iam: Any) -> None:
    delegate = Delegate(two, statement("iam:CreateRole", "iam:CreatePolicy")).iam
    delegate.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=trust())
    with refused("AccessDenied"):
        delegate.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=trust(), Tags=tags(a="b"))
    with refused("AccessDenied"):
        delegate.create_policy(PolicyName=fresh("policy"), PolicyDocument=MAY, Tags=tags(a="b"))


@pytest.mark.parametrize("prefix", ["aws", "iam"])
def test_the_tags_of_what_is_asked_for_can_be_a_condition(two: Installation, iam: Any, prefix: str) -> None:
    condition = {"StringEquals": {f"{prefix}:ResourceTag/owner": "${aws:username}"}}
    delegate = Delegate(two, statement("iam:*", Condition=condition))
    own, others, untagged = (fresh("role") for _ in range(3))
    for role, more in (
        (own, {"Tags": tags(Owner=delegate.user.name)}),
        (others, {"Tags": tags(Owner="somebody")}),
        (untagged, {}),
    ):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust(), **more)
    delegate.iam.put_role_policy(RoleName=own, PolicyName="p", PolicyDocument=MAY)
    assert delegate.iam.list_role_policies(RoleName=own)["PolicyNames"] == ["p"]
    for role in (others, untagged, fresh("none")):
        with refused("AccessDenied"):
            delegate.iam.put_role_policy(RoleName=role, PolicyName="p", PolicyDocument=MAY)
    policy = make_policy(iam)
    with refused("AccessDenied"):
        delegate.iam.get_policy(PolicyArn=policy)
    iam.tag_policy(PolicyArn=policy, Tags=tags(owner=delegate.user.name))
    assert delegate.iam.get_policy(PolicyArn=policy)["Policy"]["Arn"] == policy


# ── at the same moment ──────────────────────────────────────────────────────────────────────────────────────────────────


def both(first: Callable[[], Any], second: Callable[[], Any]) -> list[str]:
    """What became of two calls that were sent together: empty for a success, else the code."""

    def outcome(call: Callable[[], Any]) -> str:
        try:
            call()
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(outcome, (first, second)))


def test_a_policy_is_attached_or_deleted_and_never_both(two: Installation, iam: Any) -> None:
    user, other = fresh("user"), iam_client(two)
    iam.create_user(UserName=user)
    for _ in range(25):
        arn = make_policy(iam)
        outcomes = both(
            lambda arn=arn: iam.attach_user_policy(UserName=user, PolicyArn=arn),
            lambda arn=arn: other.delete_policy(PolicyArn=arn),
        )
        assert outcomes in (["", "DeleteConflict"], ["NoSuchEntity", ""]), outcomes
        attached = [one["PolicyArn"] for one in iam.list_attached_user_policies(UserName=user)["AttachedPolicies"]]
        assert attached == ([arn] if outcomes[0] == "" else [])
        if attached:
            iam.detach_user_policy(UserName=user, PolicyArn=arn)


def test_of_two_who_take_a_name_one_has_it(two: Installation, iam: Any) -> None:
    other = iam_client(two)
    for _ in range(15):
        name = fresh("Role")
        outcomes = both(
            lambda name=name: iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust()),
            lambda name=name: other.create_role(RoleName=name.lower(), AssumeRolePolicyDocument=trust()),
        )
        assert sorted(outcomes) == ["", "EntityAlreadyExists"]


def test_changes_of_one_identity_at_the_same_moment_are_all_kept(two: Installation, iam: Any) -> None:
    role = fresh("role")
    iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust())
    clients = [iam_client(two) for _ in range(6)]
    names = [fresh("p") for _ in range(24)]
    with ThreadPoolExecutor(len(clients)) as pool:
        list(
            pool.map(
                lambda at: clients[at % len(clients)].put_role_policy(
                    RoleName=role, PolicyName=names[at], PolicyDocument=MAY
                ),
                range(len(names)),
            )
        )
    assert iam.list_role_policies(RoleName=role)["PolicyNames"] == sorted(names)
