"""A request as it arrived: its header names and its values kept apart.

A client spells and orders its header names the same way in every request. What depends on the names alone is worked out
once per such list and found again by it, so a request costs one look-up instead of a walk over its headers for everybody
who reads one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

# Ours: a fleet of clients has a handful of lists. Nobody needs a credential to send another one, so all are bounded: a
# list of 64 names and 2 KiB takes 12 KiB with its look-up table, 1,024 of them 12 MiB.
_LISTS_KEPT_MAX: Final = 1024
_LIST_NAMES_KEPT_MAX: Final = 64
_LIST_BYTES_KEPT_MAX: Final = 2048


# What says, beside a length, where a request ends or when its body comes.
_FRAMING: Final = frozenset((b"transfer-encoding", b"upgrade", b"expect"))


class HeaderNames:
    """The header names of a request, as spelled and in their order.

    `place_of` gives the place of a lower-case name, the last one where it occurs again; then `are_unique` is False.
    `length_place` is that of Content-Length; where they `are_plain`, it alone frames the body, and once at most, and there
    is one Host.
    What is not `is_kept` is another object for every request: nothing can be found again by it.
    """

    __slots__ = ("are_plain", "are_unique", "is_kept", "length_place", "place_of", "size_bytes", "spelled")

    def __init__(self, spelled: tuple[bytes, ...]) -> None:
        self.spelled: Final = spelled
        self.size_bytes: Final = sum(map(len, spelled))
        self.place_of: Final = {name.lower(): place for place, name in enumerate(spelled)}
        self.are_unique: Final = len(self.place_of) == len(spelled)
        self.length_place: Final = self.place_of.get(b"content-length")
        places = self.place_of
        self.are_plain: Final = self.are_unique and b"host" in places and places.keys().isdisjoint(_FRAMING)
        self.is_kept: Final = len(spelled) <= _LIST_NAMES_KEPT_MAX and self.size_bytes <= _LIST_BYTES_KEPT_MAX


_known: Final[dict[tuple[bytes, ...], HeaderNames]] = {}


def header_names(spelled: tuple[bytes, ...]) -> HeaderNames:
    """The same object for the same list, as long as it is remembered: it may be compared by identity."""
    names = _known.get(spelled)
    if names is None:
        names = HeaderNames(spelled)
        if names.is_kept:
            if len(_known) >= _LISTS_KEPT_MAX:
                _known.clear()
            _known[spelled] = names
    return names


class HttpRequest(msgspec.Struct, frozen=True, gc=False):
    """A request as it arrived; one value per name. A Struct, because making a frozen dataclass costs three times as much."""

    method: str
    target: bytes
    names: HeaderNames
    values: Sequence[bytes]
    body: bytes

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The header fields as received: for whoever must look at each of them."""
        return list(zip(self.names.spelled, self.values, strict=True))

    def value_of(self, name: bytes) -> bytes | None:
        """The value of a lower-case header name, the last one where it occurs again."""
        place = self.names.place_of.get(name)
        return None if place is None else self.values[place]


def http_request(method: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> HttpRequest:
    """A request from its header fields."""
    names = header_names(tuple(name for name, _ in headers))
    return HttpRequest(method, target, names, [value for _, value in headers], body)
