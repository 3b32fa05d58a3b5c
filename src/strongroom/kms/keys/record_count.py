"""How many records of a kind there are, at most: known without counting them again for every new one.

Counting takes time in proportion to the records, so it is done once. From then on the number is a bound: every change of
one of them, by any worker, raises it (a new one is such a change; that most changes are none costs only a count more). Only
when the bound reaches the limit are they counted again, and while nothing changes not even then.

One worker never lets its own requests exceed the limit, however many are under way. Several workers that create the last
ones at the same moment can exceed it by what is under way in the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from strongroom.kms.faults import LimitExceededException

# AWS's words beyond a limit; in front stands what there is a quota of.
KEYS: Final = "Key quota for this account in this region is {limit} but the current usage is {usage}."
GRANTS: Final = "Grants per key quota for this account in this region is {limit}, current usage is {usage}."


class RecordCount:
    """The keys of one account, or the grants on one key."""

    __slots__ = ("_being_made", "_changes", "_count", "_counted_at", "_known", "_refusal")

    def __init__(self, count: Callable[[], Awaitable[int]], refusal: str) -> None:
        """`count` counts all of them; `refusal` is one of the texts above."""
        self._count: Final = count
        self._refusal: Final = refusal
        # How many there were when they were counted; None before that.
        self._known: int | None = None
        # Changes that were seen, ever, and by the time of the last count.
        self._changes = 0
        self._counted_at = 0
        self._being_made = 0

    def note_change(self) -> None:
        """One of them changed, appeared or went."""
        self._changes += 1

    def forget(self) -> None:
        """Too much changed to say what."""
        self._known = None

    @property
    def is_idle(self) -> bool:
        """Whether nobody is making one: then it can be forgotten, and costs a count more."""
        return self._being_made == 0

    async def reserve(self, limit: int) -> None:
        """A place for one more, to be given back by `release` when it is made, or when it could not be made.

        Raises:
            LimitExceededException: there is none.
        """
        if self._bound() >= limit and (self._known is None or self._changes > self._counted_at):
            # Whatever changes while this waits counts on top of it.
            self._counted_at = self._changes
            self._known = await self._count()
        if self._bound() >= limit:
            raise LimitExceededException(self._refusal.format(limit=limit, usage=self._known))
        self._being_made += 1

    def release(self) -> None:
        # The new one, if there is one, was perhaps not yet seen as a change.
        self._changes += 1
        self._being_made -= 1

    def _bound(self) -> int | float:
        if self._known is None:
            return float("inf")
        return self._known + (self._changes - self._counted_at) + self._being_made
