"""The requests and responses of AWS IAM as frozen `msgspec.Struct`s. Generated: never edit this file.

By `scripts/generate_shapes.py`, from the `iam` model (API version 2010-05-08) of botocore 1.44.5.

* A structure has the name of AWS's shape, and its members AWS's names. Every other shape is an alias named
  `<AWS's shape>Shape`, because many members are called like their shape. (So is one structure, which has both names.)
* A member that the model requires is required; any other is `None` when it is absent or null, and `None` is not sent.
* Blobs are `bytes` (base64 on the wire; lengths count decoded bytes), timestamps are seconds since 1970.
* A pattern must match the whole text, in ASCII, as Java's `matches` does: `(?a)^(?:` … `)\\Z`.
* `repr` of a structure names its members and shows no value. `extra={"sensitive": True}` marks what no message may repeat.
* Exceptions are codes with a status (`ERRORS`): on the wire they carry a message and nothing else.
"""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from strongroom.kms.wire.model import OperationShape, Shape

API_VERSION: Final = "2010-05-08"

NAMESPACE: Final = "https://iam.amazonaws.com/doc/2010-05-08/"

BootstrapDatumShape: TypeAlias = Annotated[bytes, Meta(extra={"sensitive": True})]
ConcurrentModificationMessageShape: TypeAlias = str
EntityTypeShape: TypeAlias = Literal["User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy"]
PermissionsBoundaryAttachmentTypeShape: TypeAlias = Literal["PermissionsBoundaryPolicy"]
PolicyUsageTypeShape: TypeAlias = Literal["PermissionsPolicy", "PermissionsBoundary"]
accessKeyIdTypeShape: TypeAlias = Annotated[str, Meta(min_length=16, max_length=128, pattern="(?a)^(?:[\\w]+)\\Z")]
accessKeySecretTypeShape: TypeAlias = Annotated[str, Meta(extra={"sensitive": True})]
accountAliasTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=3, max_length=63, pattern="(?a)^(?:^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$)\\Z")
]
allUsersShape: TypeAlias = bool
arnTypeShape: TypeAlias = Annotated[str, Meta(min_length=20, max_length=2048)]
assignmentStatusTypeShape: TypeAlias = Literal["Assigned", "Unassigned", "Any"]
attachmentCountTypeShape: TypeAlias = int
booleanTypeShape: TypeAlias = bool
certificateBodyTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=16384, pattern="(?a)^(?:[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+)\\Z")
]
certificateIdTypeShape: TypeAlias = Annotated[str, Meta(min_length=24, max_length=128, pattern="(?a)^(?:[\\w]+)\\Z")]
dateTypeShape: TypeAlias = float
deleteConflictMessageShape: TypeAlias = str
entityAlreadyExistsMessageShape: TypeAlias = str
entityTemporarilyUnmodifiableMessageShape: TypeAlias = str
existingUserNameTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=128, pattern="(?a)^(?:[\\w+=,.@-]+)\\Z")
]
groupNameTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128, pattern="(?a)^(?:[\\w+=,.@-]+)\\Z")]
idTypeShape: TypeAlias = Annotated[str, Meta(min_length=16, max_length=128, pattern="(?a)^(?:[\\w]+)\\Z")]
instanceProfileNameTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=128, pattern="(?a)^(?:[\\w+=,.@-]+)\\Z")
]
integerTypeShape: TypeAlias = int
invalidInputMessageShape: TypeAlias = str
limitExceededMessageShape: TypeAlias = str
malformedPolicyDocumentMessageShape: TypeAlias = str
markerTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=320, pattern="(?a)^(?:[\\u0020-\\u00FF]+)\\Z")
]
maxItemsTypeShape: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]
noSuchEntityMessageShape: TypeAlias = str
pathPrefixTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=512, pattern="(?a)^(?:\\u002F[\\u0021-\\u007F]*)\\Z")
]
pathTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=512, pattern="(?a)^(?:(\\u002F)|(\\u002F[\\u0021-\\u007E]+\\u002F))\\Z")
]
policyDescriptionTypeShape: TypeAlias = Annotated[str, Meta(max_length=1000)]
policyDocumentTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=131072, pattern="(?a)^(?:[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+)\\Z")
]
policyNameTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128, pattern="(?a)^(?:[\\w+=,.@-]+)\\Z")]
policyNotAttachableMessageShape: TypeAlias = str
policyPathTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=512, pattern="(?a)^(?:((/[A-Za-z0-9\\.,\\+@=_-]+)*)/)\\Z")
]
policyScopeTypeShape: TypeAlias = Literal["All", "AWS", "Local"]
policyVersionIdTypeShape: TypeAlias = Annotated[str, Meta(pattern="(?a)^(?:v[1-9][0-9]*(\\.[A-Za-z0-9-]*)?)\\Z")]
publicKeyIdTypeShape: TypeAlias = Annotated[str, Meta(min_length=20, max_length=128, pattern="(?a)^(?:[\\w]+)\\Z")]
responseMarkerTypeShape: TypeAlias = str
roleDescriptionTypeShape: TypeAlias = Annotated[
    str, Meta(max_length=1000, pattern="(?a)^(?:[\\u0009\\u000A\\u000D\\u0020-\\u007E\\u00A1-\\u00FF]*)\\Z")
]
roleMaxSessionDurationTypeShape: TypeAlias = Annotated[int, Meta(ge=3600, le=43200)]
roleNameTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern="(?a)^(?:[\\w+=,.@-]+)\\Z")]
serialNumberTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=9, max_length=256, pattern="(?a)^(?:[\\w+=/:,.@-]+)\\Z")
]
serviceCredentialAliasShape: TypeAlias = Annotated[
    str, Meta(min_length=0, max_length=200, pattern="(?a)^(?:[\\w+=,.@-]+)\\Z")
]
serviceFailureExceptionMessageShape: TypeAlias = str
serviceNameShape: TypeAlias = str
serviceNotSupportedMessageShape: TypeAlias = str
serviceSpecificCredentialIdShape: TypeAlias = Annotated[
    str, Meta(min_length=20, max_length=128, pattern="(?a)^(?:[\\w]+)\\Z")
]
serviceUserNameShape: TypeAlias = Annotated[str, Meta(min_length=0, max_length=200, pattern="(?a)^(?:[\\w+=,.@-]*)\\Z")]
statusTypeShape: TypeAlias = Literal["Active", "Inactive", "Expired"]
stringTypeShape: TypeAlias = str
summaryKeyTypeShape: TypeAlias = Literal[
    "Users",
    "UsersQuota",
    "Groups",
    "GroupsQuota",
    "ServerCertificates",
    "ServerCertificatesQuota",
    "UserPolicySizeQuota",
    "GroupPolicySizeQuota",
    "GroupsPerUserQuota",
    "SigningCertificatesPerUserQuota",
    "AccessKeysPerUserQuota",
    "MFADevices",
    "MFADevicesInUse",
    "AccountMFAEnabled",
    "AccountAccessKeysPresent",
    "AccountPasswordPresent",
    "AccountSigningCertificatesPresent",
    "AttachedPoliciesPerGroupQuota",
    "AttachedPoliciesPerRoleQuota",
    "AttachedPoliciesPerUserQuota",
    "Policies",
    "PoliciesQuota",
    "PolicySizeQuota",
    "PolicyVersionsInUse",
    "PolicyVersionsInUseQuota",
    "VersionsPerPolicyQuota",
    "GlobalEndpointTokenVersion",
    "AssumeRolePolicySizeQuota",
    "InstanceProfiles",
    "InstanceProfilesQuota",
    "Providers",
    "RolePolicySizeQuota",
    "Roles",
    "RolesQuota",
]
summaryValueTypeShape: TypeAlias = int
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
unmodifiableEntityMessageShape: TypeAlias = str
userNameTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern="(?a)^(?:[\\w+=,.@-]+)\\Z")]


