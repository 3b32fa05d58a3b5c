"""How slow the machine is, by something in which the product has no part: the start of another program, time and again.

A start of the product is a Python program that imports, opens a store and writes it to the disk: so does this one. It goes
on beside the experiment, as `python yardstick.py FILE SCRATCH`, until its parent ends, and writes down when each start was
due and when it had come to its end, by the clock that all processes share. A machine that stands still is found out, too:
what was due and did not begin has begun.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Final, Self

_PROGRAM: Final = """\
import asyncio, os, sqlite3, sys
import cryptography.x509
import cryptography.hazmat.primitives.asymmetric.rsa
with open(sys.argv[1], "wb") as scratch:
    for _ in range(5):
        scratch.write(bytes(4096))
        scratch.flush()
        os.fsync(scratch.fileno())
"""
# On a free machine with two cores.
_FREE_S: Final = 0.1
# A fifth of a core: enough to be beside every outage, and too little to make one.
_PAUSE_S: Final = 0.4
# What was measured so shortly before or after something says what the machine was like then.
_NEAR_S: Final = 1.0


class Yardstick:
    """Measures while the block is open; `folder` is where the product writes, too."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "yardstick"
        self._command = [sys.executable, __file__, str(self._file), str(folder / "yardstick.scratch")]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._file.touch()
        self._process = subprocess.Popen(self._command)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def slowness(self, since: float, until: float) -> float:
        """How many times slower than a free one the machine was between two times; 1 at the least."""
        moments = [float(line) for line in self._file.read_text().splitlines()]
        if len(moments) % 2:  # One is under way.
            moments.append(time.monotonic())
        taken = [
            ended - due
            for due, ended in zip(moments[::2], moments[1::2], strict=True)
            if ended >= since - _NEAR_S and due <= until + _NEAR_S
        ]
        return max(1.0, mean(taken or [0.0]) / _FREE_S)


def _measure(file: str, scratch: str) -> None:
    parent, due = os.getppid(), time.monotonic()
    with Path(file).open("a", buffering=1) as moments:
        while os.getppid() == parent:
            moments.write(f"{due}\n")
            subprocess.run([sys.executable, "-c", _PROGRAM, scratch], check=True)
            moments.write(f"{time.monotonic()}\n")
            due = time.monotonic() + _PAUSE_S
            time.sleep(_PAUSE_S)


if __name__ == "__main__":
    _measure(*sys.argv[1:])
