"""Requests of every kind that the product has, each also in a way that is refused, and the secrets that they brought.

A *life* is one walk through all operations of KMS, IAM and STS, in an order in which each of them can succeed: a key, a
user, a group, a role and a policy are made, used and taken away again. Behind each request comes another of its kind that
is refused, for another reason in each life. Whoever walks is told of every answer, and may stop to look around.
"""

from __future__ import annotations

import base64
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from testkit.identities import ROOT, arn_of, document, fresh, statement
from testkit.installation import Installation
from testkit.raw import Answer, RawKms, admin_line, ask_admin, ask_iam, b64, call_headers, key_arn
from testkit.sealed_state import SealedState, derived_key, open_blob
from testkit.sessions import trusting
from testkit.web_identities import NAME, Issuer, provider

Who = dict[str, str]
Body = dict[str, Any]

_VERSIONS: Final = {"iam": "2010-05-08", "sts": "2011-06-15"}
_FORM: Final = (b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8")
_MANAGED: Final = "arn:aws:iam::aws:policy/AdministratorAccess"
TRUST: Final = document(
    trusting("sts:AssumeRole", "sts:TagSession"),
    trusting("sts:AssumeRoleWithWebIdentity", who={"Federated": arn_of("oidc-provider", "/" + NAME, "")}),
)
_KEY_POLICY: Final = document(statement("kms:*", Principal={"AWS": ROOT}))
OWNER: Final[Who] = {"AccessKeyId": "test", "SecretAccessKey": "test"}

# What a name stands for twice is made to be taken away in two ways, or opened as what another made.
_KMS: Final = (
    *("CreateKey", "DescribeKey", "ListKeys", "UpdateKeyDescription", "TagResource", "ListResourceTags"),
    *("UntagResource", "CreateAlias", "UpdateAlias", "ListAliases", "DeleteAlias", "PutKeyPolicy", "GetKeyPolicy"),
    *("ListKeyPolicies", "EnableKeyRotation", "GetKeyRotationStatus", "GenerateDataKey", "Decrypt"),
    *("RotateKeyOnDemand", "ListKeyRotations", "DisableKeyRotation", "Encrypt", "Decrypt"),
    *("GenerateDataKeyWithoutPlaintext", "ReEncrypt", "GenerateRandom", "GetKeyLastUsage", "CreateGrant"),
    *("ListGrants", "ListRetirableGrants", "RevokeGrant", "CreateGrant", "RetireGrant", "DisableKey", "EnableKey"),
)
_KMS_END: Final = ("ScheduleKeyDeletion", "CancelKeyDeletion")
_IAM: Final = (
    *("CreateUser", "GetUser", "ListUsers", "UpdateUser", "TagUser", "ListUserTags", "UntagUser", "PutUserPolicy"),
    *("GetUserPolicy", "ListUserPolicies", "CreateAccessKey", "ListAccessKeys", "UpdateAccessKey"),
    *("GetAccessKeyLastUsed", "ListMFADevices", "ListSSHPublicKeys", "ListServiceSpecificCredentials"),
    *("ListSigningCertificates", "ListAccountAliases", "ListVirtualMFADevices", "GetLoginProfile"),
    *("DeleteLoginProfile", "GetAccountSummary", "GetAccountAuthorizationDetails", "CreatePolicy", "GetPolicy"),
    *("ListPolicies", "CreatePolicyVersion", "GetPolicyVersion", "ListPolicyVersions", "SetDefaultPolicyVersion"),
    *("DeletePolicyVersion", "TagPolicy", "ListPolicyTags", "UntagPolicy", "AttachUserPolicy"),
    *("ListAttachedUserPolicies", "ListEntitiesForPolicy", "DetachUserPolicy", "PutUserPermissionsBoundary"),
    *("DeleteUserPermissionsBoundary", "CreateGroup", "GetGroup", "ListGroups", "UpdateGroup", "AddUserToGroup"),
    *("ListGroupsForUser", "RemoveUserFromGroup", "PutGroupPolicy", "GetGroupPolicy", "ListGroupPolicies"),
    *("DeleteGroupPolicy", "AttachGroupPolicy", "ListAttachedGroupPolicies", "DetachGroupPolicy", "DeleteGroup"),
    *("CreateRole", "GetRole", "ListRoles", "UpdateRole", "UpdateRoleDescription", "UpdateAssumeRolePolicy"),
    *("ListInstanceProfilesForRole", "TagRole", "ListRoleTags", "UntagRole", "PutRolePolicy", "GetRolePolicy"),
    *("ListRolePolicies", "AttachRolePolicy", "ListAttachedRolePolicies", "DetachRolePolicy"),
    *("PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary"),
)
_IAM_END: Final = (
    *("DeleteAccessKey", "DeleteUserPolicy", "DeleteUser", "DeleteRolePolicy", "DeleteRole", "DeletePolicy"),
)
_STS: Final = (
    *("GetCallerIdentity", "GetAccessKeyInfo", "GetSessionToken", "GetFederationToken", "AssumeRole"),
    "AssumeRoleWithWebIdentity",
)
# Nobody has one.
NEVER_SUCCEED: Final = frozenset({"GetLoginProfile", "DeleteLoginProfile"})
ANSWERS_A_LIFE: Final = 2 * sum(map(len, (_KMS, _KMS_END, _IAM, _IAM_END, _STS))) + 4


# ── what was secret ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Secret:
    """`passed`: the service passes it on and so had it; what is not was in the HSM alone."""

    name: str
    value: bytes
    passed: bool


@dataclass
class Ledger:
    """What a run touched, and how its requests ended: (operation, whether it was refused)."""

    secrets: list[Secret] = field(default_factory=list)
    # Of encryption contexts; the audit trail tells them.
    contexts: list[bytes] = field(default_factory=list)
    outcomes: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def keep(self, name: str, value: bytes, *, passed: bool) -> None:
        self.secrets.append(Secret(name, value, passed))


def credentials_of(answer: Answer) -> Who:
    """What an answer of IAM or STS gives somebody; empty if nothing."""
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    found = {name: re.search(f"<{name}>([^<]*)<", answer.body.decode()) for name in names}
    return {name: match[1] for name, match in found.items() if match is not None}


# ── who asks ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Caller:
    """One kept connection; sends as whoever it is told to, or as nobody."""

    def __init__(self, installation: Installation) -> None:
        self._host = f"127.0.0.1:{installation.port}"
        self._kms = RawKms(installation)
        # What it says that it is; a forced failure is told apart by it.
        self.agent = ""

    def close(self) -> None:
        self._kms.close()

    def ask(self, service: str, operation: str, body: Body, who: Who) -> Answer:
        if service == "kms":
            return self._send(json.dumps(body).encode(), call_headers(operation), who, service)
        form = urlencode({"Action": operation, "Version": _VERSIONS[service], **body}).encode()
        return self._send(form, [_FORM], who, service)

    def _send(self, body: bytes, headers: list[tuple[bytes, bytes]], who: Who, service: str) -> Answer:
        token = who.get("SessionToken")
        headers = [*headers, *([(b"X-Amz-Security-Token", token.encode())] if token else [])]
        headers += [(b"User-Agent", self.agent.encode())] if self.agent else []
        if who:
            names = {"access_key_id": who["AccessKeyId"], "secret": who["SecretAccessKey"]}
            answer = self._kms.send(body, headers, service=service, **names)
        else:
            whole = [(b"Host", self._host.encode()), *headers, (b"Content-Length", str(len(body)).encode())]
            answer = self._kms.send_as_is(whole, body)
        assert answer.status < 500 or self.agent, (body, answer)
        return answer


# ── how a request is refused ────────────────────────────────────────────────────────────────────────────────────────


def _of_a_wrong_secret(body: Body, who: Who) -> tuple[Body, Who]:
    return body, {**who, "SecretAccessKey": os.urandom(20).hex()} if who else {}


def _malformed(body: Body, who: Who) -> tuple[Body, Who]:
    wrong: Body = {"KeyId": 7, "Limit": "x", "Description": 7, "NumberOfBytes": "x", "CiphertextBlob": "!"}
    if "UserName" in body:  # IAM's
        wrong = {name: "!" for name in body if name.endswith(("Name", "Id", "Arn"))} | {"MaxItems": "x"}
    return body | wrong, who


def _of_what_is_not_there(body: Body, who: Who) -> tuple[Body, Who]:
    nothing: Body = {"KeyId": str(uuid.uuid4()), "AliasName": "alias/nothing", "GrantId": "0" * 64}
    if "UserName" in body:
        nothing = {name: fresh("nobody") for name in ("UserName", "GroupName", "RoleName", "PolicyName")}
        nothing |= {"PolicyArn": arn_of("policy", fresh("nothing")), "RoleArn": arn_of("role", fresh("nothing"))}
    return body | nothing, who


def _in_another_context(body: Body, who: Who) -> tuple[Body, Who]:
    context = {"another": "one"}
    return body | {"EncryptionContext": context, "SourceEncryptionContext": context}, who


def _altered(body: Body, who: Who) -> tuple[Body, Who]:
    blob = base64.b64decode(body["CiphertextBlob"])
    return body | {"CiphertextBlob": b64(blob[:-1] + bytes((blob[-1] ^ 1,)))}, who


Refusal = Callable[[Body, Who], tuple[Body, Who]]
_OF_CIPHERTEXTS: Final = (_in_another_context, _altered)


# ── a life ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Lives:
    """One after the other in one installation, whose owner and steady key stay."""

    def __init__(self, installation: Installation, issuer: Issuer, ledger: Ledger | None = None) -> None:
        self.installation = installation
        self.ledger = ledger or Ledger()
        self.state = SealedState.open(installation.home)
        self.store = installation.home / "service" / "store.db"
        self.hbks: dict[bytes, bytes] = {}
        self.issuer = issuer
        self.caller = Caller(installation)
        self.lived = 0
        made = self.caller.ask("kms", "CreateKey", {}, OWNER).json["KeyMetadata"]
        self.steady = str(made["KeyId"])
        self.learn_keys(self.steady)
        # Somebody whom no policy lets do anything.
        name = fresh("nobody")
        self.caller.ask("iam", "CreateUser", {"UserName": name}, OWNER)
        self.powerless = credentials_of(self.caller.ask("iam", "CreateAccessKey", {"UserName": name}, OWNER))
        self.ledger.keep("secret of who may nothing", self.powerless["SecretAccessKey"].encode(), passed=True)

    def learn_keys(self, key_id: str) -> None:
        for ekt in self.state.ekts_of(self.store, key_id):
            if ekt.metadata.hbkid not in self.hbks:
                self.hbks[ekt.metadata.hbkid] = ekt.hbk
                self.ledger.keep(f"HBK of {key_id}", ekt.hbk, passed=False)

    def live(self) -> Iterator[str]:
        """One life; yields after every answer what it was to."""
        life = _Life(self, self.lived)
        self.lived += 1
        yield from life.walk()


class _Life:
    def __init__(self, lives: Lives, number: int) -> None:
        self._lives = lives
        self._number = number
        self._ledger = lives.ledger
        context = os.urandom(24).hex()
        self._ledger.contexts.append(context.encode())
        self._context = {"canary": context}
        self._plaintexts: dict[str, bytes] = {}
        self._key_id = ""
        self._blob = b""
        self._grant_id = ""
        self._name = fresh("life")
        self._user: Who = {}
        self._calls: Counter[str] = Counter()

    def walk(self) -> Iterator[str]:
        for service, operations in (("kms", _KMS), ("iam", _IAM), ("sts", _STS), ("iam", _IAM_END), ("kms", _KMS_END)):
            for operation in operations:
                yield from self._kind(service, operation)

    def _kind(self, service: str, operation: str) -> Iterator[str]:
        """A request that succeeds, and one that is refused; who got a session uses it."""
        body, who = self._body(service, operation), self._who(service, operation)
        answer = self._ask(service, operation, body, who)
        assert (answer.status == 200) == (operation not in NEVER_SUCCEED), (operation, answer)
        yield operation
        if service == "sts" and (session := credentials_of(answer)).get("SessionToken"):
            used = self._ask("kms", "GenerateDataKey", self._body("kms", "GenerateDataKey"), session)
            assert used.status == 200, (operation, used)
            yield f"{operation}, its session used"
        refusals = self._refusals(operation)
        body, who = refusals[(self._number + self._calls[operation]) % len(refusals)](body, who)
        if operation == "Encrypt":
            body |= {"Plaintext": b64(self._new_plaintext("Encrypt, refused"))}
        self._ask(service, operation, body, who)
        self._calls[operation] += 1
        yield f"{operation}, refused"

    def _refusals(self, operation: str) -> list[Refusal]:
        """Of what makes something, none that would make something else."""
        ways: list[Refusal] = [_of_a_wrong_secret, lambda body, _: (body, self._lives.powerless), _malformed]
        if not operation.startswith("Create"):
            ways.append(_of_what_is_not_there)
        return [*ways, *(_OF_CIPHERTEXTS if operation in {"Decrypt", "ReEncrypt"} else ())]

    def _who(self, service: str, operation: str) -> Who:
        if operation == "AssumeRoleWithWebIdentity":
            return {}
        return self._user if service == "sts" else OWNER

    def _ask(self, service: str, operation: str, body: Body, who: Who) -> Answer:
        answer = self._lives.caller.ask(service, operation, body, who)
        self._ledger.outcomes[operation, answer.status != 200] += 1
        if answer.status == 200:
            if service == "kms":
                self._learn_kms(operation, answer.json if answer.body else {})
            else:
                self._learn_credentials(operation, credentials_of(answer))
        return answer

    # ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────

    def _body(self, service: str, operation: str) -> Body:
        """More than any operation asks for: what an operation does not know is ignored."""
        return self._kms_body(operation) if service == "kms" else self._form(operation)

    def _new_plaintext(self, name: str) -> bytes:
        plaintext = os.urandom(64)
        self._ledger.keep(f"plaintext ({name})", plaintext, passed=True)
        return plaintext

    def _kms_body(self, operation: str) -> Body:
        steady, context = self._lives.steady, self._context
        body: Body = {"KeyId": self._key_id, "TargetKeyId": steady, "AliasName": f"alias/{self._name}", "Limit": 20}
        body |= {"Description": "a life", "Tags": [{"TagKey": "a", "TagValue": "b"}], "TagKeys": ["a"]}
        body |= {"PolicyName": "default", "Policy": _KEY_POLICY, "PendingWindowInDays": 7, "RotationPeriodInDays": 365}
        body |= {"GranteePrincipal": ROOT, "RetiringPrincipal": ROOT, "Operations": ["Decrypt"]}
        body |= {"EncryptionContext": context, "SourceEncryptionContext": context, "DestinationKeyId": steady}
        body |= {"DestinationEncryptionContext": context}
        match operation:
            case "Encrypt":
                body["Plaintext"] = b64(self._new_plaintext(operation))
            case "Decrypt" | "ReEncrypt":
                body["CiphertextBlob"] = b64(self._blob)
            case "GenerateDataKey":
                body["KeySpec"] = "AES_256"
            case "GenerateDataKeyWithoutPlaintext" | "GenerateRandom":
                body["NumberOfBytes"] = 48
            case "ListAliases":
                del body["KeyId"]
            case "RevokeGrant" | "RetireGrant":
                body |= {"KeyId": key_arn(self._key_id), "GrantId": self._grant_id}
        return body

    def _form(self, operation: str) -> Body:
        name = self._name
        body: Body = dict.fromkeys(("UserName", "GroupName", "RoleName", "PolicyName", "RoleSessionName"), name)
        body |= {"Name": name[:32], "PolicyArn": arn_of("policy", name), "RoleArn": arn_of("role", name)}
        text = document(statement("kms:*", "sts:*"))
        body |= {"PolicyDocument": TRUST if operation == "UpdateAssumeRolePolicy" else text, "VersionId": "v1"}
        body |= {"AssumeRolePolicyDocument": TRUST, "PermissionsBoundary": _MANAGED, "Description": "a life"}
        body |= {"Tags.member.1.Key": "a", "Tags.member.1.Value": "b", "TagKeys.member.1": "a", "Status": "Active"}
        body |= {"AccessKeyId": self._user.get("AccessKeyId", "AKIANOBODY")}
        match operation:
            case "SetDefaultPolicyVersion":
                body["VersionId"] = "v2"
            case "GetFederationToken":
                body["Policy"] = text
            case "AssumeRoleWithWebIdentity":
                token = body["WebIdentityToken"] = self._lives.issuer.token(sub=self._name)
                self._ledger.keep("web identity token", token.rpartition(".")[2].encode(), passed=True)
        return body

    # ── what came of it ─────────────────────────────────────────────────────────────────────────────────────────

    def _learn_kms(self, operation: str, answer: Body) -> None:
        match operation:
            case "CreateKey":
                self._key_id = str(answer["KeyMetadata"]["KeyId"])
                self._lives.learn_keys(self._key_id)
            case "RotateKeyOnDemand":
                self._lives.learn_keys(self._key_id)
            case "CreateGrant":
                self._grant_id = answer["GrantId"]
                self._ledger.keep("grant token", answer["GrantToken"].encode(), passed=True)
            case "GenerateRandom":
                self._ledger.keep("random bytes", base64.b64decode(answer["Plaintext"]), passed=True)
            case "Encrypt" | "GenerateDataKey" | "GenerateDataKeyWithoutPlaintext" | "ReEncrypt":
                self._learn_blob(operation, base64.b64decode(answer["CiphertextBlob"]), answer)

    def _learn_blob(self, operation: str, blob: bytes, answer: Body) -> None:
        """What we believe is its derived key is the one that opens it."""
        self._blob = blob
        hbk = self._lives.hbks[blob[5:37]]
        key_id = self._lives.steady if operation == "ReEncrypt" else self._key_id
        opened = open_blob(hbk, key_id, blob, self._context)
        self._ledger.keep(f"derived key ({operation})", derived_key(hbk, blob), passed=False)
        if operation == "GenerateDataKeyWithoutPlaintext":
            self._ledger.keep(f"data key ({operation})", opened, passed=False)
        elif operation == "GenerateDataKey":
            assert b64(opened) == answer["Plaintext"]
            self._ledger.keep(f"data key ({operation})", opened, passed=True)

    def _learn_credentials(self, operation: str, given: Who) -> None:
        if "SecretAccessKey" not in given:
            return
        self._ledger.keep(f"secret ({operation})", given["SecretAccessKey"].encode(), passed=True)
        token = given.get("SessionToken")
        if token is not None:
            # What the HSM sealed stands behind the claims, and nobody else has it.
            self._ledger.keep(f"session token ({operation})", token[-120:].encode(), passed=True)
        elif operation == "CreateAccessKey":
            self._user = given


def with_an_issuer(installation: Installation) -> Issuer:
    """Before its first start: an installation to which web identities may come."""
    issuer = Issuer()
    folder = installation.home / "identity-providers"
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text(json.dumps(issuer.key_set()))
    (installation.home / "identity-providers.toml").write_text(provider("cluster.json"))
    return issuer


def as_operator(lives: Lives) -> Iterator[str]:
    """What a life does not do: an account comes and goes, by commands that nobody signs; yields like a life."""
    installation, ledger = lives.installation, lives.ledger
    account = f"{int.from_bytes(os.urandom(4)):012}"
    made = ask_admin(installation, "create-account", account=account, name=fresh("account"))
    ledger.keep("secret (create-account)", made["secret_access_key"].encode(), passed=True)
    yield "create-account"
    again = json.dumps({"command": "create-account", "arguments": {"account": account, "name": fresh("account")}})
    assert "error" in admin_line(installation, again.encode())
    yield "create-account, refused"
    user = {"UserName": made["user"]}
    key = ask_iam(installation, "CreateAccessKey", account, **user)["AccessKey"]
    ledger.keep("secret (CreateAccessKey by an operator)", key["SecretAccessKey"].encode(), passed=True)
    yield "CreateAccessKey by an operator"
    for key_id in (made["access_key_id"], key["AccessKeyId"]):
        ask_iam(installation, "DeleteAccessKey", account, **user, AccessKeyId=key_id)
    ask_iam(installation, "DeleteUserPolicy", account, **user, PolicyName="AdministratorAccess")
    ask_iam(installation, "DeleteUser", account, **user)
    ask_admin(installation, "delete-account", account=account)
    yield "delete-account"


def operations() -> set[str]:
    """All that a life asks for."""
    return {*_KMS, *_KMS_END, *_IAM, *_IAM_END, *_STS}


def live_whole(lives: Lives) -> None:
    """A life at which nobody looks."""
    for _ in lives.live():
        pass
