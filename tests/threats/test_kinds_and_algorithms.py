"""Classes 10, 11 and 14: a key and a token do what they are for, and nothing is offered that cannot be done safely.

PKCS#11 tokens let a wrapping key decrypt; the S3 encryption client let a reader choose the weaker algorithm (CVE-2020-8911).
Every specification, usage, operation and algorithm of the API's model is tried against the table of what there is: over
HTTP, with records that no operation makes, and at the HSM, where the record agrees with the token.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import itertools
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlencode

import pytest

import strongroom
from strongroom.boundary.messages import (
    CiphertextAnswer,
    Decrypt,
    Encrypt,
    GenerateDataKey,
    GenerateHbk,
    KeyBinding,
    ReEncrypt,
    VerifyHbk,
)
from strongroom.boundary.statuses import Status
from strongroom.kms.operations.table import TABLE
from strongroom.kms.wire import shapes
from strongroom.kms.wire.model import Rule, structure_rule
from strongroom.kms.wire.shapes import OPERATIONS
from testkit.installation import Installation
from testkit.module import ACCOUNT, KEY_ID, REGION, Hsm, operational_hsm
from testkit.raw import RawKms, allow, assert_allowed, b64, call_headers, make_user, nothing_breaks, policy
from testkit.room import BLOB, KEY, OTHER_KEY, Room

SOURCE = Path(strongroom.__path__[0])
FORM = b"application/x-www-form-urlencoded; charset=utf-8"


def words(operation: str, member: str) -> list[str]:
    """What the model lets a member be."""
    (rule,) = [found.rule for found in structure_rule(OPERATIONS[operation].request).members if found.name == member]
    return list((rule.element or rule).choices)


SPECS, USAGES, ORIGINS = (words("CreateKey", member) for member in ("KeySpec", "KeyUsage", "Origin"))
ALGORITHMS = words("Encrypt", "EncryptionAlgorithm")
# The documented table, as far as there are keys: what a key may be, and what it may be used with.
MADE = {("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS")}
USED_WITH = {("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"): {"SYMMETRIC_DEFAULT"}}
# What asks a key for cryptography; the operations of other usages are not there yet.
CRYPTOGRAPHIC = {
    "Decrypt": "ENCRYPT_DECRYPT",
    "Encrypt": "ENCRYPT_DECRYPT",
    "GenerateDataKey": "ENCRYPT_DECRYPT",
    "GenerateDataKeyPair": "ENCRYPT_DECRYPT",
    "GenerateDataKeyPairWithoutPlaintext": "ENCRYPT_DECRYPT",
    "GenerateDataKeyWithoutPlaintext": "ENCRYPT_DECRYPT",
    "ReEncrypt": "ENCRYPT_DECRYPT",
    "DeriveSharedSecret": "KEY_AGREEMENT",
    "GenerateMac": "GENERATE_VERIFY_MAC",
    "GetPublicKey": "any",
    "Sign": "SIGN_VERIFY",
    "Verify": "SIGN_VERIFY",
    "VerifyMac": "GENERATE_VERIFY_MAC",
}
LATER = {"Encapsulate", "Decapsulate"}


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def test_the_model_has_what_the_matrix_is_made_of() -> None:
    assert len(SPECS) > 15
    assert len(USAGES) >= 4
    assert {"SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"} <= set(ALGORITHMS)
    assert set(CRYPTOGRAPHIC) <= set(OPERATIONS) | LATER


# ── over HTTP ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_all_specs_usages_and_origins_only_what_there_is_is_made(installation: Installation, raw: RawKms) -> None:
    made = set()
    with nothing_breaks(installation):
        for spec, usage, origin in itertools.product(SPECS, USAGES, ORIGINS):
            for member in ("KeySpec", "CustomerMasterKeySpec"):
                if member == "CustomerMasterKeySpec" and spec not in words("CreateKey", member):
                    continue
                answer = raw.call("CreateKey", {member: spec, "KeyUsage": usage, "Origin": origin})
                assert answer.status in {200, 400}
                if answer.status == 200:
                    metadata = answer.json["KeyMetadata"]
                    made.add((metadata["KeySpec"], metadata["KeyUsage"], metadata["Origin"]))
                    assert (metadata["KeySpec"], metadata["KeyUsage"], metadata["Origin"]) == (spec, usage, origin)
    assert made == MADE


def test_of_all_algorithms_a_key_takes_its_own(raw: RawKms, key_id: str) -> None:
    taken = USED_WITH["SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"]
    blob = assert_allowed(raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))["CiphertextBlob"]
    requests: dict[str, tuple[dict[str, Any], list[str]]] = {
        "Encrypt": ({"KeyId": key_id, "Plaintext": "eA=="}, ["EncryptionAlgorithm"]),
        "Decrypt": ({"KeyId": key_id, "CiphertextBlob": blob}, ["EncryptionAlgorithm"]),
        "ReEncrypt": (
            {"CiphertextBlob": blob, "SourceKeyId": key_id, "DestinationKeyId": key_id},
            ["SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm"],
        ),
    }
    for operation, (request, members) in requests.items():
        for chosen in itertools.product([None, *ALGORITHMS], repeat=len(members)):
            given = {member: algorithm for member, algorithm in zip(members, chosen, strict=True) if algorithm}
            for dry_run in (False, True):
                answer = raw.call(operation, {**request, **given, "DryRun": dry_run})
                if set(given.values()) <= taken:
                    assert (answer.code or "DryRunOperationException") == "DryRunOperationException", answer
                else:
                    assert answer.code == "InvalidKeyUsageException", (operation, given, answer)


def test_what_asks_for_another_usage_is_refused_by_every_key(raw: RawKms, key_id: str) -> None:
    tried = 0
    for operation, usage in CRYPTOGRAPHIC.items():
        if operation in OPERATIONS and operation not in TABLE:
            answer = raw.call(operation, {"KeyId": key_id})
            assert answer.code == "UnsupportedOperationException", (operation, usage)
            tried += 1
    assert tried + len(set(CRYPTOGRAPHIC) & set(TABLE)) == len(set(CRYPTOGRAPHIC) & set(OPERATIONS))


# ── records that no operation makes ─────────────────────────────────────────────────────────────────────────────────────

OF_KEYS: dict[str, dict[str, Any]] = {
    "Encrypt": {"KeyId": KEY, "Plaintext": "eA=="},
    "Decrypt": {"KeyId": KEY, "CiphertextBlob": BLOB},
    "GenerateDataKey": {"KeyId": KEY, "KeySpec": "AES_256"},
    "GenerateDataKeyWithoutPlaintext": {"KeyId": KEY, "KeySpec": "AES_256"},
    "ReEncrypt": {"CiphertextBlob": BLOB, "DestinationKeyId": OTHER_KEY},
}


def test_no_record_of_another_usage_brings_the_hsm_a_command(tmp_path: Path) -> None:
    """As if keys of every usage existed already: the service refuses before the HSM is asked."""
    assert set(OF_KEYS) == set(CRYPTOGRAPHIC) & set(TABLE)

    async def run() -> None:
        room = Room(tmp_path / "store.db")
        await room.fill()
        for usage in USAGES:
            await room.change(KEY, usage=usage)
            for operation, request in OF_KEYS.items():
                _, _, error, waits = await room.serve(operation, request)
                if usage == "ENCRYPT_DECRYPT":
                    assert (error, waits) == (None, True), operation
                    room.link._waiting.clear()
                else:
                    assert type(error).__name__ == "InvalidKeyUsageException", (operation, usage, error)
        room.store.close()

    asyncio.run(run())


# ── at the HSM ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def hsm() -> Hsm:
    return operational_hsm()


def test_the_hsm_makes_only_what_there_is_whatever_the_service_asks_for(hsm: Hsm) -> None:
    peer = hsm.open_peer()
    made = {
        (spec, usage)
        for spec, usage in itertools.product([*SPECS, "", "AES_256", "symmetric_default"], [*USAGES, "", "WRAP_UNWRAP"])
        if peer.status_of(GenerateHbk(1, KEY_ID, ACCOUNT, REGION, spec, usage)) is Status.SUCCESS
    }
    assert made == {(spec, usage) for spec, usage, _ in MADE}


def test_the_hsm_uses_a_key_for_what_its_token_says_and_nothing_else(hsm: Hsm) -> None:
    """The record agrees with the token in each case: a service that was taken over, or made a mistake, gains nothing."""
    peer = hsm.open_peer()
    right = hsm.import_key(bytes(32))
    (made,) = peer.ask(Encrypt(1, 0, b"text", {}), keys=(right,))
    assert isinstance(made, CiphertextAnswer)
    accepted: dict[tuple[str, str], set[str]] = {}
    for spec, usage in itertools.product(SPECS, USAGES):
        key = hsm.import_key(bytes(range(32)), spec=spec, usage=usage)
        for name, command in uses(made.blob).items():
            status = peer.status_of(command, key, right)
            assert status in {Status.SUCCESS, Status.WRONG_USAGE, Status.INVALID_CIPHERTEXT}, (spec, usage, name)
            # Of the right kind, a command that brings another key's blob fails for that reason only.
            if status is not Status.WRONG_USAGE:
                accepted.setdefault((spec, usage), set()).add(name)
    assert accepted == {("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"): set(uses(b""))}


def uses(blob: bytes) -> dict[str, Any]:
    """Every command that uses key 0 for customers' data; key 1 is a good one."""
    return {
        "Encrypt": Encrypt(1, 0, b"x", {}),
        "Decrypt": Decrypt(1, 0, blob, {}),
        "GenerateDataKey": GenerateDataKey(1, 0, 32, {}, True),
        "ReEncrypt from": ReEncrypt(1, 0, 1, blob, {}, {}),
        "ReEncrypt to": ReEncrypt(1, 1, 0, blob, {}, {}),
    }


