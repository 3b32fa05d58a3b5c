"""Permits: the proof in the types that somebody decided.

A permit is made by the gate alone (a tidy test holds that), for one request, one action and one resource at one version,
and is redeemed once: where the command for the HSM is built, or where a change is committed. An operation without a permit
cannot reach a key, since both of those places ask for one.
"""

from __future__ import annotations

from typing import Final

import msgspec


class PermitError(AssertionError):
    """A programmer's error: a permit was used twice, or for something else than what was decided."""


class Permit(msgspec.Struct, eq=False, gc=False):
    """Leave to do one thing once; `subject` is a key id, an alias name, or KEYLESS."""

    request_id: str
    action: str
    subject: str
    record_version: int
    is_redeemed: bool = False

    def redeem(self, subject: str) -> None:
        """Use it up.

        Raises:
            PermitError: used before, or given for another subject.
        """
        if self.is_redeemed or subject != self.subject:
            raise PermitError(f"a permit for {self.action} on {self.subject} cannot be redeemed for {subject}")
        self.is_redeemed = True


KEYLESS: Final = "*"
