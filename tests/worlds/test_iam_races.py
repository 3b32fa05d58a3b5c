"""What several callers at once cannot do to identities, and what a restart keeps of them: two workers, real processes.

A name is free once, a quota holds to the last, and nothing is left hanging on what went away: whoever was beaten looks
again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from testkit.identities import document, fresh, iam_client, refused, statement
from testkit.installation import Installation
from testkit.raw import ask_iam, delete_user, make_user, put_policy

AT_ONCE = 8


@pytest.fixture(scope="module")
def two() -> Iterator[Installation]:
    """Two workers, and room for few users."""
    installation = Installation("--workers", "2")
    installation.home.mkdir(mode=0o700)
    (installation.home / "limits.toml").write_text("users_max = 40\ngroups_max = 12\n")
    yield installation.start()
    installation.destroy()


@pytest.fixture(scope="module")
def clients(two: Installation) -> Iterator[list[Any]]:
    """As many connections as there are threads: both workers have some of them."""
    made = [iam_client(two) for _ in range(AT_ONCE)]
    yield made
    for client in made:
        client.close()


def all_at_once(clients: list[Any], act: Callable[[Any, int], Any]) -> list[str]:
    """What each one's act came to: empty, or the code of its refusal."""

    def one(number: int) -> str:
        try:
            act(clients[number], number)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sorted(pool.map(one, range(AT_ONCE)))


@pytest.mark.parametrize("round_", range(3))
def test_of_those_who_want_one_name_in_whatever_case_one_gets_it(clients: list[Any], round_: int) -> None:
    name = fresh("race")
    spelled = [name, name.upper(), name.title(), name.swapcase()] * 2
    came = all_at_once(clients, lambda client, number: client.create_user(UserName=spelled[number]))
    assert came == ["", *["EntityAlreadyExists"] * 7]
    users = [one["UserName"] for one in clients[0].list_users()["Users"] if one["UserName"].lower() == name]
    assert len(users) == 1
    clients[0].delete_user(UserName=users[0])


def test_nobody_gets_a_third_access_key(clients: list[Any]) -> None:
    user = fresh("race")
    clients[0].create_user(UserName=user)
    came = all_at_once(clients, lambda client, _: client.create_access_key(UserName=user))
    assert came == ["", "", *["LimitExceeded"] * 6]
    keys = clients[0].list_access_keys(UserName=user)["AccessKeyMetadata"]
    assert len(keys) == 2
    for key in keys:
        clients[0].delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    clients[0].delete_user(UserName=user)


def test_a_quota_holds_to_the_last(clients: list[Any]) -> None:
    have = len(clients[0].list_groups()["Groups"])
    for _ in range(12 - have - 2):
        clients[0].create_group(GroupName=fresh("full"))
    came = all_at_once(clients, lambda client, _: client.create_group(GroupName=fresh("race")))
    assert came == ["", "", *["LimitExceeded"] * 6]
    groups = [one["GroupName"] for one in clients[0].list_groups()["Groups"]]
    assert len(groups) == 12
    for name in groups:
        clients[0].delete_group(GroupName=name)


def test_nobody_is_left_in_a_group_that_was_deleted_while_it_was_joined(clients: list[Any]) -> None:
    user = fresh("race")
    clients[0].create_user(UserName=user)
    for _ in range(6):
        group = fresh("race")
        clients[0].create_group(GroupName=group)

        def act(client: Any, number: int, group: str = group) -> None:
            if number % 2:
                client.add_user_to_group(GroupName=group, UserName=user)
            else:
                client.delete_group(GroupName=group)

        came = set(all_at_once(clients, act))
        joined = [one["GroupName"] for one in clients[1].list_groups_for_user(UserName=user)["Groups"]]
        there = [one["GroupName"] for one in clients[1].list_groups()["Groups"]]
        assert joined == [name for name in there if name == group], came
        assert came <= {"", "NoSuchEntity", "DeleteConflict"}
        if joined:
            clients[0].remove_user_from_group(GroupName=group, UserName=user)
            clients[0].delete_group(GroupName=group)
    clients[0].delete_user(UserName=user)


