"""Classes 3 and 5: who is asking is what the signature says, and no service speaks for him unless it is one.

HashiCorp Vault took a caller's word for what AWS had told it (CVE-2020-16250); a deputy is confused by what the caller says
about himself. Here the access key's id that was verified is the one that is looked up, and it is all that is looked up.
"""

from __future__ import annotations

import inspect
import json
import uuid
from typing import Any, get_type_hints
from urllib.parse import quote, urlencode

import pytest

from protocol.signed_requests import NOW_S, SECRETS, SERVICES, signed_request
from strongroom.kms.audit.events import Origin
from strongroom.kms.calls import Call
from strongroom.kms.iam.condition_keys import GLOBAL_KEYS, KEYS_BY_ACTION
from strongroom.kms.iam.principals import Principal
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.protocol.requests import HttpRequest
from strongroom.protocol.sigv4 import Verified, Verifier
from testkit.installation import ACCOUNT, Installation
from testkit.raw import (
    RawKms,
    User,
    allow,
    assert_allowed,
    assert_refused,
    call_headers,
    make_user,
    policy,
    signed_headers,
)

FORM = b"application/x-www-form-urlencoded; charset=utf-8"
STRANGER = "444455556666"


# ── class 3: one object, from the signature to the decision ─────────────────────────────────────────────────────────────


def test_the_id_that_was_verified_is_the_very_object_whose_secret_was_asked_for() -> None:
    """In full, by the short way for a known client, and again: nothing is read a second time from the request."""
    verifier, request = Verifier(), signed_request()
    for _ in range(3):
        asked: list[str] = []

        def find(access_key_id: str, asked: list[str] = asked) -> str | None:
            asked.append(access_key_id)
            return SECRETS.get(access_key_id)

        verified = verifier.verify(request, NOW_S, find, SERVICES)
        assert [access_key_id is verified.access_key_id for access_key_id in asked] == [True]


def test_what_was_verified_can_be_changed_by_nobody() -> None:
    request, verified = signed_request(), Verified("AKIA", "us-east-1", "kms", frozenset())
    for thing, member in ((request, "body"), (request, "target"), (request, "values"), (verified, "access_key_id")):
        with pytest.raises(AttributeError):
            setattr(thing, member, getattr(thing, member))
    assert HttpRequest.__struct_config__.frozen


def test_a_call_knows_its_caller_as_a_record_and_nothing_else_of_the_request_but_where_it_came_from() -> None:
    """By type: there is no member through which a header, a query or a form could come to the decision."""
    kinds = get_type_hints(Call)
    assert kinds["principal_entry"] is PrincipalEntry
    assert str(inspect.signature(PrincipalEntry).parameters["principal"].annotation).endswith(Principal.__name__)
    assert kinds["origin"] is Origin
    assert list(inspect.signature(Origin).parameters) == ["source_ip", "user_agent"]
    # An id of ours, and names that are a row's of a table.
    assert {name for name, kind in kinds.items() if kind is str} == {"request_id", "operation", "event_source"}


@pytest.fixture(scope="module")
def nobody_special(installation: Installation) -> User:
    """Somebody who may do nothing."""
    return make_user(installation, f"plain-{uuid.uuid4().hex[:8]}", policy(allow("s3:*")))


