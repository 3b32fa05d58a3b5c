"""The requests and responses of AWS KMS as frozen `msgspec.Struct`s. Generated: never edit this file.

By `scripts/generate_shapes.py`, from the `kms` model (API version 2014-11-01) of botocore 1.44.5.

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

API_VERSION: Final = "2014-11-01"

AWSAccountIdTypeShape: TypeAlias = str
AccountIdTypeShape: TypeAlias = Annotated[str, Meta(min_length=12, max_length=12, pattern="(?a)^(?:[0-9]{12})\\Z")]
AlgorithmSpecShape: TypeAlias = Literal[
    "RSAES_PKCS1_V1_5",
    "RSAES_OAEP_SHA_1",
    "RSAES_OAEP_SHA_256",
    "RSA_AES_KEY_WRAP_SHA_1",
    "RSA_AES_KEY_WRAP_SHA_256",
    "SM2PKE",
]
AliasNameTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=256, pattern="(?a)^(?:^[a-zA-Z0-9:/_-]+$)\\Z")
]
ArnTypeShape: TypeAlias = Annotated[str, Meta(min_length=20, max_length=2048)]
AttestationDocumentTypeShape: TypeAlias = Annotated[bytes, Meta(min_length=1, max_length=262144)]
BackingKeyIdResponseTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=0, max_length=64, pattern="(?a)^(?:^[a-f0-9]+$)\\Z")
]
BackingKeyIdTypeShape: TypeAlias = Annotated[str, Meta(min_length=64, max_length=64, pattern="(?a)^(?:^[a-f0-9]+$)\\Z")]
BooleanTypeShape: TypeAlias = bool
CiphertextTypeShape: TypeAlias = Annotated[bytes, Meta(min_length=1, max_length=6144)]
CloudHsmClusterIdTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=19, max_length=24, pattern="(?a)^(?:cluster-[2-7a-zA-Z]{11,16})\\Z")
]
CloudTrailEventIdTypeShape: TypeAlias = str
ConnectionErrorCodeTypeShape: TypeAlias = Literal[
    "INVALID_CREDENTIALS",
    "CLUSTER_NOT_FOUND",
    "NETWORK_ERRORS",
    "INTERNAL_ERROR",
    "INSUFFICIENT_CLOUDHSM_HSMS",
    "USER_LOCKED_OUT",
    "USER_NOT_FOUND",
    "USER_LOGGED_IN",
    "SUBNET_NOT_FOUND",
    "INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET",
    "XKS_PROXY_ACCESS_DENIED",
    "XKS_PROXY_NOT_REACHABLE",
    "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND",
    "XKS_PROXY_INVALID_RESPONSE",
    "XKS_PROXY_INVALID_CONFIGURATION",
    "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION",
    "XKS_PROXY_TIMED_OUT",
    "XKS_PROXY_INVALID_TLS_CONFIGURATION",
]
ConnectionStateTypeShape: TypeAlias = Literal["CONNECTED", "CONNECTING", "FAILED", "DISCONNECTED", "DISCONNECTING"]
CustomKeyStoreIdTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]
CustomKeyStoreNameTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
CustomKeyStoreTypeShape: TypeAlias = Literal["AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"]
CustomerMasterKeySpecShape: TypeAlias = Literal[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "SYMMETRIC_DEFAULT",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
]
DataKeyPairSpecShape: TypeAlias = Literal[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "SM2",
    "ECC_NIST_EDWARDS25519",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
]
DataKeySpecShape: TypeAlias = Literal["AES_256", "AES_128"]
DateTypeShape: TypeAlias = float
DescriptionTypeShape: TypeAlias = Annotated[str, Meta(min_length=0, max_length=8192)]
DryRunModifierTypeShape: TypeAlias = Literal["IGNORE_CIPHERTEXT"]
EncapsulationAlgorithmSpecShape: TypeAlias = Literal["ML_KEM"]
EncryptionAlgorithmSpecShape: TypeAlias = Literal[
    "SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"
]
EncryptionContextKeyShape: TypeAlias = str
EncryptionContextValueShape: TypeAlias = str
ErrorMessageTypeShape: TypeAlias = str
ExpirationModelTypeShape: TypeAlias = Literal["KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"]
GrantConstraintSourceArnTypeShape: TypeAlias = Annotated[
    str,
    Meta(min_length=20, max_length=512, pattern="(?a)^(?:^arn:aws[a-z0-9-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]{12}:.+$)\\Z"),
]
GrantIdTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
GrantNameTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=256, pattern="(?a)^(?:^[a-zA-Z0-9:/_-]+$)\\Z")
]
GrantOperationShape: TypeAlias = Literal[
    "Decrypt",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "GetPublicKey",
    "CreateGrant",
    "RetireGrant",
    "DescribeKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateMac",
    "VerifyMac",
    "DeriveSharedSecret",
    "Encapsulate",
    "Decapsulate",
]
GrantTokenTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=8192, extra={"sensitive": True})]
ImportStateShape: TypeAlias = Literal["IMPORTED", "PENDING_IMPORT"]
ImportTypeShape: TypeAlias = Literal["NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"]
IncludeKeyMaterialShape: TypeAlias = Literal["ALL_KEY_MATERIAL", "ROTATIONS_ONLY"]
KeyAgreementAlgorithmSpecShape: TypeAlias = Literal["ECDH"]
KeyEncryptionMechanismShape: TypeAlias = Literal["RSAES_OAEP_SHA_256"]
KeyIdTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2048)]
KeyLastUsageTrackingOperationShape: TypeAlias = Literal[
    "Decrypt",
    "DeriveSharedSecret",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "ReEncrypt",
    "Sign",
    "Verify",
    "VerifyMac",
    "Encapsulate",
    "Decapsulate",
]
KeyManagerTypeShape: TypeAlias = Literal["AWS", "CUSTOMER"]
KeyMaterialDescriptionTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=0, max_length=256, pattern="(?a)^(?:^[a-zA-Z0-9:/_\\s.-]+$)\\Z")
]
KeyMaterialStateShape: TypeAlias = Literal[
    "NON_CURRENT", "CURRENT", "PENDING_ROTATION", "PENDING_MULTI_REGION_IMPORT_AND_ROTATION"
]
KeySpecShape: TypeAlias = Literal[
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    "SYMMETRIC_DEFAULT",
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "ECC_NIST_EDWARDS25519",
    "ML_KEM_512",
    "ML_KEM_768",
    "ML_KEM_1024",
]
KeyStateShape: TypeAlias = Literal[
    "Creating",
    "Enabled",
    "Disabled",
    "PendingDeletion",
    "PendingImport",
    "PendingReplicaDeletion",
    "Unavailable",
    "Updating",
]
KeyStorePasswordTypeShape: TypeAlias = Annotated[str, Meta(min_length=7, max_length=32, extra={"sensitive": True})]
KeyUsageTypeShape: TypeAlias = Literal[
    "SIGN_VERIFY", "ENCRYPT_DECRYPT", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT", "ENCAPSULATE_DECAPSULATE"
]
KmsRequestIdTypeShape: TypeAlias = str
LimitTypeShape: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]
MacAlgorithmSpecShape: TypeAlias = Literal["HMAC_SHA_224", "HMAC_SHA_256", "HMAC_SHA_384", "HMAC_SHA_512"]
MarkerTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=1024, pattern="(?a)^(?:[\\u0020-\\u00FF]*)\\Z")
]
MessageTypeShape: TypeAlias = Literal["RAW", "DIGEST", "EXTERNAL_MU"]
MultiRegionKeyTypeShape: TypeAlias = Literal["PRIMARY", "REPLICA"]
NullableBooleanTypeShape: TypeAlias = bool
NumberOfBytesTypeShape: TypeAlias = Annotated[int, Meta(ge=1, le=1024)]
OriginTypeShape: TypeAlias = Literal["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"]
PendingWindowInDaysTypeShape: TypeAlias = Annotated[int, Meta(ge=1, le=365)]
PlaintextTypeShape: TypeAlias = Annotated[bytes, Meta(min_length=1, max_length=4096, extra={"sensitive": True})]
PolicyNameTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128, pattern="(?a)^(?:[\\w]+)\\Z")]
PolicyTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=131072, pattern="(?a)^(?:[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+)\\Z")
]
PrincipalIdTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=256, pattern="(?a)^(?:^[\\w+=,.@:/-]+$)\\Z")
]
PublicKeyTypeShape: TypeAlias = Annotated[bytes, Meta(min_length=1, max_length=8192)]
RegionTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=32, pattern="(?a)^(?:^([a-z]+-){2,3}\\d+$)\\Z")
]
ResourceOwnerTypeShape: TypeAlias = Literal["SELF", "OTHER_ACCOUNTS_VIA_RAM"]
RotationPeriodInDaysTypeShape: TypeAlias = Annotated[int, Meta(ge=90, le=2560)]
RotationTypeShape: TypeAlias = Literal["AUTOMATIC", "ON_DEMAND"]
ServicePrincipalTypeShape: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1, max_length=128, pattern="(?a)^(?:^([A-Za-z0-9\\-]+)\\.([A-Za-z0-9\\-]+)(\\.[A-Za-z0-9\\-]+)+$)\\Z"
    ),
]
SigningAlgorithmSpecShape: TypeAlias = Literal[
    "RSASSA_PSS_SHA_256",
    "RSASSA_PSS_SHA_384",
    "RSASSA_PSS_SHA_512",
    "RSASSA_PKCS1_V1_5_SHA_256",
    "RSASSA_PKCS1_V1_5_SHA_384",
    "RSASSA_PKCS1_V1_5_SHA_512",
    "ECDSA_SHA_256",
    "ECDSA_SHA_384",
    "ECDSA_SHA_512",
    "SM2DSA",
    "ML_DSA_SHAKE_256",
    "ED25519_SHA_512",
    "ED25519_PH_SHA_512",
]
TagKeyTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
TagValueTypeShape: TypeAlias = Annotated[str, Meta(min_length=0, max_length=256)]
TrustAnchorCertificateTypeShape: TypeAlias = Annotated[str, Meta(min_length=1, max_length=5000)]
WrappingKeySpecShape: TypeAlias = Literal["RSA_2048", "RSA_3072", "RSA_4096", "SM2"]
XksKeyIdTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=128, pattern="(?a)^(?:^[a-zA-Z0-9-_.]+$)\\Z")
]
XksProxyAuthenticationAccessKeyIdTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=20, max_length=30, pattern="(?a)^(?:^[A-Z2-7]+$)\\Z", extra={"sensitive": True})
]
XksProxyAuthenticationRawSecretAccessKeyTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=43, max_length=64, pattern="(?a)^(?:^[a-zA-Z0-9\\/+=]+$)\\Z", extra={"sensitive": True})
]
XksProxyConnectivityTypeShape: TypeAlias = Literal["PUBLIC_ENDPOINT", "VPC_ENDPOINT_SERVICE"]
XksProxyUriEndpointTypeShape: TypeAlias = Annotated[
    str, Meta(min_length=10, max_length=128, pattern="(?a)^(?:^https://[a-zA-Z0-9.-]+$)\\Z")
]
XksProxyUriPathTypeShape: TypeAlias = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=128,
        pattern="(?a)^(?:^(/[a-zA-Z0-9\\/_-]+/kms/xks/v\\d{1,2})$|^(/kms/xks/v\\d{1,2})$)\\Z",
    ),
]
XksProxyVpcEndpointServiceNameTypeShape: TypeAlias = Annotated[
    str,
    Meta(
        min_length=20,
        max_length=64,
        pattern="(?a)^(?:^(com|eu)\\.amazonaws\\.vpce\\.([a-z]+-){2,3}\\d+\\.vpce-svc-[0-9a-z]+$)\\Z",
    ),
]


class AliasListEntry(Shape, frozen=True, kw_only=True):
    AliasName: AliasNameTypeShape | None = None
    AliasArn: ArnTypeShape | None = None
    TargetKeyId: KeyIdTypeShape | None = None
    CreationDate: DateTypeShape | None = None
    LastUpdatedDate: DateTypeShape | None = None


AliasListShape: TypeAlias = list[AliasListEntry]


class CancelKeyDeletionRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape


class CancelKeyDeletionResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None


class ConnectCustomKeyStoreRequest(Shape, frozen=True, kw_only=True):
    CustomKeyStoreId: CustomKeyStoreIdTypeShape


class ConnectCustomKeyStoreResponse(Shape, frozen=True, kw_only=True):
    pass


class CreateAliasRequest(Shape, frozen=True, kw_only=True):
    AliasName: AliasNameTypeShape
    TargetKeyId: KeyIdTypeShape


class XksProxyAuthenticationCredentialType(Shape, frozen=True, kw_only=True):
    AccessKeyId: XksProxyAuthenticationAccessKeyIdTypeShape
    RawSecretAccessKey: XksProxyAuthenticationRawSecretAccessKeyTypeShape


class CreateCustomKeyStoreRequest(Shape, frozen=True, kw_only=True):
    CustomKeyStoreName: CustomKeyStoreNameTypeShape
    CloudHsmClusterId: CloudHsmClusterIdTypeShape | None = None
    TrustAnchorCertificate: TrustAnchorCertificateTypeShape | None = None
    KeyStorePassword: KeyStorePasswordTypeShape | None = None
    CustomKeyStoreType: CustomKeyStoreTypeShape | None = None
    XksProxyUriEndpoint: XksProxyUriEndpointTypeShape | None = None
    XksProxyUriPath: XksProxyUriPathTypeShape | None = None
    XksProxyVpcEndpointServiceName: XksProxyVpcEndpointServiceNameTypeShape | None = None
    XksProxyVpcEndpointServiceOwner: AccountIdTypeShape | None = None
    XksProxyAuthenticationCredential: XksProxyAuthenticationCredentialType | None = None
    XksProxyConnectivity: XksProxyConnectivityTypeShape | None = None


class CreateCustomKeyStoreResponse(Shape, frozen=True, kw_only=True):
    CustomKeyStoreId: CustomKeyStoreIdTypeShape | None = None


GrantOperationListShape: TypeAlias = list[GrantOperationShape]
EncryptionContextTypeShape: TypeAlias = dict[EncryptionContextKeyShape, EncryptionContextValueShape]


class GrantConstraints(Shape, frozen=True, kw_only=True):
    EncryptionContextSubset: EncryptionContextTypeShape | None = None
    EncryptionContextEquals: EncryptionContextTypeShape | None = None
    SourceArn: GrantConstraintSourceArnTypeShape | None = None


GrantTokenListShape: TypeAlias = Annotated[list[GrantTokenTypeShape], Meta(min_length=0, max_length=10)]


class CreateGrantRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    GranteePrincipal: PrincipalIdTypeShape | None = None
    RetiringPrincipal: PrincipalIdTypeShape | None = None
    Operations: GrantOperationListShape
    Constraints: GrantConstraints | None = None
    GrantTokens: GrantTokenListShape | None = None
    Name: GrantNameTypeShape | None = None
    DryRun: NullableBooleanTypeShape | None = None
    GranteeServicePrincipal: ServicePrincipalTypeShape | None = None
    RetiringServicePrincipal: ServicePrincipalTypeShape | None = None


class CreateGrantResponse(Shape, frozen=True, kw_only=True):
    GrantToken: GrantTokenTypeShape | None = None
    GrantId: GrantIdTypeShape | None = None


class Tag(Shape, frozen=True, kw_only=True):
    TagKey: TagKeyTypeShape
    TagValue: TagValueTypeShape


TagListShape: TypeAlias = list[Tag]


class CreateKeyRequest(Shape, frozen=True, kw_only=True):
    Policy: PolicyTypeShape | None = None
    Description: DescriptionTypeShape | None = None
    KeyUsage: KeyUsageTypeShape | None = None
    CustomerMasterKeySpec: CustomerMasterKeySpecShape | None = None
    KeySpec: KeySpecShape | None = None
    Origin: OriginTypeShape | None = None
    CustomKeyStoreId: CustomKeyStoreIdTypeShape | None = None
    BypassPolicyLockoutSafetyCheck: BooleanTypeShape | None = None
    Tags: TagListShape | None = None
    MultiRegion: NullableBooleanTypeShape | None = None
    XksKeyId: XksKeyIdTypeShape | None = None


EncryptionAlgorithmSpecListShape: TypeAlias = list[EncryptionAlgorithmSpecShape]
SigningAlgorithmSpecListShape: TypeAlias = list[SigningAlgorithmSpecShape]
KeyAgreementAlgorithmSpecListShape: TypeAlias = list[KeyAgreementAlgorithmSpecShape]
EncapsulationAlgorithmSpecListShape: TypeAlias = list[EncapsulationAlgorithmSpecShape]


class MultiRegionKey(Shape, frozen=True, kw_only=True):
    Arn: ArnTypeShape | None = None
    Region: RegionTypeShape | None = None


MultiRegionKeyListShape: TypeAlias = list[MultiRegionKey]


class MultiRegionConfiguration(Shape, frozen=True, kw_only=True):
    MultiRegionKeyType: MultiRegionKeyTypeShape | None = None
    PrimaryKey: MultiRegionKey | None = None
    ReplicaKeys: MultiRegionKeyListShape | None = None


MultiRegionConfigurationShape: TypeAlias = MultiRegionConfiguration
MacAlgorithmSpecListShape: TypeAlias = list[MacAlgorithmSpecShape]


class XksKeyConfigurationType(Shape, frozen=True, kw_only=True):
    Id: XksKeyIdTypeShape | None = None


class KeyMetadata(Shape, frozen=True, kw_only=True):
    AWSAccountId: AWSAccountIdTypeShape | None = None
    KeyId: KeyIdTypeShape
    Arn: ArnTypeShape | None = None
    CreationDate: DateTypeShape | None = None
    Enabled: BooleanTypeShape | None = None
    Description: DescriptionTypeShape | None = None
    KeyUsage: KeyUsageTypeShape | None = None
    KeyState: KeyStateShape | None = None
    DeletionDate: DateTypeShape | None = None
    ValidTo: DateTypeShape | None = None
    Origin: OriginTypeShape | None = None
    CustomKeyStoreId: CustomKeyStoreIdTypeShape | None = None
    CloudHsmClusterId: CloudHsmClusterIdTypeShape | None = None
    ExpirationModel: ExpirationModelTypeShape | None = None
    KeyManager: KeyManagerTypeShape | None = None
    CustomerMasterKeySpec: CustomerMasterKeySpecShape | None = None
    KeySpec: KeySpecShape | None = None
    EncryptionAlgorithms: EncryptionAlgorithmSpecListShape | None = None
    SigningAlgorithms: SigningAlgorithmSpecListShape | None = None
    KeyAgreementAlgorithms: KeyAgreementAlgorithmSpecListShape | None = None
    EncapsulationAlgorithms: EncapsulationAlgorithmSpecListShape | None = None
    MultiRegion: NullableBooleanTypeShape | None = None
    MultiRegionConfiguration: MultiRegionConfigurationShape | None = None
    PendingDeletionWindowInDays: PendingWindowInDaysTypeShape | None = None
    MacAlgorithms: MacAlgorithmSpecListShape | None = None
    XksKeyConfiguration: XksKeyConfigurationType | None = None
    CurrentKeyMaterialId: BackingKeyIdTypeShape | None = None


KeyMetadataShape: TypeAlias = KeyMetadata


class CreateKeyResponse(Shape, frozen=True, kw_only=True):
    KeyMetadata: KeyMetadataShape | None = None


class XksProxyConfigurationType(Shape, frozen=True, kw_only=True):
    Connectivity: XksProxyConnectivityTypeShape | None = None
    AccessKeyId: XksProxyAuthenticationAccessKeyIdTypeShape | None = None
    UriEndpoint: XksProxyUriEndpointTypeShape | None = None
    UriPath: XksProxyUriPathTypeShape | None = None
    VpcEndpointServiceName: XksProxyVpcEndpointServiceNameTypeShape | None = None
    VpcEndpointServiceOwner: AccountIdTypeShape | None = None


class CustomKeyStoresListEntry(Shape, frozen=True, kw_only=True):
    CustomKeyStoreId: CustomKeyStoreIdTypeShape | None = None
    CustomKeyStoreName: CustomKeyStoreNameTypeShape | None = None
    CloudHsmClusterId: CloudHsmClusterIdTypeShape | None = None
    TrustAnchorCertificate: TrustAnchorCertificateTypeShape | None = None
    ConnectionState: ConnectionStateTypeShape | None = None
    ConnectionErrorCode: ConnectionErrorCodeTypeShape | None = None
    CreationDate: DateTypeShape | None = None
    CustomKeyStoreType: CustomKeyStoreTypeShape | None = None
    XksProxyConfiguration: XksProxyConfigurationType | None = None


CustomKeyStoresListShape: TypeAlias = list[CustomKeyStoresListEntry]


class DecapsulateRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    SharedSecretCiphertextBlob: CiphertextTypeShape
    EncapsulationAlgorithm: EncapsulationAlgorithmSpecShape
    GrantTokens: GrantTokenListShape | None = None
    DryRun: NullableBooleanTypeShape | None = None


class DecapsulateResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    SharedSecret: PlaintextTypeShape | None = None
    EncapsulationAlgorithm: EncapsulationAlgorithmSpecShape | None = None


class RecipientInfo(Shape, frozen=True, kw_only=True):
    KeyEncryptionAlgorithm: KeyEncryptionMechanismShape | None = None
    AttestationDocument: AttestationDocumentTypeShape | None = None


DryRunModifierListShape: TypeAlias = list[DryRunModifierTypeShape]


class DecryptRequest(Shape, frozen=True, kw_only=True):
    CiphertextBlob: CiphertextTypeShape | None = None
    EncryptionContext: EncryptionContextTypeShape | None = None
    GrantTokens: GrantTokenListShape | None = None
    KeyId: KeyIdTypeShape | None = None
    EncryptionAlgorithm: EncryptionAlgorithmSpecShape | None = None
    Recipient: RecipientInfo | None = None
    DryRun: NullableBooleanTypeShape | None = None
    DryRunModifiers: DryRunModifierListShape | None = None


class DecryptResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    Plaintext: PlaintextTypeShape | None = None
    EncryptionAlgorithm: EncryptionAlgorithmSpecShape | None = None
    CiphertextForRecipient: CiphertextTypeShape | None = None
    KeyMaterialId: BackingKeyIdTypeShape | None = None


class DeleteAliasRequest(Shape, frozen=True, kw_only=True):
    AliasName: AliasNameTypeShape


class DeleteCustomKeyStoreRequest(Shape, frozen=True, kw_only=True):
    CustomKeyStoreId: CustomKeyStoreIdTypeShape


class DeleteCustomKeyStoreResponse(Shape, frozen=True, kw_only=True):
    pass


class DeleteImportedKeyMaterialRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    KeyMaterialId: BackingKeyIdTypeShape | None = None


class DeleteImportedKeyMaterialResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    KeyMaterialId: BackingKeyIdResponseTypeShape | None = None


class DeriveSharedSecretRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    KeyAgreementAlgorithm: KeyAgreementAlgorithmSpecShape
    PublicKey: PublicKeyTypeShape
    GrantTokens: GrantTokenListShape | None = None
    DryRun: NullableBooleanTypeShape | None = None
    Recipient: RecipientInfo | None = None


class DeriveSharedSecretResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    SharedSecret: PlaintextTypeShape | None = None
    CiphertextForRecipient: CiphertextTypeShape | None = None
    KeyAgreementAlgorithm: KeyAgreementAlgorithmSpecShape | None = None
    KeyOrigin: OriginTypeShape | None = None


class DescribeCustomKeyStoresRequest(Shape, frozen=True, kw_only=True):
    CustomKeyStoreId: CustomKeyStoreIdTypeShape | None = None
    CustomKeyStoreName: CustomKeyStoreNameTypeShape | None = None
    Limit: LimitTypeShape | None = None
    Marker: MarkerTypeShape | None = None


class DescribeCustomKeyStoresResponse(Shape, frozen=True, kw_only=True):
    CustomKeyStores: CustomKeyStoresListShape | None = None
    NextMarker: MarkerTypeShape | None = None
    Truncated: BooleanTypeShape | None = None


class DescribeKeyRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    GrantTokens: GrantTokenListShape | None = None


class DescribeKeyResponse(Shape, frozen=True, kw_only=True):
    KeyMetadata: KeyMetadataShape | None = None


class DisableKeyRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape


class DisableKeyRotationRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape


class DisconnectCustomKeyStoreRequest(Shape, frozen=True, kw_only=True):
    CustomKeyStoreId: CustomKeyStoreIdTypeShape


class DisconnectCustomKeyStoreResponse(Shape, frozen=True, kw_only=True):
    pass


class EnableKeyRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape


class EnableKeyRotationRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    RotationPeriodInDays: RotationPeriodInDaysTypeShape | None = None


class EncapsulateRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    EncapsulationAlgorithm: EncapsulationAlgorithmSpecShape
    GrantTokens: GrantTokenListShape | None = None
    DryRun: NullableBooleanTypeShape | None = None


class EncapsulateResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    SharedSecret: PlaintextTypeShape | None = None
    SharedSecretCiphertextBlob: CiphertextTypeShape | None = None
    EncapsulationAlgorithm: EncapsulationAlgorithmSpecShape | None = None


class EncryptRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    Plaintext: PlaintextTypeShape
    EncryptionContext: EncryptionContextTypeShape | None = None
    GrantTokens: GrantTokenListShape | None = None
    EncryptionAlgorithm: EncryptionAlgorithmSpecShape | None = None
    DryRun: NullableBooleanTypeShape | None = None


class EncryptResponse(Shape, frozen=True, kw_only=True):
    CiphertextBlob: CiphertextTypeShape | None = None
    KeyId: KeyIdTypeShape | None = None
    EncryptionAlgorithm: EncryptionAlgorithmSpecShape | None = None


class GenerateDataKeyPairRequest(Shape, frozen=True, kw_only=True):
    EncryptionContext: EncryptionContextTypeShape | None = None
    KeyId: KeyIdTypeShape
    KeyPairSpec: DataKeyPairSpecShape
    GrantTokens: GrantTokenListShape | None = None
    Recipient: RecipientInfo | None = None
    DryRun: NullableBooleanTypeShape | None = None


class GenerateDataKeyPairResponse(Shape, frozen=True, kw_only=True):
    PrivateKeyCiphertextBlob: CiphertextTypeShape | None = None
    PrivateKeyPlaintext: PlaintextTypeShape | None = None
    PublicKey: PublicKeyTypeShape | None = None
    KeyId: KeyIdTypeShape | None = None
    KeyPairSpec: DataKeyPairSpecShape | None = None
    CiphertextForRecipient: CiphertextTypeShape | None = None
    KeyMaterialId: BackingKeyIdTypeShape | None = None


class GenerateDataKeyPairWithoutPlaintextRequest(Shape, frozen=True, kw_only=True):
    EncryptionContext: EncryptionContextTypeShape | None = None
    KeyId: KeyIdTypeShape
    KeyPairSpec: DataKeyPairSpecShape
    GrantTokens: GrantTokenListShape | None = None
    DryRun: NullableBooleanTypeShape | None = None


class GenerateDataKeyPairWithoutPlaintextResponse(Shape, frozen=True, kw_only=True):
    PrivateKeyCiphertextBlob: CiphertextTypeShape | None = None
    PublicKey: PublicKeyTypeShape | None = None
    KeyId: KeyIdTypeShape | None = None
    KeyPairSpec: DataKeyPairSpecShape | None = None
    KeyMaterialId: BackingKeyIdTypeShape | None = None


class GenerateDataKeyRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    EncryptionContext: EncryptionContextTypeShape | None = None
    NumberOfBytes: NumberOfBytesTypeShape | None = None
    KeySpec: DataKeySpecShape | None = None
    GrantTokens: GrantTokenListShape | None = None
    Recipient: RecipientInfo | None = None
    DryRun: NullableBooleanTypeShape | None = None


class GenerateDataKeyResponse(Shape, frozen=True, kw_only=True):
    CiphertextBlob: CiphertextTypeShape | None = None
    Plaintext: PlaintextTypeShape | None = None
    KeyId: KeyIdTypeShape | None = None
    CiphertextForRecipient: CiphertextTypeShape | None = None
    KeyMaterialId: BackingKeyIdTypeShape | None = None


class GenerateDataKeyWithoutPlaintextRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    EncryptionContext: EncryptionContextTypeShape | None = None
    KeySpec: DataKeySpecShape | None = None
    NumberOfBytes: NumberOfBytesTypeShape | None = None
    GrantTokens: GrantTokenListShape | None = None
    DryRun: NullableBooleanTypeShape | None = None


class GenerateDataKeyWithoutPlaintextResponse(Shape, frozen=True, kw_only=True):
    CiphertextBlob: CiphertextTypeShape | None = None
    KeyId: KeyIdTypeShape | None = None
    KeyMaterialId: BackingKeyIdTypeShape | None = None


class GenerateMacRequest(Shape, frozen=True, kw_only=True):
    Message: PlaintextTypeShape
    KeyId: KeyIdTypeShape
    MacAlgorithm: MacAlgorithmSpecShape
    GrantTokens: GrantTokenListShape | None = None
    DryRun: NullableBooleanTypeShape | None = None


class GenerateMacResponse(Shape, frozen=True, kw_only=True):
    Mac: CiphertextTypeShape | None = None
    MacAlgorithm: MacAlgorithmSpecShape | None = None
    KeyId: KeyIdTypeShape | None = None


class GenerateRandomRequest(Shape, frozen=True, kw_only=True):
    NumberOfBytes: NumberOfBytesTypeShape | None = None
    CustomKeyStoreId: CustomKeyStoreIdTypeShape | None = None
    Recipient: RecipientInfo | None = None


class GenerateRandomResponse(Shape, frozen=True, kw_only=True):
    Plaintext: PlaintextTypeShape | None = None
    CiphertextForRecipient: CiphertextTypeShape | None = None


class GetKeyLastUsageRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape


class KeyLastUsageData(Shape, frozen=True, kw_only=True):
    Operation: KeyLastUsageTrackingOperationShape | None = None
    Timestamp: DateTypeShape | None = None
    CloudTrailEventId: CloudTrailEventIdTypeShape | None = None
    KmsRequestId: KmsRequestIdTypeShape | None = None


class GetKeyLastUsageResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    KeyLastUsage: KeyLastUsageData | None = None
    TrackingStartDate: DateTypeShape | None = None
    KeyCreationDate: DateTypeShape | None = None


class GetKeyPolicyRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    PolicyName: PolicyNameTypeShape | None = None


class GetKeyPolicyResponse(Shape, frozen=True, kw_only=True):
    Policy: PolicyTypeShape | None = None
    PolicyName: PolicyNameTypeShape | None = None


class GetKeyRotationStatusRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape


class GetKeyRotationStatusResponse(Shape, frozen=True, kw_only=True):
    KeyRotationEnabled: BooleanTypeShape | None = None
    KeyId: KeyIdTypeShape | None = None
    RotationPeriodInDays: RotationPeriodInDaysTypeShape | None = None
    NextRotationDate: DateTypeShape | None = None
    OnDemandRotationStartDate: DateTypeShape | None = None


class GetParametersForImportRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    WrappingAlgorithm: AlgorithmSpecShape
    WrappingKeySpec: WrappingKeySpecShape


class GetParametersForImportResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    ImportToken: CiphertextTypeShape | None = None
    PublicKey: PlaintextTypeShape | None = None
    ParametersValidTo: DateTypeShape | None = None


class GetPublicKeyRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    GrantTokens: GrantTokenListShape | None = None


class GetPublicKeyResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    PublicKey: PublicKeyTypeShape | None = None
    CustomerMasterKeySpec: CustomerMasterKeySpecShape | None = None
    KeySpec: KeySpecShape | None = None
    KeyUsage: KeyUsageTypeShape | None = None
    EncryptionAlgorithms: EncryptionAlgorithmSpecListShape | None = None
    SigningAlgorithms: SigningAlgorithmSpecListShape | None = None
    KeyAgreementAlgorithms: KeyAgreementAlgorithmSpecListShape | None = None
    EncapsulationAlgorithms: EncapsulationAlgorithmSpecListShape | None = None


class GrantListEntry(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    GrantId: GrantIdTypeShape | None = None
    Name: GrantNameTypeShape | None = None
    CreationDate: DateTypeShape | None = None
    GranteePrincipal: PrincipalIdTypeShape | None = None
    RetiringPrincipal: PrincipalIdTypeShape | None = None
    IssuingAccount: PrincipalIdTypeShape | None = None
    Operations: GrantOperationListShape | None = None
    Constraints: GrantConstraints | None = None
    GranteeServicePrincipal: ServicePrincipalTypeShape | None = None
    RetiringServicePrincipal: ServicePrincipalTypeShape | None = None


GrantListShape: TypeAlias = list[GrantListEntry]


class ImportKeyMaterialRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    ImportToken: CiphertextTypeShape
    EncryptedKeyMaterial: CiphertextTypeShape
    ValidTo: DateTypeShape | None = None
    ExpirationModel: ExpirationModelTypeShape | None = None
    ImportType: ImportTypeShape | None = None
    KeyMaterialDescription: KeyMaterialDescriptionTypeShape | None = None
    KeyMaterialId: BackingKeyIdTypeShape | None = None


class ImportKeyMaterialResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    KeyMaterialId: BackingKeyIdTypeShape | None = None


class KeyListEntry(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    KeyArn: ArnTypeShape | None = None


KeyListShape: TypeAlias = list[KeyListEntry]


class ListAliasesRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    Limit: LimitTypeShape | None = None
    Marker: MarkerTypeShape | None = None


class ListAliasesResponse(Shape, frozen=True, kw_only=True):
    Aliases: AliasListShape | None = None
    NextMarker: MarkerTypeShape | None = None
    Truncated: BooleanTypeShape | None = None


class ListGrantsRequest(Shape, frozen=True, kw_only=True):
    Limit: LimitTypeShape | None = None
    Marker: MarkerTypeShape | None = None
    KeyId: KeyIdTypeShape
    GrantId: GrantIdTypeShape | None = None
    GranteePrincipal: PrincipalIdTypeShape | None = None
    GranteeServicePrincipal: ServicePrincipalTypeShape | None = None


class ListGrantsResponse(Shape, frozen=True, kw_only=True):
    Grants: GrantListShape | None = None
    NextMarker: MarkerTypeShape | None = None
    Truncated: BooleanTypeShape | None = None


class ListKeyPoliciesRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    Limit: LimitTypeShape | None = None
    Marker: MarkerTypeShape | None = None


PolicyNameListShape: TypeAlias = list[PolicyNameTypeShape]


class ListKeyPoliciesResponse(Shape, frozen=True, kw_only=True):
    PolicyNames: PolicyNameListShape | None = None
    NextMarker: MarkerTypeShape | None = None
    Truncated: BooleanTypeShape | None = None


class ListKeyRotationsRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    IncludeKeyMaterial: IncludeKeyMaterialShape | None = None
    Limit: LimitTypeShape | None = None
    Marker: MarkerTypeShape | None = None


class RotationsListEntry(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    KeyMaterialId: BackingKeyIdTypeShape | None = None
    KeyMaterialDescription: KeyMaterialDescriptionTypeShape | None = None
    ImportState: ImportStateShape | None = None
    KeyMaterialState: KeyMaterialStateShape | None = None
    ExpirationModel: ExpirationModelTypeShape | None = None
    ValidTo: DateTypeShape | None = None
    RotationDate: DateTypeShape | None = None
    RotationType: RotationTypeShape | None = None


RotationsListShape: TypeAlias = list[RotationsListEntry]


class ListKeyRotationsResponse(Shape, frozen=True, kw_only=True):
    Rotations: RotationsListShape | None = None
    NextMarker: MarkerTypeShape | None = None
    Truncated: BooleanTypeShape | None = None


ResourceOwnersListShape: TypeAlias = Annotated[list[ResourceOwnerTypeShape], Meta(min_length=1, max_length=2)]


class ListKeysRequest(Shape, frozen=True, kw_only=True):
    Limit: LimitTypeShape | None = None
    Marker: MarkerTypeShape | None = None
    ResourceOwners: ResourceOwnersListShape | None = None


class ListKeysResponse(Shape, frozen=True, kw_only=True):
    Keys: KeyListShape | None = None
    NextMarker: MarkerTypeShape | None = None
    Truncated: BooleanTypeShape | None = None


class ListResourceTagsRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    Limit: LimitTypeShape | None = None
    Marker: MarkerTypeShape | None = None


class ListResourceTagsResponse(Shape, frozen=True, kw_only=True):
    Tags: TagListShape | None = None
    NextMarker: MarkerTypeShape | None = None
    Truncated: BooleanTypeShape | None = None


class ListRetirableGrantsRequest(Shape, frozen=True, kw_only=True):
    Limit: LimitTypeShape | None = None
    Marker: MarkerTypeShape | None = None
    RetiringPrincipal: PrincipalIdTypeShape | None = None
    RetiringServicePrincipal: ServicePrincipalTypeShape | None = None


class PutKeyPolicyRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    PolicyName: PolicyNameTypeShape | None = None
    Policy: PolicyTypeShape
    BypassPolicyLockoutSafetyCheck: BooleanTypeShape | None = None


class ReEncryptRequest(Shape, frozen=True, kw_only=True):
    CiphertextBlob: CiphertextTypeShape | None = None
    SourceEncryptionContext: EncryptionContextTypeShape | None = None
    SourceKeyId: KeyIdTypeShape | None = None
    DestinationKeyId: KeyIdTypeShape
    DestinationEncryptionContext: EncryptionContextTypeShape | None = None
    SourceEncryptionAlgorithm: EncryptionAlgorithmSpecShape | None = None
    DestinationEncryptionAlgorithm: EncryptionAlgorithmSpecShape | None = None
    GrantTokens: GrantTokenListShape | None = None
    DryRun: NullableBooleanTypeShape | None = None
    DryRunModifiers: DryRunModifierListShape | None = None


class ReEncryptResponse(Shape, frozen=True, kw_only=True):
    CiphertextBlob: CiphertextTypeShape | None = None
    SourceKeyId: KeyIdTypeShape | None = None
    KeyId: KeyIdTypeShape | None = None
    SourceEncryptionAlgorithm: EncryptionAlgorithmSpecShape | None = None
    DestinationEncryptionAlgorithm: EncryptionAlgorithmSpecShape | None = None
    SourceKeyMaterialId: BackingKeyIdTypeShape | None = None
    DestinationKeyMaterialId: BackingKeyIdTypeShape | None = None


class ReplicateKeyRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    ReplicaRegion: RegionTypeShape
    Policy: PolicyTypeShape | None = None
    BypassPolicyLockoutSafetyCheck: BooleanTypeShape | None = None
    Description: DescriptionTypeShape | None = None
    Tags: TagListShape | None = None


class ReplicateKeyResponse(Shape, frozen=True, kw_only=True):
    ReplicaKeyMetadata: KeyMetadataShape | None = None
    ReplicaPolicy: PolicyTypeShape | None = None
    ReplicaTags: TagListShape | None = None


class RetireGrantRequest(Shape, frozen=True, kw_only=True):
    GrantToken: GrantTokenTypeShape | None = None
    KeyId: KeyIdTypeShape | None = None
    GrantId: GrantIdTypeShape | None = None
    DryRun: NullableBooleanTypeShape | None = None


class RevokeGrantRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    GrantId: GrantIdTypeShape
    DryRun: NullableBooleanTypeShape | None = None


class RotateKeyOnDemandRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape


class RotateKeyOnDemandResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None


class ScheduleKeyDeletionRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    PendingWindowInDays: PendingWindowInDaysTypeShape | None = None


class ScheduleKeyDeletionResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    DeletionDate: DateTypeShape | None = None
    KeyState: KeyStateShape | None = None
    PendingWindowInDays: PendingWindowInDaysTypeShape | None = None


class SignRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    Message: PlaintextTypeShape
    MessageType: MessageTypeShape | None = None
    GrantTokens: GrantTokenListShape | None = None
    SigningAlgorithm: SigningAlgorithmSpecShape
    DryRun: NullableBooleanTypeShape | None = None


class SignResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    Signature: CiphertextTypeShape | None = None
    SigningAlgorithm: SigningAlgorithmSpecShape | None = None


TagKeyListShape: TypeAlias = list[TagKeyTypeShape]


class TagResourceRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    Tags: TagListShape


class UntagResourceRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    TagKeys: TagKeyListShape


class UpdateAliasRequest(Shape, frozen=True, kw_only=True):
    AliasName: AliasNameTypeShape
    TargetKeyId: KeyIdTypeShape


class UpdateCustomKeyStoreRequest(Shape, frozen=True, kw_only=True):
    CustomKeyStoreId: CustomKeyStoreIdTypeShape
    NewCustomKeyStoreName: CustomKeyStoreNameTypeShape | None = None
    KeyStorePassword: KeyStorePasswordTypeShape | None = None
    CloudHsmClusterId: CloudHsmClusterIdTypeShape | None = None
    XksProxyUriEndpoint: XksProxyUriEndpointTypeShape | None = None
    XksProxyUriPath: XksProxyUriPathTypeShape | None = None
    XksProxyVpcEndpointServiceName: XksProxyVpcEndpointServiceNameTypeShape | None = None
    XksProxyVpcEndpointServiceOwner: AccountIdTypeShape | None = None
    XksProxyAuthenticationCredential: XksProxyAuthenticationCredentialType | None = None
    XksProxyConnectivity: XksProxyConnectivityTypeShape | None = None


class UpdateCustomKeyStoreResponse(Shape, frozen=True, kw_only=True):
    pass


class UpdateKeyDescriptionRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    Description: DescriptionTypeShape


class UpdatePrimaryRegionRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    PrimaryRegion: RegionTypeShape


class VerifyMacRequest(Shape, frozen=True, kw_only=True):
    Message: PlaintextTypeShape
    KeyId: KeyIdTypeShape
    MacAlgorithm: MacAlgorithmSpecShape
    Mac: CiphertextTypeShape
    GrantTokens: GrantTokenListShape | None = None
    DryRun: NullableBooleanTypeShape | None = None


class VerifyMacResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    MacValid: BooleanTypeShape | None = None
    MacAlgorithm: MacAlgorithmSpecShape | None = None


class VerifyRequest(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape
    Message: PlaintextTypeShape
    MessageType: MessageTypeShape | None = None
    Signature: CiphertextTypeShape
    SigningAlgorithm: SigningAlgorithmSpecShape
    GrantTokens: GrantTokenListShape | None = None
    DryRun: NullableBooleanTypeShape | None = None


class VerifyResponse(Shape, frozen=True, kw_only=True):
    KeyId: KeyIdTypeShape | None = None
    SignatureValid: BooleanTypeShape | None = None
    SigningAlgorithm: SigningAlgorithmSpecShape | None = None


OPERATIONS: Final[dict[str, OperationShape]] = {
    "CancelKeyDeletion": OperationShape(
        name="CancelKeyDeletion",
        request=CancelKeyDeletionRequest,
        response=CancelKeyDeletionResponse,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "ConnectCustomKeyStore": OperationShape(
        name="ConnectCustomKeyStore",
        request=ConnectCustomKeyStoreRequest,
        response=ConnectCustomKeyStoreResponse,
        exceptions=(
            "CloudHsmClusterNotActiveException",
            "CustomKeyStoreInvalidStateException",
            "CustomKeyStoreNotFoundException",
            "KMSInternalException",
            "CloudHsmClusterInvalidConfigurationException",
        ),
    ),
    "CreateAlias": OperationShape(
        name="CreateAlias",
        request=CreateAliasRequest,
        response=None,
        exceptions=(
            "DependencyTimeoutException",
            "AlreadyExistsException",
            "NotFoundException",
            "InvalidAliasNameException",
            "KMSInternalException",
            "LimitExceededException",
            "KMSInvalidStateException",
        ),
    ),
    "CreateCustomKeyStore": OperationShape(
        name="CreateCustomKeyStore",
        request=CreateCustomKeyStoreRequest,
        response=CreateCustomKeyStoreResponse,
        exceptions=(
            "CloudHsmClusterInUseException",
            "CustomKeyStoreNameInUseException",
            "CloudHsmClusterNotFoundException",
            "KMSInternalException",
            "CloudHsmClusterNotActiveException",
            "IncorrectTrustAnchorException",
            "CloudHsmClusterInvalidConfigurationException",
            "LimitExceededException",
            "XksProxyUriInUseException",
            "XksProxyUriEndpointInUseException",
            "XksProxyUriUnreachableException",
            "XksProxyIncorrectAuthenticationCredentialException",
            "XksProxyVpcEndpointServiceInUseException",
            "XksProxyVpcEndpointServiceNotFoundException",
            "XksProxyVpcEndpointServiceInvalidConfigurationException",
            "XksProxyInvalidResponseException",
            "XksProxyInvalidConfigurationException",
        ),
    ),
    "CreateGrant": OperationShape(
        name="CreateGrant",
        request=CreateGrantRequest,
        response=CreateGrantResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "DependencyTimeoutException",
            "InvalidArnException",
            "KMSInternalException",
            "InvalidGrantTokenException",
            "LimitExceededException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "CreateKey": OperationShape(
        name="CreateKey",
        request=CreateKeyRequest,
        response=CreateKeyResponse,
        exceptions=(
            "MalformedPolicyDocumentException",
            "DependencyTimeoutException",
            "InvalidArnException",
            "UnsupportedOperationException",
            "KMSInternalException",
            "LimitExceededException",
            "TagException",
            "CustomKeyStoreNotFoundException",
            "CustomKeyStoreInvalidStateException",
            "CloudHsmClusterInvalidConfigurationException",
            "XksKeyInvalidConfigurationException",
            "XksKeyAlreadyInUseException",
            "XksKeyNotFoundException",
        ),
    ),
    "Decapsulate": OperationShape(
        name="Decapsulate",
        request=DecapsulateRequest,
        response=DecapsulateResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidGrantTokenException",
            "InvalidKeyUsageException",
            "InvalidCiphertextException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "Decrypt": OperationShape(
        name="Decrypt",
        request=DecryptRequest,
        response=DecryptResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "InvalidCiphertextException",
            "KeyUnavailableException",
            "IncorrectKeyException",
            "InvalidKeyUsageException",
            "DependencyTimeoutException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "DeleteAlias": OperationShape(
        name="DeleteAlias",
        request=DeleteAliasRequest,
        response=None,
        exceptions=(
            "DependencyTimeoutException",
            "NotFoundException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "DeleteCustomKeyStore": OperationShape(
        name="DeleteCustomKeyStore",
        request=DeleteCustomKeyStoreRequest,
        response=DeleteCustomKeyStoreResponse,
        exceptions=(
            "CustomKeyStoreHasCMKsException",
            "CustomKeyStoreInvalidStateException",
            "CustomKeyStoreNotFoundException",
            "KMSInternalException",
        ),
    ),
    "DeleteImportedKeyMaterial": OperationShape(
        name="DeleteImportedKeyMaterial",
        request=DeleteImportedKeyMaterialRequest,
        response=DeleteImportedKeyMaterialResponse,
        exceptions=(
            "InvalidArnException",
            "UnsupportedOperationException",
            "DependencyTimeoutException",
            "NotFoundException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "DeriveSharedSecret": OperationShape(
        name="DeriveSharedSecret",
        request=DeriveSharedSecretRequest,
        response=DeriveSharedSecretResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidGrantTokenException",
            "InvalidKeyUsageException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "DescribeCustomKeyStores": OperationShape(
        name="DescribeCustomKeyStores",
        request=DescribeCustomKeyStoresRequest,
        response=DescribeCustomKeyStoresResponse,
        exceptions=("CustomKeyStoreNotFoundException", "InvalidMarkerException", "KMSInternalException"),
    ),
    "DescribeKey": OperationShape(
        name="DescribeKey",
        request=DescribeKeyRequest,
        response=DescribeKeyResponse,
        exceptions=("NotFoundException", "InvalidArnException", "DependencyTimeoutException", "KMSInternalException"),
    ),
    "DisableKey": OperationShape(
        name="DisableKey",
        request=DisableKeyRequest,
        response=None,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "DisableKeyRotation": OperationShape(
        name="DisableKeyRotation",
        request=DisableKeyRotationRequest,
        response=None,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "UnsupportedOperationException",
        ),
    ),
    "DisconnectCustomKeyStore": OperationShape(
        name="DisconnectCustomKeyStore",
        request=DisconnectCustomKeyStoreRequest,
        response=DisconnectCustomKeyStoreResponse,
        exceptions=("CustomKeyStoreInvalidStateException", "CustomKeyStoreNotFoundException", "KMSInternalException"),
    ),
    "EnableKey": OperationShape(
        name="EnableKey",
        request=EnableKeyRequest,
        response=None,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "LimitExceededException",
            "KMSInvalidStateException",
        ),
    ),
    "EnableKeyRotation": OperationShape(
        name="EnableKeyRotation",
        request=EnableKeyRotationRequest,
        response=None,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "UnsupportedOperationException",
        ),
    ),
    "Encapsulate": OperationShape(
        name="Encapsulate",
        request=EncapsulateRequest,
        response=EncapsulateResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidGrantTokenException",
            "InvalidKeyUsageException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "Encrypt": OperationShape(
        name="Encrypt",
        request=EncryptRequest,
        response=EncryptResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "GenerateDataKey": OperationShape(
        name="GenerateDataKey",
        request=GenerateDataKeyRequest,
        response=GenerateDataKeyResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "GenerateDataKeyPair": OperationShape(
        name="GenerateDataKeyPair",
        request=GenerateDataKeyPairRequest,
        response=GenerateDataKeyPairResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "UnsupportedOperationException",
            "DryRunOperationException",
        ),
    ),
    "GenerateDataKeyPairWithoutPlaintext": OperationShape(
        name="GenerateDataKeyPairWithoutPlaintext",
        request=GenerateDataKeyPairWithoutPlaintextRequest,
        response=GenerateDataKeyPairWithoutPlaintextResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "UnsupportedOperationException",
            "DryRunOperationException",
        ),
    ),
    "GenerateDataKeyWithoutPlaintext": OperationShape(
        name="GenerateDataKeyWithoutPlaintext",
        request=GenerateDataKeyWithoutPlaintextRequest,
        response=GenerateDataKeyWithoutPlaintextResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "GenerateMac": OperationShape(
        name="GenerateMac",
        request=GenerateMacRequest,
        response=GenerateMacResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "GenerateRandom": OperationShape(
        name="GenerateRandom",
        request=GenerateRandomRequest,
        response=GenerateRandomResponse,
        exceptions=(
            "DependencyTimeoutException",
            "KMSInternalException",
            "UnsupportedOperationException",
            "CustomKeyStoreNotFoundException",
            "CustomKeyStoreInvalidStateException",
        ),
    ),
    "GetKeyLastUsage": OperationShape(
        name="GetKeyLastUsage",
        request=GetKeyLastUsageRequest,
        response=GetKeyLastUsageResponse,
        exceptions=("NotFoundException", "InvalidArnException", "DependencyTimeoutException", "KMSInternalException"),
    ),
    "GetKeyPolicy": OperationShape(
        name="GetKeyPolicy",
        request=GetKeyPolicyRequest,
        response=GetKeyPolicyResponse,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "GetKeyRotationStatus": OperationShape(
        name="GetKeyRotationStatus",
        request=GetKeyRotationStatusRequest,
        response=GetKeyRotationStatusResponse,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "UnsupportedOperationException",
        ),
    ),
    "GetParametersForImport": OperationShape(
        name="GetParametersForImport",
        request=GetParametersForImportRequest,
        response=GetParametersForImportResponse,
        exceptions=(
            "InvalidArnException",
            "UnsupportedOperationException",
            "DependencyTimeoutException",
            "NotFoundException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "GetPublicKey": OperationShape(
        name="GetPublicKey",
        request=GetPublicKeyRequest,
        response=GetPublicKeyResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "UnsupportedOperationException",
            "InvalidArnException",
            "InvalidGrantTokenException",
            "InvalidKeyUsageException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "ImportKeyMaterial": OperationShape(
        name="ImportKeyMaterial",
        request=ImportKeyMaterialRequest,
        response=ImportKeyMaterialResponse,
        exceptions=(
            "InvalidArnException",
            "UnsupportedOperationException",
            "DependencyTimeoutException",
            "NotFoundException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "InvalidCiphertextException",
            "IncorrectKeyMaterialException",
            "ExpiredImportTokenException",
            "InvalidImportTokenException",
        ),
    ),
    "ListAliases": OperationShape(
        name="ListAliases",
        request=ListAliasesRequest,
        response=ListAliasesResponse,
        exceptions=(
            "DependencyTimeoutException",
            "InvalidMarkerException",
            "KMSInternalException",
            "InvalidArnException",
            "NotFoundException",
        ),
    ),
    "ListGrants": OperationShape(
        name="ListGrants",
        request=ListGrantsRequest,
        response=ListGrantsResponse,
        exceptions=(
            "NotFoundException",
            "DependencyTimeoutException",
            "InvalidMarkerException",
            "InvalidGrantIdException",
            "InvalidArnException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "ListKeyPolicies": OperationShape(
        name="ListKeyPolicies",
        request=ListKeyPoliciesRequest,
        response=ListKeyPoliciesResponse,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "ListKeyRotations": OperationShape(
        name="ListKeyRotations",
        request=ListKeyRotationsRequest,
        response=ListKeyRotationsResponse,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "InvalidMarkerException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "UnsupportedOperationException",
        ),
    ),
    "ListKeys": OperationShape(
        name="ListKeys",
        request=ListKeysRequest,
        response=ListKeysResponse,
        exceptions=("DependencyTimeoutException", "KMSInternalException", "InvalidMarkerException"),
    ),
    "ListResourceTags": OperationShape(
        name="ListResourceTags",
        request=ListResourceTagsRequest,
        response=ListResourceTagsResponse,
        exceptions=("KMSInternalException", "NotFoundException", "InvalidArnException", "InvalidMarkerException"),
    ),
    "ListRetirableGrants": OperationShape(
        name="ListRetirableGrants",
        request=ListRetirableGrantsRequest,
        response=ListGrantsResponse,
        exceptions=(
            "DependencyTimeoutException",
            "InvalidMarkerException",
            "InvalidArnException",
            "NotFoundException",
            "KMSInternalException",
        ),
    ),
    "PutKeyPolicy": OperationShape(
        name="PutKeyPolicy",
        request=PutKeyPolicyRequest,
        response=None,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "MalformedPolicyDocumentException",
            "DependencyTimeoutException",
            "UnsupportedOperationException",
            "KMSInternalException",
            "LimitExceededException",
            "KMSInvalidStateException",
        ),
    ),
    "ReEncrypt": OperationShape(
        name="ReEncrypt",
        request=ReEncryptRequest,
        response=ReEncryptResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "InvalidCiphertextException",
            "KeyUnavailableException",
            "IncorrectKeyException",
            "DependencyTimeoutException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "ReplicateKey": OperationShape(
        name="ReplicateKey",
        request=ReplicateKeyRequest,
        response=ReplicateKeyResponse,
        exceptions=(
            "AlreadyExistsException",
            "DisabledException",
            "InvalidArnException",
            "KMSInvalidStateException",
            "KMSInternalException",
            "LimitExceededException",
            "MalformedPolicyDocumentException",
            "NotFoundException",
            "TagException",
            "UnsupportedOperationException",
        ),
    ),
    "RetireGrant": OperationShape(
        name="RetireGrant",
        request=RetireGrantRequest,
        response=None,
        exceptions=(
            "InvalidArnException",
            "InvalidGrantTokenException",
            "InvalidGrantIdException",
            "NotFoundException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "RevokeGrant": OperationShape(
        name="RevokeGrant",
        request=RevokeGrantRequest,
        response=None,
        exceptions=(
            "NotFoundException",
            "DependencyTimeoutException",
            "InvalidArnException",
            "InvalidGrantIdException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "RotateKeyOnDemand": OperationShape(
        name="RotateKeyOnDemand",
        request=RotateKeyOnDemandRequest,
        response=RotateKeyOnDemandResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "UnsupportedOperationException",
            "LimitExceededException",
            "ConflictException",
        ),
    ),
    "ScheduleKeyDeletion": OperationShape(
        name="ScheduleKeyDeletion",
        request=ScheduleKeyDeletionRequest,
        response=ScheduleKeyDeletionResponse,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "Sign": OperationShape(
        name="Sign",
        request=SignRequest,
        response=SignResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
    "TagResource": OperationShape(
        name="TagResource",
        request=TagResourceRequest,
        response=None,
        exceptions=(
            "KMSInternalException",
            "NotFoundException",
            "InvalidArnException",
            "KMSInvalidStateException",
            "LimitExceededException",
            "TagException",
        ),
    ),
    "UntagResource": OperationShape(
        name="UntagResource",
        request=UntagResourceRequest,
        response=None,
        exceptions=(
            "KMSInternalException",
            "NotFoundException",
            "InvalidArnException",
            "KMSInvalidStateException",
            "TagException",
        ),
    ),
    "UpdateAlias": OperationShape(
        name="UpdateAlias",
        request=UpdateAliasRequest,
        response=None,
        exceptions=(
            "DependencyTimeoutException",
            "NotFoundException",
            "KMSInternalException",
            "LimitExceededException",
            "KMSInvalidStateException",
        ),
    ),
    "UpdateCustomKeyStore": OperationShape(
        name="UpdateCustomKeyStore",
        request=UpdateCustomKeyStoreRequest,
        response=UpdateCustomKeyStoreResponse,
        exceptions=(
            "CustomKeyStoreNotFoundException",
            "CustomKeyStoreNameInUseException",
            "CloudHsmClusterNotFoundException",
            "CloudHsmClusterNotRelatedException",
            "CustomKeyStoreInvalidStateException",
            "KMSInternalException",
            "CloudHsmClusterNotActiveException",
            "CloudHsmClusterInvalidConfigurationException",
            "XksProxyUriInUseException",
            "XksProxyUriEndpointInUseException",
            "XksProxyUriUnreachableException",
            "XksProxyIncorrectAuthenticationCredentialException",
            "XksProxyVpcEndpointServiceInUseException",
            "XksProxyVpcEndpointServiceNotFoundException",
            "XksProxyVpcEndpointServiceInvalidConfigurationException",
            "XksProxyInvalidResponseException",
            "XksProxyInvalidConfigurationException",
        ),
    ),
    "UpdateKeyDescription": OperationShape(
        name="UpdateKeyDescription",
        request=UpdateKeyDescriptionRequest,
        response=None,
        exceptions=(
            "NotFoundException",
            "InvalidArnException",
            "DependencyTimeoutException",
            "KMSInternalException",
            "KMSInvalidStateException",
        ),
    ),
    "UpdatePrimaryRegion": OperationShape(
        name="UpdatePrimaryRegion",
        request=UpdatePrimaryRegionRequest,
        response=None,
        exceptions=(
            "DisabledException",
            "InvalidArnException",
            "KMSInvalidStateException",
            "KMSInternalException",
            "NotFoundException",
            "UnsupportedOperationException",
        ),
    ),
    "Verify": OperationShape(
        name="Verify",
        request=VerifyRequest,
        response=VerifyResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "DependencyTimeoutException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidStateException",
            "KMSInvalidSignatureException",
            "DryRunOperationException",
        ),
    ),
    "VerifyMac": OperationShape(
        name="VerifyMac",
        request=VerifyMacRequest,
        response=VerifyMacResponse,
        exceptions=(
            "NotFoundException",
            "DisabledException",
            "KeyUnavailableException",
            "InvalidKeyUsageException",
            "InvalidGrantTokenException",
            "KMSInternalException",
            "KMSInvalidMacException",
            "KMSInvalidStateException",
            "DryRunOperationException",
        ),
    ),
}
ERRORS: Final[dict[str, int]] = {
    "AlreadyExistsException": 400,
    "CloudHsmClusterInUseException": 400,
    "CloudHsmClusterInvalidConfigurationException": 400,
    "CloudHsmClusterNotActiveException": 400,
    "CloudHsmClusterNotFoundException": 400,
    "CloudHsmClusterNotRelatedException": 400,
    "ConflictException": 400,
    "CustomKeyStoreHasCMKsException": 400,
    "CustomKeyStoreInvalidStateException": 400,
    "CustomKeyStoreNameInUseException": 400,
    "CustomKeyStoreNotFoundException": 400,
    "DependencyTimeoutException": 500,
    "DisabledException": 400,
    "DryRunOperationException": 400,
    "ExpiredImportTokenException": 400,
    "IncorrectKeyException": 400,
    "IncorrectKeyMaterialException": 400,
    "IncorrectTrustAnchorException": 400,
    "InvalidAliasNameException": 400,
    "InvalidArnException": 400,
    "InvalidCiphertextException": 400,
    "InvalidGrantIdException": 400,
    "InvalidGrantTokenException": 400,
    "InvalidImportTokenException": 400,
    "InvalidKeyUsageException": 400,
    "InvalidMarkerException": 400,
    "KMSInternalException": 500,
    "KMSInvalidMacException": 400,
    "KMSInvalidSignatureException": 400,
    "KMSInvalidStateException": 400,
    "KeyUnavailableException": 500,
    "LimitExceededException": 400,
    "MalformedPolicyDocumentException": 400,
    "NotFoundException": 400,
    "TagException": 400,
    "UnsupportedOperationException": 400,
    "XksKeyAlreadyInUseException": 400,
    "XksKeyInvalidConfigurationException": 400,
    "XksKeyNotFoundException": 400,
    "XksProxyIncorrectAuthenticationCredentialException": 400,
    "XksProxyInvalidConfigurationException": 400,
    "XksProxyInvalidResponseException": 400,
    "XksProxyUriEndpointInUseException": 400,
    "XksProxyUriInUseException": 400,
    "XksProxyUriUnreachableException": 400,
    "XksProxyVpcEndpointServiceInUseException": 400,
    "XksProxyVpcEndpointServiceInvalidConfigurationException": 400,
    "XksProxyVpcEndpointServiceNotFoundException": 400,
}
