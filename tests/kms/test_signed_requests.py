"""What real clients sign is accepted over HTTP, and what they could sign instead is refused as AWS refuses it.

botocore signs here, which shares no code with the verifier, in the header sets that other clients send; curl signs for
itself. The header sets are those seen in these clients' requests. Every refusal is asked of KMS, whose answers are JSON,
and of IAM and STS, whose answers are XML with names of their own. Source: "Common Errors" of the KMS, IAM and STS API
references.
"""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from testkit.installation import REGION, Installation
from testkit.raw import Answer, Raw, amz_date, nothing_breaks, raw_request, table_dump

Fields = dict[str, str]

TARGET = {"X-Amz-Target": "TrentService.CreateKey"}
JSON = {"Content-Type": "application/x-amz-json-1.1"}
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
SDK = {"amz-sdk-invocation-id": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "amz-sdk-request": "attempt=1; max=3"}
BODY = b"{}"
SHA = {"x-amz-content-sha256": sha256(BODY).hexdigest()}


@dataclass(frozen=True)
class Sent:
    """A request: what is signed, and what is sent beside it."""

    fields: Fields
    body: bytes = BODY
    method: str = "POST"
    target: str = "/"
    service: str = "kms"
    access_key_id: str = "test"
    secret: str = "test"
    token: str | None = None
    unsigned: tuple[tuple[str, str], ...] = ()

    def signed_by(self, host: str, auth: Any = SigV4Auth) -> tuple[str, list[tuple[str, str]]]:
        """Target and header fields, as botocore signs them."""
        request = AWSRequest(
            method=self.method, url=f"http://{host}{self.target}", data=self.body, headers=dict(self.fields)
        )
        credentials = Credentials(self.access_key_id, self.secret, self.token)
        auth(credentials, self.service, REGION).add_auth(request)
        target = request.url.removeprefix(f"http://{host}")
        return target, [("Host", host), *request.headers.items(), *self.unsigned]


def send(
    installation: Installation, sent: Sent, bend: Callable[[list[tuple[str, str]]], Any] = list, auth: Any = SigV4Auth
) -> Answer:
    """The answer to a request whose header fields are bent after they were signed."""
    with Raw(installation.port) as raw:
        target, headers = sent.signed_by(raw.host, auth)
        bent = [(name.encode(), value.encode()) for name, value in bend(headers)]
        if not any(name.lower() == b"content-length" for name, _ in bent):
            bent.append((b"Content-Length", str(len(sent.body)).encode()))
        raw.send(raw_request(bent, sent.body, sent.method.encode(), target.encode()))
        return raw.read_answer()


# ── what clients sign ───────────────────────────────────────────────────────────────────────────────────────────────────

CLIENTS: dict[str, Sent] = {
    "boto3 and aws-cli": Sent(
        {**TARGET, **JSON}, unsigned=(("Accept-Encoding", "identity"), ("User-Agent", "Boto3/1.40"))
    ),
    "Go v2 and Terraform": Sent(
        {**TARGET, **JSON, **SDK, "Content-Length": "2"},
        unsigned=(("User-Agent", "aws-sdk-go-v2/1.30"), ("Accept-Encoding", "gzip")),
    ),
    "Go v1": Sent({**TARGET, **JSON, "Content-Length": "2"}, unsigned=(("User-Agent", "aws-sdk-go/1.55"),)),
    "JavaScript v3": Sent(
        {**TARGET, **JSON, **SDK, **SHA, "x-amz-user-agent": "aws-sdk-js/3.600.0", "content-length": "2"},
        unsigned=(("user-agent", "aws-sdk-js/3.600.0"), ("Connection", "keep-alive")),
    ),
    "Java v2": Sent({**TARGET, **JSON, **SDK, **SHA, "Content-Length": "2"}, unsigned=(("Connection", "Keep-Alive"),)),
    "Rust": Sent(
        {**TARGET, **JSON, "x-amz-user-agent": "aws-sdk-rust/1.3"}, unsigned=(("amz-sdk-request", "attempt=1"),)
    ),
    "curl": Sent({**TARGET, **JSON}, unsigned=(("User-Agent", "curl/8.5.0"), ("Accept", "*/*"))),
    "no signed content type": Sent(TARGET, unsigned=tuple(JSON.items())),
    "no agent, and the connection closed": Sent({**TARGET, **JSON}, unsigned=(("Connection", "close"),)),
}


def test_what_the_clients_differ_in_is_in_the_table() -> None:
    """Or the test below would ask the same thing nine times."""
    signed = {tuple(sorted(name.lower() for name in sent.fields)) for sent in CLIENTS.values()}
    assert len(signed) == 7


