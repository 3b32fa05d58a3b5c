"""The contract of `kms/repositories.Store`, for every implementation."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from contracts.stores import (
    ACCOUNT,
    IMPLEMENTATIONS,
    REGION,
    access_key,
    access_key_usage,
    account,
    alias,
    grant,
    group,
    key_usage,
    kms_key,
    lease,
    mark,
    material,
    one_of_each,
    policy,
    polled,
    put,
    role,
    run,
    setting,
    user,
)
from strongroom.boundary.secret import StoreKey
from strongroom.kms.identities.records import AccessKeyRecord, RoleRecord, UserRecord
from strongroom.kms.repositories import (
    TABLES,
    AliasRecord,
    Changed,
    ConflictError,
    KeyRecord,
    KeyState,
    MaterialState,
    Put,
    Remove,
    RowForgedError,
    StoredKey,
    StoreUnavailableError,
    identity_of,
)

AWKWARD = [
    "it's",
    'say "hello"',
    "'; DROP TABLE kms_keys; --",
    "-- a comment",
    "/* another */",
    "before\x00after",
    "\x00",
    "\U0001f511 \U00020bb7",
    "e\u0301 \u00e9",
    "line\r\nfeed\ttab",
    "%_*?[a-z]",
    "back\\slash",
    "",
]


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def under_test(request, tmp_path):
    return IMPLEMENTATIONS[request.param](tmp_path)


def read_again(store, record):
    return run(store, lambda s: s.get(type(record), *identity_of(record)))


def commit(store, *changes):
    asyncio.run(store.commit(changes))


# -- Writing and reading


@pytest.mark.parametrize("place", range(len(TABLES)))
def test_every_kind_of_record_comes_back_as_it_was_written(under_test, place):
    record = one_of_each()[place]
    with under_test.open() as store:
        put(store, *one_of_each())
        assert read_again(store, record) == record
    with under_test.open() as store:
        again = read_again(store, record)
    assert again == record
    assert [type(value) for value in msgspec.structs.astuple(again)] == [
        type(value) for value in msgspec.structs.astuple(record)
    ]


def test_what_was_never_written_is_none(under_test):
    with under_test.open() as store:
        for record in one_of_each():
            assert read_again(store, record) is None


@pytest.mark.parametrize("text", AWKWARD)
def test_every_text_field_keeps_quotes_comments_nul_and_all_of_unicode(under_test, text):
    def awkward(record):
        values = {
            field.name: {str: text, dict[str, str]: {text: text, "other": text}}[field.type]
            for field in msgspec.structs.fields(record)
            if field.type in {str, dict[str, str]}
        }
        return msgspec.structs.replace(record, **values)

    records = [awkward(record) for record in one_of_each()]
    with under_test.open() as store:
        put(store, *records)
        for record in records:
            assert read_again(store, record) == record
        changed = [
            msgspec.structs.replace(record, version=2) if type(record) is not KeyRecord else record
            for record in records
        ]
        commit(store, *[Put(record, 1) for record in changed if record.version == 2])
        for record in changed:
            assert read_again(store, record) == record
        assert run(store, lambda s: s.list_keys(text, text, "", 10)) == ([changed[0]] if text else [])
        assert run(store, lambda s: s.list_access_keys(text, text)) == [
            record for record in changed if type(record) is AccessKeyRecord
        ]
        commit(store, *[Remove(record) for record in reversed(changed)])
        for record in changed:
            assert read_again(store, record) is None


@pytest.mark.parametrize("when_s", [0, 5, -0.0, 0.1, 1_750_000_000.123456, 2**53 + 1.0], ids=lambda value: f"{value!r}")
def test_a_time_keeps_its_value_and_its_mac(under_test, when_s):
    with under_test.open() as store:
        put(store, kms_key(created_at_s=when_s))
        assert read_again(store, kms_key()).created_at_s == when_s


def test_the_materials_of_a_key_come_oldest_first(under_test):
    old = material(b"z" * 32, state=MaterialState.NON_CURRENT, created_at_s=1.0)
    middle = material(b"m" * 32, state=MaterialState.NON_CURRENT, created_at_s=2.0)
    new = material(b"a" * 32, created_at_s=3.0)
    with under_test.open() as store:
        put(store, kms_key(), kms_key("key-2"), new, old, material(b"o" * 32, "key-2"), middle)
        assert run(store, lambda s: s.materials_of("key-1")) == [old, middle, new]
        assert run(store, lambda s: s.materials_of("key-3")) == []
        assert run(store, lambda s: s.key_with_materials("key-1")) == StoredKey(kms_key(), [old, middle, new])
        assert run(store, lambda s: s.key_with_materials("key-3")) is None


def test_a_key_without_materials_is_found_without_any(under_test):
    with under_test.open() as store:
        put(store, kms_key(), kms_key("key-2"), material(key_id="key-2"))
        assert run(store, lambda s: s.key_with_materials("key-1")) == StoredKey(kms_key(), [])


def test_keys_are_listed_by_id_within_account_and_region_strictly_after_a_mark(under_test):
    keys = [kms_key(f"key-{letter}") for letter in "abcde"]
    with under_test.open() as store:
        put(store, *reversed(keys), kms_key("key-bb", account="999999999999"), kms_key("key-cc", region="us-east-1"))
        assert run(store, lambda s: s.list_keys(ACCOUNT, REGION, "", 2)) == keys[:2]
        assert run(store, lambda s: s.list_keys(ACCOUNT, REGION, "key-b", 2)) == keys[2:4]
        assert run(store, lambda s: s.list_keys(ACCOUNT, REGION, "key-d", 2)) == keys[4:]
        assert run(store, lambda s: s.list_keys(ACCOUNT, REGION, "key-e", 2)) == []
        assert run(store, lambda s: s.list_keys(ACCOUNT, "us-east-1", "", 9)) == [kms_key("key-cc", region="us-east-1")]


def test_aliases_are_listed_by_name_of_one_key_or_of_all(under_test):
    mine = [alias(f"alias/{letter}") for letter in "ace"]
    others = [alias(f"alias/{letter}", "key-2") for letter in "bd"]
    with under_test.open() as store:
        put(store, kms_key(), kms_key("key-2"), *others, *mine, alias("alias/x", account="999999999999"))
        assert run(store, lambda s: s.list_aliases(ACCOUNT, REGION, "key-1", "", 9)) == mine
        assert run(store, lambda s: s.list_aliases(ACCOUNT, REGION, "key-1", "alias/a", 1)) == mine[1:2]
        assert run(store, lambda s: s.count_aliases(ACCOUNT, REGION, "key-1")) == 3
        assert run(store, lambda s: s.count_aliases(ACCOUNT, REGION, "key-3")) == 0
        assert [one.name for one in run(store, lambda s: s.list_aliases(ACCOUNT, REGION, None, "alias/a", 3))] == [
            "alias/b",
            "alias/c",
            "alias/d",
        ]


def test_users_and_access_keys_are_listed_by_name_and_id(under_test):
    users = [user("alice"), user("bob"), user("carol")]
    keys = [access_key("AKIA1"), access_key("AKIA2")]
    with under_test.open() as store:
        put(store, *reversed(users), user("dave", account="999999999999"))
        put(store, *reversed(keys), access_key("AKIA3", user_name=""), access_key("AKIA4", account="999999999999"))
        assert run(store, lambda s: s.list_named(UserRecord, ACCOUNT, "", 2)) == users[:2]
        assert run(store, lambda s: s.list_named(UserRecord, ACCOUNT, "bob", 2)) == users[2:]
        assert run(store, lambda s: s.list_access_keys(ACCOUNT, "alice")) == keys
        assert run(store, lambda s: s.list_access_keys(ACCOUNT, "")) == [access_key("AKIA3", user_name="")]


# -- Conflicts


def test_groups_roles_and_policies_are_listed_by_name_and_found_whatever_the_case(under_test):
    with under_test.open() as store:
        for make in (user, group, role, policy):
            records = [make("Anna"), make("bob"), make("carla")]
            put(store, *records, make("other", account="999999999999"))
            kind = type(records[0])
            assert run(store, lambda s, k=kind: s.list_named(k, ACCOUNT, "", 2)) == records[:2]
            assert run(store, lambda s, k=kind: s.list_named(k, ACCOUNT, "bob", 2)) == records[2:]
            assert run(store, lambda s, k=kind: s.find_folded(k, ACCOUNT, "aNNA")) == "Anna"
            assert run(store, lambda s, k=kind: s.find_folded(k, ACCOUNT, "other")) is None
        put(store, account("222222222222"), account("111111111111"))
        assert [one.account for one in run(store, lambda s: s.list_accounts())] == ["111111111111", "222222222222"]


def test_names_that_differ_in_case_only_are_refused(under_test):
    with under_test.open() as store:
        for make in (group, role, policy):
            put(store, make("Anna"))
            with pytest.raises(ConflictError):
                put(store, make("anna"))
            put(store, make("anna", account="999999999999"))


def test_whoever_holds_a_group_or_a_policy_is_found(under_test):
    limit, other = "arn:aws:iam::111122223333:policy/limit", "arn:aws:iam::111122223333:policy/other"
    with under_test.open() as store:
        holding = user("anna", groups=("a", "b"), attached_policies=(limit, other), boundary_arn=other)
        empty = user("bob", groups=None, attached_policies=(), boundary_arn=None)
        put(store, holding, empty, user("carla", groups=("ab",), attached_policies=(other,), boundary_arn=limit))

        def found(field, value, after="", account_id=ACCOUNT):
            records = run(store, lambda s: s.list_holding(UserRecord, field, account_id, value, after, 10))
            return [record.name for record in records]

        assert found("groups", "a") == ["anna"]
        assert found("groups", "b") == ["anna"]
        assert found("groups", "") == []
        assert found("attached_policies", other) == ["anna", "carla"]
        assert found("attached_policies", other, "anna") == ["carla"]
        assert found("attached_policies", limit) == ["anna"]
        assert found("boundary_arn", limit) == ["carla"]
        assert found("boundary_arn", limit, account_id="999999999999") == []


def test_users_and_roles_are_found_by_their_unique_ids_in_whatever_account(under_test):
    anna, theirs = user("anna", user_id="AIDA1"), user("anna", account="444455556666", user_id="AIDA2")
    reader = role("reader", role_id="AROA1")
    with under_test.open() as store:
        put(store, anna, theirs, reader)
        assert run(store, lambda s: s.with_unique_id(UserRecord, "AIDA1")) == anna
        assert run(store, lambda s: s.with_unique_id(UserRecord, "AIDA2")) == theirs
        assert run(store, lambda s: s.with_unique_id(RoleRecord, "AROA1")) == reader
        for kind, unique_id in ((UserRecord, "AROA1"), (RoleRecord, "AIDA1"), (UserRecord, "aida1"), (UserRecord, "")):
            assert run(store, lambda s, k=kind, i=unique_id: s.with_unique_id(k, i)) is None


def test_how_many_hold_what_is_counted_by_account(under_test):
    limit, other = "arn:aws:iam::111122223333:policy/limit", "arn:aws:iam::111122223333:policy/other"
    with under_test.open() as store:
        put(store, user("anna", groups=("a", "b"), attached_policies=(limit, other), boundary_arn=other))
        put(store, user("bob", groups=None, attached_policies=(), boundary_arn=None))
        put(store, user("carla", groups=("b",), attached_policies=(other,), boundary_arn=other))

        def counted(field, account_id=ACCOUNT):
            return run(store, lambda s: s.count_held(UserRecord, field, account_id))

        assert counted("groups") == {"a": 1, "b": 2}
        assert counted("attached_policies") == {limit: 1, other: 2}
        assert counted("boundary_arn") == {other: 2}
        assert counted("boundary_arn", "999999999999") == counted("groups", "999999999999") == {}


def test_grants_are_found_by_key_by_grantee_and_by_who_may_retire_them(under_test):
    first, second = (
        grant("01" * 32),
        grant("02" * 32, name="", grantee="arn:aws:iam::111122223333:user/bob", grantee_arn=None),
    )
    elsewhere = grant("03" * 32, "key-2", retiring="")
    with under_test.open() as store:
        put(store, kms_key(), kms_key("key-2"), kms_key("key-3"), first, second, elsewhere)
        assert run(store, lambda s: s.list_grants("key-1", None, "", 1)) == [first]
        assert run(store, lambda s: s.list_grants("key-1", None, first.grant_id, 9)) == [second]
        assert run(store, lambda s: s.list_grants("key-1", second.grantee, "", 9)) == [second]
        assert run(store, lambda s: s.list_grants("key-1", second.grantee, second.grant_id, 9)) == []
        assert run(store, lambda s: s.list_grants("key-1", "nobody", "", 9)) == []
        assert run(store, lambda s: s.grants_to("key-1", first.grantee)) == [first]
        assert run(store, lambda s: s.list_grants_to_retire(REGION, first.retiring, "", 9)) == [first, second]
        assert run(store, lambda s: s.list_grants_to_retire("us-east-1", first.retiring, "", 9)) == []
        assert run(store, lambda s: s.count_grants("key-1")) == 2
        assert run(store, lambda s: s.count_grants_to("key-1", first.grantee)) == 1
        # Of an ARN that somebody else had before: his, not those of who has it now.
        arn, limit = first.grantee_arn, 9
        again = grant("04" * 32, grantee="AROA2")
        put(store, again)
        assert run(store, lambda s: s.grants_to_predecessors("key-1", arn, "AROA2", limit)) == [first]
        assert run(store, lambda s: s.grants_to_predecessors("key-1", arn, first.grantee, limit)) == [again]
        assert run(store, lambda s: s.grants_to_predecessors("key-1", arn, "AROA3", limit)) == [first, again]
        assert run(store, lambda s: s.grants_to_predecessors("key-1", arn, "AROA3", 1)) == [first]
        assert run(store, lambda s: s.grants_to_predecessors("key-2", arn, "AROA2", limit)) == [elsewhere]
        assert run(store, lambda s: s.grants_to_predecessors("key-1", "nobody", "AROA3", limit)) == []
        has_grants = [run(store, lambda s, k=k: s.key_with_materials(k)).has_grants for k in ("key-1", "key-3")]
        assert has_grants == [True, False]


@pytest.mark.parametrize(
    "another",
    [
        {"key_id": "key-2"},
        {"name": "of another"},
        {"grantee": "arn:aws:iam::111122223333:user/bob"},
        {"retiring": ""},
        {"issuing_account": "arn:aws:iam::444455556666:root"},
        {"operations": ("Encrypt",)},
        {"context_equals": {"a": "b"}, "context_subset": None},
        {"context_subset": None},
        {"source_arn": "arn:aws:s3:us-east-1:111122223333:bucket"},
    ],
)
def test_of_two_grants_under_one_name_for_the_same_there_is_one(under_test, another):
    first, again = grant("01" * 32, context_subset={"a": "b"}), grant("02" * 32, context_subset={"a": "b"})
    other = msgspec.structs.replace(again, **another)
    with under_test.open() as store:
        put(store, kms_key(), kms_key("key-2"), first)
        assert run(store, lambda s: s.grant_like(again)) == first
        assert run(store, lambda s: s.grant_like(other)) is None
        with pytest.raises(ConflictError):
            put(store, again)
        put(store, other)
        assert run(store, lambda s: s.grant_like(other)) == other
        assert run(store, lambda s: s.grant_like(again)) == first
        # Without a name there may be as many as somebody asks for.
        put(store, *(msgspec.structs.replace(again, grant_id=f"{n:064x}", name="") for n in range(3)))
        assert run(store, lambda s: s.grant_like(msgspec.structs.replace(again, name=""))) is None


def test_grants_and_last_uses_go_with_what_they_belong_to(under_test):
    with under_test.open() as store:
        put(store, kms_key(), grant(), access_key(), access_key_usage())
        commit(store, Remove(kms_key()), Remove(access_key()))
        assert read_again(store, grant()) is None
        assert read_again(store, access_key_usage()) is None
        with pytest.raises(ConflictError):
            put(store, grant())


def test_a_change_of_the_expected_version_is_kept(under_test):
    with under_test.open() as store:
        put(store, kms_key())
        commit(store, Put(kms_key(version=2, state=KeyState.DISABLED), 1))
        assert read_again(store, kms_key()).state is KeyState.DISABLED


@pytest.mark.parametrize("place", range(len(TABLES)))
def test_each_kind_of_record_refuses_a_change_that_expects_another_version(under_test, place):
    record = one_of_each()[place]
    with under_test.open() as store:
        put(store, *one_of_each())
        for change in (
            Put(record, None),
            Put(msgspec.structs.replace(record, version=3), 2),
            Put(msgspec.structs.replace(record, version=3), 0),
            Remove(msgspec.structs.replace(record, version=2)),
        ):
            with pytest.raises(ConflictError):
                commit(store, change)
        assert read_again(store, record) == record


@pytest.mark.parametrize("place", range(len(TABLES)))
def test_each_kind_of_record_refuses_a_change_of_what_does_not_exist(under_test, place):
    record = one_of_each()[place]
    with under_test.open() as store:
        put(store, kms_key("key-other"))
        with pytest.raises(ConflictError):
            commit(store, Put(msgspec.structs.replace(record, version=2), 1))
        with pytest.raises(ConflictError):
            commit(store, Remove(record))
        assert read_again(store, record) is None


def test_one_conflict_undoes_the_whole_commit_and_tells_nobody(under_test):
    with under_test.open() as store:
        put(store, kms_key())
        polled(store)
        before = store.stats
        with pytest.raises(ConflictError):
            commit(
                store,
                Put(kms_key("key-2"), None),
                Put(kms_key(version=2, description="changed"), 1),
                Put(alias(version=6), 5),
            )
        assert read_again(store, kms_key("key-2")) is None
        assert read_again(store, kms_key()) == kms_key()
        assert polled(store) == []
        assert store.stats == before


def test_a_removed_record_is_gone_and_can_be_written_anew(under_test):
    with under_test.open() as store:
        put(store, *one_of_each())
        commit(store, *[Remove(record) for record in reversed(one_of_each())])
        for record in one_of_each():
            assert read_again(store, record) is None
        put(store, *one_of_each())
        assert read_again(store, alias()) == alias()


def test_a_version_must_grow(under_test):
    with under_test.open() as store:
        put(store, kms_key())
        with pytest.raises(AssertionError):
            commit(store, Put(kms_key(description="same version"), 1))


def test_a_key_has_one_current_material(under_test):
    first, second = material(b"1" * 32), material(b"2" * 32)
    with under_test.open() as store:
        put(store, kms_key(), first)
        with pytest.raises(ConflictError):
            put(store, second)
        # Changes take effect in the order given: the old one steps down first.
        commit(
            store,
            Put(msgspec.structs.replace(first, version=2, state=MaterialState.NON_CURRENT), 1),
            Put(second, None),
        )
        assert [one.state for one in run(store, lambda s: s.materials_of("key-1"))] == [
            MaterialState.NON_CURRENT,
            MaterialState.CURRENT,
        ]


@pytest.mark.parametrize("record", [material(), alias()], ids=["material", "alias"])
def test_a_material_and_an_alias_belong_to_a_key(under_test, record):
    with under_test.open() as store:
        with pytest.raises(ConflictError):
            put(store, record)
        put(store, kms_key(), record)
        with pytest.raises(ConflictError):
            commit(store, Remove(kms_key()))
        commit(store, Remove(record), Remove(kms_key()))
        assert read_again(store, kms_key()) is None


def test_of_two_workers_that_change_the_same_version_one_conflicts(under_test):
    with under_test.open() as one, under_test.open() as other:
        put(one, kms_key())
        commit(one, Put(kms_key(version=2, description="one"), 1))
        with pytest.raises(ConflictError):
            commit(other, Put(kms_key(version=2, description="other"), 1))
        assert read_again(other, kms_key()).description == "one"


# -- Group commit


def test_commits_that_wait_together_share_transactions_and_fail_alone(under_test):
    async def main(store):
        tasks = [store.commit([Put(kms_key(f"key-{i}"), None), Put(kms_key("taken"), None)]) for i in range(4)]
        tasks += [store.commit([Put(kms_key(f"good-{i}"), None)]) for i in range(28)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    with under_test.open() as store:
        put(store, kms_key("taken"))
        before = store.stats
        outcomes = run(store, main)
        assert [type(outcome) for outcome in outcomes[:4]] == [ConflictError] * 4
        assert outcomes[4:] == [None] * 28
        assert store.stats.commits - before.commits == 28
        assert store.stats.mutations - before.mutations == 28
        assert store.stats.transactions - before.transactions < 28
        assert len(run(store, lambda s: s.list_keys(ACCOUNT, REGION, "", 100))) == 29


def test_thirty_two_writers_take_fewer_transactions_than_commits(under_test):
    async def writer(store, name):
        for turn in range(10):
            await store.commit([Put(kms_key(name, version=turn + 1), turn or None)])

    async def main(store):
        await asyncio.gather(*[writer(store, f"key-{number}") for number in range(32)])

    with under_test.open() as store:
        run(store, main)
        assert store.stats.commits == 320
        assert store.stats.transactions < 160
        assert {one.version for one in run(store, lambda s: s.list_keys(ACCOUNT, REGION, "", 100))} == {10}


def test_a_commit_whose_caller_gave_up_disturbs_nobody(under_test):
    async def main(store):
        given_up = asyncio.ensure_future(store.commit([Put(kms_key("key-1"), None)]))
        await asyncio.sleep(0)
        given_up.cancel()
        await store.commit([Put(kms_key("key-2"), None)])

    with under_test.open() as store:
        run(store, main)
        assert read_again(store, kms_key("key-2")) == kms_key("key-2")


def test_closing_finishes_what_was_accepted_and_refuses_the_rest(under_test):
    async def main(store):
        accepted = [asyncio.ensure_future(store.commit([Put(kms_key(f"key-{i}"), None)])) for i in range(20)]
        await asyncio.sleep(0)
        store.close()
        await asyncio.gather(*accepted)
        with pytest.raises(StoreUnavailableError):
            await store.commit([Put(kms_key("late"), None)])
        with pytest.raises(StoreUnavailableError):
            await store.get(KeyRecord, "key-1")
        with pytest.raises(StoreUnavailableError):
            store.poll_changes(print)

    with under_test.open() as store:
        run(store, main)
    with under_test.open() as store:
        assert len(run(store, lambda s: s.list_keys(ACCOUNT, REGION, "", 100))) == 20


# -- Several workers


def test_an_answered_commit_is_visible_to_another_worker_at_its_next_poll(under_test):
    with under_test.open() as one, under_test.open() as other:
        for turn in range(1, 30):
            commit(one, Put(kms_key(version=turn), turn - 1 or None))
            assert polled(other) == [Changed(KeyRecord, ("key-1",))]
            assert read_again(other, kms_key()).version == turn
            assert polled(one) == [Changed(KeyRecord, ("key-1",))]
            assert polled(other) == []


def test_a_poll_tells_every_kind_with_its_identity_in_order(under_test):
    with under_test.open() as one, under_test.open() as other:
        put(one, *one_of_each())
        cached = [record for record in one_of_each() if TABLES[type(record)].is_cached]
        assert polled(other) == [Changed(type(record), identity_of(record)) for record in cached]
        commit(one, Remove(access_key()))
        commit(one, Remove(user()))
        assert polled(other) == [
            Changed(AccessKeyRecord, ("AKIA1",)),
            Changed(UserRecord, (ACCOUNT, "alice")),
        ]


def test_a_poll_does_not_tell_of_what_nobody_caches(under_test):
    with under_test.open() as one, under_test.open() as other:
        put(one, kms_key())
        assert polled(other) == [Changed(KeyRecord, ("key-1",))]
        for record in (key_usage(), lease(), mark()):
            put(one, record)
            assert polled(other) == []
        put(one, lease("second"), alias(), lease("third"), lease("fourth"))
        assert polled(other) == [Changed(AliasRecord, (ACCOUNT, REGION, "alias/payroll"))]
        assert under_test.query("SELECT count(*) FROM changes") == [(1 + 3 + 2,)], "one entry per transaction is enough"


def test_a_worker_that_starts_later_is_told_only_what_follows(under_test):
    with under_test.open() as one:
        put(one, kms_key())
        with under_test.open() as other:
            assert polled(other) == []
            put(one, alias())
            assert polled(other) == [Changed(AliasRecord, (ACCOUNT, REGION, "alias/payroll"))]


def test_reads_between_polls_do_not_hide_a_change(under_test):
    with under_test.open() as one, under_test.open() as other:
        put(one, kms_key())
        assert read_again(other, kms_key()) == kms_key()
        assert polled(other) == [Changed(KeyRecord, ("key-1",))]


def test_a_poll_of_too_much_says_forget_everything(under_test):
    with under_test.open() as one, under_test.open() as other:
        put(one, *[kms_key(f"key-{number}") for number in range(10_000)])
        assert len(polled(other)) == 10_000
        put(one, *[kms_key(f"again-{number}") for number in range(10_001)])
        assert polled(other) is None
        assert polled(other) == []
        put(one, user())
        assert polled(other) == [Changed(UserRecord, (ACCOUNT, "alice"))]


# -- The store key


def test_before_unlock_only_settings_can_be_read_and_written(under_test):
    with under_test.open() as store:
        put(store, kms_key(), setting("authenticated"))
    with under_test.open(unlock=False) as store:
        put(store, setting("store-key"))
        assert read_again(store, setting("store-key")) == setting("store-key")
        assert read_again(store, setting("authenticated")) == setting("authenticated")
        for refused in (
            lambda s: s.get(KeyRecord, "key-1"),
            lambda s: s.get(KeyRecord, "no such key"),
            lambda s: s.materials_of("key-1"),
            lambda s: s.key_with_materials("key-1"),
            lambda s: s.list_keys(ACCOUNT, REGION, "", 1),
            lambda s: s.list_aliases(ACCOUNT, REGION, None, "", 1),
            lambda s: s.list_named(UserRecord, ACCOUNT, "", 1),
            lambda s: s.list_access_keys(ACCOUNT, ""),
            lambda s: s.commit([Put(kms_key("key-2"), None)]),
            lambda s: s.commit([Remove(kms_key())]),
        ):
            with pytest.raises(AssertionError, match="before unlock"):
                run(store, refused)


def test_a_setting_written_before_unlock_stays_readable_after_it(under_test):
    with under_test.open(unlock=False) as store:
        put(store, setting("store-key"))
        store.unlock(StoreKey(bytes(range(32))))
        assert read_again(store, setting("store-key")) == setting("store-key")
        commit(store, Put(setting("store-key", version=2, value=b"rewrapped"), 1))
        assert read_again(store, setting("store-key")).value == b"rewrapped"
    with under_test.open(unlock=False) as store:
        assert read_again(store, setting("store-key")).value == b"rewrapped"
        store.unlock(StoreKey(bytes(range(32))))
        assert read_again(store, setting("store-key")).value == b"rewrapped"


def test_a_setting_without_a_mac_is_refused_unless_it_was_needed_before_unlock(under_test):
    with under_test.open(unlock=False) as store:
        put(store, setting("store-key"), setting("stripped"))
    with under_test.open(unlock=False) as store:
        assert read_again(store, setting("store-key")) == setting("store-key")
        store.unlock(StoreKey(bytes(range(32))))
        assert read_again(store, setting("store-key")) == setting("store-key")
        with pytest.raises(RowForgedError):
            read_again(store, setting("stripped"))


def test_rows_of_another_store_key_are_refused(under_test):
    with under_test.open() as store:
        put(store, *one_of_each())
    with under_test.open(unlock=False) as store:
        store.unlock(StoreKey(b"another key, also of 32 bytes..."))
        for record in one_of_each():
            with pytest.raises(RowForgedError):
                read_again(store, record)


# -- Forged rows


@pytest.mark.parametrize("column", ["deletion_at_s", "rotation_period_days", "next_rotation_at_s"])
def test_a_null_cannot_be_filled_in_from_outside(under_test, column):
    with under_test.open() as store:
        empty = kms_key(deletion_at_s=None, rotation_period_days=None, next_rotation_at_s=None)
        put(store, empty)
        assert read_again(store, empty) == empty
        under_test.tamper("kms_keys", column, 7)
        with pytest.raises(RowForgedError):
            read_again(store, empty)


def test_keys_are_counted_and_found_when_they_are_due(under_test):
    with under_test.open() as store:
        keys = [
            kms_key(f"key-{n}", deletion_at_s=float(n), next_rotation_at_s=10.0 - n, state=KeyState.ENABLED)
            for n in range(1, 6)
        ]
        disabled = kms_key("key-6", deletion_at_s=None, next_rotation_at_s=1.0, state=KeyState.DISABLED)
        elsewhere = kms_key("key-7", region="eu-west-1", deletion_at_s=1.0, next_rotation_at_s=1.0)
        put(store, *keys, disabled, elsewhere)
        assert run(store, lambda s: s.count_keys(ACCOUNT, REGION)) == 6

        def due(what, now_s, limit=10):
            return [key.key_id for key in run(store, lambda s: getattr(s, what)(REGION, now_s, limit)).keys]

        assert due("keys_due_for_deletion", 3.0) == ["key-1", "key-2", "key-3"]
        assert due("keys_due_for_deletion", 3.0, limit=2) == ["key-1", "key-2"]
        assert due("keys_due_for_rotation", 7.0) == ["key-5", "key-4", "key-3"]
        assert due("keys_due_for_rotation", 4.9) == []


def forgeries_of(column, value):
    """Other values of the same type, then of others: a forger need not keep to our types."""
    if column == "mac":
        return [b"", value[:-1], bytes([value[0] ^ 1]) + value[1:], b"\x00" * 32]
    if isinstance(value, bytes):
        return [b"", value + b"\x00", bytes([value[0] ^ 1]) + value[1:]]
    if isinstance(value, str):
        return ["", value + " ", value.swapcase(), value + "\x00", '{"a":"b"}', "Disabled", "NON_CURRENT", "Inactive"]
    return [value + 1, -value - 1, 2, 1_000_000]


def may_be_null(kind, column):
    return any(field.name == column and field.default is None for field in msgspec.structs.fields(kind))


EVERY_COLUMN = [
    (type(record), column)
    for record in one_of_each()
    for column in [*(field.name for field in msgspec.structs.fields(record)), "mac"]
]


@pytest.mark.parametrize(
    ("kind", "column"), EVERY_COLUMN, ids=[f"{TABLES[kind].name}.{column}" for kind, column in EVERY_COLUMN]
)
def test_a_row_that_was_changed_from_outside_is_refused(under_test, kind, column):
    table = TABLES[kind]
    record = next(record for record in one_of_each() if type(record) is kind)
    with under_test.open() as store:
        put(store, *one_of_each())
        original = under_test.read_raw(table.name, column)
        tried = 0
        for forged in [*forgeries_of(column, original), *([None] if may_be_null(kind, column) else [])]:
            if forged == original:
                continue
            under_test.tamper(table.name, column, forged)
            identity = tuple(forged if field == column else getattr(record, field) for field in table.key)
            with pytest.raises(RowForgedError):
                run(store, lambda s, identity=identity: s.get(kind, *identity))
            tried += 1
        assert tried >= 2
        under_test.tamper(table.name, column, original)
        assert read_again(store, record) == record


def test_the_registry_the_records_and_the_tables_name_the_same_columns(under_test):
    with under_test.open():
        for kind, table in TABLES.items():
            names = [field.name for field in msgspec.structs.fields(kind)]
            columns = under_test.columns_of(table.name)
            columns.remove("mac")  # Columns that joined later stand behind it.
            assert columns == names
            assert set(table.key) | set(table.sealed) <= set(names)


@pytest.mark.parametrize("columns", [("key_id",), ("key_id", "mac"), ("ekt",), ("ekt", "mac"), ("hbkid", "ekt", "mac")])
def test_rows_swapped_between_two_keys_are_refused(under_test, columns):
    mine, theirs = material(b"1" * 32), material(b"2" * 32, "key-2")
    with under_test.open() as store:
        put(store, kms_key(), kms_key("key-2"), mine, theirs)
        under_test.swap("materials", columns)
        for key_id in ("key-1", "key-2"):
            with pytest.raises(RowForgedError):
                run(store, lambda s, key_id=key_id: s.materials_of(key_id))
            with pytest.raises(RowForgedError):
                run(store, lambda s, key_id=key_id: s.key_with_materials(key_id))
        for record in (mine, theirs):
            with pytest.raises(RowForgedError):
                read_again(store, record)


def test_lists_refuse_forged_rows_too(under_test):
    with under_test.open() as store:
        put(store, *one_of_each())
        for table in ("kms_keys", "aliases", "users", "access_keys"):
            under_test.tamper(table, "version", 7)
        for listing in (
            lambda s: s.list_keys(ACCOUNT, REGION, "", 9),
            lambda s: s.list_aliases(ACCOUNT, REGION, None, "", 9),
            lambda s: s.list_aliases(ACCOUNT, REGION, "key-1", "", 9),
            lambda s: s.list_named(UserRecord, ACCOUNT, "", 9),
            lambda s: s.list_access_keys(ACCOUNT, "alice"),
        ):
            with pytest.raises(RowForgedError):
                run(store, listing)


# -- Durability

WRITE_UNTIL_KILLED = """
import asyncio, sys
from contracts.stores import IMPLEMENTATIONS, kms_key
from pathlib import Path
from strongroom.kms.repositories import Put

