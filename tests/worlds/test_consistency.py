"""A request whose first byte was sent after a mutation's answer arrived sees that mutation, whichever worker it meets.

A client changes something with one worker, and when it has the answer asks all workers at once, each on a connection of its
own. Every kind of change has a reader to whom a stale cache would show: keys, aliases, materials, policies, decisions,
credentials, grants.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import strongroom
from testkit.installation import ACCOUNT, Installation
from testkit.raw import Answer, Raw, User, allow, assert_allowed, make_user, policy, set_access_key
from testkit.workers import Workers, connection_to, stopped

WORKERS = 4
# RotateKeyOnDemand's limit in AWS, per key; this many keys are enough for any run here.
ROTATIONS_MAX = 25
ROOT = f"arn:aws:iam::{ACCOUNT}:root"

Check = Callable[[Answer], bool]


@pytest.fixture(scope="module")
def four() -> Iterator[Installation]:
    running = Installation("--workers", str(WORKERS))
    yield running.start()
    running.destroy()


@pytest.fixture
def workers(four: Installation) -> Iterator[Workers]:
    with Workers(four, WORKERS) as pinned:
        yield pinned


class Changing:
    """A client that changes one thing after the other, and knows after each what every worker must say."""

    def __init__(self, installation: Installation, workers: Workers, seed: int) -> None:
        self.installation = installation
        self.all = workers
        self.changing = workers.connections
        self.random = random.Random(seed)
        self.checks = 0
        self.stale: list[str] = []
        self.number = 0
        self.keys = [self._create() for _ in range(3)]
        self.alias = f"alias/consistent-{seed}"
        self._change("CreateAlias", {"AliasName": self.alias, "TargetKeyId": self.keys[0]})
        self.user: User = make_user(installation, f"consistent-{seed}", policy(allow("kms:*")))
        # Nothing but grants lets this one.
        self.grantee: User = make_user(installation, f"grantee-{seed}")
        self.rotated = ""
        self.rotations = ROTATIONS_MAX
        self.kinds: list[Callable[[], None]] = [
            *(self.disable_and_enable, self.move_the_alias, self.remove_and_make_the_alias, self.rotate),
            *(self.tag_and_untag, self.describe, self.deny_and_allow, self.shut_the_access_key_and_open_it),
            self.grant_and_revoke,
        ]

    def run(self, checks: int) -> None:
        """At least so many checks, every kind of change equally often."""
        goal = self.checks + checks
        for change in itertools.cycle(self.kinds):
            change()
            if self.checks >= goal:
                return

    # ── changing and checking ───────────────────────────────────────────────────────────────────────────────────

    def _change(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        connection: Raw = self.random.choice(self.changing)
        return assert_allowed(connection.call(operation, body))

    def _check(self, what: str, holds: Check, operation: str, body: dict[str, Any], **signing: Any) -> list[Answer]:
        answers = self.all.ask_all(operation, body, **signing)
        for answer in answers:
            self.checks += 1
            if not holds(answer):
                self.stale.append(f"{what}: {answer.status} {answer.body!r}")
        return answers

    def _create(self) -> str:
        return str(assert_allowed(self.changing[0].call("CreateKey"))["KeyMetadata"]["KeyId"])

    def _fresh(self) -> str:
        self.number += 1
        return str(self.number)

    # ── kinds of change ─────────────────────────────────────────────────────────────────────────────────────────

    def disable_and_enable(self) -> None:
        key_id = self.random.choice(self.keys)
        encrypt = ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
        self._change("DisableKey", {"KeyId": key_id})
        self._check("disabled", lambda answer: answer.code == "DisabledException", *encrypt)
        self._change("EnableKey", {"KeyId": key_id})
        self._check("enabled", lambda answer: answer.status == 200, *encrypt)

    def move_the_alias(self) -> None:
        key_id = self.random.choice(self.keys)
        self._change("UpdateAlias", {"AliasName": self.alias, "TargetKeyId": key_id})

        def leads_there(answer: Answer) -> bool:
            return answer.status == 200 and answer.json["KeyId"].endswith(key_id)

        self._check("alias moved", leads_there, "GenerateDataKey", {"KeyId": self.alias, "KeySpec": "AES_256"})

    def remove_and_make_the_alias(self) -> None:
        describe = ("DescribeKey", {"KeyId": self.alias})
        self._change("DeleteAlias", {"AliasName": self.alias})
        self._check("alias removed", lambda answer: answer.code == "NotFoundException", *describe)
        self._change("CreateAlias", {"AliasName": self.alias, "TargetKeyId": self.keys[1]})
        self._check("alias made", lambda answer: answer.status == 200, *describe)

    def rotate(self) -> None:
        if self.rotations == ROTATIONS_MAX:
            self.rotated, self.rotations = self._create(), 0
        self.rotations += 1
        describe = ("DescribeKey", {"KeyId": self.rotated})
        (before,) = {answer.json["KeyMetadata"]["CurrentKeyMaterialId"] for answer in self.all.ask_all(*describe)}
        self._change("RotateKeyOnDemand", {"KeyId": self.rotated})
        described = self._check("rotated", lambda answer: _current(answer) != before, *describe)
        current = _current(described[0])
        self._check("the same for all", lambda answer: _current(answer) == current, *describe)
        self._check(
            "encrypts with the new material",
            lambda answer: answer.status == 200 and answer.json["KeyMaterialId"] == current,
            "GenerateDataKey",
            {"KeyId": self.rotated, "KeySpec": "AES_256"},
        )

    def tag_and_untag(self) -> None:
        key_id, value = self.random.choice(self.keys), self._fresh()
        tags = ("ListResourceTags", {"KeyId": key_id})
        self._change("TagResource", {"KeyId": key_id, "Tags": [{"TagKey": "number", "TagValue": value}]})
        tagged = [{"TagKey": "number", "TagValue": value}]
        self._check("tagged", lambda answer: answer.json.get("Tags") == tagged, *tags)
        self._change("UntagResource", {"KeyId": key_id, "TagKeys": ["number"]})
        self._check("untagged", lambda answer: answer.json.get("Tags") == [], *tags)

    def describe(self) -> None:
        key_id, text = self.random.choice(self.keys), self._fresh()
        self._change("UpdateKeyDescription", {"KeyId": key_id, "Description": text})

        def says_so(answer: Answer) -> bool:
            return answer.status == 200 and answer.json["KeyMetadata"]["Description"] == text

        self._check("described", says_so, "DescribeKey", {"KeyId": key_id})

    def deny_and_allow(self) -> None:
        key_id = self.random.choice(self.keys)
        encrypt = ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
        everything = allow("kms:*", Principal={"AWS": ROOT})
        denied = {**allow("kms:Encrypt", effect="Deny"), "Principal": {"AWS": ROOT}}
        put = {"KeyId": key_id, "PolicyName": "default"}
        self._change("PutKeyPolicy", {**put, "Policy": policy(everything, denied)})
        self._check("denied", lambda answer: answer.code == "AccessDeniedException", *encrypt)
        self._change("PutKeyPolicy", {**put, "Policy": policy(everything)})
        self._check("allowed", lambda answer: answer.status == 200, *encrypt)

    def grant_and_revoke(self) -> None:
        key_id = self.random.choice(self.keys)
        by_grantee = {"access_key_id": self.grantee.access_key_id, "secret": self.grantee.secret}
        encrypt = ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
        granted = {"KeyId": key_id, "GranteePrincipal": self.grantee.arn, "Operations": ["Encrypt"]}
        made = self._change("CreateGrant", granted)
        self._check("granted", lambda answer: answer.status == 200, *encrypt, **by_grantee)
        with_token = {**encrypt[1], "GrantTokens": [made["GrantToken"]]}
        self._check("token", lambda answer: answer.status == 200, "Encrypt", with_token)
        end = self.random.choice(("RevokeGrant", "RetireGrant"))
        self._change(end, {"KeyId": key_id, "GrantId": made["GrantId"]})
        self._check("grant ended", lambda answer: answer.code == "AccessDeniedException", *encrypt, **by_grantee)
        self._check("token ended", lambda answer: answer.code == "InvalidGrantTokenException", "Encrypt", with_token)

    def shut_the_access_key_and_open_it(self) -> None:
        by_user = {"access_key_id": self.user.access_key_id, "secret": self.user.secret}
        for status, expected in (("Inactive", "UnrecognizedClientException"), ("Active", "")):
            set_access_key(self.installation, self.user, status)
            self._check(
                f"access key {status}", lambda answer, code=expected: answer.code == code, "ListKeys", {}, **by_user
            )


def _current(answer: Answer) -> str:
    return str(answer.json["KeyMetadata"]["CurrentKeyMaterialId"])


def _no_stale_answer_in(checks: int, installation: Installation, workers: Workers, seed: int) -> Changing:
    changing = Changing(installation, workers, seed)
    changing.run(checks)
    assert changing.stale == [], f"{len(changing.stale)} stale answers in {changing.checks} checks"
    print(f"{changing.checks} checks, 0 stale")
    return changing


def test_every_worker_sees_a_change_once_it_was_answered(four: Installation, workers: Workers) -> None:
    _no_stale_answer_in(2_000, four, workers, seed=1)


@pytest.mark.long
def test_every_worker_sees_every_one_of_many_changes(four: Installation, workers: Workers) -> None:
    _no_stale_answer_in(20_000, four, workers, seed=2)


def _with_one_stopped_in_the_middle(checks: int, four: Installation, workers: Workers, seed: int) -> None:
    """1. all run   2. one stands still: the others see every change   3. it goes on, and has missed none of them."""
    pid = four.pids_of("kms")["w3"]
    sleeper = connection_to(workers, pid)
    changing = Changing(four, workers, seed)
    changing.run(checks // 3)  # 1
    with stopped(pid, four.home / "service" / "store.db"):  # 2
        changing.all = workers.without(sleeper)
        changing.changing = changing.all.connections
        changing.run(checks // 3)
        # Asked while it stands still, answered when it goes on: a change that came in between counts, too.
        moved = changing.keys[2]
        changing._change("UpdateAlias", {"AliasName": changing.alias, "TargetKeyId": moved})
        sleeper.send(sleeper.request("DescribeKey", {"KeyId": changing.alias}))
    changing.all = workers  # 3
    changing.changing = workers.connections
    assert assert_allowed(sleeper.read_answer())["KeyMetadata"]["KeyId"] == moved
    changing.run(checks // 3)
    assert changing.stale == [], f"{len(changing.stale)} stale answers in {changing.checks} checks"
    assert four.pids_of("kms")["w3"] == pid
    print(f"{changing.checks} checks, 0 stale")


def test_a_worker_that_stood_still_has_missed_no_change(four: Installation, workers: Workers) -> None:
    _with_one_stopped_in_the_middle(1_200, four, workers, seed=3)


@pytest.mark.long
def test_a_worker_that_stood_still_has_missed_none_of_many_changes(four: Installation, workers: Workers) -> None:
    _with_one_stopped_in_the_middle(20_000, four, workers, seed=4)


# ── the check can fail ──────────────────────────────────────────────────────────────────────────────────────────────

_REFRESH = "        self.store.poll_changes(apply)\n"


def test_workers_that_do_not_look_for_changes_are_caught(tmp_path: Path) -> None:
    """A copy of the product whose `Directory.refresh` skips the look, told from the real one by its own PYTHONPATH."""
    shutil.copytree(strongroom.__path__[0], tmp_path / "strongroom", ignore=shutil.ignore_patterns("__pycache__"))
    directory = tmp_path / "strongroom" / "kms" / "keys" / "directory.py"
    source = directory.read_text()
    assert source.count(_REFRESH) == 1
    directory.write_text(source.replace(_REFRESH, "        then()\n"))
    blind = Installation("--workers", "2")
    blind.environment["PYTHONPATH"] = os.pathsep.join((str(tmp_path), blind.environment.get("PYTHONPATH", "")))
    try:
        blind.start()
        used = subprocess.run(
            [sys.executable, "-c", "import strongroom; print(strongroom.__path__[0])"],
            env=blind.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert used.stdout.strip() == str(tmp_path / "strongroom")
        with Workers(blind, 2) as pinned:
            changing = Changing(blind, pinned, seed=5)
            for key_id in changing.keys:
                encrypt = ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
                changing._check("known", lambda answer: answer.status == 200, *encrypt)
                assert not changing.stale
            for key_id in changing.keys:
                changing._change("DisableKey", {"KeyId": key_id})
                encrypt = ("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
                changing._check("disabled", lambda answer: answer.code == "DisabledException", *encrypt)
        assert changing.stale
    finally:
        blind.destroy()
