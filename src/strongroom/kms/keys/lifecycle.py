"""What a key's state allows: one table of operations and states, and the faults that AWS answers with.

`docs/key-states.md` is generated from `STATE_TABLE` (`make docs`). Source: KMS developer guide, "Key states of AWS KMS
keys", and the API reference of operations that are newer than its table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from strongroom.kms.faults import (
    DisabledException,
    Fault,
    InvalidKeyUsageException,
    KMSInvalidStateException,
    UnsupportedOperationException,
)
from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.repositories import KeyState


class Outcome(Enum):
    """What comes of an operation in a state: it goes on, or this fault with these words (None: the state's own).

    Where the material's origin is what excludes an operation (only imported keys wait for an import, only those of custom
    key stores are unavailable), the origin is named.
    """

    OK = (Fault, None)
    DISABLED = (DisabledException, None)
    INVALID_STATE = (KMSInvalidStateException, None)
    NOT_PENDING = (KMSInvalidStateException, "{arn} is not pending deletion.")
    UNSUPPORTED = (UnsupportedOperationException, "{arn} origin is {origin} which is not valid for this operation.")


Row = Mapping[KeyState, Outcome]

# AWS's forms: the ARN, then what is wrong with the key.
_MESSAGES: Final[Mapping[KeyState, str]] = {
    KeyState.CREATING: "{arn} is creating.",
    KeyState.DISABLED: "{arn} is disabled.",
    KeyState.PENDING_DELETION: "{arn} is pending deletion.",
    KeyState.PENDING_IMPORT: "{arn} is pending import.",
    KeyState.PENDING_REPLICA_DELETION: "{arn} is pending replica deletion.",
    KeyState.UNAVAILABLE: "{arn} is unavailable.",
    KeyState.UPDATING: "{arn} is updating.",
}
_PENDING_DELETION: Final = (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION)


def _row(**outcomes: Outcome) -> Row:
    """A row of the table: OK but where an outcome is given for a state (lower case; `pending` for both deletions)."""
    row = dict.fromkeys(KeyState, Outcome.OK)
    for name, outcome in outcomes.items():
        states = _PENDING_DELETION if name == "pending" else (KeyState[name.upper()],)
        row.update(dict.fromkeys(states, outcome))
    return row


_D, _I, _N, _U = Outcome.DISABLED, Outcome.INVALID_STATE, Outcome.NOT_PENDING, Outcome.UNSUPPORTED
_ALWAYS: Final = _row()
_CRYPTOGRAPHY: Final = _row(disabled=_D, pending=_I, pending_import=_I, unavailable=_I, creating=_I)
_GRANT: Final = _row(disabled=_D, pending=_I, pending_import=_I, creating=_I)
_SWITCH: Final = _row(pending=_I, pending_import=_I, creating=_I, updating=_I)
_ROTATE: Final = _row(disabled=_D, pending=_I, pending_import=_U, unavailable=_U, creating=_I)
# Imported material can be rotated on demand (API reference, RotateKeyOnDemand), and its rotations be listed meanwhile.
_ROTATE_ON_DEMAND: Final = _row(disabled=_D, pending=_I, pending_import=_I, unavailable=_U, creating=_I)
_ROTATION_STATUS: Final = _row(pending_import=_U, unavailable=_U, creating=_I)
_ROTATIONS: Final = _row(unavailable=_U, creating=_I)
_ANNOTATE: Final = _row(pending=_I)
_SCHEDULE: Final = _row(pending=_I, updating=_I)
_CANCEL: Final = _row(
    **dict.fromkeys(("enabled", "disabled", "pending_import", "unavailable"), _N), creating=_I, updating=_I
)

# An operation on two keys asks for each of them; UpdateAlias for the one that the alias will point at.
STATE_TABLE: Final[Mapping[str, Row]] = {
    "CancelKeyDeletion": _CANCEL,
    "CreateAlias": _ANNOTATE,
    "CreateGrant": _GRANT,
    "Decrypt": _CRYPTOGRAPHY,
    "DeleteAlias": _ALWAYS,
    "DescribeKey": _ALWAYS,
    "DisableKey": _SWITCH,
    "DisableKeyRotation": _ROTATE,
    "EnableKey": _SWITCH,
    "EnableKeyRotation": _ROTATE,
    "Encrypt": _CRYPTOGRAPHY,
    "GenerateDataKey": _CRYPTOGRAPHY,
    "GenerateDataKeyWithoutPlaintext": _CRYPTOGRAPHY,
    "GetKeyLastUsage": _ALWAYS,
    "GetKeyPolicy": _ALWAYS,
    "GetKeyRotationStatus": _ROTATION_STATUS,
    "ListGrants": _ALWAYS,
    "ListKeyPolicies": _ALWAYS,
    "ListKeyRotations": _ROTATIONS,
    "ListResourceTags": _ALWAYS,
    "PutKeyPolicy": _ALWAYS,
    "ReEncrypt": _CRYPTOGRAPHY,
    "RetireGrant": _ALWAYS,
    "RevokeGrant": _ALWAYS,
    "RotateKeyOnDemand": _ROTATE_ON_DEMAND,
    "ScheduleKeyDeletion": _SCHEDULE,
    "TagResource": _ANNOTATE,
    "UntagResource": _ANNOTATE,
    "UpdateAlias": _ANNOTATE,
    "UpdateKeyDescription": _ANNOTATE,
}


def require_state(entry: KeyEntry, operation: str) -> None:
    """Raise the fault that AWS answers where this key's state does not allow the operation."""
    outcome = STATE_TABLE[operation][entry.record.state]
    if outcome is not Outcome.OK:
        raise refusal(outcome, entry)


def refusal(outcome: Outcome, entry: KeyEntry) -> Fault:
    """The fault of an outcome that is not OK, with AWS's words for the key's state."""
    fault: type[Fault] = outcome.value[0]
    return fault(_words(outcome, entry.record.state).format(arn=entry.arn, origin=entry.record.origin))


def _words(outcome: Outcome, state: KeyState) -> str:
    message: str | None = outcome.value[1]
    return message or _MESSAGES[state]


def format_state_table(operations: Iterable[str] = STATE_TABLE) -> str:
    """The table in Markdown, as the documentation shows it, and under it what its refusals say, numbered."""
    notes: dict[str, int] = {}
    lines = [
        "| operation | " + " | ".join(KeyState) + " |",
        "|---|" + "---|" * len(KeyState),
    ]
    for operation in operations:
        cells = []
        for state in KeyState:
            outcome = STATE_TABLE[operation][state]
            if outcome is Outcome.OK:
                cells.append("ok")
                continue
            name = outcome.value[0].__name__
            note = f"`{name}: {_words(outcome, state).format(arn='<key ARN>', origin='<origin>')}`"
            cells.append(f"{name} [{notes.setdefault(note, len(notes) + 1)}]")
        lines.append(f"| {operation} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{number}. {note}" for note, number in notes.items())]) + "\n"


def require_usage(entry: KeyEntry, usage: str, operation: str) -> None:
    """Raise InvalidKeyUsageException where the key is for something else; the HSM holds this too."""
    if entry.record.usage != usage:
        raise InvalidKeyUsageException(
            f"{entry.arn} key usage is {entry.record.usage} which is not valid for {operation}."
        )
