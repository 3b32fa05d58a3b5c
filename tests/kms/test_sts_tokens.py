"""Session tokens: open for their own access key, at this home, for their time; a stranger's cost no command to the HSM."""

from __future__ import annotations

import asyncio
import base64
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.boundary.messages import SealColumn, UnsealColumn
from strongroom.boundary.secret import AccessKeySecret, StoreKey
from strongroom.kms.credentials import Credentials
from strongroom.kms.dispatch import _KMS, _QUERY, _as_fault, _error_body, _error_status
from strongroom.kms.driver import run
from strongroom.kms.identities.faults import AccessDenied, InvalidClientTokenId
from strongroom.kms.identities.lookup import Lookup
from strongroom.kms.identities.organization import UNLIMITED
from strongroom.kms.identities.records import RoleRecord, UserRecord
from strongroom.kms.identities.session_tokens import (
    CLAIMS_BYTES_MAX,
    TOKEN_CHARS_MAX,
    Claims,
    Session,
    SessionTokenError,
    encode_claims,
    format_token,
    parse_token,
    parse_value,
    sealed_value,
)
from strongroom.kms.identities.sessions import EXPIRED, merged_tags, require_may_call, require_session
from strongroom.kms.identities.sts.issuing import PACKED_BYTES_MAX, issue
from strongroom.kms.keys.directory import PrincipalEntry
from strongroom.kms.repositories import Put, Remove
from strongroom.protocol.sigv4 import Refused
from testkit.module import ACCOUNT, operational_hsm
from testkit.worker import START_S, Clocks, Worker

ID = "ASIA" + "A" * 16
OTHER_ID = "ASIA" + "B" * 16
NOW_S = int(START_S)
USER = UserRecord(account=ACCOUNT, name="u", version=1, user_id="AIDAU", identity_policies={}, created_at_s=START_S)
ROLE = RoleRecord(
    account=ACCOUNT,
    name="r",
    version=1,
    role_id="AROAR",
    path="/p/",
    description="",
    trust_policy='{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}]}',
    max_session_s=3600,
    identity_policies={},
    attached_policies=(),
    tags={},
    created_at_s=START_S,
)


def claims_of(kind: Any = "user", name: str = "u", unique_id: str = "AIDAU", **more: Any) -> Claims:
    return Claims(kind, ACCOUNT, name, unique_id, NOW_S, NOW_S + 900, **more)


def tag(message: bytes) -> bytes:
    import hmac

    return hmac.digest(b"a key", message, "sha256")


SEALED = b"what the HSM sealed"
TOKEN = format_token(ID, encode_claims(claims_of()), SEALED, tag)


# ── the token ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_token_holds_what_was_put_in() -> None:
    opened = parse_token(ID, TOKEN, tag)
    assert (opened.claims, opened.sealed) == (claims_of(), SEALED)


def test_every_other_spelling_of_a_token_is_refused() -> None:
    alphabet = (string.ascii_letters + string.digits + "-_=+/ ").encode()
    for place in range(len(TOKEN)):
        for character in {alphabet[(TOKEN[place] + shift) % len(alphabet)] for shift in range(0, 60, 7)}:
            changed = TOKEN[:place] + bytes([character]) + TOKEN[place + 1 :]
            if changed != TOKEN:
                with pytest.raises(SessionTokenError):
                    parse_token(ID, changed, tag)
    for cut in range(len(TOKEN)):
        with pytest.raises(SessionTokenError):
            parse_token(ID, TOKEN[:cut], tag)
    for more in (b"=", b"A", b"AAAA", b"\n", b" ", TOKEN):
        with pytest.raises(SessionTokenError):
            parse_token(ID, TOKEN + more, tag)


def test_every_bit_of_a_token_counts() -> None:
    data = base64.urlsafe_b64decode(TOKEN)
    for bit in range(8 * len(data)):
        bent = bytearray(data)
        bent[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SessionTokenError):
            parse_token(ID, base64.urlsafe_b64encode(bytes(bent)), tag)


