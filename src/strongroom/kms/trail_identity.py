"""Who asked, as CloudTrail's `userIdentity` has it: from the principal and, of a session, from what it came with.

A token, or any part of it, is never in it. Source: CloudTrail user guide, "CloudTrail userIdentity element".
"""

from __future__ import annotations

from datetime import UTC, datetime

from strongroom.kms.audit.events import (
    SessionAttributes,
    SessionContext,
    SessionIssuer,
    UserIdentity,
    WebIdFederationData,
)
from strongroom.kms.iam.principals import Principal, PrincipalKind
from strongroom.kms.identities.session_tokens import Claims
from strongroom.kms.keys.directory import PrincipalEntry


def user_identity(entry: PrincipalEntry) -> UserIdentity:
    principal = entry.principal
    if principal.kind is PrincipalKind.WEB_IDENTITY:
        return UserIdentity(
            type=principal.kind.value,
            principalId=principal.principal_id,
            # The token's subject; it is no user of ours, whom policies could ask for.
            userName=principal.session_name,
            identityProvider=principal.federated_provider,
        )
    return UserIdentity(
        type=principal.kind.value,
        principalId=principal.principal_id,
        arn=principal.arn,
        accountId=principal.account,
        accessKeyId=principal.access_key_id or None,
        userName=principal.user_name or None,
        sessionContext=None if entry.session is None else _context(principal, entry.session.claims),
    )


def _context(principal: Principal, claims: Claims) -> SessionContext:
    """Nobody has an MFA device here."""
    created = datetime.fromtimestamp(claims.issued_at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    provider = claims.federated_provider
    return SessionContext(
        attributes=SessionAttributes(creationDate=created, mfaAuthenticated="false"),
        sessionIssuer=_issuer(principal, claims),
        webIdFederationData=WebIdFederationData(federatedProvider=provider) if provider else None,
        sourceIdentity=claims.source_identity or None,
    )


def _issuer(principal: Principal, claims: Claims) -> SessionIssuer | None:
    """The role of a role's session, the user or root who federated; a user's own session has none."""
    if claims.kind == "user":
        return None
    own = "Role" if claims.kind == "role" else PrincipalKind.USER.value if claims.name else PrincipalKind.ROOT.value
    return SessionIssuer(
        type=own,
        principalId=claims.unique_id or claims.account,
        arn=principal.issuer_arn,
        accountId=claims.account,
        userName=principal.issuer_arn.rpartition("/")[2] if claims.name else None,
    )
