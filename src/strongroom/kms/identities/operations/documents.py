"""Policy documents as IAM's operations take them: understood in full, no longer than their quota, naming who exists.

IAM counts no white space (IAM user guide, "IAM and AWS STS quotas"); the model and the parser bound a document with it.
"""

from __future__ import annotations

from typing import Final

from strongroom.kms.iam.documents import PolicyDocument, PolicyError, PolicyKind, Statement, parse_policy
from strongroom.kms.iam.patterns import fold
from strongroom.kms.iam.principals import root_arn
from strongroom.kms.identities.existence import Existence, MissingPrincipalError
from strongroom.kms.identities.faults import LimitExceeded, MalformedPolicyDocument
from strongroom.kms.service import Service

# The quota of managed policies, which cannot be raised.
MANAGED_CHARS_MAX: Final = 6_144


def chars_of(text: str) -> int:
    """How long IAM says that a document is."""
    return len("".join(text.split()))


def require_document(text: str, kind: PolicyKind = PolicyKind.IDENTITY) -> PolicyDocument:
    """The parsed document.

    Raises:
        MalformedPolicyDocument: with the place of what is wrong.
    """
    try:
        return parse_policy(text, kind)
    except PolicyError as error:
        raise MalformedPolicyDocument(str(error)) from None


def require_managed_document(text: str) -> None:
    """What a version of a managed policy can say, too when it is used as a boundary.

    Raises:
        LimitExceeded, MalformedPolicyDocument: in AWS's words.
    """
    if chars_of(text) > MANAGED_CHARS_MAX:
        raise LimitExceeded(f"Cannot exceed quota for PolicySize: {MANAGED_CHARS_MAX}")
    require_document(text)


async def require_trust_policy(service: Service, text: str) -> dict[str, str] | None:
    """The unique ids of those whom a role's trust policy names: 1. its length, 2. what it says, 3. of what, 4. of whom.

    Raises:
        LimitExceeded, MalformedPolicyDocument: in AWS's words.
    """
    chars_max = service.limits.trust_policy_chars_max
    if chars_of(text) > chars_max:  # 1
        raise LimitExceeded(f"Cannot exceed quota for ACLSizePerRole: {chars_max}")
    document = require_document(text, PolicyKind.TRUST)  # 2
    if not all(_is_about_sessions(statement) for statement in document.statements):  # 3
        raise MalformedPolicyDocument("AssumeRole policy may only specify STS AssumeRole actions.")
    try:  # 4
        return await Existence(service.identities, service.main_account).bindings(document)
    except MissingPrincipalError as missing:
        written = _as_written(str(missing), text)
        raise MalformedPolicyDocument(f'Invalid principal in policy: "AWS":"{written}"') from None


def _is_about_sessions(statement: Statement) -> bool:
    return all(fold(action).startswith("sts:") for action in statement.actions.texts)


def _as_written(missing: str, text: str) -> str:
    """An account may be called by its number or by its root's ARN; a caller is told what he wrote."""
    root = root_arn(missing)
    return root if root in text else missing
