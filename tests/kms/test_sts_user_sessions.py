"""GetCallerIdentity, GetSessionToken, GetFederationToken and GetAccessKeyInfo over HTTP with boto3.

"Cannot call GetSessionToken with session credentials" is AWS's wording: aws/aws-sdk-net#1704, fwdcloudsec/granted#151; that
IAM says InvalidClientTokenId to sessions of users: aws/aws-sdk-js#460.
"""

from __future__ import annotations

import time
from typing import Any

from testkit.identities import document, fresh, iam_client, refused, statement
from testkit.installation import ACCOUNT, Installation
from testkit.raw import audit_records
from testkit.sessions import as_client, assume, kms_refused, make_caller, make_role

ROOT_KEY = {"AccessKeyId": "test", "SecretAccessKey": "test"}
INVALID = "The security token included in the request is invalid."


def session_of(installation: Installation, caller: Any, **request: Any) -> Any:
    return as_client(installation, "sts", caller).get_session_token(**request)["Credentials"]


def seconds(credentials: Any) -> float:
    return float(credentials["Expiration"].timestamp() - time.time())


def test_a_users_session_is_the_user(installation: Installation) -> None:
    caller = make_caller(installation, statement("kms:ListKeys"), Path="/team/")
    session = session_of(installation, caller)
    who = as_client(installation, "sts", session).get_caller_identity()
    assert (who["Arn"], who["UserId"]) == (caller["Arn"], caller["UserId"])
    assert who["Arn"].startswith(f"arn:aws:iam::{ACCOUNT}:user/team/")
    kms = as_client(installation, "kms", session)
    assert kms.list_keys()
    with kms_refused():
        kms.create_key()
    assert 43_000 < seconds(session) <= 43_200
    assert 800 < seconds(session_of(installation, caller, DurationSeconds=900)) <= 900
    used = next(e for e in reversed(audit_records(installation)) if e["eventName"] == "ListKeys")["userIdentity"]
    assert used["type"] == "IAMUser"
    assert used["sessionContext"].keys() == {"attributes"}


def test_nobody_needs_leave_for_a_session_and_no_policy_forbids_it(installation: Installation) -> None:
    assert session_of(installation, make_caller(installation, statement("*", effect="Deny")))


