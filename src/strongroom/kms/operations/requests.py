"""Checks of requests that several operations share; codes and wordings are AWS's."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from strongroom.boundary.context import CONTEXT_BYTES_MAX, ContextTooLongError, canonical_context
from strongroom.kms.calls import Admission
from strongroom.kms.faults import (
    DRY_RUN_WOULD_SUCCEED,
    DryRunOperationException,
    InvalidKeyUsageException,
    InvalidMarkerException,
    UnsupportedOperationException,
    ValidationException,
)
from strongroom.kms.keys.directory import KeyEntry
from strongroom.kms.keys.lifecycle import require_state, require_usage
from strongroom.kms.wire.model import Shape

SYMMETRIC_DEFAULT: Final = "SYMMETRIC_DEFAULT"
ENCRYPT_DECRYPT: Final = "ENCRYPT_DECRYPT"


def require_member(value: object, label: str) -> None:
    """A member that AWS's model calls optional and AWS's service does not."""
    if value is None:
        raise ValidationException(
            f"1 validation error detected: Value null at '{label}' failed to satisfy constraint: Member must not be null"
        )


def require_no_service_principal(request: Shape, member: str, service_member: str) -> None:
    """AWS's services may name themselves as principals of grants; nobody here is one of them."""
    if getattr(request, service_member) is None:
        return
    if getattr(request, member) is not None:
        raise ValidationException(f"You can specify either {member} or {service_member}, but not both.")
    raise ValidationException(f"{service_member} can only be used by callers in a service principal.")


def require_no_recipient(recipient: Shape | None) -> None:
    if recipient is not None:
        raise UnsupportedOperationException("Recipient is not supported yet.")


def encryption_context(context: dict[str, str] | None) -> dict[str, str]:
    """The context, empty where there is none, at most 8 KiB in canonical form."""
    if not context:
        return {}
    # A character has four bytes at most, a pair four of its own: only what could be too long is measured exactly.
    chars = len(context)
    for name, value in context.items():
        chars += len(name) + len(value)
    if chars * 4 + 2 > CONTEXT_BYTES_MAX:
        try:
            canonical_context(context)
        except ContextTooLongError:
            raise ValidationException(
                f"The encryption context is longer than {CONTEXT_BYTES_MAX} bytes in serialized form."
            ) from None
    return context


def require_encryption_key(entry: KeyEntry, operation: str, algorithm: str | None = None) -> None:
    """The key may encrypt and decrypt now, and the algorithm, where given, is the key's."""
    require_state(entry, operation)
    require_usage(entry, ENCRYPT_DECRYPT, operation)
    if algorithm not in {None, SYMMETRIC_DEFAULT}:
        raise InvalidKeyUsageException(f"Algorithm {algorithm} is incompatible with key spec {entry.record.spec}.")


def stop_if_dry_run(dry_run: bool | None, *admissions: Admission) -> None:  # noqa: FBT001 -- AWS's own member.
    """For DryRun, redeem the permits for nothing and say that it would have worked."""
    if dry_run:
        for admission in admissions:
            admission.permit.redeem(admission.key.record.key_id)
        raise DryRunOperationException(DRY_RUN_WOULD_SUCCEED)


def format_marker(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def parse_marker(marker: str | None) -> str:
    """The last item of the page before; empty for the first page."""
    if not marker:
        return ""
    try:
        last = base64.urlsafe_b64decode(marker.encode("ascii")).decode()
    except (binascii.Error, ValueError):
        raise InvalidMarkerException("Invalid marker") from None
    # The decoder skips what is no base64: only what we could have written is a marker.
    if format_marker(last) != marker:
        raise InvalidMarkerException("Invalid marker")
    return last
