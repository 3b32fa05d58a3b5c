"""`strongroom …`: one table of commands, each with a line of help and an example."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, NoReturn

from strongroom.cli import clock, demo, doctor, iam, why

# Commands that are programs of another room; the command line may not import them, so it becomes them.
_PROGRAMS: Final = {
    "up": ("strongroom.supervisor", "start HSM and KMS service, and watch them"),
    "hsm": ("strongroom.supervisor", "start the HSM alone"),
    "kms": ("strongroom.supervisor", "start the KMS service alone"),
    "backup": ("strongroom.supervisor", "copy what a restore needs, while the service runs"),
    "restore": ("strongroom.supervisor", "bring a home back with the recovery bundle"),
    "audit": ("strongroom.kms.audit", "verify the audit trail"),
}
_HOMES: Final = ("~/.strongroom", "~/.strongroom-dev")


def _become(module: str, arguments: Sequence[str]) -> NoReturn:
    os.execv(sys.executable, [sys.executable, "-P", "-s", "-m", module, *arguments])  # noqa: S606 -- our own interpreter, no shell.


def add_home(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--home", help="the home (default: ~/.strongroom, or ~/.strongroom-dev where only that exists)")
    parser.add_argument("--json", action="store_true", help="answer in JSON")


def _home(given: str | None) -> Path:
    if given:
        return Path(given).expanduser().absolute()
    production, development = (Path(home).expanduser() for home in _HOMES)
    return production if production.exists() or not development.exists() else development


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="strongroom",
        description="A key management service that speaks the AWS KMS protocol, with an HSM process of its own.",
        epilog="example: strongroom up --dev",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"strongroom {version('strongroom')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, summary) in _PROGRAMS.items():
        commands.add_parser(name, help=summary, add_help=False)
    for module in (iam, clock, doctor, demo):
        module.add_parser(commands, add_home)
    return parser


def main() -> None:
    arguments = sys.argv[1:]
    if arguments and arguments[0] in _PROGRAMS:
        module, _ = _PROGRAMS[arguments[0]]
        _become(module, arguments if module == "strongroom.supervisor" else arguments[1:])
    if arguments[:2] == ["iam", "why"]:
        if why.tell_of_stranger(arguments[2:], _home):
            raise SystemExit(0)
        _become("strongroom.kms.audit", arguments[1:])  # It reads the audit trail.
    parsed = _parser().parse_args()
    try:
        raise SystemExit(parsed.run(parsed, _home(parsed.home)))
    except (ConnectionError, FileNotFoundError, PermissionError) as error:
        print(f"strongroom: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
