"""Policy documents: what is understood is parsed, everything else is refused with its place, and nothing takes long."""

from __future__ import annotations

import json
import time
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.kms.iam.documents import POLICY_BYTES_MAX, PolicyError, PolicyKind, parse_policy

ACCOUNT = "000000000000"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
GOOD: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}
REFUSAL_MS_MAX = 50


def text_of(*statements: Any, **document: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)} | document)


def refusal(text: str, kind: PolicyKind = PolicyKind.KEY) -> str:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, kind)
    return str(caught.value)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


# ── what is taken ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_statement_may_stand_alone_or_in_a_list() -> None:
    alone = parse_policy(json.dumps({"Statement": GOOD}), PolicyKind.KEY)
    assert alone.statements == parse_policy(text_of(GOOD), PolicyKind.KEY).statements
    assert alone.principals() == {ROOT}


def test_strings_and_lists_of_strings_are_the_same() -> None:
    listed = {**GOOD, "Principal": {"AWS": [ROOT]}, "Action": ["kms:*"], "Resource": ["*"]}
    single, several = (parse_policy(text_of(one), PolicyKind.KEY) for one in (GOOD, listed))
    assert single.statements == several.statements


@pytest.mark.parametrize(
    "principal", ["*", {"AWS": "*"}, {"AWS": ACCOUNT}, {"AWS": [ROOT, f"arn:aws:iam::{ACCOUNT}:user/a/b+=,.@-_"]}]
)
def test_these_principals_are_understood(principal: Any) -> None:
    parse_policy(text_of(GOOD | {"Principal": principal}), PolicyKind.KEY)


@pytest.mark.parametrize("missing", ["Action", "Resource"])
def test_a_statement_without_action_or_resource_is_taken_and_has_no_effect(missing: str) -> None:
    (statement,) = parse_policy(text_of(without(missing)), PolicyKind.KEY).statements
    assert (statement.actions if missing == "Action" else statement.resources) == ()


@pytest.mark.parametrize("missing", ["Action", "Resource"])
def test_an_identity_policy_without_action_or_resource_is_refused(missing: str) -> None:
    statement = {key: value for key, value in without("Principal").items() if key != missing}
    words = f"Statement[0]: Policy statement must contain {missing.lower()}s."
    assert refusal(text_of(statement), PolicyKind.IDENTITY) == words


@pytest.mark.parametrize("version", ["2012-10-17", "2008-10-17"])
def test_both_versions_are_taken(version: str) -> None:
    parse_policy(text_of(GOOD, Version=version, Id="x"), PolicyKind.KEY)


# ── what is refused, with its place ─────────────────────────────────────────────────────────────────────────────────────

