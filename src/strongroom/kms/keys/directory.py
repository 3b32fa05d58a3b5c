"""The records as the hot path needs them: found once, verified by the store, kept until somebody changes them.

Invariants: what is cached never outlives a change (`refresh` runs before every batch of requests and forgets
what was committed since, by any worker); caches are bounded; every change redeems a permit; decisions live under the
caller's entry, with the key's policy document or, where they depend on which key it is, in the key's own entry: they die
with either of what they were made from.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

from strongroom.boundary.messages import KeyBinding
from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.driver import Deferred
from strongroom.kms.hsm_link.link import KeyHandle
from strongroom.kms.iam.decisions import VaryingDecision
from strongroom.kms.iam.documents import PolicyDocument, PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Decision, Documents
from strongroom.kms.iam.grants import Grant, GrantConstraints
from strongroom.kms.iam.parsed_once import SHORT_CHARS_MAX, parsed_once
from strongroom.kms.iam.principals import Principal
from strongroom.kms.identities.key_uses import KeyUse, KeyUses
from strongroom.kms.identities.organization import UNLIMITED, Organization
from strongroom.kms.identities.records import (
    AccessKeyRecord,
    AccountRecord,
    GroupRecord,
    ManagedPolicyRecord,
    RoleRecord,
    UserRecord,
)
from strongroom.kms.identities.session_tokens import Session
from strongroom.kms.keys.record_count import GRANTS, KEYS, RecordCount
from strongroom.kms.permits import Permit
from strongroom.kms.repositories import (
    AliasRecord,
    Change,
    Changed,
    GrantRecord,
    KeyRecord,
    MaterialRecord,
    MaterialState,
    Store,
)
from strongroom.protocol.arn import format_key_arn

# AWS's quota of 100,000 keys fits whole, and what is used of it besides; 3 KiB a key.
_WEIGHT_MAX: Final = 110_000
_DECISIONS_MAX: Final = 1_000
_ALIASES_MAX: Final = 1_000
_GRANTEES_MAX: Final = 1_000
_GRANT_COUNTS_MAX: Final = 1_000
# As many as a reason tells of.
_PREDECESSORS_GRANTS_MAX: Final = 8
PARTITION: Final = "aws"
_KEY_ID_CHARS: Final = 36

# In a key's entry, a long policy counts as what it takes.
_POLICY_CHARS_PER_WEIGHT: Final = 128
_TOKEN_BYTES_PER_WEIGHT: Final = 256
_weight_of_key: Final = attrgetter("weight")

_NO_GRANTS: Final[dict[str, tuple[Grant, ...]]] = {}
# What any principal's documents may come from: these change seldom, so that everybody may be looked up again.
_IDENTITIES: Final = frozenset({AccountRecord, UserRecord, GroupRecord, RoleRecord, ManagedPolicyRecord})

_numbers: Final = itertools.count()

K = TypeVar("K")
V = TypeVar("V")


def grant_of(record: GrantRecord) -> Grant:
    """What of a grant decides."""
    return Grant(
        record.grant_id,
        record.grantee,
        frozenset(record.operations),
        GrantConstraints(record.context_equals, record.context_subset, record.source_arn),
        record.issuing_account.split(":")[4],
    )


def parse_key_policy(text: str, principal_ids: Mapping[str, str] | None = None) -> PolicyDocument:
    """A key's policy, parsed, with the ARNs bound to the unique ids; documents are immutable, so keys may share one.

    Raises:
        PolicyError: as `parse_policy`; a stored one was taken before.
    """
    return _parsed_once(text, tuple((principal_ids or {}).items()))


def _parse(text: str, ids: tuple[tuple[str, str], ...]) -> PolicyDocument:
    return parse_policy(text, PolicyKind.KEY).bound(dict(ids))


# Most keys have one of a few: parsing one costs as much as all the rest of a key not cached.
_parsed_once: Final = parsed_once(_parse, short_max=1_000, long_max=32)


class Material:
    """A backing key's record with its encoded binding."""

    __slots__ = ("handle", "material_id", "record")

    def __init__(self, key: KeyRecord, record: MaterialRecord) -> None:
        self.record = record
        # KeyMaterialId as the API shows it.
        self.material_id = record.hbkid.hex()
        current = record.state is MaterialState.CURRENT
        self.handle = KeyHandle(
            KeyBinding(
                record.ekt, key.key_id, key.account, key.region, record.hbkid, key.spec, key.usage, current=current
            )
        )


