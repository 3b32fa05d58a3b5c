"""GetAccountSummary: how many of what an account has, and how many it may have."""

from __future__ import annotations

from typing import Any, Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.access_keys import ACCESS_KEYS_MAX
from strongroom.kms.identities.operations.finding import find_nothing, own_action
from strongroom.kms.identities.operations.groups import GROUPS_PER_USER_MAX
from strongroom.kms.identities.operations.holders import GROUP, ROLE, USER
from strongroom.kms.identities.records import GroupRecord, ManagedPolicyRecord, RoleRecord, UserRecord
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import GetAccountSummaryRequest, GetAccountSummaryResponse, summaryKeyTypeShape

# What AWS counts and nobody has here.
_NONE: Final[tuple[summaryKeyTypeShape, ...]] = (
    *("AccountMFAEnabled", "AccountPasswordPresent", "AccountSigningCertificatesPresent", "InstanceProfiles"),
    *("MFADevices", "MFADevicesInUse", "Providers", "ServerCertificates"),
)


def on_account(call: Call, request: Any, found: None) -> tuple[OnIdentity, ...]:
    return (OnIdentity(own_action(call), "*"),)


async def get_account_summary(
    service: Service, call: Call, request: GetAccountSummaryRequest, found: None
) -> GetAccountSummaryResponse:
    identities, limits = service.identities, service.limits
    of_root = await identities.list_access_keys(call.account, "")
    return GetAccountSummaryResponse(
        SummaryMap={
            **dict.fromkeys(_NONE, 0),
            "AccessKeysPerUserQuota": ACCESS_KEYS_MAX,
            "AccountAccessKeysPresent": int(bool(of_root)),
            "AttachedPoliciesPerGroupQuota": limits.attached_policies_max,
            "AttachedPoliciesPerRoleQuota": limits.attached_policies_max,
            "AttachedPoliciesPerUserQuota": limits.attached_policies_max,
            "AssumeRolePolicySizeQuota": limits.trust_policy_chars_max,
            "GroupPolicySizeQuota": GROUP.inline_chars_max,
            "Groups": await identities.count_named(GroupRecord, call.account),
            "GroupsPerUserQuota": GROUPS_PER_USER_MAX,
            "GroupsQuota": limits.groups_max,
            "Policies": await identities.count_named(ManagedPolicyRecord, call.account),
            "PoliciesQuota": limits.managed_policies_max,
            "RolePolicySizeQuota": ROLE.inline_chars_max,
            "Roles": await identities.count_named(RoleRecord, call.account),
            "RolesQuota": limits.roles_max,
            "UserPolicySizeQuota": USER.inline_chars_max,
            "Users": await identities.count_named(UserRecord, call.account),
            "UsersQuota": limits.users_max,
        }
    )


ROWS: Final = {"GetAccountSummary": Operation(find_nothing, on_account, get_account_summary)}
