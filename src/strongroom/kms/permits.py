"""Permits: the proof in the types that somebody decided.

A permit is made by the gate alone (a tidy test holds that), for one request, one action and one resource at one version,
and is redeemed once: where the command for the HSM is built, or where a change is committed. An operation without a permit
cannot reach a key, since both of those places ask for one.
"""

from __future__ import annotations

from typing import Final


class PermitError(AssertionError):
    """A programmer's error: a permit was used twice, or for something else than what was decided."""


class Permit:
    """Leave to do one thing once."""

    __slots__ = ("_redeemed", "action", "record_version", "request_id", "subject")

    def __init__(self, request_id: str, action: str, subject: str, record_version: int) -> None:
        self.request_id: Final = request_id
        self.action: Final = action
        # A key id, an alias name, or KEYLESS.
        self.subject: Final = subject
        self.record_version: Final = record_version
        self._redeemed = False

    def redeem(self, subject: str) -> None:
        """Use it up.

        Raises:
            PermitError: used before, or given for another subject.
        """
        if self._redeemed or subject != self.subject:
            raise PermitError(f"a permit for {self.action} on {self.subject} cannot be redeemed for {subject}")
        self._redeemed = True


KEYLESS: Final = "*"
