"""What must never succeed: operations that do not exist, callers who are nobody, names from inside, bombs, odd paths.

Missing authentication, JSON bombs, odd paths and internal names: each line of their tables, over real HTTP, for all 56
operations where it says so.
The codes of refused signatures are those of `test_sigv4_refusals.py`, where their sources stand.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.boundary import control, messages
from strongroom.kms.admin import commands
from strongroom.kms.operations.table import TABLE
from strongroom.kms.wire.shapes import OPERATIONS
from testkit.installation import ACCOUNT, Installation
from testkit.raw import (
    Headers,
    Raw,
    RawKms,
    allow,
    amz_date,
    assert_allowed,
    assert_refused,
    b64,
    call_headers,
    key_arn,
    nothing_breaks,
    policy,
    raw_request,
    signed_headers,
    table_dump,
)

# Of CPU. A few milliseconds as a rule; what is worse than linear takes seconds, and a machine may be slow.
BOMB_MS_MAX = 250
ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.fixture(scope="module")
def valid(raw: RawKms) -> dict[str, Any]:
    return valid_requests(raw)


def valid_requests(raw: RawKms) -> dict[str, Any]:
    """For every operation of the table a request that would succeed."""
    key_id = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    name = f"alias/valid-{key_id}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": name, "TargetKeyId": key_id}))
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))["CiphertextBlob"]
    granted = {"KeyId": key_id, "GranteePrincipal": ROOT, "Operations": ["DescribeKey"]}
    grants = [assert_allowed(raw.call("CreateGrant", granted))["GrantId"] for _ in range(2)]
    requests = {
        "CancelKeyDeletion": {"KeyId": key_id},
        "CreateAlias": {"AliasName": name + "-2", "TargetKeyId": key_id},
        "CreateGrant": granted,
        "CreateKey": {},
        "Decrypt": {"CiphertextBlob": blob},
        "DeleteAlias": {"AliasName": name},
        "DescribeKey": {"KeyId": key_id},
        "DisableKey": {"KeyId": key_id},
        "DisableKeyRotation": {"KeyId": key_id},
        "EnableKey": {"KeyId": key_id},
        "EnableKeyRotation": {"KeyId": key_id},
        "Encrypt": {"KeyId": key_id, "Plaintext": "eA=="},
        "GenerateDataKey": {"KeyId": key_id, "KeySpec": "AES_256"},
        "GenerateDataKeyWithoutPlaintext": {"KeyId": key_id, "KeySpec": "AES_256"},
        "GenerateRandom": {"NumberOfBytes": 8},
        "GetKeyLastUsage": {"KeyId": key_id},
        "GetKeyPolicy": {"KeyId": key_id},
        "GetKeyRotationStatus": {"KeyId": key_id},
        "ListAliases": {},
        "ListGrants": {"KeyId": key_id},
        "ListKeyPolicies": {"KeyId": key_id},
        "ListKeyRotations": {"KeyId": key_id},
        "ListKeys": {},
        "ListResourceTags": {"KeyId": key_id},
        "ListRetirableGrants": {"RetiringPrincipal": ROOT},
        "PutKeyPolicy": {"KeyId": key_id, "Policy": policy(allow("kms:*", Principal={"AWS": ROOT}))},
        "ReEncrypt": {"CiphertextBlob": blob, "DestinationKeyId": key_id},
        "RetireGrant": {"KeyId": key_id, "GrantId": grants[0]},
        "RevokeGrant": {"KeyId": key_id, "GrantId": grants[1]},
        "RotateKeyOnDemand": {"KeyId": key_id},
        "ScheduleKeyDeletion": {"KeyId": key_id},
        "TagResource": {"KeyId": key_id, "Tags": [{"TagKey": "a", "TagValue": "b"}]},
        "UntagResource": {"KeyId": key_id, "TagKeys": ["a"]},
        "UpdateAlias": {"AliasName": name, "TargetKeyId": key_id},
        "UpdateKeyDescription": {"KeyId": key_id, "Description": "other words"},
    }
    assert set(requests) == set(TABLE)
    return requests


# ── operations that do not exist ────────────────────────────────────────────────────────────────────────────────────────


def test_the_model_has_56_operations() -> None:
    assert len(OPERATIONS) == 56
    assert set(TABLE) <= set(OPERATIONS)


@pytest.mark.parametrize("operation", sorted(set(OPERATIONS) - set(TABLE)))
def test_an_operation_that_is_not_there_yet_says_so(raw: RawKms, operation: str) -> None:
    for body in ({}, {"KeyId": "x"}, b"no JSON at all"):
        assert_refused(raw.call(operation, body), "UnsupportedOperationException", f"{operation} is not supported yet.")


UNKNOWN_TARGETS = [
    b"TrentService.Nothing",
    b"TrentService.",
    b"TrentService",
    b"",
    b"Encrypt",
    b"trentservice.Encrypt",
    b"TrentService.encrypt",
    b"TrentService.ENCRYPT",
    b"TrentService.Encrypt ListKeys",
    b"TrentService.Encrypt/../ListKeys",
    b"TrentService.TrentService.Encrypt",
    b"TrentService.__init__",
    b"TrentService.\xc3\xa9",
    b"TrentService.Encrypt\xc2\xa0",
    b"DynamoDB_20120810.ListTables",
    b"AWSSecurityTokenServiceV20110615.GetCallerIdentity",
    b"TrentService.ReEncryptFrom",
    b"TrentService.GetCallerIdentity",
]


@pytest.mark.parametrize("target", UNKNOWN_TARGETS)
def test_an_unknown_target_is_an_unknown_operation(raw: RawKms, target: bytes) -> None:
    headers = [(b"X-Amz-Target", target), (b"Content-Type", b"application/x-amz-json-1.1")]
    assert_refused(raw.send(b"{}", headers), "UnknownOperationException", "")


def internal_names() -> list[str]:
    """Class 24: every command of the wall, of the supervisor's control and of the admin socket, by all its names."""
    names: set[str] = set(commands._TABLE)
    for module in (messages, control):
        for name in vars(module):
            if isinstance(vars(module)[name], type):
                names.add(name)
    names |= {"strongroom:UnsealAccessKey", "UnsealAccessKey", "SealAccessKey", "FirstAccessKey", "SignAuditHead"}
    return sorted(names)


