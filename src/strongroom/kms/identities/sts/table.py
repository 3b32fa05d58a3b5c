"""The table of STS's operations: a row per operation that exists; every other action is unknown."""

from __future__ import annotations

from typing import Final

from strongroom.kms.identities.operation import Operation
from strongroom.kms.identities.sts import callers

TABLE: Final[dict[str, Operation]] = {
    **callers.ROWS,
}
