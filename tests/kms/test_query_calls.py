"""Calls of IAM and STS over HTTP: which service, which operation, which region, what is recorded, and what cannot hurt.

Wordings of InvalidAction and MissingAction: see `tests/kms/test_query_shapes.py`.
"""

from __future__ import annotations

import re
import urllib.parse
from typing import Any

import pytest

from strongroom.kms.identities.operations.table import TABLE
from strongroom.kms.wire import iam_shapes, sts_shapes
from strongroom.kms.wire.http import _REASONS
from strongroom.kms.wire.model import structure_rule
from strongroom.kms.wire.query_codec import QUERY_ERRORS
from strongroom.kms.wire.shapes import OPERATIONS
from testkit.identities import arn_of, document, fresh, statement
from testkit.installation import REGION, Installation
from testkit.raw import (
    Answer,
    Raw,
    RawKms,
    User,
    allow,
    ask_admin,
    ask_iam,
    audit_records,
    make_user,
    nothing_breaks,
    policy,
    raw_request,
    signed_headers,
)

FORM = [(b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8")]
IAM_VERSION = "2010-05-08"


@pytest.fixture
def raw(installation: Installation) -> RawKms:
    return RawKms(installation)


def send(raw: RawKms, form: dict[str, str] | bytes, service: str = "iam", **signing: Any) -> Answer:
    body = form if isinstance(form, bytes) else urllib.parse.urlencode(form).encode()
    return raw.send(body, FORM, service=service, **signing)


def ask(raw: RawKms, action: str, /, **more: str) -> Answer:
    return send(raw, {"Action": action, "Version": IAM_VERSION, **more})


def ask_as(user: User, action: str, /, **more: str) -> Answer:
    form = {"Action": action, "Version": IAM_VERSION, **more}
    return send(user.kms, form, access_key_id=user.access_key_id, secret=user.secret)


def error_of(answer: Answer) -> tuple[int, str, str]:
    found = re.search(rb"<Code>(.*?)</Code><Message>(.*?)</Message>", answer.body, re.DOTALL)
    assert found is not None, answer
    return answer.status, found[1].decode(), found[2].decode()


# ── which operation ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_status_of_a_refusal_has_a_reason_phrase() -> None:
    assert set(QUERY_ERRORS.values()) <= set(_REASONS)


def test_no_action_has_a_name_that_another_service_has() -> None:
    names = [*OPERATIONS, *iam_shapes.OPERATIONS, *sts_shapes.OPERATIONS]
    assert len(names) == len(set(names))


def test_every_operation_whose_shapes_are_here_is_here() -> None:
    assert set(TABLE) == set(iam_shapes.OPERATIONS)


@pytest.mark.parametrize(
    ("service", "form", "code", "message"),
    [
        ("iam", {}, "MissingAction", "The request is missing an action."),
        ("iam", {"Action": ""}, "MissingAction", "The request is missing an action."),
        (
            "iam",
            {"Action": "GetUser"},
            "InvalidAction",
            "Could not find operation GetUser for version NO_VERSION_SPECIFIED",
        ),
        (
            "iam",
            {"Action": "GetUser", "Version": "2011-06-15"},
            "InvalidAction",
            "Could not find operation GetUser for version 2011-06-15",
        ),
        (
            "iam",
            {"Action": "Nothing", "Version": IAM_VERSION},
            "InvalidAction",
            f"Could not find operation Nothing for version {IAM_VERSION}",
        ),
        (
            "iam",
            {"Action": "GetCallerIdentity", "Version": "2011-06-15"},
            "InvalidAction",
            "Could not find operation GetCallerIdentity for version 2011-06-15",
        ),
        (
            "sts",
            {"Action": "CreateUser", "Version": IAM_VERSION, "UserName": "x"},
            "InvalidAction",
            f"Could not find operation CreateUser for version {IAM_VERSION}",
        ),
        (
            "iam",
            {"Action": "Encrypt", "Version": IAM_VERSION},
            "InvalidAction",
            f"Could not find operation Encrypt for version {IAM_VERSION}",
        ),
    ],
)
def test_what_is_no_operation_of_the_service_that_was_signed_for_is_refused(
    raw: RawKms, service: str, form: dict[str, str], code: str, message: str
) -> None:
    answer = send(raw, form, service)
    assert error_of(answer) == (400, code, message)
    namespace = {"iam": iam_shapes.NAMESPACE, "sts": sts_shapes.NAMESPACE}[service]
    assert f'<ErrorResponse xmlns="{namespace}">'.encode() in answer.body
    assert answer.headers["x-amzn-requestid"].encode() in answer.body


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_form_is_posted(installation: Installation, raw: RawKms, method: str) -> None:
    body = urllib.parse.urlencode({"Action": "ListUsers", "Version": IAM_VERSION}).encode()
    headers = signed_headers(f"127.0.0.1:{installation.port}", body, FORM, method=method, service="iam")
    assert error_of(raw.send_as_is(headers, body, method))[:2] == (400, "MissingAction")


def test_who_signs_for_another_service_is_refused(raw: RawKms) -> None:
    for service in ("kms", "s3", "IAM", ""):
        answer = send(raw, {"Action": "ListUsers", "Version": IAM_VERSION}, service)
        status, code, _ = error_of(answer)
        assert status in {400, 403}
        assert code in {"SignatureDoesNotMatch", "IncompleteSignature"}


def test_who_does_not_sign_is_nobody(installation: Installation, raw: RawKms) -> None:
    body = urllib.parse.urlencode({"Action": "ListUsers", "Version": IAM_VERSION}).encode()
    with Raw(installation.port) as connection:
        connection.send(raw_request([(b"Host", b"x"), *FORM, (b"Content-Length", str(len(body)).encode())], body))
        assert error_of(connection.read_answer())[:2] == (403, "MissingAuthenticationToken")


# ── which region ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_any_region_of_aws_can_be_signed_for_and_none_is_made_for_it(installation: Installation, raw: RawKms) -> None:
    before = [region["region"] for region in ask_admin(installation, "status")["regions"]]
    for region in ("ap-southeast-3", "sa-east-1"):
        assert region not in before
        for service, form in (
            ("iam", {"Action": "ListUsers", "Version": IAM_VERSION}),
            ("sts", {"Action": "GetCallerIdentity", "Version": "2011-06-15"}),
        ):
            assert send(raw, form, service, region=region).status == 200
    assert [region["region"] for region in ask_admin(installation, "status")["regions"]] == before
    assert {event["awsRegion"] for event in audit_records(installation)[-4:]} == {REGION}


def test_what_is_no_region_cannot_be_signed_for(raw: RawKms) -> None:
    for region in ("mars-1", "us-east-1x"):
        answer = send(raw, {"Action": "ListUsers", "Version": IAM_VERSION}, region=region)
        assert error_of(answer) == (403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region. ")


# ── what is recorded ────────────────────────────────────────────────────────────────────────────────────────────────


def events_since(installation: Installation, before: int) -> list[dict[str, Any]]:
    return audit_records(installation)[before:]


def test_a_change_is_recorded_before_it_happens_and_when_it_has(installation: Installation, raw: RawKms) -> None:
    user, before = fresh("u"), len(audit_records(installation))
    assert ask(raw, "CreateUser", UserName=user, **{"Tags.member.1.Key": "a", "Tags.member.1.Value": "b"}).status == 200
    intent, outcome = events_since(installation, before)
    for event in (intent, outcome):
        assert (event["eventSource"], event["eventName"], event["readOnly"]) == (
            "iam.amazonaws.com",
            "CreateUser",
            False,
        )
        assert event["requestParameters"] == {"userName": user, "tags": [{"key": "a", "value": "b"}]}
        assert event["userIdentity"]["type"] == "Root"
    assert (intent["phase"], outcome.get("phase")) == ("intent", None)
    made = outcome["responseElements"]["user"]
    assert (made["userName"], made["arn"], made["path"]) == (user, arn_of("user", user), "/")


def test_a_read_and_a_refusal_are_recorded_once(installation: Installation) -> None:
    caller = make_user(installation, fresh("u"), policy(allow("iam:ListUsers")))
    before = len(audit_records(installation))
    assert ask_as(caller, "ListUsers", MaxItems="1").status == 200
    assert error_of(ask_as(caller, "GetUser"))[:2] == (403, "AccessDenied")
    assert error_of(ask_as(caller, "CreateUser", UserName="x"))[:2] == (403, "AccessDenied")
    assert error_of(ask_as(caller, "Nothing"))[:2] == (400, "InvalidAction")
    found = events_since(installation, before)
    assert [(event["eventName"], event.get("errorCode"), event["eventSource"]) for event in found] == [
        ("ListUsers", None, "iam.amazonaws.com"),
        ("GetUser", "AccessDenied", "iam.amazonaws.com"),
        ("CreateUser", "AccessDenied", "iam.amazonaws.com"),
        ("UnknownOperation", "InvalidAction", "iam.amazonaws.com"),
    ]
    assert [event["readOnly"] for event in found] == [True, True, False, True]
    assert {event["userIdentity"]["arn"] for event in found} == {caller.arn}


def test_the_id_of_a_new_access_key_is_recorded_and_its_secret_is_not(installation: Installation, raw: RawKms) -> None:
    user = fresh("u")
    ask_iam(installation, "CreateUser", UserName=user)
    answer = ask(raw, "CreateAccessKey", UserName=user)
    (secret,) = re.findall(rb"<SecretAccessKey>(.*?)</SecretAccessKey>", answer.body)
    (access_key_id,) = re.findall(rb"<AccessKeyId>(.*?)</AccessKeyId>", answer.body)
    outcome = audit_records(installation)[-1]
    assert outcome["responseElements"]["accessKey"]["accessKeyId"] == access_key_id.decode()
    assert set(outcome["responseElements"]["accessKey"]) == {"userName", "accessKeyId", "status", "createDate"}
    assert secret.decode() not in str(audit_records(installation))
    assert secret not in installation.output.read_bytes()


def test_a_text_of_any_length_makes_no_record_longer_than_the_trail_takes(
    installation: Installation, raw: RawKms
) -> None:
    user = fresh("u")
    ask_iam(installation, "CreateUser", UserName=user)
    long = document(statement("kms:*", Sid="x" * 120_000))
    with nothing_breaks(installation):
        answer = ask(raw, "PutUserPolicy", UserName=user, PolicyName="p", PolicyDocument=long)
    assert error_of(answer)[0] in {400, 409}
    recorded = [event for event in audit_records(installation) if event["eventName"] == "PutUserPolicy"]
    assert recorded[-1]["requestParameters"]["omitted"] is True


# ── what cannot hurt ────────────────────────────────────────────────────────────────────────────────────────────────

HOSTILE = [
    b"",
    b"&",
    b"=",
    b"&&&&",
    b"Action",
    b"%",
    b"\xff\xfe\x00",
    b"Action=ListUsers&Version=2010-05-08&Action=DeleteUser",
    b"Action=ListUsers&Version=2010-05-08&action=DeleteUser",
    b"Action=ListUsers&Version=2010-05-08&MaxItems=" + b"9" * 5000,
    b"Action=ListUsers&Version=2010-05-08&MaxItems=-1",
    b"Action=ListUsers&Version=2010-05-08&Marker=" + b"%00" * 300,
    b"Action=CreateUser&Version=2010-05-08&UserName=" + b"x" * 400_000,
    b"Action=CreateUser&Version=2010-05-08&UserName=%F0%9F%94%91",
    b"Action=CreateUser&Version=2010-05-08&UserName=ok&Path=" + b"/x" * 100_000,
    b"Action=CreateUser&Version=2010-05-08&UserName=ok&Tags=x",
    b"Action=CreateUser&Version=2010-05-08&UserName=ok&Tags.member.999999999.Key=x",
    b"Action=CreateUser&Version=2010-05-08&UserName=ok&Tags.member.1.Key.a.b.c.d=x",
    b"Action=CreateUser&Version=2010-05-08&UserName.member.1=ok",
    b"Action=CreateUser&Version=2010-05-08&UserName=ok&" + b"&".join(b"x%d=1" % n for n in range(400)),
    b"Action=CreateUser&Version=2010-05-08&UserName=ok" + b".a" * 100_000,
    b"Action=CreateUser&Version=2010-05-08&" + b"UserName." * 50_000 + b"=x",
    b"Action=" + b"A" * 500_000 + b"&Version=2010-05-08",
    b"Action=<script>&Version=2010-05-08",
    b"Action=__class__&Version=2010-05-08",
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_a_bent_form_is_the_callers_fault_and_changes_nothing(
    installation: Installation, raw: RawKms, body: bytes
) -> None:
    users = ask_iam(installation, "GetAccountSummary")["SummaryMap"]["Users"]
    with nothing_breaks(installation):
        answer = send(raw, body)
        status, code, _ = error_of(answer)
        assert (status, code[:1].isupper()) == (400, True), answer
    assert b"<script>" not in answer.body
    assert ask_iam(installation, "GetAccountSummary")["SummaryMap"]["Users"] == users


@pytest.mark.parametrize("action", sorted(TABLE))
def test_every_action_stands_what_is_none_of_its_parameters(
    installation: Installation, raw: RawKms, action: str
) -> None:
    """Empty, odd and long values of each, and as lists and structures that they are not."""
    members = [member.name for member in structure_rule(iam_shapes.OPERATIONS[action].request).members]
    values = ("", "\u20ac", "a" * 3000, "x\0y", "{", "-1", "true")
    forms: list[dict[str, str]] = [{}, *(dict.fromkeys(members, value) for value in values)]
    forms += [dict.fromkeys((f"{name}.member.1" for name in members), "x"), {f"{name}.x": "y" for name in members}]
    with nothing_breaks(installation):
        for form in forms:
            answer = ask(raw, action, **form)
            assert answer.status < 500, (form, answer)


def test_a_form_that_was_exchanged_after_it_was_signed_is_refused(installation: Installation, raw: RawKms) -> None:
    body = urllib.parse.urlencode({"Action": "ListUsers", "Version": IAM_VERSION}).encode()
    headers = signed_headers(f"127.0.0.1:{installation.port}", body, FORM, service="iam")
    assert raw.send_as_is(headers, body).status == 200
    answer = raw.send_as_is(headers, body.replace(b"ListUsers", b"ListRoles"))
    assert error_of(answer)[:2] == (403, "SignatureDoesNotMatch")
