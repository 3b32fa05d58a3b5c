"""The operations table: a row per API operation that exists; every other one of the model is unsupported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import ModuleType
from typing import Any, Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.gate import Demand
from strongroom.kms.operations import (
    create_alias,
    create_key,
    decrypt,
    delete_alias,
    describe_key,
    disable_key,
    enable_key,
    encrypt,
    generate_data_key,
    generate_data_key_without_plaintext,
    generate_random,
    list_aliases,
    list_keys,
    re_encrypt,
    update_alias,
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
    "CreateAlias": _row(create_alias, mutates=True),
    "CreateKey": _row(create_key, mutates=True),
    "Decrypt": _row(decrypt),
    "DeleteAlias": _row(delete_alias, mutates=True),
    "DescribeKey": _row(describe_key),
    "DisableKey": _row(disable_key, mutates=True),
    "EnableKey": _row(enable_key, mutates=True),
    "Encrypt": _row(encrypt),
    "GenerateDataKey": _row(generate_data_key),
    "GenerateDataKeyWithoutPlaintext": _row(generate_data_key_without_plaintext),
    "GenerateRandom": _row(generate_random),
    "ListAliases": _row(list_aliases),
    "ListKeys": _row(list_keys),
    "ReEncrypt": _row(re_encrypt),
    "UpdateAlias": _row(update_alias, mutates=True),
}
