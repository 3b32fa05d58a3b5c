"""Power cuts of a whole installation: `python -m worlds.power_cuts CYCLES SEED`, in namespaces of its own, as root.

The home lies on an ext4 file system in an image file. A cut stops every process where it is, copies the image, kills them
and goes on with the copy: it holds what the kernel had written to the disk, and nothing of what lay in its page cache. A
copy during which the kernel wrote is made again. The next installation starts on it, and what the clients had been told
until then must be there: of keys and ciphertexts, of identities and grants, and of what was taken back of these.

Before the cycles a home's first start is cut off, then a restore of it by the commands of docs/operate/backup.md, which are
given once more, and then what the restored home was told. In some cycles a backup is made while the power is cut.

On standard output one line of JSON: what was acknowledged, and what was lost of it or found by `audit verify`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from testkit.installation import START_S_MAX, Installation, client
from testkit.planting import plant
from worlds.load import Ledger, client_of, load
from worlds.test_backup_drill import commands, placed, search_path

IMAGE_BYTES: Final = 512 << 20
# How long the load runs before a cut.
LOAD_S: Final = (0.2, 1.5)
# Every so many cycles a backup is made to the same disk; its beginning lies there so long before the cut at most.
BACKUP_EACH: Final = 4
BACKUP_S_MAX: Final = 1.5
# In which every other restore may be cut off; the others are over when the power is cut.
RESTORE_S: Final = (0.05, 2.5)
# Made on first use under load, one in a cycle: each is a domain with a sealed state of its own.
REGIONS: Final = ("eu-west-1", "ap-south-1")
FAULTS: Final = {
    "synchronous-normal": ("kms/storage/sqlite.py", '"synchronous = FULL"', '"synchronous = NORMAL"'),
    "restored-files-not-synced": ("supervisor/restore.py", "    sync_tree(home.root)\n", ""),
    "restore-not-undone": (
        "supervisor/preparation.py",
        "        unfinished.undo(home)\n",
        "        pass\n",
    ),
    "backup-not-synced": ("supervisor/backup.py", "                os.fsync(file.fileno())\n", ""),
    "answer-before-commit": (
        "kms/storage/writer.py",
        "                _answer(group, self._commit_group(group))\n",
        "                _answer(group, [None] * len(group))\n                self._commit_group(group)\n",
    ),
}


class Disk:
    """The file system in an image file, mounted; a cut replaces it by what was written of it."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "m"
        self._image = folder / "disk"
        self.place.mkdir()
        with self._image.open("wb") as image:
            image.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", self._image], check=True)
        self._mount()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self._image, self.place], check=True)
        found = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", self.place], check=True, capture_output=True, text=True
        ).stdout.strip()
        self._statistics = Path("/sys/block") / Path(found).name / "stat"

    def _written(self) -> tuple[str, str]:
        """Write requests that were completed, and requests of any kind under way."""
        figures = self._statistics.read_text().split()
        return figures[4], figures[8]

    def copy(self) -> Path:
        """The image as it is; nothing may run that writes to the file system."""
        to = self._image.with_name("copy")
        for _ in range(1000):
            before = self._written()
            if before[1] == "0":
                subprocess.run(["cp", "--sparse=always", self._image, to], check=True)
                if self._written() == before:
                    return to
            time.sleep(0.01)
        raise AssertionError("the kernel never stopped writing")

    def go_on_with(self, copy: Path) -> None:
        """Mount the copy in place of the image, replaying its journal."""
        self.unmount()
        copy.replace(self._image)
        self._mount()

    def unmount(self) -> None:
        subprocess.run(["umount", self.place], check=True)


@dataclass
class Report:
    """What the cuts found."""

    cuts: int = 0
    births: int = 0
    restores: int = 0
    backups: int = 0
    acknowledged: int = 0
    ciphertexts: int = 0
    lost: list[str] = field(default_factory=list)
    audit_records: int = 0
    starts_s: list[float] = field(default_factory=list)


class LostError(Exception):
    """There is no home left to go on with."""


