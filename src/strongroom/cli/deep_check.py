"""`strongroom doctor --deep`: every row, every key's material in the HSM, and what a recovery would need.

The service looks at itself in pages (kms/admin/inspection.py); this end asks for one page after the other and compares
what lies in the home: domain token, sealed states, recovery bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from strongroom.boundary.domain_token import DomainState, DomainTokenError, parse_domain_token
from strongroom.boundary.recovery_bundle import RecoveryBundleError, parse_recovery_bundle
from strongroom.cli.admin_socket import AdminRefusedError, ask

Verdict = Literal["ok", "weak", "bad"]
Finding = tuple[Verdict, str]

# A report is for people: the rest of a section's findings is counted.
_LISTED_MAX: Final = 1_000
# The files' own check is one page, and reads everything.
_PAGE_S_MAX: Final = 600.0


def check_store(home: Path) -> Iterator[Finding]:
    """Every section of the store, page by page."""
    try:
        for section in ask(home, "sections"):
            yield from _section(home, section)
    except (ConnectionError, AdminRefusedError) as error:
        yield "bad", f"the inspection was broken off: {error}"


def _section(home: Path, section: str) -> Iterator[Finding]:
    rows = after = found = 0
    while True:
        page = ask(home, "inspect", _PAGE_S_MAX, section=section, after=str(after))
        rows += page["rows"]
        for finding in page["findings"]:
            found += 1
            if found <= _LISTED_MAX:
                yield "bad", " ".join(filter(None, (section, finding["row"]))) + f": {finding['what']}"
        after = page["after"]
        if not after:
            break
    if found > _LISTED_MAX:
        yield "bad", f"{section}: {found - _LISTED_MAX} findings more"
    if not found:
        yield "ok", "the store's files are whole" if section == "files" else f"{section}: {rows} rows hold"


def check_domain(home: Path, bundles: Sequence[Path]) -> Iterator[Finding]:
    """Domain token, sealed states and recovery bundle belong together; `bundles` were named by the operator."""
    tokens = sorted((home / "domain").glob("token-*"))
    if not tokens:
        yield "bad", f"there is no domain token in {home / 'domain'}"
        return
    try:
        _, state = parse_domain_token(tokens[-1].read_bytes())
    except DomainTokenError as error:
        yield "bad", f"{tokens[-1].name}: {error}"
        return
    yield "ok", f"{tokens[-1].name} names {len(state.members)} members and {len(state.domain_keys)} domain keys"
    yield from _sealed_states(home, tokens[-1])
    yield from _running(home, state)
    yield from _bundles(home, state, bundles)


def _sealed_states(home: Path, newest: Path) -> Iterator[Finding]:
    """Behind its sealed identity, each copy carries the domain token that it was made with (docs/formats.md, 10)."""
    token = newest.read_bytes()
    for path in sorted((home / "hsm").glob("*.state.?")):
        agrees = path.read_bytes().endswith(token)
        yield (
            ("ok" if agrees else "bad"),
            f"the sealed state {path.name} {'carries' if agrees else 'does not carry'} the newest domain token",
        )


def _running(home: Path, state: DomainState) -> Iterator[Finding]:
    try:
        hsm = ask(home, "status")["hsm"]
    except (ConnectionError, AdminRefusedError):
        return  # Said already.
    same = (hsm["domain_id"], hsm["state_version"]) == (state.domain_id.hex(), state.version)
    yield ("ok" if same else "bad"), f"the HSM {'is' if same else 'is not'} in the state of the newest domain token"


def _bundles(home: Path, state: DomainState, named: Sequence[Path]) -> Iterator[Finding]:
    paths = [*named, *_bundles_in(home)]
    if not paths:
        yield "weak", "no recovery bundle was looked at: name the file that you keep with --recovery-bundle"
    for path in paths:
        try:
            bundle = parse_recovery_bundle(path.read_bytes())
        except (OSError, RecoveryBundleError) as error:
            yield "bad", f"the recovery bundle {path}: {error}"
            continue
        opens = bundle.domain_id == state.domain_id and bundle.member in state.members and bundle.member.offline
        yield (
            ("ok" if opens else "bad"),
            f"the recovery bundle {path} {'is' if opens else 'is not'} a member of this domain"
            + (f": {bundle.needed} of {bundle.total} shares open it" if opens else ", so it recovers nothing"),
        )


def _bundles_in(home: Path) -> list[Path]:
    """The newest bundle that nobody took away yet; older ones open older backups only."""
    try:
        return sorted(path for path in (home / "recovery").iterdir() if path.name.startswith("recovery-bundle-"))[-1:]
    except OSError:
        return []
