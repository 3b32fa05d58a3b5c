"""Where a session begins: its claims, a secret that the HSM seals for them, and the token that carries both.

Nothing is stored. So nothing can be listed or taken back one by one either: a session ends at its time, when its role or
user is gone, or when a policy says so (`aws:TokenIssueTime`).
"""

from __future__ import annotations

import base64
import os
from functools import partial
from typing import Any, Final, Literal

import msgspec

from strongroom.boundary.messages import SealColumn, SealedAnswer
from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.identities.faults import PackedPolicyTooLarge
from strongroom.kms.identities.session_tokens import (
    COLUMN,
    PURPOSE,
    Claims,
    encode_claims,
    format_token,
    sealed_value,
)
from strongroom.kms.identities.sessions import TEMPORARY
from strongroom.kms.identities.sts.session_input import SessionPolicies
from strongroom.kms.service import Service
from strongroom.kms.wire.sts_shapes import Credentials

# Policies and tags of a session; a quarter of the claims is left for all the rest of them. AWS's figure is not public.
PACKED_BYTES_MAX: Final = 3072
_pack: Final = msgspec.msgpack.Encoder().encode


class Holder(msgspec.Struct, frozen=True):
    """Who gets a session: a role, or a user or root, whose `name` is empty."""

    kind: Literal["role", "user", "federated"]
    account: str
    name: str
    unique_id: str


class Begun(msgspec.Struct, frozen=True):
    """What a session is begun with, beyond what its holder has."""

    session_name: str = ""
    source_identity: str = ""
    tags: dict[str, str] = {}
    transitive_tag_keys: tuple[str, ...] = ()
    policies: SessionPolicies = SessionPolicies()
    federated_provider: str = ""


class Issued(msgspec.Struct, frozen=True):
    """New credentials; `packed_percent` is None where neither policies nor tags were passed."""

    credentials: Credentials
    packed_percent: int | None


async def begin(service: Service, request: Any, holder: Holder, duration_s: int, begun: Begun) -> Issued:
    """Begin a session that ends after so many seconds, as a request of STS asks for it.

    Raises:
        PackedPolicyTooLarge, Fault: as `issue`.
    """
    issued_at_s = int(service.clock())
    claims = Claims(
        kind=holder.kind,
        account=holder.account,
        name=holder.name,
        unique_id=holder.unique_id,
        issued_at_s=issued_at_s,
        expires_at_s=issued_at_s + duration_s,
        session_name=begun.session_name,
        source_identity=begun.source_identity,
        tags=begun.tags,
        transitive_tag_keys=begun.transitive_tag_keys,
        policy=begun.policies.inline,
        policy_arns=begun.policies.arns,
        federated_provider=begun.federated_provider,
    )
    return await issue(service, claims, request.MinimumSessionTokenSize)


async def issue(service: Service, claims: Claims, minimum_chars: int | None) -> Issued:
    """Credentials that carry these claims; the token has at least so many characters.

    Raises:
        PackedPolicyTooLarge: its policies and tags do not fit.
        Fault: the HSM did not answer, or refused.
    """
    percent = _packed_percent(claims)
    access_key_id = TEMPORARY + base64.b32encode(os.urandom(10)).decode()
    secret = AccessKeySecret(base64.b64encode(os.urandom(30)))
    encoded = encode_claims(claims)
    answer = await service.link.call(
        (service.gate.chore("SealSessionToken"),),
        (),
        lambda request_id: SealColumn(request_id, COLUMN, access_key_id, sealed_value(secret, encoded)),
        SealedAnswer,
    )
    tag = partial(service.identities.tag, PURPOSE)
    token = format_token(access_key_id, encoded, answer.sealed, tag, minimum_chars or 0)
    credentials = Credentials(
        AccessKeyId=access_key_id,
        SecretAccessKey=secret.expose().decode(),
        SessionToken=token.decode(),
        Expiration=float(claims.expires_at_s),
    )
    return Issued(credentials, percent)


def _packed_percent(claims: Claims) -> int | None:
    has_policies = claims.policy is not None or bool(claims.policy_arns)
    if not has_policies and not claims.tags:
        return None
    packed = _pack((claims.policy, claims.policy_arns, claims.tags, claims.transitive_tag_keys))
    percent = -(-100 * len(packed) // PACKED_BYTES_MAX)
    if percent > 100:
        if has_policies:
            raise PackedPolicyTooLarge(
                f"Packed policy consumes {percent}% of allotted space, please use smaller policy."
            )
        raise PackedPolicyTooLarge(f"Packed size of session tags consumes {percent}% of allotted space.")
    return percent
