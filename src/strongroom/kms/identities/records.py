"""What is kept of identities. All of it lies in the home region's store, whatever region it is used in.

Names are unique within an account, and those of new records in whatever case (IAM user guide, "IAM and AWS STS quotas").
Documents are kept as written; managed policies are named by their ARNs.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class AccessKeyStatus(StrEnum):
    """Spelled as IAM spells it."""

    ACTIVE = "Active"
    INACTIVE = "Inactive"


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An account beside the home's main account, which needs no record."""

    account: str
    version: int
    name: str
    created_at_s: float


class UserRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An IAM user with its inline policies (name to document text); None means that there is none of a kind."""

    account: str
    name: str
    version: int
    user_id: str
    identity_policies: dict[str, str]
    created_at_s: float
    path: str | None = None
    tags: dict[str, str] | None = None
    # Names of groups of the same account.
    groups: tuple[str, ...] | None = None
    attached_policies: tuple[str, ...] | None = None
    boundary_arn: str | None = None


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A group of users; who is in it, the users' records say."""

    account: str
    name: str
    version: int
    group_id: str
    path: str
    identity_policies: dict[str, str]
    attached_policies: tuple[str, ...]
    created_at_s: float


class RoleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A role: who may assume it says its trust policy, what its sessions may say its identity policies."""

    account: str
    name: str
    version: int
    role_id: str
    path: str
    description: str
    trust_policy: str
    max_session_s: int
    identity_policies: dict[str, str]
    attached_policies: tuple[str, ...]
    tags: dict[str, str]
    created_at_s: float
    boundary_arn: str | None = None
    # By the ARNs that the trust policy names, the unique ids that these users, roles and sessions had when it was saved.
    principal_ids: dict[str, str] | None = None


class PolicyVersion(msgspec.Struct, frozen=True):
    """One version of a managed policy; `number` is the one behind the `v`."""

    number: int
    document: str
    created_at_s: float


class ManagedPolicyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A customer managed policy; `last_number` was given to the newest version ever, which may be gone."""

    account: str
    name: str
    version: int
    policy_id: str
    path: str
    description: str
    versions: tuple[PolicyVersion, ...]
    default_number: int
    last_number: int
    tags: dict[str, str]
    created_at_s: float
    updated_at_s: float


class AccessKeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An access key; `user_name` is empty for the account's root. The secret is sealed by the HSM."""

    access_key_id: str
    version: int
    account: str
    user_name: str
    status: AccessKeyStatus
    sealed_secret: bytes
    created_at_s: float


class AccessKeyUsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """When an access key was used last, as GetAccessKeyLastUsed tells it."""

    access_key_id: str
    version: int
    used_at_s: float
    service: str
    region: str
