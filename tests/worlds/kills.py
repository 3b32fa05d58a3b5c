"""kill -9 of HSM, workers and supervisor under load: `python -m worlds.kills KILLS SEED`, in `tests`; KILLS of each.

A chain is one installation, the load of `load.py` with somebody of `people.py`, and one kill after the other at random
moments. Who starts the supervisor again is the experiment, at once, as a service manager would. What the chain found is
judged under seven heads, each of which is empty where nothing was wrong:

- lost: what was acknowledged and is not there, or was undone, or credentials that lie;
- unopened: a ciphertext that was acknowledged and does not open;
- stray: a failure that no outage explains (see `outages.py`): an answer of 500 or above to a request that was not under way
  at a kill, a request that hangs, a broken connection while nothing was away; any refusal of the caller;
- trail: what `audit verify` objects to, and answers that it does not hold, or holds twice, or without an intent;
- ended: a supervisor that ended although nobody killed it or what it was starting, and not because its first worker was
  late;
- late: outages longer than promised, on this machine with what it has to do;
- away: those that are so by far.

What "this machine" may take, `yardstick.py` says, in which the product has no part: where nothing else runs, two seconds
are two seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

from strongroom.cli.admin_socket import ask_worker
from testkit.installation import START_S_MAX, Installation
from testkit.planting import plant
from testkit.waiting import is_alive
from testkit.workers import stand_still
from worlds.ledger import Failure, Ledger
from worlds.load import MUTATIONS as KMS_MUTATIONS
from worlds.load import client_of, load
from worlds.outages import AWAY_TIMES, SERVES_AGAIN_S_MAX, BackOffs, Outage
from worlds.people import LEFT_OUT
from worlds.people import MUTATIONS as IDENTITY_MUTATIONS
from worlds.yardstick import Yardstick

# How many requests at most are answered between two kills, beside those that look back, and how many milliseconds at most
# pass then.
_DONE_MAX: Final = 40
_MILLISECONDS_MAX: Final = 100
# Every so many kills, the next one comes before what was killed is back: so soon.
_NOT_WAITED_FOR: Final = 4
_NOT_WAITED_S_MAX: Final = 0.5
# So long an HSM that is killed may have been mute before, so that something is under way.
_MUTE_S_MAX: Final = 0.1
MUTATIONS: Final = KMS_MUTATIONS | IDENTITY_MUTATIONS
WANTED: Final = MUTATIONS - LEFT_OUT.keys()
# A supervisor's words whose first worker takes longer than any start may: the machine's fault, as far as anybody knows.
_GIVEN_UP: Final = "the service does not start"
# Longer than a start may take, and another one: what was found until then is worth more than an early end.
_COMES_BACK_S_MAX: Final = 5 * START_S_MAX


class Fault(NamedTuple):
    """A defect, planted in a copy of the product: the module, its text, the wrong text; and the head it must show under.

    Something is between answer and commit at most kills: on a slow machine, not at every one.
    """

    module: str
    right: str
    wrong: str
    actor: str
    head: str
    kills: int = 4
    # On a slower machine it looks like the machine.
    slowness_max: float = float("inf")
    is_held: bool = False


_ANSWERS_LAST: Final = "                _answer(group, self._commit_group(group))\n"
_ANSWERS_FIRST: Final = """\
                _answer(group, [None] * len(group))
                __import__("time").sleep(0.2)
                self._commit_group(group)
"""
_ANSWERS_AT_ONCE: Final = """\
                _answer(group, [None] * len(group))
                self._commit_group(group)
"""
# A key of this start alone in every ciphertext.
_DERIVES: Final = "from strongroom.boundary.derivation import derive\n"
_DERIVES_FOR_NOW: Final = """\
import os
from strongroom.boundary.derivation import derive as _derive

_THIS_START = os.urandom(8)


def derive(key, label, context):
    return _derive(key, label, context + _THIS_START)
"""
_WAITS: Final = "        self._waiting.append(call)\n"
_DOES_NOT_WAIT: Final = f"""\
        if self._active is None and self.stats.frames:
            raise DependencyTimeoutException
{_WAITS}"""
_OUTLIVES: Final = "            if not self._served and not self._stopping:\n"
_DOES_NOT_OUTLIVE: Final = "            if not self._stopping:\n"
_RECORDS: Final = '            self._writable_segment().write(b"".join(lines), self._reserve.release)\n'
_RECORDS_LATER: Final = """\
            later = (b"".join(lines), self._reserve.release)
            threading.Timer(0.2, self._writable_segment().write, later).start()
