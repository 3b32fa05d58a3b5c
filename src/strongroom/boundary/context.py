"""The encryption context in its one canonical form.

| length | field |
|---|---|
| 2 | number of pairs, big-endian |
| then per pair, sorted by the UTF-8 bytes of the key: | |
| 2 | length of the key in bytes |
| n | key, UTF-8 |
| 2 | length of the value in bytes |
| n | value, UTF-8 |

Counts and lengths stand in front, so no two contexts share a form; an absent and an empty context are one.
Comparison is exact: no case folding, no Unicode normalisation (AWS KMS developer guide, "Encryption context").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# XKS proxies must take 8,192 bytes of additional data (XKS specification 1.0.3); nothing longer could be double-encrypted.
CONTEXT_BYTES_MAX: Final = 8192


class ContextTooLongError(ValueError):
    """The context's canonical form is over 8 KiB."""


def canonical_context(context: Mapping[str, str]) -> bytes:
    if not context:
        return b"\x00\x00"
    if 2 + 4 * len(context) > CONTEXT_BYTES_MAX:
        raise ContextTooLongError
    pairs = sorted([(key.encode(), value.encode()) for key, value in context.items()])
    parts = [len(pairs).to_bytes(2, "big")]
    total = 2
    for key, value in pairs:
        total += 4 + len(key) + len(value)
        if total > CONTEXT_BYTES_MAX:
            raise ContextTooLongError
        parts.append(b"%b%b%b%b" % (len(key).to_bytes(2, "big"), key, len(value).to_bytes(2, "big"), value))
    return b"".join(parts)
