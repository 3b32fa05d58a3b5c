"""An operational HSM in this process: a fresh one where a test breaks it, else one per module."""

from __future__ import annotations

import pytest
from hypothesis import settings

from testkit.module import Hsm, operational_hsm

# Others use the machine at the same time: how long an example takes says nothing here.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def hsm() -> Hsm:
    return operational_hsm()


@pytest.fixture(scope="module")
def shared_hsm() -> Hsm:
    """Tests that use it leave it as it was: only keyed work, no control, no mute."""
    return operational_hsm()
