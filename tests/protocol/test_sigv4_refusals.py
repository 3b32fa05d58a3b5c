"""Every refusal of the verifier, taken: code and wording are AWS's where AWS has one."""

import time
from base64 import b64encode
from hashlib import sha256

import pytest

from protocol.signed_requests import (
    ACCESS_KEY_ID,
    AMZ_DATE,
    BODY,
    KMS_HEADERS,
    NOW_S,
    SECRETS,
    SERVICES,
    header,
    signed_request,
    with_header,
    with_headers,
)
from strongroom.protocol.canonical import Layout, SigningKey
from strongroom.protocol.requests import HttpRequest, http_request
from strongroom.protocol.sigv4 import Refused, Verified, Verifier, parse_timestamp

MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
MISSING = ("MissingAuthenticationTokenException", "Request is missing Authentication Token")
INCOMPLETE = "IncompleteSignatureException"
INVALID = "InvalidSignatureException"


def verify(request: HttpRequest, *, now_s: float = NOW_S, services: frozenset[str] = SERVICES) -> Verified:
    """Verify with a verifier that has seen a valid request of the same client, so that the short way is tried too."""
    verifier = Verifier()
    verifier.verify(signed_request(), NOW_S, SECRETS.get, SERVICES)
    assert verifier._known
    return verifier.verify(request, now_s, SECRETS.get, services)


def refusal(request: HttpRequest, **options) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        verify(request, **options)
    assert str(refused.value) == f"{refused.value.code}: {refused.value.message}"
    return refused.value.code, refused.value.message


def with_authorization(old: bytes, new: bytes) -> HttpRequest:
    request = signed_request()
    authorization = header(request, b"Authorization")
    assert old in authorization
    return with_header(request, b"Authorization", authorization.replace(old, new))


def without(request: HttpRequest, name: bytes) -> HttpRequest:
    return with_headers(request, [pair for pair in request.headers if pair[0].lower() != name])


def test_a_signed_request_is_accepted_and_names_what_was_signed():
    assert verify(signed_request()) == Verified(
        access_key_id=ACCESS_KEY_ID,
        region="us-east-1",
        service="kms",
        signed_headers=frozenset({"content-type", "host", "x-amz-date", "x-amz-target"}),
    )


# The one place of the credentials.


def test_no_authorization_is_a_missing_token():
    assert refusal(without(signed_request(), b"authorization")) == MISSING


@pytest.mark.parametrize("value", [b"", b"Bearer abc", b"Basic dGVzdDp0ZXN0", b"AWS AKID:signature"])
def test_another_scheme_is_a_missing_token(value: bytes):
    assert refusal(with_header(signed_request(), b"Authorization", value)) == MISSING


@pytest.mark.parametrize("name", [b"X-Amz-Signature", b"x-amz-credential", b"X-Amz-Algorithm", b"%58-Amz-Date"])
def test_credentials_in_the_query_alone_are_a_missing_token(name: bytes):
    request = signed_request(target=b"/?" + name + b"=AWS4-HMAC-SHA256")
    assert refusal(without(request, b"authorization")) == MISSING


@pytest.mark.parametrize("name", [b"X-Amz-Algorithm", b"x-amz-credential", b"%58-Amz-Security-Token"])
def test_credentials_in_header_and_query_are_refused_even_when_signed(name: bytes):
    code, message = refusal(signed_request(target=b"/?" + name + b"=AWS4-HMAC-SHA256"))
    assert code == INVALID
    shown = name.replace(b"%58", b"X").decode()
    assert message == f"Found both '{shown}' as a query-string param and 'Authorization' as HTTP header."


def test_two_authorization_headers_are_refused():
    request = signed_request()
    for name in (b"Authorization", b"authorization", b"AUTHORIZATION"):
        doubled = with_headers(request, [*request.headers, (name, header(request, b"Authorization"))])
        assert refusal(doubled) == (INVALID, "The request has more than one 'authorization' header.")


UNIQUE = [b"Date", b"X-Amz-Content-Sha256", b"X-Amz-Security-Token"]


