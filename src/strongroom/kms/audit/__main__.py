"""`python -m strongroom.kms.audit`: what `strongroom audit verify` and `strongroom iam why` run.

Reads files only, and needs no service.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from strongroom.boundary.domain_token import DomainTokenError, parse_domain_token
from strongroom.kms.audit.verify import verify_directory
from strongroom.kms.audit.why import find_last_refusal, find_request, format_record


def _members(tokens: list[Path]) -> tuple[dict[str, bytes], set[bytes]]:
    """Every HSM that any state of the domain named, and the domains' ids."""
    members: dict[str, bytes] = {}
    domains: set[bytes] = set()
    for path in tokens:
        _, state = parse_domain_token(path.read_bytes())
        domains.add(state.domain_id)
        members.update({member.member_id: member.signing_public for member in state.members})
    return members, domains


def _home(given: str | None) -> Path:
    if given:
        return Path(given).expanduser()
    production, development = Path("~/.strongroom").expanduser(), Path("~/.strongroom-dev").expanduser()
    return production if production.exists() or not development.exists() else development


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="strongroom audit",
        epilog="example: strongroom audit verify --home /var/lib/strongroom",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    verify = commands.add_parser(
        "verify",
        help="verify the audit trail offline",
        description="Verify chain and signed heads of an audit trail; exit status 1 if anything is wrong.",
        epilog="example: strongroom audit verify --home /var/lib/strongroom",
        allow_abbrev=False,
    )
    verify.add_argument(
        "--expected-digest",
        type=_digest,
        default=b"",
        help="the last digest that an earlier run printed and you kept elsewhere: its head must still be there",
    )
    verify.set_defaults(run=_verify)
    why = commands.add_parser(
        "why",
        prog="strongroom iam why",
        help="what became of a request, and why",
        description="What became of a request: of a refusal, which statement decided, and what would have to change.",
        epilog="example: strongroom iam why 0b1fca1e-4c2a-8f6e-8d52-70b100000002",
        allow_abbrev=False,
    )
    why.add_argument(
        "request_id",
        nargs="?",
        default="",
        help="as the answer's x-amzn-RequestId header tells it (default: the newest request that a policy refused)",
    )
    why.add_argument("--principal", default="", help="without a request id: the newest refused one of this principal")
    why.set_defaults(run=_why)
    for command in (verify, why):
        command.add_argument(
            "--home", help="the home (default ~/.strongroom, or ~/.strongroom-dev where only that exists)"
        )
        command.add_argument("--directory", help="the trail's directory (default: service/audit in the home)")
    return parser


def _digest(text: str) -> bytes:
    """What argparse calls invalid when it is not hexadecimal."""
    return bytes.fromhex(text)


def _verify(arguments: argparse.Namespace, home: Path, trail: Path) -> int:
    if not (home / "domain").is_dir():
        print(f"strongroom: {home} is no home of Strongroom: name one with --home", file=sys.stderr)
        return 2
    members, domains = _members(sorted((home / "domain").glob("token-*")))
    report = verify_directory(trail, members, domains, expected_digest=arguments.expected_digest or None)
    for problem in report.problems:
        print(f"{problem.file}:{problem.line}: {problem.what}")
    print(f"last head: {report.last_digest.hex() if report.heads else 'none is signed yet'}")
    print(
        f"{report.records} records in {report.segments} segments, {report.heads} signed heads, "
        f"{report.records_after_last_head} records after the last head, {report.problem_count} problems"
    )
    return 1 if report.problem_count else 0


def _why(arguments: argparse.Namespace, _: Path, trail: Path) -> int:
    wanted = arguments.request_id
    record = find_request(trail, wanted) if wanted else find_last_refusal(trail, arguments.principal)
    if record is None:
        what = f"request {wanted}" if wanted else "request that a policy refused"
        print(f"strongroom: no {what} is in {trail}", file=sys.stderr)
        return 1
    print("\n".join(format_record(record)))
    return 0


def main() -> None:
    arguments = _parser().parse_args()
    home = _home(arguments.home)
    trail = Path(arguments.directory) if arguments.directory else home / "service" / "audit"
    if not trail.is_dir():
        print(f"strongroom: there is no audit trail in {home}: name a home with --home", file=sys.stderr)
        raise SystemExit(2)
    try:
        raise SystemExit(arguments.run(arguments, home, trail))
    except BrokenPipeError:  # Whoever reads has read enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except (OSError, DomainTokenError, ValueError) as error:
        print(f"strongroom: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
