"""The comparison of the two evaluators can fail: whatever is broken in the product's, it finds within some thousand cases.

Each fault is planted in the running product by itself, and taken out again: a step of the procedure left out or widened, a
rule of the language turned round, a constraint of a grant not looked at.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest

from strongroom.kms.iam import conditions, documents, patterns
from strongroom.kms.iam import evaluate as procedure
from strongroom.kms.iam.conditions import OPERATORS, Condition, Operator, Quantifier
from strongroom.kms.iam.documents import PolicyKind, Statement
from strongroom.kms.iam.grants import Grant
from strongroom.kms.iam.patterns import Literal, UnresolvedVariableError
from strongroom.kms.iam.principals import Named, Naming, PrincipalKind
from testkit.naive_evaluator import decide
from testkit.policy_cases import Json, cases, question_of

SEED = 20261125
# The rarest of the faults below makes a difference in one of several thousand cases.
CASES_MAX = 20_000

Plant = Callable[[pytest.MonkeyPatch], None]


@cache
def expected(number: int) -> tuple[Json, str]:
    """A case and what the naive evaluator says of it; the same cases for every fault."""
    ((_, case),) = cases(SEED + number, 1)
    return case, decide(case)


def found_after() -> int | None:
    """How many cases it takes until the two differ; None if they never do."""
    for number in range(CASES_MAX):
        case, naive = expected(number)
        if procedure.evaluate(question_of(case)).verdict.value != naive:
            return number + 1
    return None


def assert_found(monkeypatch: pytest.MonkeyPatch, plant: Plant) -> None:
    plant(monkeypatch)
    after = found_after()
    assert after is not None, f"{CASES_MAX} cases and nobody noticed"
    print(f"found after {after} cases")


def wrapping(holder: Any, name: str, wrapper: Callable[..., Any]) -> Plant:
    """A fault around a function: it gets the original and its arguments."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        original = getattr(holder, name)
        monkeypatch.setattr(holder, name, lambda *args, **options: wrapper(original, *args, **options))

    return plant


# ── the procedure ───────────────────────────────────────────────────────────────────────────────────────────────────────


def hearing(change: Callable[[Any, Any], None]) -> Plant:
    """A fault in what the documents are heard to say."""

    def heard(original: Callable[[Any], Any], question: Any) -> Any:
        words = original(question)
        change(question, words)
        return words

    return wrapping(procedure, "_hear", heard)


def deaf_to(kind: PolicyKind) -> Plant:
    """The explicit denies of one kind of document are not heard."""

    def no_denial(original: Callable[..., Any], spoken: Any) -> Any:
        return original((of, word) for of, word in spoken if of is not kind)

    return wrapping(procedure, "_first_denial", no_denial)


def one_level(_question: Any, words: Any) -> None:
    words.levels = [level for level in words.levels if level.allows][:1] or words.levels


def renaming(old: Naming, new: Naming) -> Plant:
    """Whom a key policy or a grant calls in one way is treated as if called in another."""

    def half(original: Callable[..., Any], question: Any, words: Any) -> Any:
        called, source = original(question, words)
        return (new if called is old else called), source

    return wrapping(procedure, "_resources_half", half)


def only_identity(original: Callable[..., Any], question: Any, words: Any) -> bool:
    return (
        words.identity.allows is not Naming.NOT
        if question.principal.kind is PrincipalKind.ROOT
        else original(question, words)
    )


def no_session_no_limit(original: Callable[..., Any], question: Any, words: Any) -> Any:
    return original(question, words) if words.session is not None or words.boundary is not None else None


def boundary_alone(_original: Any, _question: Any, words: Any) -> PolicyKind | None:
    return PolicyKind.BOUNDARY if words.boundary is not None and words.boundary.allows is Naming.NOT else None


def session_alone(original: Callable[..., Any], question: Any, words: Any) -> Any:
    return original(question, msgspec.structs.replace(words, boundary=None))


