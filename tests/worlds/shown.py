"""What an installation shows of a subject: a key, an alias, somebody of IAM, an account; nothing of one that is not there.

A subject's name says of what kind it is: `alias/a`, `user/u`, `group/g`, `role/r`, `policy/p`, `account/111122223333`, and
everything else is the id of a key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from botocore.exceptions import ClientError

from strongroom.cli.admin_socket import ask
from testkit.identities import arn_of, iam_client, text_of
from testkit.installation import Installation

_ABSENT: Final = frozenset({"NotFoundException", "NoSuchEntity"})


class Clients:
    """Stock clients, without retries, that write down the request ids of what was answered with success."""

    def __init__(self, installation: Installation, answered: dict[str, str]) -> None:
        self.home: Final = installation.home
        self.kms: Final = installation.kms()
        self.iam: Final = iam_client(installation)
        self._answered = answered
        for client in (self.kms, self.iam):
            client.meta.events.register("after-call", self._note)

    def _note(self, http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        if http_response.status_code == 200:
            self._answered[parsed["ResponseMetadata"]["RequestId"]] = model.name


@contextmanager
def clients_of(installation: Installation, answered: dict[str, str]) -> Iterator[Clients]:
    """By request id, `answered` gets the operation."""
    clients = Clients(installation, answered)
    try:
        yield clients
    finally:
        clients.kms.close()
        clients.iam.close()


def kind_of(subject: str) -> str:
    kind, slash, _ = subject.partition("/")
    return kind if slash else "key"


def shown(clients: Clients, subject: str, respects: Collection[str]) -> dict[str, Any]:
    """In some respects at least, and in others.

    Raises:
        ClientError, BotoCoreError, ConnectionError: nobody knows now.
    """
    kind = kind_of(subject)
    name = subject if kind in {"key", "alias"} else subject.partition("/")[2]
    try:
        return _READERS[kind](clients, name, respects)
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return {}
        raise


def _key(clients: Clients, key_id: str, respects: Collection[str]) -> dict[str, Any]:
    kms = clients.kms
    metadata = kms.describe_key(KeyId=key_id)["KeyMetadata"]
    found: dict[str, Any] = {"state": metadata["KeyState"], "description": metadata["Description"]}
    if "deletion" in respects:
        found["deletion"] = metadata.get("DeletionDate")
    if "policy" in respects:
        found["policy"] = kms.get_key_policy(KeyId=key_id)["Policy"]
    if "period" in respects:
        found["period"] = kms.get_key_rotation_status(KeyId=key_id).get("RotationPeriodInDays")
    if "rotations" in respects:
        found["rotations"] = len(kms.list_key_rotations(KeyId=key_id)["Rotations"])
    if any(respect.startswith("grant ") for respect in respects):
        pages = kms.get_paginator("list_grants").paginate(KeyId=key_id)
        found |= {f"grant {grant['GrantId']}": grant["GrantId"] for page in pages for grant in page["Grants"]}
    if any(respect.startswith("tag ") for respect in respects):
        tags = kms.list_resource_tags(KeyId=key_id)["Tags"]
        found |= {f"tag {tag['TagKey']}": tag["TagValue"] for tag in tags}
    return found


def _alias(clients: Clients, name: str, _: Collection[str]) -> dict[str, Any]:
    return {"target": clients.kms.describe_key(KeyId=name)["KeyMetadata"]["KeyId"]}


def _holder(kind: str) -> Callable[[Clients, str, Collection[str]], dict[str, Any]]:
    """Of who has policies."""
    noun = kind.capitalize()

    def read(clients: Clients, name: str, _: Collection[str]) -> dict[str, Any]:
        iam, who = clients.iam, {f"{noun}Name": name}
        record = getattr(iam, f"get_{kind}")(**who)[noun]
        boundary = record.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
        found: dict[str, Any] = {"there": True, "path": record["Path"], "boundary": boundary}
        found |= {f"tag {tag['Key']}": tag["Value"] for tag in record.get("Tags", ())}
        for policy_name in getattr(iam, f"list_{kind}_policies")(**who)["PolicyNames"]:
            answer = getattr(iam, f"get_{kind}_policy")(**who, PolicyName=policy_name)
            found[f"inline {policy_name}"] = text_of(answer["PolicyDocument"])
        attached = getattr(iam, f"list_attached_{kind}_policies")(**who)["AttachedPolicies"]
        found |= {f"attached {attachment['PolicyArn']}": True for attachment in attached}
        return found | _MORE[kind](iam, who, record)

    return read


def _of_a_user(iam: Any, who: dict[str, str], _: dict[str, Any]) -> dict[str, Any]:
    groups = iam.list_groups_for_user(**who)["Groups"]
    keys = iam.list_access_keys(**who)["AccessKeyMetadata"]
    return {f"group {group['GroupName']}": True for group in groups} | {
        f"key {key['AccessKeyId']}": key["Status"] for key in keys
    }


def _of_a_role(_: Any, __: dict[str, str], record: dict[str, Any]) -> dict[str, Any]:
    trusting = text_of(record["AssumeRolePolicyDocument"])
    return {"description": record["Description"], "session": record["MaxSessionDuration"], "trust": trusting}


def _policy(clients: Clients, name: str, _: Collection[str]) -> dict[str, Any]:
    iam, which = clients.iam, {"PolicyArn": arn_of("policy", name)}
    record = iam.get_policy(**which)["Policy"]
    found: dict[str, Any] = {"there": True, "default": record["DefaultVersionId"]}
    found |= {f"tag {tag['Key']}": tag["Value"] for tag in record.get("Tags", ())}
    for version in iam.list_policy_versions(**which)["Versions"]:
        answer = iam.get_policy_version(**which, VersionId=version["VersionId"])
        found[f"version {version['VersionId']}"] = text_of(answer["PolicyVersion"]["Document"])
    return found


def _account(clients: Clients, number: str, _: Collection[str]) -> dict[str, Any]:
    names = {account["account"]: account["name"] for account in ask(clients.home, "list-accounts")}
    return {"there": True, "name": names[number]} if number in names else {}


_MORE: Final[dict[str, Callable[[Any, dict[str, str], dict[str, Any]], dict[str, Any]]]] = {
    "user": _of_a_user,
    "group": lambda *_: {},
    "role": _of_a_role,
}
_READERS: Final[dict[str, Callable[[Clients, str, Collection[str]], dict[str, Any]]]] = {
    "key": _key,
    "alias": _alias,
    "user": _holder("user"),
    "group": _holder("group"),
    "role": _holder("role"),
    "policy": _policy,
    "account": _account,
}
