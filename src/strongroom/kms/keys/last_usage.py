"""What each key was last used for, as GetKeyLastUsage tells it: in memory first, in the store within a minute.

A worker notes every successful cryptographic call of its own; the chore `chores/usage_flush.py` takes the notes and stores
them. The newest of note and record is the answer, so a worker knows of its own calls at once and of another worker's
at most a flush later. What a crash takes is in the audit trail, from which the chore brings it back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, get_args

from strongroom.kms.repositories import KeyUsageRecord, Store
from strongroom.kms.wire.shapes import KeyLastUsageTrackingOperationShape

# The operations that count, from the model: those of cryptography.
TRACKED_OPERATIONS: Final = frozenset(get_args(KeyLastUsageTrackingOperationShape))

# Operation, time in seconds, id of the event in the trail, id of the request. A bare tuple: one is made per call.
Use = tuple[str, float, str, str]


def tracking_mark(region: str) -> str:
    """The name of the mark that says since when usage is known at all."""
    return f"usage-tracking:{region}"


class LastUsage:
    """One worker's notes for one region that are not in the store yet."""

    __slots__ = ("_leaving", "notes")

    def __init__(self) -> None:
        # By key id; whoever forms an outcome writes here.
        self.notes: dict[str, Use] = {}
        self._leaving: dict[str, Use] = {}

    def take(self) -> Mapping[str, Use]:
        """Begin a flush: what was noted so far; it is still found until `taken_is_stored` or `take_back`."""
        assert not self._leaving, "one flush at a time"
        self._leaving, self.notes = self.notes, {}
        return self._leaving

    def taken_is_stored(self) -> None:
        self._leaving = {}

    def take_back(self) -> None:
        """The flush failed: its notes count again, where nothing newer was noted meanwhile."""
        self.note_again(self._leaving)
        self._leaving = {}

    def note_again(self, uses: Mapping[str, Use]) -> None:
        """Uses that were noted before; what was noted since is newer."""
        self.notes = {**uses, **self.notes}

    def find(self, key_id: str) -> Use | None:
        return self.notes.get(key_id) or self._leaving.get(key_id)


def is_newer(use: Use, recorded_at_s: float) -> bool:
    """Whether a note replaces a record. One that came back from the trail has whole seconds: it wins within its second."""
    used_at_s = use[1]
    return used_at_s >= (math.floor(recorded_at_s) if used_at_s.is_integer() else recorded_at_s)


async def last_use(usage: LastUsage, store: Store, key_id: str) -> Use | None:
    """The newest use of a key that this worker knows of."""
    noted = usage.find(key_id)
    record = await store.get(KeyUsageRecord, key_id)
    if record is None or (noted is not None and is_newer(noted, record.used_at_s)):
        return noted
    return record.operation, record.used_at_s, record.event_id, record.request_id
