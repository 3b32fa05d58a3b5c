"""What a run of slices beside a bare server cannot tell: many keys, many who create keys, many workers.

Each scenario starts products of its own, lets two sides take turns in paired slices, and returns figures, targets and
what else it saw.

| option | the sides |
|---|---|
| `--keys N` | GenerateDataKey with one key, and with keys drawn at random from N |
| `--creating` | CreateKey by one client, and by 32 |
| `--compare-workers N` | GenerateDataKey from one worker, and from N |
"""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import boto3
from tests.bench.children import LoadGenerator, Product
from tests.bench.messages import Slice, process_cpu_ns
from tests.bench.report import Measurement, Side, Target, measurement
from tests.bench.signing import ACCESS_KEY, REGION, SECRET_KEY, SIGNATURE_AGE_MAX_S, RequestSets, sign, sign_many

GENERATE = "GenerateDataKey"
CREATE = "CreateKey"
HOT = "one key"
RANDOM = "random keys"
SOLE = "1 client"
CROWD = "32 clients"
ONE_WORKER = "1 worker"
CROWD_CLIENTS = 32
KEYS_CONNECTIONS = 64
WORKERS_CONNECTIONS = (64, 256)
# Keys are made in portions, so that signatures stay fresh and whoever waits sees that something happens.
PORTION_KEYS = 10_000
WARM_UP_S = 0.5
# Uncounted before the slices with random keys: one request per key, so that caches are as full as they get; at most this.
CACHE_WARM_UP_S = 80.0
# Last uses are stored this often (kms/chores); when nothing was stored for a pause after that, all are.
FLUSH_INTERVAL_S = 60.0
FLUSH_PAUSE_S = 4.0


@dataclass
class Outcome:
    """What a scenario found; `notes` are lines for people."""

    title: str
    targets: tuple[Target, ...]
    measurements: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Contender:
    """One side of the slices, which knows how its requests are signed and when that must be done again."""

    side: Side
    product: Product
    sign: Callable[[], list[bytes]]
    signed_at_s: float | None = None

    @property
    def set_name(self) -> str:
        return f"{self.side.server} {self.side.operation} {self.side.connections}"

    def refresh(self, load: LoadGenerator) -> None:
        if self.signed_at_s is None or time.monotonic() - self.signed_at_s > SIGNATURE_AGE_MAX_S:
            load.define(self.set_name, self.sign())
            self.signed_at_s = time.monotonic()

    def order(self, duration_s: float) -> Slice:
        pids = tuple(pid for role in self.product.pids().values() for pid in role)
        return Slice(self.set_name, self.product.port, self.side.connections, duration_s, pids, one_core=False)


@dataclass(frozen=True)
class Pace:
    """How long a slice is, how many rounds there are, and how many requests of a kind are signed differently."""

    seconds: float
    rounds: int
    distinct: int


def take_turns(
    load: LoadGenerator,
    contenders: Sequence[Contender],
    pace: Pace,
    around: Callable[[Side], contextlib.AbstractContextManager[None]] = lambda _: contextlib.nullcontext(),
) -> list[Measurement]:
    """One slice of each in every round, the order turning; `around` is entered for each slice."""
    found = []
    for contender in contenders:
        contender.refresh(load)
        load.run(contender.order(WARM_UP_S))
    for round_number in range(pace.rounds):
        turn = round_number % len(contenders)
        for contender in [*contenders[turn:], *contenders[:turn]]:
            contender.refresh(load)
            side = contender.side
            with around(side):
                sample = load.run(contender.order(pace.seconds))
            found.append(
                measurement(
                    side.operation, side.connections, side.server, round_number, sample, contender.product.pids()
                )
            )
        print(".", end="", flush=True)
    print(flush=True)
    return found


# ── many keys ───────────────────────────────────────────────────────────────────────────────────────────────────────


