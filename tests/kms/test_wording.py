"""Refusals as AWS words them: per case the request, the code, the message, and where these came from.

What the sources are worth: `AWS` is printed in AWS's own documentation or API model, or was recorded from AWS (LocalStack's
snapshots and the tests that it marks as validated against AWS); `quoted` is a log or issue that shows AWS's answer;
`pattern` is the model's constraint in the sentence that AWS's framework is known to make of constraints; `emulator` is the
text of a program that imitates AWS, likely copied from it, not proven; `ours` is documented as a code only, so that the
words are our own, or empty.

The order of checks, which the last tests hold: the model's constraints, whether the key exists, whether the caller may, the
key's state, what the request asks of it. That an unknown key is NotFoundException whatever else is wrong is validated
(LocalStack: CreateGrant, ListGrants); that existence comes before authorization an engineer of AWS said
(aws-cloudformation-resource-providers-kms#60); that the state comes before what a key supports is validated (LocalStack:
RotateKeyOnDemand on a disabled RSA key). That authorization comes before the state is inferred.

Other suites hold the rest, each with its sources: key states `test_key_states.py`, validation of types and constraints
`test_validation.py`, policies `test_operations_keys.py`, cryptography `test_operations_cryptography.py`, limits
`test_limits.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from testkit.installation import ACCOUNT, Installation
from testkit.raw import (
    RawKms,
    alias_arn,
    assert_allowed,
    assert_refused,
    key_arn,
    make_user,
    nothing_breaks,
    table_dump,
)

ABSENT: Final = "1234abcd-12ab-34cd-56ef-1234567890ab"
OTHER_ACCOUNT: Final = "111122223333"
ROOT: Final = f"arn:aws:iam::{ACCOUNT}:root"
NOT_ALIASES_HERE: Final = "Key Aliases are not supported for this operation."
NO_PREFIX: Final = (
    'Alias must start with the prefix "alias/". Please see '
    "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
)
SNAPSHOT: Final = "AWS: LocalStack's snapshot, test_kms.snapshot.json, "
VALIDATED: Final = "AWS: LocalStack's test validated against AWS, test_kms.py, "
MODEL: Final = "AWS: the API model, "
PATTERN: Final = "pattern: "
VALIDATION: Final = "1 validation error detected: Value {} at '{}' failed to satisfy constraint: {}"


def violation(value: str, member: str, constraint: str) -> str:
    return VALIDATION.format(value, member, constraint)


def shorter(limit: int) -> str:
    return f"Member must have length less than or equal to {limit}"


class Case(NamedTuple):
    """`{key}` and `{alias}` in requests and messages are a key and its alias."""

    name: str
    operation: str
    request: dict[str, Any]
    code: str
    message: str
    source: str


def tags(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"TagKey": key, "TagValue": value} for key, value in pairs]


UNSEEN = (
    f"User: {ROOT} is not authorized to perform: kms:{{}} on {{}} because the resource does not exist in this Region, "
    "no resource-based policies allow access, or a resource-based policy explicitly denies access"
)

REFERENCES = [
    Case(
        "an id that is none",
        "GetKeyPolicy",
        {"KeyId": "fake-key-id"},
        "NotFoundException",
        "Invalid keyId 'fake-key-id'",
        SNAPSHOT + "test_get_key_invalid_uuid",
    ),
    Case(
        "an id of a key that does not exist",
        "UpdateKeyDescription",
        {"KeyId": ABSENT, "Description": "x"},
        "NotFoundException",
        f"Key '{key_arn(ABSENT)}' does not exist",
        SNAPSHOT + "test_get_key_does_not_exist",
    ),
    Case(
        "an ARN of a key that does not exist",
        "ListResourceTags",
        {"KeyId": key_arn(ABSENT)},
        "NotFoundException",
        f"Key '{key_arn(ABSENT)}' does not exist",
        SNAPSHOT + "test_get_key_does_not_exist",
    ),
    Case(
        "an ARN of another region",
        "PutKeyPolicy",
        {"KeyId": key_arn(ABSENT, region="ap-southeast-1"), "Policy": "{}"},
        "NotFoundException",
        "Invalid arn ap-southeast-1",
        SNAPSHOT + "test_get_key_in_different_region",
    ),
    Case(
        "an ARN of another account",
        "Encrypt",
        {"KeyId": key_arn(ABSENT, account=OTHER_ACCOUNT), "Plaintext": "eA=="},
        "AccessDeniedException",
        UNSEEN.format("Encrypt", "this resource"),
        "quoted: logs of Encrypt and DescribeKey on keys of another account",
    ),
    Case(
        "a ciphertext of a key that does not exist",
        "Decrypt",
        {"CiphertextBlob": "U1JDQgE" + "A" * 141},
        "AccessDeniedException",
        UNSEEN.format("Decrypt", "the resource associated with this ciphertext"),
        "quoted: logs of Decrypt (older ones: `The ciphertext refers to a customer master key that does not exist, …`)",
    ),
    Case(
        "an alias that does not exist",
        "DescribeKey",
        {"KeyId": "alias/nothing"},
        "NotFoundException",
        f"Alias {alias_arn('alias/nothing')} is not found.",
        "quoted: sigstore/cosign#1474, cloudposse/docs#152",
    ),
    *(
        Case(
            f"{what} where only keys are taken: {operation}",
            operation,
            {"KeyId": reference, **more},
            "InvalidArnException",
            NOT_ALIASES_HERE,
            "quoted: output of GetKeyPolicy and CreateGrant (hashicorp/terraform#20813); the ARN form is inferred",
        )
        for what, reference in (
            ("an alias", "{alias}"),
            ("an alias ARN", alias_arn("{alias}")),
            ("no alias", "alias/no"),
        )
        for operation, more in (
            ("GetKeyPolicy", {}),
            ("PutKeyPolicy", {"Policy": "{}"}),
            ("ListKeyPolicies", {}),
            ("ListGrants", {}),
            ("ListResourceTags", {}),
            ("TagResource", {"Tags": []}),
            ("UntagResource", {"TagKeys": []}),
            ("UpdateKeyDescription", {"Description": "x"}),
            ("EnableKey", {}),
            ("DisableKey", {}),
            ("ListAliases", {}),
        )
    ),
]

ALIASES = [
    Case(
        "a name without the prefix",
        "CreateAlias",
        {"AliasName": "fakealias", "TargetKeyId": "{key}"},
        "ValidationException",
        NO_PREFIX,
        SNAPSHOT + "test_create_alias; aws-controllers-k8s/community#1878",
    ),
    Case(
        "a name that AWS keeps for itself",
        "CreateAlias",
        {"AliasName": "alias/aws/mine", "TargetKeyId": "{key}"},
        "NotAuthorizedException",
        "",
        "emulator: moto and nsmithuk/local-kms, both without words",
    ),
    Case(
        "a name with a colon, which the model takes",
        "CreateAlias",
        {"AliasName": "alias/my:alias", "TargetKeyId": "{key}"},
        "ValidationException",
        "alias/my:alias contains invalid characters for an alias",
        "quoted: hashicorp/terraform-provider-aws#12891",
    ),
    Case(
        "a name with a character that the model does not take",
        "CreateAlias",
        {"AliasName": "alias/my.alias", "TargetKeyId": "{key}"},
        "ValidationException",
        violation(
            "'alias/my.alias'", "aliasName", "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"
        ),
        PATTERN + "AliasNameType",
    ),
    Case(
        "a name of 257 characters",
        "UpdateAlias",
        {"AliasName": "alias/" + "x" * 251, "TargetKeyId": "{key}"},
        "ValidationException",
        violation(f"'alias/{'x' * 251}'", "aliasName", shorter(256)),
        PATTERN + "AliasNameType",
    ),
    Case(
        "a prefix and no name",
        "CreateAlias",
        {"AliasName": "alias/", "TargetKeyId": "{key}"},
        "InvalidAliasNameException",
        "",
        "ours: " + MODEL + "CreateAlias's exceptions",
    ),
    Case(
        "an alias that exists",
        "CreateAlias",
        {"AliasName": "{alias}", "TargetKeyId": "{key}"},
        "AlreadyExistsException",
        f"An alias with the name {alias_arn('{alias}')} already exists",
        "quoted: crossplane-contrib/provider-aws#1741 and others",
    ),
    Case(
        "an alias of an alias",
        "CreateAlias",
        {"AliasName": "alias/of-an-alias", "TargetKeyId": "{alias}"},
        "ValidationException",
        "Aliases must refer to keys. Not aliases",
        "emulator: moto and its tests since 2015",
    ),
    *(
        Case(
            f"an alias that does not exist: {operation}",
            operation,
            {"AliasName": "alias/nothing", **more},
            "NotFoundException",
            f"Alias {alias_arn('alias/nothing')} is not found.",
            "quoted for DescribeKey and GetPublicKey; the same sentence in moto for DeleteAlias",
        )
        for operation, more in (("DeleteAlias", {}), ("UpdateAlias", {"TargetKeyId": "{key}"}))
    ),
]

TAGS = [
    *(
        Case(
            f"a tag key twice: {operation}",
            operation,
            {**more, "Tags": tags(("a", "1"), ("a", "2"))},
            "TagException",
            "Duplicate tag keys",
            VALIDATED + "test_tag_key_with_duplicate_tag_keys_raises_error",
        )
        for operation, more in (("TagResource", {"KeyId": "{key}"}), ("CreateKey", {}))
    ),
    *(
        Case(
            f"a reserved prefix, {key}: {operation}",
            operation,
            {**more, "Tags": tags((key, "1"))},
            "TagException",
            "Tags beginning with aws: are reserved",
            VALIDATED + "test_create_key_with_invalid_tag_key",
        )
        for key in ("aws:x", "AWS:x", "aWs:")
        for operation, more in (("TagResource", {"KeyId": "{key}"}), ("CreateKey", {}))
    ),
    Case(
        "51 tags in one request",
        "CreateKey",
        {"Tags": tags(*((f"k{number}", "") for number in range(51)))},
        "TagException",
        "Too many tags",
        VALIDATED + "test_create_key_with_too_many_tags_raises_error",
    ),
    Case(
        "51 tags for a key",
        "TagResource",
        {"KeyId": "{key}", "Tags": tags(*((f"k{number}", "") for number in range(51)))},
        "TagException",
        "Too many tags",
        "as CreateKey; the model lists LimitExceededException, too, and does not say which",
    ),
    Case(
        "a tag key of 129 characters",
        "TagResource",
        {"KeyId": "{key}", "Tags": tags(("x" * 129, ""))},
        "ValidationException",
        violation(f"'{'x' * 129}'", "tags.1.member.tagKey", shorter(128)),
        VALIDATED + "test_create_key_with_invalid_tag_key",
    ),
    Case(
        "a tag value of 257 characters",
        "TagResource",
        {"KeyId": "{key}", "Tags": tags(("a", ""), ("b", "x" * 257))},
        "ValidationException",
        violation(f"'{'x' * 257}'", "tags.2.member.tagValue", shorter(256)),
        VALIDATED + "test_create_key_with_invalid_tag_value",
    ),
    Case(
        "an empty tag key",
        "TagResource",
        {"KeyId": "{key}", "Tags": tags(("", ""))},
        "ValidationException",
        violation("''", "tags.1.member.tagKey", "Member must have length greater than or equal to 1"),
        PATTERN + "TagKeyType; nsmithuk/local-kms",
    ),
    Case(
        "no tags at all",
        "TagResource",
        {"KeyId": "{key}"},
        "ValidationException",
        violation("null", "tags", "Member must not be null"),
        PATTERN + "TagResourceRequest; nsmithuk/local-kms",
    ),
    Case(
        "no tag keys at all",
        "UntagResource",
        {"KeyId": "{key}"},
        "ValidationException",
        violation("null", "tagKeys", "Member must not be null"),
        PATTERN + "UntagResourceRequest",
    ),
]

POLICIES = [
    Case(
        "a policy of another name to read",
        "GetKeyPolicy",
        {"KeyId": "{key}", "PolicyName": "other"},
        "NotFoundException",
        "No such policy exists",
        "emulator: LocalStack, moto",
    ),
    Case(
        "the policy of RAM to read, which there is not",
        "GetKeyPolicy",
        {"KeyId": "{key}", "PolicyName": "AWS_RAM"},
        "NotFoundException",
        "No such policy exists",
        MODEL + "GetKeyPolicy (the code); the words as for any other name",
    ),
    Case(
        "the policy of RAM to put",
        "PutKeyPolicy",
        {"KeyId": "{key}", "PolicyName": "AWS_RAM", "Policy": "{}"},
        "ValidationException",
        "The AWS_RAM policy can only be managed by the RAM service.",
        MODEL + "PutKeyPolicy",
    ),
    Case(
        "a policy of another name to put",
        "PutKeyPolicy",
        {"KeyId": "{key}", "PolicyName": "other", "Policy": "{}"},
        "UnsupportedOperationException",
        "Only default policy is supported",
        "emulator: LocalStack",
    ),
    Case(
        "a name that is none",
        "GetKeyPolicy",
        {"KeyId": "{key}", "PolicyName": "not a word"},
        "ValidationException",
        violation("'not a word'", "policyName", "Member must satisfy regular expression pattern: [\\w]+"),
        PATTERN + "PolicyNameType",
    ),
    Case(
        "a character that policies may not have",
        "PutKeyPolicy",
        {"KeyId": "{key}", "Policy": "\u0100"},
        "ValidationException",
        violation(
            "'\u0100'",
            "policy",
            "Member must satisfy regular expression pattern: [\\u0009\\u000A\\u000D\\u0020-\\u00FF]+",
        ),
        PATTERN + "PolicyType",
    ),
    Case(
        "a policy of more than 32 KiB",
        "PutKeyPolicy",
        {"KeyId": "{key}", "Policy": "x" * 32_769},
        "LimitExceededException",
        "The key policy exceeds the length limit of 32768 bytes.",
        "ours: " + MODEL + "PutKeyPolicy's Policy (the code)",
    ),
    Case(
        "no policy",
        "PutKeyPolicy",
        {"KeyId": "{key}"},
        "ValidationException",
        violation("null", "policy", "Member must not be null"),
        PATTERN + "PutKeyPolicyRequest",
    ),
]

DESCRIPTIONS = [
    Case(
        "a description of 8193 characters",
        "UpdateKeyDescription",
        {"KeyId": "{key}", "Description": "x" * 8193},
        "ValidationException",
        violation(f"'{'x' * 8193}'", "description", shorter(8192)),
        PATTERN + "DescriptionType; nsmithuk/local-kms",
    ),
    Case(
        "no description",
        "UpdateKeyDescription",
        {"KeyId": "{key}"},
        "ValidationException",
        violation("null", "description", "Member must not be null"),
        PATTERN + "UpdateKeyDescriptionRequest",
    ),
]

LISTS = [
    *(
        Case(
            f"a limit of {limit}: {operation}",
            operation,
            {**more, "Limit": limit},
            "ValidationException",
            violation(f"'{limit}'", "limit", f"Member must have value {bound}"),
            PATTERN + "LimitType; " + SNAPSHOT + "the same sentences about numberOfBytes",
        )
        for limit, bound in ((0, "greater than or equal to 1"), (1001, "less than or equal to 1000"))
        for operation, more in (
            ("ListKeyPolicies", {"KeyId": "{key}"}),
            ("ListResourceTags", {"KeyId": "{key}"}),
            ("ListGrants", {"KeyId": "{key}"}),
            ("ListRetirableGrants", {"RetiringPrincipal": ROOT}),
            ("ListKeys", {}),
            ("ListAliases", {}),
        )
    ),
    *(
        Case(
            f"a marker that nobody wrote: {operation}",
            operation,
            {**more, "Marker": "????"},
            code,
            "Invalid marker",
            "ours: " + MODEL + f"{operation}'s exceptions",
        )
        for operation, more, code in (
            ("ListResourceTags", {"KeyId": "{key}"}, "InvalidMarkerException"),
            ("ListGrants", {"KeyId": "{key}"}, "InvalidMarkerException"),
            ("ListRetirableGrants", {"RetiringPrincipal": ROOT}, "InvalidMarkerException"),
            ("ListKeys", {}, "InvalidMarkerException"),
            ("ListAliases", {}, "InvalidMarkerException"),
            ("ListKeyPolicies", {"KeyId": "{key}"}, "ValidationException"),
        )
    ),
    *(
        Case(
            f"a marker of {len(marker)} characters: {operation}",
            operation,
            {"KeyId": "{key}", "Marker": marker},
            "ValidationException",
            violation(f"'{marker}'", "marker", f"Member must have length {bound}"),
            PATTERN + "MarkerType",
        )
        for marker, bound in (("", "greater than or equal to 1"), ("A" * 1025, "less than or equal to 1024"))
        for operation in ("ListKeyPolicies", "ListResourceTags", "ListGrants")
    ),
]

OPERATIONS_REFUSED: Final = (
    "Operations [Sign, Verify, GenerateMac] are not supported when creating a grant for a symmetric KMS key with key usage "
    "ENCRYPT_DECRYPT. Valid operations are [Decrypt, Encrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext, "
    "ReEncryptFrom, ReEncryptTo, CreateGrant, RetireGrant, DescribeKey, GenerateDataKeyPair, "
    "GenerateDataKeyPairWithoutPlaintext]"
)
SERVICE_NOT_RETIRED: Final = (
    "When you specify a GranteeServicePrincipal, you must also specify a RetiringPrincipal or RetiringServicePrincipal."
)
GRANTED: Final = {"KeyId": "{key}", "GranteePrincipal": ROOT, "Operations": ["Encrypt"]}
SERVICE_GRANTED: Final = {
    "GranteeServicePrincipal": "s3.us-east-1.amazonaws.com",
    "RetiringServicePrincipal": "backup.us-east-1.amazonaws.com",
    "Constraints": {"SourceArn": f"arn:aws:s3:us-east-1:{ACCOUNT}:bucket"},
}
GRANTS = [
    Case(
        "no key",
        "ListGrants",
        {},
        "ValidationException",
        violation("null", "keyId", "Member must not be null"),
        PATTERN + "ListGrantsRequest",
    ),
    Case(
        "a key that is none",
        "ListGrants",
        {"KeyId": "invalid"},
        "NotFoundException",
        "Invalid keyId 'invalid'",
        VALIDATED + "test_list_grants_with_invalid_key",
    ),
    Case(
        "a grant that there is not",
        "ListGrants",
        {"KeyId": "{key}", "GrantId": "0" * 64},
        "InvalidGrantIdException",
        "",
        "ours: " + MODEL + "ListGrants's exceptions",
    ),
    Case(
        "a principal with a blank",
        "ListGrants",
        {"KeyId": "{key}", "GranteePrincipal": "not a principal"},
        "ValidationException",
        violation(
            "'not a principal'", "granteePrincipal", "Member must satisfy regular expression pattern: ^[\\w+=,.@:/-]+$"
        ),
        PATTERN + "PrincipalIdType",
    ),
    Case(
        "a key that is none for CreateGrant",
        "CreateGrant",
        {**GRANTED, "KeyId": "invalid"},
        "NotFoundException",
        "Invalid keyId 'invalid'",
        VALIDATED + "test_create_grant_with_invalid_key",
    ),
    *(
        Case(
            f"an alias for {operation}",
            operation,
            {**more, "KeyId": "{alias}"},
            "InvalidArnException",
            NOT_ALIASES_HERE,
            "as UpdateAlias's target",
        )
        for operation, more in (
            ("CreateGrant", GRANTED),
            ("RetireGrant", {"GrantId": "0" * 64}),
            ("RevokeGrant", {"GrantId": "0" * 64}),
        )
    ),
    *(
        Case(
            f"{what} as {member}",
            "CreateGrant",
            {**GRANTED, member: principal},
            "InvalidArnException",
            f"ARN does not refer to a valid principal: {principal}",
            "quoted: CreateGrant through Lambda, in many issues",
        )
        for member in ("GranteePrincipal", "RetiringPrincipal")
        for what, principal in (
            ("a word", "alice"),
            ("a user that there is not", f"arn:aws:iam::{ACCOUNT}:user/nobody-of-this-name"),
            ("a role that there is not", f"arn:aws:iam::{ACCOUNT}:role/nobody-of-this-name"),
            ("a session of no role", f"arn:aws:sts::{ACCOUNT}:assumed-role/nobody-of-this-name/s"),
            ("a group", f"arn:aws:iam::{ACCOUNT}:group/admins"),
            ("a key", key_arn(ABSENT)),
            ("an account that there is not", f"arn:aws:iam::{OTHER_ACCOUNT}:root"),
            ("an account's id that there is not", OTHER_ACCOUNT),
            ("a service in the place of an ARN", "s3.amazonaws.com"),
        )
    ),
    Case(
        "nothing but CreateGrant",
        "CreateGrant",
        {**GRANTED, "Operations": ["CreateGrant", "CreateGrant"]},
        "ValidationException",
        "Grants must not contain only the CreateGrant operation.",
        "quoted: ansible/ansible#31960",
    ),
    Case(
        "no operation",
        "CreateGrant",
        {**GRANTED, "Operations": []},
        "ValidationException",
        "Grants must contain at least one operation.",
        "ours: the model's list may be empty",
    ),
    Case(
        "operations of other keys",
        "CreateGrant",
        {**GRANTED, "Operations": ["Verify", "Encrypt", "Sign", "GenerateMac"]},
        "ValidationException",
        OPERATIONS_REFUSED,
        "emulator: radkawar/stackd, whose words are said to be recorded; the order of operations is ours",
    ),
    *(
        Case(
            f"{what} of a grant",
            "CreateGrant",
            {**GRANTED, "GranteePrincipal": None, **more},
            "ValidationException",
            message,
            "ours: " + MODEL + "CreateGrant's members' descriptions",
        )
        for what, more, message in (
            (
                "no grantee",
                {},
                "You must specify either GranteePrincipal or GranteeServicePrincipal, but not both.",
            ),
            (
                "two grantees",
                {"GranteePrincipal": ROOT, **SERVICE_GRANTED},
                "You must specify either GranteePrincipal or GranteeServicePrincipal, but not both.",
            ),
            (
                "two who retire",
                {"RetiringPrincipal": ROOT, **SERVICE_GRANTED},
                "You can specify either RetiringPrincipal or RetiringServicePrincipal, but not both.",
            ),
            (
                "a service without a source",
                {**SERVICE_GRANTED, "Constraints": None},
                "When you specify a GranteeServicePrincipal, you must also specify a SourceArn grant constraint.",
            ),
            (
                "a service that nobody retires",
                {**SERVICE_GRANTED, "RetiringServicePrincipal": None},
                SERVICE_NOT_RETIRED,
            ),
            (
                "two contexts",
                {
                    "GranteePrincipal": ROOT,
                    "Constraints": {"EncryptionContextEquals": {"a": "b"}, "EncryptionContextSubset": {"a": "b"}},
                },
                "You can specify either EncryptionContextEquals or EncryptionContextSubset, but not both.",
            ),
            (
                "nine pairs",
                {
                    "GranteePrincipal": ROOT,
                    "Constraints": {"EncryptionContextEquals": {str(n): "" for n in range(9)}},
                },
                "A grant constraint can include up to 8 encryption context pairs.",
            ),
            *(
                (
                    f"a {what} too long",
                    {"GranteePrincipal": ROOT, "Constraints": {"EncryptionContextSubset": context}},
                    "The encryption context value in a grant constraint cannot exceed 384 characters.",
                )
                for what, context in (("value", {"a": "\u00e9" * 385}), ("name", {"a" * 385: ""}))
            ),
        )
    ),
    Case(
        "a grant token that is none",
        "RetireGrant",
        {"GrantToken": "none"},
        "InvalidGrantTokenException",
        "The provided grant token is not valid.",
        "ours: " + MODEL + "RetireGrant's exceptions",
    ),
    *(
        Case(
            f"a grant named by {what}",
            "RetireGrant",
            request,
            "ValidationException",
            "You must specify either GrantToken, or both KeyId and GrantId.",
            "ours: " + MODEL + "RetireGrant's description",
        )
        for what, request in (
            ("nothing", {}),
            ("a key alone", {"KeyId": "{key}"}),
            ("an id alone", {"GrantId": "0" * 64}),
            ("a token and a key", {"GrantToken": "none", "KeyId": "{key}"}),
            ("everything", {"GrantToken": "none", "KeyId": "{key}", "GrantId": "0" * 64}),
        )
    ),
    *(
        Case(
            f"{what} for {operation}",
            operation,
            {"KeyId": "{key}", "GrantId": grant_id},
            code,
            message,
            "ours: "
            + MODEL
            + f"{operation}'s exceptions; that a missing grant is NotFoundException is what Terraform waits for",
        )
        for operation in ("RetireGrant", "RevokeGrant")
        for what, grant_id, code, message in (
            ("a grant that there is not", "0" * 64, "NotFoundException", f"Grant ID {'0' * 64} not found"),
            ("what is no grant's id", "0" * 63, "InvalidGrantIdException", ""),
        )
    ),
    *(
        Case(
            f"{what} for ListRetirableGrants",
            "ListRetirableGrants",
            {"RetiringPrincipal": principal},
            "InvalidArnException",
            f"ARN does not refer to a valid principal: {principal}",
            "quoted: CreateGrant through Lambda, in many issues; for ListRetirableGrants inferred",
        )
        for what, principal in (
            ("a word", "alice"),
            ("a group", f"arn:aws:iam::{ACCOUNT}:group/admins"),
            ("a key", key_arn(ABSENT)),
            ("another account's root", f"arn:aws:iam::{OTHER_ACCOUNT}:root"),
            ("another account", OTHER_ACCOUNT),
        )
    ),
    Case(
        "nobody for ListRetirableGrants",
        "ListRetirableGrants",
        {},
        "ValidationException",
        "You must specify either RetiringPrincipal or RetiringServicePrincipal, but not both.",
        "ours: " + MODEL + "RetiringPrincipal's description",
    ),
    *(
        Case(
            f"{members}: {operation}",
            operation,
            {**more, service: "ec2.amazonaws.com"},
            "ValidationException",
            message,
            "ours: " + MODEL + f"{service}'s description",
        )
        for operation, member, service, required in (
            ("ListGrants", "GranteePrincipal", "GranteeServicePrincipal", {"KeyId": "{key}"}),
            ("ListRetirableGrants", "RetiringPrincipal", "RetiringServicePrincipal", {}),
        )
        for members, more, message in (
            (
                "a service's principal",
                required,
                f"{service} can only be used by callers in a service principal.",
            ),
            (
                "two principals",
                {**required, member: ROOT},
                f"You can specify either {member} or {service}, but not both.",
            ),
        )
    ),
]

SEVERAL = [
    Case(
        "two violations at once",
        "UpdateKeyDescription",
        {"Description": "x" * 8193},
        "ValidationException",
        "2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null; "
        f"Value '{'x' * 8193}' at 'description' failed to satisfy constraint: {shorter(8192)}",
        PATTERN + "how AWS's framework joins them",
    ),
]

CASES = [*REFERENCES, *ALIASES, *TAGS, *POLICIES, *DESCRIPTIONS, *LISTS, *GRANTS, *SEVERAL]
KINDS = ("AWS: ", "quoted", "pattern: ", "emulator: ", "ours: ", "as ")


@pytest.fixture(scope="module")
def raw(installation: Installation) -> Iterator[RawKms]:
    kms = RawKms(installation)
    yield kms
    kms.close()


@pytest.fixture(scope="module")
def names(raw: RawKms) -> dict[str, str]:
    key_id = str(assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"])
    alias = f"alias/wording-{uuid.uuid4().hex}"
    assert_allowed(raw.call("CreateAlias", {"AliasName": alias, "TargetKeyId": key_id}))
    return {"key": key_id, "alias": alias}


def filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def test_every_case_has_a_name_of_its_own_and_says_where_it_came_from() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert [case.name for case in CASES if not case.source.startswith(KINDS)] == []


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_refusal_has_awss_code_and_words_and_changes_nothing(
    installation: Installation, raw: RawKms, names: dict[str, str], case: Case
) -> None:
    request = {
        member: filled(value, names) if isinstance(value, str) else value for member, value in case.request.items()
    }
    before = table_dump(installation)
    assert_refused(raw.call(case.operation, request), case.code, filled(case.message, names))
    assert table_dump(installation) == before


# ── the order of checks ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_malformed_request_is_told_so_whether_or_not_the_key_exists(raw: RawKms) -> None:
    for operation, request in (
        ("TagResource", {"KeyId": ABSENT, "Tags": tags(("", ""))}),
        ("ListResourceTags", {"KeyId": ABSENT, "Limit": 0}),
        ("PutKeyPolicy", {"KeyId": ABSENT, "Policy": "\u0100"}),
        ("UpdateKeyDescription", {"KeyId": ABSENT}),
    ):
        assert_refused(raw.call(operation, request), "ValidationException")


def test_a_key_that_does_not_exist_comes_before_everything_that_is_asked_of_it(raw: RawKms) -> None:
    missing = f"Key '{key_arn(ABSENT)}' does not exist"
    for operation, request in (
        ("TagResource", {"Tags": tags(("aws:x", ""))}),
        ("PutKeyPolicy", {"Policy": "no policy"}),
        ("PutKeyPolicy", {"Policy": "{}", "PolicyName": "AWS_RAM"}),
        ("GetKeyPolicy", {"PolicyName": "other"}),
        ("ListGrants", {"Marker": "????"}),
        ("ListGrants", {"GrantId": "0"}),
        ("RetireGrant", {"GrantId": "0"}),
        ("RevokeGrant", {"GrantId": "0"}),
        ("CreateGrant", {"GranteePrincipal": "alice", "Operations": ["Sign"], "GrantTokens": ["x"]}),
        ("ListResourceTags", {"Marker": "????"}),
    ):
        assert_refused(raw.call(operation, {"KeyId": ABSENT, **request}), "NotFoundException", missing)


def test_who_may_not_learns_neither_the_state_nor_what_is_wrong_with_the_rest(
    installation: Installation, raw: RawKms
) -> None:
    key_id = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": key_id}))
    nobody = make_user(installation, f"order-{uuid.uuid4().hex[:10]}").kms
    for operation, request in (
        ("TagResource", {"Tags": tags(("aws:x", ""))}),
        ("UpdateKeyDescription", {"Description": "x"}),
        ("PutKeyPolicy", {"Policy": "no policy"}),
        ("GetKeyPolicy", {"PolicyName": "other"}),
        ("ListGrants", {"GrantId": "0"}),
        ("RevokeGrant", {"GrantId": "0"}),
        ("CreateGrant", {"GranteePrincipal": "alice", "Operations": ["Sign"], "GrantTokens": ["x"]}),
        ("Encrypt", {"Plaintext": "eA=="}),
    ):
        assert_refused(nobody.call(operation, {"KeyId": key_id, **request}), "AccessDeniedException")
    # Of a key that does not exist everybody is told so.
    assert_refused(nobody.call("GetKeyPolicy", {"KeyId": ABSENT}), "NotFoundException")


def test_the_state_comes_before_what_is_wrong_with_the_rest(raw: RawKms) -> None:
    key_id = assert_allowed(raw.call("CreateKey"))["KeyMetadata"]["KeyId"]
    assert_allowed(raw.call("ScheduleKeyDeletion", {"KeyId": key_id}))
    pending = f"{key_arn(key_id)} is pending deletion."
    assert_refused(
        raw.call("TagResource", {"KeyId": key_id, "Tags": tags(("aws:x", ""))}), "KMSInvalidStateException", pending
    )


def test_none_of_this_broke_the_service(installation: Installation) -> None:
    with nothing_breaks(installation):
        pass
