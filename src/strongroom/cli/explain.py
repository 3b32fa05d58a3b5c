"""`strongroom iam explain`: would this principal be allowed, and why."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from strongroom.cli.admin_socket import AdminRefusedError, ask
from strongroom.cli.documents import DocumentError, read_document

_EXAMPLE = (
    "example: strongroom iam explain --principal arn:aws:iam::111122223333:user/alice --action kms:Decrypt "
    "--key alias/payroll --context tenant=red --context aws:SourceIp=192.0.2.7"
)


def add_command(subcommands: Any, add_home: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add it to the commands of `strongroom iam`."""
    parser = subcommands.add_parser(
        "explain",
        help="would a principal be allowed, and why",
        description="Would a principal be allowed to do something with a key, or with a user, role, group or policy: every "
        "statement and grant that was looked at, and what would have to change. Nothing is done. Exit status 0 if allowed, "
        "3 if not.",
        epilog=_EXAMPLE,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--principal",
        required=True,
        help="ARN of a user, a role, a role's session or a root; of a web identity, its provider's",
    )
    parser.add_argument("--action", required=True, help="such as kms:Decrypt, iam:CreateUser or sts:AssumeRole")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--key",
        default="",
        help="for an action of KMS: the key as that principal would name it: id, ARN, alias, alias ARN",
    )
    what.add_argument("--resource", default="", metavar="ARN", help="for an action of IAM or STS: what it is on")
    parser.add_argument(
        "--session-policy",
        action="append",
        default=[],
        metavar="FILE",
        help="for a role or its session: a policy that the session was begun with, as a file, a document, or the ARN of a "
        "managed one; may be repeated",
    )
    parser.add_argument(
        "--context",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a pair of the encryption context, or a condition key and its value; may be repeated",
    )
    parser.add_argument("--region", default="", help="the region asked (default: the home region)")
    add_home(parser)
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace, home: Path) -> int:
    try:
        result = ask(
            home,
            "explain",
            principal=parsed.principal,
            action=parsed.action,
            key=parsed.key,
            resource=parsed.resource,
            context=json.dumps(parsed.context),
            session_policies=json.dumps([_session_policy(value) for value in parsed.session_policy]),
            region=parsed.region,
        )
    except (AdminRefusedError, DocumentError) as refused:
        print(f"strongroom: {refused}", file=sys.stderr)
        return 1
    print(json.dumps(result) if parsed.json else "\n".join(result["trace"]))
    return 0 if result["allowed"] else 3


def _session_policy(value: str) -> str:
    return value if value.startswith("arn:") else read_document(value)
