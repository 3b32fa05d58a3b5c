"""`strongroom iam`: users and their access keys."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from strongroom.cli.admin_socket import AdminRefusedError, ask

# Command: help, then its options as (flag, argument of the admin command, help).
_COMMANDS: Final[dict[str, tuple[str, tuple[tuple[str, str, str], ...]]]] = {
    "create-user": (
        "make a user",
        (("--user", "user", "the name"), ("--policy", "policy", "file with an identity policy (default: none)")),
    ),
    "put-user-policy": (
        "replace a user's policy",
        (("--user", "user", "the name"), ("--policy", "policy", "file with an identity policy")),
    ),
    "list-users": ("list users", ()),
    "create-access-key": ("make an access key; its secret is shown once", (("--user", "user", "the name"),)),
    "delete-access-key": ("delete an access key for good", (("--access-key-id", "access_key_id", "the id"),)),
    "delete-user": ("delete a user that has no access keys", (("--user", "user", "the name"),)),
    "list-access-keys": ("list a user's access keys", (("--user", "user", "the name"),)),
    "update-access-key": (
        "activate or deactivate an access key",
        (("--access-key-id", "access_key_id", "the id"), ("--status", "status", "Active or Inactive")),
    ),
}


def add_parser(commands: Any, add_home: Callable[[argparse.ArgumentParser], None]) -> None:
    parser = commands.add_parser(
        "iam",
        help="users and access keys",
        description="Users and access keys of the account.",
        epilog="example: strongroom iam create-user --user alice --policy alice.json",
        allow_abbrev=False,
    )
    subcommands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    for name, (summary, options) in _COMMANDS.items():
        example = " ".join(f"{flag} {flag.removeprefix('--').upper()}" for flag, _, _ in options)
        sub = subcommands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example: strongroom iam {name} {example}".rstrip(),
            allow_abbrev=False,
        )
        for flag, argument, text in options:
            sub.add_argument(
                flag, dest=argument, help=text, required=not (name == "create-user" and flag == "--policy")
            )
        add_home(sub)
        sub.set_defaults(run=_run)


def _run(parsed: argparse.Namespace, home: Path) -> int:
    _, options = _COMMANDS[parsed.subcommand]
    arguments = {argument: getattr(parsed, argument) or "" for _, argument, _ in options}
    if arguments.get("policy"):
        arguments["policy"] = Path(arguments["policy"]).read_text(encoding="utf-8")
    try:
        result = ask(home, parsed.subcommand, **arguments)
    except AdminRefusedError as refused:
        print(f"strongroom: {refused}", file=sys.stderr)
        return 1
    if parsed.json:
        print(json.dumps(result))
        return 0
    for row in result if isinstance(result, list) else [result]:
        print("  ".join(f"{name}={', '.join(v) if isinstance(v, list) else v}" for name, v in row.items()))
    return 0
