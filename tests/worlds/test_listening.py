"""Where and how a service can be reached: TLS, IPv6, and the account whose keys answer."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from testkit.installation import Installation
from testkit.listening import announced, self_signed
from testkit.raw import Raw, policy
from testkit.workers import probe


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


def _tls_installation(certificate: tuple[Path, Path]) -> Installation:
    chain, key = certificate
    return announced(Installation("--tls-cert", str(chain), "--tls-key", str(key), "--workers", "2"))


def _client(url: str, **more: Any) -> Any:
    return boto3.client(
        "kms",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}),
        **more,
    )


def _tls_client(secure: Installation, certificate: tuple[Path, Path]) -> Any:
    return _client(f"https://127.0.0.1:{secure.port}", verify=str(certificate[0]))


def _is_denied(kms: Any, key_id: str) -> bool:
    """Nothing else may go wrong."""
    try:
        kms.encrypt(KeyId=key_id, Plaintext=b"x")
    except kms.exceptions.ClientError as refused:
        if refused.response["Error"]["Code"] != "AccessDeniedException":
            raise
        return True
    return False


def _denies_all_when(**condition: Any) -> str:
    """A key policy whose Deny says what the service knows of a request; the root may do the rest."""
    everything = {"Principal": "*", "Action": "kms:Encrypt", "Resource": "*"}
    allowed = {**everything, "Effect": "Allow", "Action": "kms:*"}
    return policy(allowed, {**everything, "Effect": "Deny", "Condition": condition})


def test_a_stock_client_speaks_tls_to_every_worker(certificate: tuple[Path, Path]) -> None:
    secure = _tls_installation(certificate)
    try:
        kms = _tls_client(secure, certificate)
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        blob = kms.encrypt(KeyId=key_id, Plaintext=b"over TLS")["CiphertextBlob"]
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"over TLS"
        for value, denied in (("false", False), ("true", True)):
            kms.put_key_policy(KeyId=key_id, Policy=_denies_all_when(Bool={"aws:SecureTransport": value}))
            assert _is_denied(kms, key_id) == denied
        kms.close()
        trusted = ssl.create_default_context(cafile=str(certificate[0]))
        ids = set()
        with ExitStack() as kept:
            for _ in range(8):
                plain = kept.enter_context(socket.create_connection(("127.0.0.1", secure.port), 60))
                connection = kept.enter_context(trusted.wrap_socket(plain, server_hostname="localhost"))
                assert connection.version() == "TLSv1.3"
                connection.sendall(probe("localhost"))
                ids.add(connection.recv(4096).split(b"x-amzn-RequestId: ")[1][:23])
        assert len(ids) == 2
    finally:
        secure.destroy()


def test_who_speaks_no_tls_or_none_to_the_end_is_dropped_and_disturbs_nobody(certificate: tuple[Path, Path]) -> None:
    secure = _tls_installation(certificate)
    try:
        silent = [socket.create_connection(("127.0.0.1", secure.port), 60) for _ in range(20)]
        with Raw(secure.port) as plain:
            plain.send(probe(plain.host))
            assert plain.is_closed()
        for connection in silent[:10]:
            connection.close()
        kms = _tls_client(secure, certificate)
        assert kms.generate_random(NumberOfBytes=8)["Plaintext"]
        kms.close()
        for connection in silent[10:]:
            connection.close()
        time.sleep(0.2)
        assert "Traceback" not in secure.output.read_text()
    finally:
        secure.destroy()


def test_ipv6_is_served_and_named_in_the_lines_to_paste() -> None:
    six = Installation("--listen", "::1", "--workers", "2")
    try:
        announced(six)
        url = f"http://[::1]:{six.port}"
        assert f"AWS_ENDPOINT_URL_KMS={url}\n" in six.output.read_text()
        kms = _client(url)
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        for addresses, denied in ((["127.0.0.0/8", "2001:db8::/32"], False), (["::1"], True)):
            kms.put_key_policy(KeyId=key_id, Policy=_denies_all_when(IpAddress={"aws:SourceIp": addresses}))
            assert _is_denied(kms, key_id) == denied
        kms.close()
    finally:
        six.destroy()


def test_the_account_shows_in_every_arn_and_another_one_is_refused_later() -> None:
    ours = Installation("--account", "123456789012")
    try:
        ours.start()
        assert ours.kms().create_key()["KeyMetadata"]["Arn"].startswith("arn:aws:kms:us-east-1:123456789012:key/")
        assert ours.sts().get_caller_identity()["Account"] == "123456789012"
        ours.stop()
        done = ours.cli("up", "--dev", "--home", str(ours.home), "--account", "210987654321", check=False)
        assert f"{ours.home} belongs to account 123456789012, not to 210987654321" in done.stderr
    finally:
        ours.destroy()
