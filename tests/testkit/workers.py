"""A connection to each worker: what one of them answers, and what all of them answer at once.

A worker is told from its siblings by its request ids, whose first digits are drawn once per process.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

from testkit.installation import Installation
from testkit.raw import Answer, Raw, raw_request

CONNECTIONS_TRIED_MAX = 600
SPREAD_S_MAX = 120.0
_PROCESS_DIGITS = 23


def probe(host: str, target: bytes = b"/livez") -> bytes:
    """The bytes of a request that anybody may send."""
    return raw_request([(b"Host", host.encode())], method=b"GET", target=target)


def worker_of(connection: Raw) -> str:
    """What its request ids begin with."""
    connection.send(probe(connection.host))
    return connection.read_answer().headers["x-amzn-requestid"][:_PROCESS_DIGITS]


class Workers:
    """One kept connection per worker, in no order that means anything."""

    def __init__(self, installation: Installation, count: int) -> None:
        self.connections = _one_to_each(installation.port, count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            connection.__exit__()

    def ask_all(self, operation: str, body: Any = None, **signing: Any) -> list[Answer]:
        """Every worker's answer to the same request, sent to all before the first answer is read."""
        request = self.connections[0].request(operation, body, **signing)
        for connection in self.connections:
            connection.send(request)
        return [connection.read_answer() for connection in self.connections]

    def without(self, stopped: Raw) -> Workers:
        """The others."""
        others = object.__new__(Workers)
        others.connections = [connection for connection in self.connections if connection is not stopped]
        return others


def _one_to_each(port: int, count: int) -> list[Raw]:
    found: dict[str, Raw] = {}
    # Closed at the end: a connection that is kept open leaves the next one to somebody else.
    spare: list[Raw] = []
    given_up = time.monotonic() + SPREAD_S_MAX
    for _ in range(CONNECTIONS_TRIED_MAX):
        connection = Raw(port)
        if found.setdefault(worker_of(connection), connection) is not connection:
            spare.append(connection)
            time.sleep(0.01)  # The later workers of a start may still be on their way.
        if len(found) == count or time.monotonic() > given_up:
            break
    for connection in spare:
        connection.__exit__()
    if len(found) == count:
        return list(found.values())
    for connection in found.values():
        connection.__exit__()
    raise AssertionError(f"{len(found)} of {count} workers took a connection")


@contextmanager
def stopped(pid: int, store: Path | None = None) -> Iterator[None]:
    """A process that stands still within; where a store is named, not with its write lock."""
    stand_still(pid) if store is None else stop_between_commits(pid, store)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def stand_still(pid: int) -> None:
    """Stop a process, and come back when all of its threads stand: the signal alone is only on its way."""
    os.kill(pid, signal.SIGSTOP)
    given_up = time.monotonic() + SPREAD_S_MAX
    while not all(_stands(task) for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < given_up, "SIGSTOP did not stop it"
        time.sleep(0.0005)


def _stands(task: Path) -> bool:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):
        return True  # A thread that ended.


def stop_between_commits(pid: int, store: Path) -> None:
    """Stop a process, but not while it holds the store's write lock: whoever stands still with it holds up all changes."""
    given_up = time.monotonic() + SPREAD_S_MAX
    while True:
        stand_still(pid)
        with closing(sqlite3.connect(store, isolation_level=None, timeout=1.0)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
                assert time.monotonic() < given_up, "it never lets the store go"
                time.sleep(0.05)
            else:
                return


def connection_to(workers: Workers, pid: int) -> Raw:
    """The connection to this process: the one on which nothing comes while it stands still."""
    given_up = time.monotonic() + SPREAD_S_MAX
    with stopped(pid):
        for connection in workers.connections:
            connection.send(probe(connection.host))
        silent = workers.connections
        while len(silent) > 1:  # A busy machine lets the others wait, too.
            assert time.monotonic() < given_up, "nobody answers"
            silent = [connection for connection in silent if connection.is_silent(0.1)]
    (found,) = silent
    for connection in workers.connections:
        connection.read_answer()
    return found
