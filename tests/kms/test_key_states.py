"""Every operation on a key in every state of it: the outcome and its words are those of the table, 0 differences.

States that a caller can reach are reached by the API, over real HTTP. The others belong to kinds of keys that cannot be made
yet (imported material, custom key stores, several Regions): there the record is changed in the store, with a right MAC,
and the operations run in process through the gate.

The sentences are written out here once more, from their sources: KMS developer guide, "Key states of AWS KMS keys", whose
footnotes they are. `is creating.` and `is updating.` are in that form; the guide gives only the exception.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.kms.faults import Fault
from strongroom.kms.keys.lifecycle import STATE_TABLE, Outcome
from strongroom.kms.operations.table import TABLE
from strongroom.kms.repositories import KeyState
from testkit.installation import Installation
from testkit.raw import RawKms, allow, assert_allowed, key_arn, policy
from testkit.room import ALIAS, BLOB, GRANT, KEY, OTHER_KEY, ROOT, Room

WORDS = {
    (Outcome.DISABLED, KeyState.DISABLED): ("DisabledException", "{arn} is disabled."),
    (Outcome.INVALID_STATE, KeyState.CREATING): ("KMSInvalidStateException", "{arn} is creating."),
    (Outcome.INVALID_STATE, KeyState.PENDING_DELETION): ("KMSInvalidStateException", "{arn} is pending deletion."),
    (Outcome.INVALID_STATE, KeyState.PENDING_REPLICA_DELETION): (
        "KMSInvalidStateException",
        "{arn} is pending replica deletion.",
    ),
    (Outcome.INVALID_STATE, KeyState.PENDING_IMPORT): ("KMSInvalidStateException", "{arn} is pending import."),
    (Outcome.INVALID_STATE, KeyState.UNAVAILABLE): ("KMSInvalidStateException", "{arn} is unavailable."),
    (Outcome.INVALID_STATE, KeyState.UPDATING): ("KMSInvalidStateException", "{arn} is updating."),
    (Outcome.UNSUPPORTED, KeyState.PENDING_IMPORT): (
        "UnsupportedOperationException",
        "{arn} origin is EXTERNAL which is not valid for this operation.",
    ),
    (Outcome.UNSUPPORTED, KeyState.UNAVAILABLE): (
        "UnsupportedOperationException",
        "{arn} origin is AWS_CLOUDHSM which is not valid for this operation.",
    ),
} | {
    (Outcome.NOT_PENDING, state): ("KMSInvalidStateException", "{arn} is not pending deletion.")
    for state in (KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_IMPORT, KeyState.UNAVAILABLE)
}
# Only keys of these origins come into these states.
ORIGINS = {KeyState.PENDING_IMPORT: "EXTERNAL", KeyState.UNAVAILABLE: "AWS_CLOUDHSM"}
REACHED = [KeyState.ENABLED, KeyState.DISABLED, KeyState.PENDING_DELETION]
OPERATIONS = sorted(STATE_TABLE)

# A request per operation whose only obstacle can be the state of the key. {key} is the key, {blob} a ciphertext of it,
# {other} and {other_alias} an enabled key and its alias, {alias} and {grant} the key's own, {new} a name that is free.
TEMPLATES: dict[str, dict[str, Any]] = {
    "CancelKeyDeletion": {"KeyId": "{key}"},
    "CreateAlias": {"AliasName": "{new}", "TargetKeyId": "{key}"},
    "CreateGrant": {"KeyId": "{key}", "GranteePrincipal": ROOT, "Operations": ["DescribeKey"]},
    "Decrypt": {"CiphertextBlob": "{blob}"},
    "DeleteAlias": {"AliasName": "{alias}"},
    "DescribeKey": {"KeyId": "{key}"},
    "DisableKey": {"KeyId": "{key}"},
    "DisableKeyRotation": {"KeyId": "{key}"},
    "EnableKey": {"KeyId": "{key}"},
    "EnableKeyRotation": {"KeyId": "{key}"},
    "Encrypt": {"KeyId": "{key}", "Plaintext": "eA=="},
    "GenerateDataKey": {"KeyId": "{key}", "KeySpec": "AES_256"},
    "GenerateDataKeyWithoutPlaintext": {"KeyId": "{key}", "KeySpec": "AES_256"},
    "GetKeyLastUsage": {"KeyId": "{key}"},
    "GetKeyPolicy": {"KeyId": "{key}"},
    "GetKeyRotationStatus": {"KeyId": "{key}"},
    "ListGrants": {"KeyId": "{key}"},
    "ListKeyPolicies": {"KeyId": "{key}"},
    "ListKeyRotations": {"KeyId": "{key}"},
    "ListResourceTags": {"KeyId": "{key}"},
    "PutKeyPolicy": {"KeyId": "{key}", "Policy": policy(allow("kms:*", Principal={"AWS": ROOT}))},
    "ReEncrypt": {"CiphertextBlob": "{blob}", "DestinationKeyId": "{other}"},
    "RetireGrant": {"KeyId": "{key}", "GrantId": "{grant}"},
    "RevokeGrant": {"KeyId": "{key}", "GrantId": "{grant}"},
    "RotateKeyOnDemand": {"KeyId": "{key}"},
    "ScheduleKeyDeletion": {"KeyId": "{key}"},
    "TagResource": {"KeyId": "{key}", "Tags": [{"TagKey": "a", "TagValue": "b"}]},
    "UntagResource": {"KeyId": "{key}", "TagKeys": ["a"]},
    "UpdateAlias": {"AliasName": "{other_alias}", "TargetKeyId": "{key}"},
    "UpdateKeyDescription": {"KeyId": "{key}", "Description": "other words"},
}
# Other places in which a key can stand, with the states in which it may not.
TO = {"CiphertextBlob": "{other_blob}", "DestinationKeyId": "{key}"}
AWAY = {"AliasName": "{alias}", "TargetKeyId": "{other}"}
DRY = {"KeyId": "{key}", "Plaintext": "eA==", "DryRun": True}


def filled(template: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {
        member: names.get(value.strip("{}"), value) if isinstance(value, str) else value
        for member, value in template.items()
    }


def expected(operation: str, state: KeyState, arn: str) -> tuple[str, str]:
    """Code and message as the table has it; two empty strings for a success."""
    outcome = STATE_TABLE[operation][state]
    if outcome is Outcome.OK:
        return "", ""
    code, words = WORDS[outcome, state]
    return code, words.format(arn=arn)


def test_the_table_knows_every_operation_on_a_key_and_every_state() -> None:
    keyless = {"CreateKey", "GenerateRandom", "ListAliases", "ListKeys", "ListRetirableGrants"}
    assert set(STATE_TABLE) == set(TABLE) - keyless
    assert set(TEMPLATES) == set(STATE_TABLE)
    assert all(set(row) == set(KeyState) for row in STATE_TABLE.values())


# ── over real HTTP ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def make(raw: RawKms) -> dict[str, str]:
    """Two keys with an alias, a ciphertext and a grant each, and a name that is free."""
    names = {"new": f"alias/state-{uuid.uuid4().hex}"}
    for prefix in ("", "other_"):
        key_id = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
        alias = f"alias/state-{key_id}"
        assert_allowed(raw.call("CreateAlias", {"AliasName": alias, "TargetKeyId": key_id}))
        blob = assert_allowed(raw.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))["CiphertextBlob"]
        grant = assert_allowed(raw.call("CreateGrant", {**TEMPLATES["CreateGrant"], "KeyId": key_id}))["GrantId"]
        names |= {prefix + "key": key_id, prefix + "alias": alias, prefix + "blob": blob, prefix + "grant": grant}
    return names | {"other": names["other_key"]}


def bring(raw: RawKms, key_id: str, state: KeyState) -> None:
    if state is KeyState.DISABLED:
        assert_allowed(raw.call("DisableKey", {"KeyId": key_id}))
    elif state is KeyState.PENDING_DELETION:
        assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": key_id}))
    assert assert_allowed(raw.call("DescribeKey", {"KeyId": key_id}))["KeyMetadata"]["KeyState"] == state


@pytest.mark.parametrize("state", REACHED)
def test_a_state_that_a_caller_can_reach_allows_and_refuses_what_the_table_says(raw: RawKms, state: KeyState) -> None:
    differences = {}
    for operation in OPERATIONS:
        names = make(raw)
        bring(raw, names["key"], state)
        answer = raw.call(operation, filled(TEMPLATES[operation], names))
        found = (answer.code, answer.message if answer.code else "")
        wanted = expected(operation, state, key_arn(names["key"]))
        if found != wanted:
            differences[operation] = (found, wanted)
    assert differences == {}


@pytest.mark.parametrize("state", REACHED)
@pytest.mark.parametrize(
    ("operation", "template", "is_refused"),
    [
        ("ReEncrypt", TO, True),
        ("Encrypt", DRY, True),
        # Footnote 10: "If the source KMS key is pending deletion, the command succeeds."
        ("UpdateAlias", AWAY, False),
        ("ListAliases", {"KeyId": "{key}"}, False),
    ],
)
def test_a_key_in_the_other_place_of_an_operation_counts_too(
    raw: RawKms, state: KeyState, operation: str, template: dict[str, Any], *, is_refused: bool
) -> None:
    names = make(raw)
    bring(raw, names["key"], state)
    answer = raw.call(operation, filled(template, names))
    wanted = expected(operation, state, key_arn(names["key"])) if is_refused else ("", "")
    if wanted == ("", "") and "DryRun" in template:
        assert answer.code == "DryRunOperationException"
    else:
        assert (answer.code, answer.message if answer.code else "") == wanted


def test_what_a_state_refuses_changes_nothing(raw: RawKms) -> None:
    names = make(raw)
    bring(raw, names["key"], KeyState.PENDING_DELETION)
    before = [assert_allowed(raw.call(name, {"KeyId": names["key"]})) for name in ("DescribeKey", "ListResourceTags")]
    for operation in OPERATIONS:
        if STATE_TABLE[operation][KeyState.PENDING_DELETION] is not Outcome.OK:
            assert raw.call(operation, filled(TEMPLATES[operation], names)).status == 400
    after = [assert_allowed(raw.call(name, {"KeyId": names["key"]})) for name in ("DescribeKey", "ListResourceTags")]
    assert after == before
    (alias,) = assert_allowed(raw.call("ListAliases", {"KeyId": names["key"]}))["Aliases"]
    assert alias["AliasName"] == names["alias"]


# ── in process ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def in_room(tmp_path: Path) -> Callable[..., Any]:
    def enter(scene: Callable[[Room], Any]) -> Any:
        async def main() -> Any:
            room = Room(tmp_path / f"{uuid.uuid4()}.db")
            try:
                await room.fill()
                return await scene(room)
            finally:
                room.store.close()

        return asyncio.run(main())

    return enter


IN_ROOM = {
    "key": KEY,
    "blob": BLOB,
    "alias": ALIAS,
    "grant": GRANT,
    "other": OTHER_KEY,
    "other_alias": "alias/other",
    "new": "alias/new",
}


@pytest.mark.parametrize("state", KeyState)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_state_allows_and_refuses_what_the_table_says(in_room: Any, state: KeyState, operation: str) -> None:
    wanted = expected(operation, state, key_arn(KEY))

    async def scene(room: Room) -> None:
        await room.serve("CreateAlias", {"AliasName": "alias/other", "TargetKeyId": OTHER_KEY})
        # Where the state is no obstacle, the origin shall be none.
        origin = ORIGINS.get(state, "AWS_KMS") if STATE_TABLE[operation][state] is Outcome.UNSUPPORTED else "AWS_KMS"
        deletion_at_s = 1.0 if state is KeyState.PENDING_DELETION else None
        await room.change(KEY, state=state, origin=origin, deletion_at_s=deletion_at_s)
        before = room.dump()
        _, _, error, _ = await room.serve(operation, filled(TEMPLATES[operation], IN_ROOM))
        found = ("", "")
        if error is not None:
            assert isinstance(error, Fault), error
            found = (error.code, error.message)
            assert not room.link._waiting
            assert room.dump() == before
        assert found == wanted

    in_room(scene)