@pytest.mark.parametrize("name", [b"Host", b"X-Amz-Date", b"X-Amz-Target", b"x-amz-target", b"HOST", *UNIQUE])
def test_a_second_one_of_a_unique_header_is_refused(name: bytes):
    request = signed_request(unsigned=[(unique, b"1") for unique in UNIQUE])
    doubled = with_headers(request, [*request.headers, (name, header(request, name))])
    assert refusal(doubled) == (INVALID, f"The request has more than one '{name.lower().decode()}' header.")


@pytest.mark.parametrize("query", [b"a=1&a=1", b"a=1&A=2", b"user=x&%75ser=y"])
def test_a_query_name_that_occurs_twice_in_any_case_is_refused_even_when_signed(query: bytes):
    assert refusal(signed_request(target=b"/?" + query)) == (
        INVALID,
        "The request has a query-string param more than once.",
    )


@pytest.mark.parametrize("target", [b"", b"?", b"*", b".", b"http://127.0.0.1:4599/"])
def test_a_target_that_is_no_path_is_refused(target: bytes):
    request = signed_request()
    assert refusal(http_request("POST", target, request.headers, BODY)) == (INVALID, MISMATCH)


# The form of the Authorization header.


@pytest.mark.parametrize("parameter", ["Credential", "Signature", "SignedHeaders"])
def test_a_missing_parameter_is_named(parameter: str):
    request = signed_request()
    scheme, _, rest = header(request, b"Authorization").partition(b" ")
    kept = [part for part in rest.split(b", ") if not part.startswith(parameter.encode() + b"=")]
    code, message = refusal(with_header(request, b"Authorization", scheme + b" " + b", ".join(kept)))
    assert code == INCOMPLETE
    assert message.startswith(f"Authorization header requires '{parameter}' parameter. (Hashed with SHA-256")


def test_all_that_is_missing_is_named_in_one_refusal_and_the_header_is_not_repeated():
    request = with_header(without(signed_request(), b"x-amz-date"), b"Authorization", b"AWS4-HMAC-SHA256 Credential=")
    code, message = refusal(request)
    assert code == INCOMPLETE
    assert message.startswith(
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. "
        "Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a "
        "'X-Amz-Date' or a 'Date' header. (Hashed with SHA-256 and encoded with Base64) Authorization="
    )
    assert "Credential=" not in message


def test_a_missing_equal_sign_is_refused():
    request = with_authorization(b"Credential=", b"Credential ")
    assert refusal(request) == (
        INCOMPLETE,
        (
            "Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with "
            f"Base64): '{hashed(request)}'."
        ),
    )


def hashed(request: HttpRequest) -> str:
    """An Authorization header as a refusal shows it: AWS's newer wording."""
    return b64encode(sha256(header(request, b"Authorization")).digest()).decode()


def test_a_value_may_hold_an_equal_sign():
    assert refusal(signed_request(access_key_id="AKID=EXAMPLE")) == (
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )


@pytest.mark.parametrize("more", [b", Signature=0", b", Credential=a/b/c/d/e", b", Extra=1", b", =1"])
def test_a_repeated_or_unknown_parameter_is_refused(more: bytes):
    request = signed_request()
    request = with_header(request, b"Authorization", header(request, b"Authorization") + more)
    name = more[2:].partition(b"=")[0].decode()
    assert refusal(request) == (
        INCOMPLETE,
        (
            f"Authorization header has a repeated or an unknown parameter '{name}'. "
            f"(Hashed with SHA-256 and encoded with Base64) Authorization={hashed(request)}"
        ),
    )


@pytest.mark.parametrize("algorithm", [b"AWS4-HMAC-SHA25", b"AWS4-ECDSA-P256-SHA256", b"AWS4-hmac-sha256"])
def test_another_algorithm_is_refused(algorithm: bytes):
    assert refusal(with_authorization(b"AWS4-HMAC-SHA256", algorithm)) == (
        INCOMPLETE,
        f"Unsupported AWS 'algorithm': '{algorithm.decode()}' (only AWS4-HMAC-SHA256 for now).",
    )


