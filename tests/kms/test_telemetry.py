"""Counts, lines and their text forms, each by itself; what a running service tells is in tests/worlds/test_telemetry.py."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from strongroom.kms.telemetry import reporting
from strongroom.kms.telemetry.exposition import format_metrics
from strongroom.kms.telemetry.families import FAMILIES, Sources
from strongroom.kms.telemetry.lines import LineWriter, pieces_of
from strongroom.kms.telemetry.reporting import Reporting
from strongroom.kms.telemetry.request_log import RequestLog
from strongroom.kms.telemetry.service_log import ServiceLog, log_unhandled
from strongroom.kms.telemetry.snapshots import FORGOTTEN_S_MIN, FRESH_S_MAX, Snapshot, SnapshotFiles
from strongroom.kms.telemetry.tallies import BOUNDS_S, Tallies

NOW_S = 1_800_000_000.0


class Gathered:
    """Takes lines as a `LineWriter` does."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, lines: bytes) -> None:
        assert lines.endswith(b"\n")
        self.writes.append(lines)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for write in self.writes for line in write.splitlines()]


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def request_log(level: Any, clock: Clock) -> tuple[RequestLog, Gathered]:
    gathered = Gathered()
    writer: Any = gathered
    return RequestLog(writer, level, "w1", clock), gathered


def add(log: RequestLog, request_id: str, code: str = "") -> None:
    log.add(
        request_id,
        "Decrypt",
        400 if code else 200,
        code,
        region="us-east-1",
        principal="arn:aws:iam::000000000000:root",
        access_key_id="test",
        source_ip="127.0.0.1",
        duration_s=0.0012345,
    )


# ── counts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_counted_once_in_the_bucket_of_its_duration() -> None:
    tallies = Tallies()
    for seconds in (0.0, BOUNDS_S[0], BOUNDS_S[0] + 1e-9, BOUNDS_S[-1], 60.0):
        tallies.count(("us-east-1", "Decrypt", ""), seconds)
    ((key, tally),) = tallies.requests()
    assert key == ("us-east-1", "Decrypt", "")
    assert tally[:-1] == [2, 1, *[0] * (len(BOUNDS_S) - 3), 1, 1]
    assert tally[-1] == pytest.approx(65.001)


def test_names_that_never_end_do_not_use_up_the_memory() -> None:
    tallies = Tallies()
    for number in range(5_000):
        tallies.count(("us-east-1", "Decrypt", f"code {number}"), 0.1)
        tallies.count_refusal(f"code {number}")
    assert len(list(tallies.requests())) == len(list(tallies.refusals())) == 4_096


# ── the text form ───────────────────────────────────────────────────────────────────────────────────────────────────


def snapshot(worker: str, taken_at_s: float = NOW_S, **samples: Any) -> Snapshot:
    tally = [1.0, 2.0, *[0.0] * (len(BOUNDS_S) - 2), 3.0, 7.5]
    requests = [(("us-east-1", "Decrypt", ""), tally), (("us-east-1", "Decrypt", "DisabledException"), tally)]
    return Snapshot(worker, taken_at_s, samples, requests)


