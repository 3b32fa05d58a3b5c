"""Laws that every decision keeps, over random cases with conditions, grants, boundaries and other accounts.

Each law counts how often it had something to say: a law that is never tried holds for any evaluator.
"""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.kms.iam.evaluate import Decision, Verdict, consulted_keys, evaluate
from strongroom.kms.iam.explain import explain
from testkit.policy_cases import ACCOUNT, KEY, Json, a_case, a_statement, cases, question_of

CASES = 600
EVERYTHING = {"Effect": "Deny", "Action": "*", "Resource": "*"}


def ask(case: Json) -> Decision:
    return evaluate(question_of(case))


def with_statement(case: Json, statement: Json, seeded: Random) -> Json:
    """The case with one more statement somewhere: in a document of the principal's, or of the key's."""
    changed = json.loads(json.dumps(case))
    if "Principal" in statement or "NotPrincipal" in statement:
        document = json.loads(changed["key_policy"])
        found = document["Statement"]
        found.insert(seeded.randrange(len(found) + 1), statement)
        changed["key_policy"] = json.dumps(document)
    else:
        changed["identity"].insert(
            seeded.randrange(len(changed["identity"]) + 1),
            json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )
    return changed


def another(seeded: Random, case: Json, effect: str) -> Json:
    kind = "key" if case["key_policy"] is not None and seeded.random() < 0.5 else "identity"
    return with_statement(case, a_statement(seeded, kind, effect), seeded)


def test_the_cases_reach_every_verdict_of_every_kind_of_policy() -> None:
    seen = {(decision.verdict, decision.source) for _, case in cases(1, 5 * CASES) for decision in [ask(case)]}
    names = {(verdict.value, source.name if source else "GRANT") for verdict, source in seen}
    kinds = {"SERVICE_CONTROL", "IDENTITY", "BOUNDARY", "SESSION", "KEY"}
    assert names >= {("explicit deny", kind) for kind in {*kinds, "RESOURCE_CONTROL"}}
    assert names >= {("implicit deny", kind) for kind in kinds}
    assert names >= {("allowed", kind) for kind in ("IDENTITY", "KEY", "GRANT")}


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**48))
def test_deny_wins(seed: int) -> None:
    """Class 19: adding a Deny never widens; a Deny of everything is final, wherever it stands."""
    seeded = Random(seed)
    case = a_case(seeded)
    before, after = ask(case), ask(another(seeded, case, "Deny"))
    assert before.allowed or not after.allowed
    final = ask(with_statement(case, EVERYTHING, seeded))
    assert final.verdict is Verdict.EXPLICIT_DENY
    if case["key_policy"] is not None:
        assert ask(with_statement(case, EVERYTHING | {"Principal": "*"}, seeded)).verdict is Verdict.EXPLICIT_DENY


def test_an_allow_never_beats_a_deny_and_never_narrows() -> None:
    denied = widened = 0
    for seeded, case in cases(3, CASES):
        before, after = ask(case), ask(another(seeded, case, "Allow"))
        if before.verdict is Verdict.EXPLICIT_DENY:
            assert (after.verdict, after.source) == (before.verdict, before.source), case
            denied += 1
        assert after.allowed or not before.allowed, case
        widened += after.allowed and not before.allowed
    assert denied > 40
    assert widened >= 10


def in_another_order(case: Json, seeded: Random) -> Json:
    """The case with its statements, documents, values and grants shuffled."""

    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in seeded.sample(list(value), len(value))}
        if isinstance(value, list):
            return [shuffled(item) for item in seeded.sample(value, len(value))]
        return value

    def mixed(text: str | None) -> str | None:
        return None if text is None else json.dumps(shuffled(json.loads(text)))

    return {
        **case,
        "identity": shuffled([mixed(text) for text in case["identity"]]),
        "boundary": mixed(case["boundary"]),
        "session": None if case["session"] is None else [mixed(text) for text in case["session"]],
        "service_controls": [[mixed(text) for text in level] for level in case["service_controls"]],
        "resource_controls": [mixed(text) for text in case["resource_controls"]],
        "key_policy": mixed(case["key_policy"]),
        "grants": shuffled(case["grants"]),
        "context": shuffled(case["context"]),
    }


def test_order_is_free() -> None:
    """Nothing changes, the reason included."""
    for seeded, case in cases(4, CASES):
        assert ask(in_another_order(case, seeded)) == ask(case), case


def require_that_denies_are_honoured(seed: int, count: int) -> None:
    """The three laws at once: a Deny more never widens, an Allow more never beats a Deny, another order changes nothing."""
    narrowed = widened = denied = 0
    for seeded, case in cases(seed, count):
        before = ask(case)
        with_deny, with_allow = (ask(another(seeded, case, effect)) for effect in ("Deny", "Allow"))
        assert before.allowed or not with_deny.allowed, case
        assert with_allow.allowed or not before.allowed, case
        if before.verdict is Verdict.EXPLICIT_DENY:
            assert with_allow.verdict is Verdict.EXPLICIT_DENY, case
            denied += 1
        assert ask(in_another_order(case, seeded)) == before, case
        narrowed += before.allowed and not with_deny.allowed
        widened += with_allow.allowed and not before.allowed
    assert min(narrowed, widened, denied) > count // 200, (narrowed, widened, denied)


