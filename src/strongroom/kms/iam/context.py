"""What a request says of itself, by condition key: worked out when a policy asks, from what the service knows.

Everything comes from the verified identity, the typed request, the key's record and the connection. No header and no member
of a request becomes a key by its name: the tables below say which member means what, and the keys that only a service can
vouch for (`kms:ViaService`, `aws:SourceArn`, `aws:SourceAccount`, `kms:GrantIsForAWSResource`) come from `Forwarding`,
which only the gate's check of a forwarded call makes.

Sources: KMS developer guide, "AWS KMS condition keys"; IAM user guide, "AWS global condition context keys" and "Request
information that you can use for policy variables" (principal key values).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from strongroom.kms.iam.condition_keys import (
    ENCRYPTION_CONTEXT,
    GLOBAL_KEYS,
    KEYS_BY_ACTION,
    PRINCIPAL_TAG,
    RECIPIENT_ATTESTATION,
    REQUEST_TAG,
    RESOURCE_TAG,
    WHOLE_CONTEXT,
    stem,
)
from strongroom.kms.iam.grants import ConstraintType, whole_context
from strongroom.kms.iam.patterns import Context, fold
from strongroom.kms.iam.principals import Principal, PrincipalKind, principal_arn

_SOURCES_MAX: Final = 4096
_SYMMETRIC: Final = "SYMMETRIC_DEFAULT"
_UNASKED: Final = ("nobody asked yet",)

Values = tuple[str, ...] | None


class KeyFacts(Protocol):
    """What of a key's record conditions can ask for."""

    @property
    def account(self) -> str: ...
    @property
    def spec(self) -> str: ...
    @property
    def usage(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def multi_region(self) -> bool: ...
    @property
    def tags(self) -> Mapping[str, str]: ...


class Forwarding(msgspec.Struct, frozen=True):
    """A service that calls for somebody: `via` is `SERVICE.REGION.amazonaws.com`."""

    via: str
    source_arn: str = ""
    source_account: str = ""
    # Whether a grant that it makes is for a resource of the service.
    for_resource: bool = False


class AskedConstraints(msgspec.Struct, frozen=True):
    """Constraints as the API's requests have them."""

    EncryptionContextSubset: Mapping[str, str] | None = None
    EncryptionContextEquals: Mapping[str, str] | None = None


class AskedGrant(msgspec.Struct, frozen=True):
    """A grant that exists, as far as conditions ask for it: whoever retires it says nothing of its constraints."""

    Constraints: AskedConstraints


class Surroundings(msgspec.Struct, frozen=True):
    """What is true of a request whatever it asks for."""

    region: str
    source_ip: str
    user_agent: str
    is_secure: bool
    now_s: float
    forwarding: Forwarding | None = None
    # What a recipient's attestation document proved, by the part of the key's name behind the colon, folded.
    attestation: Mapping[str, str] = {}
    # Every account of the home is in one organisation, if any.
    organization_id: str = ""


class RequestContext:
    """The condition keys of one request for one action; implements `patterns.Context`."""

    __slots__ = (
        "_values", "action", "aliases", "key", "key_ref_alias", "principal", "request", "resource_account",
        "same_key", "surroundings",
    )  # fmt: skip

    def __init__(
        self,
        action: str,
        principal: Principal,
        surroundings: Surroundings,
        *,
        request: object = None,
        key: KeyFacts | None = None,
        resource_account: str = "",
        key_ref_alias: str = "",
        aliases: Sequence[str] = (),
        same_key: bool | None = None,
    ) -> None:
        """`request` has the API's members as attributes; `key_ref_alias` is the alias by which it names the key.

        `aliases` of the key and `same_key` (of ReEncrypt) are looked up only where a policy asks for them.
        """
        self.action: Final = action
        self.principal: Final = principal
        self.surroundings: Final = surroundings
        self.request: Final = request
        self.key: Final = key
        self.resource_account: Final = resource_account or (principal.account if key is None else key.account)
        self.key_ref_alias: Final = key_ref_alias
        self.aliases: Final = aliases
        self.same_key: Final = same_key
        self._values: dict[str, Values] = {}

    def values_of(self, key: str) -> Values:
        """The values of a key in its folded form; None where this request has no such key."""
        values = self._values.get(key, _UNASKED)
        if values is _UNASKED:
            values = self._values[key] = source_of(self.action, key)(self)
        return values

    def member(self, name: str) -> Any:
        """A member of the request, None where it has none of this name."""
        return getattr(self.request, name, None)


class StatedContext:
    """The context of a request that nobody sent: what somebody states of it goes before what is derived."""

    def __init__(self, stated: Mapping[str, Sequence[str]], derived: Context) -> None:
        self._stated = {fold(key): tuple(values) for key, values in stated.items()}
        self._derived = derived

    def values_of(self, key: str) -> Values:
        """As `RequestContext.values_of`."""
        return self._stated.get(key) or self._derived.values_of(key)


Source = Callable[[RequestContext], Values]


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(value: object) -> Values:
    """One value as a policy writes it; nothing and the empty text are no value."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return ("true",) if value else ("false",)
    return (str(value),)


def _several(values: Sequence[str]) -> Values:
    return tuple(values) or None


def _named(pairs: Mapping[str, str], name: str) -> Values:
    """The values under a folded name: several where names differ in case only."""
    return _several([value for key, value in pairs.items() if fold(key) == name])


def _member(name: str, default: object = None) -> Source:
    def source(context: RequestContext) -> Values:
        value = context.member(name)
        return _text(default if value is None else value)

    return source


def _absent(_: RequestContext) -> None:
    """A key that requests for this action do not have."""


# ── of the principal, the connection, the time ──────────────────────────────────────────────────────────────────────────

# IAM user guide, "Principal key values".
_TYPES: Final = {
    PrincipalKind.ROOT: "Account",
    PrincipalKind.USER: "User",
    PrincipalKind.ROLE_SESSION: "AssumedRole",
    PrincipalKind.FEDERATED_USER: "FederatedUser",
}


def _principal_arn(principal: Principal) -> str:
    """Of a role's session the role's: "the ARN of the role that was assumed"."""
    return principal.issuer_arn if principal.kind is PrincipalKind.ROLE_SESSION else principal.arn


def _of_account(read: Callable[[Principal], str]) -> Source:
    """Of who belongs to an account. Somebody with a web identity belongs to none, whichever he asks in."""
    return lambda context: _text(read(context.principal)) if context.principal.kind in _TYPES else None


def _is_service(context: RequestContext) -> bool:
    return context.principal.kind is PrincipalKind.AWS_SERVICE


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(int(at_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _token_issue_time(context: RequestContext) -> Values:
    at_s = context.principal.issued_at_s
    return None if at_s is None else (_iso(at_s),)


def _multi_factor(context: RequestContext) -> Values:
    """Temporary credentials say that there was none; permanent ones say nothing: a Deny of `false` is not about those."""
    return None if context.principal.issued_at_s is None else ("false",)


def _organization_id(context: RequestContext) -> Values:
    return _text(context.surroundings.organization_id)


def _forwarded(read: Callable[[Forwarding], object]) -> Source:
    def source(context: RequestContext) -> Values:
        forwarding = context.surroundings.forwarding
        return None if forwarding is None else _text(read(forwarding))

    return source


_GLOBAL: Final[dict[str, Source]] = {
    "aws:currenttime": lambda context: (_iso(context.surroundings.now_s),),
    "aws:epochtime": lambda context: (str(int(context.surroundings.now_s)),),
    "aws:federatedprovider": lambda context: _text(context.principal.federated_provider),
    "aws:multifactorauthpresent": _multi_factor,
    "aws:principalaccount": _of_account(lambda principal: principal.account),
    "aws:principalarn": _of_account(_principal_arn),
    "aws:principalisawsservice": lambda context: _text(_is_service(context)),
    "aws:principalservicename": lambda context: _text(context.principal.arn) if _is_service(context) else None,
    "aws:principalorgid": lambda context: _organization_id(context) if context.principal.kind in _TYPES else None,
    "aws:principaltype": lambda context: _text(_TYPES.get(context.principal.kind)),
    "aws:requestedregion": lambda context: _text(context.surroundings.region),
    "aws:resourceaccount": lambda context: _text(context.resource_account),
    "aws:resourceorgid": _organization_id,
    "aws:securetransport": lambda context: _text(context.surroundings.is_secure),
    "aws:sourceaccount": _forwarded(lambda forwarding: forwarding.source_account),
    "aws:sourcearn": _forwarded(lambda forwarding: forwarding.source_arn),
    "aws:sourceidentity": lambda context: _text(context.principal.source_identity),
    # A socket for both kinds of addresses shows the older kind inside of the newer one.
    "aws:sourceip": lambda context: _text(context.surroundings.source_ip.removeprefix("::ffff:")),
    "aws:tokenissuetime": _token_issue_time,
    "aws:useragent": lambda context: _text(context.surroundings.user_agent),
    "aws:userid": lambda context: None if _is_service(context) else _text(context.principal.principal_id),
    "aws:username": lambda context: _text(context.principal.user_name),
    "aws:viaawsservice": lambda context: _text(context.surroundings.forwarding is not None),
}

# ── of the key ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _of_key(read: Callable[[KeyFacts], object]) -> Source:
    return lambda context: None if context.key is None else _text(read(context.key))


def _multi_region_type(context: RequestContext) -> Values:
    """Only multi-Region keys have one; a key is created as a primary."""
    is_multi_region = context.member("MultiRegion") if context.key is None else context.key.multi_region
    return ("PRIMARY",) if is_multi_region else None


_OF_THE_KEY: Final[dict[str, Source]] = {
    "kms:keyorigin": _of_key(lambda key: key.origin),
    "kms:keyspec": _of_key(lambda key: key.spec),
    "kms:customermasterkeyspec": _of_key(lambda key: key.spec),
    "kms:keyusage": _of_key(lambda key: key.usage),
    "kms:customermasterkeyusage": _of_key(lambda key: key.usage),
    "kms:multiregion": _of_key(lambda key: key.multi_region),
    "kms:resourcealiases": lambda context: _several(context.aliases),
}


def _new_spec(context: RequestContext) -> Values:
    return _text(context.member("KeySpec") or context.member("CustomerMasterKeySpec") or _SYMMETRIC)


# A condition on a parameter works with its default, too ("Conditions for an API operation request").
_OF_A_NEW_KEY: Final[dict[str, Source]] = {
    "kms:keyorigin": _member("Origin", "AWS_KMS"),
    "kms:keyspec": _new_spec,
    "kms:customermasterkeyspec": _new_spec,
    "kms:keyusage": _member("KeyUsage", "ENCRYPT_DECRYPT"),
    "kms:customermasterkeyusage": _member("KeyUsage", "ENCRYPT_DECRYPT"),
    "kms:multiregion": _member("MultiRegion", default=False),
}

# ── of the request ──────────────────────────────────────────────────────────────────────────────────────────────────────


_CONTEXT_MEMBERS: Final = {
    "kms:ReEncryptFrom": "SourceEncryptionContext",
    "kms:ReEncryptTo": "DestinationEncryptionContext",
    "kms:CreateGrant": "Constraints",
    "kms:RetireGrant": "Constraints",
}


def encryption_context(context: RequestContext) -> Mapping[str, str]:
    """The pairs of this action's request: of ReEncrypt one of two, of CreateGrant those of the constraint."""
    name = _CONTEXT_MEMBERS.get(context.action, "EncryptionContext")
    found = getattr(context.request, name, None)
    if name == "Constraints":
        subset = getattr(found, ConstraintType.SUBSET, None) or {}
        return {**subset, **(getattr(found, ConstraintType.EQUALS, None) or {})}
    return found or {}


def _encryption_algorithm(context: RequestContext) -> Values:
    sides = {"kms:ReEncryptFrom": "Source", "kms:ReEncryptTo": "Destination"}
    return _text(context.member(f"{sides.get(context.action, '')}EncryptionAlgorithm") or _SYMMETRIC)


def _constraint_type(context: RequestContext) -> Values:
    """An empty context constrains nothing, and is no constraint."""
    constraints = context.member("Constraints")
    return _several([kind.value for kind in ConstraintType if getattr(constraints, kind, None)])


def _principal(name: str) -> Source:
    """A principal that a member names: an account has one name here, though requests may call it by its number."""
    return lambda context: _text(principal_arn(context.member(name) or ""))


def _tag_keys(context: RequestContext) -> Values:
    """Of the tags that are to be there, or to go."""
    return _several(context.member("TagKeys") or [tag.TagKey for tag in context.member("Tags") or ()])


def _valid_to(context: RequestContext) -> Values:
    at_s = context.member("ValidTo")
    return None if at_s is None else (str(float(at_s)),)


def _is_for_resource(context: RequestContext) -> Values:
    forwarding = context.surroundings.forwarding
    return _text(forwarding is not None and forwarding.for_resource)


_OF_THE_REQUEST: Final[dict[str, Source]] = {
    "aws:tagkeys": _tag_keys,
    # "When the parameter is not used" there is no such key, as of kms:ExpirationModel.
    "kms:bypasspolicylockoutsafetycheck": _member("BypassPolicyLockoutSafetyCheck"),
    "kms:calleraccount": lambda context: _text(context.principal.account),
    "kms:datakeypairspec": _member("KeyPairSpec"),
    "kms:encryptionalgorithm": _encryption_algorithm,
    "kms:encryptioncontextkeys": lambda context: _several(list(encryption_context(context))),
    "kms:expirationmodel": _member("ExpirationModel"),
    "kms:grantconstraintsourcearn": lambda context: _text(getattr(context.member("Constraints"), "SourceArn", None)),
    "kms:grantconstrainttype": _constraint_type,
    "kms:granteeprincipal": _principal("GranteePrincipal"),
    "kms:granteeserviceprincipal": _member("GranteeServicePrincipal"),
    "kms:grantisforawsresource": _is_for_resource,
    "kms:grantoperations": lambda context: _several(context.member("Operations") or ()),
    "kms:keyagreementalgorithm": _member("KeyAgreementAlgorithm"),
    "kms:macalgorithm": _member("MacAlgorithm"),
    "kms:messagetype": _member("MessageType", "RAW"),
    "kms:multiregionkeytype": _multi_region_type,
    "kms:primaryregion": _member("PrimaryRegion"),
    "kms:reencryptonsamekey": lambda context: _text(context.same_key),
    "kms:replicaregion": _member("ReplicaRegion"),
    "kms:requestalias": lambda context: _text(context.key_ref_alias),
    "kms:retiringprincipal": _principal("RetiringPrincipal"),
    "kms:retiringserviceprincipal": _member("RetiringServicePrincipal"),
    "kms:rotationperiodindays": _member("RotationPeriodInDays", 365),
    "kms:schedulekeydeletionpendingwindowindays": _member("PendingWindowInDays", 30),
    "kms:signingalgorithm": _member("SigningAlgorithm"),
    "kms:validto": _valid_to,
    "kms:viaservice": _forwarded(lambda forwarding: forwarding.via),
    "kms:wrappingalgorithm": _member("WrappingAlgorithm"),
    "kms:wrappingkeyspec": _member("WrappingKeySpec"),
}


# ── names that go on ────────────────────────────────────────────────────────────────────────────────────────────────────


def _request_tags(context: RequestContext) -> Mapping[str, str]:
    return {tag.TagKey: tag.TagValue for tag in context.member("Tags") or ()}


_PAIRS: Final[dict[str, Callable[[RequestContext], Mapping[str, str]]]] = {
    ENCRYPTION_CONTEXT: encryption_context,
    PRINCIPAL_TAG: lambda context: context.principal.tags,
    RECIPIENT_ATTESTATION: lambda context: context.surroundings.attestation,
    REQUEST_TAG: _request_tags,
    RESOURCE_TAG: lambda context: {} if context.key is None else context.key.tags,
}


def _pair(pairs: Callable[[RequestContext], Mapping[str, str]], name: str) -> Source:
    return lambda context: _named(pairs(context), name)


def _whole_context(context: RequestContext) -> Values:
    return _several(whole_context(encryption_context(context)))


@lru_cache(_SOURCES_MAX)
def source_of(action: str, key: str) -> Source:
    """Where the values of a key come from in requests for an action."""
    if key == WHOLE_CONTEXT:
        return _whole_context
    name = stem(key)
    if name not in GLOBAL_KEYS and name not in KEYS_BY_ACTION.get(action, ()):
        return _absent
    if name in _PAIRS:
        return _pair(_PAIRS[name], key[len(name) :])
    of_key = _OF_A_NEW_KEY if action == "kms:CreateKey" else _OF_THE_KEY
    return of_key.get(name) or _GLOBAL.get(name) or _OF_THE_REQUEST[name]
