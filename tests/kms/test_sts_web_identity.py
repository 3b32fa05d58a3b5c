"""AssumeRoleWithWebIdentity: pods and other workloads, with real tokens of an issuer that the home is configured for."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import jwt
import msgspec
import pytest
from botocore import UNSIGNED
from hypothesis import given
from hypothesis import strategies as st

from strongroom.kms.audit.events import EventIds, Origin
from strongroom.kms.dispatch import _as_fault
from strongroom.kms.faults import Fault
from strongroom.kms.identities.configuration import IdentityConfiguration
from strongroom.kms.identities.configured import ConfiguredError, Documents
from strongroom.kms.identities.providers import read_providers
from strongroom.kms.identities.sts.allowance import Allowance
from strongroom.kms.identities.sts.web_tokens import verify_web_token
from strongroom.kms.query_calls import QueryCalls
from strongroom.kms.turns import Turns
from strongroom.protocol.requests import http_request
from testkit.identities import document, fresh, refused, statement
from testkit.installation import ACCOUNT, REGION, Installation
from testkit.module import operational_hsm
from testkit.raw import RawKms, audit_records
from testkit.sessions import as_client, kms_refused, make_caller, make_role, trusting
from testkit.web_identities import AUDIENCE, ISSUER, NAME, SUBJECT, Issuer, provider
from testkit.worker import Clocks, Worker

ARN = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{NAME}"
ELSEWHERE = "https://elsewhere.example.com"
TAGS, SOURCE_IDENTITY = "https://aws.amazon.com/tags", "https://aws.amazon.com/source_identity"
NO_KEY = (
    "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity "
    "documentation for requirements"
)
WORDS = dict.fromkeys(
    ("a key that is not there", "another algorithm", "the other key's name", "the public key as a shared secret"),
    NO_KEY,
)
NOT_VALID = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def own(issuer: Issuer) -> Iterator[Installation]:
    """An installation that knows the issuer, and another one for one other account only."""
    running = Installation()
    running.home.mkdir(parents=True)
    folder = running.home / "identity-providers"
    folder.mkdir()
    (folder / "cluster.json").write_text(json.dumps(issuer.key_set()))
    text = provider("cluster.json") + provider("cluster.json", ELSEWHERE, accounts=["999999999999"])
    (running.home / "identity-providers.toml").write_text(text)
    running.start()
    yield running
    running.destroy()


def trust_of(*conditions: dict[str, Any], arn: str = ARN, actions: tuple[str, ...] = ()) -> str:
    wanted = {"Condition": conditions[0]} if conditions else {}
    return document(trusting("sts:AssumeRoleWithWebIdentity", *actions, who={"Federated": arn}, **wanted))


@pytest.fixture(scope="module")
def role(own: Installation) -> dict[str, Any]:
    claims = {f"{NAME}:sub": SUBJECT, f"{NAME}:aud": AUDIENCE}
    return make_role(own, text=trust_of({"StringEquals": claims}))


def assume(own: Installation, role: dict[str, Any], token: str, **request: Any) -> dict[str, Any]:
    sts = as_client(own, "sts", signature_version=UNSIGNED)
    answer: dict[str, Any] = sts.assume_role_with_web_identity(
        **{"RoleArn": role["Arn"], "RoleSessionName": "a-pod", "WebIdentityToken": token, **request}
    )
    return answer


@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_a_pod_becomes_its_role(own: Installation, issuer: Issuer, role: dict[str, Any], key: str) -> None:
    answer = assume(own, role, issuer.token(key))
    assert (answer["Provider"], answer["Audience"]) == (ISSUER, AUDIENCE)
    assert answer["SubjectFromWebIdentityToken"] == SUBJECT
    session = answer["AssumedRoleUser"]["Arn"]
    assert session == f"arn:aws:sts::{ACCOUNT}:assumed-role/{role['RoleName']}/a-pod"
    assert as_client(own, "sts", answer["Credentials"]).get_caller_identity()["Arn"] == session
    assert as_client(own, "kms", answer["Credentials"]).create_key()


def test_an_sdk_in_a_pod_needs_nothing_but_its_environment(
    own: Installation, issuer: Issuer, role: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(issuer.token())
    url = f"http://127.0.0.1:{own.port}"
    for name, value in (
        ("AWS_ROLE_ARN", role["Arn"]),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token")),
        ("AWS_ENDPOINT_URL_STS", url),
        ("AWS_ENDPOINT_URL_KMS", url),
        ("AWS_DEFAULT_REGION", REGION),
    ):
        monkeypatch.setenv(name, value)
    pod = boto3.session.Session()
    assert pod.client("sts").get_caller_identity()["Arn"].startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/")
    assert pod.client("kms").generate_random(NumberOfBytes=1)


def test_a_signature_beside_the_token_changes_nothing(own: Installation, issuer: Issuer, role: dict[str, Any]) -> None:
    caller = make_caller(own, statement("*", effect="Deny"))
    form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleSessionName": "a-pod"}
    body = urlencode({**form, "RoleArn": role["Arn"], "WebIdentityToken": issuer.token()}).encode()
    raw, type_ = RawKms(own), (b"Content-Type", b"application/x-www-form-urlencoded")
    signing = {"access_key_id": caller["AccessKeyId"], "secret": caller["SecretAccessKey"], "service": "sts"}
    answer = raw.send(body, [type_], **signing)
    raw.close()
    assert answer.status == 200
    assert f"assumed-role/{role['RoleName']}/a-pod".encode() in answer.body
    assert audit_records(own)[-1]["userIdentity"]["type"] == "WebIdentityUser"


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"sub": "system:serviceaccount:default:other"}, "AccessDenied", None),
        ({"aud": ["somebody-else"]}, "InvalidIdentityToken", "Incorrect token audience"),
        ({"aud": [AUDIENCE, "somebody-else"]}, "InvalidIdentityToken", "Incorrect token audience"),
        ({"aud": []}, "InvalidIdentityToken", "Incorrect token audience"),
        ({"aud": None}, "InvalidIdentityToken", "Incorrect token audience"),
        ({"azp": "somebody-else"}, "InvalidIdentityToken", "Incorrect token audience"),
        (
            {"iss": "https://nobody.example.com"},
            "InvalidIdentityToken",
            "No OpenIDConnect provider found in your account for https://nobody.example.com",
        ),
        (
            {"iss": ELSEWHERE},
            "InvalidIdentityToken",
            f"No OpenIDConnect provider found in your account for {ELSEWHERE}",
        ),
        ({"iss": None}, "InvalidIdentityToken", None),
        ({"exp": None}, "InvalidIdentityToken", NOT_VALID),
        ({"iat": None}, "InvalidIdentityToken", NOT_VALID),
        ({"sub": None}, "InvalidIdentityToken", NOT_VALID),
        ({"sub": "x" * 256}, "InvalidIdentityToken", NOT_VALID),
        ({"exp": True}, "InvalidIdentityToken", NOT_VALID),
        ({"exp": 10**400}, "InvalidIdentityToken", NOT_VALID),
        ({"nbf": int(time.time()) + 3600}, "IDPRejectedClaim", None),
        ({"iat": int(time.time()) + 3600}, "IDPRejectedClaim", None),
        ({"https://aws.amazon.com/source_identity": "a b"}, "InvalidIdentityToken", NOT_VALID),
        ({"https://aws.amazon.com/tags": {"principal_tags": {"a": []}}}, "InvalidIdentityToken", NOT_VALID),
        ({"https://aws.amazon.com/tags": {"principal_tags": {"aws:a": ["b"]}}}, "InvalidIdentityToken", NOT_VALID),
    ],
)
def test_a_token_of_somebody_else_is_refused(
    own: Installation, issuer: Issuer, role: dict[str, Any], changes: Any, code: str, message: str | None
) -> None:
    with refused(code, message):
        assume(own, role, issuer.token(**changes))


def test_an_expired_token_is_refused_under_its_own_name(
    own: Installation, issuer: Issuer, role: dict[str, Any]
) -> None:
    expired = int(time.time()) - 1
    with refused("ExpiredTokenException"):
        assume(own, role, issuer.token(exp=expired))


def test_whoever_is_not_trusted_is_not_told_why(own: Installation, issuer: Issuer) -> None:
    nowhere = {"Arn": f"arn:aws:iam::{ACCOUNT}:role/{fresh()}"}
    of_account = make_role(own)
    of_another = make_role(own, text=trust_of(arn=ARN.replace("CLUSTER", "OTHER")))
    for found in (nowhere, of_account, of_another):
        with refused("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"):
            assume(own, found, issuer.token())


def _bent(issuer: Issuer) -> dict[str, str]:
    """Tokens that nobody issued, by what is wrong with them."""
    token = issuer.token()
    header, claims, signature = token.split(".")
    secret = base64.urlsafe_b64encode(json.dumps(issuer.key_set()).encode()).decode()
    return {
        "no signature": f"{header}.{claims}.",
        "no algorithm": jwt.encode(issuer.claims(), None, "none", {"kid": "rsa"}),
        "the public key as a shared secret": jwt.encode(issuer.claims(), secret, "HS256", {"kid": "rsa"}),
        "another key's signature": Issuer().token(),
        "the other key's name": issuer.token(headers={"kid": "ec"}),
        "a key that is not there": issuer.token(headers={"kid": "none"}),
        "another algorithm": jwt.encode(issuer.claims(), issuer.keys["rsa"], "RS512", {"kid": "rsa"}),
        "a demand that we do not know": issuer.token(headers={"crit": ["b64"], "b64": True}),
        "other claims": f"{header}.{issuer.token(sub='somebody').split('.')[1]}.{signature}",
        "two parts": f"{header}.{claims}",
        "four parts": f"{token}.{signature}",
        "no JSON": f"{header}.{base64.urlsafe_b64encode(b'nothing').decode().rstrip('=')}.{signature}",
        "deep JSON": f"{header}.{base64.urlsafe_b64encode(b'[' * 10_000).decode().rstrip('=')}.{signature}",
        "no text": "ä" * 20,
        "nothing": "....",
    }


@pytest.mark.parametrize("what", sorted(_bent(Issuer())))
def test_a_token_that_nobody_issued_is_refused(
    own: Installation, issuer: Issuer, role: dict[str, Any], what: str
) -> None:
    with refused("InvalidIdentityToken", WORDS.get(what)):
        assume(own, role, _bent(issuer)[what])


def test_claims_that_occur_twice_are_refused(own: Installation, issuer: Issuer, role: dict[str, Any]) -> None:
    text = json.dumps(issuer.claims(sub="somebody"))[:-1] + f', "sub": "{SUBJECT}"}}'
    token = jwt.PyJWS().encode(text.encode(), issuer.keys["rsa"], "RS256", {"kid": "rsa"})
    with refused("InvalidIdentityToken", NOT_VALID):
        assume(own, role, token)


def test_only_this_action_needs_no_signature(own: Installation) -> None:
    sts = as_client(own, "sts", signature_version=UNSIGNED)
    for call in (sts.get_caller_identity, sts.get_session_token):
        with refused("MissingAuthenticationToken"):
            call()
    with refused("MissingAuthenticationToken"):
        as_client(own, "iam", signature_version=UNSIGNED).list_users()


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"Policy": "{"}, "MalformedPolicyDocument"),
        ({"DurationSeconds": 3601}, "ValidationError"),
        ({"ProviderId": "www.amazon.com"}, "ValidationError"),
        ({"RoleArn": f"arn:aws:iam::{ACCOUNT}:user/somebody"}, "ValidationError"),
        ({"RoleSessionName": "a b"}, "ValidationError"),
    ],
)
def test_what_else_a_pod_asks_for_is_looked_at(
    own: Installation, issuer: Issuer, role: dict[str, Any], request_: Any, code: str
) -> None:
    with refused(code):
        assume(own, role, issuer.token(), **request_)


def test_what_the_provider_states_of_somebody_needs_leave_and_is_handed_on(own: Installation, issuer: Issuer) -> None:
    tags = {"principal_tags": {"team": ["blue"]}, "transitive_tag_keys": ["team"]}
    stated = {"https://aws.amazon.com/tags": tags, "https://aws.amazon.com/source_identity": "alice"}
    conditions = {"aws:PrincipalTag/team": "blue", "aws:SourceIdentity": "alice", "aws:FederatedProvider": ARN}
    policy = document(statement("kms:GenerateRandom", Condition={"StringEquals": conditions}))
    token = issuer.token(**stated)
    with refused("AccessDenied", "Not authorized to perform sts:TagSession"):
        assume(own, make_role(own, text=trust_of()), token)
    asked = {"StringEquals": {"aws:RequestTag/team": "blue"}}
    both = trust_of(actions=("sts:TagSession", "sts:SetSourceIdentity"))
    assert assume(own, make_role(own, text=both), token)["SourceIdentity"] == "alice"
    role = make_role(own, text=trust_of(asked, actions=("sts:TagSession", "sts:SetSourceIdentity")), policy=policy)
    kms = as_client(own, "kms", assume(own, role, token)["Credentials"])
    assert kms.generate_random(NumberOfBytes=1)
    with kms_refused():
        kms.list_keys()


def test_the_trail_says_who_vouched_for_whom_and_never_holds_a_token(
    own: Installation, issuer: Issuer, role: dict[str, Any]
) -> None:
    token = issuer.token()
    answer = assume(own, role, token)
    as_client(own, "kms", answer["Credentials"]).list_keys()
    before = len(audit_records(own))
    with refused("InvalidIdentityToken"):
        assume(own, role, token[:-8])
    events = audit_records(own)
    # Who is nobody is counted, not recorded.
    assert len(events) == before
    issued = next(e for e in reversed(events) if e["eventName"] == "AssumeRoleWithWebIdentity")
    assert issued["userIdentity"] == {
        "type": "WebIdentityUser",
        "principalId": f"{ARN}:{AUDIENCE}:{SUBJECT}",
        "userName": SUBJECT,
        "identityProvider": ARN,
    }
    assert issued["responseElements"]["credentials"]["accessKeyId"] == answer["Credentials"]["AccessKeyId"]
    used = next(e for e in reversed(events) if e["eventName"] == "ListKeys")["userIdentity"]
    assert used["sessionContext"]["webIdFederationData"] == {"federatedProvider": ARN}
    for secret in (*token.split("."), answer["Credentials"]["SessionToken"], answer["Credentials"]["SecretAccessKey"]):
        assert secret not in json.dumps(events)
        assert secret not in own.output.read_text()


KNOWN = Issuer()
PROVIDERS = read_providers(provider("a.json"), Documents("a folder", {"a.json": json.dumps(KNOWN.key_set())}))
TOKENS = {key: KNOWN.token(key) for key in ("rsa", "ec")}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def verified(token: str) -> bool:
    try:
        verify_web_token(token, PROVIDERS, ACCOUNT, time.time())
    except Fault:
        return False
    return True


@given(st.sampled_from(sorted(TOKENS)), st.data())
def test_every_character_of_a_token_counts(key: str, data: st.DataObject) -> None:
    token = TOKENS[key]
    assert verified(token)
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from(sorted({*token, "-", "_", ".", "=", "+", "/", " ", "ä"} - {token[place]})))
    changed = token[:place] + character + token[place + 1 :]
    # The last character of a part may hold bits that are of no byte: such a spelling is of the same bytes.
    is_spelling = token[place + 1 : place + 2] in {".", ""}
    assert is_spelling or not verified(changed)


@given(st.sampled_from(["iss", "aud", "azp", "sub", "exp", "iat", "nbf", "amr", TAGS, SOURCE_IDENTITY]), ANY_JSON)
def test_whatever_a_claim_is_a_token_is_taken_or_refused(name: str, value: Any) -> None:
    claims = {**KNOWN.claims(), name: value}
    payload = json.dumps(claims).encode()
    verified(jwt.PyJWS().encode(payload, KNOWN.keys["rsa"], "RS256", {"kid": "rsa"}))


@given(ANY_JSON, ANY_JSON, st.binary(max_size=80))
def test_whatever_a_part_is_a_token_is_refused(header: Any, claims: Any, signature: bytes) -> None:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    assert not verified(".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts))


def test_strangers_fail_only_so_often_in_a_second_and_lock_nobody_else_out(issuer: Issuer, tmp_path: Path) -> None:
    async def scene() -> None:
        clocks = Clocks(float(int(time.time())))
        documents = Documents("identity-providers", {"a.json": json.dumps(issuer.key_set())})
        with Worker(tmp_path, operational_hsm(), clocks) as worker:
            configured = IdentityConfiguration(providers=read_providers(provider("a.json"), documents))
            service = msgspec.structs.replace(worker.service, configured=configured)
            calls = QueryCalls(service, EventIds(bytes(9)), Turns(), _as_fault, Allowance(5, 3))

            def ask(token: str, beside: str = "", address: str = "192.0.2.1") -> str:
                """What a stranger is told; of somebody whom the issuer knows, what becomes of the call."""
                said: list[str] = []
                form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleSessionName": "a-pod"}
                role = f"arn:aws:iam::{ACCOUNT}:role/nobody"
                body = urlencode({**form, "RoleArn": role, "WebIdentityToken": token, "Beside": beside}).encode()
                request = http_request("POST", b"/", [], body)
                refuse, then = (lambda one: said.append(one.code)), (lambda one: said.append(one.code))
                assert calls.serve_unsigned(request, Origin(address, "a pod"), then, refuse)
                return said[0]

            forged = Issuer().token()
            pod, others = "198.51.100.7", ("192.0.2.2", "192.0.2.3")
            for _ in range(2):
                # Who is known is no stranger, however often he comes.
                assert [ask(issuer.token()) for _ in range(5)] == ["AccessDenied"] * 5
                assert [ask(forged) for _ in range(3)] == ["InvalidIdentityToken"] * 3
                assert ask(forged) == ask(issuer.token()) == "Throttling"
                assert ask(issuer.token(), address=pod) == "AccessDenied"
                # Several of them together lock out whoever was never known, and nobody else.
                assert {ask(forged, address=other) for other in others for _ in range(3)} == {
                    "InvalidIdentityToken",
                    "Throttling",
                }
                assert ask(issuer.token(), address="203.0.113.9") == "Throttling"
                assert ask(issuer.token(), address=pod) == "AccessDenied"
                clocks.pass_s(1.0)
            # Whoever makes more work has failed more.
            assert ask(forged, "A" * 6_000) == "InvalidIdentityToken"
            assert ask(forged) == "Throttling"

    asyncio.run(scene())


def test_what_a_pod_would_get_is_explained_without_a_token(own: Installation, issuer: Issuer) -> None:
    role = make_role(own, text=trust_of({"StringEquals": {f"{NAME}:sub": SUBJECT}}))

    def explain(principal: str, action: str, *words: str) -> tuple[int, str]:
        asked = ("explain", "--principal", principal, "--action", action, *words, "--home", str(own.home))
        done = own.cli("iam", *asked, check=False)
        return done.returncode, done.stdout + done.stderr

    on_role = ("sts:AssumeRoleWithWebIdentity", "--resource", role["Arn"])
    assert explain(ARN, *on_role, "--context", f"{NAME}:sub={SUBJECT}")[0] == 0
    assert assume(own, role, issuer.token())
    for words, found in (((), "absent"), (("--context", f"{NAME}:sub=another"), "'another'")):
        code, told = explain(ARN, *on_role, *words)
        assert code == 3
        assert f"StringEquals held for {NAME}:sub, which is {found}, against '{SUBJECT}'" in told
        assert "The role's half, its trust policy: refuses." in told
        assert "The caller's half" not in told
    root = f"arn:aws:iam::{ACCOUNT}:root"
    assert "Whoever signs is not looked at" in explain(root, *on_role)[1]
    for principal, asked, said in (
        (ARN, ("sts:AssumeRole", *on_role[1:]), "a web identity can ask for no sts:AssumeRole"),
        (ARN, ("kms:Decrypt", "--key", "alias/a"), "a web identity can use no key before it has assumed a role"),
        (ARN + "x", on_role, f"there is no {ARN}x"),
        (f"arn:aws:iam::{ACCOUNT}:oidc-provider/elsewhere.example.com", on_role, "there is no"),
    ):
        code, told = explain(principal, *asked)
        assert (code, said in told) == (1, True)


# ── the configuration ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("toml", "documents", "words"),
    [
        ("[[provider", {}, "identity-providers.toml: "),
        ("[[providers]]\n", {}, "identity-providers.toml: Object contains unknown field"),
        (provider("a.json"), {}, "identity-providers/a.json does not exist"),
        ("", {"a.json": "{}"}, "identity-providers/a.json is in the folder, but nothing names it"),
        (provider("a.json"), {"a.json": "{"}, "identity-providers/a.json is not valid JSON"),
        (provider("a.json"), {"a.json": "{}"}, "identity-providers/a.json is no key set"),
        (provider("a.json"), {"a.json": '{"keys":[]}'}, "identity-providers/a.json has no key for RS256 or ES256"),
        (provider("a.json", "http://a.example.com"), {"a.json": "GOOD"}, "is no issuer"),
        (provider("a.json", "https://a.example.com/?x"), {"a.json": "GOOD"}, "is no issuer"),
        (provider("a.json") * 2, {"a.json": "GOOD"}, f"{ISSUER} occurs twice"),
        (provider("a.json", audiences=()), {"a.json": "GOOD"}, "identity-providers.toml: "),
        (provider("a.json", accounts=["1"]), {"a.json": "GOOD"}, "identity-providers.toml: "),
    ],
)
def test_a_mistake_in_the_configuration_refuses_with_its_place(
    issuer: Issuer, toml: str, documents: dict[str, str], words: str
) -> None:
    good = json.dumps(issuer.key_set())
    texts = {name: good if text == "GOOD" else text for name, text in documents.items()}
    with pytest.raises(ConfiguredError) as caught:
        read_providers(toml, Documents("identity-providers", texts))
    assert words in str(caught.value)


def test_keys_for_other_purposes_are_left_out(issuer: Issuer) -> None:
    rsa_key, ec_key = issuer.key_set()["keys"]
    others = [
        {**rsa_key, "kid": "enc", "use": "enc"},
        {**rsa_key, "kid": "512", "alg": "RS512"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {name: value for name, value in rsa_key.items() if name != "kid"},
        {**ec_key, "kid": "384", "crv": "P-384"},
        {"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"},
        "no key",
    ]
    documents = Documents("identity-providers", {"a.json": json.dumps({"keys": [rsa_key, *others, ec_key]})})
    assert set(read_providers(provider("a.json"), documents)[ISSUER].keys) == {"rsa", "ec"}


def test_a_mistake_in_the_configuration_refuses_the_start(tmp_path: Path) -> None:
    broken = Installation()
    broken.home.mkdir(parents=True)
    (broken.home / "identity-providers.toml").write_text(provider("a.json"))
    try:
        broken.launch()
        assert broken.process is not None
        assert broken.process.wait(60) != 0
        assert "identity-providers/a.json does not exist" in broken.output.read_text()
    finally:
        broken.destroy()
