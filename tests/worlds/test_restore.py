"""A machine is lost: its HSM's state and its seal are gone. What is left is a backup of service/, domain/ and
strongroom.toml, and what people took away at the first start: the recovery bundle and its share.

The tests work on copies of one home, and the copies lie elsewhere: nothing may depend on where a home was.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from strongroom.supervisor import unfinished
from strongroom.supervisor.home import HSM_ID, RegionHome
from testkit.installation import Installation

PLAINTEXT = b"written before the machine was lost"
# A person waits for it at a bad moment; starting an HSM once takes most of it.
RESTORE_S_MAX = 10.0


class Backup(NamedTuple):
    """A stopped home's backup, what people hold, and what must come back."""

    files: Path
    bundle: Path
    share: Path
    blobs: dict[str, bytes]
    aliases: dict[str, str]
    disabled: str
    heads: int
    # By whose start a promise is scaled: it knows nothing of a restore.
    lost: Installation


def _fill(kms: Any) -> tuple[dict[str, bytes], dict[str, str], str]:
    keys = [kms.create_key(Description=f"key {at}")["KeyMetadata"]["KeyId"] for at in range(5)]
    blobs = {}
    for key_id in keys:
        blobs[key_id] = kms.encrypt(KeyId=key_id, Plaintext=PLAINTEXT, EncryptionContext={"key": key_id})
        kms.create_alias(AliasName=f"alias/{key_id}", TargetKeyId=key_id)
    kms.disable_key(KeyId=keys[-1])
    return (
        {key_id: answer["CiphertextBlob"] for key_id, answer in blobs.items()},
        {f"alias/{key_id}": key_id for key_id in keys},
        keys[-1],
    )


