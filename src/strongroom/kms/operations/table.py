"""The operations table: a row per API operation that exists; every other one of the model is unsupported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import ModuleType
from typing import Any, Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand
from strongroom.kms.operations import (
    cancel_key_deletion,
    create_alias,
    create_grant,
    create_key,
    decrypt,
    delete_alias,
    describe_key,
    disable_key,
    disable_key_rotation,
    enable_key,
    enable_key_rotation,
    encrypt,
    generate_data_key,
    generate_data_key_without_plaintext,
    generate_random,
    get_key_last_usage,
    get_key_policy,
    get_key_rotation_status,
    list_aliases,
    list_grants,
    list_key_policies,
    list_key_rotations,
    list_keys,
    list_resource_tags,
    list_retirable_grants,
    put_key_policy,
    re_encrypt,
    retire_grant,
    revoke_grant,
    rotate_key_on_demand,
    schedule_key_deletion,
    tag_resource,
    untag_resource,
    update_alias,
    update_key_description,
)
from strongroom.kms.service import Service
from strongroom.kms.wire.model import Shape


class Operation(msgspec.Struct, frozen=True):
    """`mutates`: an intent is recorded first, and the record says that it was no read."""

    demands: Callable[[Any], Sequence[Demand]]
    run: Callable[[Service, Call, Any], Awaitable[Shape | None]]
    mutates: bool


def _row(module: ModuleType, *, mutates: bool = False) -> Operation:
    return Operation(module.demands, module.run, mutates)


TABLE: Final[dict[str, Operation]] = {
    "CancelKeyDeletion": _row(cancel_key_deletion, mutates=True),
    "CreateAlias": _row(create_alias, mutates=True),
    "CreateGrant": _row(create_grant, mutates=True),
    "CreateKey": _row(create_key, mutates=True),
    "Decrypt": _row(decrypt),
    "DeleteAlias": _row(delete_alias, mutates=True),
    "DescribeKey": _row(describe_key),
    "DisableKey": _row(disable_key, mutates=True),
    "DisableKeyRotation": _row(disable_key_rotation, mutates=True),
    "EnableKey": _row(enable_key, mutates=True),
    "EnableKeyRotation": _row(enable_key_rotation, mutates=True),
    "Encrypt": _row(encrypt),
    "GenerateDataKey": _row(generate_data_key),
    "GenerateDataKeyWithoutPlaintext": _row(generate_data_key_without_plaintext),
    "GenerateRandom": _row(generate_random),
    "GetKeyLastUsage": _row(get_key_last_usage),
    "GetKeyPolicy": _row(get_key_policy),
    "GetKeyRotationStatus": _row(get_key_rotation_status),
    "ListAliases": _row(list_aliases),
    "ListGrants": _row(list_grants),
    "ListKeyPolicies": _row(list_key_policies),
    "ListKeyRotations": _row(list_key_rotations),
    "ListKeys": _row(list_keys),
    "ListResourceTags": _row(list_resource_tags),
    "ListRetirableGrants": _row(list_retirable_grants),
    "PutKeyPolicy": _row(put_key_policy, mutates=True),
    "ReEncrypt": _row(re_encrypt),
    "RetireGrant": _row(retire_grant, mutates=True),
    "RevokeGrant": _row(revoke_grant, mutates=True),
    "RotateKeyOnDemand": _row(rotate_key_on_demand, mutates=True),
    "ScheduleKeyDeletion": _row(schedule_key_deletion, mutates=True),
    "TagResource": _row(tag_resource, mutates=True),
    "UntagResource": _row(untag_resource, mutates=True),
    "UpdateAlias": _row(update_alias, mutates=True),
    "UpdateKeyDescription": _row(update_key_description, mutates=True),
}
