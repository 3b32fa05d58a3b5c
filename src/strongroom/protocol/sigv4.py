"""Signature Version 4: is this request, byte for byte, what the holder of a secret access key sent just now?

Source: IAM User Guide, "AWS Signature Version 4 for API requests"; codes and wordings are those of AWS's services.

Invariants:
- Only the bytes received count. The host is never rebuilt, and the payload hash is always computed from the body.
- There is one way to be authenticated: one `Authorization` header. Credentials in the query are refused, alone or
  beside the header, and so are payload hashes that stand for "unsigned" or "streaming".
- What could change a request's meaning is signed: method, path, query, body, `host`, every `x-amz-*` header.
- `find_secret` is asked for every request. A cached signing key serves only while its answer is the same secret.
- The cache is filled only after a signature was found valid, is bounded, and forgets the oldest entry first.
- An unknown access key costs what a wrong signature costs: both derive a key and compare, and only then refuse.
- A refusal never repeats the Authorization header (AWS's newer wording: its hash), and quotes at most 128 bytes.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING, NoReturn

from strongroom.protocol.canonical import (
    ALGORITHM,
    TERMINATOR,
    Layout,
    SigningKey,
    canonical_path,
    canonical_query,
    canonical_request_of_query_form,
    canonical_value,
    join_headers,
    parse_query,
    split_target,
)
from strongroom.protocol.requests import HeaderNames, HttpRequest

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = [
    "CLOCK_SKEW_S_MAX",
    "FindSecret",
    "Refused",
    "Verified",
    "Verifier",
    "canonical_request_of_query_form",
    "parse_timestamp",
]

# AWS's window for every service but S3 ("- 5 min." in the refusal's text).
CLOCK_SKEW_S_MAX = 300
# Ours: a client has one or two header sets a day, so this serves about as many concurrent access keys.
CACHED_CREDENTIALS_MAX = 1024
# Ours, and of those keys together: 256 clients with four operations, each anew in every second, begin over after four.
HEADS_KEPT_MAX = 4096
# Ours: a client signs about 150 bytes of values, and its Authorization header is about 200 before the signature. With
# these a head takes at most 5 KiB and a known header, with its names, 30 KiB: 50 MiB in all, for those who have a key.
HEAD_BYTES_KEPT_MAX = 2048
PREFIX_BYTES_KEPT_MAX = 2048
# Ours: what a refusal quotes from a request.
QUOTED_BYTES_MAX = 128

_DUMMY_SECRET = "0" * 40
_TIMESTAMP_FORMAT = "%Y%m%dT%H%M%SZ"
_HTTP_DATE_FORMAT = "%a, %d %b %Y %H:%M:%S GMT"
# Twice one of these, and two readers of the request could see two different requests.
_AT_MOST_ONCE = frozenset(
    {
        b"authorization",
        b"host",
        b"date",
        b"x-amz-date",
        b"x-amz-target",
        b"x-amz-content-sha256",
        b"x-amz-security-token",
    }
)
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


FindSecret = Callable[[str], str | None]


class Refused(Exception):  # noqa: N818 -- a refusal is an answer, not an error of ours
    """The request is not authenticated. `code` is the AWS exception's name, `message` its text."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Verified:
    """Who signed, and what the signature covers. The region is the scope's: the caller knows which ones exist."""

    access_key_id: str
    region: str
    service: str
    signed_headers: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Claim:
    """An Authorization header, parsed: what it claims, before anything was verified."""

    verified: Verified
    date: bytes
    region: bytes
    service: bytes
    layout: Layout
    signature: bytes


@dataclass(frozen=True, slots=True)
class _Head:
    """What the requests of one second have in common when all that is signed but the body is the same.

    `canonical` is the hash of the canonical request up to the payload's hash, `signing` the signature up to the hash of
    the canonical request; both are copied and finished for each request.
    """

    signed_at_s: int
    canonical: _Hash
    signing: _Hash


@dataclass(frozen=True, slots=True)
class _Known:
    """An Authorization header that carried a valid signature once, up to the signature, with the names around it.

    No two of those names fold into one, and each that begins with `x-amz-` is signed. `signed_values` takes the signed
    values out of a request's, in the layout's order.
    """

    claim: _Claim
    secret: str
    key: SigningKey
    signed_values: Callable[[Sequence[bytes]], tuple[bytes, ...]]
    date_place: int
    declared_hash_place: int | None
    heads: dict[tuple[bytes, ...], _Head]


