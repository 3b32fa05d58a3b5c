"""Leases: of several workers one does a chore, and one that was stopped cannot go on with it later.

The version of the lease's record is the fencing number. Every commit of a chore carries the lease one version on, so a
holder that was stopped, lost its lease to another and woke up again finds that its commit conflicts, whatever it believes
about the time. The expiry only says when others may ask; nothing depends on clocks that agree.
"""

from __future__ import annotations

from typing import Final

import msgspec

from strongroom.kms.repositories import ConflictError, LeaseRecord, Put, Store

LEASE_S: Final = 60.0


class Lease:
    """One worker's claim to one chore."""

    def __init__(self, store: Store, name: str, holder: str) -> None:
        self._store = store
        self._name = name
        self._holder = holder
        self._held: LeaseRecord | None = None

    async def take(self, now_s: float) -> bool:
        """Hold the lease from now on, unless another worker does.

        A worker that was started anew has its predecessor's name and goes on at once. A lease that would last longer than
        any does was written while the clock was elsewhere, and binds nobody.
        """
        record = await self._store.get(LeaseRecord, self._name)
        if record is not None and record.holder != self._holder and now_s < record.expires_at_s <= now_s + LEASE_S:
            self._held = None
            return False
        taken = LeaseRecord(
            name=self._name,
            version=1 if record is None else record.version + 1,
            holder=self._holder,
            expires_at_s=now_s + LEASE_S,
        )
        try:
            await self._store.commit([Put(taken, replaces=None if record is None else record.version)])
        except ConflictError:
            self._held = None
            return False
        self._held = taken
        return True

    def fence(self, now_s: float) -> Put:
        """To be committed with a change: it conflicts where the lease is no longer this worker's."""
        held = self._held
        assert held is not None, "a lease that was not taken"
        renewed = msgspec.structs.replace(held, version=held.version + 1, expires_at_s=now_s + LEASE_S)
        return Put(renewed, replaces=held.version)

    def passed(self, fence: Put) -> None:
        """The commit that carried this fence was made."""
        assert isinstance(fence.record, LeaseRecord)
        self._held = fence.record

    async def is_lost(self) -> bool:
        """After a conflict: whether it was the lease, and not what the chore wanted to change."""
        lost = await self._store.get(LeaseRecord, self._name) != self._held
        if lost:
            self._held = None
        return lost