"""
_STARTS: Final = "    harden(arguments.parent)\n"
# As long as the experiment holds it: for three seconds, or more where that would not be late.
_HELD: Final = "held"
_HELD_S: Final = 3.0
_STARTS_LATE: Final = f"""\
{_STARTS}\
    import pathlib, time

    while pathlib.Path(__file__).parents[3].joinpath({_HELD!r}).exists():
        time.sleep(0.01)
"""
_ASKS_AGAIN: Final = """\
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()
"""
FAULTS: Final = {
    "answer-before-commit": Fault("kms/storage/writer.py", _ANSWERS_LAST, _ANSWERS_FIRST, "kms", "lost"),
    "answer-before-commit-everywhere": Fault(
        "kms/storage/writer.py", _ANSWERS_LAST, _ANSWERS_FIRST, "supervisor", "lost"
    ),
    "answer-just-before-commit": Fault(
        "kms/storage/writer.py", _ANSWERS_LAST, _ANSWERS_AT_ONCE, "kms", "lost", kills=50
    ),
    "key-of-one-start": Fault("hsm/vault/customer_data.py", _DERIVES, _DERIVES_FOR_NOW, "hsm", "unopened"),
    "no-waiting-for-the-hsm": Fault("kms/hsm_link/link.py", _WAITS, _DOES_NOT_WAIT, "hsm", "stray", kills=8),
    "a-death-ends-it-all": Fault("supervisor/supervise.py", _OUTLIVES, _DOES_NOT_OUTLIVE, "kms", "ended"),
    "not-asked-again": Fault("kms/hsm_link/link.py", _ASKS_AGAIN, "", "hsm", "stray", kills=40, slowness_max=3.0),
    "starts-in-three-seconds": Fault("kms/__main__.py", _STARTS, _STARTS_LATE, "kms", "late", kills=1, is_held=True),
    "answer-before-record": Fault("kms/audit/log.py", _RECORDS, _RECORDS_LATER, "kms", "trail"),
}


@dataclass(frozen=True)
class Plan:
    """`kills` of each of the actors, in random order; a `whole` load goes on until it has changed all there is."""

    kills: int
    seed: int
    workers: int = 1
    actors: tuple[str, ...] = ("hsm", "kms", "supervisor")
    fault: str = ""
    minutes_max: float = float("inf")
    whole: bool = False


@dataclass
class Findings:
    """What a chain found."""

    plan: Plan
    outages: list[Outage] = field(default_factory=list)
    # What a supervisor said in the end that nobody had killed.
    ended: list[str] = field(default_factory=list)
    acknowledged: int = 0
    subjects: Counter[str] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    ciphertexts: int = 0
    failures: list[Failure] = field(default_factory=list)
    records: int = 0
    heads: dict[str, list[str]] = field(default_factory=dict)
    words: str = ""

    def of(self, actor: str) -> list[float]:
        return sorted(outage.seconds for outage in self.outages if outage.actor == actor)

    def slowness(self) -> list[float]:
        return sorted(outage.slowness for outage in self.outages)

    def in_flight(self, actor: str) -> int:
        """Requests that failed and were under way when it was killed."""
        kills = [outage.killed for outage in self.outages if outage.actor == actor]
        return sum(any(f.started <= at <= f.ended for at in kills) for f in self.failures)

    def figures(self) -> dict[str, Any]:
        return {
            "workers": self.plan.workers,
            "seed": self.plan.seed,
            "kills": dict(Counter(outage.actor for outage in self.outages)),
            "acknowledged": self.acknowledged,
            "subjects": dict(self.subjects),
            "ciphertexts": self.ciphertexts,
            "audit_records": self.records,
            "failed": len(self.failures),
            "failed_in_flight": {actor: self.in_flight(actor) for actor in self.plan.actors},
            "answers_of_500_and_above": sum(f.status >= 500 for f in self.failures),
            "ended": len(self.ended),
            "serving_again_s": {actor: quantiles(self.of(actor)) for actor in self.plan.actors},
            "machine": quantiles(self.slowness()),
            "share_of_the_promise": quantiles(sorted(outage.seconds / outage.late_s for outage in self.outages)),
            "over_two_seconds": sum(outage.seconds > SERVES_AGAIN_S_MAX for outage in self.outages),
            "found": {head: len(found) for head, found in self.heads.items()},
        }


def quantiles(sorted_values: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile, maximum."""
    if not sorted_values:
        return {}
    places = {"median": 0.5, "p99": 0.99, "max": 1.0}
    last = len(sorted_values) - 1
    return {name: round(sorted_values[round(last * share)], 2) for name, share in places.items()}


