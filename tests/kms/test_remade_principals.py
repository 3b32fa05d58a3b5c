"""Users and roles that are deleted and made anew under the same name: what named the old ones does not let the new ones in.

"When you save the policy, AWS transforms the ARN to a unique principal ID": IAM user guide, "AWS JSON policy elements:
Principal"; "Policy contains a statement with one or more invalid principals": AWS knowledge center, of key policies with
orphaned ids. What decides is tested in `test_iam_principals.py`, whom a name means in `test_iam_existence.py`.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from testkit import accounts
from testkit.identities import arn_of, fresh, refused, trust
from testkit.installation import ACCOUNT, Installation, client
from testkit.raw import RawKms, allow, assert_allowed, assert_refused, key_arn, policy
from testkit.sessions import as_client, assume, kms_refused, make_role
from testkit.workers import Workers

ROOT = f"arn:aws:iam::{ACCOUNT}:root"
NO = "AccessDeniedException"
PRINCIPALS = "Policy contains a statement with one or more invalid principals."
MAY_ALL = allow("kms:*", Principal={"AWS": ROOT})
EVERYTHING = policy(allow("kms:*", "sts:*"))


class Account:
    """An account with its administrator: users and roles that come and go under one name.

    `let` is the IAM policy that those need who are named elsewhere; in the account of the key it would let anybody in.
    """

    def __init__(self, installation: Installation, number: str, access_key_id: str, secret: str) -> None:
        self.installation, self.number = installation, number
        self.let = None if number == ACCOUNT else EVERYTHING
        self.kms = RawKms(installation, access_key_id, secret)
        self.iam = client("iam", installation.port, access_key_id, secret)

    def user(self, name: str, policy_text: str | None = None) -> dict[str, Any]:
        """A user with an access key, `Arn` and `UserId`."""
        made = self.iam.create_user(UserName=name)["User"]
        if policy_text is not None:
            self.iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy_text)
        return {**made, **self.iam.create_access_key(UserName=name)["AccessKey"]}

    def remade_user(self, user: dict[str, Any], policy_text: str | None = None) -> dict[str, Any]:
        self.delete_user(user)
        made = self.user(user["UserName"], policy_text)
        assert (made["Arn"], made["UserId"] == user["UserId"]) == (user["Arn"], False)
        return made

    def delete_user(self, user: dict[str, Any]) -> None:
        for name in self.iam.list_user_policies(UserName=user["UserName"])["PolicyNames"]:
            self.iam.delete_user_policy(UserName=user["UserName"], PolicyName=name)
        self.iam.delete_access_key(UserName=user["UserName"], AccessKeyId=user["AccessKeyId"])
        self.iam.delete_user(UserName=user["UserName"])

    def role(self, name: str, policy_text: str | None = None) -> dict[str, Any]:
        """A role that its account may assume."""
        text = trust(f"arn:aws:iam::{self.number}:root")
        made: dict[str, Any] = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=text)["Role"]
        if policy_text is not None:
            self.iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy_text)
        return made

    def remade_role(self, role: dict[str, Any], policy_text: str | None = None) -> dict[str, Any]:
        for name in self.iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
            self.iam.delete_role_policy(RoleName=role["RoleName"], PolicyName=name)
        self.iam.delete_role(RoleName=role["RoleName"])
        made = self.role(role["RoleName"], policy_text)
        assert (made["Arn"], made["RoleId"] == role["RoleId"]) == (role["Arn"], False)
        return made

    def remade(self, made: dict[str, Any], kind: str, policy_text: str | None = None) -> dict[str, Any]:
        """A user, or of a role a session of it."""
        if kind == "user":
            return self.remade_user(made, policy_text)
        return self.session(self.remade_role(made, policy_text))

    def session(self, role: dict[str, Any], name: str = "s-1") -> dict[str, Any]:
        """Begun by somebody whom the account lets."""
        somebody = self.user(fresh("assuming"), policy(allow("sts:AssumeRole")))
        return assume(self.installation, somebody, role, RoleSessionName=name)


@pytest.fixture(scope="module")
def here(installation: Installation) -> Account:
    return Account(installation, ACCOUNT, "test", "test")


@pytest.fixture(scope="module")
def elsewhere(installation: Installation) -> Account:
    return Account(installation, *accounts.make_account(installation))


@pytest.fixture(scope="module", params=["same account", "another account"])
def theirs(request: pytest.FixtureRequest, here: Account, elsewhere: Account) -> Account:
    """Whose users and roles are named by what is `here`."""
    return here if request.param == "same account" else elsewhere


def encrypts(installation: Installation, credentials: dict[str, Any], key_id: str) -> bool:
    """Whether he may; everybody else is refused by KMS, and by nothing else."""
    kms = as_client(installation, "kms", credentials)
    try:
        kms.encrypt(KeyId=key_arn(key_id), Plaintext=b"x")
    except kms.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != NO:
            raise
        return False
    finally:
        kms.close()
    return True


def put(kms: RawKms, key_id: str, text: str) -> None:
    assert kms.call("PutKeyPolicy", {"KeyId": key_id, "Policy": text}).status == 200


def text_of(kms: RawKms, key_id: str) -> str:
    return str(assert_allowed(kms.call("GetKeyPolicy", {"KeyId": key_id}))["Policy"])


def naming(*principals: str, layout: int | None = 3, **more: Any) -> str:
    """A key policy for these, laid out as nobody else would."""
    theirs = allow("kms:Encrypt", "kms:RetireGrant", Principal={"AWS": list(principals)}, **more)
    return json.dumps({"Version": "2012-10-17", "Statement": [MAY_ALL, theirs]}, indent=layout) + "\n "


# ── key policies ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_user_who_was_made_anew_is_not_the_one_whom_a_key_policy_names(
    installation: Installation, here: Account, theirs: Account, key_id: str
) -> None:
    user = theirs.user(fresh("alice"), theirs.let)
    # The same text in a condition is a value, and stays.
    text = naming(user["Arn"], Condition={"ArnLike": {"aws:PrincipalArn": [user["Arn"], "arn:aws:iam::*:user/*"]}})
    put(here.kms, key_id, text)
    assert text_of(here.kms, key_id) == text
    assert encrypts(installation, user, key_id)
    remade = theirs.remade_user(user, theirs.let)
    assert not encrypts(installation, remade, key_id)
    orphaned = text.replace(json.dumps(user["Arn"]), json.dumps(user["UserId"]), 1)
    assert text_of(here.kms, key_id) == orphaned
    # An id that nobody has can stay, and cannot be written again.
    answer = here.kms.call("PutKeyPolicy", {"KeyId": key_id, "Policy": orphaned})
    assert_refused(answer, "MalformedPolicyDocumentException", PRINCIPALS)
    assert text_of(here.kms, key_id) == orphaned
    put(here.kms, key_id, text)
    assert encrypts(installation, remade, key_id)
    assert text_of(here.kms, key_id) == text
    theirs.delete_user(remade)
    assert text_of(here.kms, key_id) == text.replace(json.dumps(user["Arn"]), json.dumps(remade["UserId"]), 1)


@pytest.mark.parametrize("by", ["role", "session"])
def test_a_role_that_was_made_anew_is_not_the_one_whom_a_key_policy_names(
    installation: Installation, here: Account, theirs: Account, key_id: str, by: str
) -> None:
    """Neither by itself nor by a session of it; of its old sessions there are none any more."""
    role = theirs.role(fresh("role"), theirs.let)
    session = theirs.session(role)
    named, kept = (role["Arn"], role["RoleId"]) if by == "role" else (session["Arn"], f"{role['RoleId']}:s-1")
    text = naming(named)
    put(here.kms, key_id, text)
    assert text_of(here.kms, key_id) == text
    assert encrypts(installation, session, key_id)
    remade = theirs.remade_role(role, theirs.let)
    with kms_refused("UnrecognizedClientException"):
        as_client(installation, "kms", session).encrypt(KeyId=key_arn(key_id), Plaintext=b"x")
    new_session = theirs.session(remade)
    assert new_session["Arn"] == session["Arn"]
    assert not encrypts(installation, new_session, key_id)
    assert text_of(here.kms, key_id) == text.replace(named, kept)
    put(here.kms, key_id, text)
    assert encrypts(installation, new_session, key_id)


def test_a_deny_is_of_whom_it_was_made_for(
    installation: Installation, here: Account, theirs: Account, key_id: str
) -> None:
    user = theirs.user(fresh("denied"), theirs.let)
    denying = allow("kms:Encrypt", effect="Deny", Principal={"AWS": user["Arn"]})
    put(here.kms, key_id, policy(MAY_ALL, allow("kms:Encrypt", Principal={"AWS": "*"}), denying))
    assert not encrypts(installation, user, key_id)
    remade = theirs.remade_user(user, theirs.let)
    assert encrypts(installation, remade, key_id)


def test_whom_not_principal_spared_is_spared_no_more_when_he_is_made_anew(
    installation: Installation, here: Account, theirs: Account, key_id: str
) -> None:
    user = theirs.user(fresh("spared"), theirs.let)
    spared = {"AWS": [user["Arn"], f"arn:aws:iam::{theirs.number}:root", ROOT]}
    denying = {"Effect": "Deny", "NotPrincipal": spared, "Action": "kms:Encrypt", "Resource": "*"}
    text = policy(MAY_ALL, allow("kms:Encrypt", Principal={"AWS": "*"}), denying)
    put(here.kms, key_id, text)
    assert encrypts(installation, user, key_id)
    assert not encrypts(installation, theirs.remade_user(user, theirs.let), key_id)
    assert text_of(here.kms, key_id) == text.replace(user["Arn"], user["UserId"])


def test_a_key_that_is_created_with_a_policy_is_bound_to_whom_it_names(
    installation: Installation, here: Account
) -> None:
    user = here.user(fresh("first"))
    made = assert_allowed(here.kms.call("CreateKey", {"Policy": naming(user["Arn"])}))["KeyMetadata"]["KeyId"]
    assert encrypts(installation, user, made)
    assert not encrypts(installation, here.remade_user(user), made)


@pytest.mark.parametrize("region", ["eu-west-1"])
def test_keys_of_other_regions_are_bound_to_identities_of_the_home_region(here: Account, region: str) -> None:
    user = here.user(fresh("far"))
    text = naming(user["Arn"])
    made = assert_allowed(here.kms.call("CreateKey", {"Policy": text}, region=region))["KeyMetadata"]["KeyId"]
    remade = here.remade_user(user)
    kms = RawKms(here.installation, remade["AccessKeyId"], remade["SecretAccessKey"])
    request = {"KeyId": made, "Plaintext": "eA=="}
    assert_refused(kms.call("Encrypt", request, region=region), NO)
    shown = assert_allowed(here.kms.call("GetKeyPolicy", {"KeyId": made}, region=region))["Policy"]
    assert shown == text.replace(user["Arn"], user["UserId"])
    assert_allowed(here.kms.call("CreateGrant", give(made, remade["Arn"]), region=region))
    assert_allowed(kms.call("Encrypt", request, region=region))
    kms.close()


def test_a_unique_id_is_taken_as_a_principal_and_shown_as_the_arn(
    installation: Installation, here: Account, theirs: Account, key_id: str
) -> None:
    user, role = theirs.user(fresh("by-id"), theirs.let), theirs.role(fresh("by-id"), theirs.let)
    session = theirs.session(role)
    ids = {user["UserId"]: user["Arn"], f"{role['RoleId']}:s-1": session["Arn"]}
    text = naming(*ids)
    put(here.kms, key_id, text)
    assert encrypts(installation, user, key_id)
    assert encrypts(installation, session, key_id)
    for unique_id, arn in ids.items():
        text = text.replace(unique_id, arn)
    assert text_of(here.kms, key_id) == text
    for nobody in ("AIDA" + "A" * 16, "AROA" + "A" * 16, f"{user['UserId']}A", f"AROA{'A' * 16}:s-1"):
        answer = here.kms.call("PutKeyPolicy", {"KeyId": key_id, "Policy": naming(nobody)})
        assert_refused(answer, "MalformedPolicyDocumentException", PRINCIPALS)


def test_whoever_is_renamed_stays_who_he_is_and_leaves_his_name_to_nobody(
    installation: Installation, here: Account, theirs: Account, key_id: str
) -> None:
    """IAM user guide, "Rename an IAM user": policies that name the user as a principal show the new name and path."""
    before, after = fresh("before"), fresh("after")
    user = theirs.user(before, theirs.let)
    text = naming(user["Arn"])
    put(here.kms, key_id, text)
    role = make_role(installation, user["Arn"])
    theirs.iam.update_user(UserName=before, NewUserName=after, NewPath="/p/")
    new_arn = arn_of("user", after, "/p/", theirs.number)
    assert text_of(here.kms, key_id) == text.replace(user["Arn"], new_arn)
    assert encrypts(installation, user, key_id)
    assert assume(installation, user, role)
    taker = theirs.user(before, theirs.let)
    assert not encrypts(installation, taker, key_id)
    with refused("AccessDenied"):
        assume(installation, taker, role)


# ── trust policies ──────────────────────────────────────────────────────────────────────────────────────────────────────


def trust_of(account: Account, role: dict[str, Any]) -> str:
    """As GetRole has it; as the lists have it, too."""
    shown = account.iam.get_role(RoleName=role["RoleName"])["Role"]["AssumeRolePolicyDocument"]
    details = account.iam.get_account_authorization_details(Filter=["Role"], MaxItems=1000)["RoleDetailList"]
    listed = account.iam.list_roles(MaxItems=1000)["Roles"]
    for one in [*details, *listed]:
        if one["RoleName"] == role["RoleName"]:
            assert one["AssumeRolePolicyDocument"] == shown
    return json.dumps(shown)


def test_whoever_was_made_anew_is_not_whom_a_trust_policy_names(
    installation: Installation, here: Account, theirs: Account
) -> None:
    user, chained = theirs.user(fresh("trusted"), theirs.let), theirs.role(fresh("chained"), theirs.let)
    text = trust(user["Arn"], chained["Arn"])
    role = make_role(installation, text=text)
    session = theirs.session(chained)
    assert trust_of(here, role) == json.dumps(json.loads(text))
    assert assume(installation, user, role)
    assert assume(installation, session, role)
    new_user, new_chained = theirs.remade_user(user, theirs.let), theirs.remade_role(chained, theirs.let)
    new_session = theirs.session(new_chained)
    for caller in (new_user, new_session):
        with refused("AccessDenied"):
            assume(installation, caller, role)
    orphaned = text.replace(user["Arn"], user["UserId"]).replace(chained["Arn"], chained["RoleId"])
    assert json.loads(trust_of(here, role)) == json.loads(orphaned)
    words = f'Invalid principal in policy: "AWS":"{user["UserId"]}"'
    with refused("MalformedPolicyDocument", words):
        here.iam.update_assume_role_policy(RoleName=role["RoleName"], PolicyDocument=trust(user["UserId"]))
    here.iam.update_assume_role_policy(RoleName=role["RoleName"], PolicyDocument=text)
    for caller in (new_user, new_session):
        assert assume(installation, caller, role)
    assert trust_of(here, role) == json.dumps(json.loads(text))


def test_a_role_may_trust_itself(installation: Installation, here: Account) -> None:
    role = here.role(fresh("self"), policy(allow("sts:*")))
    both = trust(ROOT, role["Arn"])
    here.iam.update_assume_role_policy(RoleName=role["RoleName"], PolicyDocument=both)
    assert trust_of(here, role) == json.dumps(json.loads(both))
    assert assume(installation, here.session(role), role)


# ── grants ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def give(key_id: str, grantee: str, *operations: str, **members: Any) -> dict[str, Any]:
    return {"KeyId": key_id, "GranteePrincipal": grantee, "Operations": list(operations or ["Encrypt"]), **members}


def grants(kms: RawKms, key_id: str, **filters: str) -> list[tuple[str, str | None]]:
    """Grantee and who may retire of each grant."""
    found = assert_allowed(kms.call("ListGrants", {"KeyId": key_id, **filters}))["Grants"]
    return [(one["GranteePrincipal"], one.get("RetiringPrincipal")) for one in found]


@pytest.mark.parametrize("kind", ["user", "role", "session"])
def test_whoever_was_made_anew_is_not_the_grantee_of_old_grants(
    installation: Installation, here: Account, theirs: Account, key_id: str, kind: str
) -> None:
    name = fresh("grantee")
    made = theirs.user(name, theirs.let) if kind == "user" else theirs.role(name, theirs.let)
    caller = made if kind == "user" else theirs.session(made)
    unique_id = made["UserId"] if kind == "user" else made["RoleId"] + (":s-1" if kind == "session" else "")
    grantee = caller["Arn"] if kind == "session" else made["Arn"]
    request = give(key_id, grantee, Name="for-him")
    first = assert_allowed(here.kms.call("CreateGrant", request))["GrantId"]
    assert grants(here.kms, key_id) == [(grantee, None)]
    assert encrypts(installation, caller, key_id)
    remade = theirs.remade(made, kind, theirs.let)
    assert not encrypts(installation, remade, key_id)
    assert grants(here.kms, key_id) == grants(here.kms, key_id, GranteePrincipal=unique_id) == [(unique_id, None)]
    assert grants(here.kms, key_id, GranteePrincipal=grantee) == []
    assert grants(here.kms, key_id, GranteePrincipal=grantee, GrantId=first) == []
    # The same request is for somebody else now, and makes another grant; asked again, it is that one.
    second = assert_allowed(here.kms.call("CreateGrant", request))["GrantId"]
    assert second != first
    assert assert_allowed(here.kms.call("CreateGrant", request))["GrantId"] == second
    assert encrypts(installation, remade, key_id)
    assert grants(here.kms, key_id, GranteePrincipal=grantee) == [(grantee, None)]
    assert sorted(grants(here.kms, key_id)) == sorted([(grantee, None), (unique_id, None)])


@pytest.mark.parametrize("kind", ["user", "role"])
def test_whoever_was_made_anew_may_not_retire_old_grants(
    installation: Installation, here: Account, theirs: Account, key_id: str, kind: str
) -> None:
    name = fresh("retiring")
    made = theirs.user(name) if kind == "user" else theirs.role(name)
    grantee = here.user(fresh("grantee"))
    arn, unique_id = made["Arn"], made["UserId" if kind == "user" else "RoleId"]
    request = give(key_id, grantee["Arn"], RetiringPrincipal=arn)
    made_grants = [assert_allowed(here.kms.call("CreateGrant", request)) for _ in range(2)]
    listed = {"RetiringPrincipal": arn}
    assert len(assert_allowed(theirs.kms.call("ListRetirableGrants", listed))["Grants"]) == 2
    caller = made if kind == "user" else theirs.session(made)
    retire(installation, caller, made_grants[0]["GrantToken"])
    remade = theirs.remade(made, kind)
    with kms_refused(NO):
        retire(installation, remade, made_grants[1]["GrantToken"])
    assert grants(here.kms, key_id) == [(grantee["Arn"], unique_id)]
    assert assert_allowed(theirs.kms.call("ListRetirableGrants", listed))["Grants"] == []
    another = assert_allowed(here.kms.call("CreateGrant", request))
    (shown,) = assert_allowed(theirs.kms.call("ListRetirableGrants", listed))["Grants"]
    assert (shown["GrantId"], shown["RetiringPrincipal"]) == (another["GrantId"], arn)
    retire(installation, remade, another["GrantToken"])


def retire(installation: Installation, credentials: dict[str, Any], token: str) -> None:
    kms = as_client(installation, "kms", credentials)
    try:
        kms.retire_grant(GrantToken=token)
    finally:
        kms.close()


def test_a_grantee_who_may_retire_may_not_when_he_is_made_anew(
    installation: Installation, here: Account, key_id: str
) -> None:
    user = here.user(fresh("both"))
    request = give(key_id, user["Arn"], "Encrypt", "RetireGrant")
    tokens = [assert_allowed(here.kms.call("CreateGrant", request))["GrantToken"] for _ in range(2)]
    retire(installation, user, tokens[0])
    with kms_refused(NO):
        retire(installation, here.remade_user(user), tokens[1])


def test_a_grantee_who_is_renamed_keeps_his_grants_and_they_show_his_new_name(
    installation: Installation, here: Account, key_id: str
) -> None:
    before, after = fresh("before"), fresh("after")
    user = here.user(before)
    request = give(key_id, user["Arn"], RetiringPrincipal=user["Arn"], Name="one")
    token = assert_allowed(here.kms.call("CreateGrant", request))["GrantToken"]
    here.iam.update_user(UserName=before, NewUserName=after)
    new_arn = arn_of("user", after)
    assert encrypts(installation, user, key_id)
    assert grants(here.kms, key_id) == grants(here.kms, key_id, GranteePrincipal=new_arn) == [(new_arn, new_arn)]
    assert not encrypts(installation, here.user(before), key_id)
    # Asked for by either name, it is the grant of whoever has the name.
    again = {**request, "GranteePrincipal": new_arn, "RetiringPrincipal": new_arn}
    assert len({assert_allowed(here.kms.call("CreateGrant", one))["GrantId"] for one in (again, again, request)}) == 2
    retire(installation, user, token)


def test_pages_of_grants_to_one_grantee_are_whole(here: Account, key_id: str) -> None:
    user = here.user(fresh("many"))
    for number in range(7):
        assert_allowed(here.kms.call("CreateGrant", give(key_id, user["Arn"], Name=f"n{number}")))
    found: list[str] = []
    request: dict[str, Any] = {"KeyId": key_id, "GranteePrincipal": user["Arn"], "Limit": 3}
    sizes = []
    while True:
        page = assert_allowed(here.kms.call("ListGrants", request))
        found += [one["GrantId"] for one in page["Grants"]]
        sizes.append(len(page["Grants"]))
        if not page["Truncated"]:
            break
        request["Marker"] = page["NextMarker"]
    assert sizes == [3, 3, 1]
    assert found == sorted(set(found))


# ── the reason ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def cli(installation: Installation, *words: str) -> str:
    done = installation.cli("iam", *words, "--home", str(installation.home), check=False)
    return done.stdout + done.stderr


def test_a_refusal_says_that_somebody_else_of_that_name_is_meant(
    installation: Installation, here: Account, key_id: str
) -> None:
    user = here.user(fresh("why"))
    put(here.kms, key_id, naming(user["Arn"]))
    grant_id = assert_allowed(here.kms.call("CreateGrant", give(key_id, user["Arn"])))["GrantId"]
    remade = here.remade_user(user)
    kms = RawKms(installation, remade["AccessKeyId"], remade["SecretAccessKey"])
    answer = kms.call("Encrypt", {"KeyId": key_id, "Plaintext": "eA=="})
    kms.close()
    assert_refused(answer, NO)
    of_then = f"the {user['Arn']} of when it was saved ({user['UserId']}), not the one of today ({remade['UserId']})"
    made_then = f"the {user['Arn']} of when it was made ({user['UserId']})"
    asked = ("--principal", user["Arn"], "--action", "kms:Encrypt", "--key", key_id)
    for told in (
        cli(installation, "why", answer.headers["x-amzn-requestid"]),
        cli(installation, "explain", *asked),
    ):
        assert f"Statement[1] of a key policy means {of_then}. Saved again, it would mean the one of today." in told
        assert f"- not the caller: it means {of_then}" in told
        assert f"The grant {grant_id} is for {made_then}, not for the one of today." in told
    put(here.kms, key_id, naming(user["Arn"]))
    assert "of when it was" not in cli(installation, "explain", *asked)


def test_whoever_may_not_assume_a_role_is_told_so_in_the_trail(installation: Installation, here: Account) -> None:
    user = here.user(fresh("why"))
    role = make_role(installation, user["Arn"])
    remade = here.remade_user(user)
    with refused("AccessDenied"):
        assume(installation, remade, role)
    told = cli(installation, "why", "--principal", remade["Arn"])
    assert f"means the {user['Arn']} of when it was saved ({user['UserId']})" in told


def test_whoever_may_not_retire_is_told_so_in_the_trail(installation: Installation, here: Account, key_id: str) -> None:
    user = here.user(fresh("why"))
    request = give(key_id, ROOT, RetiringPrincipal=user["Arn"])
    token = assert_allowed(here.kms.call("CreateGrant", request))["GrantToken"]
    remade = here.remade_user(user)
    with kms_refused(NO):
        retire(installation, remade, token)
    told = cli(installation, "why", "--principal", remade["Arn"])
    assert f"the grant means the {user['Arn']} of when it was saved ({user['UserId']})" in told


# ── other workers, other starts ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two_workers() -> Iterator[Installation]:
    running = Installation("--workers", "2").start()
    yield running
    running.destroy()


def test_every_worker_and_every_later_start_tells_the_old_one_from_the_new_one(two_workers: Installation) -> None:
    here = Account(two_workers, ACCOUNT, "test", "test")
    stays, goes = here.user(fresh("stays")), here.user(fresh("goes"))
    both = [stays["Arn"], goes["Arn"]]
    keys = [assert_allowed(here.kms.call("CreateKey", {"Policy": naming(*both)}))["KeyMetadata"]["KeyId"]]
    keys += [assert_allowed(here.kms.call("CreateKey"))["KeyMetadata"]["KeyId"]]
    for arn in both:
        assert_allowed(here.kms.call("CreateGrant", give(keys[1], arn)))

    def codes(user: dict[str, Any]) -> set[str]:
        """Of every worker, for both keys."""
        signing = {"access_key_id": user["AccessKeyId"], "secret": user["SecretAccessKey"]}
        with Workers(two_workers, 2) as workers:
            body = {"Plaintext": base64.b64encode(uuid.uuid4().bytes).decode()}
            answers = [workers.ask_all("Encrypt", {"KeyId": key, **body}, **signing) for key in keys]
        return {answer.code for of_key in answers for answer in of_key}

    assert codes(stays) == codes(goes) == {""}
    remade = here.remade_user(goes)
    assert (codes(stays), codes(remade)) == ({""}, {NO})
    shown = text_of(here.kms, keys[0])
    here.kms.close()
    two_workers.stop()
    two_workers.start()
    assert (codes(stays), codes(remade)) == ({""}, {NO})
    again = RawKms(two_workers)
    assert text_of(again, keys[0]) == shown == naming(*both).replace(goes["Arn"], goes["UserId"])
    again.close()
