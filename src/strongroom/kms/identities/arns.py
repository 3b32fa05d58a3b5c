"""How the ARNs of identities are put together: the account, the kind, the path and the name.

What does not exist has the ARN that it would have at the top: a caller may be allowed to make it, or to hear that it is
not there. Those of policies are made in `managed_policies.py`. Source: IAM user guide, "IAM identifiers".
"""

from __future__ import annotations

from typing import Final

import msgspec

from strongroom.kms.identities.records import GroupRecord, RoleRecord, UserRecord

ROOT_PATH: Final = "/"
Named = UserRecord | GroupRecord | RoleRecord

_KINDS: Final[dict[type[msgspec.Struct], str]] = {UserRecord: "user", GroupRecord: "group", RoleRecord: "role"}


def path_of(record: Named) -> str:
    """Users of the first versions have none in their records."""
    return record.path or ROOT_PATH


def arn_of(record: Named) -> str:
    return identity_arn(type(record), record.account, record.name, path_of(record))


def identity_arn(kind: type[msgspec.Struct], account: str, name: str, path: str | None = None) -> str:
    """The ARN of what may not exist (yet)."""
    return f"arn:aws:iam::{account}:{_KINDS[kind]}{path or ROOT_PATH}{name}"
