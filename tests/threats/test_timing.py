"""Class 15: how long a refusal takes says nothing of where two texts differ, nor of whether there is such an access key.

Each place that compares a secret is looked at as it is called, refusal included, and so is what it stands in for it: the
same place with a comparison that stops at the first difference, which must be found under all that is done besides.

What is not here compares no secret: signatures of web identities, of HSMs and of the domain are verified with public keys,
an operator is known by the kernel's word, an audit chain has no key. Nothing is decrypted with RSA yet.
(`tests/walls/test_tidiness.py`: `compare_digest` alone compares secrets. `tests/protocol/test_sigv4_cache.py`: an unknown
access key takes the steps of a wrong signature.)
"""

from __future__ import annotations

import base64
import hmac
import operator
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol.signed_requests import ACCESS_KEY_ID as PERMANENT_ID
from protocol.signed_requests import NOW_S, SECRETS, SERVICES, header, signed_request, with_header
from strongroom.boundary import session
from strongroom.boundary.frames import FrameType
from strongroom.boundary.secret import AccessKeySecret, StoreKey
from strongroom.boundary.statuses import RefusedError
from strongroom.hsm.arena import Region
from strongroom.hsm.vault import customer_data, token
from strongroom.hsm.vault.backing_key import BackingKey, EktMetadata
from strongroom.hsm.vault.ring import Ring
from strongroom.kms.identities import session_tokens, sessions
from strongroom.kms.keys import grant_tokens
from strongroom.kms.repositories import AliasRecord, RowForgedError
from strongroom.kms.storage import rows
from strongroom.protocol import sigv4
from strongroom.protocol.sigv4 import Refused, Verifier
from threats.timing import T_MAX, Act, Look, Make, look

ROUNDS, SAMPLES = 12, 150
LONG_ROUNDS, LONG_SAMPLES = 60, 600
# A million samples of each act.
CAMPAIGN_ROUNDS, CAMPAIGN_SAMPLES = 200, 5_000
KEY_ID: Final = "1234abcd-12ab-34cd-56ef-1234567890ab"
TEMPORARY_ID: Final = "ASIAAAAAAAAAAAAAAAAA"


def refused(act: Act, error: type[Exception]) -> Act:
    def refusing() -> None:
        try:
            act()
        except error:
            return
        raise AssertionError("it was accepted")

    return refusing


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def flipped_within(data: bytes, start: int, end: int, at: int) -> bytes:
    return data[:start] + flipped(data[start:end], at) + data[end:]


# ── comparisons that stop at the first difference ───────────────────────────────────────────────────────────────────────


def stops_at_the_first_difference(one: bytes, other: bytes) -> bool:
    return all(left == right for left, right in zip(one, other, strict=True))


class ComparesBy:
    """`hmac`, but for its comparison."""

    def __init__(self, compare_digest: Callable[[bytes, bytes], bool]) -> None:
        self.compare_digest = compare_digest

    def __getattr__(self, name: str) -> Any:
        return getattr(hmac, name)


STOPS_EARLY: Final = ComparesBy(stops_at_the_first_difference)
# What somebody would write: it looks at the first byte, and then at all the others at once.
EQUALS: Final = ComparesBy(operator.eq)


class TagStopsEarly:
    """AES-GCM that compares the tags itself; those that it made are the right ones."""

    _right: ClassVar[dict[bytes, bytes]] = {}

    def __init__(self, key: bytes) -> None:
        self._real = AESGCM(key)

    def encrypt(self, *arguments: Any) -> bytes:
        sealed = self._real.encrypt(*arguments)
        self._right[sealed[:-16]] = sealed[-16:]
        return sealed

    def decrypt(self, iv: bytes, sealed: bytes, associated: bytes) -> bytes:
        try:
            self._real.decrypt(iv, sealed, associated)
        except InvalidTag:
            assert not stops_at_the_first_difference(self._right[sealed[:-16]], sealed[-16:])
        raise InvalidTag

    def decrypt_into(self, iv: bytes, sealed: bytes, associated: bytes, _: memoryview) -> None:
        self.decrypt(iv, sealed, associated)


def finds_nobody_at_once(access_key_id: str) -> str:
    """Whoever is unknown is refused before anything is computed for him."""
    if access_key_id not in SECRETS:
        raise Refused("UnrecognizedClientException", "")
    return SECRETS[access_key_id]


# ── signatures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def signatures(*, known: bool) -> Make:
    """Of a client that was seen before, and of one whose header is new each time."""
    request = signed_request()
    prefix, word, signature = header(request, b"Authorization").rpartition(b"Signature=")
    verifier = Verifier(cached_max=1024 if known else 0)
    if known:
        verifier.verify(request, NOW_S, SECRETS.get, SERVICES)

    def make(at: int) -> Act:
        bent = with_header(request, b"Authorization", prefix + word + flipped(signature, at))
        return refused(lambda: verifier.verify(bent, NOW_S, SECRETS.get, SERVICES), Refused)

    return make


