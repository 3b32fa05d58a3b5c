"""What an operation works with: the records, the HSM, the gate, and what the start decided."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.keys.directory import Directory
from strongroom.kms.limits import Limits
from strongroom.kms.trail import Trail


class Service(msgspec.Struct, frozen=True):
    """One account in one region."""

    account: str
    region: str
    directory: Directory
    link: HsmLink
    gate: Gate
    clock: Callable[[], float]
    trail: Trail
    limits: Limits = Limits()
