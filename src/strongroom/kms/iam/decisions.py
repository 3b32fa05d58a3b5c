"""Decisions kept under everything that they depend on.

A decision depends on the principal with its documents, the action, the resource with its policy and grants, and the values
of the condition keys that some statement can ask for. The first three are where it is kept; where there are such keys, a
`VaryingDecision` is kept instead, with one decision per combination of their values.
"""

from __future__ import annotations

from typing import Final, Literal

from strongroom.kms.iam.condition_keys import VOLATILE
from strongroom.kms.iam.context import RequestContext, source_of
from strongroom.kms.iam.evaluate import Decision

# Values are the caller's: whoever sends others with every request must not fill the memory.
_COMBINATIONS_MAX: Final = 256
_VALUE_CHARS_MAX: Final = 1024
# And there are many principals, actions and resources: of all together, so much is kept in a worker.
_CHARS_MAX: Final = 32 * 1024 * 1024
# What one combination takes beside its values.
_COMBINATION_CHARS: Final = 320

Values = tuple[tuple[str, ...] | None, ...]


class Room:
    """How much is kept under the values that callers chose; when it is too much, all of it is forgotten."""

    __slots__ = ("_chars", "_chars_max", "_kept")

    def __init__(self, chars_max: int = _CHARS_MAX) -> None:
        self._chars_max = chars_max
        self._chars = 0
        self._kept: list[dict[Values, Decision]] = []

    def take(self, chars: int, where: dict[Values, Decision]) -> None:
        """For one combination more in there."""
        self._chars += chars + _COMBINATION_CHARS
        if self._chars > self._chars_max:
            for decisions in self._kept:
                decisions.clear()
            self._kept.clear()
            self._chars = chars + _COMBINATION_CHARS
        if not where:
            self._kept.append(where)


_ROOM: Final = Room()


class VaryingDecision:
    """One principal's decisions about one action on one resource, by the values of `keys`."""

    __slots__ = ("_decisions", "_is_volatile", "_room", "_sources", "keys")

    # Whoever wants to know must ask with a request.
    allowed: Literal[False] = False

    def __init__(self, action: str, keys: tuple[str, ...], room: Room = _ROOM) -> None:
        self.keys: Final = keys
        self._sources: Final = tuple(source_of(action, key) for key in keys)
        self._is_volatile: Final = not VOLATILE.isdisjoint(keys)
        self._decisions: dict[Values, Decision] = {}
        self._room = room

    def values(self, context: RequestContext) -> Values:
        """What this request has under the keys."""
        return tuple([source(context) for source in self._sources])

    def find(self, values: Values) -> Decision | None:
        return self._decisions.get(values)

    def keep(self, values: Values, decision: Decision) -> None:
        chars = sum(len(text) for texts in values for text in texts or ())
        if self._is_volatile or chars > _VALUE_CHARS_MAX:
            return
        if len(self._decisions) >= _COMBINATIONS_MAX:
            self._decisions.clear()
        self._room.take(chars, self._decisions)
        self._decisions[values] = decision
