"""What an installation goes through while honest clients ask it, and what is asked of it afterwards.

Two kinds of honest clients run from before the trouble until after it: the load (`worlds/load.py`), which keeps its
connections and knows what was acknowledged, and a newcomer in each region, who opens a connection for each call. While the
trouble lasts they may be refused where the trouble says so, with the codes that it names and with no others; before and
after it, with none. Afterwards the same processes serve, with the files open that they had before, nothing acknowledged is
lost, and the trail verifies.
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
from testkit.installation import REGION, START_S_MAX, Installation
from testkit.raw import Raw
from testkit.waiting import wait_until
from worlds.load import Ledger, load
from worlds.newcomer import CALM_CALLS, Call, Newcomer

WORKERS: Final = 2
MIB: Final = 1 << 20
# What a newcomer must have been answered before and after the trouble, where how long that takes is what those of the
# trouble are compared with.
_CALM_CALLS_COMPARED: Final = 1000
# What begins this long after a trouble has it behind itself.
_SOON_S: Final = 2.0
# As many calls, one after the other, are always waited for: somebody who is served slowly is served.
_PATIENCE_CALLS: Final = 400
# Descriptors that come and go by themselves: a reading connection to the store, a log that is being pruned.
_FILES_SLACK: Final = 8


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
    # By region, and of each a key.
    newcomers: dict[str, Newcomer]
    keys: dict[str, str]
    # What the load was answered so far, as its ledger has it.
    answered: dict[str, str]
    # How long to wait for what a fault would keep from happening.
    patience_s: float
    # When the trouble ended, where it waits for anything after that.
    ended_s: float = 0.0

    @property
    def newcomer(self) -> Newcomer:
        """The home region's."""
        return self.newcomers[REGION]

    @property
    def key_id(self) -> str:
        return self.keys[REGION]


@dataclass(frozen=True)
class Trouble:
    """What is done to an installation, and what it may bring.

    That is, which refusals, and in which region; how long whoever is refused has waited; how much memory a process may take
    for it; by which factor newcomers who are not to be refused may wait longer, in the median and in the 99th percentile;
    how long it may last until everybody is served again.
    """

    bring: Callable[[Scene], None]
    refusals: frozenset[str] = frozenset()
    refused_in: str = REGION
    memory_mib_max: int = 48
    median_slower_max: float | None = None
    slower_max: float | None = None
    refused_s_max: float | None = None
    recovery_s_max: float | None = None

    def is_to_be_served_in(self, region: str) -> bool:
        return not self.refusals or region != self.refused_in


class Waits(NamedTuple):
    """What newcomers of a region waited for success, in order: before and after the trouble, and while it lasted."""

    calm: list[float]
    troubled: list[float]

    def slower(self, share: float) -> float:
        """By which factor in this quantile."""
        return _quantile(self.troubled, share) / _quantile(self.calm, share)

    def __str__(self) -> str:
        return " to ".join(
            f"{_quantile(seconds, 0.5) * 1000:.0f} and {_quantile(seconds, 0.99) * 1000:.0f} (of {len(seconds)})"
            if seconds
            else "nothing"
            for seconds in self
        )


def _quantile(seconds: list[float], share: float) -> float:
    return seconds[int(len(seconds) * share)]


@dataclass
class Endured:
    """Figures."""

    acknowledged: int
    refused: Counter[str]
    # By region.
    waits: dict[str, Waits]
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
            f"newcomers' median and 99th percentile in ms, before and after to during: "
            f"{', '.join(f'{region} {waits}' for region, waits in self.waits.items())}; "
            f"memory at its peak (MiB) {memory}"
        )


def _recovery_s(calls: list[Call], ended: float) -> float:
    """How long after the trouble everybody still waited.

    Until the first answer to a call of each kind that began afterwards; and for every call that was under way when the
    trouble ended, or began so soon after it that the trouble may be why it waits.
    """
    served = {call.operation: call.ended for call in reversed(calls) if call.started >= ended and not call.code}
    late = [
        call.ended - max(call.started, ended) for call in calls if call.started < ended + _SOON_S and call.ended > ended
    ]
    return max([at - ended for at in served.values()] + late)


def prepare(*options: str, python: str = sys.executable) -> Installation:
    """Not started. A long run gives a key more aliases than AWS would."""
    installation = Installation("--workers", str(WORKERS), *options, python=python)
    installation.home.mkdir()
    (installation.home / "limits.toml").write_text("aliases_per_key_max = 100_000\n")
    return installation


def hsms(installation: Installation) -> dict[str, int]:
    """The HSMs' process ids, by region."""
    found = {}
    for name, pid in installation.pids_of("hsm").items():
        _, further, below = name.partition("/regions/")
        found[below.partition("/")[0] if further else REGION] = pid
    return found


