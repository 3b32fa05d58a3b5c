"""A run: journeys until enough was asked, then the last look at the installation; a finding is made short before it is told.

What is looked at in the end: the same processes serve as in the beginning, nothing was said of an exception, all keys and
aliases of all journeys are listed and no others, they are there after a restart too, and the audit trail verifies.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any, Final

from fuzz.journey import STEPS, Finding, Journey, Tally
from testkit.installation import START_S_MAX, Installation
from testkit.raw import RawKms, assert_allowed

# A worker that dies at every replay is started again after ever longer pauses.
_SHORTENING_S_MAX: Final = 30.0


def run(installation: Installation, seed: int, requests: int) -> Tally:
    """Ask that many requests.

    Raises:
        AssertionError: with the shortest walk that was found to do it again.
    """
    tally = Tally()
    number = 0
    while tally.requests < requests:
        name = f"{seed}/{number}"
        with Journey(installation, name, tally) as journey:
            try:
                journey.go(range(1, STEPS + 1))
            except Finding as finding:
                raise AssertionError(_told(installation, name, finding, journey)) from finding
        number += 1
    return tally


def _told(installation: Installation, name: str, finding: Finding, journey: Journey) -> str:
    """The finding as a person wants to read it: the fewest steps, and what was asked in them."""
    kind = _kind(finding)
    words, sent = str(finding), list(journey.sent)

    def fails(steps: Sequence[int]) -> bool:
        nonlocal words, sent
        installation.wait_until_ready()
        with Journey(installation, name, Tally()) as again:
            try:
                again.go(steps)
            except Finding as found:
                if _kind(found) == kind:
                    words, sent = str(found), list(again.sent)
                    return True
        return False

    all_steps = range(1, STEPS + 1)
    steps = f"steps {shorten(all_steps, fails)}" if fails(all_steps) else "which did not fail in this way again"
    return "\n".join([words, f"journey {name}, {steps}; its last requests:", *sent])


def _kind(finding: Finding) -> str:
    """The words without what is another one at every run: ids, dates, ciphertexts."""
    return re.sub(r"[^ ]*[0-9{'][^ ]*", "", str(finding))[:60]


def shorten(steps: Sequence[int], fails: Callable[[Sequence[int]], bool]) -> list[int]:
    """Fewer steps that still fail: ever smaller parts are left out while that works and time is left."""
    deadline = time.monotonic() + _SHORTENING_S_MAX
    kept, size = list(steps), max(len(steps) // 2, 1)
    while size:
        at = 0
        while at < len(kept) and time.monotonic() < deadline:
            candidate = kept[:at] + kept[at + size :]
            if fails(candidate):
                kept = candidate
            else:
                at += size
        size //= 2
    return kept


# ── the last look ───────────────────────────────────────────────────────────────────────────────────────────────────


def processes(installation: Installation) -> dict[str, int]:
    return {**installation.pids_of("kms"), **installation.pids_of("hsm")}


def wait_for_workers(installation: Installation, workers: int) -> None:
    """The first one to be ready makes the installation ready."""
    deadline = time.monotonic() + START_S_MAX
    while len(installation.pids_of("kms")) < workers:
        assert time.monotonic() < deadline, installation.output.read_text()
        time.sleep(0.02)


def require_all_workers_served(installation: Installation, workers: int) -> None:
    """Each worker has a trail of its own."""
    audit = installation.home / "service" / "audit"
    counts = [
        sum(len(path.read_bytes().splitlines()) for path in audit.glob(f"audit-w{number}-*.jsonl"))
        for number in range(1, workers + 1)
    ]
    assert min(counts) * 10 > sum(counts), counts


def require_listed(installation: Installation, tally: Tally) -> None:
    """Every key and alias that was acknowledged is listed, and none besides."""
    with closing(RawKms(installation)) as kms:
        keys = {found["KeyId"] for found in _pages(kms, tally, "ListKeys", "Keys")}
        aliases = {found["AliasName"]: found["TargetKeyId"] for found in _pages(kms, tally, "ListAliases", "Aliases")}
    assert keys == tally.key_ids, f"lost {tally.key_ids - keys}, unknown {keys - tally.key_ids}"
    assert aliases == tally.aliases


def _pages(kms: RawKms, tally: Tally, operation: str, name: str) -> Iterable[dict[str, Any]]:
    marker: dict[str, str] = {}
    while True:
        answer = assert_allowed(kms.call(operation, {"Limit": 100, **marker}))
        tally.outcomes[operation, ""] += 1
        yield from answer[name]
        if not answer["Truncated"]:
            return
        marker = {"Marker": answer["NextMarker"]}


def complaints(installation: Installation) -> list[str]:
    """What the processes said of exceptions."""
    return [line for line in installation.output.read_text().splitlines() if _is_complaint(line)]


def _is_complaint(line: str) -> bool:
    if "Traceback" in line:
        return True
    try:
        said = json.loads(line)
    except ValueError:
        return False
    return isinstance(said, dict) and (said.get("level") in {"error", "critical"} or "exception" in said)


def require_trail(installation: Installation, tally: Tally) -> None:
    """The audit trail of a stopped installation verifies, and holds every answer once, whichever worker gave it."""
    done = installation.cli("audit", "verify", "--home", str(installation.home), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    recorded: Counter[tuple[str, str]] = Counter()
    for path in (installation.home / "service" / "audit").glob("audit-*.jsonl"):
        with path.open("rb") as segment:
            next(segment)  # What the segment itself is.
            for line in segment:
                event = json.loads(line)["event"]
                if event["eventType"] == "AwsApiCall" and "phase" not in event:
                    recorded[event["eventName"], event.get("errorCode") or ""] += 1
    assert recorded == tally.outcomes


def look_again(installation: Installation, tally: Tally) -> None:
    """The records of the last journeys, once more."""
    for account in tally.last:
        with Journey(installation, "again", tally) as journey:
            journey.account = account
            journey.look_at_everything()
