"""A policy's text with other names for its principals: nothing else of it changes, wherever the same text stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms.iam.restatement import restated

ALICE, BOB = "arn:aws:iam::111122223333:user/alice", "arn:aws:iam::111122223333:user/bob"
NAMES = {ALICE: "AIDA1", BOB: "arn:aws:iam::111122223333:user/b/bob"}

# In places where it is no principal, and in the spellings that JSON has.
TEXT = r"""
{ "Id": "arn:aws:iam::111122223333:user/alice" , "Version":"2012-10-17",
  "Statement" : [
    {"Sid": "Principal: {\"AWS\": \"arn:aws:iam::111122223333:user/alice\"}", "Effect": "Allow",
     "Principal": {"AWS":["arn:aws:iam::111122223333:user\/alice" ,"*",
       "arn:aws:iam::111122223333:user/ali\u0063e"], "Service" : "arn:aws:iam::111122223333:user/alice"},
     "Action":"kms:*", "Resource": ["arn:aws:iam::111122223333:user/alice"],
     "Condition": {"ArnLike": {"AWS": "arn:aws:iam::111122223333:user/alice",
                               "aws:PrincipalArn": ["arn:aws:iam::111122223333:user/alice"]},
                   "Principal": {"AWS": "arn:aws:iam::111122223333:user/alice"}, "Bool": {"a:b": [true, 7.5e3, false]}}},
    {"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/bob"},"Action":[],"Resource":"*"},
    {"Effect":"Deny","Principal":"arn:aws:iam::111122223333:user/bob","Action":"a:b","Resource":"*"}
  ]
}
"""
RESTATED = TEXT.replace(r'"arn:aws:iam::111122223333:user\/alice"', '"AIDA1"')
RESTATED = RESTATED.replace(r'"arn:aws:iam::111122223333:user/ali\u0063e"', '"AIDA1"')
RESTATED = RESTATED.replace('NotPrincipal":{"AWS":"' + BOB, 'NotPrincipal":{"AWS":"' + NAMES[BOB])


def test_principals_are_called_otherwise_and_nothing_else_is() -> None:
    assert restated(TEXT, NAMES) == RESTATED
    assert restated(TEXT, {}) == TEXT
    assert restated(TEXT, {ALICE: ALICE, BOB: BOB}) == TEXT


@pytest.mark.parametrize("is_alone", [True, False])
def test_one_statement_may_stand_without_a_list(is_alone: bool) -> None:
    one = {"Principal": {"AWS": ALICE}}
    text = json.dumps({"Statement": one if is_alone else [one]})
    assert restated(text, NAMES) == text.replace(ALICE, "AIDA1")


NAME = st.sampled_from([ALICE, BOB, "111122223333", "*", '"', "\\", "é\u2028", "[{:,}]"])
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NAME,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["AWS", "Principal", "Statement", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
STATEMENT = st.fixed_dictionaries(
    {"Condition": VALUE, "Sid": NAME},
    optional={
        "Principal": NAME | st.fixed_dictionaries({}, optional={"AWS": NAME | st.lists(NAME), "Service": NAME}),
        "NotPrincipal": st.fixed_dictionaries({}, optional={"AWS": NAME | st.lists(NAME), "Service": NAME}),
    },
)


@given(
    statements=st.lists(STATEMENT, min_size=1, max_size=3),
    is_alone=st.booleans(),
    layout=st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}]),
)
def test_any_policy_is_restated_as_its_parsed_form_is(
    statements: list[dict[str, Any]], is_alone: bool, layout: dict[str, Any]
) -> None:
    document: dict[str, Any] = {"Id": ALICE, "Statement": statements[0] if is_alone else statements}
    text = json.dumps(document, **layout)
    found = restated(text, NAMES)
    for statement in statements[:1] if is_alone else statements:
        for element in ("Principal", "NotPrincipal"):
            names = statement.get(element)
            if isinstance(names, dict) and "AWS" in names:
                said = names["AWS"]
                one = NAMES.get(said, said) if isinstance(said, str) else [NAMES.get(name, name) for name in said]
                statement[element] = {**names, "AWS": one}
    assert found == json.dumps(document, **layout)
    assert restated(text, {}) == text
