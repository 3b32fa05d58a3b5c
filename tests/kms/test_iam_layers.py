"""Every layer of a decision, and AWS's words for what each refuses: named cases.

Sources: IAM user guide, "Policy evaluation for requests within a single account" (with its table of resource-based policies
and implicit denies), "Cross-account policy evaluation logic", "Access denied error message examples"; KMS developer guide,
"Troubleshooting AWS KMS permissions", "Allowing users in other accounts to use a KMS key".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from strongroom.kms.iam.condition_keys import WHOLE_CONTEXT
from strongroom.kms.iam.documents import PolicyDocument, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import (
    NO_POLICY,
    NO_TRUST,
    Documents,
    Question,
    Verdict,
    consulted_keys,
    evaluate,
    refusal_message,
)
from strongroom.kms.iam.grants import Grant, GrantConstraints
from strongroom.kms.iam.principals import (
    Principal,
    federated_user_principal,
    role_session_principal,
    root_principal,
    service_principal,
    user_principal,
    web_identity_principal,
)

ACCOUNT, OTHER = "111122223333", "444455556666"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
ROOT = root_principal(ACCOUNT, "AKIA")
ALICE = user_principal(ACCOUNT, "alice", "AIDA", "AKIA")
SESSION = role_session_principal(ROLE, "AROA", "s-1", "ASIA")
CAROL = federated_user_principal(ALICE, "carol", "ASIA")
ROOTS_CAROL = federated_user_principal(ROOT, "carol", "ASIA")
S3 = service_principal("s3.amazonaws.com")
THEIRS = user_principal(OTHER, "alice", "AIDA", "AKIA")
THEIR_SESSION = role_session_principal(f"arn:aws:iam::{OTHER}:role/app", "AROA", "s-1", "ASIA")
THEIR_ROOT = root_principal(OTHER, "AKIA")

Json = dict[str, Any]
YES: Json = {"Effect": "Allow", "Action": "*", "Resource": "*"}
NO: Json = YES | {"Effect": "Deny"}
ELSEWHERE: Json = YES | {"Action": "s3:*"}
ALLOWED = "allowed"


def document(kind: PolicyKind, *statements: Json) -> Any:
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}), kind)


def to(*names: str, **more: Any) -> Json:
    """A key policy's statement for these principals."""
    services = [name for name in names if name.endswith(".com")]
    aws = [name for name in names if name not in services]
    named = {"AWS": aws} | ({"Service": services} if services else {})
    return YES | {"Principal": "*" if names == ("*",) else named} | more


def ask(
    principal: Principal,
    *key_policy: Json,
    identity: Json | None = None,
    boundary: Json | None = None,
    session: Json | None = None,
    controls: tuple[Json, ...] = (),
    resource_control: Json | None = None,
    grants: tuple[Grant, ...] = (),
    keyless: bool = False,
    account: str = ACCOUNT,
) -> str:
    """What AWS would say: `allowed`, or the end of its sentence."""
    documents = Documents(
        () if identity is None else (document(PolicyKind.IDENTITY, identity),),
        None if boundary is None else document(PolicyKind.BOUNDARY, boundary),
        None if session is None else (document(PolicyKind.SESSION, session),),
        tuple((document(PolicyKind.SERVICE_CONTROL, control),) for control in controls),
    )
    policy = document(PolicyKind.KEY, *key_policy) if key_policy else NO_POLICY
    controls_there = () if resource_control is None else (document(PolicyKind.RESOURCE_CONTROL, resource_control),)
    question = Question(
        principal, documents, "kms:Decrypt", KEY, None if keyless else policy, account, controls_there, grants
    )
    decision = evaluate(question)
    if decision.allowed:
        assert (decision.verdict, decision.reason) == (Verdict.ALLOWED, "")
        return ALLOWED
    start = f"User: {principal.arn} is not authorized to perform: kms:Decrypt on "
    message = refusal_message(question, decision)
    assert message.startswith(start)
    return message.removeprefix(start)


Said = Callable[[], str]


def asked(*question: Any, **more: Any) -> Said:
    """Asks when the test runs: a fault of the product is no fault of this file's collection."""
    return partial(ask, *question, **more)


