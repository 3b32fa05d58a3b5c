"""CreateKey, DescribeKey, EnableKey, DisableKey and ListKeys, over real HTTP.

Where codes and wordings come from: `Key '…' does not exist`, `Invalid arn REGION`, `Invalid keyId '…'` and the metadata are
LocalStack's snapshots recorded from AWS (tests/aws/services/kms/test_kms.snapshot.json), `is disabled.` and the lockout's
sentence are Terraform's acceptance tests and many issues, `one or more invalid principals` the CDK's documentation, both
specs in one request nsmithuk/local-kms, tags LocalStack's AWS-validated tests (localstack/localstack#12142).
Ours, because nothing was found: the places in MalformedPolicyDocumentException, `… is not supported yet.`, the wording of
InvalidMarkerException.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import ACCOUNT, REGION, Installation
from testkit.raw import (
    RawKms,
    User,
    alias_arn,
    allow,
    assert_allowed,
    assert_refused,
    key_arn,
    make_user,
    nothing_breaks,
    policy,
)

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
LOCKOUT = "The new key policy will not allow you to update the key policy in the future."
BOTH_SPECS = (
    "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated."
)
PRINCIPALS = "Policy contains a statement with one or more invalid principals."
# The permissions that the default policy gives: the account's root, everything.
DEFAULT_STATEMENT = allow("kms:*", Principal={"AWS": ROOT})


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def create(raw: RawKms, **request: Any) -> dict[str, Any]:
    metadata = assert_allowed(raw.call("CreateKey", request))["KeyMetadata"]
    assert isinstance(metadata, dict)
    return metadata


# ── CreateKey ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_is_described_to_its_last_member(raw: RawKms) -> None:
    metadata = create(raw, Description="first")
    key_id = metadata["KeyId"]
    assert str(uuid.UUID(key_id)) == key_id
    assert len(bytes.fromhex(metadata.pop("CurrentKeyMaterialId"))) == 32
    assert isinstance(metadata.pop("CreationDate"), float)
    assert metadata == {
        "AWSAccountId": ACCOUNT,
        "Arn": key_arn(key_id),
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "Description": "first",
        "Enabled": True,
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "KeyId": key_id,
        "KeyManager": "CUSTOMER",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": False,
        "Origin": "AWS_KMS",
    }


def test_what_create_key_answered_is_what_describe_key_answers(raw: RawKms) -> None:
    created = raw.call("CreateKey", {"Description": "x", "Tags": [{"TagKey": "a", "TagValue": "b"}]}).json
    assert raw.call("DescribeKey", {"KeyId": created["KeyMetadata"]["KeyId"]}).json == created


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"Description": ""},
        {"Description": "ü" * 8192},
        {"KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT"},
        {"CustomerMasterKeySpec": "SYMMETRIC_DEFAULT"},
        {"Origin": "AWS_KMS", "MultiRegion": False, "BypassPolicyLockoutSafetyCheck": False},
        {"Tags": []},
        {"Tags": None, "Policy": None, "Description": None},
        {"Tags": [{"TagKey": f"k{i}", "TagValue": ""} for i in range(50)]},
        {"Tags": [{"TagKey": "Name", "TagValue": "x"}, {"TagKey": "name", "TagValue": "x"}]},
        {"NoSuchMember": {"a": [1, 2.5, None]}, "description": "wrong case is another name"},
    ],
)
def test_these_forms_of_create_key_are_taken(raw: RawKms, request_: dict[str, Any]) -> None:
    metadata = create(raw, **request_)
    assert metadata["Description"] == (request_.get("Description") or "")


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (
            {"KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT"},
            "ValidationException",
            BOTH_SPECS,
        ),
        ({"KeySpec": "RSA_2048"}, "UnsupportedOperationException", "KeySpec RSA_2048 is not supported yet."),
        (
            {"CustomerMasterKeySpec": "HMAC_256"},
            "UnsupportedOperationException",
            "KeySpec HMAC_256 is not supported yet.",
        ),
        (
            {"KeyUsage": "SIGN_VERIFY"},
            "ValidationException",
            "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT",
        ),
        ({"Origin": "EXTERNAL"}, "UnsupportedOperationException", "Origin EXTERNAL is not supported yet."),
        ({"Origin": "AWS_CLOUDHSM"}, "UnsupportedOperationException", "Origin AWS_CLOUDHSM is not supported yet."),
        ({"MultiRegion": True}, "UnsupportedOperationException", "Multi-Region keys are not supported yet."),
        ({"CustomKeyStoreId": "cks-1234567890abcdef0"}, "CustomKeyStoreNotFoundException", ""),
        (
            {"XksKeyId": "bb8562717f809024"},
            "ValidationException",
            "XksKeyId can only be specified when Origin is EXTERNAL_KEY_STORE.",
        ),
        (
            {"Tags": [{"TagKey": "a", "TagValue": "1"}, {"TagKey": "a", "TagValue": "2"}]},
            "TagException",
            "Duplicate tag keys",
        ),
        ({"Tags": [{"TagKey": "aws:x", "TagValue": "1"}]}, "TagException", "Tags beginning with aws: are reserved"),
        ({"Tags": [{"TagKey": "AWS:x", "TagValue": "1"}]}, "TagException", "Tags beginning with aws: are reserved"),
        ({"Tags": [{"TagKey": f"k{i}", "TagValue": ""} for i in range(51)]}, "TagException", "Too many tags"),
        ({"Tags": [{"TagKey": "a"}]}, "ValidationException", None),
        ({"Tags": [{"TagKey": "a" * 129, "TagValue": ""}]}, "ValidationException", None),
        ({"Description": "x" * 8193}, "ValidationException", None),
        ({"KeySpec": "AES_256"}, "ValidationException", None),
        ({"Description": 7}, "SerializationException", "NUMBER_VALUE can not be converted to a String"),
        ({"MultiRegion": "true"}, "SerializationException", None),
    ],
)
def test_create_key_refuses(raw: RawKms, request_: dict[str, Any], code: str, message: str | None) -> None:
    before = len(raw.call("ListKeys", {"Limit": 1000}).json["Keys"])
    assert_refused(raw.call("CreateKey", request_), code, message)
    assert len(raw.call("ListKeys", {"Limit": 1000}).json["Keys"]) == before


# ── CreateKey: policies ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        (
            DEFAULT_STATEMENT | {"Condition": {"Equals": {}}},
            "Statement[0].Condition: there is no condition operator 'Equals'",
        ),
        (
            DEFAULT_STATEMENT | {"Condition": {"NumericEquals": {"kms:RotationPeriodInDays": "many"}}},
            "Statement[0].Condition.NumericEquals.kms:RotationPeriodInDays: 'many' is no number",
        ),
        (DEFAULT_STATEMENT | {"NotAction": "kms:*"}, "Statement[0]: there can be Action or NotAction, not both"),
        ({"Effect": "Allow"}, "Statement[0]: a key policy statement needs a Principal"),
        (DEFAULT_STATEMENT | {"Effect": "allow"}, "Statement[0]: Effect must be Allow or Deny"),
        (DEFAULT_STATEMENT | {"Effect": ["Allow"]}, "Statement[0]: Effect must be Allow or Deny"),
        (DEFAULT_STATEMENT | {"Effect": {"Allow": 1}}, "Statement[0]: Effect must be Allow or Deny"),
        (
            DEFAULT_STATEMENT | {"Resource": "${username}"},
            "Statement[0].Resource: '${username}' is no policy variable",
        ),
        ("Allow", "Statement[0] is not an object"),
    ],
)
def test_a_policy_that_would_not_be_evaluated_in_full_is_refused_with_its_place(
    raw: RawKms, statement: Any, place: str
) -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    assert_refused(raw.call("CreateKey", {"Policy": text}), "MalformedPolicyDocumentException", place)


@pytest.mark.parametrize("text", ["no policy", "[]", "{", '{"Statement":[]}', '{"a":1,"a":2}', "[" * 5000])
def test_a_text_that_is_no_policy_is_refused(raw: RawKms, text: str) -> None:
    assert_refused(raw.call("CreateKey", {"Policy": text}), "MalformedPolicyDocumentException")


def test_a_policy_may_have_32_kib_and_no_byte_more(raw: RawKms) -> None:
    text = policy(DEFAULT_STATEMENT)
    create(raw, Policy=text + " " * (32768 - len(text)))
    longer = text + " " * (32769 - len(text))
    assert_refused(
        raw.call("CreateKey", {"Policy": longer}),
        "LimitExceededException",
        "The key policy exceeds the length limit of 32768 bytes.",
    )


@pytest.mark.parametrize(
    "principal",
    [
        f"arn:aws:iam::{ACCOUNT}:user/nobody-of-this-name",
        "arn:aws:iam::111122223333:root",
        "111122223333",
        "arn:aws:iam::111122223333:user/alice",
    ],
)
def test_a_principal_that_does_not_exist_is_refused(raw: RawKms, principal: str) -> None:
    text = policy(DEFAULT_STATEMENT, allow("kms:Encrypt", Principal={"AWS": [principal]}))
    assert_refused(raw.call("CreateKey", {"Policy": text}), "MalformedPolicyDocumentException", PRINCIPALS)


def test_a_policy_that_locks_its_author_out_is_refused_unless_the_check_is_bypassed(raw: RawKms) -> None:
    text = policy(allow("kms:Encrypt", Principal={"AWS": ROOT}))
    assert_refused(raw.call("CreateKey", {"Policy": text}), "MalformedPolicyDocumentException", LOCKOUT)
    made = create(raw, Policy=text, BypassPolicyLockoutSafetyCheck=True)
    assert_allowed(raw.call("Encrypt", {"KeyId": made["KeyId"], "Plaintext": "eA=="}))
    assert_refused(
        raw.call("DescribeKey", {"KeyId": made["KeyId"]}),
        "AccessDeniedException",
        f"User: {ROOT} is not authorized to perform: kms:DescribeKey on resource: {made['Arn']} "
        "because no resource-based policy allows the kms:DescribeKey action",
    )


def test_the_lockout_check_asks_about_the_new_key_itself(installation: Installation) -> None:
    """A user whose identity policy is limited to keys is not locked out of a key."""
    name = f"keys-only-{uuid.uuid4().hex[:8]}"
    user = make_user(installation, name, policy(allow("kms:CreateKey"), allow("kms:*", resource=key_arn("*"))))
    assert_allowed(user.kms.call("CreateKey"))
    narrower = make_user(installation, f"{name}-2", policy(allow("kms:CreateKey", "kms:Encrypt")))
    assert_refused(narrower.kms.call("CreateKey"), "MalformedPolicyDocumentException", LOCKOUT)


def test_tags_at_creation_need_their_own_permission(installation: Installation) -> None:
    name = f"no-tags-{uuid.uuid4().hex[:8]}"
    user: User = make_user(installation, name, policy(allow("kms:CreateKey", "kms:PutKeyPolicy")))
    assert_allowed(user.kms.call("CreateKey"))
    assert_refused(
        user.kms.call("CreateKey", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        "AccessDeniedException",
        f"User: {user.arn} is not authorized to perform: kms:TagResource on resource: * "
        "because no identity-based policy allows the kms:TagResource action",
    )


# ── references ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ABSENT = "1234abcd-12ab-34cd-56ef-1234567890ab"
ABSENT_REFERENCES = [
    (ABSENT, f"Key '{key_arn(ABSENT)}' does not exist"),
    (key_arn(ABSENT), f"Key '{key_arn(ABSENT)}' does not exist"),
    ("mrk-" + "a" * 32, f"Key '{key_arn('mrk-' + 'a' * 32)}' does not exist"),
    ("alias/nothing", f"Alias {alias_arn('alias/nothing')} is not found."),
    (alias_arn("alias/nothing"), f"Alias {alias_arn('alias/nothing')} is not found."),
    ("alias/aws/s3", f"Alias {alias_arn('alias/aws/s3')} is not found."),
    ("not-a-key", "Invalid keyId 'not-a-key'"),
    (ABSENT.upper(), f"Invalid keyId '{ABSENT.upper()}'"),
    (ABSENT.replace("-", ""), f"Invalid keyId '{ABSENT.replace('-', '')}'"),
    ("mrk-fake", "Invalid keyId 'mrk-fake'"),
    ("../" + ABSENT, f"Invalid keyId '../{ABSENT}'"),
    (ABSENT + "%2e", f"Invalid keyId '{ABSENT}%2e'"),
    (ABSENT + "\0", f"Invalid keyId '{ABSENT}\0'"),
    (ABSENT + " ", f"Invalid keyId '{ABSENT} '"),
    ("ａ" * 36, f"Invalid keyId '{'ａ' * 36}'"),
    ("alias/" + "x" * 251, f"Invalid keyId 'alias/{'x' * 251}'"),
    ("alias/a:b", "Invalid keyId 'alias/a:b'"),
    ("ALIAS/nothing", "Invalid keyId 'ALIAS/nothing'"),
    (key_arn("not-a-key"), "Invalid keyId 'not-a-key'"),
    (key_arn(ABSENT.upper()), f"Invalid keyId '{ABSENT.upper()}'"),
    ("arn:aws:kms", "Invalid arn arn:aws:kms"),
    (f"arn:aws:s3:{REGION}:{ACCOUNT}:key/{ABSENT}", f"Invalid arn arn:aws:s3:{REGION}:{ACCOUNT}:key/{ABSENT}"),
    (f"arn:aws:kms:{REGION}:{ACCOUNT}:grant/{ABSENT}", f"Invalid arn arn:aws:kms:{REGION}:{ACCOUNT}:grant/{ABSENT}"),
]


@pytest.mark.parametrize(("reference", "message"), ABSENT_REFERENCES)
def test_a_reference_to_nothing_is_not_found_in_awss_words(raw: RawKms, reference: str, message: str) -> None:
    for operation, more in (
        ("DescribeKey", {}),
        ("Encrypt", {"Plaintext": "eA=="}),
        ("GenerateDataKey", {"KeySpec": "AES_256"}),
        ("GenerateDataKeyWithoutPlaintext", {"NumberOfBytes": 1}),
    ):
        assert_refused(raw.call(operation, {"KeyId": reference, **more}), "NotFoundException", message)


def test_a_real_key_is_not_found_under_another_region_account_partition_or_case(raw: RawKms) -> None:
    key_id = create(raw)["KeyId"]
    name = f"alias/real-{key_id}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key_id}))
    for reference, message in (
        (key_arn(key_id, region="eu-west-1"), "Invalid arn eu-west-1"),
        (alias_arn(name, region="eu-west-1"), "Invalid arn eu-west-1"),
        (key_arn(key_id, region="eu-west-1", account="111122223333"), "Invalid arn eu-west-1"),
        (key_arn(key_id, partition="aws-cn"), f"Key '{key_arn(key_id)}' does not exist"),
        (alias_arn(name, partition="aws-cn"), f"Alias {alias_arn(name)} is not found."),
        (key_id.upper(), f"Invalid keyId '{key_id.upper()}'"),
        (name.upper().replace("ALIAS/", "alias/"), None),
    ):
        assert_refused(raw.call("DescribeKey", {"KeyId": reference}), "NotFoundException", message)


def test_nobody_is_told_what_exists_in_another_account(raw: RawKms) -> None:
    key_id = create(raw)["KeyId"]
    name = f"alias/own-{key_id}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key_id}))
    unseen = (
        f"User: {ROOT} is not authorized to perform: kms:DescribeKey on this resource because the resource does not exist "
        "in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
    )
    for reference in (
        key_arn(key_id, account="111122223333"),
        key_arn(ABSENT, account="111122223333"),
        alias_arn(name, account="111122223333"),
        alias_arn("alias/nothing", account="111122223333"),
    ):
        assert_refused(raw.call("DescribeKey", {"KeyId": reference}), "AccessDeniedException", unseen)


def test_every_kind_of_reference_finds_the_key(raw: RawKms) -> None:
    key_id = create(raw)["KeyId"]
    name = f"alias/found/{key_id}_x-Y"
    assert_allowed(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key_id}))
    for reference in (key_id, key_arn(key_id), name, alias_arn(name)):
        assert raw.call("DescribeKey", {"KeyId": reference}).json["KeyMetadata"]["KeyId"] == key_id
        answer = assert_allowed(raw.call("Encrypt", {"KeyId": reference, "Plaintext": "eA=="}))
        assert answer["KeyId"] == key_arn(key_id)


# ── EnableKey, DisableKey ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_disabled_key_does_nothing_and_an_enabled_one_everything_again(raw: RawKms) -> None:
    key_id = create(raw)["KeyId"]
    blob = raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}).json["CiphertextBlob"]
    disabled = f"{key_arn(key_id)} is disabled."
    for _ in range(2):  # Disabling a disabled key is no error.
        answer = raw.call("DisableKey", {"KeyId": key_arn(key_id)})
        assert (answer.status, answer.body) == (200, b"")
        metadata = raw.call("DescribeKey", {"KeyId": key_id}).json["KeyMetadata"]
        assert (metadata["KeyState"], metadata["Enabled"]) == ("Disabled", False)
        for operation, request in (
            ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}),
            ("Decrypt", {"CiphertextBlob": blob}),
            ("Decrypt", {"CiphertextBlob": blob, "DryRun": True}),
            ("GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_128"}),
            ("GenerateDataKeyWithoutPlaintext", {"KeyId": key_id, "KeySpec": "AES_128"}),
            ("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": key_id}),
        ):
            assert_refused(raw.call(operation, request), "DisabledException", disabled)
    for _ in range(2):
        answer = raw.call("EnableKey", {"KeyId": key_id})
        assert (answer.status, answer.body) == (200, b"")
        assert raw.call("DescribeKey", {"KeyId": key_id}).json["KeyMetadata"]["KeyState"] == "Enabled"
        assert raw.call("Decrypt", {"CiphertextBlob": blob}).json["Plaintext"] == "eA=="


@pytest.mark.parametrize("operation", ["EnableKey", "DisableKey"])
def test_states_are_changed_by_key_id_or_arn_only(raw: RawKms, operation: str) -> None:
    key_id = create(raw)["KeyId"]
    name = f"alias/{key_id}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key_id}))
    for alias in (name, alias_arn(name), "alias/nothing"):
        assert_refused(
            raw.call(operation, {"KeyId": alias}),
            "InvalidArnException",
            "Key Aliases are not supported for this operation.",
        )
    assert_refused(
        raw.call(operation, {"KeyId": ABSENT}), "NotFoundException", f"Key '{key_arn(ABSENT)}' does not exist"
    )
    assert_refused(
        raw.call(operation, {}),
        "ValidationException",
        "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null",
    )


# ── ListKeys ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pages_of_keys_hold_every_key_once(raw: RawKms) -> None:
    made = {create(raw)["KeyId"] for _ in range(5)}
    listed: list[dict[str, str]] = []
    request: dict[str, Any] = {"Limit": 3}
    while True:
        page = assert_allowed(raw.call("ListKeys", request))
        assert set(page) == {"Keys", "Truncated"} | ({"NextMarker"} if page["Truncated"] else set())
        assert len(page["Keys"]) == 3 or not page["Truncated"]
        listed += page["Keys"]
        if not page["Truncated"]:
            break
        request["Marker"] = page["NextMarker"]
    assert all(entry["KeyArn"] == key_arn(entry["KeyId"]) for entry in listed)
    ids = [entry["KeyId"] for entry in listed]
    assert len(set(ids)) == len(ids)
    assert made <= set(ids)


@pytest.mark.parametrize("operation", ["ListKeys", "ListAliases"])
@pytest.mark.parametrize("marker", ["!", "????", "a", "\\u00fc", "YWJj\\n", "YWJj====", "//8=", "=" * 320])
def test_a_marker_that_we_did_not_write_is_invalid(raw: RawKms, operation: str, marker: str) -> None:
    body = b'{"Marker":"%b"}' % marker.encode()
    answer = raw.call(operation, body)
    assert answer.status == 400, answer
    # The model's own pattern for markers refuses some of these earlier.
    assert answer.code in {"InvalidMarkerException", "ValidationException"}
    if answer.code == "InvalidMarkerException":
        assert answer.message == "Invalid marker"


def test_at_least_one_of_those_markers_reaches_the_operation(raw: RawKms) -> None:
    assert_refused(raw.call("ListKeys", {"Marker": "????"}), "InvalidMarkerException", "Invalid marker")


@pytest.mark.parametrize("limit", [0, -1, 1001, 2**31])
def test_a_limit_outside_the_model_is_refused(raw: RawKms, limit: int) -> None:
    assert raw.call("ListKeys", {"Limit": limit}).code in {"ValidationException", "SerializationException"}


def test_none_of_this_broke_the_service(installation: Installation) -> None:
    with nothing_breaks(installation):
        pass
