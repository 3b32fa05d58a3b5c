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
from strongroom.kms.iam.evaluate import NO_CONTEXT
from strongroom.kms.iam.patterns import fold

ACCOUNT = "000000000000"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
GOOD: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}
# Of CPU. A few milliseconds as a rule; what is worse than linear takes seconds, and a machine may be slow.
REFUSAL_MS_MAX = 250


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
    (named,) = alone.named()
    assert named.accounts == {ACCOUNT}


def test_strings_and_lists_of_strings_are_the_same() -> None:
    listed = {**GOOD, "Principal": {"AWS": [ROOT]}, "Action": ["kms:*"], "Resource": ["*"]}
    single, several = (parse_policy(text_of(one), PolicyKind.KEY) for one in (GOOD, listed))
    assert single.statements == several.statements


@pytest.mark.parametrize(
    "principal",
    [
        "*",
        {"AWS": "*"},
        {"AWS": ACCOUNT},
        {"AWS": [ROOT, f"arn:aws:iam::{ACCOUNT}:user/a/b+=,.@-_"]},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:role/service-role/x"},
        {"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/session@1"},
        {"AWS": f"arn:aws:sts::{ACCOUNT}:federated-user/bob"},
        {"Service": "s3.amazonaws.com"},
        {"AWS": ROOT, "Service": ["s3.amazonaws.com", "us-east-1.supportauthz.amazonaws.com"]},
        {"AWS": []},
        {"AWS": ["AIDACKCEVSQ6C2EXAMP1", f"AIDA{'A' * 124}", "AROACKCEVSQ6C2EXAMPLE", f"AROA{'2' * 124}"]},
        {"AWS": ["AROACKCEVSQ6C2EXAMPLE:s", f"AROACKCEVSQ6C2EXAMPLE:{'=' * 64}"]},
    ],
)
def test_these_principals_are_understood(principal: Any) -> None:
    parse_policy(text_of(GOOD | {"Principal": principal}), PolicyKind.KEY)