def no(kind: str) -> str:
    return f"resource: {KEY} because no {kind} allows the kms:Decrypt action"


def explicit(kind: str) -> str:
    return f"resource: {KEY} with an explicit deny in {kind}"


UNSEEN = (
    "this resource because the resource does not exist in this Region, no resource-based policies allow access, "
    "or a resource-based policy explicitly denies access"
)
NO_IDENTITY, NO_RESOURCE = no("identity-based policy"), no("resource-based policy")
NO_BOUNDARY, NO_SESSION, NO_CONTROL = no("permissions boundary"), no("session policy"), no("service control policy")
BY_ACCOUNT = to(ACCOUNT)


# ── one account ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (asked(ROOT, BY_ACCOUNT), ALLOWED),
        (asked(ROOT, to(ALICE.arn)), NO_RESOURCE),
        (asked(ALICE, BY_ACCOUNT), NO_IDENTITY),
        (asked(ALICE, BY_ACCOUNT, identity=YES), ALLOWED),
        (asked(ALICE, BY_ACCOUNT, identity=ELSEWHERE), NO_IDENTITY),
        (asked(ALICE, identity=YES), NO_RESOURCE),
        (asked(ALICE, to(ALICE.arn)), ALLOWED),
        (asked(ALICE, to("*")), ALLOWED),
        (asked(SESSION, to(ROLE)), ALLOWED),
        (asked(SESSION, to(SESSION.arn)), ALLOWED),
        (asked(SESSION, to(ROLE.replace("app", "other")), identity=YES), NO_RESOURCE),
        (asked(S3, to("s3.amazonaws.com")), ALLOWED),
        (asked(S3, BY_ACCOUNT), NO_RESOURCE),
        (asked(S3, to("ec2.amazonaws.com")), NO_RESOURCE),
        # No key is concerned: identity policies alone.
        (asked(ALICE, keyless=True), NO_IDENTITY),
        (asked(ALICE, keyless=True, identity=YES), ALLOWED),
        (asked(ROOT, keyless=True), ALLOWED),
    ],
)
def test_key_policies_and_identity_policies_in_one_account(said: Said, expected: str) -> None:
    assert said() == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # "an IAM user ARN … not limited by an implicit deny in an identity-based policy or permissions boundary".
        (asked(ALICE, to(ALICE.arn), boundary=ELSEWHERE), ALLOWED),
        (asked(ALICE, BY_ACCOUNT, identity=YES, boundary=ELSEWHERE), NO_BOUNDARY),
        (asked(ALICE, BY_ACCOUNT, identity=YES, boundary=YES), ALLOWED),
        (asked(ALICE, BY_ACCOUNT, boundary=YES), NO_IDENTITY),
        (asked(ALICE, BY_ACCOUNT, to(ALICE.arn), identity=YES, boundary=ELSEWHERE), ALLOWED),
        # "an IAM role ARN are limited by an implicit deny in a permissions boundary or session policy".
        (asked(SESSION, to(ROLE), boundary=ELSEWHERE), NO_BOUNDARY),
        (asked(SESSION, to(ROLE), session=ELSEWHERE), NO_SESSION),
        (asked(SESSION, to(ROLE), boundary=YES, session=YES), ALLOWED),
        (asked(SESSION, BY_ACCOUNT, identity=YES, session=ELSEWHERE), NO_SESSION),
        (asked(SESSION, BY_ACCOUNT, identity=YES, boundary=ELSEWHERE, session=ELSEWHERE), NO_BOUNDARY),
        # "permissions granted directly to a session are not limited by an implicit deny in" any of the three.
        (asked(SESSION, to(SESSION.arn), boundary=ELSEWHERE, session=ELSEWHERE), ALLOWED),
        (asked(CAROL, to(CAROL.arn), boundary=ELSEWHERE, session=ELSEWHERE), ALLOWED),
        (asked(CAROL, to(CAROL.arn)), ALLOWED),
        # "do not limit permissions granted using the aws:PrincipalArn condition key with a wildcard(*) in the Principal".
        (asked(SESSION, to("*"), boundary=ELSEWHERE, session=ELSEWHERE), ALLOWED),
        # "the ARN of the IAM user who federated … limited by an implicit deny in a permission boundary or session policy".
        (asked(CAROL, to(ALICE.arn), session=YES), ALLOWED),
        (asked(CAROL, to(ALICE.arn), session=ELSEWHERE), NO_SESSION),
        (asked(CAROL, to(ALICE.arn), session=YES, boundary=ELSEWHERE), NO_BOUNDARY),
        # "If there is no session policy, … Otherwise [no role session], the request is implicitly denied".
        (asked(CAROL, to(ALICE.arn)), NO_SESSION),
        (asked(CAROL, BY_ACCOUNT, identity=YES), NO_SESSION),
        (asked(CAROL, BY_ACCOUNT, identity=YES, session=YES), ALLOWED),
        (asked(ROOTS_CAROL, BY_ACCOUNT, session=YES), ALLOWED),
        (asked(ROOTS_CAROL, BY_ACCOUNT), NO_SESSION),
        (asked(ALICE, keyless=True, identity=YES, boundary=ELSEWHERE), NO_BOUNDARY),
        (asked(SESSION, keyless=True, identity=YES, session=ELSEWHERE), NO_SESSION),
    ],
)
def test_boundaries_and_session_policies_limit_all_but_who_is_named_itself(said: Said, expected: str) -> None:
    assert said() == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # "SCP limits permissions for … each AWS account root user"; every level must allow.
        (asked(ROOT, BY_ACCOUNT, controls=(ELSEWHERE,)), NO_CONTROL),
        (asked(ALICE, to(ALICE.arn), controls=(YES, ELSEWHERE)), NO_CONTROL),
        (asked(ALICE, to(ALICE.arn), controls=(YES, YES)), ALLOWED),
        (asked(ALICE, to(ALICE.arn), controls=(YES, NO)), explicit("a service control policy")),
        (asked(S3, to("s3.amazonaws.com"), controls=(NO,)), ALLOWED),
        (asked(ALICE, BY_ACCOUNT, controls=(ELSEWHERE,)), NO_CONTROL),
        # An RCP only denies: RCPFullAWSAccess stays attached.
        (asked(ALICE, to("*"), resource_control=to("*", Effect="Deny")), explicit("a resource control policy")),
        (asked(ALICE, to("*"), resource_control=to("*", Effect="Deny", Action="s3:*")), ALLOWED),
        (asked(S3, to("*"), resource_control=to("*", Effect="Deny")), explicit("a resource control policy")),
    ],
)
def test_organisations_limit_everybody(said: Said, expected: str) -> None:
    assert said() == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (asked(ALICE, to("*"), identity=NO), explicit("an identity-based policy")),
        (asked(ALICE, to("*"), boundary=NO), explicit("a permissions boundary")),
        (asked(SESSION, to("*"), session=NO), explicit("a session policy")),
        (asked(ALICE, to("*"), to(ALICE.arn, Effect="Deny"), identity=YES), explicit("a resource-based policy")),
        (asked(SESSION, to("*"), to(ROLE, Effect="Deny")), explicit("a resource-based policy")),
        (asked(CAROL, to("*"), to(ALICE.arn, Effect="Deny")), explicit("a resource-based policy")),
        (asked(ALICE, to("*"), to(ACCOUNT, Effect="Deny")), explicit("a resource-based policy")),
        (asked(ROOT, to("*"), to(ACCOUNT, Effect="Deny")), explicit("a resource-based policy")),
        (asked(ALICE, to("*"), to(OTHER, Effect="Deny")), ALLOWED),
        # Of several the caller's own is named.
        (asked(ALICE, to("*", Effect="Deny"), identity=NO, controls=(NO,)), explicit("a service control policy")),
        (asked(ALICE, to("*", Effect="Deny"), identity=NO), explicit("an identity-based policy")),
        # That of IAM works without the key policy's word.
        (asked(ALICE, identity=NO), explicit("an identity-based policy")),
    ],
)
def test_an_explicit_deny_anywhere_is_final(said: Said, expected: str) -> None:
    assert said() == expected


