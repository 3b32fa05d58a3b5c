"""Access keys and their owners: unsealed once per key and worker, made for operators.

A secret is sealed by the HSM for the column and row it stands in; it is in plain form here only while its key is in use,
because verifying a signature needs it.
"""

from __future__ import annotations

import base64
import os
from typing import Final

from strongroom.boundary.messages import PlaintextAnswer, SealColumn, SealedAnswer, UnsealColumn
from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents
from strongroom.kms.iam.principals import root_principal, user_principal
from strongroom.kms.identities.records import AccessKeyRecord, AccessKeyStatus, UserRecord
from strongroom.kms.keys.directory import Directory, PrincipalEntry
from strongroom.kms.permits import Permit

SECRET_COLUMN: Final = "access_keys.sealed_secret"  # noqa: S105 -- the column's name.


class Credentials:
    """Finds and makes access keys."""

    def __init__(self, directory: Directory, link: HsmLink, gate: Gate) -> None:
        self._directory = directory
        self._link = link
        self._gate = gate

    async def load(self, access_key_id: str) -> PrincipalEntry | None:
        """The owner of an active access key, kept in the directory; None for every other id."""
        directory = self._directory
        generation = directory.generation
        record = await directory.store.get(AccessKeyRecord, access_key_id)
        if record is None or record.status is not AccessKeyStatus.ACTIVE:
            return None
        if record.user_name:
            user = await directory.store.get(UserRecord, record.account, record.user_name)
            if user is None:
                return None
            principal = user_principal(record.account, user.name, user.user_id, access_key_id)
            policies = user.identity_policies.items()
            documents = Documents(
                tuple(parse_policy(text, PolicyKind.IDENTITY, name, is_stored=True) for name, text in policies)
            )
        else:
            principal, documents = root_principal(record.account, access_key_id), Documents()
        answer = await self._link.call(
            (self._gate.chore("UnsealAccessKey"),),
            (),
            lambda request_id: UnsealColumn(request_id, SECRET_COLUMN, access_key_id, record.sealed_secret),
            PlaintextAnswer,
        )
        entry = PrincipalEntry(principal, documents, AccessKeySecret(answer.plaintext))
        directory.keep_principal(access_key_id, entry, generation)
        return entry

    async def seal_access_key(
        self, permit: Permit, access_key_id: str, secret: AccessKeySecret, account: str, user_name: str, now_s: float
    ) -> AccessKeyRecord:
        """A record for a new access key; storing it is the caller's act."""
        answer = await self._link.call(
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


def new_access_key_id() -> str:
    """`AKIA` and 16 of AWS's base-32 characters."""
    return "AKIA" + base64.b32encode(os.urandom(10)).decode()


def new_user_id() -> str:
    """`AIDA` and 16 of AWS's base-32 characters."""
    return "AIDA" + base64.b32encode(os.urandom(10)).decode()


def new_secret() -> AccessKeySecret:
    """40 characters of base64, as AWS's are: 240 random bits."""
    return AccessKeySecret(base64.b64encode(os.urandom(30)))
