"""What an installation goes through while honest clients ask it, and what is asked of it afterwards.

Two kinds of honest clients run from before the trouble until after it: the load (`worlds/load.py`), which keeps its
connections and knows what was acknowledged, and a newcomer, who opens a connection for each call. While the trouble lasts
they may be refused with the codes that the trouble names, and with no others; before and after it, with none. Afterwards
the same processes serve, with the files open that they had before, nothing acknowledged is lost, and the trail verifies.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from fuzz.campaign import complaints, processes, wait_for_workers
from testkit.installation import START_S_MAX, Installation
from testkit.raw import Raw, amz_date
from worlds.load import Ledger, load

WORKERS: Final = 2
MIB: Final = 1 << 20
# What a newcomer must have been answered before, and in a row after, the trouble.
_CALM_CALLS: Final = 60
# As many, where how long they take then is what those of the trouble are compared with.
_CALM_CALLS_COMPARED: Final = 1000
# Descriptors that come and go by themselves: a reading connection to the store, a log that is being pruned.
_FILES_SLACK: Final = 8


class Call(NamedTuple):
    """A newcomer's call; `code` is empty where it was answered with success."""

    started: float
    seconds: float
    code: str


class Newcomer(threading.Thread):
    """Opens a connection, asks for a data key or a change, hangs up; again and again."""

    def __init__(self, installation: Installation, key_id: str) -> None:
        super().__init__(name="newcomer")
        self.calls: list[Call] = []
        # Beside the machine's clock, where the trouble sets the service's.
        self.offset_s = 0.0
        self._port = installation.port
        self._key_id = key_id
        self._going_on = threading.Event()

    def run(self) -> None:
        while not self._going_on.wait(0.002):
            started = time.monotonic()
            try:
                with Raw(self._port) as connection:
                    answer = connection.call(*self._next(), date=amz_date(self.offset_s))
                    code = answer.code if answer.body or answer.status == 200 else str(answer.status)
            except (OSError, EOFError) as error:
                code = type(error).__name__
            self.calls.append(Call(started, time.monotonic() - started, code))

    def _next(self) -> tuple[str, dict[str, str]]:
        """By turns something of the HSM and something of the store."""
        number = len(self.calls)
        if number % 2:
            return "GenerateDataKey", {"KeyId": self._key_id, "KeySpec": "AES_256"}
        return "UpdateKeyDescription", {"KeyId": self._key_id, "Description": f"at call {number}"}

    def stop(self) -> None:
        self._going_on.set()
        self.join()

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

    def wait_for_calm(self, within_s: float = START_S_MAX) -> float:
        """Until it is served call after call; since when."""
        deadline = time.monotonic() + within_s
        begun = len(self.calls)
        while time.monotonic() < deadline:
            calls = self.calls[begun:]
            last_bad = max((at for at, call in enumerate(calls) if call.code), default=-1)
            if len(calls) - last_bad > _CALM_CALLS:
                return calls[last_bad + 1].started
            time.sleep(0.02)
        raise AssertionError(f"it does not serve again: {Counter(call.code for call in self.calls[begun:])}")


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"there were not, within {within_s} s: {what}"
        time.sleep(0.02)


