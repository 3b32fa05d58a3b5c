"""The ledger that the tests hold the product to, where an answer never came: nothing else than what may be passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testkit.identities import document, iam_client, statement
from testkit.installation import Installation
from worlds.ledger import Ledger
from worlds.shown import clients_of, shown


@pytest.fixture(scope="module")
def running() -> Iterator[Installation]:
    installation = Installation()
    yield installation.start()
    installation.destroy()


@pytest.fixture
def iam(running: Installation) -> Iterator[Any]:
    client = iam_client(running)
    yield client
    client.close()


def _in_doubt(running: Installation, iam: Any, name: str) -> Ledger:
    """A group with a policy and a member; it is said to be asked for the name `new-…`, and was not answered."""
    group, user = f"group-{name}", f"user-{name}"
    iam.create_group(GroupName=group)
    iam.put_group_policy(GroupName=group, PolicyName="some", PolicyDocument=document(statement("kms:*")))
    iam.create_user(UserName=user)
    iam.add_user_to_group(UserName=user, GroupName=group)
    ledger = Ledger()
    with clients_of(running, {}) as clients:
        for subject in (f"group/{group}", f"user/{user}"):
            ledger.facts[subject] = {respect: {value} for respect, value in shown(clients, subject, ()).items()}
    ledger.renames.append(("group", group, f"new-{name}"))
    return ledger


@pytest.mark.long
def test_a_rename_that_was_not_answered_may_have_happened_or_not(running: Installation, iam: Any) -> None:
    asked, done = (_in_doubt(running, iam, name) for name in ("asked", "done"))
    iam.update_group(GroupName="group-done", NewGroupName="new-done")
    assert asked.losses(running) == []
    assert done.losses(running) == []


@pytest.mark.long
def test_who_is_lost_under_both_names_is_missed(running: Installation, iam: Any) -> None:
    ledger = _in_doubt(running, iam, "lost")
    iam.remove_user_from_group(UserName="user-lost", GroupName="group-lost")
    iam.delete_group_policy(GroupName="group-lost", PolicyName="some")
    iam.delete_group(GroupName="group-lost")
    lost = ledger.losses(running)
    assert {"there of group/group-lost", "inline some of group/group-lost", "group group-lost of user/user-lost"} <= {
        *lost
    }


@pytest.mark.long
def test_who_has_the_new_name_without_a_policy_is_missed(running: Installation, iam: Any) -> None:
    ledger = _in_doubt(running, iam, "bare")
    iam.update_group(GroupName="group-bare", NewGroupName="new-bare")
    iam.delete_group_policy(GroupName="new-bare", PolicyName="some")
    assert ledger.losses(running) == ["inline some of group/new-bare"]