def test_what_sts_is_asked_with_names_nobody(installation: Installation, nobody_special: User) -> None:
    """Vault's case: a GetCallerIdentity whose form, headers and query speak of somebody else."""
    root = f"arn:aws:iam::{ACCOUNT}:root"
    form = {
        "Action": "GetCallerIdentity",
        "Version": "2011-06-15",
        "Arn": root,
        "UserId": ACCOUNT,
        "AWSAccessKeyId": "test",
    }
    headers = [
        (b"Content-Type", FORM),
        (b"X-Amz-Caller-Arn", root.encode()),
        (b"X-Forwarded-User", b"root"),
        (b"X-Amz-Access-Key-Id", b"test"),
    ]
    user = nobody_special
    for target in (b"/", b"/?AWSAccessKeyId=test&Arn=" + quote(root).encode()):
        answer = RawKms(installation).send_as_is(
            _signed(installation, user, urlencode(form).encode(), headers, service="sts", target=target),
            urlencode(form).encode(),
            target=target.decode(),
        )
        if answer.status == 200:
            assert f"<Arn>{user.arn}</Arn>".encode() in answer.body
        assert root.encode() not in answer.body
    # Once without anything odd: the answer is the signer.
    plain = urlencode({"Action": "GetCallerIdentity", "Version": "2011-06-15"}).encode()
    answer = user.kms.send(
        plain, [(b"Content-Type", FORM)], service="sts", access_key_id=user.access_key_id, secret=user.secret
    )
    assert f"<Arn>{user.arn}</Arn>".encode() in answer.body


def _signed(installation: Installation, user: User, body: bytes, headers: Any, **signing: Any) -> Any:
    host = f"127.0.0.1:{installation.port}"
    return signed_headers(host, body, headers, access_key_id=user.access_key_id, secret=user.secret, **signing)


# ── class 5: what only a service, a session or an organisation can bring ────────────────────────────────────────────────

# Condition key -> what a caller would like it to be; an ordinary request has none of them, or the opposite.
CLAIMS: dict[str, tuple[str, str]] = {
    "kms:ViaService": ("StringLike", "s3.us-east-1.amazonaws.com"),
    "kms:CallerAccount": ("StringEquals", STRANGER),
    "kms:GrantIsForAWSResource": ("Bool", "true"),
    "kms:RecipientAttestation:PCR0": ("StringEqualsIgnoreCase", "0" * 96),
    "aws:SourceArn": ("ArnLike", "arn:aws:s3:::bucket"),
    "aws:SourceAccount": ("StringEquals", STRANGER),
    "aws:SourceIdentity": ("StringEquals", "somebody"),
    "aws:ViaAWSService": ("Bool", "true"),
    "aws:PrincipalIsAWSService": ("Bool", "true"),
    "aws:PrincipalServiceName": ("StringEquals", "s3.amazonaws.com"),
    "aws:PrincipalAccount": ("StringEquals", STRANGER),
    "aws:PrincipalArn": ("ArnEquals", f"arn:aws:iam::{ACCOUNT}:root"),
    "aws:PrincipalType": ("StringEquals", "Account"),
    "aws:PrincipalTag/admin": ("StringEquals", "yes"),
    "aws:FederatedProvider": ("StringEquals", "https://issuer.example"),
    "aws:TokenIssueTime": ("DateGreaterThan", "2020-01-01T00:00:00Z"),
    "aws:userid": ("StringEquals", ACCOUNT),
    "aws:username": ("StringEquals", "admin"),
    "aws:MultiFactorAuthPresent": ("Bool", "true"),
    "aws:SourceIp": ("IpAddress", "203.0.113.9"),
    "aws:SecureTransport": ("Bool", "true"),
    "aws:ResourceAccount": ("StringEquals", STRANGER),
    "aws:PrincipalOrgID": ("StringEquals", "o-a1b2c3d4e5"),
    "aws:ResourceOrgID": ("StringEquals", "o-a1b2c3d4e5"),
}
# Whatever else policies can ask for is the request's own, the key's, or the clock's.
OF_THE_REQUEST = {
    "aws:currenttime",
    "aws:epochtime",
    "aws:requestedregion",
    "aws:useragent",
}
REQUESTS: dict[str, dict[str, Any]] = {
    "Encrypt": {"Plaintext": "eA=="},
    "GenerateDataKey": {"KeySpec": "AES_256"},
    "DescribeKey": {},
    "ListGrants": {},
    "ScheduleKeyDeletion": {"PendingWindowInDays": 7},
    "CreateGrant": {"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:root", "Operations": ["Decrypt"]},
}