def test_every_command_on_a_key_is_in_the_matrix() -> None:
    """A command that is added must be added to the matrix too; VerifyHbk looks at a token and tells nothing of it."""
    on_keys = {
        kind
        for kind in get_args(__import__("strongroom.boundary.messages", fromlist=["Command"]).Command)
        if {"key", "source_key", "destination_key"} & set(kind.__struct_fields__)
    }
    assert on_keys == {type(command) for command in uses(b"").values()} | {VerifyHbk}
    assert "usage" in KeyBinding.__struct_fields__


# ── class 11: what callers hold ─────────────────────────────────────────────────────────────────────────────────────────


def as_bytes(token: str) -> bytes:
    """A token's own bytes where it is base64 of one kind or another."""
    return base64.b64decode(token.translate(str.maketrans("-_", "+/")) + "==", validate=False)


def test_of_what_callers_hold_each_opens_at_its_own_place_only(installation: Installation, raw: RawKms) -> None:
    """Ciphertexts, grant tokens, session tokens and markers: five things that the service gave out, five that it takes."""
    key_id = str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])
    assert_allowed(raw.call("CreateKey"))
    user = make_user(installation, f"holder-{uuid.uuid4().hex[:8]}", policy(allow("kms:*")))
    granted = {"KeyId": key_id, "GranteePrincipal": user.arn, "Operations": ["Encrypt"]}
    grant = assert_allowed(raw.call("CreateGrant", granted))
    form = urlencode({"Action": "GetSessionToken", "Version": "2011-06-15"}).encode()
    answer = user.kms.send(
        form, [(b"Content-Type", FORM)], service="sts", access_key_id=user.access_key_id, secret=user.secret
    ).body.decode()
    session = {
        name: found[1]
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
        if (found := re.search(f"<{name}>([^<]+)</{name}>", answer))
    }
    assert len(session) == 3, answer
    held = {
        "ciphertext": assert_allowed(raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))["CiphertextBlob"],
        "grant token": grant["GrantToken"],
        "grant id": grant["GrantId"],
        "session token": session["SessionToken"],
        "marker": assert_allowed(raw.call("ListKeys", {"Limit": 1}))["NextMarker"],
    }

    def decrypts(text: str) -> bool:
        tried = [raw.call("Decrypt", {"CiphertextBlob": form}).status for form in (text, b64(text.encode()))]
        return 200 in [*tried, raw.call("Decrypt", {"CiphertextBlob": b64(as_bytes(text))}).status]

    def is_a_grant_token(text: str) -> bool:
        return raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA==", "GrantTokens": [text]}).status == 200

    def is_a_grant_id(text: str) -> bool:
        return (
            raw.call("RevokeGrant", {"KeyId": key_id, "GrantId": text, "DryRun": True}).code
            == "DryRunOperationException"
        )

    def is_a_session(text: str) -> bool:
        headers = [*call_headers("ListKeys"), (b"X-Amz-Security-Token", text.encode())]
        credentials = {"access_key_id": session["AccessKeyId"], "secret": session["SecretAccessKey"]}
        return raw.send(b"{}", headers, **credentials).status == 200

    def is_a_marker(text: str) -> bool:
        return raw.call("ListKeys", {"Marker": text}).status == 200

    takes = {
        "ciphertext": decrypts,
        "grant token": is_a_grant_token,
        "grant id": is_a_grant_id,
        "session token": is_a_session,
        "marker": is_a_marker,
    }
    with nothing_breaks(installation):
        accepted = {(kind, place) for place, takes_it in takes.items() for kind, text in held.items() if takes_it(text)}
    assert accepted == {(kind, kind) for kind in held}