class Verifier:
    """Verifies requests; holds nothing but the cache. Not shared between threads."""

    __slots__ = ("_cached_max", "_heads_kept", "_known", "_normalize_path")

    def __init__(self, *, normalize_path: bool = True, cached_max: int = CACHED_CREDENTIALS_MAX) -> None:
        self._known: dict[tuple[bytes, HeaderNames], _Known] = {}
        # At least as many as there are: those of forgotten keys are counted until all are forgotten.
        self._heads_kept = 0
        self._normalize_path = normalize_path
        self._cached_max = cached_max

    def forget(self) -> None:
        """Whoever signed so far, with secrets and signing keys: some of them may be nobody any more."""
        self._known.clear()
        self._heads_kept = 0

    def verify(self, request: HttpRequest, now_s: float, find_secret: FindSecret, services: frozenset[str]) -> Verified:
        """Answer who signed the request, or raise Refused.

        The short way accepts or has no opinion; every refusal is found, and worded, by the full procedure.
        """
        verified = self._accept_known(request, now_s, find_secret, services)
        return verified if verified is not None else self._verify_in_full(request, now_s, find_secret, services)

    def _accept_known(
        self, request: HttpRequest, now_s: float, find_secret: FindSecret, services: frozenset[str]
    ) -> Verified | None:
        """Steps 1 to 9 of the full procedure for a client seen before, or None.

        The prefix settles steps 2, 3 and the scope's form; the names settle steps 1 and 6. What depends on this
        request or on now is compared or computed anew: time, service, body, canonical request, secret, signature.
        """
        names, values = request.names, request.values
        place = names.place_of.get(b"authorization")
        if place is None or request.target != b"/" or request.method != "POST":
            return None
        prefix, _, signature = values[place].rpartition(b"Signature=")
        known = self._known.get((prefix, names))
        if known is None:
            return None
        signed_values = known.signed_values(values)
        head = known.heads.get(signed_values)
        is_new = head is None
        if head is None:
            head = _head_of(known, values[known.date_place], signed_values)
            if head is None:
                return None
        verified = known.claim.verified
        payload_hash = sha256(request.body).hexdigest().encode()
        if (
            not -CLOCK_SKEW_S_MAX <= now_s - head.signed_at_s <= CLOCK_SKEW_S_MAX
            or verified.service not in services
            or (known.declared_hash_place is not None and values[known.declared_hash_place] != payload_hash)
        ):
            return None
        secret = find_secret(verified.access_key_id)
        if secret is not known.secret and (secret is None or not _is_same_secret(secret, known.secret)):
            del self._known[prefix, names]
            return None
        canonical = head.canonical.copy()
        canonical.update(payload_hash)
        signature_calculated = known.key.finish(head.signing.copy(), canonical.hexdigest().encode())
        if not hmac.compare_digest(signature_calculated, signature):
            return None
        if is_new:
            self._keep_head(known, signed_values, head)
        return verified

    def _keep_head(self, known: _Known, signed_values: tuple[bytes, ...], head: _Head) -> None:
        if sum(map(len, signed_values)) > HEAD_BYTES_KEPT_MAX:
            return
        if self._heads_kept >= HEADS_KEPT_MAX:
            for other in self._known.values():
                other.heads.clear()
            self._heads_kept = 0
        known.heads[signed_values] = head
        self._heads_kept += 1

    def _verify_in_full(
        self, request: HttpRequest, now_s: float, find_secret: FindSecret, services: frozenset[str]
    ) -> Verified:
        """The whole procedure, in AWS's order; nothing of the cache is read.

        1. Fold header names; refuse a second one of those that must be unique.
        2. Find the one place of the credentials: the Authorization header.
        3. Parse it.
        4. Compare timestamp and clock: -300 s and +300 s are accepted, anything beyond is refused, in fractions too.
        5. Compare the scope: date of the timestamp, service (the terminator was compared in step 3).
        6. Require that `host` and every `x-amz-*` header are signed.
        7. Hash the body received; a hash that the client declared must be the same.
        8. Build the canonical request and the string to sign.
        9. Sign it with the secret, or with a dummy if there is none, and compare in constant time.
        10. Refuse, or remember the header and answer.
        """
        # 1.
        headers = _fold_headers(request.headers)
        # 2.
        authorization = headers.get(b"authorization")
        if authorization is None:
            raise Refused("MissingAuthenticationTokenException", "Request is missing Authentication Token")
        path_and_query = _require_header_form(request.target, normalize=self._normalize_path)
        # 3.
        claim = _parse_authorization(authorization, headers)
        # 4.
        timestamp = _require_timestamp(headers, now_s)
        # 5.
        if timestamp[:8] != claim.date or claim.verified.service not in services:
            _refuse_scope(claim, timestamp, services)
        # 6.
        _require_signed(headers, claim.layout.names)
        # 7.
        payload_hash = sha256(request.body).hexdigest().encode()
        declared_hash = headers.get(b"x-amz-content-sha256")
        if declared_hash is not None and declared_hash != payload_hash:
            _refuse_declared_hash(declared_hash)
        # 8.
        values = [headers[name] for name in claim.layout.names]
        canonical_request = claim.layout.canonical_request(
            request.method.encode(), path_and_query, values, payload_hash
        )
        string_to_sign = claim.layout.string_to_sign(timestamp, canonical_request)
        # 9.
        secret = find_secret(claim.verified.access_key_id)
        key = SigningKey(_DUMMY_SECRET if secret is None else secret, claim.date, claim.region, claim.service)
        matches = hmac.compare_digest(key.sign(string_to_sign), claim.signature)
        # 10.
        if secret is None:
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        if not matches:
            raise Refused("InvalidSignatureException", _MISMATCH)
        self._remember(request, claim, secret, key)
        return claim.verified

    def _remember(self, request: HttpRequest, claim: _Claim, secret: str, key: SigningKey) -> None:
        """Remember a header whose signature was found valid just now, if its request is of the common kind.

        That is: no header twice, dated by `x-amz-date`, and with the signature last, so that all the rest is the prefix;
        and with names that will be known again.
        """
        place_of = request.names.place_of
        if b"x-amz-date" not in place_of or not request.names.are_unique or not request.names.is_kept:
            return
        prefix, _, signature = request.values[place_of[b"authorization"]].rpartition(b"Signature=")
        if signature != claim.signature or len(prefix) > PREFIX_BYTES_KEPT_MAX:
            return
        self._known.pop((prefix, request.names), None)
        if len(self._known) >= self._cached_max:
            del self._known[next(iter(self._known))]
        self._known[prefix, request.names] = _Known(
            claim=claim,
            secret=secret,
            key=key,
            # Two at the least are signed: `host` and, because there is one, `x-amz-date`. So these are tuples.
            signed_values=itemgetter(*(place_of[name] for name in claim.layout.names)),
            date_place=place_of[b"x-amz-date"],
            declared_hash_place=place_of.get(b"x-amz-content-sha256"),
            heads={},
        )


