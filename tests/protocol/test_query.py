"""The Query protocol: strict forms in, escaped XML out."""

from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import botocore.session
import pytest
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from strongroom.protocol.query import (
    FORM_BYTES_MAX,
    FORM_PARAMETERS_MAX,
    SIGV4_ERRORS,
    MalformedForm,
    format_error,
    format_result,
    parse_form,
)

IDENTITY = {"Arn": "arn:aws:iam::000000000000:user/alice", "UserId": "AIDAEXAMPLE", "Account": "000000000000"}


def parsed_by_botocore(body: bytes, status: int) -> dict[str, Any]:
    model = botocore.session.get_session().get_service_model("sts")
    parser = create_parser("query")
    response = {"body": body, "headers": {}, "status_code": status}
    return parser.parse(response, model.operation_model("GetCallerIdentity").output_shape)


def test_the_form_of_get_caller_identity_is_parsed():
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    assert parse_form(body) == {"Action": "GetCallerIdentity", "Version": "2011-06-15"}


def test_an_empty_form_is_empty():
    assert parse_form(b"") == {}


@given(st.dictionaries(st.text("abcdefghij. ä%&=+", min_size=1), st.text(st.characters(codec="utf-8"))))
def test_what_urlencode_writes_is_read_back(form: dict[str, str]):
    if len({name.casefold() for name in form}) == len(form):
        assert parse_form(urlencode(form).encode()) == form


@pytest.mark.parametrize("body", [b"A=1&A=1", b"Action=a&action=b", b"Action=a&%41ction=b"])
def test_a_name_that_occurs_twice_in_any_case_is_refused(body: bytes):
    with pytest.raises(MalformedForm, match="more than once") as refused:
        parse_form(body)
    assert refused.value.code == "MalformedQueryString"


@pytest.mark.parametrize("body", [b"&", b"a=1&", b"=1", b"a=%", b"a=%4", b"a=%zz", b"a=%ff", b"\xff=1", b"a=%+1"])
def test_a_form_that_is_not_strictly_escaped_utf8_is_refused(body: bytes):
    with pytest.raises(MalformedForm, match="syntax error"):
        parse_form(body)


def test_a_form_beyond_its_limits_is_refused():
    most = b"&".join(b"n%d=" % number for number in range(FORM_PARAMETERS_MAX))
    assert len(parse_form(most)) == FORM_PARAMETERS_MAX
    for body in (most + b"&more=", b"a=" + b"1" * (FORM_BYTES_MAX - 1)):
        with pytest.raises(MalformedForm, match="too many"):
            parse_form(body)
    assert parse_form(b"a=" + b"1" * (FORM_BYTES_MAX - 2))


def test_botocore_reads_a_result():
    parsed = parsed_by_botocore(format_result("GetCallerIdentity", IDENTITY, "req-1"), 200)
    assert parsed.pop("ResponseMetadata")["RequestId"] == "req-1"
    assert parsed == IDENTITY


@pytest.mark.parametrize(("at_fault", "kind"), [(True, "Sender"), (False, "Receiver")])
def test_botocore_reads_an_error(at_fault: bool, kind: str):
    body = format_error("InvalidClientTokenId", "The token is <invalid>.", "req-2", is_callers_fault=at_fault)
    parsed = parsed_by_botocore(body, 403)
    assert parsed["Error"] == {"Type": kind, "Code": "InvalidClientTokenId", "Message": "The token is <invalid>."}
    assert parsed["ResponseMetadata"]["RequestId"] == "req-2"


def test_a_result_has_stss_form_to_the_byte():
    assert format_result("GetCallerIdentity", {"Account": "1"}, "r") == (
        b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        b"<GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult>"
        b"<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )


def test_structures_and_lists_nest():
    body = format_result("ListUsers", {"Users": [{"Name": "a"}, {"Name": "b"}]}, "r", namespace="urn:x")
    users = ET.fromstring(body).iter("{urn:x}member")  # noqa: S314 -- we wrote it
    assert ["".join(user.itertext()) for user in users] == ["a", "b"]


@given(st.text())
def test_any_text_survives_or_is_replaced_but_never_breaks_out(text: str):
    root = ET.fromstring(format_error(text, text, text))  # noqa: S314 -- we wrote it
    namespace = "{https://sts.amazonaws.com/doc/2011-06-15/}"
    assert [child.tag for child in root] == [namespace + "Error", namespace + "RequestId"]
    message = root.findtext(f"{namespace}Error/{namespace}Message") or ""
    assert len(message) == len(text)
    assert all(shown in (given_, "\ufffd") for shown, given_ in zip(message, text, strict=True))


def test_every_refusal_of_a_caller_has_a_name_in_the_query_protocol():
    assert set(SIGV4_ERRORS) == {
        "MissingAuthenticationTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "UnrecognizedClientException",
        # Of the session, not of the signature.
        "ExpiredTokenException",
    }
