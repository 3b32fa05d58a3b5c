"""Restore: a new HSM takes a domain over from its recovery bundle, beside a home's backup of service/ and domain/.

The old sealed state, if any is left, is set aside and not deleted; the used bundle is replaced by a new one. One that is
cut off is given once more: see `unfinished.py`.
"""

from __future__ import annotations

from pathlib import Path

from strongroom.supervisor import children, unfinished
from strongroom.supervisor.home import HSM_ID, Home, HomeError, HomeSettings, RegionHome, sync_tree
from strongroom.supervisor.hsm_control import ControlChannel, recover, service_host_public
from strongroom.supervisor.preparation import Options, prepare, prepare_region


def restore(root: Path, bundle: Path, shares: list[Path], region: str = "") -> None:
    """Bring one region's HSM back, the home region's where none is named; prints where the new bundle lies.

    1. read what people brought, 2. take the home, and make durable what they put there: it will be written to,
    3. set the old sealed state aside, 4. recover, 5. or put all of it back.

    Raises:
        HomeError: there is nothing to restore, or bundle and shares do not open it; the home is as it was.
    """
    home = Home(root)
    place, settings = _require_backup(home, region)
    recovery_bundle, held = bundle.read_bytes(), [path.read_bytes() for path in shares]  # 1
    secrets_before = _secrets_of(home, place)
    options = Options(home.root, "127.0.0.1", 0, settings.account, (), settings.development, ("hsm",))
    users = prepare(home, options, restoring=True).users  # 2
    if place is not home:
        prepare_region(place, users, was_made=True, restoring=True)
    sync_tree(home.root)
    token = place.domain_tokens()[-1]
    unfinished.begin(place)  # 3
    try:
        public = service_host_public(home, users.kms)
        process, control = children.start_hsm(str(place.hsm_config(HSM_ID)), users.hsm)
        channel = ControlChannel(control)
        try:
            files = recover(channel, place, HSM_ID, recovery_bundle, held, token.read_bytes(), public)  # 4
        finally:
            channel.close()
            children.stop(process)
    except BaseException as error:  # 5
        unfinished.undo(place)
        for path in _secrets_of(home, place) - secrets_before:
            path.unlink()
        if isinstance(error, HomeError) and "AUTHENTICATION_FAILED" in str(error):
            newest = place.recovery / token.name.replace("token", "recovery-bundle")
            own = f"; {token} opens with {newest} and the shares beside it" if newest.exists() else ""
            raise HomeError(
                f"{bundle}, the shares and {token} do not belong together: each backup opens with the bundle and "
                f"the shares that were the newest when it was made{own}"
            ) from None
        raise
    unfinished.end(place)
    print("The HSM has its domain again. These files open the backups that you make from now on; take them away:")
    for path in files:
        print(f"  {path}")
    print(
        "Make a backup now. Older backups open with the bundle and the shares that you used just now: keep those too,"
    )
    print("as long as you keep an older backup.")


def _require_backup(home: Home, region: str) -> tuple[RegionHome, HomeSettings]:
    """Where the region's domain keeps its own, and the home's settings."""
    settings = home.settings()
    if settings is None:
        raise HomeError(f"{home.root} has no strongroom.toml and domain/ from a backup: put them there first")
    if region not in ("", settings.region, *settings.regions):
        raise HomeError(f"{home.root} has no region {region}: strongroom.toml lists those that it has")
    place = home.other_region(region) if region in settings.regions else home
    if not place.domain_tokens():
        raise HomeError(f"{place.base} has no domain/ from a backup: put it there first")
    return place, settings


def _secrets_of(home: Home, place: RegionHome) -> set[Path]:
    return {path for path in (home.seal_secret, place.seal_secret, home.identity_key) if path.exists()}