def _head_of(known: _Known, timestamp: bytes, signed_values: tuple[bytes, ...]) -> _Head | None:
    """The part of steps 4, 5 and 8 that the signed values settle; None where a refusal is due."""
    try:
        signed_at_s = parse_timestamp(timestamp)
    except ValueError:
        return None
    claim = known.claim
    if timestamp[:8] != claim.date:
        return None
    values = [canonical_value(value) for value in signed_values]
    canonical = sha256(claim.layout.canonical_request(b"POST", b"/\n", values, b""))
    return _Head(signed_at_s, canonical, known.key.begin(claim.layout.string_to_sign_head(timestamp)))


def _is_same_secret(secret: str, known_secret: str) -> bool:
    return hmac.compare_digest(secret.encode(), known_secret.encode())


def _quote(value: bytes) -> str:
    """What of a request may stand in a refusal: printable, and not endless."""
    return value[:QUOTED_BYTES_MAX].decode("latin-1").encode("unicode_escape").decode("ascii")


def _fold_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    seen: set[bytes] = set()
    for received_name, _ in headers:
        name = received_name.lower()
        if name in seen and name in _AT_MOST_ONCE:
            raise Refused("InvalidSignatureException", f"The request has more than one '{_quote(name)}' header.")
        seen.add(name)
    return join_headers(headers)


