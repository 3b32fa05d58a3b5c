"""An installation whose store lies on a small disk that runs full, with its trail or without.

A test runs this in a mount namespace of its own, which takes the disk along:
`python -m worlds.full_disk (all|store) TIMES [FAULT]`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from testkit.planting import plant
from worlds.enduring import endure, prepare
from worlds.troubles import full_disk

_FAULTS = {
    "a sink that failed is not tried again": (
        "kms/audit/log.py",
        "        if self._closing:\n            raise AuditUnavailableError",
        "        if self._closing or self._write_error is not None:\n            raise AuditUnavailableError",
    ),
    "the reserve is never used": (
        "kms/audit/reserve.py",
        "        if not self.held:\n            return False\n",
        "        return False\n",
    ),
    "a commit that failed is acknowledged": (
        "kms/storage/writer.py",
        "            return [_unavailable(error) for _ in group]\n",
        "            return [None for _ in group]\n",
    ),
}
_FAULT_PATIENCE_S = 10
# Without its trail nothing is done; without its store, nothing is changed, which is half of what newcomers ask for.
_REFUSED = {"all": 0.9, "store": 0.4}
# Calls of newcomers alone, beside what the load asks, that the trail's reserve has room for.
_ON_RESERVE = {"all": 20, "store": 0}


def _mount(directory: Path, size: str) -> None:
    directory.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", directory], check=True)


def main(what: str, times: int, fault: str = "") -> None:
    installation = prepare()
    disk = installation.home / "service"
    try:
        _mount(disk, "128m")
        if what == "store":
            _mount(disk / "audit", "2g")
        if fault:
            plant(installation, *_FAULTS[fault])
        trouble = full_disk(disk, times, refused_share=_REFUSED[what], on_reserve=_ON_RESERVE[what])
        endure(installation, trouble, patience_s=_FAULT_PATIENCE_S if fault else 60)
    finally:
        installation.destroy()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