def test_not_action_and_not_resource_mean_everything_else() -> None:
    """Class 21, with the documented effect: everything but what is listed."""
    others = {"Effect": "Allow", "NotAction": "kms:Enc*", "Resource": "*"}
    assert ask(ALICE, BY_ACCOUNT, identity=others) == ALLOWED
    assert ask(ALICE, BY_ACCOUNT, identity=others | {"NotAction": ["s3:*", "KMS:decrypt"]}) == NO_IDENTITY
    elsewhere = {"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:kms:*:*:alias/*"}
    assert ask(ALICE, BY_ACCOUNT, identity=elsewhere) == ALLOWED
    assert ask(ALICE, BY_ACCOUNT, identity=elsewhere | {"NotResource": KEY}) == NO_IDENTITY
    denied = {"Effect": "Deny", "NotAction": "kms:Decrypt", "NotResource": "*"}
    assert ask(ALICE, to("*"), identity=denied) == ALLOWED


def test_a_resource_that_cannot_be_filled_in_allows_nothing_and_saves_nobody_from_a_deny() -> None:
    unknown = "arn:aws:kms:*:*:key/${aws:nothing}"
    for element in ("Resource", "NotResource"):
        statement = {"Effect": "Allow", "Action": "*", element: unknown}
        assert ask(ALICE, BY_ACCOUNT, identity=statement) == NO_IDENTITY, element
    assert ask(ALICE, to("*"), identity={"Effect": "Deny", "Action": "*", "Resource": unknown}) == ALLOWED
    assert ask(ALICE, to("*"), identity={"Effect": "Deny", "Action": "*", "NotResource": unknown}) == explicit(
        "an identity-based policy"
    )


