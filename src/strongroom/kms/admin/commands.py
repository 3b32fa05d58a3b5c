"""What operators may ask of a running service: users and access keys, status, traces. Every change is audited.

The table at the end is the list; a command takes the arguments of its function by name and refuses others.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from strongroom.boundary.control import StatusReport
from strongroom.boundary.control import decode_answer as decode_report
from strongroom.boundary.messages import GetHsmStatus, StatusAnswer
from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.admin.inspection import SECTIONS, Inspection, Page
from strongroom.kms.audit.events import EventIds, Origin
from strongroom.kms.calls import Call
from strongroom.kms.chores.clock_guard import accept_clock, held_since_s
from strongroom.kms.credentials import Credentials, new_access_key_id, new_secret, new_user_id
from strongroom.kms.faults import Fault
from strongroom.kms.iam.documents import PolicyError, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents
from strongroom.kms.iam.principals import Principal, PrincipalKind
from strongroom.kms.identities.records import AccessKeyRecord, AccessKeyStatus, UserRecord
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.kms.permits import KEYLESS, Permit
from strongroom.kms.process import is_confined
from strongroom.kms.region import Region
from strongroom.kms.regions import Regions
from strongroom.kms.repositories import (
    ConflictError,
    Put,
    Remove,
    RowForgedError,
    Store,
    StoreUnavailableError,
)
from strongroom.kms.service import Service
from strongroom.kms.trail import Trail

# IAM API reference, CreateUser: UserName.
_USER_NAME: Final = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
# IAM API reference, quotas: two access keys per user.
_ACCESS_KEYS_MAX: Final = 2
_PAGE: Final = 1000


class AdminError(Exception):
    """A command that cannot be done, in words for an operator."""


class AdminCommands:
    """The commands, each an async method of the same name as in the table below."""

    def __init__(
        self, regions: Regions, credentials: Credentials, ids: EventIds, worker: str = "w1", workers: int = 1
    ) -> None:
        """`worker` is who answers here, of so many `workers`."""
        self._regions = regions
        # Users and access keys are the account's, and kept in the home region.
        self._service: Final[Service] = regions.home.service
        self._credentials = credentials
        self._store: Final[Store] = regions.home.store
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
        principal = Principal(PrincipalKind.OPERATOR, self._service.main_account, f"operator:{uid}", str(uid))
        entry = PrincipalEntry(principal, Documents(), AccessKeySecret(b""))
        call = Call(self._ids(), command, entry, Origin("admin-socket", "strongroom"))
        call.parameters = {name: value for name, value in arguments.items() if name != "policy"}
        result = await row(self, call, **arguments)
        if command in _MUTATES:
            await self._trail.record([self._trail.outcome(call, None, read_only=False)])
        return result

    # ── users ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def create_user(self, call: Call, user: str, policy: str) -> dict[str, str]:
        """`policy` is an identity policy's text, or empty for none."""
        if _USER_NAME.fullmatch(user) is None:
            raise AdminError("a user name has 1 to 64 letters, digits and _+=,.@-")
        if await self._find_user(user) is not None:
            raise AdminError(f"the user {user} exists already")
        policies = {"inline": _checked(policy)} if policy else {}
        permit = await self._service.gate.operator(call)
        record = UserRecord(
            account=self._service.main_account,
            name=user,
            version=1,
            user_id=new_user_id(),
            identity_policies=policies,
            created_at_s=self._service.clock(),
        )
        await self._commit(permit, Put(record, replaces=None))
        return {"user": user, "user_id": record.user_id}

    async def put_user_policy(self, call: Call, user: str, policy: str) -> dict[str, str]:
        record = await self._require_user(user)
        changed = msgspec.structs.replace(
            record, version=record.version + 1, identity_policies={"inline": _checked(policy)}
        )
        permit = await self._service.gate.operator(call)
        await self._commit(permit, Put(changed, replaces=record.version))
        return {"user": user}

    async def list_users(self, call: Call) -> list[dict[str, Any]]:
        records: list[UserRecord] = []
        while True:
            after = records[-1].name if records else ""
            page = await self._store.list_named(UserRecord, self._service.main_account, after, _PAGE)
            records += page
            if len(page) < _PAGE:
                break
        return [{"user": r.name, "user_id": r.user_id, "policies": sorted(r.identity_policies)} for r in records]

    # ── access keys ─────────────────────────────────────────────────────────────────────────────────────────────

    async def create_access_key(self, call: Call, user: str) -> dict[str, str]:
        """The only time that a secret is told."""
        await self._require_user(user)
        if len(await self._store.list_access_keys(self._service.main_account, user)) >= _ACCESS_KEYS_MAX:
            raise AdminError(f"the user {user} has {_ACCESS_KEYS_MAX} access keys already")
        permit = await self._service.gate.operator(call)
        access_key_id, secret = new_access_key_id(), new_secret()
        sealing = self._service.gate.chore("SealAccessKey")
        now_s = self._service.clock()
        record = await self._credentials.seal_access_key(
            sealing, access_key_id, secret, self._service.main_account, user, now_s
        )
        await self._commit(permit, Put(record, replaces=None))
        return {"user": user, "access_key_id": access_key_id, "secret_access_key": secret.expose().decode()}

    async def list_access_keys(self, call: Call, user: str) -> list[dict[str, str]]:
        if user:
            await self._require_user(user)
        records = await self._store.list_access_keys(self._service.main_account, user)
        return [{"access_key_id": r.access_key_id, "status": r.status.value} for r in records]

    async def update_access_key(self, call: Call, access_key_id: str, status: str) -> dict[str, str]:
        """`status` is Active or Inactive; inactive keys are refused from the next request on."""
        record = await self._store.get(AccessKeyRecord, access_key_id)
        if record is None:
            raise AdminError(f"there is no access key {access_key_id}")
        if status not in set(AccessKeyStatus):
            raise AdminError("the status is Active or Inactive")
        permit = await self._service.gate.operator(call)
        changed = msgspec.structs.replace(record, version=record.version + 1, status=AccessKeyStatus(status))
        await self._commit(permit, Put(changed, replaces=record.version))
        return {"access_key_id": access_key_id, "status": status}

    async def delete_access_key(self, call: Call, access_key_id: str) -> dict[str, str]:
        """For good; whoever uses it is refused from the next request on."""
        record = await self._store.get(AccessKeyRecord, access_key_id)
        if record is None:
            raise AdminError(f"there is no access key {access_key_id}")
        permit = await self._service.gate.operator(call)
        await self._commit(permit, Remove(record))
        return {"access_key_id": access_key_id}

    async def delete_user(self, call: Call, user: str) -> dict[str, str]:
        """A user without access keys, as IAM demands."""
        record = await self._require_user(user)
        if await self._store.list_access_keys(self._service.main_account, user):
            raise AdminError(f"the user {user} still has access keys: delete them first")
        permit = await self._service.gate.operator(call)
        await self._commit(permit, Remove(record))
        return {"user": user}

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
        service = self._regions.find(region or self._service.region)
        if service is None:
            raise AdminError(f"the region {region} is not open")
        if section not in SECTIONS:
            raise AdminError(f"there is no section {section!r}")
        if not (after.isascii() and after.isdigit() and len(after) < 19):
            raise AdminError(f"no page follows {after!r}")
        return await Inspection(service).page(section, int(after))

    async def sections(self, call: Call) -> list[str]:
        """What `inspect` can look at."""
        return list(SECTIONS)

    # ── shared ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _find_user(self, user: str) -> UserRecord | None:
        return await self._store.get(UserRecord, self._service.main_account, user)

    async def _require_user(self, user: str) -> UserRecord:
        record = await self._find_user(user)
        if record is None:
            raise AdminError(f"there is no user {user}")
        return record

    async def _commit(self, permit: Permit, change: Put | Remove) -> None:
        await self._service.directory.commit(((permit, KEYLESS),), [change])


def _checked(policy: str) -> str:
    try:
        parse_policy(policy, PolicyKind.IDENTITY)
    except PolicyError as error:
        raise AdminError(f"the policy is refused: {error}") from None
    return policy


_TABLE: Final[dict[str, Callable[..., Awaitable[Any]]]] = {
    "create-user": AdminCommands.create_user,
    "put-user-policy": AdminCommands.put_user_policy,
    "list-users": AdminCommands.list_users,
    "create-access-key": AdminCommands.create_access_key,
    "delete-access-key": AdminCommands.delete_access_key,
    "delete-user": AdminCommands.delete_user,
    "list-access-keys": AdminCommands.list_access_keys,
    "update-access-key": AdminCommands.update_access_key,
    "accept-clock": AdminCommands.accept_clock,
    "status": AdminCommands.status,
    "trace": AdminCommands.trace,
    "inspect": AdminCommands.inspect,
    "sections": AdminCommands.sections,
}
_MUTATES: Final = {
    "create-user",
    "put-user-policy",
    "create-access-key",
    "update-access-key",
    "delete-access-key",
    "delete-user",
    "accept-clock",
}
