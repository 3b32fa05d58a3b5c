"""Encrypt, Decrypt, ReEncrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext and GenerateRandom, over real HTTP.

Where wordings come from: the sentences about `plaintext` and `numberOfBytes`, `NumberOfBytes is required.`,
`Algorithm … is incompatible with key spec ….`, IncorrectKeyException's sentence and the empty InvalidCiphertextException are
LocalStack's snapshots recorded from AWS; DryRun's sentence is in CloudTrail entries of the AWS documentation; `Please
specify either number of bytes or key spec.` is moto's. Ours: the encryption context that is too long, the grant token that
is none.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import Installation
from testkit.raw import RawKms, User, allow, assert_allowed, assert_refused, b64, key_arn, make_user, policy

DRY_RUN = "The request would have succeeded, but the DryRun option is set."
INCORRECT_KEY = "The key ID in the request does not identify a CMK that can perform this operation."
OF_NO_KEY = (
    "User: arn:aws:iam::000000000000:root is not authorized to perform: kms:{} on the resource associated with this "
    "ciphertext because the resource does not exist in this Region, no resource-based policies allow access, or a "
    "resource-based policy explicitly denies access"
)
EITHER = "Please specify either number of bytes or key spec."
TOO_LONG = "The encryption context is longer than 8192 bytes in serialized form."
CONTEXT = {"aws:x-amz-cek-alg": "x", "*aws-kms-table*": "ü", "aws-crypto-public-key": "A+/="}


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.fixture(scope="module")
def key(raw: RawKms) -> dict[str, Any]:
    metadata = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    assert isinstance(metadata, dict)
    return metadata


@pytest.fixture(scope="module")
def other_key(raw: RawKms) -> dict[str, Any]:
    metadata = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    assert isinstance(metadata, dict)
    return metadata


def encrypt(raw: RawKms, key: dict[str, Any], plaintext: bytes = b"plain", **more: Any) -> str:
    answer = assert_allowed(raw.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": b64(plaintext), **more}))
    return str(answer["CiphertextBlob"])


def one_validation_error(where: str, constraint: str) -> str:
    return f"1 validation error detected: Value {where} failed to satisfy constraint: {constraint}"


# ── Encrypt and Decrypt ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1, 2, 4095, 4096])
@pytest.mark.parametrize("context", [None, {}, CONTEXT])
def test_what_was_encrypted_is_decrypted_to_the_last_member(
    raw: RawKms, key: dict[str, Any], size: int, context: dict[str, str] | None
) -> None:
    plaintext = b64(bytes(i % 251 for i in range(size)))
    answer = assert_allowed(
        raw.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": plaintext, "EncryptionContext": context})
    )
    blob = answer.pop("CiphertextBlob")
    assert len(base64.b64decode(blob)) <= 6144
    assert answer == {"KeyId": key["Arn"], "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    backwards = None if context is None else dict(reversed(context.items()))
    opened = assert_allowed(raw.call("Decrypt", {"CiphertextBlob": blob, "EncryptionContext": backwards}))
    assert opened == {
        "KeyId": key["Arn"],
        "Plaintext": plaintext,
        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "KeyMaterialId": key["CurrentKeyMaterialId"],
    }


@pytest.mark.parametrize(
    ("plaintext", "code", "message"),
    [
        (
            "",
            "ValidationException",
            one_validation_error("at 'plaintext'", "Member must have length greater than or equal to 1"),
        ),
        (
            b64(bytes(4097)),
            "ValidationException",
            one_validation_error("at 'plaintext'", "Member must have length less than or equal to 4096"),
        ),
        (None, "ValidationException", one_validation_error("null at 'plaintext'", "Member must not be null")),
        ("not base64!", "SerializationException", None),
        ("eA", "SerializationException", None),
        (7, "SerializationException", "NUMBER_VALUE can not be converted to a Blob"),
    ],
)
def test_a_plaintext_of_the_wrong_size_or_type_is_refused(
    raw: RawKms, key: dict[str, Any], plaintext: Any, code: str, message: str | None
) -> None:
    assert_refused(raw.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": plaintext}), code, message)


def test_the_same_plaintext_never_makes_the_same_blob(raw: RawKms, key: dict[str, Any]) -> None:
    assert len({encrypt(raw, key) for _ in range(50)}) == 50


def test_decrypt_takes_every_reference_to_the_key_that_made_the_blob(raw: RawKms, key: dict[str, Any]) -> None:
    name = f"alias/{uuid.uuid4().hex}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key["KeyId"]}))
    blob = encrypt(raw, key)
    for reference in (None, key["KeyId"], key["Arn"], name):
        assert_allowed(raw.call("Decrypt", {"CiphertextBlob": blob, "KeyId": reference}))


def test_a_blob_of_another_key_is_the_incorrect_key(
    raw: RawKms, key: dict[str, Any], other_key: dict[str, Any]
) -> None:
    blob = encrypt(raw, key)
    assert_refused(
        raw.call("Decrypt", {"CiphertextBlob": blob, "KeyId": other_key["KeyId"]}),
        "IncorrectKeyException",
        INCORRECT_KEY,
    )
    assert_refused(
        raw.call(
            "ReEncrypt",
            {"CiphertextBlob": blob, "SourceKeyId": other_key["KeyId"], "DestinationKeyId": key["KeyId"]},
        ),
        "IncorrectKeyException",
        INCORRECT_KEY,
    )


def test_a_wrong_context_is_an_invalid_ciphertext_without_words(raw: RawKms, key: dict[str, Any]) -> None:
    blob = encrypt(raw, key, EncryptionContext={"a": "b"})
    for wrong in (None, {}, {"a": "B"}, {"A": "b"}, {"a": "b", "c": ""}, {"a": "b "}, {"b": "a"}):
        assert_refused(
            raw.call("Decrypt", {"CiphertextBlob": blob, "EncryptionContext": wrong}), "InvalidCiphertextException", ""
        )


def test_a_blob_with_any_byte_changed_is_refused(raw: RawKms, key: dict[str, Any]) -> None:
    blob = base64.b64decode(encrypt(raw, key))
    for place in range(len(blob)):
        bent = bytearray(blob)
        bent[place] ^= 1
        answer = raw.call("Decrypt", {"CiphertextBlob": b64(bytes(bent))})
        if 5 <= place < 37:  # The HBKID: a well-formed blob of a key that does not exist.
            assert_refused(answer, "AccessDeniedException", OF_NO_KEY.format("Decrypt"))
        else:
            assert_refused(answer, "InvalidCiphertextException", "")


def test_a_blob_that_is_cut_or_longer_or_none_is_refused(raw: RawKms, key: dict[str, Any]) -> None:
    blob = base64.b64decode(encrypt(raw, key))
    for wrong in (blob[:-1], blob + b"\0", blob[1:], blob[:36], blob[:81], b"x", bytes(6144)):
        assert_refused(raw.call("Decrypt", {"CiphertextBlob": b64(wrong)}), "InvalidCiphertextException", "")
    for size, constraint in (
        (0, "Member must have length greater than or equal to 1"),
        (6145, "Member must have length less than or equal to 6144"),
    ):
        assert_refused(
            raw.call("Decrypt", {"CiphertextBlob": b64(bytes(size))}),
            "ValidationException",
            one_validation_error("at 'ciphertextBlob'", constraint),
        )
    assert_refused(
        raw.call("Decrypt", {"KeyId": key["KeyId"]}),
        "ValidationException",
        one_validation_error("null at 'ciphertextBlob'", "Member must not be null"),
    )


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"])
def test_an_algorithm_of_other_keys_is_incompatible(raw: RawKms, key: dict[str, Any], algorithm: str) -> None:
    words = f"Algorithm {algorithm} is incompatible with key spec SYMMETRIC_DEFAULT."
    blob, key_id = encrypt(raw, key), key["KeyId"]
    re_encrypt = {"CiphertextBlob": blob, "DestinationKeyId": key_id}
    for operation, request in (
        ("Encrypt", {"KeyId": key_id, "Plaintext": "eA==", "EncryptionAlgorithm": algorithm}),
        ("Decrypt", {"CiphertextBlob": blob, "EncryptionAlgorithm": algorithm}),
        ("ReEncrypt", {**re_encrypt, "SourceEncryptionAlgorithm": algorithm}),
        ("ReEncrypt", {**re_encrypt, "DestinationEncryptionAlgorithm": algorithm}),
    ):
        assert_refused(raw.call(operation, request), "InvalidKeyUsageException", words)


# ── encryption contexts ─────────────────────────────────────────────────────────────────────────────────────────────────


def context_requests(key: dict[str, Any], blob: str, context: Any) -> list[tuple[str, dict[str, Any]]]:
    key_id = key["KeyId"]
    return [
        ("Encrypt", {"KeyId": key_id, "Plaintext": "eA==", "EncryptionContext": context}),
        ("GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_128", "EncryptionContext": context}),
        ("GenerateDataKeyWithoutPlaintext", {"KeyId": key_id, "KeySpec": "AES_128", "EncryptionContext": context}),
        (
            "ReEncrypt",
            {"CiphertextBlob": blob, "DestinationKeyId": key_id, "DestinationEncryptionContext": context},
        ),
    ]


@pytest.mark.parametrize("character", ["x", "ü", "€", "😀"])
def test_a_context_has_up_to_8192_bytes_in_canonical_form(raw: RawKms, key: dict[str, Any], character: str) -> None:
    size = len(character.encode())
    fits = character * ((8192 - 2 - 4 - 1) // size)
    blob = encrypt(raw, key)
    for operation, request in context_requests(key, blob, {"k": fits}):
        assert_allowed(raw.call(operation, request))
    for operation, request in context_requests(key, blob, {"k": fits + character}):
        assert_refused(raw.call(operation, request), "ValidationException", TOO_LONG)
    decrypt = {"CiphertextBlob": blob, "EncryptionContext": {"k": fits + character}}
    assert_refused(raw.call("Decrypt", decrypt), "ValidationException", TOO_LONG)


@pytest.mark.parametrize("context", [{}, None, {"": ""}, {"a": ""}, {"a" * 300: "b"}, {"'; --": '"\\\0\n'}])
def test_these_contexts_are_taken_as_they_are(raw: RawKms, key: dict[str, Any], context: Any) -> None:
    for operation, request in context_requests(key, encrypt(raw, key), context):
        blob = assert_allowed(raw.call(operation, request))["CiphertextBlob"]
        assert_allowed(raw.call("Decrypt", {"CiphertextBlob": blob, "EncryptionContext": context}))
        if context:
            assert_refused(raw.call("Decrypt", {"CiphertextBlob": blob}), "InvalidCiphertextException")


@pytest.mark.parametrize(
    ("context", "code"),
    [
        ({"a": None}, "ValidationException"),
        ({"a": 1}, "SerializationException"),
        ({"a": ["b"]}, "SerializationException"),
        (["a"], "SerializationException"),
        ("a=b", "SerializationException"),
        ({"a": {}}, "SerializationException"),
    ],
)
def test_a_context_that_is_no_map_of_strings_is_refused(
    raw: RawKms, key: dict[str, Any], context: Any, code: str
) -> None:
    for operation, request in context_requests(key, encrypt(raw, key), context):
        assert_refused(raw.call(operation, request), code)


def test_composed_and_decomposed_contexts_are_different(raw: RawKms, key: dict[str, Any]) -> None:
    blob = encrypt(raw, key, EncryptionContext={"k": "\u00e9"})
    assert_refused(
        raw.call("Decrypt", {"CiphertextBlob": blob, "EncryptionContext": {"k": "e\u0301"}}),
        "InvalidCiphertextException",
    )


# ── data keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────

BOTH = ["GenerateDataKey", "GenerateDataKeyWithoutPlaintext"]


@pytest.mark.parametrize(
    ("members", "size"),
    [
        ({"KeySpec": "AES_128"}, 16),
        ({"KeySpec": "AES_256"}, 32),
        ({"NumberOfBytes": 1}, 1),
        ({"NumberOfBytes": 64, "KeySpec": None}, 64),
        ({"NumberOfBytes": 1024, "GrantTokens": [], "EncryptionContext": {}}, 1024),
    ],
)
def test_a_data_key_comes_plain_and_wrapped_or_wrapped_only(
    raw: RawKms, key: dict[str, Any], members: dict[str, Any], size: int
) -> None:
    plain = assert_allowed(raw.call("GenerateDataKey", {"KeyId": key["KeyId"], **members}))
    wrapped = assert_allowed(raw.call("GenerateDataKeyWithoutPlaintext", {"KeyId": key["KeyId"], **members}))
    common = {"KeyId": key["Arn"], "KeyMaterialId": key["CurrentKeyMaterialId"]}
    assert plain == {"CiphertextBlob": plain["CiphertextBlob"], "Plaintext": plain["Plaintext"], **common}
    assert wrapped == {"CiphertextBlob": wrapped["CiphertextBlob"], **common}
    opened = raw.call("Decrypt", {"CiphertextBlob": plain["CiphertextBlob"]}).json["Plaintext"]
    assert opened == plain["Plaintext"]
    assert len(base64.b64decode(opened)) == size
    only = raw.call("Decrypt", {"CiphertextBlob": wrapped["CiphertextBlob"]}).json["Plaintext"]
    assert len(base64.b64decode(only)) == size


@pytest.mark.parametrize("operation", BOTH)
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, EITHER),
        ({"KeySpec": "AES_256", "NumberOfBytes": 32}, EITHER),
        (
            {"NumberOfBytes": 0},
            one_validation_error("'0' at 'numberOfBytes'", "Member must have value greater than or equal to 1"),
        ),
        (
            {"NumberOfBytes": 1025},
            one_validation_error("'1025' at 'numberOfBytes'", "Member must have value less than or equal to 1024"),
        ),
        ({"KeySpec": "AES-256"}, None),
    ],
)
def test_the_size_of_a_data_key_is_said_once_and_is_1_to_1024(
    raw: RawKms, key: dict[str, Any], operation: str, members: dict[str, Any], message: str | None
) -> None:
    assert_refused(raw.call(operation, {"KeyId": key["KeyId"], **members}), "ValidationException", message)


# ── ReEncrypt ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_blob_moves_to_another_key_and_context_to_the_last_member(
    raw: RawKms, key: dict[str, Any], other_key: dict[str, Any]
) -> None:
    blob = encrypt(raw, key, b"moved", EncryptionContext={"from": "here"})
    answer = assert_allowed(
        raw.call(
            "ReEncrypt",
            {
                "CiphertextBlob": blob,
                "SourceKeyId": key["Arn"],
                "SourceEncryptionContext": {"from": "here"},
                "DestinationKeyId": other_key["KeyId"],
                "DestinationEncryptionContext": {"to": "there"},
                "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            },
        )
    )
    moved = answer.pop("CiphertextBlob")
    assert answer == {
        "SourceKeyId": key["Arn"],
        "KeyId": other_key["Arn"],
        "SourceEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "DestinationEncryptionAlgorithm": "SYMMETRIC_DEFAULT",
        "SourceKeyMaterialId": key["CurrentKeyMaterialId"],
        "DestinationKeyMaterialId": other_key["CurrentKeyMaterialId"],
    }
    opened = assert_allowed(raw.call("Decrypt", {"CiphertextBlob": moved, "EncryptionContext": {"to": "there"}}))
    assert (opened["Plaintext"], opened["KeyId"]) == (b64(b"moved"), other_key["Arn"])
    assert_refused(raw.call("Decrypt", {"CiphertextBlob": moved}), "InvalidCiphertextException", "")


def test_re_encrypt_to_the_same_key_changes_the_context_only(raw: RawKms, key: dict[str, Any]) -> None:
    request = {"DestinationKeyId": key["KeyId"], "DestinationEncryptionContext": {"b": "c"}}
    moved = assert_allowed(raw.call("ReEncrypt", {"CiphertextBlob": encrypt(raw, key), **request}))["CiphertextBlob"]
    assert_allowed(raw.call("Decrypt", {"CiphertextBlob": moved, "EncryptionContext": {"b": "c"}}))


def test_re_encrypt_refuses_what_encrypt_and_decrypt_refuse(raw: RawKms, key: dict[str, Any]) -> None:
    blob, absent = encrypt(raw, key, EncryptionContext={"a": "b"}), str(uuid.uuid4())
    missing = f"Key '{key_arn(absent)}' does not exist"
    for request, code, message in (
        ({"CiphertextBlob": blob, "DestinationKeyId": key["KeyId"]}, "InvalidCiphertextException", ""),
        ({"CiphertextBlob": blob, "DestinationKeyId": absent}, "NotFoundException", missing),
        (
            {"CiphertextBlob": blob, "DestinationKeyId": key["KeyId"], "SourceKeyId": absent},
            "NotFoundException",
            missing,
        ),
        (
            {"CiphertextBlob": blob},
            "ValidationException",
            one_validation_error("null at 'destinationKeyId'", "Member must not be null"),
        ),
        (
            {"DestinationKeyId": key["KeyId"]},
            "ValidationException",
            one_validation_error("null at 'ciphertextBlob'", "Member must not be null"),
        ),
    ):
        assert_refused(raw.call("ReEncrypt", request), code, message)


# ── GenerateRandom ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1, 12, 44, 91, 1024])
def test_random_bytes_come_in_every_size(raw: RawKms, size: int) -> None:
    answer = assert_allowed(raw.call("GenerateRandom", {"NumberOfBytes": size}))
    assert len(base64.b64decode(answer.pop("Plaintext"))) == size
    assert answer == {}


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({}, "ValidationException", "NumberOfBytes is required."),
        (
            {"NumberOfBytes": 0},
            "ValidationException",
            one_validation_error("'0' at 'numberOfBytes'", "Member must have value greater than or equal to 1"),
        ),
        (
            {"NumberOfBytes": 1025},
            "ValidationException",
            one_validation_error("'1025' at 'numberOfBytes'", "Member must have value less than or equal to 1024"),
        ),
        ({"NumberOfBytes": 8, "CustomKeyStoreId": "cks-1"}, "CustomKeyStoreNotFoundException", ""),
        ({"NumberOfBytes": 8, "Recipient": {}}, "UnsupportedOperationException", "Recipient is not supported yet."),
        ({"NumberOfBytes": 1.5}, "SerializationException", None),
        ({"NumberOfBytes": "8"}, "SerializationException", "STRING_VALUE can not be converted to an Integer"),
    ],
)
def test_generate_random_refuses(raw: RawKms, request_: dict[str, Any], code: str, message: str | None) -> None:
    assert_refused(raw.call("GenerateRandom", request_), code, message)


# ── grant tokens, recipients, dry runs ──────────────────────────────────────────────────────────────────────────────────


def all_forms(key: dict[str, Any], blob: str) -> list[tuple[str, dict[str, Any]]]:
    """A valid request for each operation that uses a key."""
    key_id = key["KeyId"]
    return [
        ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}),
        ("Decrypt", {"CiphertextBlob": blob}),
        ("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": key_id}),
        ("GenerateDataKey", {"KeyId": key_id, "KeySpec": "AES_256"}),
        ("GenerateDataKeyWithoutPlaintext", {"KeyId": key_id, "NumberOfBytes": 7}),
    ]


def test_a_dry_run_says_that_it_would_have_worked(raw: RawKms, key: dict[str, Any]) -> None:
    for operation, request in all_forms(key, encrypt(raw, key)):
        assert_allowed(raw.call(operation, request))
        assert_allowed(raw.call(operation, request | {"DryRun": False}))
        assert_refused(raw.call(operation, request | {"DryRun": True}), "DryRunOperationException", DRY_RUN)


def test_a_dry_run_may_ask_without_a_blob(raw: RawKms, key: dict[str, Any]) -> None:
    modifiers = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    key_id = key["KeyId"]
    assert_refused(raw.call("Decrypt", {"KeyId": key_id, **modifiers}), "DryRunOperationException", DRY_RUN)
    both = {"SourceKeyId": key_id, "DestinationKeyId": key_id}
    assert_refused(raw.call("ReEncrypt", {**both, **modifiers}), "DryRunOperationException", DRY_RUN)
    for operation, request in (("Decrypt", {"KeyId": key_id}), ("ReEncrypt", both)):
        assert_refused(
            raw.call(operation, {**request, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}),
            "ValidationException",
            "DryRunModifiers can only be specified when DryRun is true.",
        )
    assert_refused(
        raw.call("Decrypt", modifiers),
        "ValidationException",
        one_validation_error("null at 'keyId'", "Member must not be null"),
    )
    assert_refused(
        raw.call("ReEncrypt", {"DestinationKeyId": key_id, **modifiers}),
        "ValidationException",
        one_validation_error("null at 'sourceKeyId'", "Member must not be null"),
    )


def test_no_grant_token_is_valid_where_there_are_no_grants(raw: RawKms, key: dict[str, Any]) -> None:
    for operation, request in all_forms(key, encrypt(raw, key)):
        assert_refused(
            raw.call(operation, request | {"GrantTokens": ["x"]}),
            "InvalidGrantTokenException",
            "The provided grant token is not valid.",
        )
        assert_allowed(raw.call(operation, request | {"GrantTokens": []}))
        assert_refused(raw.call(operation, request | {"GrantTokens": ["x"] * 11}), "ValidationException")
    # The model gives DescribeKey no exception for a bad token.
    assert_allowed(raw.call("DescribeKey", {"KeyId": key["KeyId"], "GrantTokens": ["x"]}))


@pytest.mark.parametrize("operation", ["Decrypt", "GenerateDataKey"])
def test_a_recipient_is_refused_rather_than_ignored(raw: RawKms, key: dict[str, Any], operation: str) -> None:
    request = dict(all_forms(key, encrypt(raw, key)))[operation]
    recipient = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": "eA=="}
    assert_refused(
        raw.call(operation, request | {"Recipient": recipient}),
        "UnsupportedOperationException",
        "Recipient is not supported yet.",
    )


# ── the order of checks ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_validation_comes_before_existence_before_authorization_before_state_before_the_dry_run(
    installation: Installation, raw: RawKms
) -> None:
    key = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    suffix = uuid.uuid4().hex[:8]
    nobody: User = make_user(installation, f"nobody-{suffix}")
    somebody: User = make_user(installation, f"somebody-{suffix}", policy(allow("kms:Encrypt")))
    absent = str(uuid.uuid4())
    base = {"DryRun": True, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
    disabled = f"{key['Arn']} is disabled."

    def ask(user: RawKms, key_id: str, plaintext: str = "eA==", **more: Any) -> Any:
        return user.call("Encrypt", {"KeyId": key_id, "Plaintext": plaintext, **base, **more})

    assert_allowed(raw.call("DisableKey", {"KeyId": key["KeyId"]}))
    # Each line has every later fault too.
    assert_refused(ask(nobody.kms, absent, plaintext=""), "ValidationException")
    assert_refused(ask(nobody.kms, absent), "NotFoundException")
    assert_refused(ask(nobody.kms, key["KeyId"]), "AccessDeniedException")
    assert_refused(
        ask(somebody.kms, key["KeyId"], EncryptionAlgorithm="RSAES_OAEP_SHA_1"), "DisabledException", disabled
    )
    assert_refused(ask(somebody.kms, key["KeyId"]), "DisabledException", disabled)
    assert_allowed(raw.call("EnableKey", {"KeyId": key["KeyId"]}))
    assert_refused(ask(somebody.kms, key["KeyId"], EncryptionAlgorithm="RSAES_OAEP_SHA_1"), "InvalidKeyUsageException")
    assert_refused(ask(somebody.kms, key["KeyId"]), "DryRunOperationException", DRY_RUN)
    assert_allowed(ask(somebody.kms, key["KeyId"], DryRun=False))


def test_decrypt_tells_nothing_about_a_key_to_who_may_not_use_it(installation: Installation, raw: RawKms) -> None:
    key = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    nobody = make_user(installation, f"nobody-{uuid.uuid4().hex[:8]}")
    right = encrypt(raw, key, EncryptionContext={"a": "b"})
    answers = [
        nobody.kms.call("Decrypt", {"CiphertextBlob": right, "EncryptionContext": context})
        for context in ({"a": "b"}, {"a": "c"})
    ]
    for answer in answers:
        assert_refused(answer, "AccessDeniedException")
    assert answers[0].message == answers[1].message
