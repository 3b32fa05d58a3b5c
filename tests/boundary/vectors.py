"""Vectors from outside the team: in STRONGROOM_VECTORS (a folder), else in `../shared/vectors` beside the repository."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("STRONGROOM_VECTORS", REPOSITORY.parent / "shared" / "vectors"))


def load(archive: str, member: str) -> Any:
    """One JSON member of an archive; skips the test where the archive is not."""
    path = FOLDER / archive
    if not path.is_file():
        pytest.skip(f"no vectors at {path}; set STRONGROOM_VECTORS to their folder")
    with tarfile.open(path) as tar:
        extracted = tar.extractfile(member)
        assert extracted is not None
        return json.loads(extracted.read())
