"""Key policies as CreateKey and PutKeyPolicy take them: understood in full, naming who exists, locking nobody out.

A key has one policy, called `default` (the other name of AWS's, AWS_RAM, belongs to a service that is not here).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Final

from strongroom.kms.calls import Call
from strongroom.kms.faults import LimitExceededException, MalformedPolicyDocumentException
from strongroom.kms.iam.documents import PolicyDocument, PolicyError
from strongroom.kms.iam.principals import root_arn
from strongroom.kms.identities.existence import Existence, MissingPrincipalError
from strongroom.kms.keys.directory import parse_key_policy
from strongroom.kms.repositories import KeyRecord
from strongroom.kms.service import Service

DEFAULT_NAME: Final = "default"


@cache
def default_policy(account: str) -> str:
    """KMS developer guide, "Default key policy", for a key made through the API."""
    statement = {
        "Sid": "Enable IAM User Permissions",
        "Effect": "Allow",
        "Principal": {"AWS": root_arn(account)},
        "Action": "kms:*",
        "Resource": "*",
    }
    return json.dumps({"Version": "2012-10-17", "Id": "key-default-1", "Statement": [statement]}, indent=2)


async def require_policy(service: Service, text: str) -> tuple[PolicyDocument, dict[str, str] | None]:
    """The parsed policy, bound to the unique ids of those whom it names, and these; everybody exists, as AWS demands."""
    size_max = service.limits.key_policy_bytes_max
    if len(text.encode()) > size_max:
        raise LimitExceededException(f"The key policy exceeds the length limit of {size_max} bytes.")
    try:
        document = parse_key_policy(text)
    except PolicyError as error:
        raise MalformedPolicyDocumentException(str(error)) from None
    try:
        principal_ids = await Existence(service.identities, service.main_account).bindings(document)
    except MissingPrincipalError:
        raise MalformedPolicyDocumentException(
            "Policy contains a statement with one or more invalid principals."
        ) from None
    return parse_key_policy(text, principal_ids), principal_ids


def require_no_lockout(service: Service, call: Call, document: PolicyDocument, key: KeyRecord) -> None:
    """The caller could put another policy when this one is in force: what `BypassPolicyLockoutSafetyCheck` bypasses.

    Of the key's side only the new policy is looked at (API reference, PutKeyPolicy: the check evaluates it alone): an RCP
    that denies is no fault of this policy, and no other one would cure it.
    """
    if not service.gate.would_allow(call, "kms:PutKeyPolicy", key, document):
        raise MalformedPolicyDocumentException(
            "The new key policy will not allow you to update the key policy in the future."
        )