def test_not_principal_denies_all_others() -> None:
    """Class 21."""
    denying = {"Effect": "Deny", "NotPrincipal": {"AWS": [ALICE.arn, ACCOUNT]}, "Action": "*", "Resource": "*"}
    assert ask(ALICE, to("*"), denying) == ALLOWED
    assert ask(SESSION, to("*"), denying) == explicit("a resource-based policy")
    assert ask(ALICE, to("*"), denying, boundary=YES) == explicit("a resource-based policy")


# ── grants ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def grant(grantee: str, *operations: str, by: str = ACCOUNT) -> Grant:
    return Grant("g", grantee, frozenset(operations or ("Decrypt",)), issuing_account=by)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (asked(ALICE, grants=(grant(ALICE.arn),)), ALLOWED),
        (asked(ALICE, grants=(grant(ALICE.arn, "Encrypt"),)), NO_RESOURCE),
        (asked(ALICE, grants=(grant(SESSION.arn), grant(ALICE.arn, "Encrypt"))), NO_RESOURCE),
        (asked(SESSION, grants=(grant(ROLE),)), ALLOWED),
        (asked(S3, grants=(grant("s3.amazonaws.com"),)), ALLOWED),
        # A grant is limited as a key policy's statement with the same name in it would be.
        (asked(ALICE, grants=(grant(ALICE.arn),), boundary=ELSEWHERE), ALLOWED),
        (asked(SESSION, grants=(grant(ROLE),), session=ELSEWHERE), NO_SESSION),
        (asked(SESSION, grants=(grant(SESSION.arn),), session=ELSEWHERE), ALLOWED),
        (asked(ALICE, grants=(grant(ALICE.arn),), controls=(ELSEWHERE,)), NO_CONTROL),
        (asked(ALICE, to("*", Effect="Deny"), grants=(grant(ALICE.arn),)), explicit("a resource-based policy")),
        (asked(ALICE, grants=(grant(ALICE.arn),), identity=NO), explicit("an identity-based policy")),
    ],
)
def test_a_grant_allows_its_grantee_and_denies_nobody(said: Said, expected: str) -> None:
    assert said() == expected


@pytest.mark.parametrize(
    ("principal", "named", "grants", "source"),
    [
        (ALICE, ALICE.arn, (), PolicyKind.KEY),
        (SESSION, ROLE, (), PolicyKind.KEY),
        (ALICE, ACCOUNT, (), PolicyKind.IDENTITY),
        # A grant that says no more than the key policy is not what decided.
        (ALICE, ALICE.arn, (grant(ALICE.arn),), PolicyKind.KEY),
        (ALICE, ACCOUNT, (grant(ALICE.arn),), None),
        (SESSION, ACCOUNT, (grant(ROLE),), None),
    ],
)
def test_a_decision_names_what_made_it(
    principal: Principal, named: str, grants: tuple[Grant, ...], source: PolicyKind | None
) -> None:
    documents = Documents((document(PolicyKind.IDENTITY, YES),))
    policy = document(PolicyKind.KEY, to(named))
    decision = evaluate(Question(principal, documents, "kms:Decrypt", KEY, policy, ACCOUNT, grants=grants))
    assert decision.allowed
    assert decision.source is source


