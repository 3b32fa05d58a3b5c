"""Requests of nobody known that were refused lately: what each was told, for an operator whom somebody asks why.

The audit trail counts them, for anybody can send them; this remembers the newest of one worker, in memory alone. It holds
what its sender was told, and the access key id that he claimed: no header, no signature, no token, no body.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

# Ours: a kilobyte each at the most; a flood pushes the others out.
KEPT_MAX: Final = 1_000
_MESSAGE_CHARS_MAX: Final = 512
# IAM API reference, AccessKey: its id has at most 128 characters.
_CREDENTIAL: Final = re.compile(rb"Credential=(\w{1,128})/", re.ASCII)


class Stranger(msgspec.Struct, frozen=True, gc=False):
    """`access_key_id` is what the request claims, empty where it claims none."""

    at_s: float
    code: str
    message: str
    source_ip: str
    access_key_id: str


class Strangers:
    """One worker's."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, Stranger] = OrderedDict()

    def note(self, request_id: str, code: str, message: str, source_ip: str, authorization: bytes | None) -> None:
        claimed = None if authorization is None else _CREDENTIAL.search(authorization)
        self._kept[request_id] = Stranger(
            self._clock(),
            code,
            message[:_MESSAGE_CHARS_MAX],
            source_ip,
            "" if claimed is None else claimed[1].decode(),
        )
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def find(self, request_id: str) -> Stranger | None:
        return self._kept.get(request_id)
