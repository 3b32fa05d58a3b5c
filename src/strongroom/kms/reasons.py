"""Why somebody was refused, as the audit record keeps it.

Working a reason out costs more than deciding, and whoever is refused tries again: reasons are kept with the decisions that
they explain, for as long as the same decision is kept. Most are not, for what they depend on differs each time: a caller
who is refused all the time gets so much of a worker's time for his reasons, and no more. A reason has a bounded size: of a
document with very many statements it shows those about the action, and says how many it leaves out.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from strongroom.kms.iam.evaluate import NO_POLICY, NO_TRUST, Decision, Question, Verdict
from strongroom.kms.iam.explain import explain, format_trace

_KEPT_MAX: Final = 1_000
# A typical policy has a handful; AWS's longest, some hundreds.
STATEMENTS_MAX: Final = 64
_CHARS_MAX: Final = 8_192
# Of every second, CPU of a worker for the reasons of one caller, and of all of them. A plain one takes a fraction of a
# millisecond; with the longest documents that somebody can have, 20.
_OF_ONE_S_MAX: Final = 0.05
_OF_ALL_S_MAX: Final = 0.25
_UNTOLD: Final = (
    "so many refusals in a second were not looked into; strongroom iam explain says what such a request would get"
)


_NOTHING: Final = "there is nothing of this name, or nothing that this action is open to across accounts"


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """`trace` is what `strongroom iam why` prints; `lines_left_out` were too many."""

    action: str
    resource: str
    verdict: str
    policy: str
    trace: list[str]
    lines_left_out: int = 0


_encode: Final = msgspec.json.Encoder().encode


class Reasons:
    """The reasons of one region's refusals, encoded."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, worked_s: Callable[[], float] = time.thread_time
    ) -> None:
        """`worked_s` is the CPU that this thread used so far."""
        self._clock = clock
        self._worked_s = worked_s
        # Of the second that is now: by who asked.
        self._second = 0
        self._spent_s: dict[str, float] = {}
        self._spent_by_all_s = 0.0
        # By the identity of a decision, which lives as long as its entry here, and the resource: many may share a decision.
        self._kept: OrderedDict[tuple[int, str], tuple[Decision, msgspec.Raw]] = OrderedDict()

    def is_due(self, question: Question, decision: Decision) -> bool:
        """Whether `of` will work a reason out: whatever else is to be looked up for it need not be otherwise."""
        return (id(decision), question.resource_arn) not in self._kept and self._has_time(question.principal.arn)

    def of(self, question: Question, decision: Decision, also: Sequence[str] = ()) -> msgspec.Raw:
        """Of a refusal; `question` is what was decided, with its context, `also` what no explanation of it can say."""
        key = id(decision), question.resource_arn
        kept = self._kept.get(key)
        if kept is not None:
            return kept[1]
        caller, began_s = question.principal.arn, self._worked_s()
        if not self._has_time(caller):
            return msgspec.Raw(_encode(_untold(question, decision)))
        reason = msgspec.Raw(_encode(_reason(question, decision, also)))
        spent_s = self._worked_s() - began_s
        self._spent_s[caller] = self._spent_s.get(caller, 0.0) + spent_s
        self._spent_by_all_s += spent_s
        if len(self._kept) >= _KEPT_MAX:
            self._kept.popitem(last=False)
        self._kept[key] = (decision, reason)
        return reason

    def of_nothing(self, action: str, what: str, because: str) -> msgspec.Raw:
        """Of a refusal for which there is nothing whose policy could be looked at."""
        return msgspec.Raw(_encode(Reason(action, what, Verdict.IMPLICIT_DENY.value, "", [because])))

    def _has_time(self, caller: str) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second, self._spent_s, self._spent_by_all_s = second, {}, 0.0
        return self._spent_by_all_s < _OF_ALL_S_MAX and self._spent_s.get(caller, 0.0) < _OF_ONE_S_MAX


def _policy_of(decision: Decision) -> str:
    return "" if decision.source is None else decision.source.value


def _untold(question: Question, decision: Decision) -> Reason:
    lines = [f"denied {decision.reason}", _UNTOLD]
    return Reason(question.action, question.resource_arn, decision.verdict.value, _policy_of(decision), lines)


def _reason(question: Question, decision: Decision, also: Sequence[str]) -> Reason:
    lines = [*format_trace(explain(question, statements_max=STATEMENTS_MAX)), *also]
    if question.resource_policy is NO_POLICY or question.resource_policy is NO_TRUST:
        lines.insert(1, _NOTHING)
    shown, chars = [], 0
    for line in lines:
        chars += len(line)
        if chars > _CHARS_MAX:
            break
        shown.append(line)
    left_out = len(lines) - len(shown)
    return Reason(question.action, question.resource_arn, decision.verdict.value, _policy_of(decision), shown, left_out)
