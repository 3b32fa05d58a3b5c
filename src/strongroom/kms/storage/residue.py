"""What SQLite leaves in a store's files beside its rows: copies of cells in the room that a page does not use.

`secure_delete` overwrites the cell that is removed. When SQLite rebalances a tree it lays a page's cells anew, and what
stood before in the room that stays free is not overwritten: a row that is removed later may have a copy there. Source for
the layout: SQLite, "Database file format", 1.6 (b-tree pages) and 4.1 (the WAL).

Invariants:
- Pages that SQLite frees are overwritten (`secure_delete`), overflow pages hold nothing but their row: only the free room
  of b-tree pages can hold a copy.
- The file is read before the WAL: a page that is carried over meanwhile is seen in the one or in the other.
- The descriptor of the file stays open as long as SQLite has it: closing any would drop this process's locks on it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

# Of any 31 bytes in a row, a whole piece is found.
_PIECE_BYTES: Final = 16
# First byte of a b-tree page, and how long its header is: interior pages of indexes and tables, then their leaves.
_HEADER_BYTES: Final = {2: 12, 5: 12, 10: 8, 13: 8}
_FILE_HEADER_BYTES: Final = 100
_PAGE_SIZE_AT: Final = slice(16, 18)
_PAGE_SIZE_MAX: Final = 65_536
_WAL_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_PAGES_AT_ONCE: Final = 64


class Residue:
    """One store's files, looked at beneath SQLite."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError: the file cannot be read.
        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._wal = Path(f"{path}-wal")

    def holds_any(self, values: Collection[bytes]) -> bool:
        """Whether a part of any of these, none of which is in a row any more, stands anywhere; for a thread.

        Raises:
            OSError: the files cannot be read.
        """
        pieces = {
            value[at : at + _PIECE_BYTES]
            for value in values
            for at in range(0, len(value) - _PIECE_BYTES + 1, _PIECE_BYTES)
        }
        return any(_holds_piece(room, pieces) for room in self._free_rooms())

    def close(self) -> None:
        """Only after every connection of this process is closed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _free_rooms(self) -> Iterator[bytes]:
        descriptor = self._descriptor
        size = int.from_bytes(os.pread(descriptor, _FILE_HEADER_BYTES, 0)[_PAGE_SIZE_AT], "big")
        page_bytes = _PAGE_SIZE_MAX if size == 1 else size  # 65536 does not fit in two bytes.
        number = 0
        while chunk := os.pread(descriptor, page_bytes * _PAGES_AT_ONCE, page_bytes * number):
            for at in range(0, len(chunk), page_bytes):
                number += 1
                yield _free_room(chunk[at : at + page_bytes], number)
        with self._wal.open("rb") as wal:
            wal.seek(_WAL_HEADER_BYTES)
            while frame := wal.read(_FRAME_HEADER_BYTES + page_bytes):
                yield _free_room(frame[_FRAME_HEADER_BYTES:], int.from_bytes(frame[:4], "big"))


def _free_room(page: bytes, number: int) -> bytes:
    """What lies between a page's pointers and its cells; a page that is being written just now is taken whole."""
    start = _FILE_HEADER_BYTES if number == 1 else 0
    header_bytes = _HEADER_BYTES.get(page[start]) if len(page) > start else None
    if header_bytes is None:
        return b""
    cells = int.from_bytes(page[start + 3 : start + 5], "big")
    used_from = int.from_bytes(page[start + 5 : start + 7], "big") or _PAGE_SIZE_MAX
    free_from = start + header_bytes + 2 * cells
    return page[free_from:used_from] if free_from <= used_from <= len(page) else page


def _holds_piece(room: bytes, pieces: Collection[bytes]) -> bool:
    written = room.strip(b"\0")
    # Zeros at an edge may belong to a piece.
    padded = bytes(_PIECE_BYTES) + written + bytes(_PIECE_BYTES) if written else b""
    return any(padded[at : at + _PIECE_BYTES] in pieces for at in range(len(padded) - _PIECE_BYTES + 1))
