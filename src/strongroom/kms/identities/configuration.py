"""What the operator's configuration says of identities: the organisation's limits, and who vouches for web identities."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strongroom.kms.config import KmsConfig
from strongroom.kms.identities.configured import Documents
from strongroom.kms.identities.organization import UNLIMITED, Organization, read_organization
from strongroom.kms.identities.providers import Provider, read_providers


class IdentityConfiguration(msgspec.Struct, frozen=True):
    """`providers` are found by their issuers."""

    organization: Organization = UNLIMITED
    providers: Mapping[str, Provider] = {}


NOTHING_CONFIGURED = IdentityConfiguration()


def read_identity_configuration(config: KmsConfig) -> IdentityConfiguration:
    """Parse what the supervisor handed over.

    Raises:
        ConfiguredError: something of it is refused; the text names the file and the place.
    """
    return IdentityConfiguration(
        read_organization(
            config.organization, Documents("organization", config.organization_documents), config.account
        ),
        read_providers(config.identity_providers, Documents("identity-providers", config.identity_provider_documents)),
    )