@pytest.mark.parametrize("client", CLIENTS)
def test_the_headers_that_a_client_signs_are_accepted(installation: Installation, client: str) -> None:
    for _ in range(2):
        answer = send(installation, CLIENTS[client])
        assert (answer.status, answer.code) == (200, ""), answer


@pytest.mark.parametrize("service", ["iam", "sts"])
@pytest.mark.parametrize("more", [{}, SDK, {**SDK, **SHA}], ids=["boto3", "Go", "JavaScript"])
def test_the_form_of_a_query_service_is_accepted_as_signed_by_a_client(
    installation: Installation, service: str, more: Fields
) -> None:
    form = QUERY_FORMS[service]
    declared = {"x-amz-content-sha256": sha256(form).hexdigest()} if "x-amz-content-sha256" in more else {}
    sent = Sent({**FORM, **more, **declared}, form, service=service)
    for _ in range(2):
        answer = send(installation, sent)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/xml"), answer


def spaces_out_of(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value.replace(", ", ",") if name == "Authorization" else value) for name, value in headers]


def test_an_authorization_header_may_have_no_blanks_behind_its_commas(installation: Installation) -> None:
    assert send(installation, CLIENTS["curl"], spaces_out_of).status == 200


# ── curl itself ─────────────────────────────────────────────────────────────────────────────────────────────────────────

CURL = shutil.which("curl")


