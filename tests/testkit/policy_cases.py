"""Authorization cases as plain JSON, for every evaluator that wants them, and a seeded generator of them.

A case says everything that decides, in AWS's own spelling:

    principal         {"kind": …, "account": …, "name": …} and what the kind needs:
                        "root"            account
                        "user"            account, name, id
                        "role-session"    account, name and id (of the role), session
                        "federated-user"  account, name, user ("" when the root federated) with user_id
                        "service"         name, such as s3.amazonaws.com
    identity          texts of identity policies
    boundary          text of the permissions boundary, or null
    session           texts of session policies; null: none was passed
    service_controls  levels from the root of the organisation to the account, each a list of texts
    resource_controls texts of RCPs at the resource's account
    action, resource, resource_account
    key_policy        its text; null: no key is concerned
    principal_ids     by ARNs that the key policy may name, the unique ids that were behind them when it was saved
    grants            [{"id", "grantee", "operations", "constraints", "issuing_account"}] on the key
    encryption_context  the request's pairs, for constraints of grants
    context           the request's condition keys: a text, or a list of texts for keys that can have several

`context` is complete: what the principal implies (`aws:PrincipalArn`, `aws:username`) and what the encryption context
implies stands in it. Names of keys are spelled as AWS spells them; policies may spell them in another case.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, Final

from strongroom.kms.iam.condition_keys import WHOLE_CONTEXT
from strongroom.kms.iam.documents import PolicyDocument, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents, Question
from strongroom.kms.iam.grants import Grant, GrantConstraints, whole_context
from strongroom.kms.iam.patterns import fold
from strongroom.kms.iam.principals import (
    Principal,
    federated_user_principal,
    role_arn,
    role_session_principal,
    root_principal,
    service_principal,
    user_principal,
)

Json = dict[str, Any]

ACCOUNT, OTHER = "111122223333", "444455556666"
REGION = "us-east-1"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


# ── from JSON to a question ─────────────────────────────────────────────────────────────────────────────────────────────


class CaseContext:
    """A case's context; names of keys fold."""

    def __init__(self, context: Mapping[str, str | list[str]], encryption_context: Mapping[str, str]) -> None:
        self._values: dict[str, tuple[str, ...]] = {}
        for key, value in context.items():
            # Two names that differ in case only are one key with two values.
            self._values[fold(key)] = (
                *self._values.get(fold(key), ()),
                *([value] if isinstance(value, str) else value),
            )
        if encryption_context:
            self._values[WHOLE_CONTEXT] = whole_context(encryption_context)

    def values_of(self, key: str) -> tuple[str, ...] | None:
        return self._values.get(key) or None


def principal_of(said: Json) -> Principal:
    account, name = said.get("account", ""), said.get("name", "")
    match said["kind"]:
        case "root":
            return root_principal(account, "AKIA")
        case "user":
            return user_principal(account, name, said["id"], "AKIA")
        case "role-session":
            return role_session_principal(role_arn(account, name), said["id"], said["session"], "ASIA")
        case "federated-user":
            user = said["user"]
            is_root = not user
            federating = (
                root_principal(account, "AKIA") if is_root else user_principal(account, user, said["user_id"], "AKIA")
            )
            return federated_user_principal(federating, name, "ASIA")
        case "service":
            return service_principal(name)
    raise AssertionError(said)


def _parsed(texts: list[str], kind: PolicyKind) -> tuple[PolicyDocument, ...]:
    return tuple(parse_policy(text, kind, f"{kind.name}-{at}") for at, text in enumerate(texts))


def _grant(said: Json) -> Grant:
    constraints = said["constraints"]
    return Grant(
        said["id"],
        said["grantee"],
        frozenset(said["operations"]),
        GrantConstraints(
            constraints.get("EncryptionContextEquals"),
            constraints.get("EncryptionContextSubset"),
            constraints.get("SourceArn"),
        ),
        said["issuing_account"],
    )


