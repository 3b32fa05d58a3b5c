"""Two accounts that cannot see each other: the same names mean different people, and no handle of one opens the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.identities import document, fresh, iam_client, refused, statement, trust
from testkit.installation import Installation
from testkit.raw import ask_admin

NAME = "somebody"


class Account:
    """With an administrator, and one of each kind under the same name."""

    def __init__(self, installation: Installation) -> None:
        self.number = f"{time.time_ns() % 10**11 + 10**11:012}"
        made = ask_admin(installation, "create-account", account=self.number, name="one of two")
        self.key = made["access_key_id"], made["secret_access_key"]
        self.iam = iam_client(installation, *self.key)
        text = document(statement("kms:ListKeys"))
        self.user = self.iam.create_user(UserName=NAME)["User"]
        self.group = self.iam.create_group(GroupName=NAME)["Group"]
        self.role = self.iam.create_role(
            RoleName=NAME, AssumeRolePolicyDocument=trust(f"arn:aws:iam::{self.number}:root")
        )
        self.policy_arn = self.iam.create_policy(PolicyName=NAME, PolicyDocument=text)["Policy"]["Arn"]
        self.access_key = self.iam.create_access_key(UserName=NAME)["AccessKey"]

    def everything(self) -> list[Any]:
        details = self.iam.get_account_authorization_details()
        keys = self.iam.list_access_keys(UserName=NAME)["AccessKeyMetadata"]
        return [
            details["UserDetailList"],
            details["GroupDetailList"],
            details["RoleDetailList"],
            details["Policies"],
            keys,
        ]


@pytest.fixture(scope="module")
def accounts(installation: Installation) -> Iterator[tuple[Account, Account]]:
    made = Account(installation), Account(installation)
    yield made
    for account in made:
        account.iam.close()


def test_a_name_means_whoever_has_it_in_the_callers_account(accounts: tuple[Account, Account]) -> None:
    for account in accounts:
        assert account.iam.get_user(UserName=NAME)["User"] == account.user
        assert account.iam.get_group(GroupName=NAME)["Group"] == account.group
        assert account.user["Arn"] == f"arn:aws:iam::{account.number}:user/{NAME}"
        names = [one["UserName"] for one in account.iam.list_users()["Users"]]
        assert names == ["admin", NAME]
    assert accounts[0].user["UserId"] != accounts[1].user["UserId"]


def test_an_administrator_of_one_account_finds_nothing_of_another_and_changes_nothing_there(
    installation: Installation, accounts: tuple[Account, Account]
) -> None:
    ours, theirs = accounts
    before, iam, key = theirs.everything(), ours.iam, theirs.access_key["AccessKeyId"]
    not_attachable = f"Policy {theirs.policy_arn} does not exist or is not attachable."
    not_a_boundary = f"Scope ARN: {theirs.policy_arn} does not exist or is not attachable."
    no_key = f"The Access Key with id {key} cannot be found."
    unseen = (
        f"User: arn:aws:iam::{ours.number}:user/admin is not authorized to perform iam:GetAccessKeyLastUsed "
        f"on resource: access key {key}"
    )
    for code, message, call, arguments in (
        ("NoSuchEntity", no_key, iam.delete_access_key, {"UserName": NAME, "AccessKeyId": key}),
        ("NoSuchEntity", no_key, iam.update_access_key, {"UserName": NAME, "AccessKeyId": key, "Status": "Inactive"}),
        ("AccessDenied", unseen, iam.get_access_key_last_used, {"AccessKeyId": key}),
        ("NoSuchEntity", not_attachable, iam.attach_user_policy, {"UserName": NAME, "PolicyArn": theirs.policy_arn}),
        ("NoSuchEntity", not_attachable, iam.attach_group_policy, {"GroupName": NAME, "PolicyArn": theirs.policy_arn}),
        ("NoSuchEntity", not_attachable, iam.attach_role_policy, {"RoleName": NAME, "PolicyArn": theirs.policy_arn}),
        ("NoSuchEntity", not_a_boundary, iam.create_user, {"UserName": "x", "PermissionsBoundary": theirs.policy_arn}),
        (
            "NoSuchEntity",
            not_a_boundary,
            iam.put_user_permissions_boundary,
            {"UserName": NAME, "PermissionsBoundary": theirs.policy_arn},
        ),
    ):
        with refused(code, message):
            call(**arguments)
    for call in (
        iam.get_policy,
        iam.list_policy_versions,
        iam.list_entities_for_policy,
        iam.delete_policy,
        iam.list_policy_tags,
    ):
        with pytest.raises(iam.exceptions.ClientError) as caught:
            call(PolicyArn=theirs.policy_arn)
        assert caught.value.response["Error"]["Code"] in {"AccessDenied", "NoSuchEntity"}
    assert theirs.everything() == before
    sts = installation.sts(key, theirs.access_key["SecretAccessKey"])
    assert sts.get_caller_identity()["Arn"] == theirs.user["Arn"]
    sts.close()


def test_what_one_account_deletes_the_other_keeps(accounts: tuple[Account, Account]) -> None:
    ours, theirs = accounts
    before, user = theirs.everything(), fresh("u")
    for account in accounts:
        account.iam.create_user(UserName=user)
    ours.iam.delete_user(UserName=user)
    with refused("NoSuchEntity", f"The user with name {user} cannot be found."):
        ours.iam.get_user(UserName=user)
    assert theirs.iam.get_user(UserName=user)["User"]["UserName"] == user
    theirs.iam.delete_user(UserName=user)
    assert theirs.everything() == before


def test_a_group_is_joined_by_users_of_its_own_account_only(accounts: tuple[Account, Account]) -> None:
    ours, theirs = accounts
    user = fresh("u")
    theirs.iam.create_user(UserName=user)
    with refused("NoSuchEntity", f"The user with name {user} cannot be found."):
        ours.iam.add_user_to_group(GroupName=NAME, UserName=user)
    theirs.iam.add_user_to_group(GroupName=NAME, UserName=user)
    assert [one["UserName"] for one in theirs.iam.get_group(GroupName=NAME)["Users"]] == [user]
    assert ours.iam.get_group(GroupName=NAME)["Users"] == []


def test_quotas_and_summaries_are_each_accounts_own(accounts: tuple[Account, Account]) -> None:
    ours, theirs = accounts
    before = theirs.iam.get_account_summary()["SummaryMap"]
    ours.iam.create_user(UserName=fresh("u"))
    assert theirs.iam.get_account_summary()["SummaryMap"] == before
