"""The signing suite of aws-c-auth, header and query half, through our canonicalisation and our verifier.

Looked for in STRONGROOM_VECTORS (a folder), else in `../shared/vectors` beside the repository.
"""

import json
import os
import tarfile
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from strongroom.protocol.canonical import (
    Layout,
    SigningKey,
    canonical_path,
    canonical_query,
    canonical_request_of_query_form,
    join_headers,
    parse_query,
    split_target,
)
from strongroom.protocol.requests import HttpRequest, http_request
from strongroom.protocol.signing import sign
from strongroom.protocol.sigv4 import Refused, Verifier

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("STRONGROOM_VECTORS", REPOSITORY.parent / "shared" / "vectors"))
ARCHIVE = FOLDER / "vectors-sigv4.tar.xz"

if not ARCHIVE.is_file():
    pytest.skip(f"no signing suite at {ARCHIVE}; set STRONGROOM_VECTORS to its folder", allow_module_level=True)

# The one case whose session token is added after signing. That is an unsigned x-amz-* header, which we refuse.
TOKEN_AFTER_SIGNING = "post-sts-header-after"


@dataclass(frozen=True)
class Case:
    name: str
    files: dict[str, bytes]
    context: dict[str, Any]

    def text(self, file: str) -> bytes:
        return self.files[file + ".txt"]

    @property
    def now_s(self) -> float:
        return datetime.fromisoformat(self.context["timestamp"]).timestamp()

    @property
    def amz_date(self) -> bytes:
        return self.context["timestamp"].replace("-", "").replace(":", "").encode()

    @property
    def scope(self) -> bytes:
        return f"{self.amz_date[:8].decode()}/{self.context['region']}/{self.context['service']}/aws4_request".encode()

    @property
    def key(self) -> SigningKey:
        context = self.context
        secret = context["credentials"]["secret_access_key"]
        return SigningKey(secret, self.amz_date[:8], context["region"].encode(), context["service"].encode())


def load_suite() -> list[Case]:
    files: dict[str, dict[str, bytes]] = {}
    with tarfile.open(ARCHIVE, "r:xz") as archive:
        for member in archive:
            if member.isfile():
                _, _, case, file = member.name.split("/")
                extracted = archive.extractfile(member)
                assert extracted is not None
                files.setdefault(case, {})[file] = extracted.read()
    return [Case(name, found, json.loads(found["context.json"])) for name, found in sorted(files.items())]


def parse_request(text: bytes) -> HttpRequest:
    """The suite's text of a request; a line that begins with a blank continues the header above it."""
    head, _, body = text.partition(b"\n\n")
    request_line, *lines = head.split(b"\n")
    method, rest = request_line.split(b" ", 1)
    headers: list[tuple[bytes, bytes]] = []
    for line in filter(None, lines):
        if line[:1] == b" ":
            headers[-1] = (headers[-1][0], headers[-1][1] + b"\n" + line)
        else:
            name, _, value = line.partition(b":")
            headers.append((name, value))
    return http_request(method.decode(), rest.removesuffix(b" HTTP/1.1"), headers, body)


CASES = load_suite()
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_the_suite_has_38_cases_in_two_forms():
    assert len(CASES) == 38
    assert all("header-signature.txt" in case.files and "query-signature.txt" in case.files for case in CASES)


@every_case
def test_the_header_form_has_the_suites_canonical_request_string_to_sign_and_signature(case: Case):
    request = parse_request(case.text("header-signed-request"))
    names = case.text("header-canonical-request").rsplit(b"\n", 2)[1]
    layout = Layout(names, case.scope)
    joined = join_headers(request.headers)
    path, query = split_target(request.target)
    canonical_request = layout.canonical_request(
        request.method.encode(),
        canonical_path(path, normalize=case.context["normalize"]) + b"\n" + canonical_query(parse_query(query)),
        [joined[name] for name in layout.names],
        sha256(request.body).hexdigest().encode(),
    )
    assert canonical_request == case.text("header-canonical-request")
    string_to_sign = layout.string_to_sign(case.amz_date, canonical_request)
    assert string_to_sign == case.text("header-string-to-sign")
    assert case.key.sign(string_to_sign) == case.text("header-signature")


@every_case
def test_the_query_form_has_the_suites_canonical_request_string_to_sign_and_signature(case: Case):
    request = parse_request(case.text("query-signed-request"))
    omitted = {b"X-Amz-Security-Token"} if case.context.get("omit_session_token") else set()
    canonical_request = canonical_request_of_query_form(
        request.method.encode(),
        request.target,
        request.headers,
        sha256(request.body).hexdigest().encode(),
        normalize=case.context["normalize"],
        omitted=frozenset(omitted),
    )
    assert canonical_request == case.text("query-canonical-request")
    string_to_sign = Layout(b"host", case.scope).string_to_sign(case.amz_date, canonical_request)
    assert string_to_sign == case.text("query-string-to-sign")
    assert case.key.sign(string_to_sign) == case.text("query-signature")


def verify(case: Case, request: HttpRequest) -> None:
    credentials = case.context["credentials"]
    secrets = {credentials["access_key_id"]: credentials["secret_access_key"]}
    verifier = Verifier(normalize_path=case.context["normalize"])
    # Twice: in full, and from the cache where that serves.
    for _ in range(2):
        verified = verifier.verify(request, case.now_s, secrets.get, frozenset({case.context["service"]}))
        assert verified.access_key_id == credentials["access_key_id"]
        assert verified.region == case.context["region"]
        assert verified.service == case.context["service"]


@every_case
def test_the_suites_signed_request_is_accepted_on_its_date(case: Case):
    request = parse_request(case.text("header-signed-request"))
    if case.name == TOKEN_AFTER_SIGNING:
        with pytest.raises(Refused, match="'x-amz-security-token' must be a 'SignedHeader'"):
            verify(case, request)
        kept = [(name, value) for name, value in request.headers if name != b"X-Amz-Security-Token"]
        request = http_request(request.method, request.target, kept, request.body)
    verify(case, request)


@every_case
def test_the_suites_presigned_request_is_refused_by_the_server(case: Case):
    with pytest.raises(Refused) as refusal:
        verify(case, parse_request(case.text("query-signed-request")))
    assert refusal.value.code == "MissingAuthenticationTokenException"


@every_case
def test_sign_makes_the_suites_signature(case: Case):
    credentials = case.context["credentials"]
    request = parse_request(case.text("request"))
    host = next(value for name, value in request.headers if name == b"Host").decode()
    headers = [(name, value) for name, value in request.headers if name != b"Host"]
    if case.context["sign_body"]:
        headers.append((b"x-amz-content-sha256", sha256(request.body).hexdigest().encode()))
    added = sign(
        request.method,
        host,
        request.target,
        headers,
        request.body,
        access_key_id=credentials["access_key_id"],
        secret=credentials["secret_access_key"],
        region=case.context["region"],
        service=case.context["service"],
        amz_date=case.amz_date.decode(),
        session_token=None if case.name == TOKEN_AFTER_SIGNING else credentials.get("token"),
        normalize_path=case.context["normalize"],
    )
    assert dict(added)[b"Authorization"].endswith(b"Signature=" + case.text("header-signature"))