@contextmanager
def asked(installation: Installation, keys: dict[str, str], seed: int) -> Iterator[tuple[Ledger, dict[str, Newcomer]]]:
    """Within, honest clients ask."""
    newcomers: dict[str, Newcomer] = {}
    with load(installation, seed) as ledger:
        try:
            for region, key_id in keys.items():
                newcomers[region] = Newcomer(installation.port, key_id, region)
                newcomers[region].start()
            yield ledger, newcomers
        finally:
            for newcomer in newcomers.values():
                newcomer.stop()


def endure(installation: Installation, trouble: Trouble, seed: int = 1, patience_s: float = START_S_MAX) -> Endured:
    """Start, ask, bring the trouble, and look at everything afterwards.

    Raises:
        AssertionError: what is promised is not kept.
    """
    installation.start()
    wait_for_workers(installation, WORKERS)
    with Raw(installation.port) as raw:
        keys = {
            region: raw.call("CreateKey", region=region).json["KeyMetadata"]["KeyId"] for region in hsms(installation)
        }
    before = processes(installation)
    assert len(before) > WORKERS
    watch = MemoryWatch(before.values())
    with asked(installation, keys, seed) as (ledger, newcomers):
        calm = 2 * CALM_CALLS if trouble.slower_max is None else _CALM_CALLS_COMPARED
        _wait_for_all(newcomers, calm)
        held, files = {pid: resident(pid) for pid in before.values()}, _files(before)
        watch.start()
        began = time.monotonic()
        try:
            patience_s = max(patience_s, _PATIENCE_CALLS * newcomers[REGION].mean_s())
            scene = Scene(installation, newcomers, keys, ledger.answered, patience_s)
            trouble.bring(scene)
            ended = scene.ended_s or time.monotonic()
            over = max(newcomer.wait_for_calm(max(scene.patience_s, START_S_MAX)) for newcomer in newcomers.values())
        finally:
            watch.stop()
        _wait_for_all(newcomers, calm)
    assert processes(installation) == before, "it serves again, and without a restart"
    wait_until(lambda: _fewer(_files(before), files), START_S_MAX, "the files open that were open before")
    refused = [Refused(region, *call) for region, of in newcomers.items() for call in of.calls if call.code]
    refused += [Refused(REGION, f.started, f.ended, f.operation, _code(f.error)) for f in ledger.failures]
    endured = Endured(
        ledger.acknowledged,
        Counter(one.code for one in refused),
        {region: _waits(newcomer.calls, began, ended, over) for region, newcomer in newcomers.items()},
        ended - began,
        max(_recovery_s(newcomer.calls, ended) for newcomer in newcomers.values()),
        max((one.ended - one.started for one in refused), default=0.0),
        {
            name.removeprefix(f"{installation.home}/"): (watch.peaks[pid] - held[pid]) / MIB
            for name, pid in before.items()
        },
        ledger.losses(installation),
    )
    print(endured)
    _require_kept(endured, trouble)
    stray = [
        one
        for one in refused
        if trouble.is_to_be_served_in(one.region)
        or one.code not in trouble.refusals
        or one.started > over
        or one.ended < began
    ]
    assert stray == [], f"refused with what is not said, or when nothing was wrong: {stray[:20]} of {len(stray)}"
    _require_trail(installation)
    return endured


class Refused(NamedTuple):
    """Whoever was."""

    region: str
    started: float
    ended: float
    operation: str
    code: str


def _wait_for_all(newcomers: dict[str, Newcomer], count: int) -> None:
    since = time.monotonic()
    for newcomer in newcomers.values():
        newcomer.wait_for(count, since=since)


def _waits(calls: list[Call], began: float, ended: float, over: float) -> Waits:
    served = sorted((call.seconds, call.started) for call in calls if not call.code)
    return Waits(
        [seconds for seconds, started in served if started < began or started > over],
        [seconds for seconds, started in served if began <= started < ended],
    )


def _require_kept(endured: Endured, trouble: Trouble) -> None:
    """What the trouble may bring, and no more."""
    assert endured.lost == []
    for region, waits in endured.waits.items():
        for share, slower_max in ((0.5, trouble.median_slower_max), (0.99, trouble.slower_max)):
            if slower_max is not None and trouble.is_to_be_served_in(region):
                slower = waits.slower(share)
                assert slower <= slower_max, f"{slower:.2f} times as long in {region}, at {share:.0%}"
    late_s = 2 * max(waits.calm[-1] for waits in endured.waits.values())
    if trouble.recovery_s_max is not None:
        assert endured.recovery_s <= trouble.recovery_s_max + late_s, (
            f"still waiting {endured.recovery_s:.2f} s after it"
        )
    if trouble.refused_s_max is not None:
        assert endured.refused_s <= trouble.refused_s_max + late_s, f"refused after {endured.refused_s:.2f} s"
    too_much = {name: mib for name, mib in endured.more_mib.items() if mib > trouble.memory_mib_max}
    assert too_much == {}, f"more than {trouble.memory_mib_max} MiB"


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
