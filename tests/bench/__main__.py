"""`make bench` (options through `ARGS=…`): what a request costs, beside a bare server, alternating in one run.

1. Start the product (with --base also the other checkout's) in a temporary home; make a key and ciphertexts.
2. Capture its answer to each operation; start the bare server with these bytes; start the load generator.
3. For each operation and number of connections: warm everyone up, then in each round one slice per server,
   the order turning from round to round.
4. Print medians, ratios of slices of one round, the targets; write everything to a JSON file.

With `--keys`, `--creating` or `--compare-workers` those scenarios run instead (`scenarios.py`).

The children are ended by their ids and the folders removed, whatever happens.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.children import ROOT, BareServer, BenchError, LoadGenerator, Product, ended_by_signals
from tests.bench.load import SliceFailedError
from tests.bench.messages import Slice
from tests.bench.report import (
    BARE,
    BASE,
    HEAD,
    SPINE_TARGETS,
    Figures,
    Measurement,
    Verdict,
    comparison,
    measurement,
    plain_table,
    table,
    verdict_lines,
)
from tests.bench.sampling import profile
from tests.bench.scenarios import Outcome, Pace, compare_workers, creating, many_keys
from tests.bench.signing import OPERATIONS, RequestSets

# The slices of a default run together; signing, starting and warming up come on top, below 4 minutes in all.
SLICES_TOTAL_S = 190.0
ROUNDS_MAX = 7
WARM_UP_S = 0.5
PROFILE_S = 8


@dataclass(frozen=True)
class Server:
    """One of those compared: where each operation is answered, and whose CPU counts as what."""

    name: str
    ports: dict[str, int]
    pids: dict[str, tuple[int, ...]]
    sets: RequestSets
    one_core: bool

    def order(self, operation: str, connections: int, duration_s: float) -> Slice:
        pids = tuple(pid for role in self.pids.values() for pid in role)
        one_core = connections == 1 and self.one_core
        return Slice(f"{self.name} {operation}", self.ports[operation], connections, duration_s, pids, one_core)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a slice (default 1.5)")
    parser.add_argument("--rounds", type=int, help=f"default: at most {ROUNDS_MAX}, as fit in {SLICES_TOTAL_S:.0f} s")
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=list(OPERATIONS))
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--distinct", type=int, default=2048, help="differently signed requests per operation")
    parser.add_argument("--json", type=Path, help="result file (default: bench-results/DATE-COMMIT.json)")
    parser.add_argument("--one-core", action="store_true", help="hold 1-connection slices on one core (placement.py)")
    parser.add_argument("--check", action="store_true", help="exit 1 unless every target was measured and met")
    parser.add_argument("--profile", action="store_true", help="afterwards sample the product under load")
    parser.add_argument("--base", type=Path, metavar="CHECKOUT", help="a second checkout to alternate with")
    parser.add_argument("--program", type=Path, help="start this instead of .venv/bin/strongroom")
    parser.add_argument("--workers", type=int, default=1, help="workers of the product under test (default 1)")
    scenarios = parser.add_argument_group("scenarios, instead of the operations beside a bare server")
    scenarios.add_argument("--keys", type=int, metavar="N", help="random keys of N beside one key")
    scenarios.add_argument("--creating", action="store_true", help="CreateKey by 32 clients beside one")
    scenarios.add_argument("--compare-workers", type=int, metavar="N", help="N workers beside one")
    options = parser.parse_args()
    if options.rounds is None:
        servers = 3 if options.base else 2
        round_s = options.seconds * servers * len(options.operations) * len(options.connections)
        options.rounds = max(1, min(ROUNDS_MAX, int(SLICES_TOTAL_S / round_s)))
    return options


def refresh(load: LoadGenerator, servers: list[Server], operation: str) -> None:
    """Sign again what is getting old; the bare server gets the bytes of the product whose answers it gives."""
    for server in servers:
        if server.name != BARE and server.sets.outdated(operation):
            requests = server.sets.signed(operation)
            load.define(f"{server.name} {operation}", requests)
            if server.name == HEAD:
                load.define(f"{BARE} {operation}", requests)


def run_slices(load: LoadGenerator, servers: list[Server], options: argparse.Namespace) -> list[Measurement]:
    measurements = []
    for operation in options.operations:
        for connections in options.connections:
            print(f"  {operation}, {connections} connections: ", end="", flush=True)
            refresh(load, servers, operation)
            for server in servers:
                load.run(server.order(operation, connections, WARM_UP_S))
            for round_number in range(options.rounds):
                refresh(load, servers, operation)
                turn = round_number % len(servers)
                for server in servers[turn:] + servers[:turn]:
                    sample = load.run(server.order(operation, connections, options.seconds))
                    measurements.append(
                        measurement(operation, connections, server.name, round_number, sample, server.pids)
                    )
                print(".", end="", flush=True)
            print(flush=True)
    return measurements


def run_profile(load: LoadGenerator, servers: list[Server], options: argparse.Namespace) -> list[str]:
    """The first operation at the highest number of connections, on this checkout's product."""
    operation, connections = options.operations[0], max(options.connections)
    refresh(load, servers, operation)
    head = next(server for server in servers if server.name == HEAD)
    # The samplers need a moment to attach and to end: the load lasts a little longer than they sample.
    order = head.order(operation, connections, PROFILE_S + 2)
    lines = profile(head.pids, PROFILE_S, lambda: load.run(order))
    return [f"profile of {operation} at {connections} connections, {PROFILE_S} s", *lines]


