"""Requests signed by botocore, in the header sets that real clients send, are accepted."""

import time
from hashlib import sha256
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials

from protocol.signed_requests import ACCESS_KEY_ID, BODY, SECRET, SECRETS, signed_request
from strongroom.protocol.query import format_result
from strongroom.protocol.requests import HttpRequest, http_request
from strongroom.protocol.sigv4 import Refused, Verified, Verifier

KMS = {"X-Amz-Target": "TrentService.Encrypt"}
JSON = {"Content-Type": "application/x-amz-json-1.1"}
SDK = {"amz-sdk-invocation-id": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "amz-sdk-request": "attempt=1; max=3"}
SHA = {"X-Amz-Content-Sha256": sha256(BODY).hexdigest()}

HEADER_SETS = {
    "boto3": {**KMS, **JSON, "User-Agent": "Boto3/1.40"},
    "go-v2": {**KMS, **JSON, **SDK, "Content-Length": str(len(BODY)), "User-Agent": "aws-sdk-go-v2/1.30"},
    "js-v3": {**KMS, **JSON, **SDK, **SHA, "x-amz-user-agent": "aws-sdk-js/3.600.0", "content-length": "46"},
    "java-v2": {**KMS, **JSON, **SDK, **SHA, "Content-Length": str(len(BODY))},
    "rust": {**KMS, **JSON, "x-amz-user-agent": "aws-sdk-rust/1.3"},
    "curl": {"X-Amz-Target": "TrentService.Encrypt", "Content-Type": "application/x-amz-json-1.1"},
    "no signed content type": {**KMS},
    "blanks": {**KMS, **JSON, "x-amz-note": "  two   blanks \t and a tab  "},
    "empty value": {**KMS, **JSON, "x-amz-empty": ""},
    "not ascii": {**KMS, **JSON, "x-amz-note": "schlüssel"},
}


def botocore_request(
    headers: dict[str, str],
    *,
    url: str = "http://127.0.0.1:4599/",
    token: str | None = None,
    host: str = "127.0.0.1:4599",
    method: str = "POST",
    target: bytes = b"/",
    service: str = "kms",
) -> HttpRequest:
    request = AWSRequest(method=method, url=url, data=BODY, headers=headers)
    SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET, token), service, "eu-central-1").add_auth(request)
    received = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    return http_request(method, target, [(b"Host", host.encode()), *received], BODY)


def verify_twice(request: HttpRequest, services: frozenset[str] = frozenset({"kms"})) -> Verified:
    verifier = Verifier()
    first = verifier.verify(request, time.time(), SECRETS.get, services)
    assert len(verifier._known) == 1
    assert verifier._accept_known(request, time.time(), SECRETS.get, services) == (
        first if request.target == b"/" else None
    )
    return first


@pytest.mark.parametrize("token", [None, "FQoGZXIvYXdzEJr//////////wEaDA=="], ids=["lasting", "temporary"])
@pytest.mark.parametrize("headers", HEADER_SETS.values(), ids=HEADER_SETS.keys())
def test_a_request_signed_by_botocore_is_accepted(headers: dict[str, str], token: str | None):
    verified = verify_twice(botocore_request(headers, token=token))
    assert verified.access_key_id == ACCESS_KEY_ID
    assert verified.region == "eu-central-1"
    signed = {name.lower() for name in headers if name != "User-Agent"} | {"host", "x-amz-date"}
    assert verified.signed_headers == signed | ({"x-amz-security-token"} if token else set())


@pytest.mark.parametrize("service", ["iam", "sts"])
@pytest.mark.parametrize("more", [{}, SDK, SDK | {"Content-Length": "43"}], ids=["boto3", "js", "go"])
def test_a_form_for_a_query_service_is_accepted(service: str, more: dict[str, str]):
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    verified = verify_twice(botocore_request({**form, **more}, service=service), frozenset({"iam", "sts"}))
    assert (verified.service, "content-type" in verified.signed_headers) == (service, True)


@pytest.mark.parametrize("token", [None, "FQoGZXIvYXdzEJr"], ids=["lasting", "temporary"])
@pytest.mark.parametrize("expires_s", [1, 604_800])
def test_what_botocore_presigns_is_no_authentication(expires_s: int, token: str | None):
    request = AWSRequest(method="POST", url="http://127.0.0.1:4599/", data=b"{}", headers={**KMS, **JSON})
    SigV4QueryAuth(Credentials(ACCESS_KEY_ID, SECRET, token), "kms", "eu-central-1", expires_s).add_auth(request)
    target = request.url.removeprefix("http://127.0.0.1:4599").encode()
    assert b"X-Amz-Signature=" in target
    headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    presigned = http_request("POST", target, [(b"Host", b"127.0.0.1:4599"), *headers], b"{}")
    with pytest.raises(Refused, match="MissingAuthenticationTokenException"):
        Verifier().verify(presigned, time.time(), SECRETS.get, frozenset({"kms"}))


