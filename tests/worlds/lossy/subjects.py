"""What the simulated customers keep: of each kind one or several records, which are made, changed and removed together.

Every record of a subject carries its name and its version; so what is left of a subject that was changed in part, or of
one that was removed and has something left, has no version.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from contracts.stores import access_key, alias, grant, group, kms_key, material, policy, role, user
from strongroom.kms.identities.records import (
    AccessKeyRecord,
    GroupRecord,
    ManagedPolicyRecord,
    RoleRecord,
    UserRecord,
)
from strongroom.kms.repositories import (
    AliasRecord,
    Change,
    GrantRecord,
    KeyRecord,
    MaterialRecord,
    MaterialState,
    Put,
    Record,
    Remove,
)
from strongroom.kms.storage.sqlite import SqliteStore

# A key that is never removed, for grants and aliases.
HELD: Final = "held"
# Where a record has the name of its subject.
_NAMED: Final[dict[type[Record], str]] = {
    KeyRecord: "key_id",
    MaterialRecord: "key_id",
    AliasRecord: "name",
    GrantRecord: "grant_id",
    UserRecord: "name",
    AccessKeyRecord: "access_key_id",
    GroupRecord: "name",
    RoleRecord: "name",
    ManagedPolicyRecord: "name",
}


def _rotated(name: str, version: int, filler: str) -> list[Record]:
    """A key whose two backing keys take turns; there is never more than one that is current."""
    materials: list[Record] = []
    for at in (version, version + 1):
        hbkid = hashlib.sha256(f"{name} {at % 2}".encode()).digest()
        state = MaterialState.CURRENT if at > version else MaterialState.NON_CURRENT
        materials.append(material(hbkid, name, version=version, state=state))
    return [kms_key(name, version=version, key_policy=filler), *materials]


def _granted(name: str, version: int, filler: str) -> list[Record]:
    return [grant(name, HELD, version=version, name="", context_equals={"filler": filler})]


def _named(name: str, version: int, _: str) -> list[Record]:
    return [alias(name, HELD, version=version)]


def _person(name: str, version: int, filler: str) -> list[Record]:
    person = user(name, version=version, identity_policies={"own": filler})
    return [person, access_key(name, version=version, user_name=name)]


def _assumed(name: str, version: int, filler: str) -> list[Record]:
    return [policy(name, version=version, description=filler), role(name, version=version, trust_policy=filler)]


def _group(name: str, version: int, filler: str) -> list[Record]:
    return [group(name, version=version, identity_policies={"own": filler})]


KINDS: Final[dict[str, Callable[[str, int, str], list[Record]]]] = {
    "key": _rotated,
    "grant": _granted,
    "alias": _named,
    "user": _person,
    "role": _assumed,
    "group": _group,
}
PREFIXES: Final = tuple(f"{kind}-" for kind in KINDS)


def change(kind: str, name: str, old: int | None, new: int | None, filler: str = "") -> list[Change]:
    """From one version of a subject to another one; None where there is none."""
    if new is None:
        assert old is not None
        return [Remove(record) for record in reversed(KINDS[kind](name, old, ""))]
    return [Put(record, old) for record in KINDS[kind](name, new, filler)]


async def versions(store: SqliteStore) -> tuple[dict[str, int | str], list[str]]:
    """Of every subject the version, or words if it is there in part; and the rows that are damaged."""
    found: dict[str, list[int]] = defaultdict(list)
    damaged = []
    for kind, field in _NAMED.items():
        for row in await store.inspect(kind, 0, 1_000_000):
            if row.record is None:
                damaged.append(f"{kind.__name__} {row.name}: {row.damage}")
            else:
                record: Any = row.record
                found[getattr(record, field)].append(record.version)
    return {name: _version(name, there) for name, there in found.items() if name != HELD}, damaged


def _version(name: str, there: list[int]) -> int | str:
    whole = len(KINDS[name.partition("-")[0]](name, 1, ""))
    return there[0] if there == [there[0]] * whole else f"there in part: {there} of {whole}"