@pytest.mark.parametrize(
    "credential",
    [b"a/b/c/d", b"a/b/20150830/us-east-1/kms/aws4_request", b"/20150830/us-east-1/kms/aws4_request", b"\xff/b/c/d/e"],
)
def test_a_credential_without_exactly_five_elements_is_refused(credential: bytes):
    code, message = refusal(with_authorization(b"AKIDEXAMPLE/20150830/us-east-1/kms/aws4_request", credential))
    assert code == INCOMPLETE
    assert message == (
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
        f"got '{credential.decode('ascii', 'backslashreplace')}'"
    )


# The scope.


def test_another_terminator_is_refused():
    assert refusal(with_authorization(b"aws4_request", b"aws5_request")) == (
        INVALID,
        "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.",
    )


def test_an_empty_region_is_refused():
    assert refusal(signed_request(region="")) == (INVALID, "Credential should be scoped to a valid region, not ''.")


def test_another_service_is_refused_even_when_signed():
    wording = "Credential should be scoped to correct service: 'kms'."
    assert refusal(signed_request(service="s3")) == (INVALID, wording)
    assert refusal(signed_request(service="KMS")) == (INVALID, wording)


def test_a_service_that_is_no_longer_asked_for_is_refused_for_a_known_client():
    both = "Credential should be scoped to correct service: 'iam', 'sts'."
    assert refusal(signed_request(), services=frozenset({"sts", "iam"})) == (INVALID, both)


def test_all_services_are_named_in_one_order():
    services = frozenset({"sts", "iam", "sso", "s3", "ec2", "sns", "sqs"})
    wording = "Credential should be scoped to correct service: 'ec2', 'iam', 's3', 'sns', 'sqs', 'sso', 'sts'."
    assert refusal(signed_request(), services=services) == (INVALID, wording)


def test_all_that_is_wrong_with_a_scope_is_said_in_one_refusal():
    assert refusal(with_authorization(b"20150830/us-east-1/kms", b"20150831/us-east-1/s3")) == (
        INVALID,
        (
            "Credential should be scoped to correct service: 'kms'. "
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            "'20150831' != '20150830', from '20150830T123600Z'."
        ),
    )


def test_a_scope_of_another_day_is_refused():
    code, message = refusal(with_authorization(b"20150830", b"20150831"))
    assert code == INVALID
    assert message == (
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        "'20150831' != '20150830', from '20150830T123600Z'."
    )


# The clock.


@pytest.mark.parametrize("skew_s", [-300, -299, -0.5, 0, 299, 299.9, 300])
def test_five_minutes_either_way_are_accepted(skew_s: float):
    assert verify(signed_request(), now_s=NOW_S + skew_s).access_key_id == ACCESS_KEY_ID
    assert Verifier().verify(signed_request(), NOW_S + skew_s, SECRETS.get, SERVICES).access_key_id == ACCESS_KEY_ID


def test_beyond_five_minutes_a_signature_is_expired():
    assert refusal(signed_request(), now_s=NOW_S + 301) == (
        INVALID,
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)",
    )
    assert refusal(signed_request(), now_s=NOW_S + 300.001)[1].startswith("Signature expired")


def test_beyond_five_minutes_ahead_a_signature_is_not_yet_current():
    assert refusal(signed_request(), now_s=NOW_S - 301) == (
        INVALID,
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)",
    )
    assert refusal(signed_request(), now_s=NOW_S - 300.001)[1].startswith("Signature not yet current")


@pytest.mark.parametrize(
    "date",
    [b"", b"201", b"2015-08-30T12:36:00Z", b"20150830T123600z", b"20150830T126600Z", b"20151330T123600Z",
     b"20150830T123600", b"2015083 T123600Z", b"20150830t123600Z", b"201508 3T123600Z",
     b"\xd9\xa2\xd9\xa0150830T1236Z", b"20150830T1236+0Z"],
)  # fmt: skip
def test_a_date_in_another_format_is_refused(date: bytes):
    code, message = refusal(with_header(signed_request(), b"X-Amz-Date", date))
    assert code == INCOMPLETE
    shown = repr(date)[2:-1]
    wording = f"Date must be in ISO-8601 'basic format'. Got '{shown}'. See http://en.wikipedia.org/wiki/ISO_8601"
    assert message == wording