USER = f"arn:aws:iam::{ACCOUNT}:user/alice"
REFUSED_STATEMENTS: list[tuple[Any, str]] = [
    (GOOD | {"NotPrincipal": {"AWS": ROOT}}, "Statement[1]: the element 'NotPrincipal' is not supported"),
    (GOOD | {"NotAction": "kms:*"}, "Statement[1]: the element 'NotAction' is not supported"),
    (GOOD | {"NotResource": "*"}, "Statement[1]: the element 'NotResource' is not supported"),
    (GOOD | {"Condition": {}}, "Statement[1]: the element 'Condition' is not supported"),
    (
        GOOD | {"Condition": {"Bool": {"aws:SecureTransport": True}}},
        "Statement[1]: the element 'Condition' is not supported",
    ),
    (GOOD | {"effect": "Deny"}, "Statement[1]: the element 'effect' is not supported"),
    (GOOD | {"EFFECT": "Deny"}, "Statement[1]: the element 'EFFECT' is not supported"),
    (GOOD | {"action": "x"}, "Statement[1]: the element 'action' is not supported"),
    (GOOD | {"": "x"}, "Statement[1]: the element '' is not supported"),
    (GOOD | {"x" * 1000: 1}, f"Statement[1]: the element {'x' * 64!r} is not supported"),
    (without("Effect"), "Statement[1]: Effect must be Allow or Deny"),
    *[
        (GOOD | {"Effect": effect}, "Statement[1]: Effect must be Allow or Deny")
        for effect in ("allow", "ALLOW", "Allow ", "", None, 1, True, [], ["Allow"], {}, {"Allow": "Deny"})
    ],
    (GOOD | {"Sid": 1}, "Statement[1]: Sid must be a string"),
    (without("Principal"), "Statement[1]: a key policy statement needs a Principal"),
    (GOOD | {"Principal": None}, "Statement[1].Principal must be * or an object"),
    (GOOD | {"Principal": ROOT}, "Statement[1].Principal must be * or an object"),
    (GOOD | {"Principal": [ROOT]}, "Statement[1].Principal must be * or an object"),
    (GOOD | {"Principal": {}}, "Statement[1].Principal must be * or an object"),
    (
        GOOD | {"Principal": {"Service": "s3"}},
        "Statement[1].Principal: the element 'Service' is not supported",
    ),
    (GOOD | {"Principal": {"Federated": "x"}}, "Statement[1].Principal: the element 'Federated' is not supported"),
    (GOOD | {"Principal": {"aws": ROOT}}, "Statement[1].Principal: the element 'aws' is not supported"),
    (GOOD | {"Principal": {"AWS": 7}}, "Statement[1].Principal.AWS must be a string or a list of strings"),
    (GOOD | {"Principal": {"AWS": [None]}}, "Statement[1].Principal.AWS must be a string or a list of strings"),
    *[
        (
            GOOD | {"Principal": {"AWS": name}},
            f"Statement[1].Principal.AWS: {name[:128]!r} is not a supported principal",
        )
        for name in (
            "",
            "alice",
            "**",
            ACCOUNT + "0",
            ACCOUNT[:-1],
            USER + "/*" * 300,
            f"arn:aws:iam::{ACCOUNT}:user/",
            f"arn:aws:iam::{ACCOUNT}:user/*",
            f"arn:aws:iam::{ACCOUNT}:user/a?",
            f"arn:aws:iam::{ACCOUNT}:user/ä",
            f"arn:aws:iam::{ACCOUNT}:role/admin",
            f"arn:aws:sts::{ACCOUNT}:assumed-role/a/b",
            "arn:aws:iam::*:root",
            ROOT + "\n",
            "\n" + ROOT,
            ROOT.upper(),
            "٠" * 12,
            "AIDACKCEVSQ6C2EXAMPLE",
        )
    ],
    (GOOD | {"Action": 7}, "Statement[1].Action must be a string or a list of strings"),
    (GOOD | {"Action": None}, "Statement[1].Action must be a string or a list of strings"),
    (GOOD | {"Action": ["kms:*", 7]}, "Statement[1].Action must be a string or a list of strings"),
    (GOOD | {"Resource": {"a": "b"}}, "Statement[1].Resource must be a string or a list of strings"),
    (GOOD | {"Resource": "arn:${aws:username}"}, "Statement[1].Resource: policy variables are not supported"),
    (GOOD | {"Action": ["${*}"]}, "Statement[1].Action: policy variables are not supported"),
    ("Allow", "Statement[1] is not an object"),
    (None, "Statement[1] is not an object"),
    ([GOOD], "Statement[1] is not an object"),
]


@pytest.mark.parametrize(("statement", "message"), REFUSED_STATEMENTS)
def test_a_statement_is_refused_with_its_place(statement: Any, message: str) -> None:
    assert refusal(text_of(GOOD, statement)) == message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "The policy is not a JSON object"),
        ("x", "The policy is not a JSON object"),
        (None, "The policy is not a JSON object"),
        ({}, "Statement must be an object or a list of objects"),
        ({"Statement": []}, "Statement must be an object or a list of objects"),
        ({"Statement": "x"}, "Statement must be an object or a list of objects"),
        ({"Statement": None}, "Statement must be an object or a list of objects"),
        ({"Statement": GOOD, "Version": "2013-01-01"}, "Version must be 2012-10-17 or 2008-10-17"),
        ({"Statement": GOOD, "Version": []}, "Version must be 2012-10-17 or 2008-10-17"),
        ({"Statement": GOOD, "Version": {}}, "Version must be 2012-10-17 or 2008-10-17"),
        ({"Statement": GOOD, "Version": None}, "Version must be 2012-10-17 or 2008-10-17"),
        ({"Statement": GOOD, "Id": 7}, "Id must be a string"),
        ({"statement": GOOD}, "the document: the element 'statement' is not supported"),
        ({"Statement": GOOD, "version": "2012-10-17"}, "the document: the element 'version' is not supported"),
    ],
)
def test_a_document_is_refused_with_its_reason(document: Any, message: str) -> None:
    assert refusal(json.dumps(document)) == message


def test_an_identity_policy_names_no_principal() -> None:
    assert refusal(text_of(GOOD), PolicyKind.IDENTITY) == "Statement[0]: an identity policy names no Principal"
    parse_policy(text_of(without("Principal")), PolicyKind.IDENTITY)


@pytest.mark.parametrize(
    "text",
    [
        '{"Statement":[],"Statement":{}}',
        '{"Version":"2012-10-17","Version":"2012-10-17","Statement":{}}',
        '{"Statement":{"Effect":"Allow","Effect":"Deny"}}',
        '{"Statement":[{"Effect":"Allow","\\u0045ffect":"Deny"}]}',
        '{"Statement":[{"Principal":{"AWS":"*","AWS":"*"}}]}',
    ],
)
def test_a_name_that_occurs_twice_is_refused_at_any_depth(text: str) -> None:
    assert refusal(text) == "A member occurs more than once"


@pytest.mark.parametrize(
    "text", ["", " ", "{", "{}}", "nul", "NaN", '{"Statement":NaN}', '"\\ud800"', "\ud800", "{'a':1}"]
)
def test_what_is_no_json_is_refused(text: str) -> None:
    refusal(text)