def carriers(key: str, value: str) -> tuple[dict[str, Any], list[tuple[bytes, bytes]]]:
    """Members of a body and headers that claim it in every spelling that a deputy could fall for."""
    bare = key.partition(":")[2]
    names = {key, bare, key.lower(), bare[0].lower() + bare[1:], bare.upper()}
    members: dict[str, Any] = dict.fromkeys(names, value)
    members["Context"] = {key: [value]}
    members["RequestContext"] = {"conditions": {key: value}}
    tokens = {name.replace(":", "-").replace("/", "-") for name in names}
    spelled = {
        f"{prefix}{token}".lower() for token in tokens for prefix in ("", "X-Amz-", "X-Amz-Meta-", "X-Forwarded-")
    }
    # A header of that name has a meaning of its own: a service whose caller forwards it does not exist here.
    headers = [(name.encode(), value.encode()) for name in sorted(spelled)]
    forwarded = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https"), (b"forwarded", b"proto=https")]
    return members, [*headers, *forwarded]


def test_every_condition_key_is_in_one_of_the_two_tables() -> None:
    claimed = {key.lower() for key in CLAIMS}
    known = {key for key in GLOBAL_KEYS if not key.endswith("/")}
    assert known - claimed == OF_THE_REQUEST
    services = {"kms:viaservice", "kms:calleraccount", "kms:grantisforawsresource"}
    assert services <= claimed & set().union(*KEYS_BY_ACTION.values())


@pytest.mark.parametrize("key", CLAIMS)
def test_nothing_that_an_ordinary_caller_sends_becomes_what_only_a_service_can_say(
    installation: Installation, key_id: str, key: str
) -> None:
    operator, value = CLAIMS[key]
    statement = allow("kms:*", Condition={operator: {key: value}})
    user = make_user(installation, f"deputy-{uuid.uuid4().hex[:8]}", policy(statement))
    members, headers = carriers(key, value)
    query = urlencode([(name, text) for name, text in members.items() if isinstance(text, str)][:1])
    for operation, request in REQUESTS.items():
        body = json.dumps({"KeyId": key_id, **request, **members, "EncryptionContext": {key: value}}).encode()
        for extra in ([], headers):
            answer = user.kms.send(
                body, [*call_headers(operation), *extra], access_key_id=user.access_key_id, secret=user.secret
            )
            assert answer.code in {"AccessDeniedException", "UnsupportedOperationException"}, (operation, answer)
        signed = _signed(installation, user, body, call_headers(operation), target=f"/?{query}".encode())
        answer = user.kms.send_as_is(signed, body, target=f"/?{query}")
        assert answer.status != 200
    assert_refused(user.kms.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}), "AccessDeniedException")


def test_the_claims_would_be_believed_if_they_were_true(installation: Installation, key_id: str) -> None:
    """Or the test above would say nothing: the same conditions, asking for what is the case, let the same requests pass."""
    for operator, key, value in (
        ("StringEquals", "kms:CallerAccount", ACCOUNT),
        ("Bool", "aws:ViaAWSService", "false"),
        ("Bool", "aws:PrincipalIsAWSService", "false"),
        ("StringEquals", "aws:PrincipalAccount", ACCOUNT),
        ("IpAddress", "aws:SourceIp", "127.0.0.0/8"),
        ("Bool", "aws:SecureTransport", "false"),
        ("Null", "kms:ViaService", "true"),
        ("Null", "aws:SourceArn", "true"),
        ("Null", "aws:SourceAccount", "true"),
        ("Null", "aws:TokenIssueTime", "true"),
    ):
        statement = allow("kms:*", Condition={operator: {key: value}})
        user = make_user(installation, f"true-{uuid.uuid4().hex[:8]}", policy(statement))
        members, headers = carriers(key, "x")
        body = json.dumps({"KeyId": key_id, "Plaintext": "eA==", **members}).encode()
        assert_allowed(
            user.kms.send(
                body, [*call_headers("Encrypt"), *headers], access_key_id=user.access_key_id, secret=user.secret
            )
        )
