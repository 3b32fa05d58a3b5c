"""Restore: a new HSM takes a domain over from its recovery bundle, beside a home's backup of service/ and domain/.

The old sealed state, if any is left, is set aside and not deleted; the used bundle is replaced by a new one.
"""

from __future__ import annotations

from pathlib import Path

from strongroom.supervisor import children
from strongroom.supervisor.home import Home, HomeError
from strongroom.supervisor.hsm_control import ControlChannel, recover
from strongroom.supervisor.preparation import HSM_ID, Options, prepare


def restore(root: Path, bundle: Path, shares: list[Path]) -> None:
    """Bring the home's HSM back; prints where the new bundle lies.

    1. read what people brought, 2. take the home, 3. set the old sealed state aside, 4. recover, 5. or put all of it back.

    Raises:
        HomeError: there is nothing to restore, or bundle and shares do not open it; the home is as it was.
    """
    home = Home(root)
    settings = home.settings()
    tokens = home.domain_tokens()
    if settings is None or not tokens:
        raise HomeError(f"{home.root} has no strongroom.toml and domain/ from a backup: put them there first")
    recovery_bundle, held = bundle.read_bytes(), [path.read_bytes() for path in shares]  # 1
    secrets_before = _secrets_of(home)
    options = Options(home.root, "127.0.0.1", 0, settings.account, settings.region, settings.development, ("hsm",))
    users, _ = prepare(home, options, restoring=True)  # 2
    set_aside = [  # 3
        path.rename(path.with_name(path.name + ".before-restore"))
        for path in home.sealed_states(HSM_ID)
        if path.exists()
    ]
    before = _made_by_recovery(home)
    try:
        process, control = children.start_hsm(str(home.hsm_config(HSM_ID)), users.hsm)
        channel = ControlChannel(control)
        try:
            files = recover(  # 4
                channel, home, HSM_ID, recovery_bundle, held, tokens[-1].read_bytes(), users.kms
            )
        finally:
            channel.close()
            children.stop(process)
    except BaseException as error:  # 5
        # What was not acknowledged has wrapped nothing; a token that only a lost state opens would shut the old one out.
        for path in _made_by_recovery(home) - before:
            path.unlink()
        for path in set_aside:
            path.rename(path.with_name(path.name.removesuffix(".before-restore")))
        for path in _secrets_of(home) - secrets_before:
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


def _secrets_of(home: Home) -> set[Path]:
    return {path for path in (home.seal_secret, home.identity_key) if path.exists()}


def _made_by_recovery(home: Home) -> set[Path]:
    states = (path for path in home.sealed_states(HSM_ID) if path.exists())
    return {*states, *home.domain_tokens(), *home.recovery.glob("recovery-*")}