def git(*arguments: str) -> str:
    found = subprocess.run(["git", "-C", str(ROOT), *arguments], check=False, capture_output=True, text=True)
    return found.stdout.strip()


def circumstances(options: argparse.Namespace) -> dict[str, Any]:
    cpu_lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain")),
        "base_checkout": str(options.base) if options.base else None,
        "python": platform.python_version(),
        "cpu": next((line.split(":")[1].strip() for line in cpu_lines if line.startswith("model name")), "unknown"),
        "cpus": os.cpu_count(),
        "load_average_before": os.getloadavg(),
        "slice_s": options.seconds,
        "rounds": options.rounds,
        "one_connection_on_one_core": options.one_core,
        "distinct_requests": options.distinct,
        "workers": options.workers,
    }


def save(
    options: argparse.Namespace,
    header: dict[str, Any],
    measurements: list[Measurement],
    verdicts: list[Verdict],
    profile_lines: list[str],
    notes: Sequence[str] = (),
) -> Path:
    stamp = header["date"].replace(":", "").replace("-", "")[:15]
    path: Path = options.json or ROOT / "bench-results" / f"{stamp}-{header['commit'][:12]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    result = header | {
        "summary": Figures(measurements).summary(),
        "targets": [asdict(verdict) | {"verdict": verdict.word} for verdict in verdicts],
        "slices": [asdict(measured) for measured in measurements],
        "profile": profile_lines,
        "notes": list(notes),
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def run(options: argparse.Namespace) -> tuple[list[Measurement], list[str]]:
    """Steps 1 to 3, and the profile if asked for."""
    with contextlib.ExitStack() as children:
        # 1. The products, each with a key and ciphertexts of its own.
        products = [children.enter_context(Product(HEAD, program=options.program, workers=options.workers))]
        if options.base:
            products.append(children.enter_context(Product(BASE, checkout=options.base)))
        print(f"{len(products)} product(s) ready; signing {options.distinct} requests per operation", flush=True)
        servers = []
        for product in products:
            sets = RequestSets(product.port, options.distinct)
            ports = dict.fromkeys(options.operations, product.port)
            servers.append(Server(product.name, ports, product.pids(), sets, options.one_core))
        # 2. The bare server answers what this checkout's product answers.
        answers = {operation: servers[0].sets.answer(operation) for operation in options.operations}
        bare = children.enter_context(BareServer(answers))
        servers.insert(0, Server(BARE, bare.ports, {"service": (bare.pid,)}, servers[0].sets, options.one_core))
        load = children.enter_context(LoadGenerator())
        # 3. The slices, and the profile if asked for.
        measurements = run_slices(load, servers, options)
        return measurements, run_profile(load, servers, options) if options.profile else []


def scenarios_of(options: argparse.Namespace) -> list[Callable[[], Outcome]]:
    pace = Pace(options.seconds, options.rounds, options.distinct)
    wanted: list[Callable[[], Outcome]] = []
    if options.keys:
        wanted.append(lambda: many_keys(options.keys, pace, options.workers))
    if options.creating:
        wanted.append(lambda: creating(pace, options.workers))
    if options.compare_workers:
        wanted.append(lambda: compare_workers(options.compare_workers, pace))
    return wanted


def run_scenarios(options: argparse.Namespace, header: dict[str, Any], wanted: Sequence[Callable[[], Outcome]]) -> int:
    measurements: list[Measurement] = []
    verdicts: list[Verdict] = []
    notes: list[str] = []
    with ended_by_signals():
        for scenario in wanted:
            outcome = scenario()
            figures = Figures(outcome.measurements)
            judged = figures.verdicts(outcome.targets)
            print(f"\n{outcome.title}: medians of {options.rounds} slices of {options.seconds} s; times in us")
            print("\n".join([*plain_table(figures), "", *outcome.notes, "", *verdict_lines(judged)]), flush=True)
            measurements += outcome.measurements
            verdicts += judged
            notes += outcome.notes
    print(f"\nsaved: {save(options, header, measurements, verdicts, [], notes)}")
    return 1 if options.check and any(verdict.word != "pass" for verdict in verdicts) else 0


def main() -> int:
    options = parse_arguments()
    header = circumstances(options)
    wanted = scenarios_of(options)
    try:
        if wanted:
            return run_scenarios(options, header, wanted)
        with ended_by_signals():
            measurements, profile_lines = run(options)
    except (BenchError, SliceFailedError) as error:
        print(f"\nbench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    # 4. The figures.
    figures = Figures(measurements)
    verdicts = figures.verdicts(SPINE_TARGETS)
    placed = "; 1 connection is measured on one core" if options.one_core else ""
    print(f"\nmedians of {options.rounds} slices of {options.seconds} s; times in us, CPU in us per request{placed}")
    print("\n".join(table(figures)))
    if options.base:
        print(f"\nthis checkout over {options.base}, medians of ratios of paired slices")
        print("\n".join(comparison(figures, BASE, HEAD)))
    print("\n" + "\n".join(verdict_lines(verdicts)))
    if profile_lines:
        print("\n" + "\n".join(profile_lines))
    print(f"\nsaved: {save(options, header, measurements, verdicts, profile_lines)}")
    return 1 if options.check and any(verdict.word != "pass" for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
