"""What a person sees after a start: the lines to paste, where the secrets lie, and what is weak."""

from __future__ import annotations

from strongroom.supervisor.home import Home, HomeSettings
from strongroom.supervisor.users import Users


def _lines_to_paste(home: Home, settings: HomeSettings, url: str) -> list[str]:
    lines = ["", "Strongroom serves. Point a client at it:", ""]
    lines += [f"  export AWS_ENDPOINT_URL_{service}={url}" for service in ("KMS", "STS", "IAM")]
    lines += [f"  export AWS_REGION={settings.region} AWS_DEFAULT_REGION={settings.region}"]
    if settings.development:
        lines += ["  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"]
    elif home.first_access_key.exists():
        lines += [f"  export AWS_SHARED_CREDENTIALS_FILE={home.first_access_key}"]
    return lines


def print_banner(home: Home, settings: HomeSettings, url: str, users: Users) -> None:
    """`url` is empty where no service was started."""
    lines = _lines_to_paste(home, settings, url) if url else ["", "The HSM serves."]
    lines += ["", f"  home     {home.root}", f"  account  {settings.account}", f"  users    {users.explanation}"]
    lines += [f"  regions  {', '.join((settings.region, *settings.regions))}"]
    if settings.development:
        lines += ["  mode     development: well-known credentials, loopback only"]
    places = [home, *(home.other_region(name) for name in settings.regions)]
    if files := [path for place in places for path in sorted(place.recovery.glob("recovery-*"))]:
        lines += [
            "",
            "Here lies what recovers every key. Without it a lost or damaged disk loses every key for ever.",
            "Take these files to two safe places, away from this machine, and delete them here:",
            *(f"  {path}" for path in files),
        ]
    print("\n".join(lines), flush=True)
