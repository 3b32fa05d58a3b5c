"""Requests of every kind over a population that does not grow: all of KMS, all of IAM, sessions, grants, refusals.

Limits hold the population where it is; beyond them, and in states that forbid it, requests are refused, which is part of
the mix. So beside those who mix somebody walks through lives, in which every operation succeeds, and somebody has the HSM
make keys, which few requests do. Each keeps one connection, as clients do.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final
from urllib.parse import urlencode

from strongroom.boundary.messages import GenerateHbk, HbkAnswer
from strongroom.kms.identities.operations.table import TABLE as IAM
from strongroom.kms.identities.sts.table import TABLE as STS
from strongroom.kms.operations.table import TABLE as KMS
from testkit.identities import ROOT, document, statement, trust
from testkit.installation import ACCOUNT, REGION, Installation
from testkit.raw import Answer, RawKms, b64, call_headers, key_arn
from testkit.web_identities import Issuer
from worlds.every_command import Host
from worlds.every_kind import ANSWERS_A_LIFE, OWNER, Body, Caller, Lives, Who

# Those that stay, and those that wait for their deletion.
KEYS_MAX: Final = 100
LIMITS: Final = (
    f"keys_max = {KEYS_MAX}\ngrants_per_key_max = 20\naliases_per_key_max = 20\non_demand_rotations_max = 3\n"
    "users_max = 50\nroles_max = 20\n"
)
_KEYS: Final = 40
# Of them, so many keep their state, so that most cryptography succeeds.
_STEADY: Final = 20
FORM: Final = (b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8")
_CRYPTOGRAPHY: Final = ("Encrypt", "Decrypt", "GenerateDataKey", "ReEncrypt", "GenerateRandom")
_STATES: Final = frozenset({"DisableKey", "EnableKey", "ScheduleKeyDeletion", "CancelKeyDeletion"})
_NOBODY: Final = "AKIANOBODY"
# Commands of a frame, and of a session, which ends after a quarter of an hour.
_FRAME: Final = 10
_COMMANDS_A_SESSION: Final = 500
_SOON: Final = {"PendingWindowInDays": 7}
_LATE: Final = {"PendingWindowInDays": 30}
_USE: Final = ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
_WORDS: Final = [f"word-{number}" for number in range(25)]


def populate(installation: Installation) -> list[str]:
    """The keys."""
    with closing(RawKms(installation)) as kms:
        return [str(kms.call("CreateKey").json["KeyMetadata"]["KeyId"]) for _ in range(_KEYS)]


class Client(threading.Thread):
    """Asks so many times, at its own speed or within so many seconds."""

    def __init__(self, name: str, requests: int, seconds: float | None) -> None:
        super().__init__(name=name)
        self.asked = 0
        self.requests = requests
        # By operation, and whether it was refused.
        self.outcomes: Counter[tuple[str, bool]] = Counter()
        self.error: BaseException | None = None
        self._seconds = seconds
        self._began_s = 0.0

    def run(self) -> None:
        self._began_s = time.monotonic()
        try:
            self._ask_all()
        except BaseException as error:  # noqa: BLE001 -- told to the test, which fails with it.
            self.error = error

    def _ask_all(self) -> None:
        raise NotImplementedError

    def _pause(self) -> None:
        """Until it is time for the next."""
        if self._seconds:
            due_s = self._began_s + self.asked / self.requests * self._seconds
            time.sleep(max(0.0, due_s - time.monotonic()))


class _Late(Caller):
    """Has keys deleted so late that they can be had back meanwhile, whatever the experiment makes of a week."""

    def ask(self, service: str, operation: str, body: Body, who: Who) -> Answer:
        return super().ask(service, operation, body | _LATE if "PendingWindowInDays" in body else body, who)


class MortalLives(Lives):
    """Of which no key stays: what is scheduled for deletion at the end is not had back."""

    _key_id = ""

    def __init__(self, installation: Installation, issuer: Issuer) -> None:
        super().__init__(installation, issuer)
        self._last = self.caller
        self.caller = _Late(installation)

    def learn_keys(self, key_id: str) -> None:
        super().learn_keys(key_id)
        self._key_id = key_id

    def live(self) -> Iterator[str]:
        yield from super().live()
        scheduled = self._last.ask("kms", "ScheduleKeyDeletion", {"KeyId": self._key_id, **_SOON}, OWNER)
        assert scheduled.status == 200, scheduled


class Walker(Client):
    """Walks through lives, in which every operation succeeds, and once more is refused."""

    def __init__(self, lives: MortalLives, number: int, seconds: float | None = None) -> None:
        super().__init__("walker", number * ANSWERS_A_LIFE, seconds)
        self.lives = number
        self._lives = lives

    def _ask_all(self) -> None:
        ledger = self._lives.ledger
        ledger.outcomes.clear()
        for _ in range(self.lives):
            for _ in self._lives.live():
                self.asked += 1
                self._pause()
            ledger.secrets.clear()
        self.outcomes += ledger.outcomes


class Founder(Client):
    """A service host of its own, which has the HSM make backing keys for nobody."""

    def __init__(self, installation: Installation, commands: int, seconds: float | None = None) -> None:
        super().__init__("founder", commands // _FRAME * _FRAME, seconds)
        self._home = installation.home

    def _ask_all(self) -> None:
        while self.asked < self.requests:
            with closing(Host(self._home, lambda _name, _value: None)) as host:
                until = min(self.requests, self.asked + _COMMANDS_A_SESSION)
                while self.asked < until:
                    made = host.ask([], [GenerateHbk(n, "made here", ACCOUNT, REGION, *_USE) for n in range(_FRAME)])
                    assert all(isinstance(answer, HbkAnswer) for answer in made), made
                    self.asked += _FRAME
                    self._pause()
        self.outcomes["GenerateHbk", False] += self.asked


class Mixer(Client):
    """Asks at random; where it has time, with fewer of those requests that fill caches."""

    def __init__(
        self, installation: Installation, key_ids: list[str], seed: int, requests: int, seconds: float | None = None
    ) -> None:
        super().__init__(f"mixer-{seed}", requests, seconds)
        self._random = random.Random(seed)
        self._kms = RawKms(installation)
        self._key_ids = key_ids
        self._blobs: deque[tuple[str, dict[str, str]]] = deque(maxlen=100)
        self._grants: deque[tuple[str, str]] = deque(maxlen=200)
        self._user = f"user-{seed}"
        self._role = f"role-{seed}"

    def _ask_all(self) -> None:
        filling = 1 if self._seconds else 4
        acts = [(self._cryptography, 60), (self._any_of_kms, 25), (self._any_of_iam, 4), (self._any_of_sts, 2)]
        acts += [(self._session, 2 * filling), (self._life_of_a_user, 0.5), (self._stranger, 3)]
        acts += [(self._newcomer, filling), (self._put_policy, filling)]
        chosen, weights = zip(*acts, strict=True)
        with closing(self._kms):
            self._form("iam", "CreateRole", RoleName=self._role, AssumeRolePolicyDocument=trust())
            text = document(statement("kms:*"))
            self._form("iam", "PutRolePolicy", RoleName=self._role, PolicyName="own", PolicyDocument=text)
            while self.asked < self.requests:
                self._random.choices(chosen, weights)[0]()
                self._pause()

    def _note(self, operation: str, answer: Answer) -> Answer:
        assert answer.status < 500, (operation, answer)
        self.asked += 1
        self.outcomes[operation, answer.status != 200] += 1
        return answer

    # ── KMS ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _cryptography(self) -> None:
        self._ask(self._random.choice(_CRYPTOGRAPHY))

    def _any_of_kms(self) -> None:
        # Of keys there would be ever more: those that walk make them, and have them deleted.
        self._ask(self._random.choice([name for name in KMS if name != "CreateKey"]))

    def _ask(self, operation: str, **signing: Any) -> None:
        body = self._body(operation)
        answer = self._note(operation, self._kms.call(operation, body, **signing))
        if answer.status != 200:
            return
        if operation == "Encrypt":
            self._blobs.append((answer.json["CiphertextBlob"], body["EncryptionContext"]))
        elif operation == "CreateGrant":
            self._grants.append((body["KeyId"], answer.json["GrantId"]))

    def _body(self, operation: str) -> dict[str, Any]:
        """More than any operation asks for: what an operation does not know is ignored."""
        choice = self._random.choice
        steady, wandering = self._key_ids[:_STEADY], self._key_ids[_STEADY:]
        key_id = choice(wandering if operation in _STATES else [*steady, choice(wandering)])
        context = {choice(_WORDS): choice(_WORDS)}
        body: dict[str, Any] = {"KeyId": key_id, "Plaintext": b64(b"plaintext"), "EncryptionContext": context}
        body |= {"AliasName": f"alias/{choice(_WORDS)}", "TargetKeyId": choice(steady), "Description": choice(_WORDS)}
        body |= {"Tags": [{"TagKey": choice(_WORDS), "TagValue": choice(_WORDS)}], "TagKeys": [choice(_WORDS)]}
        # Longer than what the experiment has the service wait: what mixes stays, what walks goes.
        body |= {"PendingWindowInDays": 30, "RotationPeriodInDays": 90, "RetiringPrincipal": ROOT, "Limit": 20}
        body |= {"GranteePrincipal": ROOT, "Operations": ["Decrypt"], "DestinationKeyId": choice(steady)}
        body |= {"DestinationEncryptionContext": context, "PolicyName": "default", "Policy": self._key_policy()}
        body |= {"NumberOfBytes": 32} if operation == "GenerateRandom" else {}
        body |= {"KeySpec": "AES_256"} if operation.startswith("GenerateDataKey") else {}
        if operation in {"Decrypt", "ReEncrypt"} and self._blobs:
            del body["KeyId"]
            body["CiphertextBlob"], context = choice(self._blobs)
            body |= {"EncryptionContext": context, "SourceEncryptionContext": context}
        if operation in {"RetireGrant", "RevokeGrant"} and self._grants:
            key_id, body["GrantId"] = self._grants.popleft()
            body["KeyId"] = key_arn(key_id)
        if operation == "ListAliases":
            del body["KeyId"]
        return body

    def _key_policy(self) -> str:
        """Nobody had it before; of some, decisions depend on a value that callers choose."""
        more = self._random.choice(({}, {"Condition": {"StringNotEquals": {"kms:EncryptionContext:word-1": "none"}}}))
        return document(_EVERYTHING | more | {"Sid": f"S{self._random.getrandbits(64)}"})

    def _put_policy(self) -> None:
        self._ask("PutKeyPolicy")

    # ── IAM and STS ─────────────────────────────────────────────────────────────────────────────────────────────

    def _form(self, service: str, action: str, who: dict[str, str] | None = None, /, **members: str) -> Answer:
        return self._note(action, self._send(form_body(service, action, **members), [FORM], who, service=service))

    def _send(self, body: bytes, headers: list[tuple[bytes, bytes]], who: dict[str, str] | None, **more: Any) -> Answer:
        return send_as(self._kms, body, headers, who, **more)

    def _any_of_iam(self) -> None:
        choice = self._random.choice
        members = {"UserName": self._user, "GroupName": choice(_WORDS), "RoleName": self._role, "PolicyName": "other"}
        members |= {"PolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/other", "PolicyDocument": document(statement("kms:*"))}
        members |= {"AssumeRolePolicyDocument": trust(), "AccessKeyId": _NOBODY, "VersionId": "v1", "Status": "Active"}
        # A role that is deleted, or a key of the root, would end the mix.
        action = choice([name for name in IAM if name not in {"DeleteRole", "CreateAccessKey"}])
        self._form("iam", action, **members)

    def _any_of_sts(self) -> None:
        members = {"AccessKeyId": _NOBODY, "Name": "somebody", "RoleSessionName": "once", "RoleArn": self._role_arn}
        self._form("sts", self._random.choice(list(STS)), **members)

    @property
    def _role_arn(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:role/{self._role}"

    def _life_of_a_user(self) -> None:
        """With a key that is used, and with all that has to go before he can."""
        name = f"{self._user}-{self._random.choice(_WORDS)}"
        self._form("iam", "CreateUser", UserName=name)
        text = document(statement("kms:*", "sts:*"))
        self._form("iam", "PutUserPolicy", UserName=name, PolicyName="own", PolicyDocument=text)
        made = self._form("iam", "CreateAccessKey", UserName=name)
        user = credentials_in(made)
        if user is not None:
            for _ in range(3):
                self._note("as a user", self._send(b"{}", call_headers("ListKeys"), user))
            self._begin(user, "AssumeRole", RoleArn=self._role_arn, RoleSessionName=name)
            self._form("iam", "DeleteAccessKey", UserName=name, AccessKeyId=user["AccessKeyId"])
        self._form("iam", "DeleteUserPolicy", UserName=name, PolicyName="own")
        self._form("iam", "DeleteUser", UserName=name)

    def _session(self) -> None:
        action = self._random.choice(("GetSessionToken", "GetFederationToken"))
        text = document(statement("kms:*", Sid=f"S{self._random.getrandbits(64)}"))
        self._begin(None, action, Name="somebody", Policy=text)

    def _begin(self, who: dict[str, str] | None, action: str, **members: str) -> None:
        """A session that is used twice and never again."""
        session = credentials_in(self._form("sts", action, who, **members))
        if session is not None:
            for _ in range(2):
                self._note("in a session", self._send(b"{}", call_headers("ListKeys"), session))

    # ── newcomers and strangers ────────────────────────────────────────────────────────────────────────────────────────

    def _newcomer(self) -> None:
        """Somebody known, with another client at every request."""
        name = f"{self._random.getrandbits(64):016X}".encode()
        headers = [*call_headers("ListKeys"), (b"User-Agent", name), (b"X-" + name, b"x")]
        self._note("as a newcomer", self._kms.send(b"{}", headers))

    def _stranger(self) -> None:
        """A key that nobody has, a wrong secret, another name at every request."""
        name = f"AKIA{self._random.getrandbits(64):016X}"
        signing = self._random.choice(({"access_key_id": name}, {"secret": name}, {"region": "xx-nowhere-9"}))
        headers = [*call_headers("ListKeys"), (b"User-Agent", name.encode()), (b"X-" + name.encode(), b"x")]
        self._note("as a stranger", self._kms.send(b"{}", headers, **signing))


_EVERYTHING: Final = {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"}


def form_body(service: str, action: str, **members: str) -> bytes:
    """Of a request of IAM or STS."""
    version = {"iam": "2010-05-08", "sts": "2011-06-15"}[service]
    return urlencode({"Action": action, "Version": version, **members}).encode()


def send_as(
    kms: RawKms, body: bytes, headers: list[tuple[bytes, bytes]], who: dict[str, str] | None, **more: Any
) -> Answer:
    """As the account's root, or with the credentials that an answer held."""
    if who is not None:
        more |= {"access_key_id": who["AccessKeyId"], "secret": who["SecretAccessKey"]}
        token = who.get("SessionToken")
        headers = [*headers, *([(b"X-Amz-Security-Token", token.encode())] if token else [])]
    return kms.send(body, headers, **more)


def credentials_in(answer: Answer) -> dict[str, str] | None:
    """What an answer gives somebody; None where it was refused."""
    if answer.status != 200:
        return None
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    found = {name: re.search(f"<{name}>([^<]*)<", answer.body.decode()) for name in names}
    return {name: match[1] for name, match in found.items() if match is not None}
