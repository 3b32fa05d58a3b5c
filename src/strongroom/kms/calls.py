"""One request on its way through the service."""

from __future__ import annotations

from typing import Any

import msgspec

from strongroom.kms.audit.events import EVENT_SOURCE, Origin
from strongroom.kms.iam.principals import Principal
from strongroom.kms.keys.directory import KeyEntry, PrincipalEntry
from strongroom.kms.permits import Permit


class Admission(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The gate's yes to one demand: the permit, and the key that was found (None for keyless actions)."""

    permit: Permit
    entry: KeyEntry | None

    @property
    def key(self) -> KeyEntry:
        assert self.entry is not None, f"{self.permit.action} was admitted without a key"
        return self.entry


class Call(msgspec.Struct, eq=False, gc=False):
    """What is known of a request besides its body, and what its audit record will say.

    `parameters` holds only what is never secret: no plaintext, ciphertext or credential. `request` is the typed request
    itself, for the conditions of policies; nobody writes it down, and a traceback does not show it.
    """

    request_id: str
    operation: str
    principal_entry: PrincipalEntry
    origin: Origin
    admissions: list[Admission] = []
    parameters: dict[str, Any] | msgspec.Struct | None = None
    # The keys that the call is about, and what came of it.
    touched: list[KeyEntry] = []
    key_material_id: str | None = None
    # Where one material does not say it all: what `additionalEventData` holds instead.
    additional: dict[str, str] | None = None
    response_elements: dict[str, Any] | None = None
    request: object = None
    # Why it was refused, encoded (`kms/reasons.py`).
    reason: msgspec.Raw | None = None
    # The service that was called, as its events name it.
    event_source: str = EVENT_SOURCE

    def __repr__(self) -> str:
        return f"Call({self.request_id}, {self.operation})"

    @property
    def account(self) -> str:
        """The caller's."""
        return self.principal_entry.principal.account

    @property
    def principal(self) -> Principal:
        return self.principal_entry.principal
