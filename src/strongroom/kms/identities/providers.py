"""Who vouches for web identities: issuers of OpenID Connect tokens, with the keys that they sign with.

They come from the operator's configuration and are read once, at the start; nobody is asked over the network. Invariants:
- A key is for one algorithm, RS256 or ES256, that its own kind decides: never what a token says.
- Keys that are for something else are left out; a provider without any key refuses the start.
Sources: OpenID Connect Core 1.0, 2 and 3.1.3.7; RFC 7517; IAM user guide, "Create an OpenID Connect identity provider".
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from strongroom.kms.identities.configured import ConfiguredError, Documents
from strongroom.protocol.strict_json import StrictJsonError, parse_strictly

FILE: Final = "identity-providers.toml"
RSA_BITS_MIN: Final = 2048
# Larger ones cost whoever must verify more than whoever asks.
RSA_BITS_MAX: Final = 4096
# What Named takes in a trust policy, without its beginning.
_HOST_AND_PATH: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,252}(?::[0-9]{1,5})?(?:/[\w.~/-]{1,200})?", re.ASCII)
_HTTPS: Final = "https://"

_AccountId = Annotated[str, msgspec.Meta(pattern=r"(?a)^[0-9]{12}\Z")]
_Audience = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class ProviderConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table `[[provider]]`; without `accounts`, it is a provider of every account."""

    issuer: str
    audiences: Annotated[tuple[_Audience, ...], msgspec.Meta(min_length=1)]
    key_set: str
    accounts: tuple[_AccountId, ...] | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: tuple[ProviderConfig, ...] = ()


class Provider(msgspec.Struct, frozen=True, eq=False):
    """An issuer; `name` is its URL without the scheme, as ARNs and condition keys have it."""

    issuer: str
    name: str
    audiences: frozenset[str]
    accounts: frozenset[str] | None
    keys: Mapping[str, jwt.PyJWK]

    def serves(self, account: str) -> bool:
        return self.accounts is None or account in self.accounts

    def arn(self, account: str) -> str:
        return f"arn:aws:iam::{account}:oidc-provider/{self.name}"


def read_providers(text: str, documents: Documents) -> dict[str, Provider]:
    """All providers by their issuers.

    Raises:
        ConfiguredError: the file, or a key set, is not as it should be; the text says where.
    """
    try:
        configs = msgspec.convert(tomllib.loads(text), _File).provider
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfiguredError(f"{FILE}: {error}") from None
    providers: dict[str, Provider] = {}
    for config in configs:
        name = config.issuer.removeprefix(_HTTPS)
        if name == config.issuer or _HOST_AND_PATH.fullmatch(name) is None:
            raise ConfiguredError(f"{FILE}: {config.issuer} is no issuer: it must be an https URL without a query")
        if config.issuer in providers:
            raise ConfiguredError(f"{FILE}: {config.issuer} occurs twice")
        accounts = None if config.accounts is None else frozenset(config.accounts)
        keys = _read_keys(config.key_set, documents)
        providers[config.issuer] = Provider(config.issuer, name, frozenset(config.audiences), accounts, keys)
    documents.require_all_used()
    return providers


def _read_keys(file: str, documents: Documents) -> dict[str, jwt.PyJWK]:
    try:
        key_set = parse_strictly(documents.text(file).encode())
    except StrictJsonError as error:
        raise ConfiguredError(f"{documents.place(file)} is not valid JSON {error}") from None
    members = key_set.get("keys") if isinstance(key_set, dict) else None
    if not isinstance(members, list):
        raise ConfiguredError(f'{documents.place(file)} is no key set: it must be an object with a list "keys"')
    keys: dict[str, jwt.PyJWK] = {}
    for member in members:
        key = _read_key(member)
        if key is not None and key.key_id:
            if key.key_id in keys:
                raise ConfiguredError(f"{documents.place(file)}: the key {key.key_id} occurs twice")
            keys[key.key_id] = key
    if not keys:
        raise ConfiguredError(f"{documents.place(file)} has no key for RS256 or ES256 with a kid")
    return keys


def _read_key(member: Any) -> jwt.PyJWK | None:
    """A key that signs tokens; None for every other, and for what is no key."""
    if not isinstance(member, dict) or member.get("use", "sig") != "sig" or not isinstance(member.get("kid"), str):
        return None
    algorithm = {"RSA": "RS256", "EC": "ES256"}.get(str(member.get("kty")))
    if algorithm is None or member.get("alg", algorithm) != algorithm:
        return None
    public = {name: member[name] for name in ("kty", "kid", "n", "e", "crv", "x", "y") if name in member}
    try:
        key = jwt.PyJWK(public, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key.key, rsa.RSAPublicKey):
        return key if RSA_BITS_MIN <= key.key.key_size <= RSA_BITS_MAX else None
    is_p256 = isinstance(key.key, ec.EllipticCurvePublicKey) and isinstance(key.key.curve, ec.SECP256R1)
    return key if is_p256 else None