def test_no_internal_name_is_an_operation(raw: RawKms) -> None:
    names = internal_names()
    assert len(names) > 40
    assert {"GenerateHbk", "UnsealColumn", "GetHsmStatus", "create-account"} <= set(names)
    for name in names:
        if name in OPERATIONS:
            continue
        for spelling in (name, name.lower(), "".join(part.title() for part in name.split("-")), f"strongroom:{name}"):
            if spelling in OPERATIONS:
                continue
            headers = [(b"X-Amz-Target", b"TrentService." + spelling.encode())]
            assert_refused(raw.send(b"{}", headers), "UnknownOperationException", "")


# ── class 1: callers who are nobody ─────────────────────────────────────────────────────────────────────────────────────

Bend = Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]


def without_authorization(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [header for header in headers if header[0] != b"Authorization"]


def wrong_signature(headers: Headers) -> list[tuple[bytes, bytes]]:
    return changed(headers, b"Authorization", lambda value: value[:-1] + (b"0" if value[-1:] != b"0" else b"1"))


def changed(headers: Headers, name: bytes, change: Callable[[bytes], bytes]) -> list[tuple[bytes, bytes]]:
    return [(found, change(value) if found == name else value) for found, value in headers]


def authorization(change: Callable[[bytes], bytes]) -> Bend:
    return lambda headers: changed(headers, b"Authorization", change)


def another_date(headers: Headers) -> list[tuple[bytes, bytes]]:
    return changed(headers, b"X-Amz-Date", lambda value: value[:-2] + b"%dZ" % (1 - int(value[-2:-1]) % 2))


def an_unsigned_session_token(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [*headers, (b"X-Amz-Security-Token", b"FwoGZXIvYXdzE")]


def two_authorizations(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [*headers, *(header for header in headers if header[0] == b"Authorization")]


def another_authorization_first(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer test"), *headers]


NOBODIES: dict[str, tuple[Bend, set[str]]] = {
    "no Authorization": (without_authorization, {"MissingAuthenticationTokenException"}),
    "wrong signature": (wrong_signature, {"InvalidSignatureException"}),
    "two Authorization headers": (two_authorizations, {"InvalidSignatureException"}),
    "another Authorization header first": (another_authorization_first, {"InvalidSignatureException"}),
    "no signature": (
        authorization(lambda value: value.rpartition(b", Signature=")[0]),
        {"IncompleteSignatureException"},
    ),
    "an empty signature": (
        authorization(lambda value: value.rpartition(b"Signature=")[0] + b"Signature="),
        {"IncompleteSignatureException", "InvalidSignatureException"},
    ),
    "nothing is signed": (
        authorization(lambda value: re.sub(rb"SignedHeaders=[^,]*", b"SignedHeaders=", value)),
        {"IncompleteSignatureException", "InvalidSignatureException"},
    ),
    "nobody's access key": (
        authorization(lambda value: value.replace(b"Credential=test/", b"Credential=/")),
        {"IncompleteSignatureException", "UnrecognizedClientException", "InvalidSignatureException"},
    ),
    "another scheme": (
        authorization(lambda value: b"Basic dGVzdDp0ZXN0" if value else value),
        {"MissingAuthenticationTokenException", "IncompleteSignatureException"},
    ),
    "the scheme in lower case": (
        authorization(lambda value: value.replace(b"AWS4-HMAC-SHA256", b"aws4-hmac-sha256")),
        {"MissingAuthenticationTokenException", "IncompleteSignatureException"},
    ),
    "another date than was signed": (another_date, {"InvalidSignatureException"}),
    "a session token that was not signed": (an_unsigned_session_token, {"InvalidSignatureException"}),
}
PAYLOADS = (b"UNSIGNED-PAYLOAD", b"STREAMING-UNSIGNED-PAYLOAD-TRAILER", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD")


def query_credential(host: str) -> str:
    del host
    return (
        f"/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test%2F{amz_date()[:8]}%2Fus-east-1%2Fkms%2Faws4_request"
        f"&X-Amz-Date={amz_date()}&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature={'0' * 64}"
    )


def test_no_operation_answers_a_caller_who_is_nobody_and_nothing_changes(
    installation: Installation, raw: RawKms, valid: dict[str, Any]
) -> None:
    host = f"127.0.0.1:{installation.port}"
    before = table_dump(installation)
    refused = 0
    with nothing_breaks(installation):
        for operation in OPERATIONS:
            body = json.dumps(valid.get(operation, {"KeyId": "alias/x"})).encode()
            plain = call_headers(operation)
            good = signed_headers(host, body, plain)
            for bend, codes in NOBODIES.values():
                answer = raw.send_as_is(bend(good), body)
                assert (answer.status, answer.code in codes) == (400, True), answer
                refused += 1
            for declared in PAYLOADS:
                # Signed in full, over the body as it is: only the declaration is wrong.
                answer = raw.send(body, [*plain, (b"X-Amz-Content-Sha256", declared)])
                assert_refused(answer, "InvalidSignatureException")
                refused += 1
            unsigned = [header for header in good if header[0] not in {b"Authorization", b"X-Amz-Date"}]
            answer = raw.send_as_is(unsigned, body, target=query_credential(host))
            assert_refused(answer, "MissingAuthenticationTokenException")
            answer = raw.send_as_is(good, body, target=query_credential(host))
            assert_refused(answer, "InvalidSignatureException")
            no_signature = query_credential(host).partition("&X-Amz-Signature=")[0]
            answer = raw.send_as_is(unsigned, body, target=no_signature)
            assert_refused(answer, "MissingAuthenticationTokenException")
            for wrong in (
                {"secret": "Test"},
                {"access_key_id": "TEST"},
                {"service": "sts"},
                {"region": "eu-nowhere-1"},
            ):
                assert raw.send(body, plain, **wrong).code in {
                    "InvalidSignatureException",
                    "UnrecognizedClientException",
                }
                refused += 1
            refused += 3
    assert refused == 56 * 22
    assert table_dump(installation) == before


def test_a_presigned_url_of_botocore_is_refused(installation: Installation, kms: Any) -> None:
    url = kms.generate_presigned_url("list_keys", HttpMethod="GET")
    target = url.removeprefix(f"http://127.0.0.1:{installation.port}").encode()
    with Raw(installation.port) as socket_:
        socket_.send(raw_request([(b"Host", socket_.host.encode())], b"", b"GET", target))
        # Without a target it speaks to STS, in XML.
        answer = socket_.read_answer()
    assert (answer.status, b"<Code>MissingAuthenticationToken</Code>" in answer.body) == (403, True), answer


def test_the_requests_of_this_table_do_succeed_when_they_are_signed(raw: RawKms, valid: dict[str, Any]) -> None:
    """Or the test above would say nothing."""
    for operation in ("DescribeKey", "Encrypt", "Decrypt", "GenerateDataKey", "ReEncrypt", "ListKeys", "UpdateAlias"):
        assert_allowed(raw.call(operation, valid[operation]))


def test_the_table_dump_sees_a_change(installation: Installation, raw: RawKms) -> None:
    before = table_dump(installation)
    assert_allowed(raw.call("CreateKey"))
    assert table_dump(installation) != before


# ── class 9: bombs ──────────────────────────────────────────────────────────────────────────────────────────────────────

BOMBS = {
    "lists 100,000 deep": b"[" * 100_000,
    "lists 100,000 deep and closed": b'{"KeyId":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "maps 50,000 deep": b'{"KeyId":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "an unknown member 100,000 deep": b'{"Odd":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a number of 5,000 digits": b'{"NumberOfBytes":' + b"9" * 5000 + b"}",
    "an unknown number of 5,000 digits": b'{"Odd":' + b"9" * 5000 + b"}",
    "a number of 400,000 digits": b'{"NumberOfBytes":' + b"9" * 400_000 + b"}",
    "1e999": b'{"NumberOfBytes":1e999}',
    "1e999, unknown": b'{"Odd":1e999}',
    "NaN": b'{"NumberOfBytes":NaN}',
    "Infinity, unknown": b'{"Odd":-Infinity}',
    "half a pair": b'{"KeyId":"\\ud800"}',
    "half a pair, unknown": b'{"Odd":"\\udfff"}',
    "no UTF-8": b'{"KeyId":"\xff\xfe"}',
    "UTF-16": '{"KeyId":"x"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"KeyId":"x"}',
    "a member twice": b'{"KeyId":"a","KeyId":"b"}',
    "a member twice, escaped": b'{"KeyId":"a","Key\\u0049d":"b"}',
    "a member twice, deep": b'{"Odd":[{"x":{"a":1,"a":2}}]}',
    "40,000 members": b"{" + b",".join(b'"m%d":%d' % (i, i) for i in range(36_000)) + b"}",
    "60,000 empty tags": b'{"Tags":[' + b",".join([b"{}"] * 60_000) + b"]}",
    "a list": b"[]",
    "a string": b'"x"',
    "null": b"null",
    "two values": b"{}{}",
    "nothing but blanks": b" " * 1000,
    "single quotes": b"{'KeyId':'x'}",
    "half a body": b'{"KeyId":"x"',
}


def worker_cpu_s(pid: int) -> float:
    """How long the service's main thread has computed."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("operation", ["Encrypt", "GenerateRandom", "CreateKey"])
def test_a_bomb_is_refused_at_once(installation: Installation, raw: RawKms, operation: str, bomb: str) -> None:
    body = BOMBS[bomb]
    assert len(body) < 512 * 1024
    pid = installation.pid_of("kms")
    elapsed = []
    for _ in range(3):
        started = worker_cpu_s(pid)
        answer = raw.call(operation, body)
        elapsed.append(worker_cpu_s(pid) - started)
        assert answer.status == 400 or (operation, bomb) == ("CreateKey", "40,000 members"), answer
        assert answer.code in {"SerializationException", "ValidationException", ""}
        assert len(answer.body) < 32_768
    # What the service computed, for other tests run on these two cores too.
    assert min(elapsed) * 1000 < BOMB_MS_MAX
    assert installation.pid_of("kms") == pid


def test_a_policy_of_stars_is_decided_at_once(raw: RawKms) -> None:
    """`*?*?…` against a key's ARN would keep a backtracking matcher busy for years."""
    root = {"AWS": "arn:aws:iam::000000000000:root"}
    statements = [
        {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "*k*m*s*:*" + "?*" * 15 + "!", "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*?" * 60 + "!"},
        {"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*0" * 40 + "*!"},
    ]
    text = json.dumps({"Version": "2012-10-17", "Statement": statements})
    started = time.perf_counter()
    key = assert_allowed(raw.call("CreateKey", {"Policy": text}))["KeyMetadata"]
    assert_allowed(raw.call("Encrypt", {"KeyId": key["KeyId"], "Plaintext": "eA=="}))
    assert time.perf_counter() - started < 30.0


# ── class 16: odd paths ─────────────────────────────────────────────────────────────────────────────────────────────────

ODD_PATHS = [
    "//",
    "/./",
    "/../",
    "/a/..",
    "/%2e",
    "/%2e%2e/",
    "/%00",
    "/%2F",
    "/etc/passwd",
    "/..%2f..%2fetc%2fpasswd",
    "/livez/",
    "/livez/../",
    "/readyz%20",
    "/admin",
    "/metrics",
    "/?Action=Encrypt",
    "/?",
    "/#x",
    "/;x=y",
    "/TrentService.ListKeys",
]


@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_signed_call_on_any_other_path_is_an_unknown_operation(raw: RawKms, path: str) -> None:
    answer = raw.send_as_is(
        signed_headers(f"127.0.0.1:{raw._installation.port}", b"{}", call_headers("ListKeys"), target=path.encode()),
        b"{}",
        target=path,
    )
    # Two slashes fold to one in the canonical path, but never in what is looked at: the target as received.
    assert answer.code in {"UnknownOperationException", "InvalidSignatureException"}, answer


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_the_probes_say_yes_and_nothing_else(installation: Installation, raw: RawKms, path: str) -> None:
    answer = raw.send_as_is([(b"Host", b"x")], b"", "GET", path)
    assert (answer.status, answer.body) == (200, b"yes\n")
    for method in ("POST", "DELETE"):
        refused = raw.send_as_is([(b"Host", b"x"), (b"Content-Length", b"0")], b"", method, path)
        assert refused.status in {400, 403}
    answer = raw.send_as_is([(b"Host", b"x")], b"", "GET", path + "?x=/y")
    assert (answer.status, answer.body) == (200, b"yes\n"), "a live service never says no"


@pytest.mark.parametrize("path", ["/livezz", "/livez/us-east-1", "/readyzz", "/readyz%20"])
def test_what_only_begins_like_a_probe_does_not_exist(raw: RawKms, path: str) -> None:
    assert raw.send_as_is([(b"Host", b"x")], b"", "GET", path).status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_signed_call_by_another_method_is_an_unknown_operation(raw: RawKms, method: str) -> None:
    host = f"127.0.0.1:{raw._installation.port}"
    headers = signed_headers(host, b"{}", call_headers("ListKeys"), method=method)
    assert_refused(raw.send_as_is(headers, b"{}", method), "UnknownOperationException", "")


# ── references that point out of the account ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "reference",
    [
        "../../etc/passwd",
        "key/../1234abcd-12ab-34cd-56ef-1234567890ab",
        "%2e%2e%2f",
        "1234abcd-12ab-34cd-56ef-1234567890ab\0",
        key_arn("1234abcd-12ab-34cd-56ef-1234567890ab", partition="aws-us-gov"),
        key_arn("1234abcd-12ab-34cd-56ef-1234567890ab", region="eu-central-1"),
        key_arn("1234abcd-12ab-34cd-56ef-1234567890ab", region="eu-central-1", account="999999999999"),
        "arn:aws:kms:*:*:key/*",
        "*",
        "' OR '1'='1",
    ],
)
def test_an_odd_reference_is_a_documented_refusal_of_every_operation(raw: RawKms, reference: str) -> None:
    requests = {
        "Encrypt": {"KeyId": reference, "Plaintext": b64(b"x")},
        "GenerateDataKey": {"KeyId": reference, "KeySpec": "AES_256"},
        "GenerateDataKeyWithoutPlaintext": {"KeyId": reference, "KeySpec": "AES_256"},
        "Decrypt": {"KeyId": reference, "CiphertextBlob": b64(b"x" * 100)},
        "ReEncrypt": {"DestinationKeyId": reference, "SourceKeyId": reference, "CiphertextBlob": b64(b"x" * 100)},
        "DescribeKey": {"KeyId": reference},
        "EnableKey": {"KeyId": reference},
        "DisableKey": {"KeyId": reference},
        "ListAliases": {"KeyId": reference},
        "CreateAlias": {"AliasName": "alias/odd", "TargetKeyId": reference},
        "GetKeyPolicy": {"KeyId": reference},
        "ListGrants": {"KeyId": reference},
        "CreateGrant": {"KeyId": reference, "GranteePrincipal": ROOT, "Operations": ["DescribeKey"]},
        "RetireGrant": {"KeyId": reference, "GrantId": "0" * 64},
        "RevokeGrant": {"KeyId": reference, "GrantId": "0" * 64},
        "TagResource": {"KeyId": reference, "Tags": []},
    }
    for operation, request in requests.items():
        assert_refused(raw.call(operation, request), "NotFoundException")
