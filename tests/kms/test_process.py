"""How many connections a worker may have is decided by how many files it may have open."""

from __future__ import annotations

import subprocess
import sys

import pytest

from strongroom.kms.process import DESCRIPTORS_KEPT


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "soft_after"),
    [
        (1024, 20000, 10_000, 10_000 + DESCRIPTORS_KEPT),
        (1024, 4096, 4096 - DESCRIPTORS_KEPT, 4096),
        (1024, 1024, 1024 - DESCRIPTORS_KEPT, 1024),
        (15_000, 20_000, 10_000, 15_000),
        (100, 100, 1, 100),
    ],
)
def test_connections_leave_descriptors_for_all_else(soft: int, hard: int, connections: int, soft_after: int) -> None:
    program = (
        "import resource; from strongroom.kms.process import connections_max;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "print(connections_max(10_000), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout.split() == [str(connections), str(soft_after), str(hard)]
