"""A stream of requests as RFC 9112 reads it, with what this service does not take: the judge of what its parser read.

Written from the RFC and from the limits of `docs/limits.md`, for short streams only; nothing of the product is used. Where
the RFC leaves a choice to the recipient, or the end of a stream leaves it open what a line would have been, it is unsure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

Headers = list[tuple[bytes, bytes]]

# RFC 9110 9.1, 9.3 and RFC 5789; others are known to parsers too, and then answered like these.
_METHODS: Final = frozenset((b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH"))
# Whose answers have no body: the service does not take them.
_REFUSED_METHODS: Final = frozenset((b"HEAD", b"CONNECT"))
_TOKEN: Final = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
# RFC 9112 3: a method, a target, the version; a recipient may take several spaces for one.
_REQUEST_LINE: Final = re.compile(rb"(%b) +([\x21-\x7e]+) +HTTP/1\.([01])" % _TOKEN)
# No version at all, or another one's: a parser may wait for the end of the headers before it says so.
_OTHER_VERSION: Final = re.compile(rb"%b +[\x21-\x7e]+(?: +HTTP/[0-9]\.[0-9])?" % _TOKEN)
# RFC 9112 5, RFC 9110 5.5: nothing between name and colon; obs-text may be in a value.
_FIELD_LINE: Final = re.compile(
    rb"(%b):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?[ \t]*" % _TOKEN
)
# RFC 9110 10.1.1: what a client may expect, and nothing else.
_LEAVE: Final = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_ENDING: Final = frozenset((b"connection", b"proxy-connection"))
_BODY_BYTES_MAX: Final = 512 * 1024
_TARGET_BYTES_MAX: Final = 8 * 1024
_HEADER_BYTES_MAX: Final = 32 * 1024
_FIELDS_MAX: Final = 64


class End(Enum):
    """How a stream ends."""

    WHOLE = auto()
    INCOMPLETE = auto()
    # By the wish of a request: what follows is not read.
    CLOSED = auto()
    BROKEN = auto()
    UNSURE = auto()


@dataclass(frozen=True)
class Asked:
    """A request that a stream holds."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes
    text: bytes


class _EndError(Exception):
    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end


def read(stream: bytes) -> tuple[list[Asked], End]:
    """The requests of a stream, and how it ends."""
    asked: list[Asked] = []
    rest = stream
    try:
        while True:
            # RFC 9112 2.2: empty lines before a request are ignored.
            rest = rest.lstrip(b"\r\n")
            if not rest:
                return asked, End.WHOLE
            request, rest, closes = _one(rest)
            asked.append(request)
            if closes:
                return asked, End.CLOSED
    except _EndError as end:
        return asked, end.end


def asking_leave(stream: bytes) -> int:
    """How many requests of a stream may wait for leave to send their bodies, at the most."""
    return len(_LEAVE.findall(stream))


def _one(text: bytes) -> tuple[Asked, bytes, bool]:
    line, rest = _line(text)
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        # A byte that is no character of a target: parsers differ in whether they take it.
        odd = re.fullmatch(rb"%b [^\x00-\x20\x7f]+ HTTP/1\.[01]" % _TOKEN, line) is not None
        # Or the name of a protocol that looks like HTTP: whoever reads HTTP alone passes no such line on.
        odd |= re.fullmatch(rb"%b +[^\x00-\x20\x7f]+ +(?:RTSP|ICE)/1\.[01]" % _TOKEN, line) is not None
        waits = _OTHER_VERSION.fullmatch(line) is not None and b"\r\n\r\n" not in text
        raise _EndError(End.UNSURE if odd or waits else End.BROKEN)
    method, target, minor = found[1], found[2], found[3]
    # RFC 9112 3.2: a path, a URI, a `*`; the rest is no target, and a parser may or may not say so.
    if re.match(rb"/|[A-Za-z]+://[\x21-\x7e]|\*\Z", target) is None:
        raise _EndError(End.UNSURE)
    if len(target) > _TARGET_BYTES_MAX:
        raise _EndError(End.BROKEN)
    headers: Headers = []
    while True:
        line, rest = _line(rest)
        if not line:
            break
        field = _FIELD_LINE.fullmatch(line)
        if field is None:
            raise _EndError(End.BROKEN)
        headers.append((field[1].lower(), field[2] or b""))
        # Blanks behind a length belong to the line and not to the length; who is strict does not take them.
        if headers[-1][0] == b"content-length" and line[-1:] in b" \t":
            raise _EndError(End.UNSURE)
    if method not in _METHODS:
        raise _EndError(End.BROKEN if method in _REFUSED_METHODS else End.UNSURE)
    hosts = [name for name, _ in headers].count(b"host")
    # RFC 9112 3.2: one, and none of a client of 1.0 alone.
    if hosts > 1 or (not hosts and minor == b"1"):
        raise _EndError(End.BROKEN)
    length = _length(headers)
    if len(rest) < length:
        raise _EndError(End.INCOMPLETE)
    body, rest = rest[:length], rest[length:]
    return Asked(method, target, headers, body, text[: len(text) - len(rest)]), rest, _closes(headers, minor)


def _line(text: bytes) -> tuple[bytes, bytes]:
    line, end, rest = text.partition(b"\r\n")
    if b"\r" in line.rstrip(b"\r") or b"\n" in line or b"\0" in line:
        raise _EndError(End.BROKEN if end else End.UNSURE)
    if not end:
        # What it would have become is open, and a parser need not wait for the end to know that it is wrong.
        raise _EndError(End.UNSURE)
    if line.endswith(b"\r"):
        raise _EndError(End.BROKEN)
    return line, rest


def _length(headers: Headers) -> int:
    """How long the body is; RFC 9112 6.3, and codings and upgrades are not taken at all."""
    lengths = [value for name, value in headers if name == b"content-length"]
    names = {name for name, _ in headers}
    if names & {b"transfer-encoding", b"upgrade"} or len(lengths) > 1 or len(headers) > _FIELDS_MAX:
        raise _EndError(End.BROKEN)
    if sum(len(name) + len(value) for name, value in headers) > _HEADER_BYTES_MAX:
        raise _EndError(End.BROKEN)
    if not lengths:
        return 0
    (value,) = lengths
    if not re.fullmatch(rb"[0-9]{1,10}", value) or int(value) > _BODY_BYTES_MAX:
        raise _EndError(End.BROKEN)
    return int(value)


def _closes(headers: Headers, minor: bytes) -> bool:
    """RFC 9112 9.3: whether the connection ends with this request's answer.

    A server need not know the name that proxies once had for the same header (appendix C.2.2); this one does.
    """
    options = [option.strip().lower() for name, value in headers if name in _ENDING for option in value.split(b",")]
    return b"close" in options if minor == b"1" else b"keep-alive" not in options