class KeyEntry:
    """A KMS key with everything that a request needs of it."""

    __slots__ = (
        *("_decides_alone", "_decisions", "arn", "controls", "current", "grants", "has_grants", "materials"),
        *("policy", "record", "touched_part"),
    )

    def __init__(
        self,
        record: KeyRecord,
        materials: Sequence[MaterialRecord],
        policy: PolicyDocument | None = None,
        *,
        has_grants: bool = False,
        controls: tuple[PolicyDocument, ...] = (),
    ) -> None:
        """`policy` is the parsed key policy, where it was parsed already; `controls` are the organisation's."""
        self.record: Final = record
        self.arn: Final = format_key_arn(PARTITION, record.region, record.account, record.key_id)
        self.policy: Final[PolicyDocument] = policy or parse_key_policy(record.key_policy, record.principal_ids)
        self.materials: Final = {material.hbkid: Material(record, material) for material in materials}
        (self.current,) = [m for m in self.materials.values() if m.record.state is MaterialState.CURRENT]
        # How the audit trail names the key together with a material: kept here by `kms/trail.py`.
        self.touched_part: tuple[str | None, bytes] | None = None
        # Whether decisions depend on which key this is, or would keep a long document alive after its keys.
        self._decides_alone: Final = (
            has_grants
            or self.policy.names_resources
            or any(control.names_resources for control in controls)
            or len(record.key_policy) > SHORT_CHARS_MAX
        )
        self.controls: Final = controls
        self.has_grants: Final = has_grants
        # Those that were asked for, by grantee: a key may have 50,000.
        self.grants: dict[str, tuple[Grant, ...]] = _NO_GRANTS
        # Such decisions, by the caller's number; most keys have none.
        self._decisions: dict[tuple[int, str], Decision | VaryingDecision] | None = None

    def keep_grants(self, grantee: str, grants: tuple[Grant, ...]) -> None:
        if self.grants is _NO_GRANTS or len(self.grants) >= _GRANTEES_MAX:
            self.grants = {}
        self.grants[grantee] = grants

    @property
    def weight(self) -> int:
        """What it takes of a cache's room."""
        chars = len(self.record.key_policy)
        own = 0 if chars <= SHORT_CHARS_MAX else chars // _POLICY_CHARS_PER_WEIGHT
        return len(self.materials) + own

    def decision(self, caller: PrincipalEntry, action: str) -> Decision | VaryingDecision | None:
        """What was decided before, if it was."""
        if caller.names_resources or self._decides_alone:
            return None if self._decisions is None else self._decisions.get((caller.number, action))
        return caller.decisions.get((self.policy, self.record.account, action))

    def remember(self, caller: PrincipalEntry, action: str, decision: Decision | VaryingDecision) -> None:
        if caller.names_resources or self._decides_alone:
            if self._decisions is None or len(self._decisions) >= _DECISIONS_MAX:
                self._decisions = {}
            self._decisions[caller.number, action] = decision
        else:
            if len(caller.decisions) >= _DECISIONS_MAX:
                caller.decisions.clear()
            caller.decisions[self.policy, self.record.account, action] = decision


