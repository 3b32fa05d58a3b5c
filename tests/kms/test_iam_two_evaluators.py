"""Two evaluators that know nothing of each other decide alike: the product's and the naive one of the testkit.

The naive one was written from AWS's documents and `docs/policies.md` without a look at the product's. `make test` compares
20,000 random cases, the long suite 100,000 others, the campaign a million. That the comparison can fail is shown by
`test_iam_planted_faults`.
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from strongroom.kms.iam.conditions import OPERATORS
from strongroom.kms.iam.documents import PolicyKind
from strongroom.kms.iam.evaluate import Decision, Verdict, evaluate, refusal_message
from strongroom.kms.iam.principals import is_unique_id
from testkit import naive_evaluator
from testkit.naive_evaluator import decide, is_foreign, is_refused_at_home, listed
from testkit.policy_cases import ACCOUNT, KEY, OTHER, PRINCIPALS, Json, cases, question_of

SEED = 20261124
# Each of these is a test of its own, so that all workers of the test runner have some.
PARTS, CASES_OF_PART = 8, 2500
LONG_PARTS, LONG_CASES_OF_PART = 20, 5000
CAMPAIGN_CASES = int(os.environ.get("STRONGROOM_EVALUATOR_CASES", "1000000"))


def differs(case: Json) -> str | None:
    """What the two say, if it is not the same."""
    decided, expected = evaluate(question_of(case)), decide(case)
    if decided.verdict.value == expected and decided.allowed == (expected == naive_evaluator.ALLOW):
        return None
    return f"the product: {decided}; the naive one: {expected}; the case:\n{json.dumps(case, indent=1)}"


def compare(seed: int, count: int) -> None:
    found = [difference for _, case in cases(seed, count) if (difference := differs(case)) is not None]
    assert not found, f"{len(found)} of {count} differ, the first:\n{found[0]}"


@pytest.mark.parametrize("part", range(PARTS))
def test_both_evaluators_decide_alike(part: int) -> None:
    compare(SEED + part, CASES_OF_PART)


@pytest.mark.long
@pytest.mark.parametrize("part", range(LONG_PARTS))
def test_both_evaluators_decide_alike_over_a_hundred_thousand_cases(part: int) -> None:
    compare(SEED + PARTS + part, LONG_CASES_OF_PART)


@pytest.mark.campaign
def test_both_evaluators_decide_alike_over_a_million_cases() -> None:
    compare(SEED - 1, CAMPAIGN_CASES)
    print(f"{CAMPAIGN_CASES} cases, 0 differences")


def test_whom_his_own_account_refuses_is_told_nothing_of_the_other_ones_policies() -> None:
    told = 0
    for _, case in cases(SEED, 3000):
        if not is_foreign(case):
            continue
        question = question_of(case)
        decided = evaluate(question)
        sentence = refusal_message(question, decided)
        if is_refused_at_home(case):
            told += 1
            assert KEY in sentence, case
            assert "resource-based" not in sentence, case
            assert "resource control" not in sentence, case
        elif not decided.allowed:
            assert KEY not in sentence, case
            assert sentence.endswith("or a resource-based policy explicitly denies access"), case
    assert told > 200


# ── what the cases are made of ──────────────────────────────────────────────────────────────────────────────────────────

COUNTED = 6000


@functools.cache
def decisions() -> list[tuple[Json, Decision]]:
    return [(case, evaluate(question_of(case))) for _, case in cases(SEED, COUNTED)]


def test_every_layer_decides_some_of_the_cases() -> None:
    verdicts = Counter((decided.verdict, decided.source) for _, decided in decisions())
    deciding = {
        Verdict.ALLOWED: [PolicyKind.KEY, PolicyKind.IDENTITY, None],
        Verdict.EXPLICIT_DENY: [kind for kind in PolicyKind if kind is not PolicyKind.TRUST],
        Verdict.IMPLICIT_DENY: [
            kind for kind in PolicyKind if kind not in {PolicyKind.TRUST, PolicyKind.RESOURCE_CONTROL}
        ],
    }
    rare = {(verdict, kind): verdicts[verdict, kind] for verdict, kinds in deciding.items() for kind in kinds}
    assert min(rare.values()) >= COUNTED // 500, rare
    by_verdict = Counter(verdict for verdict, _ in verdicts.elements())
    assert min(by_verdict[verdict] for verdict in Verdict) > COUNTED // 10, by_verdict


def is_of_another_account(case: Json) -> bool:
    return case["principal"].get("account") == OTHER and case["key_policy"] is not None


def test_every_kind_of_principal_is_allowed_some_and_refused_some() -> None:
    found = Counter((json.dumps(case["principal"]), decided.allowed) for case, decided in decisions())
    for principal in map(json.dumps, PRINCIPALS):
        assert min(found[principal, True], found[principal, False]) > COUNTED // 200, (principal, found)


def test_callers_of_another_account_are_let_in_by_policies_and_by_grants_of_their_own_account() -> None:
    foreign = [(case, decided) for case, decided in decisions() if is_of_another_account(case)]
    allowed = [case for case, decided in foreign if decided.allowed]
    assert len(foreign) > COUNTED // 5
    assert len(allowed) > COUNTED // 20
    by_own_grant = [case for case in allowed if decide(case | {"grants": made_here(case)}) != naive_evaluator.ALLOW]
    assert len(by_own_grant) >= COUNTED // 500


def made_here(case: Json) -> list[Json]:
    return [grant for grant in case["grants"] if grant["issuing_account"] == ACCOUNT]


def test_grants_decide_and_so_do_their_constraints() -> None:
    by_grant = by_constraint = 0
    for case, decided in decisions():
        by_grant += decided.allowed and decide(case | {"grants": []}) != naive_evaluator.ALLOW
        free = [grant | {"constraints": {}} for grant in case["grants"]]
        by_constraint += not decided.allowed and decide(case | {"grants": free}) == naive_evaluator.ALLOW
    assert by_grant > COUNTED // 100
    assert by_constraint > COUNTED // 200


def counting(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, bool]]:
    """How often each operator, as policies write it, held and did not."""
    outcomes: Counter[tuple[str, bool]] = Counter()
    original: Callable[..., bool] = naive_evaluator.condition_holds

    def counted(case: Json, operator: str, *args: Any, **options: Any) -> bool:
        holds = original(case, operator, *args, **options)
        outcomes[operator, holds] += 1
        return holds

    monkeypatch.setattr(naive_evaluator, "condition_holds", counted)
    return outcomes


def test_every_operator_holds_in_some_cases_and_fails_in_some(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = counting(monkeypatch)
    for _, case in cases(SEED, COUNTED):
        decide(case)
    bare: Counter[tuple[str, bool]] = Counter()
    for (operator, holds), times in outcomes.items():
        bare[operator.rpartition(":")[2].removesuffix("IfExists"), holds] += times
    assert {operator for operator, _ in bare} == {*OPERATORS, "Null"}
    assert min(bare[operator, holds] for operator in {*OPERATORS, "Null"} for holds in (True, False)) >= 5, bare
    for shape in ("ForAllValues:", "ForAnyValue:", "IfExists"):
        for holds in (True, False):
            assert (
                sum(times for (operator, held), times in outcomes.items() if shape in operator and held is holds) > 40
            )


def test_names_decide_by_the_ids_behind_them() -> None:
    """Whom a policy names who is somebody else by now, whom it means by id, and whom grants mean by id."""
    found: Counter[str] = Counter()
    for case, decided in decisions():
        today = naive_evaluator.decide({**case, "principal_ids": {}})
        found["by what they were bound to"] += today != decided.verdict.value
        if any(is_unique_id(grant["grantee"]) for grant in case["grants"]):
            by_arn = [grant for grant in case["grants"] if not is_unique_id(grant["grantee"])]
            found["by ids in grants"] += decide({**case, "grants": by_arn}) != decided.verdict.value
    assert min(found["by what they were bound to"], found["by ids in grants"]) >= COUNTED // 500, found


def test_every_element_of_a_statement_occurs() -> None:
    elements: Counter[str] = Counter()
    for _, case in cases(SEED, 1000):
        for text in [*case["identity"], case["key_policy"] or '{"Statement": []}']:
            document = json.loads(text)
            elements.update(f"Version {document.get('Version')}" for _ in "1")
            elements.update(name for statement in listed(document["Statement"]) for name in statement)
    wanted = ["NotAction", "NotResource", "NotPrincipal", "Condition", "Version None", "Version 2008-10-17"]
    assert min(elements[name] for name in wanted) > 20, elements


# ── what the comparison has found ───────────────────────────────────────────────────────────────────────────────────────


def asked(statement: Json, context: Json, encryption_context: Json | None = None) -> str:
    """Alice's request when her identity policy has one statement, and whether both agree on it."""
    key_policy = {"Statement": {"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "*", "Resource": "*"}}
    case: Json = {
        "principal": {"kind": "user", "account": ACCOUNT, "name": "alice", "id": "AIDA"},
        "identity": [json.dumps({"Version": "2012-10-17", "Statement": {"Action": "*", **statement}})],
        "boundary": None,
        "session": None,
        "service_controls": [],
        "resource_controls": [],
        "action": "kms:Encrypt",
        "resource": KEY,
        "resource_account": ACCOUNT,
        "key_policy": json.dumps(key_policy),
        "principal_ids": {},
        "grants": [],
        "encryption_context": encryption_context or {},
        "context": context,
    }
    assert differs(case) is None
    return decide(case)


def test_a_resource_that_cannot_be_filled_in_leaves_no_allow_to_those_beside_it() -> None:
    statement = {"Effect": "Allow", "Resource": ["*", "arn:aws:kms:*:*:key/${aws:PrincipalTag/key}"]}
    assert asked(statement, {}) == naive_evaluator.IMPLICIT_DENY
    assert asked(statement, {"aws:PrincipalTag/key": "x"}) == naive_evaluator.ALLOW
    assert asked(statement | {"Effect": "Deny"}, {}) == naive_evaluator.EXPLICIT_DENY


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("ForAllValues:StringEquals", naive_evaluator.IMPLICIT_DENY),
        ("StringNotEquals", naive_evaluator.IMPLICIT_DENY),
        ("ForAllValues:StringEqualsIfExists", naive_evaluator.ALLOW),
        ("StringEqualsIfExists", naive_evaluator.ALLOW),
    ],
)
def test_a_variable_that_cannot_be_filled_in_leaves_an_allow_only_if_exists(operator: str, expected: str) -> None:
    condition = {operator: {"aws:username": "${aws:PrincipalTag/key}"}}
    assert asked({"Effect": "Allow", "Resource": "*", "Condition": condition}, {}) == expected


@pytest.mark.parametrize("quantifier", ["", "ForAnyValue:", "ForAllValues:"])
def test_of_names_that_differ_in_case_an_allow_needs_both_and_a_deny_one(quantifier: str) -> None:
    context = {"aws:PrincipalTag/team": "a", "aws:PrincipalTag/Team": "b"}
    statement = {"Resource": "*", "Condition": {f"{quantifier}StringEquals": {"aws:PrincipalTag/TEAM": "a"}}}
    assert asked(statement | {"Effect": "Allow"}, context) == naive_evaluator.IMPLICIT_DENY
    assert asked(statement | {"Effect": "Deny"}, context) == naive_evaluator.EXPLICIT_DENY
