"""The user that a new account begins with: somebody must be able to make the others."""

from __future__ import annotations

from typing import Final

from strongroom.kms.identities.ids import USER, new_id
from strongroom.kms.identities.records import UserRecord

ADMINISTRATOR: Final = "admin"
_POLICIES: Final = {
    "AdministratorAccess": ('{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}')
}


def new_administrator(account: str, now_s: float) -> UserRecord:
    """Storing it, with an access key, is the caller's act."""
    return UserRecord(
        account=account,
        name=ADMINISTRATOR,
        version=1,
        user_id=new_id(USER),
        identity_policies=_POLICIES,
        created_at_s=now_s,
    )