class Machine:
    """An installation whose power is cut."""

    def __init__(self, chance: random.Random, fault: str) -> None:
        self._chance = chance
        self._installation = Installation("--workers", "2", "--audit-segment-bytes", "65536")
        if fault:
            plant(self._installation, *FAULTS[fault])
        self._disk = Disk(self._installation.root)
        self._installation.home = self._disk.place / "h"
        self._elsewhere: list[tuple[str, bytes]] = []
        self._backups = self._disk.place / "backups"
        self.ledgers: list[Ledger] = []
        self.report = Report()

    @property
    def installation(self) -> Installation:
        return self._installation

    def start(self) -> None:
        """After a cut, too.

        Raises:
            LostError: it does not start, and everything is lost.
        """
        try:
            self._installation.start()
        except AssertionError as error:
            self.report.lost.append(f"it does not start: {str(error)[-2000:]}")
            raise LostError from error
        self.report.starts_s.append(round(self._installation.start_s, 2))

    def born(self) -> None:
        """A first start whose power is cut, once, at any moment; the next one serves."""
        home = self._installation.home
        self._installation.launch()
        time.sleep(self._chance.uniform(0.05, 2.0))
        self._cut()
        self._installation.output.unlink()
        home.mkdir(exist_ok=True)
        (home / "limits.toml").write_text("aliases_per_key_max = 100_000\n")
        self.start()
        self.report.births += 1

    def lost_and_restored(self, *, at_its_end: bool) -> None:
        """The home is backed up elsewhere and lost; its restore is cut off, and so is what comes of it."""
        elsewhere = self._installation.root / "elsewhere"
        elsewhere.mkdir()
        with load(self._installation, 0, people=1) as ledger:
            time.sleep(LOAD_S[1])
        self._installation.cli("backup", "--home", str(self._installation.home), "--to", str(elsewhere / "backup"))
        for name in ("recovery-bundle", "recovery-share"):
            (path,) = (self._installation.home / "recovery").glob(f"{name}-*")
            shutil.copy(path, elsewhere / name)
        self._installation.stop()
        shutil.rmtree(self._installation.home)
        os.sync()
        restoring = self._restore(elsewhere)
        with suppress(subprocess.TimeoutExpired):
            restoring.wait(START_S_MAX if at_its_end else self._chance.uniform(*RESTORE_S))
        self._cut(restoring)
        if restoring.returncode:
            again = self._restore(elsewhere)
            if again.wait(START_S_MAX):
                self.report.lost.append(f"a restore, given once more: {self._said.read_text()}")
                raise LostError
        self.start()
        self._settle(ledger)
        with load(self._installation, 500_000, people=1) as ledger:
            time.sleep(self._chance.uniform(*LOAD_S))
            self._cut()
        self.start()
        self._settle(ledger)
        self.report.restores += 1

    def _restore(self, elsewhere: Path) -> subprocess.Popen[bytes]:
        script = placed(commands("Restore"), self._installation.home, elsewhere / "backup")
        self._said = elsewhere / "said"
        with self._said.open("wb") as said:
            return subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                env={**self._installation.environment, "PATH": search_path()},
                cwd=elsewhere,
                stdout=said,
                stderr=said,
            )

    def cycle(self, number: int) -> None:
        """Load, cut, start, and a look at what was acknowledged."""
        backup: subprocess.Popen[str] | None = None
        with load(self._installation, (number + 1) * 1000, people=1) as ledger:
            if number < len(REGIONS):
                self._use(REGIONS[number])
            time.sleep(self._chance.uniform(*LOAD_S))
            if number % BACKUP_EACH == 0:
                backup = self._back_up()
                # By turns at its end and at any moment of it.
                if number % (2 * BACKUP_EACH) == 0:
                    backup.wait(START_S_MAX)
                else:
                    self._wait_for_a_part()
                    time.sleep(self._chance.uniform(0.0, BACKUP_S_MAX))
            self._cut(*([] if backup is None else [backup]))
        self.start()
        self.report.cuts += 1
        if backup is not None:
            self._look_at_backup(is_acknowledged=backup.returncode == 0)
        self._settle(ledger)

    def _settle(self, ledger: Ledger) -> None:
        """Count what was acknowledged and look for it."""
        self.ledgers.append(ledger)
        self.report.acknowledged += ledger.acknowledged
        self.report.ciphertexts += len(ledger.blobs)
        self._look(ledger)
        self._verify()

    def _back_up(self) -> subprocess.Popen[str]:
        self._backups.mkdir(exist_ok=True)
        home = self._installation.home
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "strongroom.supervisor", "backup"),
                *("--home", str(home), "--to", str(self._backups / "backup")),
            ],
            env=self._installation.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _wait_for_a_part(self) -> None:
        deadline = time.monotonic() + START_S_MAX
        while not [*self._backups.iterdir()]:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def _look_at_backup(self, *, is_acknowledged: bool) -> None:
        """One that was acknowledged is there; one that is there is whole."""
        backup = self._backups / "backup"
        if backup.exists():
            check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
            done = subprocess.run(check, cwd=backup, capture_output=True, text=True, check=False)
            self.report.lost += [f"of a backup: {line}" for line in (done.stdout + done.stderr).splitlines()]
            self.report.backups += 1
        elif is_acknowledged:
            self.report.lost.append("a backup")
        shutil.rmtree(self._backups, ignore_errors=True)

    def _use(self, region: str) -> None:
        kms = client("kms", self._installation.port, region=region, retries={"total_max_attempts": 8})
        with suppress(BotoCoreError, ClientError):
            key_id = kms.create_key()["KeyMetadata"]["KeyId"]
            self._elsewhere.append((region, kms.encrypt(KeyId=key_id, Plaintext=region.encode())["CiphertextBlob"]))
        kms.close()

    def _look(self, ledger: Ledger) -> None:
        self.report.lost += ledger.losses(self._installation)
        for region, blob in self._elsewhere:
            kms = client("kms", self._installation.port, region=region)
            try:
                opened = kms.decrypt(CiphertextBlob=blob)["Plaintext"]
            except ClientError as error:
                opened = str(error).encode()
            kms.close()
            if opened != region.encode():
                self.report.lost.append(f"a ciphertext of {region}: {opened!r}")

    def _verify(self) -> None:
        home = str(self._installation.home)
        done = self._installation.cli("audit", "verify", "--home", home, check=False)
        counted = re.search(r"^(\d+) records .* (\d+) problems$", done.stdout, re.MULTILINE)
        assert counted is not None, done.stdout + done.stderr
        self.report.audit_records = int(counted[1])
        if int(counted[2]):
            self.report.lost.append(f"whole trail: {done.stdout}")

    def look_at_everything(self) -> None:
        """What earlier cycles were told, once more; and a doctor's opinion."""
        for ledger in self.ledgers:
            self.report.lost += ledger.losses(self._installation)
        home = str(self._installation.home)
        done = self._installation.cli("doctor", "--deep", "--json", "--home", home, check=False)
        self.report.lost += [str(one) for one in json.loads(done.stdout) if one["verdict"] == "bad"]

    def _cut(self, *jobs: subprocess.Popen[Any]) -> None:
        """Everybody else in the namespace stops; whoever was started meanwhile is met by the next look.

        Of the jobs, those that had ended by then have their exit status; the others were killed.
        """
        deadline = time.monotonic() + START_S_MAX
        while not _have_stopped(others := _others()):
            assert time.monotonic() < deadline
            for pid in others:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(0.002)
        copy = self._disk.copy()
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._installation.process is not None
        for job in (*jobs, self._installation.process):
            job.wait()
        _wait_until_gone(others)
        self._disk.go_on_with(copy)

    def destroy(self) -> None:
        self._installation.stop()
        self._disk.unmount()
        self._installation.destroy()


