"""One request on its way through the service."""

from __future__ import annotations

from typing import Any, Final

from strongroom.kms.iam.principals import Principal
from strongroom.kms.keys.directory import KeyEntry, PrincipalEntry
from strongroom.kms.permits import Permit


class Origin:
    """Where a request came from: fixed per connection and user agent."""

    __slots__ = ("source_ip", "user_agent")

    def __init__(self, source_ip: str, user_agent: str) -> None:
        self.source_ip: Final = source_ip
        self.user_agent: Final = user_agent


class Admission:
    """The gate's yes to one demand: the permit, and the key that was found (None for keyless actions)."""

    __slots__ = ("entry", "permit")

    def __init__(self, permit: Permit, entry: KeyEntry | None) -> None:
        self.permit: Final = permit
        self.entry: Final = entry

    @property
    def key(self) -> KeyEntry:
        assert self.entry is not None, f"{self.permit.action} was admitted without a key"
        return self.entry


class Call:
    """What is known of a request besides its body, and what its audit record will say."""

    __slots__ = (
        "admissions",
        "key_material_id",
        "operation",
        "origin",
        "parameters",
        "principal_entry",
        "request_id",
        "response_elements",
        "touched",
    )

    def __init__(self, request_id: str, operation: str, principal_entry: PrincipalEntry, origin: Origin) -> None:
        self.request_id: Final = request_id
        self.operation: Final = operation
        self.principal_entry: Final = principal_entry
        self.origin: Final = origin
        self.admissions: list[Admission] = []
        # For the audit: what was asked (never plaintext, ciphertext or credentials), about which keys, what came of it.
        self.parameters: dict[str, Any] | None = None
        self.touched: list[KeyEntry] = []
        self.key_material_id: str | None = None
        self.response_elements: dict[str, Any] | None = None

    @property
    def principal(self) -> Principal:
        return self.principal_entry.principal