class PrincipalEntry:
    """The owner of an active access key, or of a session; compared by identity, so that a changed one is another one."""

    __slots__ = (
        "decisions",
        "documents",
        "last_use",
        "names_resources",
        "number",
        "principal",
        "secret_text",
        "session",
    )

    def __init__(
        self,
        principal: Principal,
        documents: Documents,
        secret: AccessKeySecret,
        session: Session | None = None,
        last_use: KeyUse | None = None,
    ) -> None:
        """`session` is what temporary credentials came with, `last_use` where to note the use of permanent ones."""
        # By which a key's entry knows it: kept there itself, it would outlive being forgotten, with all of its documents.
        self.number: Final = next(_numbers)
        self.principal: Final = principal
        self.documents: Final = documents
        self.session: Final = session
        self.last_use: Final = last_use or KeyUse()
        self.names_resources: Final = any(policy.names_resources for policy in documents.all())
        # Those that are the same for every key of an account with that policy.
        self.decisions: Final[dict[tuple[PolicyDocument, str, str], Decision | VaryingDecision]] = {}
        # As the signature check wants it; the same object at every request, so that it need not be compared in full.
        self.secret_text: Final = secret.expose().decode()


def _weight_of_principal(entry: PrincipalEntry) -> int:
    """A session keeps its token, too."""
    return 1 if entry.session is None else 1 + len(entry.session.token) // _TOKEN_BYTES_PER_WEIGHT


class _Cache(Generic[K, V]):
    """A dictionary that forgets its oldest entries when all together weigh too much."""

    __slots__ = ("_entries", "_weigh", "_weight")

    def __init__(self, weigh: Callable[[V], int] = lambda _: 1) -> None:
        # Ordered: to find its first entry, a dictionary passes over all that were removed before it.
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._weigh = weigh
        self._weight = 0

    def get(self, key: K) -> V | None:
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        self.forget(key)
        self._weight += self._weigh(value)
        while self._weight > _WEIGHT_MAX and self._entries:
            self.forget(next(iter(self._entries)))
        self._entries[key] = value

    def forget(self, key: K) -> None:
        value = self._entries.pop(key, None)
        if value is not None:
            self._weight -= self._weigh(value)

    def forget_where(self, is_over: Callable[[V], bool]) -> None:
        for key in [key for key, value in self._entries.items() if is_over(value)]:
            self.forget(key)

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        self._entries.clear()
        self._weight = 0


