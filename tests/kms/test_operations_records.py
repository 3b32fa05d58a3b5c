"""UpdateKeyDescription, TagResource, UntagResource, ListResourceTags, ListGrants and ListRetirableGrants, over real HTTP.

Codes and wordings of refusals, each with its source, are in `test_wording.py`; what each key state refuses is in
`test_key_states.py`. Ours, because nothing was found: that tags are listed in the order of their keys (AWS's example is).
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from testkit.installation import ACCOUNT, Installation
from testkit.raw import (
    RawKms,
    allow,
    assert_allowed,
    assert_refused,
    key_arn,
    make_user,
    policy,
    table_dump,
)

ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def described(raw: RawKms, key_id: str) -> dict[str, Any]:
    metadata = assert_allowed(raw.call("DescribeKey", {"KeyId": key_id}))["KeyMetadata"]
    assert isinstance(metadata, dict)
    return metadata


def tags_of(raw: RawKms, key_id: str) -> dict[str, str]:
    page = assert_allowed(raw.call("ListResourceTags", {"KeyId": key_id}))
    assert set(page) == {"Tags", "Truncated"}
    assert page["Truncated"] is False
    assert all(set(tag) == {"TagKey", "TagValue"} for tag in page["Tags"])
    return {tag["TagKey"]: tag["TagValue"] for tag in page["Tags"]}


def as_list(**tags: str) -> list[dict[str, str]]:
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


def done(answer: Any) -> None:
    """A success without words: AWS sends an empty body."""
    assert (answer.status, answer.body) == (200, b""), answer


# ── descriptions ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", ["other words", "", "ü😀" * 4096, "a\n\t\"b'\\", "\u202e"])
def test_a_description_becomes_the_words_that_were_sent_and_nothing_else_changes(
    raw: RawKms, key_id: str, words: str
) -> None:
    before = described(raw, key_id)
    for reference in (key_id, key_arn(key_id)):
        done(raw.call("UpdateKeyDescription", {"KeyId": reference, "Description": words}))
    assert described(raw, key_id) == before | {"Description": words}


def test_a_description_may_have_8192_characters_and_none_more(raw: RawKms, key_id: str) -> None:
    done(raw.call("UpdateKeyDescription", {"KeyId": key_id, "Description": "x" * 8192}))
    assert_refused(
        raw.call("UpdateKeyDescription", {"KeyId": key_id, "Description": "y" * 8193}), "ValidationException"
    )
    assert described(raw, key_id)["Description"] == "x" * 8192


# ── tags ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tags_are_added_replaced_and_removed_one_by_one(raw: RawKms, key_id: str) -> None:
    assert tags_of(raw, key_id) == {}
    done(raw.call("TagResource", {"KeyId": key_id, "Tags": as_list(team="blue", cost="1")}))
    done(raw.call("TagResource", {"KeyId": key_arn(key_id), "Tags": as_list(team="red", empty="")}))
    assert tags_of(raw, key_id) == {"cost": "1", "empty": "", "team": "red"}
    done(raw.call("UntagResource", {"KeyId": key_id, "TagKeys": ["cost", "no such tag", "cost"]}))
    assert tags_of(raw, key_id) == {"empty": "", "team": "red"}


def test_tags_of_create_key_are_listed_and_case_makes_another_tag(raw: RawKms) -> None:
    made = assert_allowed(raw.call("CreateKey", {"Tags": as_list(Name="a", name="b")}))["KeyMetadata"]["KeyId"]
    assert tags_of(raw, made) == {"Name": "a", "name": "b"}
    done(raw.call("UntagResource", {"KeyId": made, "TagKeys": ["name"]}))
    assert tags_of(raw, made) == {"Name": "a"}


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("TagResource", {"Tags": []}),
        ("TagResource", {"Tags": as_list(a="1")}),
        ("UntagResource", {"TagKeys": []}),
        ("UntagResource", {"TagKeys": ["no such tag"]}),
        ("UntagResource", {"TagKeys": ["aws:createdBy"]}),
        ("UpdateKeyDescription", {"Description": "same"}),
    ],
)
def test_a_change_that_changes_nothing_is_allowed_and_writes_nothing(
    installation: Installation, raw: RawKms, operation: str, request_: dict[str, Any]
) -> None:
    made = assert_allowed(raw.call("CreateKey", {"Description": "same", "Tags": as_list(a="1")}))["KeyMetadata"]
    before = rows_of(installation, made["KeyId"])
    assert before
    done(raw.call(operation, {"KeyId": made["KeyId"], **request_}))
    assert rows_of(installation, made["KeyId"]) == before
    done(raw.call("TagResource", {"KeyId": made["KeyId"], "Tags": as_list(a="2")}))
    assert rows_of(installation, made["KeyId"]) != before


def rows_of(installation: Installation, key_id: str) -> list[str]:
    """Every row that names a key, its entries in the log of changes included."""
    return [line for line in table_dump(installation) if key_id in line]


def test_a_key_has_at_most_50_tags_however_they_came(raw: RawKms, key_id: str) -> None:
    many = as_list(**{f"k{number:02}": "v" for number in range(49)})
    done(raw.call("TagResource", {"KeyId": key_id, "Tags": many}))
    before = tags_of(raw, key_id)
    for two in (as_list(x="1", y="1"), as_list(x="1", y="1", k00="new")):
        assert_refused(raw.call("TagResource", {"KeyId": key_id, "Tags": two}), "TagException", "Too many tags")
    assert tags_of(raw, key_id) == before
    # One more, and other values for those that are there.
    done(raw.call("TagResource", {"KeyId": key_id, "Tags": as_list(x="1", k00="new")}))
    done(raw.call("TagResource", {"KeyId": key_id, "Tags": as_list(k01="new")}))
    assert len(tags_of(raw, key_id)) == 50


def test_pages_of_tags_are_ordered_and_hold_every_tag_once(raw: RawKms, key_id: str) -> None:
    keys = [*(f"k{number:02}" for number in range(44)), "Ä", "a b", "😀", "z" * 128, "_", "="]
    done(raw.call("TagResource", {"KeyId": key_id, "Tags": as_list(**dict.fromkeys(keys, "v"))}))
    listed: list[str] = []
    request: dict[str, Any] = {"KeyId": key_id, "Limit": 7}
    while True:
        page = assert_allowed(raw.call("ListResourceTags", request))
        assert set(page) == {"Tags", "Truncated"} | ({"NextMarker"} if page["Truncated"] else set())
        listed += [tag["TagKey"] for tag in page["Tags"]]
        if not page["Truncated"]:
            break
        assert len(page["Tags"]) == 7
        request["Marker"] = page["NextMarker"]
    assert listed == sorted(keys)
    for limit in (None, 50, 51, 1000):
        assert len(assert_allowed(raw.call("ListResourceTags", {"KeyId": key_id, "Limit": limit}))["Tags"]) == 50


def test_a_page_that_ends_with_a_tag_that_is_gone_goes_on_behind_it(raw: RawKms, key_id: str) -> None:
    done(raw.call("TagResource", {"KeyId": key_id, "Tags": as_list(a="", b="", c="", d="")}))
    marker = assert_allowed(raw.call("ListResourceTags", {"KeyId": key_id, "Limit": 2}))["NextMarker"]
    done(raw.call("UntagResource", {"KeyId": key_id, "TagKeys": ["a", "b"]}))
    page = assert_allowed(raw.call("ListResourceTags", {"KeyId": key_id, "Marker": marker}))
    assert [tag["TagKey"] for tag in page["Tags"]] == ["c", "d"]


def test_many_who_tag_at_once_all_find_their_tags(installation: Installation, raw: RawKms, key_id: str) -> None:
    """Each change replaces the version that it was made from; whoever came second is decided again."""

    def tag(number: int) -> None:
        kms = RawKms(installation)
        for step in range(3):
            done(kms.call("TagResource", {"KeyId": key_id, "Tags": as_list(**{f"{number}-{step}": "v"})}))
        kms.close()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(tag, range(16)))
    assert tags_of(raw, key_id) == {f"{number}-{step}": "v" for number in range(16) for step in range(3)}


def test_of_a_crowd_that_changes_one_key_everybody_is_answered_and_no_change_is_lost(
    installation: Installation, key_id: str
) -> None:
    """In every round one wins; none of the others may be told that the service failed."""
    crowd, steps = 32, 8

    def change(number: int) -> None:
        kms = RawKms(installation)
        for step in range(steps):
            done(kms.call("UpdateKeyDescription", {"KeyId": key_id, "Description": f"{number}, {step}"}))
        kms.close()

    with ThreadPoolExecutor(crowd) as threads:
        list(threads.map(change, range(crowd)))
    with closing(sqlite3.connect(f"file:{installation.home / 'service' / 'store.db'}?mode=ro", uri=True)) as store:
        ((version,),) = store.execute("SELECT version FROM kms_keys WHERE key_id = ?", (key_id,))
    assert version == 1 + crowd * steps


# ── who may ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("UpdateKeyDescription", {"Description": "x"}),
        ("TagResource", {"Tags": as_list(a="b")}),
        ("UntagResource", {"TagKeys": ["a"]}),
        ("ListResourceTags", {}),
        ("ListGrants", {}),
        ("ListKeyPolicies", {}),
        ("GetKeyPolicy", {}),
    ],
)
def test_each_operation_needs_its_own_permission_on_the_key(
    installation: Installation, raw: RawKms, key_id: str, operation: str, request_: dict[str, Any]
) -> None:
    name = f"rec-{uuid.uuid4().hex[:10]}"
    every_other = allow("kms:*"), allow(f"kms:{operation}", effect="Deny")
    without = make_user(installation, name, policy(*every_other))
    with_it = make_user(installation, f"{name}-2", policy(allow(f"kms:{operation}", resource=key_arn(key_id))))
    request = {"KeyId": key_id, **request_}
    assert_refused(
        without.kms.call(operation, request),
        "AccessDeniedException",
        f"User: {without.arn} is not authorized to perform: kms:{operation} on resource: {key_arn(key_id)} "
        "with an explicit deny in an identity-based policy",
    )
    assert_allowed(with_it.kms.call(operation, request))
    other = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    assert_refused(with_it.kms.call(operation, {"KeyId": other, **request_}), "AccessDeniedException")


# ── grants ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_has_no_grants_until_somebody_makes_one(raw: RawKms, key_id: str) -> None:
    for more in ({}, {"Limit": 1}, {"Limit": 1000}, {"GranteePrincipal": ROOT}):
        answer = raw.call("ListGrants", {"KeyId": key_arn(key_id), **more})
        assert assert_allowed(answer) == {"Grants": [], "Truncated": False}


@pytest.mark.parametrize(
    "principal",
    [
        ROOT,
        ACCOUNT,
        f"arn:aws:iam::{ACCOUNT}:user/alice",
        f"arn:aws:iam::{ACCOUNT}:role/path/to/role",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/role/session",
        f"arn:aws:sts::{ACCOUNT}:federated-user/alice",
    ],
)
def test_a_principal_of_the_account_has_no_grants_but_its_own_to_retire(raw: RawKms, principal: str) -> None:
    answer = assert_allowed(raw.call("ListRetirableGrants", {"RetiringPrincipal": principal}))
    own = {principal, ROOT} if principal == ACCOUNT else {principal}
    assert {grant["RetiringPrincipal"] for grant in answer["Grants"]} <= own


def test_retirable_grants_are_listed_by_who_may_ask_about_the_principal(installation: Installation) -> None:
    name = f"ret-{uuid.uuid4().hex[:10]}"
    mine = f"arn:aws:iam::{ACCOUNT}:user/{name}"
    user = make_user(installation, name, policy(allow("kms:ListRetirableGrants", resource=mine)))
    assert_allowed(user.kms.call("ListRetirableGrants", {"RetiringPrincipal": mine}))
    assert_refused(
        user.kms.call("ListRetirableGrants", {"RetiringPrincipal": ROOT}),
        "AccessDeniedException",
        f"User: {mine} is not authorized to perform: kms:ListRetirableGrants on resource: {ROOT} "
        "because no identity-based policy allows the kms:ListRetirableGrants action",
    )
