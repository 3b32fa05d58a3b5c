"""Permits are single-use and bound; no operation reaches the HSM or the store without redeeming one; no decision outlives
the record that it was made from.

In process: the real gate, directory, operations and SQLite store; an HSM link that is not connected, whose queue shows what
would have been sent. The last part runs over real HTTP.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from strongroom.boundary.secret import AccessKeySecret
from strongroom.kms.audit.events import Origin
from strongroom.kms.calls import Call
from strongroom.kms.driver import run
from strongroom.kms.faults import AccessDeniedException, DryRunOperationException, Fault
from strongroom.kms.gate import Demand, Gate, OnKey
from strongroom.kms.hsm_link.link import KeyHandle
from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Decision, Documents, Verdict
from strongroom.kms.iam.principals import root_principal, user_principal
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.kms.operations.key_policies import default_policy
from strongroom.kms.operations.table import TABLE
from strongroom.kms.permits import KEYLESS, Permit, PermitError
from strongroom.kms.repositories import GrantRecord
from strongroom.kms.storage.sqlite import SqliteStore
from testkit.installation import ACCOUNT, Installation
from testkit.raw import RawKms, allow, assert_allowed, assert_refused, key_arn, make_user, policy, put_policy
from testkit.room import ALIAS, BLOB, GRANT, KEY, OTHER_KEY, PENDING_KEY, ROOT, Room

# For every operation requests that would succeed; those with tags or a dry run take ways of their own.
GRANTED = {"KeyId": KEY, "GranteePrincipal": ROOT, "Operations": ["DescribeKey"]}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("CancelKeyDeletion", {"KeyId": PENDING_KEY}),
    ("CreateAlias", {"AliasName": "alias/two", "TargetKeyId": KEY}),
    ("CreateKey", {}),
    ("CreateKey", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
    ("CreateGrant", GRANTED),
    ("CreateGrant", {**GRANTED, "Name": "once"}),
    ("CreateGrant", {**GRANTED, "DryRun": True}),
    ("Decrypt", {"CiphertextBlob": BLOB}),
    ("Decrypt", {"CiphertextBlob": BLOB, "DryRun": True}),
    ("Decrypt", {"KeyId": KEY, "DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}),
    ("DeleteAlias", {"AliasName": ALIAS}),
    ("DescribeKey", {"KeyId": ALIAS}),
    ("DisableKey", {"KeyId": KEY}),
    ("DisableKeyRotation", {"KeyId": KEY}),
    ("EnableKey", {"KeyId": KEY}),
    ("EnableKeyRotation", {"KeyId": KEY}),
    ("Encrypt", {"KeyId": KEY, "Plaintext": "eA=="}),
    ("Encrypt", {"KeyId": KEY, "Plaintext": "eA==", "DryRun": True}),
    ("GenerateDataKey", {"KeyId": KEY, "KeySpec": "AES_256"}),
    ("GenerateDataKey", {"KeyId": KEY, "KeySpec": "AES_256", "DryRun": True}),
    ("GenerateDataKeyWithoutPlaintext", {"KeyId": KEY, "KeySpec": "AES_256"}),
    ("GenerateDataKeyWithoutPlaintext", {"KeyId": KEY, "KeySpec": "AES_256", "DryRun": True}),
    ("GenerateRandom", {"NumberOfBytes": 8}),
    ("GetKeyPolicy", {"KeyId": KEY}),
    ("GetKeyLastUsage", {"KeyId": KEY}),
    ("GetKeyRotationStatus", {"KeyId": KEY}),
    ("ListAliases", {}),
    ("ListAliases", {"KeyId": KEY}),
    ("ListGrants", {"KeyId": KEY}),
    ("ListKeyPolicies", {"KeyId": KEY}),
    ("ListKeyRotations", {"KeyId": KEY}),
    ("ListKeys", {}),
    ("ListResourceTags", {"KeyId": KEY}),
    ("ListRetirableGrants", {"RetiringPrincipal": ROOT}),
    ("PutKeyPolicy", {"KeyId": KEY, "Policy": default_policy(ACCOUNT)}),
    ("PutKeyPolicy", {"KeyId": KEY, "Policy": default_policy(ACCOUNT) + " "}),
    ("ReEncrypt", {"CiphertextBlob": BLOB, "DestinationKeyId": OTHER_KEY}),
    ("ReEncrypt", {"CiphertextBlob": BLOB, "DestinationKeyId": KEY}),
    ("ReEncrypt", {"CiphertextBlob": BLOB, "DestinationKeyId": OTHER_KEY, "DryRun": True}),
    ("RetireGrant", {"KeyId": KEY, "GrantId": GRANT}),
    ("RetireGrant", {"KeyId": KEY, "GrantId": GRANT, "DryRun": True}),
    ("RevokeGrant", {"KeyId": KEY, "GrantId": GRANT}),
    ("RevokeGrant", {"KeyId": KEY, "GrantId": GRANT, "DryRun": True}),
    ("RotateKeyOnDemand", {"KeyId": KEY}),
    ("ScheduleKeyDeletion", {"KeyId": KEY}),
    ("TagResource", {"KeyId": KEY, "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
    ("UntagResource", {"KeyId": KEY, "TagKeys": ["a"]}),
    ("UpdateAlias", {"AliasName": ALIAS, "TargetKeyId": OTHER_KEY}),
    ("UpdateAlias", {"AliasName": ALIAS, "TargetKeyId": KEY}),
    ("UpdateKeyDescription", {"KeyId": KEY, "Description": "other words"}),
]
IDS = [f"{name}-{number}" for number, (name, _) in enumerate(REQUESTS)]

T = TypeVar("T")


class RedeemedGate(Gate):
    """Hands out permits that were used up."""

    async def admit(self, call: Call, demands: Sequence[Demand], *, mutates: bool) -> None:
        await super().admit(call, demands, mutates=mutates)
        for admission in call.admissions:
            admission.permit.redeem(admission.permit.subject)


class StrayGate(Gate):
    """Hands out permits for something else."""

    async def admit(self, call: Call, demands: Sequence[Demand], *, mutates: bool) -> None:
        await super().admit(call, demands, mutates=mutates)
        for admission in call.admissions:
            cast("Any", admission.permit).subject = str(uuid.UUID(int=99))


@pytest.fixture
def in_room(tmp_path: Path) -> Callable[..., Any]:
    def enter(scene: Callable[[Room], Awaitable[T]], gate: type[Gate] = Gate) -> T:
        async def main() -> T:
            room = Room(tmp_path / "store.db", gate)
            try:
                await room.fill()
                return await scene(room)
            finally:
                room.store.close()

        return asyncio.run(main())

    return enter


# ── a permit ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_permit_serves_once() -> None:
    permit = Permit("request", "kms:Encrypt", KEY, 1)
    permit.redeem(KEY)
    with pytest.raises(PermitError):
        permit.redeem(KEY)


@pytest.mark.parametrize("subject", [OTHER_KEY, KEYLESS, "", KEY.upper(), ALIAS])
def test_a_permit_serves_what_it_was_given_for(subject: str) -> None:
    permit = Permit("request", "kms:Encrypt", KEY, 1)
    with pytest.raises(PermitError):
        permit.redeem(subject)
    permit.redeem(KEY)


def test_a_permit_error_is_a_programmers_error() -> None:
    """Nothing that catches faults may swallow it."""
    assert issubclass(PermitError, AssertionError)
    assert not issubclass(PermitError, Fault)


def test_the_link_wants_a_permit_for_every_key(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        entry = await run(room.directory.key(KEY))
        other = await run(room.directory.key(OTHER_KEY))
        assert entry is not None
        assert other is not None
        handles: list[KeyHandle] = [entry.current.handle, other.current.handle]

        def permits(*keys: str) -> list[Permit]:
            return [Permit("request", "kms:Encrypt", key, 1) for key in keys]

        twice = permits(KEY)[0]
        for given, wanted in (
            ([], handles[:1]),
            (permits(OTHER_KEY), handles[:1]),
            (permits(KEY), handles),
            (permits(OTHER_KEY, KEY), handles),
            ([twice, twice], [handles[0], handles[0]]),
            ([], []),
            (permits(KEY), []),
            (permits(KEY, OTHER_KEY), []),
        ):
            with pytest.raises((PermitError, ValueError)):
                room.link.call(given, wanted, cast("Any", None), cast("Any", None))
        assert not room.link._waiting

    in_room(scene)


# ── every operation ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_requests_cover_the_table() -> None:
    assert {name for name, _ in REQUESTS} == set(TABLE)


@pytest.mark.parametrize(("name", "request_"), REQUESTS, ids=IDS)
@pytest.mark.parametrize("gate", [RedeemedGate, StrayGate])
def test_no_operation_reaches_anything_with_a_permit_that_is_none(
    in_room: Any, gate: type[Gate], name: str, request_: dict[str, Any]
) -> None:
    async def scene(room: Room) -> None:
        before = room.dump()
        _, result, error, waits = await room.serve(name, request_)
        assert isinstance(error, PermitError), (result, error)
        assert not waits
        assert not room.link._waiting
        assert room.dump() == before

    in_room(scene, gate)


@pytest.mark.parametrize(("name", "request_"), REQUESTS, ids=IDS)
def test_every_operation_redeems_every_permit_it_was_given(in_room: Any, name: str, request_: dict[str, Any]) -> None:
    """So that none is left over for a second act; a dry run redeems them for nothing."""

    async def scene(room: Room) -> None:
        before = room.dump()
        call, _, error, waits = await room.serve(name, request_)
        assert error is None or isinstance(error, DryRunOperationException), error
        assert bool(request_.get("DryRun")) == (error is not None)
        assert call.admissions
        for admission in call.admissions:
            with pytest.raises(PermitError):
                admission.permit.redeem(admission.permit.subject)
        assert len(room.link._waiting) == int(waits)
        assert room.intents == ([name] if TABLE[name].mutates else [])
        if not TABLE[name].mutates:
            assert room.dump() == before

    in_room(scene)


def test_a_mutation_is_not_begun_when_its_intent_cannot_be_recorded(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        async def refuse(_: Call) -> None:
            raise OSError("the trail is full")

        room.gate._record_intent = refuse
        before = room.dump()
        for name, request in REQUESTS:
            if TABLE[name].mutates:
                _, _, error, _ = await room.serve(name, request)
                assert isinstance(error, OSError)
        assert not room.link._waiting
        assert room.dump() == before

    in_room(scene)


def test_re_encrypt_holds_two_permits_even_for_one_key(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        call, _, _, _ = await room.serve("ReEncrypt", {"CiphertextBlob": BLOB, "DestinationKeyId": KEY})
        first, second = call.admissions
        assert first.permit is not second.permit
        assert [first.permit.action, second.permit.action] == ["kms:ReEncryptFrom", "kms:ReEncryptTo"]

    in_room(scene)


def test_a_permit_names_its_request_action_key_and_version(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        call, _, _, _ = await room.serve("Encrypt", {"KeyId": ALIAS, "Plaintext": "eA=="})
        (admission,) = call.admissions
        permit = admission.permit
        assert (permit.request_id, permit.action, permit.subject) == ("request", "kms:Encrypt", KEY)
        assert permit.record_version == 1

    in_room(scene)


# ── decisions never outlive a change, over real HTTP ────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


def name() -> str:
    return f"gate-{uuid.uuid4().hex[:10]}"


def test_a_changed_user_policy_counts_from_the_next_request_on(installation: Installation, raw: RawKms) -> None:
    key = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    user = make_user(installation, name(), policy(allow("kms:Encrypt")))
    request = {"KeyId": key["KeyId"], "Plaintext": "eA=="}
    for _ in range(5):
        assert_allowed(user.kms.call("Encrypt", request))
        put_policy(installation, user.name, policy(allow("kms:Decrypt")))
        assert_refused(user.kms.call("Encrypt", request), "AccessDeniedException")
        put_policy(installation, user.name, policy(allow("kms:Encrypt")))


def test_a_re_pointed_alias_counts_from_the_next_request_on(raw: RawKms) -> None:
    first, second = (assert_allowed(raw.call("CreateKey"))["KeyMetadata"] for _ in range(2))
    alias = f"alias/{name()}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": alias, "TargetKeyId": first["KeyId"]}))
    request = {"KeyId": alias, "Plaintext": "eA=="}
    for key in (second, first, second):
        assert_allowed(raw.call("Encrypt", request))
        assert_allowed(raw.call("UpdateAlias", {"AliasName": alias, "TargetKeyId": key["KeyId"]}))
        assert assert_allowed(raw.call("Encrypt", request))["KeyId"] == key["Arn"]
    assert_allowed(raw.call("DeleteAlias", {"AliasName": alias}))
    assert_refused(raw.call("Encrypt", request), "NotFoundException")


def test_a_re_pointed_alias_does_not_carry_the_permission_over(installation: Installation, raw: RawKms) -> None:
    first, second = (assert_allowed(raw.call("CreateKey"))["KeyMetadata"] for _ in range(2))
    alias = f"alias/{name()}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": alias, "TargetKeyId": first["KeyId"]}))
    user = make_user(installation, name(), policy(allow("kms:Encrypt", resource=first["Arn"])))
    assert_allowed(user.kms.call("Encrypt", {"KeyId": alias, "Plaintext": "eA=="}))
    assert_allowed(raw.call("UpdateAlias", {"AliasName": alias, "TargetKeyId": second["KeyId"]}))
    assert_refused(user.kms.call("Encrypt", {"KeyId": alias, "Plaintext": "eA=="}), "AccessDeniedException")


def test_what_an_identity_policy_allows_for_one_key_it_does_not_allow_for_the_next(
    installation: Installation, raw: RawKms
) -> None:
    first, second = (assert_allowed(raw.call("CreateKey"))["KeyMetadata"] for _ in range(2))
    user = make_user(installation, name(), policy(allow("kms:Encrypt", resource=first["Arn"])))
    for _ in range(3):
        assert_allowed(user.kms.call("Encrypt", {"KeyId": first["KeyId"], "Plaintext": "eA=="}))
        assert_refused(
            user.kms.call("Encrypt", {"KeyId": second["KeyId"], "Plaintext": "eA=="}), "AccessDeniedException"
        )


def test_two_keys_with_the_same_policy_are_told_apart_where_it_names_one_of_them(raw: RawKms) -> None:
    first, second = (assert_allowed(raw.call("CreateKey"))["KeyMetadata"] for _ in range(2))
    root = {"AWS": ROOT}
    text = policy(
        allow("kms:PutKeyPolicy", Principal=root), allow("kms:Encrypt", resource=first["Arn"], Principal=root)
    )
    for key in (first, second):
        assert_allowed(raw.call("PutKeyPolicy", {"KeyId": key["KeyId"], "Policy": text}))
    for _ in range(3):
        assert_allowed(raw.call("Encrypt", {"KeyId": first["KeyId"], "Plaintext": "eA=="}))
        assert_refused(raw.call("Encrypt", {"KeyId": second["KeyId"], "Plaintext": "eA=="}), "AccessDeniedException")


def test_decisions_that_hold_for_all_keys_are_made_once_and_the_others_per_key(in_room: Any) -> None:
    async def scene(room: Room) -> None:
        for key_id in (KEY, OTHER_KEY):
            await room.serve("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
        assert len(room.caller.decisions) == 1
        one, other = [await room.directory.key(key_id) for key_id in (KEY, OTHER_KEY)]
        assert one is not None
        assert other is not None
        assert one.policy is other.policy
        reader = PrincipalEntry(
            user_principal(ACCOUNT, "u", "AIDA", "AKIA"),
            Documents((parse_policy(policy(allow("kms:Encrypt", resource=one.arn)), PolicyKind.IDENTITY),)),
            AccessKeySecret(b"x"),
        )
        one.remember(reader, "kms:Encrypt", Decision(True, "", Verdict.ALLOWED, None))
        assert one.decision(reader, "kms:Encrypt") is not None
        assert other.decision(reader, "kms:Encrypt") is None
        assert not reader.decisions

    in_room(scene)


def test_what_a_reason_alone_asks_for_is_not_looked_up_again_for_a_reason_that_is_kept(
    in_room: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    of_store = SqliteStore.grants_to_predecessors

    async def noted(store: SqliteStore, key_id: str, arn: str, grantee: str, limit: int) -> list[GrantRecord]:
        looked_up.append(arn)
        return await of_store(store, key_id, arn, grantee, limit)

    monkeypatch.setattr(SqliteStore, "grants_to_predecessors", noted)

    async def scene(room: Room) -> None:
        user = user_principal(ACCOUNT, "u", f"AIDA{'A' * 16}", "AKIA")
        refused = PrincipalEntry(user, Documents(), AccessKeySecret(b"x"))
        for _ in range(5):
            call = Call("request", "Encrypt", refused, Origin("192.0.2.1", "a client"))
            with pytest.raises(AccessDeniedException):
                await room.gate.admit(call, [OnKey("kms:Encrypt", KEY)], mutates=False)
            assert call.reason is not None
        assert looked_up == [user.arn]

    in_room(scene)


@pytest.mark.parametrize("reference", ["KeyId", "Arn"])
def test_a_changed_state_counts_from_the_next_request_on(raw: RawKms, reference: str) -> None:
    key = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    request = {"KeyId": key[reference], "Plaintext": "eA=="}
    for _ in range(5):
        assert_allowed(raw.call("Encrypt", request))
        assert_allowed(raw.call("DisableKey", {"KeyId": key["KeyId"]}))
        assert_refused(raw.call("Encrypt", request), "DisabledException")
        assert_allowed(raw.call("EnableKey", {"KeyId": key["KeyId"]}))


def test_an_absence_is_not_remembered(raw: RawKms) -> None:
    key = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]
    alias = f"alias/{name()}"
    assert_refused(raw.call("DescribeKey", {"KeyId": alias}), "NotFoundException")
    assert_allowed(raw.call("CreateAlias", {"AliasName": alias, "TargetKeyId": key["KeyId"]}))
    assert_allowed(raw.call("DescribeKey", {"KeyId": alias}))


def test_what_is_closed_across_accounts_stays_closed_for_a_reference_that_is_known(tmp_path: Path) -> None:
    """Known under an action that is open, by a caller whom the key's policy lets do everything."""

    async def scene() -> None:
        room = Room(tmp_path / "store.db")
        await room.fill()
        await room.change(OTHER_KEY, key_policy=policy(allow("kms:*", Principal={"AWS": "444455556666"})))
        stranger = PrincipalEntry(root_principal("444455556666", "AKIA"), Documents(), AccessKeySecret(b"secret"))
        arn = key_arn(OTHER_KEY)

        async def admit(action: str) -> int:
            call = Call("request", action, stranger, Origin("192.0.2.1", "a client"))
            await room.gate.admit(call, [OnKey(action, arn)], mutates=False)
            return len(call.admissions)

        assert await run(admit("kms:Encrypt")) == 1
        assert room.directory.known_reference("444455556666", arn) is not None
        for action in ("kms:DisableKey", "kms:ListResourceTags"):
            with pytest.raises(AccessDeniedException, match="does not exist in this Region"):
                await run(admit(action))
        room.store.close()

    asyncio.run(scene())
