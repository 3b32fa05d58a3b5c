"""Another account's handles: every operation with every kind of handle of account A, used by an administrator of account B.

Without a permission nothing succeeds, nothing changes, and the refusal is the one for what does not exist, word for word:
nobody learns which keys, aliases or ciphertexts another account has. With a permission in the key's policy exactly those
operations work that AWS opens across accounts (KMS developer guide, "AWS KMS permissions", column "Cross-account use").
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from strongroom.kms.operations.table import TABLE
from testkit.accounts import make_account, make_user
from testkit.installation import ACCOUNT, REGION, Installation
from testkit.raw import Answer, RawKms, allow, assert_allowed, policy

A_ROOT = f"arn:aws:iam::{ACCOUNT}:root"
KEYLESS = {"CreateKey", "GenerateRandom", "ListKeys", "ListAliases"}

# A request per operation and place in which a handle can stand. {ref}: a reference to the key; {own}: a key of the caller;
# {blob}, {alias}, {grant}, {token}: of A; {new}: an alias name that is free in B.
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("CancelKeyDeletion", {"KeyId": "{ref}"}),
    ("CreateAlias", {"AliasName": "{new}", "TargetKeyId": "{ref}"}),
    ("CreateGrant", {"KeyId": "{ref}", "GranteePrincipal": "{caller}", "Operations": ["Decrypt"]}),
    ("Decrypt", {"CiphertextBlob": "{blob}"}),
    ("Decrypt", {"CiphertextBlob": "{blob}", "KeyId": "{ref}"}),
    ("DeleteAlias", {"AliasName": "{alias}"}),
    ("DescribeKey", {"KeyId": "{ref}"}),
    ("DescribeKey", {"KeyId": "{ref}", "GrantTokens": ["{token}"]}),
    ("DisableKey", {"KeyId": "{ref}"}),
    ("DisableKeyRotation", {"KeyId": "{ref}"}),
    ("EnableKey", {"KeyId": "{ref}"}),
    ("EnableKeyRotation", {"KeyId": "{ref}"}),
    ("Encrypt", {"KeyId": "{ref}", "Plaintext": "eA=="}),
    ("Encrypt", {"KeyId": "{ref}", "Plaintext": "eA==", "GrantTokens": ["{token}"]}),
    ("GenerateDataKey", {"KeyId": "{ref}", "KeySpec": "AES_256"}),
    ("GenerateDataKeyWithoutPlaintext", {"KeyId": "{ref}", "KeySpec": "AES_256"}),
    ("GetKeyLastUsage", {"KeyId": "{ref}"}),
    ("GetKeyPolicy", {"KeyId": "{ref}"}),
    ("GetKeyRotationStatus", {"KeyId": "{ref}"}),
    ("ListAliases", {"KeyId": "{ref}"}),
    ("ListGrants", {"KeyId": "{ref}"}),
    ("ListGrants", {"KeyId": "{ref}", "GrantId": "{grant}"}),
    ("ListKeyPolicies", {"KeyId": "{ref}"}),
    ("ListKeyRotations", {"KeyId": "{ref}"}),
    ("ListResourceTags", {"KeyId": "{ref}"}),
    ("PutKeyPolicy", {"KeyId": "{ref}", "Policy": policy(allow("kms:*", Principal={"AWS": "*"}))}),
    ("ReEncrypt", {"CiphertextBlob": "{blob}", "DestinationKeyId": "{own}"}),
    ("ReEncrypt", {"CiphertextBlob": "{blob}", "SourceKeyId": "{ref}", "DestinationKeyId": "{own}"}),
    ("ReEncrypt", {"CiphertextBlob": "{own_blob}", "DestinationKeyId": "{ref}"}),
    ("RetireGrant", {"KeyId": "{ref}", "GrantId": "{grant}"}),
    ("RetireGrant", {"GrantToken": "{token}"}),
    ("RevokeGrant", {"KeyId": "{ref}", "GrantId": "{grant}"}),
    ("RotateKeyOnDemand", {"KeyId": "{ref}"}),
    ("ScheduleKeyDeletion", {"KeyId": "{ref}"}),
    ("TagResource", {"KeyId": "{ref}", "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
    ("UntagResource", {"KeyId": "{ref}", "TagKeys": ["team"]}),
    ("UpdateAlias", {"AliasName": "{alias}", "TargetKeyId": "{own}"}),
    ("UpdateAlias", {"AliasName": "{own_alias}", "TargetKeyId": "{ref}"}),
    ("UpdateKeyDescription", {"KeyId": "{ref}", "Description": "mine now"}),
]
HANDLES = ("id", "arn", "alias", "alias_arn")
OPEN = {
    *("CreateGrant", "ListGrants", "RevokeGrant", "RetireGrant", "DescribeKey", "GetKeyRotationStatus"),
    *("Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
}


@dataclass
class Side:
    """An account with a key, an alias and a ciphertext of it."""

    kms: RawKms
    account: str
    key_id: str
    alias: str
    blob: str

    def references(self) -> dict[str, str]:
        start = f"arn:aws:kms:{REGION}:{self.account}:"
        return {
            "id": self.key_id,
            "arn": f"{start}key/{self.key_id}",
            "alias": self.alias,
            "alias_arn": start + self.alias,
        }


def make_side(kms: RawKms, account: str) -> Side:
    key_id = assert_allowed(kms.call("CreateKey", {"Tags": [{"TagKey": "team", "TagValue": "red"}]}))["KeyMetadata"][
        "KeyId"
    ]
    alias = f"alias/cross-{uuid.uuid4().hex}"
    assert_allowed(kms.call("CreateAlias", {"AliasName": alias, "TargetKeyId": key_id}))
    blob = assert_allowed(kms.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))["CiphertextBlob"]
    return Side(kms, account, key_id, alias, blob)


@dataclass
class Scene:
    a: Side
    b: Side
    grant_id: str
    token: str
    # B's access key and secret.
    administrator: tuple[str, str]

    def nothing(self) -> dict[str, str]:
        """What stands for A's handles where there is nothing."""
        key_id, alias = str(uuid.uuid4()), f"alias/nothing-{uuid.uuid4().hex}"
        start = f"arn:aws:kms:{REGION}:{self.a.account}:"
        return {"id": key_id, "arn": f"{start}key/{key_id}", "alias": alias, "alias_arn": start + alias}

    def fill(self, template: dict[str, Any], ref: str, alias: str, blob: str, token: str) -> dict[str, Any]:
        values = {
            "{ref}": ref,
            "{alias}": alias,
            "{blob}": blob,
            "{token}": token,
            "{grant}": self.grant_id,
            "{own}": self.b.key_id,
            "{own_alias}": self.b.alias,
            "{own_blob}": self.b.blob,
            "{caller}": f"arn:aws:iam::{self.b.account}:root",
            "{new}": f"alias/new-{uuid.uuid4().hex}",
        }

        def filled(value: Any) -> Any:
            return [filled(part) for part in value] if isinstance(value, list) else values.get(value, value)

        return {
            member: value if isinstance(value, list) and value and isinstance(value[0], dict) else filled(value)
            for member, value in template.items()
        }


