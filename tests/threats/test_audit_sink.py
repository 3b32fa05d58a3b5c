"""Class 25: while the audit trail's disk fails in every way, no call succeeds that is not recorded.

OpenBao answered requests whose audit record was dropped (CVE-2026-46358). The running service's disk refuses writes, takes
halves of them, has no room, cannot sync, and hangs, at random and under load.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.kms.wire.model import Rule, structure_rule
from strongroom.kms.wire.shapes import OPERATIONS
from testkit.installation import Installation
from testkit.planting import plant_after
from testkit.raw import RawKms, assert_allowed, audit_records

THREADS = 4
CALLS = 100
HEALS_S_MAX = 20.0
MUTATIONS = {"TagResource", "UpdateKeyDescription"}

# While the file is there, a third of all writes fail, in every way in which a disk can.
FAULTY_DISK = """
import random as _random
import time as _time

_seeded = _random.Random(25)
_write, _sync, _cut = Disk.write, Disk.sync, Disk.cut


def _fails(error):
    raise OSError(error, os.strerror(error))


def _failing_write(self, fd, data, offset):
    if not os.path.exists({switch!r}):
        return _write(self, fd, data, offset)
    match _seeded.randrange(16):
        case 0:
            _fails(errno.EIO)
        case 1:
            _fails(errno.ENOSPC)
        case 2:
            return _write(self, fd, data[: max(1, len(data) // 2)], offset)
        case 3:
            _write(self, fd, data[: max(1, len(data) // 2)], offset)
            _fails(errno.EIO)
        case 4:
            _time.sleep(0.05)
        case 5:
            return 0
    return _write(self, fd, data, offset)


def _failing_sync(self, fd):
    if os.path.exists({switch!r}) and _seeded.randrange(30) == 0:
        _time.sleep(0.02)
        _fails(errno.EIO)
    _sync(self, fd)


def _failing_cut(self, fd, size):
    if os.path.exists({switch!r}) and _seeded.randrange(4) == 0:
        _fails(errno.EIO)
    _cut(self, fd, size)


Disk.write, Disk.sync, Disk.cut = _failing_write, _failing_sync, _failing_cut
"""


@pytest.fixture(params=[(), ("--strict-audit",)], ids=["usual", "strict"])
def faulty(request: pytest.FixtureRequest) -> Iterator[tuple[Installation, Path]]:
    """An installation, and the file that makes its audit trail's disk fail as long as it is there."""
    running = Installation(*request.param)
    try:
        switch = running.root / "faults"
        plant_after(running, "kms/audit/segments.py", FAULTY_DISK.format(switch=str(switch)))
        yield running.start(), switch
    finally:
        running.destroy()


def load(installation: Installation, key_id: str, seen: list[tuple[str, str, str]]) -> None:
    """Calls of every kind of effect, one after the other: (operation, code, request id) of each answer."""
    raw = RawKms(installation)
    requests = [
        ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}),
        ("GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256"}),
        ("TagResource", {"KeyId": key_id, "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ("DescribeKey", {"KeyId": key_id}),
        ("UpdateKeyDescription", {"KeyId": key_id, "Description": "words"}),
        ("DescribeKey", {"KeyId": "no-such-key"}),
    ]
    for number in range(CALLS):
        operation, body = requests[number % len(requests)]
        answer = raw.call(operation, body)
        seen.append((operation, answer.code, answer.headers["x-amzn-requestid"]))
        if answer.status == 500:
            time.sleep(0.02)  # As a client would, which tries again later: the log too must come to try again.


def test_no_success_is_without_its_record_while_the_disk_fails_in_every_way(faulty: tuple[Installation, Path]) -> None:
    installation, switch = faulty
    raw = RawKms(installation)
    key_id = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    pid = installation.pid_of("kms")
    seen: list[list[tuple[str, str, str]]] = [[] for _ in range(THREADS)]
    threads = [threading.Thread(target=load, args=(installation, key_id, part)) for part in seen]
    switch.touch()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    switch.unlink()
    answers = [answer for part in seen for answer in part]
    assert len(answers) == THREADS * CALLS, "every call was answered"
    assert installation.pid_of("kms") == pid
    # It heals by itself, as soon as the log has tried its disk again.
    given_up = time.monotonic() + HEALS_S_MAX
    while raw.call("DescribeKey", {"KeyId": key_id}).status != 200 and time.monotonic() < given_up:
        time.sleep(0.05)
    assert_allowed(raw.call("DescribeKey", {"KeyId": key_id}))
    installation.stop()

    codes = Counter(code for _, code, _ in answers)
    assert set(codes) == {"", "KMSInternalException", "NotFoundException"}, codes
    assert min(codes.values()) > 20, codes
    outcomes: dict[str, list[str]] = {}
    intents: set[str] = set()
    for event in audit_records(installation):
        if event["eventSource"] == "kms.amazonaws.com":
            if event.get("phase") == "intent":
                intents.add(event["requestID"])
            else:
                outcomes.setdefault(event["requestID"], []).append(event.get("errorCode", ""))
    told = [(operation, code, request_id) for operation, code, request_id in answers if code != "KMSInternalException"]
    assert [answer for answer in told if outcomes.get(answer[2]) != [answer[1]]] == []
    assert {request_id for operation, code, request_id in told if operation in MUTATIONS and not code} <= intents
    verified = installation.cli("audit", "verify", "--home", str(installation.home), check=False)
    assert verified.returncode == 0, verified.stdout


def names_in(rule: Rule) -> Iterator[str]:
    for member in rule.members:
        yield member.name
        yield from names_in(member.rule)
    for part in (rule.key, rule.element):
        if part is not None:
            yield from names_in(part)


def test_nothing_that_the_api_takes_names_a_file() -> None:
    """An audit device that callers could point at a file was a way to run code (CVE-2025-6000): there is no such member.

    `XksProxyUriPath` is a path on another machine, of operations that are not there yet.
    """
    names = {name for operation in OPERATIONS.values() for name in names_in(structure_rule(operation.request))}
    suspicious = {name for name in names if any(word in name.lower() for word in ("path", "file", "directory", "log"))}
    assert suspicious == {"XksProxyUriPath"}
    assert "PolicyName" in names
