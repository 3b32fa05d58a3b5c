"""The domain token from the outside: parsing and the signature."""

from __future__ import annotations

import msgspec
import pytest

from strongroom.boundary import domain_token as dt
from strongroom.boundary.session import new_ephemeral, sign_statement
from testkit.module import Hsm, operational_hsm, public_of


@pytest.fixture(scope="module")
def hsm() -> Hsm:
    return operational_hsm()


@pytest.fixture(scope="module")
def data(hsm: Hsm) -> bytes:
    assert hsm.created is not None
    return hsm.created.domain_token


def verify(data: bytes, trusted: list[dt.Member]) -> None:
    token, _ = dt.parse_domain_token(data)
    dt.verify_domain_token(token, trusted)


def test_a_token_is_vouched_for_by_its_signer(hsm: Hsm, data: bytes) -> None:
    verify(data, hsm.domain.members)


def test_every_flipped_byte_of_a_token_is_refused(hsm: Hsm, data: bytes) -> None:
    members = hsm.domain.members
    for at in range(len(data)):
        for flip in (0x01, 0x80):  # The second makes text that is not UTF-8.
            altered = data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :]
            with pytest.raises(dt.DomainTokenError):
                verify(altered, members)


def test_every_truncated_token_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(dt.DomainTokenError):
            dt.parse_domain_token(data[:length])


def test_a_token_signed_by_nobody_known_is_refused(hsm: Hsm, data: bytes) -> None:
    with pytest.raises(dt.DomainTokenError, match="nobody known"):
        verify(data, [])
    with pytest.raises(dt.DomainTokenError, match="nobody known"):
        verify(data, [member for member in hsm.domain.members if member.offline])


def test_a_token_signed_with_another_members_name_is_refused(hsm: Hsm, data: bytes) -> None:
    token, _ = dt.parse_domain_token(data)
    other = next(member.member_id for member in hsm.domain.members if member.member_id != token.signer_id)
    with pytest.raises(dt.DomainTokenError, match="signature is wrong"):
        verify(dt.encode(msgspec.structs.replace(token, signer_id=other)), hsm.domain.members)


def test_a_stranger_under_a_members_name_is_refused(hsm: Hsm, data: bytes) -> None:
    token, _ = dt.parse_domain_token(data)
    stranger = new_ephemeral()
    statement = dt.signed_statement(token.state, token.sealed_ring, token.envelopes, token.signer_id)
    forged = dt.encode(msgspec.structs.replace(token, signature=sign_statement(stranger, statement)))
    with pytest.raises(dt.DomainTokenError, match="signature is wrong"):
        verify(forged, hsm.domain.members)
    # With the stranger's own key pinned under that name it would pass: the pin is what refuses.
    pinned = [msgspec.structs.replace(hsm.domain.members[0], signing_public=public_of(stranger))]
    verify(forged, pinned)


@pytest.mark.parametrize("change", [{"format": "strongroom-domain-token-2"}, {"suite": 2}])
def test_another_format_or_suite_is_refused(data: bytes, change: dict[str, object]) -> None:
    token, state = dt.parse_domain_token(data)
    other = dt.encode(msgspec.structs.replace(state, **change))
    with pytest.raises(dt.DomainTokenError, match="not known here"):
        dt.parse_domain_token(dt.encode(msgspec.structs.replace(token, state=msgspec.Raw(other))))


def test_the_state_digest_names_the_very_bytes(data: bytes) -> None:
    token, state = dt.parse_domain_token(data)
    assert dt.state_digest(token.state) == dt.state_digest(dt.encode(state))
    assert dt.state_digest(token.state) != dt.state_digest(dt.encode(msgspec.structs.replace(state, version=2)))
