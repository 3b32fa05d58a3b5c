"""Requests as boto3 sends them, signed ahead of time by botocore.

A client of boto3 makes one request per operation against no server at all; its header block is the template, and the
set is that template with other bodies, each signed by botocore's own `SigV4Auth`. Every request of a set has an
encryption context (or a description) of its own and so a signature of its own: a server cannot gain by remembering
the last `Authorization` header unless it remembers as many as the set holds.
"""

from __future__ import annotations

import base64
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
    signed_headers = template["Authorization"].split("SignedHeaders=")[1].split(",")[0]
    signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY), "kms", REGION)
    requests = []
    for payload in payloads:
        body = json.dumps(payload).encode()
        unsigned = {name: template[name] for name in ("X-Amz-Target", "Content-Type", "User-Agent")}
        request = AWSRequest(method="POST", url=url, data=body, headers=unsigned)
        signer.add_auth(request)
        authorization = request.headers["Authorization"]
        assert f"SignedHeaders={signed_headers}," in authorization, "the template signs other headers than boto3"
        headers = template | {
            "Authorization": authorization,
            "X-Amz-Date": request.headers["X-Amz-Date"],
            "amz-sdk-invocation-id": str(uuid.uuid4()),
            "Content-Length": str(len(body)),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        requests.append(f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body)
    return requests


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
