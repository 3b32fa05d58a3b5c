"""An issuer of OpenID Connect tokens: its keys as a key set, and tokens signed with them, right or bent."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://oidc.example.com/id/CLUSTER"
NAME = ISSUER.removeprefix("https://")
AUDIENCE = "sts.amazonaws.com"
SUBJECT = "system:serviceaccount:default:app"


class Issuer:
    """Signs with an RSA and an EC key, named `rsa` and `ec`."""

    def __init__(self, url: str = ISSUER) -> None:
        self.url = url
        self.keys: dict[str, Any] = {
            "rsa": rsa.generate_private_key(65537, 2048),
            "ec": ec.generate_private_key(ec.SECP256R1()),
        }

    def key_set(self) -> dict[str, Any]:
        public = {name: key.public_key() for name, key in self.keys.items()}
        made = [RSAAlgorithm.to_jwk(public["rsa"], as_dict=True), ECAlgorithm.to_jwk(public["ec"], as_dict=True)]
        return {"keys": [{**key, "kid": name, "use": "sig"} for name, key in zip(("rsa", "ec"), made, strict=True)]}

    def claims(self, **changes: Any) -> dict[str, Any]:
        """A pod's; a change to None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": [AUDIENCE],
            "sub": SUBJECT,
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key: str = "rsa", headers: dict[str, Any] | None = None, **changes: Any) -> str:
        algorithm = "RS256" if key == "rsa" else "ES256"
        return jwt.encode(self.claims(**changes), self.keys[key], algorithm, {"kid": key, **(headers or {})})


def provider(file: str, issuer: str = ISSUER, audiences: tuple[str, ...] = (AUDIENCE,), **more: Any) -> str:
    """A table of `identity-providers.toml`."""
    values = {"issuer": issuer, "audiences": list(audiences), "key_set": file, **more}
    return "[[provider]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
