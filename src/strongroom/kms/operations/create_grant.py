"""CreateGrant: a grant on a key, in force when the answer is sent.

A grant with a name can be asked for again: the same name with the same parameters, from the same account, is the same grant,
of which there is a token more. Several at once make one, for the store takes no second one like it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.faults import LimitExceededException, ValidationException
from strongroom.kms.gate import Demand
from strongroom.kms.iam.grants import GrantConstraints, operations_of
from strongroom.kms.iam.principals import root_arn
from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.keys.grant_tokens import format_grant_token, new_grant_id
from strongroom.kms.keys.grants import OnNewGrant
from strongroom.kms.keys.lifecycle import require_state
from strongroom.kms.operations.grants import OPERATIONS, require_grant_tokens, require_principal
from strongroom.kms.operations.requests import SYMMETRIC_DEFAULT, stop_if_dry_run
from strongroom.kms.repositories import GrantRecord, Put
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import CreateGrantRequest, CreateGrantResponse

# "Each constraint value can include up to 8 encryption context pairs. The encryption context value in each constraint cannot
# exceed 384 characters" (API reference, CreateGrant): names of pairs are held to the same length.
_PAIRS_MAX: Final = 8
_PAIR_CHARS_MAX: Final = 384


def demands(request: CreateGrantRequest) -> Sequence[Demand]:
    constraints = _constraints(request)
    _require_form(request, constraints)
    return (OnNewGrant(request.KeyId, request.Operations, constraints),)


async def run(service: Service, call: Call, request: CreateGrantRequest) -> CreateGrantResponse:
    """1. tokens and state, 2. who, 3. what, 4. the one that is there already, 5. room for it, 6. it is durable."""
    (admission,) = call.admissions
    entry = admission.key
    if request.GrantTokens:
        await require_grant_tokens(service, request.GrantTokens)
    require_state(entry, call.operation)  # 1
    grantee = await require_principal(service, request.GranteePrincipal, request.GranteeServicePrincipal)  # 2
    retiring = await require_principal(service, request.RetiringPrincipal, request.RetiringServicePrincipal)
    constraints = _constraints(request)
    _require_fit(entry, request, constraints)  # 3
    stop_if_dry_run(request.DryRun, admission)
    record = GrantRecord(
        key_id=entry.record.key_id,
        grant_id=new_grant_id(),
        version=1,
        account=entry.record.account,
        region=entry.record.region,
        name=request.Name or "",
        grantee=grantee.kept,
        retiring=retiring.kept,
        issuing_account=root_arn(call.account),
        operations=tuple(name for name in OPERATIONS if name in request.Operations),
        created_at_s=service.clock(),
        context_equals=_in_order(constraints.context_equals),
        context_subset=_in_order(constraints.context_subset),
        source_arn=constraints.source_arn,
        grantee_arn=grantee.arn,
        retiring_arn=retiring.arn,
    )
    existing = await service.directory.store.grant_like(record) if record.name else None  # 4
    if existing is None:
        await _add(service, call, record)  # 5, 6
    else:
        admission.permit.redeem(record.key_id)
        record = existing
    call.response_elements = {"grantId": record.grant_id}
    token = format_grant_token(service.directory.store.tag, record.key_id, record.grant_id)
    return CreateGrantResponse(GrantId=record.grant_id, GrantToken=token)


async def _add(service: Service, call: Call, record: GrantRecord) -> None:
    (admission,) = call.admissions
    most = service.limits.grants_per_grantee_max
    usage = await service.directory.store.count_grants_to(record.key_id, record.grantee)
    if usage >= most:
        raise LimitExceededException(f"Grants per grantee on this key quota is {most}, current usage is {usage}.")
    grant_count = service.directory.grant_count(record.key_id)
    await grant_count.reserve(service.limits.grants_per_key_max)
    try:
        await service.directory.commit(((admission.permit, record.key_id),), [Put(record, replaces=None)])
    finally:
        grant_count.release()


def _constraints(request: CreateGrantRequest) -> GrantConstraints:
    """An empty context constrains nothing (Access Analyzer API reference, KmsGrantConstraints)."""
    asked = request.Constraints
    if asked is None:
        return GrantConstraints()
    return GrantConstraints(
        asked.EncryptionContextEquals or None, asked.EncryptionContextSubset or None, asked.SourceArn
    )


def _in_order(context: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if context is None else dict(sorted(context.items()))


# ── what is refused whatever the key ────────────────────────────────────────────────────────────────────────────────────


def _require_form(request: CreateGrantRequest, constraints: GrantConstraints) -> None:
    """1. one grantee, 2. one retiring principal, 3. what a service needs, 4. operations, 5. one context, not too long."""
    grantee, service = request.GranteePrincipal, request.GranteeServicePrincipal
    retiring, retiring_service = request.RetiringPrincipal, request.RetiringServicePrincipal
    if (grantee is None) == (service is None):  # 1
        raise ValidationException("You must specify either GranteePrincipal or GranteeServicePrincipal, but not both.")
    if retiring is not None and retiring_service is not None:  # 2
        raise ValidationException("You can specify either RetiringPrincipal or RetiringServicePrincipal, but not both.")
    if service is not None:  # 3
        if constraints.source_arn is None:
            raise ValidationException(
                "When you specify a GranteeServicePrincipal, you must also specify a SourceArn grant constraint."
            )
        if retiring is None and retiring_service is None:
            raise ValidationException(
                "When you specify a GranteeServicePrincipal, you must also specify a RetiringPrincipal or "
                "RetiringServicePrincipal."
            )
    if not request.Operations:  # 4
        raise ValidationException("Grants must contain at least one operation.")
    if set(request.Operations) == {"CreateGrant"}:
        raise ValidationException("Grants must not contain only the CreateGrant operation.")
    if constraints.context_equals is not None and constraints.context_subset is not None:  # 5
        raise ValidationException(
            "You can specify either EncryptionContextEquals or EncryptionContextSubset, but not both."
        )
    _require_size(constraints.context_equals or constraints.context_subset or {})


def _require_size(context: Mapping[str, str]) -> None:
    if len(context) > _PAIRS_MAX:
        raise ValidationException(f"A grant constraint can include up to {_PAIRS_MAX} encryption context pairs.")
    if any(max(len(name), len(value)) > _PAIR_CHARS_MAX for name, value in context.items()):
        raise ValidationException(
            f"The encryption context value in a grant constraint cannot exceed {_PAIR_CHARS_MAX} characters."
        )


# ── what does not fit the key ───────────────────────────────────────────────────────────────────────────────────────────


def _require_fit(entry: KeyEntry, request: CreateGrantRequest, constraints: GrantConstraints) -> None:
    record = entry.record
    is_symmetric = record.spec == SYMMETRIC_DEFAULT
    if not is_symmetric and (constraints.context_equals or constraints.context_subset):
        raise ValidationException(
            "EncryptionContext is supported only when creating a grant for a symmetric encryption KMS key."
        )
    possible = operations_of(record.spec, record.usage)
    excess = [name for name in OPERATIONS if name in request.Operations and name not in possible]
    if excess:
        kind = "a symmetric" if is_symmetric or record.usage == "GENERATE_VERIFY_MAC" else "an asymmetric"
        valid = ", ".join(name for name in OPERATIONS if name in possible)
        raise ValidationException(
            f"Operations [{', '.join(excess)}] are not supported when creating a grant for {kind} KMS key with key usage "
            f"{record.usage}. Valid operations are [{valid}]"
        )
