"""The tests of the rooms that decide who may would notice a fault in them: a sample of all faults at every long run."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mutation.__main__ import tell, tell_coverage
from mutation.forks import TOO_LONG, run_each
from mutation.harness import Baseline, Outcome, all_mutants, sample, trees
from mutation.mutants import Mutant, members_of_enumerations, mutants_of
from mutation.rooms import HELD, MODULES, equivalent_mutants

ROOT = Path(__file__).parents[2]
SAMPLE, SEED = 20, 20261124

SOURCE = '''
"""A docstring."""
from enum import Enum

__all__ = ["f"]
Alias = dict[str, int]

class Word(Enum):
    YES = "yes"
    NO = "no"

TABLE = {"a": 1}

def f(a: int, b: int = 2, *, strict: bool = True) -> int:
    """A docstring."""
    if a < b and not strict:
        raise ValueError("text")
    for x in [y for y in (a, b) if y]:
        g(x, a, key=b"k")
        continue
    return a + b if Word.YES else len(TABLE["a"][:3])
'''
EXPECTED = {
    "Word: 'yes' → 'XXyes'",
    "Word: 'no' → 'XXno'",
    "(module): {'a': 1} → nothing",
    "(module): 'a' → 'XXa'",
    "(module): 1 → 2",
    "f: 2 → 3",
    "f: True → False",
    "f: a < b and (not strict) → a < b or not strict",
    "f: a < b and (not strict) → a < b",
    "f: a < b and (not strict) → not strict",
    "f: a < b and (not strict) → True",
    "f: a < b and (not strict) → False",
    "f: a < b → a <= b",
    "f: a < b → a >= b",
    "f: not strict → strict",
    "f: raise ValueError('text') → nothing",
    "f: 'text' → 'XXtext'",
    "f: a → nothing",
    "f: b → nothing",
    "f: y → True",
    "f: y → False",
    "f: g(x, a, key=b'k') → nothing",
    "f: g(x, a, key=b'k') → g(a, x, key=b'k')",
    "f: g(x, a, key=b'k') → g(x, a)",
    "f: b'k' → b'XXk'",
    "f: continue → nothing",
    "f: return a + b if Word.YES else len(TABLE['a'][:3]) → return None",
    "f: a + b → a - b",
    "f: Word.YES → Word.NO",
    "f: Word.YES → True",
    "f: Word.YES → False",
    "f: 'a' → 'XXa'",
    "f: 3 → nothing",
    "f: 3 → 4",
}


def found() -> tuple[ast.Module, list[Mutant]]:
    tree = ast.parse(SOURCE)
    return tree, mutants_of("m.py", tree, members_of_enumerations({"m.py": SOURCE}))


def test_every_change_that_could_matter_is_a_mutant_and_nothing_else() -> None:
    assert {mutant.name for mutant in found()[1]} == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_mutant_is_one_change_of_the_module(name: str) -> None:
    tree, mutants = found()
    before = ast.unparse(tree)
    next(mutant for mutant in mutants if mutant.name == name).apply()
    after = ast.unparse(ast.fix_missing_locations(tree))
    assert after != before
    compile(tree, "m.py", "exec")


def test_the_list_of_equivalent_mutants_names_mutants_that_there_are() -> None:
    there = {module: {mutant.name for mutant in mutants} for module, mutants in all_mutants(trees(MODULES)).items()}
    listed = equivalent_mutants()
    assert listed.keys() <= there.keys()
    assert [name for module, names in listed.items() for name in names if name not in there[module]] == []
    assert all(reason for names in listed.values() for reason in names.values())


def test_what_runs_for_too_long_is_ended_and_each_answers_for_itself() -> None:
    statuses: dict[int, int] = {}

    def work(task: int) -> int:
        while task == 2:
            pass
        if task == 3:
            raise ValueError
        return task

    began_s = time.monotonic()
    run_each(range(5), work, lambda _: 1.0, statuses.__setitem__, jobs=2)
    assert statuses == {0: 0, 1: 1, 2: TOO_LONG, 3: 1, 4: 4}
    assert time.monotonic() - began_s < 60


def outcome(**parts: Any) -> Outcome:
    return Outcome(Baseline(), **parts)


def test_a_mutant_that_is_survived_or_wrongly_listed_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    module = HELD[0]
    mutants = all_mutants(trees([module]))[module]
    listed = [mutant for mutant in mutants if mutant.name in equivalent_mutants()[module]]
    other = next(mutant for mutant in mutants if mutant not in listed)
    assert tell(outcome(killed=[other], survived=listed), mutants)
    assert not tell(outcome(killed=[], survived=[*listed, other]), mutants)
    assert not tell(outcome(killed=[other, listed[0]], survived=listed[1:]), mutants)
    assert f"listed as equivalent, but killed: {listed[0].name}" in capsys.readouterr().out
    assert all(mutant not in listed for mutant in sample(mutants, len(mutants), SEED))


def test_a_branch_that_is_not_taken_fails_the_run_where_it_is_held() -> None:
    assert tell_coverage(Baseline(covered={HELD[0]: (100.0, [])}))
    assert not tell_coverage(Baseline(covered={HELD[0]: (99.9, [[1, 2]])}))


@pytest.mark.long
def test_a_sample_of_faults_is_noticed_and_every_branch_is_taken() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation", *HELD, "--sample", str(SAMPLE), "--seed", str(SEED)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
