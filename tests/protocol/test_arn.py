"""References to keys: four kinds, and AWS's words for everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.protocol.arn import (
    ALIAS_NAME_CHARS_MAX,
    AliasArn,
    AliasName,
    KeyArn,
    KeyId,
    MalformedArn,
    format_alias_arn,
    format_alias_missing,
    format_key_arn,
    format_key_missing,
    format_wrong_region,
    is_alias_name,
    is_key_id,
    parse_key_ref,
)

UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"
ACCOUNT = "111122223333"
KEY_ARN = f"arn:aws:kms:us-west-2:{ACCOUNT}:key/{UUID}"
ALIAS_ARN = f"arn:aws:kms:us-west-2:{ACCOUNT}:alias/a/b_C-1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (UUID, KeyId(UUID)),
        (MRK, KeyId(MRK)),
        (KEY_ARN, KeyArn("aws", "us-west-2", ACCOUNT, UUID)),
        (f"arn:aws-cn:kms:cn-north-1:{ACCOUNT}:key/{MRK}", KeyArn("aws-cn", "cn-north-1", ACCOUNT, MRK)),
        ("alias/aws/s3", AliasName("alias/aws/s3")),
        (ALIAS_ARN, AliasArn("aws", "us-west-2", ACCOUNT, "alias/a/b_C-1")),
    ],
)
def test_each_kind_of_reference_is_parsed_and_formats_back(text: str, value: object):
    assert parse_key_ref(text) == value
    assert str(value) == text


def test_arns_are_formatted_as_aws_writes_them():
    assert format_key_arn("aws", "us-west-2", ACCOUNT, UUID) == KEY_ARN
    assert format_alias_arn("aws", "us-west-2", ACCOUNT, "alias/a/b_C-1") == ALIAS_ARN


@pytest.mark.parametrize(
    "text",
    ["", "foo", "alias/", "alias", "alias/a b", "alias/ä", "Alias/a", "alias/" + "a" * 251, UUID.upper(), UUID[:-1],
     UUID + "0", UUID.replace("-", "_"), "{" + UUID[1:], MRK.upper(), MRK[:-1] + "g", "mrk-" + "1" * 31, " " + UUID,
     UUID + "\n", "../" + UUID, "ARN:aws:kms:us-west-2:111122223333:key/" + UUID, "alias/a\x00",
     "1234abcd-12ab-34cd-56ef12345678-90ab"],
)  # fmt: skip
def test_what_is_neither_id_nor_alias_is_an_invalid_key_id(text: str):
    with pytest.raises(MalformedArn) as refused:
        parse_key_ref(text)
    assert (refused.value.code, refused.value.message) == ("NotFoundException", f"Invalid keyId '{text}'")


@pytest.mark.parametrize(
    "text",
    ["arn:", "arn:aws:kms", f"arn:aws:s3:us-west-2:{ACCOUNT}:key/{UUID}", f"arn::kms:us-west-2:{ACCOUNT}:key/{UUID}",
     f"arn:aws:kms::{ACCOUNT}:key/{UUID}", f"arn:aws:kms:us-west-2:11112222333:key/{UUID}", KEY_ARN + ":1",
     f"arn:aws:kms:us-west-2:11112222333x:key/{UUID}", f"arn:aws:kms:us-west-2:{ACCOUNT}:{UUID}",
     f"arn:aws:kms:us-west-2:{ACCOUNT}:Key/{UUID}", f"arn:aws:kms:us-west-2:{ACCOUNT}:alias/",
     f"arn:aws:kms:US-WEST-2:{ACCOUNT}:key/{UUID}", f"arn:aws:KMS:us-west-2:{ACCOUNT}:key/{UUID}",
     f"arn:aws:kms:us-west-2:١١١١٢٢٢٢٣٣٣٣:key/{UUID}", f"arn:aws:kms:us-west-2:{ACCOUNT}:alias/a b"],
)  # fmt: skip
def test_a_malformed_arn_is_an_invalid_arn(text: str):
    with pytest.raises(MalformedArn) as refused:
        parse_key_ref(text)
    assert (refused.value.code, refused.value.message) == ("NotFoundException", f"Invalid arn {text}")


@pytest.mark.parametrize("key_id", ["alias/aws/sqs", "foo", "", UUID + "/" + UUID, UUID.upper()])
def test_a_key_arn_with_a_bad_id_names_the_id(key_id: str):
    with pytest.raises(MalformedArn) as refused:
        parse_key_ref(f"arn:aws:kms:us-west-2:{ACCOUNT}:key/{key_id}")
    assert refused.value.message == f"Invalid keyId '{key_id}'"


@given(st.text(alphabet="arn:aws:kmsley/0123456789abcdef-", max_size=100) | st.text(max_size=60))
def test_any_text_is_one_of_the_four_or_refused(text: str):
    try:
        value = parse_key_ref(text)
    except MalformedArn:
        assert not is_key_id(text)
        assert not is_alias_name(text)
    else:
        assert str(value) == text


def test_an_alias_name_has_its_prefix_and_its_length():
    assert is_alias_name("alias/a")
    assert is_alias_name("alias/" + "a" * (ALIAS_NAME_CHARS_MAX - 6))
    assert not is_alias_name("alias/" + "a" * (ALIAS_NAME_CHARS_MAX - 5))
    assert not is_alias_name("a")


def test_what_is_not_found_is_said_in_kmss_words():
    assert format_key_missing(KEY_ARN) == f"Key '{KEY_ARN}' does not exist"
    assert format_alias_missing(ALIAS_ARN) == f"Alias {ALIAS_ARN} is not found."
    assert format_wrong_region("us-east-1") == "Invalid arn us-east-1"
