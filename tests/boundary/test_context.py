"""The encryption context has one form, and no two contexts share it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.boundary.context import CONTEXT_BYTES_MAX, ContextTooLongError, canonical_context

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
contexts = st.dictionaries(texts, texts, max_size=6)

# Worked out by hand from the table in the module's docstring.
VECTORS: list[tuple[dict[str, str], str]] = [
    ({}, "0000"),
    ({"": ""}, "0001 0000 0000"),
    ({"a": "b"}, "0001 0001 61 0001 62"),
    ({"b": "2", "a": "1"}, "0002 0001 61 0001 31 0001 62 0001 32"),
    # Sorted by UTF-8 bytes: "Z" (5a) < "a" (61) < "é" (c3 a9) < "z̈" … and U+FF5E (ef bd 9e) < U+1F511 (f0 9f 94 91),
    # although UTF-16 would have it the other way round.
    ({"é": "", "a": "", "Z": ""}, "0003 0001 5a 0000 0001 61 0000 0002 c3a9 0000"),
    ({"\U0001f511": "k", "\uff5e": "t"}, "0002 0003 efbd9e 0001 74 0004 f09f9491 0001 6b"),
    # A key that is another's beginning comes first.
    ({"ab": "", "a": ""}, "0002 0001 61 0000 0002 6162 0000"),
    # Neither case nor normal form is touched.
    ({"E\u0301": "\u00c9"}, "0001 0003 45cc81 0002 c389"),
]


@pytest.mark.parametrize(("context", "form"), VECTORS)
def test_the_canonical_form_is_the_one_worked_out_by_hand(context: dict[str, str], form: str) -> None:
    assert canonical_context(context) == bytes.fromhex(form)


def parse(form: bytes) -> dict[str, str]:
    """An inverse, written from the table alone: what has an inverse is injective."""

    def take() -> str:
        nonlocal at
        length = int.from_bytes(form[at : at + 2], "big")
        at += 2 + length
        return form[at - length : at].decode()

    at = 2
    pairs = [(take(), take()) for _ in range(int.from_bytes(form[:2], "big"))]
    assert at == len(form)
    return dict(pairs)


@settings(max_examples=200)
@given(contexts)
def test_the_form_leads_back_to_the_context(context: dict[str, str]) -> None:
    assert parse(canonical_context(context)) == context


@settings(max_examples=200)
@given(contexts, contexts)
def test_different_contexts_never_share_a_form(one: dict[str, str], other: dict[str, str]) -> None:
    assert (canonical_context(one) == canonical_context(other)) == (one == other)


@given(contexts, st.randoms(use_true_random=False))
def test_the_order_of_the_pairs_does_not_matter(context: dict[str, str], shuffler: random.Random) -> None:
    pairs = list(context.items())
    shuffler.shuffle(pairs)
    assert canonical_context(dict(pairs)) == canonical_context(context)


# Pairs that a form without counts, lengths or with folding would confuse.
CONFUSABLE: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"a": "bc"}, {"ab": "c"}),
    ({"a": "1", "b": "2"}, {"a": "1b2"}),
    ({"a": ""}, {}),
    ({"a": "", "b": ""}, {"a": "b"}),
    ({"\x00\x01": "a"}, {"": "\x00\x01a"}),
    ({"a": "b"}, {"b": "a"}),
    ({"A": "b"}, {"a": "b"}),
    ({"\u00e9": ""}, {"e\u0301": ""}),
    ({"a": "b "}, {"a": "b"}),
]


@pytest.mark.parametrize(("one", "other"), CONFUSABLE)
def test_contexts_that_look_alike_have_different_forms(one: dict[str, str], other: dict[str, str]) -> None:
    assert canonical_context(one) != canonical_context(other)


def test_eight_kibibytes_are_taken_and_one_byte_more_is_not() -> None:
    room = CONTEXT_BYTES_MAX - 2 - 4 - 1
    assert len(canonical_context({"k": "v" * room})) == CONTEXT_BYTES_MAX
    with pytest.raises(ContextTooLongError):
        canonical_context({"k": "v" * (room + 1)})


def test_bytes_count_and_not_characters() -> None:
    with pytest.raises(ContextTooLongError):
        canonical_context({"k": "é" * 4093})


def test_more_pairs_than_two_bytes_can_count_are_too_long_and_nothing_worse() -> None:
    with pytest.raises(ContextTooLongError):
        canonical_context({str(number): "" for number in range(70_000)})
