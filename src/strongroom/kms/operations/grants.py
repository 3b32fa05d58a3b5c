"""What the operations on grants share: principals as they take them, grants as they show them, tokens as all check them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, get_args

import msgspec

from strongroom.kms.faults import InvalidArnException
from strongroom.kms.iam.principals import is_unique_id, principal_arn
from strongroom.kms.identities.existence import Existence
from strongroom.kms.keys.directory import PARTITION
from strongroom.kms.keys.grants import require_token
from strongroom.kms.operations.requests import format_marker
from strongroom.kms.repositories import GrantRecord
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import GrantConstraints, GrantListEntry, GrantOperationShape, ListGrantsResponse
from strongroom.protocol.arn import format_key_arn

# KMS API reference, ListGrants and ListRetirableGrants: "If you do not include a value, it defaults to 50", at most 100.
_LIMIT_DEFAULT: Final = 50
_LIMIT_MAX: Final = 100
# As the model has them.
OPERATIONS: Final[tuple[GrantOperationShape, ...]] = get_args(GrantOperationShape)
# What begins otherwise, and is no unique id, is a service's name.
_ARN: Final = "arn:"


async def require_grant_tokens(service: Service, tokens: Sequence[str]) -> None:
    """Each is a token of some grant of this region. Whether that grant helps is decided without them.

    Raises:
        InvalidGrantTokenException: one is none.
    """
    for token in tokens:
        await require_token(service.directory, token)


def not_a_principal(name: str) -> InvalidArnException:
    return InvalidArnException(f"ARN does not refer to a valid principal: {name}")


class NamedPrincipal(msgspec.Struct, frozen=True):
    """As what a grant keeps somebody, and the ARN that he has now, where that is something else."""

    kept: str = ""
    arn: str | None = None


async def require_principal(service: Service, name: str | None, service_name: str | None) -> NamedPrincipal:
    """The principal, or the service, that a request names; nothing is kept where it names none.

    Raises:
        InvalidArnException: nobody is called so.
    """
    if service_name:
        return NamedPrincipal(service_name)
    if name is None:
        return NamedPrincipal()
    arn = principal_arn(name)
    kept = await Existence(service.identities, service.main_account).identify(arn)
    if kept is None:
        raise not_a_principal(name)
    return NamedPrincipal(kept, None if kept == arn else arn)


async def kept_names(service: Service, name: str) -> tuple[str, ...]:
    """As what grants may keep whom a request calls so: his unique id, and his ARN in grants from before ids were kept."""
    arn = principal_arn(name)
    kept = await Existence(service.identities, service.main_account).identify(arn)
    return (arn,) if kept in {None, arn} else (arn, kept)


def page_limit(limit: int | None) -> int:
    return min(limit or _LIMIT_DEFAULT, _LIMIT_MAX)


async def grants_of_any(
    names: Sequence[str], read: Callable[[str], Awaitable[list[GrantRecord]]], limit: int
) -> list[GrantRecord]:
    """The first that one reading for all of the names would give."""
    found = [record for name in names for record in await read(name)]
    return sorted(found, key=lambda record: record.grant_id)[:limit]


async def grants_response(service: Service, records: Sequence[GrantRecord], limit: int) -> ListGrantsResponse:
    """A page of grants; of `records` there is one more than `limit` if there is another page."""
    page, more = records[:limit], len(records) > limit
    existence = Existence(service.identities, service.main_account)
    kept = {name for record in page for name in (record.grantee, record.retiring)}
    called = {name: await existence.shown(name) for name in kept}
    return ListGrantsResponse(
        Grants=[_entry(record, called) for record in page],
        NextMarker=format_marker(page[-1].grant_id) if more else None,
        Truncated=more,
    )


def _entry(record: GrantRecord, called: Mapping[str, str]) -> GrantListEntry:
    grantee, grantee_service = _principal_or_service(called[record.grantee])
    retiring, retiring_service = _principal_or_service(called[record.retiring])
    constraints = GrantConstraints(
        EncryptionContextSubset=record.context_subset,
        EncryptionContextEquals=record.context_equals,
        SourceArn=record.source_arn,
    )
    return GrantListEntry(
        KeyId=format_key_arn(PARTITION, record.region, record.account, record.key_id),
        GrantId=record.grant_id,
        Name=record.name,
        CreationDate=record.created_at_s,
        GranteePrincipal=grantee,
        RetiringPrincipal=retiring,
        IssuingAccount=record.issuing_account,
        Operations=[name for name in OPERATIONS if name in record.operations],
        Constraints=None if constraints == GrantConstraints() else constraints,
        GranteeServicePrincipal=grantee_service,
        RetiringServicePrincipal=retiring_service,
    )


def _principal_or_service(name: str) -> tuple[str | None, str | None]:
    if not name:
        return None, None
    return (name, None) if name.startswith(_ARN) or is_unique_id(name) else (None, name)
