"""Connections from a socket that workers share: who takes one, who leaves it, and what happens when none can be taken."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import uvloop

from strongroom.kms.wire import acceptor
from strongroom.kms.wire.acceptor import Acceptor, Loads
from testkit.listening import self_signed

NOBODY = -1


class Taken(asyncio.Protocol):
    """A connection, and whether it still is one."""

    def __init__(self, all_taken: list[Taken]) -> None:
        self.transport: asyncio.BaseTransport | None = None
        self._all = all_taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._all.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._all.remove(self)


class Listening(socket.socket):
    """A real listening socket on loopback whose `accept` first fails as told."""

    def __init__(self, *failures: OSError) -> None:
        super().__init__(socket.AF_INET)
        self.failures = list(failures)
        self.bind(("127.0.0.1", 0))
        self.listen(64)

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            raise self.failures.pop(0)
        return super().accept()

    def connect_to(self, count: int = 1) -> list[socket.socket]:
        return [socket.create_connection(self.getsockname(), 60) for _ in range(count)]


def places(*loads: int) -> int:
    """Shared memory with these loads."""
    descriptor = os.memfd_create("loads")
    os.write(descriptor, struct.pack(f"={len(loads)}q", *loads))
    return descriptor


def told(descriptor: int, number: int) -> int:
    return int(struct.unpack("=q", os.pread(descriptor, 8, number * 8))[0])


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- a count.


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    uvloop.run(main())


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.001)
    return time.monotonic() - began


def close(*sockets: socket.socket) -> None:
    for one in sockets:
        one.close()


def test_a_connection_is_taken_with_its_peer_and_without_delayed_packets() -> None:
    async def test() -> None:
        taken: list[Taken] = []
        listening = Listening()
        serving = Acceptor(listening, lambda: Taken(taken))
        serving.start()
        (client,) = listening.connect_to()
        await until(lambda: len(taken) == 1)
        transport = taken[0].transport
        assert transport is not None
        assert transport.get_extra_info("peername") == client.getsockname()
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        close(client)
        await until(lambda: not taken)
        serving.close()

    run(test)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_when_descriptors_are_short_it_pauses_and_then_goes_on(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "_PAUSE_S", 0.2)

    async def test() -> None:
        taken: list[Taken] = []
        listening = Listening(OSError(number, "short"))
        serving = Acceptor(listening, lambda: Taken(taken))
        serving.start()
        (client,) = listening.connect_to()
        assert await until(lambda: len(taken) == 1) >= 0.15
        assert not listening.failures
        close(client)
        serving.close()

    run(test)


def test_where_there_is_no_room_connections_wait_for_it() -> None:
    async def test() -> None:
        taken: list[Taken] = []
        room = [False]
        listening = Listening()
        serving = Acceptor(listening, lambda: Taken(taken), has_room=lambda _: room[0])
        serving.start()
        clients = listening.connect_to(3)
        await asyncio.sleep(0.1)
        assert not taken
        room[0] = True
        await until(lambda: len(taken) == 3)
        close(*clients)
        serving.close()

    run(test)


def test_a_flood_of_silent_handshakes_is_bounded_and_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "_HANDSHAKES_MAX", 8)
    certificate, key = self_signed(tmp_path)
    serving_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving_tls.load_cert_chain(certificate, key)

    async def test() -> None:
        taken: list[Taken] = []
        beginning: list[int] = []
        listening = Listening()
        serving = Acceptor(
            listening, lambda: Taken(taken), serving_tls, has_room=lambda number: beginning.append(number) or True
        )
        serving.start()
        files = open_files()
        silent = listening.connect_to(40)
        await until(lambda: len(beginning) == 40)
        assert max(beginning) == 8, "they are counted, and no more than these are held"
        # Of those that were given up the descriptors are closed: 40 of the clients' remain, 8 of ours, and the loop's.
        await until(lambda: open_files() < files + 40 + 16)
        trusted = ssl.create_default_context(cafile=str(certificate))
        host, port = listening.getsockname()
        async with asyncio.timeout(60):
            _, writer = await asyncio.open_connection(host, port, ssl=trusted)
        await until(lambda: len(taken) == 1)
        writer.close()
        close(*silent)
        serving.close()

    run(test)


def test_a_connection_that_was_given_up_or_taken_by_another_is_no_matter() -> None:
    async def test() -> None:
        taken: list[Taken] = []
        listening = Listening(
            BlockingIOError(), ConnectionAbortedError(), InterruptedError(), OSError(errno.EPROTO, "x")
        )
        serving = Acceptor(listening, lambda: Taken(taken))
        serving.start()
        (client,) = listening.connect_to()
        await until(lambda: len(taken) == 1)
        close(client)
        serving.close()

    run(test)


def test_a_connection_that_just_begins_when_it_is_closed_is_answered_like_any_other() -> None:
    async def test() -> None:
        taken: list[Taken] = []
        listening = Listening()

        class Closing(Taken):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                serving.close()

        serving = Acceptor(listening, lambda: Closing(taken))
        serving.start()
        (client,) = listening.connect_to()
        await until(lambda: len(taken) == 1)
        for _ in range(10):
            await asyncio.sleep(0.001)
        transport = cast("asyncio.Transport", taken[0].transport)
        transport.write(b"answer")
        assert await asyncio.to_thread(client.recv, 6) == b"answer"
        close(client)
        await until(lambda: not taken)

    run(test)


def test_a_closed_one_takes_no_more_and_leaves_its_place_and_its_connections_go_on() -> None:
    async def test() -> None:
        taken: list[Taken] = []
        shared = places(NOBODY, 3)
        listening = Listening()
        serving = Acceptor(listening, lambda: Taken(taken), None, Loads(shared, 0, lambda: len(taken), 1))
        serving.start()
        assert told(shared, 0) == 0
        (client,) = listening.connect_to()
        await until(lambda: len(taken) == 1)
        address = listening.getsockname()
        serving.close()
        serving.close()
        assert told(shared, 0) == NOBODY
        assert len(taken) == 1
        with socket.socket() as late:
            assert late.connect_ex(address) != 0
        close(client)

    run(test)


@pytest.mark.parametrize(
    ("own", "others", "leaves"),
    [(0, (0, 0), False), (1, (0, 1), True), (1, (NOBODY, 1), False), (5, (6, 7), False), (7, (NOBODY, 6), True)],
)
def test_a_connection_is_left_to_whoever_has_fewer_for_a_moment_only(
    own: int, others: tuple[int, int], *, leaves: bool
) -> None:
    async def test() -> None:
        taken: list[Taken] = []
        shared = places(NOBODY, *others)
        loads = Loads(shared, 0, lambda: own, 1)
        listening = Listening()
        serving = Acceptor(listening, lambda: Taken(taken), None, loads)
        serving.start()
        assert bool(loads.fewer()) == leaves
        began = time.monotonic()
        (client,) = listening.connect_to()
        await until(lambda: len(taken) == 1)
        if leaves:
            assert time.monotonic() - began >= 0.012
        close(client)
        serving.close()

    run(test)


def test_many_connections_that_nobody_else_takes_are_not_taken_one_by_one() -> None:
    """The other worker stands still: its place says none for ever."""

    class Counting(Acceptor):
        pauses = 0

        def _listen_again_in(self, seconds: float, then: Callable[[], None]) -> None:
            self.pauses += 1
            super()._listen_again_in(seconds, then)

    async def test() -> None:
        taken: list[Taken] = []
        shared = places(NOBODY, 0)
        listening = Listening()
        serving = Counting(listening, lambda: Taken(taken), None, Loads(shared, 0, lambda: 10, 1))
        serving.start()
        clients = listening.connect_to(48)
        await until(lambda: len(taken) == 48)
        close(*clients)
        serving.close()
        assert serving.pauses == 3, "sixteen after each"

    run(test)


def test_two_workers_share_a_socket_fairly_and_one_that_ends_leaves_it_to_the_other() -> None:
    async def test() -> None:
        shared = places(NOBODY, NOBODY)
        first = Listening()
        both: list[list[Taken]] = [[], []]
        sockets = [first, socket.socket(fileno=os.dup(first.fileno()))]
        serving = [
            Acceptor(sock, lambda own=own: Taken(own), None, Loads(shared, at, lambda own=own: len(own), 2))
            for at, (sock, own) in enumerate(zip(sockets, both, strict=True))
        ]
        for one in serving:
            one.start()
        clients = []
        for at in range(1, 21):
            clients += first.connect_to()
            await until(lambda at=at: len(both[0]) + len(both[1]) == at)
        assert [len(own) for own in both] == [10, 10]
        address = first.getsockname()
        serving[0].close()
        clients += [socket.create_connection(address, 60) for _ in range(5)]
        await until(lambda: len(both[1]) == 15)
        close(*clients)
        serving[1].close()

    run(test)


def test_a_worker_beyond_the_cores_stands_by_until_the_others_are_well_filled() -> None:
    shared = places(NOBODY, NOBODY, NOBODY)
    counts = [0, 0, 0]
    loads = [Loads(shared, at, lambda at=at: counts[at], 2) for at in range(3)]
    order = []
    for _ in range(70):
        for one in loads:
            one.tell()
        taker = next(at for at, one in enumerate(loads) if not one.fewer())
        counts[taker] += 1
        order.append(taker)
    assert set(order[:64]) == {0, 1}
    assert counts == [34, 34, 2]
    # When the others are gone, nobody stands by for anybody.
    for one in loads[:2]:
        one.leave()
    assert not loads[2].fewer()
