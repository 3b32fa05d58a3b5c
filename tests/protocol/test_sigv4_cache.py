"""The cache may make verification cheaper, and change nothing else."""

import hmac
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.signed_requests import (
    ACCESS_KEY_ID,
    AMZ_DATE,
    BODY,
    KMS_HEADERS,
    NOW_S,
    SECRET,
    SECRETS,
    SERVICES,
    header,
    signed_request,
    with_header,
    with_headers,
)
from strongroom.protocol import sigv4
from strongroom.protocol.canonical import Layout, SigningKey
from strongroom.protocol.sigv4 import Refused, Verifier


def known_client() -> Verifier:
    verifier = Verifier()
    verifier.verify(signed_request(), NOW_S, SECRETS.get, SERVICES)
    assert len(verifier._known) == 1
    return verifier


def test_a_known_client_takes_the_short_way_for_other_bodies_targets_and_seconds(monkeypatch: pytest.MonkeyPatch):
    verifier = known_client()
    monkeypatch.setattr(Verifier, "_verify_in_full", lambda *_: pytest.fail("took the long way"))
    for request in (
        signed_request(),
        signed_request(body=b"{}"),
        signed_request(amz_date="20150830T123714Z"),
        signed_request(headers=[(b"X-Amz-Target", b"TrentService.Decrypt"), KMS_HEADERS[1]]),
    ):
        assert verifier.verify(request, NOW_S, SECRETS.get, SERVICES).access_key_id == ACCESS_KEY_ID


def test_a_known_client_with_other_header_names_takes_the_long_way_once(monkeypatch: pytest.MonkeyPatch):
    verifier = known_client()
    other = signed_request(unsigned=[])
    assert verifier.verify(other, NOW_S, SECRETS.get, SERVICES)
    monkeypatch.setattr(Verifier, "_verify_in_full", lambda *_: pytest.fail("took the long way"))
    for request in (other, signed_request()):
        assert verifier.verify(request, NOW_S, SECRETS.get, SERVICES)


def test_what_requests_have_in_common_is_kept_only_when_the_signature_was_right_and_is_bounded():
    verifier = known_client()
    (known,) = verifier._known.values()
    wrong = with_header(signed_request(), b"X-Amz-Target", b"TrentService.DeleteAlias")
    for _ in range(2):
        with pytest.raises(Refused, match="InvalidSignatureException"):
            verifier.verify(wrong, NOW_S, SECRETS.get, SERVICES)
    assert known.heads == {}
    for number in range(sigv4.HEADS_KEPT_MAX + 5):
        target = b"TrentService.Operation%d" % number
        request = signed_request(headers=[(b"X-Amz-Target", target), KMS_HEADERS[1]])
        assert verifier.verify(request, NOW_S, SECRETS.get, SERVICES)
        assert verifier.verify(request, NOW_S, SECRETS.get, SERVICES)
    assert 0 < len(known.heads) <= sigv4.HEADS_KEPT_MAX


def test_heads_of_all_keys_together_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sigv4, "HEADS_KEPT_MAX", 10)
    verifier = Verifier()
    for number in range(8):
        for target in (b"A", b"B", b"C"):
            request = signed_request(headers=[(b"X-Amz-Target", target)], unsigned=[(b"X-%d" % number, b"1")])
            for _ in range(2):
                assert verifier.verify(request, NOW_S, SECRETS.get, SERVICES)
            assert sum(len(known.heads) for known in verifier._known.values()) <= 10
    assert len(verifier._known) == 8


def test_exactly_as_many_heads_are_kept_as_there_may_be_and_then_all_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sigv4, "HEADS_KEPT_MAX", 10)
    verifier = known_client()
    (known,) = verifier._known.values()
    kept = []
    for number in range(21):
        # The same head again is not another one.
        for _ in range(3):
            request = signed_request(headers=[(b"X-Amz-Target", b"TrentService.Operation%d" % number), KMS_HEADERS[1]])
            assert verifier.verify(request, NOW_S, SECRETS.get, SERVICES)
        kept.append(len(known.heads))
    assert kept == [*range(1, 11), *range(1, 11), 1]