# ── a chain ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Chain:
    """One installation and the kills of its processes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._moments = random.Random(plan.seed)
        self._installation = Installation("--workers", str(plan.workers))
        self._yardstick = Yardstick(self._installation.root)
        self._held = self._installation.root / _HELD
        self._back_offs = BackOffs()
        # What was killed and is not known to be back: names, and the processes that had them.
        self._killed: dict[str, int] = {}
        # Whether a supervisor starts, and whether something was killed then: in its own start it ends with that.
        self._is_starting = self._is_excused = False
        self.findings = Findings(plan)
        self._kills: dict[str, Callable[[], float]] = {
            "hsm": self._kill_hsm,
            "kms": self._kill_workers,
            "supervisor": self._kill_supervisor,
        }

    def run(self) -> Findings:
        installation, plan = self._installation, self._plan
        # A long run gives a key more aliases than AWS would, and makes more accounts' worth of names.
        installation.home.mkdir()
        (installation.home / "limits.toml").write_text("aliases_per_key_max = 100_000\n")
        try:
            if plan.fault:
                fault = FAULTS[plan.fault]
                plant(installation, fault.module, fault.right, fault.wrong)
            installation.start()
            with self._yardstick:
                with load(installation, plan.seed * 1000, people=2) as ledger:
                    self._go_on(self._key(), ledger)
                self._wait_until_all_serve()
            lost = ledger.losses(installation)
            installation.stop()
            self._judge(ledger, lost)
        finally:
            installation.destroy()
        return self.findings

    def _key(self) -> str:
        """For the data keys; a service with a fault may serve before there is anybody to serve."""
        deadline = time.monotonic() + START_S_MAX
        with client_of(self._installation) as kms:
            while True:
                try:
                    return str(kms.create_key()["KeyMetadata"]["KeyId"])
                except ClientError:
                    assert self._plan.fault
                    assert time.monotonic() < deadline
                    time.sleep(0.02)

    def _go_on(self, key_id: str, ledger: Ledger) -> None:
        """A kill after the other; then the load goes on until it is whole."""
        plan = self._plan
        actors = list(plan.actors) * plan.kills
        self._moments.shuffle(actors)
        ends = time.monotonic() + plan.minutes_max * 60
        done = 0
        while done < len(actors) and time.monotonic() < ends:
            together = 2 if done % _NOT_WAITED_FOR == _NOT_WAITED_FOR - 1 else 1
            self._wait_for_a_moment(ledger)
            self._kill(key_id, actors[done : done + together], ledger)
            done += together
            if done % 100 < together:
                print(f"{done} kills: {self.findings.figures()['serving_again_s']}", file=sys.stderr, flush=True)
        given_up = time.monotonic() + 2 * START_S_MAX
        while plan.whole and not ledger.operations >= WANTED and time.monotonic() < given_up:
            time.sleep(0.1)

    def _wait_for_a_moment(self, ledger: Ledger) -> None:
        """As much load on a busy machine as on a free one."""
        wanted = ledger.done() + self._moments.randint(0, _DONE_MAX)
        deadline = time.monotonic() + START_S_MAX
        while ledger.done() < wanted and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(self._moments.uniform(0, _MILLISECONDS_MAX) / 1000)

    def _kill(self, key_id: str, actors: Sequence[str], ledger: Ledger) -> None:
        """kill -9 of one after the other, then the time until all of that serves again."""
        killed: list[float] = []
        promised_s = SERVES_AGAIN_S_MAX
        for actor in actors:
            if killed:
                time.sleep(self._moments.uniform(0, _NOT_WAITED_S_MAX))
            killed.append(time.monotonic())
            promised_s += self._kills[actor]()
            ledger.doubt()
        promised_s += self._wait_until_back(key_id)
        served = time.monotonic()
        self._back_offs.serve(served)
        self._is_starting = self._is_excused = False
        for actor, at in zip(actors, killed, strict=True):
            self.findings.outages.append(Outage(actor, at, killed[-1], served, promised_s))

    def _wait_until_back(self, key_id: str) -> float:
        """Until a data key that was asked for now, and all killed workers; returns what that may take longer."""
        deadline, more_s = time.monotonic() + _COMES_BACK_S_MAX, 0.0
        with client_of(self._installation) as kms:
            while time.monotonic() < deadline:
                try:
                    # In this order: a request that is sent to what is dying would measure something else.
                    if self._are_replaced() and kms.generate_data_key(KeyId=key_id, KeySpec="AES_256"):
                        self._ask_workers()
                        return more_s
                except (BotoCoreError, ClientError, ConnectionError):
                    pass
                more_s += self._start_if_it_ended()
                time.sleep(0.005)
        raise AssertionError(f"what was killed did not come back:\n{self._installation.output.read_text()}")

    def _are_replaced(self) -> bool:
        installation = self._installation
        running = installation.pids_of("hsm") | installation.pids_of("kms")
        return all(running.get(name, pid) != pid for name, pid in self._killed.items())

    def _ask_workers(self) -> None:
        """Of those that were killed, each answers; the others would answer for it."""
        for name in self._installation.pids_of("kms").keys() & self._killed.keys():
            ask_worker(self._installation.home, name, "status")
        self._killed.clear()

    # Each returns for how long the supervisor may wait before it starts again what it killed.

    def _kill_hsm(self) -> float:
        """Half of them are mute before."""
        ((name, pid),) = self._wait_for("hsm").items()
        if self._moments.random() < 0.5 or self._plan.fault:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(self._moments.uniform(0, _MUTE_S_MAX))
        return self._kill_child(name, pid)

    def _kill_workers(self) -> float:
        """One of them, or all."""
        pids = self._wait_for("kms")
        if self._plan.fault and FAULTS[self._plan.fault].is_held:
            self._held.touch()
            threading.Thread(target=self._hold).start()
        names = self._moments.sample(sorted(pids), self._moments.randint(1, len(pids)))
        return sum(self._kill_child(name, pids[name]) for name in names)

    def _kill_child(self, name: str, pid: int) -> float:
        self._is_excused |= self._is_starting
        self._killed[name] = pid
        os.kill(pid, signal.SIGKILL)
        return self._back_offs.died(name, time.monotonic())

    def _hold(self) -> None:
        """Hold what starts until that is late, whatever the machine is like."""
        since = time.monotonic()
        while time.monotonic() - since < max(
            _HELD_S, 1.5 * SERVES_AGAIN_S_MAX * self._yardstick.slowness(since, time.monotonic())
        ):
            time.sleep(0.05)
        self._held.unlink()

    def _kill_supervisor(self) -> float:
        process = self._installation.process
        assert process is not None
        children = _children_of(process.pid) if process.poll() is None else []
        process.kill()
        process.wait()
        # They die with it, and a service manager waits for them.
        deadline = time.monotonic() + START_S_MAX
        while any(map(is_alive, children)) and time.monotonic() < deadline:
            time.sleep(0.002)
        self._back_offs.forget()
        self._is_starting, self._is_excused = True, False
        self._installation.launch()
        return 0.0

    def _wait_for(self, actor: str) -> dict[str, int]:
        """Those that run now, of which there is one at least."""
        deadline = time.monotonic() + START_S_MAX
        while not (pids := self._installation.pids_of(actor)):
            assert time.monotonic() < deadline, self._installation.output.read_text()
            self._start_if_it_ended()
            time.sleep(0.002)
        return pids

    def _start_if_it_ended(self) -> float:
        """Returns what may take longer then."""
        process = self._installation.process
        assert process is not None
        if process.poll() is None:
            return 0.0
        is_excused, self._is_excused = self._is_excused, False
        if not is_excused:
            self.findings.ended.append(" ".join(self._installation.output.read_text().splitlines()[-3:]))
        self._installation.launch()
        return SERVES_AGAIN_S_MAX * is_excused

    def _wait_until_all_serve(self) -> None:
        """As a start does: what is asked next is not to meet with the last kill."""
        deadline = time.monotonic() + START_S_MAX
        while len(self._installation.pids_of("kms")) < self._plan.workers or not self._installation.is_ready():
            assert time.monotonic() < deadline, self._installation.output.read_text()
            self._start_if_it_ended()
            time.sleep(0.02)

    # ── the judge ───────────────────────────────────────────────────────────────────────────────────────────────

    def _judge(self, ledger: Ledger, lost: list[str]) -> None:
        findings, installation = self.findings, self._installation
        outages = findings.outages = [outage.measured(self._yardstick) for outage in findings.outages]
        findings.acknowledged, findings.ciphertexts = ledger.acknowledged, len(ledger.blobs)
        findings.operations, findings.failures = ledger.operations, ledger.failures
        findings.subjects = Counter(subject.partition("/")[0] if "/" in subject else "key" for subject in ledger.facts)
        findings.words = installation.output.read_text()
        findings.records, problems = audited(installation)
        findings.heads = {
            "lost": [one for one in lost if not one.startswith("ciphertext")],
            "unopened": [one for one in lost if one.startswith("ciphertext")],
            "stray": [
                f"{f.operation}: {f.error[:160]}, after {f.ended - f.started:.2f} s"
                for f in ledger.failures
                if not any(outage.explains(f) for outage in outages)
            ],
            "trail": [*problems, *unrecorded(installation, ledger.answered)],
            "ended": [words for words in findings.ended if _GIVEN_UP not in words],
            "late": [
                *(words for words in findings.ended if _GIVEN_UP in words),
                *(str(outage) for outage in outages if outage.seconds > outage.late_s),
            ],
            "away": [str(outage) for outage in outages if outage.seconds > AWAY_TIMES * outage.late_s],
        }


def _children_of(pid: int) -> list[int]:
    """Of a supervisor, which starts no more of them then: also one that has not come to be what it will be."""
    stand_still(pid)
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            found += map(int, (task / "children").read_text().split())
    return found


# ── the trail ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Event(msgspec.Struct):
    eventType: str  # noqa: N815 -- CloudTrail's own names.
    eventName: str  # noqa: N815
    requestID: str  # noqa: N815
    phase: str = ""
    errorCode: str = ""  # noqa: N815


class _Record(msgspec.Struct):
    event: _Event


def audited(installation: Installation) -> tuple[int, list[str]]:
    """Records, and problems as `strongroom audit verify` tells them."""
    done = installation.cli("audit", "verify", "--home", str(installation.home), check=False)
    counted = re.search(r"^(\d+) records .* (\d+) problems$", done.stdout, re.MULTILINE)
    if counted is None:
        return 0, [done.stdout + done.stderr]
    problems = int(counted[2])
    assert done.returncode == bool(problems), done.stdout
    return int(counted[1]), [done.stdout] * bool(problems)


def unrecorded(installation: Installation, answered: dict[str, str]) -> Iterator[str]:
    """Answers that the trail does not hold as they were, once, and changes without an intent."""
    outcomes: Counter[tuple[str, str, str]] = Counter()
    intents: set[str] = set()
    decode = msgspec.json.Decoder(_Record).decode
    for path in (installation.home / "service" / "audit").glob("audit-*.jsonl"):
        for line in path.read_bytes().splitlines()[1:]:
            try:
                event = decode(line).event
            except msgspec.DecodeError:
                yield f"{path.name} has a line that is no record"
                continue
            if event.phase:
                intents.add(event.requestID)
            else:
                outcomes[event.requestID, event.eventName, event.errorCode] += 1
    for request_id, operation in answered.items():
        count = outcomes[request_id, operation, ""]
        if count != 1:
            yield f"{operation} {request_id} is there {count} times"
        if xform_name(operation) in MUTATIONS and request_id not in intents:
            yield f"{operation} {request_id} has no intent"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kills", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--fault", choices=FAULTS, default="")
    arguments = parser.parse_args()
    actors = (FAULTS[arguments.fault].actor,) if arguments.fault else Plan.actors
    plan = Plan(
        *(arguments.kills, arguments.seed, arguments.workers, actors, arguments.fault, arguments.minutes),
        whole=not arguments.fault,
    )
    findings = Chain(plan).run()
    print(json.dumps(findings.figures()))
    found = {head: found[:20] for head, found in findings.heads.items() if found}
    print(json.dumps(found, indent=1), file=sys.stderr)
    if found.keys() - {"late", "away"} or findings.ended:
        Path("kills.output").write_text(findings.words)
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
