"""The one gate: find the key, decide, record, and hand out permits.

Per demand of an operation: 1. find what the reference names, 2. evaluate, 3. make the permit. When all demands are met and
the operation changes something, 4. the intent is in the audit trail before anything happens. Refusals are recorded with
the answer, as every outcome is.

Nobody else makes permits: the tidy test holds that `Permit(` stands in this file only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from strongroom.boundary.blob import BlobError, parse_hbkid
from strongroom.kms.authorization import Authorization
from strongroom.kms.calls import Admission, Call
from strongroom.kms.faults import IncorrectKeyException, InvalidCiphertextException, NotFoundException
from strongroom.kms.iam.principals import PrincipalKind
from strongroom.kms.iam.retirement import RETIRE
from strongroom.kms.identities.demands import OnIdentity
from strongroom.kms.keys.directory import PARTITION, Directory, KeyEntry
from strongroom.kms.keys.grants import OnGrant, OnNewGrant
from strongroom.kms.permits import KEYLESS, Permit
from strongroom.kms.references import References
from strongroom.protocol.arn import format_alias_arn, format_alias_missing


class OnKey(msgspec.Struct, frozen=True):
    """An action on the key that a reference names; `aliases` says whether the operation takes alias references."""

    action: str
    key_ref: str
    aliases: bool = True


class OnCiphertext(msgspec.Struct, frozen=True):
    """An action on the key that made a blob; `key_ref`, where given, must be that key."""

    action: str
    blob: bytes
    key_ref: str | None


class OnAlias(msgspec.Struct, frozen=True):
    """An action on an alias; with `target_action`, also that action on the key behind it, which must exist."""

    action: str
    name: str
    target_action: str | None = None


class OnAccount(msgspec.Struct, frozen=True):
    """An action that concerns no key: identity policies alone decide."""

    action: str
    resource_arn: str = "*"


Demand = OnKey | OnCiphertext | OnAlias | OnAccount | OnNewGrant | OnGrant
_CREATE_GRANT: Final = "kms:CreateGrant"


class Gate:
    """Admits in one region, the callers of all accounts."""

    def __init__(
        self,
        directory: Directory,
        record_intent: Callable[[Call], Awaitable[None]],
        clock: Callable[[], float],
        *,
        is_secure: bool = False,
    ) -> None:
        """`is_secure` says whether callers come over TLS."""
        self._directory: Final = directory
        self._record_intent = record_intent
        self._authorization = Authorization(directory, clock, is_secure=is_secure)
        self._references = References(directory, self._authorization)
        # What operations ask besides: leave to do nothing.
        self.find: Final = self._references.find
        self.find_grant: Final = self._references.find_grant
        self.would_allow: Final = self._authorization.would_allow
        self.explain: Final = self._authorization.explain
        self.question_on_identity: Final = self._authorization.question_on_identity

    def admit_known(self, call: Call, demands: Sequence[Demand]) -> bool:
        """The short way of `admit` for one key by a reference and a caller that were admitted before; or no opinion."""
        demand = demands[0]
        if len(demands) != 1 or type(demand) is not OnKey or not demand.aliases:
            return False
        entry = self._directory.known_reference(call.principal_entry.principal.account, demand.key_ref)
        if entry is None:
            return False
        decision = entry.decision(call.principal_entry, demand.action)
        if decision is None or not decision.allowed:
            return False
        call.touched.append(entry)
        record = entry.record
        permit = Permit(call.request_id, demand.action, record.key_id, record.version)
        call.admissions.append(Admission(permit, entry))
        return True

    async def admit(self, call: Call, demands: Sequence[Demand], *, mutates: bool) -> None:
        """Fill `call.admissions`, one per demand in their order (two for an alias with its target).

        Raises:
            NotFoundException, InvalidArnException, AccessDeniedException, InvalidCiphertextException,
            IncorrectKeyException, InvalidGrantIdException, InvalidGrantTokenException: AWS's own.
        """
        for demand in demands:
            match demand:
                case OnKey():
                    known = self._directory.known_reference(call.account, demand.key_ref) if demand.aliases else None
                    entry = known or await self.find(call, demand.action, demand.key_ref, aliases=demand.aliases)
                    await self._admit_key(call, demand.action, entry, demand.key_ref, demands)
                case OnCiphertext():
                    await self._admit_ciphertext(call, demand, demands)
                case OnAlias():
                    await self._admit_alias(call, demand)
                case OnAccount():
                    self._admit_keyless(call, demand.action, KEYLESS, demand.resource_arn)
                case OnNewGrant():
                    await self._admit_new_grant(call, demand, demands)
                case OnGrant():
                    await self._admit_retirement(call, demand)
        if mutates:
            await self._record_intent(call)

    async def admit_identity(
        self, call: Call, demands: Sequence[OnIdentity], identities_version: int, *, mutates: bool
    ) -> None:
        """Fill `call.admissions`, one per demand, with permits for the caller's account as its identities are now.

        Operators are under no policy: the admin socket identified them.

        Raises:
            AccessDenied: in AWS's words.
        """
        if call.principal.kind is not PrincipalKind.OPERATOR:
            for demand in demands:
                self._authorization.require_on_identity(call, demand)
        for demand in demands:
            permit = Permit(call.request_id, demand.action, call.account, identities_version)
            call.admissions.append(Admission(permit, None))
        if mutates:
            await self._record_intent(call)

    def chore(self, name: str, key_id: str = KEYLESS) -> Permit:
        """Leave for one act of the service itself: keyless, such as a signed head, or with the key that is named."""
        return Permit("", f"strongroom:{name}", key_id, 0)

    async def operator(self, call: Call) -> Permit:
        """Leave for one act of an operator, whom the admin socket identified by user id; recorded like any mutation."""
        await self._record_intent(call)
        return Permit(call.request_id, f"strongroom:{call.operation}", KEYLESS, 0)

    def rotation(self, permit: Permit, key_id: str) -> tuple[Permit, Permit]:
        """Redeem a permit to rotate a key for two: to have the HSM make the material, and to store it."""
        permit.redeem(key_id)
        making = Permit(permit.request_id, permit.action, KEYLESS, 0)
        return making, Permit(permit.request_id, permit.action, key_id, permit.record_version)

    def follow_up(self, creation: Permit, key_id: str) -> Permit:
        """Leave to store the key that a permit to create one was given for: its id is known only now."""
        return Permit(creation.request_id, creation.action, key_id, 0)

    # ── one demand ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _admit_ciphertext(self, call: Call, demand: OnCiphertext, demands: Sequence[Demand]) -> None:
        named = None
        if demand.key_ref is not None:
            named = await self.find(call, demand.action, demand.key_ref, aliases=True)
        try:
            hbkid = parse_hbkid(demand.blob)
        except BlobError:
            raise InvalidCiphertextException from None
        key_id = await self._directory.key_id_of_material(hbkid)
        entry = None if key_id is None else await self._directory.key(key_id)
        if entry is None:
            raise self._authorization.unseen_ciphertext(call, demand.action)
        key_ref = demand.key_ref or ""
        if named is not None and named.record.key_id != entry.record.key_id:
            await self._admit_key(call, demand.action, named, key_ref, demands)
            raise IncorrectKeyException(
                "The key ID in the request does not identify a CMK that can perform this operation."
            )
        await self._admit_key(call, demand.action, entry, key_ref, demands)

    async def _admit_alias(self, call: Call, demand: OnAlias) -> None:
        arn = format_alias_arn(PARTITION, self._directory.region, call.account, demand.name)
        target = None
        if demand.target_action is not None:
            key_id = await self._directory.key_id_of_alias(call.account, demand.name)
            target = None if key_id is None else await self._directory.key(key_id)
            if target is None:
                raise NotFoundException(format_alias_missing(arn))
        self._admit_keyless(call, demand.action, demand.name, arn)
        if target is not None and demand.target_action is not None:
            await self._admit_key(call, demand.target_action, target, "", ())

    async def _admit_key(
        self, call: Call, action: str, entry: KeyEntry, key_ref: str, demands: Sequence[Demand]
    ) -> None:
        call.touched.append(entry)
        kept = entry.decision(call.principal_entry, action)
        if kept is None or not kept.allowed:
            find_same_key = partial(self._is_same_key, call, entry, demands)
            await self._authorization.require_on_key(call, action, entry, key_ref, find_same_key)
        permit = Permit(call.request_id, action, entry.record.key_id, entry.record.version)
        call.admissions.append(Admission(permit, entry))

    async def _admit_new_grant(self, call: Call, demand: OnNewGrant, demands: Sequence[Demand]) -> None:
        entry = await self.find(call, _CREATE_GRANT, demand.key_ref, aliases=False)
        await self._admit_key(call, _CREATE_GRANT, entry, demand.key_ref, demands)
        await self._authorization.require_delegation(
            call, _CREATE_GRANT, entry, demand.key_ref, frozenset(demand.operations), demand.constraints
        )

    async def _admit_retirement(self, call: Call, demand: OnGrant) -> None:
        entry, grant = await self.find_grant(call, demand)
        call.touched.append(entry)
        await self._authorization.require_retirement(call, entry, grant, by_token=demand.token is not None)
        permit = Permit(call.request_id, RETIRE, entry.record.key_id, entry.record.version)
        call.admissions.append(Admission(permit, entry))

    def _admit_keyless(self, call: Call, action: str, subject: str, arn: str) -> None:
        self._authorization.require_on_account(call, action, arn)
        call.admissions.append(Admission(Permit(call.request_id, action, subject, 0), None))

    async def _is_same_key(self, call: Call, entry: KeyEntry, demands: Sequence[Demand]) -> bool | None:
        """Whether ReEncrypt's two keys are one; its demands are the source and then the destination."""
        if call.admissions:
            return call.admissions[0].key.record.key_id == entry.record.key_id
        destination = demands[-1]
        if not isinstance(destination, OnKey):
            return None
        other = await self.find(call, destination.action, destination.key_ref, aliases=destination.aliases)
        return other.record.key_id == entry.record.key_id
