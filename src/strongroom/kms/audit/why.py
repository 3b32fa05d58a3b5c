"""What became of one request, and why: found in the audit trail by the request id that its caller was told.

Reads files only, the newest first, and needs no service. It shows what the record says; whether the trail is whole is
another question, which `strongroom audit verify` answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from strongroom.boundary.messages import UNREADABLE
from strongroom.kms.audit.events import INTENT
from strongroom.kms.audit.segments import lines_of, segments_by_writer


class _Why(msgspec.Struct):
    """Of `kms/reasons.py`'s Reason."""

    action: str = ""
    resource: str = ""
    trace: list[str] = []
    lines_left_out: int = 0


class _Additional(msgspec.Struct):
    refusal: _Why | None = None


class Record(msgspec.Struct):
    """What of an event answers the question."""

    eventName: str  # noqa: N815 -- CloudTrail's own names.
    eventTime: str  # noqa: N815
    requestID: str = ""  # noqa: N815
    awsRegion: str = ""  # noqa: N815
    sourceIPAddress: str = ""  # noqa: N815
    userIdentity: dict[str, Any] = {}  # noqa: N815
    errorCode: str | None = None  # noqa: N815
    errorMessage: str | None = None  # noqa: N815
    phase: str | None = None
    additionalEventData: _Additional | None = None  # noqa: N815


class _Line(msgspec.Struct):
    """A line of a segment that holds an event."""

    event: Record


# What is to be said of refusals that are no policy's, beyond their own words.
_NO_POLICY: Final = {
    "NotFoundException": "there is nothing of this name in the caller's account and region",
    "InvalidCiphertextException": "it is no ciphertext of this service, or was changed, or had another encryption context",
    "IncorrectKeyException": "another key made the ciphertext than the one that was named",
    "DisabledException": "the key's state refuses it: docs/key-states.md",
    "KMSInvalidStateException": "the key's state refuses it: docs/key-states.md",
}
# Every record of a refusal holds this, whatever else holds it too.
_REFUSAL: Final = b'"refusal":{'
_decode: Final = msgspec.json.Decoder(_Line).decode


def find_request(directory: Path, request_id: str) -> Record | None:
    """The record of a request's outcome; of one that never came so far, its intent."""
    needle = b'"requestID":' + msgspec.json.encode(request_id)
    intent = None
    for path in _newest_first(directory):
        with path.open("rb") as file:
            for line in lines_of(file):
                if needle in line:
                    record = _decode_line(line)
                    if record is None or record.requestID != request_id:
                        continue
                    if record.phase != INTENT:
                        return record
                    intent = record
    return intent


def find_last_refusal(directory: Path, principal_arn: str = "") -> Record | None:
    """The newest record of a request that a policy refused, of one principal's or of anybody's."""
    newest = None
    for path in _newest_first(directory):
        found = None
        with path.open("rb") as file:
            for line in lines_of(file):
                record = _decode_line(line) if _REFUSAL in line else None
                if record is not None and principal_arn in {"", record.userIdentity.get("arn")}:
                    found = record
        # Other workers write files of their own; an older one of the same worker has nothing newer.
        if found is not None and found.errorCode and (newest is None or found.eventTime > newest.eventTime):
            newest = found
    return newest


def _newest_first(directory: Path) -> Iterator[Path]:
    paths = [path for segments in segments_by_writer(directory).values() for _, path in segments]
    yield from sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)


def _decode_line(line: bytes) -> Record | None:
    try:
        return _decode(line).event
    except UNREADABLE:
        return None


def one_line(text: str) -> str:
    """A line for a terminal: words of a caller in it neither begin another one nor tell the terminal to do something."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def format_record(record: Record) -> list[str]:
    """For people: who asked for what, what came of it, and of a refusal the whole reason."""
    return [one_line(line) for line in _lines(record)]


def _lines(record: Record) -> list[str]:
    who = record.userIdentity.get("arn") or record.userIdentity.get("principalId") or "somebody"
    called = f"{who} called {record.eventName} in {record.awsRegion} from {record.sourceIPAddress}"
    lines = [f"{record.eventTime} {called}, request {record.requestID}"]
    if record.phase == INTENT:
        return [*lines, "it was decided and begun; no outcome is recorded"]
    if record.errorCode is None:
        return [*lines, "it succeeded"]
    lines.append(f"it was refused: {record.errorCode}" + (f": {record.errorMessage}" if record.errorMessage else ""))
    why = None if record.additionalEventData is None else record.additionalEventData.refusal
    if why is None:
        hint = _NO_POLICY.get(record.errorCode)
        return [*lines, *([] if hint is None else [hint]), "no policy decided that"]
    lines += [f"{why.action} on {why.resource}", *why.trace]
    return [*lines, f"({why.lines_left_out} more lines were left out)"] if why.lines_left_out else lines