def test_a_head_that_is_kept_is_not_made_again(monkeypatch: pytest.MonkeyPatch):
    verifier = known_client()
    assert verifier.verify(signed_request(), NOW_S, SECRETS.get, SERVICES)
    monkeypatch.setattr(sigv4, "_head_of", lambda *_: pytest.fail("made it again"))
    assert verifier.verify(signed_request(body=b"{}"), NOW_S, SECRETS.get, SERVICES)


def test_what_is_kept_is_as_long_as_it_may_be_and_no_longer():
    verifier = Verifier()
    length = sum(map(len, (b"127.0.0.1:4599", AMZ_DATE.encode(), *(value for _, value in KMS_HEADERS))))
    for more, heads in ((0, 1), (1, 0)):
        long_value = b"x" * (sigv4.HEAD_BYTES_KEPT_MAX - length + more)
        request = signed_request(headers=[*KMS_HEADERS, (b"X-Amz-Long-%d" % more, long_value)])
        for _ in range(2):
            assert verifier.verify(request, NOW_S, SECRETS.get, SERVICES)
        assert len(list(verifier._known.values())[-1].heads) == heads
    rest = len(header(signed_request(access_key_id=""), b"Authorization")) - 64
    for more, known in ((0, 1), (1, 0)):
        key_id = "A" * (sigv4.PREFIX_BYTES_KEPT_MAX - rest + len("Signature=") + more)
        verifier = Verifier()
        assert verifier.verify(signed_request(access_key_id=key_id), NOW_S, {key_id: SECRET}.get, SERVICES)
        assert len(verifier._known) == known


def test_what_is_kept_takes_as_much_memory_as_the_documents_say():
    # ARCHITECTURE.md, "Limits of the edge": 50 MiB, with 5 KiB for a head and 30 KiB for a known header.
    assert sigv4.HEADS_KEPT_MAX * 5 + sigv4.CACHED_CREDENTIALS_MAX * 30 == 50 * 1024
    assert (sigv4.HEAD_BYTES_KEPT_MAX, sigv4.PREFIX_BYTES_KEPT_MAX) == (2048, 2048)
    assert Verifier()._cached_max == sigv4.CACHED_CREDENTIALS_MAX


def test_an_access_key_id_that_reads_like_a_signature_is_known_like_another(monkeypatch: pytest.MonkeyPatch):
    request, secrets = signed_request(access_key_id="Signature=x"), {"Signature=x": SECRET}
    verifier = Verifier()
    assert verifier.verify(request, NOW_S, secrets.get, SERVICES)
    monkeypatch.setattr(Verifier, "_verify_in_full", lambda *_: pytest.fail("took the long way"))
    assert verifier.verify(request, NOW_S, secrets.get, SERVICES).access_key_id == "Signature=x"


def test_a_request_with_a_header_twice_is_verified_and_never_remembered():
    request = signed_request(unsigned=[(b"X-Other", b"1"), (b"x-other", b"2")])
    verifier = Verifier()
    assert verifier.verify(request, NOW_S, SECRETS.get, SERVICES)
    assert not verifier._known


def test_a_known_client_that_took_the_long_way_again_is_the_newest():
    verifier = Verifier(cached_max=3)
    for region in ("us-east-1", "us-east-2"):
        verifier.verify(signed_request(region=region), NOW_S, SECRETS.get, SERVICES)
    verifier.verify(signed_request(method="GET", target=b"/a"), NOW_S, SECRETS.get, SERVICES)
    assert [known.claim.region for known in verifier._known.values()] == [b"us-east-2", b"us-east-1"]


def test_what_is_long_or_never_found_again_is_verified_and_not_kept():
    verifier = Verifier()
    long_value = signed_request(headers=[*KMS_HEADERS, (b"X-Amz-Long", b"x" * sigv4.HEAD_BYTES_KEPT_MAX)])
    for _ in range(3):
        assert verifier.verify(long_value, NOW_S, SECRETS.get, SERVICES)
    assert [known.heads for known in verifier._known.values()] == [{}]
    many_names = signed_request(unsigned=[(b"X-%d" % number, b"") for number in range(64)])
    long_names = signed_request(unsigned=[(b"X-%d" % number * 1000, b"") for number in range(2)])
    long_prefix = signed_request(access_key_id="A" * sigv4.PREFIX_BYTES_KEPT_MAX)
    secrets = {**SECRETS, "A" * sigv4.PREFIX_BYTES_KEPT_MAX: SECRET}
    for request in (many_names, long_names, long_prefix):
        assert verifier.verify(request, NOW_S, secrets.get, SERVICES)
        assert len(verifier._known) == 1