@pytest.fixture(scope="module")
def scene(installation: Installation) -> Iterator[Scene]:
    root = RawKms(installation)
    b_account, b_key, b_secret = make_account(installation)
    administrator = RawKms(installation, b_key, b_secret)
    a, b = make_side(root, ACCOUNT), make_side(administrator, b_account)
    grant = assert_allowed(
        root.call(
            "CreateGrant",
            {"KeyId": a.key_id, "GranteePrincipal": A_ROOT, "RetiringPrincipal": A_ROOT, "Operations": ["Decrypt"]},
        )
    )
    yield Scene(a, b, grant["GrantId"], grant["GrantToken"], (b_key, b_secret))
    root.close()
    administrator.close()


def state_of(side: Side) -> dict[str, Any]:
    """Everything that one may know of a side's key, by its own root."""
    key = {"KeyId": side.key_id}
    asked = (
        "DescribeKey",
        "GetKeyPolicy",
        "ListResourceTags",
        "GetKeyRotationStatus",
        "ListGrants",
        "ListKeyRotations",
    )
    told: dict[str, Any] = {name: assert_allowed(side.kms.call(name, key)) for name in asked}
    told["ListAliases"] = assert_allowed(side.kms.call("ListAliases", key))
    return told


def normal(answer: Answer, *names: str) -> tuple[str, str]:
    """Code and message, with what was named taken out."""
    message = answer.message
    for name in sorted(names, key=len, reverse=True):
        message = message.replace(name, "…")
    return answer.code, message


