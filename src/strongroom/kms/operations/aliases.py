"""The rules of aliases that CreateAlias, UpdateAlias and DeleteAlias share."""

from __future__ import annotations

from strongroom.kms.faults import LimitExceededException, NotAuthorizedException, ValidationException
from strongroom.kms.service import Service

_NO_PREFIX = (
    'Alias must start with the prefix "alias/". Please see '
    "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
)


def require_alias_name(name: str) -> None:
    """Raise AWS's refusal of a name that is none, or that only AWS services may have."""
    if not name.startswith("alias/"):
        raise ValidationException(_NO_PREFIX)
    if name.startswith("alias/aws/"):
        raise NotAuthorizedException
    if ":" in name:
        raise ValidationException(f"{name} contains invalid characters for an alias")


def require_key_target(key_ref: str) -> None:
    """Raise AWS's refusal of an alias that would point at an alias."""
    if key_ref.startswith("alias/") or (key_ref.startswith("arn:") and ":alias/" in key_ref):
        raise ValidationException("Aliases must refer to keys. Not aliases")


async def require_room(service: Service, account: str, key_id: str) -> None:
    """Raise AWS's refusal of more aliases for a key than its quota; requests under way at once can exceed it, as in AWS."""
    most = service.limits.aliases_per_key_max
    usage = await service.directory.store.count_aliases(account, service.region, key_id)
    if usage >= most:
        raise LimitExceededException(
            f"Aliases per key quota for this account in this region is {most}, current usage is {usage}."
        )
