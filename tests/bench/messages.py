"""What the bench and its load process say to each other, and the clock that both trust.

Both sides import these types from here: a class of a module that runs as `__main__` cannot be unpickled elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Define:
    """Keep these requests under this name; a later one of the same name replaces them."""

    name: str
    requests: list[bytes]


@dataclass(frozen=True)
class Slice:
    """Send the named requests in turn over so many connections, and watch the CPU clocks of these processes.

    The slice ends when its time is up, or with its last request where `requests_max` says how many there are.
    """

    name: str
    port: int
    connections: int
    duration_s: float
    pids: tuple[int, ...]
    one_core: bool
    requests_max: int | None = None


@dataclass(frozen=True)
class Sample:
    """One measured slice; `latencies` is the machine image of an `array("Q")` of nanoseconds."""

    latencies: bytes
    elapsed_ns: int
    cpu_ns: dict[int, int]
    load_cpu_ns: int


@dataclass(frozen=True)
class Failure:
    """The slice did not count: an answer other than 200, or a connection that broke."""

    text: str


def process_cpu_ns(pid: int) -> int:
    """CPU time of a whole process, user and system, in nanoseconds; raises OSError once it is gone.

    This is the clock of `clock_getcpuclockid(3)`: the kernel's own identifier is the complement of the pid in the
    upper bits and CPUCLOCK_SCHED (2) below. Unlike a sum over /proc/PID/task/*/schedstat it keeps the time of threads
    that ended and includes the time slice that runs right now; /proc/PID/stat counts in steps of 10 ms.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)
