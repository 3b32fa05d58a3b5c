"""Streams of bytes on sockets, and what comes back, held against what the stream asked for.

Every honest request names a key that is none, by a tag of its own; the refusal repeats it. So an answer tells which request
it is for, and a stream can be told from all others:

* There is an answer for each request of the stream, in order, and one refusal for what breaks it; then the end.
* Nobody is told to go on who did not ask whether he should.
* A tag comes back only where its request was asked, as it was signed, on this connection.
* A request that came as it was signed is answered with its tag.
* No answer is of 500 or above, and each is one HTTP answer and nothing more.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hostile.reading import Asked, End, asking_leave, read
from hostile.request_cases import meaning_of
from strongroom.protocol.requests import http_request
from testkit.raw import Headers, call_headers, raw_request, signed_headers

# Of a machine with much else to do: it must end, no more.
ANSWER_S_MAX: Final = 90.0
_TAG: Final = re.compile(rb"tag-[0-9a-f]{12}")
_ANSWERED: Final = re.compile(rb"(?:Invalid keyId '|The user with name )(tag-[0-9a-f]{12})(?:'| cannot be found)")
_ANSWER_HEAD: Final = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [A-Za-z ]+")
_HEADER: Final = re.compile(rb"([A-Za-z-]+): ([\x20-\x7e]+)")


class WireError(AssertionError):
    """Something that no stream may bring about."""


@dataclass(frozen=True)
class Signed:
    """An honest request: its bytes, and the tag that its answer repeats."""

    tag: bytes
    text: bytes
    meaning: tuple[object, ...]


def signed(port: int, number: int) -> Signed:
    """For a key: JSON."""
    tag = b"tag-%012x" % number
    return _signed(port, tag, json.dumps({"KeyId": tag.decode()}).encode(), call_headers("DescribeKey"), "kms")


def signed_form(port: int, number: int) -> Signed:
    """For a user: a form of the Query protocol, whose action stands in the body."""
    tag = b"tag-%012x" % number
    return _signed(port, tag, b"Action=GetUser&Version=2010-05-08&UserName=" + tag, FORM_HEADERS, "iam")


FORM_HEADERS: Final = ((b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8"),)


def _signed(port: int, tag: bytes, body: bytes, headers: Headers, service: str) -> Signed:
    whole = signed_headers(f"127.0.0.1:{port}", body, headers, service=service)
    return Signed(tag, raw_request(whole, body), meaning_of(http_request("POST", b"/", whole, body)))


@dataclass(frozen=True)
class Told:
    """One answer."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def tags(self) -> list[bytes]:
        """The tags of the requests that it answers: it may quote others from a header that is none."""
        return _ANSWERED.findall(self.body)


@dataclass
class Received:
    """All that came on a connection, until the service ended it."""

    data: bytes = b""
    # Whether the end was the service's own doing, and whether it threw away what it had not read.
    unasked_end: bool = False
    was_reset: bool = False
    told: list[Told] = field(default_factory=list)

    @property
    def answers(self) -> list[Told]:
        """All but those that tell a client to send its body."""
        return [told for told in self.told if told.status != 100]


async def exchange(port: int, pieces: Sequence[bytes], *, ends: bool) -> Received:
    """Send, one piece after the other, say that it was all if it `ends`, and receive until the service hangs up."""
    received = Received(unasked_end=not ends)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(0.002)
            writer.write(piece)
        if ends:
            writer.write_eof()
        async with asyncio.timeout(ANSWER_S_MAX):
            while chunk := await reader.read(1 << 16):
                received.data += chunk
    except (ConnectionResetError, BrokenPipeError):
        received.was_reset = True
    except OSError as error:
        if not isinstance(error, TimeoutError):
            received.was_reset = True
        else:
            raise WireError(f"not closed: {pieces!r} {received.data!r}") from None
    finally:
        writer.close()
    received.told = answers_of(received.data)
    return received


def answers_of(data: bytes) -> list[Told]:
    """What was received, as answers; the reading is strict."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        status = _ANSWER_HEAD.fullmatch(first)
        pairs = [_HEADER.fullmatch(line) for line in lines]
        if not end or status is None or None in pairs:
            raise WireError(f"no answer: {head!r}")
        headers = {pair[1].lower(): pair[2] for pair in pairs if pair}
        length = int(headers.get(b"content-length", b"0"))
        if len(headers) != len(lines) or len(data) < length:
            raise WireError(f"no whole answer: {head!r}")
        found.append(Told(int(status[1]), headers, data[:length]))
        data = data[length:]
    return found


async def judge(port: int, stream: bytes, honest: Sequence[Signed], pieces: Sequence[bytes] = ()) -> list[str]:
    """Send a stream made of honest requests; how each was answered: with its tag, or with a status.

    Raises:
        WireError: one of the module's rules is broken.
    """
    asked, end = read(stream)
    by_itself = end in {End.BROKEN, End.CLOSED}
    received = await exchange(port, pieces or [stream], ends=not by_itself)
    try:
        _require_right(stream, asked, end, honest, received)
    except WireError as error:
        raise WireError(f"{error}\nsent {stream!r}\nwhich is {end} after {len(asked)}\ngot {received.data!r}") from None
    return ["tag" if told.tags else str(told.status) for told in received.told]


def _require_right(stream: bytes, asked: list[Asked], end: End, honest: Sequence[Signed], received: Received) -> None:
    answers = received.answers
    _require(all(told.status < 500 for told in answers), "an answer of 500 or above")
    _require(len(received.told) - len(answers) <= asking_leave(stream), "nobody asked whether to go on")
    due = len(asked) + (end is End.BROKEN)
    _require(received.was_reset or end is End.UNSURE or len(answers) >= due, f"{due} answers were due")
    _require(end is End.UNSURE or len(answers) <= due, f"only {due} answers were asked for")
    known = {one.tag: one for one in honest}
    for number, told in enumerate(answers):
        # A refusal may quote what was sent, and a change can have made another tag of two halves.
        foreign = [tag for tag in _TAG.findall(told.body) if tag not in stream]
        _require(not foreign, f"an answer to somebody else: {foreign}")
        request = asked[number] if number < len(asked) else None
        if request is None and end is not End.UNSURE:
            _require((told.body, told.headers.get(b"connection")) == (b"", b"close"), "a request that was not asked")
        if request is not None and told.tags:
            _require(
                [_meaning(request)] == [known[tag].meaning for tag in told.tags if tag in known], "not as it was signed"
            )
        if request is not None and request.text in {one.text for one in honest}:
            _require(len(told.tags) == 1, "an honest request was not answered")
        if told.headers.get(b"connection") == b"close":
            _require(number == len(answers) - 1, "more after the end")


def _meaning(request: Asked) -> tuple[object, ...]:
    return meaning_of(http_request(request.method.decode(), request.target, request.headers, request.body))


def _require(holds: object, what: str) -> None:
    if not holds:
        raise WireError(what)
