"""What the tests of the audit trail share: a clock, a failing disk, a signing HSM, and a builder of whole trails."""

from __future__ import annotations

import errno
from pathlib import Path

from strongroom.boundary.messages import audit_head_statement
from strongroom.boundary.session import new_ephemeral, public_bytes, sign_statement
from strongroom.kms.audit.chain import SignedHead
from strongroom.kms.audit.events import EVENT_SOURCE, Event, EventIds, EventTimes, encode_event
from strongroom.kms.audit.heads import HeadLog, HeadProposal
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.audit.segments import Disk
from strongroom.kms.audit.verify import Report, verify_directory

DOMAIN_ID = bytes(range(16))
START_S = 1_795_498_270.0  # 2026-11-24T05:31:10Z
DAY_S = 86_400.0


class Clock:
    def __init__(self, now_s: float = START_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class FailingDisk(Disk):
    """A disk with so much room, errors and slow syncs as a test likes."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.write_errno = 0
        self.sync_errno = 0
        self.cut_errno = 0
        self.writes: list[int] = []
        self.syncs = 0
        self.reserve_size = 0

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self.writes.append(len(data))
        if self.write_errno:
            raise OSError(self.write_errno, "planted")
        if self.room is None:
            return super().write(fd, data, offset)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "planted")
        count = super().write(fd, memoryview(data)[: self.room], offset)
        self.room -= count
        return count

    def cut(self, fd: int, size: int) -> None:
        if self.cut_errno:
            raise OSError(self.cut_errno, "planted")
        super().cut(fd, size)

    def sync(self, fd: int) -> None:
        self.syncs += 1
        if self.sync_errno:
            raise OSError(self.sync_errno, "planted")
        super().sync(fd)


def set_faults(log: AuditLog, disk: FailingDisk, **faults: int | None) -> None:
    """Under the log's lock, under which all its writes happen: its thread tries a failed sink again at any moment."""
    with log._changed:
        for name, value in faults.items():
            setattr(disk, name, value)


class SigningHsm:
    def __init__(self, hsm_id: str = "hsm-1") -> None:
        self.hsm_id = hsm_id
        self._private = new_ephemeral()
        self.public = public_bytes(self._private.public_key())

    def statement_signature(self, proposal: HeadProposal, signed_at_s: int, domain_id: bytes = DOMAIN_ID) -> bytes:
        statement = audit_head_statement(domain_id, self.hsm_id, signed_at_s, proposal.digest)
        return sign_statement(self._private, statement)

    def sign(self, heads: HeadLog, signed_at_s: int, domain_id: bytes = DOMAIN_ID) -> SignedHead | None:
        proposal = heads.propose()
        if proposal is None:
            return None
        heads.append(
            proposal,
            domain_id=domain_id,
            hsm_id=self.hsm_id,
            signed_at_s=signed_at_s,
            signature=self.statement_signature(proposal, signed_at_s, domain_id),
        )
        return heads.last


def make_event(number: int, now_s: float = START_S, name: str = "GenerateDataKey") -> bytes:
    return encode_event(
        Event(
            eventVersion="1.11",
            userIdentity={"type": "IAMUser", "accountId": "111122223333", "userName": f"user-{number}"},
            eventTime=EventTimes().format(now_s),
            eventSource=EVENT_SOURCE,
            eventName=name,
            awsRegion="eu-central-1",
            sourceIPAddress="127.0.0.1",
            userAgent="tests",
            requestParameters={"keyId": f"key-{number}"},
            responseElements=None,
            requestID=f"request-{number}",
            eventID=f"event-{number}",
            readOnly=True,
            eventType="AwsApiCall",
            managementEvent=True,
            eventCategory="Management",
            recipientAccountId="111122223333",
        )
    )


def open_log(directory: Path, writer: str = "w1", **options) -> AuditLog:
    options.setdefault("clock", Clock())
    options.setdefault("reserve_bytes", 0)
    return AuditLog(directory, writer, event_ids=EventIds(bytes(9)), **options)


def build_trail(
    directory: Path, hsm: SigningHsm, *, records: int = 120, writers: tuple[str, ...] = ("w1", "w2")
) -> None:
    """Several writers, several segments, several signed heads; the last head covers everything."""
    logs = [open_log(directory, writer, segment_bytes_max=8000) for writer in writers]
    heads = HeadLog(directory)
    for number in range(records):
        logs[number % len(logs)].append([make_event(number)])
        if number % 30 == 29:
            hsm.sign(heads, int(START_S) + number)
    hsm.sign(heads, int(START_S) + records)
    for log in logs:
        log.close()
    heads.close()


def verify(directory: Path, hsm: SigningHsm, **options) -> Report:
    return verify_directory(directory, {hsm.hsm_id: hsm.public}, {DOMAIN_ID}, **options)


def recorded_events(directory: Path, writer: str = "w1") -> list[bytes]:
    """The events in the files, of whole lines only."""
    return [
        line.split(b',"event":', 1)[1][:-1]
        for path in sorted(directory.glob(f"audit-{writer}-*.jsonl"))
        for line in path.read_bytes().split(b"\n")[:-1]
        if b',"event":' in line
    ]


def test_the_builder_makes_a_trail_that_verifies(tmp_path):
    hsm = SigningHsm()
    build_trail(tmp_path, hsm)
    report = verify(tmp_path, hsm)
    assert report.problems == []
    assert (report.writers, report.records, report.heads, report.records_after_last_head) == (2, 120, 4, 0)
    assert report.segments > 6
    assert report.first_time == "2026-11-24T05:31:10Z"
