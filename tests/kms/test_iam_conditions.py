"""Every operator against the sentences of AWS's documentation, a case per row.

Sources, by the words in front of a block: [operators] IAM user guide, "IAM JSON policy elements: Condition operators";
[sets] "Conditions with multiple context keys or values" and "Single-valued vs. multivalued context keys"; [variables] "IAM
policy elements: Variables and tags"; [kms] KMS developer guide, "AWS KMS condition keys".
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.kms.iam.conditions import OPERATORS, parse_condition
from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.patterns import fold
from testkit.policy_cases import CaseContext

# Of CPU. A few milliseconds as a rule; what is worse than linear takes seconds, and a machine may be slow.
ANSWER_MS_MAX = 250
Row = tuple[str, str, Any, Any, bool]
ONE, MANY = "x:one", "aws:TagKeys"


def holds(operator: str, key: str, wanted: Any, context: dict[str, Any], *, effect: str = "Allow") -> bool:
    """Whether a statement with this one condition applies, through the parser of documents."""
    statement = {"Effect": effect, "Action": "*", "Resource": "*", "Condition": {operator: {key: wanted}}}
    text = json.dumps({"Version": "2012-10-17", "Statement": statement})
    (parsed,) = parse_policy(text, PolicyKind.IDENTITY).statements
    request = CaseContext(context, {})
    assert all(type(condition.holds(request, allows=parsed.allows)) is bool for condition in parsed.conditions)
    return parsed.is_met(request)


# A value that each operator takes; the others take a year.
SAMPLES = {
    "Bool": "true",
    "BinaryEquals": "YQ==",
    **dict.fromkeys(("IpAddress", "NotIpAddress"), "10.0.0.0"),
    **dict.fromkeys((name for name in OPERATORS if name.startswith("Arn")), "arn:a:b:c:d:e"),
}
# operator, key, the policy's value, the request's (None: absent), whether it holds
ROWS: list[Row] = [
    # [operators] "Exact matching, case sensitive"; "Negated matching".
    ("StringEquals", ONE, "a", "a", True),
    ("StringEquals", ONE, "a", "A", False),
    ("StringEquals", ONE, "a*", "ab", False),
    ("StringEquals", ONE, "a*", "a*", True),
    ("StringEquals", ONE, ["b", "a"], "a", True),
    ("StringNotEquals", ONE, "a", "A", True),
    ("StringNotEquals", ONE, ["b", "a"], "a", False),
    ("StringNotEquals", ONE, ["b", "a"], "c", True),
    # [operators] "Exact matching, ignoring case".
    ("StringEqualsIgnoreCase", ONE, "aÉ", "Aé", True),
    ("StringEqualsIgnoreCase", ONE, "a", "b", False),
    ("StringNotEqualsIgnoreCase", ONE, "a", "A", False),
    ("StringNotEqualsIgnoreCase", ONE, "a", "b", True),
    # [operators] "multi-character match wildcards (*) and single-character match wildcards (?) anywhere in the string".
    ("StringLike", ONE, "a*z", "a/b:z", True),
    ("StringLike", ONE, "a*z", "A/z", False),
    ("StringLike", ONE, "a?c", "abc", True),
    ("StringLike", ONE, "a?c", "ac", False),
    ("StringLike", ONE, ["x", "*"], "", True),
    ("StringNotLike", ONE, "a*", "ab", False),
    ("StringNotLike", ONE, ["x", "a*"], "ba", True),
    # [operators] "an integer or decimal value".
    ("NumericEquals", ONE, 10, "10.0", True),
    ("NumericEquals", ONE, "10", "11", False),
    ("NumericNotEquals", ONE, ["10", "11"], "11", False),
    ("NumericNotEquals", ONE, 10, "-10", True),
    ("NumericLessThan", ONE, "10", "9.99", True),
    ("NumericLessThan", ONE, "10", "10", False),
    ("NumericLessThanEquals", ONE, "10", "10", True),
    ("NumericLessThanEquals", ONE, "9", "10", False),
    ("NumericGreaterThan", ONE, "9", "10", True),
    ("NumericGreaterThan", ONE, "10", "10", False),
    ("NumericGreaterThanEquals", ONE, "10", "10", True),
    ("NumericGreaterThanEquals", ONE, "11", "10", False),
    ("NumericEquals", ONE, "90071992547409930001", "90071992547409930002", False),
    # Ours: of 40 characters and no more.
    ("NumericEquals", ONE, "1" * 40, "1" * 40, True),
    ("NumericGreaterThan", ONE, "1", "1" * 41, False),
    # [operators] "one of the W3C implementations of the ISO 8601 date formats or in epoch (UNIX) time".
    ("DateEquals", ONE, "2020-01-01T00:00:01Z", "2020-01-01T01:00:01+01:00", True),
    ("DateEquals", ONE, "1577836801", "2020-01-01T00:00:01Z", True),
    ("DateEquals", ONE, "1580614215.25", "2020-02-02T03:30:15.25Z", True),
    ("DateEquals", ONE, "1580614200", "2020-02-02T03:30Z", True),
    ("DateEquals", ONE, "2020", "2020-01-01T00:00Z", True),
    ("DateEquals", ONE, "2020-02", "2020-02-01", True),
    ("DateEquals", ONE, "2020", "2021", False),
    ("DateLessThanEquals", ONE, "2020", "2021", False),
    ("DateGreaterThanEquals", ONE, "2021", "2020", False),
    ("DateNotEquals", ONE, "2020", "2021", True),
    ("DateNotEquals", ONE, "2020", "2020-01-01", False),
    ("DateLessThan", ONE, "2020-01-01T00:00:01.5Z", "2020-01-01T00:00:01Z", True),
    ("DateLessThan", ONE, "2020", "2020", False),
    ("DateLessThanEquals", ONE, "2020", "2020", True),
    ("DateGreaterThan", ONE, "2020-01-01T00:00:01Z", "2020-01-01T00:00:02Z", True),
    ("DateGreaterThan", ONE, "2020-01-01T00:00:01Z", "2019-12-31T23:59:59Z", False),
    ("DateGreaterThanEquals", ONE, "1764000000", "1764000000", True),
    # [operators] 'comparing a key to "true" or "false."'
    ("Bool", ONE, True, "true", True),
    ("Bool", ONE, "false", "true", False),
    ("Bool", ONE, ["true", "false"], "false", True),
    # [operators] "byte for byte against a base-64 encoded representation".
    ("BinaryEquals", ONE, "QmluYXJ5VmFsdWVJbkJhc2U2NA==", "BinaryValueInBase64", True),
    ("BinaryEquals", ONE, "QmluYXJ5VmFsdWVJbkJhc2U2NA==", "QmluYXJ5VmFsdWVJbkJhc2U2NA==", False),
    # [operators] "the standard CIDR format"; without prefix "the default prefix value of /32".
    ("IpAddress", ONE, "203.0.113.0/24", "203.0.113.255", True),
    ("IpAddress", ONE, "203.0.113.0/24", "203.0.114.0", False),
    ("IpAddress", ONE, "203.0.113.7", "203.0.113.7", True),
    ("IpAddress", ONE, "203.0.113.7", "203.0.113.8", False),
    ("IpAddress", ONE, ["203.0.113.0/24", "2001:DB8:1234:5678::/64"], "2001:db8:1234:5678::1", True),
    ("IpAddress", ONE, "::/0", "203.0.113.7", False),
    ("NotIpAddress", ONE, "203.0.113.0/24", "203.0.113.1", False),
    ("NotIpAddress", ONE, ["203.0.113.0/24", "10.0.0.0/8"], "192.0.2.1", True),
    # [operators] "Each of the six colon-delimited components of the ARN is checked separately".
    (
        "ArnLike",
        ONE,
        "arn:aws:someservice:*:111122223333:finance/*",
        "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt",
        False,
    ),
    (
        "StringLike",
        ONE,
        "arn:aws:someservice:*:111122223333:finance/*",
        "arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt",
        True,
    ),
    # [operators] "The ArnEquals and ArnLike condition operators behave identically."
    ("ArnEquals", ONE, "arn:aws:iam::1?1*:user/*", "arn:aws:iam::111122223333:user/a/b:c", True),
    ("ArnEquals", ONE, "arn:aws:iam::111122223333:user/a", "arn:aws:iam::111122223333:user/A", False),
    ("ArnLike", ONE, "arn:aws:iam::1?1*:user/*", "arn:aws:iam::111122223333:user/a/b:c", True),
    ("ArnNotEquals", ONE, "arn:aws:iam::*:user/*", "arn:aws:iam::111122223333:user/a", False),
    ("ArnNotEquals", ONE, "arn:aws:iam::*:user/*", "arn:aws:iam::111122223333:role/a", True),
    ("ArnNotLike", ONE, "arn:aws:iam::*:user/*", "arn:aws:iam::111122223333:user/a", False),
    # [operators] "If the key … is not present in the request context, the values do not match and the condition is false.
    # If the policy condition requires that the key is not matched, … and the right key is not present, … true."
    *[(name, ONE, SAMPLES.get(name, "2020"), None, "Not" in name) for name in OPERATORS],
    # [operators] "If the key is not present, evaluate the condition element as true."
    *[(f"{name}IfExists", ONE, "1", None, True) for name in ("StringEquals", "StringNotLike", "NumericLessThan")],
    ("BoolIfExists", ONE, "true", None, True),
    ("BoolIfExists", ONE, "true", "false", False),
    ("StringNotEqualsIfExists", ONE, "a", "a", False),
    ("ForAnyValue:StringEqualsIfExists", MANY, "a", None, True),
    # [operators] Null: "either true (the key doesn't exist) or false (the key exists and its value is not null)".
    ("Null", ONE, "true", None, True),
    ("Null", ONE, True, "x", False),
    ("Null", ONE, "false", "x", True),
    ("Null", ONE, False, None, False),
    ("Null", ONE, ["true", "false"], None, True),
    ("Null", ONE, ["true", "false"], "x", True),
    ("Null", MANY, "false", ["a"], True),
    # [sets] "every value in the request must match at least one value in the policy"; "also … true if there are no … keys".
    ("ForAllValues:StringEquals", MANY, ["a", "b"], ["a"], True),
    ("ForAllValues:StringEquals", MANY, ["a", "b"], ["a", "b"], True),
    ("ForAllValues:StringEquals", MANY, ["a", "b"], ["a", "c"], False),
    ("ForAllValues:StringEquals", MANY, ["a", "b"], None, True),
    ("ForAllValues:StringLike", MANY, "key1*", ["key1:legal", "key1:hr"], True),
    ("ForAllValues:StringLike", MANY, "key1*", ["key1:legal", "key2"], False),
    ("ForAllValues:StringNotLike", MANY, "key1*", ["key2:audit", "key3"], True),
    ("ForAllValues:StringNotLike", MANY, "key1*", ["key1", "key2"], False),
    ("ForAllValues:StringNotEquals", MANY, ["a"], None, True),
    # [sets] ForAnyValue: "at least one … matches"; "false if there are no matching keys".
    ("ForAnyValue:StringEquals", MANY, ["a", "b"], ["c", "b"], True),
    ("ForAnyValue:StringEquals", MANY, ["a", "b"], ["c", "d"], False),
    ("ForAnyValue:StringEquals", MANY, ["a", "b"], None, False),
    ("ForAnyValue:StringNotEquals", MANY, ["a", "b"], ["a", "b"], False),
    ("ForAnyValue:StringNotEquals", MANY, ["a", "b"], ["a", "c"], True),
    ("ForAnyValue:StringNotEquals", MANY, ["a", "b"], None, False),
    # [kms] "Multi-valued condition keys require a set operator."
    ("StringEquals", MANY, "a", ["a"], False),
    ("StringNotEquals", MANY, "b", ["a"], False),
    ("StringNotEquals", MANY, "b", None, True),
    ("StringEqualsIfExists", MANY, "a", None, True),
    # A value of the request that the operator cannot read matches nothing.
    ("NumericEquals", ONE, "1", "one", False),
    ("NumericNotEquals", ONE, "1", "one", True),
    ("DateLessThan", ONE, "2020", "soon", False),
    ("IpAddress", ONE, "0.0.0.0/0", "unix", False),
    ("NotIpAddress", ONE, "0.0.0.0/0", "unix", True),
    ("ArnLike", ONE, "arn:*:*:*:*:*", "s3.amazonaws.com", False),
    ("ArnNotLike", ONE, "arn:*:*:*:*:*", "s3.amazonaws.com", True),
    ("ArnLike", ONE, "arn:*:*:*:*:*", "arn:aws:s3", False),
    ("ArnNotLike", ONE, "arn:*:*:*:*:*", "arn:aws:s3", True),
    ("Bool", ONE, "true", "1", False),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "key", "wanted", "found", "expected"), ROWS)
def test_an_operator_compares_as_documented(operator: str, key: str, wanted: Any, found: Any, expected: bool) -> None:
    context = {} if found is None else {key: found}
    assert holds(operator, key, wanted, context) == expected
    assert holds(operator, key, wanted, context, effect="Deny") == expected


def test_every_operator_of_the_table_has_rows_that_hold_and_rows_that_do_not() -> None:
    present = [(row[0].split(":")[-1].removesuffix("IfExists"), row[4]) for row in ROWS if row[3] is not None]
    assert {name for name, _ in present} >= {*OPERATORS, "Null"}
    assert {(name, expected) for name in OPERATORS for expected in (True, False)} <= set(present)


def test_all_operators_and_all_keys_of_a_condition_must_hold() -> None:
    """[sets] "the condition operators are evaluated using a logical AND", and so are keys; values "using a logical OR"."""
    condition = {"StringEquals": {"x:a": ["1", "2"], "x:b": "3"}, "Bool": {"x:c": "true"}}
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}
    (parsed,) = parse_policy(json.dumps({"Statement": statement}), PolicyKind.IDENTITY).statements
    good = {"x:a": "2", "x:b": "3", "x:c": "true"}
    assert parsed.is_met(CaseContext(good, {}))
    for key in good:
        assert not parsed.is_met(CaseContext(good | {key: "9"}, {})), key
        assert not parsed.is_met(CaseContext({k: v for k, v in good.items() if k != key}, {})), key
    assert parsed.keys == set(good)


@pytest.mark.parametrize("spelled", ["AWS:SOURCEIP", "aws:sourceip", "aws:SourceIp"])
def test_names_of_keys_fold_case_and_values_do_not(spelled: str) -> None:
    """Class 7: "Context key names are not case-sensitive"; the part of a name that is a caller's own folds, too ([kms])."""
    assert holds("IpAddress", spelled, "10.0.0.0/8", {"aws:SourceIp": "10.1.2.3"})
    context = {"kms:EncryptionContext:AppName": "ExampleApp"}
    assert holds("StringEquals", "kms:encryptioncontext:appname", "ExampleApp", context)
    assert not holds("StringEquals", "kms:EncryptionContext:AppName", "exampleapp", context)
    # U+212A, a Kelvin sign, is no k: not in the name, and not in the caller's part of it.
    with pytest.raises(ValueError, match="is no condition key"):
        holds("StringEquals", "\u212ams:EncryptionContext:AppName", "ExampleApp", context)
    assert not holds("Null", "kms:EncryptionContext:\u212a", "false", {"kms:EncryptionContext:k": "x"})


