"""What a client's bytes go through before anybody has decided anything: signature, JSON, forms, typed requests."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from fuzz.bodies import _INSIDE
from hostile.case import Case, require
from protocol.signed_requests import (
    ACCESS_KEY_ID,
    AMZ_DATE,
    HOST,
    KMS_HEADERS,
    NOW_S,
    SECRET,
    SECRETS,
    SERVICES,
    signed_request,
)
from strongroom.kms.wire import query_codec, validation
from strongroom.kms.wire.model import structure_rule
from strongroom.kms.wire.shapes import OPERATIONS
from strongroom.kms.wire.validation import RequestRefused
from strongroom.protocol import canonical, query, strict_json
from strongroom.protocol.requests import HttpRequest, http_request
from strongroom.protocol.signing import sign
from strongroom.protocol.sigv4 import Refused, Verified, Verifier

# The longest refusal that honest mistakes get is far below; what a caller sends must not come back many times over.
_MESSAGE_CHARS_MAX: Final = 1 << 20


# ── who signed ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text_of(request: HttpRequest) -> bytes:
    """A request as lines: method and target, headers, an empty line, the body."""
    lines = [request.method.encode() + b" " + request.target, *(b"%b:%b" % header for header in request.headers)]
    return b"\n".join([*lines, b"", request.body])


def _request_of(text: bytes) -> HttpRequest:
    head, _, body = text.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    headers = [(name, value) for name, _, value in (line.partition(b":") for line in lines)]
    # As the edge gives them: a method is a word, and no name is empty.
    return http_request(method.decode("ascii", "replace"), target, [pair for pair in headers if pair[0]], body)


def meaning_of(request: HttpRequest) -> tuple[object, ...]:
    """All of a request that its signature must cover."""
    joined = canonical.join_headers(request.headers)
    signed = {name: value for name, value in joined.items() if name == b"host" or name.startswith(b"x-amz-")}
    path, parameters = canonical.split_target(request.target)
    places = (
        canonical.canonical_path(path, normalize=True),
        canonical.canonical_query(canonical.parse_query(parameters)),
    )
    return request.method, places, signed, request.body


def signatures() -> Case:
    """Nobody without the secret says anything that its holder did not sign, and what is remembered changes no answer."""
    verify = Verifier().verify
    real = [
        signed_request(),
        signed_request(
            headers=[*KMS_HEADERS, (b"amz-sdk-request", b"attempt=1; max=3")], session_token="FQoGZXIvYXdzEJr"
        ),
        signed_request(method="GET", target=b"/a/b%20c?first=1&second=%E1%88%B4", body=b""),
        signed_request(service="sts", headers=[(b"Content-Type", b"text/plain")], body=b"Action=GetCallerIdentity"),
    ]
    meanings = [meaning_of(request) for request in real]
    secrets = SECRETS.get

    def outcome(verifying: Callable[..., Verified], request: HttpRequest) -> object:
        try:
            return verifying(request, NOW_S, secrets, SERVICES | {"sts"})
        except Refused as refused:
            require(len(refused.message) < 4096, refused.message)
            return refused.code, refused.message

    def check(data: bytes) -> None:
        request = _request_of(data)
        said = outcome(verify, request)
        # A verifier that knows nobody yet.
        require(outcome(Verifier().verify, request) == said, said)
        if isinstance(said, Verified):
            require(meaning_of(request) in meanings, "something else was signed")
            require(said.access_key_id == ACCESS_KEY_ID, said)

    return Case([_text_of(request) for request in real], check)


def signing() -> Case:
    """What our signer signs, our verifier accepts, whatever the headers and the target; canonical forms are stable."""

    def check(data: bytes) -> None:
        request = _request_of(data)
        path, parameters = canonical.split_target(request.target)
        folded = canonical.canonical_path(path, normalize=True)
        require(re.fullmatch(rb"/[A-Za-z0-9._~%/-]*", folded), folded)
        once = canonical.canonical_query(canonical.parse_query(parameters))
        require(canonical.canonical_query(canonical.parse_query(once)) == once, once)
        require(re.fullmatch(rb"[A-Za-z0-9._~%=&-]*", once), once)
        headers = [(name, value) for name, value in request.headers if _is_name(name)]
        joined = canonical.join_headers(headers)
        require(not any(b"\n" in value for value in joined.values()), joined)
        _require_accepted(request, headers, path)

    def _require_accepted(request: HttpRequest, headers: list[tuple[bytes, bytes]], path: bytes) -> None:
        if not request.method.isascii() or not path.startswith(b"/"):
            return
        settings: dict[str, Any] = {"access_key_id": ACCESS_KEY_ID, "secret": SECRET, "region": "us-east-1"}
        settings |= {"service": "kms", "amz_date": AMZ_DATE}
        added = sign(request.method, HOST, request.target, headers, request.body, **settings)
        whole = [(b"Host", HOST.encode()), *headers, *added]
        signed = http_request(request.method, request.target, whole, request.body)
        try:
            Verifier().verify(signed, NOW_S, SECRETS.get, SERVICES)
        except Refused as refused:
            # What is refused however well it is signed: what two readers could read in two ways.
            twice = "more than one" in refused.message or "more than once" in refused.message
            told = "query-string param" in refused.message or "x-amz-content-sha256" in refused.message
            require(twice or told, refused)

    texts = [
        b"POST /\nX-Amz-Target:TrentService.Encrypt\nContent-Type: a  b\n\n{}",
        b"GET /a/../b//c?x=1&y=%20&x\nA:b\n\n",
    ]
    return Case([*texts, _text_of(signed_request(unsigned=(), target=b"/%7e?a=%2F&b=c"))], check)


def _is_name(name: bytes) -> bool:
    """Whether it is a token, as HTTP's names are; what the signer adds itself is left out."""
    added = {b"host", b"x-amz-date", b"authorization", b"x-amz-security-token"}
    return re.fullmatch(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) is not None and name.lower() not in added


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def json_texts() -> Case:
    """What is taken means one thing: no name twice, nothing that cannot be written back, and `json` reads the same."""

    def check(data: bytes) -> None:
        try:
            value = strict_json.parse_strictly(data)
        except strict_json.StrictJsonError:
            return
        require(json.loads(data.decode(), object_pairs_hook=_once) == value, value)
        written = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        require(strict_json.parse_strictly(written) == value, written)

    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Resource": "*"}]}
    real = [
        {"KeyId": "alias/a", "Plaintext": "eA=="},
        policy,
        [1, -2.5, 1e9, True, None, "\u00e9\U0001f511"],
        {"": {"a": {}}},
    ]
    odd = [inside[:64] for inside in _INSIDE if len(inside) < 200]
    return Case([*(json.dumps(value).encode() for value in real), *(b"{" + inside + b"}" for inside in odd)], check)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for number, (name, _) in enumerate(pairs):
        require(name not in [other for other, _ in pairs[:number]], f"{name!r} occurs twice")
    return dict(pairs)


