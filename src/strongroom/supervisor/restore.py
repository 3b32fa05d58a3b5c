"""Restore: a new HSM takes a domain over from its recovery bundle, beside a home's backup of service/ and domain/.

The old sealed state, if any is left, is set aside and not deleted; the used bundle is replaced by a new one.
"""

from __future__ import annotations

from pathlib import Path

from strongroom.supervisor import children
from strongroom.supervisor.home import Home, HomeError, HomeSettings, RegionHome
from strongroom.supervisor.hsm_control import ControlChannel, recover, service_host_public
from strongroom.supervisor.preparation import HSM_ID, Options, prepare, prepare_region


def restore(root: Path, bundle: Path, shares: list[Path], region: str = "") -> None:
    """Bring one region's HSM back, the home region's where none is named; prints where the new bundle lies.

    1. read what people brought, 2. take the home, 3. set the old sealed state aside, 4. recover, 5. or put all of it back.

    Raises:
        HomeError: there is nothing to restore, or bundle and shares do not open it; the home is as it was.
    """
    home = Home(root)
    place, settings = _require_backup(home, region)
    tokens = place.domain_tokens()
    recovery_bundle, held = bundle.read_bytes(), [path.read_bytes() for path in shares]  # 1
    secrets_before = _secrets_of(home, place)
    options = Options(home.root, "127.0.0.1", 0, settings.account, (), settings.development, ("hsm",))
    users = prepare(home, options, restoring=True).users  # 2
    if place is not home:
        prepare_region(place, users, was_made=True, restoring=True)
    set_aside = [  # 3
        path.rename(path.with_name(path.name + ".before-restore"))
        for path in place.sealed_states(HSM_ID)
        if path.exists()
    ]
    before = _made_by_recovery(place)
    try:
        public = service_host_public(home, users.kms)
        process, control = children.start_hsm(str(place.hsm_config(HSM_ID)), users.hsm)
        channel = ControlChannel(control)
        try:
            files = recover(channel, place, HSM_ID, recovery_bundle, held, tokens[-1].read_bytes(), public)  # 4
        finally:
            channel.close()
            children.stop(process)
    except BaseException as error:  # 5
        # What was not acknowledged has wrapped nothing; a token that only a lost state opens would shut the old one out.
        for path in _made_by_recovery(place) - before:
            path.unlink()
        for path in set_aside:
            path.rename(path.with_name(path.name.removesuffix(".before-restore")))
        for path in _secrets_of(home, place) - secrets_before:
            path.unlink()
        if isinstance(error, HomeError) and "AUTHENTICATION_FAILED" in str(error):
            raise HomeError(
                f"{bundle}, the shares and {tokens[-1]} do not belong together: each backup opens with the bundle and "
                "the shares that were the newest when it was made"
            ) from None
        raise
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


def _made_by_recovery(place: RegionHome) -> set[Path]:
    states = (path for path in place.sealed_states(HSM_ID) if path.exists())
    return {*states, *place.domain_tokens(), *place.recovery.glob("recovery-*")}
