"""Temporary credentials in use: whose they are now, and that they still count.

Invariants:
- What a session may do is looked up when a worker sees it first, and again after any identity changed: a role that is
  gone, or that was made anew under its old name, has no sessions.
- Expiry and token are looked at with every request, beside the signature.
- Permanent keys come without a token: one beside them is refused, as everything is that a caller says of itself and nobody
  looks at.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from strongroom.kms.iam.patterns import fold
from strongroom.kms.iam.principals import federated_user_principal, role_session_principal
from strongroom.kms.identities.arns import arn_of
from strongroom.kms.identities.faults import AccessDenied, InvalidClientTokenId
from strongroom.kms.identities.lookup import Identity, Lookup
from strongroom.kms.identities.records import RoleRecord, UserRecord
from strongroom.kms.identities.session_tokens import Claims, Session
from strongroom.protocol.sigv4 import Refused

TEMPORARY: Final = "ASIA"
TEMPORARY_ID: Final = re.compile(r"ASIA[A-Z2-7]{16}", re.ASCII)
TOKEN_HEADER: Final = b"x-amz-security-token"
INVALID: Final = "The security token included in the request is invalid."
EXPIRED: Final = "The security token included in the request is expired"


# What sessions may ask of STS; of IAM, only a role's may ask anything (STS API reference, "Permissions" of each operation).
_STS_OF_USERS: Final = frozenset({"AssumeRole", "GetCallerIdentity"})
_STS_OF_FEDERATED: Final = frozenset({"GetCallerIdentity"})
_STS_NOT_OF_ROLES: Final = frozenset({"GetFederationToken", "GetSessionToken"})


def require_may_call(service: str, operation: str, session: Session | None) -> None:
    """Sessions are not for everything, whatever their policies say.

    Raises:
        AccessDenied, InvalidClientTokenId: as AWS has it.
    """
    if session is None:
        return
    kind = session.claims.kind
    if service == "iam":
        if kind != "role":
            raise InvalidClientTokenId(INVALID)
        return
    match kind:
        case "role":
            is_allowed = operation not in _STS_NOT_OF_ROLES
        case "user":
            is_allowed = operation in _STS_OF_USERS
        case "federated":
            is_allowed = operation in _STS_OF_FEDERATED
    if not is_allowed:
        raise AccessDenied(f"Cannot call {operation} with session credentials")


def require_unexpired(claims: Claims, now_s: float) -> None:
    if now_s >= claims.expires_at_s:
        raise Refused("ExpiredTokenException", EXPIRED)


def require_session(session: Session | None, token: bytes | None, now_s: float) -> None:
    """A verified request's token is that of its access key: none for a permanent key, and for a temporary one its own."""
    if session is None or token is None or not hmac.compare_digest(session.token, token):
        raise Refused("UnrecognizedClientException", INVALID)
    require_unexpired(session.claims, now_s)


async def session_holder(lookup: Lookup, access_key_id: str, claims: Claims) -> Identity | None:
    """Who holds a session, with what he may do now; None where its role or user is gone."""
    if claims.kind == "role":
        return await _role_session(lookup, access_key_id, claims)
    issued_at_s = float(claims.issued_at_s)
    if claims.name:
        # He may be called otherwise by now.
        user = await lookup.store.with_unique_id(UserRecord, claims.unique_id)
        if user is None or user.account != claims.account:
            return None
        owner = await lookup.user(user, access_key_id, issued_at_s)
    else:
        owner = await lookup.root(claims.account, access_key_id, issued_at_s)
    if owner is None or claims.kind == "user":
        return owner
    principal = federated_user_principal(
        owner.principal,
        claims.session_name,
        access_key_id,
        tags=merged_tags(owner.principal.tags, claims.tags),
        issued_at_s=issued_at_s,
    )
    passed = await lookup.session_policies(claims.policy, claims.policy_arns)
    return Identity(principal, msgspec.structs.replace(owner.documents, session=passed))


async def _role_session(lookup: Lookup, access_key_id: str, claims: Claims) -> Identity | None:
    role = await lookup.store.get(RoleRecord, claims.account, claims.name)
    if role is None or role.role_id != claims.unique_id:
        return None
    documents = await lookup.role_documents(role)
    if documents is None:
        return None
    principal = role_session_principal(
        arn_of(role),
        role.role_id,
        claims.session_name,
        access_key_id,
        tags=merged_tags(role.tags, claims.tags),
        source_identity=claims.source_identity,
        federated_provider=claims.federated_provider,
        issued_at_s=float(claims.issued_at_s),
    )
    passed = await lookup.session_policies(claims.policy, claims.policy_arns)
    return Identity(principal, msgspec.structs.replace(documents, session=passed))


def merged_tags(own: Mapping[str, str], over: Mapping[str, str]) -> dict[str, str]:
    """Tags with others over them: of tags, keys are the same in whatever case (IAM user guide, "Pass session tags")."""
    covered = {fold(key) for key in over}
    return {**{key: value for key, value in own.items() if fold(key) not in covered}, **over}
