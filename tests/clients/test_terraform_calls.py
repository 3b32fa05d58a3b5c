"""The calls that Terraform's AWS provider makes, without Terraform: quick, and there on every machine.

The sequences are those of `internal/service/kms/key.go`, `alias.go`, `key_policy.go`, `grant.go`, `ciphertext.go` and
their data sources in the repository of the provider (release 5.100 and later), compared with what `test_terraform.py`
left in an audit trail. The provider waits until what it wrote was read up to fifteen times in a row, and counts from the
beginning when one reading differs; here a single reading that differs is a failure, because an answer is given after its
commit.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from testkit.installation import ACCOUNT, Installation

READINGS = 15
# Releases differ in which of the two names of the spec they send.
SPEC = {"CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT"}


def policy(*sids: str) -> str:
    """Normalised as the provider does it: sorted keys, no spaces."""
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [{**root, "Sid": sid} for sid in sids]}
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


class Provider:
    """Two connections, as the provider has several: what one wrote, the other reads."""

    def __init__(self, installation: Installation) -> None:
        self.writing, self.reading = installation.kms(), installation.kms()

    def wait_until(self, wanted: Any, read: Callable[[], Any]) -> None:
        for _ in range(READINGS):
            assert read() == wanted

    def metadata(self, key_id: str) -> dict[str, Any]:
        return dict(self.reading.describe_key(KeyId=key_id)["KeyMetadata"])

    def policy(self, key_id: str) -> str:
        return str(self.reading.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"])

    def rotation(self, key_id: str) -> tuple[bool, int | None]:
        status = self.reading.get_key_rotation_status(KeyId=key_id)
        return status["KeyRotationEnabled"], status.get("RotationPeriodInDays")

    def tags(self, key_id: str) -> dict[str, str]:
        pages = self.reading.get_paginator("list_resource_tags").paginate(KeyId=key_id)
        return {tag["TagKey"]: tag["TagValue"] for page in pages for tag in page["Tags"]}

    def set_rotation(self, key_id: str, period_days: int | None) -> None:
        if period_days is None:
            self.writing.disable_key_rotation(KeyId=key_id)
        else:
            self.writing.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=period_days)
        self.wait_until((period_days is not None, period_days), lambda: self.rotation(key_id))

    def set_enabled(self, key_id: str, *, enabled: bool) -> None:
        (self.writing.enable_key if enabled else self.writing.disable_key)(KeyId=key_id)
        self.wait_until(enabled, lambda: self.metadata(key_id)["Enabled"])

    def set_policy(self, key_id: str, text: str) -> None:
        self.writing.put_key_policy(
            KeyId=key_id, PolicyName="default", Policy=text, BypassPolicyLockoutSafetyCheck=False
        )
        self.wait_until(text, lambda: self.policy(key_id))

    def set_tags(self, key_id: str, wanted: dict[str, str]) -> None:
        before = self.tags(key_id)
        gone = [key for key in before if key not in wanted]
        if gone:
            self.writing.untag_resource(KeyId=key_id, TagKeys=gone)
        changed = {key: value for key, value in wanted.items() if before.get(key) != value}
        if changed:
            self.writing.tag_resource(KeyId=key_id, Tags=tag_list(changed))
        self.wait_until(wanted, lambda: self.tags(key_id))

    def set_description(self, key_id: str, text: str) -> None:
        self.writing.update_key_description(KeyId=key_id, Description=text)
        self.wait_until(text, lambda: self.metadata(key_id)["Description"])

    def find_alias(self, name: str) -> dict[str, Any] | None:
        """The provider pages through every alias of the account."""
        pages = self.reading.get_paginator("list_aliases").paginate()
        found = [entry for page in pages for entry in page["Aliases"] if entry["AliasName"] == name]
        return found[0] if found else None


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


@pytest.fixture
def provider(installation: Installation) -> Iterator[Provider]:
    made = Provider(installation)
    yield made
    made.writing.close()
    made.reading.close()


def test_a_key_resource_is_created_read_updated_and_deleted(provider: Provider) -> None:
    first, tags = policy("First"), {"team": "blue", "empty": "", "ünï/=+:@": "x y"}
    made = provider.writing.create_key(
        **SPEC, Description="made", Policy=first, Tags=tag_list(tags), BypassPolicyLockoutSafetyCheck=False
    )["KeyMetadata"]
    key_id = made["KeyId"]
    provider.set_rotation(key_id, 180)
    provider.wait_until(first, lambda: provider.policy(key_id))
    provider.wait_until(tags, lambda: provider.tags(key_id))
    # Every attribute that the provider puts into its state.
    read = provider.metadata(key_id)
    assert (read["Arn"], read["CustomerMasterKeySpec"], read["KeySpec"]) == (made["Arn"], *["SYMMETRIC_DEFAULT"] * 2)
    assert (read["Origin"], read["KeyUsage"], read["MultiRegion"]) == ("AWS_KMS", "ENCRYPT_DECRYPT", False)
    assert {"CustomKeyStoreId", "XksKeyConfiguration", "ValidTo"}.isdisjoint(read)
    # Updates in the provider's order: nothing of a disabled key is changed.
    provider.set_rotation(key_id, 2560)
    provider.set_description(key_id, "changed")
    provider.set_policy(key_id, policy("Second", "Third"))
    provider.set_tags(key_id, {"team": "green", "added": "yes"})
    provider.set_rotation(key_id, None)
    provider.set_enabled(key_id, enabled=False)
    with pytest.raises(provider.writing.exceptions.DisabledException):
        provider.writing.enable_key_rotation(KeyId=key_id, RotationPeriodInDays=90)
    provider.set_enabled(key_id, enabled=True)
    provider.set_tags(key_id, {})
    provider.writing.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    provider.wait_until("PendingDeletion", lambda: provider.metadata(key_id)["KeyState"])
    # A second destroy knows by the code and these words that there is nothing left to do.
    with pytest.raises(provider.writing.exceptions.KMSInvalidStateException, match="is pending deletion"):
        provider.writing.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)


def test_a_key_that_is_gone_is_told_by_its_code_in_every_reading(provider: Provider) -> None:
    nowhere, kms = str(uuid.uuid4()), provider.reading
    calls = (kms.describe_key, kms.get_key_policy, kms.get_key_rotation_status, kms.list_resource_tags)
    for call in (*calls, kms.schedule_key_deletion):
        with pytest.raises(kms.exceptions.NotFoundException):
            call(KeyId=nowhere)
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.delete_alias(AliasName=f"alias/{nowhere}")


def test_a_policy_that_is_refused_keeps_the_one_before(provider: Provider, key_id: str) -> None:
    """MalformedPolicyDocumentException makes the provider try again for two minutes: AWS's principals appear late."""
    before = provider.policy(key_id)
    stranger = json.loads(policy("First"))
    stranger["Statement"][0]["Principal"]["AWS"] = f"arn:aws:iam::{ACCOUNT}:user/not-there-yet"
    for text in (json.dumps(stranger), "{}"):
        with pytest.raises(ClientError) as caught:
            provider.writing.put_key_policy(KeyId=key_id, PolicyName="default", Policy=text)
        assert caught.value.response["Error"]["Code"] == "MalformedPolicyDocumentException"
        provider.wait_until(before, lambda: provider.policy(key_id))