def test_32_kib_of_identity_policy_are_taken_and_one_byte_more_is_refused() -> None:
    text = text_of({"Effect": "Allow", "Action": "*", "Resource": "*"})
    parse_policy(text + " " * (POLICY_BYTES_MAX - len(text)), PolicyKind.IDENTITY)
    longer = text + " " * (POLICY_BYTES_MAX - len(text) + 1)
    assert refusal(longer, PolicyKind.IDENTITY) == "The policy is longer than 32 KiB"
    assert refusal("ü" * (POLICY_BYTES_MAX // 2 + 1), PolicyKind.IDENTITY) == "The policy is longer than 32 KiB"


def test_how_long_a_key_policy_may_be_is_not_its_parsers_business() -> None:
    """A limit that was lowered must not make a stored policy unreadable."""
    parse_policy(text_of(GOOD) + " " * POLICY_BYTES_MAX, PolicyKind.KEY)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 32_000,
        '{"a":' * 6_000,
        '{"Statement":' + "[" * 16_000 + "]" * 16_000 + "}",
        '{"Statement":' + "9" * 30_000 + "}",
        '{"Statement":[' + ",".join(["{}"] * 10_000) + "]}",
    ],
)
def test_a_bomb_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    refusal(text)
    assert (time.process_time() - started) * 1000 < REFUSAL_MS_MAX


# ── patterns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pattern_of(text: str, element: str = "Resource") -> Any:
    (statement,) = parse_policy(text_of(GOOD | {element: text}), PolicyKind.KEY).statements
    ((pattern,)) = statement.resources if element == "Resource" else statement.actions
    return pattern


def matches_naively(pattern: str, value: str) -> bool:
    """The documentation's two sentences about `*` and `?`, as a table of prefixes."""
    reached = {0}
    for char in pattern:
        if char == "*":
            reached = set(range(min(reached), len(value) + 1)) if reached else set()
        else:
            reached = {place + 1 for place in reached if place < len(value) and char in {"?", value[place]}}
    return len(value) in reached


def test_wildcards_match_what_the_documentation_says() -> None:
    seeded = Random(1)
    matched = 0
    for _ in range(3000):
        pattern = "".join(seeded.choices("ab*?", k=seeded.randrange(13)))
        value = "".join(seeded.choices("abc", k=seeded.randrange(15)))
        wanted = matches_naively(pattern, value)
        assert pattern_of(pattern).matches(value) == wanted, (pattern, value)
        matched += wanted
    assert matched > 100


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_everything_but_the_two_wildcards_means_itself(text: str) -> None:
    literal = text.replace("*", "").replace("?", "").replace("$", "")
    pattern = pattern_of(literal)
    assert pattern.matches(literal)
    assert not pattern.matches(literal + "x")
    assert not pattern.matches("x" + literal)


@pytest.mark.parametrize(
    ("pattern", "value", "as_action", "as_resource"),
    [
        ("kms:encrypt", "kms:Encrypt", True, False),
        ("KMS:*", "kms:Encrypt", True, False),
        ("kms:Encrypt", "kms:Encrypt", True, True),
        ("kms:Encrypt", "kms:Encrypt\n", False, False),
        # U+212A is a Kelvin sign, which folds to k; U+017F folds to s.
        ("\u212ams:Encrypt", "kms:Encrypt", False, False),
        ("km\u017f:Encrypt", "kms:Encrypt", False, False),
        ("kms.Encrypt", "kms:Encrypt", False, False),
        ("[k]ms:Encrypt", "kms:Encrypt", False, False),
        ("kms:(Encrypt|Decrypt)", "kms:Encrypt", False, False),
        ("^kms:Encrypt$", "kms:Encrypt", False, False),
    ],
)
def test_actions_fold_case_and_resources_do_not(pattern: str, value: str, as_action: bool, as_resource: bool) -> None:
    assert pattern_of(pattern, "Action").matches(value) == as_action
    assert pattern_of(pattern).matches(value) == as_resource


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("*?" * 60 + "!", "arn:aws:kms:us-east-1:000000000000:key/" + "0" * 40),
        ("*a" * 200 + "b", "a" * 300),
        ("?*" * 100 + "b", "a" * 300),
        ("*" * 30_000, "a" * 300),
        ("*a*" * 5_000 + "b", "a" * 2_000),
        ("*ab" * 100 + "*c", "ab" * 1_000),
        ("*a" * 15_000, "a" * 300),
        ("*?" * 15_000, "a" * 300),
        ("*" + "a?" * 150 + "b*", "a" * 300),
    ],
)
def test_no_pattern_takes_long_to_read_or_to_match(pattern: str, value: str) -> None:
    started = time.process_time()
    pattern_of(pattern).matches(value)
    assert (time.process_time() - started) * 1000 < REFUSAL_MS_MAX
