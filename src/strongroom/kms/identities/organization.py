"""Limits of the whole organisation, which no account can lift: service control and resource control policies.

They come from the operator's configuration and are read once, at the start. A service control policy limits the principals
of an account, its root too; a resource control policy limits who may use the resources of an account, whoever asks. The main
account is the organisation's management account: AWS restricts it by neither, and so does this, unless the configuration
says otherwise. Source: Organizations user guide, "Service control policies", "Resource control policies".
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from strongroom.kms.iam.documents import PolicyDocument, PolicyError, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Levels
from strongroom.kms.identities.configured import ConfiguredError, Documents

FILE: Final = "organization.toml"
_AccountId = Annotated[str, msgspec.Meta(pattern=r"(?a)^[0-9]{12}\Z")]
# Organizations API reference, "Organization": the pattern of its id.
_OrganizationId = Annotated[str, msgspec.Meta(pattern=r"(?a)^(?:o-[a-z0-9]{10,32})?\Z")]
_Files = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class _Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is attached at one level. Without service control policies, it limits nobody."""

    service_control_policies: _Files | None = None
    resource_control_policies: _Files | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: _OrganizationId = ""
    applies_to_main_account: bool = False
    root: _Level = _Level()
    accounts: dict[_AccountId, _Level] = {}


class Organization(msgspec.Struct, frozen=True):
    """What limits whom: by account, and for every account that is not named."""

    organization_id: str = ""
    # The account that nothing limits; empty for none.
    exempt: str = ""
    root_levels: Levels = ()
    root_controls: tuple[PolicyDocument, ...] = ()
    levels: Mapping[str, Levels] = {}
    controls: Mapping[str, tuple[PolicyDocument, ...]] = {}

    def service_controls(self, account: str) -> Levels:
        """The levels above the principals of an account, each of which must allow."""
        return () if account == self.exempt else self.levels.get(account, self.root_levels)

    def resource_controls(self, account: str) -> tuple[PolicyDocument, ...]:
        """What limits the use of an account's resources."""
        return () if account == self.exempt else self.controls.get(account, self.root_controls)


# A home without an organisation's limits.
UNLIMITED: Final = Organization()


def read_organization(text: str, documents: Documents, main_account: str) -> Organization:
    """Every document parsed.

    Raises:
        ConfiguredError: the file, or a document, is not as it should be; the text says where.
    """
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfiguredError(f"{FILE}: {error}") from None
    root_levels, root_controls = _levels(file.root, documents), _controls(file.root, documents)
    accounts = file.accounts.items()
    organization = Organization(
        file.id,
        "" if file.applies_to_main_account else main_account,
        root_levels,
        root_controls,
        {account: root_levels + _levels(level, documents) for account, level in accounts},
        {account: root_controls + _controls(level, documents) for account, level in accounts},
    )
    documents.require_all_used()
    return organization


def _levels(level: _Level, documents: Documents) -> Levels:
    files = level.service_control_policies
    return () if files is None else (_parsed(files, PolicyKind.SERVICE_CONTROL, documents),)


def _controls(level: _Level, documents: Documents) -> tuple[PolicyDocument, ...]:
    return _parsed(level.resource_control_policies or (), PolicyKind.RESOURCE_CONTROL, documents)


def _parsed(files: tuple[str, ...], kind: PolicyKind, documents: Documents) -> tuple[PolicyDocument, ...]:
    parsed = []
    for file in files:
        try:
            parsed.append(parse_policy(documents.text(file), kind, documents.place(file)))
        except PolicyError as error:
            raise ConfiguredError(f"{documents.place(file)}: {error}") from None
    return tuple(parsed)
