"""Grants as requests name them: one that is to be made, one that is there."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from strongroom.kms.faults import InvalidGrantIdException, InvalidGrantTokenException, NotFoundException
from strongroom.kms.iam.grants import GrantConstraints
from strongroom.kms.keys.directory import Directory, KeyEntry
from strongroom.kms.keys.grant_tokens import GrantTokenError, parse_grant_token
from strongroom.kms.repositories import GrantRecord

# "A grant ID is a 64 character unique identifier of a grant" (KMS API reference of 2020, RetireGrant).
_GRANT_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class OnNewGrant(msgspec.Struct, frozen=True):
    """Making a grant on the key that a reference names."""

    key_ref: str
    operations: Collection[str]
    constraints: GrantConstraints


class OnGrant(msgspec.Struct, frozen=True):
    """Retiring a grant, named by a token of it, or by its key and its id."""

    token: str | None
    key_ref: str = ""
    grant_id: str = ""


async def require_grant(directory: Directory, key_id: str, grant_id: str) -> GrantRecord:
    """The grant of this id on a key.

    Raises:
        InvalidGrantIdException: no grant has such an id.
        NotFoundException: it does not exist, or does not any more.
    """
    if _GRANT_ID.fullmatch(grant_id) is None:
        raise InvalidGrantIdException
    record = await directory.store.get(GrantRecord, key_id, grant_id)
    if record is None:
        raise NotFoundException(f"Grant ID {grant_id} not found")
    return record


async def require_token(directory: Directory, token: str) -> tuple[KeyEntry, GrantRecord]:
    """The grant behind a token, with its key.

    Raises:
        InvalidGrantTokenException: the text is no token, or was one of a grant that is gone: nobody is told which.
    """
    try:
        key_id, grant_id = parse_grant_token(directory.store.tag, token)
    except GrantTokenError:
        raise _invalid_token() from None
    record = await directory.store.get(GrantRecord, key_id, grant_id)
    entry = None if record is None else await directory.key(key_id)
    if record is None or entry is None:
        raise _invalid_token()
    return entry, record


def _invalid_token() -> InvalidGrantTokenException:
    return InvalidGrantTokenException("The provided grant token is not valid.")
