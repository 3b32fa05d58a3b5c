"""Identities over IAM's own API, with boto3: names that no other test has, documents as they come, refusals in full."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import pytest
from botocore.exceptions import ClientError
from botocore.handlers import json_decode_policies

from strongroom.kms.wire.query_codec import error_status
from testkit.installation import ACCOUNT, Installation, client

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"


def iam_client(installation: Installation, access_key_id: str = "test", secret: str = "test") -> Any:
    """Sends what it is given, and answers with documents as IAM sends them: escaped texts."""
    iam = client("iam", installation.port, access_key_id, secret, parameter_validation=False)
    iam.meta.events.unregister("after-call.iam", json_decode_policies)
    return iam


def fresh(prefix: str = "t") -> str:
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def arn_of(kind: str, name: str, path: str = "/", account: str = ACCOUNT) -> str:
    return f"arn:aws:iam::{account}:{kind}{path}{name}"


def statement(*actions: str, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": list(actions), "Resource": "*", **more}


def document(*statements: dict[str, Any], **layout: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, **layout)


def trust(*principals: str, action: str = "sts:AssumeRole") -> str:
    """A trust policy for these, by ARN or account; without any, for the account."""
    who = {"AWS": list(principals) or [ROOT]}
    return document({"Effect": "Allow", "Principal": who, "Action": action})


def text_of(escaped: str) -> str:
    """The document behind what an answer holds."""
    assert all(character.isalnum() or character in "-_.~%" for character in escaped), escaped
    return unquote(escaped)


def without_metadata(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer.pop("ResponseMetadata")["HTTPStatusCode"] == 200
    return answer


@contextmanager
def refused(code: str, message: str | None = None) -> Iterator[None]:
    """Within: a call is refused with this code under its status, in these words where they are given."""
    with pytest.raises(ClientError) as caught:
        yield
    response: Any = caught.value.response
    assert response["Error"]["Code"] == code, response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == error_status(code)
    assert response["Error"]["Type"] == "Sender"
    if message is not None:
        assert response["Error"]["Message"] == message


def pages(call: Any, member: str, items_max: int, **arguments: Any) -> list[list[Any]]:
    """Every page of a list."""
    found, marker = [], {}
    while True:
        answer = call(MaxItems=items_max, **arguments, **marker)
        found.append(answer[member])
        assert answer["IsTruncated"] is ("Marker" in answer)
        if not answer["IsTruncated"]:
            return found
        marker = {"Marker": answer["Marker"]}
