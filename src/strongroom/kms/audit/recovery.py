"""What a crash left of a writer's chain, and where the chain goes on.

1. The newest segment that begins as it must and follows from those before it holds the chain's end; newer files hold
   nothing that can be believed and are set aside. What an HSM signed for is whole; after it, any sector may be missing.
2. In it every record is verified; what stands behind the last good one is cut off.
3. Nothing is cut that an HSM signed for: then the trail is damaged, and the service does not start on it.

A torn last line is simply cut. Anything more is evidence and is kept in a file `cut-<writer>-<first seq>-<n>`.
"""

from __future__ import annotations

import contextlib
import os
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from strongroom.kms.audit.chain import (
    LINE_BYTES_MAX,
    ChainError,
    Head,
    first_head,
    parse_record,
    parse_segment_start,
    verify_record,
)
from strongroom.kms.audit.segments import (
    FILE_MODE,
    AuditDamagedError,
    Disk,
    Segment,
    lines_of,
    segments_by_writer,
    sync_directory,
)


class Recovered(NamedTuple):
    """Where to go on: the head, the segment that holds it (None: none yet), and how many bytes were cut off."""

    head: Head
    segment: Segment | None
    cut_bytes: int


class _Scan(NamedTuple):
    start: Head
    head: Head
    good_bytes: int


def _scan(path: Path, writer: str, first: int, signed: Head | None = None) -> _Scan | None:
    """How far a segment verifies; None when it does not even begin as it must. What is `signed` was verified before."""
    with path.open("rb") as file:
        lines = lines_of(file)
        try:
            start = parse_segment_start(next(lines, b""))
        except ChainError:
            return None
        if (start.writer, start.seq) != (writer, first - 1):
            return None
        good = file.tell()
        head = start
        if signed is not None and signed.seq >= first:
            good += sum(map(len, islice(lines, signed.seq - first + 1)))
            head = signed
        for line in lines:
            try:
                claimed, event = parse_record(line)
                verify_record(head, claimed, event)
            except ChainError:
                break
            head = claimed
            good += len(line)
        return _Scan(start, head, good)


def last_line(path: Path) -> bytes:
    """The last whole line of a file, in constant memory; empty when there is none."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * LINE_BYTES_MAX))
        tail = file.read(2 * LINE_BYTES_MAX)
    end = tail.rfind(b"\n") + 1
    return tail[tail.rfind(b"\n", 0, max(0, end - 1)) + 1 : end]


def read_tail(path: Path) -> Head | None:
    """The last whole record of a segment as it claims to be, else the head that the segment starts after."""
    line = last_line(path)
    with contextlib.suppress(ChainError):
        return parse_record(line)[0]
    with contextlib.suppress(ChainError):
        return parse_segment_start(line)
    return None


def _follows(segments: list[tuple[int, Path]], start: Head, signed_seq: int) -> bool:
    """The chain that these segments hold ends with `start`, and nothing in it is missing that no HSM signed for."""
    for first, path in reversed(segments):
        if start.seq <= signed_seq:
            return read_tail(path) == start
        scan = _scan(path, start.writer, first)
        if scan is None or scan.head != start or scan.good_bytes != path.stat().st_size:
            return False
        start = scan.start
    return True


def whole_head(segments: list[tuple[int, Path]], writer: str, signed: Head | None) -> Head | None:
    """The end of a chain that a start would leave as it is, but for a torn line; None for one that needs recovery."""
    first, path = segments[-1]
    # Its writer may be at work: what comes while it is read says nothing of what was there.
    size = path.stat().st_size
    scan = _scan(path, writer, first, signed)
    if scan is None or not _follows(segments[:-1], scan.start, 0 if signed is None else signed.seq):
        return None
    return scan.head if _is_torn_line(path, scan.good_bytes, size) else None


def _keep_evidence(directory: Path, writer: str, first: int, path: Path, offset: int) -> None:
    """Copy what will be cut, durably, before it is cut."""
    for number in range(1, 1_000_000):
        try:
            aside = directory / f"cut-{writer}-{first:020d}-{number}"
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        except FileExistsError:
            continue
        break
    else:
        raise AuditDamagedError(f"too many cuts of {path.name}")
    with os.fdopen(fd, "wb") as copy, path.open("rb") as file:
        file.seek(offset)
        while piece := file.read(1 << 20):
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    sync_directory(directory)


def _is_torn_line(path: Path, offset: int, end: int | None = None) -> bool:
    """Nothing but the beginning of one line stands between `offset` and `end`, or the end of the file."""
    with path.open("rb") as file:
        file.seek(offset)
        rest = file.read(LINE_BYTES_MAX if end is None else min(LINE_BYTES_MAX, max(0, end - offset)))
    return len(rest) < LINE_BYTES_MAX and b"\n" not in rest


def recover(directory: Path, writer: str, signed: Head | None, disk: Disk) -> Recovered:
    """Find the end of the writer's chain and cut what cannot be part of it; `signed` is its last signed head.

    Raises:
        AuditDamagedError: records that an HSM signed for, or the chain's beginning, are gone or changed.
    """
    signed_seq = 0 if signed is None else signed.seq
    segments = segments_by_writer(directory).get(writer, [])
    cut_bytes = 0
    while segments:
        first, path = segments.pop()
        scan = _scan(path, writer, first)
        if scan is not None and _follows(segments, scan.start, signed_seq):
            if scan.head.seq < signed_seq:
                break
            return _cut_tail(directory, path, first, scan, cut_bytes, disk)
        if first <= signed_seq or (not segments and first != 1):
            raise AuditDamagedError(f"{path.name} does not begin as it must, and it cannot be a crash that did it")
        size = path.stat().st_size
        if not _is_torn_line(path, 0):
            _keep_evidence(directory, writer, first, path, 0)
        path.unlink()
        cut_bytes += size
    if signed_seq:
        raise AuditDamagedError(f"the chain of {writer} ends before record {signed_seq}, which an HSM signed for")
    return Recovered(first_head(writer), None, cut_bytes)


def _cut_tail(directory: Path, path: Path, first: int, scan: _Scan, cut_bytes: int, disk: Disk) -> Recovered:
    tail_bytes = path.stat().st_size - scan.good_bytes
    if tail_bytes and not _is_torn_line(path, scan.good_bytes):
        _keep_evidence(directory, scan.head.writer, first, path, scan.good_bytes)
    segment = Segment.reopen(path, first, scan.good_bytes, disk)
    return Recovered(scan.head, segment, cut_bytes + tail_bytes)
