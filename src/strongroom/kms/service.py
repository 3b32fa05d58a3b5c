"""What an operation works with: the records, the HSM, the gate, and what the start decided."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.identities.configuration import NOTHING_CONFIGURED, IdentityConfiguration
from strongroom.kms.keys.directory import Directory
from strongroom.kms.limits import Limits
from strongroom.kms.repositories import Store
from strongroom.kms.trail import Trail


class Service(msgspec.Struct, frozen=True):
    """One region, with all accounts of the home; the main account is the one that was there first."""

    main_account: str
    region: str
    directory: Directory
    # Where identities are kept: the home region's store.
    identities: Store
    link: HsmLink
    gate: Gate
    clock: Callable[[], float]
    trail: Trail
    limits: Limits = Limits()
    configured: IdentityConfiguration = NOTHING_CONFIGURED
