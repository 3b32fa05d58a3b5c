"""The requests and responses of AWS STS as frozen `msgspec.Struct`s. Generated: never edit this file.

By `scripts/generate_shapes.py`, from the `sts` model (API version 2011-06-15) of botocore 1.44.5.

* A structure has the name of AWS's shape, and its members AWS's names. Every other shape is an alias named
  `<AWS's shape>Shape`, because many members are called like their shape. (So is one structure, which has both names.)
* A member that the model requires is required; any other is `None` when it is absent or null, and `None` is not sent.
* Blobs are `bytes` (base64 on the wire; lengths count decoded bytes), timestamps are seconds since 1970.
* A pattern must match the whole text, in ASCII, as Java's `matches` does: `(?a)^(?:` … `)\\Z`.
* `repr` of a structure names its members and shows no value. `extra={"sensitive": True}` marks what no message may repeat.
* Exceptions are codes with a status (`ERRORS`): on the wire they carry a message and nothing else.
"""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from strongroom.kms.wire.model import OperationShape, Shape

API_VERSION: Final = "2011-06-15"

NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"

AudienceShape: TypeAlias = str
IssuerShape: TypeAlias = str
accessKeyIdTypeShape: TypeAlias = Annotated[str, Meta(min_length=16, max_length=128, pattern="(?a)^(?:[\\w]*)\\Z")]
accessKeySecretTypeShape: TypeAlias = Annotated[str, Meta(extra={"sensitive": True})]
accountTypeShape: TypeAlias = str
arnTypeShape: TypeAlias = Annotated[
    str,
    Meta(
        min_length=20,
        max_length=2048,
        pattern="(?a)^(?:[\\u0009\\u000A\\u000D\\u0020-\\u007E\\u0085\\u00A0-\\uD7FF\\uE000-\\uFFFD\\u10000-\\u10FFFF]+)\\Z",
    ),
]
assumedRoleIdTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=2, max_length=193, pattern="(?a)^(?:[\\w+=,.@:-]*)\\Z")
]
clientTokenTypeShape: TypeAlias = Annotated[str, Meta(min_length=4, max_length=20000, extra={"sensitive": True})]
contextAssertionTypeShape: TypeAlias = Annotated[str, Meta(min_length=4, max_length=2048, extra={"sensitive": True})]
dateTypeShape: TypeAlias = float
durationSecondsTypeShape: TypeAlias = Annotated[int, Meta(ge=900, le=129600)]
expiredIdentityTokenMessageShape: TypeAlias = str
externalIdTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=2, max_length=1224, pattern="(?a)^(?:[\\w+=,.@:\\/-]*)\\Z")
]
federatedIdTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=2, max_length=193, pattern="(?a)^(?:[\\w+=,.@\\:-]*)\\Z")
]
idpCommunicationErrorMessageShape: TypeAlias = str
idpRejectedClaimMessageShape: TypeAlias = str
invalidIdentityTokenMessageShape: TypeAlias = str
malformedPolicyDocumentMessageShape: TypeAlias = str
minimumSessionTokenSizeTypeShape: TypeAlias = Annotated[int, Meta(ge=0, le=4096)]
nonNegativeIntegerTypeShape: TypeAlias = Annotated[int, Meta(ge=0)]
packedPolicyTooLargeMessageShape: TypeAlias = str
regionDisabledMessageShape: TypeAlias = str
roleDurationSecondsTypeShape: TypeAlias = Annotated[int, Meta(ge=900, le=43200)]
roleSessionNameTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=2, max_length=64, pattern="(?a)^(?:[\\w+=,.@-]*)\\Z")
]
serialNumberTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=9, max_length=256, pattern="(?a)^(?:[\\w+=/:,.@-]*)\\Z")
]
sessionPolicyDocumentTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=2048, pattern="(?a)^(?:[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+)\\Z")
]
sessionTokenSizeTypeShape: TypeAlias = Annotated[int, Meta(ge=0)]
sessionTokenUtilizationTypeShape: TypeAlias = Annotated[int, Meta(ge=0)]
sourceIdentityTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=2, max_length=64, pattern="(?a)^(?:[\\w+=,.@-]*)\\Z")
]
tagKeyTypeShape: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern="(?a)^(?:(?u:[\\w\\x20\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000.:/=+\\-@]+))\\Z",
    ),
]
tagValueTypeShape: TypeAlias = Annotated[
    str,
    Meta(
        min_length=0,
        max_length=256,
        pattern="(?a)^(?:(?u:[\\w\\x20\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000.:/=+\\-@]*))\\Z",
    ),
]
tokenCodeTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=6, max_length=6, pattern="(?a)^(?:[\\d]*)\\Z", extra={"sensitive": True})
]
tokenTypeShape: TypeAlias = Annotated[str, Meta(extra={"sensitive": True})]
unrestrictedSessionPolicyDocumentTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, pattern="(?a)^(?:[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+)\\Z")
]
urlTypeShape: TypeAlias = Annotated[str, Meta(min_length=4, max_length=2048)]
userIdTypeShape: TypeAlias = str
userNameTypeShape: TypeAlias = Annotated[str, Meta(min_length=2, max_length=32, pattern="(?a)^(?:[\\w+=,.@-]*)\\Z")]
webIdentitySubjectTypeShape: TypeAlias = Annotated[str, Meta(min_length=6, max_length=255)]


