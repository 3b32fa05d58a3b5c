"""What would be decided if somebody asked, and why: the service's half of `strongroom iam explain`.

The question is put together from the same records, by the same code, as for a request that was signed; only what the
request would say of itself is stated by the operator: an encryption context pair by its name (`tenant=red`), a value of a
condition key by the key (`aws:SourceIp=192.0.2.7`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.admin.askers import Askers, NotExplainedError
from strongroom.kms.admin.identity_explanation import explain_on_identity
from strongroom.kms.audit.events import Origin
from strongroom.kms.audit.why import one_line
from strongroom.kms.calls import Call
from strongroom.kms.faults import Fault
from strongroom.kms.iam.condition_keys import KEYS_BY_ACTION
from strongroom.kms.iam.explain import Trace, format_trace
from strongroom.kms.iam.patterns import fold
from strongroom.kms.iam.principals import PrincipalKind
from strongroom.kms.identities.lookup import Identity
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.kms.repositories import KeyState
from strongroom.kms.service import Service

_ACTIONS: Final = frozenset(map(fold, KEYS_BY_ACTION))
_OF_IDENTITIES: Final = ("iam:", "sts:")
# What every request has, and this one would have from here.
_ASSUMED: Final = {"aws:SourceIp": "127.0.0.1"}
_CONDITION_KEY: Final = re.compile(r"(?:aws|kms|sts|iam):.+", re.ASCII)


class _Stated(msgspec.Struct, frozen=True):
    """What a request would say, under the names of its members."""

    EncryptionContext: dict[str, str] | None = None


class Asked(msgspec.Struct, frozen=True):
    """A question: `key` as that principal would name it, or the ARN of a `resource` of IAM.

    `pairs` are `name=value`; `session_policies` are documents and ARNs of managed policies.
    """

    principal: str
    action: str
    key: str = ""
    resource: str = ""
    pairs: tuple[str, ...] = ()
    session_policies: tuple[str, ...] = ()


class Explanation(msgspec.Struct, frozen=True):
    allowed: bool
    trace: list[str]


async def explain(service: Service, askers: Askers, asked: Asked) -> Explanation:
    """Whether a principal may do it.

    Raises:
        NotExplainedError: there is no such principal, key or policy, or a pair is none.
    """
    await service.directory.refreshed()
    is_of_identities = fold(asked.action).startswith(_OF_IDENTITIES)
    context, stated = _split(asked.pairs, has_context=not is_of_identities)
    identity = await askers.find(asked.principal, asked.session_policies, stated)
    entry = PrincipalEntry(identity.principal, identity.documents, AccessKeySecret(b""))
    call = Call("", asked.action, entry, Origin("127.0.0.1", "strongroom"))
    call.request = _Stated(context or None)
    if is_of_identities:
        if not asked.resource:
            raise NotExplainedError(f"{asked.action} is on what an ARN names: name it with --resource")
        trace, lines = await explain_on_identity(service, call, asked.action, asked.resource, stated)
        return _explanation(trace, [*lines, *_unknown(identity, asked, stated)])
    if not asked.key:
        raise NotExplainedError(f"{asked.action} is on a key: name it with --key")
    return await _on_key(service, call, identity, asked, stated)


async def _on_key(
    service: Service, call: Call, identity: Identity, asked: Asked, stated: Mapping[str, Sequence[str]]
) -> Explanation:
    action = asked.action if ":" in asked.action else f"kms:{asked.action}"
    if fold(action) not in _ACTIONS:
        raise NotExplainedError(f"{action} is no action of KMS on a key")
    if identity.principal.kind is PrincipalKind.WEB_IDENTITY:
        raise NotExplainedError("a web identity can use no key before it has assumed a role: name the role")
    try:
        entry = await service.gate.find(call, action, asked.key, aliases=True)
    except Fault as fault:
        raise NotExplainedError(f"{fault.code}: {fault.message}") from None
    trace = await service.gate.explain(call, action, entry, stated)
    lines = [*format_trace(trace), *_unknown(identity, asked, stated)]
    if entry.record.state is not KeyState.ENABLED:
        lines.append(
            f"Policies apart, the key's state is {entry.record.state}: docs/key-states.md says what that refuses."
        )
    return _explanation(trace, lines)


def _explanation(trace: Trace, lines: Sequence[str]) -> Explanation:
    return Explanation(trace.decision.allowed, [one_line(line) for line in lines])


def _unknown(identity: Identity, asked: Asked, stated: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What a request would say that this answer does not know."""
    assumed = [f"{key} {value}" for key, value in _ASSUMED.items() if key not in stated]
    if assumed:
        yield f"Assumed: {', '.join(assumed)}; name another value with --context."
    if identity.principal.kind is PrincipalKind.ROLE_SESSION:
        given = "tags" if asked.session_policies else "session policies and tags"
        yield f"Not known here: the {given} that a session was given when it began."


def _split(pairs: Sequence[str], *, has_context: bool) -> tuple[dict[str, str], dict[str, list[str]]]:
    """An encryption context, where there is one, and the values of condition keys."""
    context: dict[str, str] = {}
    stated: dict[str, list[str]] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise NotExplainedError(f"{pair!r} is not of the form name=value")
        if not has_context or _CONDITION_KEY.fullmatch(name):
            stated.setdefault(name, []).append(value)
        else:
            context[name] = value
    return context, stated
