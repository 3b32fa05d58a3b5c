# ruff: noqa: N815 -- member names are CloudTrail's own, spelled as CloudTrail spells them.
"""One record of the audit trail, in the shape of a CloudTrail event.

Plaintext, ciphertext and credentials never belong into a record: whoever builds `requestParameters` leaves them out.
The encoded bytes of an event are what the chain hashes; nothing re-encodes them later.

Two ways to the same bytes: `encode_event(Event(...))` for every event, and `CallTemplate.format` for the successful
calls of the data plane, where identity, origin and resources are already encoded and cached by the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

EVENT_VERSION: Final = "1.11"
EVENT_SOURCE: Final = "kms.amazonaws.com"
# Our own events (recovery of a torn tail, retention, noise): never one that a caller could have caused by its content.
OWN_EVENT_SOURCE: Final = "audit.strongroom"
EVENT_TYPE: Final = "AwsApiCall"
SERVICE_EVENT_TYPE: Final = "AwsServiceEvent"
EVENT_CATEGORY: Final = "Management"
# Who acts when the service acts by itself, in the words of CloudTrail.
INTERNAL: Final = "AWS Internal"
# The `phase` of a mutation's record that is written before the act.
INTENT: Final = "intent"
RANDOM_BYTES: Final = 9
# No caller's text makes an event longer than the chain takes: CloudTrail's limit on single fields.
TEXT_CHARS_MAX: Final = 1024

encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode


class SessionIssuer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who is behind a session: a role, or who federated."""

    type: str
    principalId: str
    arn: str
    accountId: str
    userName: str | None = None


class SessionAttributes(msgspec.Struct, frozen=True, kw_only=True):
    creationDate: str
    mfaAuthenticated: str


class WebIdFederationData(msgspec.Struct, frozen=True, kw_only=True):
    federatedProvider: str


