"""How much one account may have, of keys in one region: AWS's quotas as defaults, each of which an operator may set.

A limit is looked at when something is added, never when it is read: what a home holds beyond a limit that was lowered
later stays usable. Sources: KMS developer guide, "Resource quotas"; `RotateKeyOnDemand` and `PutKeyPolicy` of the API
reference; IAM user guide, "IAM and AWS STS quotas".
"""

from __future__ import annotations

from typing import Annotated

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[limits]` of the service's configuration; what it does not name is as AWS has it."""

    keys_max: _Count = 100_000
    aliases_per_key_max: _Count = 50
    tags_per_key_max: _Count = 50
    grants_per_key_max: _Count = 50_000
    # Ours: a grantee's grants on a key are read together, when he asks after one of them changed.
    grants_per_grantee_max: _Count = 1_000
    on_demand_rotations_max: _Count = 25
    # The model takes no policy of more than 131,072 characters, whatever is configured here.
    key_policy_bytes_max: Annotated[int, msgspec.Meta(ge=1, le=131_072)] = 32 * 1024
    users_max: _Count = 5_000
    groups_max: _Count = 300
    roles_max: _Count = 1_000
    managed_policies_max: _Count = 1_500
    # To one user, group or role.
    attached_policies_max: _Count = 10
    # Without white space; the parser takes no more than 32 KiB with it.
    trust_policy_chars_max: Annotated[int, msgspec.Meta(ge=1, le=32 * 1024)] = 2_048