def when(key: str, **more: Any) -> Json:
    base = {name: value for name, value in YES.items() if f"Not{name}" not in more}
    return base | {"Condition": {"Null": {key: "true"}}} | more


def test_only_keys_that_can_make_a_difference_are_consulted() -> None:
    """Those of statements about the action that name the principal, and of grants that do."""
    documents = Documents(
        (document(PolicyKind.IDENTITY, when("a:1"), when("a:2", Action="s3:*"), when("a:3", NotAction="s3:*")),),
        document(PolicyKind.BOUNDARY, when("b:1")),
        (document(PolicyKind.SESSION, when("s:1")),),
        ((document(PolicyKind.SERVICE_CONTROL, when("c:1")),),),
    )
    policy = document(
        PolicyKind.KEY,
        when("k:1", Principal={"AWS": ROLE}),
        when("k:2", Principal={"AWS": ALICE.arn}),
        when("k:3", Principal={"AWS": ACCOUNT}, Resource="arn:${k:4}:*"),
    )
    control = document(PolicyKind.RESOURCE_CONTROL, when("r:1", Effect="Deny", Principal="*"))
    pairs = {"a": "b"}

    def consulted(*grants: Grant) -> set[str]:
        question = Question(SESSION, documents, "kms:Decrypt", KEY, policy, ACCOUNT, (control,), grants)
        keys = consulted_keys(question)
        # In one order: decisions are kept under their values.
        assert keys == tuple(sorted(set(keys)))
        return set(keys)

    mine = {"a:1", "a:3", "b:1", "s:1", "c:1", "k:1", "k:3", "k:4", "r:1"}
    assert consulted() == mine
    for grantee, operation, constraints, more in (
        (ROLE, "Decrypt", GrantConstraints(), set()),
        (ROLE, "Decrypt", GrantConstraints(context_equals=pairs), {WHOLE_CONTEXT}),
        (ROLE, "Decrypt", GrantConstraints(context_subset=pairs), {WHOLE_CONTEXT}),
        (ROLE, "Decrypt", GrantConstraints(source_arn="arn:a"), {"aws:sourcearn"}),
        (ROLE, "Encrypt", GrantConstraints(context_equals=pairs), set()),
        (ALICE.arn, "Decrypt", GrantConstraints(context_equals=pairs), set()),
    ):
        assert consulted(Grant("g", grantee, frozenset([operation]), constraints)) == mine | more


# ── another account ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # "… allowed only if both evaluations return a decision of Allow", says the guide.
        (asked(THEIRS, to(THEIRS.arn), identity=YES), ALLOWED),
        (asked(THEIRS, to(OTHER), identity=YES), ALLOWED),
        (asked(THEIRS, to("*"), identity=YES), ALLOWED),
        (asked(THEIRS, to(THEIRS.arn)), NO_IDENTITY),
        (asked(THEIRS, to("*")), NO_IDENTITY),
        (asked(THEIRS, BY_ACCOUNT, identity=YES), UNSEEN),
        (asked(THEIRS, to(ALICE.arn), identity=YES), UNSEEN),
        (asked(THEIR_ROOT, to(OTHER)), ALLOWED),
        (asked(THEIR_ROOT, BY_ACCOUNT), UNSEEN),
        (asked(THEIR_SESSION, to(OTHER), identity=YES), ALLOWED),
        # The exception for who is named itself is for one account.
        (asked(THEIRS, to(THEIRS.arn), identity=YES, boundary=ELSEWHERE), NO_BOUNDARY),
        (asked(THEIR_SESSION, to(THEIR_SESSION.arn), identity=YES, session=ELSEWHERE), NO_SESSION),
        (asked(THEIRS, to(THEIRS.arn), identity=YES, controls=(ELSEWHERE,)), NO_CONTROL),
        # What the key's side denies is not told.
        (asked(THEIRS, to("*"), to(OTHER, Effect="Deny"), identity=YES), UNSEEN),
        (asked(THEIRS, to("*"), identity=YES, resource_control=to("*", Effect="Deny")), UNSEEN),
        (asked(THEIRS, to("*"), identity=NO), explicit("an identity-based policy")),
        # Key trust: "if a grant or IAM policy in your account allows you to use the KMS key".
        (asked(THEIRS, grants=(grant(THEIRS.arn),), identity=YES), ALLOWED),
        (asked(THEIRS, grants=(grant(THEIRS.arn),)), NO_IDENTITY),
        (asked(THEIRS, grants=(grant(THEIRS.arn, by=OTHER),)), ALLOWED),
        (asked(THEIRS, grants=(grant(THEIRS.arn, by=OTHER),), boundary=ELSEWHERE), NO_BOUNDARY),
        (asked(THEIRS, grants=(grant(THEIRS.arn, "Encrypt", by=OTHER),), identity=YES), UNSEEN),
        (asked(THEIRS, keyless=True, identity=YES, account=ACCOUNT), UNSEEN),
    ],
)
def test_another_account_needs_both_halves(said: Said, expected: str) -> None:
    assert said() == expected