async def writer(store, number):
    turn = 0
    while True:
        await store.commit([Put(kms_key(f"{sys.argv[3]}-{number}-{turn}"), None)])
        print(f"{sys.argv[3]}-{number}-{turn}", flush=True)
        turn += 1

async def main(store):
    await asyncio.gather(*[writer(store, number) for number in range(8)])

with IMPLEMENTATIONS[sys.argv[1]](Path(sys.argv[2])).open() as store:
    asyncio.run(main(store))
"""


def test_no_acknowledged_commit_is_lost_by_kill_9(under_test, tmp_path, request):
    name = request.node.callspec.params["under_test"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    acknowledged = set()
    for cycle in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_UNTIL_KILLED, name, str(tmp_path), str(cycle)],
            stdout=subprocess.PIPE,
            env=environment,
        ) as child:
            lines = [child.stdout.readline()]
            deadline = time.monotonic() + 0.1
            while time.monotonic() < deadline or len(lines) < 20:
                lines.append(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.readlines()
        complete = {line.decode().strip() for line in lines if line.endswith(b"\n")}
        assert len(complete) > 10
        acknowledged |= complete
        with under_test.open() as store:
            kept = {one.key_id for one in run(store, lambda s: s.list_keys(ACCOUNT, REGION, "", 1_000_000))}
        assert acknowledged <= kept


def test_nothing_is_answered_while_somebody_else_holds_the_write_lock_and_nothing_fails(under_test):
    held, release = threading.Event(), threading.Event()

    async def main(store):
        waiting = asyncio.ensure_future(store.commit([Put(kms_key(), None)]))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done, "a commit was answered before it could be durable"
        # The event loop is free meanwhile, for reads as well.
        assert await store.get(KeyRecord, "key-1") is None
        release.set()
        await waiting

    with under_test.open() as store:
        holder = threading.Thread(target=under_test.hold_write_lock, args=(held, release))
        holder.start()
        held.wait()
        run(store, main)
        holder.join()
        assert read_again(store, kms_key()) == kms_key()


def test_two_processes_that_write_at_once_lose_nothing_and_see_no_lock(under_test, tmp_path, request):
    name = request.node.callspec.params["under_test"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    script = WRITE_UNTIL_KILLED.replace("while True:", "while turn < 25:")
    # All of them create the store at the same time, too.
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, name, str(tmp_path), str(number)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for number in range(3)
    ]
    for child in children:
        out, err = child.communicate(timeout=240)
        assert child.returncode == 0, err.decode()
        assert len(out.splitlines()) == 8 * 25
    with under_test.open() as store:
        assert len(run(store, lambda s: s.list_keys(ACCOUNT, REGION, "", 1000))) == 3 * 8 * 25
