"""Which modules are mutated, and which quick tests concern them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]
SOURCE: Final = TESTS.parent / "src" / "strongroom"
EQUIVALENT: Final = Path(__file__).with_name("equivalent.toml")


@dataclass(frozen=True)
class Room:
    """Modules that the same tests concern, as paths inside the package and inside `tests`."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


# No test of these starts an installation: those that would are left out when tests are collected.
ROOMS: Final = {
    "sigv4": Room(("protocol/sigv4.py",), ("protocol",)),
    "iam": Room(
        (
            "kms/iam/evaluate.py",
            "kms/iam/conditions.py",
            "kms/iam/grants.py",
            "kms/iam/patterns.py",
            "kms/iam/documents.py",
            "kms/iam/principals.py",
        ),
        (
            "kms/test_iam_conditions.py",
            "kms/test_iam_context.py",
            "kms/test_iam_documents.py",
            "kms/test_iam_explain.py",
            "kms/test_iam_grants.py",
            "kms/test_iam_layers.py",
            "kms/test_iam_principals.py",
            "kms/test_iam_two_evaluators.py::test_both_evaluators_decide_alike[0]",
        ),
    ),
}
# Of these nearly every mutant must be noticed, and every branch be taken; of the others it is good to know.
HELD: Final = ("protocol/sigv4.py", "kms/iam/evaluate.py", "kms/iam/conditions.py", "kms/iam/grants.py")
MODULES: Final = tuple(module for room in ROOMS.values() for module in room.modules)


def room_of(module: str) -> Room:
    return next(room for room in ROOMS.values() if module in room.modules)


def dotted(module: str) -> str:
    return "strongroom." + module.removesuffix(".py").replace("/", ".")


def equivalent_mutants() -> dict[str, dict[str, str]]:
    """By module: the mutants that no test can notice, by name, and why."""
    return {module: dict(table) for module, table in tomllib.loads(EQUIVALENT.read_text()).items()}
