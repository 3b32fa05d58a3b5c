"""`strongroom doctor`: is this installation sound? One line per check, the weak ones said plainly."""

from __future__ import annotations

import argparse
import json
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from strongroom.cli.admin_socket import AdminRefusedError, ask, ask_worker, workers
from strongroom.cli.deep_check import Finding, check_domain, check_store, sort_bundles


def add_parser(commands: Any, add_home: Callable[[argparse.ArgumentParser], None]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="check a running installation",
        description="Check a running installation; exit status 1 if something is bad.",
        epilog="example: strongroom doctor --home /var/lib/strongroom",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--deep",
        action="store_true",
        help="look at every row, and have the HSM open every key: seconds per 100,000 keys",
    )
    parser.add_argument(
        "--recovery-bundle",
        action="append",
        default=[],
        metavar="FILE",
        help="with --deep: a recovery bundle that you keep, to be compared with the domain",
    )
    add_home(parser)
    parser.set_defaults(run=_run)


def _run(parsed: argparse.Namespace, home: Path) -> int:
    if not (home / "strongroom.toml").exists():
        print(f"strongroom: {home} is no home of Strongroom: name one with --home", file=sys.stderr)
        return 2
    if parsed.recovery_bundle and not parsed.deep:
        print("strongroom: --recovery-bundle goes with --deep", file=sys.stderr)
        return 2
    places = _places(home)
    findings = [*_files(home), *_credential(home), *_service(home), *_audit(home)]
    bundles = sort_bundles(places, [Path(path) for path in parsed.recovery_bundle])
    for region, place in places.items():
        found = [] if place == home else [*_files(place)]
        if parsed.deep:
            found += [*check_domain(home, place, region, bundles[region]), *check_store(home, region)]
        findings += found if place == home else [(verdict, f"{region}: {text}") for verdict, text in found]
    if parsed.json:
        print(json.dumps([{"verdict": verdict, "finding": text} for verdict, text in findings]))
    else:
        for verdict, text in findings:
            print(f"{verdict:<5} {text}")
    return 1 if any(verdict == "bad" for verdict, _ in findings) else 0


def _places(home: Path) -> dict[str, Path]:
    """Where each region's own lie, the home region's first."""
    settings = tomllib.loads((home / "strongroom.toml").read_text(encoding="utf-8"))
    return {settings["region"]: home, **{name: home / "regions" / name for name in settings.get("regions", [])}}


def _files(place: Path) -> Iterator[Finding]:
    seal = place / "seal" / "local.secret"
    try:
        mode, owner = stat.S_IMODE(seal.stat().st_mode), seal.stat().st_uid
    except PermissionError:
        yield "ok", "the seal's secret is out of this user's sight"
    except FileNotFoundError:
        yield "bad", f"the seal's secret is missing: {seal}"
    else:
        private = mode & 0o077 == 0
        yield (
            ("ok" if private else "bad"),
            f"the seal's secret is readable by user {owner} {'only' if private else 'and others'}",
        )
    states = sorted((place / "hsm").glob("*.state.?"))
    same = len({state.read_bytes() for state in states}) == 1
    yield (
        ("ok" if len(states) >= 2 and same else "bad"),
        f"{len(states)} copies of the HSM's sealed state, {'equal' if same else 'different'}",
    )
    yield from _recovery(place)


def _recovery(place: Path) -> Iterator[Finding]:
    """Files for people that should lie elsewhere by now."""
    try:
        left = sorted(path.name for path in (place / "recovery").iterdir() if path.name.startswith("recovery-"))
    except OSError:
        yield "ok", "the recovery directory is out of this user's sight"
    else:
        if left:
            yield "weak", f"{', '.join(left)} still in {place / 'recovery'}: take them to two safe places"
        else:
            yield "ok", "no recovery bundle or share lies in the home"


def _credential(home: Path) -> Iterator[Finding]:
    """The first administrator's, which should lie elsewhere by now."""
    first = home / "service" / "first-access-key"
    try:
        if first.exists():
            yield "weak", f"the first access key still lies in {first}: move it away, whoever reads service/ has it"
    except PermissionError:
        pass


def _service(home: Path) -> Iterator[Finding]:
    try:
        status = ask(home, "status")
    except (ConnectionError, AdminRefusedError) as error:
        yield "bad", str(error)
        return
    yield from _hsms(status)
    hsm = status["hsm"]
    measures = hsm["measures"]
    arena = measures["arena"]
    yield ("ok" if arena == "memfd_secret" else "weak"), f"keys lie in {arena} memory"
    yield "ok", f"core dumps {measures['core dumps']}, freed memory {measures['freed memory']}"
    hsm_uid, kms_uid = int(measures["user id"]), (home / "service").stat().st_uid
    if hsm_uid == kms_uid:
        yield "weak", f"one user ({hsm_uid}) runs HSM and service: the wall holds against bugs only"
        confined = status["confined"]
        yield (
            ("ok" if confined else "weak"),
            f"the service {'has shut itself' if confined else 'is not shut'} off the seal (Landlock)",
        )
    else:
        yield "ok", f"HSM and service run as two users ({hsm_uid} and {kms_uid})"
    yield from _workers(home)


def _hsms(status: dict[str, Any]) -> Iterator[Finding]:
    several = len(status["regions"]) > 1 or status["not open"]
    for region in status["regions"]:
        hsm, where = region["hsm"], f" in {region['region']}" if several else ""
        if hsm is None:
            yield "bad", f"the HSM{where} does not answer"
        else:
            yield ("ok" if hsm["state"] == "OPERATIONAL" else "bad"), f"the HSM {hsm['id']}{where} is {hsm['state']}"
        if region["clock"]["held_since_s"] is not None:
            yield "weak", f"the clock jumped, and deletions{where} are held: if it is right, `strongroom clock accept`"
    for name in status["not open"]:
        yield "bad", f"the region {name} is not open: its HSM or its store cannot be used"


def _workers(home: Path) -> Iterator[Finding]:
    """Each worker has an audit chain of its own."""
    names = workers(home)
    for name in names:
        prefix = "the audit trail" if len(names) == 1 else f"worker {name}: its audit chain"
        try:
            audit = ask_worker(home, name, "status")["audit"]
        except (ConnectionError, AdminRefusedError) as error:
            yield "bad", f"worker {name}: {error}"
            continue
        takes = audit["takes records"]
        yield (
            ("ok" if takes else "bad"),
            f"{prefix} has {audit['records']} records and {'takes' if takes else 'refuses'} more",
        )


def _audit(home: Path) -> Iterator[Finding]:
    command = [sys.executable, "-P", "-m", "strongroom.kms.audit", "verify", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)  # noqa: S603 -- our own program.
    last = (done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["no answer"])[-1]
    yield ("ok" if done.returncode == 0 else "bad"), f"audit verify: {last}"
