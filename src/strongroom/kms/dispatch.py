"""From a request to its answer, in the order in which this file reads.

Requests that arrive in one loop turn are one batch: records are refreshed once, commands leave in one frame. What a frame
of answers completes is one batch too: one write to the audit trail, then the answers. No answer leaves before its record.

1. who signed   2. which operation   3. the typed request   4. the gate   5. the operation   6. the record   7. the answer
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from strongroom.kms.audit.events import TEXT_CHARS_MAX, EventIds, Origin
from strongroom.kms.audit.segments import AuditUnavailableError
from strongroom.kms.calls import Call
from strongroom.kms.credentials import Credentials
from strongroom.kms.driver import Deferred, drive
from strongroom.kms.faults import (
    Fault,
    KMSInternalException,
    UnknownOperationException,
    UnsupportedOperationException,
)
from strongroom.kms.hsm_link.link import HsmLink
from strongroom.kms.identities.sessions import TOKEN_HEADER, require_session
from strongroom.kms.keys.directory import Directory, PrincipalEntry
from strongroom.kms.operations.table import TABLE, Operation
from strongroom.kms.query_calls import QueryAnswer, QueryCalls, Unsigned
from strongroom.kms.regions import RegionRefusedError, Regions
from strongroom.kms.repositories import ConflictError, RowForgedError, StoreUnavailableError
from strongroom.kms.service import Service
from strongroom.kms.telemetry.telemetry import Telemetry
from strongroom.kms.trail import Trail, logged_parameters
from strongroom.kms.turns import Turns
from strongroom.kms.wire.http import JSON_TYPE, HttpConnection
from strongroom.kms.wire.model import Shape
from strongroom.kms.wire.query_codec import SERVICES
from strongroom.kms.wire.shapes import ERRORS, OPERATIONS
from strongroom.kms.wire.validation import RequestRefused, decode_request, encode_response
from strongroom.protocol import query
from strongroom.protocol.regions import REGIONS
from strongroom.protocol.requests import HttpRequest
from strongroom.protocol.sigv4 import Refused, Verified, Verifier

_TARGET: Final = b"x-amz-target"
_TARGET_PREFIX: Final = b"TrentService."
_KMS: Final = frozenset({"kms"})
_QUERY: Final = frozenset(SERVICES)
# What refuses a request before it is one of a Query service, in that protocol's words.
_QUERY_CODES: Final = {**query.SIGV4_ERRORS, "KMSInternalException": ("InternalFailure", 500)}
_AUTHORIZATION: Final = b"authorization"
_TOKEN_NAME: Final = TOKEN_HEADER.decode()
_PROBES: Final = (b"/livez", b"/readyz")
# Far above what competitors on one record can do to one of them, while each of their wins is a change made.
_CONFLICTS_MAX: Final = 100
_ORIGINS_MAX: Final = 4096
_REFUSED_REGION: Final = "Credential should be scoped to a valid region. "


class _UnknownAccessKeyError(Exception):
    """An access key that is not in the cache: load it and verify again."""

    def __init__(self, access_key_id: str) -> None:
        super().__init__(access_key_id)
        self.access_key_id = access_key_id


class _Completed(msgspec.Struct, gc=False):
    """An answer that waits for its record to be written."""

    record: bytes
    connection: HttpConnection
    call: Call
    region: str
    # Why it was refused; empty for a success.
    code: str
    status: int
    content_type: bytes
    body: bytes


# What X-Amz-Target may say: every operation of the model, with its row where it exists.
_ROUTES: Final[dict[bytes, tuple[str, Operation | None]]] = {
    _TARGET_PREFIX + name.encode(): (name, TABLE.get(name)) for name in OPERATIONS
}


class Dispatcher:
    """Holds the batches of one worker."""

    def __init__(self, regions: Regions, credentials: Credentials, ids: EventIds, telemetry: Telemetry) -> None:
        home = regions.home.service
        self._regions = regions
        self._home: Final[Service] = home
        # Who signed is looked up in the home region, whatever region was signed for.
        self._directory: Final[Directory] = home.directory
        self._links: Final[list[HsmLink]] = regions.links
        self._clock = home.clock
        self._credentials = credentials
        # Every region's trail leads into the same log.
        self._trail: Final[Trail] = home.trail
        self._ids = ids
        self._telemetry = telemetry
        self._verifier = Verifier()
        self._principals_forgotten = 0
        self._turns = Turns()
        self._query = QueryCalls(home, ids, self._turns, _as_fault, renew=credentials.renewed)
        self._arrived: list[tuple[HttpConnection, HttpRequest]] = []
        self._completed: list[_Completed] = []
        self._settle_is_due = False
        self._in_batch = False
        self._origins: dict[tuple[str, bytes], Origin] = {}

    # ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, connection: HttpConnection, request: HttpRequest) -> None:
        """Take a request; the batch runs at the end of this loop turn."""
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._run_batch)
        self._arrived.append((connection, request))

    def _run_batch(self) -> None:
        try:
            self._directory.refresh(self._run_fresh)
        except Exception as error:  # noqa: BLE001 -- a store that cannot tell what changed fails these requests, not all.
            arrived, self._arrived = self._arrived, []
            for connection, request in arrived:
                self._fail(connection, request, error)

    def _run_fresh(self) -> None:
        arrived, self._arrived = self._arrived, []
        if self._principals_forgotten != self._directory.principals_forgotten:
            self._principals_forgotten = self._directory.principals_forgotten
            self._verifier.forget()
        now_s = time.perf_counter()

        def begin() -> None:
            for connection, request in arrived:
                connection.arrived_s = now_s
                try:
                    self._begin(connection, request)
                except Exception as error:  # noqa: BLE001 -- one request fails alone.
                    self._fail(connection, request, error)

        self.batch(begin)

    def _fail(self, connection: HttpConnection, request: HttpRequest, error: Exception) -> None:
        """Answer a request that could not even be begun."""
        if connection.awaits_answer:
            fault = _as_fault(error)
            self._refuse(connection, request, fault.code, fault.message)

    def batch(self, work: Callable[[], None]) -> None:
        """Do what begins or resumes requests; then send what they ask of the HSM, and answer what they completed."""
        self._in_batch = True
        try:
            work()
        finally:
            self._in_batch = False
        for link in self._links:
            link.flush()
        self._settle()

    def _settle(self) -> None:
        """Record what was completed, in one write, then answer it."""
        self._settle_is_due = False
        completed, self._completed = self._completed, []
        if not completed:
            return
        records = [done.record for done in completed]
        try:
            if self._trail.is_strict:
                synced = asyncio.wrap_future(self._trail.log.append_durable(records))
                synced.add_done_callback(partial(self._answer_synced, completed))
                return
            self._trail.log.append(records)
        except Exception as error:  # noqa: BLE001 -- whatever it was, what is not recorded is not answered as done.
            _as_fault(error)
            self._answer(completed, recorded=False)
        else:
            self._answer(completed, recorded=True)

    def _answer_synced(self, completed: list[_Completed], synced: asyncio.Future[None]) -> None:
        self._answer(completed, recorded=not synced.cancelled() and synced.exception() is None)

    def _answer(self, completed: list[_Completed], *, recorded: bool) -> None:
        """Answer what is recorded; what could not be recorded did not happen for its caller."""
        for done in completed:
            status, body = done.status, done.body
            if not recorded:
                status, body = 500, _error_body(done.content_type, "KMSInternalException", "", done.call.request_id)
            done.connection.answer(status, done.content_type, done.call.request_id, body)
        self._telemetry.settled(completed, recorded=recorded)

    def _complete(self, done: _Completed) -> None:
        self._completed.append(done)
        if not self._in_batch and not self._settle_is_due:
            self._settle_is_due = True
            asyncio.get_running_loop().call_soon(self._settle)

    # ── 1. who signed ───────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, connection: HttpConnection, request: HttpRequest) -> None:
        if request.method == "GET" and request.target.startswith(_PROBES):
            self._probe(connection, request.target)
            return
        services = _services_of(request)
        if (
            services is _QUERY
            and request.value_of(_AUTHORIZATION) is None
            and self._serve_unsigned(connection, request)
        ):
            return
        try:
            now_s = self._clock()
            verified = self._verifier.verify(request, now_s, self._find_secret, services)
            entry = self._directory.known_principal(verified.access_key_id)
            assert entry is not None, "a signature was verified with a secret that nobody holds"
            if entry.session is not None or _TOKEN_NAME in verified.signed_headers:
                require_session(entry.session, request.value_of(TOKEN_HEADER), now_s)
        except _UnknownAccessKeyError as unknown:
            loading = self._credentials.load(unknown.access_key_id, request.value_of(TOKEN_HEADER))
            drive(loading, partial(self._loaded, connection, request))
            return
        except Refused as refused:
            self._refuse(connection, request, refused.code, refused.message)
            return
        self._verified(connection, request, verified, entry, now_s)

    def _probe(self, connection: HttpConnection, target: bytes) -> None:
        """`/livez`, `/readyz` (of the home region) and `/readyz/REGION` say only yes or no, whatever the query."""
        probe, _, name = target.partition(b"?")[0][1:].partition(b"/")
        if probe == b"readyz":
            ready = self._regions.is_answering(name.decode("latin-1") or self._home.region)
        elif probe == b"livez" and not name:
            ready = True
        else:
            connection.answer(404, b"text/plain", self._ids(), b"the probes are /livez and /readyz\n")
            return
        connection.answer(200 if ready else 503, b"text/plain", self._ids(), b"yes\n" if ready else b"no\n")

    def _find_secret(self, access_key_id: str) -> str | None:
        entry = self._directory.known_principal(access_key_id)
        if entry is None:
            raise _UnknownAccessKeyError(access_key_id)
        return entry.secret_text

    def _loaded(
        self,
        connection: HttpConnection,
        request: HttpRequest,
        entry: PrincipalEntry | None,
        error: BaseException | None,
    ) -> None:
        """Verify again with what was loaded; an access key that does not exist takes the same steps as one that does."""
        services = _services_of(request)
        if error is not None:
            fault = _as_fault(error)
            self._refuse(connection, request, fault.code, fault.message)
            return
        try:
            now_s = self._clock()
            verified = self._verifier.verify(request, now_s, lambda _: entry.secret_text if entry else None, services)
            assert entry is not None
            if entry.session is not None or _TOKEN_NAME in verified.signed_headers:
                require_session(entry.session, request.value_of(TOKEN_HEADER), now_s)
        except Refused as refused:
            self._refuse(connection, request, refused.code, refused.message)
            return
        self._verified(connection, request, verified, entry, now_s)

    def _refuse(self, connection: HttpConnection, request: HttpRequest, code: str, message: str) -> None:
        """Answer somebody who is nobody: counted, not recorded one by one."""
        self._trail.log.count_noise(code)
        request_id = self._ids()
        status, content_type = _error_status(code, _services_of(request))
        connection.answer(status, content_type, request_id, _error_body(content_type, code, message, request_id))
        self._telemetry.refused(request_id, status, code, message, connection.peer, request.value_of(_AUTHORIZATION))

    # ── 2. which operation, 3. the typed request ────────────────────────────────────────────────────────────────

    def _verified(
        self,
        connection: HttpConnection,
        request: HttpRequest,
        verified: Verified,
        entry: PrincipalEntry,
        now_s: float,
    ) -> None:
        use = entry.last_use
        use.at_s = now_s
        use.signed = verified
        if verified.region == self._home.region:
            self._call(self._home, connection, request, entry, verified.service)
            return
        if _services_of(request) is _QUERY and (
            verified.region in REGIONS or self._regions.find(verified.region) is not None
        ):
            self._call(self._home, connection, request, entry, verified.service)
            return
        region = self._regions.find(verified.region) or self._regions.wait_for(verified.region)
        if region is None:
            self._refuse(connection, request, "InvalidSignatureException", _REFUSED_REGION)
            return

        def proceed(fresh: Service | None, error: BaseException | None) -> None:
            if isinstance(error, RegionRefusedError):
                self._refuse(connection, request, "InvalidSignatureException", _REFUSED_REGION)
                return
            if fresh is None:
                fault = _as_fault(error or AssertionError("neither a region nor a reason"))
                self._refuse(connection, request, fault.code, fault.message)
                return
            try:
                self._call(fresh, connection, request, entry, verified.service)
            except Exception as failed:  # noqa: BLE001 -- others wait for the same region.
                self._fail(connection, request, failed)

        drive(self._fresh(region), proceed)

    async def _fresh(self, region: Service | Deferred[Service]) -> Service:
        """A region other than the home region, once it is there, with its records as they are now."""
        service = await region if isinstance(region, Deferred) else region
        await service.directory.refreshed()
        return service

    def _call(
        self,
        region: Service,
        connection: HttpConnection,
        request: HttpRequest,
        entry: PrincipalEntry,
        service_name: str,
    ) -> None:
        target = request.value_of(_TARGET)
        origin = self._origin(connection.peer, request.value_of(b"user-agent") or b"")
        if target is None:
            self._query.serve(request, service_name, entry, origin, partial(self._answered, connection))
            return
        route = _ROUTES.get(target) if request.target == b"/" and request.method == "POST" else None
        name, row = route or ("UnknownOperation", None)
        call = Call(self._ids(), name, entry, origin)
        if row is None:
            unsupported = UnsupportedOperationException(f"{name} is not supported yet.")
            self._finish(region, connection, call, None, unsupported if route else UnknownOperationException())
            return
        try:
            typed = decode_request(name, request.body)
        except RequestRefused as refused:
            self._finish(region, connection, call, None, _fault_named(refused.code, refused.message))
            return
        call.parameters = logged_parameters(typed)
        call.request = typed
        drive(self._serve(region, call, row, typed), partial(self._served, region, connection, call))

    def _origin(self, peer: str, agent: bytes) -> Origin:
        origin = self._origins.get((peer, agent))
        if origin is None:
            origin = Origin(peer, agent.decode("latin-1"))
            if len(agent) <= TEXT_CHARS_MAX:
                if len(self._origins) >= _ORIGINS_MAX:
                    self._origins.clear()
                self._origins[peer, agent] = origin
        return origin

    # ── 4. the gate, 5. the operation ───────────────────────────────────────────────────────────────────────────

    async def _serve(self, region: Service, call: Call, row: Operation, typed: Shape) -> Shape | None:
        gate = region.gate
        try:
            demands = row.demands(typed)
            if row.mutates or not gate.admit_known(call, demands):
                await gate.admit(call, demands, mutates=row.mutates)
            return await row.run(region, call, typed)
        except ConflictError:
            return await self._serve_again(region, call, row, typed)

    async def _serve_again(self, region: Service, call: Call, row: Operation, typed: Shape) -> Shape | None:
        """Somebody changed a record in between: when it is our turn, see the change, and decide again from the start."""
        subject = call.touched[-1].record.key_id if call.touched else ""
        await self._turns.take(subject)
        try:
            for _ in range(_CONFLICTS_MAX):
                call.admissions.clear()
                call.touched.clear()
                await self._home.directory.refreshed()
                call.principal_entry = await self._credentials.renewed(call.principal_entry)
                await region.directory.refreshed()
                try:
                    await region.gate.admit(call, row.demands(typed), mutates=row.mutates)
                    return await row.run(region, call, typed)
                except ConflictError:  # By another worker, or by somebody who was not beaten yet.
                    continue
        finally:
            self._turns.give(subject)
        raise KMSInternalException

    def _served(
        self,
        region: Service,
        connection: HttpConnection,
        call: Call,
        response: Shape | None,
        error: BaseException | None,
    ) -> None:
        self._finish(region, connection, call, response, None if error is None else _as_fault(error))

    # ── 6. the record, 7. the answer ────────────────────────────────────────────────────────────────────────────

    def _finish(
        self,
        region: Service,
        connection: HttpConnection,
        call: Call,
        response: Shape | None,
        fault: Fault | None,
    ) -> None:
        row = TABLE.get(call.operation)
        record = region.trail.outcome(call, fault, read_only=row is None or not row.mutates)
        if fault is None:
            code, status, body = "", 200, b"" if response is None else encode_response(response)
        else:
            code = fault.code
            status, _ = _error_status(code, _KMS)
            body = _error_body(JSON_TYPE, code, fault.message, call.request_id)
        self._complete(_Completed(record, connection, call, region.region, code, status, JSON_TYPE, body))

    def _serve_unsigned(self, connection: HttpConnection, request: HttpRequest) -> bool:
        """See `QueryCalls.serve_unsigned`."""

        def refuse(refusal: Unsigned) -> None:
            self._trail.log.count_noise(refusal.code)
            connection.answer(refusal.status, query.CONTENT_TYPE, refusal.request_id, refusal.body)
            told = (refusal.request_id, refusal.status, refusal.code, refusal.message)
            self._telemetry.refused(*told, connection.peer, None)

        origin = self._origin(connection.peer, request.value_of(b"user-agent") or b"")
        return self._query.serve_unsigned(request, origin, partial(self._answered, connection), refuse)

    def _answered(self, connection: HttpConnection, answer: QueryAnswer) -> None:
        region, text = self._home.region, query.CONTENT_TYPE
        done = _Completed(answer.record, connection, answer.call, region, answer.code, answer.status, text, answer.body)
        self._complete(done)


def _services_of(request: HttpRequest) -> frozenset[str]:
    """Which service a request addresses: without X-Amz-Target it speaks the Query protocol."""
    return _QUERY if request.value_of(_TARGET) is None else _KMS


def _as_fault(error: BaseException) -> Fault:
    """Whatever ended an operation, as something a caller may see; a programmer's error shows nothing of itself."""
    match error:
        case Fault():
            return error
        case Refused():
            return _fault_named(error.code, error.message)
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


def _error_status(code: str, services: frozenset[str]) -> tuple[int, bytes]:
    """Status and content type of an error in the protocol of the service that was addressed."""
    status = ERRORS.get(code, 400)
    if services is _QUERY:
        return _QUERY_CODES.get(code, (code, status))[1], query.CONTENT_TYPE
    return status, JSON_TYPE


def _error_body(content_type: bytes, code: str, message: str, request_id: str) -> bytes:
    if content_type is JSON_TYPE:
        return msgspec.json.encode({"__type": code, "message": message} if message else {"__type": code})
    query_code, status = _QUERY_CODES.get(code, (code, ERRORS.get(code, 400)))
    return query.format_error(query_code, message, request_id, is_callers_fault=status < 500)
