"""A key's record as the API shows it."""

from __future__ import annotations

from typing import Any, Final

from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.repositories import KeyState
from strongroom.kms.wire.shapes import KeyMetadata

_ENCRYPTION_ALGORITHMS: Final = {"SYMMETRIC_DEFAULT": ["SYMMETRIC_DEFAULT"]}


def key_metadata(entry: KeyEntry) -> KeyMetadata:
    record = entry.record
    members: dict[str, Any] = {
        "AWSAccountId": record.account,
        "KeyId": record.key_id,
        "Arn": entry.arn,
        "CreationDate": record.created_at_s,
        "Enabled": record.state is KeyState.ENABLED,
        "Description": record.description,
        "KeyUsage": record.usage,
        "KeyState": record.state.value,
        "Origin": record.origin,
        "KeyManager": "CUSTOMER",
        # Deprecated, and what Terraform and Ansible read.
        "CustomerMasterKeySpec": record.spec,
        "KeySpec": record.spec,
        "EncryptionAlgorithms": _ENCRYPTION_ALGORITHMS[record.spec],
        "MultiRegion": record.multi_region,
        "CurrentKeyMaterialId": entry.current.material_id,
    }
    if record.deletion_at_s is not None:
        members["DeletionDate"] = record.deletion_at_s
    return KeyMetadata(**members)
