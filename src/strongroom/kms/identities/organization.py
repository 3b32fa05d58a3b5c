"""Limits of the whole organisation, which no account can lift: service control and resource control policies.

They come from the operator's configuration and are read once, at the start. A service control policy limits the principals
of an account, its root too; a resource control policy limits who may use the resources of an account, whoever asks. The main
account is the organisation's management account: AWS restricts it by neither, and so does this, unless the configuration
says otherwise. Source: Organizations user guide, "Service control policies", "Resource control policies".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from strongroom.kms.iam.documents import PolicyDocument, PolicyError, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Levels

_AccountId = Annotated[str, msgspec.Meta(pattern=r"(?a)^[0-9]{12}\Z")]
# Organizations API reference, "Organization": the pattern of its id.
_OrganizationId = Annotated[str, msgspec.Meta(pattern=r"(?a)^(?:o-[a-z0-9]{10,32})?\Z")]


class NamedText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document with the name of the file that it was read from."""

    file: str
    text: str


class LevelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is attached at one level. No service control policies at a level: it limits nothing."""

    service_control_policies: tuple[NamedText, ...] = ()
    resource_control_policies: tuple[NamedText, ...] = ()


class OrganizationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table `[organization]` of the service's configuration."""

    id: _OrganizationId = ""
    applies_to_main_account: bool = False
    root: LevelConfig = LevelConfig()
    accounts: dict[_AccountId, LevelConfig] = {}


class Organization:
    """What limits whom."""

    def __init__(self, main_account: str, config: OrganizationConfig) -> None:
        """Parse every document.

        Raises:
            PolicyError: one of them is refused; the text names the file and the place.
        """
        self.organization_id: Final = config.id
        self._exempt: Final = "" if config.applies_to_main_account else main_account
        root = config.root
        self._root_levels: Final = _levels(root)
        self._root_controls: Final = _parsed(root.resource_control_policies, PolicyKind.RESOURCE_CONTROL)
        self._levels: Final[Mapping[str, Levels]] = {
            account: self._root_levels + _levels(level) for account, level in config.accounts.items()
        }
        self._controls: Final[Mapping[str, tuple[PolicyDocument, ...]]] = {
            account: self._root_controls + _parsed(level.resource_control_policies, PolicyKind.RESOURCE_CONTROL)
            for account, level in config.accounts.items()
        }

    def service_controls(self, account: str) -> Levels:
        """The levels above the principals of an account, each of which must allow."""
        return () if account == self._exempt else self._levels.get(account, self._root_levels)

    def resource_controls(self, account: str) -> tuple[PolicyDocument, ...]:
        """What limits the use of an account's resources."""
        return () if account == self._exempt else self._controls.get(account, self._root_controls)


def _levels(level: LevelConfig) -> Levels:
    parsed = _parsed(level.service_control_policies, PolicyKind.SERVICE_CONTROL)
    return (parsed,) if parsed else ()


def _parsed(texts: tuple[NamedText, ...], kind: PolicyKind) -> tuple[PolicyDocument, ...]:
    documents = []
    for one in texts:
        try:
            documents.append(parse_policy(one.text, kind, one.file))
        except PolicyError as error:
            raise PolicyError(f"{one.file}: {error}") from None
    return tuple(documents)


# A home without an organisation's limits.
UNLIMITED: Final = Organization("", OrganizationConfig())
