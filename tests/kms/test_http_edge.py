"""The HTTP edge against what no client sends: every limit is taken, everything else goes on, nothing is answered twice.

Over real sockets, except for time-outs and full buffers, which a connection with a fake transport and clock shows at once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from strongroom.kms.wire import http
from strongroom.kms.wire.http import Clocks, Edge, HttpConnection
from strongroom.kms.wire.shapes import ERRORS
from strongroom.protocol import query, requests
from strongroom.protocol.requests import HttpRequest
from testkit.installation import Installation
from testkit.raw import Answer, Raw, RawKms, assert_allowed, assert_refused, nothing_breaks, raw_request

HELLO = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def raw(installation: Installation) -> Iterator[Raw]:
    with nothing_breaks(installation), Raw(installation.port) as connection:
        yield connection


def random_of(size: int) -> dict[str, int]:
    return {"NumberOfBytes": size}


def sizes(answers: list[Answer]) -> list[int]:
    """How long the base64 of each answer's random bytes is."""
    return [len(answer.json["Plaintext"]) for answer in answers]


# ── order, keeping and closing ──────────────────────────────────────────────────────────────────────────────────────────


def test_pipelined_requests_are_answered_in_order_whatever_they_cost(raw: Raw) -> None:
    wanted = [3, 300, 30, 900, 9]
    # Refusals, which no HSM is asked about, come between: they must wait for their turn.
    parts = []
    for size in wanted:
        parts += [raw.request("GenerateRandom", random_of(size)), raw.request("Nothing")]
    raw.send(b"".join(parts))
    answers = [raw.read_answer() for _ in parts]
    assert [answer.status for answer in answers] == [200, 400] * 5
    assert sizes(answers[::2]) == [len(json.dumps("x")) * 0 + 4 * ((size + 2) // 3) for size in wanted]
    assert raw.is_silent()


def test_a_request_in_single_bytes_is_a_request(raw: Raw) -> None:
    for byte in raw.request("GenerateRandom", random_of(6)):
        raw.send(bytes([byte]))
    assert raw.read_answer().status == 200
    assert raw.is_silent()


def test_a_connection_is_kept_until_the_client_asks_otherwise(raw: Raw) -> None:
    for _ in range(3):
        answer = raw.call("GenerateRandom", random_of(6))
        assert (answer.status, "connection" in answer.headers) == (200, False)
    answer = raw.call("GenerateRandom", random_of(6), extra=[(b"Connection", b"close")])
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert raw.is_closed()


def test_what_follows_a_closing_request_is_not_answered(raw: Raw) -> None:
    closing = raw.request("GenerateRandom", random_of(6), extra=[(b"Connection", b"close")])
    raw.send(closing + raw.request("GenerateRandom", random_of(6)) * 3)
    assert [answer.status for answer in raw.read_to_end()] == [200]


def test_http_1_0_is_answered_and_closed(raw: Raw) -> None:
    raw.send(b"GET /livez HTTP/1.0\r\n\r\n")
    answer = raw.read_answer()
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert raw.is_closed()


def test_an_answer_has_the_members_that_clients_read(raw: Raw) -> None:
    answer = raw.call("GenerateRandom", random_of(6))
    assert set(answer.headers) == {"x-amzn-requestid", "content-type", "date", "content-length"}
    assert answer.headers["content-type"] == "application/x-amz-json-1.1"
    assert len(answer.headers["x-amzn-requestid"]) == 36
    assert abs(time.time() - time.mktime(time.strptime(answer.headers["date"], "%a, %d %b %Y %H:%M:%S GMT"))) < 90_000


def test_request_ids_are_never_the_same(raw: Raw) -> None:
    ids = {raw.call("Nothing").headers["x-amzn-requestid"] for _ in range(100)}
    assert len(ids) == 100


def test_a_client_that_stops_sending_still_gets_its_answer(raw: Raw) -> None:
    raw.send(raw.request("GenerateRandom", random_of(6)))
    raw.finish_sending()
    answers = raw.read_to_end()
    assert [answer.status for answer in answers] == [200]


def test_nobody_who_asked_nothing_is_answered(raw: Raw) -> None:
    assert raw.is_silent(0.3)
    raw.send(b"\r\n\r\n")
    assert raw.is_silent(0.2)
    raw.send(b"GET /livez HTTP/1.1\r\nHost:")
    assert raw.is_silent(0.2)


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────────


def head(*lines: bytes, first: bytes = b"POST / HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: x", *lines, b"", b""])


BROKEN: dict[str, tuple[bytes, int]] = {
    "chunked": (head(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "chunked, spelled otherwise": (head(b"tRANSFER-eNCODING: ChUnKeD") + b"0\r\n\r\n", 400),
    "identity": (head(b"Transfer-Encoding: identity"), 400),
    "gzip": (head(b"Transfer-Encoding: gzip"), 400),
    "both lengths": (head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "both lengths, the other way round": (
        head(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n",
        400,
    ),
    "two content lengths": (head(b"Content-Length: 5", b"Content-Length: 6") + b"hello!", 400),
    "the same content length twice": (head(b"Content-Length: 5", b"Content-Length: 5") + b"hello", 400),
    "a list of content lengths": (head(b"Content-Length: 5, 5") + b"hello", 400),
    "a negative content length": (head(b"Content-Length: -5"), 400),
    "a signed content length": (head(b"Content-Length: +5") + b"hello", 400),
    "a hexadecimal content length": (head(b"Content-Length: 0x5") + b"hello", 400),
    "an empty content length": (head(b"Content-Length: "), 400),
    "a content length of words": (head(b"Content-Length: five"), 400),
    "a content length too long to read": (head(b"Content-Length: " + b"9" * 30), 400),
    "100 MB announced": (head(b"Content-Length: 104857600"), 413),
    "one byte too many announced": (head(b"Content-Length: 524289"), 413),
    "65 headers": (head(*[b"X-%d: y" % i for i in range(65)]), 431),
    "33 KiB of headers": (head(*[b"X-%d: %b" % (i, b"y" * 1100) for i in range(30)]), 431),
    "one header of 64 KiB": (head(b"X: " + b"y" * 65536), 431),
    "a target of 9 KiB": (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "version 0.8": (b"GET / HTTP/0.8\r\n\r\n", 400),
    "version 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "version 9.9": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400),
    "a method that is none": (b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a method in lower case": (b"post / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a blank before the colon": (head(b"X-Amz-Target : TrentService.ListKeys"), 400),
    "a header without a colon": (head(b"nothing"), 400),
    "a folded header": (head(b"X: a", b" b"), 400),
    "a NUL in a header": (head(b"X: a\0b"), 400),
    "a bare CR in a header": (head(b"X: a\rb: c"), 400),
    "bare line feeds": (b"GET /livez HTTP/1.1\nHost: x\n\n", 400),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(200), 400),
    "zeros": (bytes(1000), 400),
    "noise": (bytes(range(128, 256)) * 8, 400),
    "SSH": (b"SSH-2.0-OpenSSH_9.6\r\n", 400),
    "HEAD": (b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "CONNECT": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n" + HELLO, 405),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_request_that_breaks_the_protocol_ends_its_connection(raw: Raw, name: str) -> None:
    data, status = BROKEN[name]
    raw.send(data)
    answers = raw.read_to_end()
    assert [(answer.status, answer.body) for answer in answers] == [(status, b"")], name
    assert answers[0].headers["connection"] == "close"


@pytest.mark.parametrize("name", ["both lengths", "chunked", "two content lengths", "bare line feeds"])
def test_nothing_is_smuggled_behind_a_broken_request(raw: Raw, installation: Installation, name: str) -> None:
    kms = RawKms(installation)
    before = len(assert_allowed(kms.call("ListKeys", {"Limit": 1000}))["Keys"])
    raw.send(BROKEN[name][0] + raw.request("CreateKey"))
    assert len(raw.read_to_end()) == 1
    assert len(assert_allowed(kms.call("ListKeys", {"Limit": 1000}))["Keys"]) == before


def test_a_body_longer_than_its_length_is_the_start_of_the_next_request(raw: Raw) -> None:
    raw.send(raw.request("GenerateRandom", random_of(6)) + b"GARBAGE\r\n\r\n")
    assert [answer.status for answer in raw.read_to_end()] == [200, 400]


def test_a_signature_covers_the_body_that_the_length_says(raw: Raw) -> None:
    """A shorter length cuts the body, so that the signature fails; the rest is garbage."""
    whole = raw.request("GenerateRandom", random_of(900))
    raw.send(whole.replace(b"Content-Length: 22", b"Content-Length: 20"))
    first, second = raw.read_to_end()
    assert_refused(first, "InvalidSignatureException")
    assert (second.status, second.body) == (400, b"")


@pytest.mark.parametrize(
    "target", [b"http://127.0.0.1/", b"https://kms.us-east-1.amazonaws.com/", b"*", b"x", b"//", b"/\xff", b"http://["]
)
def test_a_target_in_another_form_never_succeeds(raw: Raw, target: bytes) -> None:
    raw.send(raw_request([(b"Host", b"x"), (b"Content-Length", b"0")], b"", b"POST", target))
    assert raw.read_answer().status in {400, 403}


def test_the_largest_body_is_read_and_one_byte_more_is_not(raw: Raw, installation: Installation) -> None:
    largest = b'{"NumberOfBytes":8,"x":"' + b"y" * (http.BODY_BYTES_MAX - 26) + b'"}'
    assert len(largest) == http.BODY_BYTES_MAX
    assert raw.call("GenerateRandom", largest).status == 200
    with Raw(installation.port) as another:
        another.send(another.request("GenerateRandom", largest + b" ")[:10_000])
        assert [answer.status for answer in another.read_to_end()] == [413]


def test_64_headers_and_no_more_are_read(raw: Raw) -> None:
    request = raw.request("GenerateRandom", random_of(6))
    count = request.partition(b"\r\n\r\n")[0].count(b"\r\n")
    more = b"".join(b"X-%d: y\r\n" % i for i in range(http.HEADERS_MAX - count))
    raw.send(request.replace(b"\r\n", b"\r\n" + more, 1))
    assert raw.read_answer().status == 200
    raw.send(request.replace(b"\r\n", b"\r\nOne: more\r\n" + more, 1))
    assert [answer.status for answer in raw.read_to_end()] == [431]


def test_a_flood_of_100_mb_is_cut_off_while_others_are_served(raw: Raw, installation: Installation) -> None:
    """The length is announced small enough, and then the client does not stop."""
    served: list[float] = []
    stop = threading.Event()

    def others() -> None:
        with Raw(installation.port) as other:
            while not stop.is_set():
                started = time.perf_counter()
                assert other.call("GenerateRandom", random_of(8)).status == 200
                served.append(time.perf_counter() - started)

    thread = threading.Thread(target=others)
    thread.start()
    sent = 0
    chunk = b"x" * (1 << 20)
    try:
        raw.send(head(b"Content-Length: 104857600"))
        while sent < 100 << 20:
            raw.send(chunk)
            sent += len(chunk)
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        given_up = time.monotonic() + 60
        while len(served) <= 10 and thread.is_alive() and time.monotonic() < given_up:
            time.sleep(0.05)
        stop.set()
        thread.join()
    # What the kernel's buffers on both sides took, and no more.
    assert sent <= 16 << 20
    assert len(served) > 10
    # Not as long as the flood took: on a machine with other things to do, each of these takes its time.
    assert sorted(served)[len(served) // 2] < installation.late_s(0.1)


def test_expect_is_answered_before_the_body_and_only_when_the_body_is_welcome(raw: Raw) -> None:
    request = raw.request("GenerateRandom", random_of(6), extra=[(b"Expect", b"100-continue")])
    first, _, body = request.partition(b"\r\n\r\n")
    raw.send(first + b"\r\n\r\n")
    assert raw.read_answer().status == 100
    assert raw.is_silent()
    raw.send(body)
    assert raw.read_answer().status == 200
    raw.send(head(b"Expect: 100-continue", b"Content-Length: 104857600"))
    assert [answer.status for answer in raw.read_to_end()] == [413]


def test_an_upgrade_is_refused_before_anything_is_done(raw: Raw, installation: Installation) -> None:
    """Its body would be taken for the first bytes of the other protocol."""
    kms = RawKms(installation)
    before = len(assert_allowed(kms.call("ListKeys", {"Limit": 1000}))["Keys"])
    offer = [(b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"AAMAAABk")]
    raw.send(raw.request("CreateKey", b"", extra=offer) + b"PRI * HTTP/2.0\r\n\r\n")
    assert [answer.status for answer in raw.read_to_end()] == [400]
    assert len(assert_allowed(kms.call("ListKeys", {"Limit": 1000}))["Keys"]) == before


def test_17_requests_at_once_are_answered_and_more_are_not_kept(raw: Raw) -> None:
    one = raw.request("GenerateRandom", random_of(6))
    raw.send(one * (http.PIPELINED_MAX + 1))
    assert [raw.read_answer().status for _ in range(http.PIPELINED_MAX + 1)] == [200] * 17
    assert raw.is_silent()


def test_a_thousand_requests_at_once_do_not_break_the_service(raw: Raw) -> None:
    try:
        raw.send(raw.request("GenerateRandom", random_of(6)) * 1000)
    except (BrokenPipeError, ConnectionResetError):
        return
    answers = raw.read_to_end()
    assert all(answer.status in {200, 400} for answer in answers)


def test_a_client_that_leaves_in_the_middle_costs_nothing(installation: Installation) -> None:
    with nothing_breaks(installation):
        for size in (1, 20, 100, 300):
            with Raw(installation.port) as leaving:
                leaving.send(leaving.request("GenerateRandom", random_of(1024))[:size])
        for _ in range(20):
            with Raw(installation.port) as leaving:
                leaving.send(leaving.request("GenerateRandom", random_of(1024)))


def test_a_signed_get_caller_identity_works_and_other_actions_are_invalid(installation: Installation) -> None:
    kms = RawKms(installation)
    form = [(b"Content-Type", b"application/x-www-form-urlencoded")]
    answer = kms.send(b"Action=GetCallerIdentity&Version=2011-06-15", form, service="sts")
    assert (answer.status, b"<Arn>arn:aws:iam::000000000000:root</Arn>" in answer.body) == (200, True)
    for body, code in (
        (b"Action=AssumeRole", b"InvalidAction"),
        (b"", b"MissingAction"),
        (b"Action=GetCallerIdentity&action=x", b"MalformedQueryString"),
        (b"Action=%zz", b"MalformedQueryString"),
        (b"\xff", b"MalformedQueryString"),
    ):
        refused = kms.send(body, form, service="sts")
        assert (refused.status < 500, b"<Code>%b</Code>" % code in refused.body) == (True, True), refused
    assert_refused(kms.call("ListKeys", service="sts"), "InvalidSignatureException")


def test_every_status_that_a_fault_can_have_has_its_reason() -> None:
    statuses = {*ERRORS.values(), *(status for _, status in query.SIGV4_ERRORS.values()), 200, 400, 403, 503}
    assert statuses <= set(http._REASONS)


# ── in process: time-outs and full buffers ──────────────────────────────────────────────────────────────────────────────


class FakeTransport:
    """A client that has sent what a test says, and reads nothing."""

    def __init__(self) -> None:
        self.written = b""
        self.ended = ""
        self.reads = True

    def get_extra_info(self, _: str) -> tuple[str, int]:
        return ("192.0.2.1", 4711)

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return bool(self.ended)

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Bench:
    """One connection in an event loop whose clock stands still until a test moves it."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.edge = Edge(lambda _, request: self.requests.append(request), Clocks(lambda: 1_700_000_000.0))
        self.connection = HttpConnection(self.edge)
        self.transport = FakeTransport()
        self.now = 1000.0

    def connect(self) -> None:
        self.edge.sweep(self.now)
        self.connection.connection_made(cast("asyncio.BaseTransport", self.transport))

    def answer(self) -> None:
        self.connection.answer(200, b"text/plain", "id", b"x")

    def is_ended_by(self, later_s: float) -> bool:
        self.edge.sweep(self.now + later_s)
        return bool(self.transport.ended)


@pytest.fixture
def bench() -> Iterator[Callable[[Callable[[Bench], None]], None]]:
    def run(scene: Callable[[Bench], None]) -> None:
        async def main() -> None:
            bench = Bench()
            bench.connect()
            scene(bench)

        asyncio.run(main())

    return cast("Any", run)


def test_a_silent_connection_is_closed_after_75_seconds(bench: Any) -> None:
    def scene(b: Bench) -> None:
        assert not b.is_ended_by(http.IDLE_S_MAX)
        assert b.is_ended_by(http.IDLE_S_MAX + 0.1)

    bench(scene)


def test_a_connection_that_came_before_the_first_sweep_is_not_closed_by_it() -> None:
    edge = Edge(lambda *_: None, Clocks(lambda: 0.0))
    connection, transport = HttpConnection(edge), FakeTransport()
    connection.connection_made(cast("asyncio.BaseTransport", transport))
    connection.data_received(b"GET")
    edge.sweep(time.monotonic() + 1)
    assert not transport.ended


def test_a_slow_request_is_closed_20_seconds_after_its_first_byte_however_it_drips(bench: Any) -> None:
    def scene(b: Bench) -> None:
        b.connection.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        for second in range(20):
            b.connection.data_received(b"x")
            assert not b.is_ended_by(second)
        assert b.is_ended_by(http.REQUEST_S_MAX + 0.1)
        assert b.requests == []
        assert b.transport.written == b""

    bench(scene)


def test_a_request_under_way_is_never_called_late(bench: Any) -> None:
    def scene(b: Bench) -> None:
        b.connection.data_received(HELLO)
        assert len(b.requests) == 1
        assert not b.is_ended_by(1000)
        b.now += 1000
        b.answer()
        assert not b.is_ended_by(http.IDLE_S_MAX)
        assert b.is_ended_by(http.IDLE_S_MAX + 0.1)

    bench(scene)


def test_who_does_not_read_is_not_read_and_is_cut_off_in_the_end(bench: Any) -> None:
    def scene(b: Bench) -> None:
        b.connection.pause_writing()
        assert not b.transport.reads
        b.connection.resume_writing()
        assert b.transport.reads
        b.connection.pause_writing()
        assert b.is_ended_by(http.IDLE_S_MAX + 0.1)
        # A graceful close would wait for the buffer that nobody reads.
        assert b.transport.ended == "aborted"

    bench(scene)


def test_the_18th_request_ahead_of_its_answers_is_refused(bench: Any) -> None:
    def scene(b: Bench) -> None:
        b.connection.data_received(HELLO * (http.PIPELINED_MAX + 1))
        assert not b.transport.ended
        b.connection.data_received(HELLO)
        # Answers are still due, so nothing is written in front of them.
        assert b.transport.written == b""
        assert not b.transport.reads
        for _ in range(http.PIPELINED_MAX + 1):
            assert not b.transport.ended
            b.answer()
        assert b.transport.written.count(b"HTTP/1.1 200 OK") == http.PIPELINED_MAX + 1
        assert b.transport.written.endswith(
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        assert b.transport.ended == "closed"

    bench(scene)


def test_answers_to_a_client_that_has_gone_are_dropped(bench: Any) -> None:
    def scene(b: Bench) -> None:
        b.connection.data_received(HELLO * 3)
        b.connection.connection_lost(None)
        b.answer()
        assert b.transport.written == b""
        assert len(b.requests) == 1
        assert b.edge.connections == set()

    bench(scene)


def test_a_stop_lets_a_request_under_way_finish_and_takes_no_other(bench: Any) -> None:
    def scene(b: Bench) -> None:
        b.connection.data_received(HELLO * 2)
        b.connection.close_if_idle()
        assert not b.transport.ended
        b.answer()
        assert b"Connection: close" in b.transport.written
        assert b.transport.ended == "closed"
        assert len(b.requests) == 1

    bench(scene)


def test_an_idle_connection_is_closed_by_a_stop(bench: Any) -> None:
    def scene(b: Bench) -> None:
        b.connection.close_if_idle()
        assert b.transport.ended == "closed"

    bench(scene)


def _full_edge(connections: int) -> tuple[Edge, list[tuple[HttpConnection, FakeTransport]]]:
    """An edge with as many connections as it may have; one came every second."""
    edge = Edge(lambda *_: None, Clocks(lambda: 0.0), connections)
    made = []
    for second in range(connections):
        edge.sweep(1000.0 + second)
        connection, transport = HttpConnection(edge), FakeTransport()
        connection.connection_made(cast("asyncio.BaseTransport", transport))
        made.append((connection, transport))
    return edge, made


def test_where_there_is_no_room_who_is_silent_longest_makes_some() -> None:
    edge, made = _full_edge(4)
    made[0][0].data_received(HELLO)
    made[1][0].data_received(HELLO)
    made[1][0].answer(200, b"text/plain", "id", b"x")
    assert edge.has_room(0)
    assert [transport.ended for _, transport in made] == ["", "", "aborted", ""], "the first is owed an answer"
    # What was given up is not counted until it is told of its end, and being told then changes nothing.
    assert len(edge.connections) == 3
    made[2][0].connection_lost(None)
    assert edge.has_room(0)
    assert len(edge.connections) == 3


def test_connections_that_are_beginning_take_room_too() -> None:
    edge, made = _full_edge(40)
    for connection, transport in made[8:]:
        transport.close()
        connection.connection_lost(None)
    assert edge.has_room(31)
    assert len(edge.connections) == 8
    assert edge.has_room(32)
    assert len(edge.connections) == 6, "a sixteenth of all at once"


def test_where_everybody_is_owed_an_answer_there_is_no_room() -> None:
    edge, made = _full_edge(2)
    for connection, _ in made:
        connection.data_received(HELLO)
    assert not edge.has_room(0)
    assert [transport.ended for _, transport in made] == ["", ""]


# ── in process: what is held of whom ────────────────────────────────────────────────────────────────────────────────────


def test_a_kept_connection_keeps_nothing_of_its_last_request(bench: Any) -> None:
    def scene(b: Bench) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nX-Long: %b\r\nContent-Length: 200000\r\n\r\n" % (b"y" * 20_000)
        for part in (head, b"a" * 100_000, b"b" * 100_000):
            b.connection.data_received(part)
        assert len(b.requests.pop().body) == 200_000
        b.answer()
        held = [getattr(b.connection, name) for name in ("_target", "_names", "_values", "_body")]
        assert not any(held)
        assert not b.connection._request_names.spelled
        assert b.edge.held_bytes == 0

    bench(scene)


def test_a_head_that_does_not_end_is_held_within_the_number_of_headers_and_the_budget(bench: Any) -> None:
    def scene(b: Bench) -> None:
        b.connection.data_received(b"POST / HTTP/1.1\r\n" + b"a:\r\n" * http.HEADERS_MAX)
        assert not b.transport.ended
        assert b.edge.held_bytes == 17 + 4 * http.HEADERS_MAX
        b.connection.data_received(b"a:\r\na")
        assert b.transport.written.startswith(b"HTTP/1.1 431 ")
        assert not b.connection._values
        b.connection.connection_lost(None)
        assert b.edge.held_bytes == 0

    bench(scene)


def test_a_head_that_would_exceed_the_budget_of_all_is_told_to_come_back(bench: Any) -> None:
    def scene(b: Bench) -> None:
        b.edge.held_bytes = http.HELD_BYTES_MAX - 10
        b.connection.data_received(b"POST / HT")
        assert not b.transport.ended
        b.connection.data_received(b"TP/1.1")
        assert b.transport.written.startswith(b"HTTP/1.1 503 ")

    bench(scene)


def test_a_head_with_too_many_headers_is_not_remembered(bench: Any) -> None:
    def scene(b: Bench) -> None:
        names = [b"n%d" % number for number in range(http.HEADERS_MAX + 1)]
        b.connection.data_received(b"GET / HTTP/1.1\r\n" + b"".join(name + b":\r\n" for name in names) + b"\r\n")
        assert b.transport.written.startswith(b"HTTP/1.1 431 ")
        assert tuple(names) not in requests._known

    bench(scene)


def test_a_connection_that_ended_is_gone_without_the_collector() -> None:
    """Strangers come and go faster than the collector runs."""
    edge = Edge(lambda connection, _: connection.answer(200, b"text/plain", "id", b"x"), Clocks(lambda: 0.0))
    gc.collect()
    gc.disable()
    try:
        for data in (HELLO, b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 65 + b"\r\n", b"nonsense\r\n\r\n"):
            connection = HttpConnection(edge)
            connection.connection_made(cast("asyncio.BaseTransport", FakeTransport()))
            connection.data_received(data)
            connection.connection_lost(None)
            del connection
            assert not [one for one in gc.get_objects() if isinstance(one, HttpConnection)], data
    finally:
        gc.enable()


def test_no_interim_answer_is_written_while_another_answer_is_due(bench: Any) -> None:
    def scene(b: Bench) -> None:
        expecting = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
        b.connection.data_received(HELLO + expecting)
        assert b.transport.written == b""
        b.connection.data_received(b"x")
        b.answer()
        b.answer()
        assert b.transport.written.count(b"HTTP/1.1 200 OK") == 2
        assert b"100 Continue" not in b.transport.written

    bench(scene)


def test_a_header_may_not_come_again_after_the_headers_of_a_request(bench: Any) -> None:
    """Each request has its own headers: nothing of the one before stays."""

    def scene(b: Bench) -> None:
        b.connection.data_received(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Amz-Target: a\r\n\r\n" + HELLO)
        b.answer()
        assert [name for name, _ in b.requests[0].headers] == [b"Host", b"X-Amz-Target"]
        assert [name for name, _ in b.requests[1].headers] == [b"Host"]

    bench(scene)
