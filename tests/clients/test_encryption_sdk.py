"""The AWS Encryption SDK for Python, with its keyrings (material providers library) and with its older key providers.

Both are stock; what they are told of us is what every user tells them: endpoint, region and credentials, by the environment.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_cryptographic_material_providers.mpl.models import (
    CreateAwsKmsDiscoveryKeyringInput,
    CreateAwsKmsKeyringInput,
    CreateAwsKmsMultiKeyringInput,
    DiscoveryFilter,
)
from aws_encryption_sdk import (
    CommitmentPolicy,
    DiscoveryAwsKmsMasterKeyProvider,
    EncryptionSDKClient,
    StrictAwsKmsMasterKeyProvider,
)
from aws_encryption_sdk.exceptions import AWSEncryptionSDKClientError
from aws_encryption_sdk.identifiers import AlgorithmSuite
from aws_encryption_sdk.key_providers.kms import DiscoveryFilter as LegacyDiscoveryFilter

from testkit.installation import ACCOUNT, REGION, Installation

CONTEXT = {"tenant": "7", "purpose": "encryption sdk ✓"}
STREAM_BYTES = 50_000_000
FRAME_BYTES = 64 * 1024


class Keys:
    """Makes keyrings and providers for keys by ARN; `discovery` ones take any key that the message names."""

    def __init__(self, kms: Any) -> None:
        self._kms = kms
        self._library = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
        self._providers: list[Any] = []

    def keyring(self, arn: str) -> dict[str, Any]:
        wanted = CreateAwsKmsKeyringInput(kms_key_id=arn, kms_client=self._kms)
        return {"keyring": self._library.create_aws_kms_keyring(wanted)}

    def multi_keyring(self, *arns: str) -> dict[str, Any]:
        wanted = CreateAwsKmsMultiKeyringInput(generator=arns[0], kms_key_ids=list(arns[1:]))
        return {"keyring": self._library.create_aws_kms_multi_keyring(wanted)}

    def discovery_keyring(self, account: str = ACCOUNT) -> dict[str, Any]:
        filtered = DiscoveryFilter(partition="aws", account_ids=[account])
        wanted = CreateAwsKmsDiscoveryKeyringInput(kms_client=self._kms, discovery_filter=filtered)
        return {"keyring": self._library.create_aws_kms_discovery_keyring(wanted)}

    def provider(self, *arns: str) -> dict[str, Any]:
        self._providers.append(StrictAwsKmsMasterKeyProvider(key_ids=list(arns)))
        return {"key_provider": self._providers[-1]}

    def discovery_provider(self, account: str = ACCOUNT) -> dict[str, Any]:
        filtered = LegacyDiscoveryFilter(account_ids=(account,), partition="aws")
        self._providers.append(DiscoveryAwsKmsMasterKeyProvider(discovery_filter=filtered))
        return {"key_provider": self._providers[-1]}

    def close(self) -> None:
        """The providers make clients of their own and never close them."""
        for provider in self._providers:
            for client in provider._regional_clients.values():
                client.close()


@pytest.fixture
def keys(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{installation.port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    kms = boto3.client("kms")
    made = Keys(kms)
    yield made
    made.close()
    kms.close()


@pytest.fixture
def arn(kms: Any) -> str:
    return str(kms.create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def other_arn(kms: Any) -> str:
    return str(kms.create_key()["KeyMetadata"]["Arn"])


def sdk(suite: AlgorithmSuite | None = None) -> EncryptionSDKClient:
    """The SDK with its default policy, or with the one that suites without key commitment need."""
    if suite is None or suite.is_committing():
        return EncryptionSDKClient()
    return EncryptionSDKClient(commitment_policy=CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)


def encrypt(source: bytes, suite: AlgorithmSuite | None = None, **keyring: Any) -> bytes:
    chosen = {} if suite is None else {"algorithm": suite}
    message, _ = sdk(suite).encrypt(source=source, encryption_context=CONTEXT, **chosen, **keyring)
    return bytes(message)


@pytest.mark.parametrize("suite", list(AlgorithmSuite), ids=lambda suite: str(suite.name))
@pytest.mark.parametrize("way", ["keyring", "provider"])
def test_every_algorithm_suite_goes_there_and_back(keys: Keys, arn: str, suite: AlgorithmSuite, way: str) -> None:
    strict: Callable[[str], dict[str, Any]] = getattr(keys, way)
    discovery: Callable[[], dict[str, Any]] = getattr(keys, f"discovery_{way}")
    source = os.urandom(10_000)
    message = encrypt(source, suite, **strict(arn))
    assert source[:100] not in message
    for reading in (strict(arn), discovery()):
        plaintext, header = sdk(suite).decrypt(source=message, **reading)
        assert plaintext == source
        assert header.algorithm is suite
        assert CONTEXT.items() <= header.encryption_context.items()


def test_the_suites_cover_every_key_length_with_and_without_commitment_and_signature() -> None:
    lengths = {suite.kdf_input_len for suite in AlgorithmSuite}
    assert lengths == {16, 24, 32}
    kinds = {(suite.is_committing(), suite.signing_algorithm_info is not None) for suite in AlgorithmSuite}
    assert len(kinds) == 4


def test_keyrings_and_older_providers_read_each_other(keys: Keys, arn: str) -> None:
    source = b"written by one, read by the other"
    by_keyring, by_provider = encrypt(source, **keys.keyring(arn)), encrypt(source, **keys.provider(arn))
    assert sdk().decrypt(source=by_keyring, **keys.provider(arn))[0] == source
    assert sdk().decrypt(source=by_provider, **keys.keyring(arn))[0] == source


def test_a_message_for_two_keys_opens_with_either(keys: Keys, arn: str, other_arn: str, kms: Any) -> None:
    source = b"for two"
    for message in (
        encrypt(source, **keys.multi_keyring(arn, other_arn)),
        encrypt(source, **keys.provider(arn, other_arn)),
    ):
        assert sdk().decrypt(source=message, **keys.keyring(other_arn))[0] == source
        assert sdk().decrypt(source=message, **keys.provider(arn))[0] == source
    kms.disable_key(KeyId=arn)
    assert sdk().decrypt(source=message, **keys.discovery_keyring())[0] == source
    assert sdk().decrypt(source=message, **keys.discovery_provider())[0] == source


def test_an_alias_may_name_the_key_that_encrypts(keys: Keys, kms: Any, arn: str) -> None:
    kms.create_alias(AliasName="alias/encryption-sdk", TargetKeyId=arn)
    message = encrypt(b"by alias", **keys.keyring("alias/encryption-sdk"))
    assert sdk().decrypt(source=message, **keys.keyring(arn))[0] == b"by alias"
    kms.delete_alias(AliasName="alias/encryption-sdk")


def test_the_wrong_key_is_refused(keys: Keys, arn: str, other_arn: str) -> None:
    message = encrypt(b"mine", **keys.keyring(arn))
    for wrong in (keys.keyring(other_arn), keys.discovery_keyring("111122223333")):
        with pytest.raises(AWSEncryptionSDKClientError, match="Unable to decrypt data key"):
            sdk().decrypt(source=message, **wrong)
    for wrong in (keys.provider(other_arn), keys.discovery_provider("111122223333")):
        with pytest.raises(
            AWSEncryptionSDKClientError, match=r"Unable to decrypt any data key|not allowed by this Master Key Provider"
        ):
            sdk().decrypt(source=message, **wrong)


def test_a_disabled_key_is_refused_and_the_keyring_tells_why(keys: Keys, arn: str, kms: Any) -> None:
    message = encrypt(b"mine", **keys.keyring(arn))
    kms.disable_key(KeyId=arn)
    with pytest.raises(AWSEncryptionSDKClientError) as caught:
        sdk().decrypt(source=message, **keys.keyring(arn))
    (reason,) = caught.value.args[0].list
    assert str(reason) == f"{arn} is disabled."
    with pytest.raises(AWSEncryptionSDKClientError):
        sdk().decrypt(source=message, **keys.provider(arn))


def test_another_context_than_the_messages_is_refused(keys: Keys, arn: str) -> None:
    message = encrypt(b"mine", **keys.keyring(arn))
    # The context stands in the message; KMS's authentication of it is what notices the change.
    changed = message.replace(b"encryption sdk", b"encryption SDK")
    assert changed != message
    with pytest.raises(AWSEncryptionSDKClientError) as caught:
        sdk().decrypt(source=changed, **keys.keyring(arn))
    # InvalidCiphertextException has no message, here as with AWS; the library keeps messages only.
    assert [str(reason) for reason in caught.value.args[0].list] == [""]
    with pytest.raises(AWSEncryptionSDKClientError):
        sdk().decrypt(source=changed, **keys.provider(arn))


@pytest.mark.parametrize("way", ["keyring", "provider"])
def test_a_file_of_50_megabytes_is_streamed_there_and_back(keys: Keys, arn: str, tmp_path: Path, way: str) -> None:
    plain, encrypted = tmp_path / "plain", tmp_path / "encrypted"
    plain.write_bytes(os.urandom(STREAM_BYTES))
    strict = getattr(keys, way)
    with plain.open("rb") as source, encrypted.open("wb") as target:
        writing = sdk().stream(
            mode="e", source=source, encryption_context=CONTEXT, frame_length=FRAME_BYTES, **strict(arn)
        )
        with writing:
            target.writelines(writing)
    digest = hashlib.sha256()
    with encrypted.open("rb") as source:
        reading = sdk().stream(mode="d", source=source, **strict(arn))
        with reading:
            for chunk in reading:
                digest.update(chunk)
    assert digest.digest() == hashlib.sha256(plain.read_bytes()).digest()
