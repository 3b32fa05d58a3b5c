"""The admin socket: JSON lines over a Unix socket, for users whom the kernel vouches for.

A request is `{"command": …, "arguments": {…}}`, an answer `{"result": …}` or `{"error": …}`; one request per connection.
Whoever may connect is decided by SO_PEERCRED against a list of user ids, before a byte is read.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress
from typing import Any

import msgspec

from strongroom.kms.admin.commands import AdminCommands, AdminError
from strongroom.kms.audit.segments import AuditUnavailableError
from strongroom.kms.driver import run
from strongroom.kms.faults import Fault
from strongroom.kms.repositories import ConflictError, RowForgedError, StoreUnavailableError

_LINE_BYTES_MAX = 256 * 1024


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: str
    arguments: dict[str, Any] = {}


class AdminServer:
    """Listens until stopped."""

    def __init__(self, path: str, allowed_uids: set[int], commands: AdminCommands) -> None:
        self._path = path
        self._allowed_uids = allowed_uids
        self._commands = commands
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._path)  # noqa: PTH108 -- a socket left by a killed predecessor.
        self._server = await asyncio.start_unix_server(self._serve, self._path, limit=_LINE_BYTES_MAX)
        os.chmod(self._path, 0o666)  # noqa: PTH101, S103 -- SO_PEERCRED is the check.

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            uid = _peer_uid(writer)
            if uid not in self._allowed_uids:
                return
            line = await asyncio.wait_for(reader.readline(), 10)
            writer.write(msgspec.json.encode(await self._answer(uid, line)) + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass
        finally:
            writer.close()

    async def _answer(self, uid: int, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line, type=_Request)
            return {"result": await run(self._commands.run(uid, request.command, request.arguments))}
        except msgspec.MsgspecError:
            return {"error": "not a request"}
        except AdminError as error:
            return {"error": str(error)}
        except Fault as fault:
            return {"error": f"{fault.code}: {fault.message}"}
        except (ConflictError, StoreUnavailableError, RowForgedError, AuditUnavailableError) as error:
            return {"error": f"{type(error).__name__}: {error}"}


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