# ── typed requests ──────────────────────────────────────────────────────────────────────────────────────────────────────

_NAMES: Final = sorted(OPERATIONS)
_CONTEXT: Final = {"EncryptionContext": {"purpose": "fuzzing"}, "GrantTokens": ["x"]}
_REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "Encrypt": {"KeyId": "alias/a", "Plaintext": "c2VjcmV0IHNlY3JldCBzZWNyZXQ=", **_CONTEXT},
    "Decrypt": {"CiphertextBlob": "U1JDQgE=", "KeyId": "alias/a", **_CONTEXT},
    "GenerateDataKey": {"KeyId": "1234abcd-12ab-34cd-56ef-1234567890ab", "KeySpec": "AES_256"},
    "CreateKey": {"Tags": [{"TagKey": "team", "TagValue": "a"}], "Description": "d", "MultiRegion": False},
    "CreateAlias": {"AliasName": "alias/x", "TargetKeyId": "1234abcd-12ab-34cd-56ef-1234567890ab"},
    "CreateGrant": {
        "KeyId": "k",
        "GranteePrincipal": "arn:aws:iam::000000000000:user/u",
        "Operations": ["Decrypt"],
        "Constraints": {"EncryptionContextSubset": {"a": "b"}},
    },
    "ScheduleKeyDeletion": {"KeyId": "k", "PendingWindowInDays": 7},
    "ListKeys": {"Limit": 100, "Marker": "m"},
    "ImportKeyMaterial": {"KeyId": "k", "ImportToken": "eA==", "EncryptedKeyMaterial": "eA==", "ValidTo": 1.5},
    "RetireGrant": {"GrantToken": "x"},
    "PutKeyPolicy": {"KeyId": "k", "PolicyName": "default", "Policy": "{}"},
}