def values_of(text: bytes, name: str) -> dict[tuple[str, ...], float]:
    """Values by their labels' values in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == name
    }


def test_every_workers_requests_stand_side_by_side() -> None:
    text = format_metrics([snapshot("w1"), snapshot("w2")], NOW_S)
    assert values_of(text, "strongroom_requests_total") == {
        (code, "Decrypt", "us-east-1", worker): 6.0 for code in ("OK", "DisabledException") for worker in ("w1", "w2")
    }
    assert values_of(text, "strongroom_request_duration_seconds_count") == {
        ("Decrypt", "us-east-1", worker): 12.0 for worker in ("w1", "w2")
    }
    buckets = values_of(text, "strongroom_request_duration_seconds_bucket")
    assert buckets["0.0005", "Decrypt", "us-east-1", "w1"] == 2.0
    assert buckets["0.001", "Decrypt", "us-east-1", "w1"] == 6.0
    assert buckets["5.0", "Decrypt", "us-east-1", "w1"] == 6.0
    assert buckets["+Inf", "Decrypt", "us-east-1", "w1"] == 12.0
    assert values_of(text, "strongroom_request_duration_seconds_sum")["Decrypt", "us-east-1", "w1"] == 15.0


def test_of_a_worker_that_stands_still_only_that_is_told() -> None:
    stuck = snapshot("w2", NOW_S - FRESH_S_MAX - 1, connections=[((), 5.0)])
    text = format_metrics([snapshot("w1", connections=[((), 3.0)]), stuck], NOW_S)
    assert values_of(text, "strongroom_connections") == {("w1",): 3.0}
    assert values_of(text, "strongroom_worker_age_seconds") == {("w1",): 0.0, ("w2",): FRESH_S_MAX + 1}


def test_what_another_release_tells_does_not_matter() -> None:
    text = format_metrics([snapshot("w1", connections=[((), 3.0)], of_tomorrow=[(("x",), 1.0)])], NOW_S)
    assert b"of_tomorrow" not in text


def test_names_are_as_prometheus_wants_them() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert family.help.endswith(".")
        assert not {"worker", "key_id", "principal", "alias"} & set(family.labels)


def test_whoever_asks_again_within_a_second_is_told_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making the text stops the loop for milliseconds."""
    now_s = [NOW_S]
    monkeypatch.setattr(reporting, "take_snapshot", lambda worker, _: snapshot(worker, now_s[0]))
    made: list[float] = []

    def format_once(_: object, at_s: float) -> bytes:
        made.append(at_s)
        return b"%d" % len(made)

    monkeypatch.setattr(reporting, "format_metrics", format_once)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        sources = cast("Sources", SimpleNamespace(clock=lambda: now_s[0]))
        telling = Reporting(sources, listening, tmp_path, "w1", is_alone=True)
        assert [telling.scrape() for _ in range(3)] == [b"1"] * 3
        now_s[0] += 0.9
        assert telling.scrape() == b"1"
        now_s[0] += 0.1
        assert telling.scrape() == b"2"
        now_s[0] -= 3600  # Set back.
        assert telling.scrape() == b"3"


# ── the workers' files ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_reads_the_others_and_not_itself(tmp_path: Path) -> None:
    for worker in ("w1", "w2", "w3"):
        SnapshotFiles(tmp_path, worker).write(snapshot(worker, connections=[((), 1.0)]))
    others = list(SnapshotFiles(tmp_path, "w2").read_others(NOW_S))
    assert others == [snapshot(worker, connections=[((), 1.0)]) for worker in ("w1", "w3")]
    SnapshotFiles(tmp_path, "w3").remove()
    assert [other.worker for other in SnapshotFiles(tmp_path, "w2").read_others(NOW_S)] == ["w1"]


def test_a_file_that_is_none_costs_nobody_the_others(tmp_path: Path) -> None:
    SnapshotFiles(tmp_path, "w1").write(snapshot("w1"))
    (tmp_path / "metrics-w3.json").write_bytes(b'{"worker":')
    (tmp_path / "metrics-w4.json").write_bytes(b"\xff")
    assert [other.worker for other in SnapshotFiles(tmp_path, "w2").read_others(NOW_S)] == ["w1"]


def test_a_worker_that_is_no_more_is_forgotten(tmp_path: Path) -> None:
    SnapshotFiles(tmp_path, "w1").write(snapshot("w1"))
    assert list(SnapshotFiles(tmp_path, "w2").read_others(NOW_S + FORGOTTEN_S_MIN + 1)) == []
    assert list(tmp_path.iterdir()) == []


# ── lines on their way out ──────────────────────────────────────────────────────────────────────────────────────────