def _others() -> list[int]:
    """Everybody else: the namespace is ours alone."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal() and entry.name != "1"]


def _have_stopped(pids: list[int]) -> bool:
    """With every thread: one that waits for the disk stops when that has answered."""
    states = []
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            tasks = Path(f"/proc/{pid}/task").iterdir()
            states += [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
    return all(state in "TtZX" for state in states)


def _wait_until_gone(pids: list[int]) -> None:
    """With all their threads and files: they are our own children now, or gone already."""
    deadline = time.monotonic() + START_S_MAX
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        for pid in pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        assert time.monotonic() < deadline
        time.sleep(0.002)


@contextmanager
def machine(chance: random.Random, fault: str) -> Iterator[Machine]:
    made = Machine(chance, fault)
    try:
        yield made
    finally:
        made.destroy()


def _tell(report: Report) -> None:
    """How far it came: a run of hours that is ended is one of so many cuts."""
    done = (
        f"{report.births} first starts, {report.restores} restores, {report.backups} backups, {report.cuts} cuts, "
        f"{report.acknowledged} acknowledged, {report.ciphertexts} ciphertexts, {report.audit_records} audit records, "
        f"{len(report.lost)} lost"
    )
    print(done, *report.lost, sep="\n", file=sys.stderr, flush=True)


def live(one: Machine, cycles: int, *, restored_whole: bool) -> None:
    """To the first loss."""
    one.born()
    one.lost_and_restored(at_its_end=restored_whole)
    _tell(one.report)
    for number in range(cycles):
        if one.report.lost:
            return
        one.cycle(number)
        _tell(one.report)
    one.look_at_everything()
    with client_of(one.installation) as kms:
        kms.create_key()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cycles", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--births", type=int, default=1)
    parser.add_argument("--fault", choices=FAULTS, default="")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    total: list[dict[str, Any]] = []
    # Every birth has a disk of its own; the cycles are the last one's.
    for birth in range(arguments.births):
        with machine(chance, arguments.fault) as one:
            with suppress(LostError):
                cycles = arguments.cycles if birth + 1 == arguments.births else 0
                live(one, cycles, restored_whole=birth % 2 == 0)
            total.append(asdict(one.report))
        if arguments.fault and one.report.lost:
            break
    print(json.dumps(total))


if __name__ == "__main__":
    main()
