"""The records of the normal world and the port through which they are kept.

Invariants, whatever implements `Store`:
- A change is answered only after its commit is durable, and its expected versions were checked inside its transaction.
- Every row carries a MAC under the store key over its table, its key and all its fields; a row whose MAC does not hold
  is never returned (`RowForgedError`).
- A reader that polled for changes after a commit was answered sees that commit.
- A field that joined a record after its table was made stands last and defaults to None: rows from before it stay valid.
- No secret lies here in plain form: `sealed` columns hold what the HSM sealed. `TABLES` is the one registry of them,
  because a domain-key rotation must visit every one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import Final, Protocol, TypeVar

import msgspec

from strongroom.boundary.secret import StoreKey
from strongroom.kms.identities.records import (
    AccessKeyRecord,
    AccessKeyUsageRecord,
    AccountRecord,
    GroupRecord,
    ManagedPolicyRecord,
    RoleRecord,
    UserRecord,
)


class KeyState(StrEnum):
    """Spelled as the API spells it (KeyMetadata.KeyState)."""

    CREATING = "Creating"
    ENABLED = "Enabled"
    DISABLED = "Disabled"
    PENDING_DELETION = "PendingDeletion"
    PENDING_IMPORT = "PendingImport"
    PENDING_REPLICA_DELETION = "PendingReplicaDeletion"
    UNAVAILABLE = "Unavailable"
    UPDATING = "Updating"


class MaterialState(StrEnum):
    """Spelled as the API spells it (RotationsListEntry.KeyMaterialState)."""

    CURRENT = "CURRENT"
    NON_CURRENT = "NON_CURRENT"


class RotationType(StrEnum):
    """Spelled as the API spells it (RotationsListEntry.RotationType)."""

    AUTOMATIC = "AUTOMATIC"
    ON_DEMAND = "ON_DEMAND"


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A KMS key: not a key but a record. `version` grows with every change of it."""

    key_id: str
    version: int
    account: str
    region: str
    state: KeyState
    spec: str
    usage: str
    origin: str
    multi_region: bool
    description: str
    key_policy: str
    tags: dict[str, str]
    created_at_s: float
    # When a key in PendingDeletion will be deleted.
    deletion_at_s: float | None = None
    # Automatic rotation: None while it is off.
    rotation_period_days: int | None = None
    next_rotation_at_s: float | None = None
    # By the ARNs that the key policy names, the unique ids that these users, roles and sessions had when it was saved.
    principal_ids: dict[str, str] | None = None


class MaterialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One backing key of a KMS key, as an EKT. A key has one or more; exactly one is CURRENT."""

    hbkid: bytes
    version: int
    key_id: str
    state: MaterialState
    ekt: bytes
    created_at_s: float
    # What made it; None for a key's first material.
    rotation: RotationType | None = None


class AliasRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A name for a key, unique in its account and region; `name` includes the `alias/` prefix."""

    account: str
    region: str
    name: str
    version: int
    key_id: str
    created_at_s: float
    updated_at_s: float


class GrantRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A grant on a KMS key, as CreateGrant was asked for it; None where nothing was asked.

    `grantee` and `retiring` are unique ids of users, roles and sessions, whose ARNs of then are beside them; of others, and
    of grants from before ids were kept, they are ARNs; of services they are the names. `issuing_account` is the ARN of
    the root of the account that made it.
    """

    key_id: str
    grant_id: str
    version: int
    account: str
    region: str
    name: str
    grantee: str
    retiring: str
    issuing_account: str
    operations: tuple[str, ...]
    created_at_s: float
    context_equals: dict[str, str] | None = None
    context_subset: dict[str, str] | None = None
    source_arn: str | None = None
    grantee_arn: str | None = None
    retiring_arn: str | None = None


class KeyUsageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The last successful cryptographic operation with a key, as GetKeyLastUsage tells it."""

    key_id: str
    version: int
    operation: str
    used_at_s: float
    event_id: str
    request_id: str


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who does a chore until when. `version` is the fencing number: a chore's commit carries the lease one version on."""

    name: str
    version: int
    holder: str
    expires_at_s: float


class MarkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One named number that a chore remembers: how far it came, the last time that it saw."""

    name: str
    version: int
    value: float


class SettingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One named value of the store itself, such as the sealed store key (which alone carries no MAC: it opens or not)."""

    name: str
    version: int
    value: bytes


