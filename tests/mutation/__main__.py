"""`make mutation` (options through `ARGS=…`): how many faults, planted one at a time, the tests notice.

Without names of modules, all of them. `--coverage` prints lines and branches alone; `--sample` takes some mutants only.
Ends with 1 where a mutant survives that `equivalent.toml` does not have, where that list is out of date, or where of a
held module a branch was not taken.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

# The tests import each other from their own folder, as pytest is told to.
sys.path.insert(0, str(Path(__file__).parents[1]))

# Imported here, so that no child has to.
import boto3  # noqa: F401
import msgspec  # noqa: F401
from cryptography.hazmat.primitives.ciphers import aead  # noqa: F401

from mutation.harness import Baseline, Campaign, Outcome, by_module, sample
from mutation.mutants import Mutant
from mutation.rooms import HELD, MODULES, ROOMS, equivalent_mutants

JOBS = 2


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    options.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}")
    options.add_argument("--coverage", action="store_true", help="no mutants: lines and branches")
    options.add_argument("--sample", type=int, metavar="COUNT", help="so many mutants of each room, chosen by --seed")
    options.add_argument("--matching", metavar="TEXT", help="the mutants alone with this in their names")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--jobs", type=int, default=JOBS)
    given = options.parse_args()
    unknown = set(given.modules) - set(MODULES)
    if unknown:
        options.error(f"no such module: {', '.join(sorted(unknown))}")
    fine = True
    for room in ROOMS.values():
        modules = [module for module in room.modules if not given.modules or module in given.modules]
        if not modules:
            continue
        campaign = Campaign(room, modules, jobs=given.jobs, say=lambda text: print(text, flush=True))
        every = [mutant for module in modules for mutant in campaign.mutants[module]]
        if given.coverage:
            fine &= tell_coverage(campaign.baseline())
            continue
        if given.matching is not None:
            every = [mutant for mutant in every if given.matching in mutant.name]
        chosen = every if given.sample is None else sample(every, given.sample, given.seed)
        began_s = time.monotonic()
        outcome = campaign.run(chosen)
        fine &= tell_coverage(outcome.baseline)
        fine &= tell(outcome, [mutant for module in modules for mutant in campaign.mutants[module]])
        print(f"{len(chosen)} mutants in {time.monotonic() - began_s:.0f} s, {outcome.too_long} of them ran too long")
    return 0 if fine else 1


def tell_coverage(baseline: Baseline) -> bool:
    fine = True
    for module, (per_cent, missing) in baseline.covered.items():
        print(f"{module}: {per_cent:.2f} % of lines and branches{f', not {missing}' if missing else ''}")
        fine &= module not in HELD or per_cent == 100
    return fine


def tell(outcome: Outcome, every: list[Mutant]) -> bool:
    fine = True
    excused, killed, survived = equivalent_mutants(), by_module(outcome.killed), by_module(outcome.survived)
    there = {module: {mutant.name for mutant in mutants} for module, mutants in by_module(every).items()}
    for module, names in there.items():
        known = excused.get(module, {})
        dead = {mutant.name for mutant in killed[module]}
        alive = {mutant.name for mutant in survived[module]}
        unexcused, total = alive - known.keys(), len(dead) + len(alive)
        counted = total - len(alive & known.keys())
        print(
            f"{module}: {len(dead)} of {counted} killed ({100 * len(dead) / max(counted, 1):.1f} %); "
            f"{len(alive & known.keys())} more are equivalent"
        )
        for name in sorted(known.keys() & dead):
            print(f"  listed as equivalent, but killed: {name}")
        for name in sorted(known.keys() - names):
            print(f"  listed as equivalent, but there is no such mutant: {name}")
        fine &= not unexcused and known.keys() <= names - dead
    return fine


if __name__ == "__main__":
    sys.exit(main())
