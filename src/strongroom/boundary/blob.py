"""The ciphertext blob: what Encrypt and GenerateDataKey give to customers.

| offset | length | field |
|---|---|---|
| 0 | 4 | magic `SRCB` |
| 4 | 1 | version, 1 |
| 5 | 32 | HBKID: which backing key |
| 37 | 16 | nonce: derives the one-time key from the backing key |
| 53 | 12 | IV of AES-256-GCM under the derived key |
| 65 | n | ciphertext, as long as the plaintext |
| 65 + n | 16 | GCM tag |

Additional authenticated data: bytes 0 to 64, then the KMS key id (4-byte length in front), then the canonical
encryption context. The ARN is not in it: multi-Region keys share blobs.
"""

from __future__ import annotations

from typing import Final

MAGIC: Final = b"SRCB\x01"
HBKID_BYTES: Final = 32
NONCE_BYTES: Final = 16
IV_BYTES: Final = 12
TAG_BYTES: Final = 16
HEADER_BYTES: Final = len(MAGIC) + HBKID_BYTES + NONCE_BYTES + IV_BYTES
OVERHEAD_BYTES: Final = HEADER_BYTES + TAG_BYTES


class BlobError(ValueError):
    """The bytes are not a ciphertext blob of ours."""


def parse_hbkid(blob: bytes) -> bytes:
    """Which backing key a blob names. The service reads this much and no more.

    Raises:
        BlobError: too short to hold any plaintext, or another magic or version.
    """
    if len(blob) <= OVERHEAD_BYTES or not blob.startswith(MAGIC):
        raise BlobError
    return blob[5:37]


def associated_data(header: bytes, key_id: str, canonical: bytes) -> bytes:
    """What the tag vouches for beside the ciphertext; `canonical` comes from `context.canonical_context`."""
    encoded = key_id.encode()
    return b"%b%b%b%b" % (header, len(encoded).to_bytes(4, "big"), encoded, canonical)
