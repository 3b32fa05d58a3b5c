"""What a principal's documents are: everything that is attached, and a Deny for whatever cannot be had."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.boundary.secret import StoreKey
from strongroom.kms.driver import run
from strongroom.kms.iam.documents import PolicyKind
from strongroom.kms.iam.evaluate import Documents, Question, evaluate
from strongroom.kms.identities.configured import Documents as Files
from strongroom.kms.identities.lookup import Identity, Lookup, trust_policy
from strongroom.kms.identities.organization import UNLIMITED, read_organization
from strongroom.kms.identities.records import (
    AccountRecord,
    GroupRecord,
    ManagedPolicyRecord,
    PolicyVersion,
    RoleRecord,
    UserRecord,
)
from strongroom.kms.repositories import Put, Record
from strongroom.kms.storage.sqlite import SqliteStore
from testkit.installation import ACCOUNT

MEMBER = "111111111111"
MANAGED = f"arn:aws:iam::{ACCOUNT}:policy/team/managed"


def allow(*actions: str, effect: str = "Allow") -> str:
    return json.dumps({"Statement": [{"Effect": effect, "Action": list(actions), "Resource": "*"}]})


USER = UserRecord(
    account=ACCOUNT,
    name="alice",
    version=1,
    user_id="AIDA",
    identity_policies={"own": allow("kms:A")},
    created_at_s=1.0,
    path="/team/",
    tags={"team": "blue"},
)
GROUP = GroupRecord(
    account=ACCOUNT,
    name="team",
    version=1,
    group_id="AGPA",
    path="/",
    identity_policies={"own": allow("kms:B")},
    attached_policies=("arn:aws:iam::aws:policy/AdministratorAccess",),
    created_at_s=1.0,
)
POLICY = ManagedPolicyRecord(
    account=ACCOUNT,
    name="managed",
    version=1,
    policy_id="ANPA",
    path="/team/",
    description="",
    versions=(PolicyVersion(1, allow("kms:C"), 1.0), PolicyVersion(2, allow("kms:D"), 1.0)),
    default_number=2,
    last_number=2,
    tags={},
    created_at_s=1.0,
    updated_at_s=1.0,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.db")
    store.unlock(StoreKey(bytes(32)))
    yield store
    store.close()


def found(store: SqliteStore, user: UserRecord, *records: Record, lookup: Lookup | None = None) -> Identity | None:
    async def scene() -> Identity | None:
        await run(store.commit([Put(record, None) for record in (user, *records)]))
        return await run((lookup or Lookup(store, ACCOUNT, UNLIMITED)).owner(user.account, user.name, "AKIA"))

    return asyncio.run(scene())


def owner(lookup: Lookup, account: str, name: str) -> Identity | None:
    async def scene() -> Identity | None:
        return await run(lookup.owner(account, name, "AKIA"))

    return asyncio.run(scene())


def may(identity: Identity | None, action: str) -> bool:
    assert identity is not None
    return evaluate(Question(identity.principal, identity.documents, action, "*")).allowed


def test_a_user_has_its_own_documents_its_groups_and_what_is_attached(store: SqliteStore) -> None:
    group = msgspec.structs.replace(GROUP, attached_policies=())
    user = msgspec.structs.replace(USER, groups=("team",), attached_policies=(MANAGED,))
    identity = found(store, user, group, POLICY)
    assert identity is not None
    principal = identity.principal
    assert (principal.arn, principal.user_name) == (f"arn:aws:iam::{ACCOUNT}:user/team/alice", "alice")
    assert principal.tags == {"team": "blue"}
    assert [may(identity, f"kms:{letter}") for letter in "ABCD"] == [True, True, False, True]
    assert [document.name for document in identity.documents.identity] == ["own", MANAGED, "group team: own"]


def test_what_is_attached_to_a_group_counts_for_its_members(store: SqliteStore) -> None:
    assert may(found(store, msgspec.structs.replace(USER, groups=("team",)), GROUP), "kms:Anything")


def test_a_boundary_limits_and_allows_nothing_by_itself(store: SqliteStore) -> None:
    user = msgspec.structs.replace(USER, identity_policies={"own": allow("kms:A", "kms:D")}, boundary_arn=MANAGED)
    identity = found(store, user, POLICY)
    assert [may(identity, f"kms:{letter}") for letter in "AD"] == [False, True]
    assert identity is not None
    assert identity.documents.boundary is not None
    assert identity.documents.boundary.kind is PolicyKind.BOUNDARY


@pytest.mark.parametrize(
    "change",
    [
        {"boundary_arn": "arn:aws:iam::000000000000:policy/gone"},
        {"boundary_arn": "arn:aws:iam::000000000000:policy/managed"},
        {"boundary_arn": "nothing"},
        {"attached_policies": ("arn:aws:iam::000000000000:policy/gone",)},
        {"attached_policies": ("arn:aws:iam::aws:policy/NoSuchPolicy",)},
        {"groups": ("gone",)},
        {"identity_policies": {"own": allow("kms:A"), "bad": "{"}},
        {"identity_policies": {"own": allow("kms:A"), "bad": '{"Statement":[{"Effect":"Deny","New":1}]}'}},
        {"identity_policies": {"own": allow("kms:A"), "bad": "{" + " " * 4_000}},
    ],
)
def test_what_cannot_be_had_or_read_denies(store: SqliteStore, change: dict[str, Any]) -> None:
    user = msgspec.structs.replace(USER, **change)
    assert not may(found(store, user, POLICY), "kms:A")


def test_an_account_that_is_not_there_has_nobody(store: SqliteStore) -> None:
    user = msgspec.structs.replace(USER, account=MEMBER)
    assert found(store, user) is None
    lookup = Lookup(store, ACCOUNT, UNLIMITED)
    assert owner(lookup, MEMBER, "") is None
    assert owner(lookup, ACCOUNT, "nobody") is None
    account = AccountRecord(account=MEMBER, version=1, name="member", created_at_s=1.0)

    async def add() -> None:
        await run(store.commit([Put(account, None)]))

    asyncio.run(add())
    for name, arn in (("alice", "user/team/alice"), ("", "root")):
        identity = owner(lookup, MEMBER, name)
        assert identity is not None
        assert identity.principal.arn == f"arn:aws:iam::{MEMBER}:{arn}"


def test_the_organisation_limits_users_and_the_root(store: SqliteStore) -> None:
    text = '[root]\nservice_control_policies = ["a.json"]\n'
    organization = read_organization(text, Files("organization", {"a.json": allow("kms:B")}), "999999999999")
    lookup = Lookup(store, ACCOUNT, organization)
    user = found(store, USER, lookup=lookup)
    root = owner(lookup, ACCOUNT, "")
    assert [may(user, "kms:A"), may(root, "kms:A"), may(root, "kms:B")] == [False, False, True]


def test_documents_with_the_same_text_are_parsed_once(store: SqliteStore) -> None:
    one = found(store, USER)
    other = found(store, msgspec.structs.replace(USER, name="bob"))
    assert one is not None
    assert other is not None
    assert one.documents.identity[0] is other.documents.identity[0]


def test_a_trust_policy_that_cannot_be_read_trusts_nobody() -> None:
    role = RoleRecord(
        account=ACCOUNT,
        name="r",
        version=1,
        role_id="AROA",
        path="/",
        description="",
        trust_policy="{",
        max_session_s=3600,
        identity_policies={},
        attached_policies=(),
        tags={},
        created_at_s=1.0,
    )
    policy = trust_policy(role)
    (statement,) = policy.statements
    assert (policy.kind, statement.allows) == (PolicyKind.TRUST, False)


def test_session_policies_are_none_only_where_none_was_passed(store: SqliteStore) -> None:
    lookup = Lookup(store, ACCOUNT, UNLIMITED)

    async def scene() -> None:
        assert await run(lookup.session_policies(None, ())) is None
        passed = await run(lookup.session_policies(allow("kms:A"), ("arn:aws:iam::000000000000:policy/gone",)))
        assert passed is not None
        assert [document.kind for document in passed] == [PolicyKind.SESSION] * 2
        assert not passed[1].statements[0].allows
        assert Documents(session=passed).session == passed

    asyncio.run(scene())
