"""Managed policies: made, shown, listed, deleted. Their versions are in `policy_versions.py`.

Sources: IAM API reference; wordings as LocalStack and Terraform's users recorded them from AWS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.arns import ROOT_PATH
from strongroom.kms.identities.aws_policies import AWS_POLICIES
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.identities.faults import DeleteConflict, EntityAlreadyExists, LimitExceeded
from strongroom.kms.identities.ids import MANAGED_POLICY, new_id
from strongroom.kms.identities.managed_policies import policy_arn
from strongroom.kms.identities.operation import Operation, commit
from strongroom.kms.identities.operations.attachable import place_of
from strongroom.kms.identities.operations.documents import require_managed_document
from strongroom.kms.identities.operations.finding import find_nothing, own_action
from strongroom.kms.identities.operations.policy_finding import (
    FoundPolicy,
    find_policy_to_change,
    find_policy_to_read,
    on_policy,
)
from strongroom.kms.identities.operations.policy_uses import Uses, find_uses, is_used
from strongroom.kms.identities.operations.tags import new_tags, tag_shapes
from strongroom.kms.identities.paging import page_of_records
from strongroom.kms.identities.records import ManagedPolicyRecord, PolicyVersion
from strongroom.kms.repositories import Put, Remove
from strongroom.kms.service import Service
from strongroom.kms.wire.iam_shapes import (
    CreatePolicyRequest,
    CreatePolicyResponse,
    DeletePolicyRequest,
    GetPolicyRequest,
    GetPolicyResponse,
    ListPoliciesRequest,
    ListPoliciesResponse,
    Policy,
)

_FIRST: Final = 1
_NO_USES: Final = Uses({}, {})


def policy_shape(policy: ManagedPolicyRecord, uses: Uses, *, tags: bool = False, description: bool = False) -> Policy:
    """Only GetPolicy tells the description, and lists leave the tags out too (API reference, `Policy`)."""
    arn = policy_arn(policy)
    return Policy(
        PolicyName=policy.name,
        PolicyId=policy.policy_id,
        Arn=arn,
        Path=policy.path,
        DefaultVersionId=f"v{policy.default_number}",
        AttachmentCount=uses.attachments.get(arn, 0),
        PermissionsBoundaryUsageCount=uses.boundaries.get(arn, 0),
        IsAttachable=True,
        Description=policy.description or None if description else None,
        CreateDate=policy.created_at_s,
        UpdateDate=policy.updated_at_s,
        Tags=tag_shapes(policy.tags) or None if tags else None,
    )


# ── CreatePolicy ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _on_new_policy(call: Call, request: CreatePolicyRequest, _: None) -> Sequence[OnIdentity]:
    """Tags of a new policy need leave to tag, too (IAM user guide, "Tag customer managed policies")."""
    arn = f"arn:aws:iam::{call.account}:policy{request.Path or ROOT_PATH}{request.PolicyName}"
    making = OnIdentity(own_action(call), arn)
    return (making, OnIdentity("iam:TagPolicy", arn)) if request.Tags else (making,)


async def _create(service: Service, call: Call, request: CreatePolicyRequest, _: None) -> CreatePolicyResponse:
    tags = new_tags(request.Tags)
    require_managed_document(request.PolicyDocument)
    if await service.identities.find_folded(ManagedPolicyRecord, call.account, request.PolicyName) is not None:
        raise EntityAlreadyExists(
            f"A policy called {request.PolicyName} already exists. Duplicate names are not allowed."
        )
    most = service.limits.managed_policies_max
    if await service.identities.count_named(ManagedPolicyRecord, call.account) >= most:
        raise LimitExceeded(f"Cannot exceed quota for PoliciesPerAccount: {most}")
    now_s = service.clock()
    policy = ManagedPolicyRecord(
        account=call.account,
        name=request.PolicyName,
        version=1,
        policy_id=new_id(MANAGED_POLICY),
        path=request.Path or ROOT_PATH,
        description=request.Description or "",
        versions=(PolicyVersion(_FIRST, request.PolicyDocument, now_s),),
        default_number=_FIRST,
        last_number=_FIRST,
        tags=tags,
        created_at_s=now_s,
        updated_at_s=now_s,
    )
    await commit(service, call, [Put(policy, replaces=None)])
    return CreatePolicyResponse(Policy=policy_shape(policy, _NO_USES, tags=True))


# ── GetPolicy, ListPolicies ─────────────────────────────────────────────────────────────────────────────────────────────


async def _get(service: Service, call: Call, request: GetPolicyRequest, found: FoundPolicy) -> GetPolicyResponse:
    policy, uses = found.require(), await find_uses(service, call.account)
    return GetPolicyResponse(Policy=policy_shape(policy, uses, tags=True, description=True))


def _on_policies(call: Call, request: ListPoliciesRequest, _: None) -> Sequence[OnIdentity]:
    """Not about one policy: the Service Authorization Reference knows no resource of this action."""
    return (OnIdentity(own_action(call), f"arn:aws:iam::{call.account}:policy{request.PathPrefix or ROOT_PATH}"),)


async def _list(service: Service, call: Call, request: ListPoliciesRequest, _: None) -> ListPoliciesResponse:
    """AWS's first, then the account's own."""
    prefix, uses = request.PathPrefix or ROOT_PATH, await find_uses(service, call.account)
    of_aws = AWS_POLICIES.values() if request.Scope in {None, "All", "AWS"} else ()

    async def read(after: str, limit: int) -> list[ManagedPolicyRecord]:
        policies = [policy for policy in of_aws if place_of(policy) > after]
        if request.Scope != "AWS":
            name = after[1:] if after.startswith("1") else ""
            policies += await service.identities.list_named(ManagedPolicyRecord, call.account, name, limit)
        return policies[:limit]

    page = await page_of_records(
        request,
        read,
        place_of,
        lambda policy: (
            policy.path.startswith(prefix)
            and is_used(uses, policy_arn(policy), request.PolicyUsageFilter, only_attached=bool(request.OnlyAttached))
        ),
    )
    policies = [policy_shape(policy, uses) for policy in page.items]
    return ListPoliciesResponse(Policies=policies, IsTruncated=page.is_truncated, Marker=page.marker)


# ── DeletePolicy ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _delete(service: Service, call: Call, request: DeletePolicyRequest, found: FoundPolicy) -> None:
    """Nothing uses it, and only the version that is in force is left."""
    policy = found.require()
    uses = await find_uses(service, call.account)
    if uses.attachments.get(found.arn) or uses.boundaries.get(found.arn):
        raise DeleteConflict("Cannot delete a policy attached to entities.")
    if len(policy.versions) > 1:
        raise DeleteConflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
            "The default version is deleted with the policy."
        )
    await commit(service, call, [Remove(policy)])


ROWS: Final = {
    "CreatePolicy": Operation(find_nothing, _on_new_policy, _create, mutates=True),
    "DeletePolicy": Operation(find_policy_to_change, on_policy, _delete, mutates=True),
    "GetPolicy": Operation(find_policy_to_read, on_policy, _get),
    "ListPolicies": Operation(find_nothing, _on_policies, _list),
}
