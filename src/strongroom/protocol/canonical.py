"""The canonical forms of Signature Version 4: what signer and verifier must both compute, byte for byte.

Source: IAM User Guide, "Create a signed AWS API request"; the suite `aws-signing-test-suite/v4` of aws-c-auth decides
where the guide is silent (both its halves run through this module).

Invariants:
- Everything is bytes, as received. Nothing is decoded to text, so no two texts can fold into one.
- A canonical value never contains a line feed, so no header can forge a line of the canonical request.
- A path is encoded once from the bytes on the wire. As clients have encoded it before, that *is* the "double
  encoding" that every service but S3 asks for.

    canonical request            string to sign
    -----------------            --------------
    method                       AWS4-HMAC-SHA256
    path                         timestamp, YYYYMMDDThhmmssZ
    query                        date/region/service/aws4_request
    name:value, one per line     SHA-256 of the canonical request, in hex
    (empty line)
    names, joined by ;
    SHA-256 of the body, in hex
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes, unquote_to_bytes

if TYPE_CHECKING:
    from hashlib import _Hash

ALGORITHM = b"AWS4-HMAC-SHA256"
TERMINATOR = b"aws4_request"

_SHA256_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """The path and the query of a raw request target; the query is empty when there is none."""
    path, _, query = target.partition(b"?")
    return path, query


def canonical_path(path: bytes, *, normalize: bool) -> bytes:
    """The path with every byte outside RFC 3986's unreserved set escaped.

    1. With `normalize`, empty and `.` segments go, and `..` takes its predecessor along (RFC 3986, 5.2.4).
       Only literal dots count: `%2e` is a segment like any other.
    2. Each byte is escaped, but never the slash between segments.
    """
    # 1.
    if normalize:
        kept: list[bytes] = []
        segments = path.split(b"/")
        for segment in segments:
            if segment == b"..":
                del kept[-1:]
            elif segment not in {b"", b"."}:
                kept.append(segment)
        ends_as_folder = bool(kept) and segments[-1] in {b"", b".", b".."}
        path = b"/" + b"/".join(kept) + (b"/" if ends_as_folder else b"")
    # 2.
    return quote_from_bytes(path, safe="/").encode("ascii")


def parse_query(query: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values of a query, unescaped, in the order received. A plus stays a plus: this is no form."""
    if not query:
        return []
    pairs = (part.partition(b"=") for part in query.split(b"&"))
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]


def canonical_query(parameters: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The parameters, escaped, then sorted by the escaped name and by the escaped value within a name."""
    escaped = sorted((quote_from_bytes(name, safe=""), quote_from_bytes(value, safe="")) for name, value in parameters)
    return "&".join(f"{name}={value}" for name, value in escaped).encode("ascii")


def canonical_value(value: bytes) -> bytes:
    """A header's value without blanks around it and with runs of blanks (folded lines too) as one space."""
    return b" ".join(value.split())


def join_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The canonical values by lower-cased name; the values of a name that occurs again are joined by commas."""
    joined: dict[bytes, bytes] = {}
    for received_name, value in headers:
        name = received_name.lower()
        joined[name] = joined[name] + b"," + canonical_value(value) if name in joined else canonical_value(value)
    return joined


class Layout:
    """What the canonical request and the string to sign have in common for all requests of one scope and header set.

    The names are used as given: lower-case and sorted is the caller's affair.
    """

    __slots__ = ("_canonical_template", "_scope", "names")

    def __init__(self, names_joined: bytes, scope: bytes) -> None:
        self.names = tuple(names_joined.split(b";"))
        escaped = names_joined.replace(b"%", b"%%")
        lines = b"".join(name + b":%b\n" for name in escaped.split(b";"))
        self._canonical_template = b"%b\n%b\n" + lines + b"\n" + escaped + b"\n%b"
        self._scope = scope

    def canonical_request(
        self, method: bytes, path_and_query: bytes, values: Sequence[bytes], payload_hash: bytes
    ) -> bytes:
        """The canonical request; `path_and_query` are its two canonical lines, `values` canonical, one per name."""
        return self._canonical_template % (method, path_and_query, *values, payload_hash)

    def string_to_sign(self, timestamp: bytes, canonical_request: bytes) -> bytes:
        return self.string_to_sign_head(timestamp) + sha256(canonical_request).hexdigest().encode()

    def string_to_sign_head(self, timestamp: bytes) -> bytes:
        """All of the string to sign but the hash at its end."""
        return b"%b\n%b\n%b\n" % (ALGORITHM, timestamp, self._scope)


def canonical_request_of_query_form(
    method: bytes,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    payload_hash: bytes,
    *,
    normalize: bool = True,
    omitted: frozenset[bytes] = frozenset(),
) -> bytes:
    """The canonical request of a presigned URL: credentials in the query, the signature itself left out.

    The server refuses such requests; this is here so that the whole vector suite runs through one canonicalisation.
    `omitted` names further parameters that were added after signing (a session token, for a few services).
    """
    path, query = split_target(target)
    parameters = parse_query(query)
    layout = Layout(dict(parameters)[b"X-Amz-SignedHeaders"], b"")
    signed = [pair for pair in parameters if pair[0] != b"X-Amz-Signature" and pair[0] not in omitted]
    path_and_query = canonical_path(path, normalize=normalize) + b"\n" + canonical_query(signed)
    joined = join_headers(headers)
    values = [joined[name] for name in layout.names]
    return layout.canonical_request(method, path_and_query, values, payload_hash)


class SigningKey:
    """The key of one credential for one day, region and service, held as the two half-done SHA-256 states of its HMAC.

    Copying the states costs 0.6 µs per signature, `hmac.digest` 1.6 (OpenSSL 3.0); `hmac.digest` is the oracle in the
    tests. RFC 2104: HMAC(k, m) = H(k ^ opad, H(k ^ ipad, m)).
    """

    __slots__ = ("_inner", "_outer")

    _inner: "_Hash"
    _outer: "_Hash"

    def __init__(self, secret: str, date: bytes, region: bytes, service: bytes) -> None:
        # The chain of "Calculate the signature": secret, date, region, service, terminator.
        key = b"AWS4" + secret.encode()
        for part in (date, region, service, TERMINATOR):
            key = hmac.digest(key, part, "sha256")
        block = key.ljust(_SHA256_BLOCK_BYTES, b"\0")
        self._inner = sha256(block.translate(_INNER_PAD))
        self._outer = sha256(block.translate(_OUTER_PAD))

    def sign(self, string_to_sign: bytes) -> bytes:
        """The signature, in lower-case hex."""
        return self.finish(self._inner.copy(), string_to_sign)

    def begin(self, head: bytes) -> "_Hash":
        """A signature over a string that begins so; `finish` takes a copy of it."""
        inner = self._inner.copy()
        inner.update(head)
        return inner

    def finish(self, inner: "_Hash", rest: bytes) -> bytes:
        """The signature over what `inner` has seen and the rest; uses `inner` up."""
        inner.update(rest)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest().encode()
