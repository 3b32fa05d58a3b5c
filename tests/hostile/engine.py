"""Fuzzing that is guided by coverage: `python -m hostile.engine` gives each case to atheris in a process of its own.

    --runs N | --seconds S    how much, for each case
    --folder F                keeps what was found: F/CASE/corpus, and F/CASE/finding (a hang: F/CASE/timeout-…)
    --seed N                  of everything that is random
    --jobs N                  cases at once
    --planted                 with the fault of `planted_faults.py` in each case: every one must be found
    --replay FILE             one input, without atheris; keys are drawn anew, so that what hangs on them does not come again
    CASE …                    names of cases; all of them if there are none

Each case prints one line. The exit status is that of a search: 0 when nothing was found, 1 when something was.

A corpus grows from real values, made anew at every start, from what earlier runs left in the folder, and from what long
ones found worth keeping, in `corpora`. With a planted fault, from real values alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

_MODULES: Final = ("hostile.hsm_cases", "hostile.host_cases", "hostile.request_cases", "hostile.policy_cases")
# An input that hangs in code that does not even come back to the interpreter; else `case.Watch` measures.
_HANGS_S: Final = 60
_HELD_MB_MAX: Final = 1024
_LOG_LINES: Final = 25
_CORPORA: Final = Path(__file__).with_name("corpora")


def cases() -> Mapping[str, Any]:
    """Every case's maker, by its name."""
    return {name: make for module in _MODULES for name, make in importlib.import_module(module).CASES.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m hostile.engine")
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--replay", type=Path)
    parser.add_argument("cases", nargs="*")
    options = parser.parse_args(arguments)
    if options.replay:
        _prepared(options.cases[0], planted=options.planted)(options.replay.read_bytes())
        return 0
    with _instrumented():
        names = options.cases or list(cases())
    options.folder.mkdir(parents=True, exist_ok=True)
    found = False
    running: dict[int, tuple[str, float]] = {}
    for name in [*names, *[""] * options.jobs]:
        while len(running) >= options.jobs or (not name and running):
            process, status, used = os.wait3(0)
            ended, began = running.pop(process)
            took = f"{time.monotonic() - began:.1f} s, {used.ru_utime + used.ru_stime:.1f} of CPU"
            found |= _told(options.folder / ended, ended, status, took)
        if name:
            running[_started(name, options)] = name, time.monotonic()
    return int(found)


@contextmanager
def _instrumented() -> Iterator[None]:
    """What is imported within is instrumented: the product, and the cases, whose ways show what compiled code decided."""
    atheris = importlib.import_module("atheris")
    said = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:  # It names every module.
        os.dup2(nowhere.fileno(), 2)
        try:
            with atheris.instrument_imports(include=["strongroom", "hostile"]):
                cases()
            yield
        finally:
            os.dup2(said, 2)
            os.close(said)


def _prepared(name: str, *, planted: bool) -> Any:
    case = importlib.import_module("hostile.case")
    if planted:
        importlib.import_module("hostile.planted_faults").plant(name)
    begun = cases()[name]()
    return case.Watch(case.without_known_findings(begun) if planted else begun)


def _started(name: str, options: argparse.Namespace) -> int:
    """Begin with a case; the process id."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        _fuzz(name, options)
    except SystemExit:  # What atheris ends with; it has said why.
        status = 1
    except BaseException:  # noqa: BLE001 -- a child must not go on as its parent.
        print("=== before the first input:")
        traceback.print_exc(file=sys.stdout)
    sys.stdout.flush()
    os._exit(status)


def _fuzz(name: str, options: argparse.Namespace) -> None:
    folder = options.folder / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    (folder / "seeds").mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    check = _prepared(name, planted=options.planted)
    for number, seed in enumerate(check.case.seeds):
        (folder / "seeds" / f"{number:03}").write_bytes(seed)

    def keep_findings(data: bytes) -> None:
        try:
            check(data)
        except BaseException:
            (folder / "finding").write_bytes(data)
            raise

    atheris = importlib.import_module("atheris")
    limits = [f"-runs={options.runs}", f"-max_total_time={options.seconds}", f"-seed={options.seed}"]
    limits += [f"-timeout={_HANGS_S}", f"-rss_limit_mb={_HELD_MB_MAX}", f"-max_len={check.case.bytes_max}"]
    limits += [f"-artifact_prefix={folder}/", "-print_final_stats=1", "-keep_seed=1"]
    begun = [] if options.planted or not (_CORPORA / name).is_dir() else [_CORPORA / name]
    atheris.Setup([name, *limits, *map(str, (folder / "corpus", folder / "seeds", *begun))], keep_findings)
    atheris.Fuzz()


def _told(folder: Path, name: str, status: int, took: str) -> bool:
    """Print what became of a case; whether something was found."""
    log = (folder / "log").read_text(errors="replace")
    executed = re.findall(r"^#(\d+)|stat::number_of_executed_units:\s*(\d+)", log, re.MULTILINE)
    inputs = int("".join(executed[-1])) if executed else 0
    reached = f"{inputs} inputs{_grown(log, inputs)}"
    found = status != 0
    print(f"{name}: {'FOUND something in ' if found else ''}{reached}, {took}", flush=True)
    if found:
        log = log[log.find("=== ") :]
        print("\n".join(f"    {line[:400]}" for line in log.splitlines()[:_LOG_LINES]), flush=True)
    return found


def _grown(log: str, inputs: int) -> str:
    """What was reached, and how much of it in the last third of the inputs: whether more of them would have reached more.

    A line of progress says after which input how many edges and features (edges by how often they were taken) are known.
    """
    progress = [
        tuple(map(int, found))
        for found in re.findall(r"^#(\d+)\t.*cov: (\d+) ft: (\d+) corp: (\d+)", log, re.MULTILINE)
    ]
    if not progress:
        return ""
    _, edges, features, corpus = progress[-1]
    earlier = [line for line in progress if line[0] * 3 <= inputs * 2] or progress[:1]
    _, edges_before, features_before, _ = earlier[-1]
    new = f"{edges - edges_before} and {features - features_before} of them in the last third"
    return f", {edges} edges, {features} features ({new}), a corpus of {corpus}"


if __name__ == "__main__":
    sys.exit(main())
