"""`strongroom iam`: users, groups, roles, policies and access keys, as an operator.

Every action of IAM's API that the service has is a command, with the options of the AWS command line.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from strongroom.cli import accounts, explain
from strongroom.cli.admin_socket import AdminRefusedError, ask
from strongroom.cli.documents import DocumentError, read_document
from strongroom.cli.iam_actions import ACTIONS
from strongroom.cli.iam_words import ACTION_WORDS, OPTION_WORDS

_TAG: Final = re.compile(r"Key=(?P<Key>[^,]*),Value=(?P<Value>.*)", re.DOTALL)
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# What stands behind an option, by what the table of actions calls it, where it does not say what it may be.
_METAVARS: Final = {
    "": "TEXT",
    "document": "FILE",
    "number": "NUMBER",
    "tags": "Key=…,Value=…",
    "texts": "TEXT",
}
# What is to be known of it.
_KINDS: Final = {
    "document": "; a file, or the JSON itself",
    "tags": "; several behind each other",
    "texts": "; several behind each other",
}
AddHome = Callable[[argparse.ArgumentParser], None]


class _Option(NamedTuple):
    """`member` is the parameter's name in the API; `choices` are what it may be, empty where the kind says all."""

    member: str
    kind: str
    is_required: bool
    choices: str

    @property
    def flag(self) -> str:
        return f"--{_kebab_case(self.member)}"


def _kebab_case(name: str) -> str:
    """`ListSSHPublicKeys` as the AWS command line spells it, `list-ssh-public-keys`."""
    return _WORDS.sub("-", name).lower()


def _options(spelled: str) -> list[_Option]:
    found = []
    for word in spelled.split():
        member, _, kind = word.removesuffix("!").partition(":")
        kind, _, choices = kind.partition("=")
        found.append(_Option(member, kind, word.endswith("!"), choices))
    return found


class _OptionError(Exception):
    """An option's value that cannot be sent; the text says why."""


def add_parser(commands: Any, add_home: AddHome) -> None:
    parser = commands.add_parser(
        "iam",
        help="accounts, users, groups, roles, policies, access keys",
        description="Identities of an account: IAM's own actions, done as an operator, whom no policy limits.",
        epilog="example: strongroom iam put-user-policy --user-name alice --policy-name kms --policy-document alice.json",
        allow_abbrev=False,
    )
    subcommands = parser.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    accounts.add_commands(subcommands, add_home)
    for action in ACTIONS:
        _add_action(subcommands, action, add_home)
    explain.add_command(subcommands, add_home)
    # A program of its own: the command line becomes it.
    subcommands.add_parser("why", help="what became of a request, and why it was refused", add_help=False)


def _add_action(subcommands: Any, action: str, add_home: AddHome) -> None:
    name, options = _kebab_case(action), _options(ACTIONS[action])
    example = " ".join(f"{option.flag} …" for option in options if option.is_required)
    sub = subcommands.add_parser(
        name,
        help=ACTION_WORDS[action],
        description=f"{action} of the IAM API: {ACTION_WORDS[action]}.",
        epilog=f"example: strongroom iam {name} {example}".rstrip(),
        allow_abbrev=False,
    )
    required = sub.add_argument_group("required") if any(option.is_required for option in options) else sub
    for option in options:
        words = OPTION_WORDS[option.member] + _KINDS.get(option.kind, "")
        more: dict[str, Any] = {"required": option.is_required}
        if option.kind == "flag":
            more = {"action": argparse.BooleanOptionalAction}
        else:
            more["metavar"] = option.choices or _METAVARS[option.kind]
        if option.kind in {"tags", "texts"}:
            more["nargs"] = "+"
        place = required if option.is_required else sub
        place.add_argument(option.flag, dest=option.member, help=words, **more)
    sub.add_argument("--account", default="", help="the account's number (default: the main account)")
    add_home(sub)
    sub.set_defaults(run=_run, action=action)


def _run(parsed: argparse.Namespace, home: Path) -> int:
    action: str = parsed.action
    try:
        given = {option: getattr(parsed, option.member) for option in _options(ACTIONS[action])}
        form = dict(pair for option, value in given.items() if value is not None for pair in _parameters(option, value))
        result = _ask(home, parsed.account, action, form, follows="Marker" not in form and "MaxItems" not in form)
    except (AdminRefusedError, DocumentError, _OptionError) as refused:
        print(f"strongroom: {refused}", file=sys.stderr)
        return 1
    for line in [json.dumps(result)] if parsed.json else _lines(result):
        print(line)
    return 0


# ── the question ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _parameters(option: _Option, value: Any) -> Iterator[tuple[str, str]]:
    """An option as the Query protocol spells it."""
    match option.kind:
        case "flag":
            yield option.member, "true" if value else "false"
        case "document":
            yield option.member, read_document(value)
        case "texts":
            yield from ((f"{option.member}.member.{number}", text) for number, text in enumerate(value, 1))
        case "tags":
            for number, text in enumerate(value, 1):
                tag = _TAG.fullmatch(text)
                if tag is None:
                    raise _OptionError(f"{option.flag}: {text!r} is not of the form Key=…,Value=…")
                yield from ((f"{option.member}.member.{number}.{part}", tag[part]) for part in ("Key", "Value"))
        case _:
            yield option.member, value


def _ask(home: Path, account: str, action: str, form: dict[str, str], *, follows: bool) -> dict[str, Any]:
    """The answer; of a list all of it, where `follows` says so."""
    whole: dict[str, Any] = {}
    while True:
        answer: dict[str, Any] = ask(home, "iam", account=account, action=action, form=json.dumps(form))
        marker = answer.get("Marker")
        if not follows:
            return answer
        for name, value in answer.items():
            whole[name] = whole.get(name, []) + value if isinstance(value, list) else value
        if marker is None:
            whole.pop("Marker", None)
            return whole
        form = {**form, "Marker": marker}


# ── the answer ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    """A line per thing; documents as they are, laid out."""
    loose = {name: value for name, value in answer.items() if not isinstance(value, dict | list)}
    loose.pop("IsTruncated", None)
    if loose:
        yield _line(loose)
    for value in answer.values():
        if isinstance(value, list):
            yield from (_line(item) if isinstance(item, dict) else str(item) for item in value)
        elif isinstance(value, dict) and "Statement" in value:
            yield json.dumps(value, indent=2)
        elif isinstance(value, dict):
            yield _line(value)


def _line(members: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{name}={json.dumps(value) if isinstance(value, dict | list) else value}" for name, value in members.items()
    )