def question_of(case: Json) -> Question:
    """The question that a case asks, its documents parsed by the product's parser."""
    boundary, session, key_policy = case["boundary"], case["session"], case["key_policy"]
    return Question(
        principal_of(case["principal"]),
        Documents(
            _parsed(case["identity"], PolicyKind.IDENTITY),
            None if boundary is None else parse_policy(boundary, PolicyKind.BOUNDARY, "boundary"),
            None if session is None else _parsed(session, PolicyKind.SESSION),
            tuple(_parsed(level, PolicyKind.SERVICE_CONTROL) for level in case["service_controls"]),
        ),
        case["action"],
        case["resource"],
        None if key_policy is None else parse_policy(key_policy, PolicyKind.KEY).bound(case["principal_ids"]),
        case["resource_account"],
        _parsed(case["resource_controls"], PolicyKind.RESOURCE_CONTROL),
        tuple(map(_grant, case["grants"])),
        CaseContext(case["context"], case["encryption_context"]),
    )


# ── random cases ────────────────────────────────────────────────────────────────────────────────────────────────────────


def unique_id(account: str, name: str, when: str = "NOW") -> str:
    """Of the user or role that has a name; or of the one that had it `THEN`."""
    prefix = "AROA" if name == "app" else "AIDA"
    return f"{prefix}{name.upper()}{account}{when}"


