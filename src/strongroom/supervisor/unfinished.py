"""A restore that was cut off never happened: whoever takes the home next finds it as it was before.

What a restore makes wraps nothing before it is acknowledged. But the domain token of one that a power cut ended shuts out
the HSM of before, and opens with no bundle that anybody was told of. So before it changes anything it notes which files
there are that it replaces or adds to; the note goes when all of it is stored and acknowledged. Each step here can be
cut off, too, and is taken again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from strongroom.supervisor.home import HSM_ID, RegionHome, sync_directory, write_durably

_ASIDE: Final = ".before-restore"


def begin(place: RegionHome) -> None:
    """Note what there is, then set the old sealed state aside.

    What an earlier restore set aside goes before the note comes: `undo` would take it for what this one did.
    """
    for path in place.sealed_states(HSM_ID):
        if path.exists():
            _aside(path).unlink(missing_ok=True)
    sync_directory(place.hsm)
    there = sorted(str(path.relative_to(place.base)) for path in _changing(place))
    write_durably(place.restore_note, "".join(f"{name}\n" for name in there).encode(), 0o644)
    for path in place.sealed_states(HSM_ID):
        if path.exists():
            path.rename(_aside(path))
    sync_directory(place.hsm)


def undo(place: RegionHome) -> None:
    """Take away what came since `begin`, and put the old sealed state back; nothing, where nothing was begun."""
    if not place.restore_note.exists():
        return
    there = {place.base / name for name in place.restore_note.read_text().splitlines()}
    for path in _changing(place) - there:
        path.unlink()
    for path in place.sealed_states(HSM_ID):
        if path in there and _aside(path).exists():
            _aside(path).replace(path)
    for folder in (place.hsm, place.domain, place.recovery):
        if folder.exists():
            sync_directory(folder)
    end(place)


def end(place: RegionHome) -> None:
    """It is stored and acknowledged, or undone."""
    place.restore_note.unlink()
    sync_directory(place.domain)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + _ASIDE)


def _changing(place: RegionHome) -> set[Path]:
    states = (path for path in place.sealed_states(HSM_ID) if path.exists())
    return {*states, *place.domain_tokens(), *place.recovery.glob("recovery-*")}
