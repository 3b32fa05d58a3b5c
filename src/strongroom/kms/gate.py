"""The one gate: find the key, decide, record, and hand out permits.

Per demand of an operation: 1. find what the reference names, 2. evaluate, 3. make the permit. When all demands are met and
the operation changes something, 4. the intent is in the audit trail before anything happens. Refusals are recorded with
the answer, as every outcome is.

Nobody else makes permits: the tidy test holds that `Permit(` stands in this file only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from strongroom.boundary.blob import BlobError, parse_hbkid
from strongroom.kms.calls import Admission, Call
from strongroom.kms.faults import (
    AccessDeniedException,
    IncorrectKeyException,
    InvalidArnException,
    InvalidCiphertextException,
    NotFoundException,
)
from strongroom.kms.iam.context import KeyFacts, RequestContext, StatedContext, Surroundings
from strongroom.kms.iam.decisions import VaryingDecision
from strongroom.kms.iam.documents import PolicyDocument
from strongroom.kms.iam.evaluate import (
    NO_POLICY,
    Decision,
    Question,
    consulted_keys,
    evaluate,
    refusal_message,
    unseen_message,
)
from strongroom.kms.iam.principals import PrincipalKind
from strongroom.kms.identities.demands import OnIdentity, stated_values
from strongroom.kms.identities.faults import AccessDenied
from strongroom.kms.keys.directory import PARTITION, Directory, KeyEntry
from strongroom.kms.permits import KEYLESS, Permit
from strongroom.kms.repositories import KeyRecord
from strongroom.protocol.arn import (
    AliasArn,
    AliasName,
    KeyArn,
    MalformedArn,
    format_alias_arn,
    format_alias_missing,
    format_key_arn,
    format_key_missing,
    format_wrong_region,
    parse_key_ref,
)


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


Demand = OnKey | OnCiphertext | OnAlias | OnAccount

# KMS developer guide, "AWS KMS permissions", column "Cross-account use": what can be done with another account's key.
ACROSS_ACCOUNTS: Final = frozenset(
    {
        *("kms:CreateGrant", "kms:ListGrants", "kms:RetireGrant", "kms:RevokeGrant"),
        *("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo"),
        *("kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"),
        *("kms:GenerateDataKeyPair", "kms:GenerateDataKeyPairWithoutPlaintext"),
        *("kms:GenerateMac", "kms:VerifyMac", "kms:Sign", "kms:Verify", "kms:DeriveSharedSecret"),
        *("kms:DescribeKey", "kms:GetPublicKey", "kms:GetKeyRotationStatus"),
    }
)
_THIS: Final = "this resource"
_BEHIND_CIPHERTEXT: Final = "the resource associated with this ciphertext"

# What only some conditions ask for, and somebody must look up.
_ALIASES_KEY: Final = "kms:resourcealiases"
_SAME_KEY: Final = "kms:reencryptonsamekey"


class Gate:
    """Decides in one region, for the callers of all accounts."""

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
        self._clock = clock
        self._is_secure = is_secure

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
            IncorrectKeyException: AWS's own.
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
                self._require_identity(call, demand)
        for demand in demands:
            permit = Permit(call.request_id, demand.action, call.account, identities_version)
            call.admissions.append(Admission(permit, None))
        if mutates:
            await self._record_intent(call)

    def _require_identity(self, call: Call, demand: OnIdentity) -> None:
        caller = call.principal_entry
        question = Question(
            caller.principal,
            caller.documents,
            demand.action,
            demand.arn,
            resource_policy=demand.resource_policy,
            resource_account=demand.resource_account,
            context=StatedContext(stated_values(demand, call.request), self._plain_context(call, demand.action, None)),
        )
        decision = evaluate(question)
        if not decision.allowed:
            raise AccessDenied(refusal_message(question, decision))

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
            raise _denied_unseen(call, demand.action, _BEHIND_CIPHERTEXT)
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
            await self._decide(call, action, entry, kept, key_ref, demands)
        permit = Permit(call.request_id, action, entry.record.key_id, entry.record.version)
        call.admissions.append(Admission(permit, entry))

    async def _decide(
        self,
        call: Call,
        action: str,
        entry: KeyEntry,
        kept: Decision | VaryingDecision | None,
        key_ref: str,
        demands: Sequence[Demand],
    ) -> None:
        """Let it pass, or refuse it; what decides anew is kept under everything that it depends on."""
        caller = call.principal_entry
        require = _required(call, entry, key_ref, action)
        if isinstance(kept, Decision):
            require(kept)
            return
        question = Question(
            caller.principal,
            caller.documents,
            action,
            entry.arn,
            resource_policy=entry.policy,
            resource_account=entry.record.account,
            grants=await self._directory.grants_naming(entry, caller.principal),
        )
        if kept is None:
            keys = consulted_keys(question)
            if not keys:
                decision = evaluate(question)
                entry.remember(caller, action, decision)
                require(decision)
                return
            kept = VaryingDecision(action, keys)
            entry.remember(caller, action, kept)
        context = await self._context(call, action, entry, kept.keys, key_ref, demands)
        values = kept.values(context)
        found = kept.find(values)
        if found is None:
            found = evaluate(msgspec.structs.replace(question, context=context))
            kept.keep(values, found)
        require(found)

    def _admit_keyless(self, call: Call, action: str, subject: str, arn: str) -> None:
        caller = call.principal_entry
        question = Question(
            caller.principal, caller.documents, action, arn, context=self._plain_context(call, action, None)
        )
        _require_allowed(question, evaluate(question))
        call.admissions.append(Admission(Permit(call.request_id, action, subject, 0), None))

    def would_allow(self, call: Call, action: str, key: KeyRecord, key_policy: PolicyDocument) -> bool:
        """Whether the caller could do this to a key whose policy were this one; no leave to do anything."""
        caller = call.principal_entry
        question = Question(
            caller.principal,
            caller.documents,
            action,
            format_key_arn(PARTITION, key.region, key.account, key.key_id),
            resource_policy=key_policy,
            resource_account=key.account,
            context=self._plain_context(call, action, key),
        )
        return evaluate(question).allowed

    # ── what the request says of itself ─────────────────────────────────────────────────────────────────────────

    def _surroundings(self, call: Call) -> Surroundings:
        origin = call.origin
        return Surroundings(self._directory.region, origin.source_ip, origin.user_agent, self._is_secure, self._clock())

    def _plain_context(self, call: Call, action: str, key: KeyFacts | None) -> RequestContext:
        return RequestContext(
            action, call.principal_entry.principal, self._surroundings(call), request=call.request, key=key
        )

    async def _context(
        self, call: Call, action: str, entry: KeyEntry, keys: Sequence[str], key_ref: str, demands: Sequence[Demand]
    ) -> RequestContext:
        """With what must be looked up, if one of the keys asks for it."""
        record = entry.record
        return RequestContext(
            action,
            call.principal_entry.principal,
            self._surroundings(call),
            request=call.request,
            key=record,
            key_ref_alias=_alias_of(key_ref) if key_ref else "",
            aliases=await self._directory.aliases_of(record) if _ALIASES_KEY in keys else (),
            same_key=await self._is_same_key(call, entry, demands) if _SAME_KEY in keys else None,
        )

    async def _is_same_key(self, call: Call, entry: KeyEntry, demands: Sequence[Demand]) -> bool | None:
        """Whether ReEncrypt's two keys are one; its demands are the source and then the destination."""
        if call.admissions:
            return call.admissions[0].key.record.key_id == entry.record.key_id
        destination = demands[-1]
        if not isinstance(destination, OnKey):
            return None
        other = await self.find(call, destination.action, destination.key_ref, aliases=destination.aliases)
        return other.record.key_id == entry.record.key_id

    # ── references ──────────────────────────────────────────────────────────────────────────────────────────────

    async def find(self, call: Call, action: str, key_ref: str, *, aliases: bool) -> KeyEntry:
        """The key that a reference of the caller's names; finding is no leave to use.

        Most references are the id or ARN of a key that exists, and need no more than that. Of the others:
        1. what is no reference, 2. an alias where only keys are taken, 3. another region, 4. another account, whose keys
        must be named by ARN, and of which nobody is told what exists, 5. nothing of this name.

        Raises:
            NotFoundException, InvalidArnException, AccessDeniedException: AWS's wording for each kind of reference.
        """
        directory, account = self._directory, call.account
        generation = directory.generation
        plain_id = directory.plain_key_id(account, key_ref)
        entry = None if plain_id is None else await directory.key(plain_id)
        if entry is not None and entry.record.account == account:
            directory.keep_reference(account, key_ref, entry, generation)
            return entry
        try:
            parsed = parse_key_ref(key_ref)
        except MalformedArn as malformed:  # 1
            raise NotFoundException(malformed.message) from None
        if not aliases and isinstance(parsed, AliasName | AliasArn):  # 2
            raise InvalidArnException("Key Aliases are not supported for this operation.")
        foreign_partition = False
        if isinstance(parsed, KeyArn | AliasArn):
            if parsed.region != directory.region:  # 3
                raise NotFoundException(format_wrong_region(parsed.region))
            foreign_partition = parsed.partition != PARTITION
            if parsed.account != account:  # 4
                entry = None if foreign_partition else await self._find_foreign(action, parsed)
                if entry is None:
                    raise self._refuse_unseen(call, action, parsed)
                directory.keep_reference(account, key_ref, entry, generation)
                return entry
        key_id: str | None
        if isinstance(parsed, AliasName | AliasArn):
            arn = format_alias_arn(PARTITION, directory.region, account, parsed.alias_name)
            missing = format_alias_missing(arn)
            key_id = await directory.key_id_of_alias(account, parsed.alias_name)
        else:
            missing = format_key_missing(format_key_arn(PARTITION, directory.region, account, parsed.key_id))
            key_id = parsed.key_id
        entry = None if key_id is None or foreign_partition else await directory.key(key_id)
        if entry is None or entry.record.account != account:  # 5
            raise NotFoundException(missing)
        directory.keep_reference(account, key_ref, entry, generation)
        return entry

    async def _find_foreign(self, action: str, parsed: KeyArn | AliasArn) -> KeyEntry | None:
        """Another account's key, for an action that another account's keys are open to."""
        if action not in ACROSS_ACCOUNTS:
            return None
        directory = self._directory
        if isinstance(parsed, KeyArn):
            key_id: str | None = parsed.key_id
        else:
            key_id = await directory.key_id_of_alias(parsed.account, parsed.alias_name)
        entry = None if key_id is None else await directory.key(key_id)
        return entry if entry is not None and entry.record.account == parsed.account else None

    def _refuse_unseen(self, call: Call, action: str, parsed: KeyArn | AliasArn) -> AccessDeniedException:
        """What a key would answer that lets nobody in: whoever asks must not learn that there is none."""
        if isinstance(parsed, AliasArn):
            return _denied_unseen(call, action, _THIS)
        caller = call.principal_entry
        question = Question(
            caller.principal,
            caller.documents,
            action,
            str(parsed),
            resource_policy=NO_POLICY,
            resource_account=parsed.account,
            context=self._plain_context(call, action, None),
        )
        return AccessDeniedException(refusal_message(question, evaluate(question)))


def _required(call: Call, entry: KeyEntry, key_ref: str, action: str) -> Callable[[Decision], None]:
    """Raises the refusal of a decision. Who named another account's key other than by its ARN is not told which it is."""

    def require(decision: Decision) -> None:
        if decision.allowed:
            return
        if entry.record.account != call.account:
            if not key_ref:
                raise _denied_unseen(call, action, _BEHIND_CIPHERTEXT)
            if _alias_of(key_ref):
                raise _denied_unseen(call, action, _THIS)
        caller = call.principal_entry
        raise AccessDeniedException(
            refusal_message(Question(caller.principal, caller.documents, action, entry.arn), decision)
        )

    return require


def _denied_unseen(call: Call, action: str, what: str) -> AccessDeniedException:
    return AccessDeniedException(unseen_message(call.principal, action, what))


def _require_allowed(question: Question, decision: Decision) -> None:
    if not decision.allowed:
        raise AccessDeniedException(refusal_message(question, decision))


def _alias_of(key_ref: str) -> str:
    """The alias by which a valid reference names its key; empty where it does not."""
    parsed = parse_key_ref(key_ref)
    return parsed.alias_name if isinstance(parsed, AliasName | AliasArn) else ""
