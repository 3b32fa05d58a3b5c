"""docs/policies.md says what the code does: its operators, its keys, its examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strongroom.kms.iam.condition_keys import GLOBAL_KEYS, PREFIXES, is_multivalued
from strongroom.kms.iam.conditions import OPERATORS
from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.patterns import fold

TEXT = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)


def part(begin: str, end: str) -> str:
    return TEXT.split(begin, 1)[1].split(end, 1)[0]


def test_the_operators_are_the_tables() -> None:
    rows = [
        line.split("|")[1] for line in part("| operators |", "All but `Null`").splitlines() if line.startswith("| `")
    ]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {*OPERATORS, "Null"}


def test_the_global_keys_are_the_tables() -> None:
    shown = {
        fold(key.removesuffix("…")) for key in re.findall(r"`(aws:[A-Za-z/…]+)`", part("### Keys", "A policy may"))
    }
    tags = {prefix for prefix in PREFIXES if prefix.startswith("aws:")} | {"aws:tagkeys"}
    assert shown == set(GLOBAL_KEYS) | tags


def test_the_keys_with_several_values_are_the_tables() -> None:
    shown = re.findall(r"`((?:aws|kms):\w+)`", part("keys\nwith several values,", "need\n"))
    assert shown
    assert all(is_multivalued(fold(key)) for key in shown)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_a_policy(text: str) -> None:
    assert len(EXAMPLES) == 2
    parse_policy(text, PolicyKind.KEY if 'Principal"' in text else PolicyKind.IDENTITY)