ALICES: Final = {account: unique_id(account, "alice") for account in (ACCOUNT, OTHER)}
APPS: Final = {account: unique_id(account, "app") for account in (ACCOUNT, OTHER)}
PRINCIPALS: Final[list[Json]] = [
    {"kind": "root", "account": ACCOUNT},
    {"kind": "user", "account": ACCOUNT, "name": "alice", "id": ALICES[ACCOUNT]},
    {"kind": "user", "account": ACCOUNT, "name": "bob", "id": unique_id(ACCOUNT, "bob")},
    {"kind": "role-session", "account": ACCOUNT, "name": "app", "id": APPS[ACCOUNT], "session": "s-1"},
    {"kind": "federated-user", "account": ACCOUNT, "name": "carol", "user": "alice", "user_id": ALICES[ACCOUNT]},
    {"kind": "federated-user", "account": ACCOUNT, "name": "carol", "user": ""},
    {"kind": "user", "account": OTHER, "name": "alice", "id": ALICES[OTHER]},
    {"kind": "role-session", "account": OTHER, "name": "app", "id": APPS[OTHER], "session": "s-1"},
    {"kind": "root", "account": OTHER},
    {"kind": "service", "name": "s3.amazonaws.com"},
]
ACTIONS: Final = [
    "kms:Encrypt",
    "kms:Decrypt",
    "kms:ReEncryptFrom",
    "kms:DescribeKey",
    "kms:PutKeyPolicy",
    "kms:CreateGrant",
]
KEYLESS_ACTIONS: Final = ["kms:CreateKey", "kms:ListKeys"]
ACTION_PATTERNS: Final = [
    *ACTIONS,
    *KEYLESS_ACTIONS,
    "*",
    "kms:*",
    "KMS:encrypt",
    "kms:?ncrypt",
    "kms:*crypt",
    "kms:ReEncrypt*",
    "s3:*",
]
RESOURCE_PATTERNS: Final = [
    *("*", KEY, KEY.upper(), "arn:aws:kms:*:*:key/*", "arn:aws:kms:us-east-?:*", f"*{ACCOUNT}*", "?", "arn:aws:s3:::x"),
    f"arn:aws:kms:{REGION}:${{aws:ResourceAccount}}:key/*",
    "arn:aws:kms:*:*:key/${aws:username}*",
    "arn:aws:kms:*:*:key/${aws:PrincipalTag/key, '1234abcd-12ab-34cd-56ef-1234567890ab'}",
    "*${*}*",
]  # fmt: skip
NAMES: Final = [
    *(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", OTHER, f"arn:aws:iam::{OTHER}:root"),
    *(f"arn:aws:iam::{account}:{name}" for account in (ACCOUNT, OTHER) for name in ("user/alice", "role/app")),
    f"arn:aws:iam::{ACCOUNT}:user/bob",
    *(f"arn:aws:sts::{account}:assumed-role/app/s-1" for account in (ACCOUNT, OTHER)),
    f"arn:aws:sts::{ACCOUNT}:federated-user/carol",
]
# By name, the unique id of today's and that of whoever had it before.
IDS: Final = {
    **{
        f"arn:aws:iam::{account}:{kind}/{name}": (unique_id(account, name), unique_id(account, name, "THEN"))
        for account in (ACCOUNT, OTHER)
        for kind, name in (("user", "alice"), ("role", "app"), ("user", "bob"))
    },
    **{
        f"arn:aws:sts::{account}:assumed-role/app/s-1": (
            f"{unique_id(account, 'app')}:s-1",
            f"{unique_id(account, 'app', 'THEN')}:s-1",
        )
        for account in (ACCOUNT, OTHER)
    },
}
# A principal's ids stand in policies and grants, too.
BARE_IDS: Final = [unique for arn in NAMES if arn in IDS for unique in IDS[arn]]
GRANTEES: Final = [*NAMES[4:], *BARE_IDS, "s3.amazonaws.com"]
PAIRS: Final = [
    *(("app", "a"), ("app", "A"), ("app", "b")),
    *(("stage", "a"), ("Stage", "a"), ("Stage", "x*"), ("owner", "alice")),
]
OPERATIONS: Final = [
    *(action.removeprefix("kms:") for action in ACTIONS if action != "kms:PutKeyPolicy"),
    "RetireGrant",
]
SOURCE_ARNS: Final = ["arn:aws:s3:::bucket", "arn:aws:s3:::other", f"arn:aws:sns:{REGION}:{ACCOUNT}:topic:one:2"]

_STRINGS: Final = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
]
_ORDERS: Final = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]
_TEXTS: Final = [
    "a",
    "A",
    "b",
    "x*",
    "*",
    "?",
    "alice",
    "${aws:username}",
    "${kms:EncryptionContext:owner}",
    "${aws:nothing, 'a'}",
    "${*}",
    "",
]
USERS: Final = f"arn:aws:iam::{ACCOUNT}:user/*"
# By key: the operators that make sense of it, and values for them.
_KEYS: Final[dict[str, tuple[list[str], list[Any]]]] = {
    "kms:EncryptionContext:app": (_STRINGS, _TEXTS),
    "kms:encryptioncontext:STAGE": (_STRINGS, _TEXTS),
    "kms:EncryptionContext:owner": (_STRINGS, _TEXTS),
    "aws:PrincipalTag/key": (_STRINGS, _TEXTS),
    "aws:username": (_STRINGS, [*_TEXTS, "Alice", "bob"]),
    "kms:CallerAccount": (_STRINGS, [ACCOUNT, OTHER, "1111*", "${aws:ResourceAccount}"]),
    "aws:SourceIp": (["IpAddress", "NotIpAddress"], ["10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0"]),
    "kms:RotationPeriodInDays": ([f"Numeric{order}" for order in _ORDERS], ["90", 365, "365.0", -1, 2560]),
    "aws:CurrentTime": ([f"Date{order}" for order in _ORDERS], ["2026-11-24T09:00:00Z", "2026", "1764000000", "2030-01-01"]),
    "aws:SecureTransport": (["Bool"], ["true", False, "TRUE"]),
    "aws:PrincipalArn": (
        ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
        [USERS, "arn:*:*:*:*:*", "arn:aws:iam::*:role/app", "arn:aws:iam::*:user/${aws:username}"],
    ),
    "aws:SourceArn": (
        ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
        ["arn:aws:s3:::bucket", "arn:aws:s3:::*e*", "arn:aws:sns:*:topic:one:?", "arn:aws:sns:*:*:topic:*"],
    ),
    "aws:userid": (["BinaryEquals"], ["QUlEQQ==", "YWxpY2U="]),
    "kms:EncryptionContextKeys": (_STRINGS, ["app", "App", "stage", "own*"]),
    "aws:TagKeys": (_STRINGS, ["a", "b", "?"]),
}  # fmt: skip
_MULTIVALUED: Final = {"kms:EncryptionContextKeys", "aws:TagKeys"}
# Keys with operators of their own come up as often as those that share the operators of strings.
_CHOSEN: Final = [
    *_KEYS,
    *["kms:RotationPeriodInDays", "aws:CurrentTime"] * 4,
    *["aws:SourceIp", "aws:SecureTransport"] * 2,
]
_NO_FOR_ALL: Final = "kms:encryptioncontext:"


