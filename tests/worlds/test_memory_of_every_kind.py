"""After an answer of whatever kind, nothing secret is where it may not be: HSM, service, store, log, trail, backup.

Lives of all operations, refused ones included, are lived one after the other, and operators' commands behind each
(`worlds/every_kind.py`); after some answers, or after each, both processes are searched by root, and at the end everything
is searched for everything (`worlds/watched_memory.py`). Frames of 64 commands, and the HSM's commands one by one, are
`worlds/test_memory.py`'s.

How the checks were seen to fail: `test_what_is_kept_or_written_down_is_found`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from strongroom.kms.identities.operations.table import TABLE as IAM
from strongroom.kms.identities.sts.table import TABLE as STS
from strongroom.kms.operations.table import TABLE as KMS
from testkit.installation import START_S_MAX, Installation
from testkit.waiting import wait_until
from worlds.every_kind import NEVER_SUCCEED, Lives, as_operator, live_whole, operations, with_an_issuer
from worlds.leaks import HELD, HSM, LEAKS, NEWEST, QUICK, SERVICE, Leak
from worlds.watched_memory import Watch

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another process's memory")

# What was passed on is freed and not wiped, so that the heap has some of it, until it is used again. What is kept stays.
STAYED_SHARE_MAX: Final = 0.5
# Of so many at the least, a share says something; of a life, five data keys and five secrets pass. So many lives use the
# heap again.
_PASSED_MIN: Final = 12
_LIVES_BEFORE: Final = 3
_LIVES_AFTERWARDS: Final = 3
# The last one may lie where nothing else was put since.
NEWEST_KEPT_MAX: Final = 1
# What a leak of either process is looked for after.
_LOOKED_AFTER: Final = frozenset({"GenerateDataKey", "Encrypt", "GenerateDataKeyWithoutPlaintext", "CreateAccessKey"})


@contextmanager
def _lives(*leaks: Leak) -> Iterator[Lives]:
    installation = Installation()
    try:
        for leak in leaks:
            leak.plant(installation)
        issuer = with_an_issuer(installation)
        yield Lives(installation.start(), issuer)
    finally:
        installation.destroy()


def _held(watch: Watch, lives: Lives) -> dict[str, tuple[int, int]]:
    """What the service passed on and still has, of too many; tokens are worth nothing without their secrets."""
    secrets = list(lives.ledger.secrets)
    for _ in range(_LIVES_AFTERWARDS):
        live_whole(lives)
    stayed = watch.passed_and_stayed(secrets)
    print(f"passed on, and still in the service's memory: {stayed}")
    return {
        kind: (left, passed)
        for kind, (left, passed) in stayed.items()
        if passed >= _PASSED_MIN and left > STAYED_SHARE_MAX * passed and "token" not in kind
    }


def _back_up(lives: Lives) -> Path:
    to = lives.installation.root / "backup"
    lives.installation.cli("backup", "--home", str(lives.installation.home), "--to", str(to))
    return to


def _start_hsm_anew(installation: Installation) -> None:
    """And wait until it serves: what the old one was ready for says nothing."""
    old = installation.pid_of("hsm")
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: any(pid != old for pid in installation.pids_of("hsm").values()), START_S_MAX, "an HSM")
    installation.wait_until_ready()


def _live(lives: Lives, watch: Watch, count: int, each: int) -> None:
    """So many lives; both processes are searched after each so-many-th answer, another one in each life."""
    answered = 0
    for number in range(1, count + 1):
        for kind in chain(lives.live(), as_operator(lives)):
            answered += 1
            if answered % each == 0:
                watch.look(kind)
        if number % max(count // 20, 1) == 0:
            print(f"{number} lives: looked {watch.scans} times, {len(watch.hits)} found", flush=True)


def _require_clean(count: int, each: int) -> None:
    with _lives() as lives:
        installation, watch = lives.installation, Watch(lives)
        watch.look("the ceremony of a first start")
        _live(lives, watch, count, each)
        watch.look_for_all()
        held = _held(watch, lives)
        backup = _back_up(lives)
        watch.look_at_files(backup)
        _start_hsm_anew(installation)
        watch.look("a start from the sealed state")
        lives.caller.close()
        installation.stop()
        watch.look_at_files(backup)
        outcomes = lives.ledger.outcomes
        print(
            f"{sum(outcomes.values())} answers to {len(operations())} operations, {watch.scans} times looked at both "
            f"processes; {len(lives.ledger.secrets)} secrets: {len(watch.hits)} found where they may not be"
        )
        assert watch.hits == []
        assert held == {}
        for operation in operations():
            assert outcomes[operation, True] or count < 3, f"{operation} was never refused"
            assert outcomes[operation, False] >= count or operation in NEVER_SUCCEED, operation


def test_a_life_has_all_operations_that_there_are() -> None:
    assert operations() == {*KMS, *IAM, *STS}


@pytest.mark.long
def test_the_newest_that_passed_are_not_kept_by_the_service() -> None:
    with _lives() as lives:
        assert max(Watch(lives).newest_kept().values()) <= NEWEST_KEPT_MAX


def test_nothing_secret_is_left_behind_by_any_kind_of_request() -> None:
    _require_clean(3, 53)


@pytest.mark.long
def test_nothing_secret_is_left_behind_by_any_kind_of_request_in_eight_lives() -> None:
    _require_clean(8, 23)


@pytest.mark.campaign
def test_nothing_secret_is_left_behind_after_any_of_a_thousand_answers() -> None:
    _require_clean(4, 1)


@pytest.mark.campaign
def test_nothing_secret_is_left_behind_by_a_thousand_requests_of_each_kind() -> None:
    _require_clean(1000, 249)


# ── planted ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _places(leak: Leak) -> list[tuple[str, str]]:
    """(secret, where) of all that is found with this leak in the product."""
    with _lives(leak) as lives:
        watch = Watch(lives)
        if leak.where == HELD:
            for _ in range(_LIVES_BEFORE):
                live_whole(lives)
            return [(name, "") for name in _held(watch, lives)]
        if leak.where == NEWEST:
            return [(name, "") for name, whole in watch.newest_kept().items() if whole > NEWEST_KEPT_MAX]
        for kind in lives.live():
            if leak.where in {HSM, SERVICE} and kind in _LOOKED_AFTER and watch.look(kind):
                return [(hit.secret, "") for where, hit in watch.hits if where.startswith(leak.where)]
        return [(hit.secret, hit.where) for where, hit in watch.look_at_files(_back_up(lives)) if where == leak.where]


def _require_caught(name: str) -> None:
    leak = LEAKS[name]
    found = _places(leak)
    assert any(secret.startswith(leak.secret) and leak.file in where for secret, where in found), found


@pytest.mark.parametrize("name", QUICK)
def test_what_is_kept_or_written_down_is_found(name: str) -> None:
    _require_caught(name)


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(LEAKS.keys() - QUICK))
def test_whatever_is_kept_or_written_down_is_found(name: str) -> None:
    _require_caught(name)
