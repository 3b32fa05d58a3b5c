"""Whether a principal may perform an action on a resource: one numbered procedure, one pure function.

1. an explicit Deny in any document that applies → denied
2. the key policy allows and names the principal itself → allowed
3. the key policy allows and names the account, and an identity policy allows → allowed (the account's root needs none)
4. no key is concerned, and an identity policy allows → allowed (likewise)
5. → denied

KMS differs from other services in 3: without the key policy's word not even an administrator may use a key (KMS developer
guide, "Determining access to KMS keys"). Limiting layers, conditions, grants and other accounts join as steps of this list.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from strongroom.kms.iam.documents import PolicyDocument, Statement
from strongroom.kms.iam.principals import Principal, PrincipalKind, root_arn


class Question(msgspec.Struct, frozen=True):
    """What is asked, with the documents that apply; `key_policy` is None where no key is concerned."""

    principal: Principal
    action: str
    resource_arn: str
    key_policy: PolicyDocument | None
    identity_policies: tuple[PolicyDocument, ...]


class Decision(msgspec.Struct, frozen=True):
    """Allowed or not; `reason` completes AWS's sentence about a refusal."""

    allowed: bool
    reason: str


_ALLOWED = Decision(allowed=True, reason="")


def _applies(statement: Statement, question: Question) -> bool:
    return any(pattern.matches(question.action) for pattern in statement.actions) and any(
        pattern.matches(question.resource_arn) for pattern in statement.resources
    )


def _names_itself(statement: Statement, principal: Principal) -> bool:
    return any(named in {"*", principal.arn} for named in statement.principals)


def _names_account(statement: Statement, principal: Principal) -> bool:
    return any(named in {principal.account, root_arn(principal.account)} for named in statement.principals)


def _statements(documents: Iterable[PolicyDocument]) -> list[Statement]:
    return [statement for document in documents for statement in document.statements]


def evaluate(question: Question) -> Decision:
    principal = question.principal
    in_key_policy = [
        statement
        for statement in (question.key_policy.statements if question.key_policy else ())
        if _applies(statement, question)
        and (_names_itself(statement, principal) or _names_account(statement, principal))
    ]
    in_identity = [s for s in _statements(question.identity_policies) if _applies(s, question)]
    if any(not statement.allows for statement in in_identity):  # 1
        return Decision(allowed=False, reason="with an explicit deny in an identity-based policy")
    if any(not statement.allows for statement in in_key_policy):
        return Decision(allowed=False, reason="with an explicit deny in a resource-based policy")
    if any(_names_itself(statement, principal) for statement in in_key_policy):  # 2
        return _ALLOWED
    identity_allows = principal.kind is PrincipalKind.ROOT or bool(in_identity)
    if question.key_policy is None or in_key_policy:  # 3, 4
        if identity_allows:
            return _ALLOWED
        reason = f"because no identity-based policy allows the {question.action} action"
        return Decision(allowed=False, reason=reason)
    reason = f"because no resource-based policy allows the {question.action} action"
    return Decision(allowed=False, reason=reason)  # 5


def refusal_message(question: Question, decision: Decision) -> str:
    """AWS's sentence (IAM user guide, "Troubleshoot access denied error messages")."""
    return (
        f"User: {question.principal.arn} is not authorized to perform: {question.action} "
        f"on resource: {question.resource_arn} {decision.reason}"
    )
