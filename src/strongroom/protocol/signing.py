"""Signature Version 4 from the client's side: the headers that authenticate a request.

For our own clients (the command line, the tests); the verifier, `sigv4`, shares the canonical forms with it and no more.
"""

from collections.abc import Sequence
from hashlib import sha256

from strongroom.protocol.canonical import (
    ALGORITHM,
    TERMINATOR,
    Layout,
    SigningKey,
    canonical_path,
    canonical_query,
    join_headers,
    parse_query,
    split_target,
)


def sign(
    method: str,
    host: str,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    *,
    access_key_id: str,
    secret: str,
    region: str,
    service: str,
    amz_date: str,
    session_token: str | None = None,
    normalize_path: bool = True,
) -> list[tuple[bytes, bytes]]:
    """The headers to add to a request so that it is authenticated; `host` and all `headers` are signed.

    1. Add the timestamp and, for temporary credentials, the session token.
    2. Build the canonical request and the string to sign; names in sorted order.
    3. Sign, and format the Authorization header.
    """
    # 1.
    added = [(b"X-Amz-Date", amz_date.encode("ascii"))]
    if session_token is not None:
        added.append((b"X-Amz-Security-Token", session_token.encode("ascii")))
    # 2.
    joined = join_headers([(b"host", host.encode("ascii")), *headers, *added])
    names_joined = b";".join(sorted(joined))
    path, query = split_target(target)
    path_and_query = canonical_path(path, normalize=normalize_path) + b"\n" + canonical_query(parse_query(query))
    payload_hash = sha256(body).hexdigest().encode()
    date, region_bytes, service_bytes = amz_date[:8].encode("ascii"), region.encode("ascii"), service.encode("ascii")
    scope = b"/".join((date, region_bytes, service_bytes, TERMINATOR))
    layout = Layout(names_joined, scope)
    values = [joined[name] for name in layout.names]
    canonical_request = layout.canonical_request(method.encode(), path_and_query, values, payload_hash)
    string_to_sign = layout.string_to_sign(amz_date.encode("ascii"), canonical_request)
    # 3.
    signature = SigningKey(secret, date, region_bytes, service_bytes).sign(string_to_sign)
    credential = access_key_id.encode("ascii") + b"/" + scope
    authorization = b"%b Credential=%b, SignedHeaders=%b, Signature=%b" % (
        ALGORITHM,
        credential,
        names_joined,
        signature,
    )
    return [*added, (b"Authorization", authorization)]
