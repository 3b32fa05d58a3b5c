"""What may be forgotten, and how the trail says so itself.

- Only whole segments, oldest first, whose last record is older than the cutoff and not newer than the last signed head;
  never a writer's newest segment.
- Before they go, the chain records where it will start (`AuditRetention` with writer, first and previous; for head
  lines `heads_previous`), and a head is signed over that record. A start that no signed record explains is a missing
  segment to `verify`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from strongroom.boundary.messages import UNREADABLE
from strongroom.kms.audit.chain import (
    ChainError,
    Head,
    SignedHead,
    parse_record,
    parse_segment_start,
    parse_signed_head,
)
from strongroom.kms.audit.heads import HEADS_NAME, HeadLog, last_signed_of
from strongroom.kms.audit.recovery import last_line
from strongroom.kms.audit.segments import FILE_MODE, AuditDamagedError, lines_of, segments_by_writer

EVENT_NAME: Final = "AuditRetention"


class EventSummary(msgspec.Struct, frozen=True):
    """What the trail itself needs to know of an event."""

    eventTime: str  # noqa: N815 -- CloudTrail's own name
    eventSource: str  # noqa: N815 -- CloudTrail's own name
    eventName: str  # noqa: N815 -- CloudTrail's own name
    serviceEventDetails: dict[str, Any] | None = None  # noqa: N815 -- CloudTrail's own name


summarize: Final = msgspec.json.Decoder(EventSummary).decode


class HeadRetentionRecorder(Protocol):
    """`AuditLog`, as far as head lines are concerned."""

    def record_head_retention(self, previous: bytes) -> None: ...


def removable_segments(directory: Path, writer: str, cutoff: str) -> tuple[list[Path], Head | None]:
    """Segments that may go, oldest first, and the head that the chain then starts after (None: none may go)."""
    signed = last_signed_of(directory, writer)
    paths: list[Path] = []
    start: Head | None = None
    for (_, path), (next_first, next_path) in itertools.pairwise(segments_by_writer(directory).get(writer, [])):
        if signed is None or next_first - 1 > signed.seq:
            break
        try:
            _, event = parse_record(last_line(path))
            newest = summarize(event).eventTime
            with next_path.open("rb") as file:
                following = parse_segment_start(next(lines_of(file), b""))
        except (ChainError, *UNREADABLE) as error:
            raise AuditDamagedError(f"{path.name}: {error}") from None
        if newest >= cutoff:
            break
        paths.append(path)
        start = following
    return paths, start


def retain_heads(
    directory: Path,
    heads: HeadLog,
    log: HeadRetentionRecorder,
    cutoff_s: float,
    have_it_signed: Callable[[], None] = lambda: None,
) -> int:
    """Remove the head lines signed before `cutoff_s`, never the last one; how many went. Waits for the disk.

    1. find the first that stays, 2. record that those before it go, and have that signed for, 3. write what stays.
    """
    kept = _first_kept(directory, heads, cutoff_s)  # 1
    if kept is None:
        return 0
    log.record_head_retention(kept.previous)  # 2
    have_it_signed()
    with heads.changing:  # 3
        return _rewrite(directory, heads, kept)


def _first_kept(directory: Path, heads: HeadLog, cutoff_s: float) -> SignedHead | None:
    """None when nothing stands before it that may go."""
    last = heads.last
    if last is None:
        return None
    with (directory / HEADS_NAME).open("rb") as file:
        for at, line in enumerate(lines_of(file)):
            signed = parse_signed_head(line)
            if signed.signed_at_s >= cutoff_s or signed == last:
                return signed if at else None
    return None


def _rewrite(directory: Path, heads: HeadLog, kept: SignedHead) -> int:
    """The lines from `kept` on, those included that were signed since it was found."""
    removed = size = 0
    temporary = directory / f"{HEADS_NAME}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(fd, "wb") as fresh, (directory / HEADS_NAME).open("rb") as file:
        for line in lines_of(file):
            if not size and parse_signed_head(line) != kept:
                removed += 1
            else:
                size += fresh.write(line)
        fresh.flush()
        os.fsync(fresh.fileno())
    assert heads.last is not None
    heads.replace(temporary, heads.last, size)
    return removed
