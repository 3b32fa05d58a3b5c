"""`strongroom backup`: of a home at work, and of one whose service was taken over and has planted links."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from strongroom.supervisor.backup_source import RefusedError, Source
from testkit.installation import REGION, START_S_MAX, Installation, client
from worlds.test_two_users import KMS_UID, SYSTEM_PYTHON, _reach, _why_not

OTHER = "eu-west-1"
PLANTED = "audit-w9-00000000000000000001.jsonl"
NEVER = ("seal", "hsm", "host", "recovery", "run", "first-access-key")


def back_up(home: Installation, to: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return home.cli("backup", "--home", str(home.home), "--to", str(to), *options, check=False)


def assert_refused(done: subprocess.CompletedProcess[str], to: Path, *words: str) -> None:
    """Nothing under the name, nothing beside it."""
    assert (done.returncode, done.stdout) == (1, ""), done
    assert all(word in done.stderr for word in words), done.stderr
    assert not os.path.lexists(to)
    assert [path for path in to.parent.iterdir() if path.name.endswith(".partial")] == []


@pytest.fixture(scope="module")
def stopped() -> Iterator[Installation]:
    """A home with keys and a trail."""
    running = Installation()
    try:
        running.start()
        kms = running.kms()
        for _ in range(3):
            kms.create_key()
        kms.close()
        running.stop()
        yield running
    finally:
        running.destroy()


@pytest.fixture
def own(stopped: Installation) -> Iterator[Installation]:
    """A copy of it that the test may spoil."""
    copied = Installation()
    shutil.copytree(stopped.home, copied.home, ignore=lambda _, names: [name for name in names if ".sock" in name])
    yield copied
    copied.destroy()


# ── what was planted ────────────────────────────────────────────────────────────────────────────────────────────────


def _link_segment(home: Path) -> None:
    (home / "service" / "audit" / PLANTED).symlink_to("../../seal/local.secret")


def _link_heads(home: Path) -> None:
    (home / "service" / "audit" / "heads.jsonl").unlink()
    (home / "service" / "audit" / "heads.jsonl").symlink_to("../../seal/local.secret")


def _link_store(home: Path) -> None:
    (home / "service" / "store.db").rename(home / "seal" / "elsewhere.db")
    (home / "service" / "store.db").symlink_to("../seal/elsewhere.db")


def _link_directory(home: Path) -> None:
    (home / "service" / "audit").rename(home / "seal" / "audit")
    (home / "service" / "audit").symlink_to("../seal/audit")


def _second_name(home: Path) -> None:
    (home / "service" / "audit" / PLANTED).hardlink_to(home / "seal" / "local.secret")


def _second_name_of_a_store(home: Path) -> None:
    (home / "seal" / "elsewhere.db").hardlink_to(home / "service" / "store.db")


def _pipe(home: Path) -> None:
    os.mkfifo(home / "service" / "audit" / PLANTED)


@pytest.mark.parametrize(
    "plant",
    [_link_segment, _link_heads, _link_store, _link_directory, _second_name, _second_name_of_a_store, _pipe],
)
def test_what_a_taken_over_service_plants_is_refused_and_the_last_good_backup_stays(
    own: Installation, tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    good = tmp_path / "good"
    assert back_up(own, good).returncode == 0
    sums = (good / "SHA256SUMS").read_bytes()
    plant(own.home)
    assert_refused(back_up(own, tmp_path / "bad"), tmp_path / "bad", "no backup was made")
    assert_refused(back_up(own, tmp_path / "again", "--json"), tmp_path / "again", "no backup was made")
    assert (good / "SHA256SUMS").read_bytes() == sums


def test_a_planted_file_with_another_name_is_not_carried_along(own: Installation, tmp_path: Path) -> None:
    audit = own.home / "service" / "audit"
    for name in ("audit-w1-1.jsonl", f"{PLANTED}.bak", "heads.jsonl.new", "audit-W1-00000000000000000001.jsonl"):
        (audit / name).symlink_to("../../seal/local.secret")
    assert back_up(own, tmp_path / "backup").returncode == 0
    secret = (own.home / "seal" / "local.secret").read_bytes()
    files = [path for path in (tmp_path / "backup").rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if secret in path.read_bytes()] == []


def test_a_damaged_store_is_no_backup(own: Installation, tmp_path: Path) -> None:
    store = own.home / "service" / "store.db"
    content = bytearray(store.read_bytes())
    for at in range(3 * 4096, len(content), 4096):
        content[at : at + 64] = random.Random(at).randbytes(64)
    store.write_bytes(content)
    assert_refused(back_up(own, tmp_path / "backup"), tmp_path / "backup", "store.db")


def test_a_lost_store_is_no_backup(own: Installation, tmp_path: Path) -> None:
    (own.home / "service" / "store.db").unlink()
    assert_refused(back_up(own, tmp_path / "backup"), tmp_path / "backup", "has lost store.db")


def test_a_place_that_is_taken_or_missing_or_in_the_home_is_refused(own: Installation, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    done = back_up(own, taken)
    assert (done.returncode, "exists already" in done.stderr, list(taken.iterdir())) == (1, True, [])
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "exists already" in back_up(own, tmp_path / "link").stderr
    assert "is no directory" in back_up(own, tmp_path / "missing" / "backup").stderr
    assert_refused(back_up(own, own.home / "service" / "backup"), own.home / "service" / "backup", "lies in the home")
    (tmp_path / "inside").symlink_to(own.home)
    inside = tmp_path / "inside" / "backup"
    assert_refused(back_up(own, inside), inside, "lies in the home")


def test_what_is_no_home_and_what_is_anothers_is_refused(own: Installation, tmp_path: Path) -> None:
    done = own.cli("backup", "--home", str(tmp_path), "--to", str(tmp_path / "backup"), check=False)
    assert_refused(done, tmp_path / "backup", "is no home of Strongroom")
    if os.getuid() == 0:
        os.chown(own.home, 12_345, 12_345)
        assert_refused(back_up(own, tmp_path / "backup"), tmp_path / "backup", "belongs to user 12345")


def test_a_module_where_the_operator_stands_is_not_run(own: Installation, tmp_path: Path) -> None:
    for name in ("sqlite3", "hashlib", "tempfile"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('planted')")
    done = subprocess.run(
        [
            *(str(Path(own._python).parent / "strongroom"), "backup", "--home", str(own.home)),
            *("--to", str(tmp_path / "backup")),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_S_MAX,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_backup_that_is_told_to_end_leaves_nothing(own: Installation, tmp_path: Path) -> None:
    """While it waits for a store that somebody holds."""
    store = own.home / "service" / "store.db"
    with closing(sqlite3.connect(store, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN IMMEDIATE")
        process = subprocess.Popen(
            [
                *(own._python, "-m", "strongroom.supervisor", "backup"),
                *("--home", str(own.home), "--to", str(tmp_path / "backup")),
            ]
        )
        try:
            deadline = time.monotonic() + START_S_MAX
            while not list(tmp_path.glob(".backup.*.partial/service/audit/heads.jsonl")):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 128 + signal.SIGTERM
        finally:
            process.kill()
            process.wait()
    assert list(tmp_path.iterdir()) == []


# ── a trail that retention shortens meanwhile ───────────────────────────────────────────────────────────────────────


class _Retention(io.BytesIO):
    """What the source writes to; whenever it has sent the heads, the oldest segment goes, so many times."""

    def __init__(self, audit: Path, times: int) -> None:
        super().__init__()
        self._audit = audit
        self._times = times

    def write(self, data: Any) -> int:
        if bytes(data).startswith(b"file heads.jsonl") and self._times:
            self._times -= 1
            min(self._audit.glob("audit-*")).unlink()
        return super().write(data)


def _trail(folder: Path, segments: int) -> Path:
    audit = folder / "service" / "audit"
    audit.mkdir(parents=True)
    (audit / "heads.jsonl").write_text("heads\n")
    for first in range(1, segments + 1):
        (audit / f"audit-w1-{first:020d}.jsonl").write_text(f"segment {first}\n")
    return audit


def test_a_segment_that_retention_removes_meanwhile_has_heads_and_segments_read_again(tmp_path: Path) -> None:
    audit = _trail(tmp_path, 4)
    out = _Retention(audit, 1)
    Source(audit.parent, out).send([])
    before, after = out.getvalue().split(b"again\n")
    assert before.count(b"file ") == 4
    assert after.startswith(b"file heads.jsonl 6\nheads\n")
    assert [number for number in range(1, 5) if f"segment {number}\n".encode() in after] == [2, 3, 4]


def test_a_trail_that_never_stands_still_is_given_up(tmp_path: Path) -> None:
    audit = _trail(tmp_path, 9)
    with pytest.raises(RefusedError, match="loses files faster"):
        Source(audit.parent, _Retention(audit, 9)).send([])


# ── at work, and back again ─────────────────────────────────────────────────────────────────────────────────────────


class _Customer:
    """Makes keys in a region and encrypts under them; `answered` holds what was acknowledged, in order."""

    def __init__(self, running: Installation, region: str) -> None:
        self.region = region
        self.answered: list[tuple[str, bytes]] = []
        self._kms = client("kms", running.port, region=region)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set():
            key_id = self._kms.create_key()["KeyMetadata"]["KeyId"]
            blob = self._kms.encrypt(KeyId=key_id, Plaintext=self.region.encode())["CiphertextBlob"]
            self.answered.append((key_id, blob))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._kms.close()


def _keep_recovery(home: Path, to: Path) -> tuple[Path, Path]:
    to.mkdir()
    kept = []
    for name in ("recovery-bundle", "recovery-share"):
        (path,) = (home / "recovery").glob(f"{name}-*")
        kept.append(Path(shutil.copy(path, to / name)))
    return kept[0], kept[1]


def _restore(running: Installation, backup: Path, bundle: Path, share: Path, *options: str) -> None:
    done = running.cli(
        *("restore", "--home", str(running.home), "--bundle", str(bundle), "--share", str(share), *options), check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_was_acknowledged_before_a_backup_began_opens_after_its_restore_in_every_region(tmp_path: Path) -> None:
    running = Installation("--workers", "2", "--audit-segment-bytes", "65536")
    customers: list[_Customer] = []
    try:
        running.start()
        # A region is made on first use, for which a call waits a while, and no longer.
        with closing(client("kms", running.port, region=OTHER, retries={"total_max_attempts": 5})) as first:
            first.list_keys()
        customers = [_Customer(running, region) for region in (REGION, REGION, OTHER)]
        deadline = time.monotonic() + 2 * START_S_MAX
        for attempt in range(3):
            while min(len(customer.answered) for customer in customers) < 15 * (attempt + 1):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            before = [list(customer.answered) for customer in customers]
            backup = tmp_path / f"backup-{attempt}"
            done = back_up(running, backup, "--json")
            assert done.returncode == 0, done.stderr
        for customer in customers:
            customer.stop()
        assert json.loads(done.stdout)["regions"] == [REGION, OTHER]
        assert [path for path in backup.rglob("*") if path.name in NEVER or path.name.endswith((".lock", "-wal"))] == []
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=backup, check=True)
        listed = {line.split("  ")[1] for line in (backup / "SHA256SUMS").read_text().splitlines()}
        there = {str(path.relative_to(backup)) for path in backup.rglob("*") if path.is_file()}
        assert there == {*listed, "SHA256SUMS"}
        home_files = _keep_recovery(running.home, tmp_path / "home")
        other_files = _keep_recovery(running.home / "regions" / OTHER, tmp_path / "other")
        running.stop()
        shutil.rmtree(running.home)

        shutil.copytree(backup, running.home)
        verified = running.cli("audit", "verify", "--home", str(running.home), check=False)
        assert verified.returncode == 0, verified.stdout
        _restore(running, backup, *home_files)
        _restore(running, backup, *other_files, "--region", OTHER)
        running.start()
        for customer, acknowledged in zip(customers, before, strict=True):
            kms = client("kms", running.port, region=customer.region)
            for _, blob in acknowledged:
                assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == customer.region.encode()
            kms.close()
        done = running.cli("doctor", "--deep", "--json", "--home", str(running.home), check=False)
        bad = [finding for finding in json.loads(done.stdout) if finding["verdict"] == "bad"]
        assert (done.returncode, bad) == (0, [])
    finally:
        for customer in customers:
            customer._stop.set()
        running.destroy()


# ── two users ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two_users() -> Iterator[Installation]:
    reason = _why_not()
    if reason:
        pytest.skip(reason)
    running = Installation(python=SYSTEM_PYTHON)
    try:
        running.root.chmod(0o711)
        running.environment["PYTHONPATH"] = _reach()
        running.environment["PYTHONDONTWRITEBYTECODE"] = "1"
        yield running.start()
    finally:
        running.destroy()


def test_root_backs_two_users_up_reading_what_is_the_services_as_the_service(
    two_users: Installation, tmp_path: Path
) -> None:
    kms = two_users.kms()
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key_id, Plaintext=b"kept")["CiphertextBlob"]
    backup = tmp_path / "backup"
    done = back_up(two_users, backup)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.stat().st_uid for path in backup.rglob("*")} == {0}
    audit = two_users.home / "service" / "audit"
    # Not even what lies there under a name of its own, as a plain file, if the service could not read it.
    (audit / PLANTED).write_bytes(b"of root alone")
    (audit / PLANTED).chmod(0o600)
    assert_refused(back_up(two_users, tmp_path / "bad"), tmp_path / "bad", "Permission denied")
    (audit / PLANTED).unlink()
    (audit / PLANTED).hardlink_to(two_users.home / "seal" / "local.secret")
    assert_refused(back_up(two_users, tmp_path / "bad"), tmp_path / "bad", "Permission denied")

    files = _keep_recovery(two_users.home, tmp_path / "kept")
    two_users.stop()
    shutil.rmtree(two_users.home)
    shutil.copytree(backup, two_users.home)
    _restore(two_users, backup, *files)
    assert {path.stat().st_uid for path in (two_users.home / "service").rglob("*")} == {KMS_UID}
    two_users.start()
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
    kms.close()


@pytest.mark.parametrize("plant", [_link_segment, _second_name, _link_directory, _pipe])
def test_a_restore_gives_away_nothing_through_what_was_planted_in_a_backup(
    own: Installation, tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    files = _keep_recovery(own.home, tmp_path / "kept")
    plant(own.home)
    secret = own.home / "seal" / "local.secret"
    before = secret.stat()
    done = own.cli(
        *("restore", "--home", str(own.home), "--bundle", str(files[0]), "--share", str(files[1])), check=False
    )
    assert (done.returncode, "no backup holds it: delete it" in done.stderr) == (1, True), done.stderr
    after = secret.stat()
    assert (after.st_uid, after.st_mode, after.st_ino) == (before.st_uid, before.st_mode, before.st_ino)
