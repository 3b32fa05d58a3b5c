"""Whoever asks why is told: of a request that was refused, and of one that nobody sent."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents, Question, evaluate
from strongroom.kms.iam.principals import user_principal
from strongroom.kms.reasons import Reasons
from testkit.installation import ACCOUNT, REGION, Installation, client
from testkit.raw import RawKms, allow, assert_allowed, policy

ROOT = f"arn:aws:iam::{ACCOUNT}:root"


@dataclass
class Scene:
    """A key, and a user who may encrypt for one tenant only, and never delete."""

    installation: Installation
    key_id: str
    user_arn: str
    kms: RawKms

    def cli(self, *words: str) -> tuple[int, str]:
        done = self.installation.cli("iam", *words, "--home", str(self.installation.home), check=False)
        return done.returncode, done.stdout + done.stderr

    def why(self, operation: str, **request: Any) -> tuple[str, str]:
        answer = self.kms.call(operation, {"KeyId": self.key_id, **request})
        code, told = self.cli("why", answer.headers["x-amzn-requestid"])
        assert code == 0, told
        return answer.code, told

    def explain(self, action: str, *context: str, principal: str = "", key: str = "") -> tuple[int, str]:
        pairs = [word for pair in context for word in ("--context", pair)]
        asked = ("--principal", principal or self.user_arn, "--action", action, "--key", key or self.key_id)
        return self.cli("explain", *asked, *pairs)


@pytest.fixture(scope="module")
def scene(installation: Installation) -> Iterator[Scene]:
    root = RawKms(installation)
    key_id = assert_allowed(root.call("CreateKey"))["KeyMetadata"]["KeyId"]
    iam = client("iam", installation.port, "test", "test")
    name = f"reasons-{uuid.uuid4().hex}"
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    tenant = {"StringEquals": {"kms:EncryptionContext:tenant": "red"}}
    document = policy(
        {"Sid": "OneTenant", "Effect": "Allow", "Action": "kms:Encrypt", "Resource": "*", "Condition": tenant},
        {"Sid": "NeverDelete", "Effect": "Deny", "Action": "kms:ScheduleKeyDeletion", "Resource": "*"},
    )
    iam.put_user_policy(UserName=name, PolicyName="tenants", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    kms = RawKms(installation, key["AccessKeyId"], key["SecretAccessKey"])
    yield Scene(installation, key_id, arn, kms)
    kms.close()
    root.close()
    iam.close()


def test_a_refused_request_is_explained_with_the_condition_that_failed_and_both_values(scene: Scene) -> None:
    code, told = scene.why("Encrypt", Plaintext="eA==", EncryptionContext={"tenant": "blue"})
    assert code == "AccessDeniedException"
    assert f"{scene.user_arn} called Encrypt in {REGION} from 127.0.0.1" in told
    assert "denied because no identity-based policy allows the kms:Encrypt action" in told
    assert "Statement[0] (OneTenant) of an identity policy tenants would allow if" in told
    assert "StringEquals held for kms:EncryptionContext:tenant, which is 'blue', against 'red'" in told


def test_an_explicit_deny_is_named(scene: Scene) -> None:
    code, told = scene.why("ScheduleKeyDeletion")
    assert code == "AccessDeniedException"
    assert "Statement[1] (NeverDelete) of an identity policy tenants denies. It would not if it were not there." in told


def test_what_succeeded_and_what_no_policy_refused_is_told_as_that(scene: Scene) -> None:
    code, told = scene.why("Encrypt", Plaintext="eA==", EncryptionContext={"tenant": "red"})
    assert (code, told.splitlines()[1]) == ("", "it succeeded")
    code, told = scene.why("DescribeKey", KeyId=str(uuid.uuid4()))
    assert code == "NotFoundException"
    assert told.splitlines()[-2:] == [
        "there is nothing of this name in the caller's account and region",
        "no policy decided that",
    ]


def test_a_request_that_nobody_sent_is_told_as_that(scene: Scene) -> None:
    code, told = scene.cli("why", str(uuid.uuid4()))
    assert code == 1
    assert "no request" in told


def test_without_an_id_the_newest_refusal_of_somebody_is_told(scene: Scene) -> None:
    answer = scene.kms.call("DisableKey", {"KeyId": scene.key_id})
    assert scene.kms.call("GenerateRandom", {"NumberOfBytes": 8}).code == "AccessDeniedException"
    code, told = scene.cli("why", "--principal", scene.user_arn)
    assert code == 0
    assert f"{scene.user_arn} called GenerateRandom" in told
    assert answer.headers["x-amzn-requestid"] not in told
    code, told = scene.cli("why", "--principal", "arn:aws:iam::999999999999:root")
    assert (code, "no request that a policy refused" in told) == (1, True)


def test_the_caller_is_told_no_more_than_aws_tells(scene: Scene) -> None:
    answer = scene.kms.call(
        "Encrypt", {"KeyId": scene.key_id, "Plaintext": "eA==", "EncryptionContext": {"tenant": "b"}}
    )
    assert "OneTenant" not in answer.body.decode()
    assert set(answer.json) == {"__type", "message"}


def test_explaining_needs_no_request_and_says_what_a_request_would_get(scene: Scene) -> None:
    assert scene.explain("kms:Encrypt", "tenant=red")[0] == 0
    code, told = scene.explain("Encrypt", "tenant=blue")
    assert code == 3
    assert "which is 'blue', against 'red'" in told
    code, told = scene.explain("kms:Encrypt")
    assert code == 3
    assert "which is absent, against 'red'" in told
    assert scene.explain("kms:Encrypt", "kms:EncryptionContext:tenant=red")[0] == 0
    assert scene.explain("kms:DescribeKey", principal=ROOT)[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"principal": f"arn:aws:iam::{ACCOUNT}:user/nobody"}, "there is no"),
        ({"principal": f"arn:aws:iam::{ACCOUNT}:role/nobody"}, "there is no"),
        ({"principal": "arn:aws:iam::999999999999:root"}, "there is no"),
        ({"principal": "alice"}, "is not the ARN of"),
        ({"key": "alias/nothing-of-this-name"}, "NotFoundException"),
    ],
)
def test_a_question_about_nothing_is_refused_in_words(scene: Scene, words: dict[str, str], said: str) -> None:
    code, told = scene.explain("kms:Encrypt", **words)
    assert code == 1
    assert said in told
    assert "Traceback" not in told


def test_what_an_answer_does_not_know_is_said(scene: Scene) -> None:
    assert "Assumed: aws:SourceIp 127.0.0.1; name another value" in scene.explain("kms:Encrypt", "tenant=red")[1]
    assert "Assumed" not in scene.explain("kms:Encrypt", "tenant=red", "aws:SourceIp=192.0.2.7")[1]
    root = RawKms(scene.installation)
    assert_allowed(root.call("DisableKey", {"KeyId": scene.key_id}))
    assert "the key's state is Disabled" in scene.explain("kms:Encrypt", "tenant=red")[1]
    assert_allowed(root.call("EnableKey", {"KeyId": scene.key_id}))
    root.close()
    code, told = scene.explain("kms:Decypt")
    assert (code, "kms:Decypt is no action of KMS" in told) == (1, True)
    code, told = scene.explain("iam:CreateUser")
    assert (code, "iam:CreateUser is on what an ARN names" in told) == (1, True)


def test_what_is_not_there_is_told_as_that(scene: Scene) -> None:
    absent = f"arn:aws:kms:{REGION}:999999999999:key/{uuid.uuid4()}"
    root = RawKms(scene.installation)
    answer = root.call("DescribeKey", {"KeyId": absent})
    root.close()
    code, told = scene.cli("why", answer.headers["x-amzn-requestid"])
    assert (answer.code, code) == ("AccessDeniedException", 0)
    assert "there is nothing of this name" in told


def test_an_alias_that_is_not_there_in_another_account_is_told_to_the_operator_and_to_nobody_else(scene: Scene) -> None:
    absent = f"arn:aws:kms:{REGION}:999999999999:alias/nothing"
    code, told = scene.why("Encrypt", KeyId=absent, Plaintext="eA==")
    assert code == "AccessDeniedException"
    assert told.splitlines()[-2:] == [
        f"kms:Encrypt on {absent}",
        "there is no such alias, or this action is not open across accounts",
    ]
    code, told = scene.why("Encrypt", KeyId="alias/nothing", Plaintext="eA==")
    assert code == "NotFoundException"
    assert "there is nothing of this name" in told


def test_a_ciphertext_that_no_key_made_is_told_as_that(scene: Scene) -> None:
    root = RawKms(scene.installation)
    key_id = assert_allowed(root.call("CreateKey"))["KeyMetadata"]["KeyId"]
    blob = assert_allowed(root.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="}))["CiphertextBlob"]
    data = base64.b64decode(blob)
    # Another HBKID, which no key has.
    foreign = data[:8] + bytes(byte ^ 1 for byte in data[8:20]) + data[20:]
    answer = root.call("Decrypt", {"CiphertextBlob": base64.b64encode(foreign).decode()})
    changed = root.call("Decrypt", {"CiphertextBlob": base64.b64encode(data[:-1] + bytes([data[-1] ^ 1])).decode()})
    root.close()
    assert (answer.code, changed.code) == ("AccessDeniedException", "InvalidCiphertextException")
    assert "no key of this region" not in answer.body.decode()
    code, told = scene.cli("why", answer.headers["x-amzn-requestid"])
    assert code == 0
    assert "kms:Decrypt on a ciphertext\nno key of this region made it" in told
    code, told = scene.cli("why", changed.headers["x-amzn-requestid"])
    assert "or was changed, or had another encryption context\nno policy decided that" in told


def test_a_pair_without_a_value_is_refused_in_words(scene: Scene) -> None:
    code, told = scene.explain("kms:Encrypt", "tenant")
    assert (code, "'tenant' is not of the form name=value" in told) == (1, True)


def test_explaining_asks_what_requests_ask_for_roles_and_their_sessions(scene: Scene) -> None:
    iam = client("iam", scene.installation.port, "test", "test")
    name = f"reasons-{uuid.uuid4().hex}"
    trust = policy({"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "sts:AssumeRole"})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/me"
    for principal in (role, session):
        assert scene.explain("kms:Decrypt", principal=principal)[0] == 3
    allowing = policy({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"})
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=allowing)
    iam.close()
    for principal in (role, session):
        assert scene.explain("kms:Decrypt", principal=principal)[0] == 0


# ── how much it costs ───────────────────────────────────────────────────────────────────────────────────────────────────


def _question(statements: int) -> Question:
    text = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                allow("kms:Decrypt" if n == statements - 1 else "kms:Encrypt", Principal={"AWS": ROOT}, Sid=f"S{n}")
                for n in range(statements)
            ],
        }
    )
    asking = user_principal(ACCOUNT, "bob", "AIDA1", "AKIA1")
    document = parse_policy(text, PolicyKind.KEY)
    arn = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/k"
    return Question(asking, Documents(), "kms:Decrypt", arn, resource_policy=document, resource_account=ACCOUNT)


def test_a_reason_is_bounded_and_shows_what_is_about_the_action_first() -> None:
    question = _question(300)
    reason = json.loads(bytes(Reasons().of(question, evaluate(question))))
    text = "\n".join(reason["trace"])
    assert "(S299)" in text
    assert "and 236 more statements" in text or reason["lines_left_out"] > 0
    assert len(text) <= 8_192 + len(reason["trace"])


def test_a_reason_is_worked_out_once_for_a_decision_that_is_kept() -> None:
    question, reasons = _question(2), Reasons()
    decision = evaluate(question)
    assert reasons.of(question, decision) is reasons.of(question, decision)
    assert reasons.of(question, evaluate(question)) is not reasons.of(question, decision)


def test_a_reason_is_about_the_key_that_was_asked_for_where_keys_share_a_decision() -> None:
    question, reasons = _question(2), Reasons()
    decision = evaluate(question)
    for arn in (question.resource_arn, f"arn:aws:kms:{REGION}:{ACCOUNT}:key/other"):
        asked = msgspec.structs.replace(question, resource_arn=arn)
        assert json.loads(bytes(reasons.of(asked, decision)))["resource"] == arn


def test_whoever_is_refused_all_the_time_gets_so_much_of_a_workers_and_others_theirs() -> None:
    now, worked = [10.0], [0.0]

    def work() -> float:
        """Every look at this clock finds 16 milliseconds more."""
        worked[0] += 1 / 64
        return worked[0]

    reasons, question = Reasons(lambda: now[0], work), _question(2)
    bob, alice = (
        question,
        msgspec.structs.replace(question, principal=user_principal(ACCOUNT, "alice", "AIDA2", "AKIA2")),
    )

    def traced(asked: Question) -> bool:
        reason = json.loads(bytes(reasons.of(asked, evaluate(asked))))
        assert (reason["action"], reason["resource"], reason["verdict"]) == (
            *("kms:Decrypt", question.resource_arn, "implicit deny"),
        )
        assert reason["trace"][0] == "denied because no identity-based policy allows the kms:Decrypt action"
        return "not looked into" not in "".join(reason["trace"])

    assert [traced(bob) for _ in range(8)] == [True] * 4 + [False] * 4
    assert traced(alice)
    now[0] += 1
    assert traced(bob)


def test_the_record_says_why_somebody_was_refused_what_is_not_there_in_another_account(scene: Scene) -> None:
    nowhere = f"arn:aws:kms:{REGION}:999999999999:key/{uuid.uuid4()}"
    answer = scene.kms.call("Encrypt", {"KeyId": nowhere, "Plaintext": "eA=="})
    code, told = scene.cli("why", answer.headers["x-amzn-requestid"])
    assert (code, answer.code) == (0, "AccessDeniedException")
    assert "OneTenant" in told
