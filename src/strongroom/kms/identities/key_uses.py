"""When this worker's callers used their access keys last: in memory first, in the store within half a minute.

Whoever is called notes a use in the caller's own `KeyUse`, and nothing else; the chore `chores/access_key_flush.py` stores
what is new. The newest of both is the answer of GetAccessKeyLastUsed, so a worker knows of its own calls at once and of
another worker's a flush later. What a crash takes, it takes: AWS does not promise more than some hours here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from strongroom.kms.identities.records import AccessKeyUsageRecord
from strongroom.kms.repositories import Store
from strongroom.protocol.sigv4 import Verified


class KeyUse(msgspec.Struct, eq=False, gc=False):
    """The last use of one key; 0 when there was none."""

    at_s: float = 0.0
    # What was signed for.
    signed: Verified | None = None
    stored_at_s: float = 0.0


class KeyUses:
    """By access key id: of keys that this worker knows, and of those whose last use is not stored yet."""

    def __init__(self) -> None:
        self._uses: Final[dict[str, KeyUse]] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def of(self, access_key_id: str) -> KeyUse:
        """Where to note uses of a permanent key."""
        return self._uses.setdefault(access_key_id, KeyUse())

    def unstored(self) -> list[tuple[str, KeyUse]]:
        """What the store does not know yet."""
        return [(access_key_id, use) for access_key_id, use in self._uses.items() if use.at_s > use.stored_at_s]

    def forget(self, access_key_id: str) -> None:
        """The key is gone."""
        self._uses.pop(access_key_id, None)

    def forget_stored(self, is_known: Callable[[str], bool]) -> None:
        """Of whom this worker does not know any more: nobody can note another use there, and the store has the last."""
        stored = [access_key_id for access_key_id, use in self._uses.items() if use.at_s <= use.stored_at_s]
        for access_key_id in stored:
            if not is_known(access_key_id):
                self.forget(access_key_id)

    async def last(self, store: Store, access_key_id: str) -> tuple[float, str, str] | None:
        """The newest use that this worker knows of: when, of which service, in which region."""
        record = await store.get(AccessKeyUsageRecord, access_key_id)
        use = self._uses.get(access_key_id)
        if use is not None and use.signed is not None and (record is None or use.at_s >= record.used_at_s):
            return use.at_s, use.signed.service, use.signed.region
        return None if record is None else (record.used_at_s, record.service, record.region)
