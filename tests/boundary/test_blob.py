"""The ciphertext blob as the service reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.boundary import blob

HBKID = bytes(range(32))
SMALLEST = blob.MAGIC + HBKID + bytes(blob.NONCE_BYTES + blob.IV_BYTES) + b"x" + bytes(blob.TAG_BYTES)


def test_the_layout_is_the_one_of_the_docstring() -> None:
    assert (blob.HEADER_BYTES, blob.OVERHEAD_BYTES, len(blob.MAGIC)) == (65, 81, 5)


def test_the_hbkid_is_read_from_its_place() -> None:
    assert blob.parse_hbkid(SMALLEST) == HBKID
    assert blob.parse_hbkid(SMALLEST + b"more") == HBKID


def test_a_blob_with_room_for_no_plaintext_is_none() -> None:
    for length in range(len(SMALLEST)):
        with pytest.raises(blob.BlobError):
            blob.parse_hbkid(SMALLEST[:length])


def test_every_other_magic_or_version_is_refused() -> None:
    for at in range(len(blob.MAGIC)):
        for flip in range(1, 256):
            altered = bytearray(SMALLEST)
            altered[at] ^= flip
            with pytest.raises(blob.BlobError):
                blob.parse_hbkid(bytes(altered))


@given(st.binary(max_size=200))
def test_random_bytes_are_no_blob(data: bytes) -> None:
    with pytest.raises(blob.BlobError):
        blob.parse_hbkid(data)


def test_key_id_and_context_cannot_run_together() -> None:
    forms = {
        blob.associated_data(b"h", key_id, context) for key_id, context in (("a", b"bc"), ("ab", b"c"), ("", b"abc"))
    }
    assert len(forms) == 3
    assert blob.associated_data(b"HEAD", "é", b"ctx") == b"HEAD" + b"\x00\x00\x00\x02\xc3\xa9" + b"ctx"