def make_keys(load: LoadGenerator, product: Product, count: int, outcome: Outcome) -> None:
    """Through the API, by as many clients as the scenario of creation has."""
    started_s = time.monotonic()
    made = 0
    payloads = [{"Description": f"bench {number:06d}"} for number in range(2_000)]
    while made < count:
        load.define(CREATE, sign_many(CREATE, payloads, product.port))
        portion = min(PORTION_KEYS, count - made)
        load.run(
            Slice(CREATE, product.port, min(CROWD_CLIENTS, portion), 60.0, (), one_core=False, requests_max=portion)
        )
        made += portion
        print(f"  {made} keys", flush=True)
    elapsed_s = time.monotonic() - started_s
    outcome.notes.append(
        f"{made} keys were made in {elapsed_s:.0f} s, {made / elapsed_s:.0f} a second, signing included"
    )


def key_arns(port: int) -> list[str]:
    client = boto3.client(
        "kms",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    pages = client.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 1000})
    return [key["KeyArn"] for page in pages for key in page["Keys"]]


def _note_memory(outcome: Outcome, product: Product, when: str) -> None:
    memory = product.memory()
    cached = product.status()["regions"][0]["cached"]
    entries = ", ".join(f"{count} {name}" for name, count in cached.items() if count)
    outcome.notes.append(
        f"memory {when}: service {memory.service_kib / 1024:.1f} MiB, HSM {memory.hsm_kib / 1024:.1f} MiB (PSS); "
        f"cached: {entries}"
    )


def settle(product: Product, outcome: Outcome) -> None:
    """Wait until the last uses of keys are stored, one record a key and minute, and say what each of them cost.

    Slices would otherwise pay for the warm-up's: requests leave this to be done at once for all keys, within a minute.
    """
    pids = product.pids()["service"]
    stored = product.status()["regions"][0]["store"]["mutations"]
    cpu_ns = sum(map(process_cpu_ns, pids))
    seen, quiet_since_s = stored, time.monotonic() + FLUSH_INTERVAL_S
    while time.monotonic() < quiet_since_s + FLUSH_PAUSE_S:
        time.sleep(1.0)
        now = product.status()["regions"][0]["store"]["mutations"]
        if now > seen:
            seen, quiet_since_s = now, max(quiet_since_s, time.monotonic())
    spent_us = (sum(map(process_cpu_ns, pids)) - cpu_ns) / 1e3
    records = max(1, seen - stored)
    outcome.notes.append(
        f"left to be done within a minute: {records} last uses stored, {spent_us / records:.0f} us of service CPU each"
    )


def drawn(arns: Sequence[str], number: int, port: int, source: random.Random) -> list[bytes]:
    """Every request names a key drawn from all of them, by itself."""
    payloads = [
        {
            "KeyId": source.choice(arns),
            "KeySpec": "AES_256",
            "EncryptionContext": {"tenant": "bench", "object": f"{place:08d}"},
        }
        for place in range(number)
    ]
    return sign_many(GENERATE, payloads, port)


def many_keys(count: int, pace: Pace, workers: int) -> Outcome:
    sides = [Side(GENERATE, KEYS_CONNECTIONS, server) for server in (RANDOM, HOT)]
    targets = tuple(
        Target(text, sides[0], metric, sides[1], metric, ratio_max=2.0)
        for text, metric in (
            (f"service CPU, a random key of {count} over one key", "service_cpu_us"),
            ("the same, service and HSM together", "product_cpu_us"),
        )
    )
    outcome = Outcome(f"{count} keys", targets)
    source = random.Random(20_261_124)
    requests = max(count, pace.distinct)
    # With room for the keys that are being made by others at the same moment.
    with (
        Product("keys", workers=workers, keys_max=count + 1_000) as product,
        Product("one", workers=workers) as other,
        LoadGenerator() as load,
    ):
        _note_memory(outcome, product, "at the start")
        make_keys(load, product, count, outcome)
        make_keys(load, other, 1, Outcome("", ()))
        _note_memory(outcome, product, "with all keys made")
        arns = key_arns(product.port)
        if len(arns) != count:
            outcome.notes.append(f"ListKeys told of {len(arns)} keys")

        contenders = [
            Contender(sides[0], product, lambda: drawn(arns, requests, product.port, source)),
            # In an installation of its own: what the other keys leave to be done later counts for them. As many requests
            # as there, so that the two sets differ in their keys and in nothing else.
            Contender(sides[1], other, lambda: drawn(key_arns(other.port), requests, other.port, source)),
        ]
        contenders[0].refresh(load)
        load.run(replace(contenders[0].order(CACHE_WARM_UP_S), requests_max=max(count, KEYS_CONNECTIONS)))
        _note_memory(outcome, product, "with full caches")
        settle(product, outcome)
        outcome.measurements = take_turns(load, contenders, pace)
        _note_memory(outcome, product, "at the end")
    return outcome


