"""One walk through an account of its own: requests are sent, answers are judged, records are looked at again.

What is judged:

1. every answer comes, is 200 or 400, and its code is one that AWS's model gives the operation;
2. a request that must be refused is refused for one of its reasons, and one that must succeed succeeds;
3. what was acknowledged is there at the next look, through another connection; what was refused changed nothing;
4. every ciphertext opens as long as its key may be used.

Each step has random numbers of its own, so that a step can be left out and the others stay as they were.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Self

from fuzz.bodies import no_operation, no_request
from fuzz.composer import Composer, Request, as_json
from fuzz.records import CRYPTOGRAPHIC, DAY_S, LOOKS, Account, Blob, Grant, Key, Policy, held, is_on_time, shown
from strongroom.kms.operations.table import TABLE
from strongroom.kms.wire.shapes import OPERATIONS
from testkit.installation import Installation
from testkit.raw import JSON_TYPE, Answer, Raw, raw_request, signed_headers

STEPS: Final = 200
CONNECTIONS: Final = 4
# Beyond the model's own exceptions: what every JSON service of AWS answers.
_COMMON_CODES: Final = frozenset(
    {"AccessDeniedException", "NotAuthorizedException", "SerializationException", "ValidationException"}
    | {"UnsupportedOperationException"}
)
_OPERATIONS: Final = sorted(TABLE)
# What needs the most to be right at once is tried the most.
_SHARE: Final = {"CancelKeyDeletion": 2, "CreateGrant": 3, "CreateKey": 2, "EnableKey": 3, "ReEncrypt": 6}
_SHARES: Final = [_SHARE.get(name, 3 if name in CRYPTOGRAPHIC else 1) for name in _OPERATIONS]
_OF_GRANTS: Final = frozenset({"CreateGrant", "RetireGrant", "RevokeGrant"})
# One key at a time is all they concern, so that several can be under way at once and each still has one right answer.
_ALONE: Final = sorted(
    set(TABLE) - {"CreateAlias", "CreateKey", "Decrypt", "DeleteAlias", "ReEncrypt", "UpdateAlias"} - _OF_GRANTS
)
_KEYS_MAX: Final = 6
_REMEMBERED: Final = 12


class Finding(AssertionError):  # noqa: N818 -- it is what the fuzzing is for.
    """The service did what it must not do."""


@dataclass
class Tally:
    """What was asked in a run, over all journeys."""

    requests: int = 0
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    key_ids: set[str] = field(default_factory=set)
    aliases: dict[str, str] = field(default_factory=dict)
    default_policy: str = ""
    last: deque[Account] = field(default_factory=lambda: deque(maxlen=20))


class Journey:
    """Everything that happens to a few keys; `name` is what its random numbers come from."""

    def __init__(self, installation: Installation, name: str, tally: Tally) -> None:
        self.account = Account()
        self.sent: deque[str] = deque(maxlen=_REMEMBERED)
        self._name = name
        self._tally = tally
        self._connections = [Raw(installation.port) for _ in range(CONNECTIONS)]
        self._restart(0)

    def _restart(self, step: int) -> None:
        self._random = Random(f"{self._name}/{step}")
        self._composer = Composer(self.account, self._random)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.__exit__()

    def go(self, steps: Iterable[int]) -> None:
        """Two keys with a name each first; at the end everything is looked at, and every ciphertext is opened.

        Raises:
            Finding: as soon as there is one.
        """
        try:
            self._begin_key()
            self._begin_key()
            for step in steps:
                self._restart(step)
                if not self.account.keys:  # Policies may have put all of them out of reach.
                    self._begin_key()
                self._random.choices(_ACTS, _WEIGHTS)[0](self)
            self._restart(-1)
            self.look_at_everything()
            self._open_everything()
        except (EOFError, OSError) as error:
            raise Finding(f"no answer: {error!r}") from error
        self._tally.key_ids.update(key.key_id for key in self.account.keys)
        self._tally.aliases.update({name: key.key_id for name, key in self.account.aliases.items()})
        self._tally.last.append(self.account)

    def _begin_key(self) -> None:
        """A key with a name."""
        self._judge(created := Request("CreateKey", policy=Policy("")))
        assert created.key is not None
        members = {"AliasName": f"alias/fuzz/{created.key.key_id}", "TargetKeyId": created.key.key_id}
        self._judge(Request("CreateAlias", members, key=created.key))

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _operation(self) -> str:
        operation: str = self._random.choices(_OPERATIONS, _SHARES)[0]
        is_full = operation == "CreateKey" and len(self.account.keys) >= _KEYS_MAX
        return "DescribeKey" if is_full else operation

    def _ask_valid(self) -> None:
        self._judge(self._composer.valid(self._operation()))

    def _ask_broken(self) -> None:
        self._judge(self._composer.broken(self._random.choice(_OPERATIONS)))

    def _ask_spoilt(self) -> None:
        self._judge(self._composer.spoilt(self._operation()))

    def _ask_nothing(self) -> None:
        """A body that is no request."""
        request = self._composer.valid(self._random.choice(_OPERATIONS))
        request.reasons = {"SerializationException"}
        request.is_exact = True
        self._judge(request, no_request(self._random, request.members))

    def _ask_nobody(self) -> None:
        """A target that is no operation, with the body of one that is."""
        target, code = no_operation(self._random)
        request = self._composer.valid(self._random.choice(_OPERATIONS))
        connection = self._connection()
        self._send(connection, target, as_json(self._random, request.members))
        answer = connection.read_answer()
        # The trail names what exists in the model, and nothing that a stranger made up.
        name = target.rpartition(b".")[2].decode() if code == "UnsupportedOperationException" else "UnknownOperation"
        self._note(name, request.members, answer)
        if (answer.status, answer.code) != (400, code):
            raise Finding(f"{target!r} must be {code}: {answer}")

    def _ask_at_once(self) -> None:
        """Several keys, a request on each, all sent before the first answer is read."""
        keys = self._random.sample(self.account.keys, min(len(self.account.keys), CONNECTIONS))
        connections = self._random.sample(self._connections, len(keys))
        requests = [self._composer.valid(self._random.choice(_ALONE), key) for key in keys]
        self._judge_together(list(zip(requests, connections, strict=True)))

    def _change_at_once(self) -> None:
        """One key, and changes of it that leave each other alone: none may overwrite another."""
        key = self._random.choice(self.account.keys)
        changes: list[tuple[str, dict[str, Any]]] = [
            ("UpdateKeyDescription", {"Description": self._random.choice(("", "at once"))}),
            ("EnableKeyRotation", {"RotationPeriodInDays": self._random.randint(90, 2560)}),
            ("RotateKeyOnDemand", {}),
            ("UntagResource", {"TagKeys": [*key.tags][:3] or ["x"]}),
        ]
        if len(key.tags) <= 48:
            tags = [{"TagKey": name, "TagValue": str(self._random.random())} for name in ("at once 1", "at once 2")]
            changes = [change for change in changes if change[0] != "UntagResource"]
            changes += [("TagResource", {"Tags": [tag]}) for tag in tags]
        asked = []
        for (operation, members), connection in zip(
            self._random.sample(changes, CONNECTIONS), self._connections, strict=True
        ):
            request = Request(operation, {"KeyId": key.key_id, **members}, key=key)
            request.refuse(*key.refusals(operation, f"kms:{operation}"))
            asked.append((request, connection))
        self._judge_together(asked)

    def _judge_together(self, asked: Sequence[tuple[Request, Raw]]) -> None:
        for request, connection in asked:
            self._send(connection, _target(request.operation), as_json(self._random, request.members))
        answers = [(request, connection.read_answer()) for request, connection in asked]
        for request, answer in answers:
            self._weigh(request, answer)
        for request, _ in answers:
            self._look_after(request)

    def _open_one(self) -> None:
        if self.account.blobs:
            self._open(self._random.choice(self.account.blobs))

    def look_at_everything(self) -> None:
        for key in self.account.keys:
            self._look(key, LOOKS)

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _connection(self) -> Raw:
        return self._random.choice(self._connections)

    def _send(self, connection: Raw, target: bytes, body: bytes) -> None:
        content_type = JSON_TYPE if self._random.random() < 0.9 else self._random.choice(_CONTENT_TYPES)
        headers = signed_headers(connection.host, body, [(b"X-Amz-Target", target), (b"Content-Type", content_type)])
        connection.send(raw_request(headers, body))

    def _ask(self, operation: str, members: dict[str, Any]) -> Answer:
        connection = self._connection()
        self._send(connection, _target(operation), as_json(self._random, members))
        answer = connection.read_answer()
        self._note(operation, members, answer)
        return answer

    def _judge(self, request: Request, body: bytes | None = None) -> None:
        connection = self._connection()
        encoded = as_json(self._random, request.members) if body is None else body
        self._send(connection, _target(request.operation), encoded)
        self._weigh(request, connection.read_answer(), body)
        self._look_after(request)

    def _note(self, operation: str, asked: Any, answer: Answer) -> None:
        self._tally.requests += 1
        self._tally.outcomes[operation, answer.code if answer.status in {200, 400} else str(answer.status)] += 1
        self.sent.append(f"{operation} {str(asked)[:600]} -> {answer.status} {answer.body[:200]!r}")

    def _weigh(self, request: Request, answer: Answer, body: bytes | None = None) -> None:
        """Rules 1 and 2, and what an acknowledged change does to the records."""
        operation = request.operation
        self._note(operation, request.members if body is None else body, answer)
        if answer.status not in {200, 400}:
            raise Finding(f"{operation} was answered {answer.status}")
        if answer.code not in {"", *OPERATIONS[operation].exceptions, *_COMMON_CODES}:
            raise Finding(f"{operation} has no {answer.code}")
        expected = request.reasons if request.is_exact else request.firm
        if answer.status == 200:
            if expected:
                raise Finding(f"{operation} must be refused with one of {sorted(expected)}, and succeeded")
            self._apply(request, answer.json if answer.body else {})
        elif request.is_exact and answer.code not in expected:
            words = f"be refused with one of {sorted(expected)}" if expected else "succeed"
            raise Finding(f"{operation} must {words}: {answer.code} {answer.message!r}")
        request.was_refused = answer.status != 200

    # ── what an answer means ────────────────────────────────────────────────────────────────────────────────────

    def _apply(self, request: Request, answer: dict[str, Any]) -> None:
        operation, members, key = request.operation, request.members, request.key
        if operation in LOOKS and key is not None and not members.get("Marker") and not answer.get("Truncated"):
            self._compare(operation, key, members, answer)
        elif operation in CRYPTOGRAPHIC:
            self._apply_cryptography(request, answer)
        elif operation == "CreateKey":
            self._apply_creation(request, answer)
        elif operation in _CHANGES:
            if operation != "DeleteAlias" and key is None:
                raise Finding(f"{operation} changed a key that the request does not name")
            _CHANGES[operation](self, request, answer)
        elif "Truncated" in answer and answer["Truncated"] != ("NextMarker" in answer):
            raise Finding("a page that is not the last has a marker, and only such a page")

    def _apply_creation(self, request: Request, answer: dict[str, Any]) -> None:
        members, found = request.members, answer["KeyMetadata"]
        tags = {tag["TagKey"]: tag["TagValue"] for tag in members.get("Tags") or ()}
        policy = request.policy
        if policy is None or not policy.text:
            policy = Policy(members.get("Policy") or self._tally.default_policy)
        key = Key(found["KeyId"], members.get("Description") or "", tags, policy, [found["CurrentKeyMaterialId"]])
        self.account.keys.append(key)
        request.key = key
        if not self._tally.default_policy and not members.get("Policy"):
            self._tally.default_policy = self._ask("GetKeyPolicy", {"KeyId": key.key_id}).json["Policy"]
            key.policy = Policy(self._tally.default_policy)

    def _apply_cryptography(self, request: Request, answer: dict[str, Any]) -> None:
        members, operation = request.members, request.operation
        if operation == "Decrypt":
            if request.blob is None or request.blob.plaintext not in {None, answer["Plaintext"]}:
                raise Finding("Decrypt gave a plaintext that was never encrypted")
            return
        key = request.other if operation == "ReEncrypt" else request.key
        if key is None or (operation == "ReEncrypt" and request.blob is None):
            raise Finding(f"{operation} used a key that the request does not name")
        plaintext = members["Plaintext"] if operation == "Encrypt" else answer.get("Plaintext")
        if operation == "ReEncrypt" and request.blob is not None:
            plaintext = request.blob.plaintext
        context = members.get("DestinationEncryptionContext" if operation == "ReEncrypt" else "EncryptionContext") or {}
        self.account.blobs.append(Blob(key, answer["CiphertextBlob"], plaintext, context))

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _look_after(self, request: Request) -> None:
        """Rule 3: all that a change could have touched, a part of it, or after a refusal now and then everything."""
        key = request.key
        if request.was_refused:
            if self._random.random() < 0.05 and self.account.keys:
                self._look(self._random.choice(self.account.keys) if key is None else key, LOOKS)
            return
        if not TABLE[request.operation].mutates or key is None:
            return
        if request.operation in {"CreateKey", "PutKeyPolicy"} and not request.is_exact:
            self._put_known_policy(key)
        if key in self.account.keys:
            names = list(LOOKS) if self._random.random() < 0.2 else [_SHOWN_BY[request.operation], "DescribeKey"]
            self._look(key, names)
        if request.other is not None:
            self._look(request.other, ["ListAliases"])

    def _put_known_policy(self, key: Key) -> None:
        """A policy of which nothing is known was taken: put one of which everything is known."""
        answer = self._ask("PutKeyPolicy", {"KeyId": key.key_id, "Policy": self._tally.default_policy})
        if answer.status != 200:
            # It withholds even that; what becomes of the key is nobody's business any more.
            self.account.keys.remove(key)
            for name in self.account.aliases_of(key):
                del self.account.aliases[name]
                self._tally.aliases[name] = key.key_id
            self.account.blobs = [blob for blob in self.account.blobs if blob.key is not key]
            self._tally.key_ids.add(key.key_id)
        key.policy = Policy(self._tally.default_policy)

    def _look(self, key: Key, names: Iterable[str]) -> None:
        for operation in names:
            members: dict[str, Any] = {"KeyId": key.key_id, **LOOKS[operation]}
            answer = self._ask(operation, members)
            if f"kms:{operation}" in key.policy.withheld:
                if answer.code != "AccessDeniedException":
                    raise Finding(f"{operation} must be withheld by the key policy: {answer}")
                continue
            if answer.status != 200:
                raise Finding(f"{operation} must show the key: {answer}")
            self._compare(operation, key, members, answer.json)

    def _compare(self, operation: str, key: Key, request: Mapping[str, Any], answer: dict[str, Any]) -> None:
        expected, found = held(operation, self.account, key, request), shown(operation, answer)
        if found != expected:
            raise Finding(f"{operation} shows {found!r}, and acknowledged was {expected!r}")
        if operation == "GetKeyRotationStatus" and not is_on_time(
            answer.get("NextRotationDate"), None if expected[1] is None else key.next_rotation
        ):
            raise Finding(f"the next rotation is {answer}, and {key.next_rotation} was asked for")

    # ── ciphertexts ─────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self, blob: Blob) -> None:
        members: dict[str, Any] = {"CiphertextBlob": blob.blob, "EncryptionContext": dict(blob.context)}
        answer = self._ask("Decrypt", members)
        reasons = blob.key.refusals("Decrypt", "kms:Decrypt")
        if reasons and answer.code not in reasons:
            raise Finding(f"Decrypt must be refused with one of {sorted(reasons)}: {answer}")
        if not reasons and (
            answer.status != 200 or answer.json["Plaintext"] != (blob.plaintext or answer.json["Plaintext"])
        ):
            raise Finding(f"a ciphertext does not open: {answer}")

    def _open_everything(self) -> None:
        """Rule 4, after every key was made usable as far as its policy lets the root do that."""
        for key in self.account.keys:
            policy = Policy(self._tally.default_policy)
            put = self._ask("PutKeyPolicy", {"KeyId": key.key_id, "Policy": policy.text})
            if put.status == 200:
                key.policy = policy
                for operation in ("CancelKeyDeletion", "EnableKey"):
                    if not key.refusals(operation):
                        answer = self._ask(operation, {"KeyId": key.key_id})
                        if answer.status != 200:
                            raise Finding(f"{operation} must succeed: {answer}")
                        key.state, key.deletion_date = "Enabled" if operation == "EnableKey" else "Disabled", None
            elif "kms:PutKeyPolicy" not in key.policy.withheld:
                raise Finding(f"PutKeyPolicy must succeed: {put}")
        for blob in self.account.blobs:
            self._open(blob)
        self.look_at_everything()

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _alias_points(self, request: Request, _: dict[str, Any]) -> None:
        assert request.key is not None
        self.account.aliases[request.members["AliasName"]] = request.key

    def _alias_is_gone(self, request: Request, _: dict[str, Any]) -> None:
        if self.account.aliases.pop(request.members["AliasName"], None) is None:
            raise Finding("an alias was deleted that nobody made")

    def _key_changed(self, request: Request, answer: dict[str, Any]) -> None:
        """The changes of one key's record."""
        key, members = request.key, request.members
        assert key is not None
        match request.operation:
            case "EnableKey":
                key.state = "Enabled"
            case "DisableKey":
                key.state = "Disabled"
            case "CancelKeyDeletion":
                key.state, key.deletion_date = "Disabled", None
            case "ScheduleKeyDeletion":
                days = members.get("PendingWindowInDays") or 30
                if not is_on_time(answer["DeletionDate"], time.time() + days * DAY_S):
                    raise Finding(f"{days} days from now is not {answer['DeletionDate']}")
                key.state, key.deletion_date = "PendingDeletion", answer["DeletionDate"]
            case "UpdateKeyDescription":
                key.description = members["Description"]
            case "TagResource":
                key.tags |= {tag["TagKey"]: tag["TagValue"] for tag in members["Tags"]}
            case "UntagResource":
                key.tags = {name: value for name, value in key.tags.items() if name not in members["TagKeys"]}
            case "PutKeyPolicy":
                key.policy = request.policy or Policy(members["Policy"])
            case "DisableKeyRotation":
                key.period_days = key.next_rotation = None
            case "EnableKeyRotation":
                days = members.get("RotationPeriodInDays") or 365
                if days != key.period_days:
                    key.period_days, key.next_rotation = days, time.time() + days * DAY_S

    def _grant_made(self, request: Request, answer: dict[str, Any]) -> None:
        assert request.key is not None
        made, known = Grant(dict(request.members), answer["GrantToken"]), request.key.grants.get(answer["GrantId"])
        if known is not None and (known.shown != made.shown or not made.shown["Name"] or known.token == made.token):
            raise Finding(f"a grant that was made {known} was made again: {made}")
        request.key.grants[answer["GrantId"]] = made

    def _grant_ended(self, request: Request, _: dict[str, Any]) -> None:
        assert request.key is not None
        grant_id = request.members.get("GrantId") or request.grant_id
        if request.key.grants.pop(grant_id, None) is None:
            raise Finding("a grant was ended that nobody made")

    def _key_rotated(self, request: Request, _: dict[str, Any]) -> None:
        """The new material's name is told by whatever encrypts next, or by DescribeKey where the policy lets it."""
        key = request.key
        assert key is not None
        answer = self._ask("ListKeyRotations", {"KeyId": key.key_id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"})
        if answer.status == 200:
            materials = shown("ListKeyRotations", answer.json)
            if materials[:-1] != key.materials:
                raise Finding(f"a rotation made {materials} of {key.materials}")
            key.materials = materials
            return
        if "kms:ListKeyRotations" not in key.policy.withheld:
            raise Finding(f"ListKeyRotations must succeed: {answer}")
        key.policy = Policy(self._tally.default_policy)
        put = self._ask("PutKeyPolicy", {"KeyId": key.key_id, "Policy": key.policy.text})
        if put.status != 200:
            raise Finding(f"PutKeyPolicy must succeed: {put}")
        self._key_rotated(request, {})


_CHANGES: Final[Mapping[str, Callable[[Journey, Request, dict[str, Any]], None]]] = {
    **dict.fromkeys(sorted(name for name in TABLE if TABLE[name].mutates), Journey._key_changed),
    "CreateAlias": Journey._alias_points,
    "CreateGrant": Journey._grant_made,
    "DeleteAlias": Journey._alias_is_gone,
    "RetireGrant": Journey._grant_ended,
    "RevokeGrant": Journey._grant_ended,
    "RotateKeyOnDemand": Journey._key_rotated,
    "UpdateAlias": Journey._alias_points,
}
_SHOWN_BY: Final = {
    **dict.fromkeys(TABLE, "DescribeKey"),
    **dict.fromkeys(("CreateAlias", "DeleteAlias", "UpdateAlias"), "ListAliases"),
    **dict.fromkeys(sorted(_OF_GRANTS), "ListGrants"),
    **dict.fromkeys(("DisableKeyRotation", "EnableKeyRotation"), "GetKeyRotationStatus"),
    **dict.fromkeys(("TagResource", "UntagResource", "CreateKey"), "ListResourceTags"),
    "PutKeyPolicy": "GetKeyPolicy",
    "RotateKeyOnDemand": "ListKeyRotations",
}
_CONTENT_TYPES: Final = (b"application/json", b"text/plain", b"application/x-amz-json-1.0", b"x", JSON_TYPE + b"; a=b")
_ACTS: Final[Sequence[Callable[[Journey], None]]] = (
    *(Journey._ask_valid, Journey._ask_broken, Journey._ask_spoilt, Journey._ask_nothing, Journey._ask_nobody),
    *(Journey._ask_at_once, Journey._change_at_once, Journey._open_one, Journey.look_at_everything),
)
_WEIGHTS: Final = (40, 16, 12, 8, 4, 12, 4, 5, 1)


def _target(operation: str) -> bytes:
    return b"TrentService." + operation.encode()
