"""Why a decision is what it is: the procedure of `evaluate`, with everything said aloud.

Which statement of which document applied and which not, and what it failed by; of conditions both values; of grants what
did not fit; and what would have to change. Nothing here decides: `explain` asks `evaluate`, and shows what it looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from strongroom.kms.iam.conditions import Condition
from strongroom.kms.iam.documents import PolicyDocument, PolicyKind, Statement
from strongroom.kms.iam.evaluate import Decision, Question, Verdict, evaluate, naming
from strongroom.kms.iam.grants import Grant
from strongroom.kms.iam.patterns import Context, Template, UnresolvedVariableError, fold, plain_text
from strongroom.kms.iam.principals import Naming, Principal, PrincipalKind


class ConditionTrace(msgspec.Struct, frozen=True):
    """A condition as written, what its values are for this request, and what the request has (None: nothing)."""

    operator: str
    key: str
    wanted: tuple[str, ...]
    found: tuple[str, ...] | None
    holds: bool


class StatementTrace(msgspec.Struct, frozen=True):
    """One statement; it applies if everything below says yes."""

    policy: str
    document: str
    place: str
    sid: str
    effect: str
    applies: bool
    principal_matches: bool
    action_matches: bool
    resource_matches: bool
    conditions: tuple[ConditionTrace, ...]
    # Whom it means, where that is whoever had a name of the caller's before him.
    predecessor: str = ""

    @property
    def failures(self) -> int:
        """How many things would have to be otherwise for it to apply."""
        plain = (self.principal_matches, self.action_matches, self.resource_matches)
        return plain.count(False) + sum(not condition.holds for condition in self.conditions)


class GrantTrace(msgspec.Struct, frozen=True):
    grant_id: str
    applies: bool
    grantee_matches: bool
    operation_matches: bool
    constraints_hold: bool


class Trace(msgspec.Struct, frozen=True):
    """`changes` is what would have to be otherwise, empty where it is allowed; `left_out` counts statements not shown."""

    decision: Decision
    statements: tuple[StatementTrace, ...]
    grants: tuple[GrantTrace, ...]
    changes: tuple[str, ...]
    left_out: int = 0


def explain(question: Question, *, statements_max: int | None = None) -> Trace:
    """Why the decision is what it is. Of more statements than the most, those about the action are looked at first."""
    decision = evaluate(question)
    found = [
        (document, at, statement)
        for document in _documents(question)
        for at, statement in enumerate(document.statements)
    ]
    left_out = 0
    if statements_max is not None and len(found) > statements_max:
        left_out = len(found) - statements_max
        action = fold(question.action)
        # Stable: among those that are about the action, and among the others, the order stays.
        found = sorted(found, key=lambda place: not place[2].concerns(action))[:statements_max]
    statements = tuple(_statement(*place, question) for place in found)
    grants = tuple(_grant(grant, question) for grant in question.grants)
    changes = tuple(_changes(question, decision, statements, grants))
    return Trace(decision, statements, grants, changes, left_out)


def _documents(question: Question) -> Iterator[PolicyDocument]:
    """Every document that applies, in the order in which a refusal names them."""
    is_under_controls = question.principal.kind is not PrincipalKind.AWS_SERVICE
    for document in question.documents.all():
        if is_under_controls or document.kind is not PolicyKind.SERVICE_CONTROL:
            yield document
    yield from question.resource_controls
    if question.resource_policy is not None:
        yield question.resource_policy


def _statement(document: PolicyDocument, at: int, statement: Statement, question: Question) -> StatementTrace:
    context = question.context
    plain = (
        naming(statement, question) is not Naming.NOT,
        statement.concerns(fold(question.action)),
        statement.covers(question.resource_arn, context),
    )
    conditions = tuple(_condition(condition, context, allows=statement.allows) for condition in statement.conditions)
    return StatementTrace(
        document.kind.value,
        document.name,
        f"Statement[{at}]",
        statement.sid,
        "Allow" if statement.allows else "Deny",
        all(plain) and all(condition.holds for condition in conditions),
        *plain,
        conditions,
        _predecessor(statement, question.principal),
    )


def _predecessor(statement: Statement, principal: Principal) -> str:
    """Whom a statement means by the caller's ARN, or by that of who is behind him, if it was saved before there was he."""
    names = dict(principal.identified)
    for unique_id, arn in () if statement.principals is None else sorted(statement.principals.ids.items()):
        today = names.get(arn, unique_id)
        if today != unique_id:
            return f"the {arn} of when it was saved ({unique_id}), not the one of today ({today})"
    return ""