def test_a_timestamp_is_parsed_as_seconds_of_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        parse_timestamp.cache_clear()
        assert parse_timestamp(AMZ_DATE.encode()) == NOW_S
    time.tzset()


def test_a_date_header_that_is_not_ascii_is_refused():
    code, message = refusal(sign_with_date_header(b"Sun, 30 Aug 2015 12:36:00 GM\xff"))
    assert (code, "Got 'Sun, 30 Aug 2015 12:36:00 GM\\xff'." in message) == (INCOMPLETE, True)


def test_a_date_header_whose_weekday_is_wrong_is_refused():
    assert refusal(sign_with_date_header(b"Mon, 30 Aug 2015 12:36:00 GMT"))[0] == INCOMPLETE


def test_without_x_amz_date_the_date_header_counts_in_both_forms():
    # The signature covers the timestamp and not how the header spells it, so it is the same one for both.
    plain = signed_request(headers=KMS_HEADERS)
    for spelled in (b"20150830T123600Z", b"Sun, 30 Aug 2015 12:36:00 GMT"):
        request = sign_with_date_header(spelled)
        assert verify(request).signed_headers == frozenset({"content-type", "host", "x-amz-target"})
        assert refusal(request, now_s=NOW_S + 301)[1].startswith("Signature expired: 20150830T123600Z")
    assert refusal(sign_with_date_header(b"yesterday"))[0] == INCOMPLETE
    assert header(plain, b"X-Amz-Date") == AMZ_DATE.encode()


def sign_with_date_header(spelled: bytes) -> HttpRequest:
    return sign_by_hand(b"content-type;host;x-amz-target", (b"date", spelled))


def sign_by_hand(names: bytes, dated: tuple[bytes, bytes]) -> HttpRequest:
    """Signed without our signer, which always adds X-Amz-Date and sorts the names."""
    headers = [(b"content-type", b"application/json"), (b"host", b"localhost"), (b"x-amz-target", b"x.ListKeys"), dated]
    scope = b"20150830/us-east-1/kms/aws4_request"
    layout = Layout(names, scope)
    values = [dict(headers)[name] for name in layout.names]
    canonical_request = layout.canonical_request(b"POST", b"/\n", values, sha256(BODY).hexdigest().encode())
    key = SigningKey(SECRETS[ACCESS_KEY_ID], b"20150830", b"us-east-1", b"kms")
    signature = key.sign(layout.string_to_sign(AMZ_DATE.encode(), canonical_request))
    authorization = b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/%b,SignedHeaders=%b,Signature=%b"
    return http_request("POST", b"/", [*headers, (b"authorization", authorization % (scope, names, signature))], BODY)


def test_names_out_of_order_or_twice_are_a_mismatch_even_when_signed():
    dated = (b"x-amz-date", AMZ_DATE.encode())
    assert verify(sign_by_hand(b"content-type;host;x-amz-date;x-amz-target", dated))
    for names in (b"host;content-type;x-amz-date;x-amz-target", b"content-type;host;host;x-amz-date;x-amz-target"):
        assert refusal(sign_by_hand(names, dated)) == (INVALID, MISMATCH)


# What must be signed.


def test_an_unsigned_host_is_refused():
    assert refusal(with_authorization(b";host;", b";")) == (
        INVALID,
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
    )


@pytest.mark.parametrize("name", [b"X-Amz-Security-Token", b"x-amz-meta", b"X-AMZ-CONTENT-SHA256", b"x-amz-user-agent"])
def test_an_unsigned_amazon_header_is_refused(name: bytes):
    request = signed_request(unsigned=[(name, b"1")])
    shown = name.lower().decode()
    assert refusal(request) == (INVALID, f"'{shown}' must be a 'SignedHeader' in the AWS Authorization.")


def test_an_unsigned_ordinary_header_is_accepted():
    verify(signed_request(unsigned=[(b"X-Forwarded-For", b"10.0.0.1"), (b"Expect", b"")]))


@pytest.mark.parametrize("name", [b"host", b"content-type", b"x-amz-target"])
def test_a_signed_header_that_did_not_arrive_is_a_mismatch(name: bytes):
    assert refusal(without(signed_request(), name)) == (INVALID, MISMATCH)


