"""The HSM's vocabulary of refusals: one status byte.

`kms/faults.py` holds the only table from here to AWS's exceptions, and a test holds that it is complete.
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Why the HSM did not do what it was asked. Nothing here reveals key material or depends on it beyond the fact."""

    SUCCESS = 0x00
    MALFORMED = 0x01
    NOT_OPERATIONAL = 0x02
    STATE_UNACKNOWLEDGED = 0x03
    AUTHENTICATION_FAILED = 0x04
    SESSION_EXPIRED = 0x05
    UNKNOWN_DOMAIN = 0x06
    OUT_OF_ORDER = 0x07
    UNKNOWN_DOMAIN_KEY = 0x10
    TOKEN_INVALID = 0x11
    TOKEN_MISMATCH = 0x12
    WRONG_USAGE = 0x13
    NOT_CURRENT = 0x14
    INVALID_CIPHERTEXT = 0x20
    DATA_LENGTH = 0x21
    DOMAIN_KEY_EXHAUSTED = 0x22
    UNSUPPORTED = 0x30
    INTERNAL = 0x7F


class RefusedError(Exception):
    """The HSM's refusal on its way to becoming a status byte."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status
