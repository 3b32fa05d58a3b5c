"""boto3's paginators and waiters: every one that the KMS client has, over more pages than one.

Which ones there are is asked of the installed botocore, so a new one fails here until it has a place in the table.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from botocore import xform_name

from testkit.installation import ACCOUNT, Installation

PAGE = 2
# Nobody in other tests is called so.
RETIRING = f"arn:aws:sts::{ACCOUNT}:federated-user/pages"


@pytest.fixture(scope="module")
def aliases() -> list[str]:
    return [f"alias/pages/{uuid.uuid4()}" for _ in range(5)]


@pytest.fixture(scope="module")
def paged_key(kms: Any, aliases: list[str]) -> Iterator[str]:
    """A key with five of everything that is listed."""
    key_id = str(kms.create_key()["KeyMetadata"]["KeyId"])
    for alias in aliases:
        kms.create_alias(AliasName=alias, TargetKeyId=key_id)
        kms.rotate_key_on_demand(KeyId=key_id)
    for _ in range(5):
        kms.create_grant(
            KeyId=key_id, GranteePrincipal=RETIRING, RetiringPrincipal=RETIRING, Operations=["DescribeKey"]
        )
    kms.tag_resource(KeyId=key_id, Tags=[{"TagKey": f"tag-{n}", "TagValue": str(n)} for n in range(5)])
    yield key_id
    for alias in aliases:
        kms.delete_alias(AliasName=alias)


@dataclass(frozen=True)
class Paged:
    """How a list is asked for and what it has; `count` is None where other tests add to it meanwhile."""

    result: str
    members: dict[str, Any]
    identity: str
    count: int | None


KEY = {"KeyId": "of the fixture"}
OF_KEY = ["list_aliases", "list_grants", "list_key_rotations", "list_resource_tags"]
PAGED = {
    "list_aliases": Paged("Aliases", KEY, "AliasName", 5),
    "list_grants": Paged("Grants", KEY, "GrantId", 5),
    "list_key_policies": Paged("PolicyNames", KEY, "", 1),
    "list_key_rotations": Paged("Rotations", KEY, "KeyMaterialId", 5),
    "list_keys": Paged("Keys", {}, "KeyId", None),
    "list_resource_tags": Paged("Tags", KEY, "TagKey", 5),
    "list_retirable_grants": Paged("Grants", {"RetiringPrincipal": RETIRING}, "GrantId", 5),
}
# Custom key stores are not there yet.
UNSUPPORTED = {"describe_custom_key_stores"}


def test_every_paginator_of_the_client_is_tested_here_and_it_has_no_waiter(kms: Any) -> None:
    names = {xform_name(operation) for operation in kms.meta.service_model.operation_names}
    assert {name for name in names if kms.can_paginate(name)} == set(PAGED) | UNSUPPORTED
    assert kms.waiter_names == []


@pytest.mark.parametrize("name", PAGED)
def test_a_paginator_gives_every_item_once_in_full_pages(kms: Any, paged_key: str, name: str) -> None:
    paged = PAGED[name]
    members = {**paged.members, "KeyId": paged_key} if "KeyId" in paged.members else paged.members
    paginator = kms.get_paginator(name)
    pages = list(paginator.paginate(**members, PaginationConfig={"PageSize": PAGE}))
    listed = [item[paged.identity] if paged.identity else item for page in pages for item in page[paged.result]]
    assert len(listed) == len(set(listed))
    if paged.count is not None:
        assert len(listed) == paged.count
        assert len(pages) == max(1, -(-paged.count // PAGE))
    for page in pages[:-1]:
        assert (len(page[paged.result]), page["Truncated"]) == (PAGE, True)
        assert page["NextMarker"]
    assert pages[-1]["Truncated"] is False
    assert "NextMarker" not in pages[-1]
    whole = paginator.paginate(**members).build_full_result()[paged.result]
    assert {item[paged.identity] if paged.identity else item for item in whole} >= set(listed)


@pytest.mark.parametrize("name", OF_KEY)
def test_a_paginator_goes_on_where_another_client_stopped(
    kms: Any, installation: Installation, paged_key: str, name: str
) -> None:
    result = PAGED[name].result
    whole = kms.get_paginator(name).paginate(KeyId=paged_key).build_full_result()[result]
    config = {"PageSize": PAGE, "MaxItems": 3}
    first = kms.get_paginator(name).paginate(KeyId=paged_key, PaginationConfig=config).build_full_result()
    assert len(first[result]) == 3
    other = installation.kms()
    token = {"StartingToken": first["NextToken"]}
    rest = other.get_paginator(name).paginate(KeyId=paged_key, PaginationConfig=token).build_full_result()
    assert first[result] + rest[result] == whole
    other.close()


def test_list_key_rotations_with_all_materials_begins_with_the_first_one(kms: Any, paged_key: str) -> None:
    paginator = kms.get_paginator("list_key_rotations")
    asked = {"KeyId": paged_key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL", "PaginationConfig": {"PageSize": PAGE}}
    rotations = paginator.paginate(**asked).build_full_result()["Rotations"]
    assert [rotation["KeyMaterialState"] for rotation in rotations] == ["NON_CURRENT"] * 5 + ["CURRENT"]
    assert "RotationDate" not in rotations[0]
    assert rotations[-1]["KeyMaterialId"] == kms.describe_key(KeyId=paged_key)["KeyMetadata"]["CurrentKeyMaterialId"]


@pytest.mark.parametrize("name", OF_KEY)
def test_a_marker_that_nobody_gave_out_is_refused(kms: Any, paged_key: str, name: str) -> None:
    with pytest.raises(kms.exceptions.InvalidMarkerException):
        getattr(kms, name)(KeyId=paged_key, Marker="bm9ib2R5J3M/")


def test_an_alias_moves_between_pages_without_being_lost(kms: Any, paged_key: str, aliases: list[str]) -> None:
    """What is deleted between two pages is missing, and nothing else."""
    first = kms.list_aliases(KeyId=paged_key, Limit=PAGE)
    gone = first["Aliases"][-1]["AliasName"]
    kms.delete_alias(AliasName=gone)
    try:
        rest = kms.list_aliases(KeyId=paged_key, Marker=first["NextMarker"])
        assert [entry["AliasName"] for entry in first["Aliases"] + rest["Aliases"]] == sorted(aliases)
    finally:
        kms.create_alias(AliasName=gone, TargetKeyId=paged_key)
