"""The evaluator against a second one, written from AWS's documentation alone, and against laws that any evaluator must keep.

The second one knows the JSON only: KMS developer guide, "Determining access to KMS keys" and "Key policies"; IAM user guide,
"Policy evaluation logic" and "Grammar of the IAM JSON policy language". It shares no code with the product, parser included.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import pytest

from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Decision, Documents, Question, evaluate, refusal_message
from strongroom.kms.iam.principals import Principal, root_principal, user_principal

ACCOUNT, OTHER = "000000000000", "111122223333"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE, BOB = (f"arn:aws:iam::{ACCOUNT}:user/{name}" for name in ("alice", "bob"))
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
EXAMPLES = 2500

Json = dict[str, Any]


# ── the second evaluator ────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def glob(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return glob(pattern[1:], text) or (bool(text) and glob(pattern, text[1:]))
    return bool(text) and pattern[0] in {"?", text[0]} and glob(pattern[1:], text[1:])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def concerns(statement: Json, action: str, resource: str) -> bool:
    """ "The Action element … is not case sensitive"; resources are."""
    return any(glob(a.lower(), action.lower()) for a in listed(statement.get("Action", []))) and any(
        glob(r, resource) for r in listed(statement.get("Resource", []))
    )


def named(statement: Json, arn: str, account: str) -> str:
    """How a key policy's statement names the caller: itself, through its account, or not."""
    principal = statement["Principal"]
    names = ["*"] if principal == "*" else listed(principal["AWS"])
    if "*" in names or arn in names:
        return "itself"
    return "account" if account in names or f"arn:aws:iam::{account}:root" in names else ""


def naive(arn: str, account: str, action: str, resource: str, key_policy: Json | None, identity: list[Json]) -> str:
    """allowed, explicit-identity, explicit-resource or implicit."""
    mine = [s for document in identity for s in listed(document["Statement"]) if concerns(s, action, resource)]
    keys = [s for s in listed(key_policy["Statement"]) if concerns(s, action, resource)] if key_policy else []
    keys = [s for s in keys if named(s, arn, account)]
    # "An explicit deny in any of these policies overrides the allow."
    if any(s["Effect"] == "Deny" for s in mine):
        return "explicit-identity"
    if any(s["Effect"] == "Deny" for s in keys):
        return "explicit-resource"
    is_root = arn.endswith(":root")
    # "If the key policy allows the principal itself, that is enough."
    if any(named(s, arn, account) == "itself" for s in keys):
        return "allowed"
    # "IAM policies are effective only when the key policy allows the account"; without a key they alone decide.
    if key_policy is None or keys:
        return "allowed" if mine or is_root else "implicit"
    return "implicit"


def verdict(decision: Decision) -> str:
    if decision.allowed:
        return "allowed"
    if decision.reason.startswith("with an explicit deny in an identity"):
        return "explicit-identity"
    return "explicit-resource" if decision.reason.startswith("with an explicit deny") else "implicit"


# ── random cases ────────────────────────────────────────────────────────────────────────────────────────────────────────

ACTIONS = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:CreateKey", "kms:PutKeyPolicy"]
ACTION_PATTERNS = [
    *ACTIONS,
    "*",
    "kms:*",
    "KMS:encrypt",
    "kms:?ncrypt",
    "kms:ReEncrypt*",
    "kms:*crypt",
    "s3:*",
    "kms",
    "",
]
RESOURCES = [KEY, KEY.replace("ab", "cd"), f"arn:aws:kms:us-east-1:{ACCOUNT}:alias/x", "*"]
RESOURCE_PATTERNS = [
    "*",
    KEY,
    KEY.upper(),
    "arn:aws:kms:*:*:key/*",
    "arn:aws:kms:us-east-?:*",
    f"*{ACCOUNT}*",
    "?",
    "",
    "*x",
]
PRINCIPALS = ["*", ACCOUNT, OTHER, ROOT, ROOT.replace(ACCOUNT, OTHER), ALICE, BOB]


Case = tuple[Principal, str, str, Json | None, list[Json]]
CALLERS = [
    root_principal(ACCOUNT, "AKIA"),
    user_principal(ACCOUNT, "alice", "AIDA", "AKIA"),
    user_principal(ACCOUNT, "carol", "AIDB", "AKIB"),
]


def some(seeded: Random, values: list[str]) -> Any:
    return seeded.choice(values) if seeded.random() < 0.5 else seeded.choices(values, k=seeded.randrange(4))


