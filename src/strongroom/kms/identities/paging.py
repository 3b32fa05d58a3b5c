"""Lists of IAM, a page at a time.

A page may hold fewer than were asked for and still not be the last (IAM API reference, `IsTruncated`): so a filter that
fits nobody costs a request no more than it costs to look at so many. Markers are ours and opaque: the last name seen.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from strongroom.kms.identities.faults import ValidationError

# IAM API reference, ListUsers: "If you do not include this parameter, the number of items defaults to 100."
ITEMS_DEFAULT: Final = 100
# Ours: reading and verifying so many records takes the event loop some milliseconds.
_LOOKED_AT_MAX: Final = 500

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some items; with a marker, there may be more behind them."""

    items: list[T]
    marker: str | None = None

    @property
    def is_truncated(self) -> bool:
        return self.marker is not None


async def page_of_records(
    request: Any,
    read: Callable[[str, int], Awaitable[list[T]]],
    name_of: Callable[[T], str],
    is_wanted: Callable[[T], bool] = lambda _: True,
) -> Page[T]:
    """Those of a request with Marker and MaxItems; `read` gives records by name, after one and so many.

    Raises:
        ValidationError: the marker is none of ours.
    """
    after, items_max = parse_marker(request.Marker), request.MaxItems or ITEMS_DEFAULT
    found: list[T] = []
    records = await read(after, _LOOKED_AT_MAX)
    for place, record in enumerate(records, 1):
        if is_wanted(record):
            found.append(record)
            if len(found) == items_max:
                has_more = place < len(records) or len(records) == _LOOKED_AT_MAX
                return Page(found, format_marker(name_of(record)) if has_more else None)
    has_more = len(records) == _LOOKED_AT_MAX
    return Page(found, format_marker(name_of(records[-1])) if has_more else None)


def page_of_names(request: Any, names: Sequence[str]) -> Page[str]:
    """The same of what is in memory, in the order of the names; their places do not matter, so that they may go meanwhile.

    Raises:
        ValidationError: the marker is none of ours.
    """
    after, items_max = parse_marker(request.Marker), request.MaxItems or ITEMS_DEFAULT
    rest = [name for name in sorted(names) if name > after]
    page = rest[:items_max]
    return Page(page, format_marker(page[-1]) if len(rest) > items_max else None)


def format_marker(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def parse_marker(marker: str | None) -> str:
    """The last item of the page before; empty for the first page.

    Raises:
        ValidationError: it is none of ours.
    """
    if not marker:
        return ""
    try:
        last = base64.urlsafe_b64decode(marker.encode("ascii")).decode()
    except (binascii.Error, ValueError):
        raise ValidationError("Invalid Marker.") from None
    # The decoder skips what is no base64: only what we could have written is a marker.
    if format_marker(last) != marker:
        raise ValidationError("Invalid Marker.")
    return last
