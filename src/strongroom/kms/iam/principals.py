"""Who asks: the identity that was verified, and by which names policies may call it.

| kind | ARN | is called by a policy |
|---|---|---|
| the account's root | `arn:aws:iam::ACCOUNT:root` | the account |
| a user | `arn:aws:iam::ACCOUNT:user/NAME` | its ARN, its account |
| a role's session | `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION` | its ARN, its role's ARN, its account |
| a federated user | `arn:aws:sts::ACCOUNT:federated-user/NAME` | its ARN, its user's ARN, its account |
| who holds a web identity | the provider | the provider, in the trust policy of a role |
| a service | its name, `s3.amazonaws.com` | its name |

A document that was saved while a user or role existed calls it, and its sessions, by its unique id from then on: whoever
has the name later is somebody else. Conditions (`aws:PrincipalArn`) go by names alone.

Everybody in this table is also called by `*`. Operators and the service itself are no principals of AWS: no policy names
them, not even with `*`. The identity that was verified is the identity that is evaluated: one object, never parsed again.
Sources: IAM user guide, "AWS JSON policy elements: Principal", "IAM identifiers" (unique identifiers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final

import msgspec


class PrincipalKind(StrEnum):
    """Spelled as CloudTrail's userIdentity.type spells it."""

    ROOT = "Root"
    USER = "IAMUser"
    ROLE_SESSION = "AssumedRole"
    FEDERATED_USER = "FederatedUser"
    # Before it has a session: only role trust policies are asked about it.
    WEB_IDENTITY = "WebIdentityUser"
    # A service that acts for itself, such as a gateway with a grant.
    AWS_SERVICE = "AWSService"
    # An operator at the admin socket, known by its user id: no AWS principal, and no key policy names it.
    OPERATOR = "StrongroomOperator"
    # The service's own chores (audit heads, unsealing what it needs to run).
    SERVICE = "StrongroomService"


_ACCOUNT: Final = re.compile(r"[0-9]{12}", re.ASCII)
# Of a user, of a role, of a role's session: as GetCallerIdentity tells a UserId.
_UNIQUE_ID: Final = re.compile(r"(?:AIDA[A-Z0-9]{16,124}|AROA[A-Z0-9]{16,124}(?::[\w+=,.@-]{1,64})?)", re.ASCII)
_NAMED_BY_NOBODY: Final = frozenset({PrincipalKind.OPERATOR, PrincipalKind.SERVICE})


class Principal(msgspec.Struct, frozen=True):
    """An identity. Which fields count depends on the kind; the constructors below fill them in."""

    kind: PrincipalKind
    account: str
    arn: str
    principal_id: str
    user_name: str = ""
    access_key_id: str = ""
    # Behind a session: the ARN and the unique id of the role, or of the user (or root) who federated.
    issuer_arn: str = ""
    issuer_id: str = ""
    session_name: str = ""
    source_identity: str = ""
    # The tags of the user or role and, where a session carries tags, those over them.
    tags: Mapping[str, str] = {}
    # Who vouched for a web identity.
    federated_provider: str = ""
    # When temporary credentials were issued.
    issued_at_s: float | None = None

    @property
    def identified(self) -> tuple[tuple[str, str], ...]:
        """By ARN and by unique id: itself and the role or user behind it, as far as they have ids that are kept."""
        both = ((self.arn, self.principal_id), (self.issuer_arn, self.issuer_id))
        return tuple((arn, unique_id) for arn, unique_id in both if is_unique_id(unique_id))

    @property
    def grantee_names(self) -> tuple[str, ...]:
        """What grants that are for it, or for the role or user behind it, may call their grantee."""
        arns = (self.arn, self.issuer_arn) if self.issuer_arn else (self.arn,)
        return *arns, *(unique_id for _, unique_id in self.identified)


class Naming(IntEnum):
    """How a policy calls somebody, the weakest way first."""

    NOT = 0
    # Through the account: identity policies must agree.
    ACCOUNT = 1
    # Through the role or user behind a session: the session's limits stay.
    ISSUER = 2
    # By its own name, or `*`.
    ITSELF = 3