def trusting(principal: Principal, *names: str, trust: PolicyDocument | None = None, effect: str = "Allow") -> Any:
    """What is decided of assuming a role whose policy names somebody, and with which words."""
    statement = {"Effect": effect, "Action": "sts:AssumeRole", "Principal": {"AWS": list(names)}}
    documents = Documents((document(PolicyKind.IDENTITY, YES),))
    policy = document(PolicyKind.TRUST, statement) if trust is None else trust
    question = Question(principal, documents, "sts:AssumeRole", ROLE, policy, ACCOUNT)
    decision = evaluate(question)
    start = f"User: {principal.arn} is not authorized to perform: sts:AssumeRole on resource: {ROLE}"
    message = refusal_message(question, decision)
    assert message.startswith(start)
    return decision.verdict, decision.source, message.removeprefix(start)


def test_a_role_of_another_account_is_refused_in_the_words_of_sts() -> None:
    """STS does not say what of the role's side refused, whether there is such a role or not."""
    for refused in (trusting(THEIRS, ALICE.arn), trusting(THEIRS, trust=NO_TRUST)):
        assert refused == (Verdict.IMPLICIT_DENY, PolicyKind.TRUST, "")
    assert trusting(THEIRS, THEIRS.arn)[:2] == (Verdict.ALLOWED, PolicyKind.TRUST)


def test_a_role_of_the_same_account_is_refused_with_the_reason() -> None:
    assert trusting(ALICE, ALICE.arn)[:2] == (Verdict.ALLOWED, PolicyKind.TRUST)
    assert trusting(ALICE, ALICE.arn, effect="Deny") == (
        Verdict.EXPLICIT_DENY,
        PolicyKind.TRUST,
        " with an explicit deny in the role trust policy",
    )
    assert trusting(ALICE, THEIRS.arn) == (
        Verdict.IMPLICIT_DENY,
        PolicyKind.TRUST,
        " because no role trust policy allows the sts:AssumeRole action",
    )


def test_who_brings_a_web_identity_is_told_the_action_alone() -> None:
    pod = web_identity_principal("accounts.google.com", "123", ACCOUNT)
    action = "sts:AssumeRoleWithWebIdentity"
    question = Question(pod, Documents(), action, ROLE, NO_TRUST, ACCOUNT)
    assert refusal_message(question, evaluate(question)) == f"Not authorized to perform {action}"


def test_a_resource_of_nobody_in_particular_is_the_principals() -> None:
    policy = document(PolicyKind.KEY, to(ALICE.arn))
    assert evaluate(Question(ALICE, Documents(), "kms:Decrypt", KEY, policy)).allowed


def test_a_refusal_by_what_is_not_known_is_the_key_policys() -> None:
    documents = Documents((document(PolicyKind.IDENTITY, YES),))
    for policy in (None, NO_POLICY):
        decision = evaluate(Question(THEIRS, documents, "kms:Decrypt", KEY, policy, ACCOUNT))
        assert (decision.verdict, decision.source) == (Verdict.IMPLICIT_DENY, PolicyKind.KEY)


