"""The worker's end of its channel to the supervisor: a socket of whole messages, each one JSON object.

Said: `{"said": "ready"}`, `{"said": "opened", "region": …}`, `{"said": "wanted", "region": …}`.
Heard: a region, as the configuration describes it, `{"refused": …}`: it will not be made, or `{"failed": …}`: not now.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

import msgspec

from strongroom.kms.config import RegionConfig

# A domain token is a few kilobytes, in base64.
_MESSAGE_BYTES_MAX: Final = 256 * 1024
_LOG = logging.getLogger("strongroom.kms")


class _NotMade(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    refused: str = ""
    failed: str = ""


class Supervisor:
    """Speaks and listens until `close`."""

    def __init__(self, channel: socket.socket) -> None:
        channel.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        self._channel = channel
        self._on_region: Callable[[RegionConfig], None] | None = None
        self._on_not_made: Callable[[str, bool], None] | None = None

    def ready(self) -> None:
        self._say({"said": "ready"})

    def want(self, region: str) -> None:
        self._say({"said": "wanted", "region": region})

    def opened(self, region: str) -> None:
        self._say({"said": "opened", "region": region})

    def _say(self, what: dict[str, str]) -> None:
        try:
            self._channel.send(msgspec.json.encode(what))
        except OSError as error:  # A supervisor that is gone takes us with it; one that is busy is asked again.
            _LOG.warning("the supervisor was not told: %s", error)

    def listen(self, on_region: Callable[[RegionConfig], None], on_not_made: Callable[[str, bool], None]) -> None:
        """`on_not_made` is told the region, and whether it was refused for good."""
        self._on_region, self._on_not_made = on_region, on_not_made
        asyncio.get_running_loop().add_reader(self._channel, self._hear)

    def _hear(self) -> None:
        assert self._on_region is not None
        assert self._on_not_made is not None
        try:
            data = self._channel.recv(_MESSAGE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._channel)
            return
        try:
            self._on_region(msgspec.json.decode(data, type=RegionConfig))
        except msgspec.ValidationError:
            not_made = msgspec.json.decode(data, type=_NotMade)
            self._on_not_made(not_made.refused or not_made.failed, bool(not_made.refused))

    def close(self) -> None:
        if self._on_region is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