@pytest.mark.parametrize(
    "declared",
    [
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
        "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-EVENTS",
    ],
)
def test_what_botocore_signs_without_its_payload_is_refused(declared: str):
    """botocore puts the word where the hash would stand, so the signature is the one that such clients make."""
    request = botocore_request({**KMS, **JSON, "X-Amz-Content-SHA256": declared})
    with pytest.raises(Refused, match=f"must not be '{declared}': sign the payload"):
        Verifier().verify(request, time.time(), SECRETS.get, frozenset({"kms"}))


def test_a_host_without_its_port_is_taken_as_received():
    verify_twice(botocore_request(HEADER_SETS["boto3"], url="http://kms.example/", host="kms.example"))


def test_header_names_in_lower_case_are_accepted():
    request = botocore_request(HEADER_SETS["js-v3"])
    lowered = [(name.lower(), value) for name, value in request.headers]
    verify_twice(http_request("POST", b"/", lowered, BODY))


def test_a_path_is_normalized_unless_somebody_says_otherwise():
    request = botocore_request(HEADER_SETS["boto3"], url="http://127.0.0.1:4599/a/../b//c", target=b"/a/../b//c")
    verify_twice(request)


@pytest.mark.parametrize(
    ("target", "method"),
    [(b"/?a=1&b=2", "POST"), (b"/?b=2&a=%2F%20", "GET"), (b"/some/path/", "GET"), (b"/with%20blank?empty=", "PUT")],
)
def test_botocore_and_we_agree_on_paths_and_queries(target: bytes, method: str):
    url = "http://127.0.0.1:4599" + target.decode()
    verify_twice(botocore_request(HEADER_SETS["boto3"], url=url, target=target, method=method))


def test_repeated_ordinary_headers_are_joined_as_botocore_joins_them():
    request = AWSRequest(method="POST", url="http://127.0.0.1:4599/", data=BODY, headers=KMS)
    request.headers["X-Repeated"] = " one  two "
    request.headers["x-repeated"] = "three"
    SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET), "kms", "eu-central-1").add_auth(request)
    received = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    assert sum(name.lower() == b"x-repeated" for name, _ in received) == 2
    verifier = Verifier()
    whole = http_request("POST", b"/", [(b"host", b"127.0.0.1:4599"), *received], BODY)
    for _ in range(2):
        verified = verifier.verify(whole, time.time(), SECRETS.get, frozenset({"kms"}))
        assert "x-repeated" in verified.signed_headers


class Recorder:
    """Takes the place of the network: keeps what a boto3 client would have sent."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests: list[HttpRequest] = []

    def __call__(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        host = request.url.split("/")[2]
        headers = [(b"Host", host.encode())]
        headers += [
            (name.encode(), value if isinstance(value, bytes) else value.encode())
            for name, value in request.headers.items()
        ]
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        self.requests.append(http_request(request.method, b"/", headers, body))
        return AWSResponse(request.url, 200, {}, Raw(self.answer))


class Raw:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def stream(self) -> list[bytes]:
        return [self.content]


def client(service: str, answer: bytes) -> tuple[Any, Recorder]:
    recorder = Recorder(answer)
    made = boto3.session.Session().client(
        service,
        region_name="eu-central-1",
        endpoint_url="http://127.0.0.1:4599",
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(retries={"total_max_attempts": 1}),
    )
    made.meta.events.register("before-send", recorder)
    return made, recorder


def test_what_a_real_boto3_kms_client_sends_is_accepted():
    kms, recorder = client("kms", b"{}")
    kms.encrypt(KeyId="alias/invoices", Plaintext=b"secret", EncryptionContext={"tenant": "acme"})
    (request,) = recorder.requests
    assert verify_twice(request).signed_headers >= {"content-type", "host", "x-amz-date", "x-amz-target"}


def test_what_a_real_boto3_sts_client_sends_is_accepted():
    sts, recorder = client("sts", format_result("GetCallerIdentity", {"Account": "000000000000"}, "req-1"))
    assert sts.get_caller_identity()["Account"] == "000000000000"
    (request,) = recorder.requests
    assert b"Action=GetCallerIdentity" in request.body
    assert verify_twice(request, frozenset({"sts"})).service == "sts"


def test_botocore_and_our_signer_make_the_same_signature():
    theirs = botocore_request({**KMS, **JSON})
    amz_date = dict(theirs.headers)[b"X-Amz-Date"].decode()
    headers = [(name.encode(), value.encode()) for name, value in {**KMS, **JSON}.items()]
    ours = signed_request(headers=headers, region="eu-central-1", amz_date=amz_date)
    assert dict(ours.headers)[b"Authorization"] == dict(theirs.headers)[b"Authorization"]
