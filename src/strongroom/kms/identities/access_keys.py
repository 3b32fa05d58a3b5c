"""New access keys: an id, a secret, and the record in which the HSM sealed the secret for its column and row."""

from __future__ import annotations

import base64
import os
from typing import Final

from strongroom.boundary.messages import SealColumn, SealedAnswer
from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.identities.ids import ACCESS_KEY, new_id
from strongroom.kms.identities.records import AccessKeyRecord, AccessKeyStatus
from strongroom.kms.permits import Permit

SECRET_COLUMN: Final = "access_keys.sealed_secret"  # noqa: S105 -- the column's name.


def new_access_key_id() -> str:
    return new_id(ACCESS_KEY)


def new_secret() -> AccessKeySecret:
    """40 characters of base64, as AWS's are: 240 random bits."""
    return AccessKeySecret(base64.b64encode(os.urandom(30)))


async def seal_access_key(
    link: HsmLink,
    permit: Permit,
    access_key_id: str,
    secret: AccessKeySecret,
    account: str,
    user_name: str,
    now_s: float,
) -> AccessKeyRecord:
    """A record for a new access key, with an empty name of the account's root; storing it is the caller's act."""
    answer = await link.call(
        (permit,),
        (),
        lambda request_id: SealColumn(request_id, SECRET_COLUMN, access_key_id, secret.expose()),
        SealedAnswer,
    )
    return AccessKeyRecord(
        access_key_id=access_key_id,
        version=1,
        account=account,
        user_name=user_name,
        status=AccessKeyStatus.ACTIVE,
        sealed_secret=answer.sealed,
        created_at_s=now_s,
    )
