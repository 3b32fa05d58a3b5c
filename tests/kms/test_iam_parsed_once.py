"""A document is parsed once per text and what it depends on besides, and of long ones few are remembered."""

from __future__ import annotations

import pytest

from strongroom.kms.iam.documents import PolicyDocument, PolicyError, PolicyKind, parse_policy
from strongroom.kms.iam.parsed_once import SHORT_CHARS_MAX, parsed_once
from testkit.identities import document, statement


class Counting:
    """A parser that says how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, text: str, name: str) -> PolicyDocument:
        self.asked.append(len(text))
        return parse_policy(text, PolicyKind.IDENTITY, name)


def texts(count: int, chars: int) -> list[str]:
    """Different ones of this length."""
    return [document(statement(f"kms:A{number}")).ljust(chars) for number in range(count)]


def test_the_same_text_with_the_same_name_is_the_same_document() -> None:
    counting = Counting()
    parsed = parsed_once(counting, short_max=4, long_max=2)
    (text,) = texts(1, 200)
    assert parsed(text, "a") is parsed(text, "a")
    assert parsed(text, "a") is not parsed(text, "b")
    assert parsed(text, "b").name == "b"
    assert len(counting.asked) == 2


@pytest.mark.parametrize(("chars", "kept"), [(SHORT_CHARS_MAX, 4), (SHORT_CHARS_MAX + 1, 2)])
def test_so_many_of_each_length_are_remembered_and_those_longest_unused_are_forgotten(chars: int, kept: int) -> None:
    counting = Counting()
    parsed = parsed_once(counting, short_max=4, long_max=2)
    some = texts(kept, chars)
    for _ in range(3):
        for text in some:
            parsed(text, "")
    assert counting.asked == [chars] * kept
    # Of the other length, as many as there are push out none of these.
    for text in texts(8, 100 if chars > SHORT_CHARS_MAX else SHORT_CHARS_MAX + 100):
        parsed(text, "")
    counting.asked.clear()
    for text in some:
        parsed(text, "")
    assert not counting.asked
    parsed(texts(kept + 1, chars)[-1], "")
    parsed(some[0], "")
    assert counting.asked == [chars] * 2


def test_a_text_that_is_no_policy_is_refused_each_time() -> None:
    parsed = parsed_once(Counting(), short_max=4, long_max=2)
    for _ in range(2):
        with pytest.raises(PolicyError):
            parsed("{", "")
