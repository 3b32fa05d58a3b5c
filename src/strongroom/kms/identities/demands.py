"""What a caller must be allowed to do before an operation on identities runs, and what policies may ask about it.

Tags of what an action is on, and of the request, become condition keys by one rule for every operation; what else a policy
can ask for (`iam:PolicyARN`, `iam:PermissionsBoundary`) the operation states. Source: Service Authorization Reference,
"Actions, resources, and condition keys for AWS Identity and Access Management (IAM)".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from strongroom.kms.iam.documents import PolicyDocument

Stated = Mapping[str, Sequence[str]]


class OnIdentity(msgspec.Struct, frozen=True):
    """An action on what an ARN names, whether or not it exists.

    `tags` are those of what exists; `stated` are values of condition keys, by the key as policies spell it. A role that is
    assumed has a policy of its own, and may be another account's.
    """

    action: str
    arn: str
    tags: Mapping[str, str] = {}
    stated: Stated = {}
    resource_policy: PolicyDocument | None = None
    resource_account: str = ""


def stated_values(demand: OnIdentity, request: object) -> dict[str, Sequence[str]]:
    """Everything that conditions of a demand can find beyond what every request has."""
    stated: dict[str, Sequence[str]] = dict(demand.stated)
    for key, value in demand.tags.items():
        stated[f"aws:ResourceTag/{key}"] = stated[f"iam:ResourceTag/{key}"] = (value,)
    tags: Sequence[Any] = getattr(request, "Tags", None) or ()
    for tag in tags:
        stated[f"aws:RequestTag/{tag.Key}"] = (tag.Value,)
    keys = [tag.Key for tag in tags] or getattr(request, "TagKeys", None)
    if keys:
        stated["aws:TagKeys"] = keys
    return stated
