"""SP 800-108 key derivation in counter mode with HMAC-SHA-256, and the labels under which both worlds use it.

One block of output, fixed input laid out as counter (4 bytes) ‖ label ‖ 0x00 ‖ context ‖ length in bits (4 bytes), as
`KBKDFHMAC(rlen=4, llen=4, location=BeforeFixed)` of the `cryptography` package has it: the tests use that as the oracle.
"""

from __future__ import annotations

import hmac
from typing import Final

DERIVED_KEY_BYTES: Final = 32
_LENGTH_BITS: Final = (DERIVED_KEY_BYTES * 8).to_bytes(4, "big")


def derive(key: bytes | memoryview, label: bytes, context: bytes) -> bytes:
    """32 bytes from a key of any length. Labels contain no zero byte, so label and context cannot run together."""
    return hmac.digest(key, b"\x00\x00\x00\x01%b\x00%b%b" % (label, context, _LENGTH_BITS), "sha256")
