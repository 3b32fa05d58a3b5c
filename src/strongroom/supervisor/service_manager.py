"""What a service manager is told: one datagram to the socket that it named (sd_notify(3), "Protocol")."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


def tell_service_manager(state: str) -> None:
    """Without one that asked, nothing happens; one that does not listen stops nobody."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A name in the abstract namespace begins with a zero byte, which no environment can hold.
    name = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.setblocking(False)  # noqa: FBT003 -- the socket's own interface.
        manager.sendto(state.encode(), name)
