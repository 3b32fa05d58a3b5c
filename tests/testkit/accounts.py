"""Other accounts of an installation, and people in them."""

from __future__ import annotations

import json
import secrets
import uuid

from testkit.installation import Installation, client


def make_account(installation: Installation) -> tuple[str, str, str]:
    """A new account: its number, and its administrator's access key and secret."""
    number = f"{secrets.randbelow(9 * 10**11) + 10**11}"
    arguments = ("--account", number, "--name", f"of {number}", "--home", str(installation.home), "--json")
    made = json.loads(installation.cli("iam", "create-account", *arguments).stdout)
    return number, made["access_key_id"], made["secret_access_key"]


def make_user(installation: Installation, access_key_id: str, secret: str, policy: str | None) -> tuple[str, str]:
    """A new user in an administrator's account, with a policy or without: the access key and its secret."""
    iam = client("iam", installation.port, access_key_id, secret)
    name = f"user-{uuid.uuid4().hex}"
    iam.create_user(UserName=name)
    if policy is not None:
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    iam.close()
    return key["AccessKeyId"], key["SecretAccessKey"]
