"""`strongroom clock`: whether deletions are held because the clock jumped, and the word that it is right."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from strongroom.cli.admin_socket import AdminRefusedError, ask

_COMMANDS: Final = {
    "show": "say whether keys that are due for deletion are held",
    "accept": "say that the clock is right: keys are deleted again when they are due",
}


def add_parser(commands: Any, add_home: Callable[[argparse.ArgumentParser], None]) -> None:
    parser = commands.add_parser(
        "clock",
        help="deletions that a jump of the clock holds",
        description="A jump of the clock by more than a day holds every deletion, until it ran steadily for a day.",
        epilog="example: strongroom clock show",
        allow_abbrev=False,
    )
    subcommands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    for name, summary in _COMMANDS.items():
        sub = subcommands.add_parser(
            name, help=summary, description=summary, epilog=f"example: strongroom clock {name}", allow_abbrev=False
        )
        add_home(sub)
        sub.set_defaults(run=_run)


def _run(parsed: argparse.Namespace, home: Path) -> int:
    try:
        regions = _accept(home) if parsed.subcommand == "accept" else _show(home)
    except AdminRefusedError as refused:
        print(f"strongroom: {refused}", file=sys.stderr)
        return 1
    failed = any("error" in region for region in regions)
    if parsed.json:
        print(json.dumps(regions))
        return int(failed)
    verb = "were" if parsed.subcommand == "accept" else "are"
    for region in regions:
        if "error" in region:
            print(f"{region['region']}: not accepted, try again ({region['error']})", file=sys.stderr)
            continue
        since_s = region["held_since_s"]
        state = "not held" if since_s is None else f"held since {_format_time(since_s)}"
        print(f"{region['region']}: deletions {verb} {state}")
    return int(failed)


def _accept(home: Path) -> list[dict[str, Any]]:
    accepted: list[dict[str, Any]] = ask(home, "accept-clock")
    return accepted


def _show(home: Path) -> list[dict[str, Any]]:
    regions = ask(home, "status")["regions"]
    return [{"region": region["region"], **region["clock"]} for region in regions]


def _format_time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
