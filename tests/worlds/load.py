"""A load that changes everything that can be changed, and writes down what was acknowledged.

Threads with a stock boto3 client each, without retries, and keys and aliases of their own. Every answer is written down
before the next request. A mutation whose answer never came may have happened or not: both are then allowed for what it
concerned, and nothing else is.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from strongroom.kms.operations.table import TABLE
from testkit.installation import ACCOUNT, REGION, Installation

THREADS: Final = 3
# RotateKeyOnDemand: at most 25 for a key; a few answers may be lost.
_ROTATIONS_MAX: Final = 20


class Failure(NamedTuple):
    """A request that was not answered with success, and when it was under way."""

    started: float
    ended: float
    operation: str
    error: str
    is_callers: bool


class Ledger:
    """What was acknowledged: the only truth that the tests hold the product to.

    A fact is what a subject (a key's id, an alias's name) may show in one respect: one value, or several where an answer
    never came.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self.operations: set[str] = set()
        self.facts: dict[str, dict[str, set[Any]]] = {}
        self.blobs: list[tuple[bytes, bytes, dict[str, str]]] = []
        self.failures: list[Failure] = []

    def merge(self, other: Ledger) -> None:
        self.acknowledged += other.acknowledged
        self.facts |= other.facts
        self.blobs += other.blobs
        self.failures += other.failures

    def note(self, subject: str, respect: str, value: Any, *, is_done: bool) -> None:
        """A change to `value` was acknowledged, or may have happened."""
        allowed = self.facts[subject].get(respect, {None})
        self.facts[subject][respect] = {value} if is_done else allowed | {value}

    def subjects(self, kind: str) -> list[str]:
        return [subject for subject in self.facts if subject.startswith("alias/") == (kind == "alias")]

    def losses(self, installation: Installation) -> list[str]:
        """Everything acknowledged that is not there now, or not as it was acknowledged."""
        with client_of(installation) as kms:
            lost = []
            for key_id in self.subjects("key"):
                facts = self.facts[key_id]
                shown = key_as_shown(kms, key_id, set(facts))
                lost += [f"{respect} of {key_id}" for respect in facts if shown.get(respect) not in facts[respect]]
            pages = kms.get_paginator("list_aliases").paginate()
            found = {alias["AliasName"]: alias["TargetKeyId"] for page in pages for alias in page["Aliases"]}
            lost += [name for name in self.subjects("alias") if found.get(name) not in self.facts[name]["target"]]
            lost += [f"ciphertext {at}" for at, blob in enumerate(self.blobs) if _open(kms, blob) != blob[1]]
        return lost


@contextmanager
def client_of(installation: Installation) -> Iterator[Any]:
    kms = installation.kms()
    try:
        yield kms
    finally:
        kms.close()


def key_as_shown(kms: Any, key_id: str, respects: set[str]) -> dict[str, Any]:
    """What a key shows now in some respects at least; nothing if it is not there."""
    try:
        metadata = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    except ClientError:
        return {}
    shown: dict[str, Any] = {"state": metadata["KeyState"], "description": metadata["Description"]}
    if "policy" in respects:
        shown["policy"] = kms.get_key_policy(KeyId=key_id)["Policy"]
    if "period" in respects:
        shown["period"] = kms.get_key_rotation_status(KeyId=key_id).get("RotationPeriodInDays")
    if "rotations" in respects:
        shown["rotations"] = len(kms.list_key_rotations(KeyId=key_id)["Rotations"])
    if any(respect.startswith("grant ") for respect in respects):
        pages = kms.get_paginator("list_grants").paginate(KeyId=key_id)
        shown |= {f"grant {grant['GrantId']}": grant["GrantId"] for page in pages for grant in page["Grants"]}
    if any(respect.startswith("tag ") for respect in respects):
        tags = kms.list_resource_tags(KeyId=key_id)["Tags"]
        shown |= {f"tag {tag['TagKey']}": tag["TagValue"] for tag in tags}
    return shown


def _open(kms: Any, blob: tuple[bytes, bytes, dict[str, str]]) -> bytes | None:
    try:
        return bytes(kms.decrypt(CiphertextBlob=blob[0], EncryptionContext=blob[2])["Plaintext"])
    except ClientError:
        return None