def _some(seeded: Random, values: list[Any], most: int = 3) -> Any:
    """One value, or a list of one or more."""
    return seeded.choice(values) if seeded.random() < 0.5 else seeded.choices(values, k=seeded.randint(1, most))


def _condition(seeded: Random, *, key_policy: bool) -> Json:
    found: Json = {}
    for _ in range(seeded.choice([1, 1, 1, 2])):
        key = seeded.choice(_CHOSEN)
        operators, values = _KEYS[key]
        if seeded.random() < 0.1:
            found.setdefault("Null", {})[key] = _some(seeded, ["true", False], 2)
            continue
        operator = seeded.choice(operators)
        if seeded.random() < (0.85 if key in _MULTIVALUED else 0.08):
            quantifier = seeded.choice(["ForAllValues:", "ForAnyValue:"])
            if not (key_policy and quantifier == "ForAllValues:" and key.lower().startswith(_NO_FOR_ALL)):
                operator = quantifier + operator
        if seeded.random() < 0.15:
            operator += "IfExists"
        found.setdefault(operator, {})[key] = _some(seeded, values)
    return found


def _names(seeded: Random) -> Any:
    if seeded.random() < 0.15:
        return "*"
    named = [*NAMES, *BARE_IDS] if seeded.random() < 0.2 else NAMES
    names: Json = {"AWS": _some(seeded, [*named, "*"] if seeded.random() < 0.1 else named)}
    if seeded.random() < 0.2:
        names["Service"] = seeded.choice(["s3.amazonaws.com", "ec2.amazonaws.com"])
    return names


def _excepted(seeded: Random) -> Any:
    """Names for NotPrincipal: mostly all that somebody has, so that it spares him."""
    root = f"arn:aws:iam::{ACCOUNT}:root"
    whole = [
        [root, f"arn:aws:iam::{ACCOUNT}:user/alice", f"arn:aws:sts::{ACCOUNT}:federated-user/carol"],
        [root, f"arn:aws:iam::{ACCOUNT}:role/app", f"arn:aws:sts::{ACCOUNT}:assumed-role/app/s-1"],
        [OTHER, f"arn:aws:iam::{OTHER}:role/app", f"arn:aws:sts::{OTHER}:assumed-role/app/s-1"],
    ]
    return {"AWS": seeded.choice(whole)} if seeded.random() < 0.6 else _names(seeded)


