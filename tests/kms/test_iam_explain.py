"""What an explanation says: the statement that decided, the condition that failed with both values, what would change it."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents, Question
from strongroom.kms.iam.explain import Trace, explain, format_trace
from strongroom.kms.iam.grants import Grant, GrantConstraints
from strongroom.kms.iam.principals import user_principal
from testkit.policy_cases import ACCOUNT, KEY, CaseContext

ALICE = user_principal(ACCOUNT, "alice", "AIDA", "AKIA")
BY_ACCOUNT = {"Sid": "iam", "Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "kms:*", "Resource": "*"}


def trace_of(*identity: dict[str, Any], grants: tuple[Grant, ...] = (), key: Any = BY_ACCOUNT, **context: str) -> Trace:
    text = json.dumps({"Version": "2012-10-17", "Statement": list(identity)})
    documents = Documents((parse_policy(text, PolicyKind.IDENTITY, "inline"),) if identity else ())
    key_policy = parse_policy(json.dumps({"Version": "2012-10-17", "Statement": [key]}), PolicyKind.KEY)
    asked = CaseContext(context, {})
    return explain(Question(ALICE, documents, "kms:Decrypt", KEY, key_policy, ACCOUNT, (), grants, asked))


DECRYPT = {"Sid": "use", "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}
NOBODY = f"Nothing in an identity policy allows kms:Decrypt on {KEY} to {ALICE.arn}."


def test_a_failed_condition_is_shown_with_both_values() -> None:
    condition = {"Condition": {"StringEquals": {"kms:EncryptionContext:app": ["a", "${aws:username}"]}}}
    trace = trace_of(DECRYPT | condition, **{"kms:EncryptionContext:App": "x", "aws:username": "alice"})
    (shown,) = trace.statements[0].conditions
    assert (shown.operator, shown.key, shown.holds) == ("StringEquals", "kms:EncryptionContext:app", False)
    assert (shown.wanted, shown.found) == (("a", "alice"), ("x",))
    assert trace.changes == (
        NOBODY,
        (
            "Statement[0] (use) of an identity policy inline would allow if StringEquals held for "
            "kms:EncryptionContext:app, which is 'x', against 'a', 'alice'."
        ),
    )


def test_what_is_absent_or_cannot_be_filled_in_is_said() -> None:
    trace = trace_of(DECRYPT | {"Condition": {"StringLike": {"aws:username": "${aws:nothing}"}}})
    (shown,) = trace.statements[0].conditions
    assert shown.found is None
    assert shown.wanted == ("${aws:nothing} (the request has no aws:nothing)",)
    assert trace.changes[1].endswith("which is absent, against '${aws:nothing} (the request has no aws:nothing)'.")


def test_the_nearest_statement_is_named_with_what_it_lacks() -> None:
    far = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::x"}
    near = {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*"}
    trace = trace_of(far, near)
    assert trace.changes == (NOBODY, "Statement[1] of an identity policy inline would allow if it named the action.")
    assert [s.failures for s in trace.statements] == [2, 1, 0]


def test_a_deny_is_named_with_what_would_lift_it() -> None:
    denying = {"Sid": "no", "Effect": "Deny", "Action": "*", "Resource": "*"}
    assert trace_of(DECRYPT, denying).changes == (
        "Statement[1] (no) of an identity policy inline denies. It would not if it were not there.",
    )
    insecure = denying | {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    trace = trace_of(DECRYPT, insecure, **{"aws:SecureTransport": "false"})
    assert trace.changes == (
        (
            "Statement[1] (no) of an identity policy inline denies. It would not if one of these did not hold: "
            "Bool of aws:SecureTransport, which is 'false', against 'false'."
        ),
    )


def test_the_key_policy_and_grants_are_part_of_it() -> None:
    grant = Grant("g-1", ALICE.arn, frozenset(["Encrypt"]))
    bound = Grant("g-2", ALICE.arn, frozenset(["Decrypt"]), GrantConstraints(context_equals={"a": "b"}))
    trace = trace_of(DECRYPT, key=BY_ACCOUNT | {"Principal": {"AWS": "444455556666"}}, grants=(grant, bound))
    assert trace.changes == (
        f"Nothing in a key policy allows kms:Decrypt on {KEY} to {ALICE.arn}.",
        "Statement[0] (iam) of a key policy would allow if it named the caller.",
        "The grant g-1 would allow if it gave kms:Decrypt.",
        "The grant g-2 would allow if its constraints held.",
    )
    assert [(g.grantee_matches, g.operation_matches, g.constraints_hold) for g in trace.grants] == [
        (True, False, True),
        (True, True, False),
    ]


def test_a_trace_is_shown_as_text_and_written_as_json() -> None:
    condition = {"Condition": {"Bool": {"aws:SecureTransport": "true"}}}
    far = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::x"}
    grant = Grant("g-1", ALICE.arn, frozenset(["Encrypt"]))
    trace = trace_of(DECRYPT | condition, far, grants=(grant,), **{"aws:SecureTransport": "false"})
    assert format_trace(trace) == [
        "denied because no identity-based policy allows the kms:Decrypt action",
        "  Statement[0] (use) of an identity policy inline: Allow, does not apply",
        "    - not Bool of aws:SecureTransport, which is 'false', against 'true'",
        "  Statement[1] of an identity policy inline: Allow, does not apply",
        "    - not the action",
        "    - not the resource",
        "  Statement[0] (iam) of a key policy: Allow, applies",
        "  grant g-1: does not apply",
        *trace.changes,
    ]
    written = msgspec.json.decode(msgspec.json.encode(trace))
    assert written["decision"]["verdict"] == "implicit deny"
    assert written["statements"][0]["conditions"][0]["found"] == ["false"]
    assert format_trace(trace_of(DECRYPT))[0] == "allowed"


def test_what_is_allowed_needs_no_change() -> None:
    trace = trace_of(DECRYPT)
    assert trace.decision.allowed
    assert trace.changes == ()
    assert [s.applies for s in trace.statements] == [True, True]
