"""What IAM and STS would decide, and why: which half refuses whoever wants to assume a role, the role's or his own.

What IAM does is in the caller's account, and his own policies decide. What STS does with a role, its trust policy decides
besides, in whatever account it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from strongroom.kms.admin.askers import NotExplainedError
from strongroom.kms.calls import Call
from strongroom.kms.faults import Fault
from strongroom.kms.iam.explain import Trace, explain, format_trace
from strongroom.kms.iam.halves import halves_of_role
from strongroom.kms.iam.patterns import fold
from strongroom.kms.iam.principals import PrincipalKind
from strongroom.kms.identities.arns import arn_of
from strongroom.kms.identities.aws_policies import AWS
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.managed_policies import find_policy
from strongroom.kms.identities.operations.table import TABLE as IAM_TABLE
from strongroom.kms.identities.records import GroupRecord, RoleRecord, UserRecord
from strongroom.kms.identities.sts.assumed import find_assumed
from strongroom.kms.identities.sts.callers import on_nothing
from strongroom.kms.identities.sts.table import TABLE as STS_TABLE
from strongroom.kms.service import Service

_FREE: Final = frozenset(fold(f"sts:{name}") for name, row in STS_TABLE.items() if row.demands is on_nothing)
_ASSUMING: Final = frozenset({"sts:assumerole", "sts:assumerolewithwebidentity"})
# What AssumeRole asks for besides, of some requests.
_BESIDE: Final = frozenset({"sts:tagsession", "sts:setsourceidentity"})
_ON_ROLES: Final = _ASSUMING | _BESIDE
_IDENTITY_ACTIONS: Final = (
    frozenset(fold(f"iam:{name}") for name in IAM_TABLE)
    | frozenset(fold(f"sts:{name}") for name in STS_TABLE)
    | _BESIDE
)
_KINDS: Final[Mapping[str, type[UserRecord | GroupRecord | RoleRecord]]] = {
    "user": UserRecord,
    "group": GroupRecord,
    "role": RoleRecord,
}


async def explain_on_identity(
    service: Service, call: Call, action: str, resource: str, stated: Mapping[str, Sequence[str]]
) -> tuple[Trace, list[str]]:
    """The trace of `iam:…` or `sts:…` on an ARN, with what is to be said of it.

    Raises:
        NotExplainedError: there is no such action, or the ARN is none for it.
    """
    folded = fold(action)
    if folded not in _IDENTITY_ACTIONS:
        raise NotExplainedError(f"{action} is no action of IAM or STS here")
    if folded in _FREE:
        raise NotExplainedError(f"{action} needs no permission, and no policy can forbid it")
    if call.principal.kind is PrincipalKind.WEB_IDENTITY and folded not in _ON_ROLES - {"sts:assumerole"}:
        raise NotExplainedError(f"a web identity can ask for no {action}")
    demand, missing = await _demand(service, call, action, resource)
    demand = msgspec.structs.replace(demand, stated=stated)
    question = service.gate.question_on_identity(call, demand)
    trace = explain(question)
    lines = format_trace(trace)
    if demand.resource_policy is not None:
        halves = halves_of_role(question)
        is_enough = halves.is_enough and trace.decision.allowed
        enough = ", by his name, which in one account is enough" if is_enough else ""
        lines.append(f"The role's half, its trust policy: {_says(allows=halves.resource)}{enough}.")
        if call.principal.kind is not PrincipalKind.WEB_IDENTITY:
            lines.append(f"The caller's half, his own policies and limits: {_says(allows=halves.caller)}.")
    return trace, [*lines, *missing, *_apart(call, folded)]


def _says(*, allows: bool) -> str:
    return "allows" if allows else "refuses"


def _apart(call: Call, folded: str) -> Iterator[str]:
    if folded == "sts:assumerole" and call.principal.kind is PrincipalKind.ROOT:
        yield "Policies apart, roles may not be assumed by root accounts."
    if folded == "sts:assumerolewithwebidentity" and call.principal.kind is not PrincipalKind.WEB_IDENTITY:
        yield "Whoever signs is not looked at: name the web identity's provider as the principal."


async def _demand(service: Service, call: Call, action: str, resource: str) -> tuple[OnIdentity, list[str]]:
    """What is asked for, as a request would ask for it, and what there is not."""
    if fold(action) in _ON_ROLES and ":role/" in resource:
        try:
            found = await find_assumed(service, resource)
        except Fault as fault:
            raise NotExplainedError(fault.message) from None
        tags = {} if found.record is None else found.record.tags
        missing = [] if found.record else [f"There is no {resource}: it is trusted by nobody."]
        return OnIdentity(action, resource, tags, {}, found.trust, found.account), missing
    if fold(action) in _ASSUMING:
        raise NotExplainedError(f"{resource} is no role's ARN")
    owner = resource.split(":")[4] if resource.count(":") >= 5 else ""
    if owner not in {"", "*", AWS, call.account}:
        raise NotExplainedError(f"{action} is done in the caller's own account, and {resource} is of another")
    found_tags = await _tags(service, resource)
    missing = [] if found_tags is not None or "*" in resource else [f"There is no {resource}: it has no tags."]
    return OnIdentity(action, resource, found_tags or {}), missing


async def _tags(service: Service, arn: str) -> Mapping[str, str] | None:
    """Of what exists; None where nothing has this ARN."""
    policy = await find_policy(service.identities, arn)
    if policy is not None:
        return policy.tags or {}
    *_, account, named = arn.rsplit(":", 2)
    kind, _, rest = named.partition("/")
    if kind not in _KINDS or not rest:
        return None
    record = await service.identities.get(_KINDS[kind], account, rest.rpartition("/")[2])
    if record is None or arn_of(record) != arn:
        return None
    return getattr(record, "tags", None) or {}