def test_lines_leave_in_order_and_whole(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LineWriter(writing)
    for number in range(100):
        writer.write(b'{"n":%d}\n' % number)
    writer.close()
    assert [json.loads(line)["n"] for line in os.read(reading, 1 << 16).splitlines()] == list(range(100))
    assert writer.dropped == 0


def test_a_reader_that_does_not_read_stops_nobody_and_costs_lines_only(pipe: tuple[int, int]) -> None:
    _, writing = pipe
    writer = LineWriter(writing, pending_bytes_max=1 << 17)
    started_s = time.monotonic()
    for _ in range(1_000):
        writer.write(b"x" * 1_023 + b"\n")
    assert time.monotonic() - started_s < 30.0
    assert writer.dropped > 500
    writer.close(0.1)
    assert time.monotonic() - started_s < 60.0


def test_a_descriptor_that_takes_nothing_is_counted() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(descriptor)
    writer.write(b"a\nb\n")
    writer.close()
    os.close(descriptor)
    assert writer.dropped == 2


def test_what_comes_together_leaves_in_one_write(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    writer = LineWriter(writing)
    for number in range(16):
        writer.write(b'{"n":%d}\n' % number)
    assert os.read(reading, 1 << 16).count(b"\n") == 16
    writer.close()


def test_no_write_is_longer_than_a_pipe_takes_at_once_and_each_ends_with_a_line() -> None:
    lines = b"".join(b"x" * size + b"\n" for size in (1, 2_000, 2_100, 4_095, 9_000, 5))
    pieces = list(pieces_of(lines))
    assert b"".join(pieces) == lines
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert [len(piece) for piece in pieces if piece.count(b"\n") > 1] == [2_003]
    assert [len(piece) for piece in pieces if len(piece) > 4_096] == [9_001]


# ── the request log ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_says_who_asked_for_what_and_how_it_ended() -> None:
    log, gathered = request_log("all", Clock())
    add(log, "request-1", "DisabledException")
    log.flush()
    assert gathered.lines == [
        {
            "time": "2027-01-15T08:00:00.000Z",
            "level": "info",
            "event": "request",
            "request_id": "request-1",
            "operation": "Decrypt",
            "status": 400,
            "code": "DisabledException",
            "region": "us-east-1",
            "principal": "arn:aws:iam::000000000000:root",
            "access_key_id": "test",
            "source_ip": "127.0.0.1",
            "duration_ms": 1.234,
            "worker": "w1",
            "suppressed": 0,
        }
    ]


def test_a_batch_is_one_write() -> None:
    log, gathered = request_log("all", Clock())
    for number in range(16):
        add(log, f"request-{number}")
    assert gathered.writes == []
    log.flush()
    log.flush()
    assert len(gathered.writes) == 1
    assert [line["request_id"] for line in gathered.lines] == [f"request-{number}" for number in range(16)]


def test_requests_of_nobody_known_are_few_lines_and_say_how_many_they_stand_for() -> None:
    clock = Clock()
    log, gathered = request_log("errors", clock)
    for _ in range(10_000):
        log.add_refusal("r", 403, "InvalidSignatureException", "192.0.2.1")
    assert len(gathered.lines) == 50
    clock.now_s += 1.0
    for _ in range(10_000):
        log.add_refusal("r", 403, "InvalidSignatureException", "192.0.2.1")
    assert len(gathered.lines) == 60
    assert gathered.lines[50]["suppressed"] == 10_000 - 50
    assert sum(1 + line["suppressed"] for line in gathered.lines[:51]) == 10_001
    clock.now_s -= 86_400.0
    log.add_refusal("r", 403, "InvalidSignatureException", "192.0.2.1")
    assert len(gathered.lines) == 60


# ── the service's own words ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def service_log() -> Iterator[Gathered]:
    gathered = Gathered()
    writer: Any = gathered
    handler = ServiceLog(writer, "w1")
    logger = logging.getLogger("strongroom.kms")
    logger.addHandler(handler)
    yield gathered
    logger.removeHandler(handler)


def test_a_warning_is_a_line(service_log: Gathered) -> None:
    logging.getLogger("strongroom.kms").warning("the region %s is not whole", "eu-west-1")
    (line,) = service_log.lines
    assert (line["level"], line["event"], line["logger"]) == ("warning", "log", "strongroom.kms")
    assert (line["message"], line["worker"]) == ("the region eu-west-1 is not whole", "w1")
    assert "exception" not in line


def test_an_exception_shows_its_place_and_never_its_text(service_log: Gathered) -> None:
    def stumble(plaintext: str) -> None:
        raise ValueError(f"cannot use {plaintext}")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_unhandled)
        try:
            stumble("canary-of-a-plaintext")
        except ValueError as error:
            loop.call_exception_handler({"message": "an operation failed", "exception": error, "value": "canary"})

    asyncio.run(main())
    (line,) = service_log.lines
    assert (line["level"], line["message"], line["exception"]) == ("error", "an operation failed", "ValueError")
    assert line["raised_at"][-1].endswith(" stumble")
    assert "canary" not in str(service_log.writes)