@pytest.mark.parametrize(
    "names",
    [b"host;content-type;x-amz-date;x-amz-target", b"content-type;host;host;x-amz-date;x-amz-target",
     b"Content-Type;host;x-amz-date;x-amz-target", b"content-type;host;x-amz-date;x-amz-target;"],
)  # fmt: skip
def test_signed_headers_out_of_their_form_are_a_mismatch(names: bytes):
    assert refusal(with_authorization(b"content-type;host;x-amz-date;x-amz-target", names)) == (INVALID, MISMATCH)


# The payload.


@pytest.mark.parametrize(
    "declared", [b"UNSIGNED-PAYLOAD", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"]
)
def test_an_unsigned_or_streaming_payload_is_refused_even_when_signed(declared: bytes):
    request = signed_request(headers=[*KMS_HEADERS, (b"X-Amz-Content-Sha256", declared)])
    assert refusal(request) == (
        INVALID,
        f"'x-amz-content-sha256' must not be '{declared.decode()}': sign the payload.",
    )


@pytest.mark.parametrize("declared", [b"0" * 64, b"", sha256(BODY).hexdigest().upper().encode()])
def test_a_declared_hash_that_is_not_the_bodys_is_refused_even_when_signed(declared: bytes):
    request = signed_request(headers=[*KMS_HEADERS, (b"X-Amz-Content-Sha256", declared)])
    assert refusal(request) == (
        INVALID,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )


def test_a_body_signed_with_the_hash_of_another_is_refused_in_the_short_way_too():
    honest = signed_request(headers=[*KMS_HEADERS, (b"X-Amz-Content-Sha256", sha256(BODY).hexdigest().encode())])
    verifier = Verifier()
    verifier.verify(honest, NOW_S, SECRETS.get, SERVICES)
    verifier.verify(honest, NOW_S, SECRETS.get, SERVICES)
    assert len(verifier._known) == 1
    with pytest.raises(Refused, match="does not match what was computed"):
        verifier.verify(http_request("POST", b"/", honest.headers, b"{}"), NOW_S, SECRETS.get, SERVICES)
    unsigned = signed_request(headers=[*KMS_HEADERS, (b"X-Amz-Content-Sha256", b"UNSIGNED-PAYLOAD")])
    with pytest.raises(Refused, match="sign the payload"):
        verifier.verify(unsigned, NOW_S, SECRETS.get, SERVICES)


# The key and the signature.


def test_an_unknown_access_key_is_an_unrecognized_client():
    wording = "The security token included in the request is invalid."
    assert refusal(signed_request(access_key_id="AKIDSTRANGER")) == ("UnrecognizedClientException", wording)


def test_the_dummy_secret_signs_for_nobody():
    from strongroom.protocol import sigv4

    request = signed_request(access_key_id="AKIDSTRANGER", secret=sigv4._DUMMY_SECRET)
    assert refusal(request)[0] == "UnrecognizedClientException"


def test_a_wrong_secret_is_a_mismatch():
    assert refusal(signed_request(secret="another")) == (INVALID, MISMATCH)


def test_a_signature_in_upper_case_is_a_mismatch():
    request = signed_request()
    prefix, word, signature = header(request, b"Authorization").rpartition(b"Signature=")
    changed = with_header(request, b"Authorization", prefix + word + signature.upper())
    assert refusal(changed) == (INVALID, MISMATCH)


def test_a_quoted_value_is_short_and_printable():
    _, message = refusal(with_header(signed_request(), b"X-Amz-Date", b"\x1b[31m\xff" * 10_000))
    assert message.isprintable()
    assert len(message) < 700


def test_of_a_value_128_bytes_are_quoted():
    _, message = refusal(with_header(signed_request(), b"X-Amz-Date", b"x" * 10_000))
    assert message.count("x") == 128


def test_a_header_cannot_forge_a_line_of_the_canonical_request():
    # Moves the line of x-amz-target into content-type's value; only the line feed tells the two requests apart.
    request = signed_request()
    forged = with_header(request, b"Content-Type", b"application/x-amz-json-1.1\nhost:127.0.0.1:4599")
    assert refusal(forged) == (INVALID, MISMATCH)
