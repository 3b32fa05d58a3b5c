"""Who may have what: every secret of a run, looked for in the HSM, in the service and in every file.

| secret | HSM, outside its arena | service | files, trail, backups |
|---|---|---|---|
| domain keys, identities, seal, backing keys, derived keys, what opens a domain token or a bundle | never | never | never |
| data keys that the HSM gave out wrapped only | never | never | never |
| plaintexts, data keys, random bytes, secrets of access keys and sessions, tokens | never | while they pass | never |
| the store's key | never | yes | never |
| encryption contexts | not looked for | not looked for | the audit trail |

What passes is not wiped in the service (SECURITY.md), so it is counted what of it is still there: whoever keeps it has
all of it, a heap that is used again has some. Who keeps the newest only has none of the older, so of some that are followed
by many requests that bring nothing secret it is asked whether the newest are there, whole, and so every time.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Final

from testkit.memory import Hit, Needles, RepeatedScan, Report, between_frames, forms_of, scan_files, scan_process
from testkit.raw import b64
from testkit.sealed_state import SealedState, recovery_secrets
from worlds.every_kind import OWNER, Body, Lives, Secret

# A scan looks for what lasts and for so many, to three times so many, of the newest of the rest; the last one for all.
_NEWEST: Final = 150
_AT_ONCE: Final = 1000
# So many times, so many that pass of each kind are followed by so many requests in which nothing of their kind passes.
_ROUNDS: Final = 5
_NEWEST_PASSED: Final = 8
_FOLLOWING: Final = 200
_NOTHING_PASSES: Final[tuple[tuple[str, str], ...]] = (
    *(("kms", name) for name in ("DescribeKey", "ListKeys", "GetKeyPolicy", "ListAliases", "ListResourceTags")),
    *(("iam", name) for name in ("ListUsers", "ListRoles", "ListGroups", "GetAccountSummary")),
    ("sts", "GetCallerIdentity"),
)


class _Wanted:
    """The secrets that one place may not have: those that last, and the newest."""

    def __init__(self, lasting: dict[str, bytes], is_wanted: Callable[[Secret], bool]) -> None:
        self.lasting: Final = lasting
        self.is_wanted: Final = is_wanted
        self._needles = Needles(lasting)
        self._newest: list[Secret] = []
        self._seen = 0

    def needles(self, secrets: list[Secret]) -> Needles:
        new = [secret for secret in secrets[self._seen :] if self.is_wanted(secret)]
        self._seen = len(secrets)
        self._newest += new
        if len(self._newest) > 3 * _NEWEST:
            self._newest = new = self._newest[-_NEWEST:]
            self._needles = Needles(self.lasting)
        for secret in new:
            self._needles.add(secret.name, secret.value, deep=_is_key(secret))
        return self._needles

    def all(self, secrets: list[Secret], *, deep: bool = True) -> Iterator[Needles]:
        """Everything, in parts that memory bears."""
        yield Needles(self.lasting, deep=deep)
        wanted = [secret for secret in secrets if self.is_wanted(secret)]
        for at in range(0, len(wanted), _AT_ONCE):
            part = Needles({}, deep=deep)
            for number, secret in enumerate(wanted[at : at + _AT_ONCE], at):
                part.add(f"{secret.name}, number {number}", secret.value, deep=deep and _is_key(secret))
            yield part


def _kind(name: str) -> str:
    """What it is, whatever operation it came with: secret, data key, plaintext."""
    return name.partition(" (")[0].partition(",")[0]


def _is_key(secret: Secret) -> bool:
    return secret.name.startswith(("HBK", "derived key"))


def recovery_files(base: Path) -> tuple[Path, Path]:
    """The bundle and the one share that a home's or a region's first start, or its restore, made for people."""
    (bundle,), (share,) = ((base / "recovery").glob(f"recovery-{kind}-*") for kind in ("bundle", "share"))
    return bundle, share


def lasting_secrets(base: Path) -> dict[str, bytes]:
    """Of a home, or of one of its regions: what its HSM has as long as it runs, or had when it began."""
    state = SealedState.open(base)
    secrets = {f"domain key {key_id.hex()}": key for key_id, key in state.domain_keys.items()}
    secrets |= {"seal secret": state.seal_secret, **state.private_numbers(), **state.on_the_way}
    return secrets | recovery_secrets(*recovery_files(base))


class Watch:
    """Looks, and remembers what it saw."""

    def __init__(self, lives: Lives) -> None:
        self._lives = lives
        self._installation = lives.installation
        inner = lasting_secrets(lives.installation.home)
        with_the_stores = {**inner, "store key": lives.state.store_key(lives.store)}
        self._in_hsm = _Wanted(with_the_stores, lambda _: True)
        self._in_service = _Wanted(inner, lambda secret: not secret.passed)
        self._in_files = _Wanted(with_the_stores, lambda _: True)
        self.hits: list[tuple[str, Hit]] = []
        self.scans = 0
        self._scans: dict[int, RepeatedScan] = {}

    @property
    def _secrets(self) -> list[Secret]:
        return self._lives.ledger.secrets

    def look(self, after: str) -> list[tuple[str, Hit]]:
        """At both processes, once something was answered: what is found now."""
        hsm, service = self._installation.pid_of("hsm"), self._installation.pid_of("kms")
        with between_frames(hsm):
            self._note(f"the HSM, after {after}", self._scan_of(hsm).scan(self._in_hsm.needles(self._secrets)))
        found = self._scan_of(service).scan(self._in_service.needles(self._secrets))
        self._note(f"the service, after {after}", found)
        self.scans += 1
        return self.hits

    def _scan_of(self, pid: int) -> RepeatedScan:
        """What is a secret was none when the last look was taken, but for those that the first one is for."""
        return self._scans.setdefault(pid, RepeatedScan(pid))

    def look_for_all(self) -> list[tuple[str, Hit]]:
        """At both processes for everything that the run touched."""
        hsm, service = self._installation.pid_of("hsm"), self._installation.pid_of("kms")
        with between_frames(hsm):
            for needles in self._in_hsm.all(self._secrets):
                self._note("the HSM, at the end", scan_process(hsm, needles))
        for needles in self._in_service.all(self._secrets):
            self._note("the service, at the end", scan_process(service, needles))
        return self.hits

    def look_at_files(self, *more: Path) -> list[tuple[str, Hit]]:
        """For everything, in the whole home but for what is there to keep secrets, in what was said, and in `more`."""
        home = self._installation.home
        places = [entry for entry in home.iterdir() if entry.name not in {"seal", "recovery"}]
        for needles in self._in_files.all(self._secrets, deep=False):
            self._note("a file", scan_files([*places, self._installation.output, *more], needles))
        # Contexts are told by the trail, and by nothing else.
        contexts = Needles({f"context {at}": text for at, text in enumerate(self._lives.ledger.contexts)}, deep=False)
        told = scan_files([*places, self._installation.output, *more], contexts).hits
        self.hits += [("a file", hit) for hit in told if Path(hit.where).parent.name != "audit"]
        assert told, "the trail tells contexts, so this search can find something"
        return self.hits

    def passed_and_stayed(self, secrets: list[Secret]) -> dict[str, tuple[int, int]]:
        """Of each kind of these that passed through the service: how many are still in its memory, whole or in part."""
        wanted = _Wanted({}, lambda secret: secret.passed)
        service = self._installation.pid_of("kms")
        stayed = {hit.secret for some in wanted.all(secrets) for hit in scan_process(service, some).hits}
        passed = Counter(_kind(secret.name) for secret in secrets if secret.passed)
        left = Counter(map(_kind, stayed))
        return {name: (left[name], count) for name, count in passed.items()}

    def newest_kept(self) -> dict[str, int]:
        """Of each kind: how many of those that passed last were whole in the service's memory, in every round."""
        rounds = [self._newest_whole() for _ in range(_ROUNDS)]
        print(f"of the newest {_NEWEST_PASSED} that passed, whole in the service's memory: {rounds}")
        return {kind: min(whole[kind] for whole in rounds) for kind in rounds[0]}

    def _newest_whole(self) -> dict[str, int]:
        ask, steady = self._lives.caller.ask, self._lives.steady
        passed: dict[str, list[bytes]] = {"plaintext": [], "data key": [], "random bytes": []}
        for _ in range(_NEWEST_PASSED):
            passed["plaintext"].append(os.urandom(64))
            encrypted: Body = {"KeyId": steady, "Plaintext": b64(passed["plaintext"][-1])}
            for kind, operation, body in (
                ("", "Encrypt", encrypted),
                ("data key", "GenerateDataKey", {"KeyId": steady, "KeySpec": "AES_256"}),
                ("random bytes", "GenerateRandom", {"NumberOfBytes": 48}),
            ):
                answer = ask("kms", operation, body, OWNER).json
                if kind:
                    passed[kind].append(base64.b64decode(answer["Plaintext"]))
        for _, (service, operation) in zip(range(_FOLLOWING), cycle(_NOTHING_PASSES), strict=False):
            of_key = {"KeyId": steady, "PolicyName": "default"} if operation != "ListAliases" else {}
            answered = ask(service, operation, of_key if service == "kms" else {}, OWNER)
            assert answered.status == 200, answered
        return {kind: self._whole_from_the_last(secrets) for kind, secrets in passed.items()}

    def _whole_from_the_last(self, secrets: list[bytes]) -> int:
        """How many of them, from the last one on, are in the service's memory from their first to their last byte."""
        wanted = {str(number): secret for number, secret in enumerate(reversed(secrets))}
        lengths = {name: {(form, len(text)) for form, text in forms_of(secret)} for name, secret in wanted.items()}
        hits = scan_process(self._installation.pid_of("kms"), Needles(wanted, deep=False)).hits
        whole = {hit.secret for hit in hits if (hit.form, hit.length) in lengths[hit.secret]}
        return next((number for number, name in enumerate(wanted) if name not in whole), len(wanted))

    def _note(self, where: str, report: Report) -> None:
        assert report.bytes_read > (0 if where == "a file" else 8 << 20), where
        new = [(where, hit) for hit in report.hits]
        self.hits += new
        for _, hit in new[:10]:
            print(f"in {where}: {hit}")
