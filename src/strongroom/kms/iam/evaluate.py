"""Whether a principal may perform an action on a resource: one numbered procedure, one pure function.

A *limit* is a document that allows nothing by itself: a service control policy (SCP), a permissions boundary, a session
policy. A resource control policy (RCP) can only deny. The *resource's policy* is a key policy, or a role's trust policy.

1. an explicit Deny in any document that applies → denied
2. a level of SCPs that does not allow → denied, the account's root too; services are under no SCP
3. the resource's policy, or a grant, names the principal itself → the resource's half, and in one account it is enough: what
   boundary and session policies do not allow is allowed to the user or session that is named
4. the resource's policy, or a grant, names the role or user behind a session → the resource's half; in one account it is
   enough if boundary and session policies allow
5. the resource's policy names the principal's account → the resource's half, if an identity policy allows, too (the root
   needs none), and boundary and session policies allow
6. the resource has no policy (no key is concerned) → an identity policy, boundary and session policies must allow
7. the resource is another account's → besides one of 3 to 5, the caller's account must let its principal: an identity
   policy, or a grant that it made itself, and boundary and session policies must allow
8. → denied

KMS differs from other services in 3 to 5: without the key policy's word not even an administrator may use a key. Sources:
IAM user guide, "How AWS enforcement code logic evaluates requests", "Cross-account policy evaluation logic"; KMS developer
guide, "Troubleshooting AWS KMS permissions" (key trust), "Key policies in AWS KMS".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Final

import msgspec

from strongroom.kms.iam.documents import PolicyDocument, PolicyKind, Statement
from strongroom.kms.iam.grants import Grant
from strongroom.kms.iam.patterns import Context, fold
from strongroom.kms.iam.principals import Naming, Principal, PrincipalKind, root_arn

Levels = tuple[tuple[PolicyDocument, ...], ...]


class Documents(msgspec.Struct, frozen=True):
    """The documents of a principal.

    `session` is None where no session policy was passed. `service_controls` are the levels of its organisation from the
    root to the account, each of which must allow.
    """

    identity: tuple[PolicyDocument, ...] = ()
    boundary: PolicyDocument | None = None
    session: tuple[PolicyDocument, ...] | None = None
    service_controls: Levels = ()

    def all(self) -> Iterator[PolicyDocument]:
        """Every one of them, in the order in which a refusal names them."""
        for level in self.service_controls:
            yield from level
        yield from self.identity
        if self.boundary is not None:
            yield self.boundary
        yield from self.session or ()


class NoContext:
    """A request that says nothing of itself."""

    def values_of(self, key: str) -> None:
        """No key has a value."""


NO_CONTEXT: Final = NoContext()


class Question(msgspec.Struct, frozen=True):
    """What is asked, with everything that decides.

    `resource_policy` is None where the resource can have none; a resource of which nobody knows has `NO_POLICY`.
    `resource_account` is whose it is; empty means the principal's.
    """

    principal: Principal
    documents: Documents
    action: str
    resource_arn: str
    resource_policy: PolicyDocument | None = None
    resource_account: str = ""
    resource_controls: tuple[PolicyDocument, ...] = ()
    grants: tuple[Grant, ...] = ()
    context: Context = NO_CONTEXT

    @property
    def is_cross_account(self) -> bool:
        """Services belong to no account: what they ask for is always in one."""
        return (
            self.resource_account not in {"", self.principal.account}
            and self.principal.kind is not PrincipalKind.AWS_SERVICE
        )


# The policy of a resource that does not exist: whoever asks for one of another account must not learn that.
NO_POLICY: Final = PolicyDocument(PolicyKind.KEY, ())
NO_TRUST: Final = PolicyDocument(PolicyKind.TRUST, ())


class Verdict(Enum):
    ALLOWED = "allowed"
    EXPLICIT_DENY = "explicit deny"
    IMPLICIT_DENY = "implicit deny"


class Decision(msgspec.Struct, frozen=True):
    """`source` is the kind of policy that decided, None where a grant did.

    `reason` completes AWS's sentence of a refusal. It is what the caller is told, which is less than the rest where the
    resource is another account's.
    """

    allowed: bool
    reason: str
    verdict: Verdict
    source: PolicyKind | None


# IAM user guide, "Access denied error message examples"; "a session policy" is what services say.
_TYPES: Final[dict[PolicyKind, str]] = {
    PolicyKind.SERVICE_CONTROL: "service control policy",
    PolicyKind.RESOURCE_CONTROL: "resource control policy",
    PolicyKind.IDENTITY: "identity-based policy",
    PolicyKind.BOUNDARY: "permissions boundary",
    PolicyKind.SESSION: "session policy",
    PolicyKind.KEY: "resource-based policy",
    PolicyKind.TRUST: "role trust policy",
}
_EXPLICIT: Final = {
    kind: f"with an explicit deny in {'the' if kind is PolicyKind.TRUST else 'an' if words[0] in 'aeiou' else 'a'} {words}"
    for kind, words in _TYPES.items()
}
_UNSEEN: Final = (
    "because the resource does not exist in this Region, no resource-based policies allow access, "
    "or a resource-based policy explicitly denies access"
)


def _allowed(source: PolicyKind | None) -> Decision:
    return Decision(allowed=True, reason="", verdict=Verdict.ALLOWED, source=source)


_ALLOWED: Final = {source: _allowed(source) for source in (None, *PolicyKind)}


def _denied(kind: PolicyKind) -> Decision:
    return Decision(allowed=False, reason=_EXPLICIT[kind], verdict=Verdict.EXPLICIT_DENY, source=kind)


def _not_allowed(kind: PolicyKind, action: str) -> Decision:
    reason = f"because no {_TYPES[kind]} allows the {action} action"
    return Decision(allowed=False, reason=reason, verdict=Verdict.IMPLICIT_DENY, source=kind)


# ── what one document says ──────────────────────────────────────────────────────────────────────────────────────────────


def naming(statement: Statement, question: Question) -> Naming:
    """How a statement calls the principal; documents of the principal's own call it by being attached."""
    if statement.principals is None:
        return Naming.ITSELF
    if not statement.excepts_principals:
        return statement.principals.naming(question.principal)
    # Identity and access management user guide, "Permissions boundaries": NotPrincipal always denies whoever has one.
    has_boundary = question.documents.boundary is not None
    return Naming.NOT if statement.principals.excepts(question.principal) and not has_boundary else Naming.ITSELF


