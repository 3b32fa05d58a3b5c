"""Calls of IAM and STS: from a verified request of the Query protocol to its answer in XML.

1. the form, 2. which operation, 3. the typed request, 4. find, decide and run (`identities/operation.py`), 5. the record,
6. the answer.

They run in the home region, where all identities are, whatever region was signed for. The service is the one that was
signed for: an action of the other one is unknown to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from strongroom.kms.audit.events import EventIds, Origin
from strongroom.kms.calls import Call
from strongroom.kms.driver import drive
from strongroom.kms.faults import Fault
from strongroom.kms.identities.operation import Operation, Renew, perform
from strongroom.kms.identities.operations.table import TABLE as IAM_TABLE
from strongroom.kms.identities.sessions import require_may_call
from strongroom.kms.identities.sts.allowance import Allowance
from strongroom.kms.identities.sts.assume_role_with_web_identity import NAME as WEB_IDENTITY
from strongroom.kms.identities.sts.assume_role_with_web_identity import identify
from strongroom.kms.identities.sts.table import TABLE as STS_TABLE
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.kms.service import Service
from strongroom.kms.trail import logged_parameters
from strongroom.kms.turns import Turns
from strongroom.kms.wire.model import Shape
from strongroom.kms.wire.query_codec import (
    QUERY_ERRORS,
    SERVICES,
    STS,
    QueryService,
    decode_query,
    encode_error,
    encode_result,
    error_status,
    find_operation,
)
from strongroom.kms.wire.sts_shapes import AssumeRoleWithWebIdentityRequest
from strongroom.kms.wire.validation import RequestRefused
from strongroom.protocol import query
from strongroom.protocol.requests import HttpRequest
from strongroom.protocol.sigv4 import Refused

# As KMS's unknown operations are recorded: a caller's text is no name of an event.
_UNKNOWN: Final = "UnknownOperation"
# A token of 20,000 characters, which need no escapes, and policies that do; nothing longer is even looked at.
_UNSIGNED_BYTES_MAX: Final = 65_536
_UNSIGNED_ACTION: Final = f"Action={WEB_IDENTITY}".encode()
_ROWS: Final[dict[str, Mapping[str, Operation]]] = {"iam": IAM_TABLE, "sts": STS_TABLE}


class QueryAnswer(msgspec.Struct, frozen=True):
    """What is left to do: write the record, then answer. `code` is empty for a success."""

    call: Call
    record: bytes
    code: str
    status: int
    body: bytes


class Unsigned(msgspec.Struct, frozen=True):
    """The answer to somebody who is nobody."""

    request_id: str
    code: str
    message: str
    status: int
    body: bytes


class _RefusedCall(Fault):
    """What the form, or the typed request, is refused with."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self._code = code

    @property
    def code(self) -> str:
        return self._code


