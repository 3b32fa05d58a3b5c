"""What the service refuses with: a class per AWS exception, named as AWS names it, and the table from the HSM's statuses.

Messages are AWS's own where AWS has one. `wire` turns a fault into an HTTP answer by `shapes.ERRORS`.
"""

from __future__ import annotations

from typing import Final

from strongroom.boundary.statuses import RefusedError, Status


class Fault(Exception):  # noqa: N818 -- subclasses carry AWS's names, and this is what AWS calls them together.
    """An error that the caller gets to see."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message: Final = message

    @property
    def code(self) -> str:
        return type(self).__name__


class NotFoundException(Fault): ...


class AlreadyExistsException(Fault): ...


class ConflictException(Fault): ...


class CustomKeyStoreNotFoundException(Fault): ...


class DisabledException(Fault): ...


class DryRunOperationException(Fault): ...


class DependencyTimeoutException(Fault): ...


class IncorrectKeyException(Fault): ...


class InvalidAliasNameException(Fault): ...


class InvalidArnException(Fault): ...


class InvalidCiphertextException(Fault): ...


class InvalidKeyUsageException(Fault): ...


class InvalidGrantTokenException(Fault): ...


class InvalidGrantIdException(Fault): ...


class InvalidMarkerException(Fault): ...


class KeyUnavailableException(Fault): ...


class KMSInternalException(Fault): ...


class KMSInvalidStateException(Fault): ...


class LimitExceededException(Fault): ...


class MalformedPolicyDocumentException(Fault): ...


class TagException(Fault): ...


class UnsupportedOperationException(Fault): ...


# Not in the KMS model: every AWS JSON service has these.
class AccessDeniedException(Fault): ...


class NotAuthorizedException(Fault): ...


class ValidationException(Fault): ...


class UnknownOperationException(Fault): ...


DRY_RUN_WOULD_SUCCEED: Final = "The request would have succeeded, but the DryRun option is set."

# Every status but success. Tokens that do not fit their records are the store's damage, never the caller's fault.
_OF_STATUS: Final[dict[Status, type[Fault]]] = {
    Status.MALFORMED: KMSInternalException,
    Status.NOT_OPERATIONAL: KeyUnavailableException,
    Status.STATE_UNACKNOWLEDGED: KeyUnavailableException,
    Status.AUTHENTICATION_FAILED: KMSInternalException,
    Status.SESSION_EXPIRED: KeyUnavailableException,
    Status.UNKNOWN_DOMAIN: KMSInternalException,
    Status.OUT_OF_ORDER: KMSInternalException,
    Status.UNKNOWN_DOMAIN_KEY: KMSInternalException,
    Status.TOKEN_INVALID: KMSInternalException,
    Status.TOKEN_MISMATCH: KMSInternalException,
    Status.WRONG_USAGE: InvalidKeyUsageException,
    Status.NOT_CURRENT: KMSInternalException,
    Status.INVALID_CIPHERTEXT: InvalidCiphertextException,
    Status.DATA_LENGTH: ValidationException,
    Status.DOMAIN_KEY_EXHAUSTED: KeyUnavailableException,
    Status.UNSUPPORTED: UnsupportedOperationException,
    Status.INTERNAL: KMSInternalException,
}


def fault_of(refused: RefusedError) -> Fault:
    """The fault for an HSM's refusal; its message stays empty, as AWS's is. Its cause says to us what the HSM said."""
    fault = _OF_STATUS[refused.status]()
    fault.__cause__ = refused
    return fault