def _require_header_form(target: bytes, *, normalize: bool) -> bytes:
    """Return the canonical path and query of a request that is authenticated by its header alone.

    Names of the query are compared without case: no reader of the query may find an identity that we did not see.
    """
    path, query = split_target(target)
    parameters = parse_query(query)
    names = [name.lower() for name, _ in parameters]
    for (name, _), folded in zip(parameters, names, strict=True):
        if folded.startswith(b"x-amz-"):
            raise Refused(
                "InvalidSignatureException",
                f"Found both '{_quote(name)}' as a query-string param and 'Authorization' as HTTP header.",
            )
    if len(set(names)) != len(names):
        raise Refused("InvalidSignatureException", "The request has a query-string param more than once.")
    if not path.startswith(b"/"):
        raise Refused("InvalidSignatureException", _MISMATCH)
    return canonical_path(path, normalize=normalize) + b"\n" + canonical_query(parameters)


def _parse_authorization(authorization: bytes, headers: Mapping[bytes, bytes]) -> _Claim:
    """Parse `AWS4-HMAC-SHA256 Credential=…/…/…/…/aws4_request, SignedHeaders=…;…, Signature=…`.

    1. A scheme that is not AWS's is no authentication token at all.
    2. The parameters: each once, none missing, none unknown.
    3. The algorithm.
    4. The credential: five elements, so an access key id never contains a slash.
    5. The signed headers: as the canonical request lists them, sorted and each once. (Step 6 of the procedure finds only
       lower-case names among the headers.)
    """
    # 1.
    algorithm, _, rest = authorization.strip().partition(b" ")
    if not algorithm.startswith(b"AWS4-"):
        raise Refused("MissingAuthenticationTokenException", "Request is missing Authentication Token")
    # 2.
    parameters = _parse_authorization_parameters(authorization, rest, headers)
    # 3.
    if algorithm != ALGORITHM:
        _refuse_incomplete(f"Unsupported AWS 'algorithm': '{_quote(algorithm)}' (only AWS4-HMAC-SHA256 for now).")
    # 4.
    credential = parameters[b"Credential"]
    elements = credential.split(b"/")
    if len(elements) != 5 or not credential.isascii() or not elements[0]:
        _refuse_incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{_quote(credential)}'"
        )
    access_key_id, date, region, service, terminator = elements
    if terminator != TERMINATOR:
        raise Refused(
            "InvalidSignatureException",
            f"Credential should be scoped with a valid terminator: 'aws4_request', not '{_quote(terminator)}'.",
        )
    if not region:
        raise Refused("InvalidSignatureException", "Credential should be scoped to a valid region, not ''.")
    # 5.
    joined = parameters[b"SignedHeaders"]
    names = joined.split(b";")
    if b"host" not in names:
        raise Refused(
            "InvalidSignatureException", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        )
    if not joined.isascii() or sorted(set(names)) != names:
        raise Refused("InvalidSignatureException", _MISMATCH)
    verified = Verified(
        access_key_id=access_key_id.decode("ascii"),
        region=region.decode("ascii"),
        service=service.decode("ascii"),
        signed_headers=frozenset(joined.decode("ascii").split(";")),
    )
    layout = Layout(joined, b"/".join(elements[1:]))
    return _Claim(verified, date, region, service, layout, parameters[b"Signature"])


def _parse_authorization_parameters(
    authorization: bytes, rest: bytes, headers: Mapping[bytes, bytes]
) -> dict[bytes, bytes]:
    hashed = b64encode(sha256(authorization).digest()).decode("ascii")
    parameters: dict[bytes, bytes] = {}
    for part in rest.split(b","):
        name, equal_sign, value = part.strip().partition(b"=")
        if not equal_sign:
            _refuse_incomplete(
                "Invalid key=value pair (missing equal-sign) in Authorization header "
                f"(hashed with SHA-256 and encoded with Base64): '{hashed}'."
            )
        if name in parameters or name not in {b"Credential", b"SignedHeaders", b"Signature"}:
            _refuse_incomplete(
                f"Authorization header has a repeated or an unknown parameter '{_quote(name)}'. "
                f"(Hashed with SHA-256 and encoded with Base64) Authorization={hashed}"
            )
        parameters[name] = value
    missing = [
        f"Authorization header requires '{name}' parameter. "
        for name in ("Credential", "Signature", "SignedHeaders")
        if not parameters.get(name.encode("ascii"))
    ]
    if b"x-amz-date" not in headers and b"date" not in headers:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
    if missing:
        _refuse_incomplete(f"{''.join(missing)}(Hashed with SHA-256 and encoded with Base64) Authorization={hashed}")
    return parameters


