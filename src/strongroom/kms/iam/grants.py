"""Grants: one key, one grantee, a list of operations; they only allow.

A grant allows a question when 1. its grantee is who asks, or the role or user behind the session that asks, 2. the action is
one of its operations, 3. its constraints hold.

| constraint | holds when |
|---|---|
| EncryptionContextEquals | the request's encryption context has exactly these pairs |
| EncryptionContextSubset | it has at least these |
| SourceArn | the service acts for this resource |

In a constraint the keys of pairs fold case, the values do not. An operation without an encryption context (DescribeKey,
CreateGrant itself) is not bound by the first two, RetireGrant by none. Whoever may CreateGrant only by a grant can give on
what the grant gives, or less.

Sources: KMS API reference, CreateGrant and GrantConstraints; KMS developer guide, "Grants in AWS KMS" and "Creating grants".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from strongroom.kms.iam.condition_keys import WHOLE_CONTEXT
from strongroom.kms.iam.patterns import Context, fold
from strongroom.kms.iam.principals import Naming, Principal, PrincipalKind

_PREFIX: Final = "kms:"
# Between a pair's key and its value in the form in which a request gives its whole context.
_SEPARATOR: Final = "\0"

_ENCRYPTS: Final = frozenset(
    {
        *("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
        *("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
    }
)
_OF_ANY_KEY: Final = frozenset({"CreateGrant", "RetireGrant", "DescribeKey"})
_OF_PAIRS: Final = _OF_ANY_KEY | {"GetPublicKey"}
# KMS developer guide, "Grant operations": which fit a key. Asymmetric keys encrypt and decrypt, but make no data keys.
_BY_USAGE: Final[dict[str, frozenset[str]]] = {
    "ENCRYPT_DECRYPT": _OF_PAIRS | {"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"},
    "SIGN_VERIFY": _OF_PAIRS | {"Sign", "Verify"},
    "KEY_AGREEMENT": _OF_PAIRS | {"DeriveSharedSecret"},
    "ENCAPSULATE_DECAPSULATE": _OF_PAIRS | {"Encapsulate", "Decapsulate"},
    "GENERATE_VERIFY_MAC": _OF_ANY_KEY | {"GenerateMac", "VerifyMac"},
}
_SYMMETRIC: Final = "SYMMETRIC_DEFAULT"


class GrantConstraints(msgspec.Struct, frozen=True):
    """As CreateGrant takes them; None where there is none of a kind. Of the first two there is one at most."""

    context_equals: Mapping[str, str] | None = None
    context_subset: Mapping[str, str] | None = None
    source_arn: str | None = None


class ConstraintType(StrEnum):
    """The values of `kms:GrantConstraintType`."""

    EQUALS = "EncryptionContextEquals"
    SUBSET = "EncryptionContextSubset"


class Grant(msgspec.Struct, frozen=True):
    """What of a grant decides.

    The grantee is called by the unique id that a user, role or session had when the grant was made; others, and all of
    grants from before ids were kept, by their ARN; a service by its name.
    """

    grant_id: str
    grantee: str
    operations: frozenset[str]
    constraints: GrantConstraints = GrantConstraints()
    # Who made it: in the account of a caller from elsewhere it is that account's half of the permission.
    issuing_account: str = ""

    def naming(self, principal: Principal) -> Naming:
        """How it calls somebody: 1."""
        if principal.kind in {PrincipalKind.OPERATOR, PrincipalKind.SERVICE, PrincipalKind.WEB_IDENTITY}:
            return Naming.NOT
        if self.grantee in {principal.arn, principal.principal_id}:
            return Naming.ITSELF
        is_issuer = self.grantee and self.grantee in {principal.issuer_arn, principal.issuer_id}
        return Naming.ISSUER if is_issuer else Naming.NOT

    def gives(self, action: str) -> bool:
        """Whether it is about an action: 2."""
        return action.startswith(_PREFIX) and action[len(_PREFIX) :] in self.operations

    @property
    def keys(self) -> frozenset[str]:
        """What its constraints ask the request for."""
        constraints = self.constraints
        asked = set()
        if constraints.context_equals is not None or constraints.context_subset is not None:
            asked.add(WHOLE_CONTEXT)
        if constraints.source_arn is not None:
            asked.add("aws:sourcearn")
        return frozenset(asked)

    def is_met(self, action: str, context: Context) -> bool:
        """Whether its constraints hold: 3."""
        constraints = self.constraints
        if action == "kms:RetireGrant":
            return True
        if constraints.source_arn is not None and context.values_of("aws:sourcearn") != (constraints.source_arn,):
            return False
        if action[len(_PREFIX) :] not in _ENCRYPTS:
            return True
        pairs = context.values_of(WHOLE_CONTEXT) or ()
        if constraints.context_equals is not None and pairs != whole_context(constraints.context_equals):
            return False
        wanted = constraints.context_subset
        return wanted is None or set(whole_context(wanted)) <= set(pairs)


def whole_context(context: Mapping[str, str]) -> tuple[str, ...]:
    """An encryption context as one value of a request: its pairs in order, keys folded."""
    return tuple(sorted(f"{fold(key)}{_SEPARATOR}{value}" for key, value in context.items()))


def operations_of(spec: str, usage: str) -> frozenset[str]:
    """The operations that a grant on a key of this kind can give."""
    return _OF_ANY_KEY | _ENCRYPTS if spec == _SYMMETRIC else _BY_USAGE[usage]


def delegates(parent: Grant, operations: frozenset[str], constraints: GrantConstraints) -> bool:
    """Whether a grant that gives CreateGrant lets its grantee make one of these: the same or less, as narrow or narrower."""
    return operations <= parent.operations and _is_as_narrow(parent.constraints, constraints)


def _is_as_narrow(parent: GrantConstraints, child: GrantConstraints) -> bool:
    """An Equals stays as it is; a Subset may grow, or become an Equals that has it; a SourceArn stays."""
    if parent.source_arn is not None and child.source_arn != parent.source_arn:
        return False
    if parent.context_equals is not None and (
        child.context_equals is None or whole_context(child.context_equals) != whole_context(parent.context_equals)
    ):
        return False
    if parent.context_subset is None:
        return True
    given = child.context_subset if child.context_equals is None else child.context_equals
    return given is not None and set(whole_context(parent.context_subset)) <= set(whole_context(given))
