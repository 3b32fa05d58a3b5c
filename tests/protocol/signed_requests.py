"""Requests as clients send them, signed by our own `sign`, for tests to bend."""

from collections.abc import Sequence
from datetime import UTC, datetime

from strongroom.protocol.requests import HttpRequest, http_request
from strongroom.protocol.signing import sign

ACCESS_KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SECRETS = {ACCESS_KEY_ID: SECRET}
HOST = "127.0.0.1:4599"
SERVICES = frozenset({"kms"})
AMZ_DATE = "20150830T123600Z"
NOW_S = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()
BODY = b'{"KeyId":"alias/invoices","KeySpec":"AES_256"}'
KMS_HEADERS = (
    (b"X-Amz-Target", b"TrentService.GenerateDataKey"),
    (b"Content-Type", b"application/x-amz-json-1.1"),
)


def signed_request(
    *,
    headers: Sequence[tuple[bytes, bytes]] = KMS_HEADERS,
    unsigned: Sequence[tuple[bytes, bytes]] = ((b"User-Agent", b"a client"), (b"Content-Length", b"46")),
    method: str = "POST",
    target: bytes = b"/",
    body: bytes = BODY,
    access_key_id: str = ACCESS_KEY_ID,
    secret: str = SECRET,
    region: str = "us-east-1",
    service: str = "kms",
    amz_date: str = AMZ_DATE,
    session_token: str | None = None,
) -> HttpRequest:
    added = sign(
        method,
        HOST,
        target,
        headers,
        body,
        access_key_id=access_key_id,
        secret=secret,
        region=region,
        service=service,
        amz_date=amz_date,
        session_token=session_token,
    )
    return http_request(method, target, [(b"Host", HOST.encode()), *unsigned, *headers, *added], body)


def with_headers(request: HttpRequest, headers: Sequence[tuple[bytes, bytes]]) -> HttpRequest:
    return http_request(request.method, request.target, headers, request.body)


def with_header(request: HttpRequest, name: bytes, value: bytes) -> HttpRequest:
    """The request with one header's value replaced; its name is found without case."""
    assert any(received.lower() == name.lower() for received, _ in request.headers)
    return with_headers(
        request,
        [(received, value if received.lower() == name.lower() else old) for received, old in request.headers],
    )


def header(request: HttpRequest, name: bytes) -> bytes:
    return next(value for received, value in request.headers if received.lower() == name.lower())
