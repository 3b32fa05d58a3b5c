"""What says who may: policy documents, the names of keys, and the tokens of grants, sessions and web identities."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any, Final

import jwt

from hostile.case import Case, require
from strongroom.kms.iam.documents import PolicyDocument, PolicyError, PolicyKind, parse_policy
from strongroom.kms.identities import session_tokens
from strongroom.kms.identities.configured import Documents
from strongroom.kms.identities.faults import ExpiredTokenException, IDPRejectedClaim, InvalidIdentityToken
from strongroom.kms.identities.providers import read_providers
from strongroom.kms.identities.sts.web_tokens import verify_web_token
from strongroom.kms.keys import grant_tokens
from strongroom.protocol import arn
from testkit.web_identities import AUDIENCE, Issuer, provider

_KEY_ID: Final = "1234abcd-12ab-34cd-56ef-1234567890ab"
_KINDS: Final = tuple(PolicyKind)


def _text_of(data: bytes) -> str:
    """The data as text; halves of pairs, which JSON can bring, are let through."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


# ── policy documents ────────────────────────────────────────────────────────────────────────────────────────────────────


# IAM user guide, "Grammar of the IAM JSON policy language".
_DOCUMENT: Final = frozenset(("Version", "Id", "Statement"))
_STATEMENT: Final = frozenset(
    ("Sid", "Effect", "Condition", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource")
)


class _Request:
    """Has a value for every condition key, so that everything is compared."""

    _VALUES: Final = {
        "aws:username": ("a*b?${x}" * 8,),
        "aws:sourceip": ("192.0.2.1",),
        "aws:currenttime": ("2026-11-24T00:00:00Z",),
        "aws:principalarn": ("arn:aws:iam::000000000000:user/" + "a" * 64,),
        "kms:viaservice": ("s3.us-east-1.amazonaws.com",),
    }

    def values_of(self, key: str) -> tuple[str, ...] | None:
        return self._VALUES.get(key, ("a" * 256, "12", "true") if len(key) % 2 else None)


def policies() -> Case:
    """A document is refused with its place, or evaluated in full at a bounded price; the first byte chooses the kind."""
    request = _Request()

    def check(data: bytes) -> None:
        if not data:
            return
        kind, text = _KINDS[data[0] % len(_KINDS)], _text_of(data[1:])
        try:
            document = parse_policy(text, kind)
        except PolicyError as refused:
            require(len(str(refused)) < 4096, refused)
            return
        _require_known_elements(json.loads(text))
        _evaluate(document)
        stored = parse_policy(text, kind, is_stored=True)
        require(stored.statements == document.statements, "a stored one is another one")

    def _require_known_elements(said: dict[str, Any]) -> None:
        require(said.keys() <= _DOCUMENT, said)
        statements = said["Statement"]
        for statement in statements if isinstance(statements, list) else [statements]:
            require(statement.keys() <= _STATEMENT, statement)

    def _evaluate(document: PolicyDocument) -> None:
        for statement in document.statements:
            for action in ("kms:decrypt", "iam:createuser", "kms:" + "a" * 128):
                statement.concerns(action)
            statement.covers("arn:aws:kms:us-east-1:000000000000:key/" + "a" * 256, request)
            statement.is_met(request)
            require(isinstance(statement.keys, frozenset), statement)

    return Case([bytes((_KINDS.index(kind),)) + json.dumps(said).encode() for kind, said in _documents()], check)


def _documents() -> list[tuple[PolicyKind, dict[str, Any]]]:
    conditions = {
        "StringLike": {"aws:username": ["a*b?c", "${aws:PrincipalTag/team, 'x'}", "${*}"]},
        "ForAnyValue:StringEqualsIfExists": {"kms:EncryptionContextKeys": "k"},
        "NumericLessThan": {"kms:GrantOperations": "7"},
        "DateGreaterThan": {"aws:CurrentTime": "2026-11-24T00:00:00Z"},
        "IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]},
        "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/a*"},
        "Bool": {"aws:SecureTransport": True},
        "BinaryEquals": {"kms:x": "eA=="},
        "Null": {"kms:ViaService": "true"},
    }
    both = {
        "Action": ["kms:*", "kms:Get?*"],
        "Resource": ["arn:aws:kms:*:*:key/*", "arn:aws:kms:${aws:region}:*:alias/a"],
    }
    identity = {"Sid": "A1", "Effect": "Allow", **both, "Condition": conditions}
    principals = {"AWS": ["000000000000", "arn:aws:iam::000000000000:user/p/u"], "Service": "s3.amazonaws.com"}
    key = {"Effect": "Deny", "NotPrincipal": principals, "NotAction": "kms:Decrypt", "Resource": "*"}
    trust = {
        "Effect": "Allow",
        "Principal": {**principals, "Federated": "accounts.example.com"},
        "Action": "sts:AssumeRole",
    }
    everybody = {"Effect": "Deny", "Principal": "*", **both}
    found: list[tuple[PolicyKind, dict[str, Any]]] = [
        (PolicyKind.IDENTITY, {"Version": "2012-10-17", "Id": "i", "Statement": [identity]}),
        (PolicyKind.KEY, {"Version": "2008-10-17", "Statement": key}),
        (PolicyKind.TRUST, {"Version": "2012-10-17", "Statement": [trust]}),
        (PolicyKind.RESOURCE_CONTROL, {"Version": "2012-10-17", "Statement": [everybody]}),
    ]
    alone = ({"Effect": "Allow", **both, "Condition": {name: keys}} for name, keys in conditions.items())
    found += [(PolicyKind.SESSION, {"Version": "2012-10-17", "Statement": [statement]}) for statement in alone]
    return found


