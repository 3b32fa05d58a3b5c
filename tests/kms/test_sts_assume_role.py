"""AssumeRole over HTTP with boto3: who may, what a session may be told, what it may do, and when it ends.

Wordings that are AWS's: root accounts kubeflow/testing#961; role chaining eks-anywhere#9485; packed size
aws/containers-roadmap#2413; tags and transitive keys as LocalStack recorded them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from testkit.accounts import make_account
from testkit.identities import document, fresh, iam_client, refused, statement, trust
from testkit.installation import ACCOUNT, Installation
from testkit.raw import RawKms, ask_iam, assert_refused, audit_records
from testkit.sessions import answer_of, as_client, assume, kms_refused, make_caller, make_role, trusting
from testkit.workers import Workers

MAY_ASSUME = statement("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
CONTEXTS = "arn:aws:iam::aws:contextProvider/IdentityCenter"
MAY_BE_ASSUMED = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")


def denied(caller: Any, role: Any, action: str = "sts:AssumeRole", reason: str = "") -> str:
    sentence = f"User: {caller['Arn']} is not authorized to perform: {action} on resource: {role['Arn']}"
    return f"{sentence} {reason}".rstrip()


NOT_TRUSTED = "because no role trust policy allows the sts:AssumeRole action"
NOT_PERMITTED = "because no identity-based policy allows the sts:AssumeRole action"


# ── who may ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_is_who_the_role_is(installation: Installation) -> None:
    caller = make_caller(installation)
    role = make_role(installation, caller["Arn"], Path="/team/")
    answer = answer_of(installation, caller, role, RoleSessionName="night.shift@x")
    credentials, user = answer["Credentials"], answer["AssumedRoleUser"]
    assert credentials["AccessKeyId"].startswith("ASIA")
    assert (len(credentials["AccessKeyId"]), len(credentials["SecretAccessKey"])) == (20, 40)
    # Its path is no part of a session's ARN.
    assert user["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{role['RoleName']}/night.shift@x"
    assert user["AssumedRoleId"] == f"{role['RoleId']}:night.shift@x"
    assert "PackedPolicySize" not in answer
    who = as_client(installation, "sts", credentials).get_caller_identity()
    assert (who["Arn"], who["UserId"], who["Account"]) == (user["Arn"], user["AssumedRoleId"], ACCOUNT)
    key = as_client(installation, "kms", credentials).create_key()["KeyMetadata"]
    assert as_client(installation, "kms", credentials).encrypt(KeyId=key["KeyId"], Plaintext=b"x")


def test_who_is_named_needs_no_policy_and_whose_account_is_named_does(installation: Installation) -> None:
    bare, allowed = make_caller(installation), make_caller(installation, MAY_ASSUME)
    naming, trusting_account = make_role(installation, bare["Arn"]), make_role(installation)
    assert assume(installation, bare, naming)
    assert assume(installation, allowed, trusting_account)
    with refused("AccessDenied", denied(allowed, naming, reason=NOT_TRUSTED)):
        assume(installation, allowed, naming)
    with refused("AccessDenied", denied(bare, trusting_account, reason=NOT_PERMITTED)):
        assume(installation, bare, trusting_account)


def test_a_role_that_does_not_exist_looks_like_one_that_trusts_nobody(installation: Installation) -> None:
    caller = make_caller(installation, MAY_ASSUME)
    role = make_role(installation, Path="/a/")
    nowhere = {"Arn": f"arn:aws:iam::{ACCOUNT}:role/{fresh()}"}
    # A role is named with its path, or not at all.
    elsewhere = {"Arn": f"arn:aws:iam::{ACCOUNT}:role/b/{role['RoleName']}"}
    foreign = {"Arn": f"arn:aws:iam::999999999999:role/{role['RoleName']}"}
    for absent, reason in ((nowhere, NOT_TRUSTED), (elsewhere, NOT_TRUSTED), (foreign, "")):
        with refused("AccessDenied", denied(caller, absent, reason=reason)):
            assume(installation, caller, absent)


@pytest.mark.parametrize("arn", [f"arn:aws:iam::{ACCOUNT}:user/somebody", "arn:aws:iam::1:role/x", "x" * 20])
def test_what_is_no_roles_arn_is_refused(installation: Installation, arn: str) -> None:
    caller = make_caller(installation, MAY_ASSUME)
    with refused("ValidationError", f"{arn} is invalid"):
        assume(installation, caller, {"Arn": arn})


def test_the_root_assumes_no_role(installation: Installation) -> None:
    role = make_role(installation)
    with refused("AccessDenied", "Roles may not be assumed by root accounts."):
        assume(installation, {"AccessKeyId": "test", "SecretAccessKey": "test"}, role)


def test_a_deny_anywhere_beats_a_trust_policy(installation: Installation) -> None:
    caller = make_caller(installation, MAY_ASSUME, statement("sts:AssumeRole", effect="Deny"))
    role = make_role(installation, caller["Arn"])
    with refused("AccessDenied", denied(caller, role, reason="with an explicit deny in an identity-based policy")):
        assume(installation, caller, role)


# ── what a trust policy can ask for ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("condition", "right", "wrong"),
    [
        ({"StringEquals": {"sts:ExternalId": "Ex-1"}}, {"ExternalId": "Ex-1"}, {"ExternalId": "ex-1"}),
        ({"StringEquals": {"sts:ExternalId": "Ex-1"}}, {"ExternalId": "Ex-1"}, {}),
        (
            {"StringLike": {"sts:RoleSessionName": "ops-*"}},
            {"RoleSessionName": "ops-1"},
            {"RoleSessionName": "dev-1"},
        ),
        ({"StringEquals": {"sts:SourceIdentity": "alice"}}, {"SourceIdentity": "alice"}, {"SourceIdentity": "bob"}),
        (
            {"StringEquals": {"aws:RequestTag/team": "blue"}},
            {"Tags": [{"Key": "team", "Value": "blue"}]},
            {"Tags": [{"Key": "team", "Value": "red"}]},
        ),
        (
            {"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}},
            {"Tags": [{"Key": "team", "Value": "x"}]},
            {"Tags": [{"Key": "team", "Value": "x"}, {"Key": "more", "Value": "x"}]},
        ),
        (
            {"ForAnyValue:StringEquals": {"sts:TransitiveTagKeys": ["team"]}},
            {"Tags": [{"Key": "team", "Value": "x"}], "TransitiveTagKeys": ["team"]},
            {"Tags": [{"Key": "team", "Value": "x"}]},
        ),
    ],
)
def test_a_trust_policy_can_ask_for(installation: Installation, condition: Any, right: Any, wrong: Any) -> None:
    caller = make_caller(installation, MAY_ASSUME)
    text = document(trusting(*MAY_BE_ASSUMED, Condition=condition))
    role = make_role(installation, text=text)
    assert assume(installation, caller, role, **right)
    with refused("AccessDenied"):
        assume(installation, caller, role, **wrong)


def test_tags_and_a_source_identity_need_leave_of_both_sides(installation: Installation) -> None:
    tags = {"Tags": [{"Key": "a", "Value": "b"}]}
    full, poor = make_caller(installation, MAY_ASSUME), make_caller(installation, statement("sts:AssumeRole"))
    open_role, closed = make_role(installation, text=document(trusting(*MAY_BE_ASSUMED))), make_role(installation)
    for request, action in ((tags, "sts:TagSession"), ({"SourceIdentity": "alice"}, "sts:SetSourceIdentity")):
        assert assume(installation, full, open_role, **request)
        reason = f"because no role trust policy allows the {action} action"
        with refused("AccessDenied", denied(full, closed, action, reason)):
            assume(installation, full, closed, **request)
        reason = f"because no identity-based policy allows the {action} action"
        with refused("AccessDenied", denied(poor, open_role, action, reason)):
            assume(installation, poor, open_role, **request)


# ── what is passed ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_session_policies_only_narrow(installation: Installation) -> None:
    caller = make_caller(installation)
    role = make_role(installation, caller["Arn"], policy=document(statement("kms:*")))
    iam = iam_client(installation)
    managed = iam.create_policy(PolicyName=fresh("policy"), PolicyDocument=document(statement("kms:List*")))["Policy"]
    inline = document(statement("kms:GenerateRandom", "iam:*"))
    both = {"Policy": inline, "PolicyArns": [{"arn": managed["Arn"]}]}
    answer = answer_of(installation, caller, role, **both)
    assert 0 < answer["PackedPolicySize"] < 100
    kms = as_client(installation, "kms", answer["Credentials"])
    assert kms.generate_random(NumberOfBytes=1)
    assert kms.list_keys()
    session = answer["AssumedRoleUser"]["Arn"]
    start = f"User: {session} is not authorized to perform: kms:CreateKey on resource: *"
    with kms_refused("AccessDeniedException", f"{start} because no session policy allows the kms:CreateKey action"):
        kms.create_key()
    # What the role has not, no session policy gives.
    with refused("AccessDenied"):
        as_client(installation, "iam", answer["Credentials"]).list_users()
    # A policy that is changed, or gone, counts from the next request on.
    other = document(statement("kms:Describe*"))
    iam.create_policy_version(PolicyArn=managed["Arn"], PolicyDocument=other, SetAsDefault=True)
    with kms_refused():
        kms.list_keys()
    iam.delete_policy_version(PolicyArn=managed["Arn"], VersionId="v1")
    iam.delete_policy(PolicyArn=managed["Arn"])
    with kms_refused():
        kms.generate_random(NumberOfBytes=1)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"Policy": "{"}, "MalformedPolicyDocument"),
        ({"Policy": document({**statement("kms:*"), "Principal": "*"})}, "MalformedPolicyDocument"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/NoSuchPolicy"}]}, "ValidationError"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/AdministratorAccess"}] * 11}, "ValidationError"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::999999999999:policy/other"}]}, "ValidationError"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]}, "ValidationError"),
        ({"Tags": [{"Key": "aws:a", "Value": "1"}]}, "ValidationError"),
        ({"Tags": [{"Key": "a", "Value": "1"}], "TransitiveTagKeys": ["b"]}, "ValidationError"),
        ({"DurationSeconds": 899}, "ValidationError"),
        ({"DurationSeconds": 43201}, "ValidationError"),
        ({"SerialNumber": f"arn:aws:iam::{ACCOUNT}:mfa/x", "TokenCode": "123456"}, "AccessDenied"),
        (
            {"ProvidedContexts": [{"ProviderArn": "arn:aws:iam::aws:contextProvider/x", "ContextAssertion": "abcd"}]},
            "ValidationError",
        ),
        ({"RoleSessionName": "a b"}, "ValidationError"),
    ],
)
def test_what_a_session_would_have_to_ignore_is_refused(installation: Installation, request_: Any, code: str) -> None:
    caller = make_caller(installation, MAY_ASSUME)
    role = make_role(installation, text=document(trusting(*MAY_BE_ASSUMED)))
    sts = as_client(installation, "sts", caller, parameter_validation=False)
    with refused(code):
        sts.assume_role(**{"RoleArn": role["Arn"], "RoleSessionName": "a-session", **request_})


def test_the_policies_of_another_account_limit_no_session(installation: Installation) -> None:
    account = make_account(installation)[0]
    text = document(statement("*"))
    policy = ask_iam(installation, "CreatePolicy", account, PolicyName="theirs", PolicyDocument=text)["Policy"]
    caller = make_caller(installation)
    with refused("ValidationError"):
        assume(installation, caller, make_role(installation, caller["Arn"]), PolicyArns=[{"arn": policy["Arn"]}])


def test_policies_and_tags_have_a_limit_together(installation: Installation) -> None:
    caller = make_caller(installation, MAY_ASSUME)
    role = make_role(installation, text=document(trusting(*MAY_BE_ASSUMED)))
    actions = [f"kms:Action{number:03}" for number in range(220)]
    with refused("PackedPolicyTooLarge", "Packed policy consumes 125% of allotted space, please use smaller policy."):
        assume(installation, caller, role, Policy=document(statement(*actions)))
    tags = [{"Key": f"key-{number:02}", "Value": "v" * 100} for number in range(30)]
    with refused("PackedPolicyTooLarge", "Packed size of session tags consumes 107% of allotted space."):
        assume(installation, caller, role, Tags=tags)


def test_a_session_is_as_long_as_its_role_allows(installation: Installation) -> None:
    caller = make_caller(installation)
    role = make_role(installation, caller["Arn"], MaxSessionDuration=7200)
    assert assume(installation, caller, role, DurationSeconds=7200)
    with refused("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."):
        assume(installation, caller, role, DurationSeconds=7201)


def test_a_token_is_as_long_as_it_is_asked_to_be(installation: Installation) -> None:
    caller = make_caller(installation)
    role = make_role(installation, caller["Arn"])
    session = assume(installation, caller, role, MinimumSessionTokenSize=3000)
    assert 3000 <= len(session["SessionToken"]) < 3010
    assert as_client(installation, "kms", session).list_keys()


# ── tags, source identity, chains ───────────────────────────────────────────────────────────────────────────────────────


def test_session_tags_go_over_the_roles_and_open_what_asks_for_them(installation: Installation) -> None:
    caller = make_caller(installation, MAY_ASSUME)
    asks = document(
        statement("kms:GenerateRandom", Condition={"StringEquals": {"aws:PrincipalTag/team": "blue"}}),
        statement("kms:ListKeys", Condition={"StringEquals": {"aws:PrincipalTag/floor": "1"}}),
    )
    text = document(trusting(*MAY_BE_ASSUMED))
    tags = [{"Key": "Team", "Value": "red"}, {"Key": "floor", "Value": "1"}]
    role = make_role(installation, text=text, policy=asks, Tags=tags)
    plain = as_client(installation, "kms", assume(installation, caller, role))
    with kms_refused():
        plain.generate_random(NumberOfBytes=1)
    blue = assume(installation, caller, role, Tags=[{"Key": "team", "Value": "blue"}])
    tagged = as_client(installation, "kms", blue)
    assert tagged.generate_random(NumberOfBytes=1)
    assert tagged.list_keys()


def test_a_chain_of_roles_hands_on_what_is_transitive_and_nothing_else(installation: Installation) -> None:
    caller = make_caller(installation, MAY_ASSUME)
    text = document(trusting(*MAY_BE_ASSUMED))
    tag, alice = "aws:PrincipalTag/{}", {"aws:SourceIdentity": "alice"}
    asks = document(
        statement("kms:GenerateRandom", Condition={"StringEquals": {tag.format("kept"): "1", **alice}}),
        statement("kms:ListKeys", Condition={"StringEquals": {tag.format("lost"): "1"}}),
    )
    first = make_role(installation, text=text)
    second = make_role(installation, text=text, policy=asks, MaxSessionDuration=7200)
    passed = [{"Key": "kept", "Value": "1"}, {"Key": "lost", "Value": "1"}]
    begun = assume(installation, caller, first, Tags=passed, TransitiveTagKeys=["KEPT"], SourceIdentity="alice")
    answer = answer_of(installation, begun, second)
    assert answer["SourceIdentity"] == "alice"
    kms = as_client(installation, "kms", answer["Credentials"])
    assert kms.generate_random(NumberOfBytes=1)
    with kms_refused():
        kms.list_keys()
    with refused(
        "ValidationError",
        "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from "
        "the calling session.",
    ):
        assume(installation, begun, second, Tags=[{"Key": "Kept", "Value": "2"}])
    with refused("AccessDenied"):
        assume(installation, begun, second, SourceIdentity="bob")
    assert assume(installation, begun, second, SourceIdentity="alice", DurationSeconds=3600)
    with refused(
        "ValidationError",
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
    ):
        assume(installation, begun, second, DurationSeconds=3601)


@pytest.mark.parametrize(
    ("begun_with", "action"),
    [
        ({"Tags": [{"Key": "kept", "Value": "1"}], "TransitiveTagKeys": ["kept"]}, "sts:TagSession"),
        ({"SourceIdentity": "alice"}, "sts:SetSourceIdentity"),
    ],
)
def test_what_is_handed_on_needs_leave_like_what_is_passed(
    installation: Installation, begun_with: Any, action: str
) -> None:
    caller = make_caller(installation, MAY_ASSUME)
    begun = assume(
        installation, caller, make_role(installation, text=document(trusting(*MAY_BE_ASSUMED))), **begun_with
    )
    closed = make_role(installation)
    with refused(
        "AccessDenied", denied(begun, closed, action, f"because no role trust policy allows the {action} action")
    ):
        assume(installation, begun, closed)


@pytest.mark.parametrize("operation", ["get_session_token", "get_federation_token"])
def test_a_roles_session_gets_no_session_of_a_user(installation: Installation, operation: str) -> None:
    caller = make_caller(installation)
    role = make_role(installation, caller["Arn"], policy=document(statement("*")))
    sts = as_client(installation, "sts", assume(installation, caller, role))
    name = "".join(word.capitalize() for word in operation.split("_"))
    with refused("AccessDenied", f"Cannot call {name} with session credentials"):
        getattr(sts, operation)(**({"Name": "bob"} if "federation" in operation else {}))


# ── what policies call it ───────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_may_not_leave_his_account_assumes_no_role_of_another(installation: Installation) -> None:
    number, access_key_id, secret = make_account(installation)
    elsewhere = {"StringNotEquals": {"aws:ResourceAccount": ACCOUNT}}
    caller = make_caller(installation, MAY_ASSUME, statement("sts:AssumeRole", effect="Deny", Condition=elsewhere))
    there = iam_client(installation, access_key_id, secret)
    theirs = there.create_role(RoleName=fresh("role"), AssumeRolePolicyDocument=trust(caller["Arn"]))["Role"]
    with refused("AccessDenied", denied(caller, theirs, reason="with an explicit deny in an identity-based policy")):
        assume(installation, caller, theirs)
    only_there = {"StringEquals": {"aws:ResourceAccount": number}}
    other = make_caller(installation, statement("sts:AssumeRole", Condition=only_there))
    there.update_assume_role_policy(RoleName=theirs["RoleName"], PolicyDocument=trust(other["Arn"]))
    assert f"assumed-role/{theirs['RoleName']}/" in assume(installation, other, theirs)["Arn"]


@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_nobody_learns_of_a_foreign_role_by_asking_his_own_policies_for_its_tags(
    installation: Installation, effect: str
) -> None:
    number, access_key_id, secret = make_account(installation)
    there, name = iam_client(installation, access_key_id, secret), fresh("role")
    made = there.create_role(
        RoleName=name, AssumeRolePolicyDocument=trust(number), Tags=[{"Key": "team", "Value": "red"}]
    )["Role"]
    nothing = {"Arn": f"{made['Arn']}-2"}
    for tag in ("iam:ResourceTag/team", "aws:ResourceTag/team"):
        asking = statement("sts:AssumeRole", effect=effect, Condition={"StringEquals": {tag: "red"}})
        caller = make_caller(installation, asking, *([statement("sts:AssumeRole")] if effect == "Deny" else []))
        for role in (made, nothing):
            with refused("AccessDenied", denied(caller, role, reason=NOT_PERMITTED if effect == "Allow" else "")):
                assume(installation, caller, role)


def test_key_policies_name_roles_and_single_sessions(installation: Installation, kms: Any) -> None:
    caller = make_caller(installation)
    role = make_role(installation, caller["Arn"], policy=document(statement("iam:ListUsers")))
    one, other = (assume(installation, caller, role, RoleSessionName=name) for name in ("one", "other"))
    root = {"Sid": "root", **statement("kms:*"), "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
    for named, allowed in ((role["Arn"], (True, True)), (one["Arn"], (True, False))):
        own = {**statement("kms:Encrypt"), "Principal": {"AWS": named}}
        key_id = kms.create_key(Policy=document(root, own))["KeyMetadata"]["KeyId"]
        for session, is_allowed in zip((one, other), allowed, strict=True):
            client = as_client(installation, "kms", session)
            if is_allowed:
                assert client.encrypt(KeyId=key_id, Plaintext=b"x")
            else:
                with kms_refused():
                    client.encrypt(KeyId=key_id, Plaintext=b"x")


# ── when it ends ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_change_of_the_role_stops_its_sessions_at_the_next_request_in_every_worker() -> None:
    own = Installation("--workers", "2").start()
    try:
        iam, caller = iam_client(own), make_caller(own)
        role = make_role(own, caller["Arn"], policy=document(statement("kms:ListKeys")))
        session, name = assume(own, caller, role), role["RoleName"]
        signing = {
            "access_key_id": session["AccessKeyId"],
            "secret": session["SecretAccessKey"],
            "extra": [(b"X-Amz-Security-Token", session["SessionToken"].encode())],
        }
        with Workers(own, 2) as workers:

            def codes() -> list[str]:
                return [answer.code for answer in workers.ask_all("ListKeys", **signing)]

            for _ in range(3):
                assert codes() == ["", ""]
                iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(statement("kms:List")))
                assert codes() == ["AccessDeniedException"] * 2
                iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document(statement("kms:ListKeys")))
            iam.delete_role_policy(RoleName=name, PolicyName="own")
            iam.delete_role(RoleName=name)
            assert codes() == ["UnrecognizedClientException"] * 2
            # Whoever has its name later is another one.
            make_role(own, caller["Arn"], RoleName=name)
            assert codes() == ["UnrecognizedClientException"] * 2
    finally:
        own.destroy()


def test_a_policy_can_end_every_session_that_began_before(installation: Installation) -> None:
    caller = make_caller(installation)
    role = make_role(installation, caller["Arn"])
    kms = as_client(installation, "kms", assume(installation, caller, role))
    assert kms.list_keys()
    condition = {"DateLessThan": {"aws:TokenIssueTime": "2999-01-01T00:00:00Z"}}
    revoking = document(statement("*", effect="Deny", Condition=condition))
    iam_client(installation).put_role_policy(RoleName=role["RoleName"], PolicyName="revoke", PolicyDocument=revoking)
    with kms_refused():
        kms.list_keys()


# ── what is told of it ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_trail_names_the_session_and_holds_no_secret(installation: Installation) -> None:
    caller = make_caller(installation, MAY_ASSUME)
    role = make_role(installation, text=document(trusting(*MAY_BE_ASSUMED)))
    session = assume(installation, caller, role, SourceIdentity="alice", Policy=document(statement("kms:*")))
    as_client(installation, "kms", session).list_keys()
    events = audit_records(installation)
    issued = next(e for e in reversed(events) if e["eventName"] == "AssumeRole")
    assert issued["eventSource"] == "sts.amazonaws.com"
    assert issued["responseElements"]["credentials"].keys() == {"accessKeyId", "expiration"}
    assert issued["responseElements"]["credentials"]["accessKeyId"] == session["AccessKeyId"]
    used = next(e for e in reversed(events) if e["eventName"] == "ListKeys")["userIdentity"]
    context = used.pop("sessionContext")
    assert used == {
        "type": "AssumedRole",
        "principalId": f"{role['RoleId']}:a-session",
        "arn": session["Arn"],
        "accountId": ACCOUNT,
        "accessKeyId": session["AccessKeyId"],
    }
    assert context.pop("attributes")["mfaAuthenticated"] == "false"
    issuer = {"type": "Role", "principalId": role["RoleId"], "arn": role["Arn"], "accountId": ACCOUNT}
    assert context == {"sessionIssuer": {**issuer, "userName": role["RoleName"]}, "sourceIdentity": "alice"}
    for secret in (session["SecretAccessKey"], session["SessionToken"], session["SessionToken"][40:80]):
        assert secret not in json.dumps(events)
        assert secret not in installation.output.read_text()


def test_a_permanent_key_with_a_token_and_a_temporary_one_without_are_refused(installation: Installation) -> None:
    caller = make_caller(installation, statement("kms:*"))
    role = make_role(installation, caller["Arn"])
    session = assume(installation, caller, role)
    token = [(b"X-Amz-Security-Token", session["SessionToken"].encode())]
    raw = RawKms(installation)
    own = {"access_key_id": caller["AccessKeyId"], "secret": caller["SecretAccessKey"]}
    temporary = {"access_key_id": session["AccessKeyId"], "secret": session["SecretAccessKey"]}
    invalid = "The security token included in the request is invalid."
    for _ in range(2):  # The first time each is looked up, the second time it is known.
        for signing, extra in ((own, token), (temporary, []), (temporary, [(b"X-Amz-Security-Token", b"")])):
            headers = [(b"X-Amz-Target", b"TrentService.ListKeys"), *extra]
            assert_refused(raw.send(b"{}", headers, **signing), "UnrecognizedClientException", invalid)
        assert raw.send(b"{}", [(b"X-Amz-Target", b"TrentService.ListKeys"), *token], **temporary).status == 200
        assert raw.send(b"{}", [(b"X-Amz-Target", b"TrentService.ListKeys")], **own).status == 200
    raw.close()
