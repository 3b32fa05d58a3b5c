"""The parts of the canonical forms, each against a second opinion."""

import hmac

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from strongroom.protocol.canonical import (
    Layout,
    SigningKey,
    canonical_path,
    canonical_query,
    canonical_value,
    join_headers,
    parse_query,
)


@given(st.text(st.characters(codec="utf-8"), max_size=80), st.binary(max_size=300))
def test_the_prekeyed_states_sign_as_hmac_digest_does(secret: str, message: bytes):
    key = b"AWS4" + secret.encode()
    for part in (b"20150830", b"us-east-1", b"kms", b"aws4_request"):
        key = hmac.digest(key, part, "sha256")
    signing_key = SigningKey(secret, b"20150830", b"us-east-1", b"kms")
    for _ in range(2):
        assert signing_key.sign(message).decode() == hmac.digest(key, message, "sha256").hex()


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")))))
def test_a_query_is_escaped_and_sorted_as_botocore_does(parameters: list[tuple[str, str]]):
    ours = canonical_query([(name.encode(), value.encode()) for name, value in parameters])
    request = AWSRequest(method="GET", url="http://localhost/", params=dict(parameters))
    if len(dict(parameters)) == len(parameters):
        assert ours.decode() == SigV4Auth(Credentials("a", "b"), "kms", "r").canonical_query_string(request)
    assert sorted(parse_query(ours)) == sorted((name.encode(), value.encode()) for name, value in parameters)


def test_a_plus_in_a_query_is_a_plus():
    assert canonical_query(parse_query(b"a=b+c")) == b"a=b%2Bc"


@pytest.mark.parametrize(
    ("path", "normalized", "kept"),
    [
        (b"/", b"/", b"/"),
        (b"/a/./b/../c", b"/a/c", b"/a/./b/../c"),
        (b"/a/b/..", b"/a/", b"/a/b/.."),
        (b"/../../a", b"/a", b"/../../a"),
        (b"//a//", b"/a/", b"//a//"),
        (b"/a%2fb", b"/a%252fb", b"/a%252fb"),
        (b"/%2e%2e/a", b"/%252e%252e/a", b"/%252e%252e/a"),
        (b"/\x00~", b"/%00~", b"/%00~"),
    ],
)
def test_a_path_is_escaped_once_more_and_normalized_on_request(path: bytes, normalized: bytes, kept: bytes):
    assert canonical_path(path, normalize=True) == normalized
    assert canonical_path(path, normalize=False) == kept


@given(st.binary())
def test_a_canonical_value_has_no_line_feed_and_is_its_own_canonical_value(value: bytes):
    canonical = canonical_value(value)
    assert b"\n" not in canonical
    assert canonical_value(canonical) == canonical


def test_repeated_headers_are_joined_in_the_order_received():
    assert join_headers([(b"A", b" 1 "), (b"b", b"x"), (b"a", b"2\n  3")]) == {b"a": b"1,2 3", b"b": b"x"}


def test_a_percent_sign_in_a_header_name_or_scope_is_itself():
    layout = Layout(b"%b;host", b"20150830/%b/kms/aws4_request")
    assert layout.canonical_request(b"POST", b"/\n", [b"1", b"h"], b"0") == b"POST\n/\n\n%b:1\nhost:h\n\n%b;host\n0"
    assert b"\n20150830/%b/kms/aws4_request\n" in layout.string_to_sign(b"t", b"")
