"""The ring of domain keys: one active, the deactivated ones behind it; all of them in the arena.

Invariant: nothing is sealed under any key but the active one, and never more often than SP 800-38D 8.3 allows for random
96-bit IVs (2^32 over all members; each process takes no more than 2^31 since its start).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from strongroom.boundary.statuses import RefusedError, Status

DOMAIN_KEY_BYTES: Final = 32
DOMAIN_KEY_ID_BYTES: Final = 16
_SEALS_MAX: Final = 1 << 31


class Ring:
    """Domain keys by id; the first one given is the active one."""

    __slots__ = ("_keys", "_seals", "active_id")

    def __init__(self, keys: list[tuple[bytes, memoryview]]) -> None:
        assert keys, "a ring without a domain key seals nothing"
        self._keys = dict(keys)
        self._seals = 0
        self.active_id = keys[0][0]

    def key(self, domain_key_id: bytes) -> memoryview:
        """A domain key for opening.

        Raises:
            RefusedError: UNKNOWN_DOMAIN_KEY, for one that never was in the ring or no longer is.
        """
        try:
            return self._keys[domain_key_id]
        except KeyError:
            raise RefusedError(Status.UNKNOWN_DOMAIN_KEY) from None

    def key_for_sealing(self) -> memoryview:
        """The active domain key, counted.

        Raises:
            RefusedError: DOMAIN_KEY_EXHAUSTED.
        """
        if self._seals >= _SEALS_MAX:
            raise RefusedError(Status.DOMAIN_KEY_EXHAUSTED)
        self._seals += 1
        return self._keys[self.active_id]

    def items(self) -> Iterator[tuple[bytes, memoryview]]:
        """Ids and keys, the active one first."""
        return iter(self._keys.items())
