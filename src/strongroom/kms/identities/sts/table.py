"""The table of STS's operations: a row per operation that exists; every other action is unknown."""

from __future__ import annotations

from typing import Final

from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.sts import assume_role, assume_role_with_web_identity, callers, user_sessions

TABLE: Final[dict[str, Operation]] = {
    **assume_role.ROWS,
    **assume_role_with_web_identity.ROWS,
    **callers.ROWS,
    **user_sessions.ROWS,
}
