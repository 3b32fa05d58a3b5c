"""An installation of a copy of the product with a fault in it: what a check must notice."""

from __future__ import annotations

import shutil
from pathlib import Path

import strongroom
from testkit.installation import Installation


def plant(installation: Installation, module: str, right: str, wrong: str) -> None:
    """Have the installation run a copy in which one text of a module, which must be there once, is another."""
    overlay = installation.root / "overlay"
    shutil.copytree(Path(strongroom.__path__[0]), overlay / "strongroom", ignore=shutil.ignore_patterns("*.pyc"))
    source = overlay / "strongroom" / module
    text = source.read_text()
    assert text.count(right) == 1, f"the fault is planted where {module} says:\n{right}"
    source.write_text(text.replace(right, wrong))
    installation.environment["PYTHONPATH"] = str(overlay)