def find_secret(access_key_id: str) -> str | None:
    return SECRETS.get(access_key_id)


def access_keys() -> Make:
    """One that is there with a wrong signature, first; and last, one that is not there."""
    verifier = Verifier()

    def make(at: int) -> Act:
        access_key_id = "AKIDNOBODYX" if at else PERMANENT_ID
        request = signed_request(access_key_id=access_key_id, secret="another")
        return refused(lambda: verifier.verify(request, NOW_S, find_secret, SERVICES), Refused)

    return make


# ── tags of the store ───────────────────────────────────────────────────────────────────────────────────────────────────


def opened_rows() -> rows.RowCodec:
    codec = rows.RowCodec()
    codec.unlock(StoreKey(os.urandom(32)))
    return codec


def row_macs() -> Make:
    codec = opened_rows()
    alias = AliasRecord(
        account="000000000000",
        region="us-east-1",
        name="alias/x",
        version=1,
        key_id="key",
        created_at_s=1.0,
        updated_at_s=1.0,
    )
    *columns, mac = codec.to_row(alias)
    assert codec.to_record(AliasRecord, [*columns, mac]) == alias

    def make(at: int) -> Act:
        forged = [*columns, flipped(mac, at)]
        return refused(lambda: codec.to_record(AliasRecord, forged), RowForgedError)

    return make


def tags_of_grant_tokens() -> Make:
    tag = opened_rows().tag
    real = base64.urlsafe_b64decode(grant_tokens.format_grant_token(tag, KEY_ID, grant_tokens.new_grant_id()))

    def make(at: int) -> Act:
        forged = base64.urlsafe_b64encode(flipped_within(real, 91, 123, at)).decode()
        return refused(lambda: grant_tokens.parse_grant_token(tag, forged), grant_tokens.GrantTokenError)

    return make


CLAIMS: Final = session_tokens.Claims("role", "000000000000", "r", "AROA", 1, 2, "session", tags={"team": "a"})
ENCODED_CLAIMS: Final = session_tokens.encode_claims(CLAIMS)


def tags_of_session_tokens() -> Make:
    codec = opened_rows()

    def tag(said: bytes) -> bytes:
        return codec.tag(session_tokens.PURPOSE, said)

    real = base64.urlsafe_b64decode(session_tokens.format_token(TEMPORARY_ID, ENCODED_CLAIMS, bytes(200), tag))

    def make(at: int) -> Act:
        forged = base64.urlsafe_b64encode(flipped_within(real, 1, 33, at))
        return refused(lambda: session_tokens.parse_token(TEMPORARY_ID, forged, tag), session_tokens.SessionTokenError)

    return make


def sealed_claims() -> Make:
    """What the HSM opened says for which claims it is."""
    real = session_tokens.sealed_value(AccessKeySecret(b"s" * 40), ENCODED_CLAIMS)

    def make(at: int) -> Act:
        forged = flipped_within(real, 40, 72, at)
        return refused(lambda: session_tokens.parse_value(forged, ENCODED_CLAIMS), session_tokens.SessionTokenError)

    return make


def tokens_of_known_sessions() -> Make:
    known = session_tokens.Session(CLAIMS, base64.urlsafe_b64encode(os.urandom(300)))

    def make(at: int) -> Act:
        forged = flipped(known.token, at)
        return refused(lambda: sessions.require_session(known, forged, 0.0), Refused)

    return make


# ── tags of the HSM ─────────────────────────────────────────────────────────────────────────────────────────────────────


def tags_of_key_tokens() -> Make:
    ring = Ring([(b"k" * 16, memoryview(os.urandom(32)))])
    region = Region(memoryview(bytearray(4096)))
    real = token.seal_token(ring, token.TokenType.HBK, b"metadata", os.urandom(32), os.urandom(12))

    def make(at: int) -> Act:
        forged = flipped_within(real, len(real) - 16, len(real), at)
        return refused(lambda: token.open_token(ring, token.TokenType.HBK, forged, region), RefusedError)

    return make


def tags_of_ciphertexts() -> Make:
    metadata = EktMetadata(
        b"domain", KEY_ID, "0", "r", os.urandom(32), "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS", 1
    )
    key = BackingKey(metadata, memoryview(os.urandom(32)))
    real = customer_data.encrypt_data(key, b"plaintext", b"context", os.urandom(customer_data.RANDOM_BYTES))

    def make(at: int) -> Act:
        forged = flipped_within(real, len(real) - 16, len(real), at)
        return refused(lambda: customer_data.decrypt_data(key, forged, b"context"), RefusedError)

    return make


def tags_of_session_frames() -> Make:
    key, direction = os.urandom(32), session.Direction()
    real = session.Direction().seal(key, FrameType.COMMANDS, bytes(200))

    def make(at: int) -> Act:
        forged = flipped_within(real, len(real) - 16, len(real), at)
        return refused(lambda: direction.open(key, FrameType.COMMANDS, forged), RefusedError)

    return make


