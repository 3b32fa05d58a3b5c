"""The public API as the command line uses it: JSON 1.1 over HTTP, signed by our own SigV4. One connection per call."""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from strongroom.protocol.signing import sign

_TIMEOUT_S: Final = 30.0
# What is handed to the socket at once, so that a service which has heard enough can say so early.
_SEND_BYTES: Final = 64 * 1024
_CONTENT_TYPE: Final = b"application/x-amz-json-1.1"


class SettingError(ValueError):
    """An endpoint that is no address, or half a pair of credentials."""


class ApiRefusedError(Exception):
    """The service's own words: the HTTP status, AWS's code for the refusal (may be empty) and the message (may be empty)."""

    def __init__(self, status: int, code: str, message: str) -> None:
        parts = [f"HTTP {status} {http.client.responses.get(status, '')}".strip() if status else "", code, message]
        super().__init__(": ".join(part for part in parts if part))
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ApiCredentials:
    """Who calls. Its representation shows no secret."""

    access_key_id: str
    secret: str
    session_token: str | None
    region: str

    def __repr__(self) -> str:
        return f"ApiCredentials({self.access_key_id}, {self.region})"


def credentials_from(environment: Mapping[str, str], access_key_id: str | None, secret: str | None) -> ApiCredentials:
    """What was given, else the environment's, else those of a development home. A half pair is never completed."""
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    if access_key_id or secret:
        if not (access_key_id and secret):
            raise SettingError("--access-key-id and --secret are given together")
        return ApiCredentials(access_key_id, secret, None, region)
    from_environment = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if from_environment[0] and from_environment[1]:
        session_token = environment.get("AWS_SESSION_TOKEN") or None
        return ApiCredentials(from_environment[0], from_environment[1], session_token, region)
    return ApiCredentials("test", "test", None, region)


class KmsClient:
    """Calls operations by name, with members as AWS's model spells them."""

    def __init__(self, endpoint: str, credentials: ApiCredentials) -> None:
        address = urlsplit(endpoint)
        if address.scheme not in {"http", "https"} or not address.hostname:
            raise SettingError(f"{endpoint!r} is no endpoint: http://HOST:PORT or https://HOST:PORT")
        self.endpoint: Final = endpoint
        self._credentials: Final = credentials
        self._is_tls: Final = address.scheme == "https"
        self._address: Final = address.hostname, address.port
        self._host: Final = address.netloc.rpartition("@")[2]

    def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """The operation's answer.

        Raises:
            ApiRefusedError: the service refused.
            ConnectionError: no service answers there.
        """
        body = json.dumps(members).encode()
        status, text = self._exchange(self._signed_headers(operation, body), body)
        try:
            answer = json.loads(text) if text.strip() else {}
        except ValueError:
            raise ApiRefusedError(status, "", "the answer is not JSON: is this a KMS endpoint?") from None
        if status != http.client.OK:
            code = str(answer.get("__type", "")).rpartition("#")[2]
            raise ApiRefusedError(status, code, str(answer.get("message", answer.get("Message", ""))))
        return dict(answer)

    def _signed_headers(self, operation: str, body: bytes) -> list[tuple[bytes, bytes]]:
        headers = [(b"Content-Type", _CONTENT_TYPE), (b"X-Amz-Target", b"TrentService." + operation.encode("ascii"))]
        added = sign(
            "POST",
            self._host,
            b"/",
            headers,
            body,
            access_key_id=self._credentials.access_key_id,
            secret=self._credentials.secret,
            region=self._credentials.region,
            service="kms",
            amz_date=datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
            session_token=self._credentials.session_token,
        )
        return [(b"Host", self._host.encode("ascii")), *headers, *added]

    def _exchange(self, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[int, bytes]:
        connection = self._connect()
        try:
            connection.putrequest("POST", "/", skip_host=True, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name.decode("ascii"), value)
            connection.putheader("Content-Length", str(len(body)))
            # A service that refuses by the length alone answers and hangs up while we still send: its answer counts.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.endheaders()
                view = memoryview(body)
                for offset in range(0, len(view), _SEND_BYTES):
                    connection.send(view[offset : offset + _SEND_BYTES])
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (ConnectionError, http.client.HTTPException):
            raise ApiRefusedError(0, "", "the service hung up before it had the whole request") from None
        except TimeoutError:
            raise ConnectionError(f"the service on {self.endpoint} is silent for {_TIMEOUT_S:.0f} s") from None
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address
        connection: http.client.HTTPConnection
        if self._is_tls:
            trusted = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
            connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=trusted)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        try:
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise ConnectionError(
                f"the certificate of {self.endpoint} is not trusted ({error.verify_message}); AWS_CA_BUNDLE names the "
                "file with the certificates to trust"
            ) from None
        except OSError as error:
            connection.close()
            raise ConnectionError(
                f"no service answers on {self.endpoint} ({error.strerror or error}); start one with `make up`, "
                "or `strongroom up --dev`, in another terminal"
            ) from None
        return connection
