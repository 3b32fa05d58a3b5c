"""A load that changes everything that can be changed, and writes down what was acknowledged.

Threads with stock boto3 clients each, without retries, and keys and aliases of their own; with `people`, another one with
users, groups, roles, policies and accounts. Every answer is written down before the next request. A mutation whose answer
never came may have happened or not: both are then allowed for what it concerned, and nothing else is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore import xform_name

from strongroom.kms.operations.table import TABLE
from testkit.installation import ACCOUNT, REGION, Installation
from worlds.asker import Acts, Asker
from worlds.ledger import Blob, Failure, Ledger
from worlds.people import People

__all__ = ["MUTATIONS", "Failure", "Ledger", "client_of", "load"]

THREADS: Final = 3
# RotateKeyOnDemand: at most 25 for a key; a few answers may be lost.
_ROTATIONS_MAX: Final = 20
_ROOT: Final = f"arn:aws:iam::{ACCOUNT}:root"


@contextmanager
def client_of(installation: Installation) -> Iterator[Any]:
    kms = installation.kms()
    try:
        yield kms
    finally:
        kms.close()


class Client(Asker):
    """One client of KMS, with keys and aliases of its own."""

    def __init__(self, installation: Installation, seed: int, stop: threading.Event) -> None:
        super().__init__("load", installation, seed, stop)
        self._prefix = f"alias/load-{seed}-"
        # Keys that stay enabled, and keys whose state is changed; aliases that exist.
        self._keys: list[str] = []
        self._switched: list[str] = []
        self._aliases: list[str] = []
        # Grants that exist: the key's id and the grant's.
        self._grants: list[tuple[str, str]] = []

    def _acts(self) -> Acts:
        return [
            *((self._create_key, 4), (self._create_alias, 4), (self._update_alias, 5), (self._delete_alias, 2)),
            *((self._change_state, 8), (self._describe, 3), (self._tag, 4), (self._untag, 3), (self._put_policy, 3)),
            *((self._schedule_rotation, 4), (self._rotate, 3), (self._create_grant, 4), (self._end_grant, 4)),
            *((self._data_key, 20), (self._encrypt, 20), (self._re_encrypt, 5), (self._decrypt, 14)),
        ]

    def _act(self) -> None:
        """Two keys first."""
        if len(self._keys) > 1:
            super()._act()
        else:
            self._create_key()

    # ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────

    def _create_key(self) -> None:
        word = self._word()
        answer = self._ask("create_key", Description=word, Tags=[{"TagKey": "made", "TagValue": word}])
        if answer is not None:
            key_id = answer["KeyMetadata"]["KeyId"]
            facts = {"state": "Enabled", "description": word, "tag made": word, "rotations": 0, "period": None}
            self._made(key_id, **facts, deletion=None)
            (self._keys if len(self._keys) < 4 else self._switched).append(key_id)

    def _create_alias(self) -> None:
        # A name is tried once: after a lost answer nobody knows whether it exists.
        self._count += 1
        name, target = f"{self._prefix}{self._count}", self._random.choice(self._keys)
        if self._ask("create_alias", AliasName=name, TargetKeyId=target) is not None:
            self._made(name, target=target)
            self._aliases.append(name)

    def _update_alias(self) -> None:
        if self._aliases:
            name, target = self._random.choice(self._aliases), self._random.choice(self._keys)
            self._change(name, "target", target, "update_alias", AliasName=name, TargetKeyId=target)

    def _delete_alias(self) -> None:
        if self._aliases:
            name = self._aliases.pop(self._random.randrange(len(self._aliases)))
            self._change(name, "target", None, "delete_alias", AliasName=name)

    def _change_state(self) -> None:
        """Between enabled, disabled and waiting for deletion."""
        if not self._switched:
            return
        key_id = self._random.choice(self._switched)
        if self.ledger.facts[key_id]["state"] == {"PendingDeletion"}:
            done = self._change(key_id, "state", "Disabled", "cancel_key_deletion", KeyId=key_id)
            # When one that was scheduled without an answer is due, stays unknown.
            if done or "deletion" in self.ledger.facts[key_id]:
                self._note(key_id, "deletion", None, is_done=done)
            return
        state = self._random.choice(("Disabled", "Disabled", "Enabled", "Enabled", "PendingDeletion"))
        if state == "PendingDeletion":
            self._schedule_deletion(key_id)
            return
        operation = {"Disabled": "disable_key", "Enabled": "enable_key"}[state]
        self._change(key_id, "state", state, operation, KeyId=key_id)

    def _schedule_deletion(self, key_id: str) -> None:
        days = self._random.randint(7, 30)
        answer = self._ask("schedule_key_deletion", KeyId=key_id, PendingWindowInDays=days)
        self._note(key_id, "state", "PendingDeletion", is_done=answer is not None)
        if answer is None:
            # When, only the answer says.
            self.ledger.facts[key_id].pop("deletion", None)
        else:
            self._note(key_id, "deletion", answer["DeletionDate"], is_done=True)

    def _describe(self) -> None:
        key_id, word = self._random.choice(self._keys), self._word()
        self._change(key_id, "description", word, "update_key_description", KeyId=key_id, Description=word)

    def _tag(self) -> None:
        key_id, word, name = self._random.choice(self._keys), self._word(), self._random.choice("abcdef")
        tags = [{"TagKey": name, "TagValue": word}]
        self._change(key_id, f"tag {name}", word, "tag_resource", KeyId=key_id, Tags=tags)

    def _untag(self) -> None:
        key_id, name = self._random.choice(self._keys), self._random.choice("abcdef")
        self._change(key_id, f"tag {name}", None, "untag_resource", KeyId=key_id, TagKeys=[name])

    def _put_policy(self) -> None:
        key_id = self._random.choice(self._keys)
        statement = {"Effect": "Allow", "Principal": {"AWS": _ROOT}, "Action": "kms:*", "Resource": "*"}
        text = json.dumps({"Version": "2012-10-17", "Id": self._word(), "Statement": [statement]})
        done = self._ask("put_key_policy", KeyId=key_id, Policy=text) is not None
        if done or "policy" in self.ledger.facts[key_id]:  # What it is before the first one is of no interest.
            self._note(key_id, "policy", text, is_done=done)

    def _schedule_rotation(self) -> None:
        key_id = self._random.choice(self._keys)
        if self._random.random() < 0.4:
            self._change(key_id, "period", None, "disable_key_rotation", KeyId=key_id)
        else:
            days = self._random.randint(90, 2560)
            arguments = {"KeyId": key_id, "RotationPeriodInDays": days}
            self._change(key_id, "period", days, "enable_key_rotation", **arguments)

    def _rotate(self) -> None:
        key_id = self._random.choice(self._keys)
        counts = self.ledger.facts[key_id]["rotations"]
        if max(counts) >= _ROTATIONS_MAX:
            return
        done = self._ask("rotate_key_on_demand", KeyId=key_id) is not None
        more = {count + 1 for count in counts}
        self.ledger.facts[key_id]["rotations"] = more if done else counts | more
        self._recent.append(key_id)

    def _create_grant(self) -> None:
        key_id, name = self._random.choice(self._keys), self._word().replace(" ", "-")
        people = {"GranteePrincipal": _ROOT, "RetiringPrincipal": _ROOT, "Name": name}
        answer = self._ask("create_grant", KeyId=key_id, Operations=["Decrypt"], **people)
        if answer is not None:
            grant_id = answer["GrantId"]
            self._note(key_id, f"grant {grant_id}", grant_id, is_done=True)
            self._grants.append((key_id, grant_id))

    def _end_grant(self) -> None:
        if self._grants:
            key_id, grant_id = self._grants.pop(self._random.randrange(len(self._grants)))
            operation = self._random.choice(("retire_grant", "revoke_grant"))
            self._change(key_id, f"grant {grant_id}", None, operation, KeyId=self._arn(key_id), GrantId=grant_id)

    @staticmethod
    def _arn(key_id: str) -> str:
        return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}"

    def _context(self) -> dict[str, str]:
        return {"load": self._prefix} if self._random.random() < 0.5 else {}

    def _data_key(self) -> None:
        context = self._context()
        operation = self._random.choice(("generate_data_key", "generate_data_key_without_plaintext"))
        key_id = self._random.choice(self._keys)
        answer = self._ask(operation, KeyId=key_id, KeySpec="AES_256", EncryptionContext=context)
        if answer is not None:
            self.ledger.blobs.append(Blob(answer["CiphertextBlob"], answer.get("Plaintext"), context))

    def _encrypt(self) -> None:
        context, plaintext = self._context(), self._random.randbytes(self._random.randrange(1, 200))
        key_id = self._random.choice(self._keys)
        answer = self._ask("encrypt", KeyId=key_id, Plaintext=plaintext, EncryptionContext=context)
        if answer is not None:
            self.ledger.blobs.append(Blob(answer["CiphertextBlob"], plaintext, context))

    def _re_encrypt(self) -> None:
        if self.ledger.blobs:
            blob, context, key_id = (
                self._random.choice(self.ledger.blobs),
                self._context(),
                self._random.choice(self._keys),
            )
            contexts = {"SourceEncryptionContext": blob.context, "DestinationEncryptionContext": context}
            answer = self._ask("re_encrypt", CiphertextBlob=blob.ciphertext, DestinationKeyId=key_id, **contexts)
            if answer is not None:
                self.ledger.blobs.append(Blob(answer["CiphertextBlob"], blob.plaintext, context))

    def _decrypt(self) -> None:
        if self.ledger.blobs:
            blob = self._random.choice(self.ledger.blobs)
            answer = self._ask("decrypt", CiphertextBlob=blob.ciphertext, EncryptionContext=blob.context)
            assert answer is None or blob.plaintext in {None, answer["Plaintext"]}, "a wrong plaintext"


MUTATIONS: Final = {xform_name(name) for name, row in TABLE.items() if row.mutates}


@contextmanager
def load(installation: Installation, seed: int, people: int = 0) -> Iterator[Ledger]:
    """Run the load; the ledger is complete when the block has ended."""
    ledger, stop = Ledger(), threading.Event()
    clients: list[Asker] = [Client(installation, seed + number, stop) for number in range(THREADS)]
    clients += [People(installation, seed + number, stop) for number in range(people)]
    for client in clients:
        # Known at any time: a test may wait until everything was used, or until so much was answered.
        client.ledger.operations, client.ledger.answered = ledger.operations, ledger.answered
        ledger.parts.append(client.ledger)
        client.start()
    try:
        yield ledger
    finally:
        stop.set()
        for client in clients:
            client.join()
    for client in clients:
        if client.error is not None:
            raise client.error
        ledger.merge(client.ledger)