def _condition(condition: Condition, context: Context, *, allows: bool) -> ConditionTrace:
    wanted = condition.texts
    if condition.templates:
        open_texts = {template.text: template for template in condition.templates}
        wanted = tuple(_shown(open_texts[text], context) if text in open_texts else text for text in wanted)
    return ConditionTrace(
        condition.operator,
        condition.name,
        wanted,
        context.values_of(condition.key),
        condition.holds(context, allows=allows),
    )


def _shown(template: Template, context: Context) -> str:
    try:
        return plain_text(template.resolve(context))
    except UnresolvedVariableError as unresolved:
        return f"{template.text} (the request has no {unresolved})"


def _grant(grant: Grant, question: Question) -> GrantTrace:
    matches = (
        grant.naming(question.principal) is not Naming.NOT,
        grant.gives(question.action),
        grant.is_met(question.action, question.context),
    )
    return GrantTrace(grant.grant_id, all(matches), *matches)


# ── as text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def format_trace(trace: Trace) -> list[str]:
    """The decision, every statement and grant that was looked at, and what would have to change."""
    decision = trace.decision
    lines = ["allowed" if decision.allowed else f"denied {decision.reason}"]
    for statement in trace.statements:
        lacking = _lacking(statement)
        lines.append(
            f"  {_name(statement)}: {statement.effect}, " + ("applies" if statement.applies else "does not apply")
        )
        lines += [f"    - not {words}" for words in lacking]
    for grant in trace.grants:
        lines.append(f"  grant {grant.grant_id}: " + ("applies" if grant.applies else "does not apply"))
    if trace.left_out:
        lines.append(f"  and {trace.left_out} more statements")
    return [*lines, *trace.changes]


def _lacking(trace: StatementTrace) -> list[str]:
    caller = f"the caller: it means {trace.predecessor}" if trace.predecessor else "the caller"
    plain = (
        (trace.principal_matches, caller),
        (trace.action_matches, "the action"),
        (trace.resource_matches, "the resource"),
    )
    return [
        *(words for matches, words in plain if not matches),
        *(_met(condition) for condition in trace.conditions if not condition.holds),
    ]


# ── what would have to change ───────────────────────────────────────────────────────────────────────────────────────────


def _changes(
    question: Question, decision: Decision, statements: tuple[StatementTrace, ...], grants: tuple[GrantTrace, ...]
) -> Iterator[str]:
    if decision.allowed:
        return
    for trace in statements:
        if trace.predecessor and trace.action_matches:
            yield f"{_name(trace)} means {trace.predecessor}. Saved again, it would mean the one of today."
    kind = decision.source
    assert kind is not None, "only what is allowed needs no policy"
    if decision.verdict is Verdict.EXPLICIT_DENY:
        for trace in statements:
            if trace.effect == "Deny" and trace.applies and trace.policy == kind.value:
                yield f"{_name(trace)} denies. It would not if {_otherwise(trace)}."
        return
    yield f"Nothing in {kind.value} allows {question.action} on {question.resource_arn} to {question.principal.arn}."
    nearest = [trace for trace in statements if trace.effect == "Allow" and trace.policy == kind.value]
    fewest = min((trace.failures for trace in nearest), default=0)
    for trace in nearest:
        if 0 < trace.failures == fewest:
            yield f"{_name(trace)} would allow if {_and_then(trace)}."
    if kind in {PolicyKind.KEY, PolicyKind.IDENTITY}:
        for grant in grants:
            if grant.grantee_matches and not grant.applies:
                what = "its constraints held" if grant.operation_matches else f"it gave {question.action}"
                yield f"The grant {grant.grant_id} would allow if {what}."


def _name(trace: StatementTrace) -> str:
    sid = f" ({trace.sid})" if trace.sid else ""
    document = f" {trace.document}" if trace.document else ""
    return f"{trace.place}{sid} of {trace.policy}{document}"


def _and_then(trace: StatementTrace) -> str:
    """What an Allow that does not apply lacks."""
    unmet = [_met(condition) for condition in trace.conditions if not condition.holds]
    unnamed = _lacking(msgspec.structs.replace(trace, predecessor=""))[: trace.failures - len(unmet)]
    return " and ".join(
        [f"it named {words}" for words in unnamed] + [words.replace(" of ", " held for ", 1) for words in unmet]
    )


def _met(condition: ConditionTrace) -> str:
    found = "absent" if condition.found is None else ", ".join(map(repr, condition.found))
    wanted = ", ".join(map(repr, condition.wanted))
    return f"{condition.operator} of {condition.key}, which is {found}, against {wanted}"


def _otherwise(trace: StatementTrace) -> str:
    """What would keep a Deny from applying."""
    if not trace.conditions:
        return "it were not there"
    return "one of these did not hold: " + "; ".join(map(_met, trace.conditions))
