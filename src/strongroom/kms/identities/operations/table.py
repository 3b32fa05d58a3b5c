"""The table of IAM's operations: a row per operation that exists; every other action is unknown."""

from __future__ import annotations

from typing import Final

from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations import (
    access_keys,
    account_summary,
    attachments,
    authorization_details,
    boundaries,
    groups,
    inline_policies,
    other_credentials,
    policies,
    policy_uses,
    policy_versions,
    roles,
    tags,
    users,
)

TABLE: Final[dict[str, Operation]] = {
    **users.ROWS,
    **groups.ROWS,
    **access_keys.ROWS,
    **other_credentials.ROWS,
    **account_summary.ROWS,
    **authorization_details.ROWS,
    **roles.ROWS,
    **policies.ROWS,
    **policy_versions.ROWS,
    **policy_uses.ROWS,
    **inline_policies.ROWS,
    **attachments.ROWS,
    **boundaries.ROWS,
    **tags.ROWS,
}
