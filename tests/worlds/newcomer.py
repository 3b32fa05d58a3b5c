"""Who opens a connection, asks for a data key or a change, and hangs up; again and again.

In a process of its own: in the test's, it would wait for the load's threads, and that would count as the service's time.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Final, NamedTuple

from testkit.installation import REGION, START_S_MAX
from testkit.raw import Raw, amz_date
from testkit.waiting import wait_until

# How many in a row must have been answered with success until it is said that it is served.
CALM_CALLS: Final = 60
_PAUSE_S: Final = 0.002


class Call(NamedTuple):
    """`code` is empty where it was answered with success."""

    started: float
    ended: float
    operation: str
    code: str

    @property
    def seconds(self) -> float:
        return self.ended - self.started


class Newcomer(threading.Thread):
    """Its calls, as they come in from its process."""

    def __init__(self, port: int, key_id: str, region: str = REGION) -> None:
        """The key is of the region."""
        super().__init__(name=f"newcomer-{region}")
        self.calls: list[Call] = []
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "worlds.newcomer", str(theirs.fileno()), str(port), key_id, region]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])
        self._connection = Connection(ours.detach())

    def run(self) -> None:
        with suppress(EOFError, ConnectionError):
            while True:
                self.calls.append(Call(*self._connection.recv()))

    def set_clock(self, offset_s: float) -> None:
        """So far from the machine's, where the trouble sets the service's."""
        self._connection.send(offset_s)

    def stop(self) -> None:
        self._connection.send(None)
        self.join()
        self._process.wait()
        self._connection.close()

    def wait_for(self, count: int, code: str = "", since: float | None = None, within_s: float = START_S_MAX) -> None:
        """Until that many calls that began after now, or a moment, ended with this code."""
        since = time.monotonic() if since is None else since
        wait_until(
            lambda: sum(call.code == code for call in self.calls if call.started >= since) >= count,
            within_s,
            f"{count} calls that end with {code or 'success'}",
        )

    def late_s(self) -> float:
        """By how much whoever is served may be late here and now: twice the longest that it has taken."""
        return 2 * max(call.seconds for call in list(self.calls) if not call.code)

    def mean_s(self) -> float:
        """What a call takes here and now."""
        calls = list(self.calls)
        return sum(call.seconds for call in calls) / len(calls)

    def wait_for_calm(self, within_s: float = START_S_MAX) -> float:
        """Until it is served call after call; since when."""
        deadline = time.monotonic() + within_s
        begun = len(self.calls)
        while time.monotonic() < deadline:
            calls = self.calls[begun:]
            last_bad = max((at for at, call in enumerate(calls) if call.code), default=-1)
            if len(calls) - last_bad > CALM_CALLS:
                return calls[last_bad + 1].started
            time.sleep(0.02)
        raise AssertionError(f"it does not serve again: {Counter(call.code for call in self.calls[begun:])}")


# ── its process ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _next(number: int, key_id: str) -> tuple[str, dict[str, str]]:
    """By turns something of the HSM and something of the store."""
    if number % 2:
        return "GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256"}
    return "UpdateKeyDescription", {"KeyId": key_id, "Description": f"at call {number}"}


def _ask(test: Connection, port: int, key_id: str, region: str) -> None:
    """Until the test says None, or is no more."""
    number, offset_s = 0, 0.0
    while True:
        while test.poll(_PAUSE_S):
            said = test.recv()
            if said is None:
                return
            offset_s = said
        operation, body = _next(number, key_id)
        started = time.monotonic()
        try:
            with Raw(port) as connection:
                answer = connection.call(operation, body, date=amz_date(offset_s), region=region)
                code = answer.code if answer.body or answer.status == 200 else str(answer.status)
        except (OSError, EOFError) as error:
            code = type(error).__name__
        test.send((started, time.monotonic(), operation, code))
        number += 1


if __name__ == "__main__":
    with suppress(EOFError, ConnectionError):  # The test ended.
        _ask(Connection(int(sys.argv[1])), int(sys.argv[2]), sys.argv[3], sys.argv[4])
