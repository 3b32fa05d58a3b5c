r"""The bytes of the audit trail's lines, their chain of hashes, and the digest that the HSM signs. Pure.

Every line is ASCII-framed UTF-8 without spaces between its members and ends with one line feed. Members stand in
exactly this order; a number is decimal without leading zeros; a hash is 64 lower-case hexadecimal digits.

RECORD, one per event, in a segment:

    {"writer":"<writer>","seq":<seq>,"hash":"<hash>","event":<event>}\n

| member | meaning |
|---|---|
| writer | who keeps this chain: 1 to 32 of `a-z0-9_` |
| seq    | 1 for a writer's first record, then without gaps |
| hash   | SHA-256(previous hash, 32 bytes ‖ seq, 8 bytes big-endian ‖ event, exactly the bytes of this line) |
| event  | one JSON object, without a raw line feed, at most 262,144 bytes |

The previous hash of record 1 is SHA-256("strongroom-audit-chain-1" ‖ 0x00 ‖ writer).

SEGMENT START, the first line of every segment:

    {"writer":"<writer>","first":<seq>,"previous":"<hash>"}\n

`first` is the seq of the record that follows, `previous` the hash of the record before it.

HEAD, in `heads.jsonl`:

    {"heads":[{"writer":"<writer>","seq":<seq>,"hash":"<hash>"},…],"previous":"<digest>","digest":"<digest>",
     "domain_id":"<hex>","hsm_id":"<text>","signed_at_s":<seconds>,"signature":"<hex>"}\n

(in one line). Heads are sorted by writer. `previous` is the digest of the line before, or 64 zeros. A digest is

    SHA-256("strongroom-audit-heads-1" ‖ 0x00 ‖ previous, 32 bytes ‖ number of heads, 4 bytes big-endian ‖
            for each head: length of writer, 1 byte ‖ writer ‖ seq, 8 bytes big-endian ‖ hash, 32 bytes)

and `signature` is the HSM's over `boundary.messages.audit_head_statement(domain_id, hsm_id, signed_at_s, digest)`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from strongroom.boundary.messages import UNREADABLE

HASH_BYTES: Final = 32
NO_DIGEST: Final = bytes(HASH_BYTES)
# CloudTrail's own limit for one event (256 KB).
EVENT_BYTES_MAX: Final = 262_144
# An event, and what a line puts around it; a longer line is no line of ours.
LINE_BYTES_MAX: Final = EVENT_BYTES_MAX + 256
_WRITER: Final = re.compile(r"[a-z0-9_]{1,32}")
_SEQ_MAX: Final = (1 << 63) - 1
_HASH_MEMBER: Final = b',"hash":"'
_EVENT_MEMBER: Final = b'","event":'
_EMPTY: Final = hashlib.sha256()


class Head(msgspec.Struct, frozen=True):
    """A chain up to here: the last record's writer, seq and hash (seq 0: no record yet)."""

    writer: str
    seq: int
    hash: bytes


class SignedHead(msgspec.Struct, frozen=True):
    """A line of `heads.jsonl`."""

    heads: tuple[Head, ...]
    previous: bytes
    digest: bytes
    domain_id: bytes
    hsm_id: str
    signed_at_s: int
    signature: bytes


class _HeadMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    writer: str
    seq: int
    hash: str


class _SignedHeadLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    heads: list[_HeadMember]
    previous: str
    digest: str
    domain_id: str
    hsm_id: str
    signed_at_s: int
    signature: str


class ChainError(ValueError):
    """A line is not what the chain says that it must be."""


_encode = msgspec.json.Encoder().encode
_decode_signed_head = msgspec.json.Decoder(_SignedHeadLine).decode


def require_writer(writer: str) -> str:
    """A writer id becomes part of file names: nothing but letters, digits and underscores."""
    if _WRITER.fullmatch(writer) is None:
        raise ValueError("a writer id is 1 to 32 of a-z, 0-9 and underscore")
    return writer


def first_head(writer: str) -> Head:
    """The head of a chain without records."""
    return Head(writer, 0, hashlib.sha256(b"strongroom-audit-chain-1\0" + require_writer(writer).encode()).digest())


def link(previous: bytes, seq: int, event: bytes) -> bytes:
    """The hash of a record. Copying an empty state is cheaper than making a new one."""
    state = _EMPTY.copy()
    state.update(previous + seq.to_bytes(8, "big") + event)
    return state.digest()


def _record_prefix(writer: str) -> bytes:
    return b'{"writer":"%b","seq":' % writer.encode()


def extend(head: Head, events: Sequence[bytes]) -> tuple[list[bytes], Head]:
    """The lines for these events after `head`, and the head after them.

    Raises:
        ValueError: an event has a raw line feed, is empty or is too long (a programmer's error; nothing was chained).
    """
    prefix = _record_prefix(head.writer)
    seq = head.seq
    previous = head.hash
    lines = []
    for event in events:
        if b"\n" in event or not 2 <= len(event) <= EVENT_BYTES_MAX:
            raise ValueError("an event is one JSON object of at most 262,144 bytes, without a raw line feed")
        seq += 1
        previous = link(previous, seq, event)
        lines.append(b'%b%d,"hash":"%b","event":%b}\n' % (prefix, seq, previous.hex().encode(), event))
    return lines, Head(head.writer, seq, previous)


