"""What operators may ask of a running service: identities, accounts, status, traces. Every change is audited.

The table at the end is the list; a command takes the arguments of its function by name and refuses others.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from strongroom.boundary.control import StatusReport
from strongroom.boundary.control import decode_answer as decode_report
from strongroom.boundary.messages import GetHsmStatus, StatusAnswer
from strongroom.kms.admin.accounts import Accounts
from strongroom.kms.admin.askers import Askers, NotExplainedError
from strongroom.kms.admin.authentication import format_stranger
from strongroom.kms.admin.explanation import Asked, Explanation, explain
from strongroom.kms.admin.identities import IdentityCommands, operator_entry
from strongroom.kms.admin.inspection import SECTIONS, Inspection, Page
from strongroom.kms.audit.events import EventIds, Origin
from strongroom.kms.calls import Call
from strongroom.kms.chores.clock_guard import accept_clock, held_since_s
from strongroom.kms.faults import Fault
from strongroom.kms.identities.lookup import Lookup
from strongroom.kms.process import is_confined
from strongroom.kms.region import Region
from strongroom.kms.regions import Regions
from strongroom.kms.repositories import (
    ConflictError,
    RowForgedError,
    StoreUnavailableError,
)
from strongroom.kms.service import Service
from strongroom.kms.telemetry.strangers import Strangers
from strongroom.kms.trail import Trail


class AdminError(Exception):
    """A command that cannot be done, in words for an operator."""


class AdminCommands:
    """The commands, each an async method of the same name as in the table below."""

    def __init__(
        self,
        regions: Regions,
        lookup: Lookup,
        ids: EventIds,
        strangers: Strangers,
        worker: str = "w1",
        workers: int = 1,
    ) -> None:
        """`worker` is who answers here, of so many `workers`, and knows of these strangers."""
        self._regions = regions
        self._strangers = strangers
        self._service: Final[Service] = regions.home.service
        self._identities: Final = IdentityCommands(self._service)
        self._accounts: Final = Accounts(regions)
        self._askers: Final = Askers(lookup, self._service.configured.providers)
        self._trail: Final[Trail] = regions.home.service.trail
        self._ids = ids
        self._worker = worker
        self._workers = workers

    async def run(self, uid: int, command: str, arguments: dict[str, Any]) -> Any:
        """Do a command for the operator of this user id.

        Raises:
            AdminError: unknown, wrong arguments, or not possible now.
        """
        row = _TABLE.get(command)
        if row is None:
            raise AdminError(f"unknown command {command!r}")
        parameters = list(inspect.signature(row).parameters)[2:]
        if set(arguments) != set(parameters) or not all(isinstance(value, str) for value in arguments.values()):
            raise AdminError(f"{command} takes {', '.join(parameters) or 'no arguments'}")
        entry = operator_entry(self._service.main_account, uid)
        call = Call(self._ids(), command, entry, Origin("admin-socket", "strongroom"))
        call.parameters = dict(arguments)
        result = await row(self, call, **arguments)
        if command in _MUTATES:
            await self._trail.record([self._trail.outcome(call, None, read_only=False)])
        return result

    # ── identities ──────────────────────────────────────────────────────────────────────────────────────────────

    async def iam(self, call: Call, account: str, action: str, form: str) -> Any:
        """An operation of IAM, in this account or, with an empty one, in the main account."""
        return await self._identities.perform(call, account, action, form)

    async def create_account(self, call: Call, account: str, name: str) -> dict[str, str]:
        return await self._accounts.create(call, account, name)

    async def delete_account(self, call: Call, account: str) -> dict[str, str]:
        return await self._accounts.delete(call, account)

    async def list_accounts(self, call: Call) -> list[dict[str, str]]:
        return await self._accounts.of_home()

    async def explain(
        self,
        call: Call,
        principal: str,
        action: str,
        key: str,
        resource: str,
        context: str,
        session_policies: str,
        region: str,
    ) -> Explanation:
        """Would this principal be allowed; `context` is a JSON list of `name=value`, `session_policies` one of texts."""
        try:
            pairs, policies = (tuple(msgspec.json.decode(text, type=list[str])) for text in (context, session_policies))
            asked = Asked(principal, action, key, resource, pairs, policies)
            return await explain(self._open(region), self._askers, asked)
        except (NotExplainedError, msgspec.MsgspecError) as error:
            raise AdminError(str(error)) from None

    async def why_unauthenticated(self, call: Call, request_id: str) -> list[str]:
        """Lines about a request that this worker refused lately, because it could not tell whose it was; none for others."""
        stranger = self._strangers.find(request_id)
        return [] if stranger is None else await format_stranger(self._service.identities, request_id, stranger)

    def _open(self, region: str) -> Service:
        """A region by its name, the home region by none."""
        service = self._regions.find(region or self._service.region)
        if service is None:
            raise AdminError(f"the region {region} is not open")
        return service

    # ── the clock ───────────────────────────────────────────────────────────────────────────────────────────────

    async def accept_clock(self, call: Call) -> list[dict[str, Any]]:
        """The clock is right: keys are deleted again when they are due, in every region that can write it down."""
        accepted: list[dict[str, Any]] = []
        for region in self._regions.opened():
            try:
                permit = await region.service.gate.operator(call)
                since_s = await accept_clock(region.service, permit)
            except (ConflictError, RowForgedError, StoreUnavailableError) as error:
                accepted.append({"region": region.name, "held_since_s": None, "error": type(error).__name__})
            else:
                accepted.append({"region": region.name, "held_since_s": since_s})
        return accepted

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def status(self, call: Call) -> dict[str, Any]:
        head = self._trail.log.head()
        regions = [await self._region_status(region) for region in self._regions.opened()]
        return {
            "hsm": regions[0]["hsm"],
            "audit": {"writer": head.writer, "records": head.seq, "takes records": not self._trail.log.on_reserve},
            "confined": is_confined(),
            "account": self._service.main_account,
            "region": self._service.region,
            "regions": regions,
            "not open": self._regions.not_open(),
            "worker": self._worker,
            "workers": self._workers,
        }

    async def _region_status(self, region: Region) -> dict[str, Any]:
        """One whose HSM does not answer costs the others nothing: its answer says so."""
        service = region.service
        clock = {"held_since_s": await held_since_s(service.directory.store, service.region)}
        try:
            answer = await service.link.call((service.gate.chore("GetHsmStatus"),), (), GetHsmStatus, StatusAnswer)
        except Fault as fault:
            if service is self._service:
                raise
            return {"region": service.region, "hsm": None, "error": fault.code, "clock": clock}
        report = decode_report(answer.report)
        assert isinstance(report, StatusReport)
        hsm = {
            "state": report.state,
            "id": report.hsm_id,
            "domain": report.domain_name,
            "domain_id": report.domain_id.hex(),
            "state_version": report.state_version,
            "domain_keys": [key.hex() for key in report.domain_key_ids],
            "members": report.member_ids,
            "measures": report.measures,
            "frames": report.frames,
            "commands": report.commands,
        }
        return {
            "region": service.region,
            "hsm": hsm,
            "clock": clock,
            # What this worker did and holds; the others' are theirs to tell.
            "store": msgspec.structs.asdict(region.store.stats),
            "cached": service.directory.sizes(),
        }

    async def trace(self, call: Call, switch: str) -> list[dict[str, Any]]:
        """`on` and `off` switch the HSM's trace; `read` gives what it told since, and forgets it."""
        link = self._service.link
        if switch in {"on", "off"}:
            link.tracing = switch == "on"
            link.traces.clear()
            return []
        traces = [
            {
                "command": trace.command,
                "domain_key_id": trace.domain_key_id.hex(),
                "hbkid": trace.hbkid.hex(),
                "nonce": trace.nonce.hex(),
                "ekt_length": trace.ekt_length,
                "input_length": trace.input_length,
                "output_length": trace.output_length,
            }
            for trace in link.traces
        ]
        link.traces.clear()
        return traces

    async def inspect(self, call: Call, region: str, section: str, after: str) -> Page:
        """A page of what `strongroom doctor --deep` looks at; `sections` names the sections."""
        service = self._open(region)
        if section not in SECTIONS:
            raise AdminError(f"there is no section {section!r}")
        if not (after.isascii() and after.isdigit() and len(after) < 19):
            raise AdminError(f"no page follows {after!r}")
        return await Inspection(service).page(section, int(after))

    async def sections(self, call: Call) -> list[str]:
        """What `inspect` can look at."""
        return list(SECTIONS)


_TABLE: Final[dict[str, Callable[..., Awaitable[Any]]]] = {
    "iam": AdminCommands.iam,
    "create-account": AdminCommands.create_account,
    "delete-account": AdminCommands.delete_account,
    "list-accounts": AdminCommands.list_accounts,
    "explain": AdminCommands.explain,
    "why-unauthenticated": AdminCommands.why_unauthenticated,
    "accept-clock": AdminCommands.accept_clock,
    "status": AdminCommands.status,
    "trace": AdminCommands.trace,
    "inspect": AdminCommands.inspect,
    "sections": AdminCommands.sections,
}
# What `iam` changes, it records itself.
_MUTATES: Final = {"create-account", "delete-account", "accept-clock"}
