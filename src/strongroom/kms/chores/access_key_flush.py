"""The flush of last uses of access keys: every half minute, and at a clean stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from strongroom.kms.identities.key_uses import KeyUse, KeyUses
from strongroom.kms.identities.records import AccessKeyRecord, AccessKeyUsageRecord
from strongroom.kms.repositories import ConflictError, Put, Store

INTERVAL_S: Final = 30.0
# A stop waits this long for the last one.
LAST_FLUSH_S_MAX: Final = 2.0


class AccessKeyFlush:
    """One worker's, in the home region, where access keys are."""

    def __init__(self, store: Store, uses: KeyUses, is_known: Callable[[str], bool]) -> None:
        """`is_known` says whether this worker keeps whose an access key is."""
        self._store: Final = store
        self._uses: Final = uses
        self._is_known: Final = is_known
        # A stop flushes too, perhaps while a flush is under way.
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Store what is new, each by itself: one that another worker stores meanwhile is stored the next time."""
        async with self._lock:
            for access_key_id, use in self._uses.unstored():
                await self._store_one(access_key_id, use)
            self._uses.forget_stored(self._is_known)

    async def _store_one(self, access_key_id: str, use: KeyUse) -> None:
        used_at_s, signed = use.at_s, use.signed
        assert signed is not None, "a key was used for nothing"
        record = await self._store.get(AccessKeyUsageRecord, access_key_id)
        if record is None or used_at_s > record.used_at_s:
            if await self._store.get(AccessKeyRecord, access_key_id) is None:
                self._uses.forget(access_key_id)
                return
            version = 0 if record is None else record.version
            changed = AccessKeyUsageRecord(
                access_key_id=access_key_id,
                version=version + 1,
                used_at_s=used_at_s,
                service=signed.service,
                region=signed.region,
            )
            try:
                await self._store.commit([Put(changed, replaces=version or None)])
            except ConflictError:
                return
        use.stored_at_s = used_at_s
