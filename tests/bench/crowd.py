"""What a crowd costs others: `python -m tests.bench.crowd [--principals 10000] [--grants 50000]`. Prints a table.

One caller uses one key, over one connection: CPU of the service per request, before anything else is there, when so many
principals exist and each has called, and when another key has so many grants. Then what those pay: a caller who comes for
the first time, one who comes again, a grantee of the key with the grants, CreateGrant on it as it fills. Slices alternate
between the quiet caller and the crowd, so that ratios of neighbours mean something on a machine with other work.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from testkit.accounts import make_account
from testkit.installation import ACCOUNT, Installation, client
from testkit.raw import RawKms, assert_allowed

# AWS's quota of users per account.
USERS_MAX = 5_000
THREADS = 8
# Fewer than a grantee may have.
GRANTS_EACH = 500
SLICE_REQUESTS = 400
ROUNDS = 7
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:GenerateRandom", "Resource": "*"}]}
)


def cpu_s(pid: int) -> float:
    """Of all threads, to the nanosecond (proc(5), schedstat)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


class Crowd:
    def __init__(self, running: Installation) -> None:
        self.running = running
        self.pid = running.pid_of("kms")
        self.quiet = RawKms(running)
        self.key = self.make_key()

    def make_key(self) -> str:
        return str(assert_allowed(self.quiet.call("CreateKey", {}))["KeyMetadata"]["KeyId"])

    def cost_us(self, requests: int, ask: Callable[[int], object]) -> float:
        """CPU of the service per request."""
        before = cpu_s(self.pid)
        for number in range(requests):
            ask(number)
        return (cpu_s(self.pid) - before) / requests * 1e6

    def use(self, _: int = 0) -> None:
        assert_allowed(self.quiet.call("GenerateDataKey", {"KeyId": self.key, "KeySpec": "AES_256"}))

    def slices(self, rounds: int = ROUNDS) -> list[float]:
        # A connection that was silent for long is hung up on.
        self.quiet.close()
        self.quiet = RawKms(self.running)
        return [self.cost_us(SLICE_REQUESTS, self.use) for _ in range(rounds)]

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def make_users(crowd: Crowd, count: int) -> list[tuple[str, str]]:
    """Users with a policy and an access key each, in as many accounts as it takes."""
    made: list[tuple[str, str]] = []
    while len(made) < count:
        _, access_key_id, secret = make_account(crowd.running)
        clients = [client("iam", crowd.running.port, access_key_id, secret) for _ in range(THREADS)]

        def make(number: int, iams: list[Any] = clients) -> tuple[str, str]:
            iam, name = iams[number % THREADS], f"u{number}"
            iam.create_user(UserName=name)
            iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=POLICY)
            key = iam.create_access_key(UserName=name)["AccessKey"]
            return key["AccessKeyId"], key["SecretAccessKey"]

        with ThreadPoolExecutor(THREADS) as threads:
            # The account's administrator is a user too.
            made += threads.map(make, range(min(count - len(made), USERS_MAX - 1)))
    return made


def call_as(crowd: Crowd, users: list[tuple[str, str]], order: list[int]) -> Callable[[int], None]:
    def ask(number: int) -> None:
        access_key_id, secret = users[order[number]]
        caller = RawKms(crowd.running, access_key_id, secret)
        assert_allowed(caller.call("GenerateRandom", {"NumberOfBytes": 8}))
        caller.close()

    return ask


def principals(crowd: Crowd, count: int) -> None:
    alone = crowd.slices()
    began = time.monotonic()
    users = make_users(crowd, count)
    print(f"{len(users)} users with access keys made in {time.monotonic() - began:.0f} s")
    order = list(range(len(users)))
    random.Random(7).shuffle(order)
    first = crowd.cost_us(len(order), call_as(crowd, users, order))
    random.Random(8).shuffle(order)
    again = crowd.cost_us(min(len(order), 3_000), call_as(crowd, users, order))
    beside = crowd.slices()
    report("one caller, before", alone)
    report(f"the same caller, beside {count} principals in the cache", beside, alone)
    print(f"a principal's first request {first:6.0f} us, a later one {again:6.0f} us (each opens a connection)")
    print(f"memory of the service: {crowd.resident_mib():.0f} MiB")


def grants(crowd: Crowd, count: int) -> None:
    alone = crowd.slices()
    crowded = crowd.make_key()
    iam = client("iam", crowd.running.port, "test", "test")
    iam.create_user(UserName="grantee")
    key = iam.create_access_key(UserName="grantee")["AccessKey"]
    grantee = RawKms(crowd.running, key["AccessKeyId"], key["SecretAccessKey"])
    users = [f"arn:aws:iam::{ACCOUNT}:user/grantee"]
    others = range(-(-count // GRANTS_EACH))
    users += [iam.create_user(UserName=f"grantee-{number}")["User"]["Arn"] for number in others]

    def grant(number: int) -> None:
        """The first to the one who will use it."""
        principal = users[0 if number == 0 else 1 + number % (len(users) - 1)]
        request = {"KeyId": crowded, "GranteePrincipal": principal, "Operations": ["GenerateDataKey"]}
        assert_allowed(crowd.quiet.call("CreateGrant", request))

    grant(0)
    costs = []
    while sum(made for made, _ in costs) + 1 < count:
        made = min(5_000, count - 1 - sum(made for made, _ in costs))
        costs.append((made, crowd.cost_us(made, lambda number: grant(1 + number))))
    filling = ", ".join(f"{cost:.0f}" for _, cost in costs)
    print(f"CreateGrant per 5,000 as the key fills to {count}: {filling} us of the service")
    beside = crowd.slices()
    report("one caller of another key, before", alone)
    report(f"the same, beside a key with {count} grants", beside, alone)
    use = {"KeyId": crowded, "KeySpec": "AES_256"}
    first = crowd.cost_us(1, lambda _: void(assert_allowed(grantee.call("GenerateDataKey", use))))
    kept = [crowd.cost_us(SLICE_REQUESTS, lambda _: void(grantee.call("GenerateDataKey", use))) for _ in range(ROUNDS)]
    report("the grantee of that key, kept", kept, beside)
    print(f"the grantee's first request {first:6.0f} us; memory of the service: {crowd.resident_mib():.0f} MiB")


def void(_: object) -> None:
    """What was asked is done."""


def report(what: str, slices: list[float], base: list[float] | None = None) -> None:
    middle = statistics.median(slices)
    ratio = "" if base is None else f", {middle / statistics.median(base):.2f} x"
    print(f"{what:60} {middle:6.0f} us ({min(slices):.0f} to {max(slices):.0f}){ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--principals", type=int, default=10_000)
    parser.add_argument("--grants", type=int, default=50_000)
    arguments = parser.parse_args()
    running = Installation()
    try:
        running.start()
        crowd = Crowd(running)
        crowd.slices(2)
        principals(crowd, arguments.principals)
        grants(crowd, arguments.grants)
    finally:
        running.destroy()


if __name__ == "__main__":
    main()