def digests() -> Make:
    """The comparison itself, as everybody calls it."""
    right = os.urandom(32).hex().encode()

    def make(at: int) -> Act:
        wrong = flipped(right, at)
        return lambda: hmac.compare_digest(right, wrong)

    return make


@dataclass(frozen=True)
class Place:
    """Somewhere that compares; and what stands there for the fault, under which name of which module."""

    prepare: Callable[[], Make]
    module: Any
    name: str = "hmac"
    fault: Any = STOPS_EARLY
    # What may be told apart all the same.
    apart_ns_max: float = 0.0


PLACES: Final[dict[str, Place]] = {
    "signature of a known client": Place(lambda: signatures(known=True), sigv4),
    "signature, verified in full": Place(lambda: signatures(known=False), sigv4),
    # The two refusals have words of their own, as AWS has it: whoever asks is told, and one text is longer.
    "access key that is not there": Place(
        access_keys, sys.modules[__name__], "find_secret", finds_nobody_at_once, apart_ns_max=200.0
    ),
    "MAC of a row": Place(row_macs, rows),
    "tag of a grant token": Place(tags_of_grant_tokens, grant_tokens),
    "tag of a session token": Place(tags_of_session_tokens, session_tokens),
    "claims that were sealed": Place(sealed_claims, session_tokens),
    "token of a known session": Place(tokens_of_known_sessions, sessions),
    "tag of a key token": Place(tags_of_key_tokens, token, "AESGCM", TagStopsEarly),
    "tag of a ciphertext": Place(tags_of_ciphertexts, customer_data, "AESGCM", TagStopsEarly),
    "tag of a session frame": Place(tags_of_session_frames, session, "AESGCM", TagStopsEarly),
    "compare_digest": Place(digests, sys.modules[__name__]),
}


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def look_at(name: str, rounds: int, samples: int, seed: int, *, strictly: bool) -> tuple[Look, bool]:
    """Whether the two can be told apart: by dudect's limit, or strictly, by what this run itself makes of nothing."""
    place = PLACES[name]
    seen = look(place.prepare(), rounds, samples, seed)
    limit = seen.limit if strictly else T_MAX
    return seen, abs(seen.t) > limit and abs(seen.apart_ns) > place.apart_ns_max


def require_alike(name: str, rounds: int, samples: int, *, strictly: bool = False) -> None:
    """One look in three is enough on a busy machine, since what leaks leaks in each; strictly, two of three."""
    alike, all_seen = 0, []
    for seed in range(3):
        seen, apart = look_at(name, rounds, samples, seed, strictly=strictly)
        all_seen.append(str(seen))
        alike += seen.counts and not apart
        if alike > strictly:
            print(f"{name}: {'; '.join(all_seen)}")
            return
    pytest.fail(f"{name}: {'; '.join(all_seen)}")


def require_apart(name: str, rounds: int, samples: int, *, strictly: bool = False) -> None:
    all_seen = []
    for seed in range(3):
        seen, apart = look_at(name, rounds, samples, seed, strictly=strictly)
        all_seen.append(str(seen))
        if seen.counts and apart:
            print(f"{name}: {'; '.join(all_seen)}")
            return
    pytest.fail(f"{name}: {'; '.join(all_seen)}")


@pytest.mark.parametrize("name", PLACES)
def test_a_refusal_takes_as_long_for_the_last_difference_as_for_the_first(name: str) -> None:
    require_alike(name, ROUNDS, SAMPLES)


@pytest.mark.long
@pytest.mark.parametrize("name", PLACES)
def test_a_refusal_takes_as_long_for_either_difference_over_many_rounds(name: str) -> None:
    require_alike(name, LONG_ROUNDS, LONG_SAMPLES)


@pytest.mark.campaign
@pytest.mark.parametrize("name", PLACES)
def test_a_refusal_takes_as_long_for_either_difference_over_a_million_samples(name: str) -> None:
    require_alike(name, CAMPAIGN_ROUNDS, CAMPAIGN_SAMPLES, strictly=True)


# ── what leaks is found, or the tests above would say nothing ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PLACES)
def test_a_comparison_that_stops_early_is_found_wherever_it_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = PLACES[name]
    monkeypatch.setattr(place.module, place.name, place.fault)
    require_apart(name, ROUNDS, SAMPLES)


COMPARED_HERE: Final = [name for name, place in PLACES.items() if place.fault is STOPS_EARLY]
# Where two nanoseconds are most of what there is.
BARE: Final = ["MAC of a row", "token of a known session", "claims that were sealed", "compare_digest"]


@pytest.mark.long
@pytest.mark.parametrize("name", BARE)
def test_an_equals_sign_is_found_where_little_else_is_done(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACES[name].module, "hmac", EQUALS)
    require_apart(name, LONG_ROUNDS, LONG_SAMPLES)


@pytest.mark.campaign
@pytest.mark.parametrize("name", COMPARED_HERE)
def test_an_equals_sign_is_found_wherever_it_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLACES[name].module, "hmac", EQUALS)
    require_apart(name, CAMPAIGN_ROUNDS, CAMPAIGN_SAMPLES, strictly=True)
