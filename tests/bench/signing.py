"""Requests as boto3 sends them, signed ahead of time by botocore.

A client of boto3 makes one request per operation against no server at all; its header block is the template, and the
set is that template with other bodies, each signed by botocore's own `SigV4Auth`. Every request of a set has an
encryption context (or a description) of its own and so a signature of its own: a server cannot gain by remembering
the last `Authorization` header unless it remembers as many as the set holds.

Where a set has a request per key of a hundred thousand, botocore would take half a minute of the five that a signature is
good for: `sign_many` takes botocore's first one apart and computes the others as it was made.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

import boto3
from botocore import xform_name
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from tests.bench.load import connect, exchange

OPERATIONS = ("GenerateDataKey", "Encrypt", "Decrypt", "CreateKey")
ACCESS_KEY = "test"
SECRET_KEY = "test"
REGION = "us-east-1"
# AWS and the product accept a signature for 5 minutes; a slice may still run when a set reaches this age.
SIGNATURE_AGE_MAX_S = 180


class _EmptyAnswer:
    @staticmethod
    def stream() -> list[bytes]:
        return [b"{}"]


def header_template(operation: str, payload: dict[str, Any], url: str) -> dict[str, str]:
    """The header block that boto3 sends for this operation, in its order; nothing reaches the network."""
    captured: list[Any] = []

    def capture(request: Any, **_: Any) -> AWSResponse:
        captured.append(request)
        return AWSResponse(request.url, 200, {}, _EmptyAnswer())

    client = boto3.client(
        "kms",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(parameter_validation=True),
    )
    client.meta.events.register("before-send.kms", capture)
    getattr(client, xform_name(operation))(**payload)
    # http.client writes these two itself, before the others.
    headers = {"Host": url.split("/")[2], "Accept-Encoding": "identity"}
    for name, value in captured[0].headers.items():
        headers[name] = value.decode() if isinstance(value, bytes) else value
    return headers


def sign(operation: str, payloads: Sequence[dict[str, Any]], port: int) -> list[bytes]:
    url = f"http://127.0.0.1:{port}/"
    template = header_template(operation, payloads[0], url)
    requests = []
    for payload in payloads:
        body = json.dumps(payload).encode()
        request = _signed(template, url, body)
        requests.append(_formatted(template, request.headers["Authorization"], request.headers["X-Amz-Date"], body))
    return requests


def sign_many(operation: str, payloads: Sequence[dict[str, Any]], port: int) -> list[bytes]:
    """The same, all with the time of the first, whose signature shows that the shorter way leads to the same place."""
    url = f"http://127.0.0.1:{port}/"
    template = header_template(operation, payloads[0], url)
    first_body = json.dumps(payloads[0]).encode()
    first = _signed(template, url, first_body)
    signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "kms", REGION)
    # What was signed but for the last line, the body's hash: the request's own headers, not those that signing added.
    unsigned = AWSRequest(method="POST", url=url, data=first_body, headers=_own_headers(template))
    unsigned.context["timestamp"] = amz_date = first.headers["X-Amz-Date"]
    unsigned.headers["X-Amz-Date"] = amz_date
    canonical = signer.canonical_request(unsigned).rpartition("\n")[0].encode() + b"\n"
    prefix, _, first_signature = first.headers["Authorization"].rpartition("=")
    scope = f"AWS4-HMAC-SHA256\n{amz_date}\n{signer.credential_scope(unsigned)}\n".encode()
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (amz_date[:8], REGION, "kms", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")

    def signature(body: bytes) -> str:
        request_hash = hashlib.sha256(canonical + hashlib.sha256(body).hexdigest().encode()).hexdigest()
        return hmac.digest(key, scope + request_hash.encode(), "sha256").hex()

    assert signature(first_body) == first_signature, "botocore signs in another way than this"
    bodies = [json.dumps(payload).encode() for payload in payloads]
    return [_formatted(template, f"{prefix}={signature(body)}", amz_date, body) for body in bodies]


def _own_headers(template: dict[str, str]) -> dict[str, str]:
    return {name: template[name] for name in ("X-Amz-Target", "Content-Type", "User-Agent")}


def _signed(template: dict[str, str], url: str, body: bytes) -> AWSRequest:
    request = AWSRequest(method="POST", url=url, data=body, headers=_own_headers(template))
    SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "kms", REGION).add_auth(request)
    signed_headers = template["Authorization"].split("SignedHeaders=")[1].split(",")[0]
    authorization = request.headers["Authorization"]
    assert f"SignedHeaders={signed_headers}," in authorization, "the template signs other headers than boto3"
    return request


def _formatted(template: dict[str, str], authorization: str, amz_date: str, body: bytes) -> bytes:
    headers = template | {
        "Authorization": authorization,
        "X-Amz-Date": amz_date,
        "amz-sdk-invocation-id": str(uuid.uuid4()),
        "Content-Length": str(len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body


def body_of(answer: bytes) -> Any:
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


class RequestSets:
    """The signed requests of one product under load: it knows that product's key and ciphertexts."""

    def __init__(self, port: int, distinct: int) -> None:
        self._port = port
        self._contexts = [{"tenant": "bench", "object": f"{number:08d}"} for number in range(distinct)]
        self._signed_at_s: dict[str, float] = {}
        with connect(port) as connection:
            created = exchange(connection, sign("CreateKey", [{"Description": "bench"}], port)[0])
            self._key_arn: str = body_of(created)["KeyMetadata"]["Arn"]
            self._ciphertexts = [
                body_of(exchange(connection, request))["CiphertextBlob"]
                for request in sign("Encrypt", self._payloads("Encrypt"), port)
            ]

    def signed(self, operation: str) -> list[bytes]:
        requests = sign(operation, self._payloads(operation), self._port)
        self._signed_at_s[operation] = time.monotonic()
        return requests

    def outdated(self, operation: str) -> bool:
        signed_at_s = self._signed_at_s.get(operation)
        return signed_at_s is None or time.monotonic() - signed_at_s > SIGNATURE_AGE_MAX_S

    def answer(self, operation: str) -> bytes:
        """What the product really answers to this operation, head and body."""
        with connect(self._port) as connection:
            return exchange(connection, sign(operation, self._payloads(operation)[:1], self._port)[0])

    def _payloads(self, operation: str) -> list[dict[str, Any]]:
        match operation:
            case "GenerateDataKey":
                return [
                    {"KeyId": self._key_arn, "KeySpec": "AES_256", "EncryptionContext": context}
                    for context in self._contexts
                ]
            case "Encrypt":
                plaintext = base64.b64encode(bytes(range(32))).decode()
                return [
                    {"KeyId": self._key_arn, "Plaintext": plaintext, "EncryptionContext": context}
                    for context in self._contexts
                ]
            case "Decrypt":
                return [
                    {"CiphertextBlob": ciphertext, "EncryptionContext": context}
                    for ciphertext, context in zip(self._ciphertexts, self._contexts, strict=True)
                ]
            case "CreateKey":
                return [{"Description": f"bench {context['object']}"} for context in self._contexts]
            case _:
                raise ValueError(operation)
