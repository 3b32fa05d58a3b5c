"""The accounts of a home, which operators alone make and delete.

Invariants:
- The number of an account that was deleted is never given again, as AWS gives none again: policies of other accounts may
  name it, and would let a new one in.
- Only an empty account is deleted, and only if nothing of it changed since that was looked at; whatever an organisation says
  of its number stays. Its users and roles are gone before it, and sessions of its root end with it: whoever could make a
  key in it has begun before. Such a key, a matter of milliseconds, stays unused: nobody is let in to it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.access_keys import new_access_key_id, new_secret, seal_access_key
from strongroom.kms.identities.administrators import new_administrator
from strongroom.kms.identities.faults import (
    ConcurrentModification,
    DeleteConflict,
    EntityAlreadyExists,
    NoSuchEntity,
    ValidationError,
)
from strongroom.kms.identities.operation import identities_mark, identities_version
from strongroom.kms.identities.records import (
    AccountRecord,
    GroupRecord,
    ManagedPolicyRecord,
    RoleRecord,
    UserRecord,
)
from strongroom.kms.permits import KEYLESS
from strongroom.kms.regions import Regions
from strongroom.kms.repositories import Change, ConflictError, MarkRecord, Put, Remove
from strongroom.kms.service import Service

_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
# AWS Organizations API reference, CreateAccount: AccountName.
_NAME: Final = re.compile(r"[\x20-\x7e]{1,50}", re.ASCII)
_KINDS: Final[dict[str, type[UserRecord | GroupRecord | RoleRecord | ManagedPolicyRecord]]] = {
    "user": UserRecord,
    "group": GroupRecord,
    "role": RoleRecord,
    "policy": ManagedPolicyRecord,
}
# Of each kind, a refusal names so many.
_SHOWN_MAX: Final = 10


class Accounts:
    """Of one worker."""

    def __init__(self, regions: Regions) -> None:
        self._regions: Final = regions
        self._home: Final[Service] = regions.home.service

    async def of_home(self) -> list[dict[str, str]]:
        """All of this home, the main account first."""
        main = {"account": self._home.main_account, "name": "main"}
        others = await self._home.identities.list_accounts()
        return [main, *({"account": record.account, "name": record.name} for record in others)]

    async def create(self, call: Call, account: str, name: str) -> dict[str, str]:
        """With an administrator, whose access key is told this once.

        Raises:
            EntityAlreadyExists, ValidationError: in IAM's way.
        """
        if _ACCOUNT.fullmatch(account) is None:
            raise ValidationError("an account has a number of 12 digits")
        if _NAME.fullmatch(name) is None:
            raise ValidationError("the name of an account has 1 to 50 printable ASCII characters")
        home = self._home
        taken = EntityAlreadyExists(f"There is an account {account} already.")
        if account == home.main_account or await home.identities.get(AccountRecord, account) is not None:
            raise taken
        if await identities_version(home, account):
            raise EntityAlreadyExists(
                f"There was an account {account}, and others' policies may name it: take another."
            )
        permit, now_s = await home.gate.operator(call), home.clock()
        record = AccountRecord(account=account, version=1, name=name, created_at_s=now_s)
        administrator = new_administrator(account, now_s)
        access_key_id, secret = new_access_key_id(), new_secret()
        sealing = home.gate.chore("SealAccessKey")
        key = await seal_access_key(home.link, sealing, access_key_id, secret, account, administrator.name, now_s)
        try:
            changes = [Put(made, replaces=None) for made in (record, administrator, key)]
            await home.directory.commit(((permit, KEYLESS),), changes)
        except ConflictError:
            raise taken from None
        made = {"account": account, "name": name, "user": administrator.name, "access_key_id": access_key_id}
        call.response_elements = made
        return {**made, "secret_access_key": secret.expose().decode()}

    async def delete(self, call: Call, account: str) -> dict[str, str]:
        """An account that is empty; never the main account.

        Raises:
            NoSuchEntity, DeleteConflict, ValidationError, ConcurrentModification: in IAM's way.
        """
        home = self._home
        if account == home.main_account:
            raise ValidationError(f"{account} is the main account, which stays as long as the home.")
        version = await identities_version(home, account)
        record = await home.identities.get(AccountRecord, account)
        if record is None:
            raise NoSuchEntity(f"There is no account {account}.")
        left = [line async for line in self._left_in(account)]
        if left:
            raise DeleteConflict(f"The account {account} is not empty: {'; '.join(left)}.")
        permit = await home.gate.operator(call)
        mark = MarkRecord(name=identities_mark(account), version=version + 1, value=home.clock())
        try:
            changes: list[Change] = [Remove(record), Put(mark, replaces=version or None)]
            await home.directory.commit(((permit, KEYLESS),), changes)
        except ConflictError:
            raise ConcurrentModification(f"Something in the account {account} was changed meanwhile.") from None
        deleted = {"account": account, "name": record.name}
        call.response_elements = deleted
        return deleted

    async def _left_in(self, account: str) -> AsyncIterator[str]:
        """What an account still has, a line of each kind."""
        not_open = self._regions.not_open()
        if not_open:
            yield f"{', '.join(not_open)} cannot be looked into now"
        for region in self._regions.opened():
            service = region.service
            keys = await service.directory.store.list_keys(account, service.region, "", _SHOWN_MAX + 1)
            if keys:
                yield _listed(f"keys in {service.region}", [key.key_id for key in keys])
        store = self._home.identities
        for called, kind in _KINDS.items():
            records = await store.list_named(kind, account, "", _SHOWN_MAX + 1)
            if records:
                plural = f"{called}s" if called != "policy" else "policies"
                yield _listed(plural, [record.name for record in records])
        access_keys = await store.list_access_keys(account, "")
        if access_keys:
            yield _listed("access keys of its root", [key.access_key_id for key in access_keys])


def _listed(what: str, names: Sequence[str]) -> str:
    more = " and more" if len(names) > _SHOWN_MAX else ""
    return f"{what} {', '.join(names[:_SHOWN_MAX])}{more}"
