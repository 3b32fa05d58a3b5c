"""What IAM and STS refuse with: a class per error, named by its code, which is not always the name of the model's shape.

Statuses are in the generated tables (`wire/iam_shapes.py`, `wire/sts_shapes.py`) and, for what every operation may answer,
in `wire/query_codec.py`.
"""

from __future__ import annotations

from strongroom.kms.faults import Fault


class ConcurrentModification(Fault): ...


class DeleteConflict(Fault): ...


class EntityAlreadyExists(Fault): ...


class EntityTemporarilyUnmodifiable(Fault): ...


class InvalidInput(Fault): ...


class LimitExceeded(Fault): ...


class MalformedPolicyDocument(Fault): ...


class NoSuchEntity(Fault): ...


class NotSupportedService(Fault): ...


class PolicyNotAttachable(Fault): ...


class ServiceFailure(Fault): ...


class UnmodifiableEntity(Fault): ...


# STS alone has these.
class ExpiredTokenException(Fault): ...


class IDPCommunicationError(Fault): ...


class IDPRejectedClaim(Fault): ...


class InvalidIdentityToken(Fault): ...


class PackedPolicyTooLarge(Fault): ...


class RegionDisabledException(Fault): ...


# Not in the models: every Query service has these.
class AccessDenied(Fault): ...


class InternalFailure(Fault): ...


class InvalidClientTokenId(Fault): ...


class ValidationError(Fault): ...