# ── class 14 ────────────────────────────────────────────────────────────────────────────────────────────────────────────

PADDING = "PKCS1_V1_5"


def members_that_offer(rule: Rule, word: str, place: str) -> Iterator[str]:
    if rule.kind == "structure":
        for member in rule.members:
            yield from members_that_offer(member.rule, word, f"{place}.{member.name}")
    for part in (rule.element, rule.key):
        if part is not None:
            yield from members_that_offer(part, word, place)
    if any(word in choice and choice.startswith("RSAES") for choice in rule.choices):
        yield place


def test_pkcs1_v1_5_encryption_is_offered_nowhere(raw: RawKms, key_id: str) -> None:
    """The model knows the word in two places that concern imports; both refuse it, and nothing is ever padded that way."""
    offered = {
        place
        for name, operation in OPERATIONS.items()
        for place in members_that_offer(structure_rule(operation.request), PADDING, name)
    }
    assert offered == {"GetParametersForImport.WrappingAlgorithm"}
    request = {"KeyId": key_id, "WrappingAlgorithm": f"RSAES_{PADDING}", "WrappingKeySpec": "RSA_2048"}
    assert raw.call("GetParametersForImport", request).status == 400
    for member in ("EncryptionAlgorithm", "SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm"):
        for operation in ("Encrypt", "Decrypt", "ReEncrypt"):
            sent = {"KeyId": key_id, "Plaintext": "eA==", "CiphertextBlob": BLOB, "DestinationKeyId": key_id}
            answer = raw.call(operation, {**sent, member: f"RSAES_{PADDING}"})
            known = member in {found.name for found in structure_rule(OPERATIONS[operation].request).members}
            assert answer.status == 400 if known else answer.code != "ValidationException", (operation, member)
    assert Path(shapes.__file__).read_text(encoding="utf-8").count(f"RSAES_{PADDING}") <= 4


def test_no_line_of_the_product_names_that_padding() -> None:
    """Signatures with PKCS #1 v1.5 are another thing; there are none yet either."""
    found = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if getattr(node, "attr", getattr(node, "id", getattr(node, "name", ""))) in {"PKCS1v15", "PKCS1"}
    ]
    assert found == []
