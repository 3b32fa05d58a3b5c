"""The OpenID Connect tokens of web identities: what nobody signed is believed to the letter, and only for its time.

1. its form: three parts, a header that says what it is, claims that occur once, 2. an issuer that is configured, 3. for one
of its audiences, 4. for this time, 5. for somebody, 6. signed by the issuer's key.

The signature comes last: whoever has no token costs no more than a look at a few claims, and with the public names of issuer
and key one verification: 70 us of CPU with RSA, 110 with ES256, where refusing a wrong signature of AWS's takes 26.
`allowance.py` bounds how often.

Invariants: the algorithm is the key's, never the token's own choice; a header that demands what we do not know is refused.
Sources: RFC 7515, RFC 7519; OpenID Connect Core 1.0, 3.1.3.7; IAM user guide, "Available keys for AWS OIDC federation" (of
tokens with `azp`, that is the audience).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jwt
import msgspec

from strongroom.kms.identities.faults import (
    ExpiredTokenException,
    IDPRejectedClaim,
    InvalidIdentityToken,
    ValidationError,
)
from strongroom.kms.identities.providers import Provider
from strongroom.kms.identities.sts.session_input import require_tags
from strongroom.kms.wire.sts_shapes import Tag, tagKeyListTypeShape, tagListTypeShape
from strongroom.protocol.strict_json import StrictJsonError, parse_strictly

# STS API reference, the length of SubjectFromWebIdentityToken; longer ones would be somebody else once cut.
SUBJECT_CHARS_MAX: Final = 255
# Clocks of issuers may be ahead of ours by as much as those of signers.
AHEAD_S_MAX: Final = 300
_NOT_VALID: Final = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
_NO_KEY: Final = (
    "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity "
    "documentation for requirements"
)
_AUDIENCE: Final = "Incorrect token audience"
_TAGS: Final = "https://aws.amazon.com/tags"
_SOURCE_IDENTITY: Final = "https://aws.amazon.com/source_identity"
# As the API has it, or none.
_SOURCE_IDENTITY_FORM: Final = re.compile(r"(?:[\w+=,.@-]{2,64})?", re.ASCII)
_verify_signature: Final = jwt.PyJWS().decode_complete


class WebIdentity(msgspec.Struct, frozen=True):
    """Somebody for whom a provider vouches."""

    provider: Provider
    subject: str
    audience: str
    # Values of condition keys, by the part behind the provider's name.
    stated: Mapping[str, Sequence[str]]
    tags: dict[str, str] = {}
    transitive_tag_keys: tuple[str, ...] = ()
    source_identity: str = ""


def verify_web_token(token: str, providers: Mapping[str, Provider], account: str, now_s: float) -> WebIdentity:
    """Whose token it is, for a role of this account.

    Raises:
        InvalidIdentityToken, ExpiredTokenException, IDPRejectedClaim: in AWS's words where they are known.
    """
    header, claims = _parts(token)  # 1
    issuer = claims.get("iss")
    provider = providers.get(issuer) if isinstance(issuer, str) else None  # 2
    if provider is None or not provider.serves(account):
        raise InvalidIdentityToken(f"No OpenIDConnect provider found in your account for {_quoted(issuer)}")
    audience, stated = _audience(claims)  # 3
    if audience not in provider.audiences:
        raise InvalidIdentityToken(_AUDIENCE)
    _require_time(claims, now_s)  # 4
    subject = claims.get("sub")  # 5
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX:
        raise InvalidIdentityToken(_NOT_VALID)
    key = provider.keys.get(header["kid"])  # 6
    if key is None or header["alg"] != key.algorithm_name:
        raise InvalidIdentityToken(_NO_KEY)
    try:
        _verify_signature(token, key, [key.algorithm_name])
    except jwt.PyJWTError:
        raise InvalidIdentityToken("The signature of the ID Token is not valid") from None
    tags, transitive = _tags(claims.get(_TAGS))
    source_identity = claims.get(_SOURCE_IDENTITY, "")
    if not isinstance(source_identity, str) or _SOURCE_IDENTITY_FORM.fullmatch(source_identity) is None:
        raise InvalidIdentityToken(_NOT_VALID)
    stated = {**stated, "sub": (subject,), "amr": _methods(claims)}
    return WebIdentity(provider, subject, audience, stated, tags, transitive, source_identity)


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    parts = token.split(".")
    if len(parts) != 3 or not token.isascii():
        raise InvalidIdentityToken(_NOT_VALID)
    header, claims = (_json_object(part) for part in parts[:2])
    is_ours = isinstance(header.get("alg"), str) and isinstance(header.get("kid"), str)
    if not is_ours or "crit" in header or "b64" in header:
        raise InvalidIdentityToken(_NOT_VALID)
    return header, claims


def _json_object(part: str) -> dict[str, Any]:
    try:
        value = parse_strictly(base64.b64decode(part + "=" * (-len(part) % 4), b"-_", validate=True))
    except (StrictJsonError, binascii.Error, ValueError):
        raise InvalidIdentityToken(_NOT_VALID) from None
    if not isinstance(value, dict):
        raise InvalidIdentityToken(_NOT_VALID)
    return value


def _audience(claims: dict[str, Any]) -> tuple[str, dict[str, Sequence[str]]]:
    """The audience, and what conditions find of it."""
    aud = claims.get("aud")
    several = [aud] if isinstance(aud, str) else aud
    if not isinstance(several, list) or not several or not all(isinstance(one, str) for one in several):
        raise InvalidIdentityToken(_AUDIENCE)
    authorized = claims.get("azp")
    if authorized is None:
        if len(several) > 1:
            raise InvalidIdentityToken(_AUDIENCE)
        return several[0], {"aud": several}
    if not isinstance(authorized, str):
        raise InvalidIdentityToken(_AUDIENCE)
    return authorized, {"aud": (authorized,), "oaud": several}


def _require_time(claims: dict[str, Any], now_s: float) -> None:
    expires_s, issued_s, begins_s = (_number(claims, name) for name in ("exp", "iat", "nbf"))
    if expires_s is None or issued_s is None:
        raise InvalidIdentityToken(_NOT_VALID)
    if now_s >= expires_s:
        raise ExpiredTokenException(
            f"Token expired: current date/time {int(now_s)} must be before the expiration date/time {int(expires_s)}"
        )
    if max(issued_s, begins_s or 0.0) > now_s + AHEAD_S_MAX:
        raise IDPRejectedClaim("The ID Token is not valid yet")


def _number(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    # Larger integers are no numbers for a float, nor times for anybody.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 53:
        raise InvalidIdentityToken(_NOT_VALID)
    return float(value)


def _methods(claims: dict[str, Any]) -> tuple[str, ...]:
    found = claims.get("amr")
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


def _tags(claim: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """The session tags that the provider states, by the rules for those that a caller passes.

    Source: IAM user guide, "Passing session tags using AssumeRoleWithWebIdentity": a list of one value for each key.
    """
    if claim is None:
        return {}, ()
    try:
        stated = msgspec.convert(claim, _StatedTags)
        tags = {key: value for key, (value,) in stated.principal_tags.items()}
        asked = _AskedTags(
            Tags=[Tag(Key=key, Value=value) for key, value in tags.items()],
            TransitiveTagKeys=list(stated.transitive_tag_keys),
        )
        return require_tags(msgspec.convert(msgspec.to_builtins(asked), _AskedTags), {}, ())
    except (msgspec.ValidationError, ValueError, ValidationError):
        raise InvalidIdentityToken(_NOT_VALID) from None


class _StatedTags(msgspec.Struct, frozen=True):
    principal_tags: dict[str, list[str]] = {}
    transitive_tag_keys: list[str] = []


class _AskedTags(msgspec.Struct, frozen=True):
    """The part of a request that holds tags."""

    Tags: tagListTypeShape
    TransitiveTagKeys: tagKeyListTypeShape


def _quoted(issuer: Any) -> str:
    return issuer[:255] if isinstance(issuer, str) else ""