def test_the_roots_session_is_an_hour_at_most(installation: Installation) -> None:
    for request in ({}, {"DurationSeconds": 43_200}):
        session = session_of(installation, ROOT_KEY, **request)
        assert 3_500 < seconds(session) <= 3_600
    arn = as_client(installation, "sts", session).get_caller_identity()["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:root"
    assert as_client(installation, "kms", session).create_key()


def test_a_session_of_a_user_is_not_for_iam_and_hardly_for_sts(installation: Installation) -> None:
    caller = make_caller(installation, statement("*"))
    session = session_of(installation, caller)
    sts = as_client(installation, "sts", session)
    for name, call, request in (
        ("GetSessionToken", sts.get_session_token, {}),
        ("GetFederationToken", sts.get_federation_token, {"Name": "bob"}),
        ("GetAccessKeyInfo", sts.get_access_key_info, {"AccessKeyId": caller["AccessKeyId"]}),
    ):
        with refused("AccessDenied", f"Cannot call {name} with session credentials"):
            call(**request)
    with refused("InvalidClientTokenId", INVALID):
        as_client(installation, "iam", session).get_user()
    role = make_role(installation)
    assert assume(installation, session, role, DurationSeconds=3600)
    role = make_role(installation, MaxSessionDuration=7200)
    with refused("ValidationError"):
        assume(installation, session, role, DurationSeconds=7200)


def test_a_users_session_ends_with_its_user_and_outlives_his_key(installation: Installation) -> None:
    iam = iam_client(installation)
    caller = make_caller(installation, statement("kms:ListKeys"))
    session = session_of(installation, caller)
    kms = as_client(installation, "kms", session)
    iam.delete_access_key(UserName=caller["UserName"], AccessKeyId=caller["AccessKeyId"])
    assert kms.list_keys()
    iam.delete_user_policy(UserName=caller["UserName"], PolicyName="own")
    with kms_refused():
        kms.list_keys()
    iam.delete_user(UserName=caller["UserName"])
    with kms_refused("UnrecognizedClientException", INVALID):
        kms.list_keys()
    iam.create_user(UserName=caller["UserName"])
    with kms_refused("UnrecognizedClientException", INVALID):
        kms.list_keys()


def test_sessions_of_a_user_who_is_renamed_go_on_and_leave_nothing_to_who_takes_his_name(
    installation: Installation,
) -> None:
    iam = iam_client(installation)
    caller = make_caller(installation, statement("kms:ListKeys", "sts:GetFederationToken"))
    name, new = caller["UserName"], fresh("renamed")
    of_user = session_of(installation, caller)
    federation = as_client(installation, "sts", caller).get_federation_token(
        Name="bob", Policy=document(statement("kms:ListKeys"))
    )
    clients = [as_client(installation, "kms", credentials) for credentials in (of_user, federation["Credentials"])]
    assert all(kms.list_keys() for kms in clients)
    iam.update_user(UserName=name, NewUserName=new)
    iam.create_user(UserName=name)
    answers = [kms.list_keys() for kms in clients]
    arn = caller["Arn"].replace(name, new)
    assert as_client(installation, "sts", of_user).get_caller_identity()["Arn"] == arn
    told = {record["requestID"]: record["userIdentity"] for record in audit_records(installation)}
    of_him, of_bob = (told[answer["ResponseMetadata"]["RequestId"]] for answer in answers)
    assert of_him["arn"] == arn
    issuer = of_bob["sessionContext"]["sessionIssuer"]
    assert (issuer["arn"], issuer["userName"], issuer["principalId"]) == (arn, new, caller["UserId"])
    iam.delete_user_policy(UserName=new, PolicyName="own")
    for kms in clients:
        with kms_refused():
            kms.list_keys()


def test_a_federated_user_may_what_his_user_and_his_policies_both_allow(installation: Installation) -> None:
    caller = make_caller(installation, statement("sts:*"), statement("kms:ListKeys", "kms:GenerateRandom"))
    sts = as_client(installation, "sts", caller)
    answer = sts.get_federation_token(Name="bob", Policy=document(statement("kms:GenerateRandom", "kms:CreateKey")))
    user = answer["FederatedUser"]
    assert user == {"FederatedUserId": f"{ACCOUNT}:bob", "Arn": f"arn:aws:sts::{ACCOUNT}:federated-user/bob"}
    assert 0 < answer["PackedPolicySize"] <= 100
    own = as_client(installation, "sts", answer["Credentials"])
    assert own.get_caller_identity()["Arn"] == user["Arn"]
    kms = as_client(installation, "kms", answer["Credentials"])
    assert kms.generate_random(NumberOfBytes=1)
    for call in (kms.list_keys, kms.create_key):
        with kms_refused():
            call()
    # Without session policies he may nothing of himself.
    bare = as_client(installation, "kms", sts.get_federation_token(Name="bob")["Credentials"])
    with kms_refused():
        bare.generate_random(NumberOfBytes=1)
    for denied in (own.get_session_token, lambda: own.get_federation_token(Name="eve")):
        with refused("AccessDenied"):
            denied()
    with refused("AccessDenied", "Cannot call AssumeRole with session credentials"):
        assume(installation, answer["Credentials"], make_role(installation))
    with refused("InvalidClientTokenId", INVALID):
        as_client(installation, "iam", answer["Credentials"]).get_user()


def test_a_key_policy_names_a_federated_user_or_who_federated_him(installation: Installation, kms: Any) -> None:
    caller = make_caller(installation, statement("sts:GetFederationToken"))
    sts = as_client(installation, "sts", caller)
    name = fresh("fed")[:32]
    root = {"Sid": "root", **statement("kms:*"), "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
    bare = sts.get_federation_token(Name=name)
    limited = sts.get_federation_token(Name=name, Policy=document(statement("kms:Encrypt")))
    for named, allowed in (
        (bare["FederatedUser"]["Arn"], (True, True)),
        # Through his user, the session's limits stay.
        (caller["Arn"], (False, True)),
    ):
        own = {**statement("kms:Encrypt"), "Principal": {"AWS": named}}
        key_id = kms.create_key(Policy=document(root, own))["KeyMetadata"]["KeyId"]
        for session, is_allowed in zip((bare, limited), allowed, strict=True):
            client = as_client(installation, "kms", session["Credentials"])
            if is_allowed:
                assert client.encrypt(KeyId=key_id, Plaintext=b"x")
            else:
                with kms_refused():
                    client.encrypt(KeyId=key_id, Plaintext=b"x")


def test_federating_needs_leave_and_tags_some_more(installation: Installation) -> None:
    arn = f"arn:aws:sts::{ACCOUNT}:federated-user/bob"
    bare, poor = make_caller(installation), make_caller(installation, statement("sts:GetFederationToken"))
    tagged = {"Tags": [{"Key": "a", "Value": "b"}]}
    for caller, action, request in ((bare, "sts:GetFederationToken", {}), (poor, "sts:TagSession", tagged)):
        start = f"User: {caller['Arn']} is not authorized to perform: {action} on resource: {arn}"
        with refused("AccessDenied", f"{start} because no identity-based policy allows the {action} action"):
            as_client(installation, "sts", caller).get_federation_token(Name="bob", **request)
    narrow = make_caller(installation, {**statement("sts:GetFederationToken"), "Resource": arn})
    assert as_client(installation, "sts", narrow).get_federation_token(Name="bob")
    with refused("AccessDenied"):
        as_client(installation, "sts", narrow).get_federation_token(Name="eve")


def test_whose_an_access_key_is(installation: Installation) -> None:
    caller = make_caller(installation)
    sts = as_client(installation, "sts", ROOT_KEY)
    assert sts.get_access_key_info(AccessKeyId=caller["AccessKeyId"])["Account"] == ACCOUNT
    with refused("ValidationError"):
        sts.get_access_key_info(AccessKeyId="AKIA" + "A" * 16)
    with refused("AccessDenied"):
        as_client(installation, "sts", caller).get_access_key_info(AccessKeyId=caller["AccessKeyId"])
    role = make_role(installation, caller["Arn"], policy=document(statement("sts:GetAccessKeyInfo")))
    session = assume(installation, caller, role)
    own = as_client(installation, "sts", session).get_access_key_info(AccessKeyId=session["AccessKeyId"])
    assert own["Account"] == ACCOUNT


def test_a_roles_session_manages_identities_if_its_role_may(installation: Installation) -> None:
    role = make_role(installation, policy=document(statement("iam:ListUsers")))
    caller = make_caller(installation, statement("sts:AssumeRole"))
    session = assume(installation, caller, role)
    assert as_client(installation, "iam", session).list_users()["Users"]
    with refused("AccessDenied"):
        as_client(installation, "iam", session).list_roles()