class _Word(msgspec.Struct):
    """What some documents of one kind say: deny, or the strongest way in which they allow."""

    denies: bool = False
    allows: Naming = Naming.NOT


def _word(documents: Iterable[PolicyDocument], action: str, question: Question) -> _Word:
    word = _Word()
    for document in documents:
        for statement in document.statements:
            if not statement.concerns(action):
                continue
            called = naming(statement, question)
            # What is no more than is known already need not be looked at.
            if called is Naming.NOT or (statement.allows and called <= word.allows):
                continue
            if statement.covers(question.resource_arn, question.context) and statement.is_met(question.context):
                if not statement.allows:
                    word.denies = True
                    return word
                word.allows = called
    return word


class _Words(msgspec.Struct):
    """What everybody says, as the procedure needs it."""

    identity: _Word
    boundary: _Word | None
    session: _Word | None
    levels: list[_Word]
    resource_control: _Word
    resource: _Word | None


def _hear(question: Question) -> _Words:
    documents, action = question.documents, fold(question.action)
    boundary, session, resource_policy = documents.boundary, documents.session, question.resource_policy
    is_service = question.principal.kind is PrincipalKind.AWS_SERVICE
    return _Words(
        _word(documents.identity, action, question),
        None if boundary is None else _word((boundary,), action, question),
        None if session is None else _word(session, action, question),
        [] if is_service else [_word(level, action, question) for level in documents.service_controls],
        _word(question.resource_controls, action, question),
        None if resource_policy is None else _word((resource_policy,), action, question),
    )


def granting(question: Question, *, issued_by: str | None = None) -> Naming:
    """The strongest way in which a grant allows, of all or of those that an account made."""
    strongest = Naming.NOT
    for grant in question.grants:
        if issued_by is None or grant.issuing_account == issued_by:
            called = grant.naming(question.principal)
            if called > strongest and grant.gives(question.action) and grant.is_met(question.action, question.context):
                strongest = called
    return strongest


# ── the procedure ───────────────────────────────────────────────────────────────────────────────────────────────────────


def evaluate(question: Question) -> Decision:
    """The decision; the numbers are those of the module."""
    words, action = _hear(question), question.action
    resource_kind = PolicyKind.KEY if question.resource_policy is None else question.resource_policy.kind
    own, others = _denying(words, resource_kind)
    if own is not None:  # 1
        return _denied(own)
    if question.is_cross_account:
        return _across_accounts(question, words, others)
    if others is not None:  # 1
        return _denied(others)
    if not all(level.allows for level in words.levels):  # 2
        return _not_allowed(PolicyKind.SERVICE_CONTROL, action)
    strongest, source = _resources_half(question, words)
    if strongest is Naming.ITSELF:  # 3
        return _ALLOWED[source]
    if words.resource is not None and strongest is Naming.NOT:  # 8
        return _not_allowed(resource_kind, action)
    if strongest is not Naming.ISSUER and not _identity_allows(question, words):  # 5, 6
        return _not_allowed(PolicyKind.IDENTITY, action)
    limit = _limit(question, words)
    if limit is not None:  # 4, 5, 6
        return _not_allowed(limit, action)
    return _ALLOWED[source if strongest is Naming.ISSUER else PolicyKind.IDENTITY]