@pytest.fixture
def curl(installation: Installation) -> Callable[..., str]:
    """Runs curl, and returns status and body."""
    version = subprocess.run([CURL or "false", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"curl (\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < (7, 86):
        pytest.skip("needs curl 7.86 or newer, which signs all headers that AWS asks for")

    def run(service: str, *options: str) -> str:
        done = subprocess.run(
            [
                *(str(CURL), "--silent", "--show-error", "--max-time", "20", "--write-out", "\n%{http_code}"),
                *("--aws-sigv4", f"aws:amz:{REGION}:{service}", "--user", "test:test", *options),
                f"http://127.0.0.1:{installation.port}/",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    return run


def header_options(**fields: str) -> Iterator[str]:
    for name, value in fields.items():
        yield from ("--header", f"{name.replace('_', '-')}: {value}")


KMS_BY_CURL = tuple(header_options(X_Amz_Target="TrentService.ListKeys", Content_Type="application/x-amz-json-1.1"))


def test_curl_signs_for_kms(curl: Callable[..., str]) -> None:
    assert curl("kms", *KMS_BY_CURL, "--data", "{}").endswith("\n200")


@pytest.mark.parametrize("service", ["iam", "sts"])
def test_curl_signs_for_a_query_service(curl: Callable[..., str], service: str) -> None:
    answer = curl(service, "--data", QUERY_FORMS[service].decode())
    assert answer.endswith("\n200"), answer


@pytest.mark.parametrize(
    ("service", "options", "code"),
    [
        ("s3", ("--data", "{}"), "InvalidSignatureException"),
        ("kms", ("--data", "{}", "--user", "test:wrong"), "InvalidSignatureException"),
        ("kms", ("--data", "{}", "--user", "AKIASTRANGER:test"), "UnrecognizedClientException"),
        (
            "kms",
            ("--data", "{}", *header_options(X_Amz_Content_Sha256="UNSIGNED-PAYLOAD")),
            "InvalidSignatureException",
        ),
    ],
    ids=["another service", "another secret", "a stranger", "an unsigned payload"],
)
def test_what_curl_should_not_sign_is_refused(
    curl: Callable[..., str], service: str, options: tuple[str, ...], code: str
) -> None:
    answer = curl(service, *KMS_BY_CURL, *options)
    assert answer.endswith("\n400")
    assert f'"__type":"{code}"' in answer


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────────

QUERY_FORMS = {
    "sts": b"Action=GetCallerIdentity&Version=2011-06-15",
    "iam": b"Action=ListUsers&Version=2010-05-08",
}
# What a request would do if it were accepted is seen: it makes a key, or it names its caller.
GOOD: dict[str, Sent] = {
    "kms": Sent({**TARGET, **JSON}),
    **{service: Sent(FORM, form, service=service) for service, form in QUERY_FORMS.items()},
}
MISSING, INCOMPLETE, INVALID, STRANGER = (
    "MissingAuthenticationTokenException",
    "IncompleteSignatureException",
    "InvalidSignatureException",
    "UnrecognizedClientException",
)
# The names of a refusal in the Query services, with its status there; KMS answers 400 to all.
QUERY_NAMES = {
    MISSING: ("MissingAuthenticationToken", 403),
    INCOMPLETE: ("IncompleteSignature", 400),
    INVALID: ("SignatureDoesNotMatch", 403),
    STRANGER: ("InvalidClientTokenId", 403),
}
PAYLOADS = (
    "UNSIGNED-PAYLOAD",
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-EVENTS",
)
IN_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test%2F{date}%2F" + REGION + "%2F{service}%2Faws4_request"
    "&X-Amz-Date={now}&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature={zeros}"
)
Headers = list[tuple[str, str]]
Bend = Callable[[Headers], Headers]


def without(*names: str) -> Bend:
    return lambda headers: [field for field in headers if field[0].lower() not in names]


def with_more(*fields: tuple[str, str]) -> Bend:
    return lambda headers: [*headers, *fields]


def authorization_of(headers: Headers) -> str:
    return next(value for name, value in headers if name == "Authorization")


def authorization(change: Callable[[str], str]) -> Bend:
    return lambda headers: [(name, change(value) if name == "Authorization" else value) for name, value in headers]


def authorization_twice(name: str, *, first: bool, value: str = "") -> Bend:
    def bend(headers: Headers) -> Headers:
        second = (name, value or authorization_of(headers))
        return [second, *headers] if first else [*headers, second]

    return bend


def unchanged(headers: Headers) -> Headers:
    return headers


@dataclass(frozen=True)
class Refusal:
    """How a good request is made a bad one, before it is signed and after; and what AWS calls that."""

    code: str
    message: str
    bend: Bend = unchanged
    change: Callable[[Sent], Sent] = lambda sent: sent
    auth: Any = SigV4Auth


def declaring(value: str) -> Callable[[Sent], Sent]:
    """Signed as such clients sign: botocore puts the word where the hash of the payload would stand."""
    return lambda sent: replace(sent, fields={**sent.fields, "X-Amz-Content-SHA256": value})


def in_chunks(sent: Sent) -> Sent:
    """The streaming form of S3, chunk signature and all."""
    chunk = b"%x;chunk-signature=%b\r\n%b\r\n0;chunk-signature=%b\r\n\r\n" % (
        len(sent.body),
        b"0" * 64,
        sent.body,
        b"0" * 64,
    )
    streaming = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": str(len(sent.body)),
        "X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    }
    return replace(sent, fields={**sent.fields, **streaming}, body=chunk)


def in_query(sent: Sent) -> Sent:
    now = amz_date()
    query = IN_QUERY.format(date=now[:8], now=now, service=sent.service, zeros="0" * 64)
    return replace(sent, target=f"/?{query}")


def saying_nothing(sent: Sent) -> Sent:
    """botocore moves what a body says into the query."""
    return replace(sent, body=b"{}")


def as_get(sent: Sent) -> Sent:
    return replace(sent, method="GET", target="/?" + sent.body.decode(), body=b"")


SIGNATURE_V2 = "/?AWSAccessKeyId=test&SignatureMethod=HmacSHA256&SignatureVersion=2&Signature=abc%3D"
REFUSALS: dict[str, Refusal] = {
    "no Authorization header": Refusal(MISSING, "Request is missing Authentication Token", without("authorization")),
    "another scheme": Refusal(
        MISSING, "Request is missing Authentication Token", authorization(lambda _: "Bearer abcdef")
    ),
    "Signature Version 2": Refusal(
        MISSING,
        "Request is missing Authentication Token",
        without("authorization", "x-amz-date"),
        lambda sent: replace(sent, target=SIGNATURE_V2),
    ),
    "a presigned URL": Refusal(
        MISSING, "Request is missing Authentication Token", change=saying_nothing, auth=SigV4QueryAuth
    ),
    "a presigned URL with GET": Refusal(
        MISSING, "Request is missing Authentication Token", change=as_get, auth=SigV4QueryAuth
    ),
    "credentials in the query": Refusal(
        MISSING, "Request is missing Authentication Token", without("authorization"), in_query
    ),
    "credentials in the query and in the header": Refusal(
        INVALID,
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
        change=in_query,
    ),
    "two Authorization headers": Refusal(
        INVALID,
        "The request has more than one 'authorization' header.",
        authorization_twice("Authorization", first=False),
    ),
    "two Authorization headers in two spellings": Refusal(
        INVALID,
        "The request has more than one 'authorization' header.",
        authorization_twice("aUTHORIZATION", first=False),
    ),
    "an Authorization header before that of AWS": Refusal(
        INVALID,
        "The request has more than one 'authorization' header.",
        authorization_twice("Authorization", first=True, value="Basic dGVzdDp0ZXN0"),
    ),
    "two in one Authorization header": Refusal(
        INCOMPLETE,
        "Authorization header has a repeated or an unknown parameter 'AWS4-HMAC-SHA256 Credential'. ",
        authorization(lambda value: f"{value}, {value}"),
    ),
    **{
        f"a payload declared as {declared}": Refusal(
            INVALID,
            f"'x-amz-content-sha256' must not be '{declared}': sign the payload.",
            change=declaring(declared),
        )
        for declared in PAYLOADS
    },
    "chunks with signatures of their own": Refusal(
        INVALID,
        "'x-amz-content-sha256' must not be 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD': sign the payload.",
        change=in_chunks,
    ),
    "the hash of another payload": Refusal(
        INVALID,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
        change=declaring(sha256(b"another").hexdigest()),
    ),
    "a session token that is not signed": Refusal(
        INVALID,
        "'x-amz-security-token' must be a 'SignedHeader' in the AWS Authorization.",
        with_more(("X-Amz-Security-Token", "FQoGZXIvYXdzEJr")),
    ),
    "a session token that was signed and is another": Refusal(
        INVALID,
        "The request signature we calculated does not match the signature you provided.",
        lambda headers: [(name, value + "x" if name == "X-Amz-Security-Token" else value) for name, value in headers],
        lambda sent: replace(sent, token="FQoGZXIvYXdzEJr"),
    ),
    "a session token that was signed and did not arrive": Refusal(
        INVALID,
        "The request signature we calculated does not match the signature you provided.",
        without("x-amz-security-token"),
        lambda sent: replace(sent, token="FQoGZXIvYXdzEJr"),
    ),
    "two session tokens": Refusal(
        INVALID,
        "The request has more than one 'x-amz-security-token' header.",
        with_more(("X-Amz-Security-Token", "FQoGZXIvYXdzEJr")),
        lambda sent: replace(sent, token="FQoGZXIvYXdzEJr"),
    ),
    "another x-amz- header that is not signed": Refusal(
        INVALID, "'x-amz-meta' must be a 'SignedHeader' in the AWS Authorization.", with_more(("X-Amz-Meta", "1"))
    ),
    "an algorithm of elliptic curves": Refusal(
        INCOMPLETE,
        "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now).",
        authorization(lambda value: value.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")),
    ),
    "no signature": Refusal(
        INCOMPLETE,
        "Authorization header requires 'Signature' parameter. (Hashed with SHA-256 and encoded with Base64)",
        authorization(lambda value: value.partition(", Signature=")[0]),
    ),
    "no date": Refusal(
        INCOMPLETE,
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. (Hashed with",
        without("x-amz-date"),
    ),
    "another day in the scope": Refusal(
        INVALID,
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '19990101' != ",
        authorization(lambda value: re.sub(r"/\d{8}/", "/19990101/", value)),
    ),
    "a service that is not here": Refusal(
        INVALID,
        "Credential should be scoped to correct service: ",
        change=lambda sent: replace(sent, service="s3"),
    ),
    "another secret": Refusal(
        INVALID,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details.",
        change=lambda sent: replace(sent, secret="another"),
    ),
    "an access key that is nobody's": Refusal(
        STRANGER,
        "The security token included in the request is invalid.",
        change=lambda sent: replace(sent, access_key_id="AKIASTRANGER"),
    ),
}


def assert_refused_by_name(answer: Answer, service: str, refusal: Refusal) -> None:
    if service == "kms":
        assert (answer.status, answer.code) == (400, refusal.code), answer
        assert answer.headers["content-type"] == "application/x-amz-json-1.1"
        message = answer.message
    else:
        name, status = QUERY_NAMES[refusal.code]
        assert answer.headers["content-type"] == "text/xml"
        assert answer.body.startswith(b"<ErrorResponse xmlns=")
        found = {tag: html.unescape(text) for tag, text in re.findall(r"<(\w+)>([^<]*)</", answer.body.decode())}
        assert (answer.status, found["Code"], found["Type"]) == (status, name, "Sender"), answer
        assert found["RequestId"] == answer.headers["x-amzn-requestid"]
        message = found["Message"]
    assert message.startswith(refusal.message), message
    assert "Signature=" not in message


@pytest.fixture
def untouched(installation: Installation) -> Iterator[None]:
    """What a refused request asks for does not happen."""
    before = table_dump(installation)
    with nothing_breaks(installation):
        yield
    assert table_dump(installation) == before


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("service", GOOD)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_request_is_refused_with_awss_name_and_words(installation: Installation, refusal: str, service: str) -> None:
    expected = REFUSALS[refusal]
    answer = send(installation, expected.change(GOOD[service]), expected.bend, expected.auth)
    assert_refused_by_name(answer, service, expected)


@pytest.mark.parametrize("service", GOOD)
def test_the_same_requests_are_accepted_when_nothing_is_wrong(installation: Installation, service: str) -> None:
    """Or the test above would say nothing."""
    assert send(installation, GOOD[service]).status == 200
