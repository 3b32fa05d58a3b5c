"""Overwrite what key operations leave on heap and stack, before a frame's answers leave.

The heap is wiped by glibc itself: the launcher starts the HSM with `PYTHONMALLOC=malloc` and malloc's perturb tunable, so
that every freed block is overwritten (`self_tests` refuses to start where that does not work). What stays are copies on
the stack: a deep frame overwrites most of it, and the same calls again with a dummy key overwrite the slots that exactly
these calls use. Measured as a permanent test: tests/worlds/test_memory.py.
"""

from __future__ import annotations

import ctypes
import hmac
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# Parameter by value: the call copies this much of nothing over the stack below.
_DEEP_BYTES: Final = 16 * 1024


class _Deep(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * _DEEP_BYTES)]


_deep = _Deep()
_overwrite = ctypes.CDLL(None).abs
_overwrite.argtypes = [ctypes.c_int, _Deep]
_overwrite.restype = ctypes.c_int

_DUMMY_KEY: Final = memoryview(bytearray(b"\xaa" * 32))
_DUMMY_TEXT: Final = b"\xaa" * 32
_DUMMY_OUT: Final = memoryview(bytearray(32))
_DUMMY_SEALED: Final = AESGCM(_DUMMY_KEY).encrypt(bytes(12), _DUMMY_TEXT, None)


def rinse() -> None:
    """About 10 µs; once per frame."""
    AESGCM(_DUMMY_KEY).decrypt_into(bytes(12), _DUMMY_SEALED, None, _DUMMY_OUT)
    derived = hmac.digest(_DUMMY_KEY, _DUMMY_TEXT * 4, "sha256")
    AESGCM(derived).decrypt(bytes(12), AESGCM(derived).encrypt(bytes(12), _DUMMY_TEXT, None), None)
    _overwrite(0, _deep)
