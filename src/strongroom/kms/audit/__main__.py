"""`python -m strongroom.kms.audit verify`: what `strongroom audit verify` runs; reads files only, needs no service."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from strongroom.boundary.domain_token import DomainTokenError, parse_domain_token
from strongroom.kms.audit.verify import verify_directory


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


def main() -> None:
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
    verify.add_argument("--home", help="the home (default ~/.strongroom, or ~/.strongroom-dev where only that exists)")
    verify.add_argument(
        "--expected-digest",
        default="",
        help="the last digest that an earlier run printed and you kept elsewhere: its head must still be there",
    )
    verify.add_argument("--directory", help="the trail's directory (default: service/audit in the home)")
    arguments = parser.parse_args()
    home = _home(arguments.home)
    if not (home / "domain").is_dir():
        print(f"strongroom: {home} is no home of Strongroom: name one with --home", file=sys.stderr)
        raise SystemExit(2)
    try:
        members, domains = _members(sorted((home / "domain").glob("token-*")))
        report = verify_directory(
            Path(arguments.directory) if arguments.directory else home / "service" / "audit",
            members,
            domains,
            expected_digest=bytes.fromhex(arguments.expected_digest) or None,
        )
    except (OSError, DomainTokenError, ValueError) as error:
        print(f"strongroom: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    for problem in report.problems:
        print(f"{problem.file}:{problem.line}: {problem.what}")
    print(f"last head: {report.last_digest.hex() if report.heads else 'none is signed yet'}")
    print(
        f"{report.records} records in {report.segments} segments, {report.heads} signed heads, "
        f"{report.records_after_last_head} records after the last head, {report.problem_count} problems"
    )
    raise SystemExit(1 if report.problem_count else 0)


if __name__ == "__main__":
    main()
