"""Who signed a request: the account's root or one of its users."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class PrincipalKind(StrEnum):
    """Spelled as CloudTrail's userIdentity.type spells it."""

    ROOT = "Root"
    USER = "IAMUser"
    # An operator at the admin socket, known by its user id: no AWS principal, and no key policy names it.
    OPERATOR = "StrongroomOperator"
    # The service's own chores (audit heads, unsealing what it needs to run).
    SERVICE = "StrongroomService"


class Principal(msgspec.Struct, frozen=True):
    """The identity that was verified is the identity that is evaluated: one object, never parsed again."""

    kind: PrincipalKind
    account: str
    arn: str
    principal_id: str
    user_name: str = ""
    access_key_id: str = ""


def root_arn(account: str) -> str:
    return f"arn:aws:iam::{account}:root"


def user_arn(account: str, name: str) -> str:
    return f"arn:aws:iam::{account}:user/{name}"


def root_principal(account: str, access_key_id: str) -> Principal:
    return Principal(PrincipalKind.ROOT, account, root_arn(account), account, "", access_key_id)


def user_principal(account: str, name: str, user_id: str, access_key_id: str) -> Principal:
    return Principal(PrincipalKind.USER, account, user_arn(account, name), user_id, name, access_key_id)