class PolicyDescriptorType(Shape, frozen=True, kw_only=True):
    arn: arnTypeShape | None = None


policyDescriptorListTypeShape: TypeAlias = list[PolicyDescriptorType]


class Tag(Shape, frozen=True, kw_only=True):
    Key: tagKeyTypeShape
    Value: tagValueTypeShape


tagListTypeShape: TypeAlias = Annotated[list[Tag], Meta(max_length=50)]
tagKeyListTypeShape: TypeAlias = Annotated[list[tagKeyTypeShape], Meta(max_length=50)]


class ProvidedContext(Shape, frozen=True, kw_only=True):
    ProviderArn: arnTypeShape | None = None
    ContextAssertion: contextAssertionTypeShape | None = None


ProvidedContextsListTypeShape: TypeAlias = Annotated[list[ProvidedContext], Meta(min_length=1, max_length=5)]


class AssumeRoleRequest(Shape, frozen=True, kw_only=True):
    RoleArn: arnTypeShape
    RoleSessionName: roleSessionNameTypeShape
    PolicyArns: policyDescriptorListTypeShape | None = None
    Policy: unrestrictedSessionPolicyDocumentTypeShape | None = None
    DurationSeconds: roleDurationSecondsTypeShape | None = None
    Tags: tagListTypeShape | None = None
    TransitiveTagKeys: tagKeyListTypeShape | None = None
    ExternalId: externalIdTypeShape | None = None
    SerialNumber: serialNumberTypeShape | None = None
    TokenCode: tokenCodeTypeShape | None = None
    SourceIdentity: sourceIdentityTypeShape | None = None
    ProvidedContexts: ProvidedContextsListTypeShape | None = None
    MinimumSessionTokenSize: minimumSessionTokenSizeTypeShape | None = None


class Credentials(Shape, frozen=True, kw_only=True):
    AccessKeyId: accessKeyIdTypeShape
    SecretAccessKey: accessKeySecretTypeShape
    SessionToken: tokenTypeShape
    Expiration: dateTypeShape


CredentialsShape: TypeAlias = Credentials


class AssumedRoleUser(Shape, frozen=True, kw_only=True):
    AssumedRoleId: assumedRoleIdTypeShape
    Arn: arnTypeShape


AssumedRoleUserShape: TypeAlias = AssumedRoleUser


class AssumeRoleResponse(Shape, frozen=True, kw_only=True):
    Credentials: CredentialsShape | None = None
    AssumedRoleUser: AssumedRoleUserShape | None = None
    PackedPolicySize: nonNegativeIntegerTypeShape | None = None
    SourceIdentity: sourceIdentityTypeShape | None = None
    SessionTokenUtilization: sessionTokenUtilizationTypeShape | None = None
    SessionTokenSize: sessionTokenSizeTypeShape | None = None


class AssumeRoleWithWebIdentityRequest(Shape, frozen=True, kw_only=True):
    RoleArn: arnTypeShape
    RoleSessionName: roleSessionNameTypeShape
    WebIdentityToken: clientTokenTypeShape
    ProviderId: urlTypeShape | None = None
    PolicyArns: policyDescriptorListTypeShape | None = None
    Policy: sessionPolicyDocumentTypeShape | None = None
    DurationSeconds: roleDurationSecondsTypeShape | None = None
    MinimumSessionTokenSize: minimumSessionTokenSizeTypeShape | None = None


class AssumeRoleWithWebIdentityResponse(Shape, frozen=True, kw_only=True):
    Credentials: CredentialsShape | None = None
    SubjectFromWebIdentityToken: webIdentitySubjectTypeShape | None = None
    AssumedRoleUser: AssumedRoleUserShape | None = None
    PackedPolicySize: nonNegativeIntegerTypeShape | None = None
    Provider: IssuerShape | None = None
    Audience: AudienceShape | None = None
    SourceIdentity: sourceIdentityTypeShape | None = None
    SessionTokenUtilization: sessionTokenUtilizationTypeShape | None = None
    SessionTokenSize: sessionTokenSizeTypeShape | None = None


