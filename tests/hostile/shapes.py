"""The shapes of request smuggling, one by one: a stream, and how it must be answered.

`{hidden}` is a signed request that a reader of the other length, line end or coding would find; nobody may answer it.
`{next}` is an honest request behind the shape. An answer is `tag` when it repeats the honest request's tag, else its status.

Sources: RFC 9112 section 11.2; RFC 9110 section 17; the HTTP desync literature's CL.TE, TE.CL, CL.0, TE.0 and H2 downgrades.
"""

from __future__ import annotations

from typing import Final

BROKEN: Final = ["400"]


def _post(*lines: bytes, first: bytes = b"POST / HTTP/1.1", end: bytes = b"\r\n") -> bytes:
    return end.join([first, b"Host: x", *lines, b"", b""])


def _chunked(chunks: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked") + chunks + b"{hidden}"


def _coded(line: bytes, *more: bytes) -> bytes:
    """A coding, spelled so that one reader sees it and another does not."""
    return _post(b"Content-Length: 5", line, *more) + b"0\r\n\r\n{hidden}"


SHAPES: Final[dict[str, tuple[bytes, list[str]]]] = {
    # ── two lengths ──
    "CL.TE": (_post(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n{hidden}", BROKEN),
    "TE.CL": (_post(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n{hidden}", BROKEN),
    "two lengths": (_post(b"Content-Length: 0", b"Content-Length: 5") + b"{hidden}", BROKEN),
    "one length twice": (_post(b"Content-Length: 0", b"Content-Length: 0") + b"{hidden}", BROKEN),
    "a list of lengths": (_post(b"Content-Length: 0, 5") + b"{hidden}", BROKEN),
    "a length in another spelling": (_post(b"Content-Length: 0", b"content-length: 9") + b"{hidden}", BROKEN),
    "a signed length": (_post(b"Content-Length: +0") + b"{hidden}", BROKEN),
    "a negative length": (_post(b"Content-Length: -1") + b"{hidden}", BROKEN),
    "a length of another base": (_post(b"Content-Length: 0x0") + b"{hidden}", BROKEN),
    "a length with a fraction": (_post(b"Content-Length: 0.0") + b"{hidden}", BROKEN),
    "a length with a blank in it": (_post(b"Content-Length: 0 0") + b"{hidden}", BROKEN),
    "a length beyond 64 bits": (_post(b"Content-Length: 18446744073709551616") + b"{hidden}", ["400", "413"]),
    "an empty length": (_post(b"Content-Length:") + b"{hidden}", BROKEN),
    "a length in other digits": (_post("Content-Length: ٣".encode()) + b"{hidden}", BROKEN),
    "a length in raised digits": (_post(b"Content-Length: \xb2") + b"{hidden}", BROKEN),
    "a length with an underscore": (_post(b"Content-Length: 1_0") + b"{hidden}", BROKEN),
    "a length with a comma behind it": (_post(b"Content-Length: 0,") + b"{hidden}", BROKEN),
    "a length with a semicolon behind it": (_post(b"Content-Length: 0;") + b"{hidden}", BROKEN),
    "a length behind a form feed": (_post(b"Content-Length: \x0c0") + b"{hidden}", BROKEN),
    "a length before a vertical tab": (_post(b"Content-Length: 0\x0b") + b"{hidden}", BROKEN),
    "a length before a NUL": (_post(b"Content-Length: 0\0") + b"{hidden}", BROKEN),
    "a blank before a length's colon": (_post(b"Content-Length : 0") + b"{hidden}", BROKEN),
    "a folded length": (_post(b"Content-Length:", b" 0") + b"{hidden}", BROKEN),
    "a length that begins with a fold": (_post(b" Content-Length: 0") + b"{hidden}", BROKEN),
    "zeros before a length": (_post(b"Content-Length: 0005") + b"hello{next}", ["403", "tag"]),
    "blanks before a length": (_post(b"Content-Length:   5") + b"hello{next}", ["403", "tag"]),
    "a length of another name": (_post(b"Content_Length: 5") + b"{next}", ["403", "tag"]),
    "a length that the connection keeps to itself": (
        _post(b"Connection: Content-Length", b"Content-Length: 5") + b"hello{next}",
        ["403", "tag"],
    ),
    "a body of a GET": (
        _post(b"Content-Length: {whole}", first=b"GET /livez HTTP/1.1") + b"{hidden}{next}",
        ["200", "tag"],
    ),
    "CL.0": (_post(b"Content-Length: 0", first=b"GET /livez HTTP/1.1") + b"{next}", ["200", "tag"]),
    # ── codings ──
    "a coding in capitals": (_coded(b"TRANSFER-ENCODING: CHUNKED"), BROKEN),
    "a coding behind a tab": (_coded(b"Transfer-Encoding:\tchunked"), BROKEN),
    "a coding before a tab": (_coded(b"Transfer-Encoding: chunked\t"), BROKEN),
    "a coding behind a vertical tab": (_coded(b"Transfer-Encoding:\x0bchunked"), BROKEN),
    "a blank before the colon": (_coded(b"Transfer-Encoding : chunked"), BROKEN),
    "a tab before the colon": (_coded(b"Transfer-Encoding\t: chunked"), BROKEN),
    "a NUL in the name": (_coded(b"Transfer-Encoding\0: chunked"), BROKEN),
    "an 8-bit name": (_coded(b"Transfer-Encoding\xff: chunked"), BROKEN),
    "a coding behind a bare LF": (_coded(b"X: y\nTransfer-Encoding: chunked"), BROKEN),
    "a coding behind a bare CR": (_coded(b"X: y\rTransfer-Encoding: chunked"), BROKEN),
    "a folded coding": (_coded(b"Transfer-Encoding:", b" chunked"), BROKEN),
    "a fold of the first line": (_post(b"Content-Length: 0", first=b"POST / HTTP/1.1\r\n X: y") + b"{hidden}", BROKEN),
    "two codings": (_coded(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), BROKEN),
    "a coding in a list": (_coded(b"Transfer-Encoding: gzip, chunked"), BROKEN),
    "a coding before another": (_coded(b"Transfer-Encoding: chunked, identity"), BROKEN),
    "a coding with a parameter": (_coded(b"Transfer-Encoding: chunked;q=1"), BROKEN),
    "a coding before a NUL": (_coded(b"Transfer-Encoding: chunked\0"), BROKEN),
    "a coding behind a line end too many": (
        _post(b"Content-Length: 0") + b"Transfer-Encoding: chunked\r\n{hidden}",
        ["403", "400"],
    ),
    "a coding of another name": (
        _post(b"Content-Length: 5", b"Transfer_Encoding: chunked") + b"0\r\n\r\n{next}",
        ["403", "tag"],
    ),
    "a coding of the content": (
        _post(b"Content-Length: 5", b"Content-Encoding: chunked") + b"0\r\n\r\n{next}",
        ["403", "tag"],
    ),
    "a coding for the answer": (
        _post(b"Content-Length: 5", b"Connection: TE", b"TE: chunked, trailers") + b"0\r\n\r\n{next}",
        ["403", "tag"],
    ),
    "a coding that the connection names": (
        _post(b"Content-Length: 5", b"Connection: Transfer-Encoding") + b"0\r\n\r\n{next}",
        ["403", "tag"],
    ),
    "a coding that is none": (_coded(b"Transfer-Encoding: xchunked"), BROKEN),
    "a coding in quotes": (_coded(b'Transfer-Encoding: "chunked"'), BROKEN),
    "an empty coding": (_coded(b"Transfer-Encoding:"), BROKEN),
    "a coding of 1.0": (_post(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0") + b"0\r\n\r\n{hidden}", BROKEN),
    "a coding of a GET": (
        _post(b"Transfer-Encoding: chunked", first=b"GET /livez HTTP/1.1") + b"0\r\n\r\n{hidden}",
        BROKEN,
    ),
    # ── chunks ──
    "chunks": (_chunked(b"5\r\nhello\r\n0\r\n\r\n"), BROKEN),
    "a chunk without an end": (_chunked(b"5\r\nhello"), BROKEN),
    "a chunk of bare line feeds": (_chunked(b"5\nhello\n0\n\n"), BROKEN),
    "a chunk as large as can be said": (_chunked(b"ffffffffffffffff\r\n"), BROKEN),
    "a chunk larger than can be said": (_chunked(b"10000000000000000\r\n"), BROKEN),
    "a negative chunk": (_chunked(b"-1\r\n"), BROKEN),
    "a chunk of base 16 twice": (_chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), BROKEN),
    "a chunk without a size": (_chunked(b"\r\nhello\r\n0\r\n\r\n"), BROKEN),
    "a chunk with an extension": (_chunked(b"5;a=" + b"b" * 500 + b"\r\nhello\r\n0\r\n\r\n"), BROKEN),
    "a chunk with half an extension": (_chunked(b"5;\nxx\r\n"), BROKEN),
    "a trailer": (_chunked(b"0\r\nX-Amz-Target: TrentService.CreateKey\r\n\r\n"), BROKEN),
    "a trailer that is a length": (_chunked(b"0\r\nContent-Length: 5\r\n\r\n"), BROKEN),
    # ── lines ──
    "bare line feeds": (_post(b"Content-Length: 0", end=b"\n") + b"{hidden}", BROKEN),
    "bare carriage returns": (_post(b"Content-Length: 0", end=b"\r") + b"\r\n\r\n{hidden}", BROKEN),
    "line ends turned round": (_post(b"Content-Length: 0", end=b"\n\r") + b"{hidden}", BROKEN),
    "two carriage returns": (_post(b"Content-Length: 0", end=b"\r\r\n") + b"{hidden}", BROKEN),
    "one bare line feed": (b"POST / HTTP/1.1\r\nHost: x\nContent-Length: 0\r\n\r\n{hidden}", BROKEN),
    "a line feed that ends the head": (b"POST / HTTP/1.1\r\nHost: x\r\n\n{hidden}", BROKEN),
    "a NUL in a value": (_post(b"X: a\0b") + b"{hidden}", BROKEN),
    "a DEL in a value": (_post(b"X: a\x7fb") + b"{hidden}", BROKEN),
    "no name": (_post(b": y") + b"{hidden}", BROKEN),
    "no colon": (_post(b"Transfer-Encoding chunked") + b"{hidden}", BROKEN),
    "a name with brackets": (_post(b"(X): y") + b"{hidden}", BROKEN),
    "8 bits in a value": (
        _post(b"X: \xff\xfe", b"Content-Length: 0", first=b"GET /livez HTTP/1.1") + b"{next}",
        ["200", "tag"],
    ),
    "empty lines before": (b"\r\n" * 20 + b"{next}", ["tag"]),
    "a blank line that is none": (_post(b"Content-Length: 0")[:-2] + b" \r\n{hidden}", BROKEN),
    "a NUL before": (b"\0{hidden}", BROKEN),
    "a blank before": (b" {hidden}", BROKEN),
    "a mark of byte order before": (b"\xef\xbb\xbf{hidden}", BROKEN),
    "a name without end": (_post(b"X" * 45_000 + b": y") + b"{hidden}", ["431"]),
    "a value without end": (_post(b"X: " + b"y" * 45_000) + b"{hidden}", ["431"]),
    "a method without end": (_post(first=b"P" * 45_000 + b" / HTTP/1.1") + b"{hidden}", BROKEN),
    "a target without end": (_post(first=b"POST /" + b"a" * 9_000 + b" HTTP/1.1") + b"{hidden}", BROKEN),
    "headers without end": (_post(*(b"X-%d: y" % number for number in range(70))) + b"{hidden}", ["431"]),
    "names that are the same but for case": (
        _post(*(name + b": y" for name in (b"X-A", b"x-a", b"X-a")), b"Content-Length: 0") + b"{next}",
        ["403", "tag"],
    ),
    "two hosts": (_post(b"Host: y", b"Content-Length: 0") + b"{hidden}", BROKEN),
    "one host twice": (_post(b"host: x", b"Content-Length: 0") + b"{hidden}", BROKEN),
    "no host": (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n{hidden}", BROKEN),
    "no host, of a client that need not name one": (b"GET /livez HTTP/1.0\r\n\r\n{hidden}", ["200"]),
    "two hosts of such a client": (b"GET /livez HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n{hidden}", BROKEN),
    # ── first lines ──
    "no version": (_post(b"Content-Length: 0", first=b"POST /") + b"{hidden}", BROKEN),
    "version 0.9": (_post(b"Content-Length: 0", first=b"POST / HTTP/0.9") + b"{hidden}", BROKEN),
    "version 0.9 that would be kept": (
        _post(b"Connection: keep-alive", first=b"GET /livez HTTP/0.9") + b"{hidden}",
        BROKEN,
    ),
    "version 1.0": (_post(first=b"GET /livez HTTP/1.0") + b"{hidden}", ["200"]),
    "version 1.0 that is kept": (
        _post(b"Connection: keep-alive", first=b"GET /livez HTTP/1.0") + b"{next}",
        ["200", "tag"],
    ),
    "version 1.2": (_post(first=b"GET /livez HTTP/1.2") + b"{hidden}", BROKEN),
    "version 2.0": (_post(first=b"GET /livez HTTP/2.0") + b"{hidden}", BROKEN),
    "version 2.0 that would be kept": (
        _post(b"Connection: keep-alive", first=b"GET /livez HTTP/2.0") + b"{hidden}",
        BROKEN,
    ),
    "the preface of 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{hidden}", BROKEN),
    "an upgrade to 2": (
        _post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk") + b"{hidden}",
        BROKEN,
    ),
    "a URI": (_post(b"Content-Length: 0", first=b"POST http://127.0.0.1/ HTTP/1.1") + b"{next}", ["403", "tag"]),
    "a URI of another scheme": (
        _post(b"Content-Length: 0", first=b"POST ftp://x/ HTTP/1.1") + b"{next}",
        ["403", "tag"],
    ),
    "a URI with a name and a password": (
        _post(b"Content-Length: 0", first=b"POST http://a:b@x/ HTTP/1.1") + b"{next}",
        ["403", "tag"],
    ),
    "a host and a port": (_post(b"Content-Length: 0", first=b"POST x:1 HTTP/1.1") + b"{hidden}", BROKEN),
    "CONNECT of a path": (_post(b"Content-Length: 0", first=b"CONNECT / HTTP/1.1") + b"{hidden}", ["400", "405"]),
    "a method in small letters": (_post(b"Content-Length: 0", first=b"post / HTTP/1.1") + b"{hidden}", BROKEN),
    "a method of nobody": (_post(b"Content-Length: 0", first=b"FETCH / HTTP/1.1") + b"{hidden}", BROKEN),
    "a version in small letters": (_post(b"Content-Length: 0", first=b"POST / http/1.1") + b"{hidden}", BROKEN),
    "a version with a zero before it": (_post(b"Content-Length: 0", first=b"POST / HTTP/01.1") + b"{hidden}", BROKEN),
    "a version with a digit too many": (_post(b"Content-Length: 0", first=b"POST / HTTP/1.10") + b"{hidden}", BROKEN),
    "a version with a comma": (_post(b"Content-Length: 0", first=b"POST / HTTP/1,1") + b"{hidden}", BROKEN),
    "a blank behind the version": (_post(b"Content-Length: 0", first=b"POST / HTTP/1.1 ") + b"{hidden}", BROKEN),
    "tabs in the first line": (_post(b"Content-Length: 0", first=b"POST\t/\tHTTP/1.1") + b"{hidden}", BROKEN),
    "an upgrade without a connection": (_post(b"Upgrade: h2c", b"Content-Length: 0") + b"{hidden}", BROKEN),
    "an upgrade to a socket of the web": (
        _post(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13") + b"{hidden}",
        BROKEN,
    ),
    "a connection that would be upgraded": (
        _post(b"Connection: Upgrade", b"Content-Length: 0") + b"{next}",
        ["403", "tag"],
    ),
    "another protocol": (_post(b"Content-Length: 0", first=b"POST / RTSP/1.0") + b"{hidden}", ["403"]),
    "a protocol that nobody knows": (_post(b"Content-Length: 0", first=b"POST / HTTPS/1.1") + b"{hidden}", BROKEN),
    "the greeting of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03{hidden}", BROKEN),
    "an asterisk": (_post(b"Content-Length: 0", first=b"OPTIONS * HTTP/1.1") + b"{next}", ["403", "tag"]),
    "CONNECT": (_post(b"Content-Length: 0", first=b"CONNECT a:1 HTTP/1.1") + b"{hidden}", ["405"]),
    "HEAD": (_post(b"Content-Length: 0", first=b"HEAD / HTTP/1.1") + b"{hidden}", ["405"]),
    "a request in the target": (_post(first=b"GET /livez?HTTP/1.1\r\nX:{hidden} HTTP/1.1") + b"{hidden}", BROKEN),
    "a method with a NUL": (_post(first=b"PO\0T / HTTP/1.1") + b"{hidden}", BROKEN),
    "an answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{hidden}", BROKEN),
    # ── two requests ──
    "the second begins in the body of the first": (_post(b"Content-Length: {half}") + b"{hidden}", ["403", "400"]),
    "all of the second is the body of the first": (
        _post(b"Content-Length: {whole}") + b"{hidden}{next}",
        ["403", "tag"],
    ),
    "the first is not signed": (_post(b"Content-Length: 0") + b"{next}", ["403", "tag"]),
    "the first is nobody's": (b"nonsense\r\n\r\n{hidden}", BROKEN),
    "the second is nobody's": (b"{next}nonsense\r\n\r\n{hidden}", ["tag", "400"]),
    "the first closes": (_post(b"Connection: close", first=b"GET /livez HTTP/1.1") + b"{hidden}", ["200"]),
    "the first closes and keeps": (
        _post(b"Connection: close, keep-alive", first=b"GET /livez HTTP/1.1") + b"{hidden}",
        ["200"],
    ),
    "the first closes in a second line": (
        _post(b"Connection: keep-alive", b"Connection: CLOSE", first=b"GET /livez HTTP/1.1") + b"{hidden}",
        ["200"],
    ),
    "the first keeps": (_post(b"Connection: keep-alive", first=b"GET /livez HTTP/1.1") + b"{next}", ["200", "tag"]),
    "the first closes as proxies did": (
        _post(b"Proxy-Connection: close", b"Content-Length: 0") + b"{hidden}",
        ["403"],
    ),
    "the first expects": (_post(b"Expect: 100-continue", b"Content-Length: 5") + b"hello{next}", ["100", "403", "tag"]),
    "the first expects in capitals": (
        _post(b"EXPECT: 100-CONTINUE", b"Content-Length: 5") + b"hello{next}",
        ["100", "403", "tag"],
    ),
    "the first expects and has no body": (
        _post(b"Expect: 100-continue", b"Content-Length: 00") + b"{next}",
        ["403", "tag"],
    ),
    "the first expects something else": (
        _post(b"Expect: y 100-continue", b"Content-Length: 5") + b"hello{next}",
        ["403", "tag"],
    ),
    "the first expects without a word": (_post(b"Expect:", b"Content-Length: 5") + b"hello{next}", ["403", "tag"]),
    "the first expects what 1.0 cannot": (
        _post(b"Expect: 100-continue", b"Content-Length: 5", first=b"GET /livez HTTP/1.0") + b"hello{hidden}",
        ["200"],
    ),
    "the second expects": (
        b"{next}" + _post(b"Expect: 100-continue", b"Content-Length: 5") + b"hello",
        ["tag", "403"],
    ),
    "the first expects too much": (_post(b"Expect: 100-continue", b"Content-Length: 999999") + b"{hidden}", ["413"]),
}
