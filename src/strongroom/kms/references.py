"""What a caller's reference to a key means: an id or alias of his own account, or an ARN of any.

What is found is kept under the caller's account, until some record changes.
"""

from __future__ import annotations

from typing import Final

from strongroom.kms.authorization import ACROSS_ACCOUNTS, Authorization
from strongroom.kms.calls import Call
from strongroom.kms.faults import InvalidArnException, InvalidGrantIdException, NotFoundException
from strongroom.kms.iam.retirement import RETIRE
from strongroom.kms.keys.directory import PARTITION, Directory, KeyEntry
from strongroom.kms.keys.grants import OnGrant, require_grant, require_token
from strongroom.kms.repositories import GrantRecord
from strongroom.protocol.arn import (
    AliasArn,
    AliasName,
    KeyArn,
    MalformedArn,
    format_alias_arn,
    format_alias_missing,
    format_key_arn,
    format_key_missing,
    format_wrong_region,
    parse_key_ref,
)


class References:
    """Finds keys by what callers call them."""

    def __init__(self, directory: Directory, authorization: Authorization) -> None:
        self._directory: Final = directory
        self._authorization = authorization

    async def find(self, call: Call, action: str, key_ref: str, *, aliases: bool) -> KeyEntry:
        """The key that a reference of the caller's names; finding is no leave to use.

        Most references are the id or ARN of a key that exists, and need no more than that. Of the others:
        1. what is no reference, 2. an alias where only keys are taken, 3. another region, 4. another account, whose keys
        must be named by ARN, and of which nobody is told what exists, 5. nothing of this name.

        Raises:
            NotFoundException, InvalidArnException, AccessDeniedException: AWS's wording for each kind of reference.
        """
        directory, account = self._directory, call.account
        generation = directory.generation
        plain_id = directory.plain_key_id(account, key_ref)
        entry = None if plain_id is None else await directory.key(plain_id)
        if entry is not None and entry.record.account == account:
            directory.keep_reference(account, key_ref, entry, generation)
            return entry
        try:
            parsed = parse_key_ref(key_ref)
        except MalformedArn as malformed:  # 1
            raise NotFoundException(malformed.message) from None
        if not aliases and isinstance(parsed, AliasName | AliasArn):  # 2
            raise InvalidArnException("Key Aliases are not supported for this operation.")
        foreign_partition = False
        if isinstance(parsed, KeyArn | AliasArn):
            if parsed.region != directory.region:  # 3
                raise NotFoundException(format_wrong_region(parsed.region))
            foreign_partition = parsed.partition != PARTITION
            if parsed.account != account:  # 4
                entry = None if foreign_partition else await self._find_foreign(action, parsed)
                if entry is None:
                    raise self._authorization.unseen(call, action, parsed)
                directory.keep_reference(account, key_ref, entry, generation)
                return entry
        key_id: str | None
        if isinstance(parsed, AliasName | AliasArn):
            arn = format_alias_arn(PARTITION, directory.region, account, parsed.alias_name)
            missing = format_alias_missing(arn)
            key_id = await directory.key_id_of_alias(account, parsed.alias_name)
        else:
            missing = format_key_missing(format_key_arn(PARTITION, directory.region, account, parsed.key_id))
            key_id = parsed.key_id
        entry = None if key_id is None or foreign_partition else await directory.key(key_id)
        if entry is None or entry.record.account != account:  # 5
            raise NotFoundException(missing)
        directory.keep_reference(account, key_ref, entry, generation)
        return entry

    async def find_grant(self, call: Call, demand: OnGrant) -> tuple[KeyEntry, GrantRecord]:
        """The grant that a request to retire one names, with its key; finding is no leave to retire.

        Raises:
            InvalidGrantTokenException, InvalidGrantIdException: there is none.
            NotFoundException, InvalidArnException, AccessDeniedException: as `find`.
        """
        if demand.token is not None:
            return await require_token(self._directory, demand.token)
        entry = await self.find(call, RETIRE, demand.key_ref, aliases=False)
        try:
            return entry, await require_grant(self._directory, entry.record.key_id, demand.grant_id)
        except (InvalidGrantIdException, NotFoundException):
            if entry.record.account == call.account:
                raise
            raise self._authorization.unseen_grant(call, RETIRE, entry, by_token=False) from None

    async def _find_foreign(self, action: str, parsed: KeyArn | AliasArn) -> KeyEntry | None:
        """Another account's key, for an action that another account's keys are open to; what is kept is asked again."""
        if action not in ACROSS_ACCOUNTS:
            return None
        directory = self._directory
        if isinstance(parsed, KeyArn):
            key_id: str | None = parsed.key_id
        else:
            key_id = await directory.key_id_of_alias(parsed.account, parsed.alias_name)
        entry = None if key_id is None else await directory.key(key_id)
        return entry if entry is not None and entry.record.account == parsed.account else None
