"""Commands of every kind that the HSM knows, and of each those that it refuses, by a service host of our own.

A host of our own decides what goes into a frame, and knows the keys of its session. `KINDS` is the table: a command for a
request id, and how the HSM answers it.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from strongroom.boundary import session
from strongroom.boundary.domain_token import parse_domain_token
from strongroom.boundary.frames import FrameReader, FrameType, format_frame
from strongroom.boundary.messages import (
    BLOB_BYTES_MAX,
    DATA_BYTES_MAX,
    RANDOM_BYTES_MAX,
    CommandFrame,
    Decrypt,
    Encrypt,
    GenerateDataKey,
    GenerateHbk,
    GenerateRandom,
    GetHsmStatus,
    KeyBinding,
    ReEncrypt,
    SealColumn,
    SignAuditHead,
    UnsealColumn,
    VerifyHbk,
    decode_answer_frame,
    encode_message,
)
from strongroom.boundary.statuses import Status
from strongroom.kms.hsm_link.host_session import Handshake, HostIdentity
from testkit.installation import ACCOUNT, REGION
from testkit.sealed_state import Ekt, SealedState

COLUMN, ROW, OTHER_ROW = "settings.value", "store-key", "another row"
# Places of bindings in a frame: two good ones, and what is wrong with the others.
SOURCE, DESTINATION, ALTERED, OF_ANOTHER, OF_NO_DOMAIN_KEY, NOT_CURRENT, NOWHERE = range(7)


class Host:
    """A service host: its sessions' secrets are told to `keep`."""

    def __init__(self, home: Path, keep: Callable[[str, bytes], None]) -> None:
        private = load_pem_private_key((home / "host" / "identity.pem").read_bytes(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        (*_, token) = sorted((home / "domain").iterdir())
        _, domain = parse_domain_token(token.read_bytes())
        self._reader = FrameReader()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(home / "run" / "hsm" / "hsm-1.sock"))
        handshake = Handshake(HostIdentity("service-1", private), domain, os.urandom)
        challenge = self._exchange(FrameType.HELLO, handshake.hello())
        granted = handshake.accept(self._exchange(FrameType.FINISH, handshake.finish(challenge)), time.time())
        opening = session.Open(granted.token, os.urandom(session.RANDOM_BYTES))
        opened = msgspec.msgpack.decode(self._exchange(FrameType.OPEN, session.encode(opening)), type=session.Opened)
        session_key = granted.key.expose()
        self._keys = session.direction_keys(session_key, opening, opened, "service-1")
        self._outbound, self._inbound = session.Direction(), session.Direction()
        answered = msgspec.msgpack.decode(challenge, type=session.Challenge)
        transcript = session.transcript_of(handshake._hello, answered)
        theirs = session.parse_public(answered.hsm_public)
        keep("secret of the handshake", handshake._ephemeral.exchange(ec.ECDH(), theirs))
        keep("negotiated key", session.negotiated_key(handshake._ephemeral, answered.hsm_public, transcript))
        keep("session key", session_key)
        for name, key in zip(("host to HSM", "HSM to host"), self._keys, strict=True):
            keep(f"direction key ({name})", key)

    def _exchange(self, frame_type: FrameType, body: bytes) -> bytes:
        self._socket.sendall(format_frame(frame_type, body))
        while True:
            chunk = self._socket.recv(1 << 20)
            assert chunk, "the HSM hung up"
            for answer_type, answer in self._reader.feed(chunk):
                assert answer_type is not FrameType.REFUSED, answer
                return answer

    def ask(self, keys: list[KeyBinding], commands: list[Any]) -> list[Any]:
        """One frame, exactly as given."""
        sealed = self._outbound.seal(
            self._keys[0], FrameType.COMMANDS, encode_message(CommandFrame(trace=False, keys=keys, commands=commands))
        )
        answer = self._exchange(FrameType.COMMANDS, sealed)
        return decode_answer_frame(self._inbound.open(self._keys[1], FrameType.ANSWERS, answer)).answers

    def close(self) -> None:
        self._socket.close()


class Given(NamedTuple):
    """What a frame's commands are made of: a blob of the first key, a sealed column, and the encryption context."""

    blob: bytes
    sealed: bytes
    context: dict[str, str]


def bindings(state: SealedState, source: Ekt, destination: Ekt) -> list[KeyBinding]:
    """In the order of the places."""
    good = [_binding(source), _binding(destination)]
    altered = msgspec.structs.replace(good[0], ekt=_altered(source.token))
    of_another = msgspec.structs.replace(good[0], key_id=destination.key_id)
    nobodys = state.seal_ekt(source.metadata, os.urandom(32), domain_key_id=os.urandom(16), domain_key=os.urandom(32))
    of_no_domain_key = msgspec.structs.replace(good[0], ekt=nobodys)
    return [*good, altered, of_another, of_no_domain_key, msgspec.structs.replace(good[0], current=False)]


def _altered(token: bytes) -> bytes:
    return token[:-1] + bytes((token[-1] ^ 1,))


def _binding(ekt: Ekt) -> KeyBinding:
    m = ekt.metadata
    return KeyBinding(ekt.token, m.key_id, m.account, m.region, m.hbkid, m.spec, m.usage, current=True)


class Kind(NamedTuple):
    """How a command is made for a request id, and the status of its refusal; None for an answer."""

    make: Callable[[int, Given], Any]
    refused: Status | None = None


def _seal(length: int) -> Callable[[int, Given], Any]:
    return lambda n, _: SealColumn(n, COLUMN, OTHER_ROW, secrets.token_bytes(length))


def _generate_hbk(spec: str) -> Callable[[int, Given], Any]:
    return lambda n, _: GenerateHbk(n, "made here", ACCOUNT, REGION, spec, "ENCRYPT_DECRYPT")


def _encrypt(key: int, length: int) -> Callable[[int, Given], Any]:
    return lambda n, given: Encrypt(n, key, secrets.token_bytes(length), given.context)


def _generate(key: int, length: int, *, plain: bool = True) -> Callable[[int, Given], Any]:
    return lambda n, given: GenerateDataKey(n, key, length, given.context, with_plaintext=plain)


def _decrypt(key: int, context: dict[str, str] | None = None) -> Callable[[int, Given], Any]:
    return lambda n, given: Decrypt(n, key, given.blob, given.context if context is None else context)


def _re_encrypt(destination: int, context: dict[str, str] | None = None) -> Callable[[int, Given], Any]:
    return lambda n, given: ReEncrypt(
        n, SOURCE, destination, given.blob, given.context if context is None else context, given.context
    )


_RED: Final = {"tenant": "red"}
KINDS: Final[list[Kind]] = [
    Kind(_generate(SOURCE, 32)),
    Kind(_decrypt(SOURCE)),
    Kind(_encrypt(DESTINATION, 300)),
    Kind(_re_encrypt(DESTINATION)),
    Kind(_decrypt(SOURCE, _RED), Status.INVALID_CIPHERTEXT),
    Kind(_generate(DESTINATION, 64, plain=False)),
    Kind(lambda n, given: UnsealColumn(n, COLUMN, OTHER_ROW, given.sealed), Status.TOKEN_MISMATCH),
    Kind(lambda n, given: UnsealColumn(n, COLUMN, ROW, given.sealed)),
    Kind(_generate_hbk("SYMMETRIC_DEFAULT")),
    Kind(_seal(64)),
    Kind(lambda n, _: SignAuditHead(n, secrets.token_bytes(48))),
    Kind(lambda n, _: GenerateRandom(n, 32)),
    Kind(lambda n, _: VerifyHbk(n, SOURCE)),
    Kind(lambda n, _: GetHsmStatus(n)),
    # Refused before, while and after the key is opened.
    Kind(_generate(SOURCE, RANDOM_BYTES_MAX + 1), Status.DATA_LENGTH),
    Kind(_generate(ALTERED, 32), Status.TOKEN_INVALID),
    Kind(_generate(OF_NO_DOMAIN_KEY, 32), Status.UNKNOWN_DOMAIN_KEY),
    Kind(_generate(NOT_CURRENT, 32), Status.NOT_CURRENT),
    Kind(_encrypt(SOURCE, DATA_BYTES_MAX + 1), Status.DATA_LENGTH),
    Kind(_encrypt(OF_ANOTHER, 300), Status.TOKEN_MISMATCH),
    Kind(_encrypt(NOT_CURRENT, 300), Status.NOT_CURRENT),
    Kind(_decrypt(DESTINATION), Status.INVALID_CIPHERTEXT),
    Kind(_decrypt(NOWHERE), Status.MALFORMED),
    Kind(lambda n, given: Decrypt(n, SOURCE, bytes(BLOB_BYTES_MAX + 1), given.context), Status.DATA_LENGTH),
    Kind(_re_encrypt(DESTINATION, _RED), Status.INVALID_CIPHERTEXT),
    Kind(_re_encrypt(NOT_CURRENT), Status.NOT_CURRENT),
    Kind(lambda n, given: UnsealColumn(n, COLUMN, ROW, _altered(given.sealed)), Status.TOKEN_INVALID),
    Kind(_generate_hbk("RSA_2048"), Status.WRONG_USAGE),
    Kind(_seal(DATA_BYTES_MAX + 1), Status.DATA_LENGTH),
    Kind(lambda n, _: SignAuditHead(n, bytes(65)), Status.DATA_LENGTH),
    Kind(lambda n, _: GenerateRandom(n, RANDOM_BYTES_MAX + 1), Status.DATA_LENGTH),
    Kind(lambda n, _: VerifyHbk(n, OF_ANOTHER), Status.TOKEN_MISMATCH),
]