def _across_accounts(question: Question, words: _Words, denying: PolicyKind | None) -> Decision:
    """7, with what is left of 1 and 2. Whoever his own account refuses is told that alone, whatever the resource says."""
    refusing = _callers_refusal(question, words)
    told = _UNSEEN if refusing is None else _not_allowed(refusing, question.action).reason
    if denying is not None:  # 1
        return Decision(allowed=False, reason=told, verdict=Verdict.EXPLICIT_DENY, source=denying)
    if refusing is not None:  # 2, 7
        return _not_allowed(refusing, question.action)
    strongest, source = _resources_half(question, words)
    if strongest is Naming.NOT:  # 8
        kind = PolicyKind.KEY if question.resource_policy is None else question.resource_policy.kind
        return Decision(allowed=False, reason=told, verdict=Verdict.IMPLICIT_DENY, source=kind)
    return _ALLOWED[source]


def _callers_refusal(question: Question, words: _Words) -> PolicyKind | None:
    """What in the caller's own account does not let him use somebody else's resource."""
    if not all(level.allows for level in words.levels):
        return PolicyKind.SERVICE_CONTROL
    account = question.principal.account
    if not _identity_allows(question, words) and granting(question, issued_by=account) is Naming.NOT:
        return PolicyKind.IDENTITY
    return _limit(question, words)


def _resources_half(question: Question, words: _Words) -> tuple[Naming, PolicyKind | None]:
    """How the resource's side calls the principal: the strongest way, and by what kind of policy (None: a grant)."""
    by_policy = Naming.NOT if words.resource is None else words.resource.allows
    granted = granting(question)
    if granted > by_policy:
        return granted, None
    return by_policy, PolicyKind.KEY if question.resource_policy is None else question.resource_policy.kind


def _identity_allows(question: Question, words: _Words) -> bool:
    """The root may everything, and so may whom it federated, as far as his session policies go."""
    principal = question.principal
    is_root = principal.kind is PrincipalKind.ROOT or (
        principal.kind is PrincipalKind.FEDERATED_USER and principal.issuer_arn == root_arn(principal.account)
    )
    return is_root or words.identity.allows is not Naming.NOT


def _denying(words: _Words, resource_kind: PolicyKind) -> tuple[PolicyKind | None, PolicyKind | None]:
    """The kinds of policy that deny: the first of the caller's own, and the first of the resource's side."""
    own = (
        *((PolicyKind.SERVICE_CONTROL, level) for level in words.levels),
        (PolicyKind.IDENTITY, words.identity),
        (PolicyKind.BOUNDARY, words.boundary),
        (PolicyKind.SESSION, words.session),
    )
    others = ((PolicyKind.RESOURCE_CONTROL, words.resource_control), (resource_kind, words.resource))
    return _first_denial(own), _first_denial(others)


def _first_denial(spoken: Iterable[tuple[PolicyKind, _Word | None]]) -> PolicyKind | None:
    return next((kind for kind, word in spoken if word is not None and word.denies), None)


def _limit(question: Question, words: _Words) -> PolicyKind | None:
    """Which of boundary and session policies does not allow; a federated user without session policies has no permission."""
    if words.boundary is not None and words.boundary.allows is Naming.NOT:
        return PolicyKind.BOUNDARY
    if words.session is None:
        return PolicyKind.SESSION if question.principal.kind is PrincipalKind.FEDERATED_USER else None
    return PolicyKind.SESSION if words.session.allows is Naming.NOT else None


# ── what a decision depends on ──────────────────────────────────────────────────────────────────────────────────────────


def consulted_keys(question: Question) -> tuple[str, ...]:
    """The condition keys that can make a difference to this principal, action and resource, whatever else a request says.

    The same for every request with these documents and grants: under the values of these keys a decision may be kept.
    """
    documents, action = question.documents, fold(question.action)
    policies = [*documents.all(), *question.resource_controls]
    if question.resource_policy is not None:
        policies.append(question.resource_policy)
    keys: set[str] = set()
    for policy in policies:
        for statement in policy.statements:
            if statement.concerns(action) and naming(statement, question) is not Naming.NOT:
                keys |= statement.keys
    for grant in question.grants:
        if grant.gives(question.action) and grant.naming(question.principal) is not Naming.NOT:
            keys |= grant.keys
    return tuple(sorted(keys))


# ── AWS's words ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def refusal_message(question: Question, decision: Decision) -> str:
    """AWS's sentence (IAM user guide, "Troubleshoot access denied error messages").

    Who comes from another account and is refused by the resource's side, is told nothing of the resource. STS says that in
    fewer words than KMS.
    """
    if question.principal.kind is PrincipalKind.WEB_IDENTITY:
        return f"Not authorized to perform {question.action}"
    if decision.reason == _UNSEEN:
        if question.resource_policy is not None and question.resource_policy.kind is PolicyKind.TRUST:
            return (
                f"User: {question.principal.arn} is not authorized to perform: {question.action} "
                f"on resource: {question.resource_arn}"
            )
        return unseen_message(question.principal, question.action, "this resource")
    return (
        f"User: {question.principal.arn} is not authorized to perform: {question.action} "
        f"on resource: {question.resource_arn} {decision.reason}"
    )


def unseen_message(principal: Principal, action: str, what: str) -> str:
    """The refusal that does not say whether there is such a thing: of another account's keys, and of ciphertexts."""
    return f"User: {principal.arn} is not authorized to perform: {action} on {what} {_UNSEEN}"
