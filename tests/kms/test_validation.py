"""Requests are decoded or refused, in AWS's words where those are known, and the two ways never disagree.

Where the wordings come from (KMS itself can only be asked with an account, so most are other services of AWS answering
through the same framework):

* `Value null at 'keyId' … must not be null`: KMS, quoted in many issues and test suites of its users.
* `Value at 'plaintext' …` without a value: KMS (moto's test `test_encrypt` marked `aws_verified`; `aws kms decrypt` with
  an empty file gives `Value at 'ciphertextBlob' …`). Blobs and sensitive members are not repeated.
* `2 validation errors detected: …; …`, pattern before length: DynamoDB, Cognito, CloudFormation (the last two also print
  it the other way round: the order is not fixed).
* `Member must satisfy constraint: […]`: Lambda (`cors.allowMethods`), ACM (`subjectAlternativeNames`), IoT (enumeration).
* `tags.1.member.key`: Firehose, IAM. `Map value must satisfy constraint`: Lambda, DynamoDB, CodePipeline.
* `X_VALUE can not be converted to …`, `Expected list or null`, `Expected null`, `Start of …`, and no message at all for what
  is not JSON: measured against Athena over raw HTTP; milliseconds since epoch: X-Ray.
* Ours, because nothing was found: `Expected map or null`, `A member occurs more than once`, null inside a list or map.
"""

import base64
import json
import time
import tracemalloc
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.kms.wire import shapes, validation
from strongroom.kms.wire.model import Rule, Shape, structure_rule
from strongroom.kms.wire.validation import RequestRefused, decode_request, encode_response, explain

KEY_ARN = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
# Of CPU. A few milliseconds as a rule; what is worse than linear takes seconds, and a machine may be slow.
REFUSAL_MS_MAX = 250


def refusal(operation: str, body: Any) -> RequestRefused:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RequestRefused) as caught:
        decode_request(operation, data)
    return caught.value


def assert_serialization(operation: str, body: Any, message: str | None = None) -> None:
    found = refusal(operation, body)
    assert found.code == "SerializationException"
    if message is not None:
        assert found.message == message


def assert_violations(operation: str, body: Any, *sentences: str) -> None:
    found = refusal(operation, body)
    plural = "" if len(sentences) == 1 else "s"
    assert found.code == "ValidationException"
    assert found.message == f"{len(sentences)} validation error{plural} detected: {'; '.join(sentences)}"


# --- What is accepted -------------------------------------------------------------------------------------------------


def test_a_request_becomes_a_typed_struct() -> None:
    body = json.dumps(
        {
            "KeyId": KEY_ARN,
            "KeySpec": "AES_256",
            "EncryptionContext": {"aws:s3:arn": "x", "*aws-kms-table*": "y"},
            "GrantTokens": [],
        }
    ).encode()
    request = decode_request("GenerateDataKey", body)
    assert isinstance(request, shapes.GenerateDataKeyRequest)
    assert request.KeyId == KEY_ARN
    assert request.EncryptionContext == {"aws:s3:arn": "x", "*aws-kms-table*": "y"}
    assert request.GrantTokens == []
    assert request.NumberOfBytes is None


def test_null_counts_as_absent() -> None:
    request = decode_request("GenerateDataKey", b'{"KeyId":"k","KeySpec":null,"EncryptionContext":null}')
    assert request == shapes.GenerateDataKeyRequest(KeyId="k")


def test_empty_lists_and_maps_are_fine() -> None:
    request = decode_request("CreateKey", b'{"Tags":[]}')
    assert request == shapes.CreateKeyRequest(Tags=[])
    assert decode_request("Decrypt", b'{"CiphertextBlob":"AA==","EncryptionContext":{},"GrantTokens":[]}') is not None


def test_an_empty_body_counts_as_an_empty_object() -> None:
    assert decode_request("ListKeys", b"") == shapes.ListKeysRequest()
    assert_violations("DescribeKey", b"", "Value null at 'keyId' failed to satisfy constraint: Member must not be null")


def test_unknown_members_are_ignored_and_a_wrong_case_is_unknown() -> None:
    assert decode_request("DescribeKey", b'{"KeyId":"k","Later":{"a":[1,"b",null]}}') == shapes.DescribeKeyRequest(
        KeyId="k"
    )
    for name in (b"keyId", b"KEYID", b"keyid", "\uff2beyId".encode()):
        assert refusal("DescribeKey", b'{"%s":"k"}' % name).code == "ValidationException"


