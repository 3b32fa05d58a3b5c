"""An installation of a copy of the product with a fault in it: what a check must notice, or must not mind."""

from __future__ import annotations

import shutil
from pathlib import Path

import strongroom
from testkit.installation import Installation


def plant(installation: Installation, module: str, right: str, wrong: str) -> None:
    """Have the installation run a copy in which one text of a module, which must be there once, is another."""
    source = _module_of(installation, module)
    text = source.read_text()
    assert text.count(right) == 1, f"the fault is planted where {module} says:\n{right}"
    source.write_text(text.replace(right, wrong))


def plant_after(installation: Installation, module: str, code: str) -> None:
    """Have the installation run a copy in which a module does more once it is imported."""
    source = _module_of(installation, module)
    source.write_text(f"{source.read_text()}\n{code}")


def _module_of(installation: Installation, module: str) -> Path:
    """A module of the installation's own copy of the product."""
    overlay = installation.root / "overlay"
    if not overlay.exists():
        original = Path(strongroom.__path__[0])
        shutil.copytree(original, overlay / "strongroom", ignore=shutil.ignore_patterns("*.pyc"))
        installation.environment["PYTHONPATH"] = str(overlay)
    return overlay / "strongroom" / module
