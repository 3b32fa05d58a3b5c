"""Fixtures for every suite."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from testkit.installation import Installation

# Nothing that a developer's machine is configured for may reach the clients under test.
for name in [name for name in os.environ if name.startswith("AWS_")]:
    del os.environ[name]
os.environ.update(AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1", AWS_PAGER="", AWS_CONFIG_FILE="/dev/null")
os.environ.update(AWS_SHARED_CREDENTIALS_FILE="/dev/null")

# Others use the machine at the same time: how long an example takes says nothing here, unless a test says so itself. And
# what a run finds depends on the tree alone.
settings.register_profile(
    "steady", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

# Everything that a test left is gone by then, or it hangs: an installation ends within a minute.
TEARDOWN_S_MAX = 240.0
_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STDERR] = os.dup(2)  # What tests write there is captured later.


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """pytest-timeout rings once for a test: after a call that hung, what is torn down has to end as well.

    It ends with every thread's stack, and with the test process, for which the runner takes another.
    """
    faulthandler.dump_traceback_later(TEARDOWN_S_MAX, file=item.config.stash[_STDERR], exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


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
