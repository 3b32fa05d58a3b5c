"""Grants between accounts: what each half of a permission is for, who is told what, who may end what.

Sources: KMS API reference, "Cross-account use" of each operation; KMS developer guide, "Retiring and revoking grants"; for
what those leave open `docs/policies.md` and `docs/grants.md`. That nothing is told without a permission:
`test_cross_account.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit import accounts
from testkit.installation import ACCOUNT, Installation, client
from testkit.raw import RawKms, allow, assert_allowed, assert_refused, key_arn, policy

A_ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ALL = policy(allow("kms:*"))
NO = "AccessDeniedException"


class Person:
    """Somebody of account B, with the ARN that he is called by."""

    def __init__(self, installation: Installation, access_key_id: str, secret: str) -> None:
        self.kms = RawKms(installation, access_key_id, secret)
        sts = client("sts", installation.port, access_key_id, secret)
        self.arn = str(sts.get_caller_identity()["Arn"])
        sts.close()


class Others:
    """Account B: two whom IAM lets everything, one whom nothing lets."""

    def __init__(self, installation: Installation) -> None:
        self.account, *administrator = accounts.make_account(installation)
        self.root_arn = f"arn:aws:iam::{self.account}:root"
        self.administrator = Person(installation, *administrator)
        self.let = Person(installation, *accounts.make_user(installation, *administrator, ALL))
        self.unlet = Person(installation, *accounts.make_user(installation, *administrator, None))


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.fixture(scope="module")
def others(installation: Installation) -> Others:
    return Others(installation)


def give(kms: RawKms, key_id: str, grantee: str, *operations: str, **members: Any) -> dict[str, Any]:
    request = {"KeyId": key_arn(key_id), "GranteePrincipal": grantee, "Operations": list(operations), **members}
    return assert_allowed(kms.call("CreateGrant", request))


def encrypt(person: Person, key_id: str, **more: Any) -> str:
    return person.kms.call("Encrypt", {"KeyId": key_arn(key_id), "Plaintext": "eA==", **more}).code


def open_to(raw: RawKms, key_id: str, account: str, *actions: str) -> None:
    """A key policy that lets an account do something."""
    theirs = allow(*actions, Principal={"AWS": account})
    text = policy(allow("kms:*", Principal={"AWS": A_ROOT}), theirs)
    assert_allowed(raw.call("PutKeyPolicy", {"KeyId": key_id, "Policy": text}))


def test_a_grant_is_the_keys_half_of_a_permission_and_iam_the_callers(raw: RawKms, others: Others, key_id: str) -> None:
    made = [give(raw, key_id, person.arn, "Encrypt") for person in (others.let, others.unlet)]
    assert (encrypt(others.let, key_id), encrypt(others.unlet, key_id)) == ("", NO)
    tokens = [one["GrantToken"] for one in made]
    assert encrypt(others.let, key_id, GrantTokens=tokens) == ""
    assert encrypt(others.unlet, key_id, GrantTokens=tokens) == NO
    # Not by the id alone: another account's key is named by its ARN.
    assert_refused(others.let.kms.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}), "NotFoundException")
    # A grant to an account is for its root: nobody else is meant, whatever IAM lets him.
    give(raw, key_id, others.root_arn, "DescribeKey")
    for person in (others.administrator, others.let, others.unlet):
        assert_refused(person.kms.call("DescribeKey", {"KeyId": key_arn(key_id)}), NO)


def test_whoever_is_let_in_by_the_key_policy_gives_and_his_account_is_the_issuer(
    raw: RawKms, others: Others, key_id: str
) -> None:
    open_to(raw, key_id, others.account, "kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant")
    made = give(others.let.kms, key_id, others.unlet.arn, "Encrypt")
    # The grant that his own account made is both halves.
    assert encrypt(others.unlet, key_id) == ""
    listed = assert_allowed(others.let.kms.call("ListGrants", {"KeyId": key_arn(key_id)}))["Grants"]
    assert [(grant["GrantId"], grant["IssuingAccount"]) for grant in listed] == [(made["GrantId"], others.root_arn)]
    ending = {"KeyId": key_arn(key_id), "GrantId": made["GrantId"]}
    assert_refused(others.unlet.kms.call("RevokeGrant", ending), NO)
    assert_allowed(others.let.kms.call("RevokeGrant", ending))
    assert encrypt(others.unlet, key_id) == NO


def test_the_same_name_from_two_accounts_is_two_grants(raw: RawKms, others: Others, key_id: str) -> None:
    open_to(raw, key_id, others.account, "kms:CreateGrant")
    made = {
        give(kms, key_id, A_ROOT, "Encrypt", Name="n")["GrantId"]
        for kms in (raw, others.let.kms, others.administrator.kms)
    }
    assert len(made) == 2


def test_a_grant_across_accounts_is_given_on_within_what_it_gives(raw: RawKms, others: Others, key_id: str) -> None:
    give(raw, key_id, others.let.arn, "Encrypt", "CreateGrant")
    request = {"KeyId": key_arn(key_id), "GranteePrincipal": others.unlet.arn}
    assert_refused(others.let.kms.call("CreateGrant", {**request, "Operations": ["Decrypt"]}), NO)
    give(others.let.kms, key_id, others.unlet.arn, "Encrypt")
    assert encrypt(others.unlet, key_id) == ""


@pytest.mark.parametrize("by_token", [True, False])
def test_whom_a_grant_names_retires_it_without_any_policy(
    raw: RawKms, others: Others, key_id: str, *, by_token: bool
) -> None:
    def retire(person: Person, made: dict[str, Any]) -> str:
        by_id = {"KeyId": key_arn(key_id), "GrantId": made["GrantId"]}
        return person.kms.call("RetireGrant", {"GrantToken": made["GrantToken"]} if by_token else by_id).code

    made = give(raw, key_id, A_ROOT, "Encrypt", RetiringPrincipal=others.unlet.arn)
    # Whom it does not name is told nothing, whatever his own account lets him.
    assert (retire(others.let, made), retire(others.administrator, made)) == (NO, NO)
    assert retire(others.unlet, made) == ""
    # The account as retiring principal: its IAM policies say who.
    made = give(raw, key_id, A_ROOT, "Encrypt", RetiringPrincipal=others.root_arn)
    assert (retire(others.unlet, made), retire(others.let, made)) == (NO, "")
    # The account that made it, and the account of the key.
    open_to(raw, key_id, others.account, "kms:CreateGrant")
    made = give(others.let.kms, key_id, A_ROOT, "Encrypt")
    assert (retire(others.unlet, made), retire(others.administrator, made)) == (NO, "")
    made = give(others.let.kms, key_id, others.let.arn, "Encrypt")
    assert_allowed(raw.call("RetireGrant", {"KeyId": key_arn(key_id), "GrantId": made["GrantId"]}))


def test_a_refused_retirement_does_not_tell_whether_there_is_such_a_grant_or_key(
    raw: RawKms, others: Others, key_id: str
) -> None:
    made = give(raw, key_id, A_ROOT, "Encrypt")
    for person in (others.administrator, others.let, others.unlet):
        answers = set()
        for key, grant_id in (
            (key_id, made["GrantId"]),
            (key_id, "0" * 64),
            (key_id, "no id"),
            (str(uuid.UUID(int=77)), made["GrantId"]),
        ):
            answer = person.kms.call("RetireGrant", {"KeyId": key_arn(key), "GrantId": grant_id})
            answers.add((answer.code, answer.message.replace(key, "KEY")))
        assert len(answers) == 1, answers
        assert {code for code, _ in answers} == {NO}
    by_token = others.let.kms.call("RetireGrant", {"GrantToken": made["GrantToken"]})
    assert_refused(by_token, NO)
    assert key_id not in by_token.message
    assert ACCOUNT not in by_token.message


def test_a_principal_is_listed_with_what_it_may_retire_in_every_account_by_its_own_alone(
    raw: RawKms, others: Others, key_id: str
) -> None:
    made = give(raw, key_id, A_ROOT, "Encrypt", RetiringPrincipal=others.let.arn)
    own = others.let.kms.call("ListRetirableGrants", {"RetiringPrincipal": others.let.arn})
    (listed,) = assert_allowed(own)["Grants"]
    assert (listed["GrantId"], listed["KeyId"]) == (made["GrantId"], key_arn(key_id))
    # "You must specify a principal in your account."
    assert_refused(raw.call("ListRetirableGrants", {"RetiringPrincipal": others.let.arn}), "InvalidArnException")
    assert_refused(others.let.kms.call("ListRetirableGrants", {"RetiringPrincipal": A_ROOT}), "InvalidArnException")
    assert_refused(others.unlet.kms.call("ListRetirableGrants", {"RetiringPrincipal": others.unlet.arn}), NO)