class Client(threading.Thread):
    """One client with keys and aliases of its own, so that it alone knows what they must be."""

    def __init__(self, installation: Installation, seed: int, stop: threading.Event) -> None:
        super().__init__(name=f"load-{seed}")
        self.ledger = Ledger()
        self._installation = installation
        self._random = random.Random(seed)
        self._stop_asked = stop
        self._prefix = f"alias/load-{seed}-"
        # Keys that stay enabled, and keys whose state is changed; aliases that exist.
        self._keys: list[str] = []
        self._switched: list[str] = []
        self._aliases: list[str] = []
        # Grants that exist: the key's id and the grant's.
        self._grants: list[tuple[str, str]] = []
        self._count = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        acts: list[tuple[Callable[[], None], int]] = [
            *((self._create_key, 4), (self._create_alias, 4), (self._update_alias, 5), (self._delete_alias, 2)),
            *((self._change_state, 8), (self._describe, 3), (self._tag, 4), (self._untag, 3), (self._put_policy, 3)),
            *((self._schedule_rotation, 4), (self._rotate, 3), (self._create_grant, 4), (self._end_grant, 4)),
            *((self._data_key, 20), (self._encrypt, 20), (self._decrypt, 19)),
        ]
        chosen, weights = zip(*acts, strict=True)
        try:
            with client_of(self._installation) as self._kms:
                while not self._stop_asked.is_set():
                    # Two keys first; a mutation waits for its fsync, so nobody needs to wait for it here.
                    act = self._random.choices(chosen, weights)[0] if len(self._keys) > 1 else self._create_key
                    act()
                    time.sleep(0.003)
        except BaseException as error:  # noqa: BLE001 -- told to the test, which fails with it.
            self.error = error

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer, written down; None if there was none."""
        started = time.monotonic()
        try:
            answer: dict[str, Any] = getattr(self._kms, operation)(**arguments)
        except ClientError as error:
            is_callers = error.response["ResponseMetadata"]["HTTPStatusCode"] < 500
            self._failed(started, operation, str(error), is_callers=is_callers)
            return None
        except BotoCoreError as error:
            self._failed(started, operation, type(error).__name__, is_callers=False)
            return None
        self.ledger.acknowledged += 1
        self.ledger.operations.add(operation)
        return answer

    def _failed(self, started: float, operation: str, error: str, *, is_callers: bool) -> None:
        self.ledger.failures.append(Failure(started, time.monotonic(), operation, error, is_callers))
        time.sleep(0.02)

    def _change(self, subject: str, respect: str, value: Any, operation: str, **arguments: Any) -> None:
        """Ask for a change of one fact, and note what came of it."""
        done = self._ask(operation, **arguments) is not None
        self.ledger.note(subject, respect, value, is_done=done)

    def _word(self) -> str:
        self._count += 1
        return f"{self.name} {self._count}"

    # ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────

    def _create_key(self) -> None:
        word = self._word()
        answer = self._ask("create_key", Description=word, Tags=[{"TagKey": "made", "TagValue": word}])
        if answer is not None:
            key_id = answer["KeyMetadata"]["KeyId"]
            facts = {"state": "Enabled", "description": word, "tag made": word, "rotations": 0, "period": None}
            self.ledger.facts[key_id] = {respect: {value} for respect, value in facts.items()}
            (self._keys if len(self._keys) < 4 else self._switched).append(key_id)

    def _create_alias(self) -> None:
        # A name is tried once: after a lost answer nobody knows whether it exists.
        self._count += 1
        name, target = f"{self._prefix}{self._count}", self._random.choice(self._keys)
        if self._ask("create_alias", AliasName=name, TargetKeyId=target) is not None:
            self.ledger.facts[name] = {"target": {target}}
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
        """Between enabled, disabled and waiting for deletion; a key whose state is in doubt is looked at first."""
        if not self._switched:
            return
        key_id = self._random.choice(self._switched)
        states = self.ledger.facts[key_id]["state"]
        if len(states) > 1:
            answer = self._ask("describe_key", KeyId=key_id)
            if answer is not None:
                state = answer["KeyMetadata"]["KeyState"]
                assert state in states, f"{key_id} is {state}"
                self.ledger.facts[key_id]["state"] = {state}
            return
        if states == {"PendingDeletion"}:
            self._change(key_id, "state", "Disabled", "cancel_key_deletion", KeyId=key_id)
            return
        state = self._random.choice(("Disabled", "Disabled", "Enabled", "Enabled", "PendingDeletion"))
        operation = {"Disabled": "disable_key", "Enabled": "enable_key", "PendingDeletion": "schedule_key_deletion"}[
            state
        ]
        self._change(key_id, "state", state, operation, KeyId=key_id)

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
        root = {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
        statement = {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"}
        text = json.dumps({"Version": "2012-10-17", "Id": self._word(), "Statement": [statement]})
        done = self._ask("put_key_policy", KeyId=key_id, Policy=text) is not None
        if done or "policy" in self.ledger.facts[key_id]:  # What it is before the first one is of no interest.
            self.ledger.note(key_id, "policy", text, is_done=done)

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

    def _create_grant(self) -> None:
        key_id, root = self._random.choice(self._keys), f"arn:aws:iam::{ACCOUNT}:root"
        people = {"GranteePrincipal": root, "RetiringPrincipal": root, "Name": self._word().replace(" ", "-")}
        answer = self._ask("create_grant", KeyId=key_id, Operations=["Decrypt"], **people)
        if answer is not None:
            grant_id = answer["GrantId"]
            self.ledger.facts[key_id][f"grant {grant_id}"] = {grant_id}
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
        answer = self._ask(
            "generate_data_key", KeyId=self._random.choice(self._keys), KeySpec="AES_256", EncryptionContext=context
        )
        if answer is not None:
            self.ledger.blobs.append((answer["CiphertextBlob"], answer["Plaintext"], context))

    def _encrypt(self) -> None:
        context, plaintext = self._context(), self._random.randbytes(self._random.randrange(1, 200))
        answer = self._ask(
            "encrypt", KeyId=self._random.choice(self._keys), Plaintext=plaintext, EncryptionContext=context
        )
        if answer is not None:
            self.ledger.blobs.append((answer["CiphertextBlob"], plaintext, context))

    def _decrypt(self) -> None:
        if self.ledger.blobs:
            blob, plaintext, context = self._random.choice(self.ledger.blobs)
            answer = self._ask("decrypt", CiphertextBlob=blob, EncryptionContext=context)
            assert answer is None or answer["Plaintext"] == plaintext, "a wrong plaintext"


MUTATIONS: Final = {
    "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")
    for name, row in TABLE.items()
    if row.mutates
}


@contextmanager
def load(installation: Installation, seed: int) -> Iterator[Ledger]:
    """Run the load; the ledger is complete when the block has ended."""
    ledger, stop = Ledger(), threading.Event()
    clients = [Client(installation, seed + number, stop) for number in range(THREADS)]
    for client in clients:
        # Known at any time: a test may wait until everything was used.
        client.ledger.operations = ledger.operations
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
