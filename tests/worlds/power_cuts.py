"""Power cuts of a whole installation: `python -m worlds.power_cuts CYCLES SEED`, in namespaces of its own, as root.

The home lies on an ext4 file system in an image file. A cut stops every process where it is, copies the image, kills them
and goes on with the copy: it holds what the kernel had written to the disk, and nothing of what lay in its page cache. A
copy during which the kernel wrote is made again. The next installation starts on it, and what the clients had been told
until then must be there: of keys and ciphertexts, of identities and grants, and of what was taken back of these.

A birth is a home on a disk of its own. Before the cycles its first start is cut off, then a restore of it by the commands of
docs/operate/backup.md, which are given once more, and then what the restored home was told. In some cycles a backup is made
while the power is cut. Regions are made under the load, before the cut or at it: each is a domain whose HSM seals a state.

What was answered is in the trail: with `--strict-audit`, as every other birth has it, all of it; without it, in a full
run, what was answered longer before the cut than a sync of the trail may take. `audit verify` alone would not miss the
records after the last head that was signed.

On standard output one line of JSON: what was acknowledged, and what was lost of it or found by `audit verify`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import chain, pairwise, takewhile
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from testkit.installation import START_S_MAX, Installation, client
from testkit.planting import plant
from testkit.waiting import wait_until
from worlds.kills import WANTED, audited, unrecorded
from worlds.load import Ledger, client_of, load
from worlds.test_backup_drill import commands, placed, search_path

IMAGE_BYTES: Final = 512 << 20
# How many requests are answered before a cut, as many on a busy machine as on a free one, and what passes then.
ANSWERED: Final = (10, 200)
MOMENT_S_MAX: Final = 0.1
# In which an answer's record is on the disk: fifty times what ARCHITECTURE.md says.
RECORDED_S_MAX: Final = 1.0
# Every so many cycles a backup is made to the same disk; its beginning lies there so long before the cut at most.
BACKUP_EACH: Final = 4
BACKUP_S_MAX: Final = 1.5
# When a restore is cut off, by turns; the last of these lies so long after its beginning.
AT_ITS_END, WITH_ITS_TOKEN, AT_ANY_MOMENT = range(3)
RESTORE_S: Final = (0.05, 2.5)
# Made on first use: the first before a cut, the second at one, which lies so long after the wish at most.
REGIONS: Final = ("eu-west-1", "ap-south-1")
REGION_S_MAX: Final = 2.0
# More cycles than were asked for, where the load has not done everything yet.
ALL_ASKED_CYCLES_MAX: Final = 200
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
    "trail-not-synced": ("kms/audit/log.py", "                    segment.sync(batch)\n", "                    pass\n"),
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
    # Of all births until now.
    operations: list[str] = field(default_factory=list)
    # Ciphertexts of regions that were made under load.
    elsewhere: int = 0
    lost: list[str] = field(default_factory=list)
    audit_records: int = 0
    # Answers that were looked for in the trail.
    recorded: int = 0
    starts_s: list[float] = field(default_factory=list)


class LostError(Exception):
    """There is no home left to go on with."""


class Machine:
    """An installation whose power is cut."""

    def __init__(self, chance: random.Random, fault: str, asked: set[str], *, is_strict: bool, is_timed: bool) -> None:
        self._chance = chance
        self._asked = asked
        self._is_strict = is_strict
        self._is_timed = is_timed
        options = ["--workers", "2", "--audit-segment-bytes", "65536", *(["--strict-audit"] if is_strict else [])]
        self._installation = Installation(*options)
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

    def lost_and_restored(self, moment: int) -> None:
        """The home is backed up elsewhere and lost; its restore is cut off, and so is what comes of it."""
        elsewhere = self._installation.root / "elsewhere"
        elsewhere.mkdir()
        with load(self._installation, 0, people=1) as ledger:
            self._wait_for_answers(ledger)
        self._installation.cli("backup", "--home", str(self._installation.home), "--to", str(elsewhere / "backup"))
        for name in ("recovery-bundle", "recovery-share"):
            (path,) = (self._installation.home / "recovery").glob(f"{name}-*")
            shutil.copy(path, elsewhere / name)
        self._installation.stop()
        shutil.rmtree(self._installation.home)
        os.sync()
        restoring = self._restore(elsewhere)
        self._wait_in(restoring, moment)
        self._cut(restoring)
        if restoring.returncode:
            again = self._restore(elsewhere)
            # One that had come to its end is refused, and names the new bundle.
            ended = str(self._installation.home / "recovery" / "recovery-bundle-000002")
            if again.wait(START_S_MAX) and ended not in self._said.read_text():
                self.report.lost.append(f"a restore, given once more: {self._said.read_text()}")
                raise LostError
        self.start()
        # What was answered before a backup began is in it.
        self._settle(ledger, len(ledger.answered))
        with load(self._installation, 500_000, people=1) as ledger:
            due = self._wait_for_a_moment(ledger, is_long=False)
            self._cut()
        self.start()
        self._settle(ledger, due)
        self.report.restores += 1

    def _wait_in(self, restoring: subprocess.Popen[bytes], moment: int) -> None:
        """Its token comes before the state without which it is of no use."""
        token = self._installation.home / "domain" / "token-000002"
        until_s = time.monotonic() + self._chance.uniform(*RESTORE_S)
        has_come = {
            AT_ITS_END: lambda: False,
            WITH_ITS_TOKEN: token.exists,
            AT_ANY_MOMENT: lambda: time.monotonic() > until_s,
        }[moment]
        wait_until(lambda: has_come() or restoring.poll() is not None, pause_s=0.001)

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
        at_the_cut = self.report.cuts % 2 == 1
        region = REGIONS[(self.report.cuts + 1) // 2 % len(REGIONS)]
        use = threading.Thread(target=self._use, args=(region,))
        backup: subprocess.Popen[str] | None = None
        with load(self._installation, (number + 1) * 1000, people=1) as ledger:
            if not at_the_cut:
                self._use_at_last(region)
            due = self._wait_for_a_moment(ledger, is_long=at_the_cut)
            if at_the_cut:
                use.start()
                time.sleep(self._chance.uniform(0.0, REGION_S_MAX))
            if number % BACKUP_EACH == 0:
                backup = self._back_up()
                # By turns at its end and at any moment of it.
                if number % (2 * BACKUP_EACH) == 0:
                    backup.wait(START_S_MAX)
                else:
                    wait_until(lambda: any(self._backups.iterdir()), pause_s=0.001)
                    time.sleep(self._chance.uniform(0.0, BACKUP_S_MAX))
            self._cut(*([] if backup is None else [backup]))
        if at_the_cut:
            use.join()
        self.start()
        self.report.cuts += 1
        if backup is not None:
            self._look_at_backup(is_acknowledged=backup.returncode == 0)
        self._settle(ledger, due)

    def _wait_for_answers(self, ledger: Ledger) -> None:
        wanted = len(ledger.answered) + self._chance.randint(*ANSWERED)
        wait_until(lambda: len(ledger.answered) >= wanted, pause_s=0.001)

    def _wait_for_a_moment(self, ledger: Ledger, *, is_long: bool) -> int | None:
        """How many of the first answers are due in the trail if the power is cut now; none: all that ever come."""
        self._wait_for_answers(ledger)
        due = 0
        if is_long and self._is_timed and not self._is_strict:
            due = len(ledger.answered)
            time.sleep(self._installation.late_s(RECORDED_S_MAX))
        time.sleep(self._chance.uniform(0.0, MOMENT_S_MAX))
        return None if self._is_strict else due

    def _settle(self, ledger: Ledger, due: int | None) -> None:
        """Count what was acknowledged and look for it, and for the first answers in the trail."""
        report, answered = self.report, dict(list(ledger.answered.items())[:due])
        self.ledgers.append(ledger)
        report.acknowledged += ledger.acknowledged
        report.ciphertexts += len(ledger.blobs)
        self._asked |= ledger.operations
        report.operations = sorted(self._asked)
        report.elsewhere = len(self._elsewhere)
        self._look(ledger)
        report.audit_records, problems = audited(self._installation)
        report.recorded += len(answered)
        report.lost += [*problems, *unrecorded(self._installation, answered)]

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

    def _use(self, region: str) -> str:
        """A key and a ciphertext; or what was in the way."""
        kms = client("kms", self._installation.port, region=region)
        try:
            key_id = kms.create_key()["KeyMetadata"]["KeyId"]
            self._elsewhere.append((region, kms.encrypt(KeyId=key_id, Plaintext=region.encode())["CiphertextBlob"]))
        except (BotoCoreError, ClientError) as error:
            return str(error)
        finally:
            kms.close()
        return ""

    def _use_at_last(self, region: str) -> None:
        """Also where a cut came in between before."""
        deadline = time.monotonic() + START_S_MAX
        while trouble := self._use(region):
            if time.monotonic() > deadline:
                self.report.lost.append(f"{region} is of no use: {trouble}")
                return

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
def machine(
    chance: random.Random, fault: str, asked: set[str], *, is_strict: bool, is_timed: bool
) -> Iterator[Machine]:
    made = Machine(chance, fault, asked, is_strict=is_strict, is_timed=is_timed)
    try:
        yield made
    finally:
        made.destroy()


def _tell(report: Report) -> None:
    """How far it came: a run of hours that is ended is one of so many cuts."""
    done = (
        f"{report.births} first starts, {report.restores} restores, {report.backups} backups, {report.cuts} cuts, "
        f"{report.acknowledged} acknowledged, {report.ciphertexts} ciphertexts, {report.elsewhere} elsewhere, "
        f"{report.recorded} of {report.audit_records} audit records looked for, {len(report.lost)} lost"
    )
    print(done, *report.lost, sep="\n", file=sys.stderr, flush=True)


def live(one: Machine, numbers: Iterable[int], restored: int) -> None:
    """To the first loss."""
    one.born()
    one.lost_and_restored(restored)
    _tell(one.report)
    for number in numbers:
        if one.report.lost:
            return
        one.cycle(number)
        _tell(one.report)
    one.look_at_everything()
    with client_of(one.installation) as kms:
        kms.create_key()


def _until_all_was_asked(numbers: range, asked: set[str]) -> Iterator[int]:
    """These cycles, and as many more at most as it takes until the load has done everything that it can do."""
    more = range(numbers.stop, numbers.stop + ALL_ASKED_CYCLES_MAX)
    return chain(numbers, takewhile(lambda _: not asked >= WANTED, more))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cycles", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--births", type=int, default=1)
    parser.add_argument("--fault", choices=FAULTS, default="")
    parser.add_argument("--strict", action="store_true", help="begin with a birth whose answers wait for the trail")
    parser.add_argument(
        "--full",
        action="store_true",
        help="hold the trail to its promise in seconds, and go on until every operation was asked for",
    )
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    asked: set[str] = set()
    total: list[dict[str, Any]] = []
    # Every birth has its share of the cycles.
    ends = [arguments.cycles * birth // arguments.births for birth in range(arguments.births + 1)]
    for birth, (first, end) in enumerate(pairwise(ends)):
        is_strict = arguments.strict == (birth % 2 == 0)
        with machine(chance, arguments.fault, asked, is_strict=is_strict, is_timed=arguments.full) as one:
            numbers = range(first, end)
            goes_on = arguments.full and end == arguments.cycles
            with suppress(LostError):
                live(one, _until_all_was_asked(numbers, asked) if goes_on else numbers, birth % 3)
            total.append(asdict(one.report))
        if arguments.fault and one.report.lost:
            break
    print(json.dumps(total))


if __name__ == "__main__":
    main()
