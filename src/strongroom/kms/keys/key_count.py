"""How many keys there are, at most: known without counting them again for every new one.

Counting takes time in proportion to the keys, so it is done once. From then on the number is a bound: every change of a
key's record, by any worker, raises it (a new key is such a change; that most changes are none costs only a count more).
Only when the bound reaches the limit are the keys counted again, and while nothing changes not even then.

One worker never lets its own requests exceed the limit, however many are under way. Several workers that create the last
keys at the same moment can exceed it by what is under way in the others.
"""

from __future__ import annotations

from typing import Final

from strongroom.kms.faults import LimitExceededException
from strongroom.kms.repositories import Store


class KeyCount:
    """The keys of one account in one region."""

    __slots__ = ("_account", "_being_made", "_changes", "_counted_at", "_known", "_region", "_store")

    def __init__(self, store: Store, account: str, region: str) -> None:
        self._store: Final = store
        self._account: Final = account
        self._region: Final = region
        # How many keys there were when they were counted; None before that.
        self._known: int | None = None
        # Changes of key records that were seen, ever, and by the time of the last count.
        self._changes = 0
        self._counted_at = 0
        self._being_made = 0

    def note_change(self) -> None:
        """Some key's record changed, appeared or went."""
        self._changes += 1

    def forget(self) -> None:
        """Too much changed to say what."""
        self._known = None

    async def reserve(self, keys_max: int) -> None:
        """A place for one more key, to be given back by `release` when it is made, or when it could not be made.

        Raises:
            LimitExceededException: there is none.
        """
        if self._bound() >= keys_max and (self._known is None or self._changes > self._counted_at):
            # Whatever changes while this waits counts on top of it.
            self._counted_at = self._changes
            self._known = await self._store.count_keys(self._account, self._region)
        if self._bound() >= keys_max:
            raise LimitExceededException(
                f"Key quota for this account in this region is {keys_max} but the current usage is {self._known}."
            )
        self._being_made += 1

    def release(self) -> None:
        # The key, if there is one, was perhaps not yet seen as a change.
        self._changes += 1
        self._being_made -= 1

    def _bound(self) -> int | float:
        if self._known is None:
            return float("inf")
        return self._known + (self._changes - self._counted_at) + self._being_made
