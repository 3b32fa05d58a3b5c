"""The rules of alias names that CreateAlias, UpdateAlias and DeleteAlias share."""

from __future__ import annotations

from strongroom.kms.faults import InvalidAliasNameException, NotAuthorizedException, ValidationException
from strongroom.protocol.arn import is_alias_name


def require_alias_name(name: str) -> None:
    """Raise AWS's refusal of a name that is none, or that only AWS services may have."""
    if not name.startswith("alias/"):
        raise ValidationException("Invalid identifier")
    if name.startswith("alias/aws/"):
        raise NotAuthorizedException
    if not is_alias_name(name):
        raise InvalidAliasNameException(f"{name} contains invalid characters for an alias")
