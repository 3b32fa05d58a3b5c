"""Limits: AWS's defaults, an operator's own, the refusals beyond them; keys are counted once and not for every new one.

Where wordings come from: keys `convox/rack#337` (2016, from AWS), aliases `scylladb/scylla-cluster-tests#7634`, tags
LocalStack's AWS-validated tests. Of a key policy the API reference gives the exception; the sentence is ours.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.kms.config import load_config
from strongroom.kms.driver import run
from strongroom.kms.faults import LimitExceededException
from strongroom.kms.keys.record_count import KEYS, RecordCount
from strongroom.kms.limits import Limits
from strongroom.kms.operations.key_policies import default_policy
from strongroom.kms.repositories import KeyRecord
from strongroom.supervisor.home import Home, HomeError
from testkit.installation import ACCOUNT, REGION, Installation
from testkit.raw import RawKms, allow, assert_allowed, assert_refused, policy
from testkit.room import KEY, ROOT, Room

KEYS_MAX, ALIASES_MAX, TAGS_MAX, ROTATIONS_MAX, POLICY_MAX = 6, 3, 4, 2, 400
OWN = (
    f"keys_max = {KEYS_MAX}\naliases_per_key_max = {ALIASES_MAX}\ntags_per_key_max = {TAGS_MAX}\n"
    f"on_demand_rotations_max = {ROTATIONS_MAX}\nkey_policy_bytes_max = {POLICY_MAX}\n"
)


def keys_refusal(limit: int, usage: int) -> str:
    return f"Key quota for this account in this region is {limit} but the current usage is {usage}."


def aliases_refusal(limit: int, usage: int) -> str:
    return f"Aliases per key quota for this account in this region is {limit}, current usage is {usage}."


# ── configuration ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_defaults_are_awss_quotas() -> None:
    """KMS developer guide, "Resource quotas"; RotateKeyOnDemand of the API reference; "IAM and AWS STS quotas"."""
    assert msgspec.to_builtins(Limits()) == {
        "keys_max": 100_000,
        "aliases_per_key_max": 50,
        "tags_per_key_max": 50,
        "grants_per_key_max": 50_000,
        "grants_per_grantee_max": 1_000,
        "on_demand_rotations_max": 25,
        "key_policy_bytes_max": 32_768,
        "users_max": 5_000,
        "groups_max": 300,
        "roles_max": 1_000,
        "managed_policies_max": 1_500,
        "attached_policies_max": 10,
        "trust_policy_chars_max": 2_048,
    }


@pytest.mark.parametrize(
    "text",
    [
        "[limits]\nkeys = 5",
        "[limits]\nkeys_max = -1",
        "[limits]\nkeys_max = 1.5",
        '[limits]\nkeys_max = "5"',
        "[limits]\nkeys_max = true",
        "[limits]\nkey_policy_bytes_max = 0",
        "[limits]\nkey_policy_bytes_max = 131073",
        "limits = 5",
    ],
)
def test_limits_that_are_none_refuse_the_start(installation: Installation, tmp_path: Path, text: str) -> None:
    good = (installation.home / "host" / "kms.toml").read_text()
    path = tmp_path / "kms.toml"
    path.write_text(good)
    assert load_config(str(path), "w1").limits == Limits()
    bad = f"{text}\n{good.replace('[limits]', '')}" if text.startswith("limits") else good.replace("[limits]", text)
    path.write_text(bad)
    with pytest.raises(msgspec.ValidationError, match="limits"):
        load_config(str(path), "w1")


@pytest.mark.parametrize(
    ("text", "limits"),
    [(None, {}), ("", {}), ("# none\n", {}), ("keys_max = 5", {"keys_max": 5}), ("no_such = 5", {"no_such": 5})],
)
def test_an_operators_limits_are_read_from_the_home(tmp_path: Path, text: str | None, limits: dict[str, int]) -> None:
    """Which names there are, the service says."""
    if text is not None:
        (tmp_path / "limits.toml").write_text(text)
    assert Home(tmp_path).limits() == limits


@pytest.mark.parametrize(
    "text",
    ["keys_max", "keys_max = ", 'keys_max = "5"', "keys_max = 5.5", "[limits]\nkeys_max = 5", '"a = 1\\nb" = 5', "\0"],
)
def test_a_file_that_holds_no_limits_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "limits.toml").write_text(text)
    with pytest.raises(HomeError):
        Home(tmp_path).limits()


def test_an_unknown_limit_is_named_before_anything_serves() -> None:
    own = Installation()
    try:
        own.home.mkdir()
        (own.home / "limits.toml").write_text("kyes_max = 5\n")
        with pytest.raises(AssertionError):
            own.start()
        assert "kyes_max" in own.output.read_text()
        assert "Traceback" not in own.output.read_text()
    finally:
        own.destroy()


# ── an installation with limits of its own ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def limited() -> Iterator[Installation]:
    own = Installation()
    own.home.mkdir()
    (own.home / "limits.toml").write_text(OWN)
    yield own.start()
    own.destroy()


@pytest.fixture(scope="module")
def few(limited: Installation) -> Iterator[RawKms]:
    kms = RawKms(limited)
    yield kms
    kms.close()


@pytest.fixture(scope="module")
def keys(few: RawKms) -> list[str]:
    """All keys that there can be but one: the tests below share them, in their order."""
    return [str(assert_allowed(few.call("CreateKey"))["KeyMetadata"]["KeyId"]) for _ in range(KEYS_MAX - 1)]


def test_the_file_of_the_home_is_what_the_service_is_told(limited: Installation, keys: list[str]) -> None:
    told = tomllib.loads((limited.home / "host" / "kms.toml").read_text())["limits"]
    assert told == tomllib.loads(OWN)


def test_a_key_has_no_more_aliases_than_its_limit(few: RawKms, keys: list[str]) -> None:
    first, second, *_ = keys
    for number in range(ALIASES_MAX):
        assert_allowed(few.call("CreateAlias", {"AliasName": f"alias/first-{number}", "TargetKeyId": first}))
    refused = few.call("CreateAlias", {"AliasName": "alias/one-more", "TargetKeyId": first})
    assert_refused(refused, "LimitExceededException", aliases_refusal(ALIASES_MAX, ALIASES_MAX))
    assert_allowed(few.call("CreateAlias", {"AliasName": "alias/second", "TargetKeyId": second}))
    moved = few.call("UpdateAlias", {"AliasName": "alias/second", "TargetKeyId": first})
    assert_refused(moved, "LimitExceededException", aliases_refusal(ALIASES_MAX, ALIASES_MAX))
    # An alias that stays where it is takes no place.
    assert_allowed(few.call("UpdateAlias", {"AliasName": "alias/first-0", "TargetKeyId": first}))
    assert_allowed(few.call("DeleteAlias", {"AliasName": "alias/first-0"}))
    assert_allowed(few.call("UpdateAlias", {"AliasName": "alias/second", "TargetKeyId": first}))


def test_a_key_has_no_more_tags_than_its_limit(few: RawKms, keys: list[str]) -> None:
    tags = [{"TagKey": f"k{number}", "TagValue": "v"} for number in range(TAGS_MAX + 1)]
    assert_refused(few.call("CreateKey", {"Tags": tags}), "TagException", "Too many tags")
    assert_refused(few.call("TagResource", {"KeyId": keys[0], "Tags": tags}), "TagException", "Too many tags")
    assert_allowed(few.call("TagResource", {"KeyId": keys[0], "Tags": tags[1:]}))
    assert_refused(few.call("TagResource", {"KeyId": keys[0], "Tags": tags[:1]}), "TagException", "Too many tags")


def test_a_key_policy_is_no_longer_than_its_limit(few: RawKms, keys: list[str]) -> None:
    text = policy(allow("kms:*", Principal={"AWS": ROOT}))
    longest = text + " " * (POLICY_MAX - len(text))
    assert_allowed(few.call("PutKeyPolicy", {"KeyId": keys[0], "Policy": longest}))
    wide = policy(allow("kms:*", Principal={"AWS": ROOT}, Sid="\u00ff")).replace("\\u00ff", "\u00ff")
    for longer in (longest + " ", wide + " " * (POLICY_MAX - len(wide))):
        for operation, more in (("PutKeyPolicy", {"KeyId": keys[0]}), ("CreateKey", {})):
            assert_refused(
                few.call(operation, {"Policy": longer, **more}),
                "LimitExceededException",
                f"The key policy exceeds the length limit of {POLICY_MAX} bytes.",
            )


def test_a_key_is_not_rotated_on_demand_more_often_than_its_limit(few: RawKms, keys: list[str]) -> None:
    for _ in range(ROTATIONS_MAX):
        assert_allowed(few.call("RotateKeyOnDemand", {"KeyId": keys[0]}))
    assert_refused(few.call("RotateKeyOnDemand", {"KeyId": keys[0]}), "LimitExceededException")
    assert_allowed(few.call("RotateKeyOnDemand", {"KeyId": keys[1]}))


def test_of_many_keys_asked_for_at_once_exactly_as_many_are_made_as_there_is_room_for(
    limited: Installation, few: RawKms, keys: list[str]
) -> None:
    """This is the last of the tests that share the installation: afterwards it is full."""
    assert len(assert_allowed(few.call("ListKeys"))["Keys"]) == KEYS_MAX - 1
    # Changes that make no key take no place, however many.
    for _ in range(10):
        assert_allowed(few.call("DisableKey", {"KeyId": keys[0]}))
        assert_allowed(few.call("EnableKey", {"KeyId": keys[0]}))

    def create(_: int) -> str:
        kms = RawKms(limited)
        try:
            return kms.call("CreateKey").code
        finally:
            kms.close()

    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(create, range(24)))
    assert sorted(codes) == ["", *["LimitExceededException"] * 23]
    assert len(assert_allowed(few.call("ListKeys"))["Keys"]) == KEYS_MAX
    assert_refused(few.call("CreateKey"), "LimitExceededException", keys_refusal(KEYS_MAX, KEYS_MAX))
    # What is there goes on, and a malformed request is told so first.
    assert_allowed(few.call("Encrypt", {"KeyId": keys[0], "Plaintext": "eA=="}))
    assert_refused(few.call("CreateKey", {"Policy": "x"}), "MalformedPolicyDocumentException")


# ── counting ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class CountingStore:
    """Says how many keys there are, and how often it was asked."""

    def __init__(self, keys: int) -> None:
        self.keys = keys
        self.asked = 0

    async def count_keys(self, account: str, region: str) -> int:
        assert (account, region) == (ACCOUNT, REGION)
        self.asked += 1
        return self.keys


def counted(store: CountingStore) -> RecordCount:
    return RecordCount(partial(store.count_keys, ACCOUNT, REGION), KEYS)


def make_one(count: RecordCount, store: CountingStore, limit: int) -> None:
    """As CreateKey does it: reserve, store, release; and the change is seen by the next poll."""
    asyncio.run(as_future(count.reserve(limit)))
    store.keys += 1
    count.release()
    count.note_change()


async def as_future(waiting: Any) -> Any:
    return await waiting


def test_making_a_thousand_keys_counts_them_once() -> None:
    store = CountingStore(0)
    count = counted(store)
    for _ in range(1000):
        make_one(count, store, 100_000)
    assert store.asked == 1


def test_keys_up_to_the_limit_are_made_and_counted_seldom() -> None:
    store = CountingStore(0)
    count = counted(store)
    for _ in range(10_000):
        make_one(count, store, 10_000)
    assert store.asked < 40
    for _ in range(3):
        with pytest.raises(LimitExceededException, match=r"is 10000 but the current usage is 10000\."):
            make_one(count, store, 10_000)
    assert store.keys == 10_000


def test_a_full_account_is_not_counted_again_while_nothing_changes() -> None:
    store = CountingStore(5)
    count = counted(store)
    for _ in range(100):
        with pytest.raises(LimitExceededException):
            make_one(count, store, 5)
    assert store.asked == 1
    store.keys -= 1
    count.note_change()
    make_one(count, store, 5)
    assert store.asked == 2


def test_keys_under_way_take_their_places_and_give_back_what_came_to_nothing() -> None:
    store = CountingStore(3)
    count = counted(store)
    for _ in range(2):
        asyncio.run(as_future(count.reserve(5)))
    with pytest.raises(LimitExceededException):
        asyncio.run(as_future(count.reserve(5)))
    count.release()
    asyncio.run(as_future(count.reserve(5)))
    with pytest.raises(LimitExceededException):
        asyncio.run(as_future(count.reserve(5)))


def test_a_key_counts_from_its_commit_on_whether_or_not_the_change_was_seen() -> None:
    store = CountingStore(0)
    count = counted(store)
    asyncio.run(as_future(count.reserve(1)))
    store.keys = 1
    count.release()
    with pytest.raises(LimitExceededException):
        asyncio.run(as_future(count.reserve(1)))


def test_when_too_much_changed_to_say_what_the_keys_are_counted_again() -> None:
    store = CountingStore(0)
    count = counted(store)
    make_one(count, store, 5)
    store.keys = 5
    count.forget()
    with pytest.raises(LimitExceededException):
        make_one(count, store, 5)


def test_more_tags_than_aws_allows_come_in_pages_as_aws_has_them(tmp_path: Path) -> None:
    async def main() -> None:
        room = Room(tmp_path / "store.db", limits=Limits(tags_per_key_max=200))
        try:
            await room.fill()
            tags = [{"TagKey": f"k{number:03}", "TagValue": ""} for number in range(120)]
            _, _, error, _ = await room.serve("TagResource", {"KeyId": KEY, "Tags": tags})
            assert error is None
            for limit in (None, 50, 51, 1000):
                _, page, _, _ = await room.serve("ListResourceTags", {"KeyId": KEY, "Limit": limit})
                assert (len(page.Tags), page.Truncated) == (50, True)
        finally:
            room.store.close()

    asyncio.run(main())


def test_a_lowered_limit_refuses_more_and_leaves_what_is_there_usable(tmp_path: Path) -> None:
    async def scene(room: Room) -> None:
        await room.change(KEY, tags={"a": "1", "b": "2"})
        for name, request, message in (
            ("CreateKey", {}, keys_refusal(1, 3)),
            ("CreateAlias", {"AliasName": "alias/new", "TargetKeyId": KEY}, aliases_refusal(0, 1)),
            (
                "PutKeyPolicy",
                {"KeyId": KEY, "Policy": default_policy(ACCOUNT) + " " * 200},
                "The key policy exceeds the length limit of 400 bytes.",
            ),
        ):
            _, _, error, _ = await room.serve(name, request)
            assert isinstance(error, LimitExceededException), (name, error)
            assert error.message == message
        for name, request in (
            ("DescribeKey", {"KeyId": KEY}),
            ("GetKeyPolicy", {"KeyId": KEY}),
            ("TagResource", {"KeyId": KEY, "Tags": [{"TagKey": "a", "TagValue": "3"}]}),
            ("UntagResource", {"KeyId": KEY, "TagKeys": ["b"]}),
            ("ListAliases", {"KeyId": KEY}),
        ):
            _, _, error, _ = await room.serve(name, request)
            assert error is None, (name, error)
        record = await run(room.store.get(KeyRecord, KEY))
        assert record is not None
        assert record.tags == {"a": "3"}

    async def main() -> None:
        limits = Limits(keys_max=1, aliases_per_key_max=0, tags_per_key_max=1, key_policy_bytes_max=400)
        room = Room(tmp_path / "store.db", limits=limits)
        try:
            await room.fill()
            await scene(room)
        finally:
            room.store.close()

    asyncio.run(main())