def test_a_token_is_of_one_access_key_and_one_home() -> None:
    with pytest.raises(SessionTokenError):
        parse_token(OTHER_ID, TOKEN, tag)
    with pytest.raises(SessionTokenError):
        parse_token(ID, TOKEN, lambda message: tag(b"x" + message))


@given(st.binary(max_size=200))
def test_no_bytes_at_all_open(data: bytes) -> None:
    for token in (data, base64.urlsafe_b64encode(data), base64.urlsafe_b64encode(b"\x01" + data)):
        with pytest.raises(SessionTokenError):
            parse_token(ID, token, tag)


def test_a_token_with_a_right_tag_and_no_claims_is_refused() -> None:
    with pytest.raises(SessionTokenError):
        parse_token(ID, format_token(ID, b"nothing", SEALED, tag), tag)


def test_a_token_that_is_too_long_is_not_even_decoded() -> None:
    def no_tag(_: bytes) -> bytes:
        raise AssertionError

    with pytest.raises(SessionTokenError):
        parse_token(ID, base64.urlsafe_b64encode(b"\x01" * TOKEN_CHARS_MAX), no_tag)


def test_the_longest_claims_fit_into_a_token() -> None:
    longest = Claims(
        "role",
        "9" * 12,
        "n" * 64,
        "A" * 21,
        NOW_S,
        NOW_S + 43_200,
        "s" * 64,
        "i" * 64,
        {},
        (),
        "p" * (PACKED_BYTES_MAX - 10),
        (),
        "arn:aws:iam::999999999999:oidc-provider/" + "h" * 459,
    )
    encoded = encode_claims(longest)
    assert len(encoded) <= CLAIMS_BYTES_MAX
    assert len(format_token(ID, encoded, b"x" * 300, tag, 4096)) <= TOKEN_CHARS_MAX


def test_what_the_hsm_opened_is_of_these_claims() -> None:
    encoded = encode_claims(claims_of())
    value = sealed_value(AccessKeySecret(b"s" * 40), encoded)
    assert parse_value(value, encoded).expose() == b"s" * 40
    for other in (encode_claims(claims_of("federated")), b""):
        with pytest.raises(SessionTokenError):
            parse_value(value, other)
    with pytest.raises(SessionTokenError):
        parse_value(value[1:], encoded)


# ── beside the signature ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", [None, b"", TOKEN[:-1], TOKEN + b"x", TOKEN.swapcase()])
def test_a_request_brings_its_own_token(token: bytes | None) -> None:
    with pytest.raises(Refused) as caught:
        require_session(Session(claims_of(), TOKEN), token, NOW_S)
    assert caught.value.code == "UnrecognizedClientException"
    with pytest.raises(Refused):
        require_session(None, token, NOW_S)


def test_a_session_ends_at_its_time_and_not_before() -> None:
    session = Session(claims_of(), TOKEN)
    require_session(session, TOKEN, NOW_S + 899.999)
    with pytest.raises(Refused) as caught:
        require_session(session, TOKEN, NOW_S + 900)
    assert (caught.value.code, caught.value.message) == (
        "ExpiredTokenException",
        "The security token included in the request is expired",
    )


