"""The change of one identity's record with which most operations end."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.identities.operation import commit
from strongroom.kms.identities.records import GroupRecord, ManagedPolicyRecord, RoleRecord, UserRecord
from strongroom.kms.repositories import Put
from strongroom.kms.service import Service

R = TypeVar("R", bound=UserRecord | GroupRecord | RoleRecord | ManagedPolicyRecord)


async def change(service: Service, call: Call, record: R, **fields: object) -> R:
    """Give a record these fields; the record as it is then."""
    changed = msgspec.structs.replace(record, **fields, version=record.version + 1)
    await commit(service, call, [Put(changed, replaces=record.version)])
    return changed