def without_limits(original: Callable[..., Any], question: Any, words: Any) -> Any:
    refusing = original(question, words)
    return None if refusing in {PolicyKind.BOUNDARY, PolicyKind.SESSION} else refusing


def whoever_made_it(original: Callable[..., Any], question: Any, *, issued_by: str | None = None) -> Any:
    return original(question)


def no_stand_in(original: Callable[..., Any], question: Any, *, issued_by: str | None = None) -> Any:
    return Naming.NOT if issued_by is not None else original(question)


PROCEDURE: dict[str, Plant] = {
    "no explicit deny is heard": wrapping(procedure, "_denying", lambda *_: (None, None)),
    **{
        f"an explicit deny in {kind.value} is not heard": deaf_to(kind)
        for kind in PolicyKind
        if kind is not PolicyKind.TRUST
    },
    "the resource's deny does not reach other accounts": wrapping(
        procedure, "_across_accounts", lambda original, question, words, _denying: original(question, words, None)
    ),
    "SCPs need not allow": hearing(lambda _, words: setattr(words, "levels", [])),
    "one level of SCPs is enough": hearing(one_level),
    "the boundary need not allow": wrapping(procedure, "_limit", session_alone),
    "session policies need not allow": wrapping(procedure, "_limit", boundary_alone),
    "a federated user without session policies has no limit": wrapping(procedure, "_limit", no_session_no_limit),
    "another account's key needs the caller's half alone": renaming(Naming.NOT, Naming.ACCOUNT),
    "another account's key needs the key's half alone": wrapping(procedure, "_callers_refusal", lambda *_: None),
    "boundary and session policies end at the account's border": wrapping(
        procedure, "_callers_refusal", without_limits
    ),
    "any grant stands in for an identity policy of another account": wrapping(procedure, "granting", whoever_made_it),
    "no grant stands in for an identity policy of another account": wrapping(procedure, "granting", no_stand_in),
    "the account's name in a key policy is enough": renaming(Naming.ACCOUNT, Naming.ISSUER),
    "a role that is named escapes its boundary": renaming(Naming.ISSUER, Naming.ITSELF),
    "a user who is named does not escape his boundary": renaming(Naming.ITSELF, Naming.ISSUER),
    "the root needs an identity policy": wrapping(procedure, "_identity_allows", only_identity),
    "identity policies are not asked": wrapping(procedure, "_identity_allows", lambda *_: True),
}

# ── statements ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def changed(holder: type, name: str, wrapper: Callable[..., Any]) -> Plant:
    return wrapping(holder, name, wrapper)


def with_field(name: str, value: Any) -> Callable[..., Any]:
    """A method that sees another value in one field of its statement, or whatever it is of."""

    def method(original: Callable[..., Any], itself: Any, *args: Any, **options: Any) -> Any:
        return original(msgspec.structs.replace(itself, **{name: value}), *args, **options)

    return method


def effective(original: Callable[..., Any], statement: Any, action: str) -> bool:
    return not statement.actions.texts or original(statement, action)


def case_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    original = patterns.parse_patterns

    def parse(texts: Any, **options: bool) -> Any:
        return original(texts, variables=options.get("variables", False))

    monkeypatch.setattr(documents, "parse_patterns", parse)
    monkeypatch.setattr(procedure, "fold", lambda text: text)


def resources_fold(original: Callable[..., Any], statement: Any, resource: str, context: Any) -> bool:
    return original(statement, resource, context) or original(statement, resource.upper(), context)


def lenient(original: Callable[..., Any], itself: Any, value: str, context: Any, *, strict: bool = False) -> bool:
    return bool(original(itself, value, context))


def bounded_like_others(original: Callable[..., Any], statement: Any, question: Any) -> Any:
    unbounded = msgspec.structs.replace(question, documents=msgspec.structs.replace(question.documents, boundary=None))
    return original(statement, unbounded)


