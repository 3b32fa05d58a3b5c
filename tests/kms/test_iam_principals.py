"""Which names call whom (IAM user guide, "AWS JSON policy elements: Principal" and "NotPrincipal"), a table."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import msgspec
import pytest

from strongroom.kms.iam import conditions, documents, evaluate, grants, patterns, principals
from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents, Question, naming
from strongroom.kms.iam.principals import (
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


def naming_of(principal: Principal, names: Any, element: str = "Principal", boundary: Any = None) -> Naming:
    kind = PolicyKind.TRUST if isinstance(names, dict) and "Federated" in names else PolicyKind.KEY
    effect = "Deny" if element == "NotPrincipal" else "Allow"
    statement = {"Effect": effect, element: names, "Action": "*"} | (
        {"Resource": "*"} if kind is PolicyKind.KEY else {}
    )
    (parsed,) = parse_policy(json.dumps({"Statement": statement}), kind).statements
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
    assert SESSION.issuer_arn == ROLE_ARN


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
