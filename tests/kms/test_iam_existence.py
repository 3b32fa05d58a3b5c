"""Whom key policies may name: users, roles and sessions of every account of the home, and nobody whom it does not have.

Trust policies are held to the same by `test_iam_roles.py`. The wording is AWS's (`test_wording.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from strongroom.kms.iam.documents import PolicyDocument, PolicyKind, parse_policy
from strongroom.kms.iam.principals import is_unique_id
from strongroom.kms.identities.existence import Existence, MissingPrincipalError
from strongroom.kms.identities.records import AccountRecord, RoleRecord, UserRecord
from strongroom.kms.repositories import Record, Store
from testkit.identities import arn_of, fresh, trust
from testkit.installation import ACCOUNT, REGION, Installation
from testkit.raw import RawKms, allow, assert_allowed, assert_refused, policy

MAIN, OTHER, UNKNOWN = "111122223333", "444455556666", "777788889999"
PRINCIPALS = "Policy contains a statement with one or more invalid principals."


# Who is there, who is in an account that is no more, and nobody.
ANNA, WORKER = f"AIDA{'ANNA':X<17}", f"AROA{'WORKER':X<17}"
GHOST, NOBODY = f"AROA{'GHOST':X<17}", f"AIDA{'NOBODY':X<17}"


class Records:
    """The identities of a home, as far as they are looked up one by one."""

    def __init__(self, records: Mapping[tuple[type[Record], tuple[object, ...]], Record]) -> None:
        self._records = records

    async def get(self, kind: type[Record], *identity: object) -> Record | None:
        return self._records.get((kind, identity))

    async def with_unique_id(self, kind: type[Record], unique_id: str) -> Record | None:
        ids = {UserRecord: "user_id", RoleRecord: "role_id"}
        found = [one for (of_kind, _), one in self._records.items() if of_kind is kind]
        return next((one for one in found if getattr(one, ids[kind]) == unique_id), None)


def user(account: str, name: str, path: str | None) -> UserRecord:
    return UserRecord(
        account=account,
        name=name,
        version=1,
        user_id=f"AIDA{name.upper():X<17}",
        identity_policies={},
        created_at_s=0.0,
        path=path,
    )


def role(account: str, name: str, path: str) -> RoleRecord:
    return RoleRecord(
        account=account,
        name=name,
        version=1,
        role_id=f"AROA{name.upper():X<17}",
        path=path,
        description="",
        trust_policy="",
        max_session_s=3600,
        identity_policies={},
        attached_policies=(),
        tags={},
        created_at_s=0.0,
    )


@pytest.fixture(scope="module")
def existence() -> Existence:
    records: dict[tuple[type[Record], tuple[object, ...]], Record] = {
        (AccountRecord, (OTHER,)): AccountRecord(account=OTHER, version=1, name="other", created_at_s=0.0)
    }
    for made in (
        user(MAIN, "old", None),
        user(MAIN, "anna", "/"),
        user(MAIN, "deep", "/a/b/"),
        user(OTHER, "bob", "/"),
        role(MAIN, "worker", "/"),
        role(OTHER, "clerk", "/x/"),
        # What an account left behind that is no more.
        user(UNKNOWN, "ghost", "/"),
        role(UNKNOWN, "ghost", "/"),
    ):
        records[type(made), (made.account, made.name)] = made
    return Existence(cast("Store", Records(records)), MAIN)


def there(existence: Existence, arn: str) -> bool:
    return asyncio.run(existence.identify(arn)) is not None


THERE = (
    f"arn:aws:iam::{MAIN}:root",
    f"arn:aws:iam::{OTHER}:root",
    f"arn:aws:iam::{MAIN}:user/old",
    f"arn:aws:iam::{MAIN}:user/anna",
    f"arn:aws:iam::{MAIN}:user/a/b/deep",
    f"arn:aws:iam::{OTHER}:user/bob",
    f"arn:aws:iam::{MAIN}:role/worker",
    f"arn:aws:iam::{OTHER}:role/x/clerk",
    f"arn:aws:sts::{MAIN}:assumed-role/worker/session",
    f"arn:aws:sts::{OTHER}:assumed-role/clerk/a@b=c",
    f"arn:aws:sts::{MAIN}:federated-user/anybody",
    f"arn:aws:sts::{OTHER}:federated-user/anybody",
)
NOT_THERE = (
    f"arn:aws:iam::{UNKNOWN}:root",
    f"arn:aws:iam::{UNKNOWN}:user/ghost",
    f"arn:aws:iam::{UNKNOWN}:role/ghost",
    f"arn:aws:sts::{UNKNOWN}:assumed-role/ghost/session",
    f"arn:aws:sts::{UNKNOWN}:federated-user/anybody",
    f"arn:aws:iam::{MAIN}:user/bob",
    f"arn:aws:iam::{MAIN}:user/Anna",
    f"arn:aws:iam::{MAIN}:user/deep",
    f"arn:aws:iam::{MAIN}:user/a/deep",
    f"arn:aws:iam::{MAIN}:user/A/b/deep",
    f"arn:aws:iam::{MAIN}:user//anna",
    f"arn:aws:iam::{MAIN}:role/anna",
    f"arn:aws:iam::{MAIN}:user/worker",
    f"arn:aws:iam::{OTHER}:role/clerk",
    f"arn:aws:sts::{OTHER}:assumed-role/x/clerk/session",
    f"arn:aws:sts::{MAIN}:assumed-role/worker",
    f"arn:aws:sts::{MAIN}:assumed-role/worker/",
    f"arn:aws:iam::{MAIN}:group/anna",
    f"arn:aws:iam::{MAIN}:user/*",
    f"arn:aws-cn:iam::{MAIN}:user/anna",
    f"arn:aws:iam:us-east-1:{MAIN}:user/anna",
    f"arn:aws:iam::{MAIN}:user/anna\n",
    f" arn:aws:iam::{MAIN}:user/anna",
    MAIN,
    "anna",
    "",
)


@pytest.mark.parametrize("arn", THERE)
def test_who_is_there_exists(existence: Existence, arn: str) -> None:
    assert there(existence, arn)


@pytest.mark.parametrize("arn", NOT_THERE)
def test_who_is_not_there_does_not_exist(existence: Existence, arn: str) -> None:
    assert not there(existence, arn)


def document(*principals: Any) -> PolicyDocument:
    return parse_policy(
        policy(*[allow("kms:Encrypt", Principal=principal) for principal in principals]), PolicyKind.KEY
    )


def test_of_a_documents_principals_the_first_that_is_missing_is_named(existence: Existence) -> None:
    def missing(*principals: Any) -> str | None:
        try:
            asyncio.run(existence.bindings(document(*principals)))
        except MissingPrincipalError as error:
            return str(error)
        return None

    everybody = list(THERE)
    assert missing("*") is None
    assert missing({"AWS": [MAIN, OTHER, *everybody], "Service": "logs.amazonaws.com"}) is None
    assert missing({"AWS": [MAIN, UNKNOWN, *everybody]}) == UNKNOWN
    assert missing({"AWS": [MAIN, *everybody]}, {"AWS": [NOT_THERE[1], NOT_THERE[5]]}) == NOT_THERE[5]
    assert missing({"AWS": [ANNA, WORKER, f"{WORKER}:s"]}) is None
    for unique_id in (NOBODY, GHOST, f"{GHOST}:s"):
        assert missing({"AWS": [unique_id, *everybody]}) == unique_id


def test_users_roles_and_sessions_are_kept_by_their_unique_ids(existence: Existence) -> None:
    user, worker, session, federated = THERE[3], THERE[6], THERE[8], THERE[10]
    found = document({"AWS": [session, user, ANNA, THERE[0], MAIN]}, "*", {"AWS": [worker, user, federated]})
    assert asyncio.run(existence.bindings(found)) == {session: f"{WORKER}:session", user: ANNA, worker: WORKER}
    assert asyncio.run(existence.bindings(document({"AWS": [MAIN, THERE[0], federated, ANNA]}, "*"))) is None


@pytest.mark.parametrize("arn", [arn for arn in THERE if ":root" not in arn and "federated" not in arn])
def test_whoever_is_kept_by_id_is_shown_by_the_arn_that_he_has(existence: Existence, arn: str) -> None:
    kept = asyncio.run(existence.identify(arn))
    assert kept is not None
    assert is_unique_id(kept)
    assert asyncio.run(existence.shown(kept)) == arn


def test_whoever_is_gone_is_shown_by_his_unique_id_and_others_as_they_are_kept(existence: Existence) -> None:
    for kept in (NOBODY, GHOST, f"{GHOST}:session", THERE[0], THERE[10], "s3.amazonaws.com", ""):
        assert asyncio.run(existence.shown(kept)) == kept


def test_a_document_is_shown_with_the_names_of_today(existence: Existence) -> None:
    bob, session = f"arn:aws:iam::{MAIN}:user/bob", f"arn:aws:sts::{MAIN}:assumed-role/gone/s"
    text = policy(allow("kms:*", Principal={"AWS": [bob, session, ANNA, MAIN]}, Condition={"ArnLike": {"aws:x": bob}}))
    bound = parse_policy(text, PolicyKind.KEY).bound({bob: ANNA, session: f"{GHOST}:s"})
    shown = json.loads(asyncio.run(existence.shown_text(bound, text)))["Statement"][0]
    assert shown["Principal"] == {"AWS": [THERE[3], f"{GHOST}:s", THERE[3], MAIN]}
    assert shown["Condition"] == {"ArnLike": {"aws:x": bob}}


# ── key policies ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("region", [REGION, "eu-west-1"])
def test_a_key_policy_of_any_region_may_name_whoever_exists(installation: Installation, iam: Any, region: str) -> None:
    """Identities lie in the home region's store."""
    kms = RawKms(installation)
    anna, clerk = fresh("user"), fresh("role")
    iam.create_user(UserName=anna, Path="/p/")
    iam.create_role(RoleName=clerk, AssumeRolePolicyDocument=trust())
    root = allow("kms:*", Principal={"AWS": ACCOUNT})

    def naming(*arns: str) -> dict[str, str]:
        return {"Policy": policy(root, allow("kms:Encrypt", Principal={"AWS": list(arns)}))}

    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{clerk}/s"
    good = naming(
        arn_of("user", anna, "/p/"), arn_of("role", clerk), session, f"arn:aws:sts::{ACCOUNT}:federated-user/f"
    )
    key = assert_allowed(kms.call("CreateKey", good, region=region))["KeyMetadata"]["KeyId"]
    service = {"Policy": policy(root, allow("kms:Encrypt", Principal={"Service": "logs.amazonaws.com"}))}
    assert_allowed(kms.call("PutKeyPolicy", {"KeyId": key, **service}, region=region))
    for absent in (
        arn_of("user", anna),
        arn_of("user", fresh("nobody")),
        arn_of("role", fresh("nobody")),
        session.replace(clerk, fresh("nobody")),
        f"arn:aws:iam::{UNKNOWN}:root",
        UNKNOWN,
    ):
        refused = kms.call("PutKeyPolicy", {"KeyId": key, **naming(absent)}, region=region)
        assert_refused(refused, "MalformedPolicyDocumentException", PRINCIPALS)
    kms.close()
