"""What would be decided if somebody asked, and why: the service's half of `strongroom iam explain`.

The question is put together from the same records, by the same code, as for a request that was signed; only what the
request would say of itself is stated by the operator: an encryption context pair by its name (`tenant=red`), a value of a
condition key by the key (`aws:SourceIp=192.0.2.7`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.audit.events import Origin
from strongroom.kms.calls import Call
from strongroom.kms.faults import Fault
from strongroom.kms.iam.condition_keys import KEYS_BY_ACTION
from strongroom.kms.iam.explain import format_trace
from strongroom.kms.iam.patterns import fold
from strongroom.kms.iam.principals import PrincipalKind, role_session_principal
from strongroom.kms.identities.arns import arn_of
from strongroom.kms.identities.lookup import Identity, Lookup
from strongroom.kms.identities.records import RoleRecord
from strongroom.kms.keys.directory import KeyEntry, PrincipalEntry
from strongroom.kms.repositories import KeyState
from strongroom.kms.service import Service

_ACTIONS: Final = frozenset(map(fold, KEYS_BY_ACTION))
# What every request has, and this one would have from here.
_ASSUMED: Final = {"aws:SourceIp": "127.0.0.1"}
_CONDITION_KEY: Final = re.compile(r"(?:aws|kms|sts|iam):.+", re.ASCII)
# Of a role that is asked about by its own ARN: what it may, any of its sessions may.
_ANY_SESSION: Final = "any"
_ARN: Final = re.compile(
    r"arn:aws:(?:iam::(?P<account>[0-9]{12}):(?P<root>root|user/(?:.*/)?(?P<user>[^/]+)|role/(?:.*/)?(?P<role>[^/]+))"
    r"|sts::(?P<of>[0-9]{12}):assumed-role/(?P<assumed>[^/]+)/(?P<session>[^/]+))",
    re.ASCII,
)


class NotExplainedError(Exception):
    """The question names something that is not there, or is none; the text says what."""


class _Stated(msgspec.Struct, frozen=True):
    """What a request would say, under the names of its members."""

    EncryptionContext: dict[str, str] | None = None


class Explanation(msgspec.Struct, frozen=True):
    allowed: bool
    trace: list[str]


async def explain(
    service: Service, lookup: Lookup, principal_arn: str, action: str, key_ref: str, pairs: Sequence[str]
) -> Explanation:
    """Whether a principal may do `kms:…` with a key that he names by `key_ref`; `pairs` are `name=value`.

    Raises:
        NotExplainedError: there is no such principal or key, or a pair is none.
    """
    await service.directory.refreshed()
    identity = await _find_identity(lookup, principal_arn)
    action = action if ":" in action else f"kms:{action}"
    if fold(action) not in _ACTIONS:
        raise NotExplainedError(f"{action} is no action of KMS on a key")
    context, stated = _split(pairs)
    call = _call_of(identity, action)
    call.request = _Stated(context or None)
    try:
        entry = await service.gate.find(call, action, key_ref, aliases=True)
    except Fault as fault:
        raise NotExplainedError(f"{fault.code}: {fault.message}") from None
    trace = await service.gate.explain(call, action, entry, stated)
    return Explanation(trace.decision.allowed, [*format_trace(trace), *_unknown(identity, entry, stated)])


def _unknown(identity: Identity, entry: KeyEntry, stated: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What a request would say, or meet, that this answer does not know."""
    assumed = [f"{key} {value}" for key, value in _ASSUMED.items() if key not in stated]
    if assumed:
        yield f"Assumed: {', '.join(assumed)}; name another value with --context."
    if identity.principal.kind is PrincipalKind.ROLE_SESSION:
        yield "Not known here: the session policies and tags that a session was given when it began."
    if entry.record.state is not KeyState.ENABLED:
        yield f"Policies apart, the key's state is {entry.record.state}: docs/key-states.md says what that refuses."


def _call_of(identity: Identity, action: str) -> Call:
    entry = PrincipalEntry(identity.principal, identity.documents, AccessKeySecret(b""))
    return Call("", action, entry, Origin("127.0.0.1", "strongroom"))


def _split(pairs: Sequence[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    context: dict[str, str] = {}
    stated: dict[str, list[str]] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise NotExplainedError(f"{pair!r} is not of the form name=value")
        if _CONDITION_KEY.fullmatch(name):
            stated.setdefault(name, []).append(value)
        else:
            context[name] = value
    return context, stated


async def _find_identity(lookup: Lookup, arn: str) -> Identity:
    """The principal that an ARN names: a root, a user, a role, or a role's session that might be."""
    match = _ARN.fullmatch(arn)
    if match is None:
        raise NotExplainedError(f"{arn} is not the ARN of an account's root, a user, a role or a role's session")
    found: dict[str, Any] = match.groupdict(default="")
    account = found["account"] or found["of"]
    role_name = found["role"] or found["assumed"]
    if role_name:
        identity = await _session(lookup, account, role_name, found["session"] or _ANY_SESSION)
    else:
        identity = await lookup.owner(account, found["user"], "")
    if identity is None or ((found["user"] or found["role"]) and arn not in _names(identity)):
        raise NotExplainedError(f"there is no {arn}")
    return identity


def _names(identity: Identity) -> tuple[str, str]:
    return identity.principal.arn, identity.principal.issuer_arn


async def _session(lookup: Lookup, account: str, role_name: str, session_name: str) -> Identity | None:
    role = await lookup.store.get(RoleRecord, account, role_name)
    documents = None if role is None else await lookup.role_documents(role)
    if role is None or documents is None:
        return None
    principal = role_session_principal(arn_of(role), role.role_id, session_name, "", tags=role.tags)
    return Identity(principal, documents)
