"""Requests made from the API model: valid, nearly valid and absurd ones; none may cost an answer of 500 or a worker.

Seeded, so that a failure comes back: the failing request is in the assertion.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from strongroom.kms.operations.table import TABLE
from strongroom.kms.wire.model import Rule, structure_rule
from strongroom.kms.wire.shapes import ERRORS, OPERATIONS
from testkit.installation import Installation
from testkit.raw import RawKms, alias_arn, assert_allowed, b64, key_arn, nothing_breaks

# Four runs of 1,000, so that four test workers share them.
SEEDS = (1, 2, 3, 4)
REQUESTS = 1_000
# Beyond the model's own exceptions: what every JSON service of AWS answers.
COMMON_CODES = {
    "AccessDeniedException",
    "NotAuthorizedException",
    "SerializationException",
    "ValidationException",
    "UnsupportedOperationException",
}
ODD_STRINGS = (
    *("", " ", "x", "\0", "é", "😀", "${*}", "*", "' OR 1=1 --", "%00", "../", "a" * 300, "a" * 3000, "null", "{}"),
    *("\u202e", "\\", '"', "AES_256", "SYMMETRIC_DEFAULT", "default", "alias/", "alias/aws/s3", "arn:aws:kms"),
)
DEFAULT_POLICY = {
    "Statement": {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
}
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 1.5, -0.0, 1e300, "", "x", [], {}, [None], [[]], {"a": None}),
    *({"": ""}, [{}], {"KeyId": "x"}, "eA==", ["x"] * 60),
)


class Maker:
    """Values for the members of a request, from what exists in the installation and from what cannot exist."""

    def __init__(self, seed: int, keys: list[str], aliases: list[str], blobs: list[str]) -> None:
        self.random = random.Random(seed)
        self.keys, self.aliases, self.blobs = keys, aliases, blobs

    def request(self, operation: str) -> Any:
        rule = structure_rule(OPERATIONS[operation].request)
        if self.random.random() < 0.02:
            return self.random.choice(ODD_VALUES)
        return self._structure(rule)

    def _structure(self, rule: Rule) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for member in rule.members:
            if self.random.random() < (0.97 if member.required else 0.3):
                members[member.name] = self._member(member.name, member.rule)
        if self.random.random() < 0.05:
            members[self.random.choice(ODD_STRINGS)] = self.random.choice(ODD_VALUES)
        return members

    def _member(self, name: str, rule: Rule) -> Any:
        dice = self.random.random()
        if dice < 0.04:
            return self.random.choice(ODD_VALUES)
        if dice < 0.75:
            known = self._known(name)
            if known is not None:
                return known
        return self._value(rule)

    def _known(self, name: str) -> Any:
        choice = self.random.choice
        if name.endswith("KeyId") and name != "XksKeyId":
            key = choice(self.keys)
            alias = choice(self.aliases)
            return choice((key, key, key_arn(key), alias, alias_arn(alias)))
        match name:
            case "CiphertextBlob":
                return choice(self.blobs)
            case "Plaintext":
                return b64(self.random.randbytes(choice((1, 2, 16, 4095, 4096))))
            case "AliasName":
                return choice((choice(self.aliases), f"alias/fuzz-{self.random.randrange(10**9)}"))
            case "RetiringPrincipal":
                return "arn:aws:iam::000000000000:root"
            case "BypassPolicyLockoutSafetyCheck":  # Or the first policy that is put would be the last.
                return False
            case "Policy":
                return choice(
                    (json.dumps(DEFAULT_POLICY),) * 3
                    + (None, '{"Version":"2012-10-17","Statement":[]}', json.dumps(self._policy()))
                )
            case "GrantTokens" | "Recipient" | "DryRunModifiers" | "XksKeyId" | "CustomKeyStoreId":
                return None if self.random.random() < 0.9 else choice(ODD_VALUES)
        return None

    def _policy(self) -> dict[str, Any]:
        """Policies of strange parts: a wrong type anywhere must be words, never a crash."""
        part = lambda good: good if self.random.random() < 0.6 else self.random.choice(ODD_VALUES)  # noqa: E731
        statement = {
            "Sid": part("a"),
            "Effect": part("Allow"),
            "Principal": part({"AWS": part("arn:aws:iam::000000000000:root")}),
            "Action": part(["kms:*"]),
            "Resource": part("*"),
        }
        return {"Version": part("2012-10-17"), "Id": part("x"), "Statement": part([part(statement)])}

    def _value(self, rule: Rule) -> Any:
        choice = self.random.choice
        match rule.kind:
            case "string":
                return choice((*rule.choices, choice(ODD_STRINGS))) if rule.choices else choice(ODD_STRINGS)
            case "blob":
                return choice(("", "eA==", b64(self.random.randbytes(self.random.randrange(1, 200))), "no base64", "A"))
            case "integer":
                edges = [rule.minimum, rule.maximum, 0, 1, -1, 10]
                return choice([edge for edge in edges if edge is not None])
            case "boolean":
                return choice((True, False))
            case "timestamp":
                return choice((0, 1.5, 1e12, -1))
            case "list":
                assert rule.element is not None
                return [self._inner(rule.element) for _ in range(choice((0, 1, 2, 11, 51)))]
            case "map":
                return {choice(ODD_STRINGS): self._inner(rule.element) for _ in range(choice((0, 1, 3)))}
            case "structure":
                return self._structure(rule)

    def _inner(self, rule: Rule | None) -> Any:
        assert rule is not None
        return self.random.choice(ODD_VALUES) if self.random.random() < 0.03 else self._value(rule)


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_request_made_from_the_model_breaks_the_service(installation: Installation, raw: RawKms, seed: int) -> None:
    keys = [assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"] for _ in range(3)]
    aliases = [f"alias/fuzz-{key}" for key in keys]
    for alias, key in zip(aliases, keys, strict=True):
        assert_allowed(raw.call("CreateAlias", {"AliasName": alias, "TargetKeyId": key}))
    blobs = [assert_allowed(raw.call("Encrypt", {"KeyId": key, "Plaintext": "eA=="}))["CiphertextBlob"] for key in keys]
    maker = Maker(seed, keys, aliases, [*blobs, b64(b"SRCB\x01" + bytes(100)), b64(bytes(100))])
    outcomes: Counter[tuple[str, str]] = Counter()
    with nothing_breaks(installation):
        for _ in range(REQUESTS):
            operation = maker.random.choice(sorted(TABLE))
            request = maker.request(operation)
            try:
                body = json.dumps(request).encode()
            except UnicodeEncodeError:
                continue
            answer = raw.call(operation, body)
            assert answer.status in {200, 400}, (operation, request, answer)
            modelled = {*OPERATIONS[operation].exceptions, *COMMON_CODES} | ({""} if answer.status == 200 else set())
            assert answer.code in modelled, (operation, request, answer)
            outcomes[operation, answer.code] += 1
            if answer.code in {"DisabledException", "KMSInvalidStateException"}:
                for key in keys:
                    outcomes["CancelKeyDeletion", raw.call("CancelKeyDeletion", {"KeyId": key}).code] += 1
                    raw.call("EnableKey", {"KeyId": key})
    # The fuzzing reaches further than the first check: every operation has succeeded, and been refused.
    succeeded = {operation for operation, code in outcomes if not code}
    assert len(succeeded) >= len(TABLE) - 5, sorted(set(TABLE) - succeeded)
    assert {code for _, code in outcomes} & set(ERRORS) >= {"NotFoundException", "InvalidCiphertextException"}