def a_statement(seeded: Random, kind: str, effect: str | None = None) -> Json:
    """A statement of one kind of document: `key`, `identity` or `rcp`."""
    effect = effect or ("Deny" if kind == "rcp" else seeded.choice(["Allow", "Allow", "Allow", "Deny"]))
    narrow = effect == "Deny" and seeded.random() < 0.6
    actions = ACTIONS if narrow else [*ACTION_PATTERNS, *["*", "kms:*"] * 4]
    resources = [*RESOURCE_PATTERNS, *["*"] * 10]
    statement: Json = {
        "Effect": effect,
        "NotAction" if seeded.random() < 0.1 else "Action": _some(seeded, actions),
        "NotResource" if seeded.random() < 0.06 else "Resource": _some(seeded, resources, 2),
    }
    if kind == "key" and seeded.random() < 0.03:
        statement.pop(seeded.choice([name for name in statement if name in {"Action", "Resource"}] or ["Sid"]), None)
    if kind == "key":
        excepts = effect == "Deny" and seeded.random() < 0.25
        statement["NotPrincipal" if excepts else "Principal"] = _excepted(seeded) if excepts else _names(seeded)
    elif kind == "rcp":
        statement["Principal"] = "*"
    if seeded.random() < (0.65 if effect == "Deny" else 0.5):
        statement["Condition"] = _condition(seeded, key_policy=kind == "key")
    return statement


def a_document(seeded: Random, kind: str, most: int = 3) -> Json:
    document: Json = {"Statement": [a_statement(seeded, kind) for _ in range(seeded.randint(1, most))]}
    if seeded.random() < 0.9:
        document["Version"] = "2012-10-17" if seeded.random() < 0.9 else "2008-10-17"
    return document


_ALL: Final = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}


def _limit(seeded: Random) -> str:
    return json.dumps(_ALL if seeded.random() < 0.5 else a_document(seeded, "identity"))


def _key_policy(seeded: Random, principal: Json) -> str:
    document = a_document(seeded, "key")
    if seeded.random() < 0.6:
        account = principal.get("account", ACCOUNT)
        names = [f"arn:aws:iam::{ACCOUNT}:root", account or ACCOUNT]
        document["Statement"].append(
            {"Effect": "Allow", "Principal": {"AWS": names}, "Action": "kms:*", "Resource": "*"}
        )
    return json.dumps(document)


def _principal_ids(seeded: Random) -> dict[str, str]:
    """Of a policy from before ids were kept, none; else mostly those of today."""
    if seeded.random() < 0.3:
        return {}
    return {arn: then if seeded.random() < 0.4 else now for arn, (now, then) in IDS.items()}


def _a_grant(seeded: Random, number: int, principal: Json, pairs: Json) -> Json:
    """A grant; every other one names who asks, or who is behind his session."""
    constraints: Json = {}
    if seeded.random() < 0.6:
        kind = seeded.choice(["EncryptionContextEquals", "EncryptionContextSubset"])
        wanted = pairs or dict(seeded.sample(PAIRS, seeded.randint(1, 2)))
        if seeded.random() < 0.4:
            wanted = {seeded.choice([key, key.swapcase()]): seeded.choice([wanted[key], "a"]) for key in wanted}
        constraints[kind] = wanted if seeded.random() < 0.6 else dict(seeded.sample(PAIRS, seeded.randint(1, 2)))
    if seeded.random() < 0.15:
        constraints["SourceArn"] = seeded.choice(SOURCE_ARNS)
    asked = principal_of(principal)
    names = (asked.arn, asked.issuer_arn, asked.principal_id, asked.issuer_id)
    own = [name for name in names if name in GRANTEES]
    return {
        "id": f"grant-{number}",
        "grantee": seeded.choice(own if own and seeded.random() < 0.5 else GRANTEES),
        "operations": seeded.sample(OPERATIONS, seeded.randint(1, 5)),
        "constraints": constraints,
        "issuing_account": seeded.choice([ACCOUNT, asked.account or ACCOUNT, OTHER]),
    }


