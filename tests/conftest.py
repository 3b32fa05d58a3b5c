"""Fixtures for every suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from testkit.installation import Installation

# Nothing that a developer's machine is configured for may reach the clients under test.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ.update(AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1", AWS_PAGER="", AWS_CONFIG_FILE="/dev/null")
os.environ.update(AWS_SHARED_CREDENTIALS_FILE="/dev/null")


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    """One running development installation per test process; tests share it and must not break it."""
    running = Installation().start()
    yield running
    running.destroy()


@pytest.fixture(scope="session")
def kms(installation: Installation) -> Any:
    """A stock boto3 client of the account's root."""
    return installation.kms()


@pytest.fixture
def key_id(kms: Any) -> str:
    """A fresh key."""
    return str(kms.create_key()["KeyMetadata"]["KeyId"])
