"""credstash: secrets in a DynamoDB table, each under a data key of KMS.

KMS here is the real installation. The table is a stand-in, because a database is no part of this product: it holds items
and answers the four calls that credstash makes of it; the requests to KMS and all cryptography are credstash's own.
"""

from __future__ import annotations

from typing import Any

import credstash
import pytest
from botocore.exceptions import ClientError

Item = dict[str, Any]
CONTEXT = {"environment": "production", "*aws*": "ünï"}


class Table:
    """Items by name and version, as `credstash setup` would have made the table in DynamoDB."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}

    def put_item(self, *, Item: Item, ConditionExpression: Any) -> Item:  # noqa: N803 -- DynamoDB's own names.
        assert ConditionExpression.get_expression()["operator"] == "attribute_not_exists"
        place = (Item["name"], Item["version"])
        if place in self.items:
            raise ClientError({"Error": {"Code": "ConditionalCheckFailedException"}}, "PutItem")
        self.items[place] = dict(Item)
        return {"ResponseMetadata": {"HTTPStatusCode": 200}}

    def query(self, *, KeyConditionExpression: Any, **_: Any) -> Item:  # noqa: N803
        wanted = KeyConditionExpression.get_expression()["values"][1]
        found = [item for (name, _), item in sorted(self.items.items(), reverse=True) if name == wanted]
        return {"Items": found[:1], "Count": len(found[:1])}

    def get_item(self, *, Key: Item) -> Item:  # noqa: N803
        found = self.items.get((Key["name"], Key["version"]))
        return {} if found is None else {"Item": found}


class Database:
    def __init__(self) -> None:
        self.table = Table()

    def Table(self, name: str) -> Table:  # noqa: N802
        assert name == "credential-store"
        return self.table


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture(scope="module")
def credstash_key(kms: Any) -> Any:
    """The key under the alias that credstash uses when nobody names another."""
    metadata = kms.create_key(Description="credstash")["KeyMetadata"]
    kms.create_alias(AliasName="alias/credstash", TargetKeyId=metadata["KeyId"])
    yield metadata
    kms.delete_alias(AliasName="alias/credstash")


def put(kms: Any, database: Database, name: str, secret: str, **options: Any) -> None:
    credstash.putSecret(name, secret, kms=kms, dynamodb=database, **{"context": CONTEXT, **options})


def get(kms: Any, database: Database, name: str, **options: Any) -> str:
    return str(credstash.getSecret(name, kms=kms, dynamodb=database, **{"context": CONTEXT, **options}))


@pytest.mark.usefixtures("credstash_key")
@pytest.mark.parametrize("digest", ["SHA256", "SHA512"])
def test_a_secret_is_put_and_got_under_the_default_alias(kms: Any, database: Database, digest: str) -> None:
    put(kms, database, "db.password", "hunter2 ✓", digest=digest)
    (item,) = database.table.items.values()
    assert "hunter2" not in repr(item)
    assert get(kms, database, "db.password") == "hunter2 ✓"


def test_versions_of_a_secret_stay_readable_when_the_key_rotates(kms: Any, database: Database, key_id: str) -> None:
    for version in (1, 2, 3):
        put(kms, database, "token", f"value {version}", version=version, kms_key=key_id)
        kms.rotate_key_on_demand(KeyId=key_id)
    assert get(kms, database, "token") == "value 3"
    assert [get(kms, database, "token", version=str(version)) for version in (1, 2, 3)] == [
        "value 1",
        "value 2",
        "value 3",
    ]


@pytest.mark.usefixtures("credstash_key")
def test_another_context_is_refused_in_credstashs_own_words(kms: Any, database: Database) -> None:
    put(kms, database, "db.password", "hunter2")
    # credstash knows this case by the code InvalidCiphertextException alone.
    with pytest.raises(credstash.KmsError, match="encryption context provided may not match"):
        get(kms, database, "db.password", context={"environment": "test"})


@pytest.mark.usefixtures("credstash_key")
def test_a_changed_secret_is_noticed(kms: Any, database: Database) -> None:
    put(kms, database, "db.password", "hunter2")
    (item,) = database.table.items.values()
    item["contents"] = item["contents"][:-4] + "AAA="
    with pytest.raises(credstash.IntegrityError):
        get(kms, database, "db.password")


def test_a_disabled_key_and_one_that_is_not_there_are_told(kms: Any, database: Database, key_id: str) -> None:
    put(kms, database, "db.password", "hunter2", kms_key=key_id)
    kms.disable_key(KeyId=key_id)
    with pytest.raises(credstash.KmsError, match=f"{key_id} is disabled"):
        get(kms, database, "db.password")
    with pytest.raises(credstash.KmsError, match="is not found"):
        put(kms, database, "other", "x", kms_key="alias/no-such-alias")
