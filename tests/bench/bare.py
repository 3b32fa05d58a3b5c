"""The bare server: uvloop and httptools with a protocol class of its own, one process, fixed answers.

It is the yardstick: it parses every request fully (request line, headers, body, end of message) and then answers bytes
that the product once answered to the same operation. One port per answer, so that it need not look at the request.

Standard input: one JSON line, name → base64 of the answer's bytes. Standard output: one JSON line, name → port.
It ends when its standard input ends, so it cannot outlive the bench.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import sys
from typing import cast

import httptools
import uvloop


class BareProtocol(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is none of asyncio's classes: a check at run time would fail.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport is not None:
                self._transport.close()

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._transport is None:
            return
        self._transport.write(self._answer)
        if not self._parser.should_keep_alive():
            self._transport.close()


async def serve(answers: dict[str, bytes]) -> None:
    loop = asyncio.get_running_loop()
    ports: dict[str, int] = {}
    servers = []
    for name, answer in answers.items():
        server = await loop.create_server(functools.partial(BareProtocol, answer), "127.0.0.1", 0, backlog=1024)
        servers.append(server)
        ports[name] = server.sockets[0].getsockname()[1]
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    print(json.dumps(ports), flush=True)
    await ended.wait()
    for server in servers:
        server.close()


def main() -> None:
    answers = {name: base64.b64decode(answer) for name, answer in json.loads(sys.stdin.readline()).items()}
    uvloop.run(serve(answers))


if __name__ == "__main__":
    main()