def any_name(_original: Any, named: Any, principal: Any) -> bool:
    return named.naming(principal) is not Naming.NOT


def own_name_alone(original: Callable[..., Any], named: Any, principal: Any) -> Any:
    called = original(named, principal)
    return Naming.NOT if called is Naming.ISSUER else called


def names_stay(original: Callable[..., Any], named: Any, ids: Any) -> Any:
    return msgspec.structs.replace(original(named, ids), arns=named.arns)


def spares_todays(original: Callable[..., Any], named: Any, principal: Any) -> bool:
    return bool(original(msgspec.structs.replace(named, arns=named.arns | set(named.ids.values())), principal))


def with_other_ids(**fields: str) -> Callable[..., Any]:
    """A method of what names somebody, who has other ids than he has."""

    def method(original: Callable[..., Any], itself: Any, principal: Any) -> Any:
        return original(itself, msgspec.structs.replace(principal, **fields))

    return method


STATEMENTS: dict[str, Plant] = {
    "NotAction is read as Action": changed(Statement, "concerns", with_field("excepts_actions", value=False)),
    "NotResource is read as Resource": changed(Statement, "covers", with_field("excepts_resources", value=False)),
    "a statement without Action has an effect": changed(Statement, "concerns", effective),
    "actions do not fold": case_counts,
    "resources fold": changed(Statement, "covers", resources_fold),
    "one condition of a statement is enough": changed(
        Statement,
        "is_met",
        lambda original, statement, context: (
            original(statement, context)
            or any(condition.holds(context, allows=statement.allows) for condition in statement.conditions)
        ),
    ),
    "an open variable leaves an Allow to the resources beside it": changed(patterns.Patterns, "matches", lenient),
    "NotPrincipal spares whom a boundary limits": wrapping(procedure, "naming", bounded_like_others),
    "one of the caller's names is enough for NotPrincipal": changed(Named, "excepts", any_name),
    "a role's name does not mean its sessions": changed(Named, "naming", own_name_alone),
    "a name means whoever has it today": changed(Named, "bound", lambda _original, named, _ids: named),
    "a name means whoever had it and whoever has it": changed(Named, "bound", names_stay),
    "NotPrincipal spares whoever has the names today": changed(Named, "excepts", spares_todays),
    "a unique id calls nobody": changed(Named, "_lists", lambda _original, named, arn, _id: arn in named.arns),
    "a role's unique id does not mean its sessions": changed(Named, "naming", with_other_ids(issuer_id="")),
    "a session is not called by the unique id of its role": changed(Named, "naming", with_other_ids(principal_id="")),
}

# ── conditions ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def absent(quantifier: Quantifier, answer: bool) -> Plant:
    """What a quantified condition says of a key that the request has not."""

    def holds(original: Callable[..., bool], condition: Any, context: Any, *, allows: bool) -> bool:
        is_absent = context.values_of(condition.key) is None and not condition.if_exists
        return (
            answer if is_absent and condition.quantifier is quantifier else original(condition, context, allows=allows)
        )

    return wrapping(Condition, "holds", holds)


def null_inverted(original: Callable[..., bool], condition: Any, context: Any, *, allows: bool) -> bool:
    return original(condition, context, allows=allows) != (condition.row is None)


def negated_needs_the_key(original: Callable[..., bool], condition: Any, context: Any, *, allows: bool) -> bool:
    if condition.row is not None and condition.row.negated and context.values_of(condition.key) is None:
        return bool(condition.if_exists)
    return original(condition, context, allows=allows)


def other_way_round(original: Callable[..., bool], condition: Any, context: Any, *, allows: bool) -> bool:
    return original(condition, context, allows=not allows)


def unfolded(original: Callable[..., bool], condition: Any, context: Any, *, allows: bool) -> bool:
    return original(msgspec.structs.replace(condition, key=condition.name), context, allows=allows)


