"""From a request to its answer, in the order in which this file reads (design 3).

Requests that arrive in one loop turn are one batch: records are refreshed once, commands leave in one frame. What a frame
of answers completes is one batch too: one write to the audit trail, then the answers. No answer leaves before its record.

1. who signed   2. which operation   3. the typed request   4. the gate   5. the operation   6. the record   7. the answer
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from strongroom.kms.audit.events import EventIds
from strongroom.kms.audit.segments import AuditUnavailableError
from strongroom.kms.calls import Call, Origin
from strongroom.kms.credentials import Credentials
from strongroom.kms.driver import Deferred, drive
from strongroom.kms.faults import (
    Fault,
    KMSInternalException,
    UnknownOperationException,
    UnsupportedOperationException,
)
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.keys.directory import Directory, PrincipalEntry
from strongroom.kms.operations import get_caller_identity
from strongroom.kms.operations.table import TABLE, Operation
from strongroom.kms.repositories import ConflictError, RowForgedError, StoreUnavailableError
from strongroom.kms.service import Service
from strongroom.kms.trail import Trail, logged_parameters
from strongroom.kms.wire.http import JSON_TYPE, HttpConnection
from strongroom.kms.wire.model import Shape
from strongroom.kms.wire.shapes import ERRORS, OPERATIONS
from strongroom.kms.wire.validation import RequestRefused, decode_request, encode_response
from strongroom.protocol import query
from strongroom.protocol.sigv4 import HttpRequest, Refused, Verified, Verifier

_TARGET_PREFIX: Final = b"TrentService."
_KMS: Final = frozenset({"kms"})
_STS: Final = frozenset({"sts"})
_CONFLICTS_MAX: Final = 5
_EMPTY: Final = b"{}"
_REFUSED_REGION: Final = "Credential should be scoped to a valid region. "


class _UnknownAccessKeyError(Exception):
    """An access key that is not in the cache: load it and verify again."""

    def __init__(self, access_key_id: str) -> None:
        super().__init__(access_key_id)
        self.access_key_id = access_key_id


Finish = Callable[[HttpConnection, Call, Any, Fault | None], None]


class Dispatcher:
    """Holds the batches of one worker."""

    def __init__(
        self, service: Service, credentials: Credentials, trail: Trail, ids: EventIds, is_ready: Callable[[], bool]
    ) -> None:
        self._service = service
        self._directory: Final[Directory] = service.directory
        self._link: Final[HsmLink] = service.link
        self._clock = service.clock
        self._credentials = credentials
        self._trail = trail
        self._ids = ids
        self._is_ready = is_ready
        self._verifier = Verifier()
        self._arrived: list[tuple[HttpConnection, HttpRequest]] = []
        self._completed: list[tuple[bytes, Callable[[], None], Callable[[Fault], None]]] = []
        self._settle_is_due = False
        self._in_batch = False

    # ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, connection: HttpConnection, request: HttpRequest) -> None:
        """Take a request; the batch runs at the end of this loop turn."""
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._run_batch)
        self._arrived.append((connection, request))

    def _run_batch(self) -> None:
        self._directory.refresh(self._run_fresh)

    def _run_fresh(self) -> None:
        batch, self._arrived = self._arrived, []
        self._in_batch = True
        try:
            for connection, request in batch:
                self._begin(connection, request)
        finally:
            self._in_batch = False
        self._link.flush()
        self.settle()

    def settle(self) -> None:
        """Record what was completed, in one write, then answer it."""
        self._settle_is_due = False
        completed, self._completed = self._completed, []
        if not completed:
            return
        try:
            self._trail.log.append([record for record, _, _ in completed])
        except AuditUnavailableError:
            for _, _, refuse in completed:
                refuse(KMSInternalException())
            return
        for _, answer, _ in completed:
            answer()

    def _complete(self, record: bytes, answer: Callable[[], None], refuse: Callable[[Fault], None]) -> None:
        self._completed.append((record, answer, refuse))
        if not self._in_batch and not self._settle_is_due:
            self._settle_is_due = True
            asyncio.get_running_loop().call_soon(self.settle)

    # ── 1. who signed ───────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, connection: HttpConnection, request: HttpRequest) -> None:
        if request.target in {b"/livez", b"/readyz"} and request.method == "GET":
            ready = request.target == b"/livez" or self._is_ready()
            connection.answer(200 if ready else 503, b"text/plain", self._ids(), b"yes\n" if ready else b"no\n")
            return
        target, user_agent = _target_and_agent(request)
        services = _STS if target is None else _KMS
        try:
            verified = self._verifier.verify(request, self._clock(), self._find_secret, services)
        except _UnknownAccessKeyError as unknown:
            drive(self._credentials.load(unknown.access_key_id), partial(self._loaded, connection, request))
            return
        except Refused as refused:
            self._refuse(connection, services, refused.code, refused.message)
            return
        entry = self._directory.known_principal(verified.access_key_id)
        assert entry is not None, "a signature was verified with a secret that nobody holds"
        self._verified(connection, request, verified, entry, target, user_agent)

    def _find_secret(self, access_key_id: str) -> str | None:
        entry = self._directory.known_principal(access_key_id)
        if entry is None:
            raise _UnknownAccessKeyError(access_key_id)
        return entry.secret.expose().decode()

    def _loaded(
        self,
        connection: HttpConnection,
        request: HttpRequest,
        entry: PrincipalEntry | None,
        error: BaseException | None,
    ) -> None:
        """Verify again with what was loaded; an access key that does not exist takes the same steps as one that does."""
        target, user_agent = _target_and_agent(request)
        services = _STS if target is None else _KMS
        if error is not None:
            fault = _as_fault(error)
            self._refuse(connection, services, fault.code, fault.message)
            return
        try:
            verified = self._verifier.verify(
                request, self._clock(), lambda _: entry.secret.expose().decode() if entry else None, services
            )
        except Refused as refused:
            self._refuse(connection, services, refused.code, refused.message)
            return
        assert entry is not None
        self._verified(connection, request, verified, entry, target, user_agent)
        if not self._in_batch:
            self._link.flush()

    def _refuse(self, connection: HttpConnection, services: frozenset[str], code: str, message: str) -> None:
        """Answer somebody who is nobody: counted, not recorded one by one."""
        self._trail.log.count_noise(code)
        if services is _STS:
            _answer_sts_error(connection, code, message, self._ids())
        else:
            _answer_error(connection, code, message, self._ids())

    # ── 2. which operation, 3. the typed request ────────────────────────────────────────────────────────────────

    def _verified(
        self,
        connection: HttpConnection,
        request: HttpRequest,
        verified: Verified,
        entry: PrincipalEntry,
        target: bytes | None,
        user_agent: str,
    ) -> None:
        if verified.region != self._service.region:
            self._refuse(connection, _STS if target is None else _KMS, "InvalidSignatureException", _REFUSED_REGION)
            return
        origin = Origin(connection.peer, user_agent)
        if target is None:
            self._sts(connection, request, entry, origin)
            return
        name = target.removeprefix(_TARGET_PREFIX).decode("ascii", "replace")
        known = target.startswith(_TARGET_PREFIX) and name in OPERATIONS and request.target == b"/"
        row = TABLE.get(name) if known else None
        call = Call(self._ids(), name if known else "UnknownOperation", entry, origin)
        if row is None:
            fault = UnsupportedOperationException(f"{name} is not supported yet.") if known else None
            self._finish(connection, call, None, fault or UnknownOperationException())
            return
        try:
            typed = decode_request(name, request.body)
        except RequestRefused as refused:
            self._finish(connection, call, None, _fault_named(refused.code, refused.message))
            return
        call.parameters = logged_parameters(typed)
        drive(self._serve(call, row, typed), partial(self._served, connection, call))

    # ── 4. the gate, 5. the operation ───────────────────────────────────────────────────────────────────────────

    async def _serve(self, call: Call, row: Operation, typed: Shape) -> Shape | None:
        for _ in range(_CONFLICTS_MAX):
            try:
                await self._service.gate.admit(call, row.demands(typed), mutates=row.mutates)
                return await row.run(self._service, call, typed)
            except ConflictError:
                # Somebody changed a record in between: see the change, and decide again from the start.
                call.admissions.clear()
                call.touched.clear()
                await self._refreshed()
        raise KMSInternalException

    def _refreshed(self) -> Deferred[bool]:
        done: Deferred[bool] = Deferred()
        self._directory.refresh(lambda: done.resolve(True))  # noqa: FBT003 -- the value means nothing.
        return done

    def _served(
        self, connection: HttpConnection, call: Call, response: Shape | None, error: BaseException | None
    ) -> None:
        self._finish(connection, call, response, None if error is None else _as_fault(error))

    # ── 6. the record, 7. the answer ────────────────────────────────────────────────────────────────────────────

    def _finish(self, connection: HttpConnection, call: Call, response: Shape | None, fault: Fault | None) -> None:
        row = TABLE.get(call.operation)
        record = self._trail.outcome(call, fault, read_only=row is None or not row.mutates)
        request_id = call.request_id
        if fault is None:
            body = _EMPTY if response is None else encode_response(response)
            answer = partial(connection.answer, 200, JSON_TYPE, request_id, b"" if response is None else body)
        else:
            answer = partial(_answer_error, connection, fault.code, fault.message, request_id)
        self._complete(record, answer, lambda other: _answer_error(connection, other.code, other.message, request_id))

    def _sts(self, connection: HttpConnection, request: HttpRequest, entry: PrincipalEntry, origin: Origin) -> None:
        request_id = self._ids()
        try:
            form = query.parse_form(request.body)
        except query.MalformedForm as malformed:
            self._refuse(connection, _STS, malformed.code, malformed.message)
            return
        known = request.method == "POST" and form.get("Action") == "GetCallerIdentity"
        call = Call(request_id, "GetCallerIdentity" if known else "UnknownOperation", entry, origin)
        if not known:
            fault = _fault_named("InvalidAction", "Could not find operation in this service.")
            answer = partial(_answer_sts_error, connection, "InvalidAction", fault.message, request_id)
        else:
            fault = None
            body = query.format_result("GetCallerIdentity", get_caller_identity.run(call), request_id)
            answer = partial(connection.answer, 200, query.CONTENT_TYPE, request_id, body)
        record = self._trail.outcome(call, fault, read_only=True)
        self._complete(record, answer, lambda other: _answer_sts_error(connection, other.code, "", request_id))


def _target_and_agent(request: HttpRequest) -> tuple[bytes | None, str]:
    """X-Amz-Target (None for the Query protocol) and User-Agent, whatever their spelling."""
    target, agent = None, ""
    for name, value in request.headers:
        length = len(name)
        if length == 12 and name.lower() == b"x-amz-target":
            target = value
        elif length == 10 and name.lower() == b"user-agent":
            agent = value.decode("latin-1")
    return target, agent


def _as_fault(error: BaseException) -> Fault:
    """Whatever ended an operation, as something a caller may see; a programmer's error shows nothing of itself."""
    match error:
        case Fault():
            return error
        case StoreUnavailableError() | RowForgedError() | AuditUnavailableError():
            return KMSInternalException()
        case _:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an operation failed", "exception": error.with_traceback(error.__traceback__)}
            )
            return KMSInternalException()


class _NamedFault(Fault):
    """A fault whose code comes from the validator or the signature check, already AWS's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self._code = code

    @property
    def code(self) -> str:
        return self._code


def _fault_named(code: str, message: str) -> Fault:
    return _NamedFault(code, message)


def _answer_error(connection: HttpConnection, code: str, message: str, request_id: str) -> None:
    body = msgspec.json.encode({"__type": code, "message": message} if message else {"__type": code})
    connection.answer(ERRORS.get(code, 400), JSON_TYPE, request_id, body)


def _answer_sts_error(connection: HttpConnection, code: str, message: str, request_id: str) -> None:
    sts_code, status = query.SIGV4_ERRORS.get(code, (code, ERRORS.get(code, 400)))
    body = query.format_error(sts_code, message, request_id, is_callers_fault=status < 500)
    connection.answer(status, query.CONTENT_TYPE, request_id, body)
