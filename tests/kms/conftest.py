"""What the tests of IAM's own API share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testkit.identities import fresh, iam_client
from testkit.installation import Installation


@pytest.fixture(scope="module")
def iam(installation: Installation) -> Iterator[Any]:
    """A client of the main account's root."""
    client = iam_client(installation)
    yield client
    client.close()


@pytest.fixture
def user(iam: Any) -> str:
    """The name of one who is there."""
    name = fresh("u")
    iam.create_user(UserName=name)
    return name