class Directory:
    """The records of one region, of all accounts."""

    def __init__(self, store: Store, region: str, organization: Organization = UNLIMITED) -> None:
        self.store: Final = store
        self.region: Final = region
        self.organization: Final = organization
        # By account, and by key id.
        self._key_counts: dict[str, RecordCount] = {}
        self._grant_counts: dict[str, RecordCount] = {}
        # How the ARNs of an account's keys begin.
        self._arn_starts: dict[str, str] = {}
        self._keys: _Cache[str, KeyEntry] = _Cache(_weight_of_key)
        self._owners: _Cache[bytes, str] = _Cache()
        # By account and name.
        self._aliases: _Cache[tuple[str, str], str] = _Cache()
        # References as callers spell them, by the caller's account, found valid: nothing of them is parsed twice while no
        # record changes.
        self._references: _Cache[tuple[str, str], KeyEntry] = _Cache(_weight_of_key)
        self._principals: _Cache[str, PrincipalEntry] = _Cache(_weight_of_principal)
        # How often some were forgotten: whoever keeps a secret of theirs does as much.
        self.principals_forgotten = 0
        # Of this region's callers; only the home region has any.
        self.key_uses: Final = KeyUses()
        # Grows with every change seen: a read that was under way when it grew is not kept.
        self._generation = 0

    def sizes(self) -> dict[str, int]:
        """How many entries each cache holds."""
        caches: dict[str, _Cache[Any, Any]] = {
            "keys": self._keys,
            "materials": self._owners,
            "aliases": self._aliases,
            "references": self._references,
            "principals": self._principals,
        }
        return {name: len(cache) for name, cache in caches.items()} | {"key_uses": len(self.key_uses)}

    # ── freshness ───────────────────────────────────────────────────────────────────────────────────────────────

    def refresh(self, then: Callable[[], None]) -> None:
        """Forget what changed, then go on; costs one cheap version read when nothing did."""

        def apply(changes: Sequence[Changed] | None) -> None:
            if changes is None:
                self._forget_all()
            elif changes:
                self._generation += 1
                self._references.clear()
                for change in changes:
                    self._forget(change)
            then()

        self.store.poll_changes(apply)

    def refreshed(self) -> Deferred[bool]:
        """For those who come outside of a batch: awaits a refresh."""
        done: Deferred[bool] = Deferred()
        self.refresh(lambda: done.resolve(True))  # noqa: FBT003 -- the value means nothing.
        return done

    def _forget_all(self) -> None:
        self._generation += 1
        self.principals_forgotten += 1
        for count in (*self._key_counts.values(), *self._grant_counts.values()):
            count.forget()
        for cache in (self._keys, self._owners, self._aliases, self._references, self._principals):
            cache.clear()

    def _forget(self, change: Changed) -> None:
        identity = change.identity
        if change.kind is KeyRecord:
            self._keys.forget(str(identity[0]))
            for key_count in self._key_counts.values():
                key_count.note_change()
        elif change.kind is GrantRecord:
            key_id = str(identity[0])
            self._keys.forget(key_id)
            if key_id in self._grant_counts:
                self._grant_counts[key_id].note_change()
        elif change.kind is MaterialRecord:
            hbkid = identity[0]
            assert isinstance(hbkid, bytes)
            owner = self._owners.get(hbkid)
            self._owners.forget(hbkid)
            if owner is not None:
                self._keys.forget(owner)
        elif change.kind is AliasRecord:
            self._aliases.forget((str(identity[0]), str(identity[2])))
        elif change.kind is AccessKeyRecord:
            self.principals_forgotten += 1
            self._principals.forget(str(identity[0]))
        elif change.kind in _IDENTITIES:
            self.principals_forgotten += 1
            self._principals.clear()

    # ── keys ────────────────────────────────────────────────────────────────────────────────────────────────────

    def key_count(self, account: str) -> RecordCount:
        """How many keys an account has here."""
        found = self._key_counts.get(account)
        if found is None:
            found = RecordCount(partial(self.store.count_keys, account, self.region), KEYS)
            self._key_counts[account] = found
        return found

    def grant_count(self, key_id: str) -> RecordCount:
        """How many grants there are on a key."""
        found = self._grant_counts.get(key_id)
        if found is None:
            if len(self._grant_counts) >= _GRANT_COUNTS_MAX:
                busy = {name: count for name, count in self._grant_counts.items() if not count.is_idle}
                self._grant_counts = busy
            found = self._grant_counts[key_id] = RecordCount(partial(self.store.count_grants, key_id), GRANTS)
        return found

    def known_reference(self, account: str, key_ref: str) -> KeyEntry | None:
        """What `keep_reference` kept, if nothing changed since."""
        return self._references.get((account, key_ref))

    def keep_reference(self, account: str, key_ref: str, entry: KeyEntry, generation: int) -> None:
        """Remember what a reference means in an account: to others, an id or alias means another key."""
        if generation == self._generation:
            # The entry's own texts where they are the same: one copy is enough.
            own = entry.arn if key_ref == entry.arn else entry.record.key_id
            text = own if key_ref == own else key_ref
            self._references.put((account, text), entry)

    def plain_key_id(self, account: str, key_ref: str) -> str | None:
        """What is the id of an account's key if there is such a key: the end of its ARN, or what is as long as an id."""
        start = self._arn_starts.get(account)
        if start is None:
            start = self._arn_starts[account] = format_key_arn(PARTITION, self.region, account, "")
        if key_ref.startswith(start):
            return key_ref[len(start) :]
        return key_ref if len(key_ref) == _KEY_ID_CHARS and not key_ref.startswith("alias/") else None

    async def key(self, key_id: str) -> KeyEntry | None:
        """A key of any account."""
        entry = self._keys.get(key_id)
        if entry is None:
            generation = self._generation
            found = await self.store.key_with_materials(key_id)
            if found is None or found.record.region != self.region:
                return None
            controls = self.organization.resource_controls(found.record.account)
            entry = KeyEntry(found.record, found.materials, has_grants=found.has_grants, controls=controls)
            if generation == self._generation:
                self._keys.put(key_id, entry)
        return entry

    async def key_id_of_alias(self, account: str, name: str) -> str | None:
        key_id = self._aliases.get((account, name))
        if key_id is None:
            generation = self._generation
            record = await self.store.get(AliasRecord, account, self.region, name)
            if record is None:
                return None
            key_id = record.key_id
            if generation == self._generation:
                self._aliases.put((account, name), key_id)
        return key_id

    async def aliases_of(self, kms_key: KeyRecord) -> list[str]:
        """The names of a key, read each time: only conditions on `kms:ResourceAliases` ask."""
        records = await self.store.list_aliases(kms_key.account, self.region, kms_key.key_id, "", _ALIASES_MAX)
        return [record.name for record in records]

    async def grants_naming(self, entry: KeyEntry, principal: Principal) -> tuple[Grant, ...]:
        """The grants on a key that name somebody, or the role or user behind the session that asks."""
        if not entry.has_grants:
            return ()
        grants: tuple[Grant, ...] = ()
        for grantee in principal.grantee_names:
            known = entry.grants.get(grantee)
            if known is None:
                found = await self.store.grants_to(entry.record.key_id, grantee)
                known = tuple(map(grant_of, found))
                entry.keep_grants(grantee, known)
            grants += known
        return grants

    async def grants_to_predecessors(self, entry: KeyEntry, principal: Principal) -> list[GrantRecord]:
        """Some of the grants on a key that were made for whoever had the principal's ARN, or its role's, before."""
        found: list[GrantRecord] = []
        for arn, unique_id in principal.identified if entry.has_grants else ():
            found += await self.store.grants_to_predecessors(
                entry.record.key_id, arn, unique_id, _PREDECESSORS_GRANTS_MAX
            )
        return found

    async def key_id_of_material(self, hbkid: bytes) -> str | None:
        """Which key a ciphertext's HBKID belongs to."""
        key_id = self._owners.get(hbkid)
        if key_id is None:
            generation = self._generation
            record = await self.store.get(MaterialRecord, hbkid)
            if record is None:
                return None
            key_id = record.key_id
            if generation == self._generation:
                self._owners.put(hbkid, key_id)
        return key_id

    # ── principals ──────────────────────────────────────────────────────────────────────────────────────────────

    def known_principal(self, access_key_id: str) -> PrincipalEntry | None:
        """What `keep_principal` kept, if nothing changed since."""
        return self._principals.get(access_key_id)

    @property
    def generation(self) -> int:
        """To be read before reading records, and given to `keep_…` after it."""
        return self._generation

    def keep_principal(self, access_key_id: str, entry: PrincipalEntry, generation: int) -> None:
        if generation == self._generation:
            self._principals.put(access_key_id, entry)

    def forget_principals(self, is_over: Callable[[PrincipalEntry], bool]) -> None:
        """Whom nobody will be again."""
        known = len(self._principals)
        self._principals.forget_where(is_over)
        if len(self._principals) < known:
            self.principals_forgotten += 1

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def commit(self, permits: Sequence[tuple[Permit, str]], changes: Sequence[Change]) -> None:
        """Redeem permits, each for its subject, and make the changes durable.

        Raises:
            ConflictError, StoreUnavailableError: nothing was changed.
        """
        for permit, subject in permits:
            permit.redeem(subject)
        await self.store.commit(changes)
