"""`python -m strongroom.supervisor up|backup|restore …`: what `strongroom up`, `hsm`, `kms`, `backup`, `restore` run."""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

from strongroom.supervisor.backup import back_up, print_report
from strongroom.supervisor.home import HomeError
from strongroom.supervisor.preparation import Options
from strongroom.supervisor.restore import restore
from strongroom.supervisor.supervise import REGION, Supervisor

# Two descriptors and one connection to each region's HSM per worker; more than a machine has cores helps nobody.
_WORKERS_MAX = 64
# Smaller files of the audit trail would be more names than records.
_SEGMENT_BYTES_MIN = 1 << 16
_DEFAULT_HOME = "~/.strongroom"
_DEVELOPMENT_HOME = "~/.strongroom-dev"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="strongroom", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, summary in (
        ("up", "start HSM and KMS service, and watch them"),
        ("hsm", "start the HSM alone"),
        ("kms", "start the KMS service alone"),
    ):
        up = commands.add_parser(
            name, help=summary, description=summary, epilog=f"example: strongroom {name} --dev", allow_abbrev=False
        )
        up.add_argument("--home", help=f"everything lives here (default {_DEFAULT_HOME}; --dev: {_DEVELOPMENT_HOME})")
        up.add_argument("--listen", default="127.0.0.1", help="address to serve on (default 127.0.0.1)")
        up.add_argument("--port", type=int, default=4599, help="port to serve on (default 4599)")
        up.add_argument("--tls-cert", default="", help="certificate chain in PEM; needed to serve beyond loopback")
        up.add_argument("--tls-key", default="", help="private key of the certificate in PEM")
        up.add_argument("--account", default="", help="12-digit account id (default 000000000000)")
        up.add_argument(
            "--region",
            default=[],
            action="append",
            help="region in ARNs and signatures; once per region, the home's own first (default: those that the home has; "
            "us-east-1 at first). With --dev, AWS's regions are made on first use",
        )
        up.add_argument("--dev", action="store_true", help="development: credentials test/test, loopback only")
        up.add_argument(
            "--strict-audit", action="store_true", help="answer only when the audit record is on stable storage"
        )
        _add_what_is_told(up)
        up.add_argument("--workers", type=int, default=1, help="processes of the service (default 1)")
        up.add_argument("--hsms", type=int, default=1, help="HSM processes per region (one, for now)")
    _add_backup(commands)
    back = commands.add_parser(
        "restore",
        help="bring a home back from its backup and the recovery bundle",
        description="Bring a home back on a machine that has lost the HSM's state or its seal.",
        epilog="example: strongroom restore --home /var/lib/strongroom --bundle BUNDLE --share SHARE",
        allow_abbrev=False,
    )
    back.add_argument("--home", required=True, help="the home, with service/ and domain/ from a backup in it")
    back.add_argument("--bundle", required=True, help="the recovery bundle's file")
    back.add_argument("--share", required=True, action="append", help="a share's file; once per share")
    back.add_argument("--region", default="", help="the region to bring back (default: the home's own)")
    return parser


def _add_backup(commands: Any) -> None:
    backup = commands.add_parser(
        "backup",
        help="copy what a restore needs, while the service runs",
        description="Copy what a restore needs, beside the recovery bundle and its shares, while the service runs.",
        epilog="example: strongroom backup --home /var/lib/strongroom --to /var/backups/strongroom/today",
        allow_abbrev=False,
    )
    backup.add_argument("--home", required=True, help="the home")
    backup.add_argument("--to", required=True, help="the directory to make; one that exists is not touched")
    backup.add_argument("--json", action="store_true", help="answer in JSON")


def _add_what_is_told(up: argparse.ArgumentParser) -> None:
    """What the service records, logs and counts."""
    up.add_argument(
        "--audit-segment-bytes",
        type=int,
        default=64 << 20,
        metavar="N",
        help="a file of the audit trail that is longer is followed by a new one (default 64 MiB)",
    )
    up.add_argument(
        "--audit-keep-days",
        type=float,
        default=0.0,
        metavar="N",
        help="remove what is older from the audit trail, which says so (default: keep everything)",
    )
    up.add_argument(
        "--request-log",
        choices=("all", "errors", "off"),
        default="errors",
        help="which requests are a JSON line on standard error; the audit trail has all (default errors)",
    )
    up.add_argument(
        "--metrics-listen",
        default="",
        metavar="ADDRESS:PORT",
        help="serve Prometheus metrics there (default: nowhere), for example 127.0.0.1:9464",
    )


