"""The managed policies that AWS itself provides, as far as they say something about what is here.

Each has AWS's ARN, id, dates, default version and actions; older versions are left out, as nobody can attach them. Of
services that are not here they say what AWS's documents say: an action that nobody can ask for allows nothing.

AWS's ReadOnlyAccess is not among them: it lists some thousand actions of hundreds of services and grows every week, and a
part of it under its name would be another policy than the one that its readers know.

Source: AWS managed policy reference guide, the page of each.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from strongroom.kms.identities.records import ManagedPolicyRecord, PolicyVersion

# Whose they are: what stands in their ARNs where another policy has its account's number.
AWS: Final = "aws"


def _allow(**more: str | list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", **more, "Resource": "*"}


def _policy(
    name: str,
    policy_id: str,
    description: str,
    number: int,
    created: datetime,
    updated: datetime,
    *statements: dict[str, Any],
) -> ManagedPolicyRecord:
    document = json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)
    return ManagedPolicyRecord(
        account=AWS,
        name=name,
        version=1,
        policy_id=policy_id,
        path="/",
        description=description,
        versions=(PolicyVersion(number, document, updated.timestamp()),),
        default_number=number,
        last_number=number,
        tags={},
        created_at_s=created.timestamp(),
        updated_at_s=updated.timestamp(),
    )


_FIRST_DAY: Final = datetime(2015, 2, 6, 18, 39, 46, tzinfo=UTC)

_ALL: Final = (
    _policy(
        "AWSKeyManagementServicePowerUser",
        "ANPAJNPP7PPPPMJRV2SA4",
        "Provides access to AWS Key Management Service (KMS).",
        2,
        datetime(2015, 2, 6, 18, 40, 40, tzinfo=UTC),
        datetime(2017, 3, 7, 0, 55, 11, tzinfo=UTC),
        _allow(
            Action=[
                *("kms:CreateAlias", "kms:CreateKey", "kms:DeleteAlias", "kms:Describe*", "kms:GenerateRandom"),
                *("kms:Get*", "kms:List*", "kms:TagResource", "kms:UntagResource"),
                *("iam:ListGroups", "iam:ListRoles", "iam:ListUsers"),
            ]
        ),
    ),
    _policy(
        "AdministratorAccess",
        "ANPAIWMBCKSKIEE64ZLYK",
        "Provides full access to AWS services and resources.",
        1,
        _FIRST_DAY,
        _FIRST_DAY,
        _allow(Action="*"),
    ),
    _policy(
        "IAMFullAccess",
        "ANPAI7XKCFMBPM3QQRRVQ",
        "Provides full access to IAM via the AWS Management Console.",
        2,
        datetime(2015, 2, 6, 18, 40, 38, tzinfo=UTC),
        datetime(2019, 6, 21, 19, 40, 0, tzinfo=UTC),
        _allow(
            Action=[
                "iam:*",
                *("organizations:DescribeAccount", "organizations:DescribeOrganization"),
                *("organizations:DescribeOrganizationalUnit", "organizations:DescribePolicy"),
                *("organizations:ListChildren", "organizations:ListParents", "organizations:ListPoliciesForTarget"),
                *("organizations:ListRoots", "organizations:ListPolicies", "organizations:ListTargetsForPolicy"),
            ]
        ),
    ),
    _policy(
        "IAMReadOnlyAccess",
        "ANPAJKSO7NDY4T57MWDSQ",
        "Provides read only access to IAM via the AWS Management Console.",
        4,
        datetime(2015, 2, 6, 18, 40, 39, tzinfo=UTC),
        datetime(2018, 1, 25, 19, 11, 27, tzinfo=UTC),
        _allow(
            Action=[
                *("iam:GenerateCredentialReport", "iam:GenerateServiceLastAccessedDetails", "iam:Get*", "iam:List*"),
                *("iam:SimulateCustomPolicy", "iam:SimulatePrincipalPolicy"),
            ]
        ),
    ),
    _policy(
        "PowerUserAccess",
        "ANPAJYRXTHIB4FOVS3ZXS",
        "Provides full access to AWS services and resources, but does not allow management of Users and groups.",
        12,
        datetime(2015, 2, 6, 18, 39, 47, tzinfo=UTC),
        datetime(2026, 2, 12, 17, 59, 0, tzinfo=UTC),
        _allow(NotAction=["iam:*", "organizations:*", "account:*"]),
        _allow(
            Action=[
                *("account:GetAccountInformation", "account:GetGovCloudAccountInformation"),
                *("account:GetPrimaryEmail", "account:ListRegions"),
                *("iam:CreateServiceLinkedRole", "iam:DeleteServiceLinkedRole", "iam:ListRoles"),
                *("organizations:DescribeEffectivePolicy", "organizations:DescribeOrganization"),
            ]
        ),
    ),
)

# By their names, in the order of these.
AWS_POLICIES: Final = {policy.name: policy for policy in _ALL}
