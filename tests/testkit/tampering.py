"""What an intruder into the normal world could do: edit the store's rows, with or without the store key, and speak to
the HSM as the service host.

Rows are written from the documented format alone (kms/storage/rows.py: HMAC-SHA-256 over msgpack([table, field, …])), so a
forged row is what an attacker would write who holds the store key, and not what the product's own code writes.
"""

from __future__ import annotations

import hmac
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from strongroom.boundary import session
from strongroom.boundary.domain_token import parse_domain_token
from strongroom.boundary.frames import FrameReader, FrameType, format_frame
from strongroom.boundary.messages import Answer, Command, CommandFrame, KeyBinding, decode_answer_frame, encode_message
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.kms.hsm_link.host_session import Handshake, HostIdentity
from testkit.sealed_state import SealedState

Row = dict[str, Any]


def row_mac(store_key: bytes, table: str, columns: Sequence[Any]) -> bytes:
    known = list(columns)
    while known and known[-1] is None:  # NULLs at the end are left out.
        known.pop()
    return hmac.digest(store_key, msgspec.msgpack.encode([table, *known]), "sha256")


class StoreEditor:
    """A home's store, opened behind the service's back. Without `store_key` rows keep the MAC that they had."""

    def __init__(self, connection: sqlite3.Connection, store_key: bytes | None) -> None:
        self._connection = connection
        self._store_key = store_key

    def rows(self, table: str, **where: Any) -> list[Row]:
        condition = " AND ".join(f"{name} = ?" for name in where) or "1"
        cursor = self._connection.execute(f"SELECT * FROM {table} WHERE {condition}", tuple(where.values()))  # noqa: S608
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def row(self, table: str, **where: Any) -> Row:
        (row,) = self.rows(table, **where)
        return row

    def change(self, table: str, row: Row, **changes: Any) -> None:
        """Replace a row by itself with changes; `mac` may be among them."""
        self.delete(table, row)
        self.insert(table, row | changes)

    def delete(self, table: str, row: Row) -> None:
        condition = " AND ".join(f"{name} IS ?" for name in row)
        deleted = self._connection.execute(f"DELETE FROM {table} WHERE {condition}", tuple(row.values()))  # noqa: S608
        assert deleted.rowcount == 1

    def insert(self, table: str, row: Row) -> None:
        values = dict(row)
        if self._store_key is not None:
            values["mac"] = row_mac(self._store_key, table, [value for name, value in row.items() if name != "mac"])
        marks = ", ".join("?" for _ in values)
        self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", tuple(values.values()))  # noqa: S608


@contextmanager
def edited_store(home: Path, store_key: bytes | None) -> Iterator[StoreEditor]:
    """Edit a home's store in one transaction, whether its service runs or not."""
    with closing(sqlite3.connect(home / "service" / "store.db", isolation_level=None, timeout=60)) as connection:
        # SQLite leaves foreign keys off unless asked: so would an attacker.
        connection.execute("BEGIN IMMEDIATE")
        yield StoreEditor(connection, store_key)
        connection.execute("COMMIT")


def open_secrets(home: Path) -> tuple[SealedState, bytes]:
    """The sealed state and the store key of a home."""
    state = SealedState.open(home)
    return state, state.store_key(home / "service" / "store.db")


class HsmPeer:
    """The service host's end of an HSM connection, with the home's own identity, saying whatever it likes."""

    def __init__(self, home: Path) -> None:
        token = max((home / "domain").glob("token-*"))
        _, domain = parse_domain_token(token.read_bytes())
        private: Any = load_pem_private_key((home / "host" / "identity.pem").read_bytes(), None)
        self._identity = HostIdentity("service-1", private)
        self._reader = FrameReader()
        self._inbound, self._outbound = session.Direction(), session.Direction()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(60)
            self._socket.connect(str(home / "run" / "hsm" / "hsm-1.sock"))
            handshake = Handshake(self._identity, domain, os.urandom)
            challenge = self._exchange(FrameType.HELLO, handshake.hello())
            self._session = handshake.accept(self._exchange(FrameType.FINISH, handshake.finish(challenge)), 0.0)
            opening = session.Open(self._session.token, os.urandom(session.RANDOM_BYTES))
            opened = msgspec.msgpack.decode(
                self._exchange(FrameType.OPEN, session.encode(opening)), type=session.Opened
            )
            self._keys = session.direction_keys(self._session.key.expose(), opening, opened, "service-1")
        except BaseException:
            self.close()
            raise

    @property
    def session_token(self) -> bytes:
        return self._session.token

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _exchange(self, frame_type: FrameType, body: bytes) -> bytes:
        self._socket.sendall(format_frame(frame_type, body))
        while True:
            data = self._socket.recv(1 << 16)
            assert data, "the HSM hung up"
            for answer_type, answer in self._reader.feed(data):
                if answer_type is FrameType.REFUSED:
                    raise RefusedError(Status(answer[0]))
                return answer

    def ask(self, keys: Sequence[KeyBinding], commands: Sequence[Command]) -> dict[int, Answer]:
        """The answers of one frame, by request id."""
        plaintext = encode_message(CommandFrame(False, list(keys), list(commands)))
        sealed = self._outbound.seal(self._keys[0], FrameType.COMMANDS, plaintext)
        answered = self._inbound.open(self._keys[1], FrameType.ANSWERS, self._exchange(FrameType.COMMANDS, sealed))
        answers = {answer.request_id: answer for answer in decode_answer_frame(answered).answers}
        assert set(answers) == {command.request_id for command in commands}, "one answer for every command"
        return answers


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def outcome_of(call: Callable[..., Any], **arguments: Any) -> tuple[str, int, str] | Any:
    """(code, HTTP status, message) of a boto3 call's refusal, or its answer where there was none."""
    from botocore.exceptions import ClientError

    try:
        return call(**arguments)
    except ClientError as error:
        answer = error.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]
