"""A request to the admin socket of a running service (form: kms/admin/server.py)."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, Final

_TIMEOUT_S: Final = 15.0


class AdminRefusedError(Exception):
    """The service's own words about why not."""


def ask(home: Path, command: str, timeout_s: float = _TIMEOUT_S, /, **arguments: str) -> Any:
    """The result of a command, done by whichever worker is there first.

    Raises:
        AdminRefusedError: the service refused it.
        ConnectionError: no service runs on this home, or this user may not ask.
    """
    return _ask(_sockets(home) / "admin.sock", command, timeout_s, arguments)


def workers(home: Path) -> list[str]:
    """Names of the workers that the last start had."""
    return sorted((path.stem for path in _sockets(home).glob("w*.sock")), key=lambda name: (len(name), name))


def ask_worker(home: Path, worker: str, command: str, **arguments: str) -> Any:
    """`ask`, of one worker: what it says of itself."""
    return _ask(_sockets(home) / f"{worker}.sock", command, _TIMEOUT_S, arguments)


def _sockets(home: Path) -> Path:
    return home / "run" / "kms"


def _ask(path: Path, command: str, timeout_s: float, arguments: dict[str, str]) -> Any:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            _connect(connection, path)
        except OSError:
            raise ConnectionError(f"no service answers on {path}: is `strongroom up` running for this home?") from None
        received = b""
        try:
            connection.sendall(json.dumps({"command": command, "arguments": arguments}).encode() + b"\n")
            while chunk := connection.recv(1 << 16):
                received += chunk
        except (BrokenPipeError, ConnectionResetError):
            received = b""
        except TimeoutError:
            raise ConnectionError("the service does not answer") from None
    if not received:
        raise ConnectionError("the service hung up: this user is not one of its operators")
    answer = json.loads(received)
    if "error" in answer:
        raise AdminRefusedError(answer["error"])
    return answer["result"]


def _connect(connection: socket.socket, path: Path) -> None:
    """By way of its folder: an address holds 107 bytes, and a link to the home may be longer than what it serves on."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