def test_denies_are_honoured() -> None:
    require_that_denies_are_honoured(100, CASES)


@pytest.mark.long
@pytest.mark.parametrize("part", range(10))
def test_denies_are_honoured_over_ten_thousand_cases(part: int) -> None:
    require_that_denies_are_honoured(200 + part, 1_000)


@pytest.mark.campaign
@pytest.mark.parametrize("part", range(20))
def test_denies_are_honoured_over_a_hundred_thousand_cases(part: int) -> None:
    require_that_denies_are_honoured(300 + part, 5_000)


def test_by_default_nothing_is_allowed() -> None:
    """Without an Allow on the key's side, and without a grant, nobody may use a key, the root included."""
    for _, case in cases(5, CASES):
        if case["key_policy"] is None:
            continue
        policy = json.loads(case["key_policy"])
        policy["Statement"] = [s for s in policy["Statement"] if s["Effect"] == "Deny"] or [
            EVERYTHING | {"Principal": {"AWS": []}}
        ]
        assert not ask({**case, "key_policy": json.dumps(policy), "grants": []}).allowed, case


def test_a_limit_more_never_widens() -> None:
    narrowed = 0
    for seeded, case in cases(6, CASES):
        limit = json.dumps({"Statement": [a_statement(seeded, "identity")]})
        before = ask(case)
        changes: list[Json] = [{"service_controls": [*case["service_controls"], [limit]]}]
        if case["boundary"] is None:
            changes.append({"boundary": limit})
        # Without one a federated user may nothing: a session policy then widens.
        if case["session"] is None and case["principal"]["kind"] != "federated-user":
            changes.append({"session": [limit]})
        for change in changes:
            after = ask({**case, **change})
            assert before.allowed or not after.allowed, (case, change)
            narrowed += before.allowed and not after.allowed
    assert narrowed > 30


def test_a_grant_widens_only_for_its_grantee_its_operations_and_within_its_constraints() -> None:
    widened = 0
    for _, case in cases(7, 3 * CASES):
        before, after = ask({**case, "grants": []}), ask(case)
        assert after.allowed or not before.allowed, case
        assert before.verdict is not Verdict.EXPLICIT_DENY or after.source is before.source, case
        if after.allowed and not before.allowed:
            widened += 1
            who = question_of(case).principal
            names = {who.arn, who.issuer_arn, who.principal_id, who.issuer_id}
            fitting = [
                grant
                for grant in case["grants"]
                if grant["grantee"] in names and case["action"].removeprefix("kms:") in grant["operations"]
            ]
            assert fitting, case
            assert ask({**case, "grants": fitting}).allowed, case
            impossible = {"EncryptionContextEquals": {"no": "such"}, "SourceArn": "arn:aws:s3:::nowhere"}
            assert not ask({**case, "grants": [{**grant, "constraints": impossible} for grant in fitting]}).allowed, (
                case
            )
    assert widened >= 10


def test_another_account_never_gets_in_by_its_own_documents_alone() -> None:
    """Class 22: whatever a foreign account says of its own principal, the key's side must let it in."""
    tried = 0
    for _, case in cases(8, 3 * CASES):
        if case["principal"].get("account") in {None, ACCOUNT} or case["key_policy"] is None:
            continue
        tried += 1
        closed = {
            **case,
            "key_policy": json.dumps({"Statement": {**EVERYTHING, "Effect": "Allow", "Principal": {"AWS": ACCOUNT}}}),
            "grants": [],
            "identity": [json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": ["*", KEY]}})],
        }
        assert not ask(closed).allowed, case
    assert tried > 200


def test_only_the_consulted_keys_make_a_difference() -> None:
    """What a kept decision relies on: another request that agrees in these keys gets the same answer."""
    different = 0
    for seeded, case in cases(9, CASES):
        question = question_of(case)
        consulted = set(consulted_keys(question))
        others = [context for _, other in cases(seeded.randrange(10**6), 3) for context in [other["context"]]]
        for context in others:
            mixed = {key: value for key, value in context.items() if key.lower() not in consulted}
            mixed |= {key: value for key, value in case["context"].items() if key.lower() in consulted}
            assert ask({**case, "context": mixed}) == evaluate(question), case
            different += mixed != case["context"]
    assert different > CASES


def test_the_explanation_says_the_decision_and_how_to_change_it() -> None:
    for _, case in cases(10, CASES):
        question = question_of(case)
        trace = explain(question)
        assert trace.decision == evaluate(question)
        assert bool(trace.changes) != trace.decision.allowed
        denying = {s.policy for s in trace.statements if s.applies and s.effect == "Deny"}
        assert bool(denying) == (trace.decision.verdict is Verdict.EXPLICIT_DENY), case
        for statement in trace.statements:
            assert statement.applies == (statement.failures == 0)
