"""boto3 as everybody has it: every operation, every way to name a key, and answers that are what botocore's model says."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from testkit.installation import ACCOUNT, REGION, Installation, client
from testkit.watched import Watched

CONTEXT = {"tenant": "7", "*aws-kms-table*": "x", "aws-crypto-public-key": "ünï/=+"}
METADATA = {
    "AWSAccountId",
    "KeyId",
    "Arn",
    "CreationDate",
    "Enabled",
    "Description",
    "KeyUsage",
    "KeyState",
    "Origin",
    "KeyManager",
    "CustomerMasterKeySpec",
    "KeySpec",
    "EncryptionAlgorithms",
    "MultiRegion",
    "CurrentKeyMaterialId",
}
ANSWERS: dict[str, set[str]] = {
    "CancelKeyDeletion": {"KeyId"},
    "CreateAlias": set(),
    "CreateGrant": {"GrantId", "GrantToken"},
    "CreateKey": {"KeyMetadata"},
    "Decrypt": {"KeyId", "Plaintext", "EncryptionAlgorithm", "KeyMaterialId"},
    "DeleteAlias": set(),
    "DescribeKey": {"KeyMetadata"},
    "DisableKey": set(),
    "DisableKeyRotation": set(),
    "EnableKey": set(),
    "EnableKeyRotation": set(),
    "Encrypt": {"CiphertextBlob", "KeyId", "EncryptionAlgorithm"},
    "GenerateDataKey": {"CiphertextBlob", "Plaintext", "KeyId", "KeyMaterialId"},
    "GenerateDataKeyWithoutPlaintext": {"CiphertextBlob", "KeyId", "KeyMaterialId"},
    "GenerateRandom": {"Plaintext"},
    "GetKeyLastUsage": {"KeyId", "KeyLastUsage", "TrackingStartDate", "KeyCreationDate"},
    "GetKeyPolicy": {"Policy", "PolicyName"},
    "GetKeyRotationStatus": {"KeyId", "KeyRotationEnabled", "RotationPeriodInDays", "NextRotationDate"},
    "ListAliases": {"Aliases", "Truncated"},
    "ListGrants": {"Grants", "Truncated"},
    "ListKeyPolicies": {"PolicyNames", "Truncated"},
    "ListKeyRotations": {"Rotations", "Truncated"},
    "ListKeys": {"Keys", "Truncated"},
    "ListResourceTags": {"Tags", "Truncated"},
    "ListRetirableGrants": {"Grants", "Truncated"},
    "PutKeyPolicy": set(),
    "ReEncrypt": {
        *("CiphertextBlob", "SourceKeyId", "KeyId", "SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm"),
        *("SourceKeyMaterialId", "DestinationKeyMaterialId"),
    },
    "RetireGrant": set(),
    "RevokeGrant": set(),
    "RotateKeyOnDemand": {"KeyId"},
    "ScheduleKeyDeletion": {"KeyId", "DeletionDate", "KeyState", "PendingWindowInDays"},
    "TagResource": set(),
    "UntagResource": set(),
    "UpdateAlias": set(),
    "UpdateKeyDescription": set(),
}
Call = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def watched(installation: Installation) -> Iterator[Watched]:
    watching = Watched(installation.port)
    yield watching
    watching.client.close()


@pytest.fixture
def alias() -> str:
    return f"alias/boto3/{uuid.uuid4()}"


def refusal(call: Any, **members: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**members)
    error = caught.value.response["Error"]
    return error["Code"], error.get("Message", "")


# ── every answer ────────────────────────────────────────────────────────────────────────────────────────────────────


def use(call: Call, alias: str) -> None:
    """Every operation that uses keys, names them and lists them."""
    metadata = call("CreateKey")["KeyMetadata"]
    assert set(metadata) == METADATA
    key_id, other = metadata["KeyId"], call("CreateKey")["KeyMetadata"]["KeyId"]
    assert call("DescribeKey", KeyId=key_id)["KeyMetadata"] == metadata
    call("CreateAlias", AliasName=alias, TargetKeyId=key_id)
    (entry,) = call("ListAliases", KeyId=key_id)["Aliases"]
    assert set(entry) == {"AliasName", "AliasArn", "TargetKeyId", "CreationDate", "LastUpdatedDate"}
    call("UpdateAlias", AliasName=alias, TargetKeyId=other)
    call("DeleteAlias", AliasName=alias)
    assert {tuple(sorted(entry)) for entry in call("ListKeys", Limit=1000)["Keys"]} == {("KeyArn", "KeyId")}
    call("DisableKey", KeyId=key_id)
    call("EnableKey", KeyId=key_id)
    blob = call("Encrypt", KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    call("Decrypt", CiphertextBlob=blob)
    call("ReEncrypt", CiphertextBlob=blob, DestinationKeyId=other)
    call("GenerateDataKey", KeyId=key_id, KeySpec="AES_256")
    call("GenerateDataKeyWithoutPlaintext", KeyId=key_id, KeySpec="AES_256")
    call("GenerateRandom", NumberOfBytes=8)
    usage = call("GetKeyLastUsage", KeyId=key_id)["KeyLastUsage"]
    assert set(usage) == {"Operation", "Timestamp", "CloudTrailEventId", "KmsRequestId"}


def manage(call: Call) -> None:
    """Every operation that changes what a key is."""
    metadata = call("CreateKey")["KeyMetadata"]
    named = {"KeyId": metadata["KeyId"]}
    call("UpdateKeyDescription", **named, Description="described")
    call("TagResource", **named, Tags=[{"TagKey": "a", "TagValue": "1"}])
    assert call("ListResourceTags", **named)["Tags"] == [{"TagKey": "a", "TagValue": "1"}]
    call("UntagResource", **named, TagKeys=["a"])
    policy = call("GetKeyPolicy", **named)["Policy"]
    call("PutKeyPolicy", **named, Policy=policy)
    assert call("ListKeyPolicies", **named)["PolicyNames"] == ["default"]
    root = f"arn:aws:iam::{ACCOUNT}:root"
    granted = {"GranteePrincipal": root, "RetiringPrincipal": root, "Operations": ["Encrypt", "Decrypt"]}
    # With names: of a grant without, AWS answers an empty one, which its own model does not allow.
    grants = [call("CreateGrant", **named, **granted, Name=name) for name in ("first", "second")]
    listed = call("ListGrants", **named)["Grants"]
    assert {tuple(sorted(grant)) for grant in listed} == {
        (
            *("CreationDate", "GrantId", "GranteePrincipal", "IssuingAccount", "KeyId", "Name", "Operations"),
            "RetiringPrincipal",
        )
    }
    retirable = call("ListRetirableGrants", RetiringPrincipal=root, Limit=100)["Grants"]
    assert all(grant in retirable for grant in listed)
    call("RetireGrant", GrantToken=grants[0]["GrantToken"])
    call("RevokeGrant", **named, GrantId=grants[1]["GrantId"])
    call("EnableKeyRotation", **named, RotationPeriodInDays=90)
    call("GetKeyRotationStatus", **named)
    call("DisableKeyRotation", **named)
    call("RotateKeyOnDemand", **named)
    (rotation,) = call("ListKeyRotations", **named)["Rotations"]
    assert set(rotation) == {"KeyId", "KeyMaterialId", "KeyMaterialState", "RotationDate", "RotationType"}
    call("ScheduleKeyDeletion", **named)
    waiting = call("DescribeKey", **named)["KeyMetadata"]
    assert set(waiting) == METADATA | {"DeletionDate"}
    call("CancelKeyDeletion", **named)
    assert set(call("DescribeKey", **named)["KeyMetadata"]) == METADATA


def test_every_operation_answers_the_members_that_aws_answers_and_no_other(watched: Watched, alias: str) -> None:
    kms, seen = watched.client, set()

    def call(operation: str, **members: Any) -> dict[str, Any]:
        parsed = kms._make_api_call(operation, members)
        answer = watched.require_modelled()
        assert set(answer) == ANSWERS[operation], operation
        assert set(parsed) - {"ResponseMetadata"} == ANSWERS[operation]
        assert parsed["ResponseMetadata"]["HTTPStatusCode"] == 200
        uuid.UUID(parsed["ResponseMetadata"]["RequestId"])
        seen.add(operation)
        return dict(parsed)

    use(call, alias)
    manage(call)
    assert seen == set(ANSWERS)


def test_every_other_operation_of_the_model_is_unsupported_and_says_so(installation: Installation) -> None:
    # Unsupported is answered before the request is read, so an empty one will do for all of them.
    kms = installation.kms(parameter_validation=False)
    operations = set(kms.meta.service_model.operation_names) - set(ANSWERS)
    assert len(operations) > 20
    for operation in sorted(operations):
        with pytest.raises(kms.exceptions.UnsupportedOperationException) as caught:
            kms._make_api_call(operation, {})
        assert caught.value.response["Error"]["Message"] == f"{operation} is not supported yet."
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    kms.close()


# ── keys ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_made_with_every_parameter_is_described_as_it_was_made(watched: Watched) -> None:
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
    made = watched.client.create_key(
        Policy=json.dumps({"Version": "2012-10-17", "Statement": [root]}),
        Description="of all things ✓",
        KeyUsage="ENCRYPT_DECRYPT",
        KeySpec="SYMMETRIC_DEFAULT",
        Origin="AWS_KMS",
        BypassPolicyLockoutSafetyCheck=True,
        Tags=[{"TagKey": "team", "TagValue": "blue"}, {"TagKey": "empty", "TagValue": ""}],
        MultiRegion=False,
    )["KeyMetadata"]
    assert made["Description"] == "of all things ✓"
    assert made["Arn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{made['KeyId']}"
    assert (made["KeyState"], made["Enabled"], made["MultiRegion"]) == ("Enabled", True, False)
    assert made["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"]
    assert watched.client.describe_key(KeyId=made["KeyId"], GrantTokens=[])["KeyMetadata"] == made


def test_the_old_name_of_the_key_spec_makes_the_same_key(watched: Watched) -> None:
    made = watched.client.create_key(CustomerMasterKeySpec="SYMMETRIC_DEFAULT", Tags=[])["KeyMetadata"]
    assert made["KeySpec"] == made["CustomerMasterKeySpec"] == "SYMMETRIC_DEFAULT"


def test_a_disabled_key_is_refused_by_its_typed_exception_until_it_is_enabled(watched: Watched, key_id: str) -> None:
    kms = watched.client
    kms.disable_key(KeyId=key_id)
    metadata = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    assert (metadata["KeyState"], metadata["Enabled"]) == ("Disabled", False)
    with pytest.raises(kms.exceptions.DisabledException, match=f"{metadata['Arn']} is disabled"):
        kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
    kms.enable_key(KeyId=key_id)
    assert kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")["KeyId"] == metadata["Arn"]


def test_all_four_ways_to_name_a_key_reach_it(watched: Watched, key_id: str, alias: str) -> None:
    kms = watched.client
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    prefix = f"arn:aws:kms:{REGION}:{ACCOUNT}"
    arn = f"{prefix}:key/{key_id}"
    for reference in (key_id, arn, alias, f"{prefix}:{alias}"):
        assert kms.describe_key(KeyId=reference)["KeyMetadata"]["Arn"] == arn
        encrypted = kms.encrypt(KeyId=reference, Plaintext=b"named", EncryptionContext=CONTEXT)
        assert encrypted["KeyId"] == arn
        blob = encrypted["CiphertextBlob"]
        decrypted = kms.decrypt(CiphertextBlob=blob, KeyId=reference, EncryptionContext=CONTEXT)
        assert (decrypted["KeyId"], decrypted["Plaintext"]) == (arn, b"named")
        moved = kms.re_encrypt(
            CiphertextBlob=blob, SourceKeyId=reference, SourceEncryptionContext=CONTEXT, DestinationKeyId=reference
        )
        assert (moved["SourceKeyId"], moved["KeyId"]) == (arn, arn)
        assert kms.generate_data_key(KeyId=reference, KeySpec="AES_128")["KeyId"] == arn
        assert kms.generate_data_key_without_plaintext(KeyId=reference, KeySpec="AES_128")["KeyId"] == arn
    kms.delete_alias(AliasName=alias)


def test_names_that_name_nothing_are_not_found(watched: Watched, key_id: str) -> None:
    kms, nowhere = watched.client, uuid.uuid4()
    for reference in (str(nowhere), f"alias/{nowhere}", f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{nowhere}"):
        with pytest.raises(kms.exceptions.NotFoundException):
            kms.describe_key(KeyId=reference)
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.update_alias(AliasName=f"alias/{nowhere}", TargetKeyId=key_id)


# ── aliases and lists ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_alias_is_made_once_moved_and_deleted(watched: Watched, key_id: str, alias: str) -> None:
    kms = watched.client
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=alias, TargetKeyId=key_id)
    with pytest.raises(kms.exceptions.AlreadyExistsException):
        kms.create_alias(AliasName=alias, TargetKeyId=other)
    kms.update_alias(AliasName=alias, TargetKeyId=other)
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] == other
    assert kms.list_aliases(KeyId=key_id)["Aliases"] == []
    (entry,) = kms.list_aliases(KeyId=other)["Aliases"]
    assert (entry["AliasName"], entry["TargetKeyId"]) == (alias, other)
    assert entry["AliasArn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"
    assert entry["LastUpdatedDate"] >= entry["CreationDate"]
    kms.delete_alias(AliasName=alias)
    with pytest.raises(kms.exceptions.NotFoundException):
        kms.describe_key(KeyId=alias)


def test_the_list_keys_paginator_gives_every_key_once(watched: Watched) -> None:
    kms = watched.client
    made = {kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(5)}
    pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
    listed = [entry["KeyId"] for page in pages for entry in page["Keys"]]
    assert len(listed) == len(set(listed))
    assert made <= set(listed)
    assert all(len(page["Keys"]) == 2 and page["Truncated"] and page["NextMarker"] for page in pages[:-1])
    assert not pages[-1]["Truncated"]
    assert "NextMarker" not in pages[-1]
    whole = kms.get_paginator("list_keys").paginate().build_full_result()["Keys"]
    assert {entry["KeyId"] for entry in whole} >= set(listed)


def test_the_list_aliases_paginator_gives_every_alias_of_a_key_once(watched: Watched, key_id: str, alias: str) -> None:
    kms = watched.client
    made = [f"{alias}/{number}" for number in range(5)]
    for name in made:
        kms.create_alias(AliasName=name, TargetKeyId=key_id)
    pages = list(kms.get_paginator("list_aliases").paginate(KeyId=key_id, PaginationConfig={"PageSize": 2}))
    assert [len(page["Aliases"]) for page in pages] == [2, 2, 1]
    assert [entry["AliasName"] for page in pages for entry in page["Aliases"]] == made
    everything = kms.get_paginator("list_aliases").paginate().build_full_result()["Aliases"]
    assert set(made) <= {entry["AliasName"] for entry in everything}
    for name in made:
        kms.delete_alias(AliasName=name)
    with pytest.raises(kms.exceptions.InvalidMarkerException):
        kms.list_keys(Marker="ümlaut")


# ── cryptography ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_encrypt_and_decrypt_with_every_parameter(watched: Watched, key_id: str) -> None:
    kms = watched.client
    algorithm = "SYMMETRIC_DEFAULT"
    for plaintext in (b"\0", bytes(range(256)) * 16):
        blob = kms.encrypt(
            KeyId=key_id,
            Plaintext=plaintext,
            EncryptionContext=CONTEXT,
            GrantTokens=[],
            EncryptionAlgorithm=algorithm,
            DryRun=False,
        )["CiphertextBlob"]
        assert len(blob) <= 6144
        answer = kms.decrypt(
            CiphertextBlob=blob,
            EncryptionContext=dict(reversed(CONTEXT.items())),
            GrantTokens=[],
            KeyId=key_id,
            EncryptionAlgorithm=algorithm,
            DryRun=False,
        )
        assert answer["Plaintext"] == plaintext


def test_a_wrong_context_a_changed_blob_and_another_key_are_refused_as_aws_does(watched: Watched, key_id: str) -> None:
    kms = watched.client
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x", EncryptionContext=CONTEXT)["CiphertextBlob"]
    changed = blob[:-1] + bytes([blob[-1] ^ 1])
    for members in (
        {"CiphertextBlob": blob},
        {"CiphertextBlob": blob, "EncryptionContext": {**CONTEXT, "tenant": "8"}},
        {"CiphertextBlob": changed, "EncryptionContext": CONTEXT},
        {"CiphertextBlob": b"no blob of ours"},
    ):
        assert refusal(kms.decrypt, **members) == ("InvalidCiphertextException", "")
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    code, _ = refusal(kms.decrypt, CiphertextBlob=blob, EncryptionContext=CONTEXT, KeyId=other)
    assert code == "IncorrectKeyException"


@pytest.mark.parametrize(
    "members", [{"KeySpec": "AES_128"}, {"KeySpec": "AES_256"}, *({"NumberOfBytes": n} for n in (1, 24, 1024))]
)
def test_data_keys_have_the_length_asked_for_and_unwrap_to_themselves(
    watched: Watched, key_id: str, members: dict[str, Any]
) -> None:
    kms = watched.client
    length = {"AES_128": 16, "AES_256": 32}.get(members.get("KeySpec", "")) or members["NumberOfBytes"]
    made = kms.generate_data_key(KeyId=key_id, EncryptionContext=CONTEXT, GrantTokens=[], DryRun=False, **members)
    assert len(made["Plaintext"]) == length
    again = kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert again["Plaintext"] == made["Plaintext"]
    assert again["KeyMaterialId"] == made["KeyMaterialId"]
    wrapped = kms.generate_data_key_without_plaintext(
        KeyId=key_id, EncryptionContext=CONTEXT, GrantTokens=[], DryRun=False, **members
    )["CiphertextBlob"]
    assert len(kms.decrypt(CiphertextBlob=wrapped, EncryptionContext=CONTEXT)["Plaintext"]) == length


def test_re_encrypt_moves_a_blob_to_another_key_and_context(watched: Watched, key_id: str) -> None:
    kms = watched.client
    other = kms.create_key()["KeyMetadata"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"moved", EncryptionContext=CONTEXT)["CiphertextBlob"]
    moved = kms.re_encrypt(
        CiphertextBlob=blob,
        SourceEncryptionContext=CONTEXT,
        SourceKeyId=key_id,
        DestinationKeyId=other["KeyId"],
        DestinationEncryptionContext={"now": "here"},
        SourceEncryptionAlgorithm="SYMMETRIC_DEFAULT",
        DestinationEncryptionAlgorithm="SYMMETRIC_DEFAULT",
        GrantTokens=[],
        DryRun=False,
    )
    assert moved["DestinationKeyMaterialId"] == other["CurrentKeyMaterialId"]
    answer = kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"now": "here"})
    assert (answer["Plaintext"], answer["KeyId"]) == (b"moved", other["Arn"])


@pytest.mark.parametrize("length", [1, 32, 1024])
def test_random_bytes_have_the_length_asked_for_and_never_repeat(watched: Watched, length: int) -> None:
    drawn = [watched.client.generate_random(NumberOfBytes=length)["Plaintext"] for _ in range(2)]
    assert [len(random) for random in drawn] == [length, length]
    assert length < 32 or drawn[0] != drawn[1]


def test_a_dry_run_would_have_succeeded_and_does_nothing(watched: Watched, key_id: str) -> None:
    kms = watched.client
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    calls: list[tuple[Any, dict[str, Any]]] = [
        (kms.encrypt, {"KeyId": key_id, "Plaintext": b"x"}),
        (kms.decrypt, {"CiphertextBlob": blob}),
        (kms.re_encrypt, {"CiphertextBlob": blob, "DestinationKeyId": key_id}),
        (kms.generate_data_key, {"KeyId": key_id, "KeySpec": "AES_256"}),
        (kms.generate_data_key_without_plaintext, {"KeyId": key_id, "KeySpec": "AES_256"}),
        (kms.decrypt, {"KeyId": key_id, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}),
        (kms.re_encrypt, {"SourceKeyId": key_id, "DestinationKeyId": key_id, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}),
    ]
    for call, members in calls:
        with pytest.raises(kms.exceptions.DryRunOperationException, match="would have succeeded"):
            call(DryRun=True, **members)
    kms.disable_key(KeyId=key_id)
    for call, members in calls:
        with pytest.raises(kms.exceptions.DisabledException):
            call(DryRun=True, **members)


def test_dry_run_modifiers_without_a_dry_run_are_refused(watched: Watched, key_id: str) -> None:
    code, message = refusal(watched.client.decrypt, KeyId=key_id, DryRunModifiers=["IGNORE_CIPHERTEXT"])
    assert code == "ValidationException"
    assert "DryRun" in message


def test_what_does_not_exist_yet_is_refused_and_never_ignored(watched: Watched, key_id: str) -> None:
    kms = watched.client
    recipient = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": b"x"}
    for call, members in (
        (kms.generate_data_key, {"KeyId": key_id, "KeySpec": "AES_256"}),
        (kms.generate_random, {"NumberOfBytes": 8}),
        (kms.decrypt, {"CiphertextBlob": kms.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]}),
    ):
        assert refusal(call, Recipient=recipient, **members)[0] == "UnsupportedOperationException"
    for call, members in (
        (kms.encrypt, {"KeyId": key_id, "Plaintext": b"x"}),
        (kms.generate_data_key, {"KeyId": key_id, "KeySpec": "AES_256"}),
    ):
        assert refusal(call, GrantTokens=["a-token"], **members)[0] == "InvalidGrantTokenException"
    assert (
        refusal(kms.generate_random, NumberOfBytes=8, CustomKeyStoreId="cks-1")[0] == "CustomKeyStoreNotFoundException"
    )
    for members in ({"KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"}, {"MultiRegion": True}, {"Origin": "EXTERNAL"}):
        assert refusal(kms.create_key, **members)[0] == "UnsupportedOperationException"


# ── who ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_get_caller_identity_tells_who_signed(installation: Installation) -> None:
    sts = installation.sts()
    answer = sts.get_caller_identity()
    assert (answer["Account"], answer["Arn"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")
    assert answer["UserId"] == ACCOUNT
    sts.close()


@pytest.mark.parametrize(
    ("access_key_id", "secret", "region", "code"),
    [
        ("test", "wrong", REGION, "InvalidSignatureException"),
        ("nobody", "test", REGION, "UnrecognizedClientException"),
        ("test", "test", "eu-nowhere-1", "InvalidSignatureException"),
    ],
)
def test_wrong_credentials_and_regions_are_refused(
    installation: Installation, access_key_id: str, secret: str, region: str, code: str
) -> None:
    kms = client("kms", installation.port, access_key_id, secret, region)
    assert refusal(kms.list_keys)[0] == code
    kms.close()
