"""A glance at SQLite's WAL index: has anybody committed since the last look?

The first 48 bytes of the `-shm` file are the index header; every commit by any process rewrites it after its frames are
durable and before it returns (SQLite, "WAL-mode file format", 2.2). Comparing them costs a tenth of `PRAGMA data_version`,
which stays the judge: a glance only says whether to ask it. A header read half-written differs, and so asks.

The judge errs in one thing: when a writer begins the WAL anew, the version moves before anything is committed. The header's
counter of transactions does not.

The file must stay open as long as SQLite has it: closing any descriptor of it would drop this process's locks on it.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

HEADER_BYTES: Final = 48
# "A counter that is incremented with each transaction" (as above, 2.2.1).
_TRANSACTIONS_AT: Final = slice(8, 12)


class WalIndex:
    """The mapped header of one store's WAL index."""

    __slots__ = ("_descriptor", "_map", "_seen")

    def __init__(self, store: Path) -> None:
        """Map the index; a connection in WAL mode must be open.

        Raises:
            OSError: there is no index to map.
        """
        self._descriptor = os.open(f"{store}-shm", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._map = mmap.mmap(self._descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            os.close(self._descriptor)
            raise OSError(f"{store}-shm cannot be mapped") from None
        self._seen = b""

    def is_unchanged(self) -> bool:
        """Whether the header is the one that `note` was told of."""
        return self._map[:HEADER_BYTES] == self._seen

    def glance(self) -> bytes:
        """The header now: to be read before what it stands for, and noted after."""
        return self._map[:HEADER_BYTES]

    def has_no_commit(self) -> bool:
        """Whether nothing was committed since the header that `note` was told of."""
        return self._seen != b"" and self._map[_TRANSACTIONS_AT] == self._seen[_TRANSACTIONS_AT]

    def note(self, header: bytes) -> None:
        self._seen = header

    def close(self) -> None:
        """Only after every connection of this process is closed."""
        if self._map.closed:
            return
        self._map.close()
        os.close(self._descriptor)
