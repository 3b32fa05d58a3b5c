"""CreateAlias, UpdateAlias, DeleteAlias and ListAliases, over real HTTP.

Where wordings come from: the missing prefix is LocalStack's snapshot recorded from AWS (test_create_alias) and
aws-controllers-k8s/community#1878; the colon, `Aliases must refer to keys. Not aliases` and the bare NotAuthorizedException
for `alias/aws/` are moto's tests (written against AWS in 2015 and kept since); `An alias with the name … already exists` and
`Alias … is not found.` are quoted in many issues. Documented code without known words: InvalidAliasNameException.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import Installation
from testkit.raw import RawKms, alias_arn, allow, assert_allowed, assert_refused, key_arn, make_user, policy

NO_PREFIX = (
    'Alias must start with the prefix "alias/". Please see '
    "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
)
VIOLATION = "1 validation error detected: Value '{}' at 'aliasName' failed to satisfy constraint: "
NOT_ALIASES = "Aliases must refer to keys. Not aliases"


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def new_key(raw: RawKms) -> str:
    return str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])


def new_name() -> str:
    return f"alias/t-{uuid.uuid4().hex}"


def new_alias(raw: RawKms, key_id: str, name: str | None = None) -> str:
    name = name or new_name()
    answer = raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key_id})
    assert (answer.status, answer.body) == (200, b"")
    return name


def aliases_of(raw: RawKms, key_id: str) -> list[dict[str, Any]]:
    found = assert_allowed(raw.call("ListAliases", {"KeyId": key_id}))["Aliases"]
    assert isinstance(found, list)
    return found


def test_an_alias_is_listed_to_its_last_member(raw: RawKms) -> None:
    key_id = new_key(raw)
    name = new_alias(raw, key_arn(key_id))
    (entry,) = aliases_of(raw, key_id)
    created = entry.pop("CreationDate")
    assert isinstance(created, float)
    assert entry.pop("LastUpdatedDate") == created
    assert entry == {"AliasName": name, "AliasArn": alias_arn(name), "TargetKeyId": key_id}


def test_an_updated_alias_points_elsewhere_and_remembers_when_it_was_made(raw: RawKms) -> None:
    first, second = new_key(raw), new_key(raw)
    name = new_alias(raw, first)
    (before,) = aliases_of(raw, first)
    answer = raw.call("UpdateAlias", {"AliasName": name, "TargetKeyId": second})
    assert (answer.status, answer.body) == (200, b"")
    assert aliases_of(raw, first) == []
    (after,) = aliases_of(raw, second)
    assert after["CreationDate"] == before["CreationDate"]
    assert after["LastUpdatedDate"] > before["LastUpdatedDate"]
    assert raw.call("DescribeKey", {"KeyId": name}).json["KeyMetadata"]["KeyId"] == second


def test_a_deleted_alias_names_nothing_and_may_be_made_again(raw: RawKms) -> None:
    key_id = new_key(raw)
    name = new_alias(raw, key_id)
    answer = raw.call("DeleteAlias", {"AliasName": name})
    assert (answer.status, answer.body) == (200, b"")
    missing = f"Alias {alias_arn(name)} is not found."
    assert_refused(raw.call("DescribeKey", {"KeyId": name}), "NotFoundException", missing)
    assert_refused(raw.call("DeleteAlias", {"AliasName": name}), "NotFoundException", missing)
    assert_refused(raw.call("UpdateAlias", {"AliasName": name, "TargetKeyId": key_id}), "NotFoundException", missing)
    new_alias(raw, key_id, name)


def test_an_alias_exists_once(raw: RawKms) -> None:
    first, second = new_key(raw), new_key(raw)
    name = new_alias(raw, first)
    for key_id in (first, second):
        assert_refused(
            raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key_id}),
            "AlreadyExistsException",
            f"An alias with the name {alias_arn(name)} already exists",
        )
    # Case makes another name.
    new_alias(raw, second, "alias/" + name.removeprefix("alias/").upper())
    assert raw.call("DescribeKey", {"KeyId": name}).json["KeyMetadata"]["KeyId"] == first


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/a/b", "{}-_-", "{}" + "x" * (256 - len("alias/t-") - 32)])
def test_these_names_are_taken(raw: RawKms, form: str) -> None:
    name = form.format(new_name())
    assert len(name) <= 256
    new_alias(raw, new_key(raw), name)


BAD_NAMES = [
    ("my-alias", "ValidationException", NO_PREFIX),
    ("Alias/x", "ValidationException", NO_PREFIX),
    ("alias", "ValidationException", NO_PREFIX),
    ("alias/aws/s3", "NotAuthorizedException", ""),
    ("alias/aws/mine", "NotAuthorizedException", ""),
    ("alias/my:alias", "ValidationException", "alias/my:alias contains invalid characters for an alias"),
    (
        "alias/a b",
        "ValidationException",
        VIOLATION.format("alias/a b") + "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$",
    ),
    ("alias/ä", "ValidationException", None),
    ("alias/a\n", "ValidationException", None),
    ("alias/ａ", "ValidationException", None),
    ("alias/'; DROP TABLE aliases; --", "ValidationException", None),
    ("", "ValidationException", None),
    (
        "alias/" + "x" * 251,
        "ValidationException",
        VIOLATION.format("alias/" + "x" * 251) + "Member must have length less than or equal to 256",
    ),
]


@pytest.mark.parametrize(("name", "code", "message"), BAD_NAMES)
def test_these_names_are_refused_by_all_three_operations(
    raw: RawKms, key_id: str, name: str, code: str, message: str | None
) -> None:
    assert_refused(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key_id}), code, message)
    assert_refused(raw.call("UpdateAlias", {"AliasName": name, "TargetKeyId": key_id}), code, message)
    assert_refused(raw.call("DeleteAlias", {"AliasName": name}), code, message)


def test_a_prefix_is_no_name(raw: RawKms, key_id: str) -> None:
    """Each with the code that the model gives the operation."""
    request = {"AliasName": "alias/", "TargetKeyId": key_id}
    assert_refused(raw.call("CreateAlias", request), "InvalidAliasNameException", "")
    missing = f"Alias {alias_arn('alias/')} is not found."
    assert_refused(raw.call("UpdateAlias", request), "NotFoundException", missing)
    assert_refused(raw.call("DeleteAlias", {"AliasName": "alias/"}), "NotFoundException", missing)


@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias"])
def test_an_alias_points_at_keys_only(raw: RawKms, key_id: str, operation: str) -> None:
    existing, name = new_alias(raw, key_id), new_name()
    if operation == "UpdateAlias":
        new_alias(raw, key_id, name)
    for target in (existing, alias_arn(existing), "alias/nothing"):
        assert_refused(
            raw.call(operation, {"AliasName": name, "TargetKeyId": target}), "ValidationException", NOT_ALIASES
        )
    absent = str(uuid.uuid4())
    assert_refused(
        raw.call(operation, {"AliasName": name, "TargetKeyId": absent}),
        "NotFoundException",
        f"Key '{key_arn(absent)}' does not exist",
    )
    assert_refused(
        raw.call(operation, {"AliasName": name, "TargetKeyId": key_arn(key_id, region="eu-west-1")}),
        "NotFoundException",
        "Invalid arn eu-west-1",
    )


def test_aliases_of_a_disabled_key_can_be_made_moved_and_deleted(raw: RawKms) -> None:
    first, second = new_key(raw), new_key(raw)
    for key_id in (first, second):
        assert_allowed(raw.call("DisableKey", {"KeyId": key_id}))
    name = new_alias(raw, first)
    assert_allowed(raw.call("UpdateAlias", {"AliasName": name, "TargetKeyId": second}))
    assert_allowed(raw.call("DeleteAlias", {"AliasName": name}))


def test_pages_of_aliases_are_ordered_and_hold_every_alias_once(raw: RawKms) -> None:
    key_id = new_key(raw)
    made = sorted(new_alias(raw, key_id) for _ in range(5))
    listed: list[str] = []
    request: dict[str, Any] = {"KeyId": key_id, "Limit": 2}
    sizes = []
    while True:
        page = assert_allowed(raw.call("ListAliases", request))
        assert set(page) == {"Aliases", "Truncated"} | ({"NextMarker"} if page["Truncated"] else set())
        sizes.append(len(page["Aliases"]))
        listed += [entry["AliasName"] for entry in page["Aliases"]]
        if not page["Truncated"]:
            break
        request["Marker"] = page["NextMarker"]
    assert listed == made
    assert sizes == [2, 2, 1]


def test_a_page_of_aliases_has_50_of_them_unless_asked_and_never_more_than_100(raw: RawKms) -> None:
    key_id = new_key(raw)
    for number in range(101):
        if number % 50 == 0:
            key_id = new_key(raw)
        new_alias(raw, key_id)
    for limit, size in ((None, 50), (100, 100), (1000, 100), (1, 1)):
        page = assert_allowed(raw.call("ListAliases", {"Limit": limit}))
        assert (len(page["Aliases"]), page["Truncated"]) == (size, True)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nonsense", "Invalid keyId 'nonsense'"),
        (
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            f"Key '{key_arn('1234abcd-12ab-34cd-56ef-1234567890ab')}' does not exist",
        ),
    ],
)
def test_list_aliases_of_what_is_no_key_is_not_found(raw: RawKms, reference: str, message: str) -> None:
    assert_refused(raw.call("ListAliases", {"KeyId": reference}), "NotFoundException", message)


def test_list_aliases_takes_no_alias_for_a_key(raw: RawKms, key_id: str) -> None:
    for alias in (new_alias(raw, key_id), "alias/nothing", alias_arn("alias/nothing")):
        assert_refused(
            raw.call("ListAliases", {"KeyId": alias}),
            "InvalidArnException",
            "Key Aliases are not supported for this operation.",
        )


def test_an_alias_needs_the_permission_on_the_alias_and_on_the_key(installation: Installation, raw: RawKms) -> None:
    key_id, other = new_key(raw), new_key(raw)
    suffix = uuid.uuid4().hex[:8]
    on_alias = f"arn:aws:kms:*:*:alias/mine-{suffix}*"
    verbs = ("kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias")
    alias_only = make_user(installation, f"alias-{suffix}", policy(allow(*verbs, resource=on_alias)))
    key_only = make_user(installation, f"key-{suffix}", policy(allow(*verbs, resource=key_arn("*"))))
    both = make_user(installation, f"both-{suffix}", policy(allow(*verbs, resource=[on_alias, key_arn(key_id)])))
    name = f"alias/mine-{suffix}"
    request = {"AliasName": name, "TargetKeyId": key_id}
    because = "because no identity-based policy allows the {} action"
    assert_refused(
        key_only.kms.call("CreateAlias", request),
        "AccessDeniedException",
        f"User: {key_only.arn} is not authorized to perform: kms:CreateAlias on resource: {alias_arn(name)} "
        + because.format("kms:CreateAlias"),
    )
    assert_refused(
        alias_only.kms.call("CreateAlias", request),
        "AccessDeniedException",
        f"User: {alias_only.arn} is not authorized to perform: kms:CreateAlias on resource: {key_arn(key_id)} "
        + because.format("kms:CreateAlias"),
    )
    assert_allowed(both.kms.call("CreateAlias", request))
    # Moving it away needs the permission on the key that gets it too; taking it away, on the key that has it.
    assert_refused(both.kms.call("UpdateAlias", {"AliasName": name, "TargetKeyId": other}), "AccessDeniedException")
    assert_allowed(raw.call("UpdateAlias", {"AliasName": name, "TargetKeyId": other}))
    assert_refused(both.kms.call("UpdateAlias", request), "AccessDeniedException")
    assert_refused(both.kms.call("DeleteAlias", {"AliasName": name}), "AccessDeniedException")
    assert raw.call("DescribeKey", {"KeyId": name}).json["KeyMetadata"]["KeyId"] == other