def test_an_alias_resource_is_created_found_moved_and_deleted(provider: Provider, kms: Any, key_id: str) -> None:
    name, other = f"alias/terraform/{uuid.uuid4()}", kms.create_key()["KeyMetadata"]
    provider.writing.create_alias(AliasName=name, TargetKeyId=key_id)
    found = provider.find_alias(name)
    assert found is not None
    assert found["TargetKeyId"] == key_id
    # The state's `target_key_arn` is the alias's ARN with the key's id in place of the name.
    assert found["AliasArn"].replace(name, f"key/{key_id}") == provider.metadata(name)["Arn"]
    provider.writing.update_alias(AliasName=name, TargetKeyId=other["Arn"])
    provider.wait_until(other["Arn"], lambda: provider.metadata(name)["Arn"])
    provider.writing.delete_alias(AliasName=name)
    assert provider.find_alias(name) is None


@pytest.mark.parametrize("retires", [False, True])
def test_a_grant_resource_is_created_found_and_deleted(provider: Provider, key_id: str, *, retires: bool) -> None:
    root = f"arn:aws:iam::{ACCOUNT}:root"
    asked = {
        "KeyId": key_id,
        "GranteePrincipal": root,
        "RetiringPrincipal": root,
        "Operations": ["Encrypt", "Decrypt"],
        "Name": "terraform",
        "Constraints": {"EncryptionContextEquals": {"tenant": "7"}},
    }
    made = provider.writing.create_grant(**asked)
    # The provider makes a grant again after errors that pass: with a name that is no second one.
    assert provider.writing.create_grant(**asked)["GrantId"] == made["GrantId"]

    def find() -> dict[str, Any] | None:
        pages = provider.reading.get_paginator("list_grants").paginate(KeyId=key_id)
        found = [grant for page in pages for grant in page["Grants"] if grant["GrantId"] == made["GrantId"]]
        return found[0] if found else None

    first = find()
    assert first is not None
    assert {name: first[name] for name in asked if name not in {"KeyId", "Operations"}} == {
        name: value for name, value in asked.items() if name not in {"KeyId", "Operations"}
    }
    assert set(first["Operations"]) == {"Encrypt", "Decrypt"}
    provider.wait_until(first, find)
    end = provider.writing.retire_grant if retires else provider.writing.revoke_grant
    end(KeyId=key_id, GrantId=made["GrantId"])
    provider.wait_until(None, find)
    # A second destroy knows by the code that there is nothing left to do.
    with pytest.raises(provider.writing.exceptions.NotFoundException):
        end(KeyId=key_id, GrantId=made["GrantId"])


def test_a_ciphertext_resource_and_the_secrets_data_source(provider: Provider, key_id: str) -> None:
    context = {"tenant": "7", "*aws-kms-table*": "x"}
    made = provider.writing.encrypt(KeyId=key_id, Plaintext="s3cret ✓".encode(), EncryptionContext=context)
    assert made["KeyId"] == provider.metadata(key_id)["Arn"]
    opened = provider.reading.decrypt(
        CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context, EncryptionAlgorithm="SYMMETRIC_DEFAULT"
    )
    assert opened["Plaintext"].decode() == "s3cret ✓"