def format_segment_start(head: Head) -> bytes:
    """The first line of the segment that goes on after `head`."""
    return b'{"writer":"%b","first":%d,"previous":"%b"}\n' % (
        head.writer.encode(),
        head.seq + 1,
        head.hash.hex().encode(),
    )


_SEGMENT_START: Final = re.compile(
    rb'\{"writer":"([a-z0-9_]{1,32})","first":([1-9][0-9]{0,18}),"previous":"([0-9a-f]{64})"\}\n'
)


def parse_segment_start(line: bytes) -> Head:
    """The head before the segment's first record."""
    match = _SEGMENT_START.fullmatch(line)
    if match is None:
        raise ChainError("not the first line of a segment")
    return Head(match[1].decode(), int(match[2]) - 1, bytes.fromhex(match[3].decode()))


_RECORD_START: Final = re.compile(
    rb'\{"writer":"([a-z0-9_]{1,32})","seq":([1-9][0-9]{0,18}),"hash":"([0-9a-f]{64})","event":(?=\{)'
)


def parse_record(line: bytes) -> tuple[Head, bytes]:
    """What a line claims: its head and its event. Whether that is true says `verify_record`."""
    match = _RECORD_START.match(line)
    if match is None or not line.endswith(b"}}\n") or b"\n" in line[:-1]:
        raise ChainError("not a whole record")
    return Head(match[1].decode(), int(match[2]), bytes.fromhex(match[3].decode())), line[match.end() : -2]


def verify_record(before: Head, claimed: Head, event: bytes) -> None:
    """The record is the one that follows `before`.

    Raises:
        ChainError: another writer's, out of sequence, or its hash is not that of its event.
    """
    if claimed.writer != before.writer:
        raise ChainError(f"a record of writer {claimed.writer} in the chain of {before.writer}")
    if claimed.seq != before.seq + 1:
        raise ChainError(f"record {claimed.seq} where {before.seq + 1} was due")
    if link(before.hash, claimed.seq, event) != claimed.hash:
        raise ChainError(f"record {claimed.seq}: the hash does not follow from the record before and the event")


def merged_digest(previous: bytes, heads: Iterable[Head]) -> bytes:
    """What the HSM signs: all writers' heads, after the digest of the head line before (`NO_DIGEST` for the first)."""
    ordered = sorted(heads, key=lambda head: head.writer)
    if len({head.writer for head in ordered}) != len(ordered):
        raise ChainError("a writer has two heads")
    parts = [b"strongroom-audit-heads-1\0", previous, len(ordered).to_bytes(4, "big")]
    for head in ordered:
        writer = head.writer.encode()
        parts += (bytes((len(writer),)), writer, head.seq.to_bytes(8, "big"), head.hash)
    return hashlib.sha256(b"".join(parts)).digest()


def format_signed_head(signed: SignedHead) -> bytes:
    line = _SignedHeadLine(
        [_HeadMember(head.writer, head.seq, head.hash.hex()) for head in signed.heads],
        signed.previous.hex(),
        signed.digest.hex(),
        signed.domain_id.hex(),
        signed.hsm_id,
        signed.signed_at_s,
        signed.signature.hex(),
    )
    return _encode(line) + b"\n"


def parse_signed_head(line: bytes) -> SignedHead:
    """A head line whose digest follows from its heads; whether an HSM signed it is for `verify` to say.

    Raises:
        ChainError: not a head line, not byte for byte as it would be written, or the digest is of something else.
    """
    try:
        text = _decode_signed_head(line)
        signed = SignedHead(
            tuple(Head(require_writer(head.writer), head.seq, bytes.fromhex(head.hash)) for head in text.heads),
            bytes.fromhex(text.previous),
            bytes.fromhex(text.digest),
            bytes.fromhex(text.domain_id),
            text.hsm_id,
            text.signed_at_s,
            bytes.fromhex(text.signature),
        )
    except (*UNREADABLE, ValueError):
        raise ChainError("not a head line") from None
    lengths = {len(signed.previous), len(signed.digest), *(len(head.hash) for head in signed.heads)}
    seqs = [head.seq for head in signed.heads]
    if lengths != {HASH_BYTES} or min(seqs, default=1) < 1 or max(seqs, default=1) > _SEQ_MAX:
        raise ChainError("not a head line")
    if format_signed_head(signed) != line:
        raise ChainError("a head line that is not written as heads are written")
    if merged_digest(signed.previous, signed.heads) != signed.digest:
        raise ChainError("the digest is not that of these heads")
    if list(signed.heads) != sorted(signed.heads, key=lambda head: head.writer):
        raise ChainError("heads out of order")
    return signed
