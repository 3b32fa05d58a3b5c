"""What a key's state allows: a table, and the faults that AWS answers with.

Source: KMS developer guide, "Key states of AWS KMS keys". States that need operations of later issues join as rows.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from strongroom.kms.faults import DisabledException, Fault, InvalidKeyUsageException
from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.repositories import KeyState


class Use(Enum):
    """What an operation wants of a key's state."""

    # Encrypt, Decrypt, GenerateDataKey and their like.
    CRYPTOGRAPHY = auto()
    # EnableKey, DisableKey, aliases, description, tags.
    MANAGEMENT = auto()


_REFUSALS: Final[dict[tuple[KeyState, Use], tuple[type[Fault], str] | None]] = {
    (KeyState.ENABLED, Use.CRYPTOGRAPHY): None,
    (KeyState.ENABLED, Use.MANAGEMENT): None,
    (KeyState.DISABLED, Use.CRYPTOGRAPHY): (DisabledException, "{arn} is disabled."),
    (KeyState.DISABLED, Use.MANAGEMENT): None,
}


def require_state(entry: KeyEntry, use: Use) -> None:
    """Raise the fault that AWS answers where this state does not allow this use."""
    refusal = _REFUSALS[entry.record.state, use]
    if refusal is not None:
        fault, message = refusal
        raise fault(message.format(arn=entry.arn))


def require_usage(entry: KeyEntry, usage: str, operation: str) -> None:
    """Raise InvalidKeyUsageException where the key is for something else; the HSM holds this too."""
    if entry.record.usage != usage:
        raise InvalidKeyUsageException(
            f"{entry.arn} key usage is {entry.record.usage} which is not valid for {operation}."
        )
