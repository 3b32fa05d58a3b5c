"""GetAccountAuthorizationDetails: everything about everybody, and in pages that are whole together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.identities import ADMINISTRATOR, arn_of, document, fresh, iam_client, refused, statement, text_of, trust
from testkit.installation import Installation
from testkit.raw import ask_admin

LISTS = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")


class Account:
    """An account of its own, so that all of it is known."""

    def __init__(self, installation: Installation) -> None:
        self.number = f"{time.time_ns() % 10**11 + 10**11:012}"
        made = ask_admin(installation, "create-account", account=self.number, name="known")
        self.iam = iam_client(installation, made["access_key_id"], made["secret_access_key"])
        self.user, self.group, self.role, self.policy = (fresh(kind) for kind in "ugrp")
        iam, text = self.iam, document(statement("kms:ListKeys"))
        iam.create_group(GroupName=self.group)
        iam.put_group_policy(GroupName=self.group, PolicyName="own", PolicyDocument=text)
        iam.create_role(RoleName=self.role, AssumeRolePolicyDocument=trust(f"arn:aws:iam::{self.number}:root"))
        self.policy_arn = iam.create_policy(PolicyName=self.policy, PolicyDocument=text)["Policy"]["Arn"]
        iam.create_policy_version(PolicyArn=self.policy_arn, PolicyDocument=text, SetAsDefault=True)
        iam.create_user(UserName=self.user, Tags=[{"Key": "a", "Value": "b"}], PermissionsBoundary=self.policy_arn)
        iam.put_user_policy(UserName=self.user, PolicyName="own", PolicyDocument=text)
        iam.attach_user_policy(UserName=self.user, PolicyArn=ADMINISTRATOR)
        iam.add_user_to_group(UserName=self.user, GroupName=self.group)


@pytest.fixture(scope="module")
def account(installation: Installation) -> Iterator[Account]:
    made = Account(installation)
    yield made
    made.iam.close()


def test_everybody_is_told_with_every_document(account: Account) -> None:
    answer = account.iam.get_account_authorization_details()
    assert answer["IsTruncated"] is False
    admin, user = sorted(answer["UserDetailList"], key=lambda one: str(one["UserName"]))
    assert (admin["UserName"], user["UserName"]) == ("admin", account.user)
    assert user["Arn"] == arn_of("user", account.user, account=account.number)
    assert user["GroupList"] == [account.group]
    assert user["Tags"] == [{"Key": "a", "Value": "b"}]
    assert user["PermissionsBoundary"]["PermissionsBoundaryArn"] == account.policy_arn
    assert user["AttachedManagedPolicies"] == [{"PolicyName": "AdministratorAccess", "PolicyArn": ADMINISTRATOR}]
    text = document(statement("kms:ListKeys"))
    ((inline,), (of_group,)) = user["UserPolicyList"], answer["GroupDetailList"][0]["GroupPolicyList"]
    assert [text_of(one["PolicyDocument"]) for one in (inline, of_group)] == [text, text]
    (role,) = answer["RoleDetailList"]
    assert (role["RoleName"], role["InstanceProfileList"]) == (account.role, [])
    assert text_of(role["AssumeRolePolicyDocument"]) == trust(f"arn:aws:iam::{account.number}:root")
    own, of_aws = answer["Policies"]
    assert (own["Arn"], own["DefaultVersionId"], own["PermissionsBoundaryUsageCount"]) == (account.policy_arn, "v2", 1)
    versions = {one["VersionId"]: one["IsDefaultVersion"] for one in own["PolicyVersionList"]}
    assert versions == {"v1": False, "v2": True}
    assert all(text_of(one["Document"]) == text for one in own["PolicyVersionList"])
    assert (of_aws["Arn"], of_aws["AttachmentCount"]) == (ADMINISTRATOR, 1)


@pytest.mark.parametrize(
    ("entity", "member", "count"),
    [
        ("User", "UserDetailList", 2),
        ("Group", "GroupDetailList", 1),
        ("Role", "RoleDetailList", 1),
        ("LocalManagedPolicy", "Policies", 1),
        ("AWSManagedPolicy", "Policies", 1),
    ],
)
def test_a_filter_leaves_the_other_kinds_out(account: Account, entity: str, member: str, count: int) -> None:
    answer = account.iam.get_account_authorization_details(Filter=[entity])
    assert {name: len(answer[name]) for name in LISTS} == {**dict.fromkeys(LISTS, 0), member: count}


@pytest.mark.parametrize("items_max", [1, 2, 3, 5, 6])
def test_pages_are_the_whole_together(account: Account, items_max: int) -> None:
    whole = account.iam.get_account_authorization_details()
    found: dict[str, list[Any]] = {name: [] for name in LISTS}
    marker: dict[str, str] = {}
    while True:
        page = account.iam.get_account_authorization_details(MaxItems=items_max, **marker)
        assert 1 <= sum(len(page[name]) for name in LISTS) <= items_max
        for name in LISTS:
            found[name] += page[name]
        if not page["IsTruncated"]:
            break
        marker = {"Marker": page["Marker"]}
    assert found == {name: whole[name] for name in LISTS}


@pytest.mark.parametrize("marker", ["x", "OQ==", "YWJj"])
def test_a_marker_that_is_none_is_refused(account: Account, marker: str) -> None:
    with refused("ValidationError", "Invalid Marker."):
        account.iam.get_account_authorization_details(Marker=marker)


def test_a_page_ends_where_its_documents_are_long_enough(account: Account) -> None:
    """1,000,000 characters of documents, and one identity more."""
    iam = account.iam
    long = document(statement("kms:*", Resource="arn:aws:kms:*:*:key/" + "x" * 4_900))
    path = "/long/"
    for number in range(45):
        arn = iam.create_policy(PolicyName=f"{account.policy}-{number:02}", Path=path, PolicyDocument=long)["Policy"][
            "Arn"
        ]
        for _ in range(4):
            iam.create_policy_version(PolicyArn=arn, PolicyDocument=long)
    pages = iam.get_paginator("get_account_authorization_details").paginate(
        Filter=["LocalManagedPolicy"], PaginationConfig={"PageSize": 1000}
    )
    counts = [len(page["Policies"]) for page in pages]
    assert (len(counts), sum(counts)) == (2, 46)
