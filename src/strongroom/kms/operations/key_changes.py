"""The change of an admitted key's record that several operations end with."""

from __future__ import annotations

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.repositories import Put
from strongroom.kms.service import Service


async def change_key(service: Service, call: Call, **fields: object) -> None:
    """Give the one admitted key's record these fields; a change that changes nothing commits nothing."""
    (admission,) = call.admissions
    record = admission.key.record
    changed = msgspec.structs.replace(record, **fields)
    changes = []
    if changed != record:
        changes.append(Put(msgspec.structs.replace(changed, version=record.version + 1), replaces=record.version))
    await service.directory.commit(((admission.permit, record.key_id),), changes)


def name_key_in_record(call: Call) -> None:
    """Of some operations that answer nothing, CloudTrail records the key all the same.

    KMS developer guide, "Examples of CloudTrail log entries": since December 2022 the entries of CreateAlias, DeleteAlias,
    DisableKey, EnableKey, EnableKeyRotation, UntagResource and UpdateAlias hold its ARN; those of PutKeyPolicy, TagResource
    and UpdateKeyDescription do not.
    """
    call.response_elements = {"keyId": call.touched[-1].arn}