class AccessKey(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    AccessKeyId: accessKeyIdTypeShape
    Status: statusTypeShape
    SecretAccessKey: accessKeySecretTypeShape
    CreateDate: dateTypeShape | None = None


AccessKeyShape: TypeAlias = AccessKey


class AccessKeyLastUsed(Shape, frozen=True, kw_only=True):
    LastUsedDate: dateTypeShape | None = None
    ServiceName: stringTypeShape
    Region: stringTypeShape


AccessKeyLastUsedShape: TypeAlias = AccessKeyLastUsed


class AccessKeyMetadata(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape | None = None
    AccessKeyId: accessKeyIdTypeShape | None = None
    Status: statusTypeShape | None = None
    CreateDate: dateTypeShape | None = None


AccessKeyMetadataShape: TypeAlias = AccessKeyMetadata


class AddUserToGroupRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    UserName: existingUserNameTypeShape


class AttachGroupPolicyRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    PolicyArn: arnTypeShape


class AttachRolePolicyRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    PolicyArn: arnTypeShape


class AttachUserPolicyRequest(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    PolicyArn: arnTypeShape


class AttachedPermissionsBoundary(Shape, frozen=True, kw_only=True):
    PermissionsBoundaryType: PermissionsBoundaryAttachmentTypeShape | None = None
    PermissionsBoundaryArn: arnTypeShape | None = None


class AttachedPolicy(Shape, frozen=True, kw_only=True):
    PolicyName: policyNameTypeShape | None = None
    PolicyArn: arnTypeShape | None = None


class CreateAccessKeyRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape | None = None


class CreateAccessKeyResponse(Shape, frozen=True, kw_only=True):
    AccessKey: AccessKeyShape


class CreateGroupRequest(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape | None = None
    GroupName: groupNameTypeShape


class Group(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape
    GroupName: groupNameTypeShape
    GroupId: idTypeShape
    Arn: arnTypeShape
    CreateDate: dateTypeShape


GroupShape: TypeAlias = Group


class CreateGroupResponse(Shape, frozen=True, kw_only=True):
    Group: GroupShape


class Tag(Shape, frozen=True, kw_only=True):
    Key: tagKeyTypeShape
    Value: tagValueTypeShape


tagListTypeShape: TypeAlias = Annotated[list[Tag], Meta(max_length=50)]


class CreatePolicyRequest(Shape, frozen=True, kw_only=True):
    PolicyName: policyNameTypeShape
    Path: policyPathTypeShape | None = None
    PolicyDocument: policyDocumentTypeShape
    Description: policyDescriptionTypeShape | None = None
    Tags: tagListTypeShape | None = None


class Policy(Shape, frozen=True, kw_only=True):
    PolicyName: policyNameTypeShape | None = None
    PolicyId: idTypeShape | None = None
    Arn: arnTypeShape | None = None
    Path: policyPathTypeShape | None = None
    DefaultVersionId: policyVersionIdTypeShape | None = None
    AttachmentCount: attachmentCountTypeShape | None = None
    PermissionsBoundaryUsageCount: attachmentCountTypeShape | None = None
    IsAttachable: booleanTypeShape | None = None
    Description: policyDescriptionTypeShape | None = None
    CreateDate: dateTypeShape | None = None
    UpdateDate: dateTypeShape | None = None
    Tags: tagListTypeShape | None = None


PolicyShape: TypeAlias = Policy


class CreatePolicyResponse(Shape, frozen=True, kw_only=True):
    Policy: PolicyShape | None = None


class CreatePolicyVersionRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape
    PolicyDocument: policyDocumentTypeShape
    SetAsDefault: booleanTypeShape | None = None


class PolicyVersion(Shape, frozen=True, kw_only=True):
    Document: policyDocumentTypeShape | None = None
    VersionId: policyVersionIdTypeShape | None = None
    IsDefaultVersion: booleanTypeShape | None = None
    CreateDate: dateTypeShape | None = None


PolicyVersionShape: TypeAlias = PolicyVersion


class CreatePolicyVersionResponse(Shape, frozen=True, kw_only=True):
    PolicyVersion: PolicyVersionShape | None = None


class CreateRoleRequest(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape | None = None
    RoleName: roleNameTypeShape
    AssumeRolePolicyDocument: policyDocumentTypeShape
    Description: roleDescriptionTypeShape | None = None
    MaxSessionDuration: roleMaxSessionDurationTypeShape | None = None
    PermissionsBoundary: arnTypeShape | None = None
    Tags: tagListTypeShape | None = None


class RoleLastUsed(Shape, frozen=True, kw_only=True):
    LastUsedDate: dateTypeShape | None = None
    Region: stringTypeShape | None = None


RoleLastUsedShape: TypeAlias = RoleLastUsed


class SourceRoleTemplate(Shape, frozen=True, kw_only=True):
    TemplateArn: arnTypeShape
    TemplateMinorVersion: integerTypeShape


SourceRoleTemplateShape: TypeAlias = SourceRoleTemplate


class Role(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape
    RoleName: roleNameTypeShape
    RoleId: idTypeShape
    Arn: arnTypeShape
    CreateDate: dateTypeShape
    AssumeRolePolicyDocument: policyDocumentTypeShape | None = None
    Description: roleDescriptionTypeShape | None = None
    MaxSessionDuration: roleMaxSessionDurationTypeShape | None = None
    PermissionsBoundary: AttachedPermissionsBoundary | None = None
    Tags: tagListTypeShape | None = None
    RoleLastUsed: RoleLastUsedShape | None = None
    SourceRoleTemplate: SourceRoleTemplateShape | None = None


RoleShape: TypeAlias = Role


class CreateRoleResponse(Shape, frozen=True, kw_only=True):
    Role: RoleShape


class CreateUserRequest(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape | None = None
    UserName: userNameTypeShape
    PermissionsBoundary: arnTypeShape | None = None
    Tags: tagListTypeShape | None = None


class User(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape
    UserName: userNameTypeShape
    UserId: idTypeShape
    Arn: arnTypeShape
    CreateDate: dateTypeShape
    PasswordLastUsed: dateTypeShape | None = None
    PermissionsBoundary: AttachedPermissionsBoundary | None = None
    Tags: tagListTypeShape | None = None


UserShape: TypeAlias = User


class CreateUserResponse(Shape, frozen=True, kw_only=True):
    User: UserShape | None = None


class DeleteAccessKeyRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape | None = None
    AccessKeyId: accessKeyIdTypeShape


class DeleteGroupPolicyRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    PolicyName: policyNameTypeShape


class DeleteGroupRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape


class DeleteLoginProfileRequest(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape | None = None


class DeletePolicyRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape


class DeletePolicyVersionRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape
    VersionId: policyVersionIdTypeShape


class DeleteRolePermissionsBoundaryRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape


class DeleteRolePolicyRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    PolicyName: policyNameTypeShape


class DeleteRoleRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape


class DeleteUserPermissionsBoundaryRequest(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape


class DeleteUserPolicyRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    PolicyName: policyNameTypeShape


class DeleteUserRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape


class DetachGroupPolicyRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    PolicyArn: arnTypeShape


class DetachRolePolicyRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    PolicyArn: arnTypeShape


class DetachUserPolicyRequest(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    PolicyArn: arnTypeShape


class GetAccessKeyLastUsedRequest(Shape, frozen=True, kw_only=True):
    AccessKeyId: accessKeyIdTypeShape


class GetAccessKeyLastUsedResponse(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape | None = None
    AccessKeyLastUsed: AccessKeyLastUsedShape | None = None


entityListTypeShape: TypeAlias = list[EntityTypeShape]


class GetAccountAuthorizationDetailsRequest(Shape, frozen=True, kw_only=True):
    Filter: entityListTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None
    Marker: markerTypeShape | None = None


class PolicyDetail(Shape, frozen=True, kw_only=True):
    PolicyName: policyNameTypeShape | None = None
    PolicyDocument: policyDocumentTypeShape | None = None


policyDetailListTypeShape: TypeAlias = list[PolicyDetail]
groupNameListTypeShape: TypeAlias = list[groupNameTypeShape]
attachedPoliciesListTypeShape: TypeAlias = list[AttachedPolicy]


class UserDetail(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape | None = None
    UserName: userNameTypeShape | None = None
    UserId: idTypeShape | None = None
    Arn: arnTypeShape | None = None
    CreateDate: dateTypeShape | None = None
    UserPolicyList: policyDetailListTypeShape | None = None
    GroupList: groupNameListTypeShape | None = None
    AttachedManagedPolicies: attachedPoliciesListTypeShape | None = None
    PermissionsBoundary: AttachedPermissionsBoundary | None = None
    Tags: tagListTypeShape | None = None


userDetailListTypeShape: TypeAlias = list[UserDetail]


class GroupDetail(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape | None = None
    GroupName: groupNameTypeShape | None = None
    GroupId: idTypeShape | None = None
    Arn: arnTypeShape | None = None
    CreateDate: dateTypeShape | None = None
    GroupPolicyList: policyDetailListTypeShape | None = None
    AttachedManagedPolicies: attachedPoliciesListTypeShape | None = None


groupDetailListTypeShape: TypeAlias = list[GroupDetail]
roleListTypeShape: TypeAlias = list[RoleShape]


class InstanceProfile(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape
    InstanceProfileName: instanceProfileNameTypeShape
    InstanceProfileId: idTypeShape
    Arn: arnTypeShape
    CreateDate: dateTypeShape
    Roles: roleListTypeShape
    Tags: tagListTypeShape | None = None


instanceProfileListTypeShape: TypeAlias = list[InstanceProfile]


class RoleDetail(Shape, frozen=True, kw_only=True):
    Path: pathTypeShape | None = None
    RoleName: roleNameTypeShape | None = None
    RoleId: idTypeShape | None = None
    Arn: arnTypeShape | None = None
    CreateDate: dateTypeShape | None = None
    AssumeRolePolicyDocument: policyDocumentTypeShape | None = None
    InstanceProfileList: instanceProfileListTypeShape | None = None
    RolePolicyList: policyDetailListTypeShape | None = None
    AttachedManagedPolicies: attachedPoliciesListTypeShape | None = None
    PermissionsBoundary: AttachedPermissionsBoundary | None = None
    Tags: tagListTypeShape | None = None
    RoleLastUsed: RoleLastUsedShape | None = None


roleDetailListTypeShape: TypeAlias = list[RoleDetail]
policyDocumentVersionListTypeShape: TypeAlias = list[PolicyVersionShape]


class ManagedPolicyDetail(Shape, frozen=True, kw_only=True):
    PolicyName: policyNameTypeShape | None = None
    PolicyId: idTypeShape | None = None
    Arn: arnTypeShape | None = None
    Path: policyPathTypeShape | None = None
    DefaultVersionId: policyVersionIdTypeShape | None = None
    AttachmentCount: attachmentCountTypeShape | None = None
    PermissionsBoundaryUsageCount: attachmentCountTypeShape | None = None
    IsAttachable: booleanTypeShape | None = None
    Description: policyDescriptionTypeShape | None = None
    CreateDate: dateTypeShape | None = None
    UpdateDate: dateTypeShape | None = None
    PolicyVersionList: policyDocumentVersionListTypeShape | None = None


ManagedPolicyDetailListTypeShape: TypeAlias = list[ManagedPolicyDetail]


class GetAccountAuthorizationDetailsResponse(Shape, frozen=True, kw_only=True):
    UserDetailList: userDetailListTypeShape | None = None
    GroupDetailList: groupDetailListTypeShape | None = None
    RoleDetailList: roleDetailListTypeShape | None = None
    Policies: ManagedPolicyDetailListTypeShape | None = None
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


summaryMapTypeShape: TypeAlias = dict[summaryKeyTypeShape, summaryValueTypeShape]


class GetAccountSummaryResponse(Shape, frozen=True, kw_only=True):
    SummaryMap: summaryMapTypeShape | None = None


class GetGroupPolicyRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    PolicyName: policyNameTypeShape


class GetGroupPolicyResponse(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    PolicyName: policyNameTypeShape
    PolicyDocument: policyDocumentTypeShape


class GetGroupRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


userListTypeShape: TypeAlias = list[UserShape]


class GetGroupResponse(Shape, frozen=True, kw_only=True):
    Group: GroupShape
    Users: userListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class GetLoginProfileRequest(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape | None = None


class LoginProfile(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    CreateDate: dateTypeShape
    PasswordResetRequired: booleanTypeShape | None = None


LoginProfileShape: TypeAlias = LoginProfile


class GetLoginProfileResponse(Shape, frozen=True, kw_only=True):
    LoginProfile: LoginProfileShape


class GetPolicyRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape


class GetPolicyResponse(Shape, frozen=True, kw_only=True):
    Policy: PolicyShape | None = None


class GetPolicyVersionRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape
    VersionId: policyVersionIdTypeShape


class GetPolicyVersionResponse(Shape, frozen=True, kw_only=True):
    PolicyVersion: PolicyVersionShape | None = None


class GetRolePolicyRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    PolicyName: policyNameTypeShape


class GetRolePolicyResponse(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    PolicyName: policyNameTypeShape
    PolicyDocument: policyDocumentTypeShape


class GetRoleRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape


class GetRoleResponse(Shape, frozen=True, kw_only=True):
    Role: RoleShape


class GetUserPolicyRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    PolicyName: policyNameTypeShape


class GetUserPolicyResponse(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    PolicyName: policyNameTypeShape
    PolicyDocument: policyDocumentTypeShape


class GetUserRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape | None = None


class GetUserResponse(Shape, frozen=True, kw_only=True):
    User: UserShape


class ListAccessKeysRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


accessKeyMetadataListTypeShape: TypeAlias = list[AccessKeyMetadataShape]


class ListAccessKeysResponse(Shape, frozen=True, kw_only=True):
    AccessKeyMetadata: accessKeyMetadataListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListAccountAliasesRequest(Shape, frozen=True, kw_only=True):
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


accountAliasListTypeShape: TypeAlias = list[accountAliasTypeShape]


class ListAccountAliasesResponse(Shape, frozen=True, kw_only=True):
    AccountAliases: accountAliasListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListAttachedGroupPoliciesRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    PathPrefix: policyPathTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListAttachedGroupPoliciesResponse(Shape, frozen=True, kw_only=True):
    AttachedPolicies: attachedPoliciesListTypeShape | None = None
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListAttachedRolePoliciesRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    PathPrefix: policyPathTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListAttachedRolePoliciesResponse(Shape, frozen=True, kw_only=True):
    AttachedPolicies: attachedPoliciesListTypeShape | None = None
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListAttachedUserPoliciesRequest(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    PathPrefix: policyPathTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListAttachedUserPoliciesResponse(Shape, frozen=True, kw_only=True):
    AttachedPolicies: attachedPoliciesListTypeShape | None = None
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListEntitiesForPolicyRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape
    EntityFilter: EntityTypeShape | None = None
    PathPrefix: pathTypeShape | None = None
    PolicyUsageFilter: PolicyUsageTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class PolicyGroup(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape | None = None
    GroupId: idTypeShape | None = None


PolicyGroupListTypeShape: TypeAlias = list[PolicyGroup]


class PolicyUser(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape | None = None
    UserId: idTypeShape | None = None


PolicyUserListTypeShape: TypeAlias = list[PolicyUser]


class PolicyRole(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape | None = None
    RoleId: idTypeShape | None = None


PolicyRoleListTypeShape: TypeAlias = list[PolicyRole]


class ListEntitiesForPolicyResponse(Shape, frozen=True, kw_only=True):
    PolicyGroups: PolicyGroupListTypeShape | None = None
    PolicyUsers: PolicyUserListTypeShape | None = None
    PolicyRoles: PolicyRoleListTypeShape | None = None
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListGroupPoliciesRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


policyNameListTypeShape: TypeAlias = list[policyNameTypeShape]


class ListGroupPoliciesResponse(Shape, frozen=True, kw_only=True):
    PolicyNames: policyNameListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListGroupsForUserRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


groupListTypeShape: TypeAlias = list[GroupShape]


class ListGroupsForUserResponse(Shape, frozen=True, kw_only=True):
    Groups: groupListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListGroupsRequest(Shape, frozen=True, kw_only=True):
    PathPrefix: pathPrefixTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListGroupsResponse(Shape, frozen=True, kw_only=True):
    Groups: groupListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListInstanceProfilesForRoleRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListInstanceProfilesForRoleResponse(Shape, frozen=True, kw_only=True):
    InstanceProfiles: instanceProfileListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListMFADevicesRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class MFADevice(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    SerialNumber: serialNumberTypeShape
    EnableDate: dateTypeShape


mfaDeviceListTypeShape: TypeAlias = list[MFADevice]


class ListMFADevicesResponse(Shape, frozen=True, kw_only=True):
    MFADevices: mfaDeviceListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListPoliciesRequest(Shape, frozen=True, kw_only=True):
    Scope: policyScopeTypeShape | None = None
    OnlyAttached: booleanTypeShape | None = None
    PathPrefix: policyPathTypeShape | None = None
    PolicyUsageFilter: PolicyUsageTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


policyListTypeShape: TypeAlias = list[PolicyShape]


class ListPoliciesResponse(Shape, frozen=True, kw_only=True):
    Policies: policyListTypeShape | None = None
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListPolicyTagsRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListPolicyTagsResponse(Shape, frozen=True, kw_only=True):
    Tags: tagListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListPolicyVersionsRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListPolicyVersionsResponse(Shape, frozen=True, kw_only=True):
    Versions: policyDocumentVersionListTypeShape | None = None
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListRolePoliciesRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListRolePoliciesResponse(Shape, frozen=True, kw_only=True):
    PolicyNames: policyNameListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListRoleTagsRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListRoleTagsResponse(Shape, frozen=True, kw_only=True):
    Tags: tagListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListRolesRequest(Shape, frozen=True, kw_only=True):
    PathPrefix: pathPrefixTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListRolesResponse(Shape, frozen=True, kw_only=True):
    Roles: roleListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListSSHPublicKeysRequest(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class SSHPublicKeyMetadata(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    SSHPublicKeyId: publicKeyIdTypeShape
    Status: statusTypeShape
    UploadDate: dateTypeShape


SSHPublicKeyListTypeShape: TypeAlias = list[SSHPublicKeyMetadata]


class ListSSHPublicKeysResponse(Shape, frozen=True, kw_only=True):
    SSHPublicKeys: SSHPublicKeyListTypeShape | None = None
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListServiceSpecificCredentialsRequest(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape | None = None
    ServiceName: serviceNameShape | None = None
    AllUsers: allUsersShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ServiceSpecificCredentialMetadata(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    Status: statusTypeShape
    ServiceUserName: serviceUserNameShape | None = None
    ServiceCredentialAlias: serviceCredentialAliasShape | None = None
    CreateDate: dateTypeShape
    ExpirationDate: dateTypeShape | None = None
    ServiceSpecificCredentialId: serviceSpecificCredentialIdShape
    ServiceName: serviceNameShape


ServiceSpecificCredentialsListTypeShape: TypeAlias = list[ServiceSpecificCredentialMetadata]


class ListServiceSpecificCredentialsResponse(Shape, frozen=True, kw_only=True):
    ServiceSpecificCredentials: ServiceSpecificCredentialsListTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None
    IsTruncated: booleanTypeShape | None = None


class ListSigningCertificatesRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class SigningCertificate(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    CertificateId: certificateIdTypeShape
    CertificateBody: certificateBodyTypeShape
    Status: statusTypeShape
    UploadDate: dateTypeShape | None = None


certificateListTypeShape: TypeAlias = list[SigningCertificate]


class ListSigningCertificatesResponse(Shape, frozen=True, kw_only=True):
    Certificates: certificateListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListUserPoliciesRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListUserPoliciesResponse(Shape, frozen=True, kw_only=True):
    PolicyNames: policyNameListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListUserTagsRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListUserTagsResponse(Shape, frozen=True, kw_only=True):
    Tags: tagListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListUsersRequest(Shape, frozen=True, kw_only=True):
    PathPrefix: pathPrefixTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class ListUsersResponse(Shape, frozen=True, kw_only=True):
    Users: userListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class ListVirtualMFADevicesRequest(Shape, frozen=True, kw_only=True):
    AssignmentStatus: assignmentStatusTypeShape | None = None
    Marker: markerTypeShape | None = None
    MaxItems: maxItemsTypeShape | None = None


class VirtualMFADevice(Shape, frozen=True, kw_only=True):
    SerialNumber: serialNumberTypeShape
    Base32StringSeed: BootstrapDatumShape | None = None
    QRCodePNG: BootstrapDatumShape | None = None
    User: UserShape | None = None
    EnableDate: dateTypeShape | None = None
    Tags: tagListTypeShape | None = None


virtualMFADeviceListTypeShape: TypeAlias = list[VirtualMFADevice]


class ListVirtualMFADevicesResponse(Shape, frozen=True, kw_only=True):
    VirtualMFADevices: virtualMFADeviceListTypeShape
    IsTruncated: booleanTypeShape | None = None
    Marker: responseMarkerTypeShape | None = None


class PutGroupPolicyRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    PolicyName: policyNameTypeShape
    PolicyDocument: policyDocumentTypeShape


class PutRolePermissionsBoundaryRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    PermissionsBoundary: arnTypeShape


class PutRolePolicyRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    PolicyName: policyNameTypeShape
    PolicyDocument: policyDocumentTypeShape


class PutUserPermissionsBoundaryRequest(Shape, frozen=True, kw_only=True):
    UserName: userNameTypeShape
    PermissionsBoundary: arnTypeShape


class PutUserPolicyRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    PolicyName: policyNameTypeShape
    PolicyDocument: policyDocumentTypeShape


class RemoveUserFromGroupRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    UserName: existingUserNameTypeShape


class SetDefaultPolicyVersionRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape
    VersionId: policyVersionIdTypeShape


class TagPolicyRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape
    Tags: tagListTypeShape


class TagRoleRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    Tags: tagListTypeShape


class TagUserRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    Tags: tagListTypeShape


tagKeyListTypeShape: TypeAlias = Annotated[list[tagKeyTypeShape], Meta(max_length=50)]


class UntagPolicyRequest(Shape, frozen=True, kw_only=True):
    PolicyArn: arnTypeShape
    TagKeys: tagKeyListTypeShape


class UntagRoleRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    TagKeys: tagKeyListTypeShape


class UntagUserRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    TagKeys: tagKeyListTypeShape


class UpdateAccessKeyRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape | None = None
    AccessKeyId: accessKeyIdTypeShape
    Status: statusTypeShape


class UpdateAssumeRolePolicyRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    PolicyDocument: policyDocumentTypeShape


class UpdateGroupRequest(Shape, frozen=True, kw_only=True):
    GroupName: groupNameTypeShape
    NewPath: pathTypeShape | None = None
    NewGroupName: groupNameTypeShape | None = None


class UpdateRoleDescriptionRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    Description: roleDescriptionTypeShape


class UpdateRoleDescriptionResponse(Shape, frozen=True, kw_only=True):
    Role: RoleShape | None = None


class UpdateRoleRequest(Shape, frozen=True, kw_only=True):
    RoleName: roleNameTypeShape
    Description: roleDescriptionTypeShape | None = None
    MaxSessionDuration: roleMaxSessionDurationTypeShape | None = None


class UpdateRoleResponse(Shape, frozen=True, kw_only=True):
    pass


class UpdateUserRequest(Shape, frozen=True, kw_only=True):
    UserName: existingUserNameTypeShape
    NewPath: pathTypeShape | None = None
    NewUserName: userNameTypeShape | None = None


class GetAccountSummaryRequest(Shape, frozen=True, kw_only=True):
    pass


OPERATIONS: Final[dict[str, OperationShape]] = {
    "AddUserToGroup": OperationShape(
        name="AddUserToGroup",
        request=AddUserToGroupRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "ServiceFailure"),
    ),
    "AttachGroupPolicy": OperationShape(
        name="AttachGroupPolicy",
        request=AttachGroupPolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "PolicyNotAttachable", "ServiceFailure"),
    ),
    "AttachRolePolicy": OperationShape(
        name="AttachRolePolicy",
        request=AttachRolePolicyRequest,
        response=None,
        exceptions=(
            "NoSuchEntity",
            "LimitExceeded",
            "InvalidInput",
            "UnmodifiableEntity",
            "PolicyNotAttachable",
            "ServiceFailure",
        ),
    ),
    "AttachUserPolicy": OperationShape(
        name="AttachUserPolicy",
        request=AttachUserPolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "PolicyNotAttachable", "ServiceFailure"),
    ),
    "CreateAccessKey": OperationShape(
        name="CreateAccessKey",
        request=CreateAccessKeyRequest,
        response=CreateAccessKeyResponse,
        exceptions=("NoSuchEntity", "LimitExceeded", "ServiceFailure"),
    ),
    "CreateGroup": OperationShape(
        name="CreateGroup",
        request=CreateGroupRequest,
        response=CreateGroupResponse,
        exceptions=("LimitExceeded", "EntityAlreadyExists", "NoSuchEntity", "ServiceFailure"),
    ),
    "CreatePolicy": OperationShape(
        name="CreatePolicy",
        request=CreatePolicyRequest,
        response=CreatePolicyResponse,
        exceptions=(
            "InvalidInput",
            "LimitExceeded",
            "EntityAlreadyExists",
            "MalformedPolicyDocument",
            "ConcurrentModification",
            "ServiceFailure",
        ),
    ),
    "CreatePolicyVersion": OperationShape(
        name="CreatePolicyVersion",
        request=CreatePolicyVersionRequest,
        response=CreatePolicyVersionResponse,
        exceptions=("NoSuchEntity", "MalformedPolicyDocument", "InvalidInput", "LimitExceeded", "ServiceFailure"),
    ),
    "CreateRole": OperationShape(
        name="CreateRole",
        request=CreateRoleRequest,
        response=CreateRoleResponse,
        exceptions=(
            "LimitExceeded",
            "InvalidInput",
            "EntityAlreadyExists",
            "MalformedPolicyDocument",
            "ConcurrentModification",
            "ServiceFailure",
        ),
    ),
    "CreateUser": OperationShape(
        name="CreateUser",
        request=CreateUserRequest,
        response=CreateUserResponse,
        exceptions=(
            "LimitExceeded",
            "EntityAlreadyExists",
            "NoSuchEntity",
            "InvalidInput",
            "ConcurrentModification",
            "ServiceFailure",
        ),
    ),
    "DeleteAccessKey": OperationShape(
        name="DeleteAccessKey",
        request=DeleteAccessKeyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "ServiceFailure"),
    ),
    "DeleteGroup": OperationShape(
        name="DeleteGroup",
        request=DeleteGroupRequest,
        response=None,
        exceptions=("NoSuchEntity", "DeleteConflict", "LimitExceeded", "ServiceFailure"),
    ),
    "DeleteGroupPolicy": OperationShape(
        name="DeleteGroupPolicy",
        request=DeleteGroupPolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "ServiceFailure"),
    ),
    "DeleteLoginProfile": OperationShape(
        name="DeleteLoginProfile",
        request=DeleteLoginProfileRequest,
        response=None,
        exceptions=("EntityTemporarilyUnmodifiable", "NoSuchEntity", "LimitExceeded", "ServiceFailure"),
    ),
    "DeletePolicy": OperationShape(
        name="DeletePolicy",
        request=DeletePolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "DeleteConflict", "ServiceFailure"),
    ),
    "DeletePolicyVersion": OperationShape(
        name="DeletePolicyVersion",
        request=DeletePolicyVersionRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "DeleteConflict", "ServiceFailure"),
    ),
    "DeleteRole": OperationShape(
        name="DeleteRole",
        request=DeleteRoleRequest,
        response=None,
        exceptions=(
            "NoSuchEntity",
            "DeleteConflict",
            "LimitExceeded",
            "UnmodifiableEntity",
            "ConcurrentModification",
            "ServiceFailure",
        ),
    ),
    "DeleteRolePermissionsBoundary": OperationShape(
        name="DeleteRolePermissionsBoundary",
        request=DeleteRolePermissionsBoundaryRequest,
        response=None,
        exceptions=("NoSuchEntity", "UnmodifiableEntity", "ServiceFailure"),
    ),
    "DeleteRolePolicy": OperationShape(
        name="DeleteRolePolicy",
        request=DeleteRolePolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "UnmodifiableEntity", "ServiceFailure"),
    ),
    "DeleteUser": OperationShape(
        name="DeleteUser",
        request=DeleteUserRequest,
        response=None,
        exceptions=("LimitExceeded", "NoSuchEntity", "DeleteConflict", "ConcurrentModification", "ServiceFailure"),
    ),
    "DeleteUserPermissionsBoundary": OperationShape(
        name="DeleteUserPermissionsBoundary",
        request=DeleteUserPermissionsBoundaryRequest,
        response=None,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "DeleteUserPolicy": OperationShape(
        name="DeleteUserPolicy",
        request=DeleteUserPolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "ServiceFailure"),
    ),
    "DetachGroupPolicy": OperationShape(
        name="DetachGroupPolicy",
        request=DetachGroupPolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "ServiceFailure"),
    ),
    "DetachRolePolicy": OperationShape(
        name="DetachRolePolicy",
        request=DetachRolePolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "UnmodifiableEntity", "ServiceFailure"),
    ),
    "DetachUserPolicy": OperationShape(
        name="DetachUserPolicy",
        request=DetachUserPolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "ServiceFailure"),
    ),
    "GetAccessKeyLastUsed": OperationShape(
        name="GetAccessKeyLastUsed",
        request=GetAccessKeyLastUsedRequest,
        response=GetAccessKeyLastUsedResponse,
        exceptions=(),
    ),
    "GetAccountAuthorizationDetails": OperationShape(
        name="GetAccountAuthorizationDetails",
        request=GetAccountAuthorizationDetailsRequest,
        response=GetAccountAuthorizationDetailsResponse,
        exceptions=("ServiceFailure",),
    ),
    "GetAccountSummary": OperationShape(
        name="GetAccountSummary",
        request=GetAccountSummaryRequest,
        response=GetAccountSummaryResponse,
        exceptions=("ServiceFailure",),
    ),
    "GetGroup": OperationShape(
        name="GetGroup",
        request=GetGroupRequest,
        response=GetGroupResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "GetGroupPolicy": OperationShape(
        name="GetGroupPolicy",
        request=GetGroupPolicyRequest,
        response=GetGroupPolicyResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "GetLoginProfile": OperationShape(
        name="GetLoginProfile",
        request=GetLoginProfileRequest,
        response=GetLoginProfileResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "GetPolicy": OperationShape(
        name="GetPolicy",
        request=GetPolicyRequest,
        response=GetPolicyResponse,
        exceptions=("NoSuchEntity", "InvalidInput", "ServiceFailure"),
    ),
    "GetPolicyVersion": OperationShape(
        name="GetPolicyVersion",
        request=GetPolicyVersionRequest,
        response=GetPolicyVersionResponse,
        exceptions=("NoSuchEntity", "InvalidInput", "ServiceFailure"),
    ),
    "GetRole": OperationShape(
        name="GetRole", request=GetRoleRequest, response=GetRoleResponse, exceptions=("NoSuchEntity", "ServiceFailure")
    ),
    "GetRolePolicy": OperationShape(
        name="GetRolePolicy",
        request=GetRolePolicyRequest,
        response=GetRolePolicyResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "GetUser": OperationShape(
        name="GetUser", request=GetUserRequest, response=GetUserResponse, exceptions=("NoSuchEntity", "ServiceFailure")
    ),
    "GetUserPolicy": OperationShape(
        name="GetUserPolicy",
        request=GetUserPolicyRequest,
        response=GetUserPolicyResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListAccessKeys": OperationShape(
        name="ListAccessKeys",
        request=ListAccessKeysRequest,
        response=ListAccessKeysResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListAccountAliases": OperationShape(
        name="ListAccountAliases",
        request=ListAccountAliasesRequest,
        response=ListAccountAliasesResponse,
        exceptions=("ServiceFailure",),
    ),
    "ListAttachedGroupPolicies": OperationShape(
        name="ListAttachedGroupPolicies",
        request=ListAttachedGroupPoliciesRequest,
        response=ListAttachedGroupPoliciesResponse,
        exceptions=("NoSuchEntity", "InvalidInput", "ServiceFailure"),
    ),
    "ListAttachedRolePolicies": OperationShape(
        name="ListAttachedRolePolicies",
        request=ListAttachedRolePoliciesRequest,
        response=ListAttachedRolePoliciesResponse,
        exceptions=("NoSuchEntity", "InvalidInput", "ServiceFailure"),
    ),
    "ListAttachedUserPolicies": OperationShape(
        name="ListAttachedUserPolicies",
        request=ListAttachedUserPoliciesRequest,
        response=ListAttachedUserPoliciesResponse,
        exceptions=("NoSuchEntity", "InvalidInput", "ServiceFailure"),
    ),
    "ListEntitiesForPolicy": OperationShape(
        name="ListEntitiesForPolicy",
        request=ListEntitiesForPolicyRequest,
        response=ListEntitiesForPolicyResponse,
        exceptions=("NoSuchEntity", "InvalidInput", "ServiceFailure"),
    ),
    "ListGroupPolicies": OperationShape(
        name="ListGroupPolicies",
        request=ListGroupPoliciesRequest,
        response=ListGroupPoliciesResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListGroups": OperationShape(
        name="ListGroups", request=ListGroupsRequest, response=ListGroupsResponse, exceptions=("ServiceFailure",)
    ),
    "ListGroupsForUser": OperationShape(
        name="ListGroupsForUser",
        request=ListGroupsForUserRequest,
        response=ListGroupsForUserResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListInstanceProfilesForRole": OperationShape(
        name="ListInstanceProfilesForRole",
        request=ListInstanceProfilesForRoleRequest,
        response=ListInstanceProfilesForRoleResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListMFADevices": OperationShape(
        name="ListMFADevices",
        request=ListMFADevicesRequest,
        response=ListMFADevicesResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListPolicies": OperationShape(
        name="ListPolicies", request=ListPoliciesRequest, response=ListPoliciesResponse, exceptions=("ServiceFailure",)
    ),
    "ListPolicyTags": OperationShape(
        name="ListPolicyTags",
        request=ListPolicyTagsRequest,
        response=ListPolicyTagsResponse,
        exceptions=("NoSuchEntity", "ServiceFailure", "InvalidInput"),
    ),
    "ListPolicyVersions": OperationShape(
        name="ListPolicyVersions",
        request=ListPolicyVersionsRequest,
        response=ListPolicyVersionsResponse,
        exceptions=("NoSuchEntity", "InvalidInput", "ServiceFailure"),
    ),
    "ListRolePolicies": OperationShape(
        name="ListRolePolicies",
        request=ListRolePoliciesRequest,
        response=ListRolePoliciesResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListRoleTags": OperationShape(
        name="ListRoleTags",
        request=ListRoleTagsRequest,
        response=ListRoleTagsResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListRoles": OperationShape(
        name="ListRoles", request=ListRolesRequest, response=ListRolesResponse, exceptions=("ServiceFailure",)
    ),
    "ListSSHPublicKeys": OperationShape(
        name="ListSSHPublicKeys",
        request=ListSSHPublicKeysRequest,
        response=ListSSHPublicKeysResponse,
        exceptions=("NoSuchEntity",),
    ),
    "ListServiceSpecificCredentials": OperationShape(
        name="ListServiceSpecificCredentials",
        request=ListServiceSpecificCredentialsRequest,
        response=ListServiceSpecificCredentialsResponse,
        exceptions=("NoSuchEntity", "NotSupportedService"),
    ),
    "ListSigningCertificates": OperationShape(
        name="ListSigningCertificates",
        request=ListSigningCertificatesRequest,
        response=ListSigningCertificatesResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListUserPolicies": OperationShape(
        name="ListUserPolicies",
        request=ListUserPoliciesRequest,
        response=ListUserPoliciesResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListUserTags": OperationShape(
        name="ListUserTags",
        request=ListUserTagsRequest,
        response=ListUserTagsResponse,
        exceptions=("NoSuchEntity", "ServiceFailure"),
    ),
    "ListUsers": OperationShape(
        name="ListUsers", request=ListUsersRequest, response=ListUsersResponse, exceptions=("ServiceFailure",)
    ),
    "ListVirtualMFADevices": OperationShape(
        name="ListVirtualMFADevices",
        request=ListVirtualMFADevicesRequest,
        response=ListVirtualMFADevicesResponse,
        exceptions=(),
    ),
    "PutGroupPolicy": OperationShape(
        name="PutGroupPolicy",
        request=PutGroupPolicyRequest,
        response=None,
        exceptions=("LimitExceeded", "MalformedPolicyDocument", "NoSuchEntity", "ServiceFailure"),
    ),
    "PutRolePermissionsBoundary": OperationShape(
        name="PutRolePermissionsBoundary",
        request=PutRolePermissionsBoundaryRequest,
        response=None,
        exceptions=("NoSuchEntity", "InvalidInput", "UnmodifiableEntity", "PolicyNotAttachable", "ServiceFailure"),
    ),
    "PutRolePolicy": OperationShape(
        name="PutRolePolicy",
        request=PutRolePolicyRequest,
        response=None,
        exceptions=("LimitExceeded", "MalformedPolicyDocument", "NoSuchEntity", "UnmodifiableEntity", "ServiceFailure"),
    ),
    "PutUserPermissionsBoundary": OperationShape(
        name="PutUserPermissionsBoundary",
        request=PutUserPermissionsBoundaryRequest,
        response=None,
        exceptions=("NoSuchEntity", "InvalidInput", "PolicyNotAttachable", "ServiceFailure"),
    ),
    "PutUserPolicy": OperationShape(
        name="PutUserPolicy",
        request=PutUserPolicyRequest,
        response=None,
        exceptions=("LimitExceeded", "MalformedPolicyDocument", "NoSuchEntity", "ServiceFailure"),
    ),
    "RemoveUserFromGroup": OperationShape(
        name="RemoveUserFromGroup",
        request=RemoveUserFromGroupRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "ServiceFailure"),
    ),
    "SetDefaultPolicyVersion": OperationShape(
        name="SetDefaultPolicyVersion",
        request=SetDefaultPolicyVersionRequest,
        response=None,
        exceptions=("NoSuchEntity", "InvalidInput", "LimitExceeded", "ServiceFailure"),
    ),
    "TagPolicy": OperationShape(
        name="TagPolicy",
        request=TagPolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "ConcurrentModification", "ServiceFailure"),
    ),
    "TagRole": OperationShape(
        name="TagRole",
        request=TagRoleRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "ConcurrentModification", "ServiceFailure"),
    ),
    "TagUser": OperationShape(
        name="TagUser",
        request=TagUserRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "InvalidInput", "ConcurrentModification", "ServiceFailure"),
    ),
    "UntagPolicy": OperationShape(
        name="UntagPolicy",
        request=UntagPolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "InvalidInput", "ConcurrentModification", "ServiceFailure"),
    ),
    "UntagRole": OperationShape(
        name="UntagRole",
        request=UntagRoleRequest,
        response=None,
        exceptions=("NoSuchEntity", "ConcurrentModification", "ServiceFailure"),
    ),
    "UntagUser": OperationShape(
        name="UntagUser",
        request=UntagUserRequest,
        response=None,
        exceptions=("NoSuchEntity", "ConcurrentModification", "ServiceFailure"),
    ),
    "UpdateAccessKey": OperationShape(
        name="UpdateAccessKey",
        request=UpdateAccessKeyRequest,
        response=None,
        exceptions=("NoSuchEntity", "LimitExceeded", "ServiceFailure", "InvalidInput"),
    ),
    "UpdateAssumeRolePolicy": OperationShape(
        name="UpdateAssumeRolePolicy",
        request=UpdateAssumeRolePolicyRequest,
        response=None,
        exceptions=("NoSuchEntity", "MalformedPolicyDocument", "LimitExceeded", "UnmodifiableEntity", "ServiceFailure"),
    ),
    "UpdateGroup": OperationShape(
        name="UpdateGroup",
        request=UpdateGroupRequest,
        response=None,
        exceptions=("NoSuchEntity", "EntityAlreadyExists", "LimitExceeded", "ServiceFailure"),
    ),
    "UpdateRole": OperationShape(
        name="UpdateRole",
        request=UpdateRoleRequest,
        response=UpdateRoleResponse,
        exceptions=("UnmodifiableEntity", "NoSuchEntity", "ServiceFailure"),
    ),
    "UpdateRoleDescription": OperationShape(
        name="UpdateRoleDescription",
        request=UpdateRoleDescriptionRequest,
        response=UpdateRoleDescriptionResponse,
        exceptions=("NoSuchEntity", "UnmodifiableEntity", "ServiceFailure"),
    ),
    "UpdateUser": OperationShape(
        name="UpdateUser",
        request=UpdateUserRequest,
        response=None,
        exceptions=(
            "NoSuchEntity",
            "LimitExceeded",
            "EntityAlreadyExists",
            "EntityTemporarilyUnmodifiable",
            "ConcurrentModification",
            "ServiceFailure",
        ),
    ),
}
ERRORS: Final[dict[str, int]] = {
    "ConcurrentModification": 409,
    "DeleteConflict": 409,
    "EntityAlreadyExists": 409,
    "EntityTemporarilyUnmodifiable": 409,
    "InvalidInput": 400,
    "LimitExceeded": 409,
    "MalformedPolicyDocument": 400,
    "NoSuchEntity": 404,
    "PolicyNotAttachable": 400,
    "ServiceFailure": 500,
    "NotSupportedService": 404,
    "UnmodifiableEntity": 400,
}