def a_statement(seeded: Random, *, key: bool) -> Json:
    statement: Json = {
        "Effect": seeded.choice(["Allow", "Allow", "Deny"]),
        "Action": some(seeded, ACTION_PATTERNS) or ([] if key else "kms"),
        "Resource": some(seeded, RESOURCE_PATTERNS) or ([] if key else "?"),
    }
    # Key policies only: an identity policy without one of them is refused.
    if key and seeded.random() < 0.06:
        del statement[seeded.choice(["Action", "Resource"])]
    if key:
        statement["Principal"] = "*" if seeded.random() < 0.15 else {"AWS": some(seeded, PRINCIPALS)}
    return statement


def a_document(seeded: Random, *, key: bool) -> Json:
    return {"Statement": [a_statement(seeded, key=key) for _ in range(seeded.randint(1, 4))]}


def a_case(seeded: Random) -> Case:
    return (
        seeded.choice(CALLERS),
        seeded.choice(ACTIONS),
        seeded.choice(RESOURCES),
        None if seeded.random() < 0.25 else a_document(seeded, key=True),
        [a_document(seeded, key=False) for _ in range(seeded.randrange(3))],
    )


def cases(seed: int, count: int = EXAMPLES) -> Iterator[tuple[Random, Case]]:
    """Cases, each with the randomness that goes on from it."""
    for number in range(count):
        seeded = Random(seed * 1_000_003 + number)
        yield seeded, a_case(seeded)


def ask(case: Case) -> Decision:
    principal, action, resource, key_policy, identity = case
    return evaluate(
        Question(
            principal,
            Documents(tuple(parse_policy(json.dumps(document), PolicyKind.IDENTITY) for document in identity)),
            action,
            resource,
            None if key_policy is None else parse_policy(json.dumps(key_policy), PolicyKind.KEY),
        )
    )


def test_two_evaluators_agree() -> None:
    seen: Counter[str] = Counter()
    for _, case in cases(1):
        principal, action, resource, key_policy, identity = case
        found = verdict(ask(case))
        assert found == naive(principal.arn, principal.account, action, resource, key_policy, identity), case
        seen[found] += 1
    # The cases reach every verdict, or agreement would say little.
    assert set(seen) == {"allowed", "explicit-identity", "explicit-resource", "implicit"}
    assert min(seen.values()) >= 50, seen


# ── laws ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_statement(case: Case, statement: Json, place: int) -> Case:
    """The case with one more statement, in the key policy if it names principals."""
    principal, action, resource, key_policy, identity = case
    if "Principal" in statement:
        found = list(key_policy["Statement"]) if key_policy else []
        found.insert(place % (len(found) + 1), statement)
        return principal, action, resource, {"Statement": found}, identity
    return principal, action, resource, key_policy, [*identity, {"Statement": [statement]}]


def another(seeded: Random, case: Case, effect: str) -> Case:
    """The case with one more statement of this effect, somewhere."""
    key = case[3] is not None and seeded.random() < 0.5
    return with_statement(case, {**a_statement(seeded, key=key), "Effect": effect}, seeded.randrange(10))


def test_adding_a_deny_never_widens() -> None:
    narrowed = 0
    for seeded, case in cases(2):
        before, after = ask(case), ask(another(seeded, case, "Deny"))
        assert before.allowed or not after.allowed, case
        narrowed += before.allowed and not after.allowed
    assert narrowed > 20


def test_adding_an_allow_never_beats_an_explicit_deny_and_never_narrows() -> None:
    widened = 0
    for seeded, case in cases(3):
        before, after = ask(case), ask(another(seeded, case, "Allow"))
        if before.reason.startswith("with an explicit deny"):
            assert not after.allowed, case
        assert after.allowed or not before.allowed, case
        widened += after.allowed and not before.allowed
    assert widened > 20


def test_the_order_of_statements_and_documents_is_free() -> None:
    for seeded, case in cases(4):
        principal, action, resource, key_policy, identity = case

        def shuffled(found: list[Any], seeded: Random = seeded) -> list[Any]:
            return seeded.sample(found, len(found))

        other = None if key_policy is None else {"Statement": shuffled(key_policy["Statement"])}
        documents = shuffled([{"Statement": shuffled(document["Statement"])} for document in identity])
        assert ask((principal, action, resource, other, documents)) == ask(case), case


def test_without_any_allow_nothing_is_allowed_on_a_key() -> None:
    for _, (principal, action, resource, key_policy, identity) in cases(5, 500):
        if key_policy is None:
            continue
        denying = [
            {"Statement": [{**statement, "Effect": "Deny"} for statement in document["Statement"]]}
            for document in (key_policy, *identity)
        ]
        assert not ask((principal, action, resource, denying[0], denying[1:])).allowed