def _options(arguments: argparse.Namespace) -> Options:
    try:
        loopback = ipaddress.ip_address(arguments.listen).is_loopback
    except ValueError:
        raise HomeError("--listen takes an IP address") from None
    if not loopback and arguments.dev:
        raise HomeError("--dev serves on loopback only: its credentials are known to everybody")
    if not loopback and not (arguments.tls_cert and arguments.tls_key):
        raise HomeError("serving beyond loopback needs --tls-cert and --tls-key")
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        raise HomeError("--tls-cert and --tls-key come together")
    if not 1 <= arguments.port <= 65_535:
        raise HomeError("--port takes a number from 1 to 65535")
    if not all(REGION.fullmatch(region) for region in arguments.region):
        raise HomeError("--region takes a name such as eu-central-1")
    if arguments.home == "":
        raise HomeError("--home is empty")
    if not 1 <= arguments.workers <= _WORKERS_MAX:
        raise HomeError(f"--workers takes a number from 1 to {_WORKERS_MAX}")
    if arguments.hsms != 1:
        raise HomeError("this version runs one HSM per region")
    if arguments.account and not (len(arguments.account) == 12 and arguments.account.isdigit()):
        raise HomeError("--account takes 12 digits")
    _require_retention(arguments.audit_segment_bytes, arguments.audit_keep_days)
    home = arguments.home or (_DEVELOPMENT_HOME if arguments.dev else _DEFAULT_HOME)
    actors = ("hsm", "kms") if arguments.command == "up" else (arguments.command,)
    return Options(
        home=Path(home),
        listen=arguments.listen,
        port=arguments.port,
        account=arguments.account,
        regions=tuple(dict.fromkeys(arguments.region)),
        development=arguments.dev,
        actors=actors,
        workers=arguments.workers,
        tls_certificate=arguments.tls_cert and str(Path(arguments.tls_cert).absolute()),
        strict_audit=arguments.strict_audit,
        audit_segment_bytes=arguments.audit_segment_bytes,
        audit_keep_days=arguments.audit_keep_days,
        request_log=arguments.request_log,
        metrics=_metrics(arguments.metrics_listen),
        tls_key=arguments.tls_key and str(Path(arguments.tls_key).absolute()),
    )


def _require_retention(segment_bytes: int, keep_days: float) -> None:
    if segment_bytes < _SEGMENT_BYTES_MIN:
        raise HomeError(f"--audit-segment-bytes takes a number from {_SEGMENT_BYTES_MIN}")
    if not 0 <= keep_days < math.inf:
        raise HomeError("--audit-keep-days takes a number of days; 0 keeps everything")


def _metrics(given: str) -> tuple[str, int] | None:
    if not given:
        return None
    address, _, port = given.rpartition(":")
    try:
        ipaddress.ip_address(address.strip("[]"))
        is_port = port.isascii() and 1 <= int(port) <= 65_535
    except ValueError:
        is_port = False
    if not is_port:
        raise HomeError("--metrics-listen takes an IP address and a port, such as 127.0.0.1:9464")
    return address.strip("[]"), int(port)


def main() -> None:
    arguments = _parser().parse_args()
    os.umask(0o022)  # What may be narrower is narrowed by name; a caller's own mask must not widen or shut a directory.
    try:
        if arguments.command == "backup":
            os.umask(0o077)
            # By an exception, so that nothing is left behind.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
            print_report(back_up(Path(arguments.home), Path(arguments.to)), as_json=arguments.json)
            return
        if arguments.command == "restore":
            shares = [Path(share) for share in arguments.share]
            restore(Path(arguments.home), Path(arguments.bundle), shares, arguments.region)
            return
        supervisor = Supervisor(_options(arguments))
        supervisor.prepare()
        supervisor.run()
    except (HomeError, OSError) as error:
        print(f"strongroom: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
