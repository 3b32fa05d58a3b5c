"""Every command and answer that crosses the wall inside a session, as MessagePack arrays.

A frame carries up to 64 commands of up to 4,096 bytes of data each, and the keys they need, each key once: commands name
a key by its place in `CommandFrame.keys`. An answer carries the request id of its command; one bad command fails alone.
No message holds a backing key, a derived key or a domain key in plain form, in either direction.
"""

from __future__ import annotations

from typing import Final

import msgspec

COMMANDS_PER_FRAME_MAX: Final = 64
DATA_BYTES_MAX: Final = 4096
RANDOM_BYTES_MAX: Final = 1024
# A re-encrypted blob is data as well as its own header and tag.
BLOB_BYTES_MAX: Final = 6144


class KeyBinding(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A backing key as the service's records describe it; the HSM compares every field with the EKT's own metadata."""

    ekt: bytes
    key_id: str
    account: str
    region: str
    hbkid: bytes
    spec: str
    usage: str
    current: bool


class GenerateHbk(msgspec.Struct, array_like=True, tag=1, frozen=True, gc=False):
    """Make a backing key for a KMS key and return it sealed; answered by `HbkAnswer`."""

    request_id: int
    key_id: str
    account: str
    region: str
    spec: str
    usage: str


class GenerateDataKey(msgspec.Struct, array_like=True, tag=2, frozen=True, gc=False):
    """Make a data key of 1 to 1,024 bytes; answered by `DataKeyAnswer`."""

    request_id: int
    key: int
    length: int
    context: dict[str, str]
    with_plaintext: bool


class Encrypt(msgspec.Struct, array_like=True, tag=3, frozen=True, gc=False):
    """Encrypt 1 to 4,096 bytes; answered by `CiphertextAnswer`."""

    request_id: int
    key: int
    plaintext: bytes
    context: dict[str, str]


class Decrypt(msgspec.Struct, array_like=True, tag=4, frozen=True, gc=False):
    """Open a blob; answered by `PlaintextAnswer`."""

    request_id: int
    key: int
    blob: bytes
    context: dict[str, str]


class ReEncrypt(msgspec.Struct, array_like=True, tag=5, frozen=True, gc=False):
    """Open a blob under one key and seal it under another without the plaintext leaving; `CiphertextAnswer`."""

    request_id: int
    source_key: int
    destination_key: int
    blob: bytes
    source_context: dict[str, str]
    destination_context: dict[str, str]


class GenerateRandom(msgspec.Struct, array_like=True, tag=6, frozen=True, gc=False):
    """1 to 1,024 random bytes; answered by `PlaintextAnswer`."""

    request_id: int
    length: int


class SealColumn(msgspec.Struct, array_like=True, tag=7, frozen=True, gc=False):
    """Seal a value of the service's own store for one column and row; answered by `SealedAnswer`."""

    request_id: int
    column: str
    row: str
    value: bytes


class UnsealColumn(msgspec.Struct, array_like=True, tag=8, frozen=True, gc=False):
    """Open what `SealColumn` sealed, for the same column and row only; answered by `PlaintextAnswer`."""

    request_id: int
    column: str
    row: str
    sealed: bytes


class SignAuditHead(msgspec.Struct, array_like=True, tag=9, frozen=True, gc=False):
    """Sign the digest of merged audit heads; the HSM adds its own clock. Answered by `SignatureAnswer`."""

    request_id: int
    digest: bytes


class GetHsmStatus(msgspec.Struct, array_like=True, tag=10, frozen=True, gc=False):
    """The HSM's state, measures and counters; answered by `StatusAnswer`."""

    request_id: int


class VerifyHbk(msgspec.Struct, array_like=True, tag=11, frozen=True, gc=False):
    """Open a key's EKT and compare it with its binding and with its HBKID, current or not; answered by `VerifiedAnswer`."""

    request_id: int
    key: int


Command = (
    GenerateHbk
    | GenerateDataKey
    | Encrypt
    | Decrypt
    | ReEncrypt
    | GenerateRandom
    | SealColumn
    | UnsealColumn
    | SignAuditHead
    | GetHsmStatus
    | VerifyHbk
)


class CommandFrame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a COMMANDS frame seals. `trace` asks for one `Trace` per keyed command beside the answers."""

    trace: bool
    keys: list[KeyBinding]
    commands: list[Command]


class HbkAnswer(msgspec.Struct, array_like=True, tag=1, frozen=True, gc=False):
    """A backing key, sealed as an EKT, and its id."""

    request_id: int
    ekt: bytes
    hbkid: bytes


class DataKeyAnswer(msgspec.Struct, array_like=True, tag=2, frozen=True, gc=False):
    """A wrapped data key; the plain one only where it was asked for."""

    request_id: int
    blob: bytes
    plaintext: bytes | None


class CiphertextAnswer(msgspec.Struct, array_like=True, tag=3, frozen=True, gc=False):
    """A ciphertext blob."""

    request_id: int
    blob: bytes


class PlaintextAnswer(msgspec.Struct, array_like=True, tag=4, frozen=True, gc=False):
    """Decrypted, unsealed or random bytes."""

    request_id: int
    plaintext: bytes


class SealedAnswer(msgspec.Struct, array_like=True, tag=5, frozen=True, gc=False):
    """A sealed column value."""

    request_id: int
    sealed: bytes


class SignatureAnswer(msgspec.Struct, array_like=True, tag=6, frozen=True, gc=False):
    """An ECDSA P-384 signature by the HSM `hsm_id` over the digest and `signed_at_s` of its own clock."""

    request_id: int
    hsm_id: str
    signed_at_s: int
    signature: bytes


class StatusAnswer(msgspec.Struct, array_like=True, tag=7, frozen=True, gc=False):
    """The report of `control.StatusReport`, encoded."""

    request_id: int
    report: bytes


class RefusedAnswer(msgspec.Struct, array_like=True, tag=8, frozen=True, gc=False):
    """Why one command was not done: a byte of `statuses.Status`."""

    request_id: int
    status: int


class VerifiedAnswer(msgspec.Struct, array_like=True, tag=9, frozen=True, gc=False):
    """What was to be verified holds; it says nothing else."""

    request_id: int


Answer = (
    HbkAnswer
    | DataKeyAnswer
    | CiphertextAnswer
    | PlaintextAnswer
    | SealedAnswer
    | SignatureAnswer
    | StatusAnswer
    | RefusedAnswer
    | VerifiedAnswer
)


class Trace(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the HSM tells of a command without secrets: which keys by name, which nonce, which lengths in bytes."""

    request_id: int
    command: str
    domain_key_id: bytes
    hbkid: bytes
    nonce: bytes
    ekt_length: int
    input_length: int
    output_length: int


class AnswerFrame(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an ANSWERS frame seals."""

    answers: list[Answer]
    traces: list[Trace]


# What decoding can raise when somebody else wrote the bytes: msgspec itself knows neither text that is not UTF-8 nor members
# that nobody asked for, nested deeper than the interpreter goes.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
encode_message = msgspec.msgpack.Encoder().encode
decode_command_frame = msgspec.msgpack.Decoder(CommandFrame).decode
decode_answer_frame = msgspec.msgpack.Decoder(AnswerFrame).decode


def audit_head_statement(domain_id: bytes, hsm_id: str, signed_at_s: int, digest: bytes) -> bytes:
    """The bytes that an audit head's signature covers, rebuilt by `strongroom audit verify` from the record."""
    return encode_message(("strongroom-audit-head-1", domain_id, hsm_id, signed_at_s, digest))
