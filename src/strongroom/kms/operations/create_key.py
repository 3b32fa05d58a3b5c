"""CreateKey: a record, and a backing key born in the HSM; the key exists when its EKT is durable, and not before."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from strongroom.kms.calls import Call
from strongroom.kms.faults import (
    CustomKeyStoreNotFoundException,
    UnsupportedOperationException,
    ValidationException,
)
from strongroom.kms.gate import Demand, OnAccount
from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.keys.material import make_material
from strongroom.kms.operations.key_policies import default_policy, require_no_lockout, require_policy
from strongroom.kms.operations.metadata import key_metadata
from strongroom.kms.operations.requests import ENCRYPT_DECRYPT, SYMMETRIC_DEFAULT
from strongroom.kms.operations.tags import add_tags
from strongroom.kms.permits import KEYLESS
from strongroom.kms.repositories import KeyRecord, KeyState, MaterialRecord, Put
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import CreateKeyRequest, CreateKeyResponse


def demands(request: CreateKeyRequest) -> Sequence[Demand]:
    create = OnAccount("kms:CreateKey")
    return (create, OnAccount("kms:TagResource")) if request.Tags else (create,)


async def run(service: Service, call: Call, request: CreateKeyRequest) -> CreateKeyResponse:
    """1. what kind of key, 2. its policy and tags, 3. room for it, 4. the backing key, 5. both durable, 6. the answer."""
    spec, usage = _spec_and_usage(request)  # 1
    tags = add_tags({}, request.Tags or (), service.limits)  # 2
    key_policy = request.Policy if request.Policy is not None else default_policy(call.account)
    document, principal_ids = await require_policy(service, key_policy)
    record = KeyRecord(
        key_id=str(uuid.uuid4()),
        version=1,
        account=call.account,
        region=service.region,
        state=KeyState.ENABLED,
        spec=spec,
        usage=usage,
        origin="AWS_KMS",
        multi_region=False,
        description=request.Description or "",
        key_policy=key_policy,
        tags=tags,
        created_at_s=service.clock(),
        principal_ids=principal_ids,
    )
    if not request.BypassPolicyLockoutSafetyCheck:
        require_no_lockout(service, call, document, record)
    key_count = service.directory.key_count(call.account)
    await key_count.reserve(service.limits.keys_max)  # 3
    try:
        material = await _make(service, call, record)
    finally:
        key_count.release()
    entry = KeyEntry(record, [material], document)  # 6
    call.touched.append(entry)
    call.response_elements = {
        "keyMetadata": {"keyId": record.key_id, "arn": entry.arn, "keySpec": spec, "keyUsage": usage}
    }
    return CreateKeyResponse(KeyMetadata=key_metadata(entry))


async def _make(service: Service, call: Call, record: KeyRecord) -> MaterialRecord:
    """The backing key of the record, stored with it."""
    creation, *tagging = call.admissions
    for admission in tagging:
        admission.permit.redeem(KEYLESS)
    storing = service.gate.follow_up(creation.permit, record.key_id)
    material = await make_material(service, creation.permit, record, record.created_at_s)  # 4
    await service.directory.commit(  # 5
        ((storing, record.key_id),), [Put(record, replaces=None), Put(material, replaces=None)]
    )
    return material


def _spec_and_usage(request: CreateKeyRequest) -> tuple[str, str]:
    if request.KeySpec is not None and request.CustomerMasterKeySpec is not None:
        raise ValidationException(
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated."
        )
    spec = request.KeySpec or request.CustomerMasterKeySpec or SYMMETRIC_DEFAULT
    usage = request.KeyUsage or ENCRYPT_DECRYPT
    if request.CustomKeyStoreId is not None:
        raise CustomKeyStoreNotFoundException
    if spec != SYMMETRIC_DEFAULT:
        raise UnsupportedOperationException(f"KeySpec {spec} is not supported yet.")
    if usage != ENCRYPT_DECRYPT:
        raise ValidationException(f"KeyUsage {usage} is not compatible with KeySpec {spec}")
    if request.Origin not in {None, "AWS_KMS"}:
        raise UnsupportedOperationException(f"Origin {request.Origin} is not supported yet.")
    if request.XksKeyId is not None:
        raise ValidationException("XksKeyId can only be specified when Origin is EXTERNAL_KEY_STORE.")
    if request.MultiRegion:
        raise UnsupportedOperationException("Multi-Region keys are not supported yet.")
    return spec, usage