class SessionContext(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What temporary credentials came with."""

    attributes: SessionAttributes
    sessionIssuer: SessionIssuer | None = None
    webIdFederationData: WebIdFederationData | None = None
    sourceIdentity: str | None = None


class UserIdentity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who asked; an account's root has no user name, and who holds a web identity has no ARN yet."""

    type: str
    principalId: str
    arn: str | None = None
    accountId: str | None = None
    accessKeyId: str | None = None
    userName: str | None = None
    invokedBy: str | None = None
    identityProvider: str | None = None
    sessionContext: SessionContext | None = None


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A key that the call is about; ReEncrypt names the source and then the destination."""

    accountId: str
    type: str
    ARN: str


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A record; members without a default are always present, `null` where the call has none."""

    eventVersion: str
    userIdentity: msgspec.Raw | UserIdentity | dict[str, Any]
    eventTime: str
    eventSource: str
    eventName: str
    awsRegion: str
    sourceIPAddress: str
    userAgent: str
    requestParameters: msgspec.Raw | dict[str, Any] | None
    responseElements: msgspec.Raw | dict[str, Any] | None
    requestID: str
    eventID: str
    readOnly: bool
    eventType: str
    managementEvent: bool
    eventCategory: str
    recipientAccountId: str
    additionalEventData: msgspec.Raw | dict[str, Any] | None = None
    resources: msgspec.Raw | list[Resource] | None = None
    errorCode: str | None = None
    errorMessage: str | None = None
    phase: str | None = None
    serviceEventDetails: dict[str, Any] | None = None


encode_event: Final[Callable[[Event], bytes]] = encode


class EventTimes:
    """Formats epoch seconds as `2026-11-24T05:31:10Z`; the last second is remembered, for most events share it."""

    __slots__ = ("_encoded", "_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""
        self._encoded = b""

    def format(self, now_s: float) -> str:
        self.encode(now_s)
        return self._text

    def encode(self, now_s: float) -> bytes:
        """The same, as bytes."""
        second = int(now_s)
        if second != self._second:
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._encoded = self._text.encode()
            self._second = second
        return self._encoded


# The last three digits of an id: taking them from a table and the rest from the id before is half the cost of formatting.
_LAST_DIGITS: Final = tuple(f"{number:03x}" for number in range(1 << 12))


class EventIds:
    """UUID-shaped ids: 60 random bits of this process, then a counter (RFC 9562 version 8)."""

    __slots__ = ("_count", "_prefix", "_shared")

    def __init__(self, random: bytes) -> None:
        """`random` is `RANDOM_BYTES` from the operating system, new in every process."""
        if len(random) != RANDOM_BYTES:
            raise ValueError(f"an id prefix needs {RANDOM_BYTES} random bytes")
        digits = random.hex()
        self._prefix = f"{digits[:8]}-{digits[8:12]}-8{digits[12:15]}-8{digits[15:18]}-"
        self._count = 0
        self._shared = f"{self._prefix}{0:09x}"

    def __call__(self) -> str:
        self._count += 1
        last = self._count & 0xFFF
        if last == 0:
            self._shared = f"{self._prefix}{self._count >> 12:09x}"
        return self._shared + _LAST_DIGITS[last]


def own_event(name: str, time: str, event_id: str, details: dict[str, Any]) -> bytes:
    """An event of the audit trail itself, encoded."""
    return encode_event(
        Event(
            eventVersion=EVENT_VERSION,
            userIdentity={"invokedBy": OWN_EVENT_SOURCE},
            eventTime=time,
            eventSource=OWN_EVENT_SOURCE,
            eventName=name,
            awsRegion="",
            sourceIPAddress=OWN_EVENT_SOURCE,
            userAgent=OWN_EVENT_SOURCE,
            requestParameters=None,
            responseElements=None,
            requestID="",
            eventID=event_id,
            readOnly=False,
            eventType=SERVICE_EVENT_TYPE,
            managementEvent=True,
            eventCategory=EVENT_CATEGORY,
            recipientAccountId="",
            serviceEventDetails=details,
        )
    )


class Origin:
    """Where a caller's requests come from, encoded once per client and user agent.

    The user agent is cut where CloudTrail cuts it; `part` is both as members of an event.
    """

    __slots__ = ("part", "source_ip", "user_agent")

    def __init__(self, source_ip: str, user_agent: str) -> None:
        self.source_ip: Final = source_ip
        self.user_agent: Final = user_agent[:TEXT_CHARS_MAX]
        self.part: Final = b'"sourceIPAddress":%b,"userAgent":%b' % (encode(source_ip), encode(self.user_agent))


class CallTemplate:
    """A successful call of one operation in one region and account, with its constant parts encoded once.

    Identity and parameters are copied as they are: each must be one whole JSON value, made by `encode`.
    """

    __slots__ = ("_tail", "_template")

    def __init__(
        self, event_name: str, region: str, recipient_account_id: str, source: str = EVENT_SOURCE, *, read_only: bool
    ) -> None:
        # A percent sign in a name would be a format of its own.
        name, place, account, service = (
            encode(text).replace(b"%", b"%%") for text in (event_name, region, recipient_account_id, source)
        )
        self._template = b"".join(
            (
                b'{"eventVersion":"1.11","userIdentity":%b,"eventTime":"%b","eventSource":',
                service,
                b',"eventName":',
                name,
                b',"awsRegion":',
                place,
                b',%b,"requestParameters":%b,"responseElements":null,"requestID":"%b","eventID":"%b","readOnly":',
                b"true" if read_only else b"false",
                b',"eventType":"AwsApiCall","managementEvent":true,"eventCategory":"Management","recipientAccountId":',
                account,
                b"%b}",
            )
        )

    def format(
        self,
        identity: bytes,
        time: bytes,
        origin: Origin,
        parameters: bytes,
        request_id: str,
        event_id: str,
        touched: bytes,
    ) -> bytes:
        """The encoded event; both ids are `EventIds`'s, `touched` comes from `touched_part`, or is empty."""
        return self._template % (
            identity,
            time,
            origin.part,
            parameters,
            request_id.encode(),
            event_id.encode(),
            touched,
        )


def touched_part(keys: Sequence[tuple[str, str]], key_material_id: str | None) -> bytes:
    """The end of an event that names the keys, each as (account, ARN), and the key material.

    All of these are our own texts of letters, digits and a few marks: nothing in them needs an escape.
    """
    material = "" if key_material_id is None else f',"additionalEventData":{{"keyMaterialId":"{key_material_id}"}}'
    resources = ",".join([f'{{"accountId":"{account}","type":"AWS::KMS::Key","ARN":"{arn}"}}' for account, arn in keys])
    return f'{material},"resources":[{resources}]'.encode()
