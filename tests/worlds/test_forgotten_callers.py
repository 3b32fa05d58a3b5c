"""Whoever will not come again is forgotten: sessions that are over, and access keys that are gone.

One worker, sessions of a quarter of an hour, and a clock that is set ahead whenever they are over. How the checks were seen
to fail: `test_a_service_that_forgets_nobody_is_caught`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import pytest

from fuzz.campaign import complaints
from testkit.identities import document, statement
from testkit.installation import START_S_MAX, Installation
from testkit.planting import plant
from testkit.raw import Answer, RawKms, amz_date, ask_admin, call_headers
from testkit.waiting import wait_until
from worlds.enduring import MIB, resident
from worlds.mixing import FORM, credentials_in, form_body, send_as
from worlds.troubles import set_clock, with_a_clock_of_its_own

SESSION_S = 900
# Sessions that no round began, and the root.
OTHERS = 3


@contextmanager
def _installation(*faults: tuple[str, str, str]) -> Iterator[Installation]:
    installation = Installation()
    try:
        for fault in faults:
            plant(installation, *fault)
        with_a_clock_of_its_own(installation)
        yield installation.start()
    finally:
        installation.destroy()


class People:
    """Those who come once."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._kms = RawKms(installation)
        self._ahead_s = 0.0
        self._rounds = 0

    def close(self) -> None:
        self._kms.close()

    def _ask(self, body: bytes, headers: list[tuple[bytes, bytes]], who: Any = None, **more: Any) -> Answer:
        answer = send_as(self._kms, body, headers, who, date=amz_date(self._ahead_s), **more)
        assert answer.status == 200, answer
        return answer

    def _form(self, service: str, action: str, **members: str) -> Answer:
        return self._ask(form_body(service, action, **members), [FORM], service=service)

    def _list_keys(self, who: dict[str, str] | None) -> None:
        self._ask(b"{}", call_headers("ListKeys"), who)

    def come(self, sessions: int, users: int) -> None:
        """Users first: what is done to one of them has everybody looked up again."""
        self._rounds += 1
        names = [f"user-{self._rounds}-{number}" for number in range(users)]
        keys = {name: self._begin_user(name) for name in names}
        wait_until(lambda: self._stored_uses() == users + 1, START_S_MAX, "last uses stored")
        for name, key_id in keys.items():
            self._form("iam", "DeleteAccessKey", UserName=name, AccessKeyId=key_id)
            self._form("iam", "DeleteUserPolicy", UserName=name, PolicyName="own")
            self._form("iam", "DeleteUser", UserName=name)
        text = document(statement("kms:*", Sid=f"Round{self._rounds}"))
        for _ in range(sessions):
            answer = self._form(
                "sts", "GetFederationToken", Name="somebody", DurationSeconds=str(SESSION_S), Policy=text
            )
            self._list_keys(credentials_in(answer))
        assert self.cached()["principals"] >= sessions

    def _begin_user(self, name: str) -> str:
        """And use his key."""
        self._form("iam", "CreateUser", UserName=name)
        self._form("iam", "PutUserPolicy", UserName=name, PolicyName="own", PolicyDocument=document(statement("*")))
        user = credentials_in(self._form("iam", "CreateAccessKey", UserName=name))
        assert user is not None
        self._list_keys(user)
        return user["AccessKeyId"]

    def _stored_uses(self) -> int:
        """The root's is one of them."""
        store = self._installation.home / "service" / "store.db"
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM access_key_usage").fetchone()[0])

    def go(self) -> None:
        self._ahead_s += SESSION_S
        set_clock(self._installation, self._ahead_s)

    def cached(self) -> dict[str, int]:
        (region,) = ask_admin(self._installation, "status")["regions"]
        found: dict[str, int] = region["cached"]
        return found


def _come_and_go(installation: Installation, rounds: int, sessions: int, users: int, patience_s: float) -> list[int]:
    """The memory after each round."""
    held = []
    with closing(People(installation)) as people:
        for _ in range(rounds):
            people.come(sessions, users)
            people.go()
            for cache in ("principals", "key_uses"):
                wait_until(lambda cache=cache: people.cached()[cache] <= OTHERS, patience_s, f"fewer {cache}")
            held.append(resident(installation.pid_of("kms")))
    assert complaints(installation) == []
    return held


def test_whoever_comes_once_is_forgotten() -> None:
    with _installation() as installation:
        _come_and_go(installation, rounds=3, sessions=20, users=5, patience_s=START_S_MAX)


# What the allocators make of it: pages of 2 MiB, and arenas of one.
_MIB_MAX = 6


@pytest.mark.campaign
def test_thousands_who_come_once_leave_nothing_behind() -> None:
    with _installation() as installation:
        held = _come_and_go(installation, rounds=12, sessions=1000, users=25, patience_s=START_S_MAX)
    print(f"12 rounds of 1,000 sessions and 25 users; MiB after each: {[round(one / MIB, 1) for one in held]}")
    assert max(held[6:]) - max(held[3:6]) <= _MIB_MAX * MIB


# ── the check itself ────────────────────────────────────────────────────────────────────────────────────────────────────


class Fault(NamedTuple):
    """What forgets nobody, and whom."""

    module: str
    right: str
    wrong: str
    finding: str


FAULTS = {
    "sessions": Fault("kms/credentials.py", ">= entry.session.claims.expires_at_s", ">= 2e12", "fewer principals"),
    "access keys": Fault(
        "kms/chores/access_key_flush.py",
        "            self._uses.forget_stored(self._is_known)\n",
        "",
        "fewer key_uses",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_a_service_that_forgets_nobody_is_caught(fault: str) -> None:
    module, right, wrong, finding = FAULTS[fault]
    with (
        _installation((module, right, wrong)) as installation,
        pytest.raises(AssertionError, match=finding),
    ):
        _come_and_go(installation, rounds=1, sessions=20, users=5, patience_s=3.0)