def test_a_rotated_secret_is_never_served_from_the_cache():
    verifier = known_client()
    rotated = {ACCESS_KEY_ID: "another secret"}
    with pytest.raises(Refused, match="InvalidSignatureException"):
        verifier.verify(signed_request(), NOW_S, rotated.get, SERVICES)
    assert verifier.verify(signed_request(secret="another secret"), NOW_S, rotated.get, SERVICES)
    # The new secret took the old one's place: the old signature is refused, and so it stays.
    with pytest.raises(Refused, match="InvalidSignatureException"):
        verifier.verify(signed_request(), NOW_S, rotated.get, SERVICES)
    assert [known.secret for known in verifier._known.values()] == ["another secret"]


def test_a_removed_access_key_is_never_served_from_the_cache():
    verifier = known_client()
    with pytest.raises(Refused, match="UnrecognizedClientException"):
        verifier.verify(signed_request(), NOW_S, {}.get, SERVICES)
    assert not verifier._known
    assert verifier.verify(signed_request(), NOW_S, SECRETS.get, SERVICES)


def test_who_is_forgotten_leaves_no_secret_and_takes_the_long_way_once():
    verifier = known_client()
    assert verifier.verify(signed_request(), NOW_S, SECRETS.get, SERVICES)
    assert verifier._heads_kept == 1
    verifier.forget()
    assert (verifier._known, verifier._heads_kept) == ({}, 0)
    assert verifier.verify(signed_request(), NOW_S, SECRETS.get, SERVICES).access_key_id == ACCESS_KEY_ID
    assert len(verifier._known) == 1


def test_the_secret_is_asked_for_on_every_request():
    asked: list[str] = []

    def find_secret(access_key_id: str) -> str | None:
        asked.append(access_key_id)
        # A new object each time, as a store that decrypts would return.
        return "".join(SECRET)

    verifier = Verifier()
    for _ in range(3):
        verifier.verify(signed_request(), NOW_S, find_secret, SERVICES)
    assert asked == [ACCESS_KEY_ID] * 3


def test_a_refused_request_leaves_nothing_in_the_cache():
    verifier = Verifier()
    for request in (signed_request(secret="wrong"), signed_request(access_key_id="AKIDSTRANGER")):
        with pytest.raises(Refused):
            verifier.verify(request, NOW_S, SECRETS.get, SERVICES)
    assert not verifier._known


def test_wrong_signatures_do_not_drive_a_known_client_out():
    verifier = known_client()
    with pytest.raises(Refused):
        verifier.verify(signed_request(secret="wrong"), NOW_S, SECRETS.get, SERVICES)
    assert len(verifier._known) == 1


def test_the_cache_is_bounded_and_forgets_the_oldest_first():
    verifier = Verifier(cached_max=2)
    for region in ("us-east-1", "us-east-2", "us-west-1"):
        verifier.verify(signed_request(region=region), NOW_S, SECRETS.get, SERVICES)
    assert [known.claim.region for known in verifier._known.values()] == [b"us-east-2", b"us-west-1"]


def test_a_header_with_the_signature_in_front_is_accepted_and_never_remembered():
    request = signed_request()
    scheme, _, rest = header(request, b"Authorization").partition(b" ")
    credential, signed_headers, signature = rest.split(b", ")
    reordered = scheme + b" " + b", ".join((signature, credential, signed_headers))
    verifier = Verifier()
    assert verifier.verify(with_header(request, b"Authorization", reordered), NOW_S, SECRETS.get, SERVICES)
    assert not verifier._known
    bare = with_header(request, b"Authorization", scheme + b" " + signature)
    with pytest.raises(Refused, match="IncompleteSignatureException"):
        verifier.verify(bare, NOW_S, SECRETS.get, SERVICES)


