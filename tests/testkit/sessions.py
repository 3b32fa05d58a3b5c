"""Callers with permanent and temporary credentials, over boto3: users, roles, and the sessions that they begin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from testkit.identities import document, fresh, iam_client, statement, trust
from testkit.installation import ACCOUNT, REGION, Installation

Credentials = dict[str, Any]


def as_client(installation: Installation, service: str, credentials: Credentials | None = None, **config: Any) -> Any:
    """A stock client of whoever has the credentials; without any, of nobody."""
    given = credentials or {}
    return boto3.client(
        service,
        endpoint_url=f"http://127.0.0.1:{installation.port}",
        region_name=REGION,
        aws_access_key_id=given.get("AccessKeyId", "nobody"),
        aws_secret_access_key=given.get("SecretAccessKey", "nothing"),
        aws_session_token=given.get("SessionToken"),
        config=Config(retries={"total_max_attempts": 1}, read_timeout=20, **config),
    )


def make_caller(installation: Installation, *statements: dict[str, Any], **user: Any) -> Credentials:
    """A fresh user with an access key; `UserName` and `Arn` stand beside it."""
    iam, name = iam_client(installation), fresh("user")
    made = iam.create_user(UserName=name, **user)["User"]
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document(*statements))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {**key, "Arn": made["Arn"], "UserId": made["UserId"]}


def make_role(installation: Installation, *principals: str, text: str | None = None, **role: Any) -> dict[str, Any]:
    """A fresh role that these may assume (or whom `text` says), and that may do everything with keys."""
    iam, name = iam_client(installation), role.pop("RoleName", None) or fresh("role")
    policy = role.pop("policy", document(statement("kms:*", "sts:*")))
    made: dict[str, Any] = iam.create_role(RoleName=name, AssumeRolePolicyDocument=text or trust(*principals), **role)[
        "Role"
    ]
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy)
    return made


def trusting(*actions: str, who: Any = None, **more: Any) -> dict[str, Any]:
    """A statement of a trust policy; for the account unless somebody is named."""
    principal = who or {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}
    return {"Effect": "Allow", "Principal": principal, "Action": list(actions), **more}


def assume(installation: Installation, caller: Credentials, role: dict[str, Any], **request: Any) -> Credentials:
    """A session of the role; `Arn` stands beside the credentials."""
    answer = answer_of(installation, caller, role, **request)
    return {**answer["Credentials"], "Arn": answer["AssumedRoleUser"]["Arn"]}


def answer_of(installation: Installation, caller: Credentials, role: dict[str, Any], **request: Any) -> dict[str, Any]:
    """AssumeRole's whole answer."""
    request.setdefault("RoleSessionName", "a-session")
    answer: dict[str, Any] = as_client(installation, "sts", caller).assume_role(RoleArn=role["Arn"], **request)
    return answer


@contextmanager
def kms_refused(code: str = "AccessDeniedException", message: str | None = None) -> Iterator[None]:
    """Within: KMS refuses a call with this code, in these words where they are given."""
    with pytest.raises(ClientError) as caught:
        yield
    response: Any = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, 400), response
    if message is not None:
        assert response["Error"]["Message"] == message
