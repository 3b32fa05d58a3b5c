"""Requests that are small to send and meant to be expensive to read: just under what is read at all.

Each was tried for what it costs; `tests/worlds/test_costly_requests.py` holds all to the same bound.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from strongroom.kms.wire.http import BODY_BYTES_MAX
from testkit.raw import JSON_TYPE, TARGET_PREFIX, Headers, Raw, raw_request, signed_headers

_FORM: Final = (b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8")
# For whatever stands around what is repeated.
_ROOM: Final = BODY_BYTES_MAX - 1024


class Bomb(NamedTuple):
    """A request of a service, without its signature."""

    name: str
    service: str
    headers: Headers
    body: bytes

    def signed_for(self, raw: Raw) -> bytes:
        """The bytes to send, by somebody who is known: it is read as far as anything is."""
        headers = signed_headers(raw.host, self.body, self.headers, service=self.service)
        return raw_request(headers, self.body)


def bombs(key_id: str) -> list[Bomb]:
    """All of them; `key_id` exists, so that what is meant for a key is looked at."""
    return [*_json_bombs(key_id), *_form_bombs()]


def _repeated(before: str, what: str, after: str) -> bytes:
    return (before + what * ((_ROOM - len(before + after)) // len(what)) + after).encode()


def _json_bombs(key_id: str) -> Iterator[Bomb]:
    def bomb(name: str, operation: str, body: bytes) -> Bomb:
        headers = [(b"X-Amz-Target", TARGET_PREFIX + operation.encode()), (b"Content-Type", JSON_TYPE)]
        return Bomb(name, "kms", headers, body)

    def key_policy(name: str, text: str) -> Bomb:
        body = {"KeyId": key_id, "PolicyName": "default", "Policy": text}
        return bomb(name, "PutKeyPolicy", json.dumps(body).encode())

    half = "[" * (_ROOM // 2 - 20)
    names = ",".join(f'"{at}":""' for at in range(_ROOM // 12))
    numbered = names.replace('""', "1")
    known = f'{{"KeyId":"{key_id}",'
    yield bomb("nested lists", "Encrypt", (half + "]" * len(half)).encode())
    yield bomb(
        "nested lists in a member", "Encrypt", f'{{"EncryptionContext":{half[100:]}{"]" * (len(half) - 100)}}}'.encode()
    )
    yield bomb("nested objects without an end", "CreateKey", _repeated("", '{"a":', ""))
    yield bomb("a number of half a million digits", "CreateKey", _repeated('{"X":', "9", "}"))
    yield bomb("an exponent", "GenerateRandom", _repeated('{"NumberOfBytes":1e', "9", "}"))
    yield bomb("numbers", "TagResource", _repeated(known + '"Tags":[', "1,", "1]}"))
    yield bomb("fractions", "TagResource", _repeated(known + '"Tags":[', "1.5,", "1]}"))
    yield bomb("empty objects", "TagResource", _repeated(known + '"Tags":[', "{},", "{}]}"))
    yield bomb(
        "tags, and one that is none",
        "TagResource",
        _repeated(known + '"Tags":[', '{"TagKey":"a","TagValue":"b"},', "{}]}"),
    )
    yield bomb("empty grant tokens", "CreateGrant", _repeated(known + '"GrantTokens":[', '"",', '""]}'))
    yield bomb("operations without a name", "CreateGrant", _repeated(known + '"Operations":[', '"",', '""]}'))
    yield bomb("empty tag keys", "UntagResource", _repeated(known + '"TagKeys":[', '"",', '""]}'))
    yield bomb("names without end", "Encrypt", f'{known}"Plaintext":"eA==","EncryptionContext":{{{names}}}}}'.encode())
    yield bomb(
        "numbers as values",
        "CreateGrant",
        f'{known}"Constraints":{{"EncryptionContextSubset":{{{numbered}}}}}}}'.encode(),
    )
    yield bomb("one name again and again", "Encrypt", _repeated("{", '"KeyId":"k",', '"KeyId":"k"}'))
    yield bomb("members that nobody knows", "Encrypt", f"{{{numbered}}}".encode())
    yield bomb("escapes", "CreateAlias", _repeated('{"AliasName":"', "\\u0041", '","TargetKeyId":"k"}'))
    yield bomb("half characters", "CreateAlias", _repeated('{"AliasName":"', "\\ud800", '","TargetKeyId":"k"}'))
    yield bomb("a name of slashes", "CreateAlias", _repeated('{"AliasName":"alias/', "a/", '!","TargetKeyId":"k"}'))
    yield bomb("a long plaintext", "Encrypt", _repeated(known + '"Plaintext":"', "AAAA", '"}'))
    yield key_policy("a policy of brackets", "[" * 32_000)
    yield key_policy("a long policy of brackets", "[" * (_ROOM // 4))
    yield key_policy("a policy of empty statements", json.dumps({"Statement": [{}] * 8000}))
    yield key_policy("a policy of patterns", json.dumps({"Statement": [_statement("*a" * 13_000)]}))
    yield key_policy("a policy of actions", json.dumps({"Statement": [_statement(*["kms:*"] * 3500)]}))


def _statement(*actions: str) -> dict[str, object]:
    return {"Effect": "Allow", "Principal": "*", "Action": actions, "Resource": "*"}


def _form_bombs() -> Iterator[Bomb]:
    def bomb(name: str, service: str, body: bytes) -> Bomb:
        return Bomb(name, service, [_FORM], body)

    user = "Action=CreateUser&Version=2010-05-08&UserName="
    policy = "Action=PutUserPolicy&Version=2010-05-08&UserName=u&PolicyName=p&PolicyDocument="
    session = "Action=GetFederationToken&Version=2011-06-15&Name=somebody"
    yield bomb("parameters without end", "iam", _repeated(user + "u", "&a=1", ""))
    yield bomb(
        "tags without end", "iam", f"{user}u{''.join(f'&Tags.member.{at}.Key=a' for at in range(20_000))}".encode()
    )
    yield bomb("a name in percent signs", "iam", _repeated(user, "%41", ""))
    yield bomb("a user's policy of brackets", "iam", _repeated(policy, "%5B", ""))
    yield bomb("a user's policy of statements", "iam", _repeated(policy + '{"Statement":[', "{},", "{}]}"))
    yield bomb("a session policy of statements", "sts", _repeated(session + '&Policy={"Statement":[', "{},", "{}]}"))
    yield bomb(
        "policies of a session",
        "sts",
        f"{session}{''.join(f'&PolicyArns.member.{at}.arn=a' for at in range(15_000))}".encode(),
    )
    token = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=once&WebIdentityToken=a.b."
    yield bomb("a long web identity", "sts", _repeated(token, "e", ""))