Record = (
    KeyRecord
    | MaterialRecord
    | AliasRecord
    | GrantRecord
    | AccountRecord
    | UserRecord
    | GroupRecord
    | RoleRecord
    | ManagedPolicyRecord
    | AccessKeyRecord
    | AccessKeyUsageRecord
    | KeyUsageRecord
    | LeaseRecord
    | MarkRecord
    | SettingRecord
)
R = TypeVar("R", bound=Record)
# Kinds that are listed by name within an account.
N = TypeVar("N", bound=UserRecord | GroupRecord | RoleRecord | ManagedPolicyRecord)
# Kinds of principals that have a unique id.
P = TypeVar("P", bound=UserRecord | RoleRecord)


class Table(msgspec.Struct, frozen=True):
    """How one kind of record is kept: its table, the fields that identify it, and the fields that the HSM sealed.

    `is_cached` says whether a request may find it in a cache: only then must every worker learn of a change.
    """

    name: str
    key: tuple[str, ...]
    sealed: tuple[str, ...] = ()
    is_cached: bool = True


TABLES: Final[dict[type[msgspec.Struct], Table]] = {
    KeyRecord: Table("kms_keys", ("key_id",)),
    MaterialRecord: Table("materials", ("hbkid",), sealed=("ekt",)),
    AliasRecord: Table("aliases", ("account", "region", "name")),
    GrantRecord: Table("grants", ("key_id", "grant_id")),
    AccountRecord: Table("accounts", ("account",)),
    UserRecord: Table("users", ("account", "name")),
    GroupRecord: Table("groups", ("account", "name")),
    RoleRecord: Table("roles", ("account", "name")),
    ManagedPolicyRecord: Table("policies", ("account", "name")),
    AccessKeyRecord: Table("access_keys", ("access_key_id",), sealed=("sealed_secret",)),
    AccessKeyUsageRecord: Table("access_key_usage", ("access_key_id",), is_cached=False),
    KeyUsageRecord: Table("key_usage", ("key_id",), is_cached=False),
    LeaseRecord: Table("leases", ("name",), is_cached=False),
    MarkRecord: Table("marks", ("name",), is_cached=False),
    SettingRecord: Table("settings", ("name",), sealed=("value",)),
}


def identity_of(record: Record) -> tuple[object, ...]:
    """The values of the fields that identify a record within its table."""
    return tuple(getattr(record, field) for field in TABLES[type(record)].key)


class Put(msgspec.Struct, frozen=True):
    """Write a record. `replaces` is the version it must still have; None means that it must not exist yet."""

    record: Record
    replaces: int | None


class Remove(msgspec.Struct, frozen=True):
    """Delete exactly this version of a record, overwriting its bytes."""

    record: Record


Change = Put | Remove


class Changed(msgspec.Struct, frozen=True):
    """Something that somebody committed: which kind of record and which identity; what it was is not kept."""

    kind: type[Record]
    identity: tuple[object, ...]


class InspectedRow(msgspec.Struct, frozen=True):
    """A stored row as an inspection finds it: its record, or why there is none.

    `place` is a number that grows from row to row; `name` is what the row says that it is, true or not.
    """

    place: int
    name: str
    record: Record | None
    damage: str = ""


class StoredKey(msgspec.Struct, frozen=True):
    """A key with all its backing keys, oldest first, and whether there are grants on it, as it is at one moment."""

    record: KeyRecord
    materials: list[MaterialRecord]
    has_grants: bool = False


class DueKeys(msgspec.Struct, frozen=True):
    """Keys whose time has come, the longest due first; of those whose row is damaged, only what it says that it is."""

    keys: list[KeyRecord]
    damaged: list[str] = []


class ConflictError(Exception):
    """The record changed or appeared since it was read: read again, decide again."""


class RowForgedError(Exception):
    """A stored row's MAC does not hold: somebody changed it from outside."""


class StoreUnavailableError(Exception):
    """The store cannot write, or not even read, now (disk full, closed); nothing of the change was kept."""


