"""What was acknowledged, and what the product shows of it."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from testkit.installation import Installation
from worlds.shown import Clients, clients_of, kind_of, shown

# For what may be known only when it is asked for.
GONE: dict[str, set[Any]] = {"there": {None}}


class Failure(NamedTuple):
    """A request that was not answered with success, and when it was under way; `status` is 0 where nothing came."""

    started: float
    ended: float
    operation: str
    error: str
    status: int

    @property
    def is_callers(self) -> bool:
        return 0 < self.status < 500


class Blob(NamedTuple):
    """A ciphertext, with what is in it where that was told."""

    ciphertext: bytes
    plaintext: bytes | None
    context: dict[str, str]


class Ledger:
    """What was acknowledged: the only truth that the tests hold the product to.

    A fact is what a subject (see `shown.py`) may show in one respect: one value, or several where an answer never came.
    Whoever looks afterwards knows again.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self.operations: set[str] = set()
        # By request id, the operation; what was only looked at is here too.
        self.answered: dict[str, str] = {}
        self.facts: dict[str, dict[str, set[Any]]] = {}
        # Those that were never answered, and whom nobody looked for: a kind, the old name and the new one.
        self.renames: list[tuple[str, str, str]] = []
        self.blobs: list[Blob] = []
        # By access key id, the secret.
        self.secrets: dict[str, str] = {}
        self.failures: list[Failure] = []
        # Whoever writes here looks back before anything else.
        self.doubts = threading.Event()
        # Those of which this one is made up in the end.
        self.parts: list[Ledger] = []
        # What was missed while the load ran, before anything else could take its place.
        self.missed: list[str] = []

    def doubt(self) -> None:
        """Something was killed: what was acknowledged is looked at before the next change can take its place."""
        for part in self.parts:
            part.doubts.set()

    def done(self) -> int:
        """How much was acknowledged until now."""
        return sum(part.acknowledged for part in self.parts)

    def merge(self, other: Ledger) -> None:
        self.acknowledged += other.acknowledged
        self.facts |= other.facts
        self.renames += other.renames
        self.blobs += other.blobs
        self.secrets |= other.secrets
        self.failures += other.failures
        self.missed += other.missed

    def note(self, subject: str, respect: str, value: Any, *, is_done: bool) -> None:
        """A change to `value` was acknowledged, or may have happened."""
        allowed = self.facts[subject].get(respect, {None})
        self.facts[subject][respect] = {value} if is_done else allowed | {value}

    def rename(self, kind: str, old: str, new: str) -> list[str]:
        """All that somebody has goes with him; who was in a group is in the group of the new name. Who is concerned."""
        facts = self.facts
        facts[f"{kind}/{new}"], facts[f"{kind}/{old}"] = facts[f"{kind}/{old}"], dict(GONE)
        members = [user for user in self.subjects("user") if kind == "group" and f"group {old}" in facts[user]]
        for user in members:
            facts[user][f"group {new}"] = facts[user].pop(f"group {old}")
        return [f"{kind}/{new}", f"{kind}/{old}", *members]

    def settle(self, subject: str, found: dict[str, Any]) -> None:
        """Hold what is found to what was acknowledged; from here on it stays as it was found."""
        facts = self.facts[subject]
        if None in facts.get("there", ()) and not found:
            self.facts[subject] = dict(GONE)
            return
        for respect, allowed in facts.items():
            value = found.get(respect)
            if value not in allowed:
                self.missed.append(f"{respect} of {subject}: {value!r} is none of {allowed}")
        self.facts[subject] = {respect: {found.get(respect)} for respect in {*facts, *found}}

    def subjects(self, kind: str) -> list[str]:
        return [subject for subject in self.facts if kind_of(subject) == kind]

    # ── in the end ──────────────────────────────────────────────────────────────────────────────────────────────

    def losses(self, installation: Installation) -> list[str]:
        """Everything acknowledged that is not there now, or not as it was acknowledged."""
        lost = list(self.missed)
        with clients_of(installation, {}) as clients:
            # Whoever has the new name has all that he had, and otherwise has it under the old one.
            for kind, old, new in self.renames:
                if shown(clients, f"{kind}/{new}", ()):
                    self.rename(kind, old, new)
            self.renames.clear()
            for subject in self.facts:
                if kind_of(subject) != "alias":
                    lost += self._differences(clients, subject)
            pages = clients.kms.get_paginator("list_aliases").paginate()
            found = {alias["AliasName"]: alias["TargetKeyId"] for page in pages for alias in page["Aliases"]}
            lost += [name for name in self.subjects("alias") if found.get(name) not in self.facts[name]["target"]]
            lost += [f"ciphertext {at}" for at, blob in enumerate(self.blobs) if not opens(clients.kms, blob)]
        return lost + self._credentials_that_lie(installation)

    def _differences(self, clients: Clients, subject: str) -> list[str]:
        facts = self.facts[subject]
        try:
            found = shown(clients, subject, facts)
        except (BotoCoreError, ClientError) as error:
            return [f"{subject}: {error}"]
        if None in facts.get("there", ()) and not found:
            return []
        return [f"{respect} of {subject}" for respect in facts if found.get(respect) not in facts[respect]]

    def _credentials_that_lie(self, installation: Installation) -> list[str]:
        """An active access key that is refused, and one that is not active, or deleted, and is not refused."""
        statuses = {
            respect.removeprefix("key "): allowed
            for user in self.subjects("user")
            for respect, allowed in self.facts[user].items()
            if respect.startswith("key ")
        }
        lying = []
        for access_key_id, secret in self.secrets.items():
            allowed = statuses.get(access_key_id, {None})
            sts = installation.sts(access_key_id, secret)
            try:
                sts.get_caller_identity()
                works = True
            except ClientError:
                works = False
            sts.close()
            if works not in {status == "Active" for status in allowed}:
                lying.append(f"access key {access_key_id} {'works' if works else 'is refused'}: {allowed}")
        return lying


def opens(kms: Any, blob: Blob) -> bool:
    """To what it was made of.

    Raises:
        BotoCoreError: nobody answers.
    """
    try:
        plaintext = kms.decrypt(CiphertextBlob=blob.ciphertext, EncryptionContext=blob.context)["Plaintext"]
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise
        return False
    return blob.plaintext is None or bool(plaintext == blob.plaintext)
