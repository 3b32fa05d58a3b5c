"""A file encrypted under a data key, as the demo does it: this is the customer's part of envelope encryption.

A row of chunks, each AES-256-GCM under the data key, ciphertext and then tag:

| chunk | plaintext | nonce, 12 bytes |
|---|---|---|
| all but the last | 1 MiB | number of the chunk from 0 (11 bytes), `00` |
| the last | 0 to 1 MiB | number of the chunk (11 bytes), `01` |

A data key encrypts one file, so no nonce serves twice. The number makes exchanged, doubled or missing chunks fail, and the
final-chunk marker makes a file fail that was cut off, or that goes on after its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK_BYTES: Final = 1 << 20
_TAG_BYTES: Final = 16


class EnvelopeError(Exception):
    """A file that does not open."""


def _chunks(source: BinaryIO, size: int) -> Iterator[tuple[bytes, bool]]:
    """The chunks of a file, each with whether it is the last; an empty file is one empty chunk."""
    chunk = source.read(size)
    while True:
        following = source.read(size) if len(chunk) == size else b""
        yield chunk, not following
        if not following:
            return
        chunk = following


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([is_last])


def encrypt_file(data_key: bytearray, plain: Path, encrypted: Path) -> None:
    """Write `encrypted` in the form above."""
    cipher = AESGCM(data_key)
    with plain.open("rb") as source, encrypted.open("xb") as target:
        for number, (chunk, is_last) in enumerate(_chunks(source, CHUNK_BYTES)):
            target.write(cipher.encrypt(_nonce(number, is_last=is_last), chunk, None))


def decrypt_file(data_key: bytearray, encrypted: Path, plain: Path) -> None:
    """The way back; a file that fails at any chunk leaves no plaintext.

    Raises:
        EnvelopeError: the file is not what was encrypted under this key.
    """
    cipher = AESGCM(data_key)
    try:
        with encrypted.open("rb") as source, plain.open("xb") as target:
            for number, (chunk, is_last) in enumerate(_chunks(source, CHUNK_BYTES + _TAG_BYTES)):
                target.write(cipher.decrypt(_nonce(number, is_last=is_last), chunk, None))
    except InvalidTag:
        plain.unlink()
        raise EnvelopeError(
            "the encrypted file was changed, reordered or cut off, or another key encrypted it"
        ) from None


def wipe(data_key: bytearray) -> None:
    """Overwrite in place: the copy that we own."""
    data_key[:] = bytes(len(data_key))
