"""Requests that no client would send: bytes over a socket, signed or bent by hand, and answers read strictly.

`Raw` sends; `request` makes the bytes of an ordinary signed call, for a test to change one thing of; `Answer` is what came.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from strongroom.protocol.signing import sign
from testkit.installation import ACCOUNT, REGION, Installation

TARGET_PREFIX = b"TrentService."
JSON_TYPE = b"application/x-amz-json-1.1"
ANSWER_S_MAX = 60.0

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    @property
    def code(self) -> str:
        """AWS's name of the refusal; empty for a success."""
        return "" if self.status == 200 else str(self.json["__type"])

    @property
    def message(self) -> str:
        return str(self.json.get("message", ""))


def amz_date(offset_s: float = 0.0) -> str:
    return datetime.fromtimestamp(time.time() + offset_s, UTC).strftime("%Y%m%dT%H%M%SZ")


def signed_headers(
    host: str,
    body: bytes,
    headers: Headers,
    *,
    method: str = "POST",
    target: bytes = b"/",
    access_key_id: str = "test",
    secret: str = "test",
    service: str = "kms",
    region: str = REGION,
    date: str | None = None,
) -> list[tuple[bytes, bytes]]:
    """All headers of a request that the service accepts, `Content-Length` included."""
    added = sign(
        method,
        host,
        target,
        headers,
        body,
        access_key_id=access_key_id,
        secret=secret,
        region=region,
        service=service,
        amz_date=date or amz_date(),
    )
    return [
        (b"Host", host.encode()),
        *headers,
        *added,
        (b"Content-Length", str(len(body)).encode()),
    ]


def raw_request(headers: Headers, body: bytes = b"", method: bytes = b"POST", target: bytes = b"/") -> bytes:
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, lines, body)


def call_headers(operation: str) -> list[tuple[bytes, bytes]]:
    return [(b"X-Amz-Target", TARGET_PREFIX + operation.encode()), (b"Content-Type", JSON_TYPE)]


class Raw:
    """A socket to an installation."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_S_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def finish_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def call(self, operation: str, body: Any = None, **signing: Any) -> Answer:
        """An ordinary signed call on this connection."""
        self.send(self.request(operation, body, **signing))
        return self.read_answer()

    def request(self, operation: str, body: Any = None, extra: Headers = (), **signing: Any) -> bytes:
        """The bytes of a signed call; `body` as JSON, or as it is when it is bytes."""
        encoded = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        headers = [*call_headers(operation), *extra]
        method = signing.get("method", "POST").encode()
        return raw_request(
            signed_headers(self.host, encoded, headers, **signing), encoded, method, signing.get("target", b"/")
        )

    def _fill(self, within_s: float) -> bool:
        self._socket.settimeout(max(within_s, 0.001))
        chunk = self._socket.recv(1 << 16)
        self._received += chunk
        return bool(chunk)

    def read_answer(self, within_s: float = ANSWER_S_MAX) -> Answer:
        """The next answer.

        Raises:
            EOFError: the connection ended before it.
            TimeoutError: nothing came.
        """
        deadline = time.monotonic() + within_s
        while b"\r\n\r\n" not in self._received:
            if not self._fill(deadline - time.monotonic()):
                raise EOFError(self._received)
        head, _, rest = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        headers = dict(pairs)
        assert len(headers) == len(pairs), f"a header occurs twice: {pairs}"
        length = int(headers.get("content-length", "0"))
        while len(rest) < length:
            if not self._fill(deadline - time.monotonic()):
                raise EOFError(rest)
            rest = self._received.partition(b"\r\n\r\n")[2]
        self._received = rest[length:]
        return Answer(int(status), headers, rest[:length])

    def read_to_end(self, within_s: float = ANSWER_S_MAX) -> list[Answer]:
        """Every answer until the service closes; a reset counts as a close."""
        answers = []
        try:
            while True:
                answers.append(self.read_answer(within_s))
        except (EOFError, ConnectionResetError):
            return answers

    def is_silent(self, for_s: float = 0.2) -> bool:
        """Whether nothing comes, not even the end of the connection."""
        assert not self._received, self._received
        try:
            self._fill(for_s)
        except TimeoutError:
            return True
        return False

    def is_closed(self, within_s: float = ANSWER_S_MAX) -> bool:
        """Whether the service hangs up, having said nothing more."""
        try:
            return not self._fill(within_s) and not self._received
        except ConnectionResetError:
            return not self._received
        except TimeoutError:
            return False


class RawKms:
    """Signed calls one after the other on one kept connection: cheaper than boto3 and without its own validation."""

    def __init__(self, installation: Installation, access_key_id: str = "test", secret: str = "test") -> None:
        self._installation = installation
        self._access_key_id = access_key_id
        self._secret = secret
        self._connection: http.client.HTTPConnection | None = None

    def call(self, operation: str, body: Any = None, **signing: Any) -> Answer:
        encoded = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        credentials = {"access_key_id": self._access_key_id, "secret": self._secret}
        return self.send(encoded, call_headers(operation), **{**credentials, **signing})

    def send(self, body: bytes, headers: Headers, **signing: Any) -> Answer:
        host = f"127.0.0.1:{self._installation.port}"
        return self.send_as_is(signed_headers(host, body, headers, **signing), body)

    def send_as_is(self, headers: Headers, body: bytes, method: str = "POST", target: str = "/") -> Answer:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._installation.port, timeout=ANSWER_S_MAX)
        connection = self._connection
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name.decode("latin-1"), value)
        connection.endheaders(body)
        response = connection.getresponse()
        answer = Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
        if response.will_close:
            self.close()
        return answer

    def __del__(self) -> None:
        # Tests drop these by the dozen.
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def assert_refused(answer: Answer, code: str, message: str | None = None, status: int = 400) -> None:
    """The answer is this refusal, in these words (None: whatever the words; empty: AWS gives none)."""
    assert (answer.status, answer.code) == (status, code), answer
    if message is not None:
        assert answer.message == message, answer
        assert ("message" in answer.json) == bool(message)


def assert_allowed(answer: Answer) -> dict[str, Any]:
    """The members of a success; an empty dict where AWS answers with an empty body."""
    assert answer.status == 200, answer
    return answer.json if answer.body else {}


def key_arn(key_id: str, region: str = REGION, account: str = ACCOUNT, partition: str = "aws") -> str:
    return f"arn:{partition}:kms:{region}:{account}:key/{key_id}"


def alias_arn(name: str, region: str = REGION, account: str = ACCOUNT, partition: str = "aws") -> str:
    return f"arn:{partition}:kms:{region}:{account}:{name}"


# What chores write by themselves at any moment, and the log of changes that they leave.
CHORES_TABLES = ("marks", "leases", "key_usage", "access_key_usage", "changes", "sqlite_sequence")


def table_dump(installation: Installation) -> list[str]:
    """The whole content of the store as SQL, but for what no request writes."""
    path = installation.home / "service" / "store.db"
    of_chores = tuple(f'INSERT INTO "{table}"' for table in CHORES_TABLES)
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return [line for line in connection.iterdump() if not line.startswith(of_chores)]


def audit_records(installation: Installation) -> list[dict[str, Any]]:
    """Every event in the trail so far, in order."""
    directory: Path = installation.home / "service" / "audit"
    segments = sorted(directory.glob("audit-*.jsonl"))
    return [json.loads(line)["event"] for segment in segments for line in whole_lines(segment)[1:]]


def whole_lines(path: Path) -> list[bytes]:
    """Those of a file that somebody writes meanwhile: a read may see the beginning of a line."""
    return path.read_bytes().rpartition(b"\n")[0].splitlines()


@contextmanager
def nothing_breaks(installation: Installation) -> Iterator[None]:
    """Within: the service's process stays the same one, and still answers afterwards."""
    before = installation.pid_of("kms"), installation.pid_of("hsm")
    yield
    assert (installation.pid_of("kms"), installation.pid_of("hsm")) == before
    with Raw(installation.port) as raw:
        assert raw.call("GenerateRandom", {"NumberOfBytes": 8}).status == 200


