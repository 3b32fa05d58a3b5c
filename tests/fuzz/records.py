"""What an account must hold: a model of the records, kept from acknowledged answers alone.

It knows nothing of the product's code. The states are those of the KMS developer guide ("Key states of AWS KMS keys"), as
far as requests can reach them: Enabled, Disabled, PendingDeletion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

DAY_S: Final = 86_400.0
# By how much a date may differ from what the client's clock makes it: requests take time.
SLACK_S: Final = 120.0

_SHOWN_OF_A_GRANT: Final = frozenset(
    {"Constraints", "GranteePrincipal", "GranteeServicePrincipal", "Name", "Operations", "RetiringPrincipal"}
    | {"RetiringServicePrincipal"}
)

# API reference, RotateKeyOnDemand; nothing else rotates a key while a journey lasts.
ON_DEMAND_ROTATIONS_MAX: Final = 25

CRYPTOGRAPHIC: Final = frozenset(
    {"Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt"}
)
_ROTATION: Final = frozenset({"DisableKeyRotation", "EnableKeyRotation", "RotateKeyOnDemand"})
_GRANTS: Final = frozenset({"CreateGrant"})
_CHANGES: Final = frozenset(
    {"CreateAlias", "DisableKey", "EnableKey", "ScheduleKeyDeletion", "TagResource", "UntagResource", "UpdateAlias"}
    | {"UpdateKeyDescription"}
)
_REFUSED_IN: Final[Mapping[str, Mapping[str, str]]] = {
    "Enabled": {"CancelKeyDeletion": "KMSInvalidStateException"},
    "Disabled": {
        "CancelKeyDeletion": "KMSInvalidStateException",
        **dict.fromkeys(CRYPTOGRAPHIC | _ROTATION | _GRANTS, "DisabledException"),
    },
    "PendingDeletion": dict.fromkeys(CRYPTOGRAPHIC | _ROTATION | _CHANGES | _GRANTS, "KMSInvalidStateException"),
}


@dataclass(frozen=True)
class Policy:
    """A key policy and what it withholds from the account's root."""

    text: str
    withheld: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Grant:
    """A grant as it was asked for, and a token of it."""

    members: Mapping[str, Any]
    token: str

    @property
    def shown(self) -> dict[str, Any]:
        """What a list of grants must show of it."""
        asked = {name: value for name, value in self.members.items() if name in _SHOWN_OF_A_GRANT and value is not None}
        constraints = {name: value for name, value in (asked.pop("Constraints", None) or {}).items() if value}
        operations = sorted(set(asked.pop("Operations")))
        return {"Name": "", **asked, **({"Constraints": constraints} if constraints else {}), "Operations": operations}


@dataclass(eq=False)
class Key:
    """One key."""

    key_id: str
    description: str
    tags: dict[str, str]
    policy: Policy
    materials: list[str]
    state: str = "Enabled"
    deletion_date: float | None = None
    period_days: int | None = None
    next_rotation: float | None = None
    grants: dict[str, Grant] = field(default_factory=dict)

    def refusals(self, operation: str, *actions: str) -> set[str]:
        """Why an operation on this key must be refused, whatever else the request says; empty: it need not."""
        codes = {"AccessDeniedException" for action in actions if action in self.policy.withheld}
        code = _REFUSED_IN[self.state].get(operation)
        if operation == "RotateKeyOnDemand" and len(self.materials) > ON_DEMAND_ROTATIONS_MAX:
            codes.add("LimitExceededException")
        return codes | ({code} if code else set())


@dataclass(frozen=True, eq=False)
class Blob:
    """A ciphertext that was handed out, and what is in it (None: nobody was told)."""

    key: Key
    blob: str
    plaintext: str | None
    context: Mapping[str, str]


@dataclass
class Account:
    """The records of one journey: its own keys, whatever else there is."""

    keys: list[Key] = field(default_factory=list)
    aliases: dict[str, Key] = field(default_factory=dict)
    blobs: list[Blob] = field(default_factory=list)

    def aliases_of(self, key: Key) -> set[str]:
        return {name for name, target in self.aliases.items() if target is key}


# The operations that show records, and the request that shows all of a key.
LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "DescribeKey": {},
    "GetKeyPolicy": {},
    "GetKeyRotationStatus": {},
    "ListAliases": {},
    "ListGrants": {"Limit": 100},
    "ListKeyPolicies": {},
    "ListKeyRotations": {"IncludeKeyMaterial": "ALL_KEY_MATERIAL"},
    "ListResourceTags": {},
}


def held(operation: str, account: Account, key: Key, request: Mapping[str, Any]) -> Any:
    """What the account holds, in the form of `shown`."""
    match operation:
        case "DescribeKey":
            is_enabled = key.state == "Enabled"
            return key.key_id, key.description, key.state, is_enabled, key.materials[-1], key.deletion_date
        case "GetKeyPolicy":
            return key.policy.text
        case "GetKeyRotationStatus":
            return (key.key_id, None) if key.state == "PendingDeletion" else (key.key_id, key.period_days)
        case "ListAliases":
            return dict.fromkeys(account.aliases_of(key), key.key_id)
        case "ListGrants":
            grantee, grant_id = request.get("GranteePrincipal"), request.get("GrantId")
            return {
                name: grant.shown
                for name, grant in key.grants.items()
                if grantee in {None, grant.members.get("GranteePrincipal")} and grant_id in {None, name}
            }
        case "ListKeyPolicies":
            return ["default"]
        case "ListKeyRotations":
            wants_all = request.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
            return key.materials if wants_all else key.materials[1:]
    assert operation == "ListResourceTags"
    return key.tags


def shown(operation: str, answer: dict[str, Any]) -> Any:
    """What an answer shows of the records; dates that the service chose are compared by `is_on_time`."""
    match operation:
        case "DescribeKey":
            found = answer["KeyMetadata"]
            names = ("KeyId", "Description", "KeyState", "Enabled", "CurrentKeyMaterialId")
            return *(found[name] for name in names), found.get("DeletionDate")
        case "GetKeyPolicy":
            return answer["Policy"]
        case "GetKeyRotationStatus":
            assert answer["KeyRotationEnabled"] == ("RotationPeriodInDays" in answer), answer
            return answer["KeyId"], answer.get("RotationPeriodInDays")
        case "ListAliases":
            return {alias["AliasName"]: alias["TargetKeyId"] for alias in answer["Aliases"]}
        case "ListGrants":
            hidden = {"CreationDate", "GrantId", "IssuingAccount", "KeyId"}
            return {
                grant["GrantId"]: {name: value for name, value in grant.items() if name not in hidden}
                | {"Operations": sorted(grant["Operations"])}
                for grant in answer["Grants"]
            }
        case "ListKeyPolicies":
            return answer["PolicyNames"]
        case "ListKeyRotations":
            return [rotation["KeyMaterialId"] for rotation in answer["Rotations"]]
    assert operation == "ListResourceTags"
    return {tag["TagKey"]: tag["TagValue"] for tag in answer["Tags"]}


def is_on_time(found: float | None, expected: float | None) -> bool:
    """Two dates are the same one, given that the clocks were read at slightly different times."""
    if found is None or expected is None:
        return found is expected
    return abs(found - expected) <= SLACK_S
