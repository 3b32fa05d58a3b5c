"""Which names call whom (IAM user guide, "AWS JSON policy elements: Principal" and "NotPrincipal"), a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import msgspec
import pytest

from strongroom.kms.iam import conditions, documents, evaluate, grants, patterns, principals
from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents, Question, naming
from strongroom.kms.iam.principals import (
    Named,
    Naming,
    Principal,
    PrincipalKind,
    federated_user_principal,
    role_session_principal,
    root_principal,
    service_principal,
    user_principal,
    web_identity_principal,
)

ACCOUNT, OTHER = "111122223333", "444455556666"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALICE_ARN, ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:user/alice", f"arn:aws:iam::{ACCOUNT}:role/team/app"
SESSION_ARN, CAROL_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/s-1", f"arn:aws:sts::{ACCOUNT}:federated-user/carol"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/k"

ALICE = user_principal(ACCOUNT, "alice", "AIDA", "AKIA")
SESSION = role_session_principal(ROLE_ARN, "AROA", "s-1", "ASIA")
CAROL = federated_user_principal(ALICE, "carol", "ASIA")
ROOTS = root_principal(ACCOUNT, "AKIA")
ROOTS_CAROL = federated_user_principal(ROOTS, "carol", "ASIA")
S3 = service_principal("s3.amazonaws.com")
POD = web_identity_principal("accounts.google.com", "123", ACCOUNT)
OPERATOR = Principal(PrincipalKind.OPERATOR, ACCOUNT, "operator:0", "0")
CHORE = Principal(PrincipalKind.SERVICE, ACCOUNT, ROOT, "")
NOT, BY_ACCOUNT, ISSUER, ITSELF = Naming.NOT, Naming.ACCOUNT, Naming.ISSUER, Naming.ITSELF


def naming_of(
    principal: Principal,
    names: Any,
    element: str = "Principal",
    boundary: Any = None,
    ids: Mapping[str, str] | None = None,
) -> Naming:
    kind = PolicyKind.TRUST if isinstance(names, dict) and "Federated" in names else PolicyKind.KEY
    effect = "Deny" if element == "NotPrincipal" else "Allow"
    statement = {"Effect": effect, element: names, "Action": "*"} | (
        {"Resource": "*"} if kind is PolicyKind.KEY else {}
    )
    (parsed,) = parse_policy(json.dumps({"Statement": statement}), kind).bound(ids or {}).statements
    return naming(parsed, Question(principal, Documents(boundary=boundary), "kms:Encrypt", "*"))


@pytest.mark.parametrize("room", [conditions, documents, evaluate, grants, patterns, principals])
def test_what_decides_does_not_change_once_it_is_made(room: ModuleType) -> None:
    """Decisions are kept under these objects, and read by every request."""
    public = [thing for name, thing in vars(room).items() if isinstance(thing, type) and not name.startswith("_")]
    structs = [thing for thing in public if issubclass(thing, msgspec.Struct)]
    assert structs
    assert [struct.__name__ for struct in structs if not struct.__struct_config__.frozen] == []


def test_sessions_have_the_arns_of_aws() -> None:
    assert (SESSION.account, SESSION.arn, SESSION.principal_id) == (ACCOUNT, SESSION_ARN, "AROA:s-1")
    assert (CAROL.arn, CAROL.principal_id) == (CAROL_ARN, f"{ACCOUNT}:carol")
    assert (SESSION.issuer_arn, SESSION.issuer_id) == (ROLE_ARN, "AROA")
    assert (CAROL.issuer_arn, CAROL.issuer_id) == (ALICE_ARN, "AIDA")


@pytest.mark.parametrize(
    ("principal", "names", "expected"),
    [
        *[(who, "*", ITSELF) for who in (ALICE, SESSION, CAROL, ROOTS, S3, POD)],
        *[(who, {"AWS": "*"}, ITSELF) for who in (ALICE, SESSION, CAROL, ROOTS, S3)],
        *[(who, names, NOT) for who in (OPERATOR, CHORE) for names in ("*", {"AWS": "*"}, {"AWS": ROOT})],
        *[(who, {"AWS": name}, BY_ACCOUNT) for who in (ALICE, SESSION, CAROL, ROOTS) for name in (ACCOUNT, ROOT)],
        (ROOTS_CAROL, {"AWS": ROOT}, BY_ACCOUNT),
        *[(who, {"AWS": [OTHER, f"arn:aws:iam::{OTHER}:root"]}, NOT) for who in (ALICE, SESSION, CAROL, ROOTS)],
        (ALICE, {"AWS": ALICE_ARN}, ITSELF),
        (ALICE, {"AWS": [ROOT, ALICE_ARN]}, ITSELF),
        (ALICE, {"AWS": ALICE_ARN.replace("alice", "Alice")}, NOT),
        (ALICE, {"AWS": ALICE_ARN.replace(ACCOUNT, OTHER)}, NOT),
        (ALICE, {"AWS": ROLE_ARN}, NOT),
        (SESSION, {"AWS": SESSION_ARN}, ITSELF),
        (SESSION, {"AWS": ROLE_ARN}, ISSUER),
        (SESSION, {"AWS": [ROLE_ARN, ROOT]}, ISSUER),
        # The path is the role's, not the session's.
        (SESSION, {"AWS": f"arn:aws:iam::{ACCOUNT}:role/app"}, NOT),
        (SESSION, {"AWS": SESSION_ARN.replace("s-1", "s-2")}, NOT),
        (CAROL, {"AWS": CAROL_ARN}, ITSELF),
        (CAROL, {"AWS": ALICE_ARN}, ISSUER),
        (ALICE, {"AWS": CAROL_ARN}, NOT),
        (S3, {"Service": "s3.amazonaws.com"}, ITSELF),
        (S3, {"Service": "ec2.amazonaws.com"}, NOT),
        (S3, {"AWS": [ROOT, ALICE_ARN]}, NOT),
        (ALICE, {"Service": "s3.amazonaws.com"}, NOT),
        (POD, {"Federated": ["www.amazon.com", "accounts.google.com"]}, ITSELF),
        (POD, {"Federated": "www.amazon.com"}, NOT),
        (POD, {"AWS": ROOT}, NOT),
        (ALICE, {"Federated": "accounts.google.com"}, NOT),
    ],
)  # fmt: skip
def test_a_principal_element_calls_whom_it_names(principal: Principal, names: Any, expected: Naming) -> None:
    assert naming_of(principal, names) is expected


@pytest.mark.parametrize(
    ("principal", "names", "denied"),
    [
        # "you must also specify the account ARN of the not-denied principal".
        (ALICE, {"AWS": [ALICE_ARN, ROOT]}, False),
        (ALICE, {"AWS": ALICE_ARN}, True),
        (ALICE, {"AWS": ROOT}, True),
        (ALICE, {"AWS": [ALICE_ARN.replace("alice", "bob"), ROOT]}, True),
        (ALICE, "*", False),
        # "the ARN of the assumed-role user, the role and the AWS account".
        (SESSION, {"AWS": [SESSION_ARN, ROLE_ARN, ROOT]}, False),
        (SESSION, {"AWS": [SESSION_ARN, ROLE_ARN]}, True),
        (SESSION, {"AWS": [SESSION_ARN, ROOT]}, True),
        (SESSION, {"AWS": [ROLE_ARN, ROOT]}, True),
        (CAROL, {"AWS": [CAROL_ARN, ALICE_ARN, ROOT]}, False),
        (CAROL, {"AWS": [CAROL_ARN, ROOT]}, True),
        (ROOTS_CAROL, {"AWS": [CAROL_ARN, ROOT]}, False),
        (ROOTS, {"AWS": ROOT}, False),
        (ROOTS, {"AWS": OTHER}, True),
        (S3, {"Service": "s3.amazonaws.com"}, False),
        (S3, {"AWS": ROOT}, True),
    ],
)  # fmt: skip
def test_not_principal_leaves_out_only_who_is_named_at_every_step(
    principal: Principal, names: Any, denied: bool
) -> None:
    """Class 21."""
    assert (naming_of(principal, names, "NotPrincipal") is not Naming.NOT) == denied


def test_not_principal_always_denies_whoever_has_a_permissions_boundary() -> None:
    """IAM user guide, "NotPrincipal" and "Permissions boundaries": "regardless of the values specified"."""
    text = json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
    boundary = parse_policy(text, PolicyKind.BOUNDARY)
    names = {"AWS": [ALICE_ARN, ROOT]}
    assert naming_of(ALICE, names, "NotPrincipal") is Naming.NOT
    assert naming_of(ALICE, names, "NotPrincipal", boundary) is not Naming.NOT


# ── by unique id ────────────────────────────────────────────────────────────────────────────────────────────────────────

# Of today, and of somebody who had the same names before.
NOW = {ALICE_ARN: "AIDA", ROLE_ARN: "AROA", SESSION_ARN: "AROA:s-1"}
THEN = {ALICE_ARN: "AIDATHEN", ROLE_ARN: "AROATHEN", SESSION_ARN: "AROATHEN:s-1"}
# As in real documents, which a parser takes.
USER_ID, ROLE_ID = "AIDACKCEVSQ6C2EXAMPLE", "AROACKCEVSQ6C2EXAMPLE"
BY_ID = user_principal(ACCOUNT, "alice", USER_ID, "AKIA")
SESSION_BY_ID = role_session_principal(ROLE_ARN, ROLE_ID, "s-1", "ASIA")


@pytest.mark.parametrize(
    ("principal", "names", "now"),
    [
        (ALICE, ALICE_ARN, ITSELF),
        (SESSION, SESSION_ARN, ITSELF),
        (SESSION, ROLE_ARN, ISSUER),
        (SESSION, [ROLE_ARN, SESSION_ARN], ITSELF),
        (CAROL, ALICE_ARN, ISSUER),
        (CAROL, CAROL_ARN, ITSELF),
    ],
)
def test_a_document_that_was_saved_means_whoever_had_the_name_then(
    principal: Principal, names: Any, now: Naming
) -> None:
    names = {"AWS": names}
    assert naming_of(principal, names, ids=NOW) is now
    # From before ids were kept: whoever has the name.
    assert naming_of(principal, names) is now
    assert naming_of(principal, names, ids={"arn:aws:iam::111122223333:user/other": "AIDAOTHER"}) is now
    assert naming_of(principal, names, ids=THEN) is (ITSELF if principal is CAROL and now is ITSELF else NOT)


def test_whoever_was_renamed_is_meant_by_the_name_of_then() -> None:
    before = f"arn:aws:iam::{ACCOUNT}:user/before"
    assert naming_of(ALICE, {"AWS": before}, ids={before: "AIDA"}) is ITSELF
    assert naming_of(CAROL, {"AWS": [before, ROOT]}, ids={before: "AIDA"}) is ISSUER
    # Who has that name now is somebody else.
    other = user_principal(ACCOUNT, "before", "AIDAOTHER", "AKIA")
    assert naming_of(other, {"AWS": [before, ROOT]}, ids={before: "AIDA"}) is BY_ACCOUNT


@pytest.mark.parametrize(
    ("principal", "names", "expected"),
    [
        (BY_ID, [USER_ID], ITSELF),
        (BY_ID, [ROLE_ID, f"{ROLE_ID}:s-1"], NOT),
        (federated_user_principal(BY_ID, "carol", "ASIA"), [USER_ID, ROOT], ISSUER),
        (SESSION_BY_ID, [ROLE_ID], ISSUER),
        (SESSION_BY_ID, [ROLE_ID, f"{ROLE_ID}:s-1"], ITSELF),
        (SESSION_BY_ID, [f"{ROLE_ID}:s-2", USER_ID], NOT),
        (ALICE, [USER_ID, ROOT], BY_ACCOUNT),
        (S3, [USER_ID], NOT),
    ],
)
def test_a_unique_id_is_a_name(principal: Principal, names: list[str], expected: Naming) -> None:
    assert naming_of(principal, {"AWS": names}) is expected
    # Beside one that is bound.
    other = f"arn:aws:iam::{ACCOUNT}:user/other"
    assert naming_of(principal, {"AWS": [other, *names]}, ids={other: "AIDAOTHER"}) is expected


@pytest.mark.parametrize(
    ("principal", "names"),
    [
        (ALICE, [ALICE_ARN, ROOT]),
        (SESSION, [SESSION_ARN, ROLE_ARN, ROOT]),
        (CAROL, [CAROL_ARN, ALICE_ARN, ROOT]),
    ],
)
def test_not_principal_leaves_out_whoever_had_the_names_when_it_was_saved(
    principal: Principal, names: list[str]
) -> None:
    denied = {
        which: naming_of(principal, {"AWS": names}, "NotPrincipal", ids=ids) is not NOT
        for which, ids in {"now": NOW, "then": THEN, "never": {}}.items()
    }
    assert denied == {"now": False, "then": True, "never": False}
    # Each step counts.
    for arn in names[:-1]:
        if arn in NOW:
            assert naming_of(principal, {"AWS": names}, "NotPrincipal", ids=NOW | {arn: THEN[arn]}) is not NOT


def test_binding_leaves_everything_else_of_a_document_as_it_is() -> None:
    statements = [
        {"Sid": "a", "Effect": "Deny", "NotPrincipal": {"AWS": [ALICE_ARN, ROOT]}, "NotAction": "a:b", "Resource": "*"},
        {"Effect": "Allow", "Principal": {"AWS": [ROLE_ARN, CAROL_ARN]}, "Action": "kms:*", "Resource": KEY},
        {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"},
    ]
    document = parse_policy(json.dumps({"Statement": statements}), PolicyKind.KEY, "a name")
    bound = document.bound(NOW)
    assert (bound.kind, bound.name, bound.names_resources) == (PolicyKind.KEY, "a name", True)
    first, second, third = bound.statements
    assert first.principals == Named(accounts=frozenset({ACCOUNT}), ids={"AIDA": ALICE_ARN})
    assert second.principals == Named(arns=frozenset({CAROL_ARN}), ids={"AROA": ROLE_ARN})
    assert third == document.statements[2]
    same = [msgspec.structs.replace(one, principals=None) for one in bound.statements]
    assert same == [msgspec.structs.replace(one, principals=None) for one in document.statements]
    own = parse_policy(
        json.dumps({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}), PolicyKind.IDENTITY
    )
    assert own.bound(NOW).statements == own.statements


def test_a_principal_is_the_grantee_of_grants_under_its_names_and_ids() -> None:
    assert ALICE.grantee_names == (ALICE_ARN,)
    assert BY_ID.grantee_names == (ALICE_ARN, USER_ID)
    assert SESSION_BY_ID.grantee_names == (SESSION_ARN, ROLE_ARN, f"{ROLE_ID}:s-1", ROLE_ID)
    assert federated_user_principal(BY_ID, "carol", "").grantee_names == (CAROL_ARN, ALICE_ARN, USER_ID)
    assert (ROOTS.grantee_names, S3.grantee_names) == ((ROOT,), ("s3.amazonaws.com",))
    assert ROOTS_CAROL.grantee_names == (CAROL_ARN, ROOT)
    assert BY_ID.identified == ((ALICE_ARN, USER_ID),)
    assert SESSION_BY_ID.identified == ((SESSION_ARN, f"{ROLE_ID}:s-1"), (ROLE_ARN, ROLE_ID))
