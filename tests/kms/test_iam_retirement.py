"""Who may retire a grant, as the document that the grant amounts to.

Source: KMS developer guide, "Retiring and revoking grants".
"""

from __future__ import annotations

from typing import Any

import pytest

from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents, Question, evaluate
from strongroom.kms.iam.principals import (
    Principal,
    federated_user_principal,
    role_arn,
    role_session_principal,
    root_arn,
    root_principal,
    service_principal,
    user_principal,
)
from strongroom.kms.iam.retirement import RETIRE, retirement
from testkit.raw import allow, policy

OWNER, ISSUER, THIRD = "111122223333", "444455556666", "777788889999"
ROLE = role_arn(THIRD, "app")
ALICE = user_principal(OWNER, "alice", "AIDA", "AKIA")
BOB = user_principal(ISSUER, "bob", "AIDA", "AKIA")
CAROL = user_principal(THIRD, "carol", "AIDA", "AKIA")
SESSION = role_session_principal(ROLE, "AROA", "s-1", "ASIA")
OTHER_SESSION = role_session_principal(ROLE, "AROA", "s-2", "ASIA")
FEDERATED = federated_user_principal(CAROL, "dora", "ASIA")
S3 = service_principal("s3.amazonaws.com")
MAY = Documents((parse_policy(policy(allow(RETIRE)), PolicyKind.IDENTITY),))
MUST_NOT = Documents((parse_policy(policy(allow(RETIRE, effect="Deny")), PolicyKind.IDENTITY),))
SAYS_NOTHING = Documents()
LIMITED = Documents(session=(parse_policy(policy(allow("kms:Decrypt")), PolicyKind.SESSION),))
BOUND = Documents(boundary=parse_policy(policy(allow("kms:Decrypt")), PolicyKind.BOUNDARY))


def may(who: Principal, documents: Documents = SAYS_NOTHING, action: str = RETIRE, **grant: Any) -> bool:
    said = {"grantee": CAROL.arn, "retiring": "", "operations": ("Encrypt",), **grant}
    document = retirement(**said, issuing_account=ISSUER, key_account=OWNER, arns_of_then={})
    arn = f"arn:aws:kms:us-east-1:{OWNER}:key/k"
    return evaluate(Question(who, documents, action, arn, resource_policy=document)).allowed


@pytest.mark.parametrize(
    ("retiring", "who", "expected"),
    [
        (CAROL.arn, CAROL, True),
        (CAROL.arn, ALICE, False),
        (CAROL.arn, BOB, False),
        ("", CAROL, False),
        (CAROL.arn, FEDERATED, False),
        (ROLE, SESSION, True),
        (SESSION.arn, SESSION, True),
        (SESSION.arn, OTHER_SESSION, False),
        (FEDERATED.arn, FEDERATED, True),
        (S3.arn, S3, True),
        ("ec2.amazonaws.com", S3, False),
        (root_arn(THIRD), root_principal(THIRD, "AKIA"), True),
        (root_arn(THIRD), CAROL, False),
        ("", root_principal(OWNER, "AKIA"), True),
        ("", root_principal(ISSUER, "AKIA"), True),
        ("", root_principal(THIRD, "AKIA"), False),
    ],
)
def test_the_grant_lets_whom_it_names_and_the_roots_of_issuer_and_owner(
    retiring: str, who: Principal, expected: bool
) -> None:
    assert may(who, retiring=retiring) == expected


@pytest.mark.parametrize("who", [ALICE, BOB])
def test_the_account_of_the_key_and_the_one_that_made_the_grant_may_let_their_own(who: Principal) -> None:
    assert not may(who)
    assert may(who, MAY)


def test_another_account_may_let_its_own_where_the_grant_names_it() -> None:
    assert not may(CAROL, MAY)
    assert may(CAROL, MAY, retiring=root_arn(THIRD))
    assert may(CAROL, MAY, grantee=root_arn(THIRD), operations=("RetireGrant",))


def test_a_grantee_may_if_the_grant_gives_it() -> None:
    assert not may(CAROL)
    assert may(CAROL, operations=("Encrypt", "RetireGrant"))
    assert may(SESSION, grantee=ROLE, operations=("RetireGrant",))
    assert not may(BOB, operations=("RetireGrant",))


def test_a_deny_and_limits_hold_against_whom_the_grant_names() -> None:
    assert not may(CAROL, MUST_NOT, retiring=CAROL.arn)
    assert not may(ALICE, Documents((*MAY.identity, *MUST_NOT.identity)))
    # Whoever is named by his own ARN is not bound by what allows nothing, as by a key policy.
    assert may(CAROL, BOUND, retiring=CAROL.arn)
    assert not may(SESSION, LIMITED, retiring=ROLE)
    assert may(SESSION, LIMITED, retiring=SESSION.arn)


@pytest.mark.parametrize("action", ["kms:RevokeGrant", "kms:CreateGrant", "kms:Encrypt", "kms:ListGrants"])
def test_the_document_is_about_retiring_alone(action: str) -> None:
    assert not may(CAROL, action=action, retiring=CAROL.arn, operations=("RetireGrant", "Encrypt"))
    assert not may(root_principal(OWNER, "AKIA"), action=action)
