"""Offline verification of an audit directory: from its files, the HSMs' public keys and the domain's id alone.

1. Head lines: each is written as heads are written, follows the line before it, and is signed by a known HSM for a
   known domain; a writer's seq never goes back.
2. Segments: each writer's files follow each other without a gap, and every record follows from the one before it.
3. Every signed head of a writer is the record of that seq in its chain, and the chain reaches its last one.
4. A chain, or the head lines, that do not begin at the beginning were shortened by retention, and a record says so.

A torn last record is no problem (a crash's, and no head reached it); a torn head line is one until the service has been
started again and cut it. What was appended after the last signed head could be cut off unseen, with it the newest head
lines themselves: who kept the digest of a later head elsewhere passes it as `expected_digest`. Files are streamed;
memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from strongroom.boundary.messages import UNREADABLE, audit_head_statement
from strongroom.boundary.session import parse_public, verify_statement
from strongroom.boundary.statuses import RefusedError
from strongroom.kms.audit import retention
from strongroom.kms.audit.chain import (
    LINE_BYTES_MAX,
    NO_DIGEST,
    ChainError,
    Head,
    SignedHead,
    first_head,
    parse_record,
    parse_segment_start,
    parse_signed_head,
    verify_record,
)
from strongroom.kms.audit.events import OWN_EVENT_SOURCE
from strongroom.kms.audit.heads import HEADS_NAME
from strongroom.kms.audit.retention import summarize
from strongroom.kms.audit.segments import lines_of, segments_by_writer

# A report is for people: the rest is counted.
PROBLEMS_LISTED_MAX: Final = 1000


class Problem(msgspec.Struct, frozen=True):
    """One thing that is not as it was written; line 0 means the file as a whole."""

    file: str
    line: int
    what: str


class Report(msgspec.Struct, kw_only=True):
    """What was found. The trail is whole when `problem_count` is 0."""

    writers: int = 0
    segments: int = 0
    records: int = 0
    records_after_last_head: int = 0
    heads: int = 0
    last_digest: bytes = NO_DIGEST
    first_time: str = ""
    last_time: str = ""
    recovered_bytes: int = 0
    refused_events: int = 0
    torn_bytes: int = 0
    problem_count: int = 0
    problems: list[Problem] = []

    def add(self, path: Path, line: int, what: str) -> None:
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_LISTED_MAX:
            self.problems.append(Problem(path.name, line, what))


class _Verification:
    def __init__(self, directory: Path, domain_ids: Collection[bytes], expected_digest: bytes | None) -> None:
        self.directory = directory
        self.report = Report()
        self._heads_path = directory / HEADS_NAME
        self._domain_ids = domain_ids
        self._expected_digest = expected_digest
        self._keys: dict[str, ec.EllipticCurvePublicKey] = {}
        # Lines of heads.jsonl that vouch for nothing, the last good head per writer, and the starts that retention left.
        self._bad_lines: set[int] = set()
        self._last_heads: dict[str, Head] = {}
        self._head_line_count = 0
        self._heads_start: bytes = NO_DIGEST
        self._starts: dict[str, Head] = {}
        self._marks: dict[str, tuple[int, str]] = {}
        self._head_marks: set[str] = set()

    def load_keys(self, members: Mapping[str, bytes]) -> None:
        for hsm_id, point in members.items():
            try:
                self._keys[hsm_id] = parse_public(point)
            except RefusedError:
                raise ValueError(f"the public key of HSM {hsm_id} is not a point of P-384") from None

    def _head_lines(self) -> Iterator[tuple[int, bytes]]:
        if self._heads_path.exists():
            with self._heads_path.open("rb") as file:
                yield from enumerate(lines_of(file), 1)

    # 1. Head lines.
    def verify_heads(self) -> None:
        previous: bytes | None = None
        expected_seen = self._expected_digest is None
        for number, line in self._head_lines():
            self._head_line_count = number
            try:
                signed = parse_signed_head(line)
            except ChainError as error:
                self._bad_lines.add(number)
                self.report.add(self._heads_path, number, str(error))
                continue
            try:
                self._verify_signed_head(signed, previous)
            except ChainError as error:
                self._bad_lines.add(number)
                self.report.add(self._heads_path, number, str(error))
            else:
                self.report.heads += 1
                self._last_heads.update((head.writer, head) for head in signed.heads)
            if previous is None:
                self._heads_start = signed.previous
            previous = signed.digest
            expected_seen = expected_seen or signed.digest == self._expected_digest
        self.report.last_digest = previous or NO_DIGEST
        if not expected_seen:
            self.report.add(self._heads_path, 0, "the head with the expected digest is missing")

    def _verify_signed_head(self, signed: SignedHead, previous: bytes | None) -> None:
        if previous is not None and signed.previous != previous:
            raise ChainError("does not follow the head line before it")
        key = self._keys.get(signed.hsm_id)
        if key is None:
            raise ChainError(f"signed by an unknown HSM, {signed.hsm_id!r}")
        if signed.domain_id not in self._domain_ids:
            raise ChainError("signed for another domain")
        statement = audit_head_statement(signed.domain_id, signed.hsm_id, signed.signed_at_s, signed.digest)
        try:
            verify_statement(key, signed.signature, statement)
        except RefusedError:
            raise ChainError("the signature is wrong") from None
        for head in signed.heads:
            last = self._last_heads.get(head.writer)
            if last is not None and head.seq < last.seq:
                raise ChainError(f"the head of {head.writer} goes back from {last.seq} to {head.seq}")

    def _heads_of(self, writer: str) -> Iterator[tuple[int, Head]]:
        """The good heads of one writer, in order: read again for each writer, for memory must not grow with them."""
        for number, line in self._head_lines():
            # A running service may have appended since the first reading.
            if number > self._head_line_count:
                return
            if number in self._bad_lines:
                continue
            for head in parse_signed_head(line).heads:
                if head.writer == writer:
                    yield number, head

    # 2. Segments.
    def verify_writer(self, writer: str, segments: list[tuple[int, Path]]) -> None:
        self.report.writers += 1
        chain = _Chain(self, writer, self._heads_of(writer), self._last_heads.get(writer))
        for index, (first, path) in enumerate(segments):
            self.report.segments += 1
            chain.verify_segment(first, path, newest=index == len(segments) - 1)
        if chain.start is not None:
            self._starts[writer] = chain.start
        last = self._last_heads.get(writer)
        if last is not None and chain.head.seq < last.seq:
            where = segments[-1][1] if segments else self.directory / f"audit-{writer}"
            self.report.add(where, 0, f"the chain of {writer} ends at {chain.head.seq}; {last.seq} was signed for")

    def note_event(self, path: Path, number: int, event: bytes, *, signed: bool) -> None:
        """Times, and what the trail says of itself; only what was signed for explains a missing beginning."""
        report = self.report
        try:
            summary = summarize(event)
        except UNREADABLE:
            report.add(path, number, "the event is not an event")
            return
        report.records += 1
        report.last_time = max(report.last_time, summary.eventTime)
        report.first_time = min(report.first_time or summary.eventTime, summary.eventTime)
        if summary.eventSource == OWN_EVENT_SOURCE and summary.serviceEventDetails is not None:
            match summary.eventName, summary.serviceEventDetails:
                case "AuditRecovered", {"recovered": int(count)}:
                    report.recovered_bytes += count
                case "AuditSinkRestored", {"refused": int(count)}:
                    report.refused_events += count
                case retention.EVENT_NAME, details if signed:
                    self._note_retention(details)
                case _:
                    pass

    def _note_retention(self, details: dict[str, Any]) -> None:
        match details:
            case {"writer": str(writer), "first": int(first), "previous": str(digits)}:
                known = self._marks.get(writer)
                if known is None or known[0] < first - 1:
                    self._marks[writer] = (first - 1, digits)
            case {"heads_previous": str(digits)}:
                self._head_marks.add(digits)
            case _:
                pass

    # 4. Beginnings.
    def verify_starts(self) -> None:
        for writer, start in self._starts.items():
            mark = self._marks.get(writer)
            explained = mark is not None and (start.seq < mark[0] or (start.seq, start.hash.hex()) == mark)
            if start != first_head(writer) and not explained:
                path = self.directory / f"audit-{writer}"
                self.report.add(
                    path, 0, f"the chain of {writer} starts after record {start.seq}, and no signed record says why"
                )
        if self._heads_start != NO_DIGEST and self._heads_start.hex() not in self._head_marks:
            self.report.add(
                self._heads_path, 1, "head lines before this one are missing, and no signed record says why"
            )

    def verify(self) -> Report:
        self.verify_heads()
        segments = segments_by_writer(self.directory)
        for writer in sorted({*segments, *self._last_heads}):
            self.verify_writer(writer, segments.get(writer, []))
        self.verify_starts()
        return self.report


class _Chain:
    """One writer's chain, walked once, beside that writer's signed heads."""

    def __init__(
        self, verification: _Verification, writer: str, heads: Iterator[tuple[int, Head]], last: Head | None
    ) -> None:
        self._verification = verification
        self._report = verification.report
        self._heads = heads
        self._next = next(heads, None)
        self._signed_seq = 0 if last is None else last.seq
        self.head = first_head(writer)
        self.start: Head | None = None

    def verify_segment(self, first: int, path: Path, *, newest: bool) -> None:
        with path.open("rb") as file:
            lines = enumerate(lines_of(file), 1)
            number, line = next(lines, (1, b""))
            if newest and self._is_torn(line):
                return
            try:
                start = parse_segment_start(line)
            except ChainError as error:
                self._report.add(path, number, str(error))
            else:
                self._begin(path, first, start)
            for number, line in lines:
                if newest and self._is_torn(line):
                    return
                self._verify_line(path, number, line)

    def _is_torn(self, line: bytes) -> bool:
        """A line that a killed writer left behind; the head check notices when it had been a whole one."""
        torn = not line.endswith(b"\n") and len(line) < LINE_BYTES_MAX
        if torn:
            self._report.torn_bytes += len(line)
        return torn

    def _begin(self, path: Path, first: int, start: Head) -> None:
        if start.seq + 1 != first or start.writer != self.head.writer:
            self._report.add(path, 1, "the segment is not the one that its name says")
        if self.start is None:
            self.start = start
            self.head = start
        elif start != self.head:
            self._report.add(
                path, 1, f"starts after record {start.seq}, but the segment before ends at {self.head.seq}"
            )
            self.head = start

    # 3. Records, and the heads that name them.
    def _verify_line(self, path: Path, number: int, line: bytes) -> None:
        try:
            claimed, event = parse_record(line)
        except ChainError as error:
            self._report.add(path, number, str(error))
            return
        try:
            verify_record(self.head, claimed, event)
        except ChainError as error:
            self._report.add(path, number, str(error))
        # Go on from what the line claims: one change is one problem, not one for every line after it.
        self.head = Head(self.head.writer, claimed.seq, claimed.hash)
        self._verification.note_event(path, number, event, signed=claimed.seq <= self._signed_seq)
        if claimed.seq > self._signed_seq:
            self._report.records_after_last_head += 1
        self._compare_heads()

    def _compare_heads(self) -> None:
        while self._next is not None and self._next[1].seq <= self.head.seq:
            number, signed = self._next
            if signed.seq == self.head.seq and signed.hash != self.head.hash:
                self._report.add(
                    self._verification.directory / HEADS_NAME,
                    number,
                    f"record {signed.seq} of {signed.writer} is not the one that was signed for",
                )
            self._next = next(self._heads, None)


def verify_directory(
    directory: Path,
    members: Mapping[str, bytes],
    domain_ids: Collection[bytes],
    *,
    expected_digest: bytes | None = None,
) -> Report:
    """Verify everything in `directory`; `members` gives each HSM's public point (P-384, uncompressed) by its id."""
    verification = _Verification(directory, domain_ids, expected_digest)
    verification.load_keys(members)
    return verification.verify()