# ── many who create ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Commits:
    """What the store's writer did during one side's slices."""

    transactions: int = 0
    mutations: int = 0


def creating(pace: Pace, workers: int) -> Outcome:
    sole, crowd = Side(CREATE, 1, SOLE), Side(CREATE, CROWD_CLIENTS, CROWD)
    rate = "requests_per_s"
    target = Target(f"CreateKey a second, {CROWD} over {SOLE}", crowd, rate, sole, rate, ratio_min=2.5)
    outcome = Outcome("creating keys", (target,))
    done = {sole: Commits(), crowd: Commits()}
    with Product("creating", workers=workers) as product, LoadGenerator() as load:
        payloads = [{"Description": f"bench {number:06d}"} for number in range(pace.distinct)]

        @contextlib.contextmanager
        def counted(side: Side) -> Iterator[None]:
            before = product.status()["regions"][0]["store"]
            yield
            after = product.status()["regions"][0]["store"]
            done[side].transactions += after["transactions"] - before["transactions"]
            done[side].mutations += after["commits"] - before["commits"]

        contenders = [Contender(side, product, lambda: sign(CREATE, payloads, product.port)) for side in (sole, crowd)]
        outcome.measurements = take_turns(load, contenders, pace, counted)
    for side, commits in done.items():
        each = commits.transactions / max(1, commits.mutations)
        outcome.notes.append(
            f"{side.server}: {commits.transactions} commits for {commits.mutations} mutations, {each:.3f} a mutation"
        )
    return outcome


# ── many workers ────────────────────────────────────────────────────────────────────────────────────────────────────


def compare_workers(workers: int, pace: Pace) -> Outcome:
    many = f"{workers} workers"
    rate = "requests_per_s"
    targets = tuple(
        Target(
            f"{GENERATE} a second, {connections} conns, {many} over {ONE_WORKER}",
            Side(GENERATE, connections, many),
            rate,
            Side(GENERATE, connections, ONE_WORKER),
            rate,
            ratio_min=1.0,
        )
        for connections in WORKERS_CONNECTIONS
    )
    outcome = Outcome(many, targets)
    with (
        Product("one", workers=1) as one,
        Product("many", workers=workers) as several,
        LoadGenerator() as load,
    ):
        sets = {product.name: RequestSets(product.port, pace.distinct) for product in (one, several)}
        products = {ONE_WORKER: one, many: several}
        batches: dict[Side, list[float]] = {}

        @contextlib.contextmanager
        def counted(side: Side) -> Iterator[None]:
            before = products[side.server].status()["hsm"]
            yield
            after = products[side.server].status()["hsm"]
            batch = (after["commands"] - before["commands"]) / max(1, after["frames"] - before["frames"])
            batches.setdefault(side, []).append(batch)

        for connections in WORKERS_CONNECTIONS:
            contenders = [
                Contender(Side(GENERATE, connections, server), product, partial(sets[product.name].signed, GENERATE))
                for server, product in products.items()
            ]
            outcome.measurements += take_turns(load, contenders, pace, counted)
        for side, found in batches.items():
            outcome.notes.append(
                f"{side.server}, {side.connections} conns: {statistics.median(found):.1f} commands in a frame to the HSM"
            )
        for name, product in products.items():
            memory = product.memory()
            outcome.notes.append(
                f"memory at the end, {name}: service {memory.service_kib / 1024:.1f} MiB, "
                f"HSM {memory.hsm_kib / 1024:.1f} MiB (PSS)"
            )
    return outcome
