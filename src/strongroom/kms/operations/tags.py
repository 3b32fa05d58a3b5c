"""The rules of a key's tags that CreateKey, TagResource and UntagResource share.

Lengths are the model's. Wordings: LocalStack's tests that were validated against AWS (`test_kms.py`, tags).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from strongroom.kms.faults import TagException
from strongroom.kms.limits import Limits
from strongroom.kms.wire.shapes import Tag

_RESERVED: Final = "aws:"


def add_tags(existing: Mapping[str, str], tags: Sequence[Tag], limits: Limits) -> dict[str, str]:
    """The existing tags with the new ones; a key that is there already gets its new value."""
    added = {tag.TagKey: tag.TagValue for tag in tags}
    if len(added) < len(tags):
        raise TagException("Duplicate tag keys")
    together = {**existing, **added}
    # Whoever has too many since the limit was lowered may still change the values of those.
    if len(together) > max(limits.tags_per_key_max, len(existing)):
        raise TagException("Too many tags")
    if any(key.lower().startswith(_RESERVED) for key in added):
        raise TagException("Tags beginning with aws: are reserved")
    return together


def remove_tags(existing: Mapping[str, str], tag_keys: Sequence[str]) -> dict[str, str]:
    """The existing tags without these; what is not there need not be removed (API reference, UntagResource)."""
    return {key: value for key, value in existing.items() if key not in set(tag_keys)}
