"""Limits of the whole organisation, over HTTP: an account cannot lift what stands in the home's configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.kms.identities.configured import ConfiguredError, Documents
from strongroom.kms.identities.organization import UNLIMITED, read_organization
from testkit.identities import document, refused, statement
from testkit.installation import ACCOUNT, Installation
from testkit.raw import ask_admin, ask_iam
from testkit.sessions import as_client, kms_refused

MEMBER, OTHER = "111111111111", "222222222222"
ORGANIZATION = "o-abcdefghij"
FULL = document(statement("*"))
NO_CREATION = document(statement("*"), statement("kms:CreateKey", effect="Deny"))
ONLY_KMS = document(statement("kms:*", "iam:*", "sts:*"))
NO_DISABLING = document({**statement("kms:DisableKey", effect="Deny"), "Principal": "*"})
NO_NEW_POLICY = document({**statement("kms:PutKeyPolicy", effect="Deny"), "Principal": "*"})
NOT_FROM_OUTSIDE = document(
    {
        **statement("sts:AssumeRole", effect="Deny"),
        "Principal": "*",
        "Condition": {"StringNotEquals": {"aws:PrincipalAccount": MEMBER}},
    }
)
TEXT = f"""
id = "{ORGANIZATION}"

[root]
service_control_policies = ["only-kms.json"]
resource_control_policies = ["no-disabling.json"]

[accounts.{MEMBER}]
service_control_policies = ["no-creation.json"]
resource_control_policies = ["not-from-outside.json"]