def _context(seeded: Random, principal: Json, pairs: Json) -> Json:
    """The request's keys, some at random, and what principal and encryption context imply."""
    asked = principal_of(principal)
    context: Json = {"kms:CallerAccount": asked.account} if asked.account else {}
    if asked.account:
        context["aws:PrincipalArn"] = asked.issuer_arn if principal["kind"] == "role-session" else asked.arn
        context["aws:PrincipalAccount"] = asked.account
    if principal["kind"] == "user":
        context["aws:username"] = principal["name"]
    context |= {f"kms:EncryptionContext:{key}": value for key, value in pairs.items()}
    if pairs:
        context["kms:EncryptionContextKeys"] = list(pairs)
    context["aws:ResourceAccount"] = ACCOUNT
    optional: Json = {
        "aws:SourceIp": seeded.choice(["10.1.2.3", "192.0.2.1", "2001:db8::1", "AWS Internal"]),
        "kms:RotationPeriodInDays": seeded.choice(["90", "365", "400", "ninety"]),
        "aws:CurrentTime": seeded.choice(["2026-11-24T09:00:00Z", "2029-12-31T23:59:59Z", "2030-01-01T00:00:00Z"]),
        "aws:SecureTransport": seeded.choice(["true", "false"]),
        "aws:TagKeys": seeded.sample(["a", "b", "c"], seeded.randint(1, 3)),
        "aws:PrincipalTag/key": seeded.choice(["a", "alice", "*", "1234abcd-12ab-34cd-56ef-1234567890ab"]),
        "aws:SourceArn": seeded.choice(SOURCE_ARNS),
        "aws:userid": seeded.choice(["AIDA", "alice"]),
    }
    return context | {key: value for key, value in optional.items() if seeded.random() < 0.6}


def a_case(seeded: Random) -> Json:
    principal = seeded.choice(PRINCIPALS)
    keyless = seeded.random() < 0.1
    if keyless and principal["kind"] == "service":
        principal = PRINCIPALS[1]
    pairs = dict(seeded.sample(PAIRS, seeded.randint(0, 2)))
    is_session = principal["kind"] in {"role-session", "federated-user"}
    is_bounded = principal["kind"] in {"user", "role-session"}
    owner = principal.get("account", ACCOUNT) if keyless else ACCOUNT
    case: Json = {
        "principal": principal,
        "identity": [json.dumps(a_document(seeded, "identity")) for _ in range(seeded.randrange(3))],
        "boundary": _limit(seeded) if is_bounded and seeded.random() < 0.25 else None,
        "session": [_limit(seeded) for _ in range(seeded.choice([1, 1, 2]))]
        if is_session and seeded.random() < 0.6
        else None,
        "service_controls": [
            [_limit(seeded) for _ in range(seeded.choice([1, 1, 2]))] for _ in range(seeded.choice([0, 0, 0, 1, 2]))
        ],
        "resource_controls": [json.dumps(a_document(seeded, "rcp", 1))] if seeded.random() < 0.1 else [],
        "action": seeded.choice(KEYLESS_ACTIONS if keyless else ACTIONS),
        "resource": "*" if keyless else KEY,
        "resource_account": owner,
        "key_policy": None if keyless else _key_policy(seeded, principal),
        "principal_ids": {} if keyless else _principal_ids(seeded),
        "grants": []
        if keyless
        else [_a_grant(seeded, number, principal, pairs) for number in range(seeded.choice([0, 1, 1, 2]))],
        "encryption_context": pairs,
        "context": _context(seeded, principal, pairs) | {"aws:ResourceAccount": owner},
    }
    if seeded.random() < 0.5:
        case["identity"].append(json.dumps(_ALL))
    return case


def cases(seed: int, count: int) -> Iterator[tuple[Random, Json]]:
    """Cases, each with the randomness that goes on from it; the same for the same seed."""
    for number in range(count):
        seeded = Random(seed * 1_000_003 + number)
        yield seeded, a_case(seeded)


def with_text(case: Json, change: Callable[[Json], None], *place: str) -> Json:
    """The case with a document changed: `place` is a member, and the index where it is a list."""
    copied = json.loads(json.dumps(case))
    holder, key = copied, place[0]
    at: Any = key
    if len(place) > 1:
        holder, at = copied[key], int(place[1])
    document = json.loads(holder[at])
    change(document)
    holder[at] = json.dumps(document)
    return copied