def test_the_same_name_in_two_objects_is_no_duplicate() -> None:
    body = b'{"KeyId":"k","Tags":[{"TagKey":"a","TagValue":"b"},{"TagKey":"c","TagValue":"b"}]}'
    assert len(decode_request("TagResource", body).Tags) == 2
    assert decode_request("Encrypt", b'{"KeyId":"k","Plaintext":"AA==","EncryptionContext":{"KeyId":"Plaintext"}}')


def test_an_ordinary_body_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def second_look(_: bytes) -> None:
        raise AssertionError

    monkeypatch.setattr(validation, "parse_strictly", second_look)
    # Equal values are no equal names, whichever way the client writes its colons.
    for body in (
        b'{"KeyId":"k","EncryptionContext":{"a":"x","b":"x"},"NumberOfBytes":32}',
        b'{"KeyId": "k", "EncryptionContext": {"a": "x", "b": "x"}, "GrantTokens": ["t", "u"]}',
        b'{"KeyId" : "k", "EncryptionContext" : {"a" : "x", "b" : "x"}, "DryRun" : true}',
    ):
        assert decode_request("GenerateDataKey", body).KeyId == "k"


def test_escapes_and_whole_unicode_are_read() -> None:
    body = b'{"KeyId":"k","EncryptionContext":{"a\\"b":"\\ud83d\\ude00","\\u00e9":"\xc3\xa9"}}'
    assert decode_request("GenerateDataKey", body).EncryptionContext == {'a"b': "😀", "é": "é"}


def test_a_response_leaves_out_what_is_absent() -> None:
    assert encode_response(shapes.CancelKeyDeletionResponse(KeyId="k")) == b'{"KeyId":"k"}'


def test_an_unknown_operation_is_the_callers_error() -> None:
    with pytest.raises(KeyError):
        decode_request("DropKey", b"{}")


# --- What is no request at all ----------------------------------------------------------------------------------------

DUPLICATES = [
    b'{"KeyId":"a","KeyId":"b"}',
    b'{"KeyId":"a","KeyId":"a"}',
    b'{"KeyId":"a","K\\u0065yId":"b"}',
    b'{"KeyId":"a","X":1,"X":2}',
    b'{"KeyId":"a","EncryptionContext":{"a":"1","a":"2"}}',
    b'{"KeyId":"a","EncryptionContext":{"a" :\n"1","a"\t: "2"}}',
    b'{"KeyId":"a","EncryptionContext":{"":"1","":"2"}}',
    '{"KeyId":"a","EncryptionContext":{"é":"1","\\u00e9":"2"}}'.encode(),
    '{"KeyId":"a","EncryptionContext":{"é":"1","é":"2"}}'.encode(),
    b'{"KeyId":"a","X":[[{"y":{"z":1,"z":2}}]]}',
    b'{"KeyId":"a","GrantTokens":["x",":"],"EncryptionContext":{":":"1",",":"2",":":"3"}}',
    b'{"KeyId":"a","X":["p",":q"],"Y":{":q":1,"r":["s"],":q":2}}',
    b'{"KeyId":"a", "X" : {"b":[],"c":{},"b":null}}',
]


@pytest.mark.parametrize("body", DUPLICATES)
def test_a_member_that_occurs_twice_is_refused_at_any_depth(body: bytes) -> None:
    json.loads(body)  # Python itself sees nothing wrong.
    msgspec.json.decode(body, type=shapes.GenerateDataKeyRequest)  # Nor does msgspec.
    assert_serialization("GenerateDataKey", body, "A member occurs more than once")


