"""Access keys of users, and of the account's root: two each, whose secrets are told once.

Who names nobody means himself. Sources: IAM API reference; IAM user guide, "IAM and AWS STS quotas"; wordings as LocalStack
recorded them from AWS (`test_iam_users.snapshot.json`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.iam.principals import root_arn
from strongroom.kms.identities.access_keys import new_access_key_id, new_secret, seal_access_key
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import AccessDenied, LimitExceeded, NoSuchEntity, ValidationError
from strongroom.kms.identities.operation import Operation, commit
from strongroom.kms.identities.operations.finding import (
    Found,
    demand_on,
    find_named,
    find_user_or_caller,
    on_found,
    own_action,
)
from strongroom.kms.identities.paging import page_of_names
from strongroom.kms.identities.records import AccessKeyRecord, AccessKeyStatus, UserRecord
from strongroom.kms.repositories import Put, Remove
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import (
    AccessKey,
    AccessKeyLastUsed,
    AccessKeyMetadata,
    CreateAccessKeyRequest,
    CreateAccessKeyResponse,
    DeleteAccessKeyRequest,
    GetAccessKeyLastUsedRequest,
    GetAccessKeyLastUsedResponse,
    ListAccessKeysRequest,
    ListAccessKeysResponse,
    UpdateAccessKeyRequest,
)

# It cannot be raised.
ACCESS_KEYS_MAX: Final = 2
_NEVER: Final = "N/A"


async def create_access_key(
    service: Service, call: Call, request: CreateAccessKeyRequest, found: Found[UserRecord]
) -> CreateAccessKeyResponse:
    """The only time that a secret is told."""
    if len(await _keys_of(service, found)) >= ACCESS_KEYS_MAX:
        raise LimitExceeded(f"Cannot exceed quota for AccessKeysPerUser: {ACCESS_KEYS_MAX}")
    access_key_id, secret = new_access_key_id(), new_secret()
    sealing = service.gate.chore("SealAccessKey")
    record = await seal_access_key(
        service.link, sealing, access_key_id, secret, call.account, found.name, service.clock()
    )
    await commit(service, call, [Put(record, replaces=None)])
    return CreateAccessKeyResponse(
        AccessKey=AccessKey(
            UserName=found.name,
            AccessKeyId=access_key_id,
            Status=record.status.value,
            SecretAccessKey=secret.expose().decode(),
            CreateDate=record.created_at_s,
        )
    )


async def list_access_keys(
    service: Service, call: Call, request: ListAccessKeysRequest, found: Found[UserRecord]
) -> ListAccessKeysResponse:
    records = {record.access_key_id: record for record in await _keys_of(service, found)}
    page = page_of_names(request, list(records))
    return ListAccessKeysResponse(
        AccessKeyMetadata=[_metadata(records[access_key_id]) for access_key_id in page.items],
        IsTruncated=page.is_truncated,
        Marker=page.marker,
    )


async def update_access_key(
    service: Service, call: Call, request: UpdateAccessKeyRequest, found: Found[UserRecord]
) -> None:
    """An inactive key is refused from the next request on."""
    if request.Status not in set(AccessKeyStatus):
        raise ValidationError(
            f"1 validation error detected: Value '{request.Status}' at 'status' failed to satisfy constraint: "
            "Member must satisfy enum value set: [Active, Inactive]"
        )
    record = await _require_key(service, found, request.AccessKeyId)
    changed = msgspec.structs.replace(record, version=record.version + 1, status=AccessKeyStatus(request.Status))
    await commit(service, call, [Put(changed, replaces=record.version)])


async def delete_access_key(
    service: Service, call: Call, request: DeleteAccessKeyRequest, found: Found[UserRecord]
) -> None:
    """For good; whoever uses it is refused from the next request on."""
    await commit(service, call, [Remove(await _require_key(service, found, request.AccessKeyId))])


# ── GetAccessKeyLastUsed ────────────────────────────────────────────────────────────────────────────────────────────────


class _Owned(msgspec.Struct, frozen=True):
    """A key of the caller's account, with its owner."""

    record: AccessKeyRecord
    owner: Found[UserRecord]


async def find_key(service: Service, call: Call, request: GetAccessKeyLastUsedRequest) -> _Owned | None:
    record = await service.identities.get(AccessKeyRecord, request.AccessKeyId)
    if record is None or record.account != call.account:
        return None
    if not record.user_name:
        return _Owned(record, Found(UserRecord, call.account, "", None))
    return _Owned(record, await find_named(service, call, UserRecord, record.user_name))


def on_owner(call: Call, request: GetAccessKeyLastUsedRequest, found: _Owned | None) -> tuple[OnIdentity, ...]:
    """Of a key that is not there, or is another account's, the account is asked about: nobody learns which."""
    if found is None:
        return (OnIdentity(own_action(call), root_arn(call.account)),)
    return (demand_on(call, found.owner),)


async def get_access_key_last_used(
    service: Service, call: Call, request: GetAccessKeyLastUsedRequest, found: _Owned | None
) -> GetAccessKeyLastUsedResponse:
    if found is None:
        raise AccessDenied(
            f"User: {call.principal.arn} is not authorized to perform iam:GetAccessKeyLastUsed "
            f"on resource: access key {request.AccessKeyId}"
        )
    use = await service.directory.key_uses.last(service.identities, request.AccessKeyId)
    at_s, used_service, region = use or (None, _NEVER, _NEVER)
    return GetAccessKeyLastUsedResponse(
        UserName=found.record.user_name or None,
        AccessKeyLastUsed=AccessKeyLastUsed(LastUsedDate=at_s, ServiceName=used_service, Region=region),
    )


# ── whose keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _keys_of(service: Service, found: Found[UserRecord]) -> list[AccessKeyRecord]:
    if not found.is_root:
        found.require()
    return await service.identities.list_access_keys(found.account, found.name)


async def _require_key(service: Service, found: Found[UserRecord], access_key_id: str) -> AccessKeyRecord:
    """A key of whoever was found.

    Raises:
        NoSuchEntity: of the user, or of the key.
    """
    for record in await _keys_of(service, found):
        if record.access_key_id == access_key_id:
            return record
    raise NoSuchEntity(f"The Access Key with id {access_key_id} cannot be found.")


def _metadata(record: AccessKeyRecord) -> AccessKeyMetadata:
    return AccessKeyMetadata(
        UserName=record.user_name or None,
        AccessKeyId=record.access_key_id,
        Status=record.status.value,
        CreateDate=record.created_at_s,
    )


ROWS: Final = {
    "CreateAccessKey": Operation(find_user_or_caller, on_found, create_access_key, mutates=True),
    "DeleteAccessKey": Operation(find_user_or_caller, on_found, delete_access_key, mutates=True),
    "GetAccessKeyLastUsed": Operation(find_key, on_owner, get_access_key_last_used),
    "ListAccessKeys": Operation(find_user_or_caller, on_found, list_access_keys),
    "UpdateAccessKey": Operation(find_user_or_caller, on_found, update_access_key, mutates=True),
}
