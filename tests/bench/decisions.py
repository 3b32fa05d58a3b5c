"""What a decision costs: `python -m tests.bench.decisions`. CPU time, the best of five rounds.

A kept decision, forming the part of the request's context that it asks for included, with one and with three condition
keys; one that is worked out from the default policies, and from a key policy of 32 KiB with a condition per statement, and
from one of 3,500 different wildcards, which nobody writes who means well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from strongroom.kms.iam.context import RequestContext, Surroundings
from strongroom.kms.iam.decisions import VaryingDecision
from strongroom.kms.iam.documents import PolicyDocument, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents, Question, consulted_keys, evaluate
from strongroom.kms.iam.principals import root_arn, user_arn, user_principal

ACCOUNT = "111122223333"
KEY_ARN = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ALICE = user_principal(ACCOUNT, "alice", "AIDA", "AKIA")
ACTION = "kms:Encrypt"
POLICY_BYTES = 32 * 1024
YES: dict[str, Any] = {"Effect": "Allow", "Action": "kms:*", "Resource": "*"}


class Request:
    """As the operation's typed request."""

    EncryptionContext = {"app": "a"}  # noqa: RUF012 -- a request's member, as AWS calls it.


class Key:
    """As the key's record."""

    account, spec, usage, origin = ACCOUNT, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS"
    multi_region = False
    tags: dict[str, str] = {}  # noqa: RUF012 -- never changed.


def cost_us(act: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(5):
        started = time.process_time()
        for _ in range(times):
            act()
        best = min(best, (time.process_time() - started) / times)
    return best * 1e6


def context() -> RequestContext:
    surroundings = Surroundings("us-east-1", "10.0.0.1", "x", is_secure=False, now_s=1.7e9)
    return RequestContext(ACTION, ALICE, surroundings, request=Request, key=Key())


def policy(kind: PolicyKind, *statements: Any) -> PolicyDocument:
    return parse_policy(json.dumps({"Version": "2012-10-17", "Statement": list(statements)}), kind)


def long_policy() -> PolicyDocument:
    """A statement per application, every other one naming the caller."""
    statements: list[Any] = []
    while len(json.dumps(statements)) < POLICY_BYTES - 400:
        number = len(statements)
        named = user_arn(ACCOUNT, f"u{number}" if number % 2 else "alice")
        condition = {"StringEquals": {"kms:EncryptionContext:app": f"app-{number}"}}
        actions = ["kms:Encrypt", "kms:Decrypt*", "kms:GenerateDataKey*"]
        statements.append(YES | {"Principal": {"AWS": named}, "Action": actions, "Condition": condition})
    return policy(PolicyKind.KEY, *statements)


def kept(keys: tuple[str, ...], question: Question) -> Callable[[], object]:
    varying = VaryingDecision(ACTION, keys)
    varying.keep(varying.values(context()), evaluate(question))
    return lambda: varying.find(varying.values(context()))


def main() -> None:
    by_iam = Documents((policy(PolicyKind.IDENTITY, YES),))
    default = policy(PolicyKind.KEY, YES | {"Principal": {"AWS": root_arn(ACCOUNT)}})
    wild = policy(PolicyKind.KEY, YES | {"Principal": "*", "Action": [f"*a*{number}" for number in range(3_500)]})
    long = long_policy()

    def asking(document: PolicyDocument) -> Callable[[], object]:
        return lambda: evaluate(Question(ALICE, by_iam, ACTION, KEY_ARN, document, ACCOUNT, context=context()))

    question = Question(ALICE, by_iam, ACTION, KEY_ARN, long, ACCOUNT, context=context())
    three = ("aws:principalarn", "aws:sourceip", "kms:encryptioncontext:app")
    for name, act, times in (
        ("kept, one key", kept(consulted_keys(question), question), 20_000),
        ("kept, three keys", kept(three, question), 20_000),
        ("worked out, default policies", asking(default), 10_000),
        ("worked out, 32 KiB with conditions", asking(long), 300),
        ("worked out, 3,500 wildcards", asking(wild), 50),
    ):
        print(f"{name:36} {cost_us(act, times):8.2f} us")


if __name__ == "__main__":
    main()