def test_a_deny_of_everything_is_final() -> None:
    for _, case in cases(6, 500):
        assert not ask(with_statement(case, {"Effect": "Deny", "Action": "*", "Resource": "*"}, 0)).allowed


# ── named cases ─────────────────────────────────────────────────────────────────────────────────────────────────────────

USER = user_principal(ACCOUNT, "alice", "AIDA", "AKIA")
ENCRYPT = {"Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*"}


def key_policy(principal: Any, **more: Any) -> Json:
    return {"Statement": [{**ENCRYPT, "Principal": principal, **more}]}


def identity(**more: Any) -> list[Json]:
    return [{"Statement": [{**ENCRYPT, **more}]}]


@pytest.mark.parametrize(
    ("policy", "identities", "expected"),
    [
        (key_policy({"AWS": ALICE}), [], "allowed"),
        (key_policy({"AWS": BOB}), [], "implicit"),
        (key_policy({"AWS": BOB}), identity(), "implicit"),
        (key_policy("*"), [], "allowed"),
        (key_policy({"AWS": ROOT}), [], "implicit"),
        (key_policy({"AWS": ROOT}), identity(), "allowed"),
        (key_policy({"AWS": ACCOUNT}), identity(), "allowed"),
        (key_policy({"AWS": OTHER}), identity(), "implicit"),
        (key_policy({"AWS": ROOT}), identity(Effect="Deny"), "explicit-identity"),
        (key_policy({"AWS": ALICE}), identity(Effect="Deny"), "explicit-identity"),
        (key_policy({"AWS": ROOT}, Effect="Deny"), identity(), "explicit-resource"),
        (key_policy({"AWS": ALICE}, Effect="Deny"), identity(), "explicit-resource"),
        (key_policy({"AWS": BOB}, Effect="Deny"), identity(), "implicit"),
        (key_policy({"AWS": ROOT}, Resource="arn:aws:kms:eu-west-1:*"), identity(), "implicit"),
        (key_policy({"AWS": ROOT}, Action="kms:Decrypt"), identity(), "implicit"),
        (None, identity(), "allowed"),
        (None, [], "implicit"),
    ],
)
def test_a_user_and_a_key(policy: Json | None, identities: list[Json], expected: str) -> None:
    assert verdict(ask((USER, "kms:Encrypt", KEY, policy, identities))) == expected


def test_the_refusals_are_awss_sentences() -> None:
    """IAM user guide, "Troubleshoot access denied error messages"; the sentences are quoted in many KMS issues."""
    for policy, identities, end in (
        (key_policy({"AWS": ROOT}), [], "because no identity-based policy allows the kms:Encrypt action"),
        (key_policy({"AWS": BOB}), [], "because no resource-based policy allows the kms:Encrypt action"),
        (key_policy({"AWS": ROOT}), identity(Effect="Deny"), "with an explicit deny in an identity-based policy"),
        (key_policy("*", Effect="Deny"), [], "with an explicit deny in a resource-based policy"),
    ):
        question = Question(
            USER,
            Documents(tuple(parse_policy(json.dumps(document), PolicyKind.IDENTITY) for document in identities)),
            "kms:Encrypt",
            KEY,
            parse_policy(json.dumps(policy), PolicyKind.KEY),
        )
        sentence = f"User: {ALICE} is not authorized to perform: kms:Encrypt on resource: {KEY} {end}"
        assert refusal_message(question, evaluate(question)) == sentence


@pytest.mark.parametrize("name", ["*", "?", "${*}", "a/b", "alice*", ".*"])
def test_a_user_named_like_a_wildcard_is_only_itself(name: str) -> None:
    """Class 20: the caller's name is never a pattern, and a principal in a policy is never one either."""
    odd = user_principal(ACCOUNT, name, "AIDA", "AKIA")
    assert verdict(ask((odd, "kms:Encrypt", KEY, key_policy({"AWS": ALICE}), []))) == "implicit"
    assert verdict(ask((odd, "kms:Encrypt", KEY, key_policy({"AWS": ALICE}, Effect="Deny"), []))) == "implicit"


def test_principals_are_compared_in_their_case() -> None:
    """IAM users' names are unique without case, but an ARN in a policy is compared as it is."""
    capital = user_principal(ACCOUNT, "Alice", "AIDA", "AKIA")
    assert verdict(ask((capital, "kms:Encrypt", KEY, key_policy({"AWS": ALICE}), []))) == "implicit"