# ── what a process takes ────────────────────────────────────────────────────────────────────────────────────────────────

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def resident(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def open_files(pid: int) -> int | None:
    """None where only root may look."""
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except PermissionError:
        return None


class MemoryWatch(threading.Thread):
    """The most that each process ever held since it was asked."""

    def __init__(self, pids: Collection[int]) -> None:
        super().__init__(name="memory-watch")
        self.peaks = dict.fromkeys(pids, 0)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            for pid in self.peaks:
                with suppress(FileNotFoundError, ProcessLookupError):
                    self.peaks[pid] = max(self.peaks[pid], resident(pid))

    def stop(self) -> None:
        self._ended.set()
        self.join()


# ── the experiment ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Scene:
    """What a trouble works with."""

    installation: Installation
    newcomer: Newcomer
    key_id: str
    patience_s: float
    # When the trouble ended, where it waits for anything after that.
    ended_s: float = 0.0


@dataclass(frozen=True)
class Trouble:
    """What is done to an installation, and what it may bring.

    That is, which refusals, and how long whoever is refused has waited; how much memory a process may take for it; by
    which factor newcomers may wait longer, in their 99th percentile; how long it may last until everybody is served again.
    """

    bring: Callable[[Scene], None]
    refusals: frozenset[str] = frozenset()
    memory_mib_max: int = 48
    slower_max: float | None = None
    refused_s_max: float | None = None
    recovery_s_max: float | None = None


@dataclass
class Endured:
    """Figures."""

    acknowledged: int
    refused: Counter[str]
    calm: list[Call]
    troubled: list[Call]
    trouble_s: float
    recovery_s: float
    # The longest that anybody waited for a refusal.
    refused_s: float
    more_mib: dict[str, float]
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        memory = ", ".join(f"{name} {mib:+.0f}" for name, mib in sorted(self.more_mib.items()))
        return (
            f"trouble of {self.trouble_s:.1f} s, serving again {self.recovery_s:.2f} s after it; "
            f"{self.acknowledged} acknowledged, {len(self.lost)} lost; "
            f"refused {dict(self.refused)} in {self.refused_s:.2f} s at most; "
            f"newcomers' median and 99th percentile {_quantiles(self.calm)} before and after, "
            f"{_quantiles(self.troubled)} during; "
            f"memory at its peak (MiB) {memory}"
        )


def _quantiles(calls: list[Call]) -> str:
    seconds = sorted(call.seconds for call in calls)
    if not seconds:
        return "nothing"
    return " and ".join(f"{seconds[int(len(seconds) * share)] * 1000:.0f} ms" for share in (0.5, 0.99))


def _slower(endured: Endured) -> float:
    """By which factor newcomers waited longer."""
    calm, troubled = (
        sorted(call.seconds for call in calls)[int(len(calls) * 0.99)] for calls in (endured.calm, endured.troubled)
    )
    return troubled / calm


def prepare(*options: str, python: str = sys.executable) -> Installation:
    """Not started. A long run gives a key more aliases than AWS would."""
    installation = Installation("--workers", str(WORKERS), *options, python=python)
    installation.home.mkdir()
    (installation.home / "limits.toml").write_text("aliases_per_key_max = 100_000\n")
    return installation


@contextmanager
def asked(installation: Installation, key_id: str, seed: int) -> Iterator[tuple[Ledger, Newcomer]]:
    """Within, honest clients ask."""
    newcomer = Newcomer(installation, key_id)
    with load(installation, seed) as ledger:
        newcomer.start()
        try:
            yield ledger, newcomer
        finally:
            newcomer.stop()


def endure(installation: Installation, trouble: Trouble, seed: int = 1, patience_s: float = START_S_MAX) -> Endured:
    """Start, ask, bring the trouble, and look at everything afterwards.

    Raises:
        AssertionError: what is promised is not kept.
    """
    installation.start()
    wait_for_workers(installation, WORKERS)
    with Raw(installation.port) as raw:
        key_id = raw.call("CreateKey").json["KeyMetadata"]["KeyId"]
    before = processes(installation)
    assert len(before) > WORKERS
    watch = MemoryWatch(before.values())
    with asked(installation, key_id, seed) as (ledger, newcomer):
        calm = 2 * _CALM_CALLS if trouble.slower_max is None else _CALM_CALLS_COMPARED
        newcomer.wait_for(calm)
        held, files = {pid: resident(pid) for pid in before.values()}, _files(before)
        watch.start()
        began = time.monotonic()
        try:
            scene = Scene(installation, newcomer, key_id, patience_s)
            trouble.bring(scene)
            ended = scene.ended_s or time.monotonic()
            over = newcomer.wait_for_calm(patience_s)
        finally:
            watch.stop()
        newcomer.wait_for(calm)
    assert processes(installation) == before, "it serves again, and without a restart"
    wait_until(lambda: _fewer(_files(before), files), START_S_MAX, "the files open that were open before")
    endured = Endured(
        ledger.acknowledged,
        Counter(filter(None, (call.code for call in newcomer.calls)))
        + Counter(_code(f.error) for f in ledger.failures),
        [call for call in newcomer.calls if call.started < began or call.started > over],
        [call for call in newcomer.calls if began <= call.started < ended],
        ended - began,
        max(0.0, over - ended),
        max(
            [
                0.0,
                *(call.seconds for call in newcomer.calls if call.code),
                *(f.ended - f.started for f in ledger.failures),
            ]
        ),
        {Path(name).stem: (watch.peaks[pid] - held[pid]) / MIB for name, pid in before.items()},
        ledger.losses(installation),
    )
    print(endured)
    assert endured.lost == []
    if trouble.slower_max is not None:
        assert _slower(endured) <= trouble.slower_max, f"{_slower(endured):.2f} times as long"
    late_s = 2 * max(call.seconds for call in endured.calm if not call.code)
    if trouble.refused_s_max is not None:
        assert endured.refused_s <= trouble.refused_s_max + late_s
    if trouble.recovery_s_max is not None:
        assert endured.recovery_s <= trouble.recovery_s_max + late_s
    asked_at = [(call.started, call.started + call.seconds, call.code) for call in newcomer.calls if call.code]
    asked_at += [(f.started, f.ended, _code(f.error)) for f in ledger.failures]
    stray = [at for at in asked_at if at[2] not in trouble.refusals or at[0] > over or at[1] < began]
    assert stray == [], f"refused with what is not said, or when nothing was wrong: {stray[:20]} of {len(stray)}"
    too_much = {name: mib for name, mib in endured.more_mib.items() if mib > trouble.memory_mib_max}
    assert too_much == {}, f"more than {trouble.memory_mib_max} MiB"
    _require_trail(installation)
    return endured


def _files(pids: dict[str, int]) -> dict[str, int | None]:
    return {name: open_files(pid) for name, pid in pids.items()}


def _fewer(now: dict[str, int | None], before: dict[str, int | None]) -> bool:
    return all((now[name] or 0) <= (before[name] or 0) + _FILES_SLACK for name in before)


def _code(error: str) -> str:
    """AWS's code, or the name of what the client met with."""
    said = re.match(r"An error occurred \((\w+)\)", error)
    return said[1] if said else error


def _require_trail(installation: Installation) -> None:
    done = installation.cli("audit", "verify", "--home", str(installation.home), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 problems" in done.stdout
    assert [line for line in complaints(installation) if "Traceback" in line or "exception" in line] == []
