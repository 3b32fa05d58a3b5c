"""Last usages brought back from the audit trail, after a worker died with notes that it had not stored."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from strongroom.boundary.messages import UNREADABLE
from strongroom.kms.audit.chain import ChainError, parse_record
from strongroom.kms.audit.events import EVENT_SOURCE
from strongroom.kms.audit.segments import lines_of, segments_by_writer
from strongroom.kms.keys.last_usage import TRACKED_OPERATIONS, Use
from strongroom.protocol.arn import KeyArn, MalformedArn, parse_key_ref


class _Named(msgspec.Struct, frozen=True):
    ARN: str


class _Call(msgspec.Struct, frozen=True):
    """What of a record says which keys were used for what."""

    eventTime: str  # noqa: N815 -- CloudTrail's own names
    eventSource: str  # noqa: N815
    eventName: str  # noqa: N815
    awsRegion: str  # noqa: N815
    requestID: str  # noqa: N815
    eventID: str  # noqa: N815
    resources: list[_Named] | None = None
    errorCode: str | None = None  # noqa: N815
    phase: str | None = None


_decode: Final = msgspec.json.Decoder(_Call).decode


def recorded_uses(directory: Path, writer: str, region: str, after: int, until: int) -> dict[str, Use]:
    """The last use of each key that the records `after` < seq <= `until` of a writer tell. Reads files: off the loop.

    The chain is not verified here (`strongroom audit verify` does that); a record that cannot be read tells nothing.
    """
    uses: dict[str, Use] = {}
    for event in _events(directory, writer, after, until):
        try:
            call = _decode(event)
        except UNREADABLE:
            continue
        if call.eventSource != EVENT_SOURCE or call.awsRegion != region or call.errorCode or call.phase:
            continue
        if call.eventName in TRACKED_OPERATIONS:
            use = (call.eventName, _seconds(call.eventTime), call.eventID, call.requestID)
            for named in call.resources or ():
                uses[_key_id(named.ARN)] = use
    uses.pop("", None)
    return uses


def _events(directory: Path, writer: str, after: int, until: int) -> Iterator[bytes]:
    segments = segments_by_writer(directory).get(writer, [])
    for place, (_, path) in enumerate(segments):
        if place + 1 < len(segments) and segments[place + 1][0] <= after + 1:
            continue
        with path.open("rb") as file:
            for line in lines_of(file):
                try:
                    claimed, event = parse_record(line)
                except ChainError:
                    continue
                if claimed.seq > until:
                    return
                if claimed.seq > after:
                    yield event


def _seconds(event_time: str) -> float:
    try:
        return float(calendar.timegm(time.strptime(event_time, "%Y-%m-%dT%H:%M:%SZ")))
    except ValueError:
        return 0.0


def _key_id(arn: str) -> str:
    try:
        parsed = parse_key_ref(arn)
    except MalformedArn:
        return ""
    return parsed.key_id if isinstance(parsed, KeyArn) else ""
