"""A worker's service in this process: real operations, gate, trail, SQLite store and HSM module; the test sets its clock.

What is left out is what carries requests: HTTP, signatures, the socket to the HSM. Several workers on one folder share its
store, as processes do. The HSM's own clock stands still, so that its sessions outlive a simulated year.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, cast

import msgspec

from strongroom.boundary.messages import Answer, Command, KeyBinding, RefusedAnswer
from strongroom.boundary.secret import AccessKeySecret, StoreKey
from strongroom.boundary.statuses import RefusedError, Status
from strongroom.kms.audit.events import EventIds, Origin
from strongroom.kms.audit.log import AuditLog
from strongroom.kms.calls import Call
from strongroom.kms.driver import Deferred, run
from strongroom.kms.faults import Fault, fault_of
from strongroom.kms.gate import Gate
from strongroom.kms.hsm_link.link import HsmLink, KeyHandle
from strongroom.kms.iam.evaluate import Documents
from strongroom.kms.iam.principals import root_principal
from strongroom.kms.keys.directory import Directory, PrincipalEntry
from strongroom.kms.limits import Limits
from strongroom.kms.operations.table import TABLE
from strongroom.kms.permits import KEYLESS, Permit
from strongroom.kms.repositories import ConflictError
from strongroom.kms.service import Service
from strongroom.kms.storage.sqlite import SqliteStore
from strongroom.kms.trail import Trail, logged_parameters
from strongroom.kms.wire.validation import decode_request, encode_response
from testkit.module import ACCOUNT, REGION, Hsm, Peer

START_S = 1_795_498_270.0
DAY_S = 86_400.0
CONFLICTS_MAX = 5


class Clocks:
    """The wall clock, and the machine's uptime, which only `pass_s` moves."""

    def __init__(self, now_s: float = START_S) -> None:
        self.now_s = now_s
        self.uptime_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s

    def uptime(self) -> float:
        return self.uptime_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.uptime_s += seconds


class InProcessLink(HsmLink):
    """Asks the module at once; permits are redeemed as the real link redeems them."""

    def __init__(self, peer: Peer) -> None:
        super().__init__("/nowhere", cast("Any", None), cast("Any", None), lambda work: work())
        self._peer = peer
        self.commands: list[Command] = []

    def call(
        self,
        permits: Sequence[Permit],
        handles: Sequence[KeyHandle],
        build: Callable[..., Command],
        _answer_type: type[Any],
    ) -> Deferred[Any]:
        subjects = [handle.key_id for handle in handles] or [KEYLESS]
        for permit, subject in zip(permits, subjects, strict=True):
            permit.redeem(subject)
        command = build(1, *range(len(handles)))
        self.commands.append(command)
        bindings = tuple(msgspec.msgpack.decode(handle.encoded, type=KeyBinding) for handle in handles)
        answer: Answer = self._peer.ask(command, keys=bindings)[0]
        deferred: Deferred[Any] = Deferred()
        if isinstance(answer, RefusedAnswer):
            deferred.fail(fault_of(RefusedError(Status(answer.status))))
        else:
            deferred.resolve(answer)
        return deferred


class Worker:
    """One worker of a folder; use it within a running event loop, as a context manager."""

    def __init__(self, folder: Path, hsm: Hsm, clocks: Clocks, name: str = "w1", limits: Limits | None = None) -> None:
        self.name = name
        self.clocks = clocks
        self.audit = folder / "audit"
        self.path = folder / "store.db"
        # Worker names are part of the ids, so that two workers' ids differ and every run's are the same.
        number = bytes([int(name[1:])]) * 9
        self.log = AuditLog(self.audit, name, clock=clocks, event_ids=EventIds(number), reserve_bytes=0)
        self.store = SqliteStore(self.path)
        self.store.unlock(StoreKey(bytes(32)))
        self.directory = Directory(self.store, REGION)
        self.trail = Trail(self.log, REGION, clocks, EventIds(number[::-1]), is_strict=False)
        self.gate = Gate(self.directory, self.trail.intent, clocks)
        self.link = InProcessLink(hsm.open_peer())
        self.service = Service(
            ACCOUNT, REGION, self.directory, self.store, self.link, self.gate, clocks, self.trail, limits or Limits()
        )
        self._caller = PrincipalEntry(root_principal(ACCOUNT, "test"), Documents(), AccessKeySecret(b"test"))
        self._request_ids = EventIds(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.store.close()
        self.log.close()

    async def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """An operation as the account's root, recorded as the dispatcher records it.

        Raises:
            Fault: what a caller would be told.
        """
        self.directory.refresh(lambda: None)
        row = TABLE[operation]
        typed = decode_request(operation, json.dumps(request).encode())
        call = Call(self._request_ids(), operation, self._caller, Origin("192.0.2.1", "a client"))
        call.parameters = logged_parameters(typed)
        fault: Fault | None = None
        response: Any = None
        try:
            response = await run(self._serve(call, row, typed))
        except Fault as error:
            fault = error
        self.log.append([self.trail.outcome(call, fault, read_only=not row.mutates)])
        if fault is not None:
            raise fault
        answer: dict[str, Any] = {} if response is None else json.loads(encode_response(response))
        return answer

    async def _serve(self, call: Call, row: Any, typed: Any) -> Any:
        for _ in range(CONFLICTS_MAX):
            try:
                await self.gate.admit(call, row.demands(typed), mutates=row.mutates)
                return await row.run(self.service, call, typed)
            except ConflictError:
                call.admissions.clear()
                call.touched.clear()
                self.directory.refresh(lambda: None)
        raise AssertionError("conflicts without end")

    def events(self) -> list[dict[str, Any]]:
        """Everything in this worker's trail so far."""
        return [
            json.loads(line)["event"]
            for path in sorted(self.audit.glob(f"audit-{self.name}-*.jsonl"))
            for line in path.read_bytes().splitlines()[1:]
        ]
