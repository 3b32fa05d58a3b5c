"""Restore: a new HSM takes a domain over from its recovery bundle, beside a home's backup of service/ and domain/.

The old sealed state, if any is left, is set aside and not deleted; the used bundle is replaced by a new one.
"""

from __future__ import annotations

from pathlib import Path

from strongroom.supervisor import children
from strongroom.supervisor.home import Home, HomeError
from strongroom.supervisor.hsm_control import ControlChannel, recover
from strongroom.supervisor.supervise import HSM_ID, Options, Supervisor


def restore(root: Path, bundle: Path, shares: list[Path]) -> None:
    """Bring the home's HSM back; prints where the new bundle lies.

    Raises:
        HomeError: there is nothing to restore, or bundle and shares do not open it; the home is as it was.
    """
    home = Home(root)
    settings = home.settings()
    tokens = home.domain_tokens()
    if settings is None or not tokens:
        raise HomeError(f"{home.root} has no strongroom.toml and domain/ from a backup: put them there first")
    supervisor = Supervisor(
        Options(home.root, "127.0.0.1", 0, settings.account, settings.region, settings.development, ("hsm",))
    )
    set_aside = [
        path.rename(path.with_name(path.name + ".before-restore"))
        for path in home.sealed_states(HSM_ID)
        if path.exists()
    ]
    try:
        supervisor.prepare()
        process, control = children.start_hsm(str(home.hsm_config(HSM_ID)), supervisor.users.hsm)
        channel = ControlChannel(control)
        try:
            held = [path.read_bytes() for path in shares]
            files = recover(
                channel, home, HSM_ID, bundle.read_bytes(), held, tokens[-1].read_bytes(), supervisor.users.kms
            )
        finally:
            channel.close()
            children.stop(process)
    except BaseException:
        for path in set_aside:
            path.rename(path.with_name(path.name.removesuffix(".before-restore")))
        raise
    print("The HSM has its domain again. The old bundle is used up; take these files away instead:")
    for path in files:
        print(f"  {path}")