MALFORMED = {
    "not JSON": b"hello",
    "half an object": b'{"KeyId":"a"',
    "a trailing comma": b'{"KeyId":"a",}',
    "something after it": b'{"KeyId":"a"} {}',
    "a byte order mark": b'\xef\xbb\xbf{"KeyId":"a"}',
    "UTF-16": '{"KeyId":"a"}'.encode("utf-16"),
    "NaN": b'{"KeyId":"a","X":NaN}',
    "Infinity": b'{"KeyId":"a","X":-Infinity}',
    "an infinite number": b'{"KeyId":"a","X":1e999}',
    "an infinite number with a point": b'{"KeyId":"a","X":-1.5E+999}',
    "an integer of 5000 digits": b'{"KeyId":"a","X":' + b"7" * 5000 + b"}",
    "half a surrogate pair in a member": b'{"KeyId":"\\ud800"}',
    "half a surrogate pair in a name": b'{"KeyId":"a","\\udc00":1}',
    "half a surrogate pair in an unknown member": b'{"KeyId":"a","X":["\\ud800"]}',
    "bad UTF-8 in a member": b'{"KeyId":"\xff"}',
    "bad UTF-8 in an unknown member": b'{"KeyId":"a","X":"\xff"}',
    "bad UTF-8 in a name": b'{"KeyId":"a","\xc3":1}',
    "a surrogate in UTF-8": b'{"KeyId":"a","X":"\xed\xa0\x80"}',
    "an overlong zero": b'{"KeyId":"a","X":"\xc0\x80"}',
    "a control character": b'{"KeyId":"a\x00"}',
    "a leading zero": b'{"KeyId":"a","NumberOfBytes":01}',
    "null": b"null",
    "a string": b'"x"',
    "a number": b"1",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_strict_json_is_refused(body: bytes) -> None:
    assert_serialization("GenerateDataKey", body)
    assert explain("GenerateDataKey", body) is not None


WRONG_TYPES = [
    ("DescribeKey", b"[]", "Start of list found where not expected"),
    ("DescribeKey", {"KeyId": 1}, "NUMBER_VALUE can not be converted to a String"),
    ("DescribeKey", {"KeyId": 1.5}, "NUMBER_VALUE can not be converted to a String"),
    ("DescribeKey", {"KeyId": True}, "TRUE_VALUE can not be converted to a String"),
    ("DescribeKey", {"KeyId": False}, "FALSE_VALUE can not be converted to a String"),
    ("DescribeKey", {"KeyId": ["a"]}, "Start of list found where not expected"),
    ("DescribeKey", {"KeyId": {"a": 1}}, "Start of structure or map found where not expected."),
    ("DescribeKey", {"KeyId": "a", "GrantTokens": "x"}, "Expected list or null"),
    ("DescribeKey", {"KeyId": "a", "GrantTokens": {}}, "Start of structure or map found where not expected."),
    ("DescribeKey", {"KeyId": "a", "GrantTokens": [1]}, "NUMBER_VALUE can not be converted to a String"),
    ("ListKeys", {"Limit": "1"}, "STRING_VALUE can not be converted to an Integer"),
    ("ListKeys", {"Limit": True}, "TRUE_VALUE can not be converted to an Integer"),
    ("ListKeys", {"Limit": 1.0}, "NUMBER_VALUE can not be converted to an Integer"),
    ("ListKeys", {"Limit": 2**31}, ""),
    ("ListKeys", {"Limit": -(2**31) - 1}, ""),
    ("ListKeys", {"Limit": 10**30}, ""),
    ("GenerateRandom", {"Recipient": "x"}, "Expected null"),
    ("GenerateRandom", {"Recipient": []}, "Start of list found where not expected"),
    (
        "Encrypt",
        {"KeyId": "a", "Plaintext": "AA==", "DryRun": "true"},
        "STRING_VALUE can not be converted to a Boolean",
    ),
    ("Encrypt", {"KeyId": "a", "Plaintext": "AA==", "DryRun": 1}, "NUMBER_VALUE can not be converted to a Boolean"),
    ("Encrypt", {"KeyId": "a", "Plaintext": 1}, "NUMBER_VALUE can not be converted to a Blob"),
    ("Encrypt", {"KeyId": "a", "Plaintext": "AA=="} | {"EncryptionContext": "x"}, "Expected map or null"),
    (
        "Encrypt",
        {"KeyId": "a", "Plaintext": "AA==", "EncryptionContext": {"a": 1}},
        "NUMBER_VALUE can not be converted to a String",
    ),
    (
        "ImportKeyMaterial",
        {"KeyId": "a", "ImportToken": "AA==", "EncryptedKeyMaterial": "AA==", "ValidTo": "2026-01-01T00:00:00Z"},
        "STRING_VALUE can not be converted to milliseconds since epoch",
    ),
    (
        "ImportKeyMaterial",
        {"KeyId": "a", "ImportToken": "AA==", "EncryptedKeyMaterial": "AA==", "ValidTo": 10**400},
        "",
    ),
    # A wrong type is found before any violated constraint, wherever it stands.
    ("GenerateDataKey", {"KeyId": "", "NumberOfBytes": "x"}, "STRING_VALUE can not be converted to an Integer"),
]


@pytest.mark.parametrize(("operation", "body", "message"), WRONG_TYPES)
def test_a_wrong_type_is_answered_as_aws_answers_it(operation: str, body: Any, message: str) -> None:
    assert_serialization(operation, body, message)


@pytest.mark.parametrize(
    "blob", ["A", "AA", "AA=", "AA=A", "A===", "-_==", " AA==", "AA==\n", "A A==", "é", "AA==AA=="]
)
def test_what_is_not_base64_is_refused(blob: str) -> None:
    assert_serialization("Encrypt", {"KeyId": "a", "Plaintext": blob}, "")


# --- What violates a constraint ---------------------------------------------------------------------------------------

VIOLATIONS = [
    ("DescribeKey", {}, ["Value null at 'keyId' failed to satisfy constraint: Member must not be null"]),
    ("DescribeKey", {"KeyId": None}, ["Value null at 'keyId' failed to satisfy constraint: Member must not be null"]),
    (
        "DescribeKey",
        {"KeyId": "x" * 2049},
        [
            (
                f"Value '{'x' * 2049}' at 'keyId' failed to satisfy constraint: "
                "Member must have length less than or equal to 2048"
            )
        ],
    ),
    (
        "GenerateDataKey",
        {"KeyId": "", "NumberOfBytes": 1025, "KeySpec": "AES_512"},
        [
            "Value '' at 'keyId' failed to satisfy constraint: Member must have length greater than or equal to 1",
            (
                "Value '1025' at 'numberOfBytes' failed to satisfy constraint: "
                "Member must have value less than or equal to 1024"
            ),
            (
                "Value 'AES_512' at 'keySpec' failed to satisfy constraint: "
                "Member must satisfy enum value set: [AES_256, AES_128]"
            ),
        ],
    ),
    (
        "ListKeys",
        {"Limit": 0},
        ["Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"],
    ),
    (
        "CreateAlias",
        {"AliasName": "", "TargetKeyId": "k"},
        [
            (
                "Value '' at 'aliasName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"
            ),
            "Value '' at 'aliasName' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ],
    ),
    (
        "CreateAlias",
        {"AliasName": "alias/x\n", "TargetKeyId": "k"},
        [
            (
                "Value 'alias/x\n' at 'aliasName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"
            ),
        ],
    ),
    (
        "CreateGrant",
        {"KeyId": "k", "Operations": ["Encrypt", "Steal"], "DryRun": True},
        [
            (
                "Value '[Encrypt, Steal]' at 'operations' failed to satisfy constraint: Member must satisfy constraint: "
                "[Member must satisfy enum value set: [Decrypt, Encrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, "
                "ReEncryptFrom, ReEncryptTo, Sign, Verify, GetPublicKey, CreateGrant, RetireGrant, DescribeKey, "
                "GenerateDataKeyPair, GenerateDataKeyPairWithoutPlaintext, GenerateMac, VerifyMac, DeriveSharedSecret, "
                "Encapsulate, Decapsulate]]"
            ),
        ],
    ),
    (
        "ListKeys",
        {"ResourceOwners": []},
        [
            "Value '[]' at 'resourceOwners' failed to satisfy constraint: Member must have length greater than or equal to 1"
        ],
    ),
    (
        "UntagResource",
        {"KeyId": "k", "TagKeys": ["a", "", None]},
        [
            (
                "Value '[a, , null]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: "
                "[Member must have length less than or equal to 128, Member must have length greater than or equal to 1, "
                "Member must not be null]"
            )
        ],
    ),
    (
        "TagResource",
        {"KeyId": "k", "Tags": [{"TagKey": "a", "TagValue": "b"}, {"TagKey": ""}]},
        [
            (
                "Value '' at 'tags.2.member.tagKey' failed to satisfy constraint: "
                "Member must have length greater than or equal to 1"
            ),
            "Value null at 'tags.2.member.tagValue' failed to satisfy constraint: Member must not be null",
        ],
    ),
    (
        "CreateGrant",
        {"KeyId": "k", "Operations": [], "Constraints": {"SourceArn": "x"}},
        [
            (
                "Value 'x' at 'constraints.sourceArn' failed to satisfy constraint: Member must satisfy regular expression "
                "pattern: ^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$"
            ),
            (
                "Value 'x' at 'constraints.sourceArn' failed to satisfy constraint: "
                "Member must have length greater than or equal to 20"
            ),
        ],
    ),
    (
        "GenerateDataKey",
        {"KeyId": "k", "EncryptionContext": {"a": "1", "b": None}},
        [
            (
                "Value '{a=1, b=null}' at 'encryptionContext' failed to satisfy constraint: "
                "Map value must satisfy constraint: [Member must not be null]"
            )
        ],
    ),
    (
        "Encrypt",
        {"KeyId": "k", "Plaintext": ""},
        ["Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"],
    ),
    (
        "Decrypt",
        {"CiphertextBlob": base64.b64encode(b"c" * 6145).decode()},
        ["Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length less than or equal to 6144"],
    ),
    (
        "CreateCustomKeyStore",
        {"CustomKeyStoreName": "n", "KeyStorePassword": "short"},
        [
            "Value at 'keyStorePassword' failed to satisfy constraint: Member must have length greater than or equal to 7"
        ],
    ),
    (
        "DescribeKey",
        {"KeyId": "k", "GrantTokens": [""]},
        [
            (
                "Value at 'grantTokens' failed to satisfy constraint: Member must satisfy constraint: [Member must have "
                "length less than or equal to 8192, Member must have length greater than or equal to 1]"
            )
        ],
    ),
]


@pytest.mark.parametrize(("operation", "body", "sentences"), VIOLATIONS)
def test_violations_are_answered_in_awss_words(operation: str, body: Any, sentences: list[str]) -> None:
    assert_violations(operation, body, *sentences)


class _Example(Shape, frozen=True, kw_only=True):
    """KMS's own map has no limits inside; this one has."""

    Settings: Annotated[
        dict[
            Annotated[str, msgspec.Meta(pattern=r"(?a)^(?:[a-z]+)\Z")],
            Annotated[str, msgspec.Meta(min_length=0, max_length=3)],
        ],
        msgspec.Meta(max_length=1),
    ]


def test_maps_name_the_constraints_of_their_keys_and_values() -> None:
    found = list(validation._structure_violations(structure_rule(_Example), {"Settings": {"a": "1234", "B": "1"}}, ""))
    shown = "Value '{a=1234, B=1}' at 'settings' failed to satisfy constraint:"
    assert found == [
        f"{shown} Member must have length less than or equal to 1",
        f"{shown} Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-z]+]",
        (
            f"{shown} Map value must satisfy constraint: "
            "[Member must have length less than or equal to 3, Member must have length greater than or equal to 0]"
        ),
    ]


SECRET = "canary7secret"
LEAKS = [
    ("Encrypt", {"KeyId": "", "Plaintext": base64.b64encode(SECRET.encode() * 400).decode()}),
    ("CreateCustomKeyStore", {"CustomKeyStoreName": "n", "KeyStorePassword": SECRET * 9}),
    (
        "CreateCustomKeyStore",
        {
            "CustomKeyStoreName": "n",
            "XksProxyAuthenticationCredential": {"AccessKeyId": SECRET, "RawSecretAccessKey": SECRET},
        },
    ),
    ("DescribeKey", {"KeyId": "k", "GrantTokens": [SECRET * 700]}),
    ("DescribeKey", {"KeyId": "k", "GrantTokens": [SECRET] * 11}),
    ("RetireGrant", {"GrantToken": SECRET * 700}),
    ("Encrypt", {"KeyId": "k", "Plaintext": SECRET + "!"}),
    ("Encrypt", {"KeyId": "k", "Plaintext": [SECRET]}),
]


@pytest.mark.parametrize(("operation", "body"), LEAKS)
def test_no_refusal_repeats_a_secret(operation: str, body: Any) -> None:
    found = refusal(operation, body)
    for spelling in (SECRET, base64.b64encode(SECRET.encode()).decode().rstrip("=")[:-1]):
        assert spelling not in str(found) + found.message
    # Not through the exception that it replaced either.
    assert found.__suppress_context__


def test_a_flood_of_violations_is_cut_off() -> None:
    found = refusal("TagResource", b'{"KeyId":"k","Tags":[' + b",".join([b"{}"] * 20_000) + b"]}")
    assert found.message.startswith("100 validation errors detected: ")
    assert len(found.message) < 20_000


# --- Bombs ------------------------------------------------------------------------------------------------------------

BOMBS = {
    "lists in an unknown member": b'{"KeyId":"a","X":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects in an unknown member": b'{"KeyId":"a","X":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "objects in a member": b'{"KeyId":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "a megabyte of brackets": b"[" * 1_000_000,
    "a megabyte of braces": b"{" * 1_000_000,
    "brackets in a member": b'{"GrantTokens":' + b"[" * 1_000_000,
    "an integer of 5000 digits": b'{"KeyId":"a","NumberOfBytes":' + b"9" * 5000 + b"}",
    "an integer of a million digits": b'{"KeyId":"a","NumberOfBytes":' + b"9" * 1_000_000 + b"}",
    "an unknown integer of a million digits": b'{"KeyId":"a","X":' + b"9" * 1_000_000 + b"}",
    "a megabyte of quotes": b'"' * 1_000_000,
    "a megabyte of backslashes": b'{"KeyId":"' + b"\\" * 1_000_001,
    "a megabyte of text": b'{"KeyId":"' + b"x" * 1_000_000 + b'"}',
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS)
def test_a_json_bomb_is_refused_quickly_and_in_little_memory(body: bytes) -> None:
    took_ms = []
    for _ in range(3):
        started = time.process_time()
        found = refusal("GenerateDataKey", body)
        took_ms.append((time.process_time() - started) * 1000)
        assert found.code in {"SerializationException", "ValidationException"}
    # The machine may stall; the code may not: the best of three counts.
    assert min(took_ms) < REFUSAL_MS_MAX
    del found
    tracemalloc.start()
    try:
        with pytest.raises(RequestRefused):
            decode_request("GenerateDataKey", body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20


# --- The two ways agree -----------------------------------------------------------------------------------------------

JUNK = st.sampled_from(
    [None, 0, 1, -1, 1.0, 1.5, 10**30, True, False, "", "x", [], {}, [None], ["x"], {"a": None}, "\ud800"]
)
TEXTS = st.sampled_from(
    [
        *(
            "",
            "a",
            " ",
            "a b",
            "é",
            "a\n",
            "ÿ",
            "Ā",
            "\u0661",
            "😀" * 7,
            "alias/x",
            KEY_ARN,
            "us-east-1",
            "us-east-1\n",
        ),
        *(
            "cluster-234567abcde",
            "https://example.com",
            "/abc/kms/xks/v1",
            "/kms/xks/v1",
            "ec2.amazonaws.com",
            "a" * 64,
        ),
        *("0" * 12, "A" * 20, "A" * 43, "com.amazonaws.vpce.us-east-1.vpce-svc-0123", "x" * 129, "x" * 257, "x" * 2049),
        "x" * 8193,
    ]
)


def candidates(rule: Rule) -> st.SearchStrategy[Any]:
    """Values that are right or nearly right for `rule`, as JSON values."""
    match rule.kind:
        case "string":
            fitting = st.sampled_from(rule.choices) if rule.choices else TEXTS
        case "blob":
            sizes = {size for limit in (rule.minimum, rule.maximum) for size in (limit - 1, limit, limit + 1)} | {16}
            blobs = [base64.b64encode(b"b" * size).decode() for size in sorted(sizes) if size <= 10_000]
            fitting = st.sampled_from([*blobs, "AA", "AB==", "A=A=", "QQ==\n"])
        case "integer":
            fitting = st.sampled_from([rule.minimum - 1, rule.minimum, rule.maximum, rule.maximum + 1, 2**31])
        case "boolean":
            fitting = st.booleans()
        case "timestamp":
            fitting = st.sampled_from([0, -1, 1.7e9, 1700000000, 1e308, 2**63, 10**400])
        case "list":
            fitting = st.lists(candidates(rule.element), max_size=(rule.maximum or 2) + 1)
        case "map":
            fitting = st.dictionaries(TEXTS, candidates(rule.element), max_size=3)
        case "structure":
            # A wrong element in one member out of ten, or nothing would ever be accepted.
            fitting = st.fixed_dictionaries(
                {m.name: candidates(m.rule) for m in rule.members if m.required},
                optional={m.name: candidates(m.rule) for m in rule.members if not m.required} | {"Later": JUNK},
            )
    return st.integers(0, 19).flatmap(lambda draw: JUNK if draw == 0 else fitting)


def fast_refuses(operation: str, body: bytes) -> bool:
    try:
        validation._DECODERS[operation](body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True
    return False


OBJECTS = {name: candidates(structure_rule(operation.request)) for name, operation in shapes.OPERATIONS.items()}


@pytest.mark.parametrize("operation", shapes.OPERATIONS)
def test_what_the_decoder_refuses_the_walk_explains_and_nothing_else(operation: str) -> None:
    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @given(OBJECTS[operation])
    def agree(value: Any) -> None:
        body = json.dumps(value).encode()
        explained = explain(operation, body)
        if b"\\ud800" in body:
            assert explained is not None
        else:
            assert fast_refuses(operation, body) == (explained is not None)
        if explained is None:
            decode_request(operation, body)
        else:
            found = refusal(operation, body)
            assert (found.code, found.message) == (explained.code, explained.message)

    agree()


def test_the_agreement_was_tested_on_both_sides() -> None:
    accepted = refused = 0

    @settings(max_examples=300, deadline=None, database=None, derandomize=True)
    @given(st.sampled_from(sorted(OBJECTS)).flatmap(lambda name: st.tuples(st.just(name), OBJECTS[name])))
    def count(drawn: tuple[str, Any]) -> None:
        nonlocal accepted, refused
        if explain(drawn[0], json.dumps(drawn[1]).encode()) is None:
            accepted += 1
        else:
            refused += 1

    count()
    assert accepted > 30
    assert refused > 30


SEED = (
    b'{"KeyId":"k","Plaintext":"AAAA","EncryptionContext":{"a":"1","b":"\xc3\xa9"},"GrantTokens":["t","u"],'
    b'"X":[1.5,-2e3,null,true,{"y":"\\u00e9\\n"}]}'
)


@settings(max_examples=1500, deadline=None, database=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(SEED)),
            st.integers(0, 3),
            st.sampled_from(
                [*(bytes([b]) for b in b'"\\{}[]:,0129eE.+- \n\x00\xff\xc3u'), b'"a":"1",', b"\\ud800", b"null"]
            ),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_mutated_body_is_either_read_the_same_by_both_ways_or_refused_by_both(
    edits: list[tuple[int, int, bytes]],
) -> None:
    body = SEED
    for place, removed, inserted in edits:
        body = body[:place] + inserted + body[place + removed :]
    explained = explain("Encrypt", body)
    if explained is None:
        request = decode_request("Encrypt", body)
        assert msgspec.to_builtins(request)["KeyId"] == json.loads(body)["KeyId"]
    else:
        found = refusal("Encrypt", body)
        assert (found.code, found.message) == (explained.code, explained.message)


def _valid_value(rule: Rule, name: str) -> Any:
    match rule.kind:
        case "string" if rule.choices:
            return rule.choices[0]
        case "string":
            fitting = ["k", "alias/x", KEY_ARN, "us-east-1", "/abc/kms/xks/v1", "a" * 64, "A" * 43, "A" * 20]
            return next(text for text in fitting if not any(validation._failed(rule, text)))
        case "blob":
            return "AAAA"
        case "integer":
            return rule.minimum
        case "list":
            return [_valid_value(rule.element, name)]
        case "structure":
            return {m.name: _valid_value(m.rule, m.name) for m in rule.members if m.required}
        case other:
            raise AssertionError(other)


@pytest.mark.parametrize("operation", shapes.OPERATIONS)
def test_every_operation_accepts_its_smallest_request(operation: str) -> None:
    rule = structure_rule(shapes.OPERATIONS[operation].request)
    body = json.dumps(_valid_value(rule, operation)).encode()
    assert isinstance(decode_request(operation, body), shapes.OPERATIONS[operation].request)
    for member in rule.members:
        if member.required:
            without = {name: value for name, value in json.loads(body).items() if name != member.name}
            assert f"Value null at '{member.label}'" in refusal(operation, without).message