def ask_admin(installation: Installation, command: str, **arguments: str) -> Any:
    """The answer of the admin socket: its result, or an AssertionError with its refusal."""
    answer = admin_line(installation, json.dumps({"command": command, "arguments": arguments}).encode())
    assert "error" not in answer, answer
    return answer["result"]


def ask_iam(installation: Installation, action: str, account: str = "", /, **form: str) -> Any:
    """An action of IAM as an operator, with parameters as the Query protocol names them."""
    return ask_admin(installation, "iam", account=account, action=action, form=json.dumps(form))


def admin_line(installation: Installation, line: bytes) -> Any:
    """Send one line to the admin socket; None when it hangs up without an answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_S_MAX)
        connection.connect(str(installation.home / "run" / "kms" / "admin.sock"))
        received = b""
        try:
            connection.sendall(line + b"\n")
            while chunk := connection.recv(1 << 16):
                received += chunk
        except (BrokenPipeError, ConnectionResetError):
            pass
    return json.loads(received) if received else None


@dataclass(frozen=True)
class User:
    """A user with an access key, made over the admin socket."""

    name: str
    access_key_id: str
    secret: str
    kms: RawKms

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:user/{self.name}"


def make_user(installation: Installation, name: str, policy: Any = None) -> User:
    ask_iam(installation, "CreateUser", UserName=name)
    if policy is not None:
        put_policy(installation, name, policy if isinstance(policy, str) else json.dumps(policy))
    made = ask_iam(installation, "CreateAccessKey", UserName=name)["AccessKey"]
    access_key_id, secret = made["AccessKeyId"], made["SecretAccessKey"]
    return User(name, access_key_id, secret, RawKms(installation, access_key_id, secret))


def put_policy(installation: Installation, user: str, text: str) -> None:
    """Give a user this inline policy in place of the one before."""
    ask_iam(installation, "PutUserPolicy", UserName=user, PolicyName="inline", PolicyDocument=text)


def delete_user(installation: Installation, user: User) -> None:
    """A user as `make_user` made it, without a policy."""
    ask_iam(installation, "DeleteAccessKey", UserName=user.name, AccessKeyId=user.access_key_id)
    ask_iam(installation, "DeleteUser", UserName=user.name)


def set_access_key(installation: Installation, user: User, status: str) -> None:
    """Switch a user's access key `Active` or `Inactive`."""
    key = {"UserName": user.name, "AccessKeyId": user.access_key_id}
    ask_iam(installation, "UpdateAccessKey", **key, Status=status)


def allow(*actions: str, resource: Any = "*", effect: str = "Allow", **more: Any) -> dict[str, Any]:
    """A statement."""
    return {"Effect": effect, "Action": list(actions), "Resource": resource, **more}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