def strictness(strict: bool) -> Callable[..., Any]:
    def comparands(original: Callable[..., Any], condition: Any, row: Any, context: Any, **_: Any) -> Any:
        return original(condition, row, context, strict=strict)

    return comparands


def one_differs(row: Any, value: str, comparands: Any) -> bool:
    """A negated operator that holds when one of the policy's values does not match."""
    try:
        read = row.read(value)
    except ValueError:
        return bool(row.negated)
    return any(row.meets(read, comparand) is not row.negated for comparand in comparands)


def unreadable_matches(original: Callable[..., bool], row: Any, value: str, comparands: Any) -> bool:
    try:
        row.read(value)
    except ValueError:
        return not row.negated
    return original(row, value, comparands)


def filled(variable: Any, context: Any, make: Callable[[str], Any], *, defaults: bool = True) -> Any:
    values = context.values_of(variable.key)
    if values is not None and len(values) == 1:
        return make(values[0])
    if defaults and values is None and variable.default is not None:
        return make(variable.default)
    raise UnresolvedVariableError(variable.key)


def always_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    original = patterns.parse_template
    for module in (patterns, conditions):
        monkeypatch.setattr(module, "parse_template", lambda text, **_: original(text, variables=True))


def rows(**changes: Callable[[Operator], Operator]) -> Plant:
    """Rows of the table of operators, changed."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        for name, change in changes.items():
            monkeypatch.setitem(OPERATORS, name, change(OPERATORS[name]))

    return plant


def arns_as_text(row: Operator) -> Operator:
    like = OPERATORS["StringLike"]
    return msgspec.structs.replace(row, build=like.build, read=like.read, meets=like.meets)


def folding(row: Operator) -> Operator:
    other = OPERATORS["StringEqualsIgnoreCase"]
    return msgspec.structs.replace(row, build=other.build, read=other.read)


def exact(row: Operator) -> Operator:
    other = OPERATORS["StringEquals"]
    return msgspec.structs.replace(row, build=other.build, read=other.read)


def comparing(meets: Callable[[Any, Any], bool]) -> Callable[[Operator], Operator]:
    return lambda row: msgspec.structs.replace(row, meets=meets)


def inverted(row: Operator) -> Operator:
    return msgspec.structs.replace(row, negated=not row.negated)


LANGUAGE: dict[str, Plant] = {
    "IfExists is not read": wrapping(Condition, "holds", with_field("if_exists", value=False)),
    "ForAllValues does not hold on an absent key": absent(Quantifier.ALL, answer=False),
    "ForAnyValue holds on an absent key": absent(Quantifier.ANY, answer=True),
    "Null is inverted": wrapping(Condition, "holds", null_inverted),
    "a negated operator needs the key": wrapping(Condition, "holds", negated_needs_the_key),
    "pairs that differ in case are judged the other way round": wrapping(Condition, "holds", other_way_round),
    "several values need no quantifier": lambda monkeypatch: monkeypatch.setattr(
        conditions, "is_multivalued", lambda _: False
    ),
    "a negated operator holds when one value differs": lambda monkeypatch: monkeypatch.setattr(
        conditions, "_matches", one_differs
    ),
    "what cannot be read matches": wrapping(conditions, "_matches", unreadable_matches),
    "an open variable lifts a Deny": wrapping(Condition, "_comparands", strictness(strict=True)),
    "an open variable leaves an Allow to the values beside it": wrapping(
        Condition, "_comparands", strictness(strict=False)
    ),
    "a wildcard in a variable counts": lambda monkeypatch: monkeypatch.setattr(
        patterns, "_filled", lambda variable, context: filled(variable, context, str)
    ),
    "a variable's default is not read": lambda monkeypatch: monkeypatch.setattr(
        patterns, "_filled", lambda variable, context: filled(variable, context, Literal, defaults=False)
    ),
    "variables expand in documents of the old version": always_variables,
    "names of keys do not fold": wrapping(Condition, "holds", unfolded),
    "values fold": rows(StringEquals=folding, StringNotEquals=folding),
    "IgnoreCase does not fold": rows(StringEqualsIgnoreCase=exact, StringNotEqualsIgnoreCase=exact),
    "wildcards count in StringEquals": rows(StringEquals=lambda _: OPERATORS["StringLike"]),
    "wildcards of ARNs cross colons": rows(ArnLike=arns_as_text, ArnEquals=arns_as_text),
    **{
        f"{kind}{name} is off by its limit": rows(**{f"{kind}{name}": comparing(meets)})
        for kind in ("Numeric", "Date")
        for name, meets in {
            "LessThan": operator.le,
            "LessThanEquals": operator.lt,
            "GreaterThan": operator.ge,
            "GreaterThanEquals": operator.gt,
        }.items()
    },
    **{f"{name} is inverted": rows(**{name: inverted}) for name in OPERATORS},
}

# ── grants ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def constrained(**changes: Any) -> Plant:
    """A grant's constraints, judged as if some of them were others."""

    def is_met(original: Callable[..., bool], grant: Any, action: str, context: Any) -> bool:
        constraints = grant.constraints
        replaced = {name: change(constraints) for name, change in changes.items()}
        return original(
            msgspec.structs.replace(grant, constraints=msgspec.structs.replace(constraints, **replaced)),
            action,
            context,
        )

    return wrapping(Grant, "is_met", is_met)