class Store(Protocol):
    """Where records are kept. Reads return verified records; nothing blocks the event loop for an fsync."""

    def unlock(self, store_key: StoreKey) -> None:
        """Give the key under which rows are authenticated; only settings can be read or written before."""

    def tag(self, purpose: str, message: bytes) -> bytes:
        """HMAC-SHA-256 of what leaves the store and comes back, under a key that is derived from the store key.

        Every purpose has a key of its own. Only after `unlock`.
        """

    def poll_changes(self, then: Callable[[Sequence[Changed] | None], None]) -> None:
        """Call `then` with what was committed since the last poll (None: too much, forget everything).

        Kinds that nobody caches are not told. Cheap enough for once per batch of requests: an embedded store calls `then`
        before it returns.
        """

    async def get(self, kind: type[R], *identity: object) -> R | None:
        """The record of this identity."""

    async def key_with_materials(self, key_id: str) -> StoredKey | None:
        """A key with what a request needs of it."""

    async def materials_of(self, key_id: str) -> list[MaterialRecord]:
        """All backing keys of a key, oldest first."""

    async def list_keys(self, account: str, region: str, after: str, limit: int) -> list[KeyRecord]:
        """Keys ordered by key id, strictly after `after` (empty: from the start)."""

    async def count_keys(self, account: str, region: str) -> int:
        """How many keys there are."""

    async def keys_due_for_deletion(self, region: str, now_s: float, limit: int) -> DueKeys:
        """Keys whose waiting period has ended, the longest due first."""

    async def keys_due_for_rotation(self, region: str, now_s: float, limit: int) -> DueKeys:
        """Keys whose next rotation's time has come and whose state is Enabled, the longest due first."""

    async def keys_rotating_too_late(self, region: str, now_s: float, limit: int) -> DueKeys:
        """Enabled keys whose next rotation is more than their period away; reads every key that rotates."""

    async def list_aliases(
        self, account: str, region: str, key_id: str | None, after: str, limit: int
    ) -> list[AliasRecord]:
        """Aliases ordered by name, of one key or of all, strictly after `after`."""

    async def count_aliases(self, account: str, region: str, key_id: str) -> int:
        """How many aliases a key has."""

    async def list_marks(self, prefix: str, limit: int) -> list[MarkRecord]:
        """Marks whose names begin so, ordered by name."""

    async def list_named(self, kind: type[N], account: str, after: str, limit: int) -> list[N]:
        """Users, groups, roles or policies of an account ordered by name, strictly after `after`."""

    async def count_named(self, kind: type[N], account: str) -> int:
        """How many of a kind an account has."""

    async def list_holding(
        self, kind: type[N], field: str, account: str, value: str, after: str, limit: int
    ) -> list[N]:
        """Those whose `field` (`groups`, `attached_policies`, `boundary_arn`) holds a value, ordered by name."""

    async def count_held(self, kind: type[N], field: str, account: str) -> dict[str, int]:
        """Of every value that such a field holds, how many hold it: to be told, not to be decided by."""

    async def find_folded(self, kind: type[N], account: str, name: str) -> str | None:
        """The name, as it is spelled, that is this one but for the case of ASCII letters."""

    async def with_unique_id(self, kind: type[P], unique_id: str) -> P | None:
        """The user or role that has an id, in whatever account."""

    async def list_accounts(self) -> list[AccountRecord]:
        """The accounts beside the main account, ordered by id."""

    async def list_access_keys(self, account: str, user_name: str) -> list[AccessKeyRecord]:
        """A user's access keys ordered by id."""

    async def list_grants(self, key_id: str, grantee: str | None, after: str, limit: int) -> list[GrantRecord]:
        """Grants on a key ordered by grant id, those that name a grantee or all, strictly after `after`."""

    async def grants_to(self, key_id: str, grantee: str) -> list[GrantRecord]:
        """Those that name a grantee."""

    async def grants_to_predecessors(self, key_id: str, arn: str, grantee: str, limit: int) -> list[GrantRecord]:
        """Those whose grantee had an ARN when they were made, and is not this one; some of them."""

    async def grant_like(self, record: GrantRecord) -> GrantRecord | None:
        """The grant on the same key that was made under the same name for the same; there is one at most."""

    async def list_grants_to_retire(self, region: str, retiring: str, after: str, limit: int) -> list[GrantRecord]:
        """Grants on any key that name a retiring principal, ordered by grant id, strictly after `after`."""

    async def count_grants_to(self, key_id: str, grantee: str) -> int:
        """How many grants on a key name a grantee."""

    async def count_grants(self, key_id: str) -> int:
        """How many grants there are on a key."""

    async def inspect(self, kind: type[Record], after: int, limit: int) -> list[InspectedRow]:
        """Every row of a kind, each verified by itself, in the order of their places, beyond `after`."""

    async def inspect_files(self) -> list[str]:
        """What is damaged below the rows: pages, indexes, references; takes as long as reading everything."""

    async def commit(self, changes: Sequence[Change]) -> None:
        """Make all of these changes durable, or none. They take effect in the order given.

        A task that is cancelled while it waits does not know whether its changes were kept.

        Raises:
            ConflictError: a record was not at the version that a change expects; or a constraint says that somebody
                was faster (the key of a material or alias is gone, another material became CURRENT).
            StoreUnavailableError: the disk refused.
        """

    async def erase(self, traces: Collection[bytes] | None = None) -> None:
        """Leave nothing in the store's own files of what was removed by now. Copies of the files are another matter.

        `traces` are what must not be found there again, in no row any more; None when that is not known, which costs more.

        Raises:
            StoreUnavailableError: somebody keeps reading an old state, or the disk refused: ask again later.
        """

    def close(self) -> None:
        """Finish what was accepted, then let go of the files."""