class QueryCalls:
    """Serves both services in one worker."""

    def __init__(
        self,
        home: Service,
        ids: EventIds,
        turns: Turns,
        as_fault: Callable[[BaseException], Fault],
        allowance: Allowance | None = None,
        renew: Renew | None = None,
    ) -> None:
        """`as_fault` says what a caller may see of an error, `allowance` how often strangers may fail.

        `renew` finds a caller again who had to wait.
        """
        self._renew = renew
        self._allowance = allowance or Allowance()
        self._home: Final = home
        self._ids = ids
        self._turns = turns
        self._as_fault = as_fault

    def serve(
        self,
        request: HttpRequest,
        service_name: str,
        entry: PrincipalEntry,
        origin: Origin,
        then: Callable[[QueryAnswer], None],
    ) -> None:
        """`then` is called once."""
        service = SERVICES[service_name]
        call = Call(self._ids(), _UNKNOWN, entry, origin, event_source=f"{service.name}.amazonaws.com")
        try:
            form = query.parse_form(request.body if request.method == "POST" else b"")  # 1
            name, row = _find(service, form)  # 2
            call.operation = name
            typed = decode_query(name, form)  # 3
            if isinstance(typed, AssumeRoleWithWebIdentityRequest):
                call.principal_entry = identify(self._home, typed)
            else:
                require_may_call(service.name, name, entry.session)
        except (query.MalformedForm, RequestRefused) as refused:
            then(self._answer(service, call, None, _RefusedCall(refused.code, refused.message)))
            return
        except Fault as fault:
            then(self._answer(service, call, None, fault))
            return
        self._perform(service, call, row, typed, then)

    def serve_unsigned(
        self,
        request: HttpRequest,
        origin: Origin,
        then: Callable[[QueryAnswer], None],
        refuse: Callable[[Unsigned], None],
    ) -> bool:
        """The one action that needs no signature, because a web identity's token is one; False for all others.

        `then` is called once for somebody whom a provider vouches for, `refuse` for everybody else.
        """
        body = request.body
        if request.method != "POST" or len(body) > _UNSIGNED_BYTES_MAX or _UNSIGNED_ACTION not in body:
            return False
        request_id, now_s, source = self._ids(), self._home.clock(), origin.source_ip
        try:
            if self._allowance.is_spent(source, now_s):
                raise _RefusedCall("Throttling", "Rate exceeded")
            form = query.parse_form(body)  # 1
            if form.get("Action") != WEB_IDENTITY:
                self._allowance.spend(source, now_s, len(body))
                return False
            name, row = _find(STS, form)  # 2
            typed = decode_query(name, form)  # 3
            assert isinstance(typed, AssumeRoleWithWebIdentityRequest)
            entry = identify(self._home, typed)
        except (query.MalformedForm, RequestRefused, Fault) as refused:
            self._allowance.spend(source, now_s, len(body))
            text = encode_error(STS, refused.code, refused.message, request_id)
            refuse(Unsigned(request_id, refused.code, refused.message, error_status(refused.code), text))
            return True
        self._allowance.note_known(source)
        call = Call(request_id, name, entry, origin, event_source=f"{STS.name}.amazonaws.com")
        self._perform(STS, call, row, typed, then)
        return True

    def _perform(
        self, service: QueryService, call: Call, row: Operation, typed: Shape, then: Callable[[QueryAnswer], None]
    ) -> None:
        call.parameters = logged_parameters(typed)
        call.request = typed
        renew = None if self._renew is None else self._renewed
        performing = perform(self._home, call, row, typed, self._turns, renew)
        drive(performing, partial(self._performed, service, call, then))  # 4

    async def _renewed(self, entry: PrincipalEntry) -> PrincipalEntry:
        assert self._renew is not None, "nobody can be found again"
        try:
            return await self._renew(entry)
        except Refused as refused:
            code, _ = query.SIGV4_ERRORS[refused.code]
            raise _RefusedCall(code, refused.message) from None

    def _performed(
        self,
        service: QueryService,
        call: Call,
        then: Callable[[QueryAnswer], None],
        response: Shape | None,
        error: BaseException | None,
    ) -> None:
        then(self._answer(service, call, response, None if error is None else self._as_fault(error)))

    def _answer(self, service: QueryService, call: Call, response: Shape | None, fault: Fault | None) -> QueryAnswer:
        row = _ROWS[service.name].get(call.operation)
        record = self._home.trail.outcome(call, fault, read_only=row is None or not row.mutates)  # 5
        if fault is None:  # 6
            return QueryAnswer(call, record, "", 200, encode_result(call.operation, response, call.request_id))
        # What KMS calls its own failures, these services call by other names.
        code = fault.code if fault.code in QUERY_ERRORS else service.internal_failure
        body = encode_error(service, code, fault.message, call.request_id)
        return QueryAnswer(call, record, code, error_status(code), body)


def _find(service: QueryService, form: Mapping[str, str]) -> tuple[str, Operation]:
    """The operation that a form asks for, with its row.

    Raises:
        RequestRefused: the service, or this one of ours, has none of the name.
    """
    name = find_operation(service, form).name
    row = _ROWS[service.name].get(name)
    if row is None:
        raise RequestRefused("InvalidAction", f"Could not find operation {name} for version {service.api_version}")
    return name, row