def test_every_operation_on_a_key_is_tried() -> None:
    assert {operation for operation, _ in REQUESTS} | KEYLESS | {"ListRetirableGrants"} == set(TABLE)


@pytest.mark.parametrize("handle", HANDLES)
@pytest.mark.parametrize(("operation", "template"), REQUESTS, ids=[f"{n}-{o}" for n, (o, _) in enumerate(REQUESTS)])
def test_a_foreign_handle_is_refused_as_if_there_were_nothing(
    scene: Scene, operation: str, template: dict[str, Any], handle: str
) -> None:
    real, absent = scene.a.references()[handle], scene.nothing()[handle]
    no_alias = scene.nothing()["alias"]
    no_blob = base64.b64encode(b"SRCB\x01" + bytes(32) + base64.b64decode(scene.a.blob)[37:]).decode()
    before = state_of(scene.a)
    request = scene.fill(template, real, scene.a.alias, scene.a.blob, scene.token)
    tried = scene.b.kms.call(operation, request)
    assert tried.status == 400, tried.body
    assert state_of(scene.a) == before
    control = scene.b.kms.call(operation, scene.fill(template, absent, no_alias, no_blob, scene.token))
    assert normal(tried, real, scene.a.key_id, scene.a.alias) == normal(
        control, absent, absent.rpartition("/")[2], no_alias
    )
    for secret in (scene.a.key_id, scene.a.alias):
        assert secret in str(request) or secret not in tried.message


def test_markers_of_another_account_lead_to_nothing_of_it(scene: Scene) -> None:
    make_side(scene.a.kms, ACCOUNT)
    for operation, items in (("ListKeys", "Keys"), ("ListAliases", "Aliases")):
        page = assert_allowed(scene.a.kms.call(operation, {"Limit": 1}))
        told = assert_allowed(scene.b.kms.call(operation, {"Marker": page["NextMarker"]}))
        assert all(f":{ACCOUNT}:" not in str(item) for item in told[items])


def test_lists_show_the_callers_account_and_no_other(scene: Scene) -> None:
    keys = assert_allowed(scene.b.kms.call("ListKeys", {"Limit": 1000}))["Keys"]
    assert {key["KeyArn"].split(":")[4] for key in keys} == {scene.b.account}
    aliases = assert_allowed(scene.b.kms.call("ListAliases", {"Limit": 100}))["Aliases"]
    assert {alias["AliasArn"].split(":")[4] for alias in aliases} == {scene.b.account}


def test_a_name_means_another_thing_in_each_account(scene: Scene) -> None:
    """The same alias in both accounts: each gets its own key."""
    name = f"alias/both-{uuid.uuid4().hex}"
    for side in (scene.a, scene.b):
        assert_allowed(side.kms.call("CreateAlias", {"AliasName": name, "TargetKeyId": side.key_id}))
    for _ in range(2):  # The second time from the cache.
        for side in (scene.a, scene.b):
            described = assert_allowed(side.kms.call("DescribeKey", {"KeyId": name}))
            assert described["KeyMetadata"]["KeyId"] == side.key_id
    for side in (scene.a, scene.b):
        assert_allowed(side.kms.call("DeleteAlias", {"AliasName": name}))


# ── with a permission ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def opened(scene: Scene) -> Side:
    """A key of A whose policy lets everybody in B do everything."""
    side = make_side(scene.a.kms, ACCOUNT)
    b_root = f"arn:aws:iam::{scene.b.account}:root"
    text = policy(allow("kms:*", Principal={"AWS": [A_ROOT, b_root]}))
    assert_allowed(side.kms.call("PutKeyPolicy", {"KeyId": side.key_id, "Policy": text}))
    return side


