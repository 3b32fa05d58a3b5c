"""`strongroom doctor --deep`: every row, every key's material in the HSM, and what a recovery would need.

The service looks at itself in pages (kms/admin/inspection.py); this end asks for one page after the other and compares
what lies in the home: domain token, sealed states, recovery bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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


def check_store(home: Path, region: str) -> Iterator[Finding]:
    """Every section of a region's store, page by page; the home region's where none is named."""
    try:
        for section in ask(home, "sections"):
            yield from _section(home, region, section)
    except (ConnectionError, AdminRefusedError) as error:
        yield "bad", f"the inspection was broken off: {error}"


def _section(home: Path, region: str, section: str) -> Iterator[Finding]:
    rows = after = found = 0
    while True:
        page = ask(home, "inspect", _PAGE_S_MAX, region=region, section=section, after=str(after))
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


def check_domain(home: Path, place: Path, region: str, bundles: Sequence[Path]) -> Iterator[Finding]:
    """Domain token, sealed states and recovery bundle belong together; `bundles` were named by the operator.

    `place` is where the region's own lie: the home itself for the home region.
    """
    tokens = sorted((place / "domain").glob("token-*"))
    if not tokens:
        yield "bad", f"there is no domain token in {place / 'domain'}"
        return
    try:
        _, state = parse_domain_token(tokens[-1].read_bytes())
    except DomainTokenError as error:
        yield "bad", f"{tokens[-1].name}: {error}"
        return
    yield "ok", f"{tokens[-1].name} names {len(state.members)} members and {len(state.domain_keys)} domain keys"
    yield from _sealed_states(place, tokens[-1])
    yield from _running(home, region, state)
    yield from _bundles(place, state, bundles)


def _sealed_states(place: Path, newest: Path) -> Iterator[Finding]:
    """Behind its sealed identity, each copy carries the domain token that it was made with (docs/formats.md, 10)."""
    token = newest.read_bytes()
    for path in sorted((place / "hsm").glob("*.state.?")):
        agrees = path.read_bytes().endswith(token)
        yield (
            ("ok" if agrees else "bad"),
            f"the sealed state {path.name} {'carries' if agrees else 'does not carry'} the newest domain token",
        )


def _running(home: Path, region: str, state: DomainState) -> Iterator[Finding]:
    try:
        found = [one for one in ask(home, "status")["regions"] if one["region"] == region]
    except (ConnectionError, AdminRefusedError):
        return  # Said already.
    hsm = found[0]["hsm"] if found else None
    if hsm is None:
        return  # Said already.
    same = (hsm["domain_id"], hsm["state_version"]) == (state.domain_id.hex(), state.version)
    yield ("ok" if same else "bad"), f"the HSM {'is' if same else 'is not'} in the state of the newest domain token"


def sort_bundles(places: Mapping[str, Path], named: Sequence[Path]) -> dict[str, list[Path]]:
    """Each bundle goes with the region whose domain it recovers; one of none, with the home region, which says so."""
    bundles: dict[str, list[Path]] = {region: [] for region in places}
    for path in named:
        domain_id = _domain_of_bundle(path)
        regions = [region for region, place in places.items() if domain_id and _domain_of(place) == domain_id]
        bundles[regions[0] if regions else next(iter(places))].append(path)
    return bundles


def _domain_of_bundle(path: Path) -> bytes | None:
    try:
        return parse_recovery_bundle(path.read_bytes()).domain_id
    except (OSError, RecoveryBundleError):
        return None


def _domain_of(place: Path) -> bytes | None:
    try:
        _, state = parse_domain_token(max((place / "domain").glob("token-*")).read_bytes())
    except (OSError, ValueError, DomainTokenError):
        return None
    return state.domain_id


def _bundles(place: Path, state: DomainState, named: Sequence[Path]) -> Iterator[Finding]:
    paths = [*named, *_bundles_in(place)]
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


def _bundles_in(place: Path) -> list[Path]:
    """The newest bundle that nobody took away yet; older ones open older backups only."""
    try:
        return sorted(path for path in (place / "recovery").iterdir() if path.name.startswith("recovery-bundle-"))[-1:]
    except OSError:
        return []
