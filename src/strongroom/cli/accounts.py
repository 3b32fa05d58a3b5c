"""`strongroom iam create-account`, `delete-account` and `list-accounts`: the accounts of a home."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from strongroom.cli.admin_socket import AdminRefusedError, ask

_ARGUMENTS: Final = {"create-account": ("account", "name"), "delete-account": ("account",), "list-accounts": ()}


def add_commands(subcommands: Any, add_home: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add them to the commands of `strongroom iam`."""
    create = subcommands.add_parser(
        "create-account",
        help="make an account with an administrator",
        description="Make an account beside the main account, with the user `admin`, whose access key is shown once.",
        epilog="example: strongroom iam create-account --account 111122223333 --name payroll",
        allow_abbrev=False,
    )
    create.add_argument("--account", required=True, help="its number, of 12 digits")
    create.add_argument("--name", required=True, help="what people call it")
    delete = subcommands.add_parser(
        "delete-account",
        help="delete an empty account for good",
        description="Delete an account that has no keys, users, groups, roles and policies; of another it is said what it "
        "has. Its number is never given again: policies of other accounts may name it.",
        epilog="example: strongroom iam delete-account --account 111122223333",
        allow_abbrev=False,
    )
    delete.add_argument("--account", required=True, help="its number; never the main account's")
    listing = subcommands.add_parser(
        "list-accounts",
        help="list the accounts",
        description="The accounts of the home, the main account first.",
        epilog="example: strongroom iam list-accounts",
        allow_abbrev=False,
    )
    for parser in (create, delete, listing):
        add_home(parser)
        parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace, home: Path) -> int:
    arguments = {name: getattr(parsed, name) for name in _ARGUMENTS[parsed.subcommand]}
    try:
        result = ask(home, parsed.subcommand, **arguments)
    except AdminRefusedError as refused:
        print(f"strongroom: {refused}", file=sys.stderr)
        return 1
    if parsed.json:
        print(json.dumps(result))
        return 0
    for row in result if isinstance(result, list) else [result]:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    return 0
