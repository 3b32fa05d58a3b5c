"""The commands of docs/operate/backup.md as they stand there: a backup of a running home, its loss, and the drill."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from testkit.installation import Installation

PAGE = Path(__file__).parents[2] / "docs" / "operate" / "backup.md"


def commands(heading: str) -> str:
    """The shell block under a heading."""
    block = re.search(rf"^## {heading}\n.*?```sh\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert block is not None, heading
    return block[1]


def placed(script: str, home: Path, backup: Path) -> str:
    """As an operator would paste it, but for the two places."""
    script = script.replace("home=/var/lib/strongroom", f"home={home}")
    script = script.replace("backup=/var/backups/strongroom/today", f"backup={backup}")
    assert script.count(str(home)) == 1
    return script


def search_path() -> str:
    """Where the commands are found."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run(script: str, home: Path, backup: Path, cwd: Path) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", placed(script, home, backup)],
        env={**os.environ, "PATH": search_path()},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Busy:
    """A client that makes keys and encrypts under them until it is told to stop."""

    def __init__(self, kms: Any) -> None:
        self._kms = kms
        self._stop = threading.Event()
        self.blobs: dict[str, bytes] = {}
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            key_id = self._kms.create_key()["KeyMetadata"]["KeyId"]
            self.blobs[key_id] = self._kms.encrypt(KeyId=key_id, Plaintext=b"of the drill")["CiphertextBlob"]

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def test_the_drill_as_the_page_describes_it(tmp_path: Path) -> None:
    running = Installation()
    busy = None
    try:
        running.start()
        kms = running.kms()
        kept = kms.create_key()["KeyMetadata"]["KeyId"]
        blob = kms.encrypt(KeyId=kept, Plaintext=b"kept")["CiphertextBlob"]
        busy = Busy(running.kms())
        backup = tmp_path / "backup"
        heads = running.home / "service" / "audit" / "heads.jsonl"
        while len(busy.blobs) < 20 or not heads.exists():
            assert busy._thread.is_alive()
            time.sleep(0.05)
        run(commands("Make a backup"), running.home, backup, tmp_path)
        busy.stop()
        for name in ("recovery-bundle", "recovery-share"):
            (path,) = (running.home / "recovery").glob(f"{name}-*")
            shutil.copy(path, tmp_path / name)
        running.stop()
        shutil.rmtree(running.home)
        assert {path.name for path in backup.iterdir()} == {"strongroom.toml", "service", "domain", "SHA256SUMS"}
        assert not list(backup.rglob("*secret*")) + list(backup.rglob("*.state.*")) + list(backup.rglob("recovery*"))

        run(commands("Restore"), running.home, backup, tmp_path)
        running.start()
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
        there = {entry["KeyId"] for page in kms.get_paginator("list_keys").paginate() for entry in page["Keys"]}
        assert kept in there
        opened = [key_id for key_id in busy.blobs if key_id in there]
        assert len(opened) >= 20
        for key_id in opened:
            assert kms.decrypt(CiphertextBlob=busy.blobs[key_id])["Plaintext"] == b"of the drill"
        kms.create_key()
        kms.close()
        done = running.cli("doctor", "--deep", "--json", "--home", str(running.home), check=False)
        bad = [finding for finding in json.loads(done.stdout) if finding["verdict"] == "bad"]
        assert (done.returncode, bad) == (0, [])
    finally:
        if busy is not None:
            busy.stop()
        running.destroy()
