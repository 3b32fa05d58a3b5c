"""Whoever asks why somebody could not be authenticated is told what was wrong, and no secret; he himself what AWS tells."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.exceptions import ClientError

from strongroom.kms.admin.authentication import format_stranger
from strongroom.kms.identities.sessions import EXPIRED
from strongroom.kms.telemetry import strangers as room
from strongroom.kms.telemetry.strangers import Stranger, Strangers
from testkit.identities import fresh, iam_client, statement
from testkit.installation import ACCOUNT, Installation
from testkit.raw import Answer, RawKms, amz_date, signed_headers
from testkit.sessions import as_client, assume, make_caller, make_role

OTHERWISE = "So it was signed with another secret, or changed on its way"
INVALID = "The security token included in the request is invalid."


def why(installation: Installation, request_id: str) -> str:
    done = installation.cli("iam", "why", request_id, "--home", str(installation.home), check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def id_of(answer: Answer) -> str:
    return answer.headers["x-amzn-requestid"]


@pytest.fixture
def caller(installation: Installation) -> dict[str, Any]:
    return make_caller(installation, statement("*"))


def test_a_wrong_secret_is_told_as_that_with_whose_key_it_is(
    installation: Installation, caller: dict[str, Any]
) -> None:
    key_id, user = caller["AccessKeyId"], caller["Arn"].rpartition("/")[2]
    wrong = f"wrong-{fresh()}"
    answer = RawKms(installation, key_id, wrong).call("ListKeys")
    told = why(installation, id_of(answer))
    first, second, *_ = told.splitlines()
    assert first.endswith(f"somebody who could not be authenticated sent request {id_of(answer)} from 127.0.0.1")
    assert second == f"it was refused: {answer.code}: {answer.message}"
    assert f"{key_id} is an access key of the user {user} of the account {ACCOUNT}." in told
    assert OTHERWISE in told
    assert wrong not in told
    assert caller["SecretAccessKey"] not in told


def test_a_key_that_is_not_there_or_inactive_is_told_to_the_operator_and_to_nobody_else(
    installation: Installation, caller: dict[str, Any]
) -> None:
    absent = RawKms(installation, "AKIAIOSFODNN7EXAMPLE", "x" * 40).call("ListKeys")
    iam_client(installation).update_access_key(
        UserName=caller["Arn"].rpartition("/")[2], AccessKeyId=caller["AccessKeyId"], Status="Inactive"
    )
    inactive = RawKms(installation, caller["AccessKeyId"], caller["SecretAccessKey"]).call("ListKeys")
    assert (absent.code, absent.message) == (inactive.code, inactive.message)
    assert "There is no access key AKIAIOSFODNN7EXAMPLE in this home." in why(installation, id_of(absent))
    told = why(installation, id_of(inactive))
    assert told.splitlines()[-1] == "It is inactive."
    assert "the user" in told


@pytest.mark.parametrize(("offset_s", "words"), [(-3_600, "Signature expired"), (3_600, "Signature not yet current")])
def test_a_wrong_clock_is_told_as_that(installation: Installation, offset_s: int, words: str) -> None:
    answer = RawKms(installation).call("ListKeys", date=amz_date(offset_s))
    told = why(installation, id_of(answer))
    assert words in told
    assert told.splitlines()[-1].startswith("The clocks of caller and service are more than five minutes apart")


def test_what_was_not_signed_is_told_as_that(installation: Installation) -> None:
    raw = RawKms(installation)
    kms = [(b"Host", b"127.0.0.1"), (b"X-Amz-Target", b"TrentService.ListKeys"), (b"Content-Length", b"2")]
    nothing = raw.send_as_is(kms, b"{}")
    assert nothing.code == "MissingAuthenticationTokenException"
    form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleSessionName": "me"}
    body = urlencode({**form, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/a", "WebIdentityToken": "no.token.x"}).encode()
    sts = [(b"Host", b"127.0.0.1"), (b"Content-Type", b"application/x-www-form-urlencoded")]
    forged = raw.send_as_is([*sts, (b"Content-Length", str(len(body)).encode())], body)
    for answer, code in ((nothing, "MissingAuthenticationTokenException"), (forged, "InvalidIdentityToken")):
        told = why(installation, id_of(answer))
        assert f"it was refused: {code}: " in told
        assert "It named no access key" in told
        assert "no.token.x" not in told


def test_a_session_without_its_token_is_told_as_that(installation: Installation, caller: dict[str, Any]) -> None:
    session = assume(installation, caller, make_role(installation, caller["Arn"]))
    key_id, secret, token = session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]
    answer = RawKms(installation, key_id, secret).call("ListKeys")
    assert answer.message == INVALID
    told = why(installation, id_of(answer))
    assert f"{key_id} is a temporary access key." in told
    assert "Its session token is missing, or not the one that came with it" in told
    with pytest.raises(ClientError) as caught:
        as_client(installation, "kms", {**session, "SecretAccessKey": "x" * 40}).list_keys()
    response: Any = caught.value.response
    told = why(installation, response["ResponseMetadata"]["RequestId"])
    assert OTHERWISE in told
    assert token not in told
    # A token beside a permanent key is one that nobody gave out.
    with pytest.raises(ClientError) as caught:
        as_client(installation, "kms", {**caller, "SessionToken": token}).list_keys()
    response = caught.value.response
    assert response["Error"]["Message"] == INVALID
    told = why(installation, response["ResponseMetadata"]["RequestId"])
    assert told.splitlines()[-1].startswith("It is active now. A session token beside it would be refused")


def test_a_refusal_that_says_itself_what_is_wrong_is_given_no_other_reason(installation: Installation) -> None:
    body = b"{}"
    headers = [(b"X-Amz-Target", b"TrentService.ListKeys"), (b"Content-Type", b"application/x-amz-json-1.1")]
    host = f"127.0.0.1:{installation.port}"
    answer = RawKms(installation).send_as_is(signed_headers(host, body, headers, region="nowhere-1"), body)
    assert (answer.code, answer.message) == (
        "InvalidSignatureException",
        "Credential should be scoped to a valid region. ",
    )
    told = why(installation, id_of(answer))
    assert told.splitlines()[-1] == f"test is an access key of the root of the account {ACCOUNT}."


def test_what_is_in_the_trail_is_told_from_there_and_of_others_nothing(installation: Installation) -> None:
    answer = RawKms(installation).call("ListKeys")
    assert why(installation, id_of(answer)).splitlines()[1] == "it succeeded"
    for words in ((fresh(),), (fresh(), "--home"), ("--home", str(installation.home), "a", "b")):
        done = installation.cli("iam", "why", *words, check=False)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr


def test_no_words_of_a_caller_act_on_an_operators_terminal_or_begin_a_line(installation: Installation) -> None:
    raw = RawKms(installation)
    words = "a\x1b[2J\n2026 forged\u202e"
    form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleSessionName": words}
    body = urlencode({**form, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/a", "WebIdentityToken": "no.token.x"}).encode()
    sts = [(b"Host", b"127.0.0.1"), (b"Content-Type", b"application/x-www-form-urlencoded")]
    of_nobody = raw.send_as_is([*sts, (b"Content-Length", str(len(body)).encode())], body)
    recorded = RawKms(installation).call("DescribeKey", {"KeyId": f"alias/{words}"})
    for answer in (of_nobody, recorded):
        told = why(installation, id_of(answer))
        assert all(line.isprintable() for line in told.splitlines()), told
        assert "\\x1b[2J\\n2026 forged\\u202e" in told


def test_of_a_session_that_is_over_that_is_told() -> None:
    over = Stranger(0.0, "ExpiredTokenException", EXPIRED, "192.0.2.1", "ASIAIOSFODNN7EXAMPLE")

    async def lines() -> list[str]:
        nothing: Any = None
        return await format_stranger(nothing, "an-id", over)

    assert asyncio.run(lines())[-1] == "Its session is over."


def test_what_is_remembered_is_bounded_and_holds_no_signature() -> None:
    strangers = Strangers(lambda: 1.0)
    header = b"AWS4-HMAC-SHA256 Credential=%b/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=abc"
    for number in range(room.KEPT_MAX + 10):
        strangers.note(str(number), "A", "m" * 10_000, "192.0.2.1", header % b"AKIA")
    assert strangers.find("9") is None
    found = strangers.find("10")
    assert found is not None
    assert (found.access_key_id, len(found.message)) == ("AKIA", 512)
    assert "abc" not in repr(found)
    for claim in (None, b"", header % b"", header % b"\xff", header % (b"A" * 129), b"Credential=AKIA"):
        strangers.note("x", "A", "", "", claim)
        found = strangers.find("x")
        assert found is not None
        assert not found.access_key_id
