"""Why somebody was refused, as the audit record keeps it.

Working a reason out costs more than deciding, and whoever is refused tries again: reasons are kept with the decisions that
they explain, for as long as the same decision is kept. A reason has a bounded size: of a document with very many
statements it shows those about the action, and says how many it leaves out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from strongroom.kms.iam.evaluate import Decision, Question
from strongroom.kms.iam.explain import explain, format_trace

_KEPT_MAX: Final = 1_000
# A typical policy has a handful; AWS's longest, some hundreds.
STATEMENTS_MAX: Final = 64
_CHARS_MAX: Final = 8_192


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

    def __init__(self) -> None:
        # By the identity of a decision, which lives as long as its entry here, and the resource: many may share a decision.
        self._kept: OrderedDict[tuple[int, str], tuple[Decision, msgspec.Raw]] = OrderedDict()

    def of(self, question: Question, decision: Decision, also: Sequence[str] = ()) -> msgspec.Raw:
        """Of a refusal; `question` is what was decided, with its context, `also` what no explanation of it can say."""
        key = id(decision), question.resource_arn
        kept = self._kept.get(key)
        if kept is not None:
            return kept[1]
        reason = msgspec.Raw(_encode(_reason(question, decision, also)))
        if len(self._kept) >= _KEPT_MAX:
            self._kept.popitem(last=False)
        self._kept[key] = (decision, reason)
        return reason


def _reason(question: Question, decision: Decision, also: Sequence[str]) -> Reason:
    lines = [*format_trace(explain(question, statements_max=STATEMENTS_MAX)), *also]
    shown, chars = [], 0
    for line in lines:
        chars += len(line)
        if chars > _CHARS_MAX:
            break
        shown.append(line)
    policy = "" if decision.source is None else decision.source.value
    left_out = len(lines) - len(shown)
    return Reason(question.action, question.resource_arn, decision.verdict.value, policy, shown, left_out)
