"""The versions of a managed policy: up to five, one of which is in force wherever the policy is used.

A number is never given twice, so that a version that was deleted does not come back as another one. Sources: IAM API
reference; IAM user guide, "Versioning IAM policies"; wordings as LocalStack and moto recorded them from AWS.
"""

from __future__ import annotations

from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.identities.faults import DeleteConflict, LimitExceeded, NoSuchEntity
from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations.changes import change
from strongroom.kms.identities.operations.documents import require_managed_document
from strongroom.kms.identities.operations.policy_finding import (
    FoundPolicy,
    find_policy_to_change,
    find_policy_to_read,
    on_policy,
)
from strongroom.kms.identities.paging import page_of_names
from strongroom.kms.identities.records import ManagedPolicyRecord, PolicyVersion
from strongroom.kms.service import Service
from strongroom.kms.wire import iam_shapes
from strongroom.kms.wire.iam_shapes import (
    CreatePolicyVersionRequest,
    CreatePolicyVersionResponse,
    DeletePolicyVersionRequest,
    GetPolicyVersionRequest,
    GetPolicyVersionResponse,
    ListPolicyVersionsRequest,
    ListPolicyVersionsResponse,
    SetDefaultPolicyVersionRequest,
)
from strongroom.kms.wire.query_codec import encode_document

# IAM user guide, "IAM and AWS STS quotas"; it cannot be raised.
VERSIONS_MAX: Final = 5


def _id_of(version: PolicyVersion) -> str:
    return f"v{version.number}"


def version_shape(
    policy: ManagedPolicyRecord, version: PolicyVersion, document: str | None = None
) -> iam_shapes.PolicyVersion:
    """Only GetPolicyVersion tells the document (API reference, `PolicyVersion`)."""
    return iam_shapes.PolicyVersion(
        Document=document,
        VersionId=_id_of(version),
        IsDefaultVersion=version.number == policy.default_number,
        CreateDate=version.created_at_s,
    )


def _require(found: FoundPolicy, version_id: str) -> tuple[ManagedPolicyRecord, PolicyVersion]:
    policy = found.require()
    for version in policy.versions:
        if _id_of(version) == version_id:
            return policy, version
    raise NoSuchEntity(f"Policy {found.arn} version {version_id} does not exist or is not attachable.")


async def _create(
    service: Service, call: Call, request: CreatePolicyVersionRequest, found: FoundPolicy
) -> CreatePolicyVersionResponse:
    policy = found.require()
    require_managed_document(request.PolicyDocument)
    if len(policy.versions) >= VERSIONS_MAX:
        raise LimitExceeded(
            f"A managed policy can have up to {VERSIONS_MAX} versions. "
            "Before you create a new version, you must delete an existing version."
        )
    now_s = service.clock()
    version = PolicyVersion(policy.last_number + 1, request.PolicyDocument, now_s)
    default_number = version.number if request.SetAsDefault else policy.default_number
    await change(
        service,
        call,
        policy,
        versions=(*policy.versions, version),
        default_number=default_number,
        last_number=version.number,
        updated_at_s=now_s,
    )
    shape = iam_shapes.PolicyVersion(
        VersionId=_id_of(version), IsDefaultVersion=version.number == default_number, CreateDate=now_s
    )
    return CreatePolicyVersionResponse(PolicyVersion=shape)


async def _get(
    service: Service, call: Call, request: GetPolicyVersionRequest, found: FoundPolicy
) -> GetPolicyVersionResponse:
    policy, version = _require(found, request.VersionId)
    return GetPolicyVersionResponse(PolicyVersion=version_shape(policy, version, encode_document(version.document)))


async def _list(
    service: Service, call: Call, request: ListPolicyVersionsRequest, found: FoundPolicy
) -> ListPolicyVersionsResponse:
    """The newest first."""
    policy = found.require()
    by_place = {f"{1_000_000_000 - version.number:010}": version for version in policy.versions}
    page = page_of_names(request, tuple(by_place))
    versions = [version_shape(policy, by_place[place]) for place in page.items]
    return ListPolicyVersionsResponse(Versions=versions, IsTruncated=page.is_truncated, Marker=page.marker)


async def _set_default(
    service: Service, call: Call, request: SetDefaultPolicyVersionRequest, found: FoundPolicy
) -> None:
    policy, version = _require(found, request.VersionId)
    if version.number != policy.default_number:
        await change(service, call, policy, default_number=version.number, updated_at_s=service.clock())


async def _delete(service: Service, call: Call, request: DeletePolicyVersionRequest, found: FoundPolicy) -> None:
    policy, version = _require(found, request.VersionId)
    if version.number == policy.default_number:
        raise DeleteConflict("Cannot delete the default version of a policy.")
    left = tuple(other for other in policy.versions if other is not version)
    await change(service, call, policy, versions=left, updated_at_s=service.clock())


ROWS: Final = {
    "CreatePolicyVersion": Operation(find_policy_to_change, on_policy, _create, mutates=True),
    "DeletePolicyVersion": Operation(find_policy_to_change, on_policy, _delete, mutates=True),
    "GetPolicyVersion": Operation(find_policy_to_read, on_policy, _get),
    "ListPolicyVersions": Operation(find_policy_to_read, on_policy, _list),
    "SetDefaultPolicyVersion": Operation(find_policy_to_change, on_policy, _set_default, mutates=True),
}
