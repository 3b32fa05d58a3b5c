"""Access keys over IAM's own API: two each, told once, switched off, and when they were used last.

Wordings are AWS's. Source: LocalStack's recordings of AWS, `test_iam_users.snapshot.json`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from testkit.identities import ADMINISTRATOR, fresh, iam_client, refused, trust, without_metadata
from testkit.installation import Installation, client
from testkit.raw import allow, ask_admin, make_user, policy
from testkit.sessions import as_client


def no_key(access_key_id: str) -> Any:
    return refused("NoSuchEntity", f"The Access Key with id {access_key_id} cannot be found.")


def is_known(installation: Installation, key: dict[str, Any]) -> bool:
    sts = installation.sts(key["AccessKeyId"], key["SecretAccessKey"])
    try:
        sts.get_caller_identity()
    except ClientError as error:
        return bool(error.response["Error"]["Code"] != "InvalidClientTokenId")
    finally:
        sts.close()
    return True


def test_a_key_works_from_its_making_to_its_end_and_only_while_it_is_active(
    installation: Installation, iam: Any, user: str
) -> None:
    key = without_metadata(iam.create_access_key(UserName=user))["AccessKey"]
    assert (key["AccessKeyId"][:4], len(key["AccessKeyId"]), len(key["SecretAccessKey"])) == ("AKIA", 20, 40)
    assert (key["Status"], key["UserName"]) == ("Active", user)
    assert is_known(installation, key)
    for status, works in (("Inactive", False), ("Active", True)):
        iam.update_access_key(UserName=user, AccessKeyId=key["AccessKeyId"], Status=status)
        (listed,) = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
        assert listed == {**{name: value for name, value in key.items() if name != "SecretAccessKey"}, "Status": status}
        assert is_known(installation, key) is works
    iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    assert iam.list_access_keys(UserName=user)["AccessKeyMetadata"] == []
    assert not is_known(installation, key)


def test_a_third_key_is_refused_until_one_is_gone(iam: Any, user: str) -> None:
    first, _ = (iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"] for _ in range(2))
    for _ in range(2):
        with refused("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2"):
            iam.create_access_key(UserName=user)
        # One that is off counts as well.
        iam.update_access_key(UserName=user, AccessKeyId=first, Status="Inactive")
    iam.delete_access_key(UserName=user, AccessKeyId=first)
    iam.create_access_key(UserName=user)


def test_a_key_is_found_with_its_user_only(iam: Any, user: str) -> None:
    other = fresh("u")
    iam.create_user(UserName=other)
    key = iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
    for name, access_key_id in ((other, key), (user, "AKIA" + "X" * 16)):
        with no_key(access_key_id):
            iam.delete_access_key(UserName=name, AccessKeyId=access_key_id)
        with no_key(access_key_id):
            iam.update_access_key(UserName=name, AccessKeyId=access_key_id, Status="Inactive")
    assert [one["Status"] for one in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]] == ["Active"]


@pytest.mark.parametrize("status", ["Expired", "active", "Deleted"])
def test_a_key_is_switched_on_and_off_and_to_nothing_else(iam: Any, user: str, status: str) -> None:
    key = iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
    with refused("ValidationError"):
        iam.update_access_key(UserName=user, AccessKeyId=key, Status=status)
    assert [one["Status"] for one in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]] == ["Active"]


def test_who_names_nobody_means_himself(installation: Installation) -> None:
    caller = make_user(installation, fresh("caller"), policy(allow("iam:*AccessKey*", resource="*/caller-*")))
    client = iam_client(installation, caller.access_key_id, caller.secret)
    second = client.create_access_key()["AccessKey"]
    assert second["UserName"] == caller.name
    listed = {one["AccessKeyId"]: one["Status"] for one in client.list_access_keys()["AccessKeyMetadata"]}
    assert listed == {caller.access_key_id: "Active", second["AccessKeyId"]: "Active"}
    client.update_access_key(AccessKeyId=second["AccessKeyId"], Status="Inactive")
    assert not is_known(installation, second)
    client.delete_access_key(AccessKeyId=second["AccessKeyId"])
    with no_key(second["AccessKeyId"]):
        client.delete_access_key(AccessKeyId=second["AccessKeyId"])
    client.close()


def test_the_root_has_keys_of_its_own(installation: Installation, iam: Any) -> None:
    assert [one["AccessKeyId"] for one in iam.list_access_keys()["AccessKeyMetadata"]] == ["test"]
    key = iam.create_access_key()["AccessKey"]
    assert is_known(installation, key)
    (listed,) = [one for one in iam.list_access_keys()["AccessKeyMetadata"] if one["AccessKeyId"] != "test"]
    assert "UserName" not in listed
    iam.delete_access_key(AccessKeyId=key["AccessKeyId"])
    assert not is_known(installation, key)


def test_a_session_must_name_whose_keys_it_means(installation: Installation, iam: Any, user: str) -> None:
    role = fresh("r")
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust())["Role"]["Arn"]
    iam.attach_role_policy(RoleName=role, PolicyArn=ADMINISTRATOR)
    caller = make_user(installation, fresh("caller"), policy(allow("sts:AssumeRole")))
    sts = installation.sts(caller.access_key_id, caller.secret)
    session = sts.assume_role(RoleArn=arn, RoleSessionName="somebody")["Credentials"]
    sts.close()
    client = as_client(installation, "iam", session)
    with refused("ValidationError", "Must specify userName when calling with non-User credentials"):
        client.list_access_keys()
    assert client.list_access_keys(UserName=user)["AccessKeyMetadata"] == []
    client.close()


# ── last used ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_that_was_never_used_says_so(iam: Any, user: str) -> None:
    key = iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
    assert without_metadata(iam.get_access_key_last_used(AccessKeyId=key)) == {
        "UserName": user,
        "AccessKeyLastUsed": {"ServiceName": "N/A", "Region": "N/A"},
    }


def test_a_key_says_when_and_for_what_it_was_used_last(installation: Installation, iam: Any) -> None:
    caller = make_user(installation, fresh("u"))
    for service, region in (("kms", "us-east-1"), ("sts", "eu-west-1"), ("iam", "us-east-1")):
        began = datetime.now(UTC).replace(microsecond=0)
        used = call_something(installation, service, caller.access_key_id, caller.secret, region)
        answer = iam.get_access_key_last_used(AccessKeyId=caller.access_key_id)
        found = answer["AccessKeyLastUsed"]
        assert (found["ServiceName"], found["Region"], answer["UserName"]) == (service, region, caller.name), used
        assert began <= found["LastUsedDate"] <= datetime.now(UTC)


def call_something(installation: Installation, service: str, access_key_id: str, secret: str, region: str) -> str:
    """Something that the caller may do, or may not: both are uses. The code of the refusal."""
    used = client(service, installation.port, access_key_id, secret, region)
    call = {"kms": "list_keys", "sts": "get_caller_identity", "iam": "list_users"}[service]
    try:
        getattr(used, call)()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    finally:
        used.close()
    return ""


def test_a_wrong_secret_is_no_use(installation: Installation, iam: Any, user: str) -> None:
    key = iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
    assert call_something(installation, "sts", key, "wrong", "us-east-1") == "SignatureDoesNotMatch"
    assert iam.get_access_key_last_used(AccessKeyId=key)["AccessKeyLastUsed"]["ServiceName"] == "N/A"


def test_of_a_key_that_is_not_there_or_is_another_accounts_nothing_is_told(
    installation: Installation, iam: Any
) -> None:
    account = f"{time.time_ns() % 10**11 + 10**11:012}"
    made = ask_admin(installation, "create-account", account=account, name="other")
    for key in ("AKIA" + "X" * 16, made["access_key_id"]):
        message = (
            "User: arn:aws:iam::000000000000:root is not authorized to perform iam:GetAccessKeyLastUsed "
            f"on resource: access key {key}"
        )
        with refused("AccessDenied", message):
            iam.get_access_key_last_used(AccessKeyId=key)


def test_a_secret_lies_nowhere_in_plain_form(installation: Installation, iam: Any, user: str) -> None:
    secret = iam.create_access_key(UserName=user)["AccessKey"]["SecretAccessKey"].encode()
    iam.list_access_keys(UserName=user)
    files = [path for path in (*installation.home.rglob("*"), installation.output) if path.is_file()]
    assert [path for path in files if secret in path.read_bytes()] == []
