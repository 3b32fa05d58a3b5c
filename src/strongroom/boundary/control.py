"""What a supervisor says to the HSM that it started, over a socket pair that the HSM inherited; no session.

The HSM opens no files after its start, so it returns what must be kept (`DomainCreated.sealed_state`) as bytes, and wraps
nothing new until the supervisor has acknowledged that it is stored.
"""

from __future__ import annotations

import msgspec


class CreateDomain(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """Make a domain with this HSM and one offline member; only in state INITIALISED. `DomainCreated`."""

    name: str
    region: str
    service_host_id: str
    service_host_public: bytes
    shares_total: int
    shares_needed: int


class RecoverDomain(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """Take a domain over from its recovery bundle; only in state INITIALISED. `DomainCreated`."""

    recovery_bundle: bytes
    shares: list[bytes]
    domain_token: bytes
    service_host_id: str
    service_host_public: bytes


class AcknowledgeState(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """The sealed state of this version lies on stable storage, twice. `Done`."""

    version: int


class ReportStatus(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """Ask for a `StatusReport`."""


ControlCommand = CreateDomain | RecoverDomain | AcknowledgeState | ReportStatus


class DomainCreated(msgspec.Struct, array_like=True, tag=1, frozen=True):
    """What to store: the sealed state for this HSM, the token for everybody; bundle and shares for people, offline."""

    version: int
    sealed_state: bytes
    domain_token: bytes
    recovery_bundle: bytes
    shares: list[bytes]


class Done(msgspec.Struct, array_like=True, tag=2, frozen=True):
    """Yes."""


class ControlRefused(msgspec.Struct, array_like=True, tag=3, frozen=True):
    """No, with a byte of `statuses.Status`."""

    status: int


class StatusReport(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """The HSM's front panel. Nothing in it is secret."""

    state: str
    hsm_id: str
    domain_id: bytes
    domain_name: str
    region: str
    state_version: int
    state_acknowledged: bool
    domain_key_ids: list[bytes]
    member_ids: list[str]
    measures: dict[str, str]
    frames: int
    commands: int
    refusals: int
    started_at_s: int


ControlAnswer = DomainCreated | Done | ControlRefused | StatusReport

encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(ControlCommand).decode
decode_answer = msgspec.msgpack.Decoder(ControlAnswer).decode