def _refuse_incomplete(message: str) -> NoReturn:
    raise Refused("IncompleteSignatureException", message)


def _require_timestamp(headers: Mapping[bytes, bytes], now_s: float) -> bytes:
    """Return the request's time as the string to sign has it, if it is within the window around now."""
    timestamp = headers.get(b"x-amz-date")
    if timestamp is None:
        timestamp = _basic_format(headers.get(b"date", b""))
    try:
        signed_at_s = parse_timestamp(timestamp)
    except ValueError:
        _refuse_incomplete(
            f"Date must be in ISO-8601 'basic format'. Got '{_quote(timestamp)}'. "
            "See http://en.wikipedia.org/wiki/ISO_8601"
        )
    if -CLOCK_SKEW_S_MAX <= now_s - signed_at_s <= CLOCK_SKEW_S_MAX:
        return timestamp
    minutes = CLOCK_SKEW_S_MAX // 60
    now = _format_timestamp(now_s)
    if signed_at_s < now_s:
        edge = _format_timestamp(now_s - CLOCK_SKEW_S_MAX)
        text = f"Signature expired: {_quote(timestamp)} is now earlier than {edge} ({now} - {minutes} min.)"
    else:
        edge = _format_timestamp(now_s + CLOCK_SKEW_S_MAX)
        text = f"Signature not yet current: {_quote(timestamp)} is still later than {edge} ({now} + {minutes} min.)"
    raise Refused("InvalidSignatureException", text)


@lru_cache(maxsize=1024)
def parse_timestamp(text: bytes) -> int:
    """Seconds since 1970 of exactly `YYYYMMDDThhmmssZ`; raises ValueError. Pure, so remembering its answers is safe."""
    # The format alone would also take other cases, other digits and blanks.
    if len(text) != 16 or text[8:9] != b"T" or text[15:] != b"Z" or not (text[:8] + text[9:15]).isdigit():
        raise ValueError
    moment = datetime.strptime(text.decode("ascii", "replace"), _TIMESTAMP_FORMAT).replace(tzinfo=UTC)
    return int(moment.timestamp())


def _format_timestamp(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).strftime(_TIMESTAMP_FORMAT)


def _basic_format(date_header: bytes) -> bytes:
    """A `Date` header as the string to sign has it: HTTP's fixed-length form is rewritten, anything else left alone."""
    text = date_header.decode("ascii", "replace").strip()
    try:
        moment = datetime.strptime(text, _HTTP_DATE_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return date_header.strip()
    if moment.strftime(_HTTP_DATE_FORMAT) != text:
        return date_header.strip()
    return moment.strftime(_TIMESTAMP_FORMAT).encode("ascii")


def _refuse_scope(claim: _Claim, timestamp: bytes, services: frozenset[str]) -> NoReturn:
    """All that is wrong with the scope in one text, as AWS has it."""
    wrong = []
    if claim.verified.service not in services:
        names = ", ".join(f"'{name}'" for name in sorted(services))
        wrong.append(f"Credential should be scoped to correct service: {names}.")
    if timestamp[:8] != claim.date:
        wrong.append(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{_quote(claim.date)}' != '{_quote(timestamp[:8])}', from '{_quote(timestamp)}'."
        )
    raise Refused("InvalidSignatureException", " ".join(wrong))


def _require_signed(headers: Mapping[bytes, bytes], signed_names: Sequence[bytes]) -> None:
    for name in headers:
        if name.startswith(b"x-amz-") and name not in signed_names:
            raise Refused(
                "InvalidSignatureException", f"'{_quote(name)}' must be a 'SignedHeader' in the AWS Authorization."
            )
    if not headers.keys() >= set(signed_names):
        # A header that was signed did not arrive: whatever the signature is, it is not over this request.
        raise Refused("InvalidSignatureException", _MISMATCH)


def _refuse_declared_hash(declared_hash: bytes) -> NoReturn:
    if declared_hash.startswith((b"UNSIGNED-PAYLOAD", b"STREAMING-")):
        raise Refused(
            "InvalidSignatureException",
            f"'x-amz-content-sha256' must not be '{_quote(declared_hash)}': sign the payload.",
        )
    raise Refused(
        "InvalidSignatureException", "The provided 'x-amz-content-sha256' header does not match what was computed."
    )