class FederatedUser(Shape, frozen=True, kw_only=True):
    FederatedUserId: federatedIdTypeShape
    Arn: arnTypeShape


FederatedUserShape: TypeAlias = FederatedUser


class GetAccessKeyInfoRequest(Shape, frozen=True, kw_only=True):
    AccessKeyId: accessKeyIdTypeShape


class GetAccessKeyInfoResponse(Shape, frozen=True, kw_only=True):
    Account: accountTypeShape | None = None


class GetCallerIdentityRequest(Shape, frozen=True, kw_only=True):
    pass


class GetCallerIdentityResponse(Shape, frozen=True, kw_only=True):
    UserId: userIdTypeShape | None = None
    Account: accountTypeShape | None = None
    Arn: arnTypeShape | None = None


class GetFederationTokenRequest(Shape, frozen=True, kw_only=True):
    Name: userNameTypeShape
    Policy: sessionPolicyDocumentTypeShape | None = None
    PolicyArns: policyDescriptorListTypeShape | None = None
    DurationSeconds: durationSecondsTypeShape | None = None
    Tags: tagListTypeShape | None = None
    MinimumSessionTokenSize: minimumSessionTokenSizeTypeShape | None = None


class GetFederationTokenResponse(Shape, frozen=True, kw_only=True):
    Credentials: CredentialsShape | None = None
    FederatedUser: FederatedUserShape | None = None
    PackedPolicySize: nonNegativeIntegerTypeShape | None = None
    SessionTokenUtilization: sessionTokenUtilizationTypeShape | None = None
    SessionTokenSize: sessionTokenSizeTypeShape | None = None


class GetSessionTokenRequest(Shape, frozen=True, kw_only=True):
    DurationSeconds: durationSecondsTypeShape | None = None
    SerialNumber: serialNumberTypeShape | None = None
    TokenCode: tokenCodeTypeShape | None = None
    MinimumSessionTokenSize: minimumSessionTokenSizeTypeShape | None = None


class GetSessionTokenResponse(Shape, frozen=True, kw_only=True):
    Credentials: CredentialsShape | None = None
    SessionTokenUtilization: sessionTokenUtilizationTypeShape | None = None
    SessionTokenSize: sessionTokenSizeTypeShape | None = None


OPERATIONS: Final[dict[str, OperationShape]] = {
    "AssumeRole": OperationShape(
        name="AssumeRole",
        request=AssumeRoleRequest,
        response=AssumeRoleResponse,
        exceptions=(
            "MalformedPolicyDocument",
            "PackedPolicyTooLarge",
            "RegionDisabledException",
            "ExpiredTokenException",
        ),
    ),
    "AssumeRoleWithWebIdentity": OperationShape(
        name="AssumeRoleWithWebIdentity",
        request=AssumeRoleWithWebIdentityRequest,
        response=AssumeRoleWithWebIdentityResponse,
        exceptions=(
            "MalformedPolicyDocument",
            "PackedPolicyTooLarge",
            "IDPRejectedClaim",
            "IDPCommunicationError",
            "InvalidIdentityToken",
            "ExpiredTokenException",
            "RegionDisabledException",
        ),
    ),
    "GetAccessKeyInfo": OperationShape(
        name="GetAccessKeyInfo", request=GetAccessKeyInfoRequest, response=GetAccessKeyInfoResponse, exceptions=()
    ),
    "GetCallerIdentity": OperationShape(
        name="GetCallerIdentity", request=GetCallerIdentityRequest, response=GetCallerIdentityResponse, exceptions=()
    ),
    "GetFederationToken": OperationShape(
        name="GetFederationToken",
        request=GetFederationTokenRequest,
        response=GetFederationTokenResponse,
        exceptions=("MalformedPolicyDocument", "PackedPolicyTooLarge", "RegionDisabledException"),
    ),
    "GetSessionToken": OperationShape(
        name="GetSessionToken",
        request=GetSessionTokenRequest,
        response=GetSessionTokenResponse,
        exceptions=("RegionDisabledException",),
    ),
}
ERRORS: Final[dict[str, int]] = {
    "ExpiredTokenException": 400,
    "IDPCommunicationError": 400,
    "IDPRejectedClaim": 403,
    "InvalidIdentityToken": 400,
    "MalformedPolicyDocument": 400,
    "PackedPolicyTooLarge": 400,
    "RegionDisabledException": 403,
}
