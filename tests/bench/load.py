"""The load generator, a process of its own: keep-alive connections over loopback, closed loop, no framework.

Each connection sends its next request when its answer has come, until the time is up; then the answers still
outstanding are awaited, so that the CPU read afterwards belongs to the requests counted. One connection is driven by
blocking calls, more by epoll. It shares the machine's cores with what it measures, so it reads of an answer only
the status and Content-Length.

The argument is the number of an inherited socket to the bench; see `messages.py` for what is said there.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import struct
import sys
import time
from array import array
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from multiprocessing.connection import Connection

from tests.bench.messages import Define, Failure, Sample, Slice, process_cpu_ns
from tests.bench.placement import on_one_core

# No honest answer takes this long; a server that hangs must not hang the bench.
ANSWER_WAIT_MAX_S = 30
RECEIVE_BYTES = 65_536
SHOWN_BYTES_MAX = 2_000

_CONTENT_LENGTH = re.compile(rb"\r\nContent-Length: *([0-9]+)\r\n", re.IGNORECASE)


class SliceFailedError(Exception):
    pass


def answer_length(data: bytes) -> int:
    """The length of the one answer in `data`, or 0 while it is incomplete; anything but a 200 raises."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return 0
    found = _CONTENT_LENGTH.search(data, 0, head_end + 2)
    if found is None:
        raise SliceFailedError(f"an answer without Content-Length: {data[:SHOWN_BYTES_MAX]!r}")
    length = head_end + 4 + int(found[1])
    if len(data) < length:
        return 0
    if len(data) > length:
        raise SliceFailedError(f"bytes after the answer: {data[:SHOWN_BYTES_MAX]!r}")
    if not data.startswith(b"HTTP/1.1 200 "):
        raise SliceFailedError(f"not a 200: {data[:SHOWN_BYTES_MAX].decode(errors='replace')}")
    return length


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WAIT_MAX_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel's own time-out: Python's would cost a poll(2) before every recv(2).
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_WAIT_MAX_S, 0))
    return connection


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send one request and wait for its answer; the answer's bytes."""
    connection.sendall(request)
    data = connection.recv(RECEIVE_BYTES)
    while not answer_length(data):
        more = connection.recv(RECEIVE_BYTES)
        if not more:
            raise SliceFailedError(f"the connection ended inside an answer: {data[:SHOWN_BYTES_MAX]!r}")
        data += more
    return data


def run_one(connection: socket.socket, requests: Iterator[bytes], deadline_ns: int, latencies: array[int]) -> None:
    now = time.perf_counter_ns
    for request in requests:
        if (started_ns := now()) >= deadline_ns:
            break
        exchange(connection, request)
        latencies.append(now() - started_ns)


def run_many(
    connections: list[socket.socket], requests: Iterator[bytes], deadline_ns: int, latencies: array[int]
) -> None:
    now = time.perf_counter_ns
    receive = {connection.fileno(): connection.recv for connection in connections}
    send = {connection.fileno(): connection.sendall for connection in connections}
    started_ns: dict[int, int] = {}
    partial: dict[int, bytes] = {}
    with select.epoll() as poller:
        for file_number, first_send in send.items():
            poller.register(file_number, select.EPOLLIN)
            started_ns[file_number] = now()
            first_send(next(requests))
        outstanding = len(connections)
        while outstanding:
            events = poller.poll(ANSWER_WAIT_MAX_S)
            if not events:
                raise SliceFailedError(f"{outstanding} connections without an answer for {ANSWER_WAIT_MAX_S} s")
            for file_number, _ in events:
                data = receive[file_number](RECEIVE_BYTES)
                if not data:
                    raise SliceFailedError("the server ended a connection")
                if partial:
                    data = partial.pop(file_number, b"") + data
                if not answer_length(data):
                    partial[file_number] = data
                    continue
                answered_ns = now()
                latencies.append(answered_ns - started_ns[file_number])
                request = next(requests, None) if answered_ns < deadline_ns else None
                if request is None:
                    outstanding -= 1
                else:
                    started_ns[file_number] = answered_ns
                    send[file_number](request)


def cpu_clocks(pids: Sequence[int]) -> dict[int, int]:
    try:
        return {pid: process_cpu_ns(pid) for pid in pids}
    except OSError as error:
        raise SliceFailedError(f"one of the measured processes {pids} is gone: {error}") from None


def measure(order: Slice, requests: Iterator[bytes]) -> Sample:
    """One slice: connect, one uncounted request each, read the clocks, run, read the clocks.

    Where the number of requests is given, all of them are counted, as the caller wants exactly so many done.
    """
    connections = [connect(order.port) for _ in range(order.connections)]
    latencies = array("Q")
    try:
        if order.requests_max is None:
            for connection in connections:
                exchange(connection, next(requests))
        else:
            requests = islice(requests, order.requests_max)
        cpu_before = cpu_clocks(order.pids)
        load_cpu_before_ns = time.process_time_ns()
        started_ns = time.perf_counter_ns()
        deadline_ns = started_ns + int(order.duration_s * 1e9)
        if order.connections == 1:
            run_one(connections[0], requests, deadline_ns, latencies)
        else:
            run_many(connections, requests, deadline_ns, latencies)
        elapsed_ns = time.perf_counter_ns() - started_ns
        load_cpu_ns = time.process_time_ns() - load_cpu_before_ns
        cpu_ns = {pid: after_ns - cpu_before[pid] for pid, after_ns in cpu_clocks(order.pids).items()}
    finally:
        for connection in connections:
            connection.close()
    return Sample(latencies.tobytes(), elapsed_ns, cpu_ns, load_cpu_ns)


def serve(bench: Connection) -> None:
    # One endless turn per set, kept between slices: every request of a set is used before one is used again.
    turns: dict[str, Iterator[bytes]] = {}
    while True:
        try:
            order = bench.recv()
        except EOFError:
            return
        if isinstance(order, Define):
            turns[order.name] = cycle(order.requests)
            continue
        try:
            placement = on_one_core((os.getpid(), *order.pids)) if order.one_core else contextlib.nullcontext()
            with placement:
                sample = measure(order, turns[order.name])
            bench.send(sample)
        except (SliceFailedError, OSError) as error:
            bench.send(Failure(f"{order.name} at {order.connections} connections: {error}"))


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
