"""Runs the tests of a room against one mutant after the other, each in a process of its own.

1. A process imports the room's modules and collects its tests, once. It notes which functions ran meanwhile.
2. A child of it runs every test, with coverage: which tests reach which lines, how long they take, and that all pass.
3. For a mutant inside a function a child of 1 exchanges the function's code in place, wherever it is known, and runs the
   tests that reach its lines, the shortest first, until one fails.
4. For a mutant of what runs at import (a table, a default) or whose function ran in 1, a child of a process that has
   imported nothing of ours imports the mutant instead of the module and collects the tests anew.

A mutant is killed when a test fails or takes many times as long. That nothing fails without a mutant is shown for 3 by 2,
for 4 by an import of the module as it is.
"""

from __future__ import annotations

import ast
import gc
import inspect
import json
import os
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Final

import coverage
import pytest
from hypothesis import Phase, settings

from mutation.forks import TOO_LONG, run_each
from mutation.mutants import Mutant, members_of_enumerations, mutants_of
from mutation.rooms import MODULES, SOURCE, TESTS, Room, dotted, equivalent_mutants

SURVIVED: Final = 0
KILLED: Final = 1
# The function's code cannot be exchanged: another number of variables from outside, or nobody has the function yet.
NOT_EXCHANGED: Final = 77
_STATUS_BROKEN: Final = 78
_FIXTURES_LEFT_OUT: Final = frozenset({"installation", "kms", "key_id"})
_OPTIONS: Final = (
    *("-q", "-s", "--tb=no", "--assert=plain", "--hypothesis-seed=0", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("--timeout=0", "-o", "faulthandler_timeout=0", "-m", "not long and not campaign"),
)
_IMPORT_S: Final = 10.0
_TIMES_AS_LONG: Final = 5.0
_QUICK_S: Final = 0.3

Key = tuple[str, int]


@dataclass
class Baseline:
    """What the tests do when nothing is wrong."""

    durations_s: dict[str, float] = field(default_factory=dict)
    # By module and line.
    reaching: dict[str, dict[int, set[str]]] = field(default_factory=dict)
    # Per cent of lines and branches, and what is missing of them.
    covered: dict[str, tuple[float, list[Any]]] = field(default_factory=dict)

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that can notice a mutant, the shortest first."""
        lines = self.reaching[mutant.module]
        if mutant.is_in_function:
            found = set[str]().union(*(lines.get(line, set()) for line in mutant.lines))
        else:
            found = set[str]().union(*lines.values())
        # What ran before any test has no name: a test may have been made from it, and nobody knows which.
        if "" in found or not found:
            found = set(self.durations_s)
        return sorted(found, key=lambda test: (self.durations_s[test], test))

    def limit_s(self, tests: Sequence[str]) -> float:
        return 5.0 + _TIMES_AS_LONG * sum(self.durations_s[test] for test in tests)


@dataclass
class Outcome:
    """What became of the mutants of some modules of one room."""

    baseline: Baseline
    killed: list[Mutant] = field(default_factory=list)
    survived: list[Mutant] = field(default_factory=list)
    too_long: int = 0


def trees(modules: Iterable[str]) -> dict[str, ast.Module]:
    return {module: ast.parse((SOURCE / module).read_text(encoding="utf-8")) for module in modules}


def all_mutants(parsed: dict[str, ast.Module]) -> dict[str, list[Mutant]]:
    enumerations = members_of_enumerations(
        {module: (SOURCE / module).read_text(encoding="utf-8") for module in MODULES}
    )
    return {module: mutants_of(module, tree, enumerations) for module, tree in parsed.items()}


class Campaign:
    """The mutants of some modules of one room."""

    def __init__(self, room: Room, modules: Sequence[str], *, jobs: int, say: Callable[[str], None]) -> None:
        self._room = room
        self._jobs = jobs
        self._say = say
        self._trees = trees(modules)
        self.mutants = all_mutants(self._trees)
        self._baseline = Baseline()

    def baseline(self) -> Baseline:
        """Only what the tests do when nothing is wrong."""
        self._in_warm_process([])
        return self._baseline

    def run(self, chosen: Sequence[Mutant]) -> Outcome:
        """Run the tests against these mutants."""
        statuses = self._in_warm_process(chosen)
        outcome = Outcome(self._baseline)
        anew = [mutant for mutant, status in zip(chosen, statuses, strict=True) if status == NOT_EXCHANGED]
        for mutant, status in zip(chosen, statuses, strict=True):
            if status != NOT_EXCHANGED:
                self._note(outcome, mutant, status)
        if anew:
            self._say(f"{len(anew)} of {len(chosen)} are imported anew")
            self._require_nothing_is_killed_anew()
            run_each(
                anew,
                self._import_anew,
                lambda mutant: _IMPORT_S + self._baseline.limit_s(self._baseline.tests_of(mutant)),
                lambda mutant, status: self._note(outcome, mutant, status),
                jobs=self._jobs,
            )
        return outcome

    def _note(self, outcome: Outcome, mutant: Mutant, status: int) -> None:
        outcome.too_long += status == TOO_LONG
        (outcome.survived if status == SURVIVED else outcome.killed).append(mutant)
        if status == SURVIVED:
            self._say(f"survived: {mutant}")

    # ── 1. to 3.: one process that has everything, and children with one function changed ───────────────────────

    def _in_warm_process(self, chosen: Sequence[Mutant]) -> list[int]:
        """The status of each; the baseline is known afterwards."""
        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "answer.json"
            ended: list[int] = []
            run_each(
                [folder],
                lambda _: self._warm(chosen, Path(folder), answer),
                lambda _: 36_000.0,
                lambda _, status: ended.append(status),
                jobs=1,
                said=f"{folder}/said",
            )
            if not answer.exists():
                said = Path(folder, "said").read_text()
                raise RuntimeError(f"the tests fail, or cannot be collected, when nothing is wrong: {ended}\n{said}")
            found = json.loads(answer.read_text())
        self._baseline = Baseline(
            found["durations_s"],
            {
                module: {int(line): set(tests) for line, tests in lines.items()}
                for module, lines in found["reaching"].items()
            },
            {module: (per_cent, missing) for module, (per_cent, missing) in found["covered"].items()},
        )
        return list(found["statuses"])

    def _warm(self, chosen: Sequence[Mutant], folder: Path, answer: Path) -> int:
        measured = coverage.Coverage(
            data_file=str(folder / "coverage"),
            branch=True,
            include=[str(SOURCE / module) for module in self._trees],
            config_file=False,
            messages=False,
        )
        measured.start()
        plugin = _Warm(self, chosen, measured, folder)
        _pytest([str(TESTS / test) for test in self._room.tests], plugin)
        if plugin.found is None:
            return _STATUS_BROKEN
        answer.write_text(json.dumps(plugin.found))
        return 0

    # ── 4.: a process that imports the mutant ───────────────────────────────────────────────────────────────────

    def _import_anew(self, mutant: Mutant) -> int:
        mutant.apply()
        return self._run_anew(mutant.module, self._baseline.tests_of(mutant))

    def _run_anew(self, module: str, tests: list[str]) -> int:
        """The tests, against a module as its tree says it is now."""
        code = compile(self._trees[module], str(SOURCE / module), "exec", dont_inherit=True)
        original = SourceFileLoader.get_code

        def get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
            return code if fullname == dotted(module) else original(loader, fullname)

        SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
        plugin = _Chosen(tests)
        status = _pytest(sorted({str(TESTS.parent / test.partition("::")[0]) for test in tests}), plugin)
        return SURVIVED if status == 0 and plugin.ran == len(tests) else KILLED

    def _require_nothing_is_killed_anew(self) -> None:
        statuses: list[int] = []
        quick = [test for test, took_s in self._baseline.durations_s.items() if took_s < _QUICK_S]
        run_each(
            list(self._trees)[:1],
            lambda module: self._run_anew(module, quick),
            lambda _: _IMPORT_S + self._baseline.limit_s(quick),
            lambda _, status: statuses.append(status),
            jobs=1,
        )
        if statuses != [SURVIVED]:
            raise RuntimeError(f"the tests fail when nothing is changed: {statuses}")

    def changed_code(self, mutant: Mutant) -> tuple[CodeType, CodeType]:
        """A module's code before and after; there is no way back."""
        path = str(SOURCE / mutant.module)
        before = compile(self._trees[mutant.module], path, "exec", dont_inherit=True)
        mutant.apply()
        return before, compile(self._trees[mutant.module], path, "exec", dont_inherit=True)


def _pytest(paths: Sequence[str], plugin: Any) -> int:
    settings.register_profile(
        "mutation", database=None, derandomize=True, deadline=None, phases=(Phase.explicit, Phase.generate)
    )
    settings.load_profile("mutation")
    return int(pytest.main([*_OPTIONS, "--rootdir", str(TESTS.parent), *paths], plugins=[plugin]))


def _quick(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if _FIXTURES_LEFT_OUT.isdisjoint(getattr(item, "fixturenames", ()))]


def _run_until_one_fails(session: pytest.Session, items: Sequence[pytest.Item]) -> int:
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return KILLED
    return SURVIVED


class _Chosen:
    """Has some tests run, in this order, until one fails."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._place = {test: place for place, test in enumerate(tests)}
        self.ran = 0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place), key=lambda item: self._place[item.nodeid]
        )

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return True
        self.ran = len(session.items)
        _run_until_one_fails(session, session.items)
        return True


class _Warm:
    """Steps 1 to 3, inside pytest."""

    def __init__(self, campaign: Campaign, chosen: Sequence[Mutant], measured: coverage.Coverage, folder: Path) -> None:
        self._campaign = campaign
        self._chosen = chosen
        self._measured = measured
        self._folder = folder
        self._ran_early: set[tuple[str, str, int]] = set()
        self.found: dict[str, Any] | None = None
        sys.setprofile(self._note_early)

    def _note_early(self, frame: Any, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            self._ran_early.add((code.co_filename, code.co_qualname, code.co_firstlineno))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = _quick(items)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        sys.setprofile(None)
        if session.testsfailed:
            return True
        items = {item.nodeid: item for item in session.items}
        baseline = self._measure(session)
        self._measured.stop()
        if baseline is None:
            return True
        statuses = dict.fromkeys(range(len(self._chosen)), SURVIVED)
        known = Baseline(
            baseline["durations_s"],
            {
                module: {int(line): set(tests) for line, tests in lines.items()}
                for module, lines in baseline["reaching"].items()
            },
        )

        def tests_of(number: int) -> list[str]:
            return known.tests_of(self._chosen[number])

        def work(number: int) -> int:
            if not self._exchange(self._chosen[number]):
                return NOT_EXCHANGED
            return _run_until_one_fails(session, [items[test] for test in tests_of(number)])

        def done(number: int, status: int) -> None:
            statuses[number] = status

        run_each(
            range(len(self._chosen)),
            work,
            lambda number: known.limit_s(tests_of(number)),
            done,
            jobs=self._campaign._jobs,
        )
        self.found = {**baseline, "statuses": [statuses[number] for number in range(len(self._chosen))]}
        return True

    def _measure(self, session: pytest.Session) -> dict[str, Any] | None:
        """Step 2, in a child, so that nothing that the tests leave behind is there for the mutants."""
        answer = self._folder / "baseline.json"

        def work(_: int) -> int:
            durations_s = {}
            for item, following in zip(session.items, [*session.items[1:], None], strict=True):
                self._measured.switch_context(item.nodeid)
                before_s = _cpu_s()
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                durations_s[item.nodeid] = _cpu_s() - before_s
                if session.testsfailed:
                    return KILLED
            self._measured.stop()
            answer.write_text(json.dumps({"durations_s": durations_s, **self._covered()}))
            return SURVIVED

        run_each([0], work, lambda _: 3600.0, lambda *_: None, jobs=1, said=str(self._folder / "said"))
        return dict(json.loads(answer.read_text())) if answer.exists() else None

    def _covered(self) -> dict[str, Any]:
        data = self._measured.get_data()
        reaching = {}
        for module in self._campaign._trees:
            lines = data.contexts_by_lineno(str(SOURCE / module))
            reaching[module] = {line: sorted(set(tests)) for line, tests in lines.items()}
        report = self._folder / "report.json"
        self._measured.json_report(outfile=str(report))
        files = json.loads(report.read_text())["files"]
        by_module = {module: next(of for name, of in files.items() if name.endswith(module)) for module in reaching}
        covered = {
            module: (of["summary"]["percent_covered"], [*of["missing_lines"], *of["missing_branches"]])
            for module, of in by_module.items()
        }
        return {"reaching": reaching, "covered": covered}

    def _exchange(self, mutant: Mutant) -> bool:
        """Put the mutant's code into every function that has the original's; False where that would not be enough."""
        if not mutant.is_in_function:
            return False
        before, after = (_codes(code) for code in self._campaign.changed_code(mutant))
        # The bodies of modules and classes hold the code of what is in them; they have run, and need not again.
        changed = {key: code for key, code in after.items() if before.get(key) != code and _is_function(code)}
        if len(before) != len(after) or any(key in self._ran_early for key in changed):
            return False
        waiting = set(changed)
        for function in _functions(str(SOURCE / mutant.module)):
            key = _key(function.__code__)
            if key in changed:
                if len(function.__code__.co_freevars) != len(changed[key].co_freevars):
                    return False
                function.__code__ = changed[key]
                waiting.discard(key)
        # What is inside of a changed function comes with it.
        exchanged = [f"{key[1]}.<locals>" for key in changed if key not in waiting]
        return all(key[1].startswith(tuple(exchanged)) for key in waiting)


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def _key(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


def _codes(code: CodeType) -> dict[tuple[str, str, int], CodeType]:
    """A module's code and all that is inside."""
    found = {_key(code): code}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found.update(_codes(constant))
    return found


def _functions(path: str) -> Iterator[FunctionType]:
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == path:
            yield thing


def sample(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Some of the mutants that are not known as equivalent."""
    excused = equivalent_mutants()
    candidates = [mutant for mutant in mutants if mutant.name not in excused.get(mutant.module, {})]
    return random.Random(seed).sample(candidates, min(count, len(candidates)))


def by_module(mutants: Iterable[Mutant]) -> dict[str, list[Mutant]]:
    found: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        found[mutant.module].append(mutant)
    return found
