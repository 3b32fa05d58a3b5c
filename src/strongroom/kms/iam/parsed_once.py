"""Documents parsed once per text: many records hold the same few, word for word.

Most are short, and many of them are remembered. A long one takes up to half a MiB when it is parsed, so that few are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVarTuple

from strongroom.kms.iam.documents import PolicyDocument

SHORT_CHARS_MAX: Final = 2_048
# Whatever a document depends on besides its text, all of it hashable.
More = TypeVarTuple("More")


def parsed_once(
    parse: Callable[[str, *More], PolicyDocument], *, short_max: int, long_max: int
) -> Callable[[str, *More], PolicyDocument]:
    """The same, which remembers so many documents of each length; what it raises, it raises each time."""
    parse_short, parse_long = lru_cache(short_max)(parse), lru_cache(long_max)(parse)

    def parsed(text: str, *more: *More) -> PolicyDocument:
        return parse_short(text, *more) if len(text) <= SHORT_CHARS_MAX else parse_long(text, *more)

    return parsed