[accounts.{OTHER}]
resource_control_policies = ["no-new-policy.json"]
"""
DOCUMENTS = {
    "only-kms.json": ONLY_KMS,
    "no-creation.json": NO_CREATION,
    "no-disabling.json": NO_DISABLING,
    "no-new-policy.json": NO_NEW_POLICY,
    "not-from-outside.json": NOT_FROM_OUTSIDE,
}


def write(home: Path, text: str, documents: dict[str, str]) -> None:
    (home / "organization").mkdir(parents=True)
    (home / "organization.toml").write_text(text)
    for name, content in documents.items():
        (home / "organization" / name).write_text(content)


@pytest.fixture(scope="module")
def own() -> Iterator[Installation]:
    running = Installation()
    write(running.home, TEXT, DOCUMENTS)
    running.start()
    for account in (MEMBER, OTHER):
        ask_admin(running, "create-account", account=account, name="an account")
    yield running
    running.destroy()


def administrator(own: Installation, account: str, policy: str = FULL) -> dict[str, Any]:
    """A user who may everything, as far as his account goes."""
    name = f"u{len(ask_iam(own, 'ListUsers', account)['Users'])}"
    made = ask_iam(own, "CreateUser", account, UserName=name)["User"]
    ask_iam(own, "PutUserPolicy", account, UserName=name, PolicyName="all", PolicyDocument=policy)
    key: dict[str, Any] = ask_iam(own, "CreateAccessKey", account, UserName=name)["AccessKey"]
    return {**key, "Arn": made["Arn"]}


def test_a_service_control_policy_binds_the_account_that_it_names(own: Installation) -> None:
    member, other = administrator(own, MEMBER), administrator(own, OTHER)
    because = "with an explicit deny in a service control policy"
    words = f"User: {member['Arn']} is not authorized to perform: kms:CreateKey on resource: * {because}"
    with kms_refused("AccessDeniedException", words):
        as_client(own, "kms", member).create_key()
    assert as_client(own, "kms", other).create_key()
    assert as_client(own, "kms", member).generate_random(NumberOfBytes=1)


def test_every_level_must_allow(own: Installation) -> None:
    """The documents of a level allow together; what one level leaves out, the next one cannot add."""
    text = '[root]\nservice_control_policies=["a.json"]\n[accounts.111111111111]\nservice_control_policies=["b.json"]'
    documents = {"a.json": ONLY_KMS, "b.json": FULL}
    organization = read_organization(text, Documents("organization", documents), ACCOUNT)
    assert [len(level) for level in organization.service_controls(MEMBER)] == [1, 1]
    assert [len(level) for level in organization.service_controls(OTHER)] == [1]


def test_the_main_account_is_under_no_limit_unless_it_is_said(own: Installation) -> None:
    kms = own.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key_id)
    organization = read_organization(TEXT, Documents("organization", DOCUMENTS), ACCOUNT)
    assert organization.service_controls(ACCOUNT) == organization.resource_controls(ACCOUNT) == ()
    bound = read_organization(f"applies_to_main_account = true\n{TEXT}", Documents("organization", DOCUMENTS), ACCOUNT)
    assert len(bound.service_controls(ACCOUNT)) == len(bound.resource_controls(ACCOUNT)) == 1


def test_a_resource_control_policy_binds_the_accounts_keys_whoever_asks(own: Installation) -> None:
    kms = as_client(own, "kms", administrator(own, OTHER))
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    for _ in range(2):
        with kms_refused():
            kms.disable_key(KeyId=key_id)
    assert kms.encrypt(KeyId=key_id, Plaintext=b"x")


def test_the_lockout_check_asks_the_key_policy_and_no_resource_control_policy(own: Installation) -> None:
    """What an organisation forbids, no other key policy could allow: that is no reason to have none."""
    member = administrator(own, OTHER)
    kms = as_client(own, "kms", member)
    everybody = {"AWS": f"arn:aws:iam::{OTHER}:root"}
    good = document({**statement("kms:*"), "Principal": everybody})
    made = kms.create_key(Policy=good)["KeyMetadata"]
    because = "with an explicit deny in a resource control policy"
    words = f"User: {member['Arn']} is not authorized to perform: kms:PutKeyPolicy on resource: {made['Arn']} {because}"
    with kms_refused("AccessDeniedException", words):
        kms.put_key_policy(KeyId=made["KeyId"], Policy=good)
    shut = document({**statement("kms:Encrypt"), "Principal": everybody})
    locked_out = "The new key policy will not allow you to update the key policy in the future."
    with kms_refused("MalformedPolicyDocumentException", locked_out):
        kms.create_key(Policy=shut)


def test_a_resource_control_policy_binds_the_accounts_roles(own: Installation) -> None:
    inside, outside = administrator(own, MEMBER), administrator(own, OTHER)
    who = {"AWS": [f"arn:aws:iam::{account}:root" for account in (MEMBER, OTHER)]}
    text = document({"Effect": "Allow", "Principal": who, "Action": "sts:AssumeRole"})
    for account, allowed in ((MEMBER, (True, False)), (OTHER, (True, True))):
        role = ask_iam(own, "CreateRole", account, RoleName="shared", AssumeRolePolicyDocument=text)["Role"]
        for caller, is_allowed in zip((inside, outside), allowed, strict=True):
            sts = as_client(own, "sts", caller)
            if is_allowed:
                assert sts.assume_role(RoleArn=role["Arn"], RoleSessionName="a-session")
            else:
                with refused("AccessDenied"):
                    sts.assume_role(RoleArn=role["Arn"], RoleSessionName="a-session")


def test_a_policy_can_ask_for_the_organisation(own: Installation) -> None:
    for named, is_allowed in ((ORGANIZATION, True), ("o-zzzzzzzzzz", False)):
        condition = {"StringEquals": {"aws:PrincipalOrgID": named, "aws:ResourceOrgID": named}}
        kms = as_client(own, "kms", administrator(own, OTHER, document(statement("kms:*", Condition=condition))))
        if is_allowed:
            assert kms.list_keys()
        else:
            with kms_refused():
                kms.list_keys()


def test_both_halves_are_needed_to_assume_a_role_of_another_account(own: Installation) -> None:
    """The role's account must trust, and the caller's must allow, whatever the other one says."""
    bare = administrator(own, OTHER, document(statement("kms:*")))
    full = administrator(own, OTHER)
    named = {"AWS": [bare["Arn"], full["Arn"]]}
    iam = own_iam(own)
    roles = []
    for who in (named, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}):
        text = document({"Effect": "Allow", "Principal": who, "Action": "sts:AssumeRole"})
        roles.append(iam.create_role(RoleName=f"role-{len(roles)}", AssumeRolePolicyDocument=text)["Role"])
    trusting_both, trusting_nobody = roles
    start = "User: {} is not authorized to perform: sts:AssumeRole on resource: {}"
    sts = as_client(own, "sts", full)
    session = sts.assume_role(RoleArn=trusting_both["Arn"], RoleSessionName="a-session")
    assert as_client(own, "sts", session["Credentials"]).get_caller_identity()["Account"] == ACCOUNT
    with refused("AccessDenied", start.format(full["Arn"], trusting_nobody["Arn"])):
        sts.assume_role(RoleArn=trusting_nobody["Arn"], RoleSessionName="a-session")
    because = "because no identity-based policy allows the sts:AssumeRole action"
    with refused("AccessDenied", f"{start.format(bare['Arn'], trusting_both['Arn'])} {because}"):
        as_client(own, "sts", bare).assume_role(RoleArn=trusting_both["Arn"], RoleSessionName="a-session")


def own_iam(own: Installation) -> Any:
    return as_client(own, "iam", {"AccessKeyId": "test", "SecretAccessKey": "test"})


# ── the configuration ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "documents", "words"),
    [
        ("[root", {}, "organization.toml: "),
        ("[rooot]\n", {}, "organization.toml: Object contains unknown field"),
        ('id = "x"\n', {}, "organization.toml: "),
        ("[accounts.1]\n", {}, "organization.toml: "),
        ("[root]\nservice_control_policies = []\n", {}, "organization.toml: "),
        ('[root]\nservice_control_policies = ["a.json"]\n', {}, "organization/a.json does not exist"),
        ("", {"a.json": FULL}, "organization/a.json is in the folder, but nothing names it"),
        ('[root]\nservice_control_policies = ["a.json"]\n', {"a.json": "{"}, "organization/a.json: "),
        (
            '[root]\nservice_control_policies = ["a.json"]\n',
            {"a.json": NO_DISABLING},
            "organization/a.json: Statement[0]: a service control policy names no Principal",
        ),
        (
            '[root]\nresource_control_policies = ["a.json"]\n',
            {"a.json": FULL},
            "organization/a.json: Statement[0]: a resource control policy can only Deny",
        ),
    ],
)
def test_a_mistake_is_refused_with_its_place(text: str, documents: dict[str, str], words: str) -> None:
    with pytest.raises(ConfiguredError) as caught:
        read_organization(text, Documents("organization", documents), ACCOUNT)
    assert words in str(caught.value)


def test_a_home_without_the_file_is_unlimited() -> None:
    assert read_organization("", Documents("organization", {}), ACCOUNT).service_controls(MEMBER) == ()
    assert UNLIMITED.resource_controls(MEMBER) == ()


@pytest.mark.parametrize(
    ("text", "documents", "words"),
    [
        ('[root]\nservice_control_policies = ["a.json"]\n', {"a.json": "{}\x7f"}, "organization/a.json: "),
        (None, {"a.json": FULL}, "organization.toml is not, which says what it is for"),
        ("", {"a.txt": FULL}, "a.txt is no document"),
    ],
)
def test_a_mistake_refuses_the_start(text: str | None, documents: dict[str, str], words: str) -> None:
    broken = Installation()
    write(broken.home, text or "", documents)
    if text is None:
        (broken.home / "organization.toml").unlink()
    try:
        broken.launch()
        assert broken.process is not None
        assert broken.process.wait(60) != 0
        assert words in broken.output.read_text()
    finally:
        broken.destroy()


def test_a_change_of_the_files_counts_from_the_next_start() -> None:
    own = Installation()
    write(own.home, "applies_to_main_account = true\n[root]\nservice_control_policies = ['a.json']\n", {"a.json": FULL})
    try:
        own.start()
        assert own.kms().list_keys()
        (own.home / "organization" / "a.json").write_text(NO_CREATION.replace("kms:CreateKey", "kms:ListKeys"))
        assert own.kms().list_keys()
        own.stop()
        own.start()
        with kms_refused():
            own.kms().list_keys()
        backup = own.root / "backup"
        own.cli("backup", "--home", str(own.home), "--to", str(backup))
        assert json.loads((backup / "organization" / "a.json").read_text())
        assert (backup / "organization.toml").exists()
    finally:
        own.destroy()