def test_a_name_in_another_spelling_takes_the_long_way_and_is_accepted():
    verifier = known_client()
    request = signed_request()
    shouted = with_headers(request, [(name.upper(), value) for name, value in request.headers])
    assert verifier.verify(shouted, NOW_S, SECRETS.get, SERVICES).access_key_id == ACCESS_KEY_ID


@pytest.mark.parametrize("added", [(b"x-amz-meta", b"1"), (b"x-amz-target", b"TrentService.Decrypt"), (b"HOST", b"x")])
def test_a_known_client_cannot_add_what_must_be_signed(added: tuple[bytes, bytes]):
    verifier = known_client()
    request = signed_request()
    for headers in ([*request.headers, added], [added, *request.headers]):
        with pytest.raises(Refused, match="InvalidSignatureException"):
            verifier.verify(with_headers(request, headers), NOW_S, SECRETS.get, SERVICES)


def test_the_window_holds_for_a_known_client():
    verifier = known_client()
    for skew_s, accepted in ((-301, False), (-300, True), (-299, True), (299, True), (300, True), (301, False)):
        if accepted:
            assert verifier.verify(signed_request(), NOW_S + skew_s, SECRETS.get, SERVICES)
        else:
            with pytest.raises(Refused):
                verifier.verify(signed_request(), NOW_S + skew_s, SECRETS.get, SERVICES)


def test_up_to_the_edges_of_the_window_a_known_client_takes_the_short_way(monkeypatch: pytest.MonkeyPatch):
    verifier = known_client()
    monkeypatch.setattr(Verifier, "_verify_in_full", lambda *_: pytest.fail("took the long way"))
    for skew_s in (-300, 300):
        assert verifier.verify(signed_request(), NOW_S + skew_s, SECRETS.get, SERVICES)


def test_a_known_client_of_yesterday_needs_todays_scope():
    verifier = known_client()
    tomorrow = signed_request(amz_date="20150831T000000Z")
    layout = Layout(b"content-type;host;x-amz-date;x-amz-target", b"20150830/us-east-1/kms/aws4_request")
    values = [header(tomorrow, name) for name in layout.names]
    canonical_request = layout.canonical_request(b"POST", b"/\n", values, sha256(BODY).hexdigest().encode())
    key = SigningKey(SECRET, b"20150830", b"us-east-1", b"kms")
    signature = key.sign(layout.string_to_sign(b"20150831T000000Z", canonical_request))
    # A signature that is right in all but the day of its key: it must not be the comparison that refuses it.
    prefix, word, _ = header(signed_request(), b"Authorization").rpartition(b"Signature=")
    stale = with_header(tomorrow, b"Authorization", prefix + word + signature)
    assert (prefix, stale.names) in verifier._known
    with pytest.raises(Refused, match="Date in Credential scope"):
        verifier.verify(stale, NOW_S + 41_040, SECRETS.get, SERVICES)


def test_an_unknown_access_key_takes_the_steps_that_a_wrong_signature_takes(monkeypatch: pytest.MonkeyPatch):
    # Counted, not timed: a shared machine's clock decides nothing. The bench prints both times.
    steps: list[str] = []

    class CountedKey(SigningKey):
        def __init__(self, *parts: Any) -> None:
            steps.append("derive")
            super().__init__(*parts)

        def sign(self, string_to_sign: bytes) -> bytes:
            steps.append("sign")
            return super().sign(string_to_sign)

    def counted_compare(left: bytes, right: bytes) -> bool:
        steps.append("compare")
        return hmac.compare_digest(left, right)

    wrong, unknown = signed_request(secret="wrong"), signed_request(access_key_id="AKIDSTRANGER")
    monkeypatch.setattr(sigv4, "SigningKey", CountedKey)
    monkeypatch.setattr(sigv4, "hmac", SimpleNamespace(compare_digest=counted_compare))
    for request in (wrong, unknown):
        with pytest.raises(Refused):
            Verifier().verify(request, NOW_S, SECRETS.get, SERVICES)
        assert steps == ["derive", "sign", "compare"]
        steps.clear()
