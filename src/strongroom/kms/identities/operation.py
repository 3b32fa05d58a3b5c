"""What an operation of IAM or STS is, and how one is done: over HTTP and at the admin socket alike.

1. find what the request is about, 2. the gate decides on what was found, and records the intent of a change, 3. run.

Invariants:
- A change of an account's identities is made only while nothing of them changed since 1 began: a mark per account counts
  its changes, and every commit expects the count that it began with. So a name that was free is free, a quota that was not
  reached is not reached, and what nothing was attached to has nothing attached. Whoever was beaten does all of it again.
- Who asks is looked up after that count was read: whoever lost a permission while he waited for his turn has lost it.
- A change is of the account that the permits were given for, and of no other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from strongroom.kms.calls import Call
from strongroom.kms.faults import KMSInternalException
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.records import (
    AccessKeyRecord,
    GroupRecord,
    ManagedPolicyRecord,
    RoleRecord,
    UserRecord,
)
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.kms.repositories import Change, ConflictError, MarkRecord, Put
from strongroom.kms.service import Service
from strongroom.kms.trail import logged_response
from strongroom.kms.turns import Turns
from strongroom.kms.wire.model import Shape

IdentityRecord = UserRecord | GroupRecord | RoleRecord | ManagedPolicyRecord | AccessKeyRecord
# As for keys: far above what competitors on one record can do to one of them.
_CONFLICTS_MAX: Final = 100


class Operation(msgspec.Struct, frozen=True):
    """A row of a table of operations; `service` is always the home region's.

    `find` reads what the request is about and complains of nothing that is missing: whoever may not ask is not told what
    exists. It refuses only what no permission could make right. `demands` says what must be allowed, with an empty sequence
    for what everybody may. `run` gets what `find` found.
    """

    find: Callable[[Service, Call, Any], Awaitable[Any]]
    demands: Callable[[Call, Any, Any], Sequence[OnIdentity]]
    run: Callable[[Service, Call, Any, Any], Awaitable[Shape | None]]
    mutates: bool = False


# The same caller as he is now, or a refusal.
Renew = Callable[[PrincipalEntry], Awaitable[PrincipalEntry]]


async def perform(
    service: Service, call: Call, row: Operation, request: Shape, turns: Turns, renew: Renew | None = None
) -> Shape | None:
    """Do it, again where somebody was faster; `call.request` is the request too, for conditions.

    Without `renew`, the caller is who he was.

    Raises:
        Fault: AWS's own.
    """
    try:
        return await _attempt(service, call, row, request, renew)
    except ConflictError:
        await turns.take(call.account)
    try:
        for _ in range(_CONFLICTS_MAX):
            call.admissions.clear()
            try:
                return await _attempt(service, call, row, request, renew)
            except ConflictError:  # By another worker, or by somebody who was not beaten yet.
                continue
    finally:
        turns.give(call.account)
    raise KMSInternalException


async def _attempt(service: Service, call: Call, row: Operation, request: Shape, renew: Renew | None) -> Shape | None:
    version = 0
    if row.mutates:
        version = await identities_version(service, call.account)
        await service.directory.refreshed()
        if renew is not None:
            call.principal_entry = await renew(call.principal_entry)
    found = await row.find(service, call, request)  # 1
    await service.gate.admit_identity(call, row.demands(call, request, found), version, mutates=row.mutates)  # 2
    response = await row.run(service, call, request, found)  # 3
    if row.mutates and response is not None:
        call.response_elements = logged_response(response)
    return response


async def commit(service: Service, call: Call, changes: Sequence[Change]) -> None:
    """Redeem what was admitted, for the account in which all of these changes are, and make them durable.

    Raises:
        ConflictError: some identity of the account changed since the operation began to look.
        StoreUnavailableError: nothing was changed.
    """
    (account,) = {_account_of(change) for change in changes}
    version = call.admissions[0].permit.record_version
    mark = MarkRecord(name=identities_mark(account), version=version + 1, value=service.clock())
    permits = [(admission.permit, account) for admission in call.admissions]
    await service.directory.commit(permits, [*changes, Put(mark, replaces=version or None)])


def _account_of(change: Change) -> str:
    """Whose record it is that changes."""
    assert isinstance(change.record, IdentityRecord), f"{type(change.record).__name__} is no identity"
    return change.record.account


async def identities_version(service: Service, account: str) -> int:
    """Grows with every change of an identity of the account."""
    mark = await service.identities.get(MarkRecord, identities_mark(account))
    return 0 if mark is None else mark.version


def identities_mark(account: str) -> str:
    """Whose mark it is; that of an account that was deleted stays."""
    return f"identities:{account}"
