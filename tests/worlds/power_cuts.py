"""Power cuts of a whole installation: `python -m worlds.power_cuts CYCLES SEED`, in namespaces of its own, as root.

The home lies on an ext4 file system in an image file. A cut stops every process where it is, copies the image, kills them
and goes on with the copy: it holds what the kernel had written to the disk, and nothing of what lay in its page cache. A
copy during which the kernel wrote is made again. The next installation starts on it, and what the clients had been told
until then must be there.

On standard output one line of JSON: what was acknowledged, and what was lost of it or found by `audit verify`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
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

IMAGE_BYTES: Final = 96 << 20
# How long the load runs before a cut.
LOAD_S: Final = (0.2, 1.5)
# Made on first use under load, one in a cycle: each is a domain with a sealed state of its own.
REGIONS: Final = ("eu-west-1", "ap-south-1")
FAULTS: Final = {
    "synchronous-normal": ("kms/storage/sqlite.py", '"synchronous = FULL"', '"synchronous = NORMAL"'),
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
    acknowledged: int = 0
    ciphertexts: int = 0
    lost: list[str] = field(default_factory=list)
    audit_records: int = 0
    starts_s: list[float] = field(default_factory=list)


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
        self.ledgers: list[Ledger] = []
        self.report = Report()

    @property
    def installation(self) -> Installation:
        return self._installation

    def start(self) -> None:
        self._installation.start()
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

    def cycle(self, number: int) -> None:
        """Load, cut, start, and a look at what was acknowledged."""
        with load(self._installation, number * 1000) as ledger:
            if number < len(REGIONS):
                self._use(REGIONS[number])
            time.sleep(self._chance.uniform(*LOAD_S))
            self._cut()
        self.start()
        self.ledgers.append(ledger)
        self.report.cuts += 1
        self.report.acknowledged += ledger.acknowledged
        self.report.ciphertexts += len(ledger.blobs)
        self._look(ledger)
        self._verify()

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

    def _cut(self) -> None:
        process = self._installation.process
        assert process is not None
        # The supervisor first: when it has stopped, nobody starts anything new.
        os.kill(process.pid, signal.SIGSTOP)
        _wait_until_stopped([process.pid])
        children = _children(process.pid)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
        _wait_until_stopped(children)
        copy = self._disk.copy()
        process.kill()
        process.wait()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _wait_until_gone(children)
        self._disk.go_on_with(copy)

    def destroy(self) -> None:
        self._installation.stop()
        self._disk.unmount()
        self._installation.destroy()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _wait_until_stopped(pids: list[int]) -> None:
    """Every thread of them: one that waits for the disk stops when that has answered."""

    def all_stopped() -> bool:
        tasks = [Path(f"/proc/{pid}/task") for pid in pids]
        states = []
        for folder in tasks:
            with suppress(FileNotFoundError, ProcessLookupError):
                states += [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in folder.iterdir()]
        return all(state in "TtZX" for state in states)

    _wait_for(all_stopped)


def _wait_until_gone(pids: list[int]) -> None:
    """With all their threads and files: they are our own children now, or gone already."""

    def all_gone() -> bool:
        for pid in pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return not any(Path(f"/proc/{pid}").exists() for pid in pids)

    _wait_for(all_gone)


@contextmanager
def machine(chance: random.Random, fault: str) -> Iterator[Machine]:
    made = Machine(chance, fault)
    try:
        yield made
    finally:
        made.destroy()


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
            one.born()
            if birth + 1 == arguments.births:
                for number in range(arguments.cycles):
                    one.cycle(number)
                    print(f"{number + 1} cuts, {len(one.report.lost)} lost", file=sys.stderr, flush=True)
                    if arguments.fault and one.report.lost:
                        break
                else:
                    one.look_at_everything()
            with client_of(one.installation) as kms:
                kms.create_key()
            total.append(asdict(one.report))
    print(json.dumps(total))


if __name__ == "__main__":
    main()
