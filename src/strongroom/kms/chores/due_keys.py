"""Keys that are due, one by one: what is damaged is named and left alone, and stops no other key."""

from __future__ import annotations

import logging
from typing import Final

from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.repositories import DueKeys, KeyRecord, RowForgedError, Store

_LOG = logging.getLogger("strongroom.kms")

# What reading a key's rows raises where one of them is not as it was written: its MAC does not hold, or rows are missing
# (no material is the current one).
DAMAGED: Final = (RowForgedError, ValueError)


def sound_keys(due: DueKeys, region: str) -> list[KeyRecord]:
    """The keys whose own row is whole; the others are told to whoever reads the log."""
    for name in due.damaged:
        tell_damaged(name, region)
    return due.keys


async def read_entry(store: Store, kms_key: KeyRecord) -> KeyEntry:
    """A key with its materials.

    Raises:
        One of `DAMAGED`.
    """
    return KeyEntry(kms_key, await store.materials_of(kms_key.key_id))


def tell_damaged(key_id: str, region: str) -> None:
    """At every run, for as long as it is so: what is due is not done."""
    _LOG.error(
        "key %s of %s is due and left alone, because a row of it is damaged: `strongroom doctor --deep` names the row",
        key_id,
        region,
    )