@pytest.mark.parametrize(
    ("services", "code", "status"), [(_KMS, "ExpiredTokenException", 400), (_QUERY, "ExpiredToken", 403)]
)
def test_an_expired_session_is_told_so_in_every_protocol(services: frozenset[str], code: str, status: int) -> None:
    fault = _as_fault(Refused("ExpiredTokenException", EXPIRED))
    found, content_type = _error_status(fault.code, services)
    body = _error_body(content_type, fault.code, fault.message, "a request").decode()
    assert (found, fault.message) == (status, EXPIRED)
    assert f'"__type":"{code}"' in body or f"<Code>{code}</Code>" in body


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("role", {"AssumeRole", "GetCallerIdentity", "GetAccessKeyInfo"}),
        ("user", {"AssumeRole", "GetCallerIdentity"}),
        ("federated", {"GetCallerIdentity"}),
    ],
)
def test_what_sessions_may_ask_of_sts_and_iam(kind: Any, allowed: set[str]) -> None:
    session = Session(claims_of(kind), TOKEN)
    every = {"AssumeRole", "GetCallerIdentity", "GetAccessKeyInfo", "GetSessionToken", "GetFederationToken"}
    for operation in every:
        require_may_call("sts", operation, None)
        if operation in allowed:
            require_may_call("sts", operation, session)
        else:
            with pytest.raises(AccessDenied):
                require_may_call("sts", operation, session)
    if kind == "role":
        require_may_call("iam", "GetUser", session)
    else:
        with pytest.raises(InvalidClientTokenId):
            require_may_call("iam", "GetUser", session)


def test_tags_go_over_others_in_whatever_case() -> None:
    assert merged_tags({"Team": "a", "floor": "1"}, {"team": "b"}) == {"floor": "1", "team": "b"}


# ── in a worker ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Home:
    """A worker with its credentials; `asked` counts what the HSM was asked to open."""

    def __init__(self, folder: Path) -> None:
        self.clocks = Clocks()
        self.worker = Worker(folder, operational_hsm(), self.clocks)
        parts = self.worker.directory, self.worker.link, self.worker.gate
        lookup = Lookup(self.worker.store, ACCOUNT, UNLIMITED)
        self.credentials = Credentials(*parts, lookup, self.clocks)

    @property
    def asked(self) -> int:
        return sum(isinstance(command, UnsealColumn) for command in self.worker.link.commands)

    async def begin(self, claims: Claims) -> tuple[str, bytes]:
        issued = (await run(issue(self.worker.service, claims, None))).credentials
        return issued.AccessKeyId, issued.SessionToken.encode()

    async def load(self, access_key_id: str, token: bytes | None) -> PrincipalEntry | None:
        return await run(self.credentials.load(access_key_id, token))

    async def commit(self, *changes: Any) -> None:
        await run(self.worker.store.commit(changes))
        self.worker.directory.refresh(lambda: None)


@pytest.fixture
def home(tmp_path: Path) -> Any:
    made = Home(tmp_path)
    yield made
    made.worker.close()


def test_a_session_is_opened_once_and_then_known(home: Home) -> None:
    async def scene() -> None:
        await home.commit(Put(USER, None))
        access_key_id, token = await home.begin(claims_of())
        entry = await home.load(access_key_id, token)
        assert entry is not None
        assert entry.principal.arn == f"arn:aws:iam::{ACCOUNT}:user/u"
        assert entry.principal.issued_at_s == NOW_S
        assert home.worker.directory.known_principal(access_key_id) is entry
        assert home.asked == 1
        # Whoever is changed is looked up again.
        await home.commit(Put(msgspec.structs.replace(USER, version=2), 1))
        assert home.worker.directory.known_principal(access_key_id) is None

    asyncio.run(scene())


def test_a_strangers_token_costs_the_hsm_nothing(home: Home) -> None:
    async def scene() -> None:
        await home.commit(Put(USER, None))
        access_key_id, token = await home.begin(claims_of())
        for other_id, other in (
            (access_key_id, None),
            (access_key_id, b""),
            (access_key_id, token[:-4]),
            (access_key_id, token.swapcase()),
            (OTHER_ID, token),
            (access_key_id.lower(), token),
            ("ASIA\0" + access_key_id, token),
            ("ASIA", token),
        ):
            assert await home.load(other_id, other) is None
        assert home.asked == 0

    asyncio.run(scene())