def _back_up(root: Path) -> Backup:
    """Fill a home, stop it, and keep what an operator keeps; the home itself is destroyed."""
    lost = Installation()
    try:
        lost.start()
        kms = lost.kms()
        blobs, aliases, disabled = _fill(kms)
        kms.close()
        lost.stop()
        files = root / "backup"
        files.mkdir(parents=True)
        for name in ("service", "domain"):
            shutil.copytree(lost.home / name, files / name)
        shutil.copy2(lost.home / "strongroom.toml", files)
        (bundle,), (share,) = (
            sorted((lost.home / "recovery").glob(f"recovery-{kind}-*")) for kind in ("bundle", "share")
        )
        shutil.copy2(bundle, root / "bundle")
        shutil.copy2(share, root / "share")
        heads = len((files / "service" / "audit" / "heads.jsonl").read_bytes().splitlines())
    finally:
        lost.destroy()
    return Backup(files, root / "bundle", root / "share", blobs, aliases, disabled, heads, lost)


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Backup:
    return _back_up(tmp_path_factory.mktemp("lost"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Backup:
    """Another home's."""
    return _back_up(tmp_path_factory.mktemp("foreign"))


@pytest.fixture
def copy(backup: Backup) -> Iterator[Installation]:
    """A new machine with the backup on it."""
    copied = Installation()
    shutil.copytree(backup.files, copied.home)
    yield copied
    copied.destroy()


def _restore(home: Installation, bundle: Path, *shares: Path) -> subprocess.CompletedProcess[str]:
    options = [option for share in shares for option in ("--share", str(share))]
    return home.cli("restore", "--home", str(home.home), "--bundle", str(bundle), *options, check=False)


def _contents(home: Path) -> dict[str, str]:
    """Everything that a restore could spoil: configuration and locks are made anew at each start."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in home.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name not in {"hsm-1.toml", "kms.toml"}
    }


def _lose_the_hsm(home: Installation) -> None:
    home.stop()
    shutil.rmtree(home.home / "hsm")
    shutil.rmtree(home.home / "seal")


def _require_everything(home: Installation, backup: Backup) -> None:
    """Every key, alias and ciphertext of the backup is there, and the keys go on working."""
    kms = home.kms()
    try:
        assert kms.describe_key(KeyId=backup.disabled)["KeyMetadata"]["KeyState"] == "Disabled"
        kms.enable_key(KeyId=backup.disabled)
        for key_id, blob in backup.blobs.items():
            assert kms.decrypt(CiphertextBlob=blob, EncryptionContext={"key": key_id})["Plaintext"] == PLAINTEXT
            new = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
            assert kms.decrypt(CiphertextBlob=new["CiphertextBlob"])["Plaintext"] == new["Plaintext"]
        aliases = {alias["AliasName"]: alias["TargetKeyId"] for alias in kms.list_aliases()["Aliases"]}
        assert aliases == backup.aliases
        made = kms.create_key()["KeyMetadata"]["KeyId"]
        assert kms.encrypt(KeyId=made, Plaintext=b"x")["CiphertextBlob"]
        kms.disable_key(KeyId=backup.disabled)
    finally:
        kms.close()


def _require_whole_trail(home: Installation, backup: Backup) -> None:
    home.stop()
    done = home.cli("audit", "verify", "--home", str(home.home), check=False)
    counted = re.search(r"(\d+) signed heads, .* (\d+) problems$", done.stdout, re.MULTILINE)
    assert counted is not None, done.stdout + done.stderr
    assert int(counted[2]) == 0, done.stdout
    # Heads that the lost HSM signed, and heads that its successor signed, each under its own key.
    assert int(counted[1]) > backup.heads > 0
    signers = re.findall(r'"(hsm-1[^"]*)"', (home.home / "service" / "audit" / "heads.jsonl").read_text())
    assert set(signers) == {"hsm-1", "hsm-1-v2"}


def test_a_lost_machine_comes_back_from_its_backup_and_the_recovery_files(copy: Installation, backup: Backup) -> None:
    started = time.monotonic()
    done = _restore(copy, backup.bundle, backup.share)
    restored = time.monotonic()
    assert done.returncode == 0, done.stderr
    copy.start()
    served = time.monotonic()
    late_s = backup.lost.late_s(RESTORE_S_MAX)
    print(
        f"restored in {restored - started:.2f} s, served {served - restored:.2f} s later; late is over {late_s:.0f} s"
    )
    assert served - started < late_s
    _require_everything(copy, backup)
    _require_whole_trail(copy, backup)
    # And it is a home like any other: the next start needs nobody.
    copy.start()
    _require_everything(copy, backup)


def test_a_restore_names_the_files_to_take_away_and_shows_no_secret(copy: Installation, backup: Backup) -> None:
    done = _restore(copy, backup.bundle, backup.share)
    named = [Path(line.strip()) for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [path.name for path in named] == ["recovery-bundle-000002", "recovery-share-000002-1"]
    for path in named:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_bytes() not in {backup.bundle.read_bytes(), backup.share.read_bytes()}


def test_a_home_without_its_hsm_does_not_start_and_says_what_to_do(copy: Installation, backup: Backup) -> None:
    before = _contents(copy.home)
    with pytest.raises(AssertionError, match="strongroom restore"):
        copy.start()
    assert _contents(copy.home) == before
    assert _restore(copy, backup.bundle, backup.share).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="two users take root")
def test_a_backup_that_root_only_copied_into_place_is_to_be_restored_not_given_away(copy: Installation) -> None:
    """As two users, whose files these are not yet: a restore gives them to the right ones."""
    copy.root.chmod(0o755)
    copy.home.chmod(0o755)
    with pytest.raises(AssertionError, match="strongroom restore"):
        copy.start()
    assert "belongs to user" not in copy.output.read_text()


Attempt = Callable[[Backup, Backup, Path], tuple[Path, list[Path]]]


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


REFUSED: dict[str, Attempt] = {
    "another home's bundle and share": lambda _, foreign, __: (foreign.bundle, [foreign.share]),
    "another home's share": lambda own, foreign, _: (own.bundle, [foreign.share]),
    "another home's bundle": lambda own, foreign, _: (foreign.bundle, [own.share]),
    "one share twice": lambda own, _, __: (own.bundle, [own.share, own.share]),
    "a share too many": lambda own, foreign, _: (own.bundle, [own.share, foreign.share]),
    "bundle and share changed places": lambda own, _, __: (own.share, [own.bundle]),
    "an altered bundle": lambda own, _, tmp: (
        _written(tmp / "bundle", own.bundle.read_bytes()[:-1] + b"\0"),
        [own.share],
    ),
    "an altered share": lambda own, _, tmp: (
        own.bundle,
        [_written(tmp / "share", own.share.read_bytes()[:-1] + b"\0")],
    ),
    "an empty share": lambda own, _, tmp: (own.bundle, [_written(tmp / "share", b"")]),
    "an empty bundle": lambda own, _, tmp: (_written(tmp / "bundle", b""), [own.share]),
    "no such bundle": lambda own, _, tmp: (tmp / "nowhere", [own.share]),
    "no such share": lambda own, _, tmp: (own.bundle, [tmp / "nowhere"]),
}


def test_wrong_recovery_files_are_refused_and_change_nothing(
    copy: Installation, backup: Backup, foreign: Backup, tmp_path: Path
) -> None:
    before = _contents(copy.home)
    for name, attempt in REFUSED.items():
        bundle, shares = attempt(backup, foreign, tmp_path)
        done = _restore(copy, bundle, *shares)
        assert done.returncode == 1, name
        assert done.stderr.startswith("strongroom: "), name
        assert "Traceback" not in done.stderr, name
        assert _contents(copy.home) == before, name
    without = copy.cli("restore", "--home", str(copy.home), "--bundle", str(backup.bundle), check=False)
    assert without.returncode == 2
    assert "--share" in without.stderr
    assert _contents(copy.home) == before
    # After all of that, the right ones still do it.
    assert _restore(copy, backup.bundle, backup.share).returncode == 0
    copy.start()
    _require_everything(copy, backup)


def test_there_is_nothing_to_restore_without_the_backups_domain(copy: Installation, backup: Backup) -> None:
    shutil.rmtree(copy.home / "domain")
    done = _restore(copy, backup.bundle, backup.share)
    assert done.returncode == 1
    assert "from a backup" in done.stderr


def test_a_used_bundle_does_not_open_the_new_domain_token_and_the_new_one_does(
    copy: Installation, backup: Backup, tmp_path: Path
) -> None:
    assert _restore(copy, backup.bundle, backup.share).returncode == 0
    new_bundle, new_share = (
        shutil.move(copy.home / "recovery" / name, tmp_path / name)
        for name in ("recovery-bundle-000002", "recovery-share-000002-1")
    )
    copy.start()
    _require_everything(copy, backup)
    _lose_the_hsm(copy)
    before = _contents(copy.home)
    for bundle, share in ((backup.bundle, backup.share), (new_bundle, backup.share), (backup.bundle, new_share)):
        assert _restore(copy, bundle, share).returncode == 1
        assert _contents(copy.home) == before
    assert _restore(copy, new_bundle, new_share).returncode == 0
    copy.start()
    _require_everything(copy, backup)


def test_a_running_home_is_not_restored_and_goes_on_serving(copy: Installation, backup: Backup) -> None:
    assert _restore(copy, backup.bundle, backup.share).returncode == 0
    copy.start()
    states = {path.name: path.read_bytes() for path in (copy.home / "hsm").glob("*.state.*")}
    done = _restore(copy, backup.bundle, backup.share)
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert {path.name: path.read_bytes() for path in (copy.home / "hsm").glob("*.state.*")} == states
    _require_everything(copy, backup)


def test_a_restore_that_breaks_off_half_way_leaves_the_old_hsm_able_to_start(
    copy: Installation, backup: Backup, tmp_path: Path
) -> None:
    assert _restore(copy, backup.bundle, backup.share).returncode == 0
    bundle, share = (
        shutil.copy2(copy.home / "recovery" / name, tmp_path / name)
        for name in ("recovery-bundle-000002", "recovery-share-000002-1")
    )
    before = _contents(copy.home)
    # The disk refuses the last file, after the new domain token was written.
    obstacle = copy.home / "hsm" / ".hsm-1.state.b.new"
    obstacle.mkdir()
    assert _restore(copy, bundle, share).returncode == 1
    obstacle.rmdir()
    assert _contents(copy.home) == before
    copy.start()
    _require_everything(copy, backup)
    copy.stop()
    # The bundle was not used up by what did not happen.
    _lose_the_hsm(copy)
    assert _restore(copy, bundle, share).returncode == 0
    copy.start()
    _require_everything(copy, backup)


@pytest.mark.parametrize("renames", range(3))
def test_what_an_earlier_restore_set_aside_is_not_put_back_by_one_that_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    place = RegionHome(tmp_path, tmp_path / "service", tmp_path / "run")
    for folder in (place.hsm, place.domain, place.recovery):
        folder.mkdir()
    states = place.sealed_states(HSM_ID)
    for path in states:
        path.write_text("of now")
        path.with_name(f"{path.name}.before-restore").write_text("of long ago")
    left, rename = iter(range(renames)), Path.rename

    def cut_off(path: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise InterruptedError
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", cut_off)
    with suppress(InterruptedError):
        unfinished.begin(place)
    monkeypatch.undo()
    unfinished.undo(place)
    assert [path.read_text() for path in states] == ["of now", "of now"]
