"""What a grant allows, what fits which key, and what may be delegated.

Sources: KMS API reference, CreateGrant and GrantConstraints; KMS developer guide, "Grants in AWS KMS", "Creating grants".
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.kms.iam.grants import ConstraintType, Grant, GrantConstraints, delegates, operations_of
from strongroom.kms.iam.principals import (
    Naming,
    Principal,
    PrincipalKind,
    federated_user_principal,
    role_arn,
    role_session_principal,
    root_principal,
    service_principal,
    user_principal,
    web_identity_principal,
)
from testkit.policy_cases import CaseContext

ACCOUNT = "111122223333"
ROLE = role_arn(ACCOUNT, "app")
ALICE = user_principal(ACCOUNT, "alice", "AIDA", "AKIA")
SESSION = role_session_principal(ROLE, "AROA", "s-1", "ASIA")
CHORES = [Principal(kind, ACCOUNT, kind, "") for kind in (PrincipalKind.OPERATOR, PrincipalKind.SERVICE)]
EQUALS, SUBSET = "context_equals", "context_subset"
PAIRS = {"Department": "Finance", "Classification": "Public"}


def grant(grantee: str = ALICE.arn, operations: Any = ("Decrypt",), **constraints: Any) -> Grant:
    return Grant("g", grantee, frozenset(operations), GrantConstraints(**constraints))


def met(made: Grant, context: dict[str, str], action: str = "kms:Decrypt", **keys: str) -> bool:
    found = made.is_met(action, CaseContext(keys, context))
    assert type(found) is bool
    return found


@pytest.mark.parametrize(
    ("grantee", "principal", "expected"),
    [
        (ALICE.arn, ALICE, Naming.ITSELF),
        (ALICE.arn.upper(), ALICE, Naming.NOT),
        (SESSION.arn, SESSION, Naming.ITSELF),
        (ROLE, SESSION, Naming.ISSUER),
        (SESSION.arn, role_session_principal(ROLE, "AROA", "s-2", "ASIA"), Naming.NOT),
        (ALICE.arn, federated_user_principal(ALICE, "carol", "ASIA"), Naming.ISSUER),
        ("s3.amazonaws.com", service_principal("s3.amazonaws.com"), Naming.ITSELF),
        ("s3.amazonaws.com", service_principal("ec2.amazonaws.com"), Naming.NOT),
        (f"arn:aws:iam::{ACCOUNT}:root", root_principal(ACCOUNT, "AKIA"), Naming.ITSELF),
        # An account is a principal of policies, not of grants: its users are not meant.
        (f"arn:aws:iam::{ACCOUNT}:root", ALICE, Naming.NOT),
        ("", ALICE, Naming.NOT),
        ("AIDA", ALICE, Naming.ITSELF),
        ("AIDATHEN", ALICE, Naming.NOT),
        ("AROA:s-1", SESSION, Naming.ITSELF),
        ("AROA:s-2", SESSION, Naming.NOT),
        ("AROA", SESSION, Naming.ISSUER),
        ("AROATHEN", SESSION, Naming.NOT),
        ("AIDA", federated_user_principal(ALICE, "carol", "ASIA"), Naming.ISSUER),
        ("accounts.google.com:1", web_identity_principal("accounts.google.com", "1", ACCOUNT), Naming.NOT),
        ("*", ALICE, Naming.NOT),
        # Who is no principal of AWS is named by no grant, whatever he is called.
        *[(chore.arn, chore, Naming.NOT) for chore in CHORES],
    ],
)
def test_a_grant_names_one_grantee(grantee: str, principal: Any, expected: Naming) -> None:
    assert grant(grantee).naming(principal) is expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [("kms:Decrypt", True), ("kms:decrypt", False), ("kms:Encrypt", False), ("Decrypt", False), ("iam:Decrypt", False)],
)
def test_a_grant_gives_its_operations_and_no_others(action: str, expected: bool) -> None:
    assert grant().gives(action) == expected


@pytest.mark.parametrize(
    ("kind", "context", "expected"),
    [
        (EQUALS, PAIRS, True),
        (EQUALS, {"Classification": "Public", "Department": "Finance"}, True),
        (EQUALS, PAIRS | {"Purpose": "Test"}, False),
        (EQUALS, {"Department": "Finance"}, False),
        (EQUALS, {}, False),
        (SUBSET, PAIRS, True),
        (SUBSET, {"Customer": "12345", **PAIRS, "Purpose": "Test"}, True),
        (SUBSET, {"Department": "Finance"}, False),
        (SUBSET, {"Classification": "Public", "Customer": "12345"}, False),
        (SUBSET, {}, False),
        # Keys fold case, values do not.
        *[(kind, {"department": "Finance", "CLASSIFICATION": "Public"}, True) for kind in (EQUALS, SUBSET)],
        *[(kind, {"Department": "finance", "Classification": "Public"}, False) for kind in (EQUALS, SUBSET)],
        # The same name twice, but for case, is one pair too many, and cannot stand in for another.
        (EQUALS, {**PAIRS, "department": "Finance"}, False),
        (EQUALS, {"Department": "Finance", "department": "Public"}, False),
        # No separator can be forged.
        (EQUALS, {"Department": "Finance\0Classification\0Public"}, False),
    ],
)
def test_a_constraint_on_the_encryption_context_holds_as_documented(
    kind: str, context: dict[str, str], expected: bool
) -> None:
    assert met(grant(**{kind: PAIRS}), context) == expected


def test_an_empty_subset_is_met_by_every_context_and_an_empty_equals_by_none_but_the_empty_one() -> None:
    assert met(grant(context_subset={}), PAIRS)
    assert met(grant(context_equals={}), {})
    assert not met(grant(context_equals={}), PAIRS)


@pytest.mark.parametrize("operation", ["DescribeKey", "CreateGrant", "RetireGrant"])
def test_what_has_no_encryption_context_is_not_bound_by_one(operation: str) -> None:
    """API reference, GrantConstraints: they are not applied to operations without an encryption context."""
    made = grant(operations=[operation], context_equals=PAIRS)
    assert met(made, {}, f"kms:{operation}")


def test_a_source_arn_binds_every_operation_but_retire_grant() -> None:
    arn = "arn:aws:s3:::bucket"
    made = grant("s3.amazonaws.com", ["Decrypt", "DescribeKey", "RetireGrant"], source_arn=arn)
    assert met(made, {}, "kms:RetireGrant")
    for action in ("kms:Decrypt", "kms:DescribeKey"):
        assert met(made, {}, action, **{"aws:SourceArn": arn})
        assert not met(made, {}, action, **{"aws:SourceArn": arn + "/x"})
        assert not met(made, {}, action)


@pytest.mark.parametrize(
    ("spec", "usage", "fit", "misfit"),
    [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", ["GenerateDataKeyPair", "ReEncryptTo"], ["Sign", "GetPublicKey"]),
        ("RSA_2048", "ENCRYPT_DECRYPT", ["Encrypt", "GetPublicKey", "ReEncryptFrom"], ["GenerateDataKey", "Sign"]),
        ("RSA_2048", "SIGN_VERIFY", ["Sign", "Verify", "GetPublicKey"], ["Encrypt", "GenerateMac"]),
        ("ECC_NIST_P256", "KEY_AGREEMENT", ["DeriveSharedSecret", "DescribeKey"], ["Sign"]),
        ("HMAC_256", "GENERATE_VERIFY_MAC", ["GenerateMac", "RetireGrant"], ["GetPublicKey", "Encrypt"]),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", ["Encapsulate", "Decapsulate"], ["Encrypt"]),
    ],
)  # fmt: skip
def test_operations_fit_a_kind_of_key(spec: str, usage: str, fit: list[str], misfit: list[str]) -> None:
    assert operations_of(spec, usage) >= set(fit)
    assert operations_of(spec, usage).isdisjoint(misfit)
    assert operations_of(spec, usage) >= {"CreateGrant", "RetireGrant", "DescribeKey"}


def test_constraint_types_are_spelled_as_the_condition_key_has_them() -> None:
    """KMS developer guide, kms:GrantConstraintType."""
    assert [*ConstraintType] == ["EncryptionContextEquals", "EncryptionContextSubset"]


# KMS developer guide, "Grant operations": those that take an encryption context, and what else there is.
OF_CONTEXT = {
    *("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
    *("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
}
OF_ALL = {"CreateGrant", "RetireGrant", "DescribeKey"}


@pytest.mark.parametrize(
    ("spec", "usage", "fit"),
    [
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", OF_CONTEXT),
        ("RSA_2048", "ENCRYPT_DECRYPT", {"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GetPublicKey"}),
        ("RSA_2048", "SIGN_VERIFY", {"Sign", "Verify", "GetPublicKey"}),
        ("ECC_NIST_P256", "KEY_AGREEMENT", {"DeriveSharedSecret", "GetPublicKey"}),
        ("HMAC_256", "GENERATE_VERIFY_MAC", {"GenerateMac", "VerifyMac"}),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", {"Encapsulate", "Decapsulate", "GetPublicKey"}),
    ],
)
def test_a_kind_of_key_has_these_operations_and_no_others(spec: str, usage: str, fit: set[str]) -> None:
    assert operations_of(spec, usage) == OF_ALL | fit


@pytest.mark.parametrize("operation", sorted(OF_CONTEXT))
def test_what_has_an_encryption_context_is_bound_by_it(operation: str) -> None:
    for constraint in (EQUALS, SUBSET):
        made = grant(operations=[operation], **{constraint: PAIRS})
        assert not met(made, {}, f"kms:{operation}")
        assert met(made, PAIRS, f"kms:{operation}")


PARENT = ["CreateGrant", "Decrypt", "GenerateDataKey"]
MORE = {**PAIRS, "Purpose": "Test"}


@pytest.mark.parametrize(
    ("parent", "operations", "child", "expected"),
    [
        ({}, ["Decrypt"], {}, True),
        ({}, PARENT, {EQUALS: PAIRS}, True),
        ({}, ["Encrypt"], {}, False),
        ({}, [*PARENT, "Encrypt"], {}, False),
        # "The child grant can add pairs to an EncryptionContextSubset constraint …, but it cannot remove them."
        ({SUBSET: PAIRS}, ["Decrypt"], {SUBSET: PAIRS}, True),
        ({SUBSET: PAIRS}, ["Decrypt"], {SUBSET: MORE}, True),
        ({SUBSET: MORE}, ["Decrypt"], {SUBSET: PAIRS}, False),
        ({SUBSET: PAIRS}, ["Decrypt"], {}, False),
        # "… can change an EncryptionContextSubset constraint to an EncryptionContextEquals constraint, but not the reverse."
        ({SUBSET: PAIRS}, ["Decrypt"], {EQUALS: MORE}, True),
        ({SUBSET: PAIRS}, ["Decrypt"], {EQUALS: {"Department": "Finance"}}, False),
        ({EQUALS: PAIRS}, ["Decrypt"], {EQUALS: PAIRS}, True),
        ({EQUALS: PAIRS}, ["Decrypt"], {EQUALS: MORE}, False),
        ({EQUALS: PAIRS}, ["Decrypt"], {SUBSET: PAIRS}, False),
        ({EQUALS: PAIRS}, ["Decrypt"], {}, False),
        ({"source_arn": "arn:a"}, ["Decrypt"], {"source_arn": "arn:a"}, True),
        ({"source_arn": "arn:a"}, ["Decrypt"], {"source_arn": "arn:b"}, False),
        ({"source_arn": "arn:a"}, ["Decrypt"], {}, False),
        ({}, ["Decrypt"], {"source_arn": "arn:a"}, True),
    ],
)
def test_a_grant_delegates_the_same_or_less(parent: Any, operations: list[str], child: Any, expected: bool) -> None:
    made = grant(operations=PARENT, **parent)
    assert delegates(made, frozenset(operations), GrantConstraints(**child)) == expected


contexts = st.dictionaries(st.sampled_from(["a", "A", "b", "c"]), st.sampled_from(["1", "2", "A"]), max_size=3)
constraints = st.one_of(
    st.just(GrantConstraints()),
    contexts.map(lambda pairs: GrantConstraints(context_equals=pairs)),
    contexts.map(lambda pairs: GrantConstraints(context_subset=pairs)),
)


@settings(max_examples=500, deadline=None)
@given(constraints, constraints, contexts)
def test_whatever_a_delegated_grant_allows_its_parent_allows(
    parent: GrantConstraints, child: GrantConstraints, context: dict[str, str]
) -> None:
    given = Grant("p", ALICE.arn, frozenset(PARENT), parent)
    if delegates(given, frozenset(["Decrypt"]), child) and met(Grant("c", "x", frozenset(["Decrypt"]), child), context):
        assert met(given, context)