class Named(msgspec.Struct, frozen=True):
    """The principals of one statement."""

    everybody: bool = False
    accounts: frozenset[str] = frozenset()
    arns: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    # By unique id, what the document calls whoever had it when it was saved: an ARN, or the id itself.
    ids: Mapping[str, str] = {}

    def bound(self, ids: Mapping[str, str]) -> Named:
        """With these ARNs meaning those whose unique ids these are, and nobody who is called so later."""
        names = self.arns & ids.keys()
        return msgspec.structs.replace(
            self, arns=self.arns - names, ids={**self.ids, **{ids[name]: name for name in names}}
        )

    def naming(self, principal: Principal) -> Naming:
        if self.everybody:
            return Naming.NOT if principal.kind in _NAMED_BY_NOBODY else Naming.ITSELF
        match principal.kind:
            case PrincipalKind.ROOT | PrincipalKind.USER | PrincipalKind.ROLE_SESSION | PrincipalKind.FEDERATED_USER:
                if self._lists(principal.arn, principal.principal_id):
                    return Naming.ITSELF
                if self._lists(principal.issuer_arn, principal.issuer_id):
                    return Naming.ISSUER
                return Naming.ACCOUNT if principal.account in self.accounts else Naming.NOT
            case PrincipalKind.AWS_SERVICE:
                return Naming.ITSELF if principal.arn in self.services else Naming.NOT
            case PrincipalKind.WEB_IDENTITY:
                return Naming.ITSELF if principal.federated_provider in self.providers else Naming.NOT
            case PrincipalKind.OPERATOR | PrincipalKind.SERVICE:
                return Naming.NOT

    def excepts(self, principal: Principal) -> bool:
        """Whether a NotPrincipal of these leaves somebody out: only if it lists every name that the principal has.

        IAM user guide, "NotPrincipal with Deny": AWS validates the account, then the role, then the session; whoever
        leaves one of them out denies it, and with it everybody behind it.
        """
        if self.everybody:
            return True
        match principal.kind:
            case PrincipalKind.ROOT | PrincipalKind.USER | PrincipalKind.ROLE_SESSION | PrincipalKind.FEDERATED_USER:
                # The root has no other name than its account's.
                nobody = {"", root_arn(principal.account)}
                steps = ((principal.arn, principal.principal_id), (principal.issuer_arn, principal.issuer_id))
                return principal.account in self.accounts and all(
                    arn in nobody or self._lists(arn, unique_id) for arn, unique_id in steps
                )
            case _:
                return self.naming(principal) is not Naming.NOT

    def _lists(self, arn: str, unique_id: str) -> bool:
        return arn in self.arns or unique_id in self.ids


def is_unique_id(name: str) -> bool:
    """Whether this is how a user, a role or a role's session is called by id; no ARN and no service's name is."""
    return _UNIQUE_ID.fullmatch(name) is not None


def root_arn(account: str) -> str:
    return f"arn:aws:iam::{account}:root"


def principal_arn(name: str) -> str:
    """Who is named by an ARN, or an account by its number, as grants take them."""
    return root_arn(name) if _ACCOUNT.fullmatch(name) else name


def user_arn(account: str, name: str) -> str:
    """`name` with the user's path in front, if it has one."""
    return f"arn:aws:iam::{account}:user/{name}"


def role_arn(account: str, name: str) -> str:
    """`name` with the role's path in front, if it has one."""
    return f"arn:aws:iam::{account}:role/{name}"


def session_arn(account: str, role_name: str, session_name: str) -> str:
    """Of a role's session; the role's path is no part of it."""
    return f"arn:aws:sts::{account}:assumed-role/{role_name}/{session_name}"


def federated_user_arn(account: str, name: str) -> str:
    return f"arn:aws:sts::{account}:federated-user/{name}"


def root_principal(account: str, access_key_id: str, *, issued_at_s: float | None = None) -> Principal:
    return Principal(
        PrincipalKind.ROOT, account, root_arn(account), account, "", access_key_id, issued_at_s=issued_at_s
    )


def user_principal(
    account: str,
    name: str,
    user_id: str,
    access_key_id: str,
    tags: Mapping[str, str] | None = None,
    *,
    path: str = "/",
    issued_at_s: float | None = None,
) -> Principal:
    return Principal(
        PrincipalKind.USER,
        account,
        user_arn(account, path[1:] + name),
        user_id,
        name,
        access_key_id,
        tags=tags or {},
        issued_at_s=issued_at_s,
    )


def role_session_principal(
    role: str,
    role_id: str,
    session_name: str,
    access_key_id: str,
    *,
    tags: Mapping[str, str] | None = None,
    source_identity: str = "",
    federated_provider: str = "",
    issued_at_s: float | None = None,
) -> Principal:
    """A session of the role with this ARN; `tags` are the role's with the session's over them."""
    account, name = role.split(":")[4], role.rsplit("/", 1)[1]
    return Principal(
        PrincipalKind.ROLE_SESSION,
        account,
        session_arn(account, name, session_name),
        f"{role_id}:{session_name}",
        "",
        access_key_id,
        issuer_arn=role,
        issuer_id=role_id,
        session_name=session_name,
        source_identity=source_identity,
        tags=tags or {},
        federated_provider=federated_provider,
        issued_at_s=issued_at_s,
    )


def federated_user_principal(
    user: Principal,
    name: str,
    access_key_id: str,
    *,
    tags: Mapping[str, str] | None = None,
    issued_at_s: float | None = None,
) -> Principal:
    """A session that a user, or the root, got for somebody called `name`."""
    return Principal(
        PrincipalKind.FEDERATED_USER,
        user.account,
        federated_user_arn(user.account, name),
        f"{user.account}:{name}",
        "",
        access_key_id,
        issuer_arn=user.arn,
        issuer_id=user.principal_id,
        session_name=name,
        tags=tags or {},
        issued_at_s=issued_at_s,
    )


def web_identity_principal(provider: str, subject: str, account: str) -> Principal:
    """Somebody for whom a provider vouches, before a role is assumed; `account` is the role's."""
    return Principal(
        PrincipalKind.WEB_IDENTITY,
        account,
        f"{provider}:{subject}",
        f"{provider}:{subject}",
        federated_provider=provider,
    )


def service_principal(name: str) -> Principal:
    """A service by its name; it belongs to no account."""
    return Principal(PrincipalKind.AWS_SERVICE, "", name, name)
