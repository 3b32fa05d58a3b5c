"""Managed policies by their ARNs: those of AWS, which every account has, and those that an account made itself."""

from __future__ import annotations

import re
from typing import Final

from strongroom.kms.identities.records import ManagedPolicyRecord
from strongroom.kms.repositories import Store

_OWN_ARN: Final = re.compile(r"arn:aws:iam::([0-9]{12}):policy(/(?:[^/]+/)*)([^/]+)", re.ASCII)

AWS_MANAGED: Final[dict[str, str]] = {
    "arn:aws:iam::aws:policy/AdministratorAccess": (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
    ),
}


async def policy_text(store: Store, arn: str) -> str | None:
    """The document of a managed policy's default version; None where there is no policy of this ARN."""
    text = AWS_MANAGED.get(arn)
    own = _OWN_ARN.fullmatch(arn)
    if own is None:
        return text
    record = await store.get(ManagedPolicyRecord, own[1], own[3])
    if record is None or record.path != own[2]:
        return None
    return next((one.document for one in record.versions if one.number == record.default_number), None)
