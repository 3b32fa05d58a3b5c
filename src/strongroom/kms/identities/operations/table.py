"""The table of IAM's operations: a row per operation that exists; every other action is unknown."""

from __future__ import annotations

from typing import Final

from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.operations import users

TABLE: Final[dict[str, Operation]] = {
    **users.ROWS,
}
