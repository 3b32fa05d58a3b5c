"""Whoever asks why somebody may not assume a role is told which half refuses; and what session policies do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from strongroom.kms.iam.documents import PolicyKind, parse_policy
from strongroom.kms.iam.evaluate import Documents, Question
from strongroom.kms.iam.halves import Halves, halves_of_role
from strongroom.kms.iam.principals import user_principal
from testkit.accounts import make_account
from testkit.identities import document, fresh, iam_client, statement, trust
from testkit.installation import ACCOUNT, Installation
from testkit.sessions import answer_of, as_client, make_caller, make_role, trusting

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
ROLE_ALLOWS, ROLE_REFUSES = "its trust policy: allows", "its trust policy: refuses."
CALLER_ALLOWS, CALLER_REFUSES = "own policies and limits: allows.", "own policies and limits: refuses."
ENOUGH = ", by his name, which in one account is enough."


def explain(installation: Installation, principal: str, action: str, *words: str) -> tuple[int, str]:
    asked = ("explain", "--principal", principal, "--action", action, *words, "--home", str(installation.home))
    done = installation.cli("iam", *asked, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def may_assume(installation: Installation, caller: dict[str, Any], role: dict[str, Any], **request: Any) -> bool:
    try:
        answer_of(installation, caller, role, **request)
    except ClientError as error:
        response: Any = error.response
        assert response["Error"]["Code"] == "AccessDenied"
        return False
    return True


@pytest.mark.parametrize(
    ("own", "trusted", "said"),
    [
        ([], ROOT, (ROLE_ALLOWS, CALLER_REFUSES)),
        ([statement("sts:AssumeRole")], ROOT, (ROLE_ALLOWS, CALLER_ALLOWS)),
        ([statement("sts:AssumeRole")], "somebody else", (ROLE_REFUSES, CALLER_ALLOWS)),
        ([], "somebody else", (ROLE_REFUSES, CALLER_REFUSES)),
        ([], "himself", (ROLE_ALLOWS + ENOUGH, CALLER_REFUSES)),
        ([statement("sts:*", effect="Deny")], "himself", (ROLE_ALLOWS + ".", CALLER_REFUSES)),
    ],
)
def test_the_half_that_refuses_is_named_and_a_request_gets_what_was_explained(
    installation: Installation, own: list[dict[str, Any]], trusted: str, said: tuple[str, str]
) -> None:
    caller, other = make_caller(installation, *own), make_caller(installation)
    arns = {"himself": caller["Arn"], "somebody else": other["Arn"]}
    role = make_role(installation, arns.get(trusted, trusted))
    code, told = explain(installation, caller["Arn"], "sts:AssumeRole", "--resource", role["Arn"])
    assert (code == 0) is may_assume(installation, caller, role)
    assert all(words in told for words in said), told
    assert code in {0, 3}


def test_across_accounts_both_halves_are_needed(installation: Installation) -> None:
    account, access_key_id, secret = make_account(installation)
    stranger = {"AccessKeyId": access_key_id, "SecretAccessKey": secret}
    arn = as_client(installation, "sts", stranger).get_caller_identity()["Arn"]
    for trusted, said in ((account, ROLE_ALLOWS), (ROOT, ROLE_REFUSES)):
        role = make_role(installation, trusted)
        code, told = explain(installation, arn, "sts:AssumeRole", "--resource", role["Arn"])
        assert (code == 0) is may_assume(installation, stranger, role) is (said == ROLE_ALLOWS)
        assert said in told
        assert CALLER_ALLOWS in told


def test_what_a_trust_policy_asks_for_can_be_stated(installation: Installation) -> None:
    caller = make_caller(installation, statement("sts:AssumeRole"))
    text = document(trusting("sts:AssumeRole", Condition={"StringEquals": {"sts:ExternalId": "blue"}}))
    role = make_role(installation, text=text)
    asked = ("sts:AssumeRole", "--resource", role["Arn"])
    code, told = explain(installation, caller["Arn"], *asked)
    assert (code, ROLE_REFUSES in told) == (3, True)
    assert "StringEquals held for sts:ExternalId, which is absent, against 'blue'" in told
    assert explain(installation, caller["Arn"], *asked, "--context", "sts:ExternalId=red")[0] == 3
    assert explain(installation, caller["Arn"], *asked, "--context", "sts:ExternalId=blue")[0] == 0
    assert may_assume(installation, caller, role, ExternalId="blue")
    code, told = explain(
        installation, caller["Arn"], "sts:TagSession", *asked[1:], "--context", "aws:RequestTag/team=a"
    )
    assert (code, "Nothing in a role trust policy allows sts:TagSession" in told) == (3, True)


def test_a_role_that_is_not_there_is_told_as_that(installation: Installation) -> None:
    caller = make_caller(installation, statement("sts:AssumeRole"))
    absent = f"arn:aws:iam::{ACCOUNT}:role/{fresh()}"
    code, told = explain(installation, caller["Arn"], "sts:AssumeRole", "--resource", absent)
    assert (code, f"There is no {absent}: it is trusted by nobody." in told) == (3, True)
    code, told = explain(installation, ROOT, "sts:AssumeRole", "--resource", make_role(installation)["Arn"])
    assert "Policies apart, roles may not be assumed by root accounts." in told


def test_what_iam_would_decide_is_explained_with_the_tags_of_what_it_is_on(installation: Installation) -> None:
    mine = statement("iam:DeleteUser", Condition={"StringEquals": {"iam:ResourceTag/team": "mine"}})
    caller = make_caller(installation, mine, statement("iam:CreateUser", Resource=f"arn:aws:iam::{ACCOUNT}:user/a/*"))
    iam = iam_client(installation)
    for team, wanted in (("mine", 0), ("yours", 3)):
        user = iam.create_user(UserName=fresh(), Tags=[{"Key": "team", "Value": team}])["User"]
        code, told = explain(installation, caller["Arn"], "iam:DeleteUser", "--resource", user["Arn"])
        assert code == wanted
        if code:
            assert "which is 'yours', against 'mine'" in told
            assert "half" not in told
        refused = ""
        try:
            as_client(installation, "iam", caller).delete_user(UserName=user["UserName"])
        except ClientError as error:
            response: Any = error.response
            refused = response["Error"]["Code"]
        assert bool(refused) is bool(wanted)
    absent = f"arn:aws:iam::{ACCOUNT}:user/a/{fresh()}"
    code, told = explain(installation, caller["Arn"], "iam:createuser", "--resource", absent)
    assert (code, f"There is no {absent}: it has no tags." in told) == (0, True)
    policy_arn = "arn:aws:iam::aws:policy/AdministratorAccess"
    code, told = explain(installation, caller["Arn"], "iam:GetPolicy", "--resource", policy_arn)
    assert (code, "There is no" in told) == (3, False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sts:AssumeRole",), "one of the arguments --key --resource is required"),
        (("sts:AssumeRole", "--key", "alias/a"), "sts:AssumeRole is on what an ARN names: name it with --resource"),
        (("kms:Decrypt", "--resource", ROOT), "kms:Decrypt is on a key: name it with --key"),
        (("sts:AssumeRole", "--resource", "role/a"), "role/a is no role's ARN"),
        (("sts:AssumeRole", "--resource", "arn:aws:iam::1:role/a"), "arn:aws:iam::1:role/a is invalid"),
        (("sts:GetCallerIdentity", "--resource", "*"), "needs no permission, and no policy can forbid it"),
        (("sts:GetSessionToken", "--resource", "*"), "needs no permission, and no policy can forbid it"),
        (("iam:CreateUsr", "--resource", "*"), "iam:CreateUsr is no action of IAM or STS here"),
        (
            ("iam:GetUser", "--resource", "arn:aws:iam::999999999999:user/a"),
            "and arn:aws:iam::999999999999:user/a is of",
        ),
        (("iam:GetUser", "--resource", "*", "--context", "a"), "'a' is not of the form name=value"),
        (("iam:GetUser", "--resource", "*", "--session-policy", "{}"), "it has no session policies"),
    ],
)
def test_a_question_that_is_none_is_refused_in_words(
    installation: Installation, words: tuple[str, ...], said: str
) -> None:
    code, told = explain(installation, ROOT, *words)
    assert code in {1, 2}
    assert said in told


def test_session_policies_limit_what_a_role_may(installation: Installation, key_id: str, tmp_path: Path) -> None:
    role = make_role(installation)
    only_encrypt = tmp_path / "session.json"
    only_encrypt.write_text(document(statement("kms:Encrypt")))
    asked = ("--key", key_id, "--session-policy")
    assert explain(installation, role["Arn"], "kms:Encrypt", *asked, str(only_encrypt))[0] == 0
    assert explain(installation, role["Arn"], "kms:Encrypt", *asked, document(statement("kms:*")))[0] == 0
    code, told = explain(installation, role["Arn"], "kms:Decrypt", *asked, str(only_encrypt))
    assert code == 3
    assert "denied because no session policy allows the kms:Decrypt action" in told
    assert "Statement[0] of a session policy session policy: Allow, does not apply" in told
    assert "Not known here: the tags that a session was given when it began." in told
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role['RoleName']}/me"
    for arn, code in (("arn:aws:iam::aws:policy/AdministratorAccess", 0), ("arn:aws:iam::aws:policy/IAMFullAccess", 3)):
        assert explain(installation, session, "kms:Decrypt", *asked, arn)[0] == code
    # They limit what STS is asked for, too.
    other = make_role(installation)
    wanted = ("sts:AssumeRole", "--resource", other["Arn"])
    assert explain(installation, role["Arn"], *wanted)[0] == 0
    code, told = explain(installation, role["Arn"], *wanted, "--session-policy", str(only_encrypt))
    assert (code, CALLER_REFUSES in told) == (3, True)


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        (("nowhere.json",), "the document 'nowhere.json' cannot be read"),
        (('{"Statement":[]',), "the session policy: "),
        ((document(statement("*")), document(statement("*"))), "a session has one policy that is no managed one"),
        (("arn:aws:iam::aws:policy/Nothing",), "there is no arn:aws:iam::aws:policy/Nothing"),
    ],
)
def test_a_session_policy_that_no_session_could_have_is_refused_in_words(
    installation: Installation, policies: tuple[str, ...], said: str
) -> None:
    role = make_role(installation)
    words = [word for text in policies for word in ("--session-policy", text)]
    code, told = explain(installation, role["Arn"], "kms:Decrypt", "--key", "alias/any", *words)
    assert (code, said in told) == (1, True), told


@pytest.mark.parametrize(
    ("own", "trusting_text", "halves"),
    [
        ((), trust("arn:aws:iam::111111111111:user/alice"), Halves(resource=True, caller=False, is_enough=True)),
        ((), trust("111111111111"), Halves(resource=True, caller=False, is_enough=False)),
        (("sts:AssumeRole",), trust("111111111111"), Halves(resource=True, caller=True, is_enough=False)),
        (("sts:AssumeRole",), trust("222222222222"), Halves(resource=False, caller=True, is_enough=False)),
    ],
)
def test_each_half_is_what_is_decided_when_the_other_one_lets_everything_pass(
    own: tuple[str, ...], trusting_text: str, halves: Halves
) -> None:
    account = "111111111111"
    documents = Documents((parse_policy(document(statement(*own)), PolicyKind.IDENTITY),) if own else ())
    question = Question(
        user_principal(account, "alice", "AIDA", "AKIA"),
        documents,
        "sts:AssumeRole",
        f"arn:aws:iam::{account}:role/a",
        resource_policy=parse_policy(trusting_text, PolicyKind.TRUST),
        resource_account=account,
    )
    assert halves_of_role(question) == halves
