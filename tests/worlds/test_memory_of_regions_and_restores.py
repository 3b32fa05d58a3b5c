"""An HSM of another region, and one that has just taken a domain over from its bundle: no key outside of their arenas.

The restoring HSM lives for one command. In a copy of the product its supervisor waits behind the answer, until it was
searched by root.

How the checks were seen to fail: the cases with a leak.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from testkit.installation import START_S_MAX, Installation, client
from testkit.memory import Hit, Needles, between_frames, scan_process
from testkit.planting import plant
from testkit.sealed_state import SealedState, derived_key
from worlds.leaks import HSM, LEAKS, Leak
from worlds.watched_memory import lasting_secrets, recovery_files

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root reads another process's memory"),
]

OTHER: Final = "eu-west-1"
_RECOVERED: Final = "token.read_bytes(), public)  # 4\n"
_WAITS: Final = f"{_RECOVERED}            print(process.pid, flush=True)\n            input()\n"
_KEEPS_SHARES: Final = """
_kept = []
_open_bundle = open_bundle


def open_bundle(data, shares, region):
    _kept.extend(bytes(bytearray(share)) for share in shares)
    return _open_bundle(data, shares, region)
"""
KEEPS_SHARES: Final = Leak(HSM, "bundle key", additions=(("hsm/domain/recovery.py", _KEEPS_SHARES),))
KEEPS_BACKING_KEYS: Final = LEAKS["a backing key that the HSM keeps"]


@contextmanager
def _installation(leak: Leak | None) -> Iterator[Installation]:
    installation = Installation()
    try:
        if leak is not None:
            leak.plant(installation)
        yield installation.start()
    finally:
        installation.destroy()


def _found_in_hsm(pid: int, wanted: dict[str, bytes]) -> list[Hit]:
    with between_frames(pid):
        report = scan_process(pid, Needles(wanted))
    assert report.bytes_read > 8 << 20
    return report.hits


def _require_found(found: list[Hit], leak: Leak | None) -> None:
    """What the leak leaves, and nothing else; nothing without one."""
    print(f"{len(found)} found with {leak}")
    assert {hit.secret.split(" of ")[0] for hit in found} == ({leak.secret} if leak else set()), found


@pytest.mark.parametrize("leak", [None, KEEPS_BACKING_KEYS])
def test_nothing_of_a_region_lies_in_any_hsm_or_in_the_service(leak: Leak | None) -> None:
    with _installation(leak) as installation:
        # A region is made on first use, for which a call waits a while, and no longer.
        with closing(client("kms", installation.port, region=OTHER, retries={"total_max_attempts": 5})) as kms:
            key_id = kms.create_key()["KeyMetadata"]["KeyId"]
            made = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")
            kms.decrypt(CiphertextBlob=made["CiphertextBlob"])
        wanted = lasting_secrets(installation.home / "regions" / OTHER)
        state = SealedState.open(installation.home / "regions" / OTHER)
        (ekt,) = state.ekts_of(installation.home / "service" / "regions" / OTHER / "store.db", key_id)
        wanted |= {f"HBK of {key_id}": ekt.hbk, "derived key": derived_key(ekt.hbk, made["CiphertextBlob"])}
        hsms = installation.pids_of("hsm")
        assert len(hsms) == 2
        for_hsm = wanted | {"data key": made["Plaintext"]}
        _require_found([hit for pid in hsms.values() for hit in _found_in_hsm(pid, for_hsm)], leak)
        assert scan_process(installation.pid_of("kms"), Needles(wanted)).hits == []


@contextmanager
def _restoring(installation: Installation, backup: Path, bundle: Path, share: Path) -> Iterator[int]:
    """In place of the home, whose HSM is no more; the process id of the HSM that has just taken the domain over."""
    installation.stop()
    shutil.rmtree(installation.home)
    shutil.copytree(backup, installation.home)
    plant(installation, "supervisor/restore.py", _RECOVERED, _WAITS)
    command = [sys.executable, "-m", "strongroom.cli", "restore", "--home", str(installation.home)]
    command += ["--bundle", str(bundle), "--share", str(share)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=installation.environment, text=True, **pipes) as restoring:
        assert restoring.stdout is not None
        try:
            yield next(int(line) for line in restoring.stdout if line.strip().isdigit())
            restoring.communicate("\n", timeout=START_S_MAX)
        finally:
            restoring.kill()
        assert restoring.returncode == 0


@pytest.mark.parametrize("leak", [None, KEEPS_SHARES])
def test_nothing_lies_in_an_hsm_that_has_restored_its_domain(tmp_path: Path, leak: Leak | None) -> None:
    with _installation(leak) as installation:
        backup = tmp_path / "backup"
        installation.cli("backup", "--home", str(installation.home), "--to", str(backup))
        bundle, share = (shutil.copy(path, tmp_path) for path in recovery_files(installation.home))
        wanted = {f"{name} of before": secret for name, secret in lasting_secrets(installation.home).items()}
        with _restoring(installation, backup, bundle, share) as hsm:
            wanted |= lasting_secrets(installation.home)
            _require_found(_found_in_hsm(hsm, wanted), leak)
        installation.start()
