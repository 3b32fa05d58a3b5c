"""An installation whose store lies on a small disk that runs full, with its trail or without.

A test runs this in a mount namespace of its own, which takes the disk along:
`python -m worlds.full_disk (all|store) TIMES [faulty]`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from testkit.planting import plant
from worlds.enduring import endure, prepare
from worlds.troubles import full_disk

# What is faulty: a trail that its disk refused is not tried again; a commit that failed is acknowledged.
_FAULTS = {
    "all": (
        "kms/audit/log.py",
        "        if self._closing:\n            raise AuditUnavailableError",
        "        if self._closing or self._write_error is not None:\n            raise AuditUnavailableError",
    ),
    "store": (
        "kms/storage/writer.py",
        "            return [_unavailable(error) for _ in group]\n",
        "            return [None for _ in group]\n",
    ),
}
_FAULT_PATIENCE_S = 10
# Without its trail nothing is done; without its store, nothing is changed, which is half of what newcomers ask for.
_REFUSED = {"all": 0.9, "store": 0.4}


def _mount(directory: Path, size: str) -> None:
    directory.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", directory], check=True)


def main(what: str, times: int, *, faulty: bool) -> None:
    installation = prepare()
    disk = installation.home / "service"
    try:
        _mount(disk, "128m")
        if what == "store":
            _mount(disk / "audit", "2g")
        if faulty:
            plant(installation, *_FAULTS[what])
        trouble = full_disk(disk, times, refused_share=_REFUSED[what])
        endure(installation, trouble, patience_s=_FAULT_PATIENCE_S if faulty else 60)
    finally:
        installation.destroy()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), faulty="faulty" in sys.argv[3:])