def test_where_no_resource_is_concerned_the_callers_documents_alone_are_asked_for_keys() -> None:
    mine = document(PolicyKind.IDENTITY, YES | {"Condition": {"StringEquals": {"a:1": "x"}}})
    assert consulted_keys(Question(ALICE, Documents((mine,)), "kms:CreateKey", "*")) == ("a:1",)


@pytest.mark.parametrize("identity", [None, YES, NO])
def test_a_key_of_another_account_that_lets_nobody_in_is_like_none(identity: Json | None) -> None:
    """Class 22: what does not exist is asked for with a policy that says nothing, and the words are the same."""
    nothing = ask(THEIRS, identity=identity)
    for policy in (BY_ACCOUNT, to(ALICE.arn), to(OTHER, Effect="Deny"), to("*", Effect="Deny")):
        assert ask(THEIRS, policy, identity=identity) == nothing


# ── case and look-alikes ────────────────────────────────────────────────────────────────────────────────────────────────

LOOK_ALIKES = [
    str.upper,
    str.swapcase,
    lambda text: text.replace("k", "\uff4b"),
    lambda text: text.replace("e", "e\u0301"),
]


@pytest.mark.parametrize("change", LOOK_ALIKES)
def test_actions_fold_case_and_nothing_else_does(change: Any) -> None:
    """Class 7: upper, mixed, fullwidth and decomposed spellings of actions, resources, principals."""
    folds = change("kms:decrypt").isascii()
    action = YES | {"Action": change("kms:decrypt")}
    assert ask(ALICE, BY_ACCOUNT, identity=action) == (ALLOWED if folds else NO_IDENTITY)
    denied = ask(ALICE, to("*"), identity=action | {"Effect": "Deny"})
    assert denied == (explicit("an identity-based policy") if folds else ALLOWED)
    assert ask(ALICE, BY_ACCOUNT, identity=YES | {"Resource": change(KEY)}) == NO_IDENTITY
    other = user_principal(ACCOUNT, change("ek"), "AIDA", "AKIA")
    assert ask(other, to(f"arn:aws:iam::{ACCOUNT}:user/ek")) == NO_RESOURCE
    assert ask(ALICE, grants=(grant(change(ALICE.arn) + change("ek")),)) == NO_RESOURCE


# ── trust policies ──────────────────────────────────────────────────────────────────────────────────────────────────────


def assume(principal: Principal, principals: Any, identity: Json | None = None) -> str:
    trust = {"Effect": "Allow", "Principal": principals, "Action": "sts:AssumeRole*"}
    documents = Documents(() if identity is None else (document(PolicyKind.IDENTITY, identity),))
    question = Question(principal, documents, "sts:AssumeRole", ROLE, document(PolicyKind.TRUST, trust), ACCOUNT)
    decision = evaluate(question)
    return ALLOWED if decision.allowed else decision.reason


def test_a_role_is_assumed_by_whom_its_trust_policy_names() -> None:
    """IAM user guide: trust policies, too, "must explicitly allow access for principals"."""
    nobody = "because no role trust policy allows the sts:AssumeRole action"
    assert assume(ALICE, {"AWS": ALICE.arn}) == ALLOWED
    assert assume(ALICE, {"AWS": ACCOUNT}) == "because no identity-based policy allows the sts:AssumeRole action"
    assert assume(ALICE, {"AWS": ACCOUNT}, YES) == ALLOWED
    assert assume(ALICE, {"AWS": SESSION.arn}, YES) == nobody
    assert assume(THEIRS, {"AWS": OTHER}, YES) == ALLOWED
    assert assume(THEIRS, {"AWS": THEIRS.arn}) == "because no identity-based policy allows the sts:AssumeRole action"
    pod = web_identity_principal("accounts.google.com", "1", ACCOUNT)
    assert assume(pod, {"Federated": "accounts.google.com"}) == ALLOWED
    assert assume(pod, {"Federated": "www.amazon.com"}) == nobody
    assert assume(pod, {"AWS": ACCOUNT}) == nobody
