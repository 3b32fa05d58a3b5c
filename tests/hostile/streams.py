"""Streams that no client sends: signed requests, one to three together, after a few changes that a seed decides.

Garbage, halves, pieces again, and lines that belong elsewhere: what says how long a body is, what ends a line, what ends a
connection.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from random import Random
from typing import Final

from hostile.asking import Signed, judge, signed, signed_form
from hostile.case import mutated

# Connections at once; tags come again when these are over.
CONNECTIONS: Final = 24
_TAGS: Final = 256
# A signature is good for five minutes; on a machine with much else to do, a batch is over long before.
_SIGNED_ANEW_S: Final = 60.0

_LINES: Final = (
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding:\tchunked", b"transfer-encoding: identity", b"TE: trailers"),
    *(b"Transfer-Encoding : chunked", b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked"),
    *(b"Transfer-Encoding\x00: chunked", b"Transfer-Encoding: xchunked", b"Transfer_Encoding: chunked"),
    *(b"Content-Length: 0", b"Content-Length: 1", b"Content-Length: 27", b"Content-Length: 999", b"Content-Length: -1"),
    *(
        b"Content-Length: +27",
        b"Content-Length: 0x1b",
        b"Content-Length: 27, 27",
        b"Content-Length: ",
        b"Content-Length: 027",
    ),
    *(
        b"Content-Length: 99999999999999999999",
        b"content-length:27 ",
        b" Content-Length: 27",
        b"\tfolded",
        b"Content_Length: 5",
    ),
    *(
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: close, keep-alive",
        b"Connection: TE, close",
        b"Connection:",
    ),
    *(b"Connection: upgrade", b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: nothing", b"Trailer: X-Amz-Target"),
    *(b"Expect: y 100-continue", b"EXPECT:100-Continue", b"Connection: Content-Length", b"Proxy-Connection: close"),
    *(
        b"Content-Encoding: chunked",
        b"Content-Length: 0000",
        b"Content-Length: \xb2",
        b"Content-Length: 1_0",
        b"Via: x",
    ),
    *(b"Action=CreateUser&Version=2010-05-08&UserName=x", b"Content-Type: application/x-www-form-urlencoded"),
    *(
        b"Host: other",
        b"Host:",
        b"X-Amz-Target: TrentService.CreateKey",
        b"X-Amz-Date: 20260101T000000Z",
        b"X-Amz-Extra: 1",
    ),
    *(b"X-HTTP-Method-Override: PUT", b"X: \xff\xfe", b"\xff: x", b"X\x00: y", b": y", b"nothing", b"X: " + b"y" * 500),
    *(b"GET /livez HTTP/1.1", b"GET /livez HTTP/1.0", b"GET / HTTP/2.0", b"", b"0", b"ffffffffffffffff", b"5;x=y"),
)
_FIRST_LINES: Final = (
    *(
        b"POST / HTTP/1.0",
        b"POST / HTTP/0.9",
        b"POST / HTTP/2.0",
        b"POST / HTTP/1.2",
        b"POST /",
        b"POST",
        b"GET / HTTP/1.1",
    ),
    *(
        b"POST http://127.0.0.1/ HTTP/1.1",
        b"POST * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"POST // HTTP/1.1",
        b"POST /. HTTP/1.1",
    ),
    *(
        b"POST  / HTTP/1.1",
        b"POST /\t HTTP/1.1",
        b" POST / HTTP/1.1",
        b"POST / HTTP/1.1 ",
        b"POST / http/1.1",
        b"post / HTTP/1.1",
    ),
    *(
        b"PRI * HTTP/2.0",
        b"HEAD / HTTP/1.1",
        b"CONNECT a:1 HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"POST /?a=b HTTP/1.1",
        b"P\0ST / HTTP/1.1",
    ),
    *(
        b"POST /\xff HTTP/1.1",
        b"POST /%2f HTTP/1.1",
        b"POST /\0 HTTP/1.1",
        b"\r\nPOST / HTTP/1.1",
        b"\nPOST / HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"POST / RTSP/1.1",
        b"SOURCE / ICE/1.0",
    ),
)


def changed(random: Random, honest: list[Signed]) -> bytes:
    """A stream of these requests that is not as they were."""
    stream = b"".join(one.text for one in honest)
    kind = random.random()
    if kind < 0.04:
        return random.randbytes(random.randrange(1, 600))
    if kind < 0.10:
        return stream[: random.randrange(len(stream))]
    if kind < 0.55:
        return _with_lines(random, stream)
    # Few of the blind changes leave the frame of a request as it is: these go deeper the fewer they are.
    return mutated(random, [stream, *(one.text for one in honest)], 8192)


def _with_lines(random: Random, stream: bytes) -> bytes:
    lines = stream.split(b"\r\n")
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at = random.randrange(len(lines))
        match random.randrange(6):
            case 0 | 1:
                lines.insert(at, random.choice(_LINES))
            case 2:
                lines[at] = random.choice(_LINES)
            case 3:
                lines.insert(at, random.choice(lines))
            case 4:
                del lines[at]
                lines = lines or [b""]
            case _:
                starts = [number for number, line in enumerate(lines) if line.startswith(b"POST ")]
                lines[random.choice(starts) if starts else at] = random.choice(_FIRST_LINES)
    end = random.choice((b"\r\n",) * 12 + (b"\n", b"\r", b"\r\r\n", b"\n\r"))
    return end.join(lines) if random.random() < 0.3 else b"\r\n".join(lines)


async def ask(port: int, seed: int, streams: int) -> Counter[str]:
    """Send that many streams, and judge every one; how often each kind of answer came.

    Raises:
        WireError: with the stream and its number.
    """
    random = Random(seed)
    statuses: Counter[str] = Counter()
    number = 0
    while number < streams:
        # Of both protocols, in turns.
        pool = [(signed, signed_form)[tag % 2](port, seed << 16 | tag) for tag in range(_TAGS)]
        until_s = time.monotonic() + _SIGNED_ANEW_S
        while number < streams and time.monotonic() < until_s:
            batch = min(CONNECTIONS, streams - number)
            judged = []
            for place in range(batch):
                # No two streams of a batch have a tag in common.
                honest = pool[place * 3 : place * 3 + random.choice((1, 1, 2, 3))]
                judged.append(judge(port, changed(random, honest), honest))
            for told in await asyncio.gather(*judged):
                statuses.update(told)
            number += batch
    return statuses