def test_a_key_is_not_left_behind_by_a_user_that_was_deleted_or_renamed_while_it_was_made(
    two: Installation, clients: list[Any]
) -> None:
    for _ in range(6):
        user, renamed = fresh("race"), fresh("renamed")
        clients[0].create_user(UserName=user)

        def act(client: Any, number: int, user: str = user, renamed: str = renamed) -> None:
            if number == 0:
                client.delete_user(UserName=user)
            elif number == 1:
                client.update_user(UserName=user, NewUserName=renamed)
            else:
                client.create_access_key(UserName=user)

        assert set(all_at_once(clients, act)) <= {"", "NoSuchEntity", "DeleteConflict", "LimitExceeded"}
        # Keys are found by the name of their owner: none may lie under a name that nobody has.
        for name in (user, renamed):
            there = [one for one in clients[0].list_users()["Users"] if one["UserName"] == name]
            if there:
                for key in clients[0].list_access_keys(UserName=name)["AccessKeyMetadata"]:
                    clients[0].delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
                clients[0].delete_user(UserName=name)
            clients[0].create_user(UserName=name)
            assert ask_iam(two, "ListAccessKeys", UserName=name)["AccessKeyMetadata"] == []
            clients[0].delete_user(UserName=name)


def test_changes_of_one_user_by_all_at_once_are_all_kept(clients: list[Any]) -> None:
    user = fresh("race")
    clients[0].create_user(UserName=user)
    text = document(statement("kms:ListKeys"))

    def act(client: Any, number: int) -> None:
        client.put_user_policy(UserName=user, PolicyName=f"p{number}", PolicyDocument=text)
        client.tag_user(UserName=user, Tags=[{"Key": f"k{number}", "Value": "v"}])

    assert all_at_once(clients, act) == [""] * AT_ONCE
    names = {f"p{number}" for number in range(AT_ONCE)}
    assert set(clients[0].list_user_policies(UserName=user)["PolicyNames"]) == names
    assert len(clients[0].get_user(UserName=user)["User"]["Tags"]) == AT_ONCE


def test_whoever_lost_a_permission_while_he_waited_his_turn_has_lost_it(two: Installation, clients: list[Any]) -> None:
    """A crowd of his own requests beats each other; what was not done when the permission went is not done at all."""
    user = make_user(two, fresh("race"), document(statement("iam:*")))
    own = [iam_client(two, user.access_key_id, user.secret) for _ in range(AT_ONCE)]
    done = threading.Event()

    def act(client: Any, number: int) -> None:
        while not done.is_set():
            client.tag_user(UserName=user.name, Tags=[{"Key": f"k{number}", "Value": fresh()}])

    with ThreadPoolExecutor(1) as pool:
        crowd = pool.submit(all_at_once, own, act)
        while len(clients[0].list_user_tags(UserName=user.name)["Tags"]) < AT_ONCE:
            time.sleep(0.01)
        put_policy(two, user.name, document(statement("iam:ListUsers")))
        left = clients[0].list_user_tags(UserName=user.name)["Tags"]
        # Each of them is refused by and by: what it waited with, too.
        assert crowd.result(60) == ["AccessDenied"] * AT_ONCE
        done.set()
    assert clients[0].list_user_tags(UserName=user.name)["Tags"] == left
    clients[0].delete_user_policy(UserName=user.name, PolicyName="inline")
    delete_user(two, user)
    for client in own:
        client.close()


def test_a_users_quota_is_that_of_the_configuration(clients: list[Any]) -> None:
    for _ in range(40 - len(clients[0].list_users()["Users"])):
        clients[0].create_user(UserName=fresh("full"))
    with refused("LimitExceeded", "Cannot exceed quota for UsersPerAccount: 40"):
        clients[0].create_user(UserName=fresh("full"))
    assert clients[0].get_account_summary()["SummaryMap"]["UsersQuota"] == 40


def test_a_restart_knows_when_a_key_was_used_last(two: Installation, clients: list[Any]) -> None:
    for one in clients[0].list_users()["Users"]:
        if one["UserName"].startswith("full-"):
            clients[0].delete_user(UserName=one["UserName"])
    user = make_user(two, fresh("u"))
    sts = two.sts(user.access_key_id, user.secret)
    sts.get_caller_identity()
    sts.close()
    two.stop()
    two.start()
    again = iam_client(two)
    used = again.get_access_key_last_used(AccessKeyId=user.access_key_id)["AccessKeyLastUsed"]
    again.close()
    assert (used["ServiceName"], used["Region"]) == ("sts", "us-east-1")