# ── names of keys ───────────────────────────────────────────────────────────────────────────────────────────────────────


def key_references() -> Case:
    """A reference that is taken says exactly what was written."""

    def check(data: bytes) -> None:
        text = _text_of(data)
        try:
            found = arn.parse_key_ref(text)
        except arn.MalformedArn as refused:
            require(refused.code == "NotFoundException" and len(refused.message) < 4096, refused)
            return
        require(str(found) == text, found)
        require(text.isascii() and text.isprintable() and " " not in text, text)

    account = "000000000000"
    arns = [
        arn.format_key_arn("aws", "us-east-1", account, _KEY_ID),
        arn.format_alias_arn("aws", "eu-1", account, "alias/a"),
    ]
    return Case(
        [text.encode() for text in (*arns, _KEY_ID, "mrk-" + "0a" * 16, "alias/A/b_c-d", "alias/aws/s3")], check
    )


# ── tokens ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _tag(purpose: str, said: bytes) -> bytes:
    return hmac.digest(b"k" * 32, purpose.encode() + b"\0" + said, "sha256")


def _session_tag(said: bytes) -> bytes:
    return _tag(session_tokens.PURPOSE, said)


def grants() -> Case:
    """A grant token is one that was given out, letter by letter, or none."""
    real = {grant_tokens.format_grant_token(_tag, _KEY_ID, grant_tokens.new_grant_id()) for _ in range(4)}

    def check(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        try:
            key_id, _ = grant_tokens.parse_grant_token(_tag, text)
        except grant_tokens.GrantTokenError:
            require(text not in real, "a real one is refused")
            return
        require(text in real and key_id == _KEY_ID, text)

    return Case([token.encode() for token in sorted(real)], check)


def sessions() -> Case:
    """A session token is one that was issued, for its access key; and a right tag is not enough to say anything at all.

    An even first byte: the rest is a token. An odd one: the rest is claims, tagged by whoever has the store's key.
    """
    access_key_id = "ASIAAAAAAAAAAAAAAAAA"
    claims = session_tokens.Claims(
        "role", "000000000000", "r", "AROA", 1, 2, "session", tags={"team": "a"}, policy="{}"
    )
    encoded = [
        session_tokens.encode_claims(claims),
        session_tokens.encode_claims(session_tokens.Claims("user", "0", "", "", 1, 2)),
    ]
    real = {
        session_tokens.format_token(access_key_id, said, b"sealed" * 20, _session_tag, minimum_chars)
        for said in encoded
        for minimum_chars in (0, 1000)
    }

    def check(data: bytes) -> None:
        if data[:1] and data[0] % 2:
            token = session_tokens.format_token(access_key_id, data[1:], b"sealed", _session_tag)
        else:
            token = data[1:]
        try:
            opened = session_tokens.parse_token(access_key_id, token, _session_tag)
        except session_tokens.SessionTokenError:
            require(token not in real, "a real one is refused")
            return
        require(token in real or data[0] % 2, token)
        require(session_tokens.encode_claims(opened.claims), opened)

    # Claims in which a text is none, and some with a member more, nested deeper than any reader goes: of these, too, only a
    # session token error may come.
    encoded.append(encoded[0].replace(b"session", b"\xff" * 7))
    encoded.append(b"\x9e" + encoded[1][1:] + b"\x91" * 2000)
    return Case([*(b"\0" + token for token in sorted(real)), *(b"\x01" + said for said in encoded)], check)


# ── web identities ──────────────────────────────────────────────────────────────────────────────────────────────────────


def web_identities() -> Case:
    """A web identity's token is one that its issuer signed, or refused; and a right signature may state anything.

    An even first byte: the rest is a token. An odd one: the rest is claims, signed by the issuer. Nobody needs a credential
    to send either.
    """
    issuer = Issuer()
    providers = read_providers(provider("a.json"), Documents("a folder", {"a.json": json.dumps(issuer.key_set())}))
    now_s = time.time()
    real = [issuer.token(key) for key in ("rsa", "ec")]
    said = [tuple(map(_decoded, token.split("."))) for token in real]
    tags = {"https://aws.amazon.com/tags": {"principal_tags": {"team": ["a"]}, "transitive_tag_keys": ["team"]}}
    claims = [issuer.claims(), issuer.claims(aud=["a", AUDIENCE], azp=AUDIENCE, amr=["x"], **tags)]

    def check(data: bytes) -> None:
        states_anything = data[:1] and data[0] % 2
        token = _signed_claims(issuer, data[1:]) if states_anything else data[1:].decode("utf-8", "replace")
        try:
            identity = verify_web_token(token, providers, "000000000000", now_s)
        except (ExpiredTokenException, IDPRejectedClaim, InvalidIdentityToken) as refused:
            require(len(refused.message) < 1024, refused.message)
            require(token not in real, "a real one is refused")
            return
        require(states_anything or tuple(map(_decoded, token.split("."))) in said, token)
        require(0 < len(identity.subject) < 256 and identity.audience == AUDIENCE, identity)

    encoded = [json.dumps(one).encode() for one in claims]
    return Case([*(b"\0" + token.encode() for token in real), *(b"\x01" + one for one in encoded)], check)


def _signed_claims(issuer: Issuer, claims: bytes) -> str:
    return jwt.PyJWS().encode(claims, issuer.keys["ec"], "ES256", {"kid": "ec"})


def _decoded(part: str) -> bytes:
    """The bytes of a part: its last character may hold bits that are of none."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


CASES: Final[dict[str, Callable[[], Case]]] = {
    "policies": policies,
    "key references": key_references,
    "grant tokens": grants,
    "session tokens": sessions,
    "web identities": web_identities,
}
