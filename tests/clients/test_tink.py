"""Tink for Python with its AWS KMS extension: a remote AEAD, envelope encryption, and a keyset encrypted under a KMS key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tink
from botocore.exceptions import ClientError
from tink import aead, secret_key_access
from tink.integration import awskms

from testkit.clients import client_environment
from testkit.installation import Installation

SECRET, LABEL = b"the plaintext", b"associated data \xff"


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    aead.register()


@pytest.fixture
def uri(kms: Any) -> str:
    return f"aws-kms://{kms.create_key()['KeyMetadata']['Arn']}"


@pytest.fixture
def remote(kms: Any, uri: str) -> aead.Aead:
    return awskms.new_client(boto3_client=kms, key_uri=uri).get_aead(uri)


def refusal_code(call: Any, *arguments: bytes) -> str:
    """Tink wraps what boto3 raised."""
    with pytest.raises(tink.TinkError) as caught:
        call(*arguments)
    (reason,) = caught.value.args
    assert isinstance(reason, ClientError)
    return str(reason.response["Error"]["Code"])


def test_the_remote_aead_opens_only_under_its_associated_data(remote: aead.Aead) -> None:
    sealed = remote.encrypt(SECRET, LABEL)
    assert remote.decrypt(sealed, LABEL) == SECRET
    assert refusal_code(remote.decrypt, sealed, b"other") == "InvalidCiphertextException"
    assert refusal_code(remote.decrypt, sealed, b"") == "InvalidCiphertextException"
    without = remote.encrypt(SECRET, b"")
    assert remote.decrypt(without, b"") == SECRET
    # Tink puts the associated data into the encryption context as hexadecimal digits: the longest that fits in 8 KiB.
    longest = bytes(4000)
    assert remote.decrypt(remote.encrypt(SECRET, longest), longest) == SECRET


def test_the_remote_aead_of_one_key_does_not_open_for_another(remote: aead.Aead, kms: Any) -> None:
    sealed = remote.encrypt(SECRET, LABEL)
    other = f"aws-kms://{kms.create_key()['KeyMetadata']['Arn']}"
    stranger = awskms.new_client(boto3_client=kms, key_uri=other).get_aead(other)
    assert refusal_code(stranger.decrypt, sealed, LABEL) == "IncorrectKeyException"


def test_envelope_encryption_takes_data_of_any_size(remote: aead.Aead) -> None:
    envelope = aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, remote)
    large = bytes(range(256)) * 8192
    sealed = envelope.encrypt(large, LABEL)
    assert envelope.decrypt(sealed, LABEL) == large
    with pytest.raises(tink.TinkError):
        envelope.decrypt(sealed, b"other")


def test_a_keyset_is_kept_encrypted_under_the_key_and_survives_a_rotation(
    remote: aead.Aead, kms: Any, uri: str
) -> None:
    handle = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM)
    kept = tink.json_proto_keyset_format.serialize_encrypted(handle, remote, LABEL)
    bare = tink.json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    assert "encryptedKeyset" in kept
    assert "encryptedKeyset" not in bare
    kms.rotate_key_on_demand(KeyId=uri.removeprefix("aws-kms://"))
    again = tink.json_proto_keyset_format.parse_encrypted(kept, remote, LABEL)
    sealed = handle.primitive(aead.Aead).encrypt(SECRET, LABEL)
    assert again.primitive(aead.Aead).decrypt(sealed, LABEL) == SECRET


@pytest.fixture
def from_environment(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The client that Tink's documents show: it takes the region from the key's ARN and all else from the environment."""
    for name, value in client_environment(installation.port, tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    made: list[Any] = []

    def make(uri: str) -> aead.Aead:
        primitive = awskms.AwsKmsClient(uri, None).get_aead(uri)
        made.append(primitive.client)
        return primitive

    yield make
    for client in made:
        client.close()


def test_the_documented_client_needs_the_environment_only(from_environment: Any, uri: str, kms: Any) -> None:
    primitive = from_environment(uri)
    sealed = primitive.encrypt(SECRET, LABEL)
    assert primitive.decrypt(sealed, LABEL) == SECRET
    kms.disable_key(KeyId=uri.removeprefix("aws-kms://"))
    assert refusal_code(primitive.decrypt, sealed, LABEL) == "DisabledException"
