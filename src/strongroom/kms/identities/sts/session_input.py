"""What a caller may put into a session that begins: policies that limit it, and tags.

Nothing of it is dropped: what a session would have to ignore is refused. Sources: STS API reference, AssumeRole; IAM user
guide, "Session policies", "Pass session tags in AWS STS".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from strongroom.kms.iam.documents import PolicyError, PolicyKind, parse_policy
from strongroom.kms.iam.patterns import fold
from strongroom.kms.identities.aws_policies import AWS
from strongroom.kms.identities.faults import AccessDenied, MalformedPolicyDocument, ValidationError
from strongroom.kms.identities.managed_policies import find_policy, parse_policy_arn
from strongroom.kms.service import Service

POLICY_ARNS_MAX: Final = 10
_RESERVED: Final = "aws:"


class SessionPolicies(msgspec.Struct, frozen=True):
    """The limits that a session is begun with."""

    inline: str | None = None
    arns: tuple[str, ...] = ()


async def require_policies(service: Service, account: str, request: Any) -> SessionPolicies:
    """Inline and managed policies of a request, all of which can be used.

    Raises:
        MalformedPolicyDocument, ValidationError: one of them cannot.
    """
    if request.Policy is not None:
        try:
            parse_policy(request.Policy, PolicyKind.SESSION)
        except PolicyError as error:
            raise MalformedPolicyDocument(str(error)) from None
    arns = tuple(descriptor.arn or "" for descriptor in request.PolicyArns or ())
    if len(arns) > POLICY_ARNS_MAX:
        raise ValidationError(
            "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: "
            f"Member must have length less than or equal to {POLICY_ARNS_MAX}"
        )
    for arn in arns:
        named = parse_policy_arn(arn)
        is_usable = named is not None and named.account in {AWS, account}
        if not is_usable or await find_policy(service.identities, arn) is None:
            raise ValidationError(f"The policy {arn} does not exist, or cannot be used in the account {account}.")
    return SessionPolicies(request.Policy, arns)


def require_tags(
    request: Any, inherited: Mapping[str, str], inherited_keys: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Tags of a new session and which of them the next one will inherit; `inherited` are those of the session that asks.

    Raises:
        ValidationError: a key occurs twice, is AWS's, or was set for good by an earlier session.
    """
    tags = {tag.Key: tag.Value for tag in request.Tags or ()}
    folded = {fold(key) for key in tags}
    if len(folded) != len(request.Tags or ()):
        raise ValidationError("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    if any(key.startswith(_RESERVED) for key in folded):
        raise ValidationError("System tags (with the prefix aws:) cannot be passed.")
    wanted = {fold(key) for key in getattr(request, "TransitiveTagKeys", None) or ()}
    if not wanted <= folded:
        raise ValidationError("The specified transitive tag key must be included in the requested tags.")
    if folded & {fold(key) for key in inherited_keys}:
        raise ValidationError(
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from "
            "the calling session."
        )
    handed_on = {key: value for key, value in inherited.items() if key in inherited_keys}
    return {**tags, **handed_on}, (*inherited_keys, *(key for key in tags if fold(key) in wanted))


def require_no_mfa(request: Any) -> None:
    """Nobody has an MFA device here, so that none can be right.

    Raises:
        AccessDenied: one is named.
    """
    if request.SerialNumber is not None or request.TokenCode is not None:
        raise AccessDenied(
            "MultiFactorAuthentication failed, unable to validate MFA code. Please verify your MFA serial number is valid "
            "and associated with this user."
        )