def on_everything(original: Callable[..., bool], grant: Any, _action: str, context: Any) -> bool:
    return original(grant, "kms:Encrypt", context)


def folding_pairs(fold: Callable[[str], str], of_value: Callable[[str], str]) -> Plant:
    """Constraints and requests compare their pairs, folded in another way."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        def pairs(context: Any) -> tuple[str, ...]:
            return tuple(sorted(f"{fold(key)}\0{of_value(value)}" for key, value in context.items()))

        monkeypatch.setattr("strongroom.kms.iam.grants.whole_context", pairs)
        monkeypatch.setattr("testkit.policy_cases.whole_context", pairs)

    return plant


GRANTS: dict[str, Plant] = {
    "no constraint is looked at": wrapping(Grant, "is_met", lambda *_: True),
    "EncryptionContextEquals is not looked at": constrained(context_equals=lambda _: None),
    "EncryptionContextSubset is not looked at": constrained(context_subset=lambda _: None),
    "SourceArn is not looked at": constrained(source_arn=lambda _: None),
    "Equals is read as Subset": constrained(
        context_equals=lambda _: None, context_subset=lambda given: given.context_equals or given.context_subset
    ),
    "Subset is read as Equals": constrained(
        context_subset=lambda _: None, context_equals=lambda given: given.context_subset or given.context_equals
    ),
    "constraints on pairs bind operations without any": wrapping(Grant, "is_met", on_everything),
    "keys of pairs do not fold": folding_pairs(str, str),
    "values of pairs fold": folding_pairs(str.lower, str.lower),
    "a grant gives every operation": wrapping(Grant, "gives", lambda *_: True),
    "a grant names everybody": wrapping(Grant, "naming", lambda *_: Naming.ITSELF),
    "a grant to a role is none to its sessions": wrapping(Grant, "naming", own_name_alone),
    "a grant does not know a unique id": wrapping(Grant, "naming", with_other_ids(principal_id="", issuer_id="")),
    "a grant by unique id means whoever has it as his own alone": wrapping(
        Grant, "naming", with_other_ids(issuer_id="")
    ),
    "grants are not looked at": wrapping(procedure, "granting", lambda *_, **__: Naming.NOT),
}

FAULTS = {**PROCEDURE, **STATEMENTS, **LANGUAGE, **GRANTS}


def test_without_a_fault_nothing_is_found() -> None:
    for number in range(500):
        case, naive = expected(number)
        assert procedure.evaluate(question_of(case)).verdict.value == naive


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_finds(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_found(monkeypatch, FAULTS[fault])
