"""From a call to its audit records: what is said of a request, and what never is.

The outcome of every authenticated call is in the file before its answer leaves; a mutation's intent before it happens.
Parameters are logged by a table made from the API model: blobs and sensitive members (grant tokens are among them) are
left out there, not by each operation's memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec

from strongroom.kms.audit.events import (
    EVENT_CATEGORY,
    EVENT_SOURCE,
    EVENT_TYPE,
    EVENT_VERSION,
    INTENT,
    INTERNAL,
    SERVICE_EVENT_TYPE,
    TEXT_CHARS_MAX,
    CallTemplate,
    Event,
    EventIds,
    EventTimes,
    Resource,
    encode,
    encode_event,
    touched_part,
)
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.calls import Call
from strongroom.kms.faults import Fault
from strongroom.kms.keys.directory import PARTITION, KeyEntry, PrincipalEntry
from strongroom.kms.keys.last_usage import TRACKED_OPERATIONS, LastUsage
from strongroom.kms.trail_identity import user_identity
from strongroom.kms.wire.model import Rule, Shape, structure_rule
from strongroom.kms.wire.query_codec import QUERY_OPERATIONS
from strongroom.kms.wire.shapes import OPERATIONS
from strongroom.protocol.arn import format_key_arn

K = TypeVar("K")
V = TypeVar("V")

# CloudTrail shows the algorithm whether or not the caller named it (KMS developer guide, log entries of Encrypt, Decrypt
# and ReEncrypt).
_DEFAULTS: Final = dict.fromkeys(
    ("EncryptionAlgorithm", "SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm"), "SYMMETRIC_DEFAULT"
)
_CACHED_MAX: Final = 4096
_KEY_TYPE: Final = "AWS::KMS::Key"
# As with single texts, and in CloudTrail's way of saying that something was left out.
_PARAMETERS_BYTES_MAX: Final = 100_000
_NOTHING: Final = encode(None)


def _is_plain(rule: Rule) -> bool:
    return rule.kind != "blob" and not rule.sensitive


def _is_loggable(rule: Rule) -> bool:
    parts = (
        *(member.rule for member in rule.members),
        *(part for part in (rule.key, rule.element) if part is not None),
    )
    return _is_plain(rule) and all(map(_is_loggable, parts))


class _Logged:
    """What of one request type is logged: which members, under which names, and what an absent one means.

    `shown` is a struct of these members under the record's names: filling one costs a third of what a dictionary does.
    `nested` are structures (constraints) and lists of them (tags), whose members the record shows under its own names too.
    """

    __slots__ = ("defaults", "nested", "shown", "values_of")

    def __init__(self, request: type[Shape]) -> None:
        members = [member for member in structure_rule(request).members if _is_loggable(member.rule)]
        labels = [(member.label, Any, None) for member in members]
        self.shown: Final = msgspec.defstruct(f"{request.__name__}Shown", labels, omit_defaults=True, gc=False)
        self.defaults: Final = [
            (member.label, _DEFAULTS[member.name]) for member in members if member.name in _DEFAULTS
        ]
        self.nested: Final = tuple(
            (member.label, member.rule) for member in members if (member.rule.element or member.rule).members
        )
        # All at once; a single name would give no tuple.
        names = [member.name for member in members]
        self.values_of: Final[Callable[[Shape], tuple[Any, ...]]] = (
            attrgetter(*names) if len(names) > 1 else lambda request: tuple(getattr(request, name) for name in names)
        )


_LOGGED: Final = {
    operation.request: _Logged(operation.request) for operation in (*OPERATIONS.values(), *QUERY_OPERATIONS.values())
}


def logged_parameters(request: Shape) -> msgspec.Struct:
    """What of a request stands in its audit record, to be encoded."""
    logged = _LOGGED[type(request)]
    parameters = logged.shown(*logged.values_of(request))
    for label, default in logged.defaults:
        if getattr(parameters, label) is None:
            setattr(parameters, label, default)
    for label, rule in logged.nested:
        value = getattr(parameters, label)
        if value is not None:
            setattr(parameters, label, _loggable_part(rule, value))
    return parameters


def logged_response(response: Shape) -> dict[str, Any]:
    """What of an answer stands in the audit record of a change: all but what is secret."""
    members: dict[str, Any] = _loggable_part(structure_rule(type(response)), response)
    return members


def _loggable_part(rule: Rule, value: Any) -> Any:
    if rule.members:
        present = [(member, getattr(value, member.name)) for member in rule.members if _is_plain(member.rule)]
        return {member.label: _loggable_part(member.rule, part) for member, part in present if part is not None}
    if rule.kind == "list" and rule.element is not None:
        return [_loggable_part(rule.element, part) for part in value]
    return EventTimes().format(value) if rule.kind == "timestamp" else value


class Trail:
    """Writes one service's records."""

    def __init__(
        self, log: AuditLog, region: str, clock: Callable[[], float], ids: EventIds, *, is_strict: bool
    ) -> None:
        self.log: Final = log
        self.is_strict: Final = is_strict
        self.usage: Final = LastUsage()
        self._region = region
        self._clock = clock
        self._ids = ids
        self._times = EventTimes()
        self._templates: dict[tuple[str, str, bool], CallTemplate] = {}
        # By the entry's number: an entry that was kept here would outlive being forgotten, with the secret in it.
        self._identities: dict[int, bytes] = {}

    async def intent(self, call: Call) -> None:
        """Record that a mutation was decided and is about to happen.

        Raises:
            AuditUnavailableError: it must not happen.
        """
        await self.record([encode_event(self._event(call, phase=INTENT))])

    async def record(self, events: Sequence[bytes]) -> None:
        """Write encoded events; when strict, come back only when they are on stable storage.

        Raises:
            AuditUnavailableError: what they record must not be answered as done.
        """
        if self.is_strict:
            await asyncio.wrap_future(self.log.append_durable(events))
        else:
            self.log.append(events)

    async def service_event(
        self,
        name: str,
        account: str,
        key_id: str,
        details: dict[str, str],
        *,
        phase: str | None = None,
        response: dict[str, str] | None = None,
    ) -> None:
        """Record what the service does by itself with a key, which may be gone by now.

        `details` are CloudTrail's `serviceEventDetails`.

        Raises:
            AuditUnavailableError: what is not recorded must not happen.
        """
        event = Event(
            eventVersion=EVENT_VERSION,
            userIdentity={"accountId": account, "invokedBy": INTERNAL},
            eventTime=self._times.format(self._clock()),
            eventSource=EVENT_SOURCE,
            eventName=name,
            awsRegion=self._region,
            sourceIPAddress=INTERNAL,
            userAgent=INTERNAL,
            requestParameters=None,
            responseElements=response,
            requestID="",
            eventID=self._ids(),
            readOnly=False,
            resources=[
                Resource(
                    accountId=account,
                    type=_KEY_TYPE,
                    ARN=format_key_arn(PARTITION, self._region, account, key_id),
                )
            ],
            eventType=SERVICE_EVENT_TYPE,
            managementEvent=True,
            eventCategory=EVENT_CATEGORY,
            recipientAccountId=account,
            phase=phase,
            serviceEventDetails={**details, "keyId": key_id},
        )
        await self.record([encode_event(event)])

    def outcome(self, call: Call, fault: Fault | None, *, read_only: bool) -> bytes:
        """The encoded record of a call that is about to be answered."""
        if fault is None and call.response_elements is None and call.additional is None:
            return self._success(call, read_only=read_only)
        code = None if fault is None else fault.code
        message = None if fault is None else fault.message or None
        event = self._event(call, read_only=read_only, error_code=code, error_message=message)
        if fault is None and call.operation in TRACKED_OPERATIONS:
            self._note_use(call, self._clock(), event.eventID)
        return encode_event(event)

    def _note_use(self, call: Call, now_s: float, event_id: str) -> None:
        """Both keys of ReEncrypt are used by it."""
        use = (call.operation, now_s, event_id, call.request_id)
        notes = self.usage.notes
        for entry in call.touched:
            notes[entry.record.key_id] = use

    def _success(self, call: Call, *, read_only: bool) -> bytes:
        account = call.principal_entry.principal.account
        template = self._templates.get((call.operation, account, read_only))
        if template is None:
            template = CallTemplate(call.operation, self._region, account, call.event_source, read_only=read_only)
            _keep(self._templates, (call.operation, account, read_only), template)
        now_s, event_id = self._clock(), self._ids()
        if call.operation in TRACKED_OPERATIONS:
            self._note_use(call, now_s, event_id)
        return template.format(
            self._identity(call.principal_entry),
            self._times.encode(now_s),
            call.origin,
            _bounded(call.parameters),
            call.request_id,
            event_id,
            self._touched_part(call),
        )

    def _identity(self, entry: PrincipalEntry) -> bytes:
        part = self._identities.get(entry.number)
        if part is None:
            part = _keep(self._identities, entry.number, encode(user_identity(entry)))
        return part

    def _touched_part(self, call: Call) -> bytes:
        """Kept with the key's entry, for the material that was used last: it is almost always the current one."""
        touched, material_id = call.touched, call.key_material_id
        if not touched:
            return b""
        entry = touched[0]
        kept = entry.touched_part
        if kept is not None and kept[0] == material_id and len(touched) == 1:
            return kept[1]
        part = touched_part([(one.record.account, one.arn) for one in touched], material_id)
        if len(touched) == 1:
            entry.touched_part = (material_id, part)
        return part

    def _resources(self, touched: list[KeyEntry]) -> list[Resource]:
        return [Resource(accountId=entry.record.account, type=_KEY_TYPE, ARN=entry.arn) for entry in touched]

    def _event(
        self,
        call: Call,
        *,
        read_only: bool = False,
        error_code: str | None = None,
        error_message: str | None = None,
        phase: str | None = None,
    ) -> Event:
        return Event(
            eventVersion=EVENT_VERSION,
            userIdentity=msgspec.Raw(self._identity(call.principal_entry)),
            eventTime=self._times.format(self._clock()),
            eventSource=call.event_source,
            eventName=call.operation,
            awsRegion=self._region,
            sourceIPAddress=call.origin.source_ip,
            userAgent=call.origin.user_agent,
            requestParameters=msgspec.Raw(_bounded(call.parameters)),
            responseElements=None if error_code else call.response_elements,
            additionalEventData=_refused(call) if error_code else call.additional or _material(call.key_material_id),
            requestID=call.request_id,
            eventID=self._ids(),
            readOnly=read_only,
            resources=self._resources(call.touched) or None,
            eventType=EVENT_TYPE,
            managementEvent=True,
            eventCategory=EVENT_CATEGORY,
            recipientAccountId=call.account,
            errorCode=error_code,
            errorMessage=error_message[:TEXT_CHARS_MAX] if error_message else None,
            phase=phase,
        )


def _bounded(parameters: dict[str, Any] | msgspec.Struct | None) -> bytes:
    if parameters is None:
        return _NOTHING
    part = encode(parameters)
    if len(part) > _PARAMETERS_BYTES_MAX:
        return encode({"omitted": True, "originalSize": len(part), "reason": "Field size over the limit"})
    return part


def _refused(call: Call) -> dict[str, msgspec.Raw] | None:
    return None if call.reason is None else {"refusal": call.reason}


def _material(key_material_id: str | None) -> dict[str, str] | None:
    return {"keyMaterialId": key_material_id} if key_material_id else None


def _keep(cache: dict[K, V], key: K, value: V) -> V:
    """Remember a value in a cache that starts over when it is full."""
    if len(cache) >= _CACHED_MAX:
        cache.clear()
    cache[key] = value
    return value