def test_an_expired_token_is_refused_before_the_hsm_is_asked(home: Home) -> None:
    async def scene() -> None:
        await home.commit(Put(USER, None))
        access_key_id, token = await home.begin(claims_of())
        home.clocks.pass_s(900)
        with pytest.raises(Refused) as caught:
            await home.load(access_key_id, token)
        assert caught.value.code == "ExpiredTokenException"
        assert home.asked == 0

    asyncio.run(scene())


def test_whoever_has_the_stores_key_and_not_the_hsm_makes_no_session(home: Home) -> None:
    """The tag is right, but what the HSM sealed is of other claims, of another key, or nothing."""

    async def scene() -> None:
        await home.commit(Put(USER, None), Put(msgspec.structs.replace(USER, name="admin", user_id="AIDAA"), None))
        worker = home.worker
        access_key_id, token = await home.begin(claims_of())

        def own_tag(message: bytes) -> bytes:
            return worker.store.tag("session tokens", message)

        sealed = parse_token(access_key_id, token, own_tag).sealed
        others = encode_claims(claims_of(name="admin", unique_id="AIDAA"))
        for encoded, content in ((others, sealed), (others, b""), (others, sealed[:-1] + b"x"), (others, b"x" * 200)):
            forged = format_token(access_key_id, encoded, content, own_tag)
            assert await home.load(access_key_id, forged) is None
        moved = format_token(OTHER_ID, encode_claims(claims_of()), sealed, own_tag)
        assert await home.load(OTHER_ID, moved) is None
        assert await home.load(access_key_id, token) is not None

    asyncio.run(scene())


def test_another_home_does_not_know_the_token(home: Home, tmp_path: Path) -> None:
    async def scene() -> None:
        await home.commit(Put(USER, None))
        access_key_id, token = await home.begin(claims_of())
        (tmp_path / "other").mkdir()
        other = Home(tmp_path / "other")
        other.worker.store.unlock(StoreKey(b"o" * 32))
        await other.commit(Put(USER, None))
        assert await other.load(access_key_id, token) is None
        # Even with the same store key, another domain's HSM opens nothing.
        other.worker.store.unlock(StoreKey(bytes(32)))
        (tmp_path / "third").mkdir()
        third = Home(tmp_path / "third")
        await third.commit(Put(USER, None))
        assert await third.load(access_key_id, token) is None
        other.worker.close()
        third.worker.close()

    asyncio.run(scene())


@pytest.mark.parametrize("record", [USER, ROLE])
def test_a_session_is_of_one_user_or_role_and_not_of_its_name(home: Home, record: Any) -> None:
    async def scene() -> None:
        is_role = isinstance(record, RoleRecord)
        claims = claims_of("role", "r", "AROAR", session_name="s") if is_role else claims_of()
        access_key_id, token = await home.begin(claims)
        assert await home.load(access_key_id, token) is None
        await home.commit(Put(record, None))
        assert await home.load(access_key_id, token) is not None
        other = msgspec.structs.replace(record, **{"role_id" if is_role else "user_id": "ANOTHER"})
        await home.commit(Remove(record), Put(other, None))
        assert await home.load(access_key_id, token) is None

    asyncio.run(scene())


def test_a_session_of_an_account_that_is_not_there_is_nobodys(home: Home) -> None:
    async def scene() -> None:
        for claims in (
            msgspec.structs.replace(claims_of(name="", unique_id=""), account="999999999999"),
            msgspec.structs.replace(claims_of("federated", "", ""), account="999999999999"),
        ):
            assert await home.load(*await home.begin(claims)) is None

    asyncio.run(scene())


def test_every_session_has_a_key_of_its_own(home: Home) -> None:
    async def scene() -> None:
        made = [await home.begin(claims_of()) for _ in range(50)]
        assert len({access_key_id for access_key_id, _ in made}) == len({token for _, token in made}) == 50
        commands = [command for command in home.worker.link.commands if isinstance(command, SealColumn)]
        assert len({command.value for command in commands}) == 50

    asyncio.run(scene())