def typed_requests() -> Case:
    """The fast way and the slow way agree, and no secret is repeated; the first byte chooses the operation."""

    def check(data: bytes) -> None:
        if not data:
            return
        name, body = _NAMES[data[0] % len(_NAMES)], data[1:]
        slow = validation.explain(name, body)
        try:
            request = validation.decode_request(name, body)
        except RequestRefused as refused:
            require(slow is not None and (slow.code, slow.message) == (refused.code, refused.message), (slow, refused))
            require(len(refused.message) <= _MESSAGE_CHARS_MAX, len(refused.message))
            require(not _repeated(body, refused.message), refused.message)
            return
        require(slow is None, slow)
        again = validation.decode_request(name, validation.encode_response(request))
        require(again == request, request)

    seeds = [bytes((_NAMES.index(name),)) + json.dumps(body).encode() for name, body in _REQUESTS.items()]
    return Case(seeds, check)


def _repeated(body: bytes, message: str) -> bool:
    """Whether a message has in it what only a blob or a sensitive member said."""
    try:
        members = json.loads(body)
    except ValueError:
        return False
    secrets = (
        [members.get(name) for name in ("Plaintext", "CiphertextBlob", "ImportToken")]
        if isinstance(members, dict)
        else []
    )
    return any(
        isinstance(secret, str) and len(secret) >= 12 and body.count(secret.encode()) == 1 and secret in message
        for secret in secrets
    )


# ── the Query protocol ──────────────────────────────────────────────────────────────────────────────────────────────────


def forms() -> Case:
    """A form reads the same after it was written again; an answer in XML says what it was given, whatever that is."""

    def check(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        expected = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
        answer = ET.fromstring(query.format_error("Code", text, "id"))  # noqa: S314 -- our own answer.
        told = answer.findtext("{*}Error/{*}Message")
        require(told == expected, told)
        try:
            form = query.parse_form(data)
        except query.MalformedForm:
            return
        require(len({name.casefold() for name in form}) == len(form), form)
        require(
            re.search(rb"%(?:[^0-9a-fA-F]|.[^0-9a-fA-F]|.?\Z)", data, re.DOTALL) is None, "a broken escape is taken"
        )
        require(query.parse_form(urlencode(form).encode()) == form, form)

    real = [{"Action": "AssumeRole", "Version": "2011-06-15"}, {"Tags.member.1.Key": "a&=%+ ", "\u00e9": "\U0001f511"}]
    return Case(
        [*(urlencode(form).encode() for form in real), b"a=%zz", b"a&b=&C=1", b"A=1&a=2", b"<a>&#13;]]>"], check
    )


_ACTIONS: Final = sorted(query_codec.QUERY_OPERATIONS)
_FORMS: Final = {
    "AssumeRole": (
        "RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fr&RoleSessionName=session&DurationSeconds=900"
        "&Tags.member.1.Key=k&Tags.member.1.Value=v&PolicyArns.member.1.arn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2Fp"
        "&TransitiveTagKeys.member.1=k"
    ),
    "CreateRole": "RoleName=r&AssumeRolePolicyDocument=%7B%7D&Tags.member.1.Key=k&Tags.member.1.Value=v",
    "CreateUser": "UserName=u&Path=%2F&Tags.member.2.Key=k&Tags.member.2.Value=v",
    # A list of which almost everything is missing.
    "TagUser": "UserName=u&Tags.member.4000000.Key=k&Tags.member.4000000.Value=v",
    "ListUsers": "MaxItems=10&Marker=m&PathPrefix=%2F",
    "CreatePolicy": "PolicyName=p&PolicyDocument=%7B%7D",
    "UpdateAccessKey": "AccessKeyId=AKIAAAAAAAAAAAAAAAAA&Status=Active",
}


def query_requests() -> Case:
    """A request of the Query protocol is taken or refused in AWS's words; the first byte chooses the action."""

    def check(data: bytes) -> None:
        if not data:
            return
        action = _ACTIONS[data[0] % len(_ACTIONS)]
        try:
            form = query.parse_form(data[1:])
        except query.MalformedForm:
            return
        try:
            request = query_codec.decode_query(action, form)
        except RequestRefused as refused:
            require(refused.message, "a refusal without a word")
            require(len(refused.message) <= _MESSAGE_CHARS_MAX, len(refused.message))
            return
        rule = structure_rule(type(request))
        tree = query_codec._read_structure(rule, form.items())
        require(validation.violations_message(rule, tree) is None, tree)

    return Case([bytes((_ACTIONS.index(name),)) + form.encode() for name, form in _FORMS.items()], check)


CASES: Final[dict[str, Callable[[], Case]]] = {
    "signatures": signatures,
    "signing": signing,
    "JSON": json_texts,
    "typed requests": typed_requests,
    "forms": forms,
    "query requests": query_requests,
}
