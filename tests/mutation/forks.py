"""Processes that do one thing each and answer with their exit status, some of them at a time, none of them for ever."""

from __future__ import annotations

import os
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Final, NoReturn, TypeVar

Task = TypeVar("Task")

# What ended a process: beside a status of its own, that it had run for too long.
TOO_LONG: Final = -1
# Endless appending must not take the machine along.
_MEMORY_BYTES_MAX: Final = 4 << 30
# A machine that others use, too, gives a process this small a part of a core at the worst.
_WALL_PER_CPU: Final = 20
_POLL_S: Final = 0.002


def run_each(
    tasks: Iterable[Task],
    work: Callable[[Task], int],
    limit_s: Callable[[Task], float],
    done: Callable[[Task, int], None],
    *,
    jobs: int,
    said: str = os.devnull,
) -> None:
    """Do each task in a process of its own; `done` is told the status, or TOO_LONG, which is counted in CPU time.

    What they print goes to the file `said`.
    """
    waiting = iter(tasks)
    running: dict[int, tuple[Task, float]] = {}
    exhausted = False
    while running or not exhausted:
        while not exhausted and len(running) < jobs:
            try:
                task = next(waiting)
            except StopIteration:
                exhausted = True
                break
            limit = limit_s(task)
            running[_start(task, work, limit, said)] = task, time.monotonic() + limit * _WALL_PER_CPU
        for pid, (task, deadline) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[pid]
                code = os.waitstatus_to_exitcode(status)
                done(task, TOO_LONG if code < 0 else code)
            elif time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def _start(task: Task, work: Callable[[Task], int], limit_s: float, said: str) -> int:
    pid = os.fork()
    if pid == 0:
        _live(task, work, limit_s, said)
    return pid


def _live(task: Task, work: Callable[[Task], int], limit_s: float, said: str) -> NoReturn:
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        whole_s = max(1, round(limit_s))
        resource.setrlimit(resource.RLIMIT_CPU, (whole_s, whole_s + 1))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        status = work(task)
    except BaseException:  # noqa: BLE001 -- whatever it was, this process must not become a second parent.
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)
