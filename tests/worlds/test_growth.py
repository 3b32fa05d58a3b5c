"""What does not grow: memory, files, rows, trail and log of a service that answers request after request.

How the check was seen to fail: `test_whatever_grows_is_caught`, where everything does at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import pytest

from testkit.installation import START_S_MAX, Installation
from testkit.planting import plant
from worlds.enduring import MIB
from worlds.growth import KEEP_S, TRAIL_BYTES_MAX, Grown, Run, Told, findings, grow, prepare, told_after

# At this size caches still fill, in workers: what they rise by may be twice as much as was seen in both together. The
# HSM and the supervisor have none.
RUN: Final = Run(
    warm_up=15_000,
    requests=15_000,
    commands=1_500,
    resident_max={"w": 12 * MIB, "hsm": MIB, "supervisor": MIB},
    handed_out_max={"w": 14 * MIB, "hsm": MIB},
)
# In the hour nothing may, by more than what the hour is promised for.
AN_HOUR: Final = {"w": MIB, "hsm": MIB, "supervisor": MIB}
HOUR: Final = Run(400_000, 1_000_000, 100_000, AN_HOUR, AN_HOUR, seconds=3600.0)


def _grown(run: Run, *faults: Fault, patience_s: float = START_S_MAX) -> Grown:
    """Of a service with these faults, or without any."""
    installation, issuer = prepare()
    try:
        for fault in faults:
            plant(installation, fault.module, fault.right, fault.wrong)
        return grow(installation, issuer, run, patience_s)
    finally:
        installation.destroy()


@pytest.mark.long
def test_thirty_thousand_requests_leave_nothing_behind() -> None:
    assert findings(_grown(RUN)) == set()


# A request has two records at the most, hardly ever of more than a kilobyte.
BYTES_A_REQUEST: Final = 2048
# What is too old goes once a head is signed for it, every five seconds, and retention looks, twice a second.
SIGNED_S: Final = 5.5


@pytest.mark.campaign
def test_a_million_requests_in_an_hour_leave_nothing_behind() -> None:
    grown = _grown(HOUR)
    assert findings(grown) == set()
    kept = (KEEP_S + SIGNED_S) * HOUR.requests / grown.seconds * BYTES_A_REQUEST
    # Twice: whoever was late asks faster.
    assert max(one.trail for one in grown.samples) < 2 * (TRAIL_BYTES_MAX + kept)


# ── the check itself ────────────────────────────────────────────────────────────────────────────────────────────────────


class Fault(NamedTuple):
    """Where it is planted, and what is found of it in one process or another."""

    found: tuple[str, ...]
    module: str
    right: str
    wrong: str


_SUBMIT: Final = "        self._edge.submit(self, request)\n"
_ANSWER: Final = "            return HANDLERS[type(command)](work, command)\n"
_START: Final = "        self._thread.start()\n"
_KEEP: Final = "        self._edge.__dict__.setdefault('all', []).append({kept})\n"
_OPEN: Final = """
        files = self._edge.__dict__.setdefault('files', [0])
        files[0] += 1
        if files[0] % 20 == 0:
            files.append(open('/dev/null'))
"""
_READ: Final = """
        self._reader = sqlite3.connect(connection.execute("PRAGMA database_list").fetchone()[2], isolation_level=None)
        self._reader.execute("BEGIN")
        self._reader.execute("SELECT count(*) FROM changes").fetchone()
"""


def _service_that_keeps(kept: str, *more: str) -> Fault:
    found = ("resident memory of w", "memory handed out in w", *more)
    return Fault(found, "kms/wire/http.py", _SUBMIT, _SUBMIT + _KEEP.format(kept=kept) + (_OPEN if more else ""))


def _hsm_that_keeps(length: int) -> Fault:
    kept = f"            self.__dict__.setdefault('all', []).append(bytearray({length}))\n"
    found = ("resident memory of hsm-1", "memory handed out in hsm-1")
    return Fault(found, "hsm/module.py", _ANSWER, kept + _ANSWER)


_FAULTS: Final = (
    # In small and in large pieces, and a descriptor of every twentieth.
    _service_that_keeps("[bytearray(6000), [bytearray(400) for _ in range(10)]]", "files of w"),
    _hsm_that_keeps(1000),
    Fault(("WAL",), "kms/storage/writer.py", _START, _READ + _START),
    Fault(("rows of changes",), "kms/storage/writer.py", "if prunable_to - self._pruned_to >=", "if 0 >"),
    Fault(("trail",), "kms/chores/audit_retention.py", "if not await self._guard.observe(now_s):", "if not now_s:"),
)


def _missed(faults: Sequence[Fault], found: set[str]) -> set[str]:
    wanted = {name for fault in faults for name in fault.found}
    return {name for name in wanted if not any(one.startswith(name) for one in found)}


@pytest.mark.long
def test_whatever_grows_is_caught() -> None:
    run = RUN._replace(warm_up=3_000, requests=9_000, commands=900)
    assert _missed(_FAULTS, findings(_grown(run, *_FAULTS, patience_s=10.0))) == set()


@pytest.mark.campaign
def test_a_service_and_an_hsm_that_keep_hardly_anything_are_caught() -> None:
    """Of each request and command as much as one small object has; at this size caches still fill, if not so much."""
    faults = (_service_that_keeps("bytearray(100)"), _hsm_that_keeps(50))
    filling = AN_HOUR | {"w": 6 * MIB}
    run = Run(150_000, 150_000, 15_000, filling, filling)
    assert _missed(faults, findings(_grown(run, *faults))) == set()


@pytest.mark.long
def test_what_a_process_told_before_is_no_witness() -> None:
    installation = Installation()
    try:
        (installation.root / "told-w1").write_text(json.dumps(Told(1, 1, 1, at_s=time.monotonic())._asdict()))
        with pytest.raises(AssertionError, match="w1 does not tell"):
            told_after(installation, "w1", time.monotonic(), patience_s=0.1)
    finally:
        installation.destroy()