def test_names_fold_ascii_letters_alone() -> None:
    assert fold("AZ[@`az") == "az[@`az"
    assert fold("AZ[@\u00c9\u212a\u017f") == "az[@\u00c9\u212a\u017f"


# ── variables ───────────────────────────────────────────────────────────────────────────────────────────────────────────

USER = {"aws:username": "bob"}


@pytest.mark.parametrize(
    ("operator", "wanted", "context", "found", "expected"),
    [
        # [variables] "replaced with values that come from the request context".
        ("StringEquals", "${aws:username}", USER, "bob", True),
        ("StringEquals", "${AWS:UserName}", USER, "bob", True),
        ("StringEquals", "a-${aws:username}-z", USER, "a-bob-z", True),
        ("StringEquals", "${aws:PrincipalTag/team}", {"aws:PrincipalTag/team": "x"}, "x", True),
        ("StringEquals", "${kms:EncryptionContext:a b}", {"kms:EncryptionContext:a b": "x"}, "x", True),
        ("StringLike", "home/${aws:username}/*", USER, "home/bob/x", True),
        ("StringLike", "home/${aws:username}/?", USER, "home/bob/x", True),
        ("StringLike", "home/${aws:username}/?", USER, "home/bobb/x", False),
        ("StringEqualsIgnoreCase", "${aws:username}", USER, "BOB", True),
        ("StringNotEquals", "${aws:username}", USER, "bob", False),
        ("ArnLike", "arn:aws:iam::*:user/${aws:username}", USER, "arn:aws:iam::1:user/bob", True),
        # [variables] default values: "surround the default value with single quotes".
        ("StringEquals", "${aws:username, 'anonymous'}", {}, "anonymous", True),
        ("StringEquals", "${aws:username, 'anonymous'}", USER, "bob", True),
        ("StringEquals", "${aws:username, ''}", {}, "", True),
        # [variables] "${*} - use where you need an * (asterisk) character", and so on.
        ("StringLike", "${*}", {}, "*", True),
        ("StringLike", "${*}", {}, "x", False),
        ("StringLike", "a${?}", {}, "ab", False),
        ("StringLike", "a${?}*", {}, "a?b", True),
        ("StringEquals", "${$}{aws:username}", USER, "${aws:username}", True),
        # Class 20: what a variable expands to is literal.
        ("StringLike", "${aws:username}", {"aws:username": "*"}, "anybody", False),
        ("StringLike", "${aws:username}", {"aws:username": "*"}, "*", True),
        ("StringLike", "${aws:username}?", {"aws:username": "?"}, "xx", False),
        ("StringLike", "${aws:username}", {"aws:username": "${*}"}, "*", False),
        ("StringLike", "${aws:username}", {"aws:username": "${aws:userid}"}, "${aws:userid}", True),
        ("StringLike", "?${aws:username}", {"aws:username": ".*"}, "xyz", False),
        ("ArnLike", "arn:aws:iam::*:user/${aws:username}", {"aws:username": "*"}, "arn:aws:iam::1:user/bob", False),
        ("ArnLike", "arn:aws:${aws:username}:*:*:x", {"aws:username": "a:b"}, "arn:aws:a:b:c:x", False),
        # [variables] a key that has several values is no variable; one that is not there makes "the … statement … invalid".
        ("StringEquals", "${aws:TagKeys}", {"aws:TagKeys": ["a", "b"]}, "a", False),
        ("StringEquals", ["bob", "${aws:nothing}"], {}, "bob", False),
        ("StringNotEquals", "${aws:nothing}", {}, "bob", False),
        ("StringNotLike", "${aws:nothing}", {}, "bob", False),
    ],
)
def test_variables_are_filled_in_and_mean_themselves(
    operator: str, wanted: Any, context: dict[str, Any], found: str, expected: bool
) -> None:
    assert holds(operator, ONE, wanted, context | {ONE: found}) == expected


