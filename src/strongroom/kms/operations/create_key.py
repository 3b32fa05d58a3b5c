"""CreateKey: a record, and a backing key born in the HSM; the key exists when its EKT is durable, and not before."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Final

from strongroom.boundary.messages import GenerateHbk, HbkAnswer
from strongroom.kms.calls import Call
from strongroom.kms.faults import (
    CustomKeyStoreNotFoundException,
    MalformedPolicyDocumentException,
    TagException,
    UnsupportedOperationException,
    ValidationException,
)
from strongroom.kms.gate import Demand, OnAccount
from strongroom.kms.iam.documents import PolicyDocument, PolicyError, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Question, evaluate
from strongroom.kms.iam.principals import root_arn, user_arn
from strongroom.kms.keys.directory import PARTITION, KeyEntry
from strongroom.kms.operations.metadata import key_metadata
from strongroom.kms.operations.requests import ENCRYPT_DECRYPT, SYMMETRIC_DEFAULT
from strongroom.kms.permits import KEYLESS
from strongroom.kms.repositories import KeyRecord, KeyState, MaterialRecord, MaterialState, Put, UserRecord
from strongroom.kms.service import Service
from strongroom.kms.wire.shapes import CreateKeyRequest, CreateKeyResponse
from strongroom.protocol.arn import format_key_arn

# KMS developer guide, "Tagging keys": at most 50 tags.
_TAGS_MAX: Final = 50


def demands(request: CreateKeyRequest) -> Sequence[Demand]:
    create = OnAccount("kms:CreateKey")
    return (create, OnAccount("kms:TagResource")) if request.Tags else (create,)


async def run(service: Service, call: Call, request: CreateKeyRequest) -> CreateKeyResponse:
    """1. what kind of key, 2. its policy and tags, 3. the backing key, 4. both durable, 5. the answer."""
    spec, usage = _spec_and_usage(request)  # 1
    tags = _tags(request)  # 2
    key_policy = request.Policy if request.Policy is not None else _default_policy(service.account)
    document = await _require_policy(service, key_policy)
    key_id = str(uuid.uuid4())
    now_s = service.clock()
    record = KeyRecord(
        key_id=key_id,
        version=1,
        account=service.account,
        region=service.region,
        state=KeyState.ENABLED,
        spec=spec,
        usage=usage,
        origin="AWS_KMS",
        multi_region=False,
        description=request.Description or "",
        key_policy=key_policy,
        tags=tags,
        created_at_s=now_s,
    )
    if not request.BypassPolicyLockoutSafetyCheck:
        _require_no_lockout(call, document, format_key_arn(PARTITION, service.region, service.account, key_id))
    creation, *tagging = call.admissions
    for admission in tagging:
        admission.permit.redeem(KEYLESS)
    storing = service.gate.follow_up(creation.permit, key_id)
    answer = await service.link.call(  # 3
        (creation.permit,),
        (),
        lambda request_id: GenerateHbk(request_id, key_id, service.account, service.region, spec, usage),
        HbkAnswer,
    )
    material = MaterialRecord(
        hbkid=answer.hbkid, version=1, key_id=key_id, state=MaterialState.CURRENT, ekt=answer.ekt, created_at_s=now_s
    )
    await service.directory.commit(  # 4
        ((storing, key_id),), [Put(record, replaces=None), Put(material, replaces=None)]
    )
    entry = KeyEntry(record, [material], document)  # 5
    call.touched.append(entry)
    metadata = key_metadata(entry)
    call.response_elements = {"keyMetadata": {"keyId": key_id, "arn": entry.arn, "keySpec": spec, "keyUsage": usage}}
    return CreateKeyResponse(KeyMetadata=metadata)


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


def _tags(request: CreateKeyRequest) -> dict[str, str]:
    tags: dict[str, str] = {}
    for tag in request.Tags or ():
        if tag.TagKey in tags:
            raise TagException("Duplicate tag keys")
        if tag.TagKey.lower().startswith("aws:"):
            raise TagException("Tags beginning with aws: are reserved")
        tags[tag.TagKey] = tag.TagValue
    if len(tags) > _TAGS_MAX:
        raise TagException("Too many tags")
    return tags


def _default_policy(account: str) -> str:
    """KMS developer guide, "Default key policy", for a key made through the API."""
    statement = {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": root_arn(account)},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]}, indent=2)


async def _require_policy(service: Service, text: str) -> PolicyDocument:
    """The parsed policy; every user that it names exists, as AWS demands of principals."""
    try:
        document = parse_policy(text, PolicyKind.KEY)
    except PolicyError as error:
        raise MalformedPolicyDocumentException(str(error)) from None
    for principal in document.principals():
        if principal in {"*", service.account, root_arn(service.account)}:
            continue
        name = principal.removeprefix(user_arn(service.account, ""))
        if name == principal or await service.directory.store.get(UserRecord, service.account, name) is None:
            raise MalformedPolicyDocumentException("Policy contains a statement with one or more invalid principals.")
    return document


def _require_no_lockout(call: Call, document: PolicyDocument, key_arn: str) -> None:
    caller = call.principal_entry
    question = Question(caller.principal, "kms:PutKeyPolicy", key_arn, document, caller.identity_policies)
    if not evaluate(question).allowed:
        raise MalformedPolicyDocumentException(
            "The new key policy will not allow you to update the key policy in the future."
        )
