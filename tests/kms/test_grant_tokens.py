"""Grant tokens: what a store did not make, and made so, is none; bit by bit."""

from __future__ import annotations

import base64
import hmac
import secrets
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.boundary.secret import StoreKey
from strongroom.kms.keys.grant_tokens import (
    TOKEN_BYTES,
    GrantTokenError,
    Tag,
    format_grant_token,
    new_grant_id,
    parse_grant_token,
)
from strongroom.kms.storage.rows import RowCodec

KEY_ID, GRANT_ID = str(uuid.UUID(int=5)), "0a" * 32
MULTI_REGION = "mrk-" + "0a" * 16


def store_tag(key: bytes = bytes(32)) -> Tag:
    """The real one, of a store with this key."""
    rows = RowCodec()
    rows.unlock(StoreKey(key))
    return rows.tag


TAG = store_tag()


def refused(token: str, tag: Tag = TAG) -> bool:
    try:
        parse_grant_token(tag, token)
    except GrantTokenError:
        return True
    return False


@pytest.mark.parametrize("key_id", [KEY_ID, MULTI_REGION])
def test_a_token_names_its_grant_and_no_two_are_the_same(key_id: str) -> None:
    tokens = {format_grant_token(TAG, key_id, GRANT_ID) for _ in range(100)}
    assert len(tokens) == 100
    assert {parse_grant_token(TAG, token) for token in tokens} == {(key_id, GRANT_ID)}
    assert {len(token) for token in tokens} == {164}
    # Safe in a URL, a header and a shell, and far below AWS's 8,192 characters.
    assert not set("".join(tokens)) & set("+/= \"'$&%")


def test_a_grant_id_is_as_aws_has_them() -> None:
    ids = {new_grant_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(grant_id) == 64 and set(grant_id) <= set("0123456789abcdef") for grant_id in ids)


def test_a_token_with_any_bit_changed_is_none() -> None:
    token = format_grant_token(TAG, KEY_ID, GRANT_ID)
    sealed = base64.urlsafe_b64decode(token)
    for place in range(TOKEN_BYTES * 8):
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << place % 8
        assert refused(base64.urlsafe_b64encode(changed).decode()), place


def test_a_token_with_any_character_changed_left_out_or_added_is_none() -> None:
    token = format_grant_token(TAG, KEY_ID, GRANT_ID)
    for place in range(len(token)):
        for other in ("A", "B", "-", "_", "+", "/", "=", " ", "\n", "\0", "\u0660", "\udc80"):
            if token[place] != other:
                assert refused(token[:place] + other + token[place + 1 :])
            assert refused(token[:place] + other + token[place:])
        assert refused(token[:place] + token[place + 1 :])
        assert refused(token[:place])
    for odd in (token + token, f" {token}", f"{token}\n", f"{token}=", token.lower(), token.upper()):
        assert refused(odd)


def test_the_other_alphabet_of_base64_writes_no_token() -> None:
    while not set(token := format_grant_token(TAG, KEY_ID, GRANT_ID)) & set("-_"):
        pass
    assert refused(token.replace("-", "+").replace("_", "/"))


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda b: base64.urlsafe_b64encode(b).decode())))
def test_what_nobody_made_is_none(text: str) -> None:
    assert refused(text)


def test_a_token_of_another_store_is_none() -> None:
    token = format_grant_token(store_tag(b"\x01" * 32), KEY_ID, GRANT_ID)
    assert not refused(token, store_tag(b"\x01" * 32))
    assert refused(token)


def test_what_is_tagged_for_something_else_is_no_token() -> None:
    """Not even what begins like one: every purpose has a key of its own."""
    said = base64.urlsafe_b64decode(format_grant_token(TAG, KEY_ID, GRANT_ID))[:91]
    for purpose in ("session tokens", "grant token", "grant tokens ", ""):
        assert refused(base64.urlsafe_b64encode(said + TAG(purpose, said)).decode())
    assert not refused(base64.urlsafe_b64encode(said + TAG("grant tokens", said)).decode())
    # A tag alone is not enough: version and kind are looked at.
    for magic in (b"SRGT\x02", b"SRCB\x01", b"SRTK\x01"):
        other = magic + said[5:]
        assert refused(base64.urlsafe_b64encode(other + TAG("grant tokens", other)).decode())


def test_the_store_key_itself_makes_no_token() -> None:
    said = base64.urlsafe_b64decode(format_grant_token(TAG, KEY_ID, GRANT_ID))[:91]
    key = secrets.token_bytes(32)
    assert store_tag(key)("grant tokens", said) != hmac.digest(key, said, "sha256")