@pytest.mark.parametrize("missing", ["Action", "Resource"])
def test_a_statement_without_action_or_resource_is_taken_and_has_no_effect(missing: str) -> None:
    (statement,) = parse_policy(text_of(without(missing)), PolicyKind.KEY).statements
    patterns = statement.actions if missing == "Action" else statement.resources
    assert patterns.texts == ()
    assert not patterns.matches("kms:encrypt", NO_CONTEXT)


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
    *[
        (GOOD | {f"Not{element}": GOOD[element]}, f"Statement[1]: there can be {element} or Not{element}, not both")
        for element in ("Principal", "Action", "Resource")
    ],
    (
        without("Principal") | {"NotPrincipal": {"AWS": ROOT}},
        "Statement[1]: NotPrincipal can only Deny: with Allow it would let everybody else in",
    ),
    (without("Action") | {"NotAction": []}, "Statement[1]: Policy statement must contain actions."),
    (without("Resource") | {"NotResource": ""}, "Statement[1]: Policy statement must contain resources."),
    (GOOD | {"Condition": None}, "Statement[1].Condition must be an object"),
    (GOOD | {"Condition": []}, "Statement[1].Condition must be an object"),
    (
        GOOD | {"Condition": {"StringEqual": {}}},
        "Statement[1].Condition: there is no condition operator 'StringEqual'",
    ),
    *[
        (
            GOOD | {"Condition": {name: {"a:b": "true"}}},
            f"Statement[1].Condition: there is no condition operator {name!r}",
        )
        for name in (
            *("", "stringEquals", "STRINGEQUALS", "StringEqualsIfExistsIfExists", "NullIfExists", "ForAllValues:Null"),
            *("ForAnyValue:", "ForallValues:StringEquals", "ForAllValues:ForAnyValue:Bool", "IfExists", "BoolNot"),
        )
    ],
    (GOOD | {"Condition": {"Bool": "true"}}, "Statement[1].Condition.Bool must be an object"),
    (GOOD | {"Condition": {"Bool": {"nokey": "true"}}}, "Statement[1].Condition.Bool: 'nokey' is no condition key"),
    (
        GOOD | {"Condition": {"Bool": {"aws:${aws:username}": "true"}}},
        "Statement[1].Condition.Bool: 'aws:${aws:username}' is no condition key",
    ),
    (
        GOOD | {"Condition": {"StringEquals": {"a:b": []}}},
        "Statement[1].Condition.StringEquals.a:b must have at least one value",
    ),
    *[
        (
            GOOD | {"Condition": {"StringEquals": {"a:b": value}}},
            "Statement[1].Condition.StringEquals.a:b must be a string, a number, a boolean or a list of them",
        )
        for value in (None, {}, [None], [["x"]], [{"x": "y"}])
    ],
    *[
        (
            GOOD | {"Condition": {operator: {"a:b": ["0", value]}}},
            f"Statement[1].Condition.{operator}.a:b: {value!r} {words}",
        )
        for operator, value, words in (
            ("NumericEquals", "", "is no number"),
            ("NumericLessThan", "1e3", "is no number"),
            ("NumericLessThan", "0x1", "is no number"),
            ("NumericLessThanIfExists", " 1", "is no number"),
            ("NumericEquals", "٣", "is no number"),
            ("NumericEquals", "1" * 41, "is no number"),
        )
    ],
    *[
        (
            GOOD | {"Condition": {operator: {"a:b": value}}},
            f"Statement[1].Condition.{operator}.a:b: {value!r} {words}",
        )
        for operator, value, words in (
            ("DateEquals", "yesterday", "is neither a date of ISO 8601 nor epoch seconds"),
            ("DateEquals", "2020-1-1", "is neither a date of ISO 8601 nor epoch seconds"),
            ("DateLessThan", "2020-02-30", "is no date that exists"),
            ("DateLessThan", "2020-01-01T25:00Z", "is no date that exists"),
            ("DateLessThan", "0000", "is no date that exists"),
            ("Bool", "yes", "is neither true nor false"),
            ("Bool", "${aws:SecureTransport}", "is neither true nor false"),
            ("Null", "0", "is neither true nor false"),
            ("BinaryEquals", "a", "is not base64"),
            ("IpAddress", "10.0.0.0/33", "is neither an IP address nor a range of them"),
            ("NotIpAddress", "10.0.0", "is neither an IP address nor a range of them"),
            ("ArnLike", "*", "is no ARN"),
            ("ArnEquals", "arn:aws:iam::1", "is no ARN"),
            ("ArnNotLike", "a:b:c:d:e:f", "is no ARN"),
        )
    ],
    *[
        (GOOD | {"Resource": text}, f"Statement[1].Resource: {words}")
        for text, words in (
            ("${", "'${' begins no policy variable"),
            ("a${aws:username", "'${aws:username' begins no policy variable"),
            ("${username}", "'${username}' is no policy variable"),
            ("${}", "'${}' is no policy variable"),
            ("${aws:username,'x'}", "\"${aws:username,'x'}\" is no policy variable"),
            ("${aws:username, x}", "'${aws:username, x}' is no policy variable"),
        )
    ],
    (
        GOOD | {"Condition": {"StringLike": {"a:b": "${x}"}}},
        "Statement[1].Condition.StringLike.a:b: '${x}' is no policy variable",
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
    *[
        (
            GOOD | {"Principal": {"Service": name}},
            f"Statement[1].Principal.Service: {name!r} is not a supported principal",
        )
        for name in ("s3", "*", "s3.amazonaws.com.evil.example", "S3.amazonaws.com", ".amazonaws.com", "")
    ],
    (
        GOOD | {"Principal": {"CanonicalUser": "x"}},
        "Statement[1].Principal: the element 'CanonicalUser' is not supported",
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
            f"arn:aws:iam::{ACCOUNT}:role/*",
            f"arn:aws:iam::{ACCOUNT}:group/admins",
            f"arn:aws:sts::{ACCOUNT}:assumed-role/admin",
            f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/*",
            f"arn:aws:sts::{ACCOUNT}:role/admin",
            f"arn:aws:iam::{ACCOUNT}",
            f"arn:aws-cn:iam::{ACCOUNT}:root",
            "arn:aws:iam::*:root",
            ROOT + "\n",
            "\n" + ROOT,
            ROOT.upper(),
            "٠" * 12,
            # Unique ids of a group, of an access key, too short, too long, and of a user with a session.
            "AGPACKCEVSQ6C2EXAMPLE",
            "AKIACKCEVSQ6C2EXAMPLE",
            "AIDACKCEVSQ6C2EXAMP",
            "aidackcevsq6c2example",
            f"AIDA{'A' * 125}",
            f"AROA{'A' * 125}",
            "AIDACKCEVSQ6C2EXAMPLE:s",
            "AROACKCEVSQ6C2EXAMPLE:",
            f"AROACKCEVSQ6C2EXAMPLE:{'s' * 65}",
            "AROACKCEVSQ6C2EXAMPLE:s:s",
            "AROACKCEVSQ6C2EXAMPLE\n",
        )
    ],
    (GOOD | {"Action": 7}, "Statement[1].Action must be a string or a list of strings"),
    (GOOD | {"Action": None}, "Statement[1].Action must be a string or a list of strings"),
    (GOOD | {"Action": ["kms:*", 7]}, "Statement[1].Action must be a string or a list of strings"),
    (GOOD | {"Resource": {"a": "b"}}, "Statement[1].Resource must be a string or a list of strings"),
    (GOOD | {"Action": ["${*}"]}, "Statement[1].Action: policy variables are not supported here"),
    (
        without("Action") | {"NotAction": "${aws:username}"},
        "Statement[1].NotAction: policy variables are not supported here",
    ),
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


KINDS_WITHOUT_PRINCIPALS = [
    PolicyKind.IDENTITY,
    PolicyKind.BOUNDARY,
    PolicyKind.SESSION,
    PolicyKind.SERVICE_CONTROL,
]


@pytest.mark.parametrize("kind", KINDS_WITHOUT_PRINCIPALS, ids=lambda kind: kind.name)
def test_what_is_attached_to_somebody_names_no_principal(kind: PolicyKind) -> None:
    assert refusal(text_of(GOOD), kind) == f"Statement[0]: {kind.value} names no Principal"
    denying = without("Principal") | {"Effect": "Deny", "NotPrincipal": "*"}
    assert refusal(text_of(denying), kind) == f"Statement[0]: {kind.value} names no NotPrincipal"
    parse_policy(text_of(without("Principal")), kind)


def test_not_principal_is_taken_with_deny_in_key_policies_only() -> None:
    """IAM user guide, "NotPrincipal": not "in an IAM identity-based policy nor in an IAM role trust policy"."""
    denying = without("Principal") | {"Effect": "Deny", "NotPrincipal": {"AWS": ROOT}}
    parse_policy(text_of(denying), PolicyKind.KEY)
    trust = {key: value for key, value in denying.items() if key != "Resource"}
    assert refusal(text_of(trust), PolicyKind.TRUST) == "Statement[0]: a role trust policy takes no NotPrincipal"
    assert refusal(text_of(denying), PolicyKind.RESOURCE_CONTROL).endswith("takes no NotPrincipal")


def test_a_trust_policy_has_no_resource_and_knows_federated_principals() -> None:
    trust = {"Effect": "Allow", "Principal": {"Federated": "accounts.google.com"}, "Action": "sts:AssumeRole*"}
    parse_policy(text_of(trust), PolicyKind.TRUST)
    parse_policy(
        text_of(trust | {"Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/a.example/b"}}),
        PolicyKind.TRUST,
    )
    for element in ("Resource", "NotResource"):
        assert (
            refusal(text_of(trust | {element: "*"}), PolicyKind.TRUST)
            == f"Statement[0]: Has prohibited field {element}"
        )
    assert refusal(text_of(trust | {"Principal": {"Federated": "nobody"}}), PolicyKind.TRUST).endswith(
        "Federated: 'nobody' is not a supported principal"
    )


def test_a_resource_control_policy_denies_everybody() -> None:
    denying = GOOD | {"Effect": "Deny", "Principal": "*"}
    parse_policy(text_of(denying), PolicyKind.RESOURCE_CONTROL)
    assert (
        refusal(text_of(GOOD), PolicyKind.RESOURCE_CONTROL) == "Statement[0]: a resource control policy can only Deny"
    )
    assert refusal(text_of(denying | {"Principal": {"AWS": ROOT}}), PolicyKind.RESOURCE_CONTROL) == (
        "Statement[0].Principal must be * in a resource control policy"
    )


def test_names_of_statements_are_alphanumeric_and_unique_but_for_key_policies() -> None:
    plain = without("Principal")
    assert refusal(text_of(plain | {"Sid": "two words"}), PolicyKind.IDENTITY) == (
        "Statement[0]: Statement IDs (SID) must be alpha-numeric."
    )
    twice = [plain | {"Sid": "a"}, plain | {"Sid": "a"}]
    assert refusal(text_of(*twice), PolicyKind.IDENTITY) == (
        "Statement[1]: Statement IDs (SID) in a single policy must be unique."
    )
    parse_policy(text_of(*(GOOD | {"Sid": "two words"} for _ in range(2))), PolicyKind.KEY)
    # What is stored stays readable.
    for statements in ([plain | {"Sid": "two words"}], twice):
        parse_policy(text_of(*statements), PolicyKind.IDENTITY, is_stored=True)
    parse_policy(text_of(*(plain | {"Sid": ""} for _ in range(2))), PolicyKind.IDENTITY)


@pytest.mark.parametrize("key", ["kms:EncryptionContext:App", "KMS:encryptioncontext:app", "aws:RequestTag/x"])
def test_kms_refuses_for_all_values_where_it_would_let_everything_pass(key: str) -> None:
    """KMS developer guide, "Using set operators with condition keys"."""
    condition = {"Condition": {"ForAllValues:StringEquals": {key: "x"}}}
    what = "tag" if "Tag" in key else "encryption context"
    assert refusal(text_of(GOOD | condition)) == (
        "Statement[0].Condition.ForAllValues:StringEquals: OverlyPermissiveCondition: Using the ForAllValues set operator "
        f"with a single-valued condition key matches requests without the specified {what} or with an unspecified {what}. "
        "To fix, remove ForAllValues."
    )
    parse_policy(text_of(without("Principal") | condition), PolicyKind.IDENTITY)
    parse_policy(text_of(GOOD | {"Condition": {"ForAnyValue:StringEquals": {key: "x"}}}), PolicyKind.KEY)


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"StringEquals": {}},
        {"Bool": {"aws:SecureTransport": True}},
        {"Bool": {"aws:SecureTransport": "TRUE"}},
        {"NumericLessThan": {"kms:RotationPeriodInDays": 365, "kms:Unknown": [1.5, "-2"]}},
        {"DateGreaterThanEquals": {"aws:CurrentTime": ["2026", "2026-11", "2026-11-24", "2026-11-24T09:00Z"]}},
        {"DateLessThanIfExists": {"aws:CurrentTime": ["2026-11-24T09:00:01.5+01:00", "1764000000", 1764000000.5]}},
        {"ForAllValues:StringLike": {"aws:TagKeys": "*"}, "ForAnyValue:StringNotLikeIfExists": {"AWS:tagkeys": "a?"}},
        {"IpAddress": {"aws:SourceIp": ["10.0.0.1", "10.0.0.1/8", "2001:DB8:1234:5678::/64"]}},
        {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::${aws:PrincipalAccount}:role/${aws:username, 'x:y'}/*"}},
        {"StringEquals": {"kms:EncryptionContext:a b:/$ü": "${kms:EncryptionContext:a b}${*}${?}${$}"}},
        {"BinaryEquals": {"x:y": "QmluYXJ5VmFsdWVJbkJhc2U2NA=="}},
        {"Null": {"aws:TokenIssueTime": "true", "x:y": [True, "false"]}},
    ],
)
def test_these_conditions_are_understood(condition: Any) -> None:
    for kind in (PolicyKind.KEY, PolicyKind.IDENTITY):
        statement = GOOD if kind is PolicyKind.KEY else without("Principal")
        parse_policy(text_of(statement | {"Condition": condition}), kind)


def test_variables_are_plain_text_in_documents_of_the_older_version() -> None:
    statement = GOOD | {"Resource": "${aws:username}${", "Condition": {"StringEquals": {"a:b": "${nothing"}}}
    (parsed,) = parse_policy(text_of(statement, Version="2008-10-17"), PolicyKind.KEY).statements
    assert parsed.resources.matches("${aws:username}${", NO_CONTEXT)
    assert parsed.keys == {"a:b"}
    assert json.loads(text_of(statement)).pop("Version") == "2012-10-17"
    refusal(text_of(statement))


@pytest.mark.parametrize(
    "text",
    [
        '{"Statement":[],"Statement":{}}',
        '{"Version":"2012-10-17","Version":"2012-10-17","Statement":{}}',
        '{"Statement":{"Effect":"Allow","Effect":"Deny"}}',
        '{"Statement":[{"Effect":"Allow","\\u0045ffect":"Deny"}]}',
        '{"Statement":[{"Principal":{"AWS":"*","AWS":"*"}}]}',
        '{"Statement":[{"Condition":{"Bool":{"a:b":"true"},"Bool":{}}}]}',
        '{"Statement":[{"Condition":{"Bool":{"a:b":"true","a:b":"false"}}}]}',
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


class OnePattern:
    """A statement's only resource, or its only action."""

    def __init__(self, text: str, element: str = "Resource") -> None:
        (statement,) = parse_policy(text_of(GOOD | {element: text}), PolicyKind.KEY).statements
        self._statement = statement
        self._element = element

    def matches(self, value: str) -> bool:
        if self._element == "Action":
            return self._statement.concerns(fold(value))
        return self._statement.covers(value, NO_CONTEXT)


pattern_of = OnePattern


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


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("ab*ba", "aba", False),
        ("ab*ba", "abba", True),
        ("a*a", "a", False),
        ("*ab*b", "ab", False),
        ("a*b*c", "acb", False),
        ("a*bc*c", "abc", False),
        ("a?*?b", "axb", False),
        ("a?*?b", "axyb", True),
        ("*?a?*", "bab", True),
        ("*?a?*", "ab", False),
        ("*a?b*", "aabab", True),
        ("**", "", True),
        ("*?*", "", False),
        ("", "", True),
    ],
)
def test_no_character_is_used_twice(pattern: str, value: str, expected: bool) -> None:
    assert pattern_of(pattern).matches(value) == expected == matches_naively(pattern, value)


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
    def took_ms() -> float:
        started = time.process_time()
        pattern_of(pattern).matches(value)
        return (time.process_time() - started) * 1000

    # The best of three: a collection of garbage may fall into one.
    assert min(took_ms() for _ in range(3)) < REFUSAL_MS_MAX
