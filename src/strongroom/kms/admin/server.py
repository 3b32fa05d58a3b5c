"""The admin socket: JSON lines over a Unix socket, for users whom the kernel vouches for.

A request is `{"command": …, "arguments": {…}}`, an answer `{"result": …}` or `{"error": …}`; one request per connection.
Whoever may connect is decided by SO_PEERCRED against a list of user ids, before a byte is read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from strongroom.kms.admin.commands import AdminCommands, AdminError
from strongroom.kms.audit.segments import AuditUnavailableError
from strongroom.kms.driver import run
from strongroom.kms.faults import Fault
from strongroom.kms.repositories import ConflictError, RowForgedError, StoreUnavailableError
from strongroom.kms.wire.acceptor import Acceptor
from strongroom.kms.wire.validation import RequestRefused
from strongroom.protocol.strict_json import StrictJsonError, parse_strictly

_LINE_BYTES_MAX = 256 * 1024


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: str
    arguments: dict[str, Any] = {}


class AdminServer:
    """Serves on sockets that the supervisor made, until stopped."""

    def __init__(self, listening: Sequence[socket.socket], allowed_uids: set[int], commands: AdminCommands) -> None:
        self._allowed_uids = allowed_uids
        self._commands = commands
        self._acceptors = [Acceptor(sock, self._protocol) for sock in listening]

    def start(self) -> None:
        for acceptor in self._acceptors:
            acceptor.start()

    def stop(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()

    def _protocol(self) -> asyncio.Protocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(_LINE_BYTES_MAX), self._serve)

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
            request = msgspec.convert(parse_strictly(line), _Request)
            return {"result": await run(self._commands.run(uid, request.command, request.arguments))}
        except (StrictJsonError, msgspec.ValidationError):
            return {"error": "not a request"}
        except AdminError as error:
            return {"error": str(error)}
        except (Fault, RequestRefused) as refused:
            return {"error": f"{refused.code}: {refused.message}"}
        except (ConflictError, StoreUnavailableError, RowForgedError, AuditUnavailableError) as error:
            return {"error": f"{type(error).__name__}: {error}"}


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