@pytest.mark.parametrize("handle", HANDLES)
@pytest.mark.parametrize(("operation", "template"), REQUESTS, ids=[f"{n}-{o}" for n, (o, _) in enumerate(REQUESTS)])
def test_with_a_permission_what_aws_opens_across_accounts_works_by_arn_and_nothing_else_does(
    scene: Scene, opened: Side, operation: str, template: dict[str, Any], handle: str
) -> None:
    ref = opened.references()[handle]
    grant = assert_allowed(
        opened.kms.call(
            "CreateGrant",
            {
                "KeyId": opened.key_id,
                "GranteePrincipal": A_ROOT,
                "RetiringPrincipal": f"arn:aws:iam::{scene.b.account}:root",
                "Operations": ["Decrypt", "Encrypt", "DescribeKey"],
            },
        )
    )
    there = Scene(opened, scene.b, grant["GrantId"], grant["GrantToken"], scene.administrator)
    before = state_of(opened)
    answer = scene.b.kms.call(operation, there.fill(template, ref, opened.alias, opened.blob, there.token))
    by_ref = "{ref}" in str(template)
    takes_aliases = operation not in {"CreateGrant", "ListGrants", "RetireGrant", "RevokeGrant", "GetKeyRotationStatus"}
    is_named = not by_ref or handle == "arn" or (handle == "alias_arn" and takes_aliases)
    if operation in OPEN and is_named:
        assert answer.status == 200, answer.body
    else:
        assert answer.status == 400, answer.body
        assert state_of(opened) == before


@pytest.mark.parametrize("handle", ["arn", "alias_arn"])
def test_what_one_operation_found_is_not_open_to_another(scene: Scene, opened: Side, handle: str) -> None:
    """The reference is known by now: whether an action is open across accounts is asked again."""
    ref = opened.references()[handle]
    assert_allowed(scene.b.kms.call("Encrypt", {"KeyId": ref, "Plaintext": "eA=="}))
    for operation in ("EnableKeyRotation", "ListKeyRotations", "GetKeyPolicy", "DisableKey", "ScheduleKeyDeletion"):
        assert scene.b.kms.call(operation, {"KeyId": ref}).status == 400, operation


def test_both_halves_are_needed(scene: Scene, opened: Side, installation: Installation) -> None:
    """The key's policy alone lets nobody of B in whom B itself does not allow."""
    arn = opened.references()["arn"]
    nobody = make_user(installation, *scene.administrator, None)
    allowing = policy({"Effect": "Allow", "Action": "kms:Encrypt", "Resource": arn})
    somebody = make_user(installation, *scene.administrator, allowing)
    for (access_key_id, secret), allowed in ((nobody, False), (somebody, True)):
        kms = RawKms(installation, access_key_id, secret)
        answer = kms.call("Encrypt", {"KeyId": arn, "Plaintext": "eA=="})
        assert (answer.status == 200) is allowed, answer.body
        assert kms.call("GenerateDataKey", {"KeyId": arn, "KeySpec": "AES_256"}).code == "AccessDeniedException"
        kms.close()


@pytest.mark.parametrize("effect", ["Allow", "Deny"])
@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"aws:ResourceTag/team": "red"}},
        {"StringEquals": {"aws:ResourceTag/team": "blue"}},
        {"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/cross-*"}},
        {"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT"}},
    ],
)
def test_nobody_learns_of_a_foreign_keys_properties_by_asking_his_own_policies(
    scene: Scene, installation: Installation, effect: str, condition: dict[str, Any]
) -> None:
    """He writes them himself, and could see from which of them refuses what the key is like."""
    asking = allow("kms:*", effect=effect, Condition=condition)
    statements = [asking] if effect == "Allow" else [allow("kms:*"), asking]
    kms = RawKms(installation, *make_user(installation, *scene.administrator, policy(*statements)))
    there, nowhere = scene.a.references()["arn"], scene.nothing()["arn"]
    for operation, more in (("Encrypt", {"Plaintext": "eA=="}), ("DescribeKey", {}), ("DisableKey", {})):
        told = [normal(kms.call(operation, {"KeyId": arn, **more}), arn) for arn in (there, nowhere)]
        assert told[0] == told[1]
        assert told[0][0] == "AccessDeniedException"
    kms.close()