def test_a_variable_that_cannot_be_filled_in_never_saves_anybody_from_a_deny() -> None:
    assert holds("StringNotEquals", ONE, "${aws:nothing}", {ONE: "bob"}, effect="Deny")
    assert holds("StringEquals", ONE, ["${aws:nothing}", "bob"], {ONE: "bob"}, effect="Deny")
    assert not holds("StringEquals", ONE, "${aws:nothing}", {ONE: "bob"}, effect="Deny")
    # [variables] "use the ...IfExists condition operator" to prevent invalid statements.
    assert holds("StringEqualsIfExists", ONE, "${aws:nothing}", {})


@pytest.mark.parametrize("operator", ["NumericEquals", "DateEquals", "BinaryEquals", "IpAddress", "Bool", "Null"])
def test_other_operators_take_no_variables(operator: str) -> None:
    with pytest.raises(ValueError, match=r"'\$\{aws:username\}' is n"):
        parse_condition(operator, ONE, ["${aws:username}"], variables=True)


@pytest.mark.parametrize(
    ("operator", "text", "said"),
    [
        ("NumericEquals", "1" * 41, f"'{'1' * 41}' is no number"),
        ("NumericEquals", "${x", "'${x' is no number"),
        ("NumericEquals", "x" * 129, f"'{'x' * 128}' is no number"),
        ("BinaryEquals", "Y*Q==", "'Y*Q==' is not base64"),
        ("BinaryEquals", "YQ==\n", "'YQ==\\n' is not base64"),
        ("x" * 65, "1", f"there is no condition operator '{'x' * 64}'"),
    ],
)
def test_what_an_operator_cannot_compare_is_named(operator: str, text: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_condition(operator, ONE, [text], variables=True)
    assert str(refused.value) == said


class Pairs:
    """A request that has the same name twice, but for case."""

    def __init__(self, *values: str) -> None:
        self._values = values

    def values_of(self, _key: str) -> tuple[str, ...]:
        return self._values


@pytest.mark.parametrize(
    ("operator", "wanted", "values", "in_allow", "in_deny"),
    [
        ("StringEquals", "a", ("a", "a"), True, True),
        ("StringEquals", "a", ("a", "b"), False, True),
        ("StringNotEquals", "a", ("a", "b"), False, True),
        ("StringNotEquals", "a", ("b", "c"), True, True),
        ("StringEquals", "a", ("b", "c"), False, False),
        ("Null", "true", ("b", "c"), False, False),
    ],
)
def test_who_says_two_things_under_one_name_gains_nothing(
    operator: str, wanted: str, values: tuple[str, ...], in_allow: bool, in_deny: bool
) -> None:
    """`{"stage": "x", "Stage": "y"}`: an Allow needs both, a Deny one."""
    condition = parse_condition(operator, "kms:EncryptionContext:stage", [wanted], variables=True)
    assert condition.holds(Pairs(*values), allows=True) == in_allow
    assert condition.holds(Pairs(*values), allows=False) == in_deny


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["StringEquals", "StringLike", "StringEqualsIgnoreCase"]))
def test_an_expanded_text_matches_itself_and_nothing_longer(name: str, operator: str) -> None:
    context = {"aws:username": name}
    assert holds(operator, ONE, "${aws:username}", context | {ONE: name})
    assert not holds(operator, ONE, "${aws:username}", context | {ONE: name + "x"})


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.sampled_from([*OPERATORS, "Null"]))
def test_no_value_of_a_request_breaks_an_operator(found: str, operator: str) -> None:
    holds(operator, ONE, "true" if operator == "Null" else SAMPLES.get(operator, "2020"), {ONE: found})


@pytest.mark.parametrize(
    ("wanted", "context", "found"),
    [
        ("*a" * 5000 + "${aws:username}b", USER, "a" * 8000),
        ("?*" * 2000 + "${aws:username}b", USER, "a" * 8000),
        ("${aws:username}*" * 1000 + "x", {"aws:username": "a" * 100}, "a" * 8000),
        ("*${aws:username}" * 1000 + "x", {"aws:username": "ab" * 50}, "ab" * 4000),
    ],
)
def test_no_template_takes_long(wanted: str, context: dict[str, str], found: str) -> None:
    condition = parse_condition("StringLike", ONE, [wanted], variables=True)
    asked = CaseContext(context | {ONE: found}, {})

    def took_ms() -> float:
        started = time.process_time()
        condition.holds(asked, allows=True)
        return (time.process_time() - started) * 1000

    # The best of three: a collection of garbage may fall into one.
    assert min(took_ms() for _ in range(3)) < ANSWER_MS_MAX
